"""The arithmetic of a probe: penalised logistic regression, where its doubt comes from, and its temperature.

Arrays in, arrays out: no grid, no labels, no files. X is (n, D), y is (n,) class index 0..K-1.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["PENALTIES", "LinearFit", "fit_linear", "fit_path", "fit_temperature", "shrinkage", "softmax"]

PENALTIES = (1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2)
"""Values of C tried, strong to weak penalty (methods.md section 7)."""

LAPLACE_LIMIT = 2600
"""Largest side of the Hessian, (K - 1)(D + 1): 20 classes of 128 dimensions. Beyond it weight variance is left out."""

_INTERCEPT_PRECISION = 1e-2  # prior of an intercept in the Hessian: N(0, 10^2) logits; the fit itself leaves it free
_MAX_ITER = 500
_TEMPERATURES = (0.05, 20.0)
_LOG_T_SPREAD = 0.5  # prior of ln T, so that ten labels cannot claim certainty or none


@dataclass(frozen=True)
class LinearFit:
    """A multinomial logistic regression on standardised features, with the spread of its weights."""

    center: np.ndarray
    """(D,) float64, taken from the features before weighing."""
    scale: np.ndarray
    """(D,) float64, above 0; the features are divided by it."""
    weights: np.ndarray
    """(K, D) float64 on standardised features; columns sum to 0 over the classes."""
    intercept: np.ndarray
    """(K,) float64."""
    penalty: float
    """C of scikit-learn: inverse strength of the penalty."""
    spread: np.ndarray | None
    """(K, D + 1, D + 1) float64: R_k^T R_k is the covariance of class k's weights and intercept. None: left out."""

    @property
    def n_classes(self) -> int:
        """K."""
        return int(self.weights.shape[0])

    def as_float32(self) -> LinearFit:
        """The same in single precision: maps are twice as fast and no worse."""
        center, scale, weights, intercept = (
            a.astype(np.float32) for a in (self.center, self.scale, self.weights, self.intercept)
        )
        spread = None if self.spread is None else self.spread.astype(np.float32)
        return LinearFit(center, scale, weights, intercept, self.penalty, spread)

    def with_spread(self, x: np.ndarray) -> LinearFit:
        """The same fit with the spread of its weights, from the samples (n, D) it was fitted on."""
        side = (self.n_classes - 1) * (x.shape[1] + 1)
        if side > LAPLACE_LIMIT:
            return self
        return replace(self, spread=_laplace(self.standardise(x), softmax(self.logits(x)), self.penalty))

    def standardise(self, x: np.ndarray) -> np.ndarray:
        """Features as the weights see them."""
        return (x - self.center) / self.scale

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(n, K) of plain logistic regression."""
        return self.standardise(x) @ self.weights.T + self.intercept

    def input_variance(self, variance: np.ndarray) -> np.ndarray:
        """(n, K): variance of the logits due to the encoder, s_in,k = sum_d W_kd^2 var_d / scale_d^2."""
        return variance @ (self.weights / self.scale).T ** 2

    def weight_variance(self, x: np.ndarray) -> np.ndarray:
        """(n, K): variance of the logits as few labels leave the weights open (last-layer Laplace); 0 if left out."""
        if self.spread is None:
            return np.zeros((x.shape[0], self.n_classes))
        z = np.concatenate([self.standardise(x), np.ones((x.shape[0], 1))], axis=1)
        return np.stack([((z @ root.T) ** 2).sum(axis=1) for root in self.spread], axis=1)

    def moderated(self, x: np.ndarray, variance: np.ndarray | None) -> np.ndarray:
        """(n, K) logits shrunk by their variance; without any variance, those of plain logistic regression."""
        total = self.weight_variance(x)
        if variance is not None:
            total = total + self.input_variance(variance)
        return self.logits(x) * shrinkage(total)[:, None]


def shrinkage(logit_variance: np.ndarray) -> np.ndarray:
    """Factor (n,) on the logits of each sample, given the variance of each of them (n, K): 1 / sqrt(1 + pi / 8 * s).

    Notes
    -----
    MacKay's (1992) probit approximation of the mean probability over a Gaussian logit. What decides is not a logit but
    its distance to the others, so s is the variance of that distance, averaged over the pairs of classes: as weights sum
    to zero over the classes, it is 2 / (K - 1) * sum_k s_k (ours). Two classes give his formula exactly. One factor for
    all classes leaves the order of the logits as it is; shrinking each by its own variance cost one to three points of
    balanced accuracy at 3 to 30 labels per class (Chile chip of terramind-chips, untrained encoder).
    """
    k = logit_variance.shape[1]
    total = logit_variance.sum(axis=1) * (2 / (k - 1))
    return np.asarray(1 / np.sqrt(1 + np.pi / 8 * total), dtype=logit_variance.dtype)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n, K) of logits."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def fit_linear(
    x: np.ndarray, y: np.ndarray, *, n_classes: int, penalty: float, center: np.ndarray, scale: np.ndarray
) -> LinearFit:
    """Fit one penalised logistic regression; the spread of its weights is added by `LinearFit.with_spread`.

    A class without a sample gets weights 0 and an intercept half a sample below the scarcest class that has some.
    """
    return fit_path(x, y, (penalty,), n_classes=n_classes, center=center, scale=scale)[0]


def fit_path(
    x: np.ndarray, y: np.ndarray, penalties: Sequence[float], *, n_classes: int, center: np.ndarray, scale: np.ndarray
) -> list[LinearFit]:
    """`fit_linear` for several values of C, each begun where the one before ended."""
    z = (np.asarray(x, np.float64) - center) / scale
    present, codes = np.unique(y, return_inverse=True)
    fits = []
    for penalty, (w, b) in zip(penalties, _logistic(z, codes.ravel(), penalties), strict=True):
        weights, intercept = np.zeros((n_classes, z.shape[1])), np.full(n_classes, b.min() - np.log(2 * y.size))
        weights[present], intercept[present] = w, b
        fits.append(LinearFit(center, scale, weights, intercept - intercept.mean(), penalty, None))
    return fits


def fit_temperature(logits: np.ndarray, y: np.ndarray, *, usual: float = 1.0) -> float:
    """Temperature T that makes held-out logits / T most likely; ``usual`` if there are none.

    A prior on ln T, normal around ln ``usual`` with spread 0.5, counts as one more sample, so that few labels cannot
    claim certainty or its absence.
    """
    if not y.size:
        return usual
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        scaled = logits / (usual * np.exp(log_t))
        top = scaled.max(axis=1)
        normal = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float((normal - scaled[np.arange(y.size), y]).sum() + 0.5 * (log_t / _LOG_T_SPREAD) ** 2)

    found = minimize_scalar(loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
    return float(usual * np.exp(found.x))


def _logistic(z: np.ndarray, codes: np.ndarray, penalties: Sequence[float]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weights (K, D) and intercepts (K,) for each C, both summing to zero over the classes."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    n_classes = int(codes.max()) + 1
    model = LogisticRegression(max_iter=_MAX_ITER, warm_start=True)
    for penalty in penalties:
        if n_classes == 1:
            yield np.zeros((1, z.shape[1])), np.zeros(1)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # at C = 100 the loss is flat long before the gradient
            model.set_params(C=penalty).fit(z, codes)
        w, b = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
        if n_classes == 2:  # scikit-learn stores one row, the difference
            w, b = np.concatenate([-w / 2, w / 2]), np.concatenate([-b / 2, b / 2])
        yield w - w.mean(axis=0), b - b.mean()


def _laplace(z: np.ndarray, proba: np.ndarray, penalty: float) -> np.ndarray:
    """Roots of the covariance of each class's weights and intercept.

    H = sum_i (diag(p_i) - p_i p_i^T) kron x_i x_i^T + I / C. Adding one vector to the weights of all classes changes no
    probability, so H is taken in the K - 1 directions that sum to zero: there it is regular.
    """
    n, d = z.shape
    k = proba.shape[1]
    basis = _sum_zero_basis(k)  # (K, K - 1)
    x = np.concatenate([z, np.ones((n, 1))], axis=1)
    low = proba @ basis
    hessian = np.zeros((k - 1, d + 1, k - 1, d + 1))
    for a in range(k - 1):
        for b in range(a, k - 1):
            weight = (proba * basis[:, a] * basis[:, b]).sum(axis=1) - low[:, a] * low[:, b]
            block = (x * weight[:, None]).T @ x
            hessian[a, :, b, :] = block
            hessian[b, :, a, :] = block
    hessian = hessian.reshape((k - 1) * (d + 1), -1)
    # scikit-learn gives two classes one vector w, penalty |w|^2 / 2C; with w_1 = -w_2 = w / 2 that is twice this.
    prior = np.full(d + 1, (2.0 if k == 2 else 1.0) / penalty)
    prior[-1] = _INTERCEPT_PRECISION
    hessian[np.diag_indices_from(hessian)] += np.tile(prior, k - 1)
    covariance = np.linalg.inv(hessian).reshape(k - 1, d + 1, k - 1, d + 1)
    roots = []
    for row in basis:
        block = np.einsum("a,aibj,b->ij", row, covariance, row)
        roots.append(np.linalg.cholesky((block + block.T) / 2 + 1e-12 * np.trace(block) / (d + 1) * np.eye(d + 1)).T)
    return np.stack(roots)


def _sum_zero_basis(k: int) -> np.ndarray:
    """Orthonormal columns (K, K - 1) that span the vectors summing to zero."""
    from scipy.linalg import helmert

    return np.asarray(helmert(k)).T
