"""The character of one simulated place: its climate, calendar, soils, crops, relief and town, all drawn from a seed.

No geometry (see ``terrain.py`` and ``landscape.py``) and no spectra (see ``endmembers.py``). Every purpose has its own
random stream, so that asking for fewer modalities or another size of one part never changes the numbers of another.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

CLASSES = ("water", "trees", "grassland", "crops", "built", "bare")
"""Names of ``truth.land_cover`` codes, in order: code 0 is water."""

CROPS = ("winter cereal", "rapeseed", "maize", "soy", "potato", "rice", "alfalfa", "vineyard", "orchard", "sugarcane")
"""Names of ``truth.crop_type`` codes, in order; -1 is no crop."""


@dataclass(frozen=True, slots=True)
class Crop:
    """Calendar and look of one crop, for a northern temperate year."""

    sow: float
    """Day of year at which leaves appear; negative = in the autumn before."""
    peak: float
    harvest: float
    lai: float
    """Leaf area index at the peak."""
    chlorophyll: float
    """0 pale .. 1 dark green."""
    straw: float
    """Fraction of dry matter showing at harvest, and as stubble afterwards."""
    vertical: float
    """How much VV the standing stems take away, dB at full cover."""


CROP_TABLE: dict[str, Crop] = {
    "winter cereal": Crop(-60, 140, 205, 5.0, 0.75, 0.9, 4.0),
    "rapeseed": Crop(-80, 125, 200, 4.5, 0.55, 0.6, -1.0),
    "maize": Crop(135, 215, 280, 4.5, 0.8, 0.6, -0.5),
    "soy": Crop(140, 215, 275, 5.0, 0.6, 0.5, 0.0),
    "potato": Crop(120, 190, 255, 4.0, 0.7, 0.3, -0.5),
    "rice": Crop(130, 215, 265, 5.0, 0.55, 0.8, 1.0),
    "alfalfa": Crop(60, 150, 330, 3.5, 0.8, 0.2, 0.0),
    "vineyard": Crop(100, 200, 320, 1.3, 0.6, 0.2, -1.0),
    "orchard": Crop(80, 190, 320, 2.8, 0.75, 0.2, -1.5),
    "sugarcane": Crop(-60, 230, 390, 4.5, 0.45, 0.9, -0.5),
}
"""Plausible mid-latitude calendars (sowing to harvest), shifted per climate, place and parcel."""


@dataclass(frozen=True, slots=True)
class Climate:
    """What a climate decides; ranges are (low, high) of a uniform draw per place."""

    latitude: tuple[float, float]
    crops: tuple[str, ...]
    season: tuple[float, float]
    """Days the whole calendar is late, against the northern temperate one."""
    forest: tuple[float, float]
    """Share of the land under trees."""
    conifer: tuple[float, float]
    evergreen: tuple[float, float]
    """Share of broadleaf leaves kept in winter."""
    wetness: tuple[float, float]
    """Mean surface soil moisture, m3/m3."""
    grass_dry: tuple[float, float]
    """How brown the grassland gets in the dry season, 0..1."""
    bare: tuple[float, float]
    """Share of soil showing through wild vegetation."""
    iron: tuple[float, float]
    soil_brightness: tuple[float, float]
    cloudiness: tuple[float, float]


CLIMATES: dict[str, Climate] = {
    "temperate": Climate(
        (38, 57), (*CROPS[:5], "alfalfa"), (-10, 20), (0.15, 0.45), (0.1, 0.6), (0.0, 0.15), (0.2, 0.34),
        (0.05, 0.45), (0.0, 0.06), (0.15, 0.6), (0.55, 1.15), (0.3, 0.7),
    ),
    "mediterranean": Climate(
        (31, 42), ("winter cereal", "vineyard", "orchard", "alfalfa", "maize", "rice"), (-30, -5), (0.1, 0.35),
        (0.1, 0.5), (0.4, 0.9), (0.08, 0.22), (0.5, 0.95), (0.05, 0.25), (0.3, 0.9), (0.8, 1.4), (0.1, 0.4),
    ),
    "tropical": Climate(
        (2, 24), ("rice", "maize", "soy", "sugarcane", "orchard"), (-60, 60), (0.3, 0.65), (0.0, 0.05), (0.85, 1.0),
        (0.2, 0.38), (0.05, 0.5), (0.0, 0.08), (0.5, 1.0), (0.5, 1.0), (0.4, 0.8),
    ),
    "dry": Climate(
        (5, 36), ("maize", "soy", "winter cereal", "alfalfa"), (-60, 60), (0.02, 0.12), (0.0, 0.1), (0.3, 0.8),
        (0.04, 0.14), (0.7, 1.0), (0.2, 0.6), (0.3, 1.0), (0.8, 1.6), (0.05, 0.25),
    ),
    "boreal": Climate(
        (52, 63), ("winter cereal", "rapeseed", "potato", "alfalfa"), (10, 30), (0.45, 0.7), (0.5, 0.9), (0.0, 0.05),
        (0.25, 0.4), (0.2, 0.5), (0.0, 0.08), (0.1, 0.4), (0.4, 0.8), (0.4, 0.7),
    ),
}  # fmt: skip
"""Five broad climates; a place lies somewhere inside one."""


@dataclass(frozen=True, slots=True)
class Place:
    """Everything a seed decides about a place before any geometry is drawn."""

    seed: int
    climate: str
    latitude: float
    """Degrees; negative = south. It sets sun and seasons only: all scenes sit on one nominal spot of the map."""
    year: int
    season: float
    crops: tuple[str, ...]
    crop_share: tuple[float, ...]
    forest: float
    conifer: float
    evergreen: float
    shade: float
    """Share of a forest's crowns that lies in shade."""
    wetness: float
    grass_dry: float
    bare: float
    iron: float
    soil_brightness: float
    organic: float
    """Darkening of the second soil by organic matter, 0..1."""
    cloudiness: float
    relief_m: float
    """Height of the hills above the valley floor, metres."""
    base_m: float
    water: str
    """"river", "coast" or "lake"; every place also has a river."""
    river_width_m: float
    sediment: float
    algae: float
    farmed: float
    """Share of the gentle open land that is ploughed; the rest is grassland."""
    field_width_m: float
    field_length: float
    """Length of a parcel over its width."""
    hedges: float
    town: float
    """Radius of the town as a share of the scene's shorter side."""
    tile: float
    """Share of red tile among the roofs."""
    garden: float
    """Share of garden in a town block."""

    def solar_day(self, day: float | np.ndarray) -> np.ndarray:
        """Day of the northern temperate year that the vegetation is living on ``day``."""
        shift = 182.5 if self.latitude < 0 else 0.0
        return (np.asarray(day, dtype=float) - self.season + shift) % 365.0


