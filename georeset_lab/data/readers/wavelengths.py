"""`BandSpec`s from wavelengths that a raster states itself: ENVI headers, and the tags GeoTIFFs carry them in.

Understood: the ``ENVI`` metadata domain (``wavelength = {...}``, ``fwhm``, ``wavelength_units``, ``bbl``), band tags
``wavelength`` / ``fwhm`` / ``wavelength_units`` (GDAL's ENVI driver, EnMAP-Box, Wyvern), and GDAL's ``IMAGERY`` domain
(``CENTRAL_WAVELENGTH_UM``, ``FWHM_UM``). Units are those stated; where none is, numbers of 200 and more can only be
nanometres and numbers below 100 only micrometres.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.errors import BandMismatch, UnitError

_TO_UM = {
    "um": 1.0, "µm": 1.0, "μm": 1.0, "micrometer": 1.0, "micrometers": 1.0, "micrometre": 1.0, "micrometres": 1.0,
    "micron": 1.0, "microns": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "nanometers": 1e-3, "nanometre": 1e-3, "nanometres": 1e-3,
}  # fmt: skip
_THERMAL_UM = 5.0


def specs_of(src: Any, gsd_m: float, origin: str) -> tuple[BandSpec | None, ...]:
    """What each band of an open rasterio dataset measures; all None if it states no wavelengths.

    Bands that an ENVI header marks as bad (``bbl``) are None too.

    Raises
    ------
    BandMismatch
        The header lists another number of wavelengths than there are bands.
    UnitError
        The numbers cannot be wavelengths in the unit that is stated.
    """
    none = (None,) * src.count
    envi = {k.lower().replace(" ", "_"): v for k, v in src.tags(ns="ENVI").items()}
    first = {k.lower() for k in src.tags(1)} | set(src.tags(1, ns="IMAGERY"))
    if not ({"wavelength", "CENTRAL_WAVELENGTH_UM"} & first or "wavelength" in envi):
        return none
    bands = [{k.lower(): v for k, v in src.tags(i + 1).items()} for i in range(src.count)]
    imagery = [src.tags(i + 1, ns="IMAGERY") for i in range(src.count)]
    unit = envi.get("wavelength_units", "")
    if "wavelength" in envi:
        centres = _list(envi["wavelength"])
        widths = _list(envi.get("fwhm", ""))
    elif all("CENTRAL_WAVELENGTH_UM" in t for t in imagery):
        centres, widths, unit = _column(imagery, "CENTRAL_WAVELENGTH_UM"), _column(imagery, "FWHM_UM"), "um"
    elif all("wavelength" in t for t in bands):
        centres, widths = _column(bands, "wavelength"), _column(bands, "fwhm")
        unit = bands[0].get("wavelength_units", bands[0].get("wavelength_unit", ""))
    else:
        return none
    if len(centres) != src.count or (widths and len(widths) != src.count):
        raise BandMismatch(
            f"{origin} has {src.count} bands but states {len(centres)} wavelengths and {len(widths)} widths. Correct the "
            "header, or pass bands=[BandSpec(...), ...]."
        )
    if not all(map(math.isfinite, (*centres, *widths))):
        raise UnitError(f"{origin} gives a wavelength or width that is no number. Correct the header.")
    good = _list(envi.get("bbl", "")) or [1.0] * src.count
    scale = _to_um(unit, centres, origin)
    names = [(d or "").strip() or f"band_{i + 1}" for i, d in enumerate(src.descriptions)]
    return tuple(
        _spec(name, centre * scale, width * scale, gsd_m, origin) if keep else None
        for name, centre, width, keep in zip(
            _distinct(names), centres, widths or _spacing(centres), (*good, *[1.0] * src.count), strict=False
        )
    )


def _spec(name: str, centre_um: float, width_um: float, gsd_m: float, origin: str) -> BandSpec:
    kind: Any = "temperature" if centre_um > _THERMAL_UM else "reflectance"
    try:
        return BandSpec(name, round(centre_um, 7), round(width_um, 7), gsd_m, kind)
    except UnitError as err:
        raise UnitError(f"{origin}: {err}") from err


def _to_um(unit: str, centres: Sequence[float], origin: str) -> float:
    plain = unit.strip().strip("{}").strip().lower()
    if plain in _TO_UM:
        return _TO_UM[plain]
    if plain and plain not in ("unknown", "index"):
        raise UnitError(f"{origin} gives wavelengths in {unit!r}; micrometres or nanometres are understood.")
    values = np.array(centres)
    if (values >= 200).all():
        return 1e-3
    if (values < 100).all():
        return 1.0
    raise UnitError(
        f"{origin} gives wavelengths from {values.min():g} to {values.max():g} without a unit. Add `wavelength units` to the "
        "header, or pass bands=[BandSpec(...), ...]."
    )


def _spacing(centres: Sequence[float]) -> list[float]:
    """Width of each band where none is stated: the distance to its nearest neighbour, at most a tenth of the centre."""
    um = np.array(centres, dtype=float)
    gaps = np.abs(np.diff(np.sort(um)))
    near = np.minimum(np.r_[gaps, np.inf], np.r_[np.inf, gaps])
    near = np.where(near > 0, near, np.inf)
    out = np.empty_like(um)
    out[np.argsort(um)] = np.minimum(near, 0.1 * np.sort(um))
    return [float(w) for w in out]


def _list(text: str) -> list[float]:
    parts = [p for p in re.split(r"[,\s]+", text.strip().strip("{}").strip()) if p]
    return [_float(p) for p in parts]


def _column(tags: Sequence[Mapping[str, str]], key: str) -> list[float]:
    return [_float(t[key]) for t in tags] if all(key in t for t in tags) else []


def _float(text: str) -> float:
    found = re.match(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text.strip())
    return float(found[0]) if found else math.nan


def _distinct(names: Sequence[str]) -> list[str]:
    """Names with a number added to those that occur twice."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return out
