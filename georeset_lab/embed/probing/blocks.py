"""Folds that keep neighbours together: ground blocks, checkerboards, polygons. No model and no metric here.

Neighbouring pixels are nearly copies of each other, so a random split of pixels tests memory. A *unit* is what must
never be in both halves: a ground block, or the block in which a hand-drawn point or polygon lies.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.points import is_points
from georeset_lab.embed.encoding.tiles import PIXELS_PER_CELL, is_rotated, pixel_m
from georeset_lab.errors import InvalidOption

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from georeset_lab.data.labels import LabelSet

__all__ = ["Folds", "block_ids", "checkerboard", "leave_blocks_out", "make_folds", "units_of"]

BLOCKS_ACROSS = 8
"""Blocks along the longer side of the labelled ground, to begin with."""


@dataclass(frozen=True)
class Folds:
    """Which labelled pixels are tested together."""

    fold: np.ndarray
    """(n,) int64: fold of each labelled pixel; -1 = always in training, never tested."""
    units: np.ndarray
    """(n,) int64: what was kept together."""
    notes: tuple[str, ...]
    """What was done where the labels did not allow the plain rule; empty if they did."""

    @property
    def n(self) -> int:
        """Number of folds; 0 if nothing can be tested."""
        return int(self.fold.max(initial=-1)) + 1

    def splits(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(training, test) positions of each fold, as scikit-learn's ``cv=`` takes them."""
        return [(np.flatnonzero(self.fold != f), np.flatnonzero(self.fold == f)) for f in range(self.n)]


def block_ids(grid: GeoBox, block_m: float) -> np.ndarray:
    """Number of the ground block that holds each pixel.

    Parameters
    ----------
    block_m : float
        Side of a block in metres. Blocks begin at multiples of it in the CRS, so a crop keeps them.

    Returns
    -------
    numpy.ndarray, shape (Y, X), int64
        Consecutive from 0, row by row.
    """
    if is_points(grid):
        return grid.block_ids(_checked(block_m))
    rows, cols = _block_axes(grid, block_m)
    return rows[:, None] * (int(cols.max()) + 1) + cols[None, :]


def checkerboard(grid: GeoBox, block_m: float) -> np.ndarray:
    """Two folds like the squares of a chess board, shape (Y, X), int64 of 0 and 1; the top left block is 0."""
    rows, cols = _block_axes(grid, block_m)
    return (rows[:, None] + cols[None, :]) % 2


