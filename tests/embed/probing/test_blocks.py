from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from georeset_lab.data.labels import LabelSet
from georeset_lab.embed.probing.blocks import block_ids, checkerboard, leave_blocks_out, make_folds, units_of
from georeset_lab.errors import InvalidOption


def grid_of(rows: int, cols: int) -> GeoBox:
    return GeoBox.from_bbox(
        (600_000, 5_001_000 - 10 * rows, 600_000 + 10 * cols, 5_001_000), "EPSG:32719", resolution=10
    )


def label_set(codes: np.ndarray, groups: np.ndarray | None = None) -> LabelSet:
    groups = np.full(codes.shape, -1, np.int32) if groups is None else groups.astype(np.int32)
    names = tuple(f"class {i}" for i in range(int(codes.max()) + 1))
    return LabelSet(codes.astype(np.int16), names, groups, grid_of(*codes.shape))


def test_blocks_are_squares_of_the_asked_side():
    ids = block_ids(grid_of(60, 90), 300)
    assert np.unique(ids).size == 2 * 3
    assert (np.bincount(ids.ravel()) == 30 * 30).all()
    assert ids[0, 0] == 0
    assert ids[29, 29] == 0
    assert ids[30, 29] != ids[29, 29]


def test_blocks_of_a_crop_are_those_of_the_whole():
    whole, part = block_ids(grid_of(60, 90), 300), block_ids(grid_of(60, 90)[7:55, 13:80], 300)
    same = whole[7:55, 13:80]
    pairs = np.unique(np.stack([same.ravel(), part.ravel()]), axis=1)
    assert pairs.shape[1] == np.unique(same).size == np.unique(part).size


def test_neighbouring_blocks_of_a_checkerboard_differ():
    board = checkerboard(grid_of(60, 90), 300)
    assert board[0, 0] == 0
    assert (board[:30] == 1 - board[30:]).all()
    assert (board[:, :30] == board[:, 60:]).all()


@pytest.mark.parametrize("side", [0.0, -5.0, float("nan")])
def test_a_block_needs_a_side(side):
    with pytest.raises(InvalidOption, match="above zero"):
        block_ids(grid_of(6, 6), side)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 6))
def test_no_unit_is_in_two_folds_and_every_fold_tests_something(seed, n_folds):
    rng = np.random.default_rng(seed)
    units = rng.integers(0, 12, 300)
    y = (units % 3 + (rng.random(300) < 0.2)).astype(int) % 3
    fold = leave_blocks_out(units, y, n_folds, seed=seed)
    assert all(np.unique(fold[units == u]).size == 1 for u in np.unique(units))
    assert set(fold) == set(range(n_folds))


def test_folds_repeat_for_a_seed_and_change_with_it():
    rng = np.random.default_rng(0)
    units, y = rng.integers(0, 30, 500), rng.integers(0, 3, 500)
    assert (leave_blocks_out(units, y, 5, seed=1) == leave_blocks_out(units, y, 5, seed=1)).all()
    assert (leave_blocks_out(units, y, 5, seed=1) != leave_blocks_out(units, y, 5, seed=2)).any()


def test_more_folds_than_units_are_refused():
    with pytest.raises(InvalidOption, match="5 folds of 3 units: these labels allow 2 to 2"):
        leave_blocks_out(np.array([0, 1, 2]), np.array([0, 1, 0]), 5)


def test_a_polygon_across_a_block_edge_goes_whole_to_where_most_of_it_lies():
    codes, groups = np.full((60, 60), -1), np.full((60, 60), -1)
    codes[10:14, 20:36], groups[10:14, 20:36] = 0, 7  # 10 columns in the first block, 6 in the second
    labels = label_set(np.maximum(codes, -1), groups)
    pixels, _ = labels.pixels
    units = units_of(labels, pixels, 300)
    assert set(units) == {block_ids(labels.grid, 300)[12, 22]}


def test_folds_of_a_raster_test_every_pixel_once_and_keep_blocks_whole():
    rng = np.random.default_rng(0)
    labels = label_set(np.repeat(np.repeat(rng.integers(0, 3, (12, 12)), 8, axis=0), 8, axis=1))
    pixels, y = labels.pixels
    folds = make_folds(labels, pixels, y)
    assert folds.n == 5
    assert (folds.fold >= 0).all()
    assert all(np.unique(folds.fold[folds.units == u]).size == 1 for u in np.unique(folds.units))
    for train, test in folds.splits():
        assert not set(folds.units[train]) & set(folds.units[test])
        assert train.size + test.size == y.size


def points(places: list[tuple[int, int, int]]) -> LabelSet:
    codes, groups = np.full((96, 96), -1), np.full((96, 96), -1)
    for i, (row, col, code) in enumerate(places):
        codes[row, col], groups[row, col] = code, i
    return label_set(codes, groups)


def test_few_labels_get_fewer_folds_and_a_note():
    labels = points([(0, 0, 0), (90, 0, 0), (50, 50, 0), (90, 90, 1), (20, 70, 1)])
    folds = make_folds(labels, *labels.pixels)
    assert folds.n == 3
    assert any("3 folds instead of 5" in note for note in folds.notes)


def test_a_scarce_class_does_not_take_the_folds_from_the_others():
    rng = np.random.default_rng(0)
    places = [(int(r), int(c), i % 3) for i, (r, c) in enumerate(rng.integers(0, 96, (60, 2)))]
    labels = points([*places, (5, 5, 3), (90, 90, 3)])
    pixels, y = labels.pixels
    folds = make_folds(labels, pixels, y)
    assert folds.n == 5
    for train, test in folds.splits():
        assert set(y[test]) <= set(y[train])


def test_blocks_are_halved_until_each_class_lies_in_two():
    labels = points([(0, 0, 0), (5, 20, 0), (8, 90, 0), (90, 90, 1), (90, 80, 1), (90, 70, 1), (60, 90, 1)])
    folds = make_folds(labels, *labels.pixels)
    assert folds.n >= 2
    assert np.unique(folds.units).size >= 4


def test_a_class_in_one_place_is_trained_on_and_never_tested():
    labels = points([(0, 0, 0), (90, 90, 0), (0, 90, 1), (90, 0, 1), (50, 50, 2)])
    pixels, y = labels.pixels
    folds = make_folds(labels, pixels, y)
    assert folds.fold[y == 2].tolist() == [-1]
    assert (folds.fold[y != 2] >= 0).all()
    assert any("'class 2' in one block only" in note for note in folds.notes)


def test_one_polygon_per_class_is_cut_and_says_so():
    codes, groups = np.full((96, 96), -1), np.full((96, 96), -1)
    for code, (row, col) in enumerate([(0, 0), (60, 60)]):
        codes[row : row + 24, col : col + 24], groups[row : row + 24, col : col + 24] = code, code
    labels = label_set(codes, groups)
    folds = make_folds(labels, *labels.pixels)
    assert folds.n == 5
    assert sum("scores are too good" in note for note in folds.notes) == 2


def test_two_single_points_cannot_be_tested():
    labels = points([(0, 0, 0), (90, 90, 1)])
    folds = make_folds(labels, *labels.pixels)
    assert folds.n == 0
    assert folds.splits() == []
    assert "nothing can be tested by place" in folds.notes[-1]
