"""A few thousand pixels of an array, spread over dates and ground, to decide units without reading the whole."""

from __future__ import annotations

from typing import Any

import numpy as np


def sample(raw: Any, nodata: float | None, *, most: int = 200_000) -> np.ndarray:
    """Some pixels of ``(time, band, y, x)`` as ``(band, pixel)`` float64, NaN where missing.

    In memory every n-th row and column is taken; of a lazy array, small windows on a regular net. A pixel that is zero
    in every band (of at least two) counts as missing, whatever the source says.
    """
    times, bands, rows, cols = raw.shape
    dates = np.unique(np.linspace(0, times - 1, min(times, 12)).astype(int))
    if hasattr(raw, "dask"):
        values = np.stack([np.concatenate(_windows(raw[int(t)]), axis=1) for t in dates])
    else:
        step = max(1, int(np.sqrt(rows * cols * len(dates) / most)))
        values = np.asarray(raw[dates][:, :, ::step, ::step]).reshape(len(dates), bands, -1)
    flat = np.moveaxis(values, 1, 0).reshape(bands, -1)
    out = flat.astype(np.float64)
    if nodata is not None:
        out[flat == nodata] = np.nan
    if bands > 1:
        out[:, (flat == 0).all(axis=0)] = np.nan
    return out


def _windows(raw: Any, side: int = 128, across: int = 3) -> list[np.ndarray]:
    """Small windows of a lazy ``(band, y, x)`` array on a regular net, each ``(band, pixel)``."""
    from dask.base import compute

    bands, rows, cols = raw.shape
    tops = np.unique(np.linspace(0, max(0, rows - side), across).astype(int))
    lefts = np.unique(np.linspace(0, max(0, cols - side), across).astype(int))
    boxes = [raw[:, t : t + side, x : x + side] for t in tops for x in lefts]
    return [np.asarray(b).reshape(bands, -1) for b in compute(*boxes, scheduler="threads")]
