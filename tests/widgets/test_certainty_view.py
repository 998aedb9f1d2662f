"""Maps and matrix show the certainties of `Embeddings`; a switch leaves a modality out at once; a click chooses."""

from __future__ import annotations

import re

import numpy as np
import pytest

from georeset_lab.embed import encode as encode_module
from georeset_lab.embed.embeddings import Embeddings, Expert, open_embeddings
from georeset_lab.embed.pictures.colours import certainty_image
from georeset_lab.widgets.certainty_view import NO_VARIANCE, CertaintyView
from georeset_lab.widgets.state import Exploration
from tests.widgets.lab import ask, wait_for
from tests.widgets.markup import Markup, pixels, read
from tests.widgets.planted import planted_embeddings

PRECISION = {"s2": 4.0, "s1": 1.0, "dem": 0.2}


@pytest.fixture
def state() -> Exploration:
    return Exploration(planted_embeddings(40, 50, precision=PRECISION))


def means(view: CertaintyView) -> list[float]:
    """Mean certainties in the titles of the maps."""
    text = Markup(view.parts["maps"]).text
    return [float(value) for value in re.findall(r"mean ([\d.]+)", text)]


def rows(view: CertaintyView) -> list[list[str]]:
    """Titles of the cells of each row of the matrix."""
    lines = view.parts["matrix"].split("<svg")[1:]
    return [[t.split("</title>")[0] for t in line.split("<title>")[1:]] for line in lines]


def test_each_modality_has_its_map_on_one_scale_and_its_mean(state):
    view = CertaintyView(state)
    for key, names in (("of s2", ["s2"]), ("of s1", ["s1"]), ("fused", ["s2", "s1", "dem"])):
        certainty = state.emb.only(*names).certainty.mean("dim").values
        np.testing.assert_allclose(pixels(view.pictures[key]), certainty_image(certainty).rgba(), atol=2)
    expected = [state.emb.only(*n).certainty.mean().item() for n in (["s2"], ["s1"], ["dem"], ["s2", "s1", "dem"])]
    assert means(view) == pytest.approx(expected, abs=0.006)
    text = read(view).text
    for words in ("Sentinel-2", "Sentinel-1", "Elevation", "Fused, 3 of 3", "0 = knows nothing, 1 = settles it"):
        assert words in text


def test_a_switch_recomputes_the_fusion_and_encodes_nothing(state, monkeypatch):
    monkeypatch.setattr(encode_module, "encode", lambda *a, **k: pytest.fail("encoded again"))
    view = CertaintyView(state)
    before = dict(view.pictures)
    view.heard("present", "s2", checked=False, at=None)
    assert state.present == ("s1", "dem")
    assert view.pictures["fused"] != before["fused"]
    assert view.pictures["of s2"] == before["of s2"]
    certainty = state.emb.only("s1", "dem").certainty
    np.testing.assert_allclose(
        pixels(view.pictures["fused"]), certainty_image(certainty.mean("dim").values).rgba(), atol=2
    )
    assert means(view)[-1] == pytest.approx(certainty.mean().item(), abs=0.006)
    assert "left out" in read(view).text
    view.heard("present", "s2", checked=True, at=None)
    assert state.present == ("s2", "s1", "dem")
    assert view.pictures == before


def test_the_last_modality_stays_on(state):
    view = CertaintyView(state)
    state.present = ("s1",)
    boxes = {b["data-value"]: b for b in read(view).of("input")}
    assert "disabled" in boxes["s1"]
    assert "checked" in boxes["s1"]
    assert "disabled" not in boxes["s2"]
    assert "checked" not in boxes["s2"]
    view.heard("present", "s1", checked=False, at=None)
    assert state.present == ("s1",)
    view.heard("present", "nobody", checked=True, at=None)
    assert state.present == ("s1",)


def test_the_matrix_is_of_the_pixel_else_the_brushed_ones_else_the_map(state):
    view = CertaintyView(state)
    assert "mean over the map" in read(view).text
    state.point = state.place_of(7, 11)
    found = state.emb.at(state.point.lon, state.point.lat)
    assert "row 7, column 11" in read(view).text
    first = rows(view)[0][0]  # "Sentinel-2, dimension 5: 0.81"
    name, rest = first.split(", dimension ")
    dim, value = rest.split(": ")
    assert name == "Sentinel-2"
    assert float(value) == pytest.approx(1 - float(found["expert_variance"][0, int(dim)]), abs=0.006)
    assert len(rows(view)) == 4
    assert len(rows(view)[3]) == state.emb.dim
    state.selected = np.arange(100, 220)
    assert "mean over 120 brushed pixels" in read(view).text
    state.present = ("s2", "s1")
    assert "mean over 120 brushed pixels" in read(view).text
    state.point = state.place_of(8, 8)
    assert "row 8, column 8" in read(view).text
    state.point, state.selected = None, None
    assert "mean over the map" in read(view).text


def test_columns_are_grouped_by_the_modality_that_leads_them():
    grid = planted_embeddings(6, 7).grid
    lead = {"s2": [0, 3, 4], "s1": [1, 2]}
    experts = {}
    for name, dims in lead.items():
        tau = np.full((6, 7, 6), 0.01, np.float32)
        tau[..., dims] = np.linspace(3, 5, len(dims))
        experts[name] = Expert(tau, tau)
    view = CertaintyView(Exploration(Embeddings(experts, grid)))
    order = [int(t.split("dimension ")[1].split(":")[0]) for t in rows(view)[0]]
    assert order == [4, 3, 0, 2, 1, 5]
    labels = Markup(view.parts["matrix"]).text
    for words in ("Sentinel-2: 3", "Sentinel-1: 2", "none: 1", "settles 3", "settles 5"):
        assert words in labels


