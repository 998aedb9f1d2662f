"""A landscape on one date: leaves, straw, snow-free soil and its moisture, as weights of endmembers at 10 m.

No sensors here; what a radar gets back from this ground is in ``radar.py``.
Mixing is linear, canopies cover the soil as 1 - exp(-0.55 LAI). Plausible, not radiative transfer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from georeset_lab.data.endmembers import ENDMEMBERS
from georeset_lab.data.landscape import COVERS, Landscape
from georeset_lab.data.place import CROP_TABLE, CROPS, stream

_E = {name: i for i, name in enumerate(ENDMEMBERS)}
_K = {name: i for i, name in enumerate(COVERS)}


@dataclass(frozen=True, slots=True)
class Surface:
    """What does not change with the date: soils, waters, roughness, chemistry; arrays (y, x) at 10 m."""

    soil_b: np.ndarray
    """Share of the second soil, 0..1."""
    mineral: np.ndarray
    """Carbonate against clay in the soil, about -2..2."""
    chemistry: np.ndarray
    """Wax and lignin of leaves against the usual, about -2..2."""
    roughness: np.ndarray
    """Standing for the height spread of bare ground, about -2..2 (tillage and stones)."""
    turbidity: np.ndarray
    """Suspended matter in water, FNU; NaN on land."""
    algae: np.ndarray
    """Share of green water, 0..1."""


@dataclass(frozen=True, slots=True)
class State:
    """The ground on one date, arrays (y, x) at 10 m unless said otherwise."""

    weights: np.ndarray
    """Weight of every endmember, (E, y, x), float32."""
    green: np.ndarray
    """Share of the pixel under green leaves."""
    lai: np.ndarray
    """Green leaf area index of the pixel."""
    moisture: np.ndarray
    """Soil moisture, m3/m3."""


def draw_surface(land: Landscape) -> Surface:
    """Soils, waters, roughness and chemistry of a landscape."""
    place, n, p = land.place, land.noise, land.parcel_noise
    rng = stream(place.seed, "surface")
    valley = np.exp(-land.stream_m / 250.0)
    soil_b = _squash(1.2 * n[4] + 1.5 * (valley - 0.4) + 0.3 * n[2])
    water = land.cover[_K["water"]] > 0
    fnu = np.exp(np.log(2.0) + 3.8 * place.sediment + 0.25 * n[3])
    sea = np.exp(np.log(1.0) + 2.2 * place.sediment - 0.25 * np.minimum(land.depth, 12.0) + 0.35 * n[3])
    turbidity = np.where(land.sea > 0.5, sea, fnu)
    return Surface(
        soil_b=soil_b,
        # Numbers that nothing else is made of: what sees them, sees them for themselves.
        mineral=0.8 * n[6] + 0.6 * p[6],
        roughness=0.5 * n[7] + 0.85 * p[7],
        chemistry=0.6 * n[8] + 0.8 * p[8],
        turbidity=np.where(water, turbidity, np.nan),
        algae=np.clip(place.algae * (1 + 0.3 * n[2]) * rng.uniform(0.3, 1.0), 0, 1),
    )


def ground_state(land: Landscape, surface: Surface, day: float, rain: float, sun: float, *, after: bool) -> State:
    """The ground on a day of the year; ``rain`` 0 (dry spell) .. 1 (just rained); ``after`` the planted changes.

    ``sun`` is its elevation in radians: the lower it stands, the more of each canopy and street lies in shade.
    """
    place = land.place
    low = float(np.sqrt(1 / np.tan(max(sun, 0.15))))
    cover = land.cover_after if after else land.cover
    moisture = _moisture(land, rain)
    tree_lai, autumn = _leaves(land, day)
    grass_lai, grass_brown = _grass(land, day)
    crop_lai, crop_brown, litter = _crops(land, day, harvested=after)
    weights = np.zeros((len(ENDMEMBERS), *land.elevation.shape), dtype=np.float32)
    soil = _soil(land, surface, moisture)
    green = np.zeros(land.elevation.shape)
    lai = np.zeros(land.elevation.shape)

    def canopy(
        name: str, share: np.ndarray, leaf_area: np.ndarray, brown: np.ndarray, litter: np.ndarray,
        leaves: dict[str, np.ndarray | float], shade: np.ndarray | float, under: float = 1.0,
    ) -> None:  # fmt: skip
        f = cover[_K[name]] * share
        light = 1 - shade
        seen = 1 - np.exp(-0.55 * leaf_area)
        for leaf, part in leaves.items():
            weights[_E[leaf]] += f * seen * (1 - brown) * part * light
        ground = (1 - seen) * under  # the floor of a wood is dim
        weights[_E["straw"]] += f * (seen * brown + ground * litter) * light
        for name_, part in soil.items():
            weights[_E[name_]] += f * ground * (1 - litter) * part * light
        green[...] += f * seen * (1 - brown)
        lai[...] += f * leaf_area * (1 - brown)

    one = np.ones_like(green)
    pale = np.clip(0.5 - 0.35 * crop_table(land, "chlorophyll") + 0.12 * land.parcel_noise[3], 0, 0.9)
    canopy("crop", one, crop_lai, crop_brown, litter, {"pale leaf": pale, "dark leaf": 1 - pale}, 0.1 * low)
    tuft = np.clip(0.35 + 0.12 * land.parcel_noise[3] + 0.08 * land.noise[1], 0.05, 0.9)
    mix: dict[str, np.ndarray | float] = {"pale leaf": tuft, "dark leaf": 1 - tuft}
    canopy("grass", one, grass_lai, grass_brown, 0.35 + 0.3 * grass_brown, mix, 0.1 * low)
    canopy("garden", one, 0.5 * grass_lai + 1.0, 0.4 * grass_brown, 0.3 * one, mix, 0.24 * low)
    crowns = np.clip((place.shade + 0.10 * land.noise[0] + 0.06 * land.parcel_noise[4]) * low, 0.05, 0.8)
    canopy("shrub", one, (0.5 + 0.35 * land.noise[1].clip(-1, 2)) * (0.6 + 0.8 * grass_lai) * (1 - 0.5 * place.bare),
           0.55 * grass_brown, 0.3 * one, {"broadleaf": 0.7, "dark leaf": 0.3}, 0.6 * crowns)  # fmt: skip
    canopy("broadleaf", one, tree_lai, autumn, 0.45 * one, {"broadleaf": 1.0}, crowns, 0.6)
    needle_lai = np.clip(4.0 + 0.8 * land.parcel_noise[4] + 0.4 * land.noise[0], 1.2, 7)
    canopy("conifer", one, needle_lai, 0 * one, 0.4 * one, {"needle": 0.9, "broadleaf": 0.1}, crowns + 0.08, 0.5)
    bare_stems = cover[_K["broadleaf"]] * np.exp(-0.55 * tree_lai) * 0.4
    weights[_E["wood"]] += bare_stems * (1 - crowns)
    _mineral_covers(weights, cover, land, soil, 1.1 - 0.2 * low)
    _water(weights, cover, surface)
    _variations(weights, cover, land, surface)
    return State(weights, green, lai, moisture)


def _squash(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))


def _moisture(land: Landscape, rain: float) -> np.ndarray:
    place = land.place
    valley = np.exp(-land.stream_m / 150.0)
    base = place.wetness * (0.6 + 0.8 * rain) + 0.06 * (valley - 0.3) + 0.02 * land.noise[4] + 0.008 * land.noise[1]
    watered = (land.crop >= 0) * np.clip(land.parcel_noise[5], 0, 2) * 0.04
    return np.asarray(np.clip(base + watered, 0.02, 0.5))


def _leaves(land: Landscape, day: float) -> tuple[np.ndarray, np.ndarray]:
    """Leaf area of broadleaf trees and the share of it in autumn colour."""
    place = land.place
    t = place.solar_day(day) + 6 * land.parcel_noise[4] + 0.012 * (land.elevation - place.base_m)
    out, gone = _squash((t - 118) / 7), _squash((t - 300) / 8)
    kept = place.evergreen + (1 - place.evergreen) * out * (1 - gone)
    full = np.clip(4.6 + 0.7 * land.parcel_noise[4] + 0.5 * land.noise[0], 1.0, 7)
    autumn = (1 - place.evergreen) * _squash((t - 285) / 7) * (1 - 0.3 * gone)
    return full * kept * (1 - 0.4 * place.bare), np.clip(autumn, 0, 1)


def _grass(land: Landscape, day: float) -> tuple[np.ndarray, np.ndarray]:
    """Leaf area of grassland and the share of it that is brown."""
    place = land.place
    t = place.solar_day(day)
    grown = 0.5 + 0.5 * np.cos(2 * np.pi * (t - 160) / 365)
    mown = np.clip(0.9 + 0.35 * land.parcel_noise[2], 0.25, 1.6)
    rank = np.clip(1 + 0.2 * land.noise[2] + 0.15 * land.noise[1], 0.3, 2)
    drought = place.grass_dry * np.exp(-0.5 * ((((t - 225) + 182) % 365 - 182) / 60) ** 2)
    wet_feet = 0.3 * np.exp(-land.stream_m / 120)
    brown = np.clip(drought * (1 + 0.25 * land.noise[3]) - wet_feet + 0.2 * (1 - grown) * (1 - drought), 0, 0.97)
    return (1.2 + 3.2 * grown) * mown * rank * (1 - 0.55 * place.bare), brown


def crop_table(land: Landscape, field: str) -> np.ndarray:
    """One number of the crop table at every pixel, 0 where nothing is grown."""
    values = np.array([getattr(CROP_TABLE[c], field) for c in CROPS] + [0.0])
    return values[land.crop]


def _crops(land: Landscape, day: float, *, harvested: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leaf area, share of it ripe or dead, share of the ground under stubble."""
    p = land.parcel_noise
    late = 9 * p[0] + 2 * land.noise[4]
    sow, peak = crop_table(land, "sow") + late, crop_table(land, "peak") + late
    harvest = crop_table(land, "harvest") + late + 4 * p[1]
    t = land.place.solar_day(day)
    t = np.where(t > harvest + 0.5 * (365 + sow - harvest), t - 365, t)  # days since this season's sowing
    grow = _squash((t - (sow + 0.6 * (peak - sow))) / (0.11 * np.maximum(peak - sow, 30)))
    ripe = _squash((t - (peak + 0.72 * (harvest - peak))) / 6) * crop_table(land, "straw")
    standing = (t < harvest) & (t > sow - 5)
    if harvested:  # what was still standing has been cut
        standing &= land.change != 1
    vigour = np.clip(1 + 0.16 * p[3] + 0.08 * land.noise[1] + 0.06 * land.noise[3], 0.3, 1.5)
    lai = crop_table(land, "lai") * vigour * np.where(standing, grow, 0.0)
    since = np.maximum(t - harvest, 0)
    regrowth = np.clip(1.2 * p[5], 0, 2.5) * (1 - np.exp(-since / 40)) * ~standing * (land.place.wetness > 0.15)
    stubble = np.where(t >= harvest, np.exp(-since / 60), 0.05) * crop_table(land, "straw") * (p[4] > -0.8)
    if harvested:
        stubble = np.where(land.change == 1, 0.7 * crop_table(land, "straw"), stubble)
        regrowth = np.where(land.change == 1, 0.0, regrowth)
    return lai + regrowth, np.clip(ripe * standing, 0, 0.95), np.clip(stubble, 0, 0.9)


