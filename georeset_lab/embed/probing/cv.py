"""What held-out places say about a probe: penalty, temperature, prediction sets, scores. Folds come from ``blocks.py``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from georeset_lab.embed.probing.conformal import ALPHA, SetRule, coverage, fit_sets
from georeset_lab.embed.probing.fit import (
    PENALTIES,
    LinearFit,
    fit_linear,
    fit_path,
    fit_temperature,
    shrinkage,
    softmax,
)
from georeset_lab.embed.probing.metrics import scores
from georeset_lab.embed.probing.one_thread import one_blas_thread

__all__ = ["CrossFit", "Features", "cross_fit", "usual_temperature"]

UNTESTED_PENALTY = 0.1
"""C where nothing can be held out: stronger than scikit-learn's 1, which over-fits 5 labels in 64 dimensions."""

LOOK_WEIGHT = 0.2
"""What a labelled pixel counts as a single sensor sees it, beside 1 for all together. At 5 to 50 labels per class (Chile and
Denmark of terramind-chips, default weights, C = 0.1) 1 cost 0.7 to 2.4 points of balanced accuracy on the fused map; 0.2
costs 0 to 0.9, and keeps half to nine tenths of what looks gain on Sentinel-1 alone (Chile, 10 labels: .22 without looks,
.33 with 0.2, .40 with 1)."""