def stream(seed: int, purpose: str) -> np.random.Generator:
    """A random generator for one purpose of one seed, independent of every other purpose."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]))


def draw_place(seed: int) -> Place:
    """The place of this seed; the same seed gives the same place."""
    rng = stream(seed, "place")
    name = str(rng.choice(list(CLIMATES), p=[0.36, 0.2, 0.18, 0.14, 0.12])) if seed else "temperate"
    climate = CLIMATES[name]

    def draw(bounds: tuple[float, float]) -> float:
        return float(rng.uniform(*bounds))

    n_crops = int(rng.integers(3, min(5, len(climate.crops)) + 1))
    crops = tuple(str(c) for c in rng.choice(climate.crops, n_crops, replace=False))
    share = rng.dirichlet(np.full(n_crops, 3.0))
    latitude = draw(climate.latitude) * (1 if rng.random() < 0.5 else -1)
    water = str(rng.choice(["river", "coast", "lake"], p=[0.45, 0.3, 0.25]))
    return Place(
        seed=seed,
        climate=name,
        latitude=latitude if seed else -38.83,
        year=int(rng.integers(2018, 2024)),
        season=draw(climate.season),
        crops=crops,
        crop_share=tuple(float(s) for s in share),
        forest=draw(climate.forest),
        conifer=draw(climate.conifer),
        evergreen=draw(climate.evergreen),
        shade=draw((0.12, 0.36)),
        wetness=draw(climate.wetness),
        grass_dry=draw(climate.grass_dry),
        bare=draw(climate.bare),
        iron=draw(climate.iron),
        soil_brightness=draw(climate.soil_brightness),
        organic=draw((0.2, 0.8)),
        cloudiness=draw(climate.cloudiness),
        relief_m=float(np.exp(rng.uniform(np.log(8), np.log(350)))) if seed else 120.0,
        base_m=draw((2, 40)) if water == "coast" else draw((5, 1200)),
        water=water if seed else "river",
        river_width_m=float(np.exp(rng.uniform(np.log(15), np.log(130)))) if seed else 70.0,
        sediment=float(rng.beta(1.2, 2.5)),
        algae=float(rng.beta(1.2, 3.0)),
        farmed=draw((0.3, 0.95)) if seed else 0.7,
        field_width_m=float(np.exp(rng.uniform(np.log(45), np.log(220)))) if seed else 110.0,
        field_length=draw((1.3, 4.5)),
        hedges=float(rng.beta(0.8, 1.2)),
        town=draw((0.08, 0.3)) if seed else 0.2,
        tile=float(rng.beta(1.0, 1.0)),
        garden=draw((0.2, 0.6)),
    )
