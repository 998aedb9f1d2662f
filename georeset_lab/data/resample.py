"""Nearest-pixel resampling to another coordinate reference system, exact and lazy.

Why not GDAL's warper through `odc.geo.xr.xr_reproject`: it approximates the transformation differently for a whole
array and for its chunks (2 % and 0.2 % of the pixels of a 10 m raster fell on a neighbour), so a lazy scene would
differ from the same scene in memory. Here both use one lattice of exactly transformed points, fixed to the target grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.grids import crs_of, move, near_turn

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_STEP = 16  # pixels between exact points; between them the transformation is linear to some 1e-4 pixel
_CHUNK = 512
_EDGE = 1e-6  # a centre on the edge between two pixels belongs to the later one, whatever the rounding


@dataclass(frozen=True)
class _Lattice:
    """Pixel coordinates in the source grid of every ``_STEP``-th pixel corner of the output grid."""

    rows: np.ndarray
    cols: np.ndarray

    @classmethod
    def between(cls, source: GeoBox, target: GeoBox) -> _Lattice:
        corners = [np.arange(0, n + 2 * _STEP, _STEP, dtype=np.float64) for n in target.shape]
        y, x = np.meshgrid(*corners, indexing="ij")
        there_x, there_y = crs_of(target).transformer_to_crs(crs_of(source))(*move(target.affine, x, y))
        if crs_of(source).geographic:
            there_x = near_turn(there_x, source)
        cols, rows = move(~source.affine, np.asarray(there_x), np.asarray(there_y))
        return cls(rows, cols)

    def source_index(self, y0: int, y1: int, x0: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        """Source row and column of the centres of an output window, each ``(y, x)`` int64."""
        y, x = np.arange(y0, y1) + 0.5, np.arange(x0, x1) + 0.5
        i, j = (y // _STEP).astype(int), (x // _STEP).astype(int)
        v, u = (y / _STEP - i)[:, None], (x / _STEP - j)[None, :]
        out = []
        for grid in (self.rows, self.cols):
            top = grid[i][:, j] * (1 - u) + grid[i][:, j + 1] * u
            bottom = grid[i + 1][:, j] * (1 - u) + grid[i + 1][:, j + 1] * u
            value = top * (1 - v) + bottom * v
            out.append(np.floor(np.where(np.isfinite(value), value, -1) + _EDGE).astype(np.int64))
        return out[0], out[1]


def reproject_nearest(array: Any, source: GeoBox, target: GeoBox, fill: Any) -> Any:
    """Values of the source pixels that hold the centres of the target's pixels.

    Parameters
    ----------
    array : numpy or dask array, shape (..., y, x), any dtype
        Values on ``source``.
    source, target : GeoBox
        Grids in any two CRSs.
    fill : scalar
        Value outside the source.

    Returns
    -------
    numpy or dask array, shape (..., Y, X)
        Same kind and dtype as ``array``; the same numbers for both kinds.
    """
    lattice = _Lattice.between(source, target)
    if not hasattr(array, "dask"):
        return _gather(np.asarray(array), lattice, (0, target.shape[0]), (0, target.shape[1]), (0, 0), fill)
    import dask.array as da

    rows = [
        [_lazy_block(array, source, lattice, ys, xs, fill) for xs in _spans(target.shape[1])]
        for ys in _spans(target.shape[0])
    ]
    return da.concatenate([da.concatenate(row, axis=-1) for row in rows], axis=-2)


def _lazy_block(
    array: Any, source: GeoBox, lattice: _Lattice, ys: tuple[int, int], xs: tuple[int, int], fill: Any
) -> Any:
    import dask.array as da

    row, col = lattice.source_index(*ys, *xs)
    inside = (row >= 0) & (row < source.shape[0]) & (col >= 0) & (col < source.shape[1])
    shape = (*array.shape[:-2], ys[1] - ys[0], xs[1] - xs[0])
    if not inside.any():
        return da.full(shape, fill, dtype=array.dtype, chunks=(*array.chunks[:-2], shape[-2], shape[-1]))
    top, left = int(row[inside].min()), int(col[inside].min())
    window = array[..., top : int(row[inside].max()) + 1, left : int(col[inside].max()) + 1]
    window = window.rechunk((*array.chunks[:-2], -1, -1))
    return da.map_blocks(
        _gather, window, lattice, ys, xs, (top, left), fill,
        dtype=array.dtype, chunks=(*array.chunks[:-2], (shape[-2],), (shape[-1],)),
        meta=np.empty((0,) * array.ndim, array.dtype),
    )  # fmt: skip


def _gather(
    window: np.ndarray, lattice: _Lattice, ys: tuple[int, int], xs: tuple[int, int], origin: tuple[int, int], fill: Any
) -> np.ndarray:
    """Output pixels of a span from a source window whose first pixel is ``origin``."""
    row, col = lattice.source_index(*ys, *xs)
    row, col = row - origin[0], col - origin[1]
    inside = (row >= 0) & (row < window.shape[-2]) & (col >= 0) & (col < window.shape[-1])
    out = np.full((*window.shape[:-2], *row.shape), fill, dtype=window.dtype)
    out[..., inside] = window[..., row[inside], col[inside]]
    return out


def _spans(size: int) -> list[tuple[int, int]]:
    return [(start, min(start + _CHUNK, size)) for start in range(0, size, _CHUNK)]
