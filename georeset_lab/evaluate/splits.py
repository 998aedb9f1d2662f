"""Who may teach and who is tested: spatial groups, sides, label draws. No features and no models here.

A *group* is what must never be in both halves of anything: a ground block, a hand polygon, or an upstream tile.
Pixels outside the task have group -1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from georeset_lab.errors import LabelError, ShapeMismatch

TRAIN, TEST = 0, 1


@dataclass(frozen=True)
class Draw:
    """One set of training labels; every row of a table gets the same ones."""

    per_class: int
    index: int
    """Number of the draw, from 0; the draws of one index are nested: 10 labels contain the 5."""
    pixels: np.ndarray
    """Flat pixel indices, shape (per_class * K,), int64."""
    y: np.ndarray
    """Class index 0..K-1 of each pixel."""
    folds: np.ndarray
    """Fold of each pixel for choosing the penalty; a group never spans two folds."""


@dataclass(frozen=True)
class Split:
    """Sides, classes, test pixels and label draws of one task."""

    classes: tuple[str, ...]
    side: np.ndarray
    """(Y, X) int8: 0 teaches, 1 is tested, -1 outside both."""
    test_pixels: np.ndarray
    test_y: np.ndarray
    draws: tuple[Draw, ...]
    counts: tuple[tuple[int, int], ...]
    """For each class, labelled pixels on the training and on the test side."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Labels per class, ascending."""
        return tuple(sorted({d.per_class for d in self.draws}))


