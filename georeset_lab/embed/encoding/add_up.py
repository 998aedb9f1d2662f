"""`add_up`: adds pixels to the sums of the larger pixels they lie in, in one compiled loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from georeset_lab.compiled import compiled


def _add(out: Any, block: Any, rows: Any, cols: Any, step: Any) -> None:
    dim, weight = np.uint64(out.shape[2]), np.float32(step)
    for y in range(block.shape[0]):
        if rows[y] < 0:
            continue
        shift = y % step
        for x in range(block.shape[1]):
            col = cols[step * x + shift]
            if col < 0:
                continue
            total, pixel = out[rows[y], col], block[y, x]
            for d in range(dim):
                total[d] += weight * pixel[d]


_add_loop = compiled(_add)


def add_up(out: np.ndarray, block: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> None:
    """Add pixels to sums, in place.

    Parameters
    ----------
    out : numpy.ndarray, shape (Y, X, ...), contiguous
    block : numpy.ndarray, shape (y, x, ...)
        All pixels; or, with half as many columns as ``cols`` tells of, `georeset_lab.models.pixels.every_second`, which
        then counts twice.
    rows, cols : numpy.ndarray of int
        Row and column of ``out`` of each row and column of pixels; negative where they belong to none.
    """
    sums = out.view()
    sums.shape = (*out.shape[:2], -1)  # refuses what would need a copy
    _add_loop(sums, np.ascontiguousarray(block).reshape(*block.shape[:2], -1), rows, cols, len(cols) // block.shape[1])
