"""From what a source says about place to a `GeoBox` whose rows run downwards, or a named refusal."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from georeset_lab.errors import GridMismatch, MissingCRS


def checked_grid(grid: GeoBox, origin: str, crs: Any = None) -> GeoBox:
    """The grid with its own CRS, else with the given one.

    Raises
    ------
    MissingCRS
        Neither the source nor the caller says what the CRS is, or the given one is none.
    GridMismatch
        The affine is singular.
    """
    affine = grid.affine
    if not np.isfinite(affine[:6]).all() or affine.determinant == 0:
        raise GridMismatch(f"{origin} has the singular geotransform {tuple(affine)[:6]}; its pixels have no area.")
    if grid.crs is not None:
        damage = _damage(grid.crs)
        if damage:
            raise MissingCRS(
                f"The coordinate reference system in {origin} is damaged ({damage}). "
                'Repair the file, or read its bands as arrays and pass crs="EPSG:...".'
            )
        return grid
    if crs is None:
        raise MissingCRS(
            f"{origin} does not say in which coordinate reference system it is. "
            'Pass it, e.g. load_scene(..., crs="EPSG:32633").'
        )
    return GeoBox(grid.shape, affine, parse_crs(crs))


@lru_cache(maxsize=256)
def _damage(crs: CRS) -> str:
    """What is wrong with a CRS that parses but cannot be used; empty if nothing is."""
    try:
        crs.proj.to_cf()
        crs.transformer_to_crs(CRS("EPSG:4326"))
    except Exception as err:  # KeyError, ProjError, ...
        return f"{type(err).__name__}: {err}"
    return ""


def parse_crs(crs: Any) -> CRS:
    """CRS of anything that names one.

    Raises
    ------
    MissingCRS
        It names none.
    """
    try:
        return CRS(crs)
    except Exception as err:  # pyproj raises its own class, odc-geo others
        raise MissingCRS(f'{crs!r} is not a coordinate reference system. Pass for example crs="EPSG:32633".') from err


def upright(raw: Any, grid: GeoBox) -> tuple[Any, GeoBox]:
    """Array ``(..., y, x)`` and grid with rows running down, columns right (rotated grids stay as they are)."""
    affine = grid.affine
    if affine.b or affine.d:
        return raw, grid
    if affine.e > 0:
        raw = raw[..., ::-1, :]
        affine = Affine(affine.a, 0, affine.c, 0, -affine.e, affine.f + affine.e * grid.shape[0])
    if affine.a < 0:
        raw = raw[..., ::-1]
        affine = Affine(-affine.a, 0, affine.c + affine.a * grid.shape[1], 0, affine.e, affine.f)
    return raw, GeoBox(grid.shape, affine, grid.crs)


def grid_from_centres(x: np.ndarray, y: np.ndarray, crs: Any, origin: str, pixel: float | None = None) -> GeoBox:
    """Grid whose pixel centres are these coordinates.

    Parameters
    ----------
    x, y : numpy.ndarray, shape (X,), (Y,)
        Evenly spaced coordinates of the pixel centres.
    pixel : float, optional
        Pixel side, needed only where an axis has a single pixel.

    Raises
    ------
    GridMismatch
        The spacing is uneven, or cannot be told.
    """
    step_x, step_y = (_step(axis, name, origin) for axis, name in ((x, "x"), (y, "y")))
    side = pixel or (abs(step_x) if step_x else abs(step_y) if step_y else None)
    if side is None:
        raise GridMismatch(
            f"{origin} has a single pixel and does not say how large it is. Give its `spatial_ref` a GeoTransform "
            "(rioxarray: da.rio.write_transform(...)) or an attribute `resolution` in CRS units."
        )
    dx, dy = step_x or side, step_y or -side
    affine = Affine(dx, 0, float(x[0]) - dx / 2, 0, dy, float(y[0]) - dy / 2)
    return GeoBox((len(y), len(x)), affine, crs)


def _step(axis: np.ndarray, name: str, origin: str) -> float | None:
    values = np.asarray(axis, dtype=np.float64)
    if values.size < 2:
        return None
    step = (values[-1] - values[0]) / (values.size - 1)
    even = values[0] + step * np.arange(values.size)
    if step == 0 or not np.isfinite(step) or np.abs(values - even).max() > 0.05 * abs(step):
        raise GridMismatch(
            f"The {name} coordinates of {origin} are not evenly spaced (from {values[0]:g} to {values[-1]:g}, "
            f"{values.size} of them). Resample it to a regular grid first."
        )
    return float(step)


def ground_of(grid: GeoBox, col: float, row: float) -> tuple[float, float]:
    """CRS coordinates of a pixel position (0, 0 is the outer corner of the first pixel)."""
    a = grid.affine  # written out: the operators of the affine package differ between its versions 2 and 3
    return a.a * col + a.b * row + a.c, a.d * col + a.e * row + a.f
