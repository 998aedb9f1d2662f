"""What is said of a place is what was measured, predicted and known there; windows are small and answers not stale."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest

from georeset_lab.data.modality import Modality
from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.embed.profiles.place_pixels import measure
from georeset_lab.embed.profiles.place_profile import Step
from georeset_lab.widgets.place_parts import class_facts, coordinates, known_words
from georeset_lab.widgets.place_view import HINT, PlaceView
from georeset_lab.widgets.state import Click, Exploration
from tests.widgets.lab import wait_for
from tests.widgets.markup import read
from tests.widgets.planted import planted_embeddings


@pytest.fixture
def state(story) -> Exploration:
    return Exploration(story.emb, story.scene)


def predict(state: Exploration, prediction) -> None:
    """Set a prediction and tell it: xarray's ``==`` can hide the change from traitlets."""
    state.prediction = prediction
    state.notify_change({"name": "prediction", "old": None, "new": prediction, "owner": state, "type": "change"})


def test_before_a_click_there_is_a_hint(state):
    view = PlaceView(state)
    assert HINT in read(view).text
    state.point = state.place_of(3, 3)
    assert HINT not in read(view).text
    state.point = None
    assert HINT in read(view).text


def test_a_place_shows_its_coordinates_pictures_and_numbers_with_units(state, story):
    view = PlaceView(state)
    state.point = state.place_of(30, 40)
    text = read(view).text
    assert coordinates(state.point) in text
    assert "row 30, column 40" in text
    pixel = np.array([30 * 72 + 40])
    vv, vh = measure(story.scene["s1"], story.emb.grid, pixel).typical()[0]
    for words in (f"VV −{abs(vv):.1f} dB", f"VH −{abs(vh):.1f} dB", "wavelength (µm)", "reflectance (0 to 1)"):
        assert words in text
    height = measure(story.scene["dem"], story.emb.grid, pixel).typical()[0, 0]
    assert f"{height:.0f} m" in text
    green = measure(story.scene["s2"], story.emb.grid, pixel).typical()[0, 2]
    assert f"Sentinel-2 B03, 0.542 to 0.578 µm: {green:.3f}" in text
    dates = sum(min(len(m.times), 6) for m in story.scene.modalities.values())
    assert len(read(view).of("img")) == dates
    assert str(story.scene["s2"].times[0])[:10] in text


def test_three_dates_make_a_series_and_two_do_not(state, story):
    view = PlaceView(state)
    rows = np.flatnonzero(np.isfinite(story.scene["s2"].data.values).all(axis=(0, 1)).ravel())
    state.point = state.place_of(*divmod(int(rows[0]), 72))
    assert len(story.scene["s2"].times) == 3
    text = read(view).text
    assert "NDVI (−1 to 1)" in text
    assert "backscatter (dB)" in text
    assert "2 dates" not in text
    two = {n: dataclasses.replace(m, raw=m.raw[:2], mask=_first_two(m.mask)) for n, m in story.scene.modalities.items()}
    view = PlaceView(Exploration(story.emb, dataclasses.replace(story.scene, modalities=two)))
    view.state.point = state.point
    assert "NDVI" not in read(view).text
    assert "median and range of 2 dates" in read(view).text


def _first_two(mask):
    return None if mask is None else mask[:2]


def test_a_pixel_is_read_and_a_kilometre_around_it_not_the_scene(state, monkeypatch):
    sizes = []
    real = Modality.read

    def counted(self, rows, cols, *, time=None):
        out = real(self, rows, cols, time=time)
        sizes.append((self.name, out.shape[-2:]))
        return out

    monkeypatch.setattr("georeset_lab.widgets.place_view.AROUND_M", 200.0)
    view = PlaceView(state)
    state.point = state.place_of(30, 40)  # colours are fixed with the first place
    monkeypatch.setattr(Modality, "read", counted)
    state.point = state.place_of(10, 10)
    assert view.state.point is not None
    assert {s for name, s in sizes if name != "dem"} == {(20, 20)}


