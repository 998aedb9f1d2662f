"""What a user points at (points, an area, a vector) becomes one Gaussian and the pixels it was taken from.

Several examples, each with a Gaussian of its own, are put together in ``examples.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from georeset_lab.data.geometry import as_frame, burn, describe_bounds, on_grid
from georeset_lab.data.points import is_points
from georeset_lab.embed.locate import lonlat_of, pixel_of
from georeset_lab.errors import InvalidOption, LabelError, NothingObserved, OutsideScene, ShapeMismatch

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["MAX_PRECISION", "Form", "Query", "examples_in", "form_of_query", "make_query"]

Form = Literal["at", "like", "vector"]

MAX_PRECISION = 1e3
"""Most that a query can be sure of (methods.md section 2 caps experts there); what a bare vector is given."""


@dataclass(frozen=True)
class Query:
    """A Gaussian to compare every pixel with."""

    mean: np.ndarray
    """(D,) float32."""
    variance: np.ndarray
    """(D,) float32, from 1 / `MAX_PRECISION` to 1 (the prior); NaN if the embeddings have none."""
    rows: np.ndarray
    """Rows of the pixels it was taken from, int64; empty for a vector."""
    cols: np.ndarray


def form_of_query(value: Any) -> tuple[Form, Any]:
    """Which of the three forms a value has, for arguments that take all of them."""
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.size != 2:
        return "vector", value
    if isinstance(value, list | tuple | np.ndarray):
        return "at", value
    return "like", value


def examples_in(value: Any) -> list[Any]:
    """The examples of a value: the elements of a list, or the value itself if it is a single one.

    Two bare numbers are a point, and an array is one example (a point, points of one thing, or a vector).

    >>> examples_in([(-72.5, -38.8), (-72.4, -38.8)])
    [(-72.5, -38.8), (-72.4, -38.8)]
    >>> examples_in((-72.5, -38.8))
    [(-72.5, -38.8)]
    """
    if not isinstance(value, list | tuple):
        return [value]
    if len(value) == 2 and all(isinstance(v, int | float | np.number) for v in value):
        return [value]
    return list(value)


def make_query(emb: Embeddings, form: Form, value: Any) -> Query:
    """One Gaussian for a query.

    Several pixels are matched in their first two moments: the variance is their mean variance plus their spread, at
    most the prior's.

    Raises
    ------
    OutsideScene, NothingObserved, ShapeMismatch, InvalidOption
        As in `georeset_lab.embed.search.similar`.
    """
    if form == "vector":
        return _from_vector(emb, value)
    mean, variance, rows, cols = _points(emb, value) if form == "at" else _area(emb, value)
    spread = mean.var(axis=0, dtype=np.float64)
    total = np.clip(variance.mean(axis=0, dtype=np.float64) + spread, 1 / MAX_PRECISION, 1.0)
    return Query(mean.mean(axis=0, dtype=np.float64).astype(np.float32), total.astype(np.float32), rows, cols)


def _from_vector(emb: Embeddings, value: Any) -> Query:
    vector = np.asarray(value, dtype=np.float32).reshape(-1)
    if vector.size != emb.dim:
        raise ShapeMismatch(
            f"vector has {vector.size} numbers, these embeddings have {emb.dim} dimensions. Use a vector made by the "
            "same model, for example emb.at(lon, lat)['mean'].values."
        )
    if not np.isfinite(vector).all() or not vector.any():
        raise InvalidOption("vector is zero or not finite; it points nowhere. Take one from an observed pixel.")
    none = np.empty(0, np.int64)
    return Query(vector, np.full(emb.dim, 1 / MAX_PRECISION, np.float32), none, none)


def _points(emb: Embeddings, value: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    try:
        points = np.asarray(value, dtype=np.float64)
        points = points.reshape(1, -1) if points.ndim == 1 else points
        if points.ndim != 2 or points.shape[1] != 2 or not len(points):
            raise ValueError(f"its shape is {points.shape}")
    except (TypeError, ValueError) as err:
        raise InvalidOption(
            f"at= takes (lon, lat) or a list of such pairs, in degrees; it was {value!r} ({err})."
        ) from err
    pixels = sorted({pixel_of(emb.grid, float(lon), float(lat)) for lon, lat in points})
    parts = [emb.fused(slice(r, r + 1), slice(c, c + 1)) for r, c in pixels]
    mean, variance = (np.stack([p[i][0, 0] for p in parts]) for i in (0, 1))
    seen = np.array([p[2][0, 0] for p in parts])
    rows, cols = np.array(pixels, np.int64).T
    if not seen.any():
        where = ", ".join(f"({lon:g}, {lat:g})" for lon, lat in points[:3])
        raise NothingObserved(
            f"Nothing was observed at {where}: its vector is the prior. {_nearest_hint(emb, rows, cols)}"
        )
    return mean[seen], variance[seen], rows, cols


def _area(emb: Embeddings, value: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    try:
        frame = on_grid(as_frame(value, what="like"), emb.grid)
    except LabelError as err:  # the same checks as for labels, another argument
        raise InvalidOption(str(err)) from err
    if is_points(emb.grid):
        return _points_inside(emb, frame)
    left, bottom, right, top = frame.total_bounds
    corners = np.array([~emb.grid.affine * (x, y) for x in (left, right) for y in (bottom, top)])
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, None)
    high = np.minimum(np.floor(corners.max(axis=0)).astype(int) + 1, (emb.shape[1], emb.shape[0]))
    hit = np.zeros((0, 0), np.int32)
    if (low < high).all():
        window = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
        hit = burn(list(frame.geometry), emb.grid[window])
    inside = hit >= 0
    if not inside.any():
        raise OutsideScene(f"The geometry touches no pixel of the map: {describe_bounds(frame, emb.grid)}.")
    mean, variance, observed = emb.fused(*window)
    seen = inside & observed
    rows, cols = np.nonzero(inside)
    rows, cols = rows + window[0].start, cols + window[1].start
    if not seen.any():
        raise NothingObserved(f"Nothing was observed inside the geometry. {_nearest_hint(emb, rows, cols)}")
    return mean[seen], variance[seen], rows, cols


def _points_inside(emb: Embeddings, frame: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rows = np.flatnonzero(burn(list(frame.geometry), emb.grid)[:, 0] >= 0)
    if not rows.size:
        raise OutsideScene(f"The geometry holds none of the points: {describe_bounds(frame, emb.grid)}.")
    mean, variance, observed = emb.fused(slice(None), slice(None))
    seen = rows[observed[rows, 0]]
    cols = np.zeros_like(rows)
    if not seen.size:
        raise NothingObserved(f"Nothing was observed inside the geometry. {_nearest_hint(emb, rows, cols)}")
    return mean[seen, 0], variance[seen, 0], rows, cols


def _nearest_hint(emb: Embeddings, rows: np.ndarray, cols: np.ndarray) -> str:
    """Where to point instead."""
    r, c = np.nonzero(emb.observed)
    if not r.size:
        return "Nor was anything on this map."
    i = int(np.argmin((r - rows.mean()) ** 2 + (c - cols.mean()) ** 2))
    lon, lat = lonlat_of(emb.grid, r[i], c[i])
    return f"The nearest observed pixel is at ({float(lon):.5f}, {float(lat):.5f})."
