"""Which pixel of one grid lies nearest to each pixel of another, across coordinate reference systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.grids import crs_of, move

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox


def nearest_pixels(source: GeoBox, onto: GeoBox) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column in ``source`` that hold the centre of each pixel of ``onto``, and whether there is one.

    Returns
    -------
    rows, cols : numpy.ndarray, shape (Y, X), int64
        Meaningless where ``inside`` is False.
    inside : numpy.ndarray, shape (Y, X), bool
    """
    across, down = np.meshgrid(np.arange(onto.shape[1]) + 0.5, np.arange(onto.shape[0]) + 0.5)
    x, y = move(onto.affine, across, down)
    if source.crs != onto.crs:
        x, y = crs_of(onto).transformer_to_crs(crs_of(source))(x, y)
    col, row = move(~source.affine, np.asarray(x), np.asarray(y))
    inside = np.isfinite(col) & np.isfinite(row)
    cols = np.floor(np.where(inside, col, -1) + 1e-6).astype(np.int64)
    rows = np.floor(np.where(inside, row, -1) + 1e-6).astype(np.int64)
    inside &= (cols >= 0) & (cols < source.shape[1]) & (rows >= 0) & (rows < source.shape[0])
    return rows, cols, inside