def test_what_each_modality_knows_is_said_in_words(state):
    view = PlaceView(state)
    state.point = state.place_of(30, 40)  # certainties 0.8, 0.5 and 0.2 in all 8 dimensions
    assert "Sentinel-2 settles 8 of 8 dimensions; Sentinel-1 adds none; Elevation adds none" in read(view).text
    state.point = state.place_of(3, 3)  # where Sentinel-2 saw nothing
    assert "Sentinel-1 settles 8 of 8 dimensions; Sentinel-2 saw nothing here; Elevation adds none" in read(view).text
    state.present = ("dem",)
    text = read(view).text
    assert "Elevation settles 0 of 8 dimensions; 8 stay open (without Sentinel-2, Sentinel-1)" in text
    assert known_words([Step("s2", 41, 41), Step("s1", 20, 3)], 64, [True, True]) == (
        "Sentinel-2 settles 41 of 64 dimensions; Sentinel-1 adds 3; 20 stay open"
    )


def test_the_class_comes_with_its_probability_set_and_causes(state, story):
    prediction = story.prediction
    view = PlaceView(state)
    state.point = state.place_of(30, 40)
    assert "Class" not in read(view).text
    predict(state, prediction)
    here = prediction.isel(y=30, x=40)
    name = str(prediction["class"].values[int(here.label)])
    text = read(view).text
    assert f"{name}, probability {float(here.probability.max()):.2f}" in text
    rows = dict(class_facts(prediction, 30, 40))
    if "prediction_set" in prediction:
        inside = prediction["class"].values[here["prediction_set"].values]
        assert all(str(c) in rows["May be"] for c in inside)
    if "doubt_overlap" in prediction:
        assert "classes overlap" in rows["Doubt"]


def test_a_class_map_without_causes_yet_and_a_hole_are_fine(story):
    plain = story.prediction[["label", "probability"]]
    assert set(dict(class_facts(plain, 30, 40))) == {"Class"}
    hole = plain.copy(deep=True)
    hole["label"].values[30, 40] = -1
    assert class_facts(hole, 30, 40) == [("Class", "nothing was observed here")]


def test_brushed_pixels_are_counted_measured_and_classified(state, story):
    view = PlaceView(state)
    pixels = np.flatnonzero(story.scene.truth["land_cover"].values.ravel() == 0)
    state.selected = pixels
    text = read(view).text
    assert f"{pixels.size:,}" in text
    assert f"{pixels.size / 100:,.2f} ha" in text  # pixels of 10 m
    low, middle, high = measure(story.scene["s1"], story.emb.grid, pixels).quartiles()[:, 0]
    assert pixels.size < 1000
    assert f"VV −{abs(middle):.1f} dB (−{abs(low):.1f} to −{abs(high):.1f} quartiles)" in text
    assert "median and quartiles of the pixels" in text
    predict(state, story.prediction)
    codes = story.prediction["label"].values.ravel()[pixels]
    most = str(story.prediction["class"].values[np.bincount(codes[codes >= 0]).argmax()])
    assert f"{most} {100 * (codes == np.bincount(codes[codes >= 0]).argmax()).mean():.0f} %" in read(view).text
    state.selected = np.empty(0, np.int64)
    assert "Brushed" not in read(view).text


def test_names_from_users_and_files_stay_text(story):
    hostile = "<script>alert(1)</script>"
    scene = dataclasses.replace(
        story.scene, modalities={hostile: dataclasses.replace(story.scene["s2"], name=hostile), "s1": story.scene["s1"]}
    )
    emb = Embeddings({hostile: story.emb.experts["s2"], "s1": story.emb.experts["s1"]}, story.emb.grid)
    state = Exploration(emb, scene)
    view = PlaceView(state)
    named = story.prediction.assign_coords({"class": [f"{hostile}{c}" for c in story.prediction["class"].values]})
    state.point = state.place_of(30, 40)
    predict(state, named)
    state.selected = np.arange(50)
    assert hostile in read(view).text
    assert "<script" not in view.to_html().split("</style>")[1]


