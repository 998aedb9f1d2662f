"""Class codes of a raster at the pixel centres of another grid. What becomes of them is in ``labels.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.errors import LabelError, MissingCRS, SceneReadError

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

__all__ = ["MAX_CLASSES", "class_names", "open_geotiff", "raster_codes", "unlabelled_code"]

MAX_CLASSES = 1000
"""More distinct labels than this are an identifier or a measurement, not a class."""
_NOTHING = {
    "",
    "none",
    "nodata",
    "no data",
    "no_data",
    "unlabelled",
    "unlabeled",
    "unclassified",
    "background",
    "unknown",
}


def open_geotiff(path: Path, grid: GeoBox) -> xr.DataArray:
    """First band of a GeoTIFF around a grid, so that a national map is not read for one scene.

    Raises
    ------
    SceneReadError
        The file is damaged or no GeoTIFF, whatever its name says.
    MissingCRS
        It does not say where it lies.
    LabelError
        It does not touch the grid.
    """
    import rasterio
    import xarray as xr
    from odc.geo.geobox import GeoBox as Box
    from odc.geo.xr import xr_coords
    from rasterio.windows import Window

    try:
        with rasterio.open(path, driver="GTiff") as source:
            if source.crs is None:
                raise MissingCRS(f"{path} has no CRS. Write one into it, or pass a DataArray with .rio.write_crs(...).")
            whole = Box((source.height, source.width), source.transform, source.crs)
            rows, cols = _overlap(whole, grid)
            values = source.read(
                1, window=Window(cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start)
            )
            nodata = source.nodata
    except rasterio.errors.RasterioError as err:
        raise SceneReadError(f"{path} cannot be read as a GeoTIFF of labels: {err}") from err
    array = xr.DataArray(values, dims=("y", "x"), coords=dict(xr_coords(whole[rows, cols], always_yx=True)))
    return array.assign_attrs(_FillValue=nodata) if nodata is not None else array


def unlabelled_code(classes: Mapping[int, str] | Sequence[str] | str | None) -> int | None:
    """0, unless the names of the classes say that 0 is one of them."""
    name = _table(classes).get(0)
    return None if name is not None and name.strip().lower() not in _NOTHING else 0


def raster_codes(array: xr.DataArray, grid: GeoBox, nodata: int | None) -> tuple[np.ndarray, list[int]]:
    """Codes (Y, X) int64 on a grid, -1 where unlabelled, and the codes that occur, ascending.

    Raises
    ------
    LabelError
        Not two-dimensional, fractions, no labelled pixel, or too many different codes.
    MissingCRS
        The array does not say where it lies.
    """
    values = _nearest(array, grid)
    finite = np.isfinite(values)
    if values.dtype.kind not in "iub" and not (values[finite] == np.rint(values[finite])).all():
        raise LabelError(
            f"A label raster holds class codes (whole numbers); this one is {values.dtype} with fractions, "
            "which looks like a measurement. Classify it first."
        )
    fill = array.attrs.get("_FillValue", array.encoding.get("_FillValue"))
    drop = [v for v in (nodata, fill) if v is not None and np.isfinite(v)]
    codes = np.where(finite, values, -1).astype(np.int64)
    codes[np.isin(codes, np.array(drop, dtype=np.int64)) | (codes < 0)] = -1
    present = [int(c) for c in np.unique(codes[codes >= 0])]
    if not present:
        raise LabelError(
            f"The label raster has no labelled pixel on the scene (unlabelled is {drop or 'nothing'}). "
            "If its code 0 is a class, pass nodata=None to read_labels."
        )
    if len(present) > MAX_CLASSES:
        raise LabelError(f"{len(present)} different codes are more than {MAX_CLASSES}: this raster holds no classes.")
    return codes, present


def class_names(present: list[int], classes: Mapping[int, str] | Sequence[str] | str | None) -> tuple[str, ...]:
    """Names of codes, from a mapping, a sequence by position, or their JSON text; a code without a name is its own."""
    table = _table(classes)
    return tuple(table.get(code, str(code)) for code in present)


def _table(classes: Mapping[int, str] | Sequence[str] | str | None) -> dict[int, str]:
    if isinstance(classes, str):
        try:
            classes = json.loads(classes)
        except ValueError as err:
            raise LabelError(f"classes={classes!r} is not JSON; give a dictionary {{code: name}} or a list.") from err
    if classes is None:
        return {}
    table: dict[Any, Any] = dict(classes) if isinstance(classes, Mapping) else dict(enumerate(classes))
    return {int(code): str(name) for code, name in table.items()}


def _overlap(whole: GeoBox, grid: GeoBox) -> tuple[slice, slice]:
    """Window of a raster that holds a grid, one pixel wider; the grid's edge is followed, as it is a curve there."""
    t = np.linspace(0, 1, 21)
    height, width = grid.shape
    cols = np.concatenate([t * width, t * width, 0 * t, 0 * t + width])
    rows = np.concatenate([0 * t, 0 * t + height, t * height, t * height])
    c, r = _to_pixels(whole, grid, rows, cols)
    ok = np.isfinite(c) & np.isfinite(r)
    windows = []
    for value, size in ((r[ok], whole.shape[0]), (c[ok], whole.shape[1])):
        low = max(int(np.floor(value.min())) - 1, 0) if ok.any() else 0
        high = min(int(np.ceil(value.max())) + 1, size) if ok.any() else 0
        if low >= high:
            raise LabelError(f"The label raster does not touch the scene: {_where(whole, grid)}.")
        windows.append(slice(low, high))
    return windows[0], windows[1]


def _to_pixels(box: GeoBox, grid: GeoBox, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row in ``box``, as floats, of positions in ``grid``."""
    from pyproj import Transformer

    a = grid.affine
    x, y = a.a * cols + a.b * rows + a.c, a.d * cols + a.e * rows + a.f
    if box.crs != grid.crs:
        x, y = Transformer.from_crs(str(grid.crs), str(box.crs), always_xy=True).transform(x, y)
    x, y, b = np.asarray(x), np.asarray(y), ~box.affine
    return b.a * x + b.b * y + b.c, b.d * x + b.e * y + b.f


def _nearest(array: xr.DataArray, grid: GeoBox) -> np.ndarray:
    """Values at the pixel centres of a grid, each of the pixel that holds the centre; NaN outside the array."""
    import odc.geo.xr  # noqa: F401  registers the .odc accessor

    flat = array.squeeze(drop=True) if array.ndim > 2 else array
    if flat.ndim != 2:
        raise LabelError(f"A label raster has two dimensions (y, x); this DataArray has {dict(array.sizes)}.")
    box = flat.odc.geobox
    if box is None or box.crs is None:
        raise MissingCRS(
            "The label DataArray has no CRS or coordinates. Say what it is: array.rio.write_crs('EPSG:...')."
        )
    values = np.asarray(flat.values)
    if box == grid:
        return values
    rows, cols = np.indices(tuple(grid.shape), dtype=np.float64) + 0.5
    c, r = _to_pixels(box, grid, rows, cols)
    inside = (r >= 0) & (c >= 0) & (r < box.shape[0]) & (c < box.shape[1])
    if not inside.any():
        raise LabelError(f"The label raster does not touch the scene: {_where(box, grid)}.")
    out = np.full(tuple(grid.shape), np.nan)
    out[inside] = values[np.floor(r[inside]).astype(int), np.floor(c[inside]).astype(int)]
    return out


def _where(box: GeoBox, grid: GeoBox) -> str:
    return f"it covers {box.boundingbox.bbox} in {box.crs}, the scene {grid.boundingbox.bbox} in {grid.crs}"
