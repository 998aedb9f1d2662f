"""Where on a grid: the pixel that holds a point, and the window that holds a box or a geometry."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.points import PointGrid, is_points
from georeset_lab.errors import MissingCRS, OutsideScene

if TYPE_CHECKING:
    from odc.geo import CRS
    from odc.geo.geobox import GeoBox
    from pyproj import Transformer

__all__ = [
    "center_of",
    "crs_name",
    "crs_of",
    "describe",
    "grid_coords",
    "grid_key",
    "lonlat_of",
    "pixel_of",
    "window_of",
]

_ROUNDING = 1e-6
"""Pixels; a point this far outside the edge is on it, as coordinates printed with 9 digits may be."""


@lru_cache(maxsize=64)
def _to_grid(wkt: str) -> Transformer:
    from pyproj import CRS, Transformer

    return Transformer.from_crs("EPSG:4326", CRS.from_wkt(wkt), always_xy=True)


def _fractional(grid: GeoBox, lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
    """Column and row, as floats counted from the outer corner of the first pixel, of points in lon/lat."""
    x, y = _to_grid(crs_of(grid).to_wkt()).transform(lon, lat)
    return _apply(~grid.affine, np.asarray(x, float), np.asarray(y, float))


def crs_of(grid: GeoBox) -> CRS:
    """CRS of a grid; `MissingCRS` if it has none."""
    if grid.crs is None:
        raise MissingCRS(
            "The grid of these embeddings has no CRS, so nothing can be placed on Earth. Give one to GeoBox."
        )
    return grid.crs


def crs_name(grid: GeoBox) -> str:
    """Short name of a CRS: its EPSG code, or its name if it has none."""
    crs = crs_of(grid)
    return f"EPSG:{crs.epsg}" if crs.epsg is not None else str(crs.proj.name)


def grid_key(grid: GeoBox) -> list[Any]:
    """What tells one grid from another of the same shape and CRS, as plain JSON."""
    return [grid.digest] if is_points(grid) else list(tuple(grid.affine)[:6])


def grid_coords(grid: GeoBox) -> dict[Any, Any]:
    """Coordinates of arrays (..., y, x) on a grid, for xarray. Points are a column: ``lon`` and ``lat`` along ``y``."""
    if not is_points(grid):
        return dict(_grid_coords(grid))
    lon, lat = grid.lonlat
    return {
        "lon": ("y", lon, {"units": "degrees_east", "standard_name": "longitude"}),
        "lat": ("y", lat, {"units": "degrees_north", "standard_name": "latitude"}),
    }


@lru_cache(maxsize=16)
def _grid_coords(grid: GeoBox) -> dict[Any, Any]:
    """Each answer to a click has the same ones; to make them takes longer than to classify 50 k pixels."""
    from odc.geo.xr import xr_coords

    return dict(xr_coords(grid, always_yx=True))


def _apply(affine: Any, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Affine of arrays, written out: the operator for it changed between versions 2 and 3 of the affine package."""
    a, b, c, d, e, f = tuple(affine)[:6]
    return a * x + b * y + c, d * x + e * y + f


def center_of(grid: GeoBox, rows: Any, cols: Any) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x, y of pixel centres, in the CRS of the grid; of points that are no grid, by their row."""
    if is_points(grid):
        which = _which(grid, rows)
        return grid.x[which], grid.y[which]
    return _apply(grid.affine, np.asarray(cols, float) + 0.5, np.asarray(rows, float) + 0.5)


def lonlat_of(grid: GeoBox, rows: Any, cols: Any) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of pixel centres, degrees."""
    if is_points(grid):
        which = _which(grid, rows)
        return grid.lonlat[0][which], grid.lonlat[1][which]
    x, y = center_of(grid, rows, cols)
    lon, lat = _to_grid(crs_of(grid).to_wkt()).transform(x, y, direction="INVERSE")
    return np.asarray(lon), np.asarray(lat)


