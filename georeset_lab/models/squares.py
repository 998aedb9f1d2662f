"""`read_squares`: what the four squares around each pixel say, in one compiled loop; the mathematics is `PixelStatistics`'."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from georeset_lab.compiled import compiled

FLOOR = 1e-4
SHARPNESS = 4

REACH = 2
"""Pixels from a pixel to the far side of the squares of 3 x 3 that hold it in a corner."""
_KEPT = REACH + 1
"""Rows of squares that are kept: of those a pixel needs, the first and the last."""


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
    row[:] = zero
    share, inverse, total, sums, squares = row[0, :n], row[1], row[2], row[3], row[4]
    # Columns inside the image, as slices: a loop over an index that may be negative is not vectorised.
    begin = left - first[1] + REACH
    inner_sums, inner_squares = sums[begin : begin + right - left], squares[begin : begin + right - left]
    nothing = row[5, : right - left]
    for t in range(dates):
        # Squares by their corner: square (y, x) covers pixels y - 2 .. y and x - 2 .. x, counted from ``first``. Of their
        # rows the last three are kept.
        for y in range(ny + REACH):
            low = first[0] + y
            slot, odd = y % _KEPT, y % step
            count = weight[slot]
            inner_sums[:] = zero
            for i in range(max(0, low - REACH), min(tall, low + 1)):
                seen = measured[t, i, left:right]
                for x in range(len(seen)):
                    inner_sums[x] += seen[x]
            # Sums of three columns are spelled out here and below: loops over a function of its own are slower.
            if step == 1:
                for x in range(n + far):
                    count[x] = sums[x] + sums[x + 1] + sums[x + 2]
            else:
                pairs = sums[odd : odd + 2 * (n + far + 1)].reshape((n + far + 1, 2))
                for x in range(n + far):
                    count[x] = pairs[x, 0] + pairs[x, 1] + pairs[x + 1, 0]
            for x in range(n + far):
                inverse[x] = one / max(count[x], one)
                total[x] = zero
            for b in range(bands):
                line0 = values[t, b, low - 2, left:right] if 0 <= low - 2 < tall else nothing
                line1 = values[t, b, low - 1, left:right] if 0 <= low - 1 < tall else nothing
                line2 = values[t, b, low, left:right] if 0 <= low < tall else nothing
                for x in range(len(line0)):
                    inner_sums[x] = line0[x] + line1[x] + line2[x]
                    inner_squares[x] = line0[x] * line0[x] + line1[x] * line1[x] + line2[x] * line2[x]
                averages, variances = m[slot, b], v[slot, b]
                if step == 1:
                    for x in range(n + far):
                        averages[x] = sums[x] + sums[x + 1] + sums[x + 2]
                        variances[x] = squares[x] + squares[x + 1] + squares[x + 2]
                else:
                    pairs = sums[odd : odd + 2 * (n + far + 1)].reshape((n + far + 1, 2))
                    others = squares[odd : odd + 2 * (n + far + 1)].reshape((n + far + 1, 2))
                    for x in range(n + far):
                        averages[x] = pairs[x, 0] + pairs[x, 1] + pairs[x + 1, 0]
                        variances[x] = others[x, 0] + others[x, 1] + others[x + 1, 0]
                for x in range(n + far):
                    averages[x] *= inverse[x]
                    variance = max(variances[x] * inverse[x] - averages[x] * averages[x], zero)
                    variances[x] = variance
                    total[x] += variance
            for x in range(n + far):
                even = floor / (total[x] / np.float32(bands) + floor)
                count[x] *= (even * even) * (even * even)
            if y < REACH:
                continue
            y_own = y - REACH
            other = y_own % _KEPT
            above, below = weight[other], count
            above_right, below_right = above[far:], below[far:]
            for x in range(n):
                share[x] = one / max(above[x] + above_right[x] + below[x] + below_right[x], nil)
            rough = noise[t, y_own]
            rough[:] = zero
            for b in range(bands):
                line, owns = values[t, b, first[0] + y_own, first[1] : first[1] + nx], own[t, b, y_own]
                part = one / np.float32(fixed) if b < fixed else zero
                m0, m1, v0, v1 = m[other, b], m[slot, b], v[other, b], v[slot, b]
                m2, m3, v2, v3 = m0[far:], m1[far:], v0[far:], v1[far:]
                means, spreads = mean[t, b, y_own], spread[t, b, y_own]
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
                    pairs = line.reshape((n, 2))
                    for x in range(n):
                        owns[x] = pairs[x, odd]  # rows that are REACH apart keep the same columns


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
    wide = size[1] + REACH
    kept = np.empty((2 * bands + 1, _KEPT, wide), np.float32)
    rows = np.empty((6, wide + REACH + 1), np.float32)
    means, variances = kept[1 : bands + 1].reshape(_KEPT, bands, wide), kept[bands + 1 :].reshape(_KEPT, bands, wide)
    arrays = (z.numpy() for z in (*parts, noise))
    _read_loop(values.numpy(), measured.numpy(), first, size[1], fixed, *arrays, kept[0], means, variances, rows)
    return parts, noise[:, None]
