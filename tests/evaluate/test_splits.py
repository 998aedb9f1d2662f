from __future__ import annotations

import numpy as np
import pytest

from georeset_lab.errors import LabelError, ShapeMismatch
from georeset_lab.evaluate import splits
from georeset_lab.evaluate.splits import TEST, TRAIN


def split_of(task, **kwargs):
    return splits.make_split(task.labels, task.groups, task.side, task.classes, **{"n_draws": 4, **kwargs})


def test_training_and_test_pixels_never_share_a_block(planted_task):
    split = split_of(planted_task)
    groups = planted_task.groups.ravel()
    taught = {g for d in split.draws for g in groups[d.pixels]}
    assert taught
    assert not taught & set(groups[split.test_pixels])


def test_labels_come_from_the_training_side_and_are_of_their_class(planted_task):
    split = split_of(planted_task)
    codes = list(planted_task.classes)
    for draw in split.draws:
        assert (planted_task.side.ravel()[draw.pixels] == TRAIN).all()
        assert (planted_task.labels.ravel()[draw.pixels] == np.take(codes, draw.y)).all()
        assert np.bincount(draw.y).tolist() == [draw.per_class] * 3
    assert (planted_task.side.ravel()[split.test_pixels] == TEST).all()
    assert (planted_task.labels.ravel()[split.test_pixels] == np.take(codes, split.test_y)).all()


def test_draws_repeat_with_the_seed_and_differ_between_draws(planted_task):
    first, again, other = split_of(planted_task), split_of(planted_task), split_of(planted_task, seed=1)
    for a, b in zip(first.draws, again.draws, strict=True):
        assert (a.pixels == b.pixels).all()
        assert (a.folds == b.folds).all()
    assert (first.test_pixels == again.test_pixels).all()
    assert (first.draws[0].pixels != other.draws[0].pixels).any()
    fives = [frozenset(d.pixels) for d in first.draws if d.per_class == 5]
    assert len(set(fives)) == 4


def test_smaller_draws_lie_inside_larger_ones_of_the_same_index(planted_task):
    draws = {(d.index, d.per_class): set(d.pixels) for d in split_of(planted_task).draws}
    assert draws[2, 5] < draws[2, 10] < draws[2, 20] < draws[2, 50]


def test_test_pixels_are_capped_evenly(planted_task):
    split = split_of(planted_task, max_test=300)
    assert np.bincount(split.test_y).tolist() == [100, 100, 100]


def test_a_group_never_spans_two_folds(planted_task):
    for draw in split_of(planted_task).draws:
        groups = planted_task.groups.ravel()[draw.pixels]
        for g in np.unique(groups):
            assert np.unique(draw.folds[groups == g]).size == 1
        assert set(draw.folds) == set(range(5))


def test_folds_spread_a_class_of_two_groups_over_two_folds():
    y = np.repeat([0, 0, 1, 1, 1, 1], 5)
    groups = np.repeat(np.arange(6), 5)
    folds = splits.group_folds(y, groups)
    assert np.unique(folds[y == 0]).size == 2


def test_polygons_of_each_class_go_whole_to_both_sides():
    labels = np.zeros((10, 10), int)
    groups = np.full((10, 10), -1)
    for i in range(8):
        labels[i, : 9 - i] = 1 + i % 2
        groups[i, : 9 - i] = i
    side = splits.alternate_groups(labels, groups)
    assert (side[groups < 0] == -1).all()
    for i in range(8):
        assert np.unique(side[groups == i]).size == 1
    for code in (1, 2):
        assert set(side[labels == code]) == {TRAIN, TEST}
    assert side[0, 0] == TRAIN, "the largest polygon of a class teaches"


@pytest.mark.parametrize(("min_pixels", "min_groups", "kept"), [(4, 2, [1]), (4, 1, [1, 2]), (5, 1, [])])
def test_eligible_classes_need_pixels_and_groups(min_pixels, min_groups, kept):
    labels = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 0]])
    groups = np.array([[0, 0, 1, 1, 2, 2, 2, 2, 3]])
    assert splits.eligible_classes(labels, groups, min_pixels=min_pixels, min_groups=min_groups) == kept


def test_a_class_too_small_for_the_draws_is_refused_with_its_numbers(planted_task):
    with pytest.raises(LabelError, match=r"Class 'field' has \d+ training .* 5000 labels per class"):
        split_of(planted_task, sizes=(5000,))


def test_one_class_and_unequal_maps_are_refused(planted_task):
    t = planted_task
    with pytest.raises(LabelError, match="two classes"):
        splits.make_split(t.labels, t.groups, t.side, {1: "field"})
    with pytest.raises(ShapeMismatch, match="one shape"):
        splits.make_split(t.labels[1:], t.groups, t.side, t.classes)
