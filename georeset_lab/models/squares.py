"""`read_squares`: what the four squares around each pixel say, in one compiled loop; the mathematics is `PixelStatistics`'."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from torch import Tensor

from georeset_lab.compiled import compiled

FLOOR = 1e-4
SHARPNESS = 4

REACH = 2
"""Pixels from a pixel to the far side of the squares of 3 x 3 that hold it in a corner."""


@numba.njit(inline="always", error_model="numpy")
def _three(line: Any, x: Any) -> Any:
    return line[x] + line[x + 1] + line[x + 2]


def _read(
    values: Any, measured: Any, first: Any, nx: Any, fixed: Any, own: Any, mean: Any, spread: Any, noise: Any,
    weight: Any, m: Any, v: Any, row: Any,
) -> None:  # fmt: skip
    dates, bands, tall, wide = values.shape
    ny, n = mean.shape[2:]
    step = nx // n
    # The squares of a pixel that is kept begin in columns that are kept too: none of the others is needed.
    far = REACH // step
    floor, one, zero = np.float32(FLOOR), np.float32(1), np.float32(0)
    nil, root = np.float32(1e-30), np.float32(FLOOR**0.5)
    left, right = max(0, first[1] - REACH), min(wide, first[1] + nx + REACH)
    share, inverse, total, sums, squares = row[0, :n], row[1], row[2], row[3], row[4]
    # Columns inside the image, as slices: a loop over an index that may be negative is not vectorised.
    begin = left - first[1] + REACH
    inner_sums, inner_squares = sums[begin : begin + right - left], squares[begin : begin + right - left]
    for t in range(dates):
        # Squares by their corner: square (y, x) covers pixels y - 2 .. y and x - 2 .. x, counted from ``first``.
        for y in range(ny + REACH):
            top, bottom = max(0, first[0] + y - REACH), min(tall, first[0] + y + 1)
            count, odd = weight[y], np.uint64(y % step)
            sums[:] = zero
            for i in range(top, bottom):
                seen = measured[t, i, left:right]
                for x in range(len(seen)):
                    inner_sums[x] += seen[x]
            for x in range(n + far):
                count[x] = _three(sums, np.uint64(step * x) + odd)
                inverse[x] = one / max(count[x], one)
                total[x] = zero
            for b in range(bands):
                sums[:] = zero
                squares[:] = zero
                for i in range(top, bottom):
                    line = values[t, b, i, left:right]
                    for x in range(len(line)):
                        inner_sums[x] += line[x]
                        inner_squares[x] += line[x] * line[x]
                averages, variances = m[b, y], v[b, y]
                if step == 1:
                    for x in range(n + far):
                        averages[x], variances[x] = _three(sums, x), _three(squares, x)
                else:
                    for x in range(n + far):
                        averages[x] = _three(sums, np.uint64(2 * x) + odd)
                        variances[x] = _three(squares, np.uint64(2 * x) + odd)
                for x in range(n + far):
                    averages[x] *= inverse[x]
                    variance = max(variances[x] * inverse[x] - averages[x] * averages[x], zero)
                    variances[x] = variance
                    total[x] += variance
            for x in range(n + far):
                even = floor / (total[x] / np.float32(bands) + floor)
                count[x] *= (even * even) * (even * even)
        for y in range(ny):
            above, below, odd = weight[y], weight[y + REACH], np.uint64(y % step)
            above_right, below_right = above[far:], below[far:]
            for x in range(n):
                share[x] = one / max(above[x] + above_right[x] + below[x] + below_right[x], nil)
            rough = noise[t, y]
            rough[:] = zero
            for b in range(bands):
                line, owns = values[t, b, first[0] + y, first[1] : first[1] + nx], own[t, b, y]
                part = one / np.float32(fixed) if b < fixed else zero
                m0, m1, v0, v1 = m[b, y], m[b, y + REACH], v[b, y], v[b, y + REACH]
                m2, m3, v2, v3 = m0[far:], m1[far:], v0[far:], v1[far:]
                means, spreads = mean[t, b, y], spread[t, b, y]
                for x in range(n):
                    p, q, r, s = above[x], above_right[x], below[x], below_right[x]
                    means[x] = (p * m0[x] + q * m2[x] + r * m1[x] + s * m3[x]) * share[x]
                    variance = (p * v0[x] + q * v2[x] + r * v1[x] + s * v3[x]) * share[x]
                    some = np.sqrt(variance + floor) - root
                    spreads[x] = some
                    rough[x] += some * some * part
                if step == 1:
                    owns[:] = line
                else:
                    for x in range(n):
                        owns[x] = line[np.uint64(2 * x) + odd]


_read_loop = compiled(_read)


def read_squares(
    values: Tensor, measured: Tensor, fixed: int, first: tuple[int, int], size: tuple[int, int], step: int = 1
) -> tuple[Tensor, Tensor]:
    """Weighted mean and spread of the squares around ``size`` pixels from ``first`` on, on a CPU, without gradients.

    Parameters
    ----------
    values : Tensor, shape (T, R, Y, X), float32
        0 where nothing was measured.
    measured : Tensor, shape (T, Y, X), bool
    fixed : int
        Bands, the first ones, of which the noise is read.
    first, size : pair of int
        Rows and columns.
    step : {1, 2}
        2 reads only `georeset_lab.models.pixels.every_second` pixel.

    Returns
    -------
    parts : Tensor, shape (3, T, R, Y, X / step)
        The pixels' own values, the means and the spreads.
    noise : Tensor, shape (T, 1, Y, X / step)
        Mean square of the spreads of the fixed bands.
    """
    t, bands = values.shape[:2]
    shape = (size[0], size[1] // step)
    parts, noise = values.new_empty(3, t, bands, *shape), values.new_empty(t, *shape)
    tall, wide = (n + REACH for n in size)
    scratch = np.empty((2 * bands + 1, tall, wide), np.float32)
    rows = np.empty((5, wide + REACH), np.float32)
    means, variances = scratch[1 : bands + 1], scratch[bands + 1 :]
    arrays = (z.numpy() for z in (*parts, noise))
    _read_loop(values.numpy(), measured.numpy(), first, size[1], fixed, *arrays, scratch[0], means, variances, rows)
    return parts, noise[:, None]
