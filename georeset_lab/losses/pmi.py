"""The pointwise mutual information of two Gaussian experts: the default critic of the joint embedding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from georeset_lab.errors import ShapeMismatch

# Floats of one B x B x D temporary: small enough for the second-level cache of a laptop core.
_PAIR_BUDGET = 250_000


def pmi_scores(eta1: Tensor, tau1: Tensor, eta2: Tensor, tau2: Tensor) -> Tensor:
    """Score every pair of experts by how much likelier they are to describe one latent than two.

    Parameters
    ----------
    eta1, tau1 : Tensor, shape (B1, D)
        Natural parameters of the first experts; ``tau >= 0`` is precision beyond the N(0, 1) prior, ``eta = tau *
        mean``.
    eta2, tau2 : Tensor, shape (B2, D)

    Returns
    -------
    Tensor, shape (B1, B2)
        Nats. Zero in every dimension where either side says nothing (``tau = eta = 0``).

    Raises
    ------
    ShapeMismatch
        The experts disagree on D, or eta and tau on their shape.

    Notes
    -----
    Ours. If z ~ N(0, 1) generated both inputs and q_i(z) is the posterior given input i, the score that InfoNCE seeks,
    log p(x1, x2) / p(x1) p(x2), equals log of the integral of q1(z) q2(z) / p(z). For Gaussians with posterior
    precisions L_i = 1 + tau_i it is closed form. Per dimension, then summed:

    ``s = 1/2 [log L1 + log L2 - log L + eta^2 / L - eta1^2 / L1 - eta2^2 / L2]``,
    with ``L = L1 + L2 - 1`` and ``eta = eta1 + eta2``.

    There is no temperature and no KL term: the prior fixes the scale. The gradient is written by hand, so that a B x B
    x D table is never kept; peak memory is bounded by chunks of rows.

    Examples
    --------
    >>> nothing = torch.zeros(1, 4)
    >>> float(pmi_scores(nothing, nothing, torch.ones(1, 4), torch.ones(1, 4)))
    0.0
    """
    if not (eta1.shape == tau1.shape and eta2.shape == tau2.shape and eta1.shape[-1] == eta2.shape[-1]):
        raise ShapeMismatch(
            f"pmi_scores got {tuple(eta1.shape)}, {tuple(tau1.shape)}, {tuple(eta2.shape)}, {tuple(tau2.shape)}; it needs "
            "eta and tau of one shape (B, D) on each side, with the same D."
        )
    joint: Tensor = _PairTerms.apply(eta1, tau1, eta2, tau2)
    return joint + _own_terms(eta1, tau1)[:, None] + _own_terms(eta2, tau2)


def _own_terms(eta: Tensor, tau: Tensor) -> Tensor:
    """1/2 sum_d (log L - eta^2 / L) of each expert by itself: (B,)."""
    return 0.5 * (torch.log1p(tau) - eta**2 / (1.0 + tau)).sum(-1)


class _PairTerms(torch.autograd.Function):
    """1/2 sum_d (eta^2 / L - log L) of every pair, with r = eta / L: ds/d eta_i = r, ds/d tau_i = -(r^2 + 1 / L) / 2."""

    @staticmethod
    def forward(ctx: Any, eta1: Tensor, tau1: Tensor, eta2: Tensor, tau2: Tensor) -> Tensor:
        ctx.save_for_backward(eta1, tau1, eta2, tau2)
        out = eta1.new_empty(len(eta1), len(eta2))
        for rows in _chunks(eta1, eta2):
            precision = (tau1[rows, None] + tau2).add_(1.0)
            mean = eta1[rows, None] + eta2
            out[rows] = mean.square_().div_(precision).sub_(precision.log_()).sum(-1).mul_(0.5)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        eta1, tau1, eta2, tau2 = ctx.saved_tensors
        d_eta1, d_tau1 = torch.empty_like(eta1), torch.empty_like(tau1)
        d_eta2, d_tau2 = torch.zeros_like(eta2), torch.zeros_like(tau2)
        for rows in _chunks(eta1, eta2):
            inverse = (tau1[rows, None] + tau2).add_(1.0).reciprocal_()
            ratio = (eta1[rows, None] + eta2).mul_(inverse)
            weight = grads[0][rows, :, None]
            slope = ratio.square().add_(inverse).mul_(weight).mul_(-0.5)
            ratio.mul_(weight)
            d_eta1[rows], d_tau1[rows] = ratio.sum(1), slope.sum(1)
            d_eta2 += ratio.sum(0)
            d_tau2 += slope.sum(0)
        return d_eta1, d_tau1, d_eta2, d_tau2


def _chunks(first: Tensor, second: Tensor) -> list[slice]:
    """Row slices of ``first`` whose pair tables stay within the memory budget."""
    step = max(1, _PAIR_BUDGET // max(1, second.numel()))
    return [slice(i, i + step) for i in range(0, len(first), step)]
