from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest

import georeset_lab as gl
from georeset_lab.embed.labels.book import LabelBook
from georeset_lab.widgets.labeller import Labeller
from georeset_lab.widgets.state import Exploration


@pytest.fixture(scope="module")
def emb():
    scene = gl.load_scene("simulated", size=(96, 96))
    return gl.encode(scene, progress=False)


@pytest.fixture
def labeller(emb, tmp_path):
    made = Labeller(Exploration(emb), LabelBook.open(tmp_path, "test"))
    yield made
    made.close()
    made.book.close()


def add_class(labeller, name):
    labeller._name.value = name
    labeller._add_class()


def click(labeller, row, col):
    place = labeller.state.place_of(row, col)
    labeller.state.click(place.lon, place.lat)


def two_classes(labeller):
    for name, pixels in (("water", [(5, 5), (80, 20)]), ("land", [(60, 60), (20, 80)])):
        add_class(labeller, name)
        for row, col in pixels:
            click(labeller, row, col)


def test_clicks_get_the_chosen_class_and_the_map_follows(labeller):
    two_classes(labeller)
    assert labeller.book.counts == {"water": 2, "land": 2}
    found = labeller.state.prediction
    assert found.attrs["classes"] == ["water", "land"] or set(found.attrs["classes"]) == {"water", "land"}
    assert found["label"].shape == (96, 96)
    assert "cause" in found, "the doubts follow"
    names = np.array(found.attrs["classes"])
    assert names[found["label"].values[60, 60]] == "land"
    colours = {f["properties"]["label"]: f["properties"]["colour"] for f in labeller.labels["features"]}
    assert colours == labeller.class_colours


def test_a_label_changes_the_row_of_its_class_and_makes_no_new_one(labeller):
    two_classes(labeller)
    rows = labeller._classes.children
    click(labeller, 40, 40)
    assert labeller._classes.children == rows
    assert [row._count.value for row in rows] == ["2 labels", "3 labels"]
    assert [row._pick.value for row in rows] == [False, True]
    rows[0]._pick.value = True  # by hand
    assert labeller.chosen == "water"
    assert [row._pick.value for row in rows] == [True, False]
    rows[0]._pick.value = False  # pressed again: it stays the chosen one
    assert labeller.chosen == "water"
    assert rows[0]._pick.value
    rows[0].children[-1].click()
    assert labeller._classes.children == rows[1:]
    assert "water" not in labeller.book.counts


def test_other_tools_leave_no_label(labeller):
    add_class(labeller, "water")
    labeller.state.tool = "look"
    click(labeller, 10, 10)
    assert labeller.book.counts == {"water": 0}


def test_undo_and_redo_change_the_map_with_the_labels(labeller):
    two_classes(labeller)
    for _ in range(2):
        labeller._undo.click()
    assert labeller.book.counts["land"] == 0
    assert labeller.state.prediction is None, "one class makes no map"
    assert "two classes" in labeller._note.value or "one" in labeller._note.value or "probe" in labeller._note.value
    labeller._redo.click()
    assert labeller.state.prediction is not None


def test_the_eraser_removes_labels_near_the_click(labeller):
    two_classes(labeller)
    labeller._eraser.value = True
    click(labeller, 60, 61)
    assert labeller.book.counts == {"water": 2, "land": 1}


def test_a_shape_is_one_label_of_many_pixels(labeller):
    add_class(labeller, "water")
    corners = [labeller.state.place_of(r, c) for r, c in ((10, 10), (10, 30), (30, 30), (30, 10), (10, 10))]
    labeller.state.drawn = {"type": "Polygon", "coordinates": [[[p.lon, p.lat] for p in corners]]}
    assert labeller.book.counts == {"water": 1}
    assert labeller.labels["features"][0]["geometry"]["type"] == "Polygon"


def test_switching_a_modality_off_makes_the_map_anew(labeller):
    two_classes(labeller)
    before = labeller.state.prediction["probability"].values
    labeller.state.present = ("s1",)
    assert not np.allclose(before, labeller.state.prediction["probability"].values, equal_nan=True)


def test_a_suggestion_is_a_place_that_is_looked_at_and_no_label(labeller):
    two_classes(labeller)
    labeller._suggest()
    assert labeller.state.point is not None
    assert "ring" in labeller._note.value
    assert sum(labeller.book.counts.values()) == 4


def test_names_are_text_and_never_html(labeller):
    add_class(labeller, "<img src=x onerror=alert(1)>")
    labeller._name.value = "<img src=x onerror=alert(1)>"
    labeller._add_class()  # refused: there is one of this name; the message holds the name
    assert "<img" not in labeller._note.value


def test_files_come_in_as_one_step_and_bad_ones_are_refused_in_words(labeller):
    place = labeller.state.place_of(50, 50)
    feature = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [place.lon, place.lat]},
        "properties": {"label": "reed"},
    }
    content = json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()
    labeller._import({"new": [{"content": memoryview(content)}]})
    assert labeller.book.counts == {"reed": 1}
    labeller._import({"new": [{"content": memoryview(b"no labels at all")}]})
    assert labeller.book.counts == {"reed": 1}
    assert labeller._note.value != "<span></span>"
    labeller._undo.click()
    assert not labeller.book.items


def test_labels_are_there_again_after_a_restart(emb, tmp_path):
    with LabelBook.open(tmp_path, "again") as book:
        first = Labeller(Exploration(emb), book)
        two_classes(first)
        first.close()
    with LabelBook.open(tmp_path, "again") as book:
        second = Labeller(Exploration(emb), book)
        assert second.book.counts == {"water": 2, "land": 2}
        assert second.state.prediction is not None
        second.close()


def test_a_class_gets_the_colour_that_its_name_suggests_and_nobody_elses(labeller):
    for name in ("forest", "water", "river", "something"):
        add_class(labeller, name)
    colours = labeller.class_colours
    assert colours["forest"].casefold() == "#009e73"
    assert colours["water"].casefold() == "#0072b2"
    assert len({c.casefold() for c in colours.values()}) == 4


def test_saved_labels_can_also_be_downloaded_from_the_notebook(labeller, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    two_classes(labeller)
    labeller._writer("labels.geojson")()
    link = re.search(
        r'<a download="labels.geojson" href="data:application/octet-stream;base64,([^"]+)">', labeller._note.value
    )
    assert link is not None
    assert base64.b64decode(link[1]) == (tmp_path / "labels.geojson").read_bytes()


def test_a_served_labeller_says_that_labels_are_kept_but_not_where(emb, tmp_path):
    book = LabelBook.open(tmp_path, "secret")
    made = Labeller(Exploration(emb), book, files=False)
    assert "saved" in made._where.value
    assert str(tmp_path) not in made._where.value
    assert "secret" not in made._where.value
    made.close()
    book.close()


def test_what_is_said_takes_no_room_when_there_is_nothing_to_say(labeller):
    assert "Name two classes" in labeller._note.value
    add_class(labeller, "water")
    click(labeller, 5, 5)
    click(labeller, 80, 20)
    labeller._say("")
    assert labeller._note.layout.display == "none"
    labeller._say("<b>careful</b>")
    assert labeller._note.layout.display != "none"
    assert "<b>careful" not in labeller._note.value
