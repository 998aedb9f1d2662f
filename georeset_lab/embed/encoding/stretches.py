"""`sum_stretches`: sums over stretches of one axis, whatever their lengths, at memory speed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from georeset_lab.compiled import compiled


def _sum(part: Any, edges: Any, out: Any) -> None:
    before, _, after = part.shape
    for a in range(before):
        for j in range(len(edges) - 1):
            for b in range(after):
                out[a, j, b] = part[a, edges[j], b]
            for i in range(edges[j] + 1, edges[j + 1]):
                for b in range(after):
                    out[a, j, b] += part[a, i, b]


_sum_loop = compiled(_sum)


def sum_stretches(part: np.ndarray, starts: np.ndarray, axis: int) -> np.ndarray:
    """What ``numpy.add.reduceat`` gives for increasing ``starts``, without its cost for each short stretch.

    Parameters
    ----------
    part : numpy.ndarray, floating
    starts : numpy.ndarray, shape (m,), int
        First index of each stretch; each ends where the next begins, the last at the end of the axis.
    axis : int

    Returns
    -------
    numpy.ndarray
        Of the type of ``part``, with m in place of the axis's length.
    """
    n = part.shape[axis]
    before, after = math.prod(part.shape[:axis]), math.prod(part.shape[axis + 1 :])
    out = np.empty((before, len(starts), after), part.dtype)
    _sum_loop(np.ascontiguousarray(part).reshape(before, n, after), np.append(starts, n).astype(np.int64), out)
    return out.reshape(*part.shape[:axis], len(starts), *part.shape[axis + 1 :])
