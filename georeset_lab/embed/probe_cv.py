"""What held-out places say about a probe: its penalty, temperature and scores. Folds come from ``blocks.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from georeset_lab.embed.metrics import scores
from georeset_lab.embed.probe_fit import PENALTIES, LinearFit, fit_path, fit_temperature, shrinkage, softmax

__all__ = ["CrossFit", "Features", "cross_fit", "usual_temperature"]

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
    temperature: float | None
    """Of the moderated logits, from all held-out predictions with that C; None without folds."""
    plain_temperature: float
    """Of the logits of plain logistic regression; 1 without folds."""
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
        return CrossFit(penalties[0] if len(penalties) == 1 else UNTESTED_PENALTY, None, 1.0, {})
    held = _HeldOut(features, y, splits, n_classes, penalties)
    everything = list(range(len(splits)))
    results = []
    for fold in everything:
        others = [f for f in everything if f != fold]
        choice = held.best(others)
        logits = held.moderated(fold, choice)
        results.append(scores(held.truth([fold]), softmax(logits / held.temperature(others, choice))))
    best = held.best(everything)
    plain = np.concatenate([held.fits[f][best].logits(features.x[test]) for f, (_, test) in enumerate(splits)])
    return CrossFit(
        penalty=float(penalties[best]),
        temperature=held.temperature(everything, best),
        plain_temperature=fit_temperature(plain, held.truth(everything)),
        fold_scores={name: np.array([r[name] for r in results]) for name in METRICS},
    )


def usual_temperature(fit: LinearFit, variance: np.ndarray | None) -> float:
    """Temperature that undoes the shrinkage a typical input variance causes.

    A probe is fitted on means that are as noisy as those it will meet, so its plain logits already allow for the usual
    noise; only pixels that are surer or less sure than usual should be told apart. Before any held-out label has spoken,
    this is what to expect.
    """
    return 1.0 if variance is None else float(np.median(shrinkage(fit.input_variance(variance))))


class _HeldOut:
    """Fits of every fold and penalty, and what they say about the samples they have not seen."""

    def __init__(
        self,
        features: Features,
        y: np.ndarray,
        splits: Sequence[tuple[np.ndarray, np.ndarray]],
        n_classes: int,
        penalties: Sequence[float],
    ) -> None:
        self.features, self.y, self.splits = features, y, splits
        standard = {"center": features.center, "scale": features.scale}
        self.fits = [fit_path(features.x[t], y[t], penalties, n_classes=n_classes, **standard) for t, _ in splits]
        rows = zip(self.fits, splits, strict=True)
        self.loss = np.array([[_log_loss(fit, features, y, test) for fit in row] for row, (_, test) in rows])
        self._logits: dict[tuple[int, int], np.ndarray] = {}

    def truth(self, folds: Sequence[int]) -> np.ndarray:
        return np.concatenate([self.y[self.splits[f][1]] for f in folds])

    def best(self, folds: Sequence[int]) -> int:
        """Penalty with the least loss over the folds; the first, strongest one among equals."""
        return int(np.argmin(np.round(self.loss[folds].sum(axis=0), 9)))

    def moderated(self, fold: int, choice: int) -> np.ndarray:
        if (fold, choice) not in self._logits:
            train, test = self.splits[fold]
            fit = self.fits[fold][choice].with_spread(self.features.x[train])
            self._logits[fold, choice] = fit.moderated(*self.features.take(test))
        return self._logits[fold, choice]

    def temperature(self, folds: Sequence[int], choice: int) -> float:
        logits = np.concatenate([self.moderated(f, choice) for f in folds])
        usual = usual_temperature(self.fits[folds[0]][choice], self.features.variance)
        return fit_temperature(logits, self.truth(folds), usual=usual)


def _log_loss(fit: LinearFit, features: Features, y: np.ndarray, test: np.ndarray) -> float:
    proba = softmax(fit.logits(features.x[test]))[np.arange(test.size), y[test]]
    return float(-np.log(np.maximum(proba, 1e-12)).sum())
