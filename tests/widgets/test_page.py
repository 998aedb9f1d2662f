"""The page stands alone, escapes what it is given, shows what was computed and reads its own colours right."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from odc.geo import CRS
from PIL import Image

from georeset_lab.embed.locate import lonlat_of
from georeset_lab.widgets.page import build_page
from georeset_lab.widgets.page_frame import crs_name, write_page
from georeset_lab.widgets.page_images import certainty_top
from georeset_lab.widgets.page_parts import Ground, round_length, scatter


class Reader(HTMLParser):
    """Collects tags with their attributes and checks that they nest."""

    VOID = frozenset({"meta", "link", "img", "br", "circle", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.bad: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.bad.append(tag)


def page_data(html: str) -> dict:
    return json.loads(re.search(r'id="page-data">(.*?)</script>', html, re.S)[1])


def picture(html: str, table: str) -> np.ndarray:
    url = re.search(rf'data-table="{table}"><img src="data:image/png;base64,([^"]+)"', html)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url))).convert("RGBA"))


def read_back(html: str, table: str) -> np.ndarray:
    """Values of a map as the pointer's script finds them; None where transparent."""
    colours = page_data(html)["tables"][table]
    known = dict(zip(colours["colours"], colours["values"], strict=True))
    image = picture(html, table).astype(int)
    keys = (image[..., 0] << 16) | (image[..., 1] << 8) | image[..., 2]
    return np.array(
        [[known[k] if a else None for k, a in zip(*row, strict=True)] for row in zip(keys, image[..., 3], strict=True)]
    )


def test_every_tag_is_closed_in_order(html):
    reader = Reader(html)
    assert reader.bad == []
    assert reader.open == []


def test_nothing_is_fetched_from_anywhere(html):
    for tag, attributes in Reader(html).tags:
        for name in ("src", "href", "data", "action", "srcset"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("data:", "#")), f"{tag} {name}={value[:40]}"
    assert re.findall(r"url\((?!data:)", html) == []
    assert re.findall(r"@import|fetch\(|XMLHttpRequest|https?://", html) == []
    assert "default-src 'none'" in html


def test_every_picture_has_a_text_for_those_who_do_not_see_it(html):
    images = [attributes for tag, attributes in Reader(html).tags if tag == "img"]
    assert len(images) > 12
    assert [a for a in images if len(a.get("alt") or "") < 8] == []


@pytest.mark.parametrize("part", ["scene", "embedding", "certainty", "similar", "probe", "next"])
def test_each_section_is_there_once_and_the_menu_leads_to_it(html, part):
    assert html.count(f'<section id="{part}">') == 1
    assert html.count(f'href="#{part}"') == 1


def test_names_from_data_cannot_become_markup(story):
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'
    probe, attrs = story.probe, dict(story.emb.attrs)
    kept = probe.classes_, story.probe.report.attrs["notes"]
    try:
        story.emb.attrs["model"] = evil
        probe.classes_ = (evil, *probe.classes_[1:])
        probe.report.attrs["notes"] = [evil]
        html = build_page(
            story.scene, story.emb, hits=story.hits, query=story.query, query_note=evil, probe=probe,
            prediction=story.prediction,
        )  # fmt: skip
    finally:
        story.emb.attrs, (probe.classes_, probe.report.attrs["notes"]) = attrs, kept
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert html.count("</script>") == 2
    assert page_data(html)["tables"]["class"]["values"][0] == evil


def test_the_pointer_reads_certainty_back_from_the_colours(html, story):
    shown = read_back(html, "fused").astype(float)
    truth = story.emb.certainty.values.mean(axis=0)
    assert np.abs(shown - truth).max() <= 0.5 / 255 + 0.005


@pytest.mark.parametrize(("most", "end"), [(0.05, 0.1), (0.19, 0.2), (0.31, 0.5), (0.9, 1.0)])
def test_the_certainty_scale_ends_just_above_what_is_there(most, end):
    assert certainty_top(np.full((4, 4), most)) == end
    assert certainty_top(np.full((4, 4), np.nan)) == 1.0


def test_the_pointer_reads_the_class_back_from_the_colours(html, story):
    names = np.array(story.probe.classes_)
    assert (read_back(html, "class") == names[story.prediction["label"].values]).all()


