"""Gaussian prediction of a target that a view may not determine: mean and variance of each dimension are scored."""

from __future__ import annotations

from torch import Tensor


def gaussian_prediction(mean: Tensor, var: Tensor, target: Tensor, known: Tensor, *, beta: float = 0.5) -> Tensor:
    """Negative log likelihood per known dimension, its gradient weighted by ``var ** beta``.

    Parameters
    ----------
    mean, var : Tensor, shape (..., D)
        Prediction; ``var > 0``.
    target : Tensor, shape (..., D)
    known : Tensor, shape (..., D), bool
        False where there is no target; such dimensions have no loss and no gradient.
    beta : float
        0 is the plain likelihood, in which dimensions that are still badly predicted get a small gradient on their
        mean; 1 gives all means the gradient of squared error.

    Returns
    -------
    Tensor, shape ()
        Mean of ``var^beta * (log var + (target - mean)^2 / var) / 2``; 0 if nothing is known.

    Notes
    -----
    Seitzer et al. (2022), "On the pitfalls of heteroscedastic uncertainty estimation with probabilistic neural
    networks", equation 4. With a target of mean 0 and variance 1, a view that says nothing is best at (0, 1), the prior:
    so the posterior of a modality learns what it can know and no more.
    """
    error = (target.where(known, mean.detach()) - mean) ** 2
    weight = (var.detach() ** beta) * known
    return 0.5 * (weight * (var.log() + error / var)).sum() / known.sum().clamp_min(1)
