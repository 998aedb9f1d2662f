"""Scores of class probabilities: accuracy, calibration, and whether doubt is where the errors are. No folds here.

``proba`` is (N, K), rows sum to 1; ``y`` is (N,) class index 0..K-1. Where scikit-learn has the metric, it is used.
"""

from __future__ import annotations

import numpy as np

from georeset_lab.embed import risk
from georeset_lab.errors import ShapeMismatch

__all__ = ["aurc", "balanced_accuracy", "brier", "ece", "ece_interval", "macro_f1", "nll", "scores"]

BINS = 15
"""Equal-mass bins of the expected calibration error (methods.md section 7)."""

_FLOOR = 1e-12


def scores(y: np.ndarray, proba: np.ndarray) -> dict[str, float]:
    """Balanced accuracy, macro-F1, negative log-likelihood, ECE, Brier score and AURC, by name.

    Examples
    --------
    >>> sure = np.eye(3)[[0, 1, 2, 2]]
    >>> {name: round(value, 3) for name, value in scores(np.array([0, 1, 2, 2]), sure).items() if name != "nll"}
    {'balanced_accuracy': 1.0, 'macro_f1': 1.0, 'ece': 0.0, 'brier': 0.0, 'aurc': 0.0}
    """
    guess = proba.argmax(axis=1)
    return {
        "balanced_accuracy": balanced_accuracy(y, guess),
        "macro_f1": macro_f1(y, guess),
        "nll": nll(y, proba),
        "ece": ece(y, proba),
        "brier": brier(y, proba),
        "aurc": aurc(y, proba),
    }


def balanced_accuracy(y: np.ndarray, guess: np.ndarray) -> float:
    """Mean recall over the classes that occur in ``y``; 0.5 of two classes is chance."""
    from sklearn.metrics import recall_score

    return float(recall_score(y, guess, labels=np.unique(y), average="macro", zero_division=0))


def macro_f1(y: np.ndarray, guess: np.ndarray) -> float:
    """Mean F1 over the classes that occur in ``y``."""
    from sklearn.metrics import f1_score

    return float(f1_score(y, guess, labels=np.unique(y), average="macro", zero_division=0))


def nll(y: np.ndarray, proba: np.ndarray) -> float:
    """Mean negative log-likelihood in nats; a probability of 0 counts as 1e-12."""
    _check(y, proba)
    return float(-np.log(np.maximum(proba[np.arange(y.size), y], _FLOOR)).mean(dtype=np.float64))


def brier(y: np.ndarray, proba: np.ndarray) -> float:
    """Mean squared distance of the probabilities to the truth, summed over classes: 0..2 (Brier, 1950)."""
    _check(y, proba)
    miss = proba.astype(np.float64).copy()
    miss[np.arange(y.size), y] -= 1
    return float((miss**2).sum(axis=1).mean())


def ece(y: np.ndarray, proba: np.ndarray, *, bins: int = BINS) -> float:
    """Expected calibration error of the winning class, in equal-mass bins (fewer if there are fewer samples).

    Biased upwards below about 1,000 samples: a calibrated model scores above 0. Compare with `ece_interval`.

    Notes
    -----
    Naeini et al. 2015 with the adaptive bins of Nguyen and O'Connor 2015; ties are kept in sample order.
    """
    _check(y, proba)
    confidence = proba.max(axis=1).astype(np.float64)
    right = (proba.argmax(axis=1) == y).astype(np.float64)
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(bins, y.size))
    return float(sum(abs(right[p].sum() - confidence[p].sum()) for p in parts) / y.size)


def ece_interval(
    y: np.ndarray,
    proba: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    level: float = 0.95,
    draws: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of the ECE.

    Parameters
    ----------
    groups : (N,) int, optional
        Whole groups (blocks, polygons) are drawn, as pixels of one group err together.
    """
    _check(y, proba)
    return risk.bootstrap_interval(ece, y, proba, groups=groups, level=level, draws=draws, seed=seed)


def aurc(y: np.ndarray, proba: np.ndarray) -> float:
    """Area under the risk-coverage curve: mean error of the most confident share, over all shares.

    0 if nothing is wrong; the error rate itself if confidence says nothing about errors (Geifman and El-Yaniv 2017).
    Pixels of equal confidence count with their mean error, so their order does not matter.
    """
    _check(y, proba)
    return risk.aurc(proba.argmax(axis=1) != y, -proba.max(axis=1))


def _check(y: np.ndarray, proba: np.ndarray) -> None:
    if proba.ndim != 2 or y.shape != proba.shape[:1] or not y.size:
        raise ShapeMismatch(f"y has shape {y.shape} and proba {proba.shape}; they must be (N,) and (N, K) with N >= 1.")
    if y.min() < 0 or y.max() >= proba.shape[1]:
        raise ShapeMismatch(f"y has codes {y.min()} to {y.max()}, proba has classes 0 to {proba.shape[1] - 1}.")
