"""`sharpness`: how fast an image changes with distance, by which blur and noise are told from a calm or a rich field."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from georeset_lab.models.pixels import Series
from georeset_lab.models.upsample import masked_cell_mean

LAGS = (1, 2, 4)
N_SHARPNESS = len(LAGS)

_N_CHANNELS = 3
"""First fixed virtual bands that are averaged: the visible ones, which sensors see sharpest, or both polarisations."""
_FLOOR = 1e-6
_USUAL_LOG, _SPREAD_LOG = -6.0, 3.0
_USUAL_RATIO, _SPREAD_RATIO = 0.7, 0.5


def sharpness(series: Series, patch: int) -> Tensor:
    """Structure function of the image in each cell, at distances of 1, 2 and 4 pixels.

    Parameters
    ----------
    series : Series
        Of a batch, (B, T, R', Y, X).
    patch : int
        Pixels along the side of a cell.

    Returns
    -------
    Tensor, shape (B, Ny, Nx, 3)
        Logarithm of the mean squared difference of pixels one apart, and its growth from 1 to 2 and from 2 to 4 pixels,
        about standardised. 0 where no two pixels were measured.

    Notes
    -----
    A blurred field and a calm one both change little, but noise of the sensor, at the scale of a pixel, is in the calm
    one only: there the squared difference hardly grows with distance (white noise: not at all), in the blurred one it
    grows with its square, by log 4 from each distance to the next. Contrast cancels in the growth.
    """
    fixed = series.values[:, :, series.channels.fixed]
    image = fixed[:, :, :_N_CHANNELS].mean(2, keepdim=True)
    measured = series.measured
    logs, seen = [], None
    for lag in LAGS:
        square, pairs = torch.zeros_like(image), torch.zeros_like(image)
        for dim in (-2, -1):
            n = image.shape[dim] - lag
            both = (measured.narrow(dim, lag, n) & measured.narrow(dim, 0, n))[:, :, None]
            step = image.narrow(dim, lag, n) - image.narrow(dim, 0, n)
            square.narrow(dim, 0, n).add_(step.square() * both)
            pairs.narrow(dim, 0, n).add_(both)
        total, count = (masked_cell_mean(z, measured, patch) for z in (square, pairs))
        logs.append((total / count.clamp_min(1e-9) + _FLOOR).log())
        seen = count > 0 if seen is None else seen & (count > 0)
    assert seen is not None
    level = (logs[0] - _USUAL_LOG) / _SPREAD_LOG
    growth = [(b - a - _USUAL_RATIO) / _SPREAD_RATIO for a, b in pairwise(logs)]
    return torch.cat([level, *growth], -1) * seen
