"""`Modality`: one source inside a scene: stored numbers, what each band measures, where the pixels lie.

No files and no alignment here: readers make modalities, ``align.py`` brings them together, ``scene.py`` holds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.calibration import Calibration
from georeset_lab.data.flags import FLAG_ATTRS, UNUSABLE, has_flag
from georeset_lab.data.grids import pixel_size_m
from georeset_lab.data.stored import read_stored, take
from georeset_lab.errors import BandMismatch, GridMismatch, OutsideScene, ShapeMismatch

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["DIMS", "UNITS", "Calibration", "Modality", "pixel_size_m"]

DIMS = ("time", "band", "y", "x")
"""Dimension order of every modality; y runs down the rows of its grid."""

UNITS = {"reflectance": "1", "temperature": "K", "backscatter": "dB", "elevation": "m"}
"""UDUNITS string of each `BandSpec.kind`."""


@dataclass(frozen=True, eq=False, repr=False)
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
    """Stored numbers ``(time, band, y, x)``, NumPy or dask, any dtype, on the modality's finest grid.

    Named flags of the pixels, if there are any, ride along as the coordinate ``flags``; see `flags`.
    """
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

        Raises
        ------
        OutsideScene
            There is no date of this number.
        """
        dates = self._dates(time)
        out = self.calibration.apply(read_stored(self.raw.data, (dates, slice(None), rows, cols)))
        if self.mask is not None:
            window = {"time": dates, "y": rows, "x": cols}
            _blank(out, np.asarray(self.mask.variable.isel(window).values))
        return out

    @property
    def flags(self) -> xr.DataArray | None:
        """Named flags ``(time, y, x)`` uint16 of the product's quality layers, None if it has none.

        The bits are those of `georeset_lab.data.flags.FLAGS`; the attributes ``flag_masks`` and ``flag_meanings``
        follow the CF conventions.
        """
        found = self.raw.coords.get("flags")
        return None if found is None else found.reset_coords(drop=True)

    def flagged(self, *names: str) -> xr.DataArray:
        """True ``(time, y, x)`` where one of these flags is set: ``flagged("cloud", "shadow")``.

        Raises
        ------
        BandMismatch
            The product has no quality layer, or there is no flag of this name.
        """
        return has_flag(self._own_flags(), names)

    def masked_by(self, *names: str) -> Modality:
        """Modality in which these flags make a pixel unusable, instead of the usual ones; no data always does.

        Pixels that were masked by hand (`Scene.with_mask`) stay masked.

        Raises
        ------
        BandMismatch
            The product has no quality layer, or there is no flag of this name.
        """
        flags = self._own_flags()
        mask = has_flag(flags, ("nodata", *names))
        if self.mask is not None:
            mask = mask | (self.mask.variable & ~has_flag(flags, UNUSABLE).variable)
        return replace(self, mask=mask)

    def with_flags(self, flags: xr.DataArray) -> Modality:
        """Modality with these flags ``(time, y, x)``; the usual ones (`UNUSABLE`) become its mask."""
        raw = self.raw.assign_coords(flags=(("time", "y", "x"), flags.data, FLAG_ATTRS))
        mask = xr.DataArray(has_flag(flags, UNUSABLE).data, dims=("time", "y", "x"))
        if "time" in raw.coords:
            mask = mask.assign_coords(time=raw.coords["time"].variable)
        return replace(self, raw=raw, mask=mask)

    def _own_flags(self) -> xr.DataArray:
        if self.flags is None:
            raise BandMismatch(
                f"Modality {self.name!r} came without a quality layer, so its pixels have no flags. Add a mask of your "
                "own with Scene.with_mask."
            )
        return self.flags

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
        raw = self.raw.isel(band=index)
        return replace(
            self,
            raw=raw.copy(data=take(self.raw.data, index, axis=1)) if self.is_lazy else raw,
            bands=tuple(self.bands[i] for i in index),
            calibration=self.calibration.select(index),
        )

    def with_notes(self, *notes: str) -> Modality:
        """Modality with these decisions added to its notes."""
        return replace(self, notes=(*self.notes, *notes))

    def __repr__(self) -> str:
        dates, _, rows, cols = self.raw.shape
        bands = ", ".join(self.band_names) if len(self.bands) <= 13 else f"{len(self.bands)} bands"
        where = f"{rows} x {cols} pixels of {self.pixel_m:.4g} m"
        return f"<Modality {self.name!r}: {bands}; {dates} date{'s' * (dates != 1)}; {where}; {self.raw.dtype}>"

    def _dates(self, time: slice | int | None) -> slice:
        if time is None or isinstance(time, slice):
            return slice(None) if time is None else time
        count = self.raw.shape[0]
        if not -count <= time < count:
            raise OutsideScene(f"Modality {self.name!r} has {count} dates, numbered from 0; there is no date {time}.")
        return slice(int(time), int(time) + 1 or None)

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
