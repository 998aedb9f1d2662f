from __future__ import annotations

import pytest

from georeset_lab.dashboard.sources import make_sources
from georeset_lab.data.simulate import simulate_scene
from georeset_lab.errors import SceneReadError
from tests.dashboard.conftest import planted


def test_without_anything_given_the_simulated_scene_is_offered():
    for nothing in (None, [], {}):
        (source,) = make_sources(nothing)
        assert (source.title, source.origin, source.key) == ("Simulated landscape", "simulated", "simulated")


def test_a_path_that_does_not_exist_is_refused_at_the_start(tmp_path):
    with pytest.raises(SceneReadError, match="no file or folder"):
        make_sources([tmp_path / "nothing"])


def test_titles_differ_and_keys_too(tmp_path):
    for place in ("chile", "peru"):
        (tmp_path / place / "s2").mkdir(parents=True)
    sources = make_sources([tmp_path / "chile" / "s2", tmp_path / "peru" / "s2", "simulated"])
    assert [s.title for s in sources] == ["chile/s2", "peru/s2", "Simulated landscape"]
    assert len({s.key for s in sources}) == 3
    again = make_sources([tmp_path / "chile" / "s2"])
    assert again[0].key == sources[0].key, "the same after a restart"


def test_a_scene_embeddings_and_stores_of_both_open_as_what_they_are(tmp_path):
    scene, emb = simulate_scene(seed=0, size=(24, 24), modalities=("s2",), dates=1), planted(3)
    scene.to_zarr(tmp_path / "scene.zarr")
    emb.to_zarr(tmp_path / "emb.zarr")
    given = {"a": scene, "b": emb, "c": tmp_path / "scene.zarr", "d": tmp_path / "emb.zarr"}
    opened = [source.open() for source in make_sources(given)]
    assert [(s is not None, e is not None) for s, e in opened] == [
        (True, False), (False, True), (True, False), (False, True),
    ]  # fmt: skip
    assert opened[3][1].shape == emb.shape
    assert list(opened[2][0]) == ["s2"]


def test_two_things_in_memory_are_told_apart_by_their_titles():
    one, two = make_sources({"one": planted(1), "two": planted(2)})
    assert one.key != two.key
    first, second = make_sources([planted(1), planted(2)])
    assert first.title != second.title
    assert first.key != second.key