def pixel_of(grid: GeoBox, lon: float, lat: float) -> tuple[int, int]:
    """Row and column of the pixel that holds a point given in degrees.

    Raises
    ------
    OutsideScene
        The point is not on the grid; the message says where the grid is, and whether the two numbers look swapped.
        Vectors at single points answer for places up to `PointGrid.reach_m` away, the nearest of them.
    """
    if is_points(grid):
        return _nearest(grid, lon, lat), 0
    inside = _inside(grid, lon, lat)
    if inside is not None:
        return inside
    swapped = _inside(grid, lat, lon) is not None
    hint = (
        f" The numbers look swapped: pass lon={lat:g}, lat={lon:g}."
        if swapped
        else " Give longitude first, in degrees."
    )
    raise OutsideScene(f"The point lon={lon:g}, lat={lat:g} is outside the map, which covers {describe(grid)}.{hint}")


def _which(grid: PointGrid, rows: Any) -> np.ndarray:
    return np.clip(np.rint(np.asarray(rows, float)).astype(np.int64), 0, grid.shape[0] - 1)


def _nearest(grid: PointGrid, lon: float, lat: float) -> int:
    if not (np.isfinite(lon) and np.isfinite(lat) and abs(lat) <= 90):
        raise OutsideScene(f"lon={lon:g}, lat={lat:g} is no place on Earth. Give longitude first, in degrees.")
    index, away = grid.nearest(lon, lat)
    if away[0] > grid.reach_m:
        x, y = (float(v[index[0]]) for v in grid.lonlat)
        raise OutsideScene(
            f"The nearest point to lon={lon:g}, lat={lat:g} is {away[0] / 1000:.3g} km away, at ({x:.5f}, {y:.5f}); these "
            f"{grid.shape[0]:,} points answer for places within {grid.reach_m / 1000:.3g} km. Give longitude first, in degrees."
        )
    return int(index[0])


def _inside(grid: GeoBox, lon: float, lat: float) -> tuple[int, int] | None:
    if not (np.isfinite(lon) and np.isfinite(lat) and abs(lat) <= 90):
        return None
    col, row = _fractional(grid, lon, lat)
    height, width = grid.shape
    out = []
    for value, size in ((float(row), height), (float(col), width)):
        if not -_ROUNDING <= value <= size + _ROUNDING:  # also false for infinity, pyproj's "not on this projection"
            return None
        out.append(min(max(int(np.floor(value)), 0), size - 1))
    return out[0], out[1]


def window_of(
    grid: GeoBox,
    *,
    bbox: tuple[float, ...] | None = None,
    geometry: Any = None,
    bounds: tuple[float, ...] | None = None,
) -> tuple[slice, slice]:
    """Rows and columns of every pixel touched by a box or by the rectangle around a geometry.

    Parameters
    ----------
    bbox : (west, south, east, north), degrees; west > east crosses the antimeridian.
    geometry : shapely geometry, GeoJSON dict, GeoDataFrame or anything with ``__geo_interface__``, lon/lat unless it
        carries a CRS.
    bounds : (left, bottom, right, top) in the CRS of the grid.

    Raises
    ------
    OutsideScene
        It does not touch the grid, or none or several of the three were given.
    """
    given = {"bbox": bbox, "geometry": geometry, "bounds": bounds}
    named = [k for k, v in given.items() if v is not None]
    if len(named) != 1:
        raise OutsideScene(f"crop() needs exactly one of bbox=, geometry=, bounds=; it got {named or 'none'}.")
    if bounds is not None:
        left, bottom, right, top = _ordered(bounds, "bounds")
        x = np.array([left, right, right, left])
        y = np.array([bottom, bottom, top, top])
        col, row = _apply(~grid.affine, x, y)
    else:
        ring = _box_edge(*_ordered(bbox, "bbox")) if bbox is not None else _vertices(geometry)
        col, row = _fractional(grid, ring[:, 0], ring[:, 1])
    return _clip(grid, row, col, named[0], given[named[0]])


