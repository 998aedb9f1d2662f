"""What covers the ground of a simulated place: fields, hedges, forests, a town with streets, roads, bare ground.

Geometry is drawn at 5 m and handed on as cover fractions at 10 m, so edges, streets and hedges are mixed pixels as they
are in real images. No dates (see ``season.py``) and no spectra (see ``endmembers.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from georeset_lab.data.place import CLASSES, CROPS, Place, stream
from georeset_lab.data.terrain import Terrain, build_terrain, fractal
from georeset_lab.data.town import Town, draw_roads, draw_town

PIXEL_M = 10.0
"""Pixel of the truth grid, metres."""
FINE = 2
"""Fine pixels along one truth pixel."""

COVERS = (
    "water", "broadleaf", "conifer", "shrub", "grass", "crop", "soil", "sand", "rock", "asphalt", "concrete",
    "roof tile", "roof metal", "roof dark", "garden",
)  # fmt: skip
"""Kinds of ground, in the order of ``Landscape.cover``."""

_CLASS_OF = np.array([0, 1, 1, 2, 2, 3, 5, 5, 5, 4, 4, 4, 4, 4, 4])
"""Land-cover class of each cover; shrub counts as rangeland (``grassland``)."""

CHANGES = ("none", "harvested", "cleared", "built")
"""Names of ``truth.change`` codes, in order."""


@dataclass(frozen=True, slots=True)
class Landscape:
    """A place before any date, arrays of shape (y, x) at 10 m unless said otherwise."""

    place: Place
    cover: np.ndarray
    """Share of each of ``COVERS``, (K, y, x), sums to 1."""
    cover_after: np.ndarray
    """The same once the planted changes have happened."""
    land_cover: np.ndarray
    """Codes of ``place.CLASSES`` before the changes."""
    purity: np.ndarray
    """Share of the pixel that the class of ``land_cover`` covers, 0..1."""
    change: np.ndarray
    """Codes of ``CHANGES``."""
    parcel: np.ndarray
    """Number of the parcel, -1 outside of farmland."""
    crop: np.ndarray
    """Codes of ``place.CROPS``, -1 where nothing is grown."""
    parcel_noise: np.ndarray
    """Nine standard normal numbers per parcel or forest stand, (9, y, x)."""
    noise: np.ndarray
    """Nine standard normal fractal fields, (9, y, x)."""
    elevation: np.ndarray
    slope_y: np.ndarray
    """Rise towards the south, metres per metre."""
    slope_x: np.ndarray
    """Rise towards the east."""
    depth: np.ndarray
    """Water depth, metres."""
    sea: np.ndarray
    """Share of the pixel that is sea or lake water."""
    stream_m: np.ndarray
    """Distance to the nearest watercourse, metres."""
    shore_m: np.ndarray
    """Distance from land to the nearest large water body, metres."""


def build_landscape(place: Place, shape: tuple[int, int]) -> Landscape:
    """The landscape of ``place`` on ``shape`` = (y, x) pixels of 10 m."""
    fine = (shape[0] * FINE, shape[1] * FINE)
    step = PIXEL_M / FINE
    terrain = build_terrain(place, fine, step)
    rng = stream(place.seed, "landscape")
    parcel, edge_m, pivot = _parcels(rng, place, fine, step)
    dice = rng.random((12, int(parcel.max()) + 1)).astype(np.float32)
    town = draw_town(place, terrain, step)
    farmland = _wild(rng, place, terrain, fine)
    cover, crop = _farm(place, parcel, edge_m, pivot, dice)
    wild = _forest_and_shrub(rng, place, terrain, parcel, dice, fine)
    cover = np.where(farmland, cover, wild)
    crop = np.where(farmland & (cover == COVERS.index("crop")), crop, -1)
    cover = _edges(rng, place, terrain, cover, edge_m, dice[6][parcel], farmland)
    roads = draw_roads(place, terrain, town, step)
    cover = np.where(roads >= 0, roads, cover)
    cover = np.where(town.cover >= 0, town.cover, cover)
    cover = _shores(rng, place, terrain, cover, fine)
    crop = np.where(cover == COVERS.index("crop"), crop, -1)
    after, change = _changes(cover, crop, parcel, dice, town)
    fields = np.where(farmland, parcel, -1)
    return _coarsen(place, terrain, fine, cover, after, change, fields, parcel, crop, town.built)


def _parcels(
    rng: np.random.Generator, place: Place, shape: tuple[int, int], step: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of the parcel, distance to its edge in metres, and whether a round pivot field fills it, each (y, x)."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] * step
    spacing = rng.uniform(500, 1100)
    n = max(1, round(shape[0] * shape[1] * step * step / spacing**2))
    centres = rng.uniform(0, 1, (n, 2)) * np.array(shape) * step
    bend = 60 * fractal(rng, shape, 3.5)
    apart = np.stack([np.hypot(y - cy + bend, x - cx - bend) for cy, cx in centres])
    zone = apart.argmin(0)
    parcel = np.zeros(shape, dtype=np.int64)
    edge = np.zeros(shape)
    main = rng.uniform(0, np.pi)
    warp_u, warp_v = (rng.uniform(0, 12) * fractal(rng, shape, 4.0) for _ in range(2))
    offset = 0
    for z in range(n):
        inside = zone == z
        angle = main + rng.normal(0, 0.35) + (np.pi / 2 if rng.random() < 0.4 else 0)
        u = (np.cos(angle) * x + np.sin(angle) * y + warp_u)[inside]
        v = (-np.sin(angle) * x + np.cos(angle) * y + warp_v)[inside]
        width = place.field_width_m * np.exp(rng.normal(0, 0.25))
        ids, far = _strips(rng, u, v, width, width * place.field_length)
        parcel[inside] = ids + offset
        edge[inside] = far
        offset += int(ids.max(initial=0)) + 1
    # Compact numbers, so that one random draw per parcel is cheap.
    _, parcel = np.unique(parcel, return_inverse=True)
    parcel = parcel.reshape(shape)
    pivots = place.climate == "dry" and rng.random() < 0.5
    inner = ndimage.maximum(edge, parcel, np.arange(parcel.max() + 1))[parcel] if pivots else edge
    return parcel, edge, (inner - edge < inner * 0.9) & (inner > 60) if pivots else np.ones(shape, dtype=bool)


def _strips(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, width: float, length: float
) -> tuple[np.ndarray, np.ndarray]:
    """Elongated rectangles: strips across ``v``, each cut along ``u`` at its own places; numbers and edge distance."""
    if not len(u):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    cuts = v.min() - rng.uniform(0, width) + np.cumsum(width * rng.uniform(0.5, 1.6, 4 + int(2.2 * np.ptp(v) / width)))
    strip = np.searchsorted(cuts, v)
    padded = np.concatenate([[cuts[0] - width], cuts, [cuts[-1] + width]])
    across = np.minimum(v - padded[strip], padded[strip + 1] - v)
    cut_length = length * rng.uniform(0.6, 1.6, len(padded))[strip]
    along = (u - u.min()) / cut_length + rng.random(len(padded))[strip]
    piece = np.floor(along)
    ends = np.minimum(along - piece, piece + 1 - along) * cut_length
    return strip * 10_000 + piece.astype(np.int64), np.minimum(across, ends)


def _wild(rng: np.random.Generator, place: Place, terrain: Terrain, shape: tuple[int, int]) -> np.ndarray:
    """True where the land is farmed: gentle ground; the rest is left to forest, scrub and rough grazing."""
    steep = terrain.slope / (np.median(terrain.slope) + 0.05)
    rough = steep + 0.9 * fractal(rng, shape, 3.0)
    share = np.clip(place.forest + 0.25 * place.bare + 0.05, 0.02, 0.85)
    smooth = ndimage.gaussian_filter(rough, 3)
    return smooth < np.quantile(smooth, 1 - share)


def _farm(
    place: Place, parcel: np.ndarray, edge_m: np.ndarray, pivot: np.ndarray, dice: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cover and crop of every pixel if all were farmland."""
    kind = np.full(dice.shape[1], COVERS.index("grass"))
    tilled = dice[0] < place.farmed
    kind[tilled] = COVERS.index("crop")
    kind[~tilled & (dice[1] < 0.06)] = COVERS.index("broadleaf")
    kind[~tilled & (dice[1] > 0.94)] = COVERS.index("conifer")
    kind[dice[2] < 0.03] = COVERS.index("soil")
    codes = np.array([CROPS.index(c) for c in place.crops])
    crop = codes[np.searchsorted(np.cumsum(place.crop_share)[:-1], dice[3])]
    cover = kind[parcel]
    cover = np.where((cover == COVERS.index("crop")) & ~pivot, COVERS.index("shrub"), cover)
    return cover, crop[parcel]


