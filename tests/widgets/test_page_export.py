"""An exploration in one file: it shows what the explorer shows, runs nothing that a label says, and needs no network."""

from __future__ import annotations

import base64
import io
import json
import re
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.expert import Expert
from georeset_lab.embed.labels.book import LabelBook
from georeset_lab.embed.latent.landmarks import known_umap, pca_layout
from georeset_lab.embed.search import similar
from georeset_lab.errors import NothingObserved
from georeset_lab.widgets.page_export import drawn_labels, export_page
from georeset_lab.widgets.page_frame import write_page
from georeset_lab.widgets.state import Exploration
from tests.widgets.lab import started_browser
from tests.widgets.planted import planted_classes, planted_embeddings, utm_grid
from tests.widgets.test_page import Reader

HOSTILE = '</script><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
SHAPE = (40, 60)


class PageReader(Reader):
    VOID = Reader.VOID | {"input"}


def linked(html: str) -> dict:
    return json.loads(re.search(r'id="page-data">(.*?)</script>', html, re.S)[1])["linked"]


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


@pytest.fixture(scope="module")
def emb():
    return planted_embeddings(*SHAPE)


@pytest.fixture(scope="module")
def book(emb):
    made = LabelBook()
    codes = planted_classes(*SHAPE)
    state = Exploration(emb)
    for code, name in enumerate(("crops", HOSTILE)):
        made.add_class(name)
        for flat in np.flatnonzero(codes.ravel() == code)[:40:10]:
            place = state.place_of(*divmod(int(flat), SHAPE[1]))
            made.add_point(place.lon, place.lat, name)
    return made


@pytest.fixture(scope="module")
def explored(emb, book):
    from georeset_lab.embed.probe import fit_probe

    state = Exploration(emb)
    probe = fit_probe(emb, book.labels())
    state.prediction = probe.predict(emb)
    place = state.place_of(20, 30)
    state.similarity = similar(emb, at=(place.lon, place.lat), k=3)
    state.point = place
    state.selected = np.arange(100, 200)
    return state


@pytest.fixture(scope="module")
def html(explored, book):
    colours = {c.name: c.colour for c in book.classes}
    return export_page(explored, labels=drawn_labels(book), class_colours=colours, layouts=[])


def test_the_page_stands_alone_and_its_tags_are_closed(html):
    reader = PageReader(html)
    assert reader.bad == reader.open == []
    for tag, attributes in reader.tags:
        for name in ("src", "href", "data", "action", "srcset"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("data:", "#")), f"{tag} {name}={value[:40]}"
    assert re.findall(r"@import|fetch\(|XMLHttpRequest|https?://|url\((?!data:)", html) == []


def test_only_our_own_script_may_run(html):
    import hashlib

    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    scripts = re.findall(r"<script>(.*?)</script>", html, re.S)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "<img src=x" not in html


def test_every_layer_of_the_map_is_there_with_legend_and_unit(html, explored):
    layers = {layer["key"]: layer for layer in linked(html)["layers"]}
    assert {"pca", "certainty", "certainty:s2", "certainty:s1", "similarity", "label", "confidence"} <= set(layers)
    assert {"doubt_sensor", "doubt_labels", "doubt_overlap"} <= set(layers)
    for key in layers:
        assert f'data-legend="{key}"' in html
        assert f'<option value="{key}">' in html
    assert layers["label"]["words"] == [str(c) for c in explored.prediction["class"].values]
    assert layers["similarity"]["name"] == "Similarity"


def test_the_colours_of_each_pixel_are_those_of_the_map(html, explored):
    data = linked(html)
    layers = {layer["key"]: layer for layer in data["layers"]}
    pixels = numbers(data["pixels"], "<u4")
    np.testing.assert_array_equal(pixels, np.arange(SHAPE[0] * SHAPE[1]))
    codes = numbers(layers["label"]["codes"], "u1").astype(int) - 1
    np.testing.assert_array_equal(codes, explored.prediction["label"].values.ravel())
    low, high = layers["certainty:s2"]["limits"]
    read = low + (numbers(layers["certainty:s2"]["codes"], "u1").astype(float) - 1) / 254 * (high - low)
    true = 1 - explored.emb.expert("s2").vectors()[1].mean(axis=1)
    np.testing.assert_allclose(read, np.minimum(true, high), atol=(high - low) / 200)


