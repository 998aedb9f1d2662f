"""Training crops: the same ground seen by two modalities, twice each. Draws places, dates and points; changes no value.

Augmentation is in ``views.py``, the losses' use of the views in ``objectives.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.ground import SAMPLES_PER_CELL, ground_cell_m
from georeset_lab.data.modality import Modality
from georeset_lab.data.scene import Scene
from georeset_lab.data.times import day_of_year
from georeset_lab.errors import NothingObserved
from georeset_lab.models.spectrum import WAVELENGTHS_UM

_JITTER = 6
"""Pixels by which two views of one place may be shifted against each other."""
_EDGE = 3
"""Pixels at the rim of a window where no point is drawn: their 5 x 5 neighbourhood is cut."""
_TRIES = 4
REFERENCE_DATES = 5
"""Most dates of a reference: what is to be known of a place is its mean over them, so that a single date leaves doubt."""
_MIN_SEEN = 0.25


@dataclass
class View:
    """One look at a batch of places through one modality."""

    modality: str
    pixels: np.ndarray
    """(B, T, C, S, S) float32 in physical units, NaN where nothing was measured."""
    bands: tuple[BandSpec, ...]
    cell_m: float
    day_of_year: np.ndarray
    """(B, T) float32, NaN where unknown."""
    points: np.ndarray
    """(B, P, 2) int64: row and column of each ground point in this view."""


@dataclass(frozen=True)
class Batch:
    """Views of the same places; ``first`` and ``second`` hold independent looks, in the same order of modalities."""

    first: tuple[View, ...]
    second: tuple[View, ...]
    ground_m: np.ndarray
    """(B, P, 2) float64: easting and northing of each point."""
    place: np.ndarray
    """(B,) int64: index of the scene each crop comes from."""
    reference: tuple[View, ...] = ()
    """Sentinel-2 and, on the same grid, Sentinel-1; never altered. Of `REFERENCE_DATES` the first is nearest to the first
    look's. Empty where the scenes have none."""


class CropSampler:
    """Draws batches from scenes; every draw depends on (seed, step) alone, so training can resume anywhere.

    Parameters
    ----------
    scenes : sequence of Scene
        Grouped by the names of their modalities: one batch holds one group, so that all its views share their bands.
    size : int
        Pixels along the side of a crop (window * patch of the encoder).
    batch, points : int
        Crops in a batch and ground points in a crop.
    max_dates : int
        Most dates shown in one view.

    Raises
    ------
    NothingObserved
        No scene was given.
    """

    def __init__(
        self, scenes: Sequence[Scene], *, size: int, batch: int, points: int, max_dates: int = 3, seed: int = 0
    ) -> None:
        if not scenes:
            raise NothingObserved("train was given no scene. Pass at least one, e.g. [load_scene('simulated')].")
        self.scenes = list(scenes)
        self.size, self.batch, self.points, self.max_dates, self.seed = size, batch, points, max_dates, seed
        groups: dict[tuple[tuple[str, int], ...], list[int]] = {}
        for i, scene in enumerate(self.scenes):
            key = tuple((name, len(m.bands)) for name, m in scene.modalities.items())
            groups.setdefault(key, []).append(i)
        self.groups = list(groups.values())
        # The square root lets a group of one real scene weigh more than its count, but less than fifty simulated ones.
        weight = np.sqrt([len(g) for g in self.groups])
        self.weight = weight / weight.sum()

    def draw(self, step: int) -> tuple[Batch, np.random.Generator]:
        """Return batch of one training step, and the generator that its augmentation continues with."""
        rng = np.random.default_rng([self.seed, step % 2**32])
        group = self.groups[rng.choice(len(self.groups), p=self.weight)]
        names = self._pair(self.scenes[group[0]], rng)
        place = rng.choice(group, self.batch)
        most = {n: min(self.max_dates, max(len(self.scenes[i][n].times) for i in group)) for n in names}
        dates = {n: int(rng.integers(1, most[n] + 1)) for n in names}
        pixel = {n: [_sample_m(self.scenes[i][n]) for i in place] for n in names}
        clean = reference_modalities(self.scenes[group[0]])
        depth = min(REFERENCE_DATES, max((len(self.scenes[i][n].times) for i in group for n in clean), default=1))
        looks: list[list[_Look]] = [[], []]
        references: list[_Look] = []
        ground = np.empty((self.batch, self.points, 2))
        for b, index in enumerate(place):
            scene = self.scenes[index]
            reach = min(pixel[n][b] for n in names) * (self.size / 2 - _JITTER - _EDGE)
            for _ in range(_TRIES):
                centre = _draw_centre(scene, names, rng, self.size)
                ground[b] = centre + rng.uniform(-reach, reach, (self.points, 2))
                seen = [[self._look(scene[n], centre, ground[b], dates[n], rng) for n in names] for _ in range(2)]
                if all(np.isfinite(look.pixels).any(1).mean() > _MIN_SEEN for side in seen for look in side):
                    break
            for side, new in zip(looks, seen, strict=True):
                side.extend(new)
            references.extend(
                self._look(scene[n], centre, ground[b], depth, rng, near=seen[0][0].day[0]) for n in clean
            )
        first, second = (tuple(self._stack(self.scenes[place[0]], names, side)) for side in looks)
        reference = tuple(self._stack(self.scenes[place[0]], clean, references))
        return Batch(first, second, ground, place.astype(np.int64), reference), rng

    def _pair(self, scene: Scene, rng: np.random.Generator) -> list[str]:
        names = list(scene.modalities)
        return [names[i] for i in rng.permutation(len(names))[:2]]

    def _look(
        self,
        modality: Modality,
        centre: np.ndarray,
        ground: np.ndarray,
        n_dates: int,
        rng: np.random.Generator,
        *,
        near: float | None = None,
    ) -> _Look:
        """Window around a place, shifted at random, or with ``near`` exactly there and on the day nearest to it."""
        grid = modality.grid.transform * Affine.scale(_sample_m(modality) / _pixel_m(modality))
        col, row = ~grid * (float(centre[0]), float(centre[1]))
        shift = rng.integers(-_JITTER, _JITTER + 1, 2) if near is None else np.zeros(2, int)
        top, left = round(row) - self.size // 2 + int(shift[0]), round(col) - self.size // 2 + int(shift[1])
        cols, rows = ~grid * (ground[:, 0], ground[:, 1])
        points = np.stack([np.floor(rows) - top, np.floor(cols) - left], 1).astype(np.int64)
        chosen = _draw_dates(modality, n_dates if near is None else len(modality.times), rng)
        if near is not None and len(chosen) > 1:
            days = day_of_year(modality.times[chosen])
            away = np.abs(days - near) if np.isfinite(near) else rng.random(len(days))
            nearest = int(np.nanargmin(np.minimum(away, 365 - away)))
            others = rng.permutation(np.delete(chosen, nearest))
            chosen = np.concatenate([chosen[[nearest]], others])[:n_dates]
        pixels = np.full((n_dates, len(modality.bands), self.size, self.size), np.nan, dtype=np.float32)
        day = np.full(n_dates, np.nan, dtype=np.float32)
        for slot, date in enumerate(chosen):
            _fill(pixels[slot], modality, int(date), top, left)
            day[slot] = day_of_year(modality.times[[date]])[0]
        return _Look(pixels, day, np.clip(points, 0, self.size - 1))

    def _stack(self, scene: Scene, names: list[str], looks: list[_Look]) -> list[View]:
        views = []
        for k, name in enumerate(names):
            mine = looks[k :: len(names)]
            views.append(
                View(
                    name,
                    np.stack([look.pixels for look in mine]),
                    scene[name].bands,
                    SAMPLES_PER_CELL * _sample_m(scene[name]),
                    np.stack([look.day for look in mine]),
                    np.stack([look.points for look in mine]),
                )
            )
        return views


