"""xarray objects in memory or in a store as `Piece`s: which dimension is what, where the pixels lie, what is stated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from georeset_lab.data.readers.dates import NOT_A_TIME, date_of, parse_date
from georeset_lab.data.readers.grids import checked_grid, grid_from_centres, parse_crs, upright
from georeset_lab.data.readers.piece import Piece
from georeset_lab.errors import BandMismatch, SceneReadError, ShapeMismatch

_DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "t", "timestamp", "date", "datetime"),
    "band": ("band", "bands", "channel", "channels", "variable", "wavelength"),
    "y": ("y", "lat", "latitude", "northing", "row", "rows"),
    "x": ("x", "lon", "longitude", "easting", "col", "cols"),
}
_ROLE = {word: role for role, words in _DIMENSIONS.items() for word in words}


def pieces_of(source: xr.DataArray | xr.Dataset, *, origin: str, crs: Any = None) -> list[Piece]:
    """Pieces of an xarray object: one per variable that has y and x, all bands of an array together.

    Parameters
    ----------
    source : xarray.DataArray or xarray.Dataset
        Dimensions named time / t / timestamp, band, y / lat, x / lon in any order; time and band may be missing.
        Attributes ``scale_factor`` and ``add_offset`` count as *not yet applied* (xarray moves them to ``encoding``
        when it applies them).
    origin : str
        For messages.
    crs : optional
        Coordinate reference system, if the object does not carry one.

    Raises
    ------
    MissingCRS, GridMismatch
        The place is not stated, or the coordinates are not evenly spaced.
    ShapeMismatch
        A dimension is not understood.
    BandMismatch
        There is no variable with y and x.
    """
    if isinstance(source, xr.DataArray):
        return [_piece(source, source.attrs, origin, crs, str(source.name) if source.name is not None else None)]
    out = []
    for name, array in _rasters(source):
        found = _piece(array, {**source.attrs, **array.attrs}, origin, crs, name, source)
        out.append(found)
    if not out:
        raise BandMismatch(
            f"{origin} has no variable with the dimensions y and x; it has {', '.join(map(str, source))}."
        )
    return out


def _rasters(source: xr.Dataset) -> Iterator[tuple[str, xr.DataArray]]:
    for name, array in source.data_vars.items():
        roles = {_ROLE.get(str(d).lower()) for d in array.dims}
        if {"y", "x"} <= roles and array.dtype.kind in "iuf":
            yield str(name), array


def _piece(
    array: xr.DataArray,
    attrs: Mapping[Any, Any],
    origin: str,
    crs: Any,
    name: str | None,
    parent: xr.Dataset | None = None,
) -> Piece:
    array = _with_roles(array, origin)
    if 0 in array.shape:
        raise SceneReadError(f"{origin} holds no pixel: its size is {dict(array.sizes)}.")
    tags = {str(k).upper(): str(v) for k, v in attrs.items() if isinstance(v, str | int | float | np.number)}
    names = _names(array, name)
    raw = array.transpose("time", "band", "y", "x").data
    grid = _grid(array, attrs, origin, crs, parent)
    raw, grid = upright(raw, grid)
    if str(attrs.get("_Unsigned", "")).lower() == "true" and np.dtype(raw.dtype).kind == "i":
        raw = raw.astype(np.dtype(f"u{raw.dtype.itemsize}"))  # netCDF's way of storing unsigned numbers as signed
    return Piece(
        raw=raw,
        grid=grid,
        names=names,
        times=_times(array, tags),
        origin=origin,
        stated=(_scale(array.attrs),) * len(names),
        nodata=_nodata(array),
        tags=tags,
    )


def _with_roles(array: xr.DataArray, origin: str) -> xr.DataArray:
    roles = {d: _ROLE.get(str(d).lower()) for d in array.dims}
    strange = [str(d) for d, role in roles.items() if role is None]
    twice = len(set(roles.values())) < len(roles)
    if strange or twice or not {"y", "x"} <= set(roles.values()):
        raise ShapeMismatch(
            f"{origin} has the dimensions {tuple(map(str, array.dims))}; what is needed is (time, band, y, x), "
            "where time "
            "and band may be missing. Rename them, e.g. array.rename(rows='y', cols='x')."
        )
    renames = {d: role for d, role in roles.items() if d != role and role is not None}
    clash = [c for c in array.coords if c in renames.values() and c not in roles]
    array = array.drop_vars(clash).rename(renames)
    for dim in ("band", "time"):
        if dim not in array.dims:
            array = array.expand_dims(dim) if dim in array.coords else array.expand_dims({dim: 1})
    return array


def _names(array: xr.DataArray, name: str | None) -> tuple[str | None, ...]:
    """Band coordinate if it holds names (not numbers), else the variable's own name if it is one band, else none."""
    count = array.sizes["band"]
    for key in ("band", "long_name", "band_names"):
        labels = array.coords[key].values if key in array.coords else array.attrs.get(key)
        if labels is None:
            continue
        labels = [str(v) for v in np.atleast_1d(labels)]
        if (
            len(labels) == count
            and not all(re.fullmatch(r"[\d.]+", v) for v in labels)
            and (count > 1 or key == "band")
        ):
            return tuple(labels)
    return (name,) if count == 1 else (None,) * count


