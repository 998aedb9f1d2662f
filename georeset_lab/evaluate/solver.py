"""Many small logistic regressions at once, by a batched limited-memory BFGS. Choosing a penalty is in ``score.py``.

A batch is D label draws times G folds. The folds of a draw share one feature matrix, all draws one NumPy call, so that
a table costs minutes instead of hours: at these sizes the time goes into calls, not into arithmetic.
Limited-memory BFGS is Nocedal's (1980); its first curvature is half of Boehning's (1992) bound, diagonal in the
coordinates of the singular vectors. Letters: D draws, G folds, K classes, N labels, R coordinates.
"""

from __future__ import annotations

import numpy as np

_MEMORY = 8
_HALVINGS = 30

_Pair = tuple[np.ndarray, np.ndarray, np.ndarray]


def solve_logistic(
    z1: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    c: float,
    *,
    start: np.ndarray | None = None,
    tol: float = 1e-7,
    max_iter: int = 400,
) -> np.ndarray:
    """Weights that minimise ``c * sum(log loss) + |W|^2 / 2`` for each fold of each draw; the intercept is free.

    Parameters
    ----------
    z1 : (D, N, R + 1) float64
        Features, the last column ones. Orthogonal columns (``U * S`` of a singular value decomposition) converge fast.
    y : (N,) class index, the same for all draws.
    weights : (D, G, N) >= 0, 0 where a label is held out.
    c : the penalty, as in scikit-learn.
    start : (D, G, K, R + 1), where to begin; zero by default.
    tol : a draw is done when the next step of all its folds promises less than this much mean log loss.

    Returns
    -------
    numpy.ndarray, shape (D, G, K, R + 1), float64; the last column is the intercept.
    """
    k = int(y.max()) + 1
    onehot = np.zeros((k, y.size))
    onehot[y, np.arange(y.size)] = 1.0
    out = np.zeros((*weights.shape[:2], k, z1.shape[2])) if start is None else np.array(start)
    penal = np.full(z1.shape[2], 1.0 / c)
    penal[-1] = 0.0
    total = weights.sum(axis=2)
    curve = 0.25 * (z1**2).mean(axis=1)[:, None] * total[:, :, None] + penal
    # A fold without labels is a placeholder: any positive curvature will do.
    curve = np.where(curve > 0, curve, 1.0)[:, :, None]
    alive, w = np.arange(z1.shape[0]), out.copy()
    logits = _times(w, z1.transpose(0, 2, 1))
    loss, resid = _loss_and_residual(logits, onehot, weights)
    loss = loss + 0.5 * (penal * w**2).sum(axis=(2, 3))
    grad = _times(resid, z1) + penal * w
    past: list[_Pair] = []
    for _ in range(max_iter):
        move = _direction(grad, past, curve)
        slope = _dot(grad, move)
        stay = (-slope > tol * total).any(axis=1)
        if not stay.all():
            out[alive[~stay]] = w[~stay]
            alive, w, logits, loss, grad, move, slope = (a[stay] for a in (alive, w, logits, loss, grad, move, slope))
            z1, weights, total, curve = z1[stay], weights[stay], total[stay], curve[stay]
            past = [(s[stay], t[stay], rho[stay]) for s, t, rho in past]
            if not alive.size:
                return out
        rate, logits, loss, resid = _line_search(w, logits, loss, move, slope, z1, onehot, weights, penal)
        step = rate * move
        w = w + step
        new = _times(resid, z1) + penal * w
        change, grad = new - grad, new
        bend = _dot(step, change)
        past = [*past[1 - _MEMORY :], (step, change, np.where(bend > 1e-14, 1.0 / np.maximum(bend, 1e-14), 0.0))]
    out[alive] = w
    return out


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(D, G, K, I) x (D, I, J) -> (D, G, K, J) as one matrix product for each draw."""
    d, g, k, _ = a.shape
    return np.matmul(a.reshape(d, g * k, -1), b).reshape(d, g, k, -1)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("dgkr,dgkr->dg", a, b)


def _direction(grad: np.ndarray, past: list[_Pair], curve: np.ndarray) -> np.ndarray:
    """The two-loop recursion; pairs without positive curvature have weight 0."""
    q, alphas = -grad, []
    for s, t, rho in reversed(past):
        a = rho * _dot(s, q)
        q -= a[:, :, None, None] * t
        alphas.append(a)
    if past:
        _, t, rho = past[-1]
        bend = _dot(t / curve, t)
        gamma = np.where((rho > 0) & (bend > 0), 1.0 / np.maximum(rho * bend, 1e-300), 1.0)
        q *= gamma[:, :, None, None]
    q /= curve
    for (s, t, rho), a in zip(past, reversed(alphas), strict=True):
        q += (a - rho * _dot(t, q))[:, :, None, None] * s
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
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Halve the step of each fold until Armijo's condition holds; logits are linear, so a trial costs no product."""
    rate = np.ones(slope.shape)
    logit_move = _times(move, z1.transpose(0, 2, 1))
    size, cross, square = ((penal * a * b).sum(axis=(2, 3)) for a, b in ((w, w), (w, move), (move, move)))
    for _ in range(_HALVINGS):
        new_logits = logits + rate[:, :, None, None] * logit_move
        new_loss, resid = _loss_and_residual(new_logits, onehot, weights)
        new_loss = new_loss + 0.5 * size + rate * cross + 0.5 * rate**2 * square
        bad = new_loss > loss + 1e-4 * rate * slope + 1e-12 * np.abs(loss)
        if not bad.any():
            break
        rate = np.where(bad, rate * 0.5, rate)
    return rate[:, :, None, None], new_logits, new_loss, resid


def _loss_and_residual(logits: np.ndarray, onehot: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(D, G) weighted log loss and (D, G, K, N) weighted probability minus truth."""
    shifted = logits - logits.max(axis=2, keepdims=True)
    prob = np.exp(shifted)
    norm = prob.sum(axis=2, keepdims=True)
    picked = np.einsum("dgkn,kn->dgn", shifted, onehot) - np.log(norm[:, :, 0])
    prob /= norm
    prob -= onehot
    prob *= weights[:, :, None]
    return -np.einsum("dgn,dgn->dg", weights, picked), prob
