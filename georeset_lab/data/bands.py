"""`BandSpec`: what one band measures. No pixels here, and no sensor tables (those are in ``sensors.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from georeset_lab.errors import BandMismatch, UnitError

Kind = Literal["reflectance", "temperature", "backscatter", "elevation"]
"""Physical quantity: reflectance (0..1), brightness or surface temperature (K), backscatter (dB), elevation (m)."""

Polarization = Literal["VV", "VH", "HH", "HV"]

C_BAND_UM = 55465.8
"""Wavelength of Sentinel-1's 5.405 GHz radar in micrometres (c / f)."""

_OPTICAL_UM = (0.2, 100.0)
_RADAR_UM = (5e3, 2e6)
_CODES = ("reflectance", "temperature", "elevation", "VV", "VH", "HH", "HV")
N_KINDS = len(_CODES)
"""Number of codes in the fourth column of `band_table`."""


@dataclass(frozen=True, slots=True)
class BandSpec:
    """One spectral band as the encoder sees it.

    Raises
    ------
    UnitError
        A wavelength or width that cannot be in micrometres, or a pixel size that is not positive.
    BandMismatch
        An unknown kind, or a backscatter band without polarization.

    Examples
    --------
    >>> BandSpec("B04", center_um=0.6646, fwhm_um=0.031, gsd_m=10).kind
    'reflectance'
    """

    name: str
    center_um: float
    """Centre wavelength in micrometres, as in STAC ``eo:center_wavelength``; NaN for elevation."""
    fwhm_um: float
    """Full width at half maximum in micrometres, as in STAC ``eo:full_width_half_max``; NaN for elevation."""
    gsd_m: float
    """Ground sampling distance in metres, before any resampling."""
    kind: Kind = "reflectance"
    polarization: Polarization | None = None
    """Transmit and receive polarization; backscatter only."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise BandMismatch(f"Band {self.name!r} has kind {self.kind!r}; use one of {', '.join(get_args(Kind))}.")
        if not self.gsd_m > 0:
            raise UnitError(f"Band {self.name!r} has gsd_m={self.gsd_m}; give the pixel size in metres, above zero.")
        if (self.kind == "backscatter") != (self.polarization is not None):
            raise BandMismatch(
                f"Band {self.name!r} of kind {self.kind!r} has polarization={self.polarization!r}. "
                "Backscatter bands need one of VV, VH, HH, HV; other kinds must have none."
            )
        if self.kind != "elevation":
            self._check_wavelength()

    def _check_wavelength(self) -> None:
        low, high = _RADAR_UM if self.kind == "backscatter" else _OPTICAL_UM
        if not low <= self.center_um <= high:
            hint = (
                f"This looks like nanometres: pass center_um={self.center_um / 1000:g}."
                if low <= self.center_um / 1000 <= high
                else f"Give micrometres between {low:g} and {high:g}."
            )
            raise UnitError(f"Band {self.name!r} has center_um={self.center_um:g}, which cannot be micrometres. {hint}")
        if not 0 < self.fwhm_um <= self.center_um:
            raise UnitError(
                f"Band {self.name!r} has fwhm_um={self.fwhm_um:g} at center_um={self.center_um:g}. "
                "Give the full width at half maximum in micrometres, above zero and at most the centre."
            )


def band_table(bands: Sequence[BandSpec]) -> np.ndarray:
    """Numbers the encoder reads of each band.

    Returns
    -------
    numpy.ndarray, shape (C, 4), float32
        Columns: centre (um), full width at half maximum (um), ground sampling distance (m), kind code
        (0 reflectance, 1 temperature, 2 elevation, 3..6 backscatter VV, VH, HH, HV). Elevation has centre and width 0.
    """
    rows = [
        (
            0.0 if b.kind == "elevation" else b.center_um,
            0.0 if b.kind == "elevation" else b.fwhm_um,
            b.gsd_m,
            float(_CODES.index(b.polarization or b.kind)),
        )
        for b in bands
    ]
    return np.asarray(rows, dtype=np.float32).reshape(-1, 4)