def leave_blocks_out(units: np.ndarray, y: np.ndarray, n_folds: int, *, seed: int = 0) -> np.ndarray:
    """Fold of each sample, whole units together, classes as even over the folds as they can be.

    Parameters
    ----------
    units, y : (n,) int
        Unit and class of each sample.
    n_folds : int
        At least 2; at most the number of units, and of samples of the commonest class.

    Returns
    -------
    numpy.ndarray, shape (n,), int64

    Notes
    -----
    scikit-learn's ``StratifiedGroupKFold`` with shuffled units.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    most = _most_folds(units, y)
    if not 2 <= n_folds <= most:
        raise InvalidOption(f"{n_folds} folds of {np.unique(units).size} units: these labels allow 2 to {most} folds.")
    out = np.empty(y.size, np.int64)
    # A class with fewer units than folds is missing from some; scikit-learn warns, make_folds has chosen it so.
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for fold, (_, test) in enumerate(splitter.split(np.zeros(y.size), y, units)):
            out[test] = fold
    return out


def units_of(labels: LabelSet, pixels: np.ndarray, block_m: float) -> np.ndarray:
    """Unit of each labelled pixel: its block, or the block that holds most of its point or polygon.

    Parameters
    ----------
    pixels : (n,) int, flat indices of the grid.
    """
    block = block_ids(labels.grid, block_m).ravel()[pixels]
    group = labels.groups.ravel()[pixels]
    if not (group >= 0).any():
        return block
    # A polygon across a block edge goes whole to one side.
    _, inverse = np.unique(group, return_inverse=True)
    pair, counts = np.unique(np.stack([inverse.ravel(), block]), axis=1, return_counts=True)
    order = np.lexsort((pair[1], -counts, pair[0]))
    first = np.unique(pair[0][order], return_index=True)[1]
    return pair[1][order][first][inverse.ravel()]


def make_folds(
    labels: LabelSet,
    pixels: np.ndarray,
    y: np.ndarray,
    *,
    n_folds: int = 5,
    block_m: float | None = None,
    seed: int = 0,
) -> Folds:
    """Folds by ground block for labelled pixels, with stated rules for few labels.

    1. Blocks begin at 1/8 of the labelled extent and are halved, down to one cell, until each class lies in two.
    2. A class with a single polygon has that polygon cut into blocks of one cell: better than no score, but too good.
    3. There are as many folds as asked for, or fewer, such that every class tested in a fold is also trained on in it.
    4. A class that lies in one unit even so is always in training and never tested; with fewer than two classes left to
       test there are no folds.

    Parameters
    ----------
    pixels : (n,) int
        Flat indices of the labelled pixels that are used.
    y : (n,) int
        Their classes.
    n_folds : int
        Upper limit.
    block_m : float, optional
        Side of a block in metres; with it, rule 1 is off.
    """
    side, units = _choose_units(labels, pixels, y, block_m)
    notes = [f"tested in ground blocks of {side:.0f} m"]
    cell = PIXELS_PER_CELL * pixel_m(labels.grid)
    for c in _single(units, y):
        pieces = block_ids(labels.grid, cell).ravel()[pixels[y == c]]
        if np.unique(pieces).size >= 2:
            units[y == c] = pieces + int(units.max()) + 1
            notes.append(
                f"{labels.classes[c]!r} has one polygon, cut into {cell:.0f} m blocks: its scores are too good"
            )
    lonely = _single(units, y)
    sizes = [np.unique(units[y == c]).size for c in np.unique(y) if c not in lonely]
    fold = np.full(y.size, -1, np.int64)
    if lonely:
        names = ", ".join(repr(labels.classes[c]) for c in lonely)
        notes.append(f"{names} in one block only: always in training, never tested; label a second place")
    if len(sizes) < 2:
        return Folds(fold, units, (*notes, "fewer than two classes lie in two blocks: nothing can be tested by place"))
    use = ~np.isin(y, lonely)
    fold[use] = _deal(units[use], y[use], n_folds, seed)
    n = int(fold.max()) + 1
    if n < n_folds:
        notes.append(f"{n} folds instead of {n_folds}: the scarcest class lies in {min(sizes)} blocks")
    return Folds(fold, units, tuple(notes))


def _most_folds(units: np.ndarray, y: np.ndarray) -> int:
    return int(min(np.unique(units).size, np.unique(y, return_counts=True)[1].max()))


def _deal(units: np.ndarray, y: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Folds in which no class lies in one fold only; as many as possible. Each class has two units or more."""
    for n in range(min(n_folds, _most_folds(units, y)), 1, -1):
        fold = leave_blocks_out(units, y, n, seed=seed)
        if n == 2 or all(np.unique(fold[y == c]).size >= 2 for c in np.unique(y)):
            break
    return fold


def _choose_units(
    labels: LabelSet, pixels: np.ndarray, y: np.ndarray, block_m: float | None
) -> tuple[float, np.ndarray]:
    if block_m is not None:
        return block_m, units_of(labels, pixels, block_m)
    cell = PIXELS_PER_CELL * pixel_m(labels.grid)
    extent = _extent(labels.grid, pixels)
    hopeless = _single(units_of(labels, pixels, cell), y)
    cells = max(extent // (BLOCKS_ACROSS * PIXELS_PER_CELL), 1)
    while True:
        units = units_of(labels, pixels, cells * cell)
        if cells == 1 or set(_single(units, y)) <= set(hopeless):
            return cells * cell, units
        cells //= 2


def _single(units: np.ndarray, y: np.ndarray) -> list[int]:
    """Classes that lie in one unit."""
    return [int(c) for c in np.unique(y) if np.unique(units[y == c]).size < 2]


def _checked(block_m: float) -> float:
    if not block_m > 0:
        raise InvalidOption(f"block_m={block_m!r}; give the side of a block in metres, above zero.")
    return block_m


def _extent(grid: GeoBox, pixels: np.ndarray) -> int:
    """Longer side of the ground that holds some pixels, in pixels."""
    if is_points(grid):
        return int(np.ptp(grid.metres[pixels], axis=0).max() / grid.support_m) + 1
    rows, cols = np.divmod(pixels, grid.shape[1])
    return max(int(np.ptp(rows)), int(np.ptp(cols))) + 1


def _block_axes(grid: GeoBox, block_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Row block of each row and column block of each column, from 0."""
    _checked(block_m)
    if is_rotated(grid):
        step = max(round(block_m / pixel_m(grid)), 1)
        return np.arange(grid.shape[0]) // step, np.arange(grid.shape[1]) // step
    a = grid.affine
    y = np.floor((a.f + a.e * (np.arange(grid.shape[0]) + 0.5)) / block_m) * np.sign(a.e)
    x = np.floor((a.c + a.a * (np.arange(grid.shape[1]) + 0.5)) / block_m) * np.sign(a.a)
    return (y - y.min()).astype(np.int64), (x - x.min()).astype(np.int64)