def _forest_and_shrub(
    rng: np.random.Generator, place: Place, terrain: Terrain, parcel: np.ndarray, dice: np.ndarray,
    shape: tuple[int, int],
) -> np.ndarray:  # fmt: skip
    """Cover of every pixel if none were farmed: forest stands, scrub, rough grass, bare and rocky places."""
    kinds = fractal(rng, shape, 2.6)
    stands = fractal(rng, shape, 3.0) + 0.004 * (terrain.elevation - terrain.elevation.mean()) / (place.relief_m / 100)
    conifer = stands > np.quantile(stands, 1 - np.clip(place.conifer, 0, 1)) if place.conifer > 0 else stands > np.inf
    # Plantations follow parcel lines even inside the forest; some stand as clear-cuts.
    planted = (dice[7] < 0.25 * place.conifer)[parcel]
    cover = np.where(conifer | planted, COVERS.index("conifer"), COVERS.index("broadleaf"))
    treed = place.forest / np.clip(place.forest + 0.25 * place.bare + 0.05, 0.02, 0.85)
    open_land = kinds > np.quantile(kinds, np.clip(treed, 0.02, 0.97))
    dry = fractal(rng, shape, 2.4)
    cover = np.where(open_land, np.where(dry > 0.3, COVERS.index("grass"), COVERS.index("shrub")), cover)
    cover = np.where((dice[8] < 0.04)[parcel] & ~open_land, COVERS.index("shrub"), cover)
    exposed = fractal(rng, shape, 2.4)
    cover = np.where(open_land & (exposed > 2.1 - 4 * place.bare), COVERS.index("soil"), cover)
    cliff = terrain.slope > max(0.45, float(np.quantile(terrain.slope, 0.995)))
    return np.where(cliff & (exposed > -0.3), COVERS.index("rock"), cover)


