"""Open a GeoTIFF (also a COG) or JPEG 2000 as a `Piece`: only those drivers, only the windows asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from georeset_lab.data.grids import pixel_size_m
from georeset_lab.data.readers.dates import date_of
from georeset_lab.data.readers.grids import checked_grid, upright
from georeset_lab.data.readers.piece import Facts, Piece
from georeset_lab.data.readers.wavelengths import specs_of
from georeset_lab.data.stored import Box, lazy
from georeset_lab.errors import GeoresetError, SceneReadError, UnitError

DRIVERS: tuple[tuple[bytes, str], ...] = (
    (b"II*\x00", "GTiff"),
    (b"MM\x00*", "GTiff"),
    (b"II+\x00", "GTiff"),
    (b"MM\x00+", "GTiff"),
    (b"\x00\x00\x00\x0cjP  ", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
)
"""First bytes of a file and the one GDAL driver that may open it, whatever its name says.

VRT and its like can name other files and addresses, so no such driver is ever tried.
"""

EAGER_PIXELS = 4_000_000
"""Rasters of at most this many pixels (and 128 MiB) are read at once; larger ones stay lazy."""

_EAGER_BYTES = 128 * 2**20

_CHUNK = 1024
_CHUNK_BYTES = 64 * 2**20
_BLOCK_BYTES = 512 * 2**20
_MOST_BANDS = 8192
_ENV = {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE", "OPEN_REMOTE_GML": "NO", "GDAL_NUM_THREADS": "1"}


def read_raster(path: Path, *, chunks: int | None = None, crs: Any = None, driver: str | None = None) -> Piece:
    """What a GeoTIFF or JPEG 2000 file states, with its pixels lazy if there are many.

    Parameters
    ----------
    path : Path
        Local file.
    chunks : int, optional
        Side of a lazy chunk in pixels. Default: about 1024, whole file blocks; small files are read at once.
    crs : optional
        Coordinate reference system for a file that has none.
    driver : str, optional
        GDAL driver of a format that its first bytes do not show (ENVI); by default they decide.

    Raises
    ------
    SceneReadError
        Missing, damaged, of another format, complex numbers, or with blocks too large to hold.
    MissingCRS
        The file has no CRS and ``crs`` was not given.
    """
    import rasterio

    driver = driver or driver_of(path)
    with _quiet(), rasterio.Env(**_ENV):
        try:
            with rasterio.open(path, driver=driver) as src:
                return _describe(path, src, chunks, crs)
        except GeoresetError:
            raise
        except (rasterio.errors.RasterioError, UnicodeError, ValueError, OverflowError) as err:  # damaged headers
            raise SceneReadError(f"{path} cannot be opened as a raster: {_cause(err)}.") from err


def driver_of(path: Path) -> str:
    """GDAL driver for the content of a file.

    Raises
    ------
    SceneReadError
        The file is missing, empty, or of a format that is not opened.
    """
    if not path.is_file():
        raise SceneReadError(f"There is no file {path}. Give the path of a raster, or of a folder of rasters.")
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise SceneReadError(f"{path} is empty; the download or copy was probably broken off. Fetch it again.")
    for magic, driver in DRIVERS:
        if head.startswith(magic):
            return driver
    if head.lstrip().startswith((b"<", b"{", b"[")):
        raise SceneReadError(
            f"{path} is text (a VRT, XML or JSON file), whatever its name says. Such files can point at other files "
            "and "
            "at the network, so they are never opened. Give the GeoTIFF itself."
        )
    raise SceneReadError(
        f"{path} is neither GeoTIFF nor JPEG 2000 (it begins with {head[:8]!r}). Convert it, e.g. gdal_translate "
        "-of COG."
    )


class WindowReader:
    """Reader of one file, ``(1, band, y, x)``; each window opens the file anew, so it can travel and be shared."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype, driver: str | None = None) -> None:
        self.path, self.shape, self.dtype, self.driver = path, shape, dtype, driver

    def read_into(self, out: np.ndarray, box: Box) -> None:
        """Write the stored numbers of a box into ``out``."""
        if out.size:
            read_window(self.path, [b + 1 for b in box.bands], box.rows, box.cols, driver=self.driver, out=out[0])
            out[1:] = out[:1]


