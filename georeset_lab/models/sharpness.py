"""`sharpness`: how fast an image changes with distance, by which blur and noise are told from a calm or a rich field."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.compiled import compiled
from georeset_lab.models.pixels import Series

LAGS = (1, 2, 4)
N_SHARPNESS = len(LAGS)

_N_CHANNELS = 3
"""First fixed virtual bands that are averaged: the visible ones, which sensors see sharpest, or both polarisations."""
_FLOOR = 1e-6
_USUAL_LOG, _SPREAD_LOG = -6.0, 3.0
_USUAL_RATIO, _SPREAD_RATIO = 0.7, 0.5


def _sum(images: Any, seen: Any, patch: Any, lags: Any, sums: Any, steps: Any, pairs: Any) -> None:
    n, tall, wide = images.shape
    share, kinds = np.float32(1.0 / (patch * patch)), len(lags)
    for b in range(n):
        for y in range(tall):
            if y % patch == 0:
                sums[:] = np.float32(0)
            image, there = images[b, y], seen[b, y]
            for k in range(kinds):
                lag, square, pair = lags[k], sums[k], sums[kinds + k]
                right, right_there = image[lag:], there[lag:]
                for x in range(len(right)):
                    both, step = there[x] * right_there[x], right[x] - image[x]
                    square[x] += step * step * both
                    pair[x] += both
                if y + lag < tall:
                    below, below_there = images[b, y + lag], seen[b, y + lag]
                    for x in range(wide):
                        both, step = there[x] * below_there[x], below[x] - image[x]
                        square[x] += step * step * both
                        pair[x] += both
            if y % patch == patch - 1:
                for x in range(wide // patch):
                    for k in range(kinds):
                        one, other = np.float32(0), np.float32(0)
                        for i in range(x * patch, x * patch + patch):
                            one += sums[k, i]
                            other += sums[kinds + k, i]
                        steps[b, y // patch, x, k], pairs[b, y // patch, x, k] = one * share, other * share


_sum_loop = compiled(_sum)


def sum_steps(series: Series, patch: int) -> tuple[Tensor, Tensor]:
    """Squared differences of pixels 1, 2 and 4 apart, and the pairs that were measured, in each cell of each date.

    Parameters
    ----------
    series : Series
        Of a batch, (B, T, R', Y, X).
    patch : int
        Pixels along the side of a cell.

    Returns
    -------
    steps, pairs : Tensor, shape (B, T, Ny, Nx, 3)
        Sums over the pixels, in shares of a cell; those of several dates add up.
    """
    fixed = series.values[:, :, series.channels.fixed]
    image = fixed[:, :, :_N_CHANNELS].mean(2)
    if image.device.type == "cpu" and not torch.is_grad_enabled():
        cells = [n // patch for n in image.shape[-2:]]
        steps, pairs = image.new_empty(2, *image.shape[:2], *cells, N_SHARPNESS)
        planes, seen = (z.flatten(0, 1).numpy() for z in (image, series.measured.to(image)))
        sums = np.empty((2 * N_SHARPNESS, image.shape[-1]), np.float32)
        _sum_loop(planes, seen, patch, LAGS, sums, *(z.flatten(0, 1).numpy() for z in (steps, pairs)))
        return steps, pairs
    found = []
    for lag in LAGS:
        square, pairs = torch.zeros_like(image), torch.zeros_like(image)
        for dim in (-2, -1):
            n = image.shape[dim] - lag
            both = series.measured.narrow(dim, lag, n) & series.measured.narrow(dim, 0, n)
            step = image.narrow(dim, lag, n) - image.narrow(dim, 0, n)
            square.narrow(dim, 0, n).add_(step.square() * both)
            pairs.narrow(dim, 0, n).add_(both)
        found.append([F.avg_pool2d(z, patch) for z in (square, pairs)])
    steps, pairs = (torch.stack(z, -1) for z in zip(*found, strict=True))
    return steps, pairs


def sharpness(steps: Tensor, pairs: Tensor) -> Tensor:
    """Structure function of the image in each cell, at distances of 1, 2 and 4 pixels.

    Parameters
    ----------
    steps, pairs : Tensor, shape (..., 3)
        From `sum_steps`.

    Returns
    -------
    Tensor, shape (..., 3)
        Logarithm of the mean squared difference of pixels one apart, and its growth from 1 to 2 and from 2 to 4 pixels,
        about standardised. 0 where no two pixels were measured.

    Notes
    -----
    A blurred field and a calm one both change little, but noise of the sensor, at the scale of a pixel, is in the calm
    one only: there the squared difference hardly grows with distance (white noise: not at all), in the blurred one it
    grows with its square, by log 4 from each distance to the next. Contrast cancels in the growth.
    """
    logs = (steps / pairs.clamp_min(1e-9) + _FLOOR).log()
    level = (logs[..., :1] - _USUAL_LOG) / _SPREAD_LOG
    growth = (logs.diff(dim=-1) - _USUAL_RATIO) / _SPREAD_RATIO
    return torch.cat([level, growth], -1) * (pairs > 0).all(-1, keepdim=True)