def _times(array: xr.DataArray, tags: Mapping[str, str]) -> np.ndarray:
    if "time" not in array.coords:
        stated = date_of(tags)
        return np.full(array.sizes["time"], stated if array.sizes["time"] == 1 else NOT_A_TIME, dtype="datetime64[ns]")
    values = np.atleast_1d(array.coords["time"].values)
    if np.issubdtype(values.dtype, np.datetime64):
        return values.astype("datetime64[ns]")
    return np.array([parse_date(v) if isinstance(v, str) else NOT_A_TIME for v in values], dtype="datetime64[ns]")


def _grid(array: xr.DataArray, attrs: Mapping[Any, Any], origin: str, crs: Any, parent: xr.Dataset | None) -> GeoBox:
    own = _stated_crs(array, attrs, parent) or (parse_crs(crs) if crs is not None else None)
    transform = _transform(array, parent)
    shape = array.sizes["y"], array.sizes["x"]
    if transform is not None and not ("x" in array.coords and array.sizes["x"] > 1 and array.sizes["y"] > 1):
        return checked_grid(GeoBox(shape, transform, own), origin, crs)
    if transform is not None and (transform.b or transform.d):
        return checked_grid(GeoBox(shape, transform, own), origin, crs)
    if "x" not in array.coords or "y" not in array.coords:
        checked_grid(GeoBox(shape, grid_identity(), own), origin, crs)
        raise ShapeMismatch(f"{origin} has no coordinates x and y, so where it lies is unknown. Assign pixel centres.")
    pixel = _pixel(attrs, transform)
    grid = grid_from_centres(array.coords["x"].values, array.coords["y"].values, own, origin, pixel)
    return checked_grid(grid, origin, crs)


def grid_identity() -> Any:
    """Affine of array indices."""
    from affine import Affine

    return Affine.identity()


def _stated_crs(array: xr.DataArray, attrs: Mapping[Any, Any], parent: xr.Dataset | None) -> CRS | None:
    """CRS from a grid-mapping variable, else from attributes ``crs`` or ``epsg``, else from units in degrees."""
    texts: list[Any] = []
    for variable in _mappings(array, attrs, parent):
        texts += [variable.attrs.get(k) for k in ("crs_wkt", "spatial_ref", "epsg_code")]
    texts += [attrs.get("crs"), attrs.get("epsg"), attrs.get("proj:epsg")]
    if "y" in array.coords and str(array.coords["y"].attrs.get("units", "")).startswith("degrees_n"):
        texts.append("EPSG:4326")  # what the CF conventions mean by it
    found = (_crs_of_text(str(t).strip()) for t in texts if t is not None and str(t).strip())
    return next((crs for crs in found if crs is not None), None)


@lru_cache(maxsize=256)  # PROJ takes seconds to give up on a damaged definition
def _crs_of_text(text: str) -> CRS | None:
    plain = re.sub(r"^\+init=", "", text)
    try:
        return CRS(f"EPSG:{plain}" if plain.isdigit() else plain)
    except Exception:  # one that does not parse is the same as none; MissingCRS follows
        return None


def _mappings(array: xr.DataArray, attrs: Mapping[Any, Any], parent: xr.Dataset | None) -> Iterator[xr.DataArray]:
    names = [attrs.get("grid_mapping"), array.encoding.get("grid_mapping"), "spatial_ref", "crs"]
    for name in dict.fromkeys(n for n in names if isinstance(n, str)):
        if name in array.coords:
            yield array.coords[name]
        elif parent is not None and name in parent.variables:
            yield parent[name]


def _transform(array: xr.DataArray, parent: xr.Dataset | None) -> Any:
    from affine import Affine

    for variable in _mappings(array, array.attrs, parent):
        numbers = str(variable.attrs.get("GeoTransform", "")).split()
        if len(numbers) == 6:
            try:
                return Affine.from_gdal(*map(float, numbers))
            except ValueError:
                continue
    return None


def _pixel(attrs: Mapping[Any, Any], transform: Any) -> float | None:
    if transform is not None:
        return abs(float(transform.a))
    try:
        return abs(float(attrs["resolution"]))
    except (KeyError, TypeError, ValueError):
        return None


def _scale(attrs: Mapping[Any, Any]) -> tuple[float, float] | None:
    pair = float(attrs.get("scale_factor", 1.0)), float(attrs.get("add_offset", 0.0))
    return None if pair == (1.0, 0.0) else pair


def _nodata(array: xr.DataArray) -> float | None:
    for key in ("_FillValue", "missing_value", "nodata"):
        value = array.attrs.get(key)
        if value is not None and np.ndim(value) == 0 and np.isfinite(float(value)):
            return float(value)
    return None