def read_window(
    path: Path, bands: list[int], rows: slice, cols: slice, *, driver: str | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Stored numbers ``(band, y, x)`` of a window, in ``out`` if it is given; bands count from 1.

    Raises
    ------
    SceneReadError
        The bytes cannot be read or decoded; the message names the file, the band and the block.
    """
    import rasterio
    from rasterio.windows import Window

    window, driver = Window.from_slices(rows, cols), driver or driver_of(path)
    with rasterio.Env(**_ENV):  # no _quiet() here: warning filters are shared by all threads
        try:
            with rasterio.open(path, driver=driver) as src:
                try:
                    return np.asarray(src.read(bands, window=window, out=out))
                except rasterio.errors.RasterioError as err:
                    raise SceneReadError(_which_block(path, src, bands, rows, cols, err)) from err
        except rasterio.errors.RasterioError as err:
            raise SceneReadError(f"{path} cannot be opened as a raster: {_cause(err)}.") from err


def _describe(path: Path, src: Any, chunks: int | None, crs: Any) -> Piece:
    if src.count > _MOST_BANDS:
        raise SceneReadError(
            f"{path} claims {src.count} bands, more than the {_MOST_BANDS} that are read. Check that it is what it claims to "
            "be, or split it."
        )
    dtype = np.dtype(np.result_type(*src.dtypes))
    if dtype.kind == "c":
        raise UnitError(f"{path} holds complex numbers (single-look radar). Give detected power or dB instead.")
    shape = (1, src.count, src.height, src.width)
    _check_block(path, src, dtype)
    tags = {k.upper(): v for k, v in src.tags().items()}
    grid = checked_grid(GeoBox((src.height, src.width), src.transform, src.crs), str(path), crs)
    reader = WindowReader(path, shape, dtype, src.driver)
    specs = specs_of(src, max(round(pixel_size_m(grid), 3), 1e-3), str(path))
    raw, grid = upright(_array(path, reader, src, chunks), grid)
    return Piece(
        raw=raw,
        grid=grid,
        names=tuple(_name(d) for d in src.descriptions),
        times=np.array([date_of(tags, path)], dtype="datetime64[ns]"),
        origin=str(path),
        stated=tuple(_stated(s, o) for s, o in zip(src.scales, src.offsets, strict=True)),
        nodata=_nodata(src.nodatavals),
        tags=tags,
        facts=tuple(None if s is None else Facts(spec=s, units=False) for s in specs),
    )


def _array(path: Path, reader: WindowReader, src: Any, chunks: int | None) -> Any:
    size = int(np.prod(reader.shape)) * reader.dtype.itemsize
    if chunks is None and src.height * src.width <= EAGER_PIXELS and size <= _EAGER_BYTES:
        return read_window(
            path, [*range(1, src.count + 1)], slice(0, src.height), slice(0, src.width), driver=src.driver
        )[None]
    from dask.base import tokenize

    stat = path.stat()
    name = "raster-" + tokenize(str(path.resolve()), stat.st_mtime_ns, stat.st_size)
    return lazy(reader, _chunks(src, reader.dtype, chunks), name)


def _chunks(src: Any, dtype: np.dtype, wanted: int | None) -> tuple[int, int, int, int]:
    """Whole file blocks, about ``wanted`` pixels a side, all bands together unless that is too much memory."""
    side = wanted or _CHUNK
    high, wide = src.block_shapes[0]
    rows = min(src.height, max(1, round(side / high)) * high)
    cols = min(src.width, max(1, round(side / wide)) * wide)
    rows = min(rows, max(high, _CHUNK_BYTES // (cols * dtype.itemsize) // high * high))  # strips can be very wide
    together = src.count * rows * cols * dtype.itemsize <= _CHUNK_BYTES
    return 1, src.count if together else 1, rows, cols


def _check_block(path: Path, src: Any, dtype: np.dtype) -> None:
    high, wide = src.block_shapes[0]
    bands = src.count if str(src.interleaving).lower().endswith("pixel") else 1
    size = int(high) * int(wide) * bands * dtype.itemsize
    if size > _BLOCK_BYTES:
        raise SceneReadError(
            f"{path} is stored in blocks of {high} x {wide} pixels, {size / 2**30:.1f} GiB each. It cannot be read in "
            f"parts: rewrite it in tiles (gdal_translate -co TILED=YES), or check that it is what it claims to be."
        )


def _which_block(path: Path, src: Any, bands: list[int], rows: slice, cols: slice, err: Exception) -> str:
    """Message that names the first band and block which fail."""
    import rasterio
    from rasterio.windows import Window

    high, wide = src.block_shapes[0]
    where = f"band {bands[0]}, rows {rows.start}-{rows.stop - 1}, columns {cols.start}-{cols.stop - 1}"
    for band in bands:
        for row in range(rows.start // high, (rows.stop - 1) // high + 1):
            for col in range(cols.start // wide, (cols.stop - 1) // wide + 1):
                box = Window(col * wide, row * high, wide, high).intersection(Window(0, 0, src.width, src.height))
                try:
                    src.read(band, window=box)
                except rasterio.errors.RasterioError:
                    return (
                        f"{path} is truncated or damaged: band {band}, block ({row}, {col}) of {high} x {wide} pixels "
                        f"cannot be read ({_cause(err)}). Fetch the file again."
                    )
    return f"{path} is truncated or damaged: {where} cannot be read ({_cause(err)}). Fetch the file again."


def _cause(err: BaseException) -> str:
    """Deepest reason in a chain: rasterio says only "see previous exception"."""
    while err.__cause__ is not None:
        err = err.__cause__
    return str(err).strip().rstrip(".") or type(err).__name__


def _name(description: str | None) -> str | None:
    text = (description or "").strip()
    return text or None


def _stated(scale: float, offset: float) -> tuple[float, float] | None:
    return None if (scale, offset) == (1.0, 0.0) else (float(scale), float(offset))


def _nodata(values: tuple[float | None, ...]) -> float | None:
    found = {v for v in values if v is not None and not np.isnan(v)}
    return float(next(iter(found))) if len(found) == 1 else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence rasterio's note about missing georeferencing: `checked_grid` raises a named error instead."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
