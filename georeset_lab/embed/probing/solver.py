"""Penalised logistic regression from where the last fit ended: a few milliseconds for a click. Arrays only.

The objective is scikit-learn's, which ``fit.py`` uses where there is time: C * sum(log loss) + |W|^2 / 2 with a free
intercept (two classes: the penalty of the difference of their weights).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from georeset_lab.embed.probing.one_thread import one_blas_thread

__all__ = ["solve"]

MAX_PRECONDITIONED = 256
"""Dimensions up to which the features' covariance is used to straighten the loss; beyond it costs more than it saves."""
_TOLERANCE = 0.01  # of the straightened gradient: probabilities within about 0.01, accuracy within 0.1 points
_MAX_ITER = 300
_MEMORY = 10


@one_blas_thread()
def solve(
    z: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    n_classes: int,
    penalty: float,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Weights and intercepts (K, D + 1), both summing to zero over the classes.

    Parameters
    ----------
    z : (n, D) standardised features.  y : (n,) int, every class of which occurs.
    weight : (n,), optional
        What each sample counts; 1 by default.
    penalty : float
        C.
    start : (K, D + 1), optional
        Where to begin.

    Notes
    -----
    L-BFGS in coordinates where the loss is nearly round: with mean weight p (1 - p) of about 1 / 4K, its Hessian is near
    X^T X / 4K + I / C = L L^T for every class, and v = L^T w. That takes 10 to 40 steps instead of 30 to 190 (50 to 1500
    samples of 64 dimensions, C of 0.1 and 1, Chile chip of terramind-chips), and 2 to 7 after one more click.
    With more than `MAX_PRECONDITIONED` dimensions the coordinates stay as they are, and a cold start is one Newton step
    from nothing along the gradient: where the class means pull, 15 steps instead of 19.
    """
    from scipy.optimize import minimize

    n, d = z.shape
    # Many dimensions: half the bytes are half the time, and the loss is still exact to 1e-6.
    kind: Any = np.float64 if d <= MAX_PRECONDITIONED else np.float32
    change = 1e-9 if d <= MAX_PRECONDITIONED else 1e-8
    x = np.concatenate([z, np.ones((n, 1))], axis=1, dtype=kind)
    # Weights of two classes are w / 2 and -w / 2: |w|^2 / 2C is then the sum of both squares over C.
    ridge = np.full(d + 1, (2.0 if n_classes == 2 else 1.0) / penalty)
    ridge[-1] = 0
    counts = np.ones((n, 1), kind) if weight is None else weight[:, None].astype(kind)
    into, out_of, pulled = _coordinates(x, counts, ridge, n_classes)
    ridge = ridge.astype(kind)
    rows = np.arange(n)
    hot = np.zeros((n, n_classes), kind)
    hot[rows, y] = 1

    def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
        w = out_of(v.reshape(n_classes, d + 1)).astype(kind, copy=False)
        logits = x @ w.T
        logits -= logits.max(axis=1, keepdims=True)
        right = logits[rows, y] @ counts[:, 0]
        np.exp(logits, out=logits)
        total = logits.sum(axis=1, keepdims=True)
        logits /= total
        logits -= hot
        logits *= counts
        gradient = pulled(logits.T @ x + w * ridge)
        missed = np.log(total[:, 0]).astype(float) @ counts[:, 0] - right
        return float(missed + 0.5 * (w**2 * ridge).sum(dtype=float)), gradient.ravel().astype(float, copy=False)

    if start is not None:
        first = start
    elif d > MAX_PRECONDITIONED:
        first = _downhill(x, hot, counts, ridge)
    else:
        first = np.zeros((n_classes, d + 1))
    options = {"maxiter": _MAX_ITER, "gtol": _TOLERANCE, "ftol": change, "maxcor": _MEMORY}
    found = minimize(loss, into(first).ravel(), jac=True, method="L-BFGS-B", options=options)
    w = out_of(found.x.reshape(n_classes, d + 1))
    return w - w.mean(axis=0)


def _downhill(x: np.ndarray, hot: np.ndarray, counts: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """Lowest point (K, D + 1) along the gradient at zero weights, of the loss's second order there."""
    down = (counts * (hot - 1 / hot.shape[1])).T @ x
    along = x @ down.T
    spread = float((counts[:, 0] * along.var(axis=1)).sum())
    bend = spread + float((ridge * down**2).sum())
    return down * (float((down**2).sum()) / bend) if bend > 0 else np.zeros_like(down)


_Map = Callable[[np.ndarray], np.ndarray]


def _coordinates(x: np.ndarray, counts: np.ndarray, ridge: np.ndarray, n_classes: int) -> tuple[_Map, _Map, _Map]:
    """From weights (K, D + 1) to coordinates in which the loss is nearly round, back, and for gradients."""
    if x.shape[1] > MAX_PRECONDITIONED + 1:
        return (lambda w: w,) * 3
    root = np.linalg.cholesky(x.T @ (counts * x) / (4 * n_classes) + np.diag(np.maximum(ridge, 1e-3)))
    inverse = np.linalg.inv(root)
    return (lambda w: w @ root), (lambda v: v @ inverse), (lambda g: g @ inverse.T)