def _edges(
    rng: np.random.Generator, place: Place, terrain: Terrain, cover: np.ndarray, edge_m: np.ndarray,
    dice: np.ndarray, farmland: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Headlands, hedges and farm tracks along parcel edges, trees along the brooks."""
    patchy = fractal(rng, cover.shape, 2.0)
    cover = np.where(farmland & (edge_m < 4), COVERS.index("grass"), cover)
    hedge = farmland & (edge_m < 6) & (dice < place.hedges) & (patchy > -0.5)
    cover = np.where(hedge, COVERS.index("broadleaf"), cover)
    track = farmland & (edge_m < 3) & (dice > 1 - 0.5 * (1 - place.hedges))
    cover = np.where(track, COVERS.index("soil"), cover)
    lone = farmland & (rng.random(cover.shape) < 0.002) & (cover == COVERS.index("grass"))
    cover = np.where(lone, COVERS.index("broadleaf"), cover)
    bank = 8 + 14 * patchy
    return np.where(terrain.stream_m < bank, COVERS.index("broadleaf"), cover)


def _shores(
    rng: np.random.Generator, place: Place, terrain: Terrain, cover: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Water last, with sand beaches, gravel bars and riparian strips beside it."""
    patchy = fractal(rng, shape, 2.6)
    near_sea = ndimage.distance_transform_edt(~terrain.sea) * PIXEL_M / FINE if terrain.sea.any() else 1e5 + 0 * patchy
    beach = np.exp(rng.uniform(np.log(3), np.log(40)))
    cover = np.where(near_sea < beach * (1 + 0.8 * patchy), COVERS.index("sand"), cover)
    bars = (terrain.shore_m < 14 + 12 * patchy) & (near_sea > 60)
    cover = np.where(bars & (patchy > rng.uniform(0.3, 1.6)), COVERS.index("sand"), cover)
    return np.where(terrain.depth > 0, COVERS.index("water"), cover)


def _changes(
    cover: np.ndarray, crop: np.ndarray, parcel: np.ndarray, dice: np.ndarray, town: Town
) -> tuple[np.ndarray, np.ndarray]:
    """Cover after the planted changes, and their codes: parcels harvested, forest cleared, fields built over."""
    built = town.built
    near_town = ndimage.distance_transform_edt(~built) * PIXEL_M / FINE < 250 if built.any() else built
    is_crop = cover == COVERS.index("crop")
    trees = (cover == COVERS.index("broadleaf")) | (cover == COVERS.index("conifer"))
    die = dice[9][parcel]
    change = np.zeros(cover.shape, dtype=np.int8)
    change[is_crop & (die < 0.12)] = CHANGES.index("harvested")
    change[trees & ~built & (die > 0.93)] = CHANGES.index("cleared")
    open_field = is_crop | (cover == COVERS.index("grass"))
    change[open_field & near_town & ~built & (die > 0.86)] = CHANGES.index("built")
    after = np.where(change == CHANGES.index("cleared"), COVERS.index("soil"), cover)
    # New quarters have roofs and streets but no gardens yet.
    green = np.isin(town.plan, [COVERS.index("garden"), COVERS.index("broadleaf")])
    new = np.where(green, COVERS.index("soil"), town.plan)
    return np.where(change == CHANGES.index("built"), new, after), change


def _coarsen(
    place: Place, terrain: Terrain, fine: tuple[int, int], cover: np.ndarray, after: np.ndarray, change: np.ndarray,
    parcel: np.ndarray, stand: np.ndarray, crop: np.ndarray, town: np.ndarray,
) -> Landscape:  # fmt: skip
    """Cover fractions and centre samples on the 10 m grid."""
    shape = (fine[0] // FINE, fine[1] // FINE)
    fractions, fractions_after = _fractions(cover), _fractions(after)
    by_class = np.stack([fractions[c == _CLASS_OF].sum(0) for c in range(len(CLASSES))])
    built = block_mean(town.astype(float)) >= 0.5
    by_class[CLASSES.index("built")][built] += 0.8  # as in real maps, gardens and small greens count as town
    rng = stream(place.seed, "texture")
    noise = np.stack([fractal(rng, shape, beta) for beta in (1.2, 1.8, 2.4, 2.4, 3.0, 3.2, 2.8, 2.2, 3.0)])
    per_stand = rng.standard_normal((9, int(stand.max()) + 1))
    pick = (slice(None, None, FINE), slice(None, None, FINE))
    elevation = block_mean(terrain.elevation)
    gy, gx = np.gradient(elevation, PIXEL_M) if min(shape) > 1 else (np.zeros(shape), np.zeros(shape))
    return Landscape(
        place=place, cover=fractions, cover_after=fractions_after,
        land_cover=by_class.argmax(0).astype(np.int8), purity=np.minimum(by_class.max(0), 1.0),
        change=change[pick].astype(np.int8),
        parcel=parcel[pick].astype(np.int32), crop=crop[pick].astype(np.int8),
        parcel_noise=per_stand[:, stand[pick]], noise=noise,
        elevation=elevation, slope_y=gy, slope_x=gx,
        depth=block_mean(terrain.depth), sea=block_mean(terrain.sea.astype(float)),
        stream_m=terrain.stream_m[pick], shore_m=terrain.shore_m[pick],
    )  # fmt: skip


def _fractions(cover: np.ndarray) -> np.ndarray:
    """Share of each cover in every truth pixel, (K, y, x)."""
    return np.stack([block_mean((cover == k).astype(float)) for k in range(len(COVERS))])


def block_mean(fine: np.ndarray, factor: int = FINE) -> np.ndarray:
    """Mean over blocks of ``factor`` x ``factor`` pixels of the last two axes, which must be multiples of it."""
    if factor == 1:
        return fine
    *lead, ny, nx = fine.shape
    return np.asarray(fine.reshape(*lead, ny // factor, factor, nx // factor, factor).mean(axis=(-3, -1)))
