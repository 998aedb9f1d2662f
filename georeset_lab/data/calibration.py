"""`Calibration`: how the stored numbers of a modality become physical values. Units are guessed elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from georeset_lab.errors import ShapeMismatch, UnitError

_FAR = 1e38
"""Values below this are finite in float32."""


class Linear(NamedTuple):
    """``stored * scale + offset``: a mean of stored numbers becomes the mean of the physical values."""

    scale: np.ndarray
    """(C,) float32."""
    offset: np.ndarray
    """(C,) float32."""
    missing: np.float32
    """Stored number that means "not measured"; NaN if there is none."""


@dataclass(frozen=True)
class Calibration:
    """How the stored numbers of a modality become physical values.

    A value is missing where the stored number is ``nodata``, ``saturated`` or not finite. The others become
    ``raw * scale + offset``, then, for bands with ``planck`` constants, the temperature of a black body of that
    radiance, or, with ``amplitude``, the square of it, then, with ``to_db``, decibels.

    Raises
    ------
    ShapeMismatch
        The tuples differ in length.
    UnitError
        A scale is zero or not finite, or an offset is not finite.

    Examples
    --------
    >>> calibration = Calibration(scale=(1e-4,), offset=(-0.1,), nodata=0)
    >>> raw = np.array([0, 1500, 3000], dtype="uint16").reshape(1, 1, 1, 3)
    >>> calibration.apply(raw).ravel().astype(float).round(3).tolist()
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
    amplitude: bool = False
    """Square after scaling: the numbers are amplitudes of radar, whose square is power."""
    saturated: float | None = None
    """Stored number that means "saturated"; missing too, in the band that has it."""

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

    def linear(self, dtype: np.dtype[Any]) -> Linear | None:
        """The calibration of stored numbers of this type, if it is nothing but a scale and an offset; else None."""
        if self.saturated is not None or not all(self._is_plain(band, dtype) for band in range(len(self.scale))):
            return None
        scale, offset = (np.array(z, np.float32) for z in (self.scale, self.offset))
        return Linear(scale, offset, np.float32(np.nan if self.nodata is None else self.nodata))

    def _fill(self, out: np.ndarray, raw: np.ndarray, band: int) -> None:
        """Write the physical values of one band; bands one by one, so that no copy of the whole cube is needed."""
        scale, offset = self.scale[band], self.offset[band]
        planck = None if self.planck is None else self.planck[band]
        if self._is_plain(band, raw.dtype):
            np.multiply(raw, np.float32(scale), out=out, dtype=np.float32)
            if offset != 0:
                out += offset
            missing = self._missing(raw)
        else:
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
                if self.amplitude:
                    value = np.square(value)
                if self.to_db:
                    value = np.where(value > 0, 10 * np.log10(value), np.nan)
                out[...] = value
            missing = self._missing(raw) | ~np.isfinite(out)
        if missing.any():
            out[missing] = np.nan

    def _is_plain(self, band: int, dtype: np.dtype[Any]) -> bool:
        """Whether a band is only scaled, from integers that float32 holds, so that nothing but nodata can be missing."""
        far = abs(self.scale[band]) * 65536 + abs(self.offset[band])
        changed = self.amplitude or self.to_db or (self.planck is not None and self.planck[band] is not None)
        return dtype.kind in "iu" and dtype.itemsize <= 2 and not changed and far < _FAR

    def _missing(self, raw: np.ndarray) -> np.ndarray:
        missing = _equal(raw, self.nodata)
        return missing if self.saturated is None else missing | _equal(raw, self.saturated)


def _equal(raw: np.ndarray, number: float | None) -> np.ndarray:
    if number is None or not math.isfinite(number):
        return np.zeros(raw.shape, dtype=bool)
    if np.issubdtype(raw.dtype, np.floating):
        return np.asarray(raw == raw.dtype.type(number))
    # An integer raster cannot hold a fractional nodata; comparing as integers is exact for 64 bits too.
    return np.asarray(raw == int(number)) if float(number).is_integer() else np.zeros(raw.shape, dtype=bool)
