from __future__ import annotations

import time

import numpy as np
import pytest
import shapely
import xarray as xr

import georeset_lab as gl
from georeset_lab.widgets.state import ANSWER_S, Exploration
from tests.widgets.planted import planted_embeddings


@pytest.fixture(scope="module")
def state() -> Exploration:
    scene = gl.load_scene("simulated", size=(96, 96))
    return Exploration(gl.encode(scene, progress=False), scene)


def test_a_click_lands_on_its_pixel_and_becomes_the_point(state):
    for row, col in ((0, 0), (17, 41), (95, 95)):
        place = state.place_of(row, col)
        click = state.click_at(place.lon, place.lat)
        assert click is not None
        assert (click.row, click.col) == (row, col)
        state.clicked = click
        assert state.point == click
    assert state.click_at(place.lon + 5, place.lat) is None


def test_the_tool_answers_a_click_before_all_that_is_said_of_the_place():
    state, later = Exploration(planted_embeddings(20, 30)), []
    state.deliver = later.append
    place = state.place_of(3, 4)
    state.click(place.lon, place.lat)
    assert (state.clicked.row, state.clicked.col, state.point) == (3, 4, None)
    later.pop(0)()
    assert state.point == state.clicked


def watched(tool: str) -> Exploration:
    """As if a browser looked on that has painted a picture."""
    state = Exploration(planted_embeddings(20, 30))
    state.deliver = lambda call: call()
    state.tool = tool
    state.see_picture()
    return state


def test_what_is_said_of_a_place_waits_until_the_map_that_the_click_asked_for_is_painted():
    state = watched("similar")
    place = state.place_of(3, 4)
    state.click(place.lon, place.lat)
    time.sleep(0.1)
    assert state.point is None
    state.see_picture()
    until = time.monotonic() + ANSWER_S / 2
    while state.point is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert state.point == state.clicked


def test_of_two_quick_clicks_only_the_last_place_is_looked_at():
    state, seen = watched("label"), []
    state.observe(lambda change: seen.append(change["new"].row), "point")
    for row in (3, 7):
        place = state.place_of(row, 4)
        state.click(place.lon, place.lat)
    state.no_picture()
    until = time.monotonic() + ANSWER_S
    while not seen:
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.1)
    assert seen == [7]


def test_where_nobody_looks_on_only_the_first_job_waits(monkeypatch):
    monkeypatch.setattr("georeset_lab.widgets.state.FIRST_PICTURE_S", 0.2)
    state = Exploration(planted_embeddings(20, 30))
    state.painted.clear()  # as a map does that no browser shows
    start = time.monotonic()
    for _ in range(10):
        state.await_picture()
    assert 0.2 <= time.monotonic() - start < 0.6


def test_a_script_waits_for_no_picture():
    state, did = Exploration(planted_embeddings(20, 30)), []
    state.painted.clear()
    start = time.monotonic()
    state.run(lambda: 1, did.append, later=True)
    assert did == [1]
    assert time.monotonic() - start < 1, "there is no browser that could paint one"


def test_a_look_waits_for_no_picture():
    state = watched("look")
    place = state.place_of(3, 4)
    state.click(place.lon, place.lat)
    assert state.point == state.clicked


def test_a_shape_drawn_in_look_mode_brushes_its_pixels_and_no_others(state):
    corners = [state.place_of(r, c) for r, c in ((10, 10), (10, 20), (20, 20), (20, 10))]
    ring = shapely.Polygon([(p.lon, p.lat) for p in corners])
    state.tool, state.selected = "label", None
    state.drawn = {**shapely.geometry.mapping(ring)}
    assert state.selected is None
    state.tool = "look"
    state.drawn = {**shapely.geometry.mapping(ring.buffer(1e-6))}
    rows, cols = np.divmod(state.selected, state.shape[1])
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (10, 20, 10, 20)
    assert state.selected.size == pytest.approx(121, abs=12)


def test_switched_off_modalities_leave_the_fusion(state):
    state.present = ("s1",)
    assert state.current.modalities == ("s1",)
    assert state.current is state.current
    state.present = tuple(state.emb.modalities)
    assert state.current is state.emb


def test_what_a_job_raises_is_told_and_not_lost(state):
    heard = []
    state.run(lambda: 3, heard.append, doing="counting")
    assert heard == [3]
    assert state.status == ""
    state.run(lambda: 1 / 0, heard.append, doing="dividing")
    assert "division" in state.status
    assert heard == [3]


def test_datasets_and_arrays_are_told_of_once_each(state):
    state.prediction = state.selected = None
    told = []

    def hear(change):
        told.append((change["name"], change["new"] is None))

    state.observe(hear, ["prediction", "selected"])
    found = xr.Dataset({"label": ("x", [1, 2])})
    for value in (found, found, found.copy(), None):
        state.prediction = value
    for value in (np.arange(3), np.arange(3), None):
        state.selected = value
    assert told == [("prediction", False)] * 2 + [("prediction", True)] + [("selected", False)] * 2 + [
        ("selected", True)
    ]
    state.unobserve(hear, ["prediction", "selected"])