def test_the_picture_of_positions_finds_the_pixel_under_each_place(html, explored):
    from georeset_lab.embed.pictures.warp import lonlat_of_mercator

    data = linked(html)
    view = data["view"]
    image = Image.open(io.BytesIO(base64.b64decode(data["index"].split(",")[1])))
    red, green, blue = np.moveaxis(np.asarray(image).astype(int), -1, 0)
    index = (red << 16 | green << 8 | blue) - 1
    assert index.shape == (view["h"], view["w"])
    assert set(np.unique(index)) == {-1, *range(SHAPE[0] * SHAPE[1])}
    for row, col in np.random.default_rng(0).integers(0, index.shape, (50, 2)):
        x = view["left"] + (col + 0.5) / view["w"] * (view["right"] - view["left"])
        y = view["top"] - (row + 0.5) / view["h"] * (view["top"] - view["bottom"])
        lon, lat = lonlat_of_mercator(x, y)
        found = explored.click_at(float(lon), float(lat))
        flat = -1 if found is None else found.row * SHAPE[1] + found.col
        assert index[row, col] == flat


def test_what_is_chosen_and_brushed_is_so_in_the_page(html, explored):
    data = linked(html)
    assert data["point"] == 20 * SHAPE[1] + 30
    bits = np.unpackbits(numbers(data["selected"], "u1"), bitorder="little")[: data["n"]]
    np.testing.assert_array_equal(np.flatnonzero(bits), explored.selected)


def test_labels_lie_where_they_were_set_in_the_colour_of_their_class(html, book):
    labels = linked(html)["labels"]
    assert [label["label"] for label in labels] == ["crops"] * 4 + [HOSTILE] * 4
    assert {label["colour"] for label in labels} == {c.colour for c in book.classes}
    at = numbers(linked(html)["at"], "<u2").reshape(-1, 2) / 65535
    first = np.flatnonzero(planted_classes(*SHAPE).ravel() == 0)[0]
    np.testing.assert_allclose(labels[0]["at"][0], at[first], atol=2e-5)


def test_a_polygon_keeps_its_ring(emb):
    state = Exploration(emb)
    corners = [state.place_of(r, c)[2:] for r, c in ((5, 5), (5, 20), (20, 20), (5, 5))]
    shape = {"type": "Polygon", "coordinates": [list(map(list, corners))]}
    feature = {"type": "Feature", "geometry": shape, "properties": {"label": "a", "colour": "#112233"}}
    drawn = linked(export_page(state, labels={"type": "FeatureCollection", "features": [feature]}, layouts=[]))[
        "labels"
    ]
    assert drawn[0]["closed"]
    assert len(drawn[0]["at"]) == 4


def test_a_large_map_is_thinned_and_says_so():
    html = export_page(Exploration(planted_embeddings(400, 500)), layouts=[])
    assert linked(html)["n"] == 200 * 250
    assert "50,000 of 200,000 pixels: every 2. row and column" in html
    assert len(html) < 6_000_000


def test_unknown_variance_is_said_to_be_unknown_and_is_no_number():
    emb = Embeddings({"x": Expert.of_mean(np.random.default_rng(0).normal(size=(8, 9, 4)))}, utm_grid(8, 9))
    html = export_page(Exploration(emb), layouts=[])
    data = linked(html)
    assert data["stated"] is False
    assert data["known"] is None
    assert set(numbers(next(x for x in data["layers"] if x["key"] == "certainty")["codes"], "u1")) == {0}
    assert "unknown: these embeddings came without variances" in html