def block_ids(shape: tuple[int, int], block_px: int) -> np.ndarray:
    """Number each pixel's square block, counted from the top left corner.

    Parameters
    ----------
    shape : (Y, X) in pixels.
    block_px : side of a block in pixels.

    Returns
    -------
    numpy.ndarray, shape (Y, X), int64
    """
    rows, cols = np.indices(shape) // block_px
    return np.asarray(rows * (shape[1] // block_px + 1) + cols, dtype=np.int64)


def checkerboard(shape: tuple[int, int], block_px: int) -> np.ndarray:
    """Sides of a checkerboard of square blocks; the top left block teaches.

    Returns
    -------
    numpy.ndarray, shape (Y, X), int8, 0 (train) or 1 (test)
    """
    rows, cols = np.indices(shape) // block_px
    return ((rows + cols) % 2).astype(np.int8)


def alternate_groups(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sides for hand polygons: of each class, largest first, they teach and are tested in turn.

    Parameters
    ----------
    labels : (Y, X) int, 0 where unlabelled.
    groups : (Y, X) int, polygon number, -1 where there is none.

    Returns
    -------
    numpy.ndarray, shape (Y, X), int8: 0, 1, or -1 outside all polygons. Both sides have whole polygons of every class.
    """
    side = np.full(labels.shape, -1, dtype=np.int8)
    for code in np.unique(labels[labels > 0]):
        ids, sizes = np.unique(groups[(labels == code) & (groups >= 0)], return_counts=True)
        order = np.lexsort((ids, -sizes))
        for turn, group in enumerate(ids[order]):
            side[groups == group] = turn % 2
    return side


def eligible_classes(labels: np.ndarray, groups: np.ndarray, *, min_pixels: int, min_groups: int) -> list[int]:
    """Codes that have at least `min_pixels` labelled pixels spread over at least `min_groups` groups.

    Examples
    --------
    >>> eligible_classes(np.array([[1, 1, 2]]), np.array([[0, 1, 1]]), min_pixels=2, min_groups=2)
    [1]
    """
    keep = []
    for code in np.unique(labels[(labels > 0) & (groups >= 0)]):
        inside = groups[(labels == code) & (groups >= 0)]
        if inside.size >= min_pixels and np.unique(inside).size >= min_groups:
            keep.append(int(code))
    return keep


def make_split(
    labels: np.ndarray,
    groups: np.ndarray,
    side: np.ndarray,
    classes: dict[int, str],
    *,
    sizes: Sequence[int] = (5, 10, 20, 50),
    n_draws: int = 20,
    seed: int = 0,
    max_test: int = 4000,
) -> Split:
    """Draw training labels and test pixels once, for all rows of a table.

    Parameters
    ----------
    labels, groups, side : (Y, X) int
        Class code (0 = none), group (-1 = none), side (0 train, 1 test, -1 none).
    classes : dict
        Names of the codes that take part.
    sizes : labels per class.
    n_draws, seed : how many draws, and their seed.
    max_test : the test pixels are a seeded sample of at most ``max_test / K`` of each class.

    Raises
    ------
    ShapeMismatch
        The three maps differ in shape.
    LabelError
        Fewer than two classes, or a class too small on one side for the largest size.
    """
    if not labels.shape == groups.shape == side.shape:
        raise ShapeMismatch(
            f"labels {labels.shape}, groups {groups.shape} and side {side.shape} must have one shape (Y, X)."
        )
    if len(classes) < 2:
        raise LabelError(f"A task needs two classes or more, got {sorted(classes.values())}; lower the class floor.")
    rng = np.random.default_rng([seed, 1])
    flat, flat_side, flat_groups = labels.ravel(), side.ravel(), groups.ravel()
    pools = [np.flatnonzero((flat == c) & (flat_side == TRAIN) & (flat_groups >= 0)) for c in classes]
    tests = [np.flatnonzero((flat == c) & (flat_side == TEST) & (flat_groups >= 0)) for c in classes]
    for name, pool, test in zip(classes.values(), pools, tests, strict=True):
        if pool.size < max(sizes) or test.size == 0:
            raise LabelError(
                f"Class {name!r} has {pool.size} training and {test.size} test pixels; "
                f"{max(sizes)} labels per class and one test pixel are needed. Lower sizes= or leave the class out."
            )
    cap = max(1, max_test // len(classes))
    picked = [np.sort(rng.choice(t, min(cap, t.size), replace=False)) for t in tests]
    draws = []
    for index in range(n_draws):
        orders = [np.random.default_rng([seed, 2, index, k]).permutation(pool) for k, pool in enumerate(pools)]
        for n in sorted(sizes):
            pixels = np.concatenate([order[:n] for order in orders])
            y = np.repeat(np.arange(len(classes)), n)
            draws.append(Draw(n, index, pixels, y, group_folds(y, flat_groups[pixels])))
    return Split(
        classes=tuple(classes.values()),
        side=side,
        test_pixels=np.concatenate(picked),
        test_y=np.repeat(np.arange(len(classes)), [p.size for p in picked]),
        draws=tuple(draws),
        counts=tuple((p.size, t.size) for p, t in zip(pools, tests, strict=True)),
    )


def group_folds(y: np.ndarray, groups: np.ndarray, *, n_folds: int = 5) -> np.ndarray:
    """Deal whole groups into folds so that the classes stay as even as they can.

    Parameters
    ----------
    y, groups : shape (N,), class index and group of each label.
    n_folds : upper limit; fewer where there are fewer groups. A class with fewer groups is held out in some folds only.

    Returns
    -------
    numpy.ndarray, shape (N,), int64
        Largest group first, each to the fold where it adds least to the sum of squared class counts.
    """
    ids, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((ids.size, int(y.max()) + 1))
    np.add.at(counts, (group, y), 1)
    n = max(2, min(n_folds, ids.size))
    held = np.zeros((n, counts.shape[1]))
    fold_of = np.zeros(ids.size, dtype=np.int64)
    for g in np.argsort(-counts.sum(axis=1), kind="stable"):
        cost = (2 * held * counts[g]).sum(axis=1) + 1e-6 * held.sum(axis=1)
        fold_of[g] = int(np.argmin(cost))
        held[fold_of[g]] += counts[g]
    return fold_of[group.ravel()]
