"""From what users call a geometry to pixels of a grid. No labels (``labels.py``) and no values of pixels here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.points import is_points
from georeset_lab.errors import LabelError, MissingCRS

if TYPE_CHECKING:
    import geopandas as gpd
    import shapely
    from odc.geo.geobox import GeoBox

__all__ = ["as_frame", "burn", "describe_bounds", "on_grid"]

LONLAT = "EPSG:4326"
_LARGEST_DEGREE = 541.0  # 1.5 turns: boxes across the antimeridian may run past 180; projected metres are far beyond


def as_frame(geometry: Any, *, what: str = "geometry") -> gpd.GeoDataFrame:
    """Geometries with their attributes and a CRS, from any of the usual forms.

    Parameters
    ----------
    geometry : GeoDataFrame, GeoSeries, shapely geometry, GeoJSON dict, or anything with ``__geo_interface__``
        Longitude and latitude, unless it carries a CRS of its own (a GeoJSON dict may, in its old ``crs`` member).
    what : str
        How messages call it.

    Raises
    ------
    MissingCRS
        A GeoDataFrame does not say where it is, or bare coordinates are too large to be degrees.
    LabelError
        It is none of these forms, or holds nothing.
    """
    import geopandas as gpd
    import shapely

    if isinstance(geometry, gpd.GeoSeries):
        geometry = geometry.to_frame("geometry")
    if isinstance(geometry, gpd.GeoDataFrame):
        if geometry.crs is None:
            raise MissingCRS(f"{what} has no CRS. Say what its coordinates are with frame.set_crs('EPSG:...').")
        frame = geometry
    elif isinstance(geometry, shapely.Geometry):
        frame = gpd.GeoDataFrame({"geometry": [geometry]}, crs=LONLAT)
    elif hasattr(geometry, "geom") and hasattr(geometry, "crs"):  # odc.geo.geom.Geometry
        frame = gpd.GeoDataFrame({"geometry": [geometry.geom]}, crs=str(geometry.crs))
    else:
        mapping = geometry if isinstance(geometry, dict) else getattr(geometry, "__geo_interface__", None)
        if not isinstance(mapping, dict):
            raise LabelError(
                f"{what} is a {type(geometry).__name__}; give a GeoDataFrame, a shapely geometry or a GeoJSON "
                "dictionary in lon/lat."
            )
        frame = _from_geojson(mapping, what)
    _check_degrees(frame, what)
    return frame


def on_grid(frame: gpd.GeoDataFrame, grid: GeoBox) -> gpd.GeoDataFrame:
    """The frame in the CRS of the grid, polygons made valid; rows keep their order and index.

    A bow-tie is split at its crossing (shapely's ``make_valid``), so it burns what it encloses.

    Raises
    ------
    LabelError
        A geometry is missing, empty, or encloses nothing and is no point or line.
    """
    import shapely

    empty = frame.geometry.isna() | frame.geometry.is_empty
    if empty.any():
        rows = ", ".join(str(i) for i in frame.index[empty][:5])
        raise LabelError(
            f"{int(empty.sum())} of {len(frame)} geometries are empty or missing (rows {rows}). "
            "Drop them with frame[~frame.geometry.is_empty & frame.geometry.notna()]."
        )
    out = frame.to_crs(str(grid.crs))
    invalid = ~out.geometry.is_valid
    if invalid.any():
        out = out.copy()
        out.loc[invalid, out.geometry.name] = shapely.make_valid(out.geometry[invalid].to_numpy())
    return out


def burn(geometries: Sequence[shapely.Geometry], grid: GeoBox) -> np.ndarray:
    """Number of the geometry that holds each pixel; where several do, the last.

    A polygon holds the pixels whose centre it covers, or, if it is too small for any, the pixel of a point inside it;
    a line those it touches; a point the one it lies in.

    Parameters
    ----------
    geometries : sequence of shapely geometries, in the CRS of the grid.

    Returns
    -------
    numpy.ndarray, shape (Y, X), int32
        Position in the sequence; -1 where there is none.
    """
    import shapely
    from rasterio.features import rasterize

    if is_points(grid):
        return grid.burn(geometries)
    out = np.full(tuple(grid.shape), -1, dtype=np.int32)
    frame = shapely.box(*grid.boundingbox.bbox)
    for i, geometry in enumerate(geometries):
        for part in shapely.get_parts(geometry):
            if part.geom_type == "GeometryCollection":
                part = shapely.union_all(shapely.get_parts(part))
            if part.geom_type == "Point":
                _set_pixel(out, grid, part, i)
            elif part.intersects(frame):
                window, rows, cols = _window(part, grid)
                lines = "LineString" in part.geom_type or part.geom_type == "LinearRing"
                hit = rasterize(
                    [(part, 1)], out_shape=window.shape, transform=window.affine, dtype="uint8", all_touched=lines
                )
                out[rows, cols][hit == 1] = i
                if not hit.any():
                    _set_pixel(out, grid, part.representative_point(), i)
    return out


def describe_bounds(frame: gpd.GeoDataFrame, grid: GeoBox) -> str:
    """Bounds of geometries and of a grid side by side, in degrees, for messages."""
    box = [f"{v:.4f}" for v in frame.to_crs(LONLAT).total_bounds]
    scene = [f"{v:.4f}" for v in grid.extent.to_crs(LONLAT).boundingbox.bbox]
    return (
        f"they lie at lon {box[0]} to {box[2]}, lat {box[1]} to {box[3]}; "
        f"the scene at lon {scene[0]} to {scene[2]}, lat {scene[1]} to {scene[3]}"
    )


def _from_geojson(mapping: dict[str, Any], what: str) -> gpd.GeoDataFrame:
    import geopandas as gpd

    kind = mapping.get("type")
    if kind == "FeatureCollection":
        features = list(mapping.get("features") or [])
    elif kind == "Feature":
        features = [mapping]
    else:
        features = [{"type": "Feature", "properties": {}, "geometry": mapping}]
    if not features:
        raise LabelError(f"{what} is a GeoJSON collection without features. Give at least one.")
    name = (mapping.get("crs") or {}).get("properties", {}).get("name")
    rows = [{**f, "properties": f.get("properties") or {}} for f in features]
    try:
        return gpd.GeoDataFrame.from_features(rows, crs=name or LONLAT)
    except Exception as err:  # pyproj, shapely and geopandas each have their own for a malformed feature
        raise LabelError(f"{what} is not valid GeoJSON: {err}") from err


def _check_degrees(frame: gpd.GeoDataFrame, what: str) -> None:
    bounds = np.abs(frame.total_bounds)
    if frame.crs.is_geographic and np.isfinite(bounds).all() and bounds.max() > _LARGEST_DEGREE:
        raise MissingCRS(
            f"{what} has coordinates up to {bounds.max():.0f}, which cannot be longitude and latitude. Pass a "
            "GeoDataFrame with the right CRS: geopandas.GeoDataFrame(..., crs='EPSG:32719')."
        )


def _set_pixel(out: np.ndarray, grid: GeoBox, point: shapely.Point, value: int) -> None:
    col, row = ~grid.affine * (point.x, point.y)
    if np.isfinite(col) and np.isfinite(row):
        r, c = int(np.floor(row)), int(np.floor(col))
        if 0 <= r < out.shape[0] and 0 <= c < out.shape[1]:
            out[r, c] = value


def _window(part: Any, grid: GeoBox) -> tuple[GeoBox, slice, slice]:
    """The smallest window of the grid around a geometry: rasterising a small field must not cost a whole scene."""
    left, bottom, right, top = part.bounds
    corners = np.array([~grid.affine * (x, y) for x in (left, right) for y in (bottom, top)])
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, None)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int), None, (grid.shape[1], grid.shape[0]))
    high = np.maximum(high, low + 1)
    rows, cols = slice(low[1], min(high[1], grid.shape[0])), slice(low[0], min(high[0], grid.shape[1]))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        rows, cols = slice(0, 1), slice(0, 1)
    return grid[rows, cols], rows, cols
