from __future__ import annotations

import gc
import weakref

import pytest

import georeset_lab as gl
from georeset_lab.embed.labels.book import LabelBook
from georeset_lab.errors import InvalidOption
from georeset_lab.widgets.explore import Explorer, make_explorer
from georeset_lab.widgets.state import Exploration


@pytest.fixture(scope="module")
def scene():
    return gl.load_scene("simulated", size=(96, 96))


@pytest.fixture(scope="module")
def emb(scene):
    return gl.encode(scene, progress=False)


@pytest.fixture
def explorer(scene, emb, tmp_path):
    made = Explorer(Exploration(emb, scene), book=LabelBook.open(tmp_path, "explore"))
    yield made
    made.close()
    made.labeller.book.close()


def test_explore_encodes_by_itself_and_keeps_labels_in_the_working_directory(scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = gl.explore(scene, progress=False)
    made.labeller.book.add_point(*made.state.place_of(3, 3)[2:], "water")
    assert list((tmp_path / ".georeset_labels").iterdir())
    assert list(made.labels["label"]) == ["water"]
    made.close()
    made.labeller.book.close()


def test_explore_needs_something_to_show():
    with pytest.raises(InvalidOption, match="explore"):
        gl.explore(None)


def test_tabs_and_tools_follow_each_other(explorer):
    for index, tool in enumerate(("look", "label", "look", "similar")):
        explorer.tabs.selected_index = index
        assert explorer.state.tool == tool
    explorer.state.tool = "label"
    assert explorer.tabs.selected_index == 1


def test_labels_and_colours_reach_the_map(explorer):
    explorer.labeller._name.value = "water"
    explorer.labeller._add_class()
    place = explorer.state.place_of(10, 12)
    explorer.state.click(place.lon, place.lat)
    assert explorer.map.labels["features"][0]["properties"]["label"] == "water"
    assert explorer.map.class_colours == explorer.labeller.class_colours
    assert explorer.map.class_colours["water"].startswith("#")


def test_the_served_explorer_names_no_file_of_the_server(scene, emb, tmp_path):
    book = LabelBook.open(tmp_path, "served")
    made = make_explorer(Exploration(emb, scene), book=book)
    assert not hasattr(made.labeller, "_upload")
    made.close()
    book.close()


def test_a_closed_explorer_lets_go_of_its_exploration(scene, emb, tmp_path):
    book = LabelBook.open(tmp_path, "gone")
    made = Explorer(Exploration(emb, scene), book=book)
    heard = weakref.ref(made.labeller.live)
    state = made.state
    made.close()
    book.close()
    del made
    gc.collect()
    state.present = ("s1",)
    assert heard() is None or heard()._wanted == 0