@dataclass(frozen=True)
class _Look:
    pixels: np.ndarray
    day: np.ndarray
    points: np.ndarray


def reference_modalities(scene: Scene) -> list[str]:
    """Sentinel-2 with its ten bands at 10 m, surface reflectance rather than top of atmosphere, and Sentinel-1 on its grid."""
    optical = [
        name
        for name, m in scene.modalities.items()
        if abs(_pixel_m(m) - 10) < 1
        and sum(_near(b.center_um) for b in m.bands if b.kind == "reflectance") >= 10
        and len(m.bands) < 20
    ]
    if not optical:
        return []
    first = next((n for n in optical if not str(scene[n].sensor).endswith("l1c")), optical[0])
    grid = scene[first].grid
    radar = [
        name
        for name, m in scene.modalities.items()
        if {b.polarization for b in m.bands} >= {"VV", "VH"} and tuple(m.grid.shape) == tuple(grid.shape)
        and m.grid.affine.almost_equals(grid.affine, precision=1e-3)
    ]  # fmt: skip
    return [first, *radar[:1]]


def _near(centre_um: float) -> bool:
    return bool(min(abs(centre_um - c) for c in WAVELENGTHS_UM) < 0.015)


def _pixel_m(modality: Modality) -> float:
    return float(abs(modality.grid.transform.a))


def _sample_m(modality: Modality) -> float:
    """Side of what a crop shows as a pixel: that of the modality, or of its share of a cell."""
    return ground_cell_m(_pixel_m(modality)) / SAMPLES_PER_CELL


def _fill(out: np.ndarray, modality: Modality, date: int, top: int, left: int) -> None:
    """Write a window of one date to (C, S, S), coarse pixels repeated; what lies outside stays as it is."""
    share, size = _sample_m(modality) / _pixel_m(modality), out.shape[-1]
    inside = []
    for first, n in zip((top, left), modality.grid.shape, strict=True):
        at = np.floor((first + np.arange(size) + 0.5) * share).astype(int)
        inside.append((np.flatnonzero((at >= 0) & (at < n)), at[(at >= 0) & (at < n)]))
    (into_y, y), (into_x, x) = inside
    if len(y) and len(x):
        part = modality.read(slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1), time=date)[0]
        out[:, into_y[:, None], into_x] = part[:, (y - y[0])[:, None], x - x[0]]


def _draw_centre(scene: Scene, names: list[str], rng: np.random.Generator, size: int) -> np.ndarray:
    """Ground point (x, y) such that the finest window lies inside the scene where it can."""
    finest = min((scene[n] for n in names), key=_pixel_m)
    height, width = finest.grid.shape
    half = size / 2 * _sample_m(finest) / _pixel_m(finest)
    row = rng.uniform(min(half, height / 2), max(height - half, height / 2))
    col = rng.uniform(min(half, width / 2), max(width - half, width / 2))
    x, y = finest.grid.transform * (col, row)
    return np.array([x, y])


def _draw_dates(modality: Modality, n: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of at most ``n`` dates in temporal order, preferring dates that are not wholly masked."""
    total = len(modality.times)
    usable = np.arange(total)
    if modality.mask is not None and total > 1:
        share = np.asarray(modality.mask.mean(("y", "x")))
        clear = np.flatnonzero(share < 0.5)
        usable = clear if len(clear) else np.array([int(share.argmin())])
    return np.sort(rng.permutation(usable)[:n])