def _ordered(box: tuple[float, ...], name: str) -> tuple[float, float, float, float]:
    values = [float(v) for v in box]
    if len(values) != 4 or not np.isfinite(values).all():
        raise OutsideScene(f"{name} must be four numbers (west, south, east, north); it was {tuple(box)}.")
    west, south, east, north = values
    if north < south:
        raise OutsideScene(f"{name}={tuple(box)} has north below south; the order is (west, south, east, north).")
    if west > east:
        if name == "bounds":
            raise OutsideScene(f"bounds={tuple(box)} has left beyond right; the order is (left, bottom, right, top).")
        east += 360.0
    return west, south, east, north


def _box_edge(west: float, south: float, east: float, north: float) -> np.ndarray:
    """Points along the edge: straight lines in degrees are curves on the grid."""
    t = np.linspace(0.0, 1.0, 21)
    x, y = west + t * (east - west), south + t * (north - south)
    sides = [(x, np.full(21, south)), (x, np.full(21, north)), (np.full(21, west), y), (np.full(21, east), y)]
    return np.concatenate([np.stack(s, axis=1) for s in sides])


def _vertices(geometry: Any) -> np.ndarray:
    """Points (n, 2) in lon/lat along the edges of a geometry."""
    import shapely

    if hasattr(geometry, "to_crs") and getattr(geometry, "crs", None) is not None:
        geometry = geometry.to_crs("EPSG:4326")
    if not isinstance(geometry, shapely.Geometry):
        mapping = geometry if isinstance(geometry, dict) else getattr(geometry, "__geo_interface__", None)
        if mapping is None:
            raise OutsideScene(
                f"geometry is a {type(geometry).__name__}; give a shapely geometry, GeoJSON or GeoDataFrame in lon/lat."
            )
        features = mapping.get("features", [mapping])
        geometry = shapely.union_all([shapely.geometry.shape(f.get("geometry", f)) for f in features])
    if geometry.is_empty:
        raise OutsideScene("geometry is empty. Give one that covers some ground.")
    span = max(np.ptp(np.asarray(geometry.bounds).reshape(2, 2), axis=0).max(), 1e-9)
    return shapely.get_coordinates(shapely.segmentize(geometry, span / 20))


def _clip(grid: GeoBox, row: np.ndarray, col: np.ndarray, name: str, given: Any) -> tuple[slice, slice]:
    ok = np.isfinite(row) & np.isfinite(col)
    windows = []
    for value, size in ((row[ok], grid.shape[0]), (col[ok], grid.shape[1])):
        low = int(np.floor(value.min() + _ROUNDING)) if ok.any() else 0
        high = max(int(np.ceil(value.max() - _ROUNDING)), low + 1) if ok.any() else 0
        low, high = max(low, 0), min(high, size)
        if low >= high:
            shown = tuple(given) if name != "geometry" else f"a {type(given).__name__}"
            raise OutsideScene(f"{name}={shown} does not touch the map, which covers {describe(grid)}.")
        windows.append(slice(low, high))
    return windows[0], windows[1]


def describe(grid: GeoBox) -> str:
    """Extent of a grid in words: degrees first, then its own CRS."""
    height, width = grid.shape
    cols = np.array([0, width, width, 0]) - 0.5
    rows = np.array([0, 0, height, height]) - 0.5
    lon, lat = grid.lonlat if is_points(grid) else lonlat_of(grid, rows, cols)
    box = grid.boundingbox
    return (
        f"lon {lon.min():.5f} to {lon.max():.5f}, lat {lat.min():.5f} to {lat.max():.5f} "
        f"({crs_name(grid)}: {box.left:.0f} to {box.right:.0f}, {box.bottom:.0f} to {box.top:.0f})"
    )
