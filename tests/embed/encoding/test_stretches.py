"""Sums over stretches: those of NumPy, for any lengths, types and shapes."""

import numpy as np
import pytest

from georeset_lab.embed.encoding.stretches import sum_stretches


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "starts", [[0], [0, 6], [0, 4, 8], [0, 3, 6, 9], [0, 5, 10], [2, 7], [0, 1, 9], list(range(12))]
)
def test_sums_are_those_of_numpy(axis, dtype, starts):
    part = np.random.default_rng(0).random((12, 12, 3)).astype(dtype)
    found = sum_stretches(part, np.array(starts), axis)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, np.add.reduceat(part, np.array(starts), axis=axis), rtol=1e-6)


def test_any_shape_and_a_view():
    whole = np.random.default_rng(1).random((5, 9, 1, 4)).astype(np.float32)
    part = whole[1:, 2:]
    starts = np.array([0, 2, 5])
    np.testing.assert_allclose(sum_stretches(part, starts, 1), np.add.reduceat(part, starts, axis=1), rtol=1e-6)
    assert sum_stretches(part[:0], starts, 1).shape == (0, 3, 1, 4)


def test_a_gap_stays_in_its_stretch():
    part = np.ones((6, 2), np.float32)
    part[4, 1] = np.nan
    found = sum_stretches(part, np.array([0, 3]), 0)
    np.testing.assert_array_equal(found, [[3, 3], [3, np.nan]])
