"""Whole-pixel windows of a grid: which pixels cover a piece of ground, and a modality cut to them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.grids import move
from georeset_lab.data.modality import Modality
from georeset_lab.data.stored import cut
from georeset_lab.errors import OutsideScene

if TYPE_CHECKING:
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox
    from odc.geo.geom import Geometry

_TOLERANCE_PX = 1e-3  # a box that ends this close to a pixel edge ends at the edge; coordinates are rarely exact

Window = tuple[slice, slice]
"""Rows and columns."""


def cover(grid: GeoBox, ground: Geometry) -> Window | None:
    """Smallest window of whole pixels that covers a piece of ground, or None if no pixel of the grid touches it.

    Works on rotated grids: the ground is measured in pixel coordinates, not by the grid's bounding box.

    Parameters
    ----------
    grid : GeoBox
    ground : odc.geo.geom.Geometry
        In the CRS of the grid.
    """
    columns, rows = move(~grid.affine, *_vertices(ground))
    row, col = _whole(rows, grid.shape[0]), _whole(columns, grid.shape[1])
    if row is None or col is None:
        return None
    return row, col


def crop_modality(modality: Modality, window: Window) -> Modality:
    """Part of a modality: the same grid, fewer pixels."""
    rows, cols = window
    if window == (slice(0, modality.grid.shape[0]), slice(0, modality.grid.shape[1])):
        return modality
    at = {"y": rows, "x": cols}
    raw = modality.raw.isel(at)
    return replace(
        modality,
        raw=raw.copy(data=cut(modality.raw.data, rows, cols)) if modality.is_lazy else raw,
        mask=None if modality.mask is None else modality.mask.isel(at),
        grid=modality.grid[rows, cols],
    )


def box_ground(bbox: tuple[float, float, float, float], crs: CRS) -> Geometry:
    """Box in longitude and latitude as a polygon in a projected CRS, its sides following meridians and parallels.

    Parameters
    ----------
    bbox : (west, south, east, north), degrees
        ``west > east`` means a box across the antimeridian.

    Raises
    ------
    OutsideScene
        The numbers are no box on Earth.
    """
    from odc.geo.crs import CRS
    from odc.geo.geom import polygon

    west, south, east, north = map(float, bbox)
    if not (-90 <= south < north <= 90 and -360 <= west <= 360 and -360 <= east <= 360):
        raise OutsideScene(
            f"bbox={tuple(bbox)} is no box on Earth. Give (west, south, east, north) in degrees with south < north; "
            "for coordinates of the scene's own CRS use bounds=."
        )
    if east < west:
        east += 360
    along, up = np.linspace(west, east, 33), np.linspace(south, north, 33)
    ring = [(x, south) for x in along] + [(east, y) for y in up] + [(x, north) for x in along[::-1]]
    ring += [(west, y) for y in up[::-1]]
    lon, lat = np.array(ring).T
    x, y = CRS("EPSG:4326").transformer_to_crs(crs)(lon, lat)
    return polygon(list(zip(x.tolist(), y.tolist(), strict=True)), crs=crs)


def _vertices(ground: Geometry) -> tuple[np.ndarray, np.ndarray]:
    import shapely

    x, y = shapely.get_coordinates(ground.geom).T
    return x, y


def _whole(positions: np.ndarray, size: int) -> slice | None:
    """Pixels from the first to the last position, clipped to the grid; None if they lie outside."""
    low, high = float(np.min(positions)), float(np.max(positions))
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    start = max(math.floor(low + _TOLERANCE_PX), 0)
    stop = min(max(math.ceil(high - _TOLERANCE_PX), start + 1 if low >= 0 else 0), size)
    return slice(start, stop) if start < stop else None
