"""What a sample of an array looks like, and whether a calibration makes sense of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Calibration


@dataclass(frozen=True)
class Numbers:
    """A sample of an array, band by band: low, middle and high values of the valid pixels, in stored units."""

    low: np.ndarray
    """First percentile, shape (C,); NaN for a band without valid pixels."""
    middle: np.ndarray
    high: np.ndarray
    """99th percentile."""
    least: np.ndarray
    most: np.ndarray
    integer: bool
    """Whether the stored type is an integer."""
    byte: bool
    """Whether it has eight bits."""

    @classmethod
    def of(cls, sample: np.ndarray, dtype: np.dtype) -> Numbers:
        """Statistics of a sample ``(band, pixel)``, float, NaN where missing."""
        rows = np.full((5, sample.shape[0]), np.nan)
        for band, values in enumerate(sample):
            valid = values[np.isfinite(values)]
            if valid.size:
                rows[:, band] = np.percentile(valid, (1, 50, 99, 0, 100))
        low, middle, high, least, most = rows
        return cls(low, middle, high, least, most, integer=dtype.kind in "iu", byte=dtype.itemsize == 1)

    @property
    def empty(self) -> bool:
        """Whether no pixel is valid."""
        return not np.isfinite(self.middle).any()

    def physical(self, scale: np.ndarray, offset: np.ndarray) -> Numbers:
        """The same statistics after scaling."""
        rows = [row * scale + offset for row in (self.low, self.middle, self.high, self.least, self.most)]
        return replace(self, low=rows[0], middle=rows[1], high=rows[2], least=rows[3], most=rows[4], integer=False)


PLAUSIBLE: Mapping[str, tuple[float, float]] = {
    "reflectance": (-0.15, 1.7),
    "temperature": (170.0, 400.0),
    "backscatter": (-60.0, 30.0),
    "elevation": (-600.0, 9000.0),
}
"""Range of the middle value of a band, in physical units, generous: snow 1.2, deep ocean trenches are not in a DEM."""


def implausible(numbers: Numbers, bands: Sequence[BandSpec], calibration: Calibration) -> str:
    """Why these numbers cannot be what the calibration makes of them; empty if they can."""
    value = numbers.physical(np.array(calibration.scale), np.array(calibration.offset))
    if not calibration.to_db and calibration.planck is None:
        for band, middle in zip(bands, value.middle, strict=True):
            low, high = PLAUSIBLE[band.kind]
            if np.isfinite(middle) and not low <= middle <= high:
                return f"band {band.name} would have a middle value of {middle:.4g}, outside {low:g}..{high:g}"
    optical = np.array([b.kind == "reflectance" for b in bands]) & np.isfinite(value.low)
    if not optical.any():
        return ""
    dark, bright = np.sort(value.low[optical]), float(value.high[optical].max())
    second = float(dark[min(1, dark.size - 1)])
    if second < -0.03:
        return f"its darkest pixels would reflect {second:.3f}, below zero"
    if bright > 2.0:
        return f"its brightest pixels would reflect {bright:.3g}, far above one"
    if bright < 5e-4:
        return f"all its pixels would reflect less than {bright:.2g}, as if scaled twice"
    return ""


def range_of(numbers: Numbers) -> str:
    """First to 99th percentile over all bands, in words."""
    return f"{np.nanmin(numbers.low):.4g} to {np.nanmax(numbers.high):.4g}" if not numbers.empty else "none"