METRICS = ("balanced_accuracy", "macro_f1", "nll", "ece", "brier", "aurc", "coverage", "set_size")


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
    partial: tuple[np.ndarray, ...] = ()
    """The same samples as each sensor alone sees them, each (n, D): fitted on, never scored."""

    @classmethod
    def of(
        cls,
        x: np.ndarray,
        variance: np.ndarray | None = None,
        background: np.ndarray | None = None,
        *,
        partial: Iterable[np.ndarray] = (),
    ) -> Features:
        """Standardised by the ``background`` (m, D), unlabelled pixels of the scene, or else by the samples.

        A few labels say little about the spread of a dimension, and can agree in it by chance.
        """
        x = np.asarray(x, np.float64)
        source = x if background is None else np.asarray(background, np.float64)
        spread = source.std(axis=0)
        usual = float(np.median(spread)) if spread.any() else 1.0
        scale = np.where(spread > 1e-3 * usual, spread, max(usual, 1e-12))
        known = None if variance is None else np.asarray(variance, np.float64)
        return cls(x, known, source.mean(axis=0), scale, tuple(np.asarray(p, np.float64) for p in partial))

    def fitted_on(
        self, y: np.ndarray, index: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Samples (all, or some), their classes and weights (None: 1), then the same as each sensor alone sees them."""
        part = slice(None) if index is None else index
        looks = [z[part] for z in (self.x, *self.partial)]
        weight = None
        if self.partial:
            weight = np.repeat([1.0] + [LOOK_WEIGHT] * len(self.partial), looks[0].shape[0])
        return np.concatenate(looks), np.tile(y[part], len(looks)), weight

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
    """Metric -> (n_folds,) float64. For each fold, C and temperature were chosen on the other folds.

    ``coverage`` and ``set_size`` (mean number of classes in a set) go further: limits and temperature come from fits that
    saw nothing of the fold, each held out once more. NaN with fewer than three folds, or too few labels for sets.
    """
    sets: SetRule | None
    """Limits of the prediction sets, from all held-out predictions; None if these are too few."""
    tested: np.ndarray
    """(K,) int: held-out labels of each class."""


@one_blas_thread()
def cross_fit(
    features: Features,
    y: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    n_classes: int,
    penalties: Sequence[float] = PENALTIES,
    alpha: float = ALPHA,
) -> CrossFit:
    """Choose C and temperature by held-out log loss, and score each fold with what the other folds would choose."""
    if not splits:
        untested = penalties[0] if len(penalties) == 1 else UNTESTED_PENALTY
        return CrossFit(untested, None, 1.0, {}, None, np.zeros(n_classes, np.int64))
    held = _HeldOut(features, y, splits, n_classes, penalties)
    everything = list(range(len(splits)))
    results = []
    for fold in everything:
        others = [f for f in everything if f != fold]
        choice = held.best(others)
        logits = held.moderated(fold, choice)
        found = scores(held.truth([fold]), softmax(logits / held.temperature(others, choice)))
        results.append(found | held.set_scores(fold, choice, alpha))
    best, truth = held.best(everything), held.truth(everything)
    temperature = held.temperature(everything, best)
    logits = np.concatenate([held.moderated(f, best) for f in everything])
    plain = np.concatenate([held.fits[f][best].logits(features.x[test]) for f, (_, test) in enumerate(splits)])
    return CrossFit(
        penalty=float(penalties[best]),
        temperature=temperature,
        plain_temperature=fit_temperature(plain, truth),
        fold_scores={name: np.array([r[name] for r in results]) for name in METRICS},
        sets=fit_sets(softmax(logits / temperature), truth, alpha=alpha),
        tested=np.bincount(truth, minlength=n_classes),
    )


def usual_temperature(fit: LinearFit, variance: np.ndarray | None) -> float:
    """Temperature that undoes the shrinkage a typical input variance causes.

    A probe is fitted on means that are as noisy as those it will meet, so its plain logits already allow for the usual
    noise; only pixels that are surer or less sure than usual should be told apart. Before any held-out label has spoken,
    this is what to expect.
    """
    return 1.0 if variance is None else float(np.median(shrinkage(fit.input_gap(variance))))


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
        self.features, self.y, self.splits, self.penalties = features, y, splits, penalties
        self.how: dict[str, Any] = {"n_classes": n_classes, "center": features.center, "scale": features.scale}
        self.fits = [fit_path(*features.fitted_on(y, t), penalties=penalties, **self.how) for t, _ in splits]
        rows = zip(self.fits, splits, strict=True)
        self.loss = np.array([[_log_loss(fit, features, y, test) for fit in row] for row, (_, test) in rows])
        self._logits: dict[tuple[int, int], np.ndarray] = {}
        self._pairs: dict[tuple[int, int, int], LinearFit] = {}

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

    def set_scores(self, fold: int, choice: int, alpha: float) -> dict[str, float]:
        """Coverage and mean size of the sets on a fold, from a probe, limits and temperature that know nothing of it."""
        nothing = {"coverage": np.nan, "set_size": np.nan}
        others = [f for f in range(len(self.splits)) if f != fold]
        if len(others) < 2:
            return nothing
        fits = [self._without(fold, f, choice) for f in others]
        tests = [self.splits[f][1] for f in others]
        logits = np.concatenate([fit.moderated(*self.features.take(t)) for fit, t in zip(fits, tests, strict=True)])
        usual, truth = usual_temperature(fits[0], self.features.variance), self.truth(others)
        temperature = fit_temperature(logits, truth, usual=usual)
        rule = fit_sets(softmax(logits / temperature), truth, alpha=alpha)
        if rule is None:
            return nothing
        sets = rule.sets(softmax(self.moderated(fold, choice) / temperature))
        return {"coverage": coverage(sets, self.truth([fold])), "set_size": float(sets.sum(axis=1).mean())}

    def _without(self, a: int, b: int, choice: int) -> LinearFit:
        """Fit that saw neither of two folds."""
        key = (min(a, b), max(a, b), choice)
        if key not in self._pairs:
            train = np.intersect1d(self.splits[a][0], self.splits[b][0])
            fit = fit_linear(*self.features.fitted_on(self.y, train), penalty=self.penalties[choice], **self.how)
            self._pairs[key] = fit.with_spread(self.features.x[train])
        return self._pairs[key]


def _log_loss(fit: LinearFit, features: Features, y: np.ndarray, test: np.ndarray) -> float:
    proba = softmax(fit.logits(features.x[test]))[np.arange(test.size), y[test]]
    return float(-np.log(np.maximum(proba, 1e-12)).sum())
