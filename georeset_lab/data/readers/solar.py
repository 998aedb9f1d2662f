"""Sunlight at the top of the atmosphere, to turn radiance into reflectance where a product gives radiance only.

The spectrum is that of a black body of the sun's effective temperature, bent so that it meets the band irradiances that
ESA publishes with every Sentinel-2A product (from Thuillier et al. 2003) and is smooth between them. Solar lines are not
resolved: bands of some 10 nm are right to about 3 % beyond 0.5 um and 10 % below.
"""

from __future__ import annotations

import numpy as np

_SUN_K = 5772.0
_SOLID_ANGLE_SR = 6.794e-5
"""Solid angle of the sun's disc at one astronomical unit."""

_ANCHORS = np.array(
    [
        (0.4427, 1884.69), (0.4924, 1959.66), (0.5598, 1823.24), (0.6646, 1512.06), (0.7041, 1424.64),
        (0.7405, 1287.61), (0.7828, 1162.08), (0.8328, 1041.63), (0.8647, 955.32), (0.9451, 812.92),
        (1.3735, 367.15), (1.6137, 245.59), (2.2024, 85.25),
    ]
)  # fmt: skip
"""Centre (um) and solar irradiance (W / (m2 um)) of Sentinel-2A's bands: ``SOLAR_IRRADIANCE`` in its MTD_MSIL1C.xml."""


def solar_irradiance(center_um: np.ndarray) -> np.ndarray:
    """Irradiance in W / (m2 um) at one astronomical unit, shape of the centres (0.3 to 3 um).

    Examples
    --------
    >>> solar_irradiance(np.array([0.6646])).round(1).tolist()
    [1512.1]
    """
    um = np.asarray(center_um, dtype=np.float64)
    at, known = _ANCHORS.T
    return np.asarray(_black_body(um) * np.interp(um, at, known / _black_body(at)))


def reflectance_factor(center_um: np.ndarray, *, distance_au: float, sun_elevation_deg: float) -> np.ndarray:
    """What radiance in W / (m2 sr um) is multiplied with to give top-of-atmosphere reflectance.

    pi * d^2 / (E0 * sin(elevation)), as for all sensors that deliver radiance.
    """
    sine = np.sin(np.radians(sun_elevation_deg))
    return np.asarray(np.pi * distance_au**2 / (solar_irradiance(center_um) * sine))


def earth_sun_distance_au(day_of_year: float) -> float:
    """Distance from the sun in astronomical units on a day of the year, good to 0.0002."""
    return float(1 - 0.01672 * np.cos(np.radians(0.9856 * (day_of_year - 4))))


def _black_body(um: np.ndarray) -> np.ndarray:
    c1, c2 = 1.191043e8, 14387.77  # 2 h c^2 in W um^4 / (m2 sr), h c / k in um K
    return np.asarray(_SOLID_ANGLE_SR * c1 / um**5 / np.expm1(c2 / (um * _SUN_K)))
