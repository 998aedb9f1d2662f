"""Fused embeddings for other programs: Cloud Optimized GeoTIFF and GeoParquet, whole or not there at all.

Both are written under a temporary name beside the target, read back or checked, and renamed. Neither format protects
its content with checksums that its readers compare; the Zarr store of ``Embeddings.to_zarr`` does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.locate import center_of, crs_of
from georeset_lab.embed.stores.arrays import plain_attrs
from georeset_lab.embed.stores.manifest import fsync_path, plain
from georeset_lab.errors import NothingObserved, StoreError

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["to_cog", "to_geoparquet"]

COG_BLOCK = 128
"""Pixels; a COG of GDAL 3.10 holds all bands of a block together: 8 MB at 128 bands."""


def to_cog(emb: Embeddings, path: str | os.PathLike[str], *, variance: bool = True) -> Path:
    """Write the fused map as a Cloud Optimized GeoTIFF.

    Parameters
    ----------
    emb : Embeddings
    path : path
        An existing file of that name is replaced, once the new one is whole.
    variance : bool
        Append the D bands of variance to the D bands of mean.

    Returns
    -------
    pathlib.Path
        Float32 bands named ``mean_00 ... variance_00 ...``; NaN where nothing was measured; provenance in the tags.

    Raises
    ------
    StoreError
        The file cannot be written, or did not read back as it was written. The target is as it was before.
    """
    import rasterio
    import rasterio.shutil
    from rasterio.errors import RasterioError

    names = _names(emb, variance)
    height, width = emb.shape
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": len(names), "height": height, "width": width,
        "crs": crs_of(emb.grid).to_wkt(), "transform": emb.grid.affine, "nodata": float("nan"),
        "tiled": True, "blockxsize": COG_BLOCK, "blockysize": COG_BLOCK, "interleave": "band", "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    with _whole(path, ".tif") as partial:
        raw = partial.with_name(f"{partial.name}.raw.tif")
        try:
            # Bands apart: GDAL makes overviews band by band, three times faster than from interleaved ones.
            with rasterio.open(raw, "w", **profile) as out:
                out.descriptions = names
                out.update_tags(**{k: str(v) for k, v in plain_attrs(emb.attrs).items()})
                for window, block in _bands(emb, variance):
                    out.write(block, window=window)
            rasterio.shutil.copy(
                raw, partial, driver="COG", COMPRESS="DEFLATE", LEVEL=1, PREDICTOR="FLOATING_POINT",
                BLOCKSIZE=COG_BLOCK, OVERVIEW_RESAMPLING="AVERAGE", BIGTIFF="IF_SAFER", NUM_THREADS="ALL_CPUS",
            )  # fmt: skip
            # GDAL may report a full disk only when a dataset is closed, where the error is lost.
            with rasterio.open(partial) as made:
                for window, block in _bands(emb, variance):
                    if not np.array_equal(made.read(window=window), block, equal_nan=True):
                        raise StoreError(f"{path} did not read back as it was written. Check the space on the disk.")
        except RasterioError as err:
            raise StoreError(f"Could not write {path}: {err}. Check the space and permissions there.") from err
        finally:
            with suppress(OSError):
                raw.unlink()
    return Path(path)


def to_geoparquet(
    emb: Embeddings, path: str | os.PathLike[str], *, variance: bool = True, observed_only: bool = True
) -> Path:
    """Write one row per pixel: a point at its centre, its row and column, mean and variance of each dimension.

    Parameters
    ----------
    emb : Embeddings
    path : path
        An existing file of that name is replaced, once the new one is whole.
    variance : bool
        Write columns ``variance_00 ...`` after ``mean_00 ...``, all float32.
    observed_only : bool
        Leave out pixels that nothing measured (their values are the prior).

    Returns
    -------
    pathlib.Path
        GeoParquet 1.1 in the CRS of the map, for ``geopandas.read_parquet``, DuckDB or QGIS. Pages carry checksums,
        which ``pyarrow.parquet.read_table(path, page_checksum_verification=True)`` compares.

    Raises
    ------
    NothingObserved
        No pixel was observed and ``observed_only`` is set.
    StoreError
        The file cannot be written. The target is as it was before.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = _names(emb, variance)
    if observed_only and not emb.observed.any():
        raise NothingObserved("No pixel was observed; pass observed_only=False to write the prior of all pixels.")
    fields = [("geometry", pa.binary()), ("row", pa.int32()), ("col", pa.int32()), *((n, pa.float32()) for n in names)]
    schema = pa.schema(fields, metadata={"geo": json.dumps(_geo(emb)), "georeset": json.dumps(plain(emb.attrs))})
    rows = 0
    with _whole(path, ".parquet") as partial:
        try:
            with pq.ParquetWriter(
                partial, schema, compression="zstd", compression_level=1, write_page_checksum=True,
                use_dictionary=False, column_encoding=dict.fromkeys(names, "BYTE_STREAM_SPLIT"),
            ) as out:  # fmt: skip
                for table in _tables(emb, schema, variance, observed_only):
                    rows += table.num_rows
                    out.write_table(table)
            if pq.read_metadata(partial).num_rows != rows:
                raise StoreError(f"{path} did not read back as it was written. Check the space on the disk.")
        except pa.ArrowException as err:
            raise StoreError(f"Could not write {path}: {err}. Check the space and permissions there.") from err
    return Path(path)


