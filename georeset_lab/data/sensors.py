"""`Sensor`: the facts of a product, and one table for each sensor. Thin version; tables are being filled in."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from georeset_lab.data.bands import C_BAND_UM, BandSpec
from georeset_lab.data.modality import Calibration
from georeset_lab.errors import BandMismatch, UnknownSensor


@dataclass(frozen=True)
class Encoding:
    """One way in which a product stores its numbers: physical = raw * scale + offset."""

    name: str
    scale: Mapping[str, float] | float
    offset: Mapping[str, float] | float
    nodata: float | None

    def calibration(self, bands: Sequence[BandSpec]) -> Calibration:
        """Calibration of these bands stored in this way."""

        def value(table: Mapping[str, float] | float, band: BandSpec) -> float:
            return table.get(band.name, table[band.kind]) if isinstance(table, Mapping) else table

        return Calibration(
            scale=tuple(value(self.scale, b) for b in bands),
            offset=tuple(value(self.offset, b) for b in bands),
            nodata=self.nodata,
        )


@dataclass(frozen=True)
class Sensor:
    """What a product of one sensor holds."""

    name: str
    title: str
    bands: tuple[BandSpec, ...]
    encodings: tuple[Encoding, ...]
    """Ways the numbers are stored, the current one first; empty if only the product's own metadata can tell."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of bands, in lower case."""
    qa: Mapping[str, str] = field(default_factory=dict)
    """Quality bands: name -> decoder in `georeset_lab.data.masks` ("scl", "qa_pixel", "bqa", "fmask")."""

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the bands in the product's order."""
        return tuple(b.name for b in self.bands)


def _s2(level: str) -> Sensor:
    um = (0.4427, 0.4924, 0.5598, 0.6646, 0.7041, 0.7405, 0.7828, 0.8328, 0.8647, 0.9451, 1.3735, 1.6137, 2.2024)
    width = (0.021, 0.066, 0.036, 0.031, 0.015, 0.015, 0.020, 0.106, 0.021, 0.020, 0.031, 0.091, 0.175)
    gsd = (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20)
    names = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
    bands = tuple(
        BandSpec(n, c, w, g) for n, c, w, g in zip(names, um, width, gsd, strict=True) if n != "B10" or level == "l1c"
    )
    since, before = Encoding("baseline-04.00", 1e-4, -0.1, 0), Encoding("before-04.00", 1e-4, 0.0, 0)
    return Sensor(f"sentinel-2-{level}", "Sentinel-2", bands, (since, before), qa={"SCL": "scl"})


def _s1(product: str) -> Sensor:
    bands = tuple(BandSpec(p, C_BAND_UM, 500.0, 10, "backscatter", p) for p in ("VV", "VH"))
    return Sensor(f"sentinel-1-{product}", "Sentinel-1", bands, (Encoding("db", 1.0, 0.0, None),))


_DEM = BandSpec("elevation", float("nan"), float("nan"), 30, "elevation")
SENSORS: dict[str, Sensor] = {
    s.name: s
    for s in (
        _s2("l1c"),
        _s2("l2a"),
        _s1("grd"),
        _s1("rtc"),
        Sensor("copernicus-dem", "Copernicus DEM", (_DEM,), (Encoding("metres", 1.0, 0.0, None),)),
    )
}


def sensor(name: str) -> Sensor:
    """Sensor table of this name.

    Raises
    ------
    UnknownSensor
        No table has this name; the message lists close ones.
    """
    found = SENSORS.get(name.strip().lower())
    if found is None:
        close = difflib.get_close_matches(name.lower(), SENSORS, n=4, cutoff=0.4) or sorted(SENSORS)
        raise UnknownSensor(
            f"No sensor is called {name!r}. Did you mean {', '.join(close)}? Or pass bands=[BandSpec(...)]."
        )
    return found


def match_bands(sensor: Sensor, names: Sequence[str]) -> list[BandSpec]:
    """Bands of a sensor that these names stand for, in the order of the names."""
    known = {b.name.lower(): b for b in sensor.bands}
    out = []
    for name in names:
        key = sensor.aliases.get(name.lower(), name.lower())
        if key not in known:
            raise BandMismatch(f"{sensor.name} has no band {name!r}; it has {', '.join(sensor.band_names)}.")
        out.append(known[key])
    return out
