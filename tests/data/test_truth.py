"""Labels and places drawn from a planted truth are where the truth says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from georeset_lab.data.labels import read_labels
from georeset_lab.data.simulate import simulate_scene
from georeset_lab.data.truth import truth_labels, truth_place
from georeset_lab.errors import LabelError


@pytest.fixture(scope="module")
def scene():
    return simulate_scene(seed=0, size=(96, 96), modalities=("s2",))


def test_every_label_is_the_true_class_of_its_pixel(scene):
    found = read_labels(truth_labels(scene, per_class=7), scene["s2"].grid)
    cover = scene.truth["land_cover"]
    there = found.codes >= 0
    names = np.array(cover.attrs["classes"])[cover.values[there]]
    assert (np.array(found.classes)[found.codes[there]] == names).all()
    assert set(found.counts.values()) == {7}


def test_the_draw_follows_the_seed(scene):
    assert truth_labels(scene, seed=1).equals(truth_labels(scene, seed=1))
    assert not truth_labels(scene, seed=1).equals(truth_labels(scene, seed=2))


def test_the_place_is_in_the_middle_of_its_class(scene):
    from georeset_lab.embed.locate import pixel_of

    row, col = pixel_of(scene["s2"].grid, *truth_place(scene, "trees", across=9))
    cover = scene.truth["land_cover"]
    around = cover.values[max(row - 4, 0) : row + 5, max(col - 4, 0) : col + 5]
    assert (around == cover.attrs["classes"].index("trees")).mean() > 0.9


def test_a_class_that_is_not_there_gives_the_most_common_one(scene):
    common = scene.truth["land_cover"].attrs["classes"][
        int(np.bincount(scene.truth["land_cover"].values.ravel()).argmax())
    ]
    assert truth_place(scene, "glacier") == truth_place(scene, common)


def test_a_real_scene_has_no_truth_to_take_labels_from(scene):
    with pytest.raises(LabelError, match="has no truth; only simulated scenes do"):
        truth_labels(replace(scene, truth=None))