def _names(emb: Embeddings, variance: bool) -> tuple[str, ...]:
    digits = max(2, len(str(emb.dim - 1)))
    return tuple(f"{kind}_{i:0{digits}d}" for kind in ("mean", "variance")[: 1 + variance] for i in range(emb.dim))


def _bands(emb: Embeddings, variance: bool) -> Iterator[tuple[Any, np.ndarray]]:
    """Rasterio window and its bands (band, y, x), NaN where not observed."""
    from rasterio.windows import Window

    for rows, cols in emb.windows():
        mean, var, observed = emb.fused(rows, cols)
        both = np.concatenate([mean, var], axis=2) if variance else mean
        block = np.where(observed[..., None], both, np.float32(np.nan)).transpose(2, 0, 1)
        yield Window(cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start), block


def _tables(emb: Embeddings, schema: Any, variance: bool, observed_only: bool) -> Iterator[Any]:
    """One Arrow table per block of pixels."""
    import pyarrow as pa
    import shapely

    for rows, cols in emb.windows():
        mean, var, observed = emb.fused(rows, cols)
        keep = observed if observed_only else np.ones_like(observed)
        row, col = np.nonzero(keep)
        x, y = center_of(emb.grid, row + rows.start, col + cols.start)
        values = np.concatenate([mean[keep], var[keep]], axis=1) if variance else mean[keep]
        columns = [
            pa.array(shapely.to_wkb(shapely.points(x, y)), pa.binary()),
            pa.array((row + rows.start).astype(np.int32)),
            pa.array((col + cols.start).astype(np.int32)),
            *(pa.array(np.ascontiguousarray(v)) for v in values.T),
        ]
        yield pa.Table.from_arrays(columns, schema=schema)


def _geo(emb: Embeddings) -> dict[str, Any]:
    """The "geo" metadata of GeoParquet 1.1."""
    from pyproj import CRS

    box = emb.grid.boundingbox
    column = {
        "encoding": "WKB",
        "geometry_types": ["Point"],
        "crs": CRS.from_wkt(crs_of(emb.grid).to_wkt()).to_json_dict(),
        "bbox": [box.left, box.bottom, box.right, box.top],
    }
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


@contextmanager
def _whole(path: str | os.PathLike[str], suffix: str) -> Iterator[Path]:
    """A temporary name beside the target, that becomes the target if all goes well and goes away if not."""
    target = Path(path).expanduser()
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial{suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        fsync_path(partial)
        os.replace(partial, target)
        fsync_path(target.parent)
    except OSError as err:
        if isinstance(err, StoreError):
            raise
        raise StoreError(f"Could not write {target}: {err}. Check the space and permissions there.") from err
    finally:
        for stray in (partial, partial.with_name(f"{partial.name}.aux.xml")):
            with suppress(OSError):
                stray.unlink()