def test_a_lazy_scene_is_read_beside_and_a_late_answer_is_dropped(story):
    lazy = {n: dataclasses.replace(m, raw=m.raw.chunk({"y": 32, "x": 32})) for n, m in story.scene.modalities.items()}
    state = Exploration(story.emb, dataclasses.replace(story.scene, modalities=lazy))
    queue, doing = [], []
    state.run = lambda job, done, *, doing="": queue.append((job, done)) or doing_of.append(doing)  # type: ignore[method-assign]
    doing_of = doing
    view = PlaceView(state)
    state.point = state.place_of(30, 40)
    state.point = state.place_of(10, 20)
    assert "row 10, column 20" in read(view).text  # what costs nothing is there at once
    assert read(view).of("img") == []
    assert doing == ["reading the pixels around this place"] * 2
    assert len(queue) == 2
    for job, done in (queue[1], queue[0]):
        done(job())
    state.point = state.place_of(40, 50)
    read_before_the_next_click = queue[2][0]()
    state.point = state.place_of(10, 20)
    queue[3][1](queue[3][0]())
    queue[2][1](read_before_the_next_click)
    eager = PlaceView(Exploration(story.emb, story.scene))
    eager.state.point = state.point
    assert view.parts["more"] == eager.parts["more"]


def test_reading_happens_off_the_callers_thread_only_if_it_is_slow(story):
    state = Exploration(story.emb, story.scene)
    threads = []
    state.run = lambda *a, **k: threads.append(threading.current_thread())  # type: ignore[method-assign]
    PlaceView(state)
    state.point = state.place_of(5, 5)
    assert threads == []


def test_without_a_scene_there_is_still_what_is_known():
    state = Exploration(planted_embeddings(20, 20))
    view = PlaceView(state)
    state.point = state.place_of(3, 4)
    state.selected = np.arange(5)
    text = read(view).text
    assert "settles 8 of 8" in text
    assert "0.05 ha" in text
    assert "Spectrum" not in text


def test_unknown_variance_is_said():
    emb = planted_embeddings(8, 8)
    nan = np.full((8, 8, 8), np.nan, np.float32)
    state = Exploration(Embeddings({"published": Expert(np.ones_like(nan), nan)}, emb.grid))
    view = PlaceView(state)
    state.point = state.place_of(3, 3)
    assert "unknown: these embeddings state no variance" in read(view).text


@pytest.mark.parametrize(
    ("lon", "lat", "said"),
    [(-72.5, -38.83, "38.83000° S, 72.50000° W"), (7.25, 46.5, "46.50000° N, 7.25000° E")],
)
def test_coordinates_read_as_on_a_map(lon, lat, said):
    assert coordinates(Click(0, 0, lon, lat)) == said


CELL = """
import warnings; warnings.simplefilter("ignore")
import numpy as np
from georeset_lab.data.simulate import simulate_scene
from tests.widgets.planted import planted_embeddings
from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.widgets.state import Exploration
from georeset_lab.widgets.place_view import PlaceView
scene = simulate_scene(seed=0, size=(60, 72), modalities=("s2", "s1", "dem"))
state = Exploration(Embeddings(planted_embeddings(60, 72).experts, scene["s2"].grid), scene)
view = PlaceView(state)
view
"""


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_in_a_browser_a_place_appears_with_pictures_and_nothing_overflows(open_notebook, tmp_path, dark):
    page = open_notebook([CELL], dark=dark)
    page.locator(".gl-note", has_text="Click the map").wait_for()
    from tests.widgets.lab import execute

    execute(page, "state.point = state.place_of(30, 40); state.selected = np.arange(500)")
    page.locator("h4", has_text="Seen from above").wait_for()
    page.locator("h4", has_text="Brushed pixels").wait_for()
    assert wait_for(page, "state.point.row") == 30
    page.wait_for_function(
        "[...document.querySelectorAll('.gl-strip img')].every(i => i.complete && i.naturalWidth > 8)"
    )
    assert page.locator(".gl-chart").count() >= 3
    wide = page.evaluate(
        "(() => { const b = document.querySelector('.gl-board'); return b.scrollWidth - b.clientWidth; })()"
    )
    assert wide <= 1
    page.screenshot(path=tmp_path / "place.png")
