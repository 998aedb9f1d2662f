"""The built part of a simulated landscape: a town of streets, blocks, roofs and gardens, and country roads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from georeset_lab.data.place import Place, stream
from georeset_lab.data.terrain import Terrain, fractal

_BROADLEAF, _GRASS, _SOIL, _ASPHALT, _CONCRETE, _TILE, _METAL, _DARK, _GARDEN = 1, 4, 6, 9, 10, 11, 12, 13, 14
"""Positions in ``landscape.COVERS`` (held to it by a test)."""


@dataclass(frozen=True, slots=True)
class Town:
    """A town on the fine grid, arrays of shape (y, x)."""

    cover: np.ndarray
    """Position in ``landscape.COVERS``, -1 outside the town."""
    plan: np.ndarray
    """The same, carried on over all the land: what would be built there."""
    built: np.ndarray
    """True inside the town, parks excepted."""
    centre: tuple[float, float]
    """Row and column."""


def draw_town(place: Place, terrain: Terrain, step: float) -> Town:
    """Streets, roofs, yards, gardens, parks and works of one town; ``step`` is the pixel in metres."""
    rng = stream(place.seed, "town")
    shape = terrain.elevation.shape
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(float)
    centre = _site(rng, terrain, shape)
    radius = place.town * min(shape)
    far = np.hypot(y - centre[0], x - centre[1]) / radius + 0.28 * fractal(rng, shape, 3.0)
    steep = ndimage.gaussian_filter(terrain.slope, 8)
    far = far + 1.2 * np.maximum(steep / max(0.15, float(np.median(steep)) * 1.3) - 1, 0)
    village = rng.uniform(0, 1, (int(rng.integers(0, 4)), 2)) * np.array(shape)
    for vy, vx in village:
        far = np.minimum(far, np.hypot(y - vy, x - vx) / (rng.uniform(8, 22)) + 0.2 * fractal(rng, shape, 3.0))
    inside = (far < 1) & (terrain.depth <= 0) & (terrain.shore_m > 15)
    angle = rng.uniform(0, np.pi / 2)
    turn = angle + 0.5 * rng.random() * (fractal(rng, shape, 4.0) > 0.4)
    u = (np.cos(turn) * x + np.sin(turn) * y) * step
    v = (-np.sin(turn) * x + np.cos(turn) * y) * step
    long, short = rng.uniform(80, 160), rng.uniform(55, 95)
    street = rng.uniform(6, 11)
    bu, bv = np.floor(u / long).astype(int), np.floor(v / short).astype(int)
    on_street = (u % long < street) | (v % short < street)
    avenue = (u % (4 * long) < 1.8 * street) | (v % (5 * short) < 1.8 * street)
    block = _hash(rng, bu, bv)
    cover = _lots(rng, place, u, v, block, far)
    park = (block[1] < 0.07) & (far > 0.12)
    cover = np.where(park, np.where(block[2] + 0.25 * fractal(rng, shape, 1.5) > 0.5, _BROADLEAF, _GRASS), cover)
    cover = np.where(on_street | avenue, _ASPHALT, cover)
    thin = rng.random(shape) < 0.10
    cover = np.where(on_street & thin, _BROADLEAF, cover)  # street trees
    return Town(np.where(inside, cover, -1), cover, inside & ~(park & ~on_street), centre)


def _site(rng: np.random.Generator, terrain: Terrain, shape: tuple[int, int]) -> tuple[float, float]:
    """The best of some random places: gentle, near the river, not at the edge."""
    tries = rng.uniform(0.15, 0.85, (40, 2)) * np.array(shape)
    row, col = tries[:, 0].astype(int), tries[:, 1].astype(int)
    wet = terrain.depth[row, col] > 0
    steep = ndimage.gaussian_filter(terrain.slope, 20)
    away = np.abs(terrain.river_m[row, col] - 250) / 500
    cost = steep[row, col] / (steep.mean() + 0.01) * 2 + away + 5 * wet + rng.random(40)
    best = int(cost.argmin())
    return float(tries[best, 0]), float(tries[best, 1])


def _hash(rng: np.random.Generator, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Four uniform numbers for every pair of integers, (4, y, x); the same pair gives the same numbers."""
    table = rng.random((4, 4096))
    return np.asarray(table[:, (a * 73_856_093 ^ b * 19_349_663) % 4096])


def _lots(
    rng: np.random.Generator, place: Place, u: np.ndarray, v: np.ndarray, block: np.ndarray, far: np.ndarray
) -> np.ndarray:
    """Cover inside the blocks: houses with gardens, dense centre, works with large roofs and yards."""
    lot = rng.uniform(13, 22)
    lu, lv = np.floor(u / lot).astype(int), np.floor(v / lot).astype(int)
    house = _hash(rng, lu, lv)
    pitch = (u % lot < 0.7 * lot) & (v % lot < 0.75 * lot)
    density = np.clip(1.15 - 0.8 * far, 0.25, 0.95) * (1 - 0.6 * place.garden)
    roofs = np.where(house[1] < place.tile, _TILE, np.where(house[1] < place.tile + 0.25, _METAL, _DARK))
    green = np.where(house[2] < 0.3 + place.garden, _GARDEN, np.where(house[2] < 0.9, _CONCRETE, _SOIL))
    homes = np.where(pitch & (house[0] < density), roofs, green)
    hall = rng.uniform(35, 60)
    works = _hash(rng, np.floor(u / hall).astype(int), np.floor(v / hall).astype(int))
    yard = np.where(works[1] < 0.5, _CONCRETE, np.where(works[1] < 0.8, _ASPHALT, _SOIL))
    large = np.where(works[0] < 0.5, np.where(works[2] < 0.65, _METAL, _DARK), yard)
    return np.where(block[0] < 0.12, large, homes)


def draw_roads(place: Place, terrain: Terrain, town: Town, step: float) -> np.ndarray:
    """Country roads through the town to the edges of the scene: position in ``landscape.COVERS``, -1 elsewhere."""
    rng = stream(place.seed, "roads")
    shape = terrain.elevation.shape
    road = np.ones(shape, dtype=bool)
    n = int(rng.integers(2, 5))
    start = rng.uniform(0, 2 * np.pi)
    reach = float(np.hypot(*shape))
    t = np.linspace(0, 1, int(3 * reach))
    for k in range(n):
        angle = start + 2 * np.pi * k / n + rng.normal(0, 0.25)
        wiggle = np.cumsum(ndimage.gaussian_filter1d(rng.standard_normal(len(t)), len(t) / 25, mode="nearest")) * 0.12
        row = town.centre[0] + t * reach * np.sin(angle) + wiggle * np.cos(angle)
        col = town.centre[1] + t * reach * np.cos(angle) - wiggle * np.sin(angle)
        r, c = np.round(row).astype(int), np.round(col).astype(int)
        ok = (r >= 0) & (r < shape[0]) & (c >= 0) & (c < shape[1])
        road[r[ok], c[ok]] = False
    far = ndimage.distance_transform_edt(road) * step if not road.all() else np.full(shape, 1e5)
    paved = _ASPHALT if rng.random() < 0.8 else _SOIL
    return np.where(far < rng.uniform(3, 7), paved, -1)
