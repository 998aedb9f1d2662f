"""The probe of every table: L2 logistic regression whose penalty is chosen by grouped cross-validation.

All folds and penalties of a draw are solved together (they share one feature matrix), in the coordinates of its
singular vectors, by a batched limited-memory BFGS (Nocedal, 1980) with a diagonal start from Boehning's (1992)
curvature bound. Objective and meaning of C are those of scikit-learn: ``C * sum(log loss) + |W|^2 / 2``, free intercept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from georeset_lab.errors import ShapeMismatch
from georeset_lab.evaluate.splits import TRAIN, Split

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
"""Values of C, weak data term to strong."""

_MEMORY = 8
_CHUNK_FLOATS = 4_000_000


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
    for draw in split.draws:
        c, coef, intercept = fit_penalised(x[draw.pixels], draw.y, draw.folds, penalties)
        guess = np.argmax(test @ coef.astype(np.float32) + intercept.astype(np.float32), axis=1)
        at = (sizes.index(draw.per_class), draw.index)
        score[at], chosen[at] = balanced_accuracy(split.test_y, guess), c
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
    x: np.ndarray, y: np.ndarray, folds: np.ndarray, penalties: Sequence[float]
) -> tuple[float, np.ndarray, np.ndarray]:
    """Fit multinomial logistic regression with the C of least held-out log loss.

    Parameters
    ----------
    x : (N, F).  y : (N,) class index.  folds : (N,) int.
    penalties : values of C. Ties go to the smallest.

    Returns
    -------
    c : float
    coef : (F, K);  intercept : (K,)

    Notes
    -----
    A held-out label whose class has no label outside its fold is not counted: no fit could know it.
    """
    k, n_c = int(y.max()) + 1, len(penalties)
    u, s, vt = np.linalg.svd(x.astype(np.float64), full_matrices=False)
    keep = s > 1e-6 * max(float(s[0]), 1e-12)
    z, vt = (u * s)[:, keep], vt[keep]
    ids = np.unique(folds)
    use = np.vstack([folds != f for f in ids] + [np.ones(y.size, dtype=bool)])
    weights = np.repeat(use, n_c, axis=0).astype(np.float64)
    w = solve_logistic(z, y, weights, np.tile(np.asarray(penalties, dtype=np.float64), len(use)))
    loss = np.zeros(n_c)
    for i, fold in enumerate(ids):
        known = np.bincount(y[folds != fold], minlength=k) > 0
        held = np.flatnonzero((folds == fold) & known[y])
        logits = _logits(z[held], w[i * n_c : (i + 1) * n_c])
        loss += _log_loss(logits, y[held]).sum(axis=1)
    best = int(np.argmin(np.round(loss / y.size, 9)))
    final = w[len(ids) * n_c + best]
    return float(penalties[best]), vt.T @ final[:, :-1].T, final[:, -1]


def solve_logistic(
    z: np.ndarray, y: np.ndarray, weights: np.ndarray, c: np.ndarray, *, tol: float = 1e-6, max_iter: int = 200
) -> np.ndarray:
    """Solve P weighted logistic regressions that share one feature matrix.

    Parameters
    ----------
    z : (N, R) float64, columns orthogonal (``U * S`` of a singular value decomposition) for fast convergence.
    y : (N,) class index.  weights : (P, N) >= 0.  c : (P,) penalties.
    tol : stop when the step promises less than this much mean log loss.

    Returns
    -------
    numpy.ndarray, shape (P, K, R + 1), float64; the last column is the intercept.
    """
    n, k, p = z.shape[0], int(y.max()) + 1, weights.shape[0]
    z1 = np.hstack([z, np.ones((n, 1))])
    onehot = np.zeros((n, k))
    onehot[np.arange(n), y] = 1.0
    out = np.zeros((p, k, z1.shape[1]))
    step = max(1, _CHUNK_FLOATS // (n * k + _MEMORY * 2 * k * z1.shape[1]))
    for lo in range(0, p, step):
        part = slice(lo, lo + step)
        out[part] = _lbfgs(z1, onehot, weights[part], 1.0 / c[part], tol, max_iter)
    return out


def _lbfgs(
    z1: np.ndarray, onehot: np.ndarray, weights: np.ndarray, ridge: np.ndarray, tol: float, max_iter: int
) -> np.ndarray:
    p, (n, r), k = weights.shape[0], z1.shape, onehot.shape[1]
    out = np.zeros((p, k, r))
    alive = np.arange(p)
    total = weights.sum(axis=1)
    penal = np.repeat(ridge[:, None], r, axis=1)
    penal[:, -1] = 0.0
    curve = 0.25 * (z1**2).sum(axis=0)[None] * (total / n)[:, None] + penal
    w, logits = np.zeros((p, k, r)), np.zeros((p, k, n))
    loss, resid = _loss_and_residual(logits, onehot, weights)
    grad = resid @ z1
    past: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for _ in range(max_iter):
        move = _direction(grad, past, curve)
        slope = (grad * move).sum(axis=(1, 2))
        done = -slope <= tol * total[alive]
        if done.any():
            out[alive[done]] = w[done]
            stay = ~done
            alive, w, logits, loss, grad, move = (a[stay] for a in (alive, w, logits, loss, grad, move))
            slope, penal, curve = slope[stay], penal[stay], curve[stay]
            past = [(a[stay], b[stay], rho[stay]) for a, b, rho in past]
            if not alive.size:
                return out
        w, logits, loss, resid, moved = _line_search(w, logits, loss, move, slope, z1, onehot, weights[alive], penal)
        new = resid @ z1 + penal[:, None] * w
        change, grad = new - grad, new
        rho = (moved * change).sum(axis=(1, 2))
        past = [*past[1 - _MEMORY :], (moved, change, np.where(rho > 1e-12, 1.0 / np.maximum(rho, 1e-12), 0.0))]
    out[alive] = w
    return out


def _direction(
    grad: np.ndarray, past: list[tuple[np.ndarray, np.ndarray, np.ndarray]], curve: np.ndarray
) -> np.ndarray:
    q, alphas = -grad, []
    for s, t, rho in reversed(past):
        a = rho * np.einsum("pkr,pkr->p", s, q)
        q = q - a[:, None, None] * t
        alphas.append(a)
    inverse = 1.0 / curve[:, None]
    if past:
        _, t, rho = past[-1]
        bend = np.einsum("pkr,pkr,pkr->p", t, t, np.broadcast_to(inverse, t.shape))
        gamma = np.where((rho > 0) & (bend > 0), 1.0 / np.maximum(rho * bend, 1e-300), 1.0)
        q = q * gamma[:, None, None]
    q = q * inverse
    for (s, t, rho), a in zip(past, reversed(alphas), strict=True):
        b = rho * np.einsum("pkr,pkr->p", t, q)
        q = q + (a - b)[:, None, None] * s
    return q


def _line_search(
    w: np.ndarray,
    logits: np.ndarray,
    loss: np.ndarray,
    move: np.ndarray,
    slope: np.ndarray,
    z1: np.ndarray,
    onehot: np.ndarray,
    weights: np.ndarray,
    penal: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Halve the step of each problem until Armijo's condition holds; logits are linear, so a trial costs no product."""
    rate = np.ones(w.shape[0])
    logit_move = move @ z1.T
    for _ in range(30):
        new_w, new_logits = w + rate[:, None, None] * move, logits + rate[:, None, None] * logit_move
        new_loss, resid = _loss_and_residual(new_logits, onehot, weights)
        new_loss = new_loss + 0.5 * (penal[:, None] * new_w**2).sum(axis=(1, 2))
        bad = new_loss > loss + 1e-4 * rate * slope + 1e-12 * np.abs(loss)
        if not bad.any():
            break
        rate = np.where(bad, rate * 0.5, rate)
    return new_w, new_logits, new_loss, resid, rate[:, None, None] * move


def _loss_and_residual(logits: np.ndarray, onehot: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P,) weighted log loss and (P, K, N) weighted probability minus truth."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    prob = np.exp(shifted)
    norm = prob.sum(axis=1, keepdims=True)
    prob /= norm
    picked = np.einsum("pkn,nk->pn", shifted, onehot) - np.log(norm[:, 0])
    return -(weights * picked).sum(axis=1), (prob - onehot.T) * weights[:, None]


def _logits(z: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(N, R) and (P, K, R + 1) -> (P, N, K)."""
    return np.einsum("nr,pkr->pnk", z, w[:, :, :-1], optimize=True) + w[:, None, :, -1]


def _log_loss(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    top = logits.max(axis=2, keepdims=True)
    norm = np.log(np.exp(logits - top).sum(axis=2)) + top[..., 0]
    return np.asarray(norm - logits[:, np.arange(y.size), y])
