"""Prediction sets: all classes a place may have, such that the true one is among them nine times in ten.

Probabilities in, sets out; no map, no folds and no model here. Which labels were held out is decided in ``cv.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from georeset_lab.errors import InvalidOption, ShapeMismatch

__all__ = ["ALPHA", "SetRule", "check_alpha", "coverage", "fit_sets", "labels_needed", "set_note"]

ALPHA = 0.1
"""Share of places whose true class may be missing from their set."""


@dataclass(frozen=True, eq=False)
class SetRule:
    """What a class must score to be in a set.

    Examples
    --------
    >>> rule = SetRule(np.array([0.7, 0.7]), alpha=0.1, by_class=False, n=20)
    >>> rule.sets(np.array([[0.9, 0.1], [0.6, 0.4]])).tolist()
    [[True, False], [True, True]]
    """

    limits: np.ndarray
    """(K,) float64: class k is in the set if 1 - p_k is not above limit k."""
    alpha: float
    """Share of places whose true class may be missing."""
    by_class: bool
    """True if every class has a limit of its own, which holds for that class alone; False if one holds for all together."""
    n: int
    """Held-out labels the limits come from."""

    def sets(self, proba: np.ndarray) -> np.ndarray:
        """Sets (n, K) bool of probabilities (n, K); the most probable class is always in, so none is empty."""
        inside = 1 - proba <= self.limits.astype(proba.dtype)
        inside[np.arange(proba.shape[0]), proba.argmax(axis=1)] = True
        return inside


def fit_sets(proba: np.ndarray, y: np.ndarray, *, alpha: float = ALPHA) -> SetRule | None:
    """Limits from labels on held-out ground: one for each class where all have `labels_needed` of them, else one for all.

    Parameters
    ----------
    proba : (n, K) float
        Probabilities of the labelled places, each from a fit that saw nothing of its block.
    y : (n,) int
        Their classes.
    alpha : float
        Share of places whose true class may be missing.

    Returns
    -------
    SetRule or None
        None if there are too few labels in all.

    Raises
    ------
    InvalidOption
        ``alpha`` is not between 0 and 1.
    ShapeMismatch
        The arrays disagree.

    Notes
    -----
    The score of a label is 1 - p of its class (LAC: Sadinle, Lei and Wasserman 2019), the limit the
    ceil((n + 1)(1 - alpha))-th smallest score. Scores of all folds are pooled and the sets are those of the probe fitted
    on all labels. CV+ (Barber et al. 2021) would keep the probes of all folds and let them vote: as many maps as folds
    for each click, for a guarantee of 1 - 2 alpha that holds for exchangeable labels only, which neighbours are not. On the
    other half of the Chile chip both covered 0.88 at 10 clicks per class and 0.89 at 20, with sets of the same size. So
    we pool, hold out whole blocks, and measure: ``coverage`` in `Probe.report` is from nested folds.

    Labels that are clicked one class at a time say nothing on how common a class is, so one limit for all holds for
    places as common as the clicks; a limit for each class holds for whatever mixture of classes a place has.
    """
    check_alpha(alpha)
    if proba.ndim != 2 or y.shape != proba.shape[:1]:
        raise ShapeMismatch(f"proba has shape {proba.shape} and y {y.shape}; they must be (n, K) and (n,).")
    if y.size < labels_needed(alpha):
        return None
    k = proba.shape[1]
    scores = 1 - proba[np.arange(y.size), y]
    if np.bincount(y, minlength=k).min() < labels_needed(alpha):
        return SetRule(np.full(k, _limit(scores, alpha)), alpha, False, y.size)
    return SetRule(np.array([_limit(scores[y == c], alpha) for c in range(k)]), alpha, True, y.size)


def set_note(rule: SetRule | None, counts: np.ndarray, classes: Sequence[str], *, alpha: float = ALPHA) -> str:
    """A sentence on what the sets hold for.

    Parameters
    ----------
    counts : (K,) int
        Labels of each class that could be held out.
    classes : sequence of str
        Their names.
    """
    needed, share = labels_needed(alpha), f"{1 - alpha:.0%}"
    if rule is None:
        return f"no prediction sets: {counts.sum()} labels could be held out, sets of {share} need {needed}"
    if rule.by_class:
        return f"prediction sets hold the true class in {share} of the places of each class"
    few = ", ".join(repr(name) for name, n in zip(classes, counts, strict=True) if n < needed)
    return (
        f"prediction sets hold the true class in {share} of all places, not of each class: {few} below {needed} labels"
    )


def coverage(sets: np.ndarray, y: np.ndarray) -> float:
    """Share of places whose true class y (n,) is in their set (n, K)."""
    return float(sets[np.arange(y.size), y].mean())


def labels_needed(alpha: float) -> int:
    """Labels without which no finite limit exists: 9 for alpha 0.1, 19 for 0.05."""
    return int(np.ceil(1 / alpha - 1e-9)) - 1


def check_alpha(alpha: float) -> None:
    """Refuse a share that is none."""
    if not 0 < alpha < 1:
        raise InvalidOption(f"alpha={alpha!r}; give the share of sets that may miss, between 0 and 1 (0.1 by default).")


def _limit(scores: np.ndarray, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest score."""
    rank = int(np.ceil((scores.size + 1) * (1 - alpha) - 1e-9))
    return float(np.partition(scores, rank - 1)[rank - 1])