def test_a_modality_that_is_switched_off_is_off_in_the_page(emb):
    state = Exploration(emb)
    state.present = ("s1",)
    data = linked(export_page(state, layouts=[]))
    assert data["known"]["names"] == ["Sentinel-1"]
    rounded = numbers(data["vectors"]["codes"], "i1").reshape(-1, emb.dim) * np.array(data["vectors"]["scale"])
    np.testing.assert_allclose(rounded, emb.only("s1").vectors()[0], atol=0.02)


def test_names_of_columns_are_no_markup():
    import pandas as pd

    from georeset_lab.embed.foreign import import_embeddings

    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(40, 3)), columns=["E1", "E2", "E3"])
    table = table.assign(lon=rng.uniform(0, 1, 40), lat=rng.uniform(0, 1, 40), **{HOSTILE: ["a", HOSTILE] * 20})
    html = export_page(Exploration(import_embeddings(table)), layouts=[])
    data = linked(html)
    assert data["index"] == ""
    assert data["points"] is True
    assert next(x for x in data["layers"] if x["key"] == f"column:{HOSTILE}")["words"] == sorted(["a", HOSTILE])
    assert "<img src=x" not in html
    assert len(re.findall(r"<script", html)) == 2
    assert "40 of 40 points: all points with a measurement" in html


def test_the_explorer_writes_what_it_shows(emb, book, tmp_path):
    from georeset_lab.widgets.explore import Explorer

    explorer = Explorer(Exploration(emb), book=book)
    try:
        where = explorer.to_html(tmp_path / "deep" / "map.html")
        data = linked(where.read_text(encoding="utf-8"))
    finally:
        explorer.close()
    assert where == (tmp_path / "deep" / "map.html").resolve()
    assert len(data["labels"]) == 8
    assert "label" in [layer["key"] for layer in data["layers"]]


def test_nothing_observed_is_refused():
    zero = np.zeros((5, 5, 3), np.float32)
    with pytest.raises(NothingObserved, match="observed"):
        export_page(Exploration(Embeddings({"x": Expert(zero, zero)}, utm_grid(5, 5))), layouts=[])


def test_a_umap_that_was_made_before_is_found_without_a_wait(emb, tmp_path):
    from georeset_lab.embed.latent.landmarks import EPOCHS, LANDMARKS, choose_landmarks, vectors_at
    from georeset_lab.embed.latent.layout_cache import landmark_key, store_landmarks

    assert known_umap(emb, cache=tmp_path) is None
    vectors = vectors_at(emb, choose_landmarks(emb.observed, seed=0))
    xy = pca_layout(emb).place(vectors)
    store_landmarks(tmp_path, landmark_key(emb, vectors, seed=0, settings=(LANDMARKS, EPOCHS)), vectors, xy)
    np.testing.assert_array_equal(known_umap(emb, cache=tmp_path).xy, xy)


@contextmanager
def opened(where, **options):
    """The page in a browser that reaches nothing but this file, and what it complained about or asked for."""
    with started_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900}, **options)
        wrong: list[str] = []
        page.on("console", lambda m: wrong.append(m.text))
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("request", lambda r: wrong.append(r.url) if r.url != where.as_uri() and r.url[:5] != "data:" else None)
        page.route("**/*", lambda r: r.continue_() if r.request.url[:5] in ("file:", "data:") else r.abort())
        page.goto(where.as_uri())
        page.locator("#linked[data-ready=yes]").wait_for()
        yield page, wrong


def said(page, name: str) -> str | None:
    page.wait_for_timeout(150)
    return page.locator("#linked").get_attribute(f"data-{name}")


