"""Reflectance of the pure materials of a simulated place, at 1 nm from 400 to 2500 nm, and bands looking at them.

Built from documented ingredients (positions of absorptions, shape of water absorption), not measured and not radiative
transfer: leaves and dry matter are semi-infinite layers after Hapke (1981), water a ratio of backscatter to absorption
after Gordon et al. (1975), the rest smooth curves with the absorptions of Hunt (1977) and Elvidge (1990). Strengths are
chosen so that canopies, soils and waters look like those of real Sentinel-2 scenes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.place import Place, stream

WAVELENGTH_NM = np.arange(400.0, 2501.0)
"""Wavelengths of every endmember, shape (2101,)."""

PURE = (
    "pale leaf", "dark leaf", "broadleaf", "needle", "straw", "wood", "soil a dry", "soil a wet", "soil b dry",
    "soil b wet", "sand", "rock", "asphalt", "concrete", "tile", "metal", "dark roof", "clear water", "silty water",
    "muddy water", "green water", "snow",
)  # fmt: skip
"""Materials with a reflectance of their own."""

VARIATIONS = (
    "mineral", "leaf chemistry", "leaf tilt", "leaf water", "soil tilt", "soil hump", "town tilt", "town hump",
)  # fmt: skip
"""Differences added on top: what one unit of a property adds to the reflectance of its material."""

ENDMEMBERS = PURE + VARIATIONS
"""Rows of `endmembers`, in order."""

# Absorption of liquid water, 1/cm, at these nanometres: read off Pope & Fry (1997), Kou et al. (1993).
_WATER_NM = (
    400, 450, 500, 550, 575, 600, 650, 700, 740, 800, 850, 900, 930, 970, 1000, 1070, 1130, 1190, 1250, 1300, 1350,
    1400, 1450, 1500, 1550, 1600, 1680, 1750, 1800, 1850, 1900, 1940, 2000, 2060, 2120, 2200, 2260, 2320, 2400, 2500,
)  # fmt: skip
_WATER_PER_CM = (
    7e-5, 9e-5, 2e-4, 6e-4, 8e-4, 2.2e-3, 3.4e-3, 6.2e-3, 0.024, 0.021, 0.043, 0.068, 0.15, 0.46, 0.37, 0.13, 0.3,
    1.2, 0.95, 1.1, 2.5, 12.0, 29.0, 19.0, 11.0, 7.2, 5.6, 6.5, 8.2, 10.0, 70.0, 120.0, 68.0, 40.0, 23.0, 17.0, 18.0,
    25.0, 45.0, 90.0,
)  # fmt: skip


def response(bands: Sequence[BandSpec]) -> np.ndarray:
    """Share of each nanometre in each band, shape (C, 2101); Gaussian, rows sum to 1."""
    center = np.array([b.center_um for b in bands])[:, None] * 1000
    sd = np.array([b.fwhm_um for b in bands])[:, None] * 1000 / 2.3548
    gain = np.exp(-0.5 * ((WAVELENGTH_NM - center) / np.maximum(sd, 0.5)) ** 2)
    return np.asarray(gain / gain.sum(1, keepdims=True))


def endmembers(place: Place) -> np.ndarray:
    """Reflectance of every endmember of ``place``, shape (30, 2101); variations may be negative."""
    rng = stream(place.seed, "endmembers")
    pure = np.stack([*_plants(rng), *_soils(rng, place), *_stones(rng, place), *_waters(rng), _snow()])
    variation = np.stack(_variations(rng, dict(zip(PURE, pure, strict=True))))
    return np.concatenate([np.clip(pure, 0.001, 1.0), variation])


def water_per_cm() -> np.ndarray:
    """Absorption of liquid water at every wavelength, 1/cm, shape (2101,)."""
    return np.asarray(np.exp(np.interp(WAVELENGTH_NM, _WATER_NM, np.log(_WATER_PER_CM))))


def _bump(center: float, width: float, height: float = 1.0) -> np.ndarray:
    """Gaussian of standard deviation ``width`` nm."""
    return np.asarray(height * np.exp(-0.5 * ((WAVELENGTH_NM - center) / width) ** 2))


def _layer(absorption: np.ndarray) -> np.ndarray:
    """Reflectance of a deep layer whose elements absorb ``absorption`` for each unit they scatter (Hapke 1981)."""
    gamma = np.sqrt(absorption / (1 + absorption))
    return np.asarray((1 - gamma) / (1 + 1.2 * gamma))


def _chlorophyll() -> np.ndarray:
    """Absorption of leaf pigments, 1 at 670 nm; ends in a red edge with its inflection near 715 nm."""
    blue = _bump(430, 30, 1.5) + _bump(475, 30, 1.2)
    red = _bump(640, 30, 0.7) + _bump(670, 15, 0.8) + _bump(690, 11, 0.12) + _bump(700, 22, 0.05)
    return np.asarray(blue + red + _bump(560, 50, 0.26))


def _dry_matter() -> np.ndarray:
    """Absorption of cellulose, lignin and protein."""
    slow = 0.06 + 0.6 * np.clip((WAVELENGTH_NM - 1650) / 850, 0, 1)
    peaks = _bump(1490, 50, 0.25) + _bump(1730, 25, 0.15) + _bump(2100, 50, 0.6) + _bump(2300, 45, 0.6)
    return np.asarray(slow + peaks + _bump(2480, 80, 0.6))


def _plants(rng: np.random.Generator) -> list[np.ndarray]:
    """Pale leaf, dark leaf, broadleaf, needle, straw, wood."""
    w, water, dry, green = WAVELENGTH_NM, water_per_cm(), _dry_matter(), _chlorophyll()

    def leaf(pigment: float, wet: float, matter: float) -> np.ndarray:
        spread = rng.uniform(0.85, 1.15, 3)
        edge = 0.003 * pigment**2 * _bump(706, 13)  # more chlorophyll pushes the red edge to longer waves
        brown = 0.035 * np.exp(-(w - 740) / 70).clip(0, 1.5)  # the plateau still rises past 740 nm
        pigments = pigment * spread[0] * green + edge
        return _layer(0.03 + brown + pigments + wet * spread[1] * water + matter * spread[2] * dry)

    # Brown pigments absorb less and less towards the infrared.
    brown = np.exp(-(w - 400) / 190)
    straw = _layer(0.09 + rng.uniform(1.6, 2.6) * brown + 0.004 * water + rng.uniform(0.3, 0.5) * dry)
    wood = _layer(0.35 + rng.uniform(3.0, 5.0) * brown + 0.02 * water + 0.7 * dry)
    return [
        0.93 * leaf(2.6, 0.070, 0.25),
        0.93 * leaf(5.5, 0.085, 0.30),
        0.86 * leaf(6.5, 0.085, 0.40),
        0.62 * leaf(7.5, 0.110, 0.70),
        0.88 * straw,
        0.75 * wood,
    ]


def _soils(rng: np.random.Generator, place: Place) -> list[np.ndarray]:
    """Two soils, each dry and wet: the second darker by organic matter or of another iron content."""
    water = water_per_cm()
    out = []
    for which in range(2):
        iron = float(np.clip(place.iron + (rng.normal(0, 0.2) if which else 0), 0.05, 1.2))
        bright = place.soil_brightness * (1 - 0.45 * place.organic if which else 1) * rng.uniform(0.9, 1.1)
        clay = rng.uniform(0.04, 0.16)
        slow = rng.uniform(450, 1200)
        rise = 0.42 * (1 - np.exp(-(WAVELENGTH_NM - 250) / slow)) / (1 - np.exp(-1250 / slow))
        ferric = np.exp(-iron * (1.3 * _bump(430, 70) + 0.9 * _bump(520, 45) + 0.25 * _bump(660, 40)))
        ferric = ferric * np.exp(-iron * 0.18 * _bump(880, 70))
        held = np.exp(-0.12 * _bump(1414, 25) - 0.2 * _bump(1920, 35) - clay * _bump(2205, 18) - 0.1 * _bump(2480, 120))
        held = held * np.exp(-rng.uniform(0.05, 0.3) * np.clip((WAVELENGTH_NM - 1700) / 500, 0, 1.3))
        dark = 1 - 0.3 * (place.organic if which else 0.3) * np.exp(-(WAVELENGTH_NM - 400) / 500)
        dry = np.clip(bright * rise * ferric * held * dark, 0.01, 0.75)
        out += [dry, dry * 0.55 * np.exp(-0.012 * water)]
    return out


def _stones(rng: np.random.Generator, place: Place) -> list[np.ndarray]:
    """Sand, rock, asphalt, concrete, tile, metal, dark roof."""
    w = WAVELENGTH_NM
    s = rng.uniform(0.8, 1.2, 7)
    ramp = 1 - np.exp(-(w - 300) / 350)
    hydroxyl = np.exp(-0.08 * _bump(1414, 30) - 0.15 * _bump(1930, 40))
    sand = 0.46 * s[0] * ramp * np.exp(-0.4 * place.iron * _bump(460, 80)) * hydroxyl
    rock = 0.24 * s[1] * (0.55 + 0.45 * ramp) * np.exp(-0.1 * _bump(1000, 150) - 0.08 * _bump(2330, 25))
    asphalt = 0.105 * s[2] * (0.75 + 0.8 * (1 - np.exp(-(w - 400) / 700)))
    concrete = 0.27 * s[3] * (0.55 + 0.45 * ramp) * hydroxyl * np.exp(-0.06 * _bump(2340, 25))
    tile = 0.40 * s[4] * (1 - np.exp(-(w - 330) / 500)) * np.exp(-1.5 * _bump(440, 80) - 0.9 * _bump(525, 40))
    tile = tile * np.exp(-0.12 * _bump(870, 60))
    metal = 0.33 * s[5] * (0.85 + 0.15 * ramp) * (1 - 0.1 * _bump(850, 120))
    dark = 0.11 * s[6] * (0.8 + 0.7 * (1 - np.exp(-(w - 400) / 900)))
    return [sand, rock, asphalt, concrete, tile, metal, dark]


def _waters(rng: np.random.Generator) -> list[np.ndarray]:
    """Clear, silty, muddy and green (algal) water, with the sky's reflection in the surface."""
    w = WAVELENGTH_NM
    pure = 100 * water_per_cm()  # 1/m
    sky = np.exp(rng.uniform(np.log(0.002), np.log(0.025))) + rng.uniform(0.0, 0.012) * (w / 450.0) ** -3.0
    black = np.exp(rng.uniform(np.log(0.05), np.log(3.0)))  # humic waters are nearly black
    humic = np.exp(-0.016 * (w - 440))
    pigment = 0.05 * _bump(440, 35) + 0.03 * _bump(672, 12)

    def water(silt: float, yellow: float, algae: float) -> np.ndarray:
        back = 0.0012 * (w / 500.0) ** -4 + 0.011 * silt * (w / 550.0) ** -0.6 + 0.004 * algae
        absorb = pure + yellow * humic + algae * pigment + 0.06 * silt * np.exp(-0.011 * (w - 440))
        return np.asarray(sky + 0.42 * back / (back + absorb))

    return [
        water(rng.uniform(0.1, 0.8), black, 0.5),
        water(rng.uniform(2, 8), 0.3 + black, 1.0),
        water(rng.uniform(60, 140), 0.6 + black, 1.0),
        water(rng.uniform(1.0, 4.0), 0.3 + black, rng.uniform(20, 50)),
    ]


