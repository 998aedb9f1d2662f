"""`Modality`: one source inside a scene, and `Calibration`: how its stored numbers become physical values.

No files and no alignment here: readers make modalities, ``align.py`` brings them together, ``scene.py`` holds them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from georeset_lab.data.bands import BandSpec
from georeset_lab.errors import BandMismatch, GridMismatch, ShapeMismatch, UnitError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

DIMS = ("time", "band", "y", "x")
"""Dimension order of every modality; y runs down the rows of its grid."""

UNITS = {"reflectance": "1", "temperature": "K", "backscatter": "dB", "elevation": "m"}
"""UDUNITS string of each `BandSpec.kind`."""

_METRES_PER_DEGREE = 111_320.0  # of latitude on a sphere of the Earth's mean radius, to 0.6 %


@dataclass(frozen=True)
class Calibration:
    """How the stored numbers of a modality become physical values.

    A value is missing where the stored number is ``nodata`` or not finite. The others become ``raw * scale + offset``,
    then, for bands with ``planck`` constants, the temperature of a black body of that radiance, then, with ``to_db``,
    decibels.

    Raises
    ------
    ShapeMismatch
        The tuples differ in length.
    UnitError
        A scale is zero or not finite, or an offset is not finite.

    Examples
    --------
    >>> calibration = Calibration(scale=(1e-4,), offset=(-0.1,), nodata=0)
    >>> calibration.apply(np.array([0, 1500, 3000], dtype="uint16").reshape(1, 1, 1, 3)).ravel().round(3).tolist()
    [nan, 0.05, 0.2]
    """

    scale: tuple[float, ...]
    """Factor of each band."""
    offset: tuple[float, ...]
    """Physical value of each band at raw 0."""
    nodata: float | None = None
    """Stored number that means "not measured", in raw units; numbers that are not finite always do."""
    to_db: bool = False
    """Turn linear power into decibels after scaling; power at or below zero becomes missing."""
    planck: tuple[tuple[float, float] | None, ...] | None = None
    """Constants K1 and K2 of each band stored as radiance (Landsat Level 1 thermal): K2 / ln(K1 / L + 1)."""

    def __post_init__(self) -> None:
        lengths = {len(self.scale), len(self.offset), len(self.planck or self.scale)}
        if len(lengths) != 1:
            raise ShapeMismatch(
                f"Calibration has {len(self.scale)} scales, {len(self.offset)} offsets and "
                f"{'no' if self.planck is None else len(self.planck)} Planck constants. Give one of each per band."
            )
        for value in self.scale:
            if not math.isfinite(value) or value == 0:
                raise UnitError(f"Calibration has scale {value}; a scale must be finite and not zero.")
        for value in self.offset:
            if not math.isfinite(value):
                raise UnitError(f"Calibration has offset {value}; an offset must be finite.")

    @classmethod
    def identity(cls, bands: int, nodata: float | None = None) -> Calibration:
        """Calibration of ``bands`` bands that are stored as physical values already."""
        return cls(scale=(1.0,) * bands, offset=(0.0,) * bands, nodata=nodata)

    def select(self, index: Sequence[int]) -> Calibration:
        """Calibration of the bands at these positions, in this order."""
        return replace(
            self,
            scale=tuple(self.scale[i] for i in index),
            offset=tuple(self.offset[i] for i in index),
            planck=None if self.planck is None else tuple(self.planck[i] for i in index),
        )

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """Physical values of stored numbers.

        Parameters
        ----------
        raw : numpy.ndarray, shape (T, C, Y, X), any real dtype
            Stored numbers, one band for each scale.

        Returns
        -------
        numpy.ndarray, shape (T, C, Y, X), float32
            Physical values, NaN where missing. Never an alias of ``raw``.

        Raises
        ------
        ShapeMismatch
            ``raw`` has not four dimensions or not as many bands as there are scales.
        """
        if raw.ndim != 4 or raw.shape[1] != len(self.scale):
            raise ShapeMismatch(
                f"Calibration of {len(self.scale)} bands was given an array of shape {raw.shape}; "
                "it needs (time, band, y, x) with as many bands."
            )
        out = np.empty(raw.shape, dtype=np.float32)
        for band in range(raw.shape[1]):
            self._fill(out[:, band], raw[:, band], band)
        return out

    def _fill(self, out: np.ndarray, raw: np.ndarray, band: int) -> None:
        """Write the physical values of one band; bands one by one, so that no copy of the whole cube is needed."""
        scale, offset = self.scale[band], self.offset[band]
        planck = None if self.planck is None else self.planck[band]
        # float64 where float32 would round a 32-bit integer before it is scaled.
        value: np.ndarray[Any, np.dtype[np.floating[Any]]] = raw.astype(
            np.float64 if raw.dtype.itemsize > 2 else np.float32
        )
        if scale != 1:
            value *= np.float32(scale) if value.dtype == np.float32 else scale
        if offset != 0:
            value += offset
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if planck is not None:
                k1, k2 = planck
                value = np.where(value > 0, k2 / np.log1p(k1 / value), np.nan)
            if self.to_db:
                value = np.where(value > 0, 10 * np.log10(value), np.nan)
            out[...] = value
        out[self._missing(raw) | ~np.isfinite(out)] = np.nan

    def _missing(self, raw: np.ndarray) -> np.ndarray:
        nodata = self.nodata
        if nodata is None or not math.isfinite(nodata):
            return np.zeros(raw.shape, dtype=bool)
        if np.issubdtype(raw.dtype, np.floating):
            return np.asarray(raw == raw.dtype.type(nodata))
        # An integer raster cannot hold a fractional nodata; comparing as integers is exact for 64 bits too.
        return np.asarray(raw == int(nodata)) if float(nodata).is_integer() else np.zeros(raw.shape, dtype=bool)


@dataclass(frozen=True, eq=False)
class Modality:
    """One source inside a scene: stored numbers, what each band measures, where the pixels lie.

    Raises
    ------
    ShapeMismatch
        ``raw`` is not ``(time, band, y, x)``, or the mask is not a bool ``(time, y, x)`` of the same size.
    BandMismatch
        The number of bands, of `BandSpec` and of calibration entries differ, or two bands share a name.
    GridMismatch
        The grid has another shape than the array.
    """

    name: str
    """Key inside the scene: ``"s2"``, ``"l8"``, ``"s1"``, ``"dem"``, ..."""
    raw: xr.DataArray
    """Stored numbers ``(time, band, y, x)``, NumPy or dask, any dtype, on the modality's finest grid."""
    bands: tuple[BandSpec, ...]
    """What each band measures; ``gsd_m`` remembers the native pixel of each."""
    grid: GeoBox
    """Where the pixels lie."""
    calibration: Calibration
    """How stored numbers become physical values."""
    mask: xr.DataArray | None = None
    """``(time, y, x)`` bool, True = unusable (cloud, shadow, snow, saturated, user mask); becomes NaN."""
    sensor: str | None = None
    """Name in `georeset_lab.data.sensors.SENSORS`, or None."""
    notes: tuple[str, ...] = ()
    """Every decision taken while reading: scale inferred, offset removed, reprojected, ..."""

    def __post_init__(self) -> None:
        if self.raw.dims != DIMS:
            raise ShapeMismatch(
                f"Modality {self.name!r} was given an array with dimensions {self.raw.dims}; it needs {DIMS}. "
                "Use raw.transpose('time', 'band', 'y', 'x') after adding what is missing with raw.expand_dims()."
            )
        self._check_bands()
        if self.raw.shape[2:] != tuple(self.grid.shape):
            raise GridMismatch(
                f"Modality {self.name!r} has {self.raw.shape[2]} x {self.raw.shape[3]} pixels (y, x) but its grid has "
                f"{self.grid.shape[0]} x {self.grid.shape[1]}. Give the GeoBox of this very array."
            )
        if self.mask is not None:
            self._check_mask(self.mask)

    def _check_bands(self) -> None:
        names = [b.name for b in self.bands]
        counts = (self.raw.shape[1], len(names), len(self.calibration.scale))
        if len(set(counts)) != 1:
            raise BandMismatch(
                f"Modality {self.name!r} has {counts[0]} bands but {counts[1]} BandSpecs ({', '.join(names)}) and a "
                f"calibration of {counts[2]}. Pass bands= with one BandSpec for each band of the array."
            )
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise BandMismatch(f"Modality {self.name!r} names {', '.join(twice)} more than once; rename one of them.")

    def _check_mask(self, mask: xr.DataArray) -> None:
        wanted = (self.raw.shape[0], *self.raw.shape[2:])
        if mask.dims != ("time", "y", "x") or mask.shape != wanted or mask.dtype != np.bool_:
            raise ShapeMismatch(
                f"The mask of modality {self.name!r} is {mask.dtype} {dict(zip(mask.dims, mask.shape, strict=True))}; "
                f"it needs to be bool with (time, y, x) = {wanted}. `Scene.with_mask` accepts other forms."
            )

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the bands in order."""
        return tuple(b.name for b in self.bands)

    @property
    def is_lazy(self) -> bool:
        """Whether the stored numbers are a dask array that has not been read yet."""
        return self.raw.chunks is not None

    @property
    def times(self) -> np.ndarray:
        """Acquisition times, shape (T,), datetime64[ns], NaT where unknown."""
        times = self.raw.coords.get("time")
        if times is None or not np.issubdtype(times.dtype, np.datetime64):
            return np.full(self.raw.shape[0], np.datetime64("NaT"), dtype="datetime64[ns]")
        return np.asarray(times.values.astype("datetime64[ns]"))

    @property
    def pixel_m(self) -> float:
        """Side of a square with the area of one pixel, in metres."""
        return pixel_size_m(self.grid)

    @property
    def data(self) -> xr.DataArray:
        """Physical values ``(time, band, y, x)`` float32, NaN where missing; lazy if ``raw`` is.

        Coordinates are the time, the band names, the pixel centres and ``spatial_ref`` (so ``.rio.crs`` and
        ``.odc.geobox`` work); attributes are ``units`` and ``long_name``.
        """
        from odc.geo.xr import xr_coords

        values: Any
        if self.is_lazy:
            values = self._lazy()
        else:
            values = self.read(slice(None), slice(None))
        coords: dict[Any, Any] = dict(xr_coords(self.grid, always_yx=True))
        coords |= {"time": ("time", self.times), "band": ("band", list(self.band_names))}
        coords |= self._per_band()
        array = xr.DataArray(values, dims=DIMS, coords=coords, name=self.name, attrs=self._attrs())
        array.encoding["grid_mapping"] = "spatial_ref"
        return array

    def read(self, rows: slice, cols: slice, *, time: slice | int | None = None) -> np.ndarray:
        """Physical values of a window; nothing outside it is read.

        Parameters
        ----------
        rows, cols : slice
            Pixels of the grid, clipped to it as in NumPy.
        time : slice or int, optional
            Dates; all of them by default. The time axis stays, also for one date.

        Returns
        -------
        numpy.ndarray, shape (T, C, Y, X), float32
            NaN where missing or masked.
        """
        if isinstance(time, int):
            time = slice(time, time + 1 or None)
        window = {"time": time if time is not None else slice(None), "y": rows, "x": cols}
        out = self.calibration.apply(np.asarray(self.raw.isel(window).values))
        if self.mask is not None:
            _blank(out, np.asarray(self.mask.isel(window).values))
        return out

    def select_bands(self, names: Sequence[str]) -> Modality:
        """Modality with these bands in this order.

        Raises
        ------
        BandMismatch
            A name is unknown, or none is given.
        """
        unknown = [n for n in names if n not in self.band_names]
        if unknown or not names:
            raise BandMismatch(
                f"Modality {self.name!r} has no band {', '.join(map(repr, unknown)) or '(none was named)'}. "
                f"It has {', '.join(self.band_names)}."
            )
        index = [self.band_names.index(n) for n in names]
        return replace(
            self,
            raw=self.raw.isel(band=index),
            bands=tuple(self.bands[i] for i in index),
            calibration=self.calibration.select(index),
        )

    def with_notes(self, *notes: str) -> Modality:
        """Modality with these decisions added to its notes."""
        return replace(self, notes=(*self.notes, *notes))

    def _lazy(self) -> Any:
        import dask.array as da

        raw = self.raw.data
        index = da.from_array(np.arange(raw.shape[1]).reshape(1, -1, 1, 1), chunks=(1, raw.chunks[1], 1, 1))
        arrays = [raw, index]
        if self.mask is not None:
            times, _, *yx = raw.chunks
            arrays.append(da.asarray(self.mask.data)[:, None].rechunk((times, 1, *yx)))
        return da.map_blocks(
            _physical_block, *arrays, self.calibration, dtype=np.float32, meta=np.empty((0,) * 4, np.float32)
        )

    def _attrs(self) -> dict[str, Any]:
        units = {UNITS[b.kind] for b in self.bands}
        kinds = {b.kind for b in self.bands}
        attrs: dict[str, Any] = {"long_name": f"{self.sensor or self.name}: {' and '.join(sorted(kinds))}"}
        attrs["units"] = units.pop() if len(units) == 1 else "see coordinate band_units"
        return attrs

    def _per_band(self) -> dict[str, Any]:
        return {"band_units": ("band", [UNITS[b.kind] for b in self.bands])}


def pixel_size_m(grid: GeoBox) -> float:
    """Side of a square with the area of one pixel of the grid, in metres (at its centre, if in degrees)."""
    affine = grid.affine
    side = math.sqrt(abs(affine.a * affine.e - affine.b * affine.d))
    crs = grid.crs
    if crs is None:
        return side
    if crs.geographic:
        _, row = grid.shape[1] / 2, grid.shape[0] / 2
        latitude = (affine * (grid.shape[1] / 2, row))[1]
        return side * _METRES_PER_DEGREE * math.sqrt(max(math.cos(math.radians(latitude)), 1e-6))
    return side * float(crs.proj.axis_info[0].unit_conversion_factor)


def _blank(values: np.ndarray, mask: np.ndarray) -> None:
    """Set masked pixels of (T, C, Y, X) values to NaN in place; the mask is (T, Y, X)."""
    np.copyto(values, np.nan, where=mask[:, None])


def _physical_block(raw: np.ndarray, index: np.ndarray, *rest: Any) -> np.ndarray:
    """One block of `Modality.data`: stored numbers, their band positions, perhaps a mask, the calibration."""
    *mask, calibration = rest
    out: np.ndarray = calibration.select(index.ravel().tolist()).apply(raw)
    if mask:
        np.copyto(out, np.nan, where=mask[0])
    return out
