"""The probe of every table: L2 logistic regression whose penalty is chosen by grouped cross-validation.

Objective and meaning of C are those of scikit-learn: ``C * sum(log loss) + |W|^2 / 2``, free intercept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from georeset_lab.errors import ShapeMismatch
from georeset_lab.evaluate.solver import solve_logistic
from georeset_lab.evaluate.splits import TRAIN, Split

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
"""Values of C, weak data term to strong."""

_BATCH = 10
"""Draws that are fitted in one batch: more of them spill out of the processor's cache."""

_PATIENCE = 2
"""Penalties in a row without a better held-out loss after which larger C are not tried."""


@dataclass(frozen=True)
class Scores:
    """Balanced accuracy of one row on one task."""

    sizes: tuple[int, ...]
    balanced_accuracy: np.ndarray
    """(sizes, draws) float64."""
    chosen_c: np.ndarray
    """(sizes, draws) float64, the penalty of each fit."""
    n_features: int


def score_features(features: np.ndarray, split: Split, *, penalties: Sequence[float] = PENALTIES) -> Scores:
    """Balanced accuracy of the probe on each label draw of a split.

    Parameters
    ----------
    features : (Y, X, F) float
        NaN = missing; it becomes the mean of the training side.
    split : Split
        Whose side map has the shape (Y, X).
    penalties : values of C to choose from.

    Raises
    ------
    ShapeMismatch
        Features and split are on different grids.
    """
    if features.shape[:2] != split.side.shape or features.ndim != 3:
        raise ShapeMismatch(
            f"Features have shape {features.shape}; this task needs (Y, X, F) with (Y, X) = {split.side.shape}."
        )
    x = standardise(features, split.side == TRAIN)
    test = x[split.test_pixels]
    sizes, n_draws = split.sizes, 1 + max(d.index for d in split.draws)
    score, chosen = np.zeros((len(sizes), n_draws)), np.zeros((len(sizes), n_draws))
    for row, size in enumerate(sizes):
        draws = [d for d in split.draws if d.per_class == size]
        for lo in range(0, len(draws), _BATCH):
            part = draws[lo : lo + _BATCH]
            c, coef, intercept = fit_penalised(
                x[np.stack([d.pixels for d in part])], part[0].y, np.stack([d.folds for d in part]), penalties
            )
            for draw, *fit in zip(part, c, coef.astype(np.float32), intercept.astype(np.float32), strict=True):
                guess = np.argmax(test @ fit[1] + fit[2], axis=1)
                score[row, draw.index], chosen[row, draw.index] = balanced_accuracy(split.test_y, guess), fit[0]
    return Scores(sizes, score, chosen, x.shape[1])


def standardise(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Centre and scale features by the training side's pixels, labelled or not; missing and constant become 0.

    Parameters
    ----------
    features : (Y, X, F).  train : (Y, X) bool.

    Returns
    -------
    numpy.ndarray, shape (Y * X, F), float32
    """
    flat = features.reshape(-1, features.shape[2])
    inside = flat[train.ravel()].astype(np.float64)
    seen = np.isfinite(inside)
    count = np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen, inside, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(seen, inside - mean, 0.0) ** 2).sum(axis=0) / count)
    scale = np.where(spread > 1e-6 * (np.abs(mean) + 1e-6), spread, np.inf)
    out = ((flat - mean) / scale).astype(np.float32)
    return np.where(np.isfinite(out), out, np.float32(0.0))


def balanced_accuracy(truth: np.ndarray, guess: np.ndarray) -> float:
    """Mean recall over the classes present in `truth`."""
    total = np.bincount(truth)
    right = np.bincount(truth[truth == guess], minlength=total.size)
    return float(np.mean(right[total > 0] / total[total > 0]))


def fit_penalised(
    x: np.ndarray,
    y: np.ndarray,
    folds: np.ndarray,
    penalties: Sequence[float] = PENALTIES,
    *,
    sample_weight: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit multinomial logistic regression with the C of least held-out log loss, for D label draws at once.

    Parameters
    ----------
    x : (D, N, F).  y : (N,) class index, the same in each draw.  folds : (D, N) int.
    penalties : values of C, tried from small to large, each fit started from the one before. Ties go to the smallest;
        after two values in a row that do no better the rest is not tried.
    sample_weight : (N,), what a label counts, fitted and held out; 1 by default.

    Returns
    -------
    c : (D,);  coef : (D, F, K);  intercept : (D, K)

    Notes
    -----
    A held-out label whose class has no label outside its fold is not counted: no fit could know it.
    """
    d, n, k, g = *folds.shape, int(y.max()) + 1, int(folds.max()) + 1
    u, s, vt = np.linalg.svd(x.astype(np.float64), full_matrices=False)
    z1 = np.concatenate([u * s[:, None], np.ones((d, n, 1))], axis=2)
    held = folds[:, None] == np.arange(g)[:, None]
    # The last "fold" holds nothing out: the final fit. A draw with fewer folds has empty ones, of weight 0.
    weights = np.concatenate([~held & held.any(axis=2, keepdims=True), np.ones((d, 1, n), dtype=bool)], axis=1) * 1.0
    counts = np.ones(n) if sample_weight is None else sample_weight
    weights *= counts
    known = np.einsum("dgn,nk->dgk", weights[:, :-1], np.eye(k)[y])[:, :, y] > 0
    counted = held & known
    w = np.zeros((d, g + 1, k, z1.shape[2]))
    best, best_loss, rises = np.zeros(d), np.full(d, np.inf), np.zeros(d, dtype=np.int64)
    final, open_ = np.zeros((d, k, z1.shape[2])), np.arange(d)
    for c in sorted(penalties):
        w[open_] = solve_logistic(z1[open_], y, weights[open_], c, start=w[open_])
        logits = np.matmul(w[open_, :-1], z1[open_, None].transpose(0, 1, 3, 2))
        loss = (_log_loss(logits, y) * counted[open_] * counts).sum(axis=(1, 2))
        better = loss < best_loss[open_] - 1e-9 * n
        won = open_[better]
        best[won], best_loss[won], final[won] = c, loss[better], w[won, -1]
        rises[open_] = np.where(better, 0, rises[open_] + 1)
        open_ = open_[rises[open_] < _PATIENCE]
        if not open_.size:
            break
    return best, np.einsum("drf,dkr->dfk", vt, final[:, :, :-1]), final[:, :, -1]


def _log_loss(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(..., K, N) -> (..., N)."""
    top = logits.max(axis=-2)
    norm = np.log(np.exp(logits - top[..., None, :]).sum(axis=-2)) + top
    return np.asarray(norm - logits[..., y, np.arange(y.size)])