def _soil(land: Landscape, surface: Surface, moisture: np.ndarray) -> dict[str, np.ndarray]:
    """Weights of the four soils; the sum is a brightness near 1, so tillage and texture show."""
    bright = np.clip(1 + 0.08 * land.parcel_noise[2] + 0.06 * land.noise[1] + 0.04 * land.noise[0], 0.6, 1.5)
    wet = np.clip((moisture - 0.10) / 0.34, 0, 1)
    b = surface.soil_b
    return {
        "soil a dry": bright * (1 - b) * (1 - wet),
        "soil a wet": bright * (1 - b) * wet,
        "soil b dry": bright * b * (1 - wet),
        "soil b wet": bright * b * wet,
    }


def _mineral_covers(
    weights: np.ndarray, cover: np.ndarray, land: Landscape, soil: dict[str, np.ndarray], lit: float
) -> None:
    """Soil, sand, rock and everything built; streets and roofs stand partly in shade."""
    for name, part in soil.items():
        weights[_E[name]] += cover[_K["soil"]] * part
    gritty = np.clip(1 + 0.08 * land.noise[1] + 0.05 * land.noise[0], 0.5, 1.5)
    weights[_E["sand"]] += cover[_K["sand"]] * gritty
    weights[_E["rock"]] += cover[_K["rock"]] * gritty
    old = lit * np.clip(0.95 + 0.14 * land.noise[0] + 0.05 * land.parcel_noise[2], 0.4, 1.4)
    for material, name in (
        ("asphalt", "asphalt"), ("concrete", "concrete"), ("tile", "roof tile"), ("metal", "roof metal"),
        ("dark roof", "roof dark"),
    ):  # fmt: skip
        weights[_E[material]] += cover[_K[name]] * old


