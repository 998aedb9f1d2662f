"""`Sensor` and `Encoding`: what the products of one sensor hold and how they store it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.calibration import Calibration
from georeset_lab.errors import UnknownSensor

PerBand = float | Mapping[str, float]
"""One number for all bands, or numbers by band name or, failing that, by `BandSpec.kind`."""

_NUMBERED = re.compile(r"(?:^|_)b(?:and)?_?0*(\d{1,3})(a?)(?:_\d+m)?(?:_\(|$)")
_POLARIZED = re.compile(r"(?:^|[^a-z])(vv|vh|hh|hv)(?:[^a-z]|$)")
_WAVELENGTH = re.compile(r"(\d+(?:\.\d+)?)_?(nm|nanomet|um|µm|micromet)")


@dataclass(frozen=True)
class Encoding:
    """One way in which a product stores its numbers; see `Calibration` for the formula."""

    name: str
    scale: PerBand
    offset: PerBand
    nodata: float | None
    to_db: bool = False
    """Stored as linear power; the calibration turns it into decibels."""
    planck: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Constants K1, K2 of bands stored as radiance, by band name."""
    sun_normalised: bool = True
    """False: reflectance still has to be divided by the sine of the sun's elevation (Landsat Level 1)."""

    def calibration(self, bands: Sequence[BandSpec], *, sun_elevation_deg: float | None = None) -> Calibration:
        """Calibration of these bands, stored in this way.

        Parameters
        ----------
        bands : sequence of BandSpec
            Bands of the sensor that has this encoding.
        sun_elevation_deg : float, optional
            Sun's elevation at the scene centre; used if the product is not normalised for it, ignored otherwise.
        """
        scale = [_of_band(self.scale, b) for b in bands]
        offset = [_of_band(self.offset, b) for b in bands]
        if not self.sun_normalised and sun_elevation_deg is not None:
            sine = math.sin(math.radians(sun_elevation_deg))
            for i, band in enumerate(bands):
                if band.kind == "reflectance":
                    scale[i], offset[i] = scale[i] / sine, offset[i] / sine
        planck = tuple(self.planck.get(b.name) for b in bands)
        return Calibration(tuple(scale), tuple(offset), self.nodata, self.to_db, planck if any(planck) else None)


@dataclass(frozen=True)
class Sensor:
    """What the products of one sensor hold.

    Examples
    --------
    >>> from georeset_lab.data.sensors import sensor
    >>> sensor("landsat-9-l2").find("SR_B4").center_um
    0.6546
    """

    name: str
    title: str
    bands: tuple[BandSpec, ...]
    """Bands in the order of the product."""
    encodings: tuple[Encoding, ...]
    """Ways in which the numbers are stored, the current one first; empty if each scene has its own gains."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Further names of bands, in lower case; `find` also understands B4, B04, b4, "Band 4" and SR_B4."""
    qa: Mapping[str, str] = field(default_factory=dict)
    """Quality bands: name -> key of `georeset_lab.data.masks.QA_TABLES`."""
    source: str = ""
    """Where the numbers come from."""

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the bands in the product's order."""
        return tuple(b.name for b in self.bands)

    def encoding(self, name: str) -> Encoding:
        """Encoding of this name.

        Raises
        ------
        UnknownSensor
            The sensor has no such encoding.
        """
        for encoding in self.encodings:
            if encoding.name == name:
                return encoding
        known = ", ".join(e.name for e in self.encodings) or "none: read the gains from the product's metadata"
        raise UnknownSensor(f"Sensor {self.name!r} has no encoding {name!r}; it has {known}.")

    def find(self, name: str) -> BandSpec | None:
        """Band that a name stands for, whatever its case, zero padding or prefix; None if there is none."""
        index = _index_of(self)
        for key in _keys(name):
            if key in index:
                return index[key]
        return self._at_wavelength(name)

    def _at_wavelength(self, name: str) -> BandSpec | None:
        found = _WAVELENGTH.search(_plain(name))
        if found is None:
            return None
        um = float(found[1]) * (1e-3 if found[2].startswith("n") else 1)
        optical = [b for b in self.bands if abs(b.center_um - um) <= b.fwhm_um / 2]
        return min(optical, key=lambda b: abs(b.center_um - um), default=None)


def _of_band(table: PerBand, band: BandSpec) -> float:
    if isinstance(table, Mapping):
        return table[band.name] if band.name in table else table[band.kind]
    return table


def _plain(name: str) -> str:
    return re.sub(r"[\s\-.]+(?!\d)|[\s\-]+", "_", name.strip().lower())


def _keys(name: str) -> Iterator[str]:
    """Keys under which a band name may be indexed, the most literal first."""
    plain = _plain(name)
    yield plain
    numbered = _NUMBERED.search(plain)
    if numbered:
        yield f"b{numbered[1]}{numbered[2]}"
    polarized = _POLARIZED.search(plain)
    if polarized:
        yield polarized[1]


@cache
def _band_index(bands: tuple[BandSpec, ...], aliases: tuple[tuple[str, str], ...]) -> dict[str, BandSpec]:
    index: dict[str, BandSpec] = {}
    for band in bands:
        for key in _keys(band.name):
            index[key] = band
    by_name = {b.name: b for b in bands}
    for alias, name in aliases:
        if name in by_name:
            index.setdefault(alias, by_name[name])
    return index


def _index_of(sensor: Sensor) -> dict[str, BandSpec]:
    return _band_index(sensor.bands, tuple(sensor.aliases.items()))
