"""How far a few labels leave the weights of a probe open: the last-layer Laplace approximation. Arrays only."""

from __future__ import annotations

import numpy as np

from georeset_lab.embed.probing.one_thread import one_blas_thread

__all__ = ["weight_spread"]

_INTERCEPT_PRECISION = 1e-2  # prior of an intercept in the Hessian: N(0, 10^2) logits; the fit itself leaves it free


@one_blas_thread()
def weight_spread(z: np.ndarray, proba: np.ndarray, penalty: float) -> np.ndarray:
    """Roots (K, D + 1, D + 1) of the covariance of each class's weights and intercept: R_k^T R_k.

    Parameters
    ----------
    z : (n, D) standardised features of the fit.  proba : (n, K) its probabilities.
    penalty : C of the fit.

    Notes
    -----
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
