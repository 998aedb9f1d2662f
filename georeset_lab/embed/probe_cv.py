"""What held-out places say about a probe: its penalty, temperature and scores. Folds come from ``blocks.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from georeset_lab.embed.metrics import scores
from georeset_lab.embed.probe_fit import PENALTIES, LinearFit, fit_path, fit_temperature, softmax

__all__ = ["CrossFit", "Features", "cross_fit"]

UNTESTED_PENALTY = 0.1
"""C where nothing can be held out: stronger than scikit-learn's 1, which over-fits 5 labels in 64 dimensions."""

METRICS = ("balanced_accuracy", "macro_f1", "nll", "ece", "brier", "aurc")


@dataclass(frozen=True)
class Features:
    """What a probe is fitted on: labelled samples, and how to standardise them."""

    x: np.ndarray
    """(n, D) float64."""
    variance: np.ndarray | None
    """(n, D): variance of each number, None if it has none."""
    center: np.ndarray
    """(D,)."""
    scale: np.ndarray
    """(D,), above 0."""

    @classmethod
    def of(cls, x: np.ndarray, variance: np.ndarray | None = None, background: np.ndarray | None = None) -> Features:
        """Standardised by the ``background`` (m, D), unlabelled pixels of the scene, or else by the samples.

        A few labels say little about the spread of a dimension, and can agree in it by chance.
        """
        x = np.asarray(x, np.float64)
        source = x if background is None else np.asarray(background, np.float64)
        spread = source.std(axis=0)
        usual = float(np.median(spread)) if spread.any() else 1.0
        scale = np.where(spread > 1e-3 * usual, spread, max(usual, 1e-12))
        return cls(x, None if variance is None else np.asarray(variance, np.float64), source.mean(axis=0), scale)

    def take(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Samples and their variances."""
        return self.x[index], None if self.variance is None else self.variance[index]


@dataclass(frozen=True)
class CrossFit:
    """Result of `cross_fit`."""

    penalty: float
    """C with the least held-out log loss; `UNTESTED_PENALTY` without folds."""
    temperature: float
    """From all held-out predictions with that C; 1 without folds."""
    fold_scores: dict[str, np.ndarray]
    """Metric -> (n_folds,) float64. For each fold, C and temperature were chosen on the other folds."""


def cross_fit(
    features: Features,
    y: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    n_classes: int,
    penalties: Sequence[float] = PENALTIES,
) -> CrossFit:
    """Choose C and temperature by held-out log loss, and score each fold with what the other folds would choose."""
    if not splits:
        penalty = penalties[0] if len(penalties) == 1 else UNTESTED_PENALTY
        return CrossFit(penalty, 1.0, {})
    standard = {"center": features.center, "scale": features.scale}
    fits = [fit_path(features.x[t], y[t], penalties, n_classes=n_classes, **standard) for t, _ in splits]
    loss = np.array(
        [[_log_loss(fit, features, y, test) for fit in row] for row, (_, test) in zip(fits, splits, strict=True)]
    )
    best = _argmin(loss.sum(axis=0))
    logits: dict[tuple[int, int], np.ndarray] = {}

    def held_out(fold: int, choice: int) -> np.ndarray:
        if (fold, choice) not in logits:
            train, test = splits[fold]
            logits[fold, choice] = fits[fold][choice].with_spread(features.x[train]).moderated(*features.take(test))
        return logits[fold, choice]

    truth = [y[test] for _, test in splits]
    results = []
    for fold in range(len(splits)):
        others = [f for f in range(len(splits)) if f != fold]
        choice = _argmin(loss[others].sum(axis=0))
        pooled = np.concatenate([held_out(f, choice) for f in others])
        temperature = fit_temperature(pooled, np.concatenate([truth[f] for f in others]))
        results.append(scores(truth[fold], softmax(held_out(fold, choice) / temperature)))
    pooled = np.concatenate([held_out(f, best) for f in range(len(splits))])
    return CrossFit(
        penalty=float(penalties[best]),
        temperature=fit_temperature(pooled, np.concatenate(truth)),
        fold_scores={name: np.array([r[name] for r in results]) for name in METRICS},
    )


def _log_loss(fit: LinearFit, features: Features, y: np.ndarray, test: np.ndarray) -> float:
    proba = softmax(fit.logits(features.x[test]))[np.arange(test.size), y[test]]
    return float(-np.log(np.maximum(proba, 1e-12)).sum())


def _argmin(losses: np.ndarray) -> int:
    """The first, strongest penalty among equals."""
    return int(np.argmin(np.round(losses, 9)))