def _water(weights: np.ndarray, cover: np.ndarray, surface: Surface) -> None:
    """Clear, silty and muddy water by turbidity on a logarithmic scale, green water by algae."""
    f = cover[_K["water"]]
    level = np.clip(np.log10(np.nan_to_num(surface.turbidity, nan=1.0).clip(1, 200)) / np.log10(200), 0, 1)
    green = 0.7 * surface.algae
    weights[_E["clear water"]] += f * (1 - green) * np.clip(1 - 2 * level, 0, 1)
    weights[_E["silty water"]] += f * (1 - green) * (1 - np.abs(2 * level - 1))
    weights[_E["muddy water"]] += f * (1 - green) * np.clip(2 * level - 1, 0, 1)
    weights[_E["green water"]] += f * green


def _variations(weights: np.ndarray, cover: np.ndarray, land: Landscape, surface: Surface) -> None:
    """Mineral and leaf chemistry, and slow spectral differences inside each kind of material."""
    soil = weights[_E["soil a dry"] : _E["soil b wet"] + 1].sum(0)
    leaf = weights[_E["pale leaf"] : _E["needle"] + 1].sum(0)
    town = cover[_K["asphalt"] : _K["roof dark"] + 1].sum(0)
    weights[_E["mineral"]] = soil * surface.mineral
    weights[_E["leaf chemistry"]] = leaf * surface.chemistry
    weights[_E["leaf tilt"]] = leaf * (land.parcel_noise[0] + 0.5 * land.noise[2])
    weights[_E["leaf water"]] = leaf * (land.parcel_noise[1] + 0.5 * land.noise[3])
    weights[_E["soil tilt"]] = soil * (land.parcel_noise[5] + 0.5 * land.noise[2])
    weights[_E["soil hump"]] = soil * (land.noise[3])
    weights[_E["town tilt"]] = town * land.noise[0]
    weights[_E["town hump"]] = town * land.noise[1]
