"""The expected likelihood kernel of two Gaussian embeddings, and the prior that fixes its scale."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from georeset_lab.losses.pmi import _chunks
from georeset_lab.losses.shapes import require_gaussians, require_one_shape

KL_WEIGHT = 1e-3
"""Weight of ``kl_to_prior`` beside the InfoNCE of ``elk_scores`` (``methods.md`` section 2)."""


def elk_scores(mean1: Tensor, var1: Tensor, mean2: Tensor, var2: Tensor) -> Tensor:
    """Score every pair of Gaussians by the log of the overlap of their densities.

    Parameters
    ----------
    mean1, var1 : Tensor, shape (B1, D)
        First Gaussians; ``var > 0`` is the variance, neither its root nor its logarithm.
    mean2, var2 : Tensor, shape (B2, D)

    Returns
    -------
    Tensor, shape (B1, B2)
        Nats, without the constant ``-D/2 log 2 pi``, which every contrast cancels.

    Raises
    ------
    ShapeMismatch
        The Gaussians disagree on D, or mean and variance on their shape.

    Notes
    -----
    Jebara, Kondor and Howard (2004), "Probability product kernels", with power 1: log of the integral of q1(z) q2(z).
    Per dimension, then summed:

    ``s = -1/2 [(m1 - m2)^2 / (v1 + v2) + log(v1 + v2)]``.

    InfoNCE of these scores does not see a common rescaling of m and sqrt(v): add ``KL_WEIGHT * kl_to_prior`` for each
    side. The gradient is written by hand as in ``pmi``, so that a B1 x B2 x D table is never kept.

    Examples
    --------
    >>> zero, half = torch.zeros(1, 4), torch.full((1, 4), 0.5)
    >>> abs(float(elk_scores(zero, half, zero, half)))
    0.0
    """
    require_gaussians("elk_scores", mean1, var1, mean2, var2)
    scores: Tensor = _Overlap.apply(mean1, var1, mean2, var2)
    return scores


def kl_to_prior(mean: Tensor, var: Tensor) -> Tensor:
    """Information of Gaussians beyond the N(0, I) prior: mean over the batch of KL(q || p).

    Parameters
    ----------
    mean, var : Tensor, shape (B, D)
        ``var > 0``.

    Returns
    -------
    Tensor, shape ()
        Nats, summed over dimensions; 0 only at the prior.

    Raises
    ------
    ShapeMismatch
        Mean and variance differ in shape.

    Notes
    -----
    Kingma and Welling (2014), appendix B: ``1/2 sum_d (v + m^2 - 1 - log v)``. PCME++ and ProLIP average over D instead:
    multiply their weights by 1 / D.

    Examples
    --------
    >>> float(kl_to_prior(torch.zeros(2, 3), torch.ones(2, 3)))
    0.0
    """
    require_one_shape("kl_to_prior", "mean and variance of one shape (B, D)", mean, var)
    return 0.5 * (var + mean**2 - 1.0 - var.log()).sum(-1).mean()


class _Overlap(torch.autograd.Function):
    """Scores of every pair, with r = (m1 - m2) / V and V = v1 + v2: ds/dm1 = -r = -ds/dm2, ds/dv = (r^2 - 1 / V) / 2."""

    @staticmethod
    def forward(ctx: Any, mean1: Tensor, var1: Tensor, mean2: Tensor, var2: Tensor) -> Tensor:
        ctx.save_for_backward(mean1, var1, mean2, var2)
        out = mean1.new_empty(len(mean1), len(mean2))
        for rows in _chunks(mean1, mean2):
            var = var1[rows, None] + var2
            apart = mean1[rows, None] - mean2
            out[rows] = apart.square_().div_(var).add_(var.log_()).sum(-1).mul_(-0.5)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean1, var1, mean2, var2 = ctx.saved_tensors
        d_mean1, d_var1 = torch.empty_like(mean1), torch.empty_like(var1)
        d_mean2, d_var2 = torch.zeros_like(mean2), torch.zeros_like(var2)
        for rows in _chunks(mean1, mean2):
            inverse = (var1[rows, None] + var2).reciprocal_()
            ratio = (mean1[rows, None] - mean2).mul_(inverse)
            weight = grads[0][rows, :, None]
            slope = ratio.square().sub_(inverse).mul_(weight).mul_(0.5)
            ratio.mul_(weight)
            d_mean1[rows], d_var1[rows] = -ratio.sum(1), slope.sum(1)
            d_mean2 += ratio.sum(0)
            d_var2 += slope.sum(0)
        return d_mean1, d_var1, d_mean2, d_var2
