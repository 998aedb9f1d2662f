"""Pixels are added where they belong; of a pair, one counts for both."""

import numpy as np
import pytest

from georeset_lab.embed.encoding.add_up import add_up

ROWS, COLS = np.array([-1, 0, 0, 2, 2, 2]), np.array([0, 0, 1, 1, -1, -1, 3, 3])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [1, 2])
def test_sums_are_those_of_a_slow_loop(step, dtype):
    block = np.random.default_rng(0).random((6, 8 // step, 3)).astype(np.float32)
    out = np.ones((3, 4, 3), dtype)
    expected = out.copy()
    for y, row in enumerate(ROWS):
        for x in range(8 // step):
            col = COLS[step * x + y % step]
            if row >= 0 and col >= 0:
                expected[row, col] += step * block[y, x]
    add_up(out, block, ROWS, COLS)
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_any_trailing_shape_and_a_view():
    whole = np.random.default_rng(1).random((6, 20, 2, 2))
    out = np.zeros((3, 4, 2, 2))
    add_up(out, whole[:, 2:10], ROWS, COLS)
    np.testing.assert_allclose(out[2, 3], whole[3:, 8:10].sum((0, 1)))