def test_a_click_on_a_small_map_chooses_the_pixel_and_marks_it_everywhere(state):
    view = CertaintyView(state)
    assert view.marks == []
    view.heard("point", "", checked=None, at=((11 + 0.3) / 50, (7 + 0.9) / 40))
    assert (state.point.row, state.point.col) == (7, 11)
    assert view.marks == [[(11 + 0.5) / 50, (7 + 0.5) / 40]]
    view.heard("point", "", checked=None, at=(1.0, 1.0))
    assert (state.point.row, state.point.col) == (39, 49)
    assert state.clicked is None  # looked at, not labelled


def test_a_modality_name_is_text_and_may_be_called_fused():
    emb = planted_embeddings(12, 12, precision={"<script>alert(1)</script>": 4.0, "fused": 1.0})
    view = CertaintyView(Exploration(emb))
    assert "<script>alert(1)</script>" in read(view).text
    assert view.pictures["of fused"] != view.pictures["fused"]
    view.heard("present", "<script>alert(1)</script>", checked=False, at=None)
    assert view.state.present == ("fused",)


def test_one_modality_has_no_switch_and_no_second_row():
    view = CertaintyView(Exploration(planted_embeddings(12, 12, precision={"s2": 4.0})))
    assert read(view).of("input") == []
    assert len(rows(view)) == 1
    assert "Fused" not in read(view).text


def test_a_store_and_a_large_map_are_thinned(tmp_path, state, monkeypatch):
    state.emb.to_zarr(tmp_path / "map.zarr")
    stored = CertaintyView(Exploration(open_embeddings(tmp_path / "map.zarr")))
    assert stored.pictures == CertaintyView(state).pictures
    monkeypatch.setattr("georeset_lab.embed.profiles.place_profile.thin_step", lambda shape, most: 4)
    thin = CertaintyView(state)
    assert pixels(thin.pictures["fused"]).shape == (
        10,
        13,
        4,
    )  # of 40 x 52 rows and columns, two of which are not there
    thin.heard("point", "", checked=None, at=(30.2 / 52, 0.5 / 40))
    assert (state.point.row, state.point.col) == (0, 30)
    assert thin.marks == [[30.5 / 52, 0.5 / 40]]
    thin.heard("point", "", checked=None, at=(1.0, 1.0))
    assert (state.point.row, state.point.col) == (39, 49)
    assert "Every 4th row and column" in read(thin).text
    assert means(thin) == pytest.approx(means(stored), abs=0.03)


def test_unknown_variance_is_shown_as_unknown():
    emb = planted_embeddings(8, 8)
    nan = np.full((8, 8, 8), np.nan, np.float32)
    view = CertaintyView(Exploration(Embeddings({"published": Expert(np.ones_like(nan), nan)}, emb.grid)))
    assert NO_VARIANCE in read(view).text
    view.state.point = view.state.place_of(3, 3)
    assert view.pictures == {}


CELL = """
from tests.widgets.planted import planted_embeddings
from georeset_lab.widgets.state import Exploration
from georeset_lab.widgets.certainty_view import CertaintyView
state = Exploration(planted_embeddings(40, 50, precision={"s2": 4.0, "s1": 1.0, "dem": 0.2}))
view = CertaintyView(state)
view
"""


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_in_a_browser_a_switch_changes_the_fused_picture_and_a_click_marks_all_maps(open_notebook, tmp_path, dark):
    page = open_notebook([CELL], dark=dark)
    fused = page.locator("img[data-pic=fused]")
    before = fused.get_attribute("src")
    assert page.evaluate(
        "[...document.querySelectorAll('.gl-board img')].every(i => i.complete && i.naturalWidth === 50)"
    )
    page.locator("input[data-value=s2]").uncheck()
    assert wait_for(page, "state.present == ('s1', 'dem') and list(state.present)") == ["s1", "dem"]
    page.wait_for_function("old => document.querySelector('img[data-pic=fused]').src !== old", arg=before)
    page.locator(".gl-tag", has_text="left out").wait_for()
    box = page.locator("img[data-pic='of s1']").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 20.5 / 50, box["y"] + box["height"] * 30.5 / 40)
    assert wait_for(page, "state.point and [state.point.row, state.point.col]") == [30, 20]
    page.wait_for_function("document.querySelectorAll('.gl-marks > i').length === 4")
    page.locator("h4", has_text="row 30, column 20").wait_for()
    page.locator("input[data-value=s1]").uncheck()
    assert wait_for(page, "len(state.present) == 1")
    page.wait_for_function("document.querySelector('input[data-value=dem]').disabled")
    assert ask(page, "state.present") == ["dem"]
    # Text is readable on its background, in both themes.
    colours = page.evaluate(
        "() => [getComputedStyle(document.querySelector('.gl-board h4')).color,"
        " getComputedStyle(document.querySelector('.jp-Notebook')).backgroundColor]"
    )
    light = [sum(int(v) for v in c[c.index("(") + 1 : -1].split(",")[:3]) / 765 for c in colours]
    assert abs(light[0] - light[1]) > 0.5
    page.screenshot(path=tmp_path / "certainty.png")
