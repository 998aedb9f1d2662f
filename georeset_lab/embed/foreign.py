"""`import_embeddings`: vectors that others made and published, from a table of places or a raster of bands.

AlphaEarth, TESSERA and Clay come as rasters of D bands; Major TOM and single samples as tables. Their variance is mostly
unknown, and stays unknown: it is NaN, never 0 and never 1.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.points import SUPPORT_M, PointGrid
from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.expert import Expert
from georeset_lab.embed.points import PointEmbeddings
from georeset_lab.errors import InvalidOption, MissingCRS, SceneReadError, ShapeMismatch

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    import xarray as xr
    from odc.geo.geobox import GeoBox

__all__ = ["import_embeddings"]

MOST_BYTES = 4 << 30
"""Largest raster that is read into memory without being cut."""
_PLACES = (("lon", "lat"), ("longitude", "latitude"), ("x", "y"))
_RASTERS = (".tif", ".tiff")
_TABLES = (".parquet", ".geoparquet", ".csv", ".geojson", ".json", ".gpkg")
_ENDING = re.compile(r"^(.*?)(\d+)$")


def import_embeddings(
    source: Any,
    *,
    vectors: Any = None,
    variance: Any = None,
    x: str | None = None,
    y: str | None = None,
    crs: Any = None,
    scale: float | Callable[[np.ndarray], np.ndarray] = 1.0,
    nodata: float | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    support_m: float = SUPPORT_M,
    name: str = "published",
) -> Embeddings:
    """Embeddings that were made elsewhere, for `similar`, `probe` and `explore`.

    Parameters
    ----------
    source : DataFrame, GeoDataFrame, DataArray, or path
        A table with one row for each place (also GeoParquet, Parquet, CSV, GeoJSON, GeoPackage), or a raster with one
        band for each dimension: a DataArray (dim, y, x) or (y, x, dim) with a CRS, or a GeoTIFF.
    vectors : list of columns, column, or array (N, D), optional
        Tables: where the vectors are. By default the longest run of numbered columns (``E1, E2, ...``, ``A00, ...``) or a
        column that holds arrays.
    variance : list of columns, array like the vectors, or DataArray, optional
        Posterior variance under a prior of N(0, 1), in 0..1. Unknown by default, and then shown as unknown.
    x, y : columns, optional
        Tables without geometry: by default ``lon, lat``, ``longitude, latitude`` or ``x, y``.
    crs : any, optional
        Of the coordinates: longitude and latitude by default for ``lon``/``longitude`` columns.
    scale : number or function
        From stored to real numbers: a factor, or a function of the array, as for AlphaEarth's int8.
    nodata : number, optional
        Stored value of what is missing; a vector with one such number is missing.
    bbox : (west, south, east, north) in degrees, optional
        The part to take.
    support_m : float
        Tables: side of the ground in metres that a vector stands for; a label point within it is its label.
    name : str
        Name of the one modality.

    Returns
    -------
    Embeddings
        `PointEmbeddings` of a table, with its other columns in ``.table``.

    Raises
    ------
    ShapeMismatch, MissingCRS, InvalidOption, SceneReadError
        No vectors or places are found, or they disagree; the message names the argument that says where they are.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"lon": [10.0, 10.1], "lat": [50.0, 50.0], "E1": [1.0, 0.0], "E2": [0.0, 1.0]})
    >>> import_embeddings(table)
    <PointEmbeddings 2 x 2, published, variance unknown, EPSG:4326>
    """
    import xarray as xr

    if isinstance(source, str | os.PathLike):
        source = _opened(Path(source), bbox)
    if isinstance(source, xr.Dataset) and len(source.data_vars) == 1:
        source = next(iter(source.data_vars.values()))
    if isinstance(source, xr.DataArray):
        if vectors is not None or x is not None or y is not None:
            raise InvalidOption("vectors=, x= and y= belong to tables; a raster has its vectors in its bands.")
        emb = _from_raster(source, variance, crs, scale, nodata, name)
        return emb if bbox is None else emb.crop(bbox)
    if not hasattr(source, "columns"):
        raise InvalidOption(
            f"source is a {type(source).__name__}; give a DataFrame, a DataArray (dim, y, x), or a path of one. Of an array "
            "(N, D) make a table of its places and pass vectors=array."
        )
    points = _from_table(source, vectors, variance, x, y, crs, scale, nodata, support_m, name)
    return points if bbox is None else points.crop(bbox)


# -- tables --------------------------------------------------------------------------------------------------------------


def _from_table(
    table: pd.DataFrame,
    vectors: Any,
    variance: Any,
    x: str | None,
    y: str | None,
    crs: Any,
    scale: float | Callable[[np.ndarray], np.ndarray],
    nodata: float | None,
    support_m: float,
    name: str,
) -> PointEmbeddings:
    import geopandas as gpd

    if not len(table):
        raise ShapeMismatch("The table has no rows.")
    east, north, crs, used = _places(table, x, y, crs)
    grid = PointGrid(east, north, crs, support_m=support_m)
    stored, columns = _vectors(table, vectors, exclude=used, what="vectors")
    mean = _real(stored, scale, nodata)
    sure, more = (None, []) if variance is None else _vectors(table, variance, exclude=[], what="variance")
    expert = _expert(mean[:, None], None if sure is None else np.asarray(sure, np.float32)[:, None])
    rest = table.drop(columns=[c for c in {*columns, *more, *used} if c in table.columns])
    geometry = gpd.points_from_xy(east, north, crs=str(grid.crs))
    kept = gpd.GeoDataFrame(rest.reset_index(drop=True), geometry=geometry)
    return PointEmbeddings({name: expert}, grid, attrs=_about(name, mean), table=kept)


def _places(table: Any, x: str | None, y: str | None, crs: Any) -> tuple[np.ndarray, np.ndarray, Any, list[str]]:
    """Coordinates, their CRS, and the columns they came from."""
    if (x is None) != (y is None):
        raise InvalidOption("Give x= and y= together, or neither.")
    if x is None and hasattr(table, "geometry") and hasattr(table, "crs"):
        crs = table.crs if table.crs is not None else crs
        if crs is None:
            raise MissingCRS("The table does not say where its points are. Pass crs='EPSG:...'.")
        kinds = set(table.geometry.geom_type)
        if kinds != {"Point"}:
            raise ShapeMismatch(
                f"The geometries are {', '.join(map(str, kinds))}; a vector needs one Point. Use centroids."
            )
        return table.geometry.x.to_numpy(), table.geometry.y.to_numpy(), crs, [table.geometry.name]
    lower = {str(c).lower(): c for c in table.columns}
    pairs = [(x, y)] if x is not None else [(lower[a], lower[b]) for a, b in _PLACES if a in lower and b in lower]
    if not pairs:
        raise InvalidOption(
            f"No column says where the points are; this table has {_named(table.columns)}. Pass x=, y= and crs=."
        )
    east, north = pairs[0]
    missing = [c for c in (east, north) if c not in table.columns]
    if missing:
        raise InvalidOption(f"There is no column {missing[0]!r}; this table has {_named(table.columns)}.")
    if crs is None:
        if str(east).lower() == "x":
            raise MissingCRS(f"Columns {east!r} and {north!r} do not say what they count. Pass crs='EPSG:...'.")
        crs = "EPSG:4326"
    return np.asarray(table[east], float), np.asarray(table[north], float), crs, [str(east), str(north)]


def _vectors(table: Any, given: Any, *, exclude: Sequence[str], what: str) -> tuple[np.ndarray, list[Any]]:
    """Array (N, D) and the columns it came from."""
    if given is None:
        given = _found(table, exclude)
    if isinstance(given, str):
        given = [given]
    columns: list[Any] = []
    if isinstance(given, Sequence):
        missing = [c for c in given if c not in table.columns]
        if missing:
            raise InvalidOption(f"{what}= names {missing[0]!r}; this table has {_named(table.columns)}.")
        columns = list(given)
        nested = len(columns) == 1 and table[columns[0]].dtype == object
        try:
            array = np.stack(table[columns[0]].to_list()) if nested else table[columns].to_numpy()
        except ValueError as err:
            raise ShapeMismatch(f"The arrays in column {columns[0]!r} differ in length ({err}).") from err
    else:
        array = np.asarray(given)
    if array.ndim != 2 or len(array) != len(table) or array.dtype.kind not in "fiu":
        raise ShapeMismatch(
            f"{what} has shape {array.shape} and type {array.dtype}; it must be numbers, ({len(table)}, D): a row for each place."
        )
    return array, columns


def _found(table: Any, exclude: Sequence[str]) -> list[Any]:
    """The longest run of numbered numeric columns, or the one column that holds arrays."""
    runs: dict[str, list[tuple[int, Any]]] = {}
    for column in table.columns:
        match = _ENDING.match(str(column))
        if (
            match
            and str(column) not in exclude
            and table[column].dtype.kind in "fiu"
            and not match[1].startswith("variance")
        ):
            runs.setdefault(match[1], []).append((int(match[2]), column))
    best = max(runs.values(), key=len, default=[])
    if len(best) >= 2:
        return [column for _, column in sorted(best, key=lambda pair: pair[0])]
    nested = [
        c for c in table.columns if table[c].dtype == object and isinstance(table[c].iloc[0], list | tuple | np.ndarray)
    ]
    if len(nested) == 1:
        return nested
    raise InvalidOption(
        f"No numbered columns and no column of arrays to be the vectors; this table has {_named(table.columns)}. Pass vectors=."
    )


# -- rasters -------------------------------------------------------------------------------------------------------------


def _from_raster(
    array: xr.DataArray,
    variance: Any,
    crs: Any,
    scale: float | Callable[[np.ndarray], np.ndarray],
    nodata: float | None,
    name: str,
) -> Embeddings:
    stored, grid = _pixels(array, crs)
    missing = nodata if nodata is not None else array.attrs.get("_FillValue", array.attrs.get("nodata"))
    mean = _real(stored, scale, missing)
    sure = None
    if variance is not None:
        sure, other = _pixels(variance, crs)
        if other != grid or sure.shape != mean.shape:
            raise ShapeMismatch(f"variance is {sure.shape}, the vectors are {mean.shape}; both must lie on one grid.")
        sure = np.asarray(sure, np.float32)
    return Embeddings({name: _expert(mean, sure)}, grid, attrs=_about(name, mean))


def _pixels(array: xr.DataArray, crs: Any) -> tuple[np.ndarray, GeoBox]:
    """Values (Y, X, D) and their grid."""
    import odc.geo.xr

    if array.ndim != 3:
        raise ShapeMismatch(
            f"The raster has dimensions {array.dims}; it must have three: one for the vector, and y and x."
        )
    box = array.odc.geobox
    if (box is None or box.crs is None) and crs is not None:
        array = odc.geo.xr.assign_crs(array, crs)
        box = array.odc.geobox
    if box is None or box.crs is None:
        raise MissingCRS(
            "The raster does not say where on Earth it is. Pass crs='EPSG:...'; it needs even x and y coordinates."
        )
    down, right = array.odc.spatial_dims
    other = next(d for d in array.dims if d not in (down, right))
    if array.size * 4 > MOST_BYTES:
        raise InvalidOption(
            f"{array.sizes[down]} x {array.sizes[right]} x {array.sizes[other]} numbers need {array.size * 4 / 2**30:.0f} GiB. "
            "Pass bbox=(west, south, east, north) to take a part."
        )
    return np.asarray(array.transpose(down, right, other).values), box


def _opened(path: Path, bbox: tuple[float, float, float, float] | None) -> Any:
    if not path.is_file():
        raise SceneReadError(f"There is no file {path}.")
    ending = path.suffix.lower()
    try:
        if ending in _RASTERS:
            return _geotiff(path, bbox)
        if ending in (".parquet", ".geoparquet"):
            return _parquet(path)
        if ending == ".csv":
            import pandas as pd

            return pd.read_csv(path)
        if ending in _TABLES:
            import geopandas as gpd

            return gpd.read_file(path)
    except (ValueError, OSError, RuntimeError) as err:
        if isinstance(err, SceneReadError):
            raise
        raise SceneReadError(f"{path} cannot be read as {ending}: {err}") from err
    raise SceneReadError(f"Embeddings are read from {', '.join((*_RASTERS, *_TABLES))}, not from {path.name!r}.")


def _parquet(path: Path) -> pd.DataFrame | gpd.GeoDataFrame:
    import geopandas as gpd
    import pandas as pd
    import pyarrow.parquet as pq

    geo = b"geo" in (pq.read_schema(path).metadata or {})
    return gpd.read_parquet(path) if geo else pd.read_parquet(path)


def _geotiff(path: Path, bbox: tuple[float, float, float, float] | None) -> xr.DataArray:
    import rasterio
    import xarray as xr
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords
    from rasterio.windows import Window

    from georeset_lab.embed.locate import window_of

    with rasterio.open(path, driver="GTiff") as file:
        if file.crs is None:
            raise MissingCRS(f"{path} does not say where on Earth it is.")
        grid = GeoBox((file.height, file.width), file.transform, file.crs)
        rows, cols = (slice(0, file.height), slice(0, file.width)) if bbox is None else window_of(grid, bbox=bbox)
        size = (rows.stop - rows.start) * (cols.stop - cols.start) * file.count * 4
        if size > MOST_BYTES:
            raise InvalidOption(
                f"{path} needs {size / 2**30:.0f} GiB. Pass bbox=(west, south, east, north) to take a part."
            )
        values = file.read(window=Window(cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start))
        attrs = {} if file.nodata is None else {"nodata": file.nodata}
    coords = dict(xr_coords(grid[rows, cols], always_yx=True))
    return xr.DataArray(values, dims=("dim", "y", "x"), coords=coords, attrs=attrs)


# -- both ----------------------------------------------------------------------------------------------------------------


def _real(stored: np.ndarray, scale: float | Callable[[np.ndarray], np.ndarray], nodata: float | None) -> np.ndarray:
    """Float32 vectors; all NaN where one number is missing."""
    missing = ~np.isfinite(stored).all(axis=-1) if stored.dtype.kind == "f" else np.zeros(stored.shape[:-1], bool)
    if nodata is not None and np.isfinite(nodata):
        missing |= (stored == nodata).any(axis=-1)
    real = scale(stored) if callable(scale) else stored * np.float32(scale)
    mean = np.array(real, np.float32)
    if mean.shape != stored.shape:
        raise ShapeMismatch(f"scale made {mean.shape} of {stored.shape}; it must keep the shape.")
    mean[missing] = np.nan
    return mean


def _expert(mean: np.ndarray, variance: np.ndarray | None) -> Expert:
    if variance is None:
        return Expert.of_mean(mean)
    if variance.shape != mean.shape or not ((variance > 0) & (variance <= 1)).all():
        raise ShapeMismatch(
            f"variance must be of shape {mean.shape} and lie in (0, 1], the prior's being 1; it is {variance.shape}, "
            f"{np.nanmin(variance):.3g} to {np.nanmax(variance):.3g}."
        )
    seen = np.isfinite(mean)
    tau = np.where(seen, 1 / variance - 1, 0).astype(np.float32)
    return Expert(np.where(seen, mean / variance, 0).astype(np.float32), tau)


def _about(name: str, mean: np.ndarray) -> dict[str, Any]:
    from georeset_lab.files import sha256

    return {"model": name, "data": sha256(np.ascontiguousarray(mean, "<f4").tobytes())[:16], "scene": name}


def _named(columns: Any) -> str:
    shown = [repr(str(c)) for c in columns[:12]]
    return ", ".join(shown) + (f" and {len(columns) - 12} more" if len(columns) > 12 else "")
