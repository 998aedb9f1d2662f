"""Which points a line drawn by hand encloses."""

from __future__ import annotations

from typing import Any

import numpy as np

from georeset_lab.errors import InvalidOption

__all__ = ["points_inside"]

MOST_VERTICES = 20_000
"""A hand makes a few hundred; more come from something else than a hand."""


def points_inside(xy: np.ndarray, line: Any) -> np.ndarray:
    """Positions, sorted int64, of the points inside a closed line.

    A line that crosses itself encloses everything that cannot be reached from outside without crossing it, as one
    expects of a lasso that overshoots its start.

    Parameters
    ----------
    xy : numpy.ndarray, shape (N, 2), float; NaN is nowhere.
    line : sequence of (x, y)
        At least three vertices; it is closed by a straight line.

    Raises
    ------
    InvalidOption
        The line is not a list of some finite pairs.

    Examples
    --------
    >>> points_inside(np.array([[0.5, 0.5], [2.0, 2.0]]), [(0, 0), (1, 0), (1, 1), (0, 1)]).tolist()
    [0]
    """
    import shapely

    try:
        ring = np.asarray(line, np.float64)
    except (TypeError, ValueError) as err:
        raise InvalidOption(f"A lasso is a list of (x, y) pairs; this is not one ({err}).") from err
    if ring.ndim != 2 or ring.shape[1] != 2 or not 3 <= len(ring) <= MOST_VERTICES or not np.isfinite(ring).all():
        raise InvalidOption(
            f"A lasso is a list of 3 to {MOST_VERTICES} finite (x, y) pairs; its shape is {ring.shape}."
        )
    edges = shapely.union_all([shapely.LineString(np.concatenate([ring, ring[:1]]))])
    shape = shapely.union_all(shapely.get_parts(shapely.polygonize([edges])))
    shapely.prepare(shape)
    x, y = xy[:, 0], xy[:, 1]
    (left, bottom), (right, top) = ring.min(axis=0), ring.max(axis=0)
    near = np.flatnonzero((x >= left) & (x <= right) & (y >= bottom) & (y <= top))
    return near[shapely.contains_xy(shape, x[near], y[near])]
