"""A few thousand pixels of an array, spread over dates and ground, to decide units without reading the whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from georeset_lab.data.stored import is_direct, read_stored


def sample(raw: Any, nodata: float | None, *, most: int = 200_000) -> np.ndarray:
    """Some pixels of ``(time, band, y, x)`` as ``(band, pixel)`` float64, NaN where missing.

    In memory every n-th row and column is taken; of a lazy array, small windows on a regular net. A pixel that is zero
    in every band (of at least two) counts as missing, whatever the source says.
    """
    times, bands, rows, cols = raw.shape
    dates = np.unique(np.linspace(0, times - 1, min(times, 12)).astype(int))
    if hasattr(raw, "dask"):
        values = np.stack([np.concatenate(_windows(raw, int(t)), axis=1) for t in dates])
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


def _windows(raw: Any, time: int, side: int = 128, across: int = 3) -> list[np.ndarray]:
    """Small windows of one date of a lazy array on a regular net, each ``(band, pixel)``."""
    from dask.base import compute

    tops, lefts = (_starts(n, chunks, side, across) for n, chunks in zip(raw.shape[2:], raw.chunks[2:], strict=True))
    boxes = [(slice(time, time + 1), slice(None), slice(t, t + side), slice(x, x + side)) for t in tops for x in lefts]
    if is_direct(raw):
        found = [read_stored(raw, box) for box in boxes]
    else:  # many chunks at once: each may be a request to a server
        found = compute(*(raw[box] for box in boxes), scheduler="threads")
    return [np.asarray(f).reshape(raw.shape[1], -1) for f in found]


def _starts(size: int, chunks: tuple[int, ...], side: int, across: int) -> list[int]:
    """First pixels of windows along an axis; none crosses into a second chunk, if that can be."""
    edges = np.cumsum(chunks)
    starts = []
    for start in np.linspace(0, max(0, size - side), across).astype(int).tolist():
        edge = int(edges[np.searchsorted(edges, start, side="right")])
        if edge < start + side:  # crosses: to the far side of the edge, or where that is too narrow to the near one
            start = edge if edge + side <= size else max(edge - side, 0)
        starts.append(start)
    return sorted(set(starts))