def test_what_a_sensor_did_not_measure_is_transparent_on_its_map_and_opaque_on_the_fused_one(html):
    alone, fused = picture(html, "c-s2")[..., 3], picture(html, "fused")[..., 3]
    assert (alone[:10, :10] == 0).all()
    assert (alone[10:, 10:] == 255).all()
    assert (fused == 255).all()


def test_corners_of_the_page_are_the_corners_of_the_grid(html, story):
    height, width = story.emb.shape
    north_west, _, _, south_east = page_data(html)["corners"]
    assert north_west == pytest.approx([float(v) for v in lonlat_of(story.emb.grid, -0.5, -0.5)], abs=1e-6)
    far = [float(v) for v in lonlat_of(story.emb.grid, height - 0.5, width - 0.5)]
    assert south_east == pytest.approx(far, abs=1e-6)


def test_report_shows_the_baselines_with_the_same_figures(html, story):
    for name, row in story.probe.report.iterrows():
        line = re.search(rf'<th scope="row">{re.escape(name)}</th>(.*?)</tr>', html)[1]
        assert f"{row['balanced_accuracy']:.2f}" in line
        assert f"{row['nll']:.2f}" in line


def test_without_umap_the_page_says_that_pca_is_alone(html):
    assert "PCA alone" in html
    assert ">UMAP<" not in html


def test_a_scene_without_hits_probe_or_truth_still_makes_a_page(story):
    from dataclasses import replace

    html = build_page(replace(story.scene, truth=None), story.emb.only("s1"))
    assert '<section id="similar">' not in html
    assert "True land cover" not in html
    assert Reader(html).bad == []


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("EPSG:32718", "EPSG:32718"),
        ("+proj=laea +lat_0=12 +lon_0=34 +ellps=bessel +units=m", "unknown"),
    ],
)
def test_a_reference_system_is_named_in_a_few_letters(given, shown):
    crs = CRS(given)
    assert crs_name(crs) == shown
    assert crs_name(CRS(crs.to_wkt())) == shown


def test_a_page_is_written_whole_and_its_path_is_absolute(tmp_path, html):
    where = write_page(tmp_path / "deep" / "page.html", html)
    assert where.is_absolute()
    assert where.read_text(encoding="utf-8") == html
    assert len(html) < 3_000_000


@pytest.mark.parametrize(("most", "length"), [(640, 500), (500, 500), (499, 200), (1999, 1000), (0.9, 0.5)])
def test_a_scale_bar_has_a_round_length(most, length):
    assert round_length(most) == pytest.approx(length)


def test_a_scale_bar_is_as_long_as_it_says():
    bar = Ground(height=10, width=20, width_m=4000).scale_bar()
    assert "width:25.00%" in bar
    assert ">1 km<" in bar


def test_a_scatter_puts_the_upper_right_point_up_and_right():
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    svg = scatter(points, ["#000", "#fff"], np.zeros((2, 2)), title="t", note="n", axes=None)
    (x0, y0), (x1, y1) = ([float(v) for v in pair] for pair in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg))
    assert x1 > x0
    assert y1 < y0


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_in_a_browser_the_page_asks_for_nothing_and_pointing_reads_the_values(tmp_path, html, story, width, dark):
    from playwright.sync_api import sync_playwright

    where = write_page(tmp_path / "page.html", html)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda r: asked.append(r.url) if not r.url.startswith("data:") else None)
        page.on("console", lambda m: said.append(m.text))
        page.on("pageerror", lambda e: said.append(str(e)))
        page.goto(where.as_uri())
        frame = page.locator('.frame[data-table="class"]')
        frame.scroll_into_view_if_needed()
        box = frame.bounding_box()
        row, col = 40, 50
        height, columns = story.emb.shape
        page.mouse.move(
            box["x"] + (col + 0.5) / columns * box["width"], box["y"] + (row + 0.5) / height * box["height"]
        )
        shown = page.locator("#readout").inner_text()
        clipped = page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.getElementById('readout'))")
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        crosses = page.locator(".cross").count()
        maps = page.locator(".frame").count()
        browser.close()
    assert asked == [where.as_uri()]
    assert said == []
    assert overflow <= 0
    assert clipped <= 0
    assert crosses == maps
    lon, lat = lonlat_of(story.emb.grid, row, col)
    assert f"{lon:.5f}°, {lat:.5f}°" in shown
    assert f"class {story.probe.classes_[int(story.prediction['label'][row, col])]}" in shown
