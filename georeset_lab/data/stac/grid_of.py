"""The grid of a band: by its projection metadata, else from its file; and one grid for several items and a box."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.grids import crs_of, move
from georeset_lab.data.readers.grids import checked_grid
from georeset_lab.data.stac.assets import Column
from georeset_lab.data.stac.driver import BAND_MARK
from georeset_lab.data.stac.http import plain
from georeset_lab.data.stac.remote_file import open_asset
from georeset_lab.errors import OutsideScene

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from odc.geo.geom import Geometry

_EDGE_PX = 1e-3


def described(column: Column) -> tuple[Column, GeoBox]:
    """The column with everything about storage filled in, and its grid; opens the file only for what is missing.

    Raises
    ------
    SceneReadError
        The file is missing, damaged or ungeoreferenced.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    if column.proj and column.dtype and column.stated is not None and column.nodata is not None:
        crs, shape, transform = column.proj
        return column, checked_grid(GeoBox(shape, Affine(*transform), crs), column.href)
    href, _, band = column.href.partition(BAND_MARK)
    with open_asset(href) as dataset:
        i = int(band or 1) - 1
        grid = checked_grid(GeoBox((dataset.height, dataset.width), dataset.transform, dataset.crs), plain(href))
        own = (float(dataset.scales[i]), float(dataset.offsets[i]))
        nodata = dataset.nodatavals[i] if column.nodata is None else column.nodata
        stated = column.stated or (None if own == (1.0, 0.0) else own)
        return replace(column, dtype=dataset.dtypes[i], nodata=nodata, stated=stated), grid


def common_grid(grids: Sequence[GeoBox], ground: Geometry | None, *, whole: int = 1) -> GeoBox:
    """Grid on the pixels of the first that covers all of them, or the part that touches the ground asked for.

    Parameters
    ----------
    grids : sequence of GeoBox
        Those in another CRS than most are passed over.
    ground : Geometry, optional
        In any CRS.
    whole : int
        Rows and columns begin and end at multiples of this many pixels of the first grid, where that stays inside.

    Raises
    ------
    OutsideScene
        No grid touches the ground.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    first, same = main_grids(grids)
    windows = np.array([_window(first, g) for g in same])
    low, high = windows[:, :2].min(axis=0), windows[:, 2:].max(axis=0)
    if ground is not None:
        here = ground.to_crs(crs_of(first), resolution=math.inf) if ground.crs != first.crs else ground
        window = _positions(first, here)
        box_low, box_high = (
            np.floor(window[:2] / whole + _EDGE_PX) * whole,
            np.ceil(window[2:] / whole - _EDGE_PX) * whole,
        )
        low, high = np.maximum(low, box_low), np.minimum(high, box_high)
    if (high <= low).any():
        raise OutsideScene("The items do not reach the box asked for, although their outlines do. Give another bbox=.")
    (row, col), (rows, cols) = low, high - low
    return GeoBox((int(rows), int(cols)), first.affine * Affine.translation(int(col), int(row)), first.crs)


def main_grids(grids: Sequence[GeoBox]) -> tuple[GeoBox, list[GeoBox]]:
    """The first of the grids in the CRS that most have, and all in that CRS."""
    crs = Counter(str(g.crs) for g in grids).most_common(1)[0][0]
    same = [g for g in grids if str(g.crs) == crs]
    return same[0], same


def _window(first: GeoBox, other: GeoBox) -> np.ndarray:
    """First row and column, last row and column (excluded) of a grid in pixels of another."""
    across = np.array([0, other.shape[1], 0, other.shape[1]], float)
    down = np.array([0, 0, other.shape[0], other.shape[0]], float)
    col, row = move(~first.affine, *move(other.affine, across, down))
    return np.round(np.array([row.min(), col.min(), row.max(), col.max()]))


def _positions(first: GeoBox, ground: Geometry) -> np.ndarray:
    import shapely

    x, y = shapely.get_coordinates(ground.geom).T
    col, row = move(~first.affine, x, y)
    return np.array([row.min(), col.min(), row.max(), col.max()])