def _snow() -> np.ndarray:
    """Old snow: bright in the visible, dark in the shortwave infrared."""
    return np.asarray(0.95 * _layer(0.003 + 0.02 * water_per_cm()))


def _variations(rng: np.random.Generator, pure: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Spectral differences for one unit of each of ``VARIATIONS``."""
    w = WAVELENGTH_NM
    soil, leaf, town = pure["soil a dry"], pure["dark leaf"], pure["concrete"]
    # Narrow features that broad bands average out: a pair inside the 2200 nm window of S2 B12 and Landsat B7 and one
    # at 2340 nm (carbonate against clay); leaf wax, lignin and protein at 1510 and 1730 nm, where they have no band.
    mineral = soil * (0.10 * _bump(2240, 14) - 0.10 * _bump(2165, 14) - 0.10 * _bump(2345, 14))
    chemistry = -leaf * (0.12 * _bump(1730, 22) + 0.08 * _bump(1510, 20)) - 0.02 * _bump(1730, 22)
    tilt = (w - 1000) / 1000
    hump = np.cos(w / rng.uniform(160, 260) + rng.uniform(0, 6))
    moist = -leaf * (1 - np.exp(-0.015 * water_per_cm()))
    return [
        mineral,
        chemistry,
        0.05 * leaf * tilt,
        0.5 * moist,
        0.06 * soil * tilt,
        0.03 * soil * hump,
        0.08 * town * tilt,
        0.05 * town * hump,
    ]
