"""The arithmetic of a probe: penalised logistic regression, where its doubt comes from, and its temperature.

Arrays in, arrays out: no grid, no labels, no files. X is (n, D), y is (n,) class index 0..K-1.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from georeset_lab.embed.probing.laplace import weight_spread
from georeset_lab.embed.probing.one_thread import one_blas_thread

__all__ = ["PENALTIES", "LinearFit", "fit_linear", "fit_path", "fit_temperature", "shrinkage", "softmax"]

PENALTIES = (1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2)
"""Values of C tried, strong to weak penalty (methods.md section 7)."""

LAPLACE_LIMIT = 2600
"""Largest side of the Hessian, (K - 1)(D + 1): 20 classes of 128 dimensions. Beyond it weight variance is left out."""

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
        return replace(self, spread=weight_spread(self.standardise(x), softmax(self.logits(x)), self.penalty))

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
        z = self.standardise(x)
        return np.stack([_squares(z, root) for root in self.spread], axis=1)

    def input_gap(self, variance: np.ndarray) -> np.ndarray:
        """(n,): `input_variance` as `shrinkage` takes it; NaN where a variance is."""
        return self.input_variance(variance).sum(axis=1) * self.pairs

    def weight_gap(self, z: np.ndarray) -> np.ndarray:
        """(n,): `weight_variance` of standardised features as `shrinkage` takes it, K times as fast; NaN if left out."""
        if self._gap_root is None:
            return np.full(z.shape[0], np.nan, z.dtype)
        return _squares(z, self._gap_root)

    def weight_variance_of(self, z: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """(n,): `weight_variance` of one class (n,) for each of the standardised features (n, D); NaN if left out."""
        out = np.full(z.shape[0], np.nan, z.dtype)
        if self.spread is not None:
            for k, root in enumerate(self.spread):
                where = np.flatnonzero(classes == k)
                out[where] = _squares(z[where], root)
        return out

    def moderated(self, x: np.ndarray, variance: np.ndarray | None) -> np.ndarray:
        """(n, K) logits shrunk by their variance, as far as it is known; else those of plain logistic regression."""
        z = self.standardise(x)
        gap = np.nan_to_num(self.weight_gap(z))
        if variance is not None:
            gap = gap + np.nan_to_num(self.input_gap(variance))
        return (z @ self.weights.T + self.intercept) * shrinkage(gap)[:, None]

    @cached_property
    def _gap_root(self) -> np.ndarray | None:
        """R (D + 1, D + 1): R^T R is the sum of the covariances of all classes, times `pairs`."""
        if self.spread is None:
            return None
        return np.linalg.qr(self.spread.reshape(-1, self.spread.shape[2]), mode="r") * self.spread.dtype.type(
            np.sqrt(self.pairs)
        )

    @property
    def pairs(self) -> float:
        """From a sum over classes of the variances of logits to the mean over pairs of that of their distance."""
        return 2 / (self.n_classes - 1)


def shrinkage(gap: np.ndarray) -> np.ndarray:
    """Factor (n,) on the logits of each sample, given the variance (n,) of the distance between two: 1 / sqrt(1 + pi / 8 * s).

    Notes
    -----
    MacKay's (1992) probit approximation of the mean probability over a Gaussian logit. What decides is not a logit but
    its distance to the others, so s is the variance of that distance, averaged over the pairs of classes: as weights sum
    to zero over the classes, it is 2 / (K - 1) * sum_k s_k (ours). Two classes give his formula exactly. One factor for
    all classes leaves the order of the logits as it is; shrinking each by its own variance cost one to three points of
    balanced accuracy at 3 to 30 labels per class (Chile chip of terramind-chips, untrained encoder).
    """
    return np.asarray(1 / np.sqrt(1 + np.pi / 8 * gap), dtype=gap.dtype)


def _squares(z: np.ndarray, root: np.ndarray) -> np.ndarray:
    """(n,): squared length of R [z, 1] for each z of (n, D)."""
    y = z @ root[:, :-1].T
    y += root[:, -1]
    return np.einsum("nd,nd->n", y, y)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n, K) of logits."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def fit_linear(
    x: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    n_classes: int,
    penalty: float,
    center: np.ndarray,
    scale: np.ndarray,
) -> LinearFit:
    """Fit one penalised logistic regression; the spread of its weights is added by `LinearFit.with_spread`.

    ``weight`` (n,) is what each sample counts, 1 by default. A class without a sample gets weights 0 and an intercept half
    a sample below the scarcest class that has some.
    """
    return fit_path(x, y, weight, penalties=(penalty,), n_classes=n_classes, center=center, scale=scale)[0]


@one_blas_thread()
def fit_path(
    x: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    penalties: Sequence[float],
    n_classes: int,
    center: np.ndarray,
    scale: np.ndarray,
) -> list[LinearFit]:
    """`fit_linear` for several values of C, each begun where the one before ended."""
    z = (np.asarray(x, np.float64) - center) / scale
    present, codes = np.unique(y, return_inverse=True)
    fits = []
    for penalty, (w, b) in zip(penalties, _logistic(z, codes.ravel(), weight, penalties), strict=True):
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


def _logistic(
    z: np.ndarray, codes: np.ndarray, weight: np.ndarray | None, penalties: Sequence[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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
            model.set_params(C=penalty).fit(z, codes, sample_weight=weight)
        w, b = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
        if n_classes == 2:  # scikit-learn stores one row, the difference
            w, b = np.concatenate([-w / 2, w / 2]), np.concatenate([-b / 2, b / 2])
        yield w - w.mean(axis=0), b - b.mean()
