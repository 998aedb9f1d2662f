"""The latent view: points arrive where they lie, a lasso and a click select the right pixels, colours mean what they say."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.embed.latent.landmarks import UmapLayout, vectors_at
from georeset_lab.embed.profiles.certainty_at import certainty_at
from georeset_lab.errors import GeoresetError
from georeset_lab.widgets import latent_plane
from georeset_lab.widgets.latent_view import Extra, LatentView
from georeset_lab.widgets.state import Exploration
from tests.widgets.planted import planted_classes, planted_embeddings, utm_grid

SHAPE = (40, 50)


@pytest.fixture
def emb():
    return planted_embeddings(*SHAPE)


@pytest.fixture(autouse=True)
def umap(monkeypatch):
    """A UMAP that is known: the mean, with its axes swapped, of every third pixel. Waits for ``go``, fails if told to."""
    told = SimpleNamespace(go=True, fails="", calls=0)

    def layout(emb, *, seed, cancelled, cache, tell):
        told.calls += 1
        tell("UMAP is being computed")
        while not told.go and not cancelled():
            time.sleep(0.005)
        if told.fails:
            raise GeoresetError(told.fails)
        if cancelled():
            return None
        vectors = vectors_at(emb, np.flatnonzero(emb.observed)[::3])
        return UmapLayout(vectors, np.ascontiguousarray(vectors[:, [1, 0]]))

    monkeypatch.setattr(latent_plane, "umap_layout", layout)
    monkeypatch.setattr(latent_plane, "QUIET_S", 0.0)
    return told


def opened(emb, **kwargs):
    state = Exploration(emb)
    return state, LatentView(state, cache=None, **kwargs)


def wait(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def sent_xy(view):
    """Positions as the browser reads them."""
    steps = np.frombuffer(base64.b64decode(view.points), "<u2").reshape(-1, 2).astype(float)
    return steps * view.frame["step"] + [view.frame["x0"], view.frame["y0"]]


def sent_rgb(view):
    index = np.frombuffer(base64.b64decode(view.colours), np.uint8)
    return np.frombuffer(bytes.fromhex(view.palette), np.uint8).reshape(-1, 3)[index]


def sent_marks(view):
    return np.unpackbits(np.frombuffer(base64.b64decode(view.marked), np.uint8), bitorder="little")


def hear(view, **message):
    """What a browser sends, by way of JSON."""
    view._handle_custom_msg(json.loads(json.dumps(message)), [])


def square(x, y, half):
    return [[x - half, y - half], [x + half, y - half], [x + half, y + half], [x - half, y + half]]


# -- layouts ----------------------------------------------------------------------------------------------------------


def test_pca_is_there_at_once_and_umap_when_it_is_ready(emb, umap):
    umap.go = False
    _, view = opened(emb)
    assert view.frame["kind"] == "pca"
    assert view.frame["axes"][0].startswith("PCA 1 (")
    assert view.frame["unit"] == "unit: s.d. of the prior"
    wait(lambda: view.busy == "UMAP is being computed")
    umap.go = True
    wait(lambda: view.frame["kind"] == "umap")
    assert (view.frame["axes"], view.frame["unit"], view.busy) == (["UMAP 1", "UMAP 2"], "", "")
    assert np.abs(sent_xy(view) - emb.vectors()[0][:, [1, 0]]).mean() < 0.2


def test_positions_are_sent_to_a_step_in_65535(emb):
    _, view = opened(emb, plane="pca")
    centred = emb.vectors()[0] - emb.vectors()[0].mean(axis=0)
    axes = np.linalg.svd(centred.astype(float), full_matrices=False)[2][:2]
    truth, sent = centred @ axes.T, sent_xy(view)
    truth *= np.sign((truth * sent).sum(axis=0))
    assert np.abs(sent - truth).max() < 1e-3 * np.ptp(truth)


def test_who_asks_for_pca_gets_no_umap_until_it_is_wanted(emb, umap):
    _, view = opened(emb, plane="pca")
    time.sleep(0.05)
    assert (umap.calls, view.busy) == (0, "")
    view.plane = "umap"
    wait(lambda: view.frame["kind"] == "umap")
    view.plane = "pca"
    assert view.frame["kind"] == "pca"
    view.plane = "umap"
    assert view.frame["kind"] == "umap"  # at once: it is kept
    assert umap.calls == 1


def test_wanting_umap_twice_computes_it_once(emb, umap):
    umap.go = False
    _, view = opened(emb)
    wait(lambda: umap.calls == 1)
    view.plane = "pca"
    view.plane = "umap"
    umap.go = True
    wait(lambda: view.frame["kind"] == "umap")
    assert umap.calls == 1


def test_a_dropped_modality_is_pca_at_once_and_its_old_umap_is_never_shown(emb, umap):
    umap.go = False
    state, view = opened(emb)
    wait(lambda: umap.calls == 1)
    before = view.points
    state.present = ("s1",)
    assert view.frame["kind"] == "pca"
    assert view.points != before
    umap.go = True
    wait(lambda: view.frame["kind"] == "umap")
    assert np.abs(sent_xy(view) - emb.only("s1").vectors()[0][:, [1, 0]]).mean() < 0.2


def test_stop_stays_with_pca_and_umap_can_be_had_later(emb, umap):
    umap.go = False
    _, view = opened(emb)
    wait(lambda: view.busy)
    hear(view, type="stop")
    assert (view.busy, view.plane, view.frame["kind"]) == ("", "pca", "pca")
    umap.go = True
    view.plane = "umap"
    wait(lambda: view.frame["kind"] == "umap")


def test_a_failure_is_told_and_pca_stays(emb, umap):
    umap.fails = "no luck"
    state, view = opened(emb)
    wait(lambda: state.status == "no luck")
    assert (view.busy, view.plane, view.frame["kind"]) == ("", "pca", "pca")


def test_too_few_pixels_for_umap_are_shown_by_pca():
    state, view = opened(planted_embeddings(3, 4))
    assert (view.plane, view.frame["kind"]) == ("pca", "pca")
    assert "UMAP needs" in state.status


def test_a_closed_view_hears_and_computes_nothing_more(emb, umap):
    umap.go = False
    state, view = opened(emb)
    wait(lambda: umap.calls == 1)
    points = view.points
    view.close()
    state.present = ("s1",)
    umap.go = True
    time.sleep(0.05)
    assert view.points == points
    assert not state._trait_notifiers.get("selected", {}).get("change")
    view.close()  # no harm


def test_a_map_without_any_pixel_is_empty_and_no_error():
    nothing = np.zeros((3, 4, 2), np.float32)
    state, view = opened(Embeddings({"s2": Expert(nothing, nothing)}, utm_grid(3, 4)))
    hear(view, type="lasso", line=square(0, 0, 9))
    assert (view.points, view.note, state.selected) == ("", "0 pixels", None)


# -- selection --------------------------------------------------------------------------------------------------------


def test_a_lasso_selects_the_pixels_inside(emb):
    state, view = opened(emb, plane="pca")
    xy = sent_xy(view)
    x, y = np.median(xy, axis=0)
    hear(view, type="lasso", line=square(x, y, 0.7))
    expected = np.flatnonzero((np.abs(xy - (x, y)) < 0.7).all(axis=1))
    assert 20 < expected.size < 1500
    assert np.setxor1d(state.selected, expected).size <= 1  # positions were rounded to a step
    assert state.selected.dtype == np.int64
    assert sent_marks(view)[: len(xy)].sum() == state.selected.size
    assert view.note == f"2,000 pixels, {state.selected.size:,} selected"


def test_a_lasso_of_a_large_map_finds_pixels_that_are_not_drawn(emb, monkeypatch):
    monkeypatch.setattr(latent_plane, "MOST_DRAWN", 500)
    state, view = opened(emb, plane="pca")
    assert len(sent_xy(view)) == 500
    assert view.note == "500 of 2,000 pixels drawn"
    hear(view, type="lasso", line=square(0, 0, 100))
    assert state.selected.tolist() == list(range(2000))
    assert sent_marks(view)[:500].all()


def test_of_the_largest_maps_only_the_drawn_pixels_have_a_place(emb, monkeypatch):
    monkeypatch.setattr(latent_plane, "MOST_DRAWN", 500)
    monkeypatch.setattr(latent_plane, "MOST_PLACED", 1000)
    state, view = opened(emb, plane="pca")
    hear(view, type="lasso", line=square(0, 0, 100))
    assert state.selected.size == 500


def test_an_empty_lasso_and_the_clear_button_select_nothing(emb):
    state, view = opened(emb, plane="pca")
    state.selected = np.array([1, 2])
    hear(view, type="lasso", line=square(99, 99, 0.1))
    assert (state.selected, view.marked) == (None, "")
    state.selected = np.array([1, 2])
    hear(view, type="clear")
    assert state.selected is None


def test_what_another_panel_selects_is_marked(emb):
    state, view = opened(emb, plane="pca")
    state.selected = np.array([0, 7, 1999])
    assert np.flatnonzero(sent_marks(view)).tolist() == [0, 7, 1999]


def test_a_click_looks_at_the_pixel_and_a_second_one_counts_too(emb):
    state, view = opened(emb, plane="pca")
    heard = []
    state.observe(lambda c: heard.append(c["new"]), "clicked")
    for _ in range(2):
        hear(view, type="click", index=7 * 50 + 3)
    assert (state.point.row, state.point.col) == (7, 3)
    assert emb.pixel(state.point.lon, state.point.lat) == (7, 3)
    assert len([c for c in heard if c is not None]) == 2


def test_the_pixel_that_is_looked_at_gets_a_ring_in_either_layout(emb, umap):
    umap.go = False
    state, view = opened(emb)
    state.point = state.place_of(20, 10)
    pca = list(view.ring)
    umap.go = True
    wait(lambda: view.frame["kind"] == "umap" and view.ring != pca)
    np.testing.assert_allclose(view.ring, sent_xy(view)[20 * 50 + 10], atol=1e-3)
    view.plane = "pca"
    np.testing.assert_allclose(view.ring, sent_xy(view)[20 * 50 + 10], atol=1e-3)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "click", "index": 10**6}, {"type": "click", "index": -1}, {"type": "click", "index": "0"}, {"type": "click"},
        {"type": "lasso"}, {"type": "lasso", "line": [[0, 0]]}, {"type": "lasso", "line": "x"}, {"type": "?"}, {}, [1], None,
    ],
)  # fmt: skip
def test_a_message_that_makes_no_sense_changes_nothing(emb, message):
    state, view = opened(emb, plane="pca")
    state.selected = np.array([5])
    view._handle_custom_msg(message, [])
    assert state.selected.tolist() == [5]
    assert state.clicked is None


# -- colours ----------------------------------------------------------------------------------------------------------


def prediction(codes, names):
    return xr.Dataset({"label": (("y", "x"), codes)}, coords={"class": list(names)})


def test_classes_take_over_when_they_come_and_have_the_users_colours(emb):
    state, view = opened(emb, plane="pca")
    assert view.colour_by == "place"
    codes = planted_classes(*SHAPE)
    codes[0, 0] = -1
    view.class_colours = {"b": "#102030"}
    state.prediction = prediction(codes, "abcd")
    assert view.colour_by == "class"
    entries = {name: (colour, count) for name, colour, count in view.legend["entries"]}
    assert {n: c for n, (_, c) in entries.items()} == {
        **{n: int((codes == i).sum()) for i, n in enumerate("abcd")}, "none": 1,
    }  # fmt: skip
    assert entries["b"][0] == "#102030"
    rgb = sent_rgb(view)
    for i, name in enumerate("abcd"):
        assert {"#" + bytes(c).hex() for c in rgb[codes.ravel() == i]} == {entries[name][0]}
    view.class_colours = {"b": "#405060"}
    assert "#" + bytes(sent_rgb(view)[codes.ravel() == 1][0]).hex() == "#405060"


def test_a_choice_made_by_hand_stays_and_follows_new_answers(emb):
    state, view = opened(emb, plane="pca")
    view.colour_by = "certainty:s1"
    codes = planted_classes(*SHAPE)
    state.prediction = prediction(codes, "abcd")
    assert view.colour_by == "certainty:s1"
    view.colour_by = "class"
    before = view.colours
    state.prediction = prediction((codes + 1) % 4, "abcd")
    assert view.colours != before
    state.prediction = None
    assert view.colour_by != "class"
    assert "class" not in [key for key, _ in view.choices]


def test_certainty_is_on_one_scale_from_dark_to_bright_with_its_unit(emb):
    state, view = opened(emb, plane="pca")
    view.colour_by = "certainty:s2"
    values = certainty_at(emb, np.arange(2000), "s2")
    lightness = sent_rgb(view).astype(float) @ (0.2, 0.7, 0.1)
    assert np.corrcoef(values, lightness)[0, 1] > 0.99
    assert view.legend["title"] == "Certainty, Sentinel-2"
    assert view.legend["unit"] == "1 − variance, mean over dimensions, no unit"
    assert view.legend["ticks"] == ["0", "0.5", "1"]
    view.colour_by = "certainty:fused"
    both = sent_rgb(view)
    state.present = ("s1",)
    assert (sent_rgb(view).sum(axis=1) < both.sum(axis=1)).mean() > 0.99  # less is known without Sentinel-2


def test_unknown_variances_are_grey_and_said_to_be_unknown():
    tau = np.full((*SHAPE, 3), np.nan, np.float32)
    grid = utm_grid(*SHAPE)
    emb = Embeddings({"published": Expert(np.ones_like(tau), tau)}, grid)
    mean = np.random.default_rng(0).normal(size=tau.shape).astype(np.float32)
    emb.__dict__["_fused"] = mean, np.full_like(mean, np.nan), np.ones(SHAPE, bool)
    _, view = opened(emb, plane="pca")
    assert view.frame["unit"] == "embedding units"
    view.colour_by = "certainty:fused"
    assert len(np.unique(sent_rgb(view), axis=0)) == 1
    assert view.legend["unit"].startswith("unknown")
    assert view.legend["colours"] == []


def test_the_modality_that_knows_most_is_the_planted_one(emb):
    state, view = opened(emb, plane="pca")
    view.colour_by = "knows"
    counts = {name: count for name, _, count in view.legend["entries"]}
    assert counts["Sentinel-2"] == 2000  # planted with four times the precision, +- 30 %
    colour = {name: colour for name, colour, _ in view.legend["entries"]}
    state.present = ("s1",)
    assert "knows" not in [key for key, _ in view.choices]
    assert colour["Sentinel-1"] != colour["Sentinel-2"]


def test_neighbours_on_the_map_are_alike_in_the_colour_of_place(emb):
    _, view = opened(emb, plane="pca")
    rgb = sent_rgb(view).reshape(*SHAPE, 3).astype(int)
    assert np.abs(np.diff(rgb, axis=0)).sum(axis=2).max() < 60
    corners = rgb[[0, 0, -1, -1], [0, -1, 0, -1]]
    apart = np.linalg.norm(corners[:, None] - corners, axis=2)[np.triu_indices(4, 1)]
    assert apart.min() > 100


def test_similarity_is_offered_once_there_is_one(emb):
    state, view = opened(emb, plane="pca")
    scores = np.linspace(0, 1, 2000, dtype=np.float32).reshape(SHAPE)
    scores[0, :5] = np.nan
    attrs = {"long_name": "cosine similarity", "units": "1"}
    state.similarity = SimpleNamespace(map=xr.DataArray(scores, dims=("y", "x"), attrs=attrs))
    assert ["similarity", "Similarity"] in view.choices
    view.colour_by = "similarity"
    assert view.legend["unit"] == "cosine similarity, no unit"
    assert view.legend["note"] == "grey: 5 of 2,000 points without a value"
    assert view.legend["ticks"][-1] == "1"


def test_a_colouring_of_the_callers_own_comes_first(emb):
    codes = planted_classes(*SHAPE)
    dates = np.full(SHAPE, 12.5)
    extras = {"lc": Extra("Land cover", codes, tuple("abcd")), "day": Extra("Date", dates, unit="day of year")}
    _, view = opened(emb, plane="pca", extras=extras)
    assert view.colour_by == "extra:lc"
    assert view.legend["title"] == "Land cover"
    view.colour_by = "extra:day"
    assert (view.legend["title"], view.legend["unit"]) == ("Date", "day of year")


def test_a_colour_that_does_not_exist_is_not_taken(emb):
    _, view = opened(emb, plane="pca")
    view.colour_by = "<script>"
    assert view.colour_by == "place"


def test_no_pixels_travel_as_lists_and_all_messages_are_small():
    _, view = opened(planted_embeddings(200, 250), plane="pca")
    sizes = {
        name: len(json.dumps(value)) for name, value in view.get_state().items() if isinstance(value, str | list | dict)
    }
    assert sizes["points"] < 50_000 * 4 * 4 / 3 + 10
    assert sizes["colours"] < 50_000 * 4 / 3 + 10
    assert max(v for k, v in sizes.items() if k not in ("points", "colours", "_esm", "css")) < 5000


def test_an_explorer_is_not_kept_waiting_by_the_layout_and_the_last_one_stays_meanwhile(emb, monkeypatch):
    go, whole = threading.Event(), latent_plane.pca_layout

    def slow(emb):
        assert go.wait(20)
        return whole(emb)

    async def live():
        monkeypatch.setattr(latent_plane, "pca_layout", slow)
        state, view = opened(emb, plane="pca")
        assert (view.points, view.frame) == ("", {})
        go.set()
        while not view.points:
            await asyncio.sleep(0.01)
        both = view.points
        go.clear()
        state.present = ("s2",)
        await asyncio.sleep(0.05)
        assert view.points == both
        go.set()
        while view.points == both:
            await asyncio.sleep(0.01)
        np.testing.assert_array_equal(np.sort(view._map.drawn), np.arange(SHAPE[0] * SHAPE[1]))
        view.close()

    asyncio.run(asyncio.wait_for(live(), 30))


def test_umap_lets_the_painted_of_the_map_go_first(emb, umap):
    state = Exploration(emb)
    state.painted.clear()
    view = LatentView(state, cache=None)
    time.sleep(0.1)
    assert umap.calls == 0
    state.painted.set()
    wait(lambda: umap.calls == 1)
    view.close()
