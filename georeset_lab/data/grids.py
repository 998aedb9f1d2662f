"""Small questions to a grid: its CRS, its pixel size in metres, whether it fits another one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.errors import GridMismatch, MissingCRS

if TYPE_CHECKING:
    from affine import Affine
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox

METRES_PER_DEGREE = 111_320.0
"""Metres in a degree of latitude, on a sphere of the Earth's mean radius; within 0.6 % anywhere."""

_SHIFT_PX = 0.02  # larger shifts between grids are real, smaller ones rounding of coordinates


def crs_of(grid: GeoBox) -> CRS:
    """CRS of a grid.

    Raises
    ------
    MissingCRS
        It has none.
    """
    if grid.crs is None:
        raise MissingCRS("The grid does not say where on Earth it is. Pass crs= to load_scene.")
    return grid.crs


def pixel_size_m(grid: GeoBox) -> float:
    """Side of a square with the area of one pixel, in metres (at the grid's centre, if it is in degrees)."""
    side = math.sqrt(abs(grid.affine.determinant))
    crs = grid.crs
    if crs is None:
        return side
    if crs.geographic:
        latitude = centre_of(grid)[1]
        return side * METRES_PER_DEGREE * math.sqrt(max(math.cos(math.radians(latitude)), 1e-6))
    return side * float(crs.proj.axis_info[0].unit_conversion_factor)


def centre_of(grid: GeoBox) -> tuple[float, float]:
    """Centre of a grid in its CRS."""
    x, y = move(grid.affine, np.array(grid.shape[1] / 2), np.array(grid.shape[0] / 2))
    return float(x), float(y)


def move(affine: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points moved by an affine transformation, element by element."""
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def near_turn(lon: np.ndarray, grid: GeoBox) -> np.ndarray:
    """Longitudes at the turn of the globe that a geographic grid uses (it may run past 180 degrees)."""
    centre = centre_of(grid)[0]
    return centre + (np.asarray(lon) - centre + 180) % 360 - 180


def describe(grid: GeoBox) -> str:
    """Bounds and CRS of a grid, for messages."""
    box = grid.boundingbox
    return f"({box.left:.6g}, {box.bottom:.6g}, {box.right:.6g}, {box.top:.6g}) in {crs_name(grid.crs)}"


def crs_name(crs: CRS | None) -> str:
    """Short name of a CRS for messages and tables: its EPSG code, or else its title."""
    if crs is None:
        return "no CRS"
    return f"EPSG:{crs.epsg}" if crs.epsg else str(crs.proj.name)


def require_same_crs(a: GeoBox, b: GeoBox, name: str = "the array", than: str = "the other") -> None:
    """Check that two grids have one CRS.

    Raises
    ------
    GridMismatch
        They have not.
    """
    if a.crs != b.crs:
        raise GridMismatch(f"{name} is in {crs_name(a.crs)}, {than} in {crs_name(b.crs)}; reproject one of them.")


def require_parallel(a: GeoBox, b: GeoBox, name: str = "the array", than: str = "the other") -> None:
    """Check that two grids have one CRS and that their rows run in the same direction.

    Raises
    ------
    GridMismatch
        They do not.
    """
    require_same_crs(a, b, name, than)
    into = ~b.affine * a.affine
    if max(abs(into.b), abs(into.d)) > 1e-6 * abs(into.a):
        raise GridMismatch(f"{name} is rotated against {than}; reproject one of them onto the grid of the other.")


def require_nested(coarse: GeoBox, fine: GeoBox, name: str = "the array", than: str = "the other") -> None:
    """Check that two grids of one product fit: pixel edges coincide, or pixel centres do (as in Landsat products).

    Raises
    ------
    GridMismatch
        They differ in CRS or orientation, or one is shifted by a part of a pixel; the message names the shift.

    Examples
    --------
    >>> from odc.geo.geobox import GeoBox
    >>> a = GeoBox.from_bbox((0, 0, 100, 100), "EPSG:32632", resolution=10)
    >>> require_nested(a.translate_pix(0.5, 0), a)
    Traceback (most recent call last):
    georeset_lab.errors.GridMismatch: the array is shifted by 0.50 pixels in x (5 m) against the grid of the other...
    """
    require_parallel(coarse, fine, name, than)
    into = ~fine.affine * coarse.affine  # coarse pixel coordinates -> fine pixel coordinates
    step = np.hypot(fine.affine.a, fine.affine.d), np.hypot(fine.affine.b, fine.affine.e)
    unit = "degrees" if fine.crs is not None and fine.crs.geographic else "m"
    for axis, offset, ratio, size in zip("xy", (into.c, into.f), (into.a, into.e), step, strict=True):
        if abs(ratio - round(ratio)) > 1e-3:
            continue  # pixel sizes without a common measure have no shift to speak of
        allowed = {0.0, (round(ratio) - 1) / 2 % 1}
        shift = min((((offset - a + 0.5) % 1) - 0.5 for a in allowed), key=abs)
        if abs(shift) > _SHIFT_PX:
            raise GridMismatch(
                f"{name} is shifted by {abs(shift):.2f} pixels in {axis} ({abs(shift) * size:.6g} {unit}) against "
                f"the grid of {than}. Arrays of one grid must share it: correct the transform, reproject one of them, "
                "or load them as two modalities."
            )