@pytest.mark.browser
def test_click_brush_and_search_work_over_file_with_no_network(tmp_path, html, explored):
    where = write_page(tmp_path / "page.html", html)
    with opened(where) as (page, wrong):
        assert said(page, "layer") == "label"
        assert said(page, "point") == str(20 * SHAPE[1] + 30)
        assert said(page, "selected") == "100"
        page.locator('[data-do="clear"]').click()
        assert said(page, "selected") == "0"
        # The place of a pixel, from the page's own numbers, clicked on the map.
        data, target = linked(html), 11 * SHAPE[1] + 44
        across, down = numbers(data["at"], "<u2").reshape(-1, 2)[target] / 65535
        page.locator(".lk-map").scroll_into_view_if_needed()
        box, view = page.locator(".lk-map").bounding_box(), data["view"]
        scale = min(box["width"] / view["w"], box["height"] / view["h"])
        x = box["x"] + box["width"] / 2 + (across - 0.5) * view["w"] * scale
        y = box["y"] + box["height"] / 2 + (down - 0.5) * view["h"] * scale
        page.mouse.click(x, y)
        assert said(page, "point") == str(target)
        profile = page.locator(".lk-profile").inner_text()
        assert "row 11, column 44" in profile
        for words in ("Classes", "Certainty: Sentinel-2 alone", "Doubt: classes overlap", "Sentinel-1"):
            assert words in profile
        # The same pixel is found in the latent space: what is near its ring is brushed.
        page.locator('[data-do="plane"]').select_option("pca")
        before = page.locator(".lk-map").screenshot()
        plot = page.locator(".lk-latent").bounding_box()
        left, top, right, bottom = (
            plot["x"] + 3,
            plot["y"] + 3,
            plot["x"] + plot["width"] / 2,
            plot["y"] + plot["height"] - 3,
        )
        page.mouse.move(left, top)
        page.mouse.down()
        for spot in ((right, top), (right, bottom), (left, bottom)):
            page.mouse.move(*spot, steps=4)
        page.mouse.up()
        half = int(said(page, "selected"))
        plane = data["latent"][0]
        x0 = plane["origin"][0] + numbers(plane["at"], "<u2").reshape(-1, 2)[:, 0] * plane["step"]
        assert half == pytest.approx((x0 < (plane["box"][0] + plane["box"][2]) / 2).sum(), abs=25)
        assert page.locator(".lk-map").screenshot() != before
        page.locator('[data-do="like"]').click()
        assert said(page, "layer") == "like"
        best = [int(i) for i in said(page, "best").split()]
        mean = explored.emb.vectors()[0]
        cosine = mean @ mean[target] / np.linalg.norm(mean, axis=1) / np.linalg.norm(mean[target])
        assert best[0] == target
        assert cosine[best].min() >= np.sort(cosine)[-6] - 2 * data["vectors"]["error"]
        assert "cosine of the embeddings, no unit" in page.locator('[data-legend="like"]').inner_text()
        for key in ("confidence", "doubt_labels", "certainty:s1", "pca"):
            page.locator('[data-do="layer"]').select_option(key)
            assert said(page, "painted") == key
            assert page.locator(f'[data-legend="{key}"]').is_visible()
        page.locator('[data-do="opacity"]').fill("0.2")
        page.wait_for_timeout(150)
        assert page.evaluate("window.hacked") is None
        assert wrong == []


@pytest.mark.browser
def test_a_hostile_label_is_shown_as_text_and_runs_nothing(tmp_path, html, book):
    where = write_page(tmp_path / "page.html", html)
    with opened(where, color_scheme="dark") as (page, wrong):
        data = linked(html)
        hostile = next(label for label in data["labels"] if label["label"] == HOSTILE)
        page.locator(".lk-map").scroll_into_view_if_needed()
        box, view = page.locator(".lk-map").bounding_box(), data["view"]
        scale = min(box["width"] / view["w"], box["height"] / view["h"])
        (across, down) = hostile["at"][0]
        page.mouse.click(
            box["x"] + box["width"] / 2 + (across - 0.5) * view["w"] * scale,
            box["y"] + box["height"] / 2 + (down - 0.5) * view["h"] * scale,
        )
        page.wait_for_timeout(200)
        assert HOSTILE in page.locator(".lk-profile dd").first.inner_text()
        assert HOSTILE in page.locator('[data-legend="label"]').inner_text()
        assert page.locator("img[src=x]").count() == 0
        assert page.evaluate("window.hacked") is None
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        assert wrong == []
