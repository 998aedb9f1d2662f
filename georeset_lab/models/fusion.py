"""Gaussian experts in natural parameters, and their product. No network here.

Every modality contributes a *likelihood expert* (eta, tau): what it alone adds to the prior N(0, 1). The prior is one
more expert and is counted once, here, never inside an expert.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from georeset_lab.errors import ShapeMismatch


class Gaussian(NamedTuple):
    """A diagonal Gaussian expert: precision ``tau >= 0`` and ``eta = tau * mean``, both of shape (..., D)."""

    eta: Tensor
    tau: Tensor

    @property
    def mean(self) -> Tensor:
        """Posterior mean under the N(0, 1) prior, shape (..., D)."""
        return self.eta / (1.0 + self.tau)

    @property
    def var(self) -> Tensor:
        """Posterior variance under the N(0, 1) prior, in (0, 1]; 1 where the expert says nothing."""
        return 1.0 / (1.0 + self.tau)

    def to(self, dtype: torch.dtype) -> Gaussian:
        """The same numbers in another type, clipped to its range."""
        if dtype == self.eta.dtype:
            return self
        most = torch.finfo(dtype).max
        return Gaussian(*(z.clamp(-most, most).to(dtype) for z in self))


def product_of_experts(
    eta: Tensor, tau: Tensor, present: Tensor, *, prior_precision: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Fuse Gaussian experts and the prior into one Gaussian, weighting each by its certainty.

    Parameters
    ----------
    eta, tau : Tensor, shape (N, M, D), float32
        Natural parameters of M modalities: precision ``tau`` >= 0 in inverse squared embedding units, ``eta = tau *
        mean``.
    present : Tensor, shape (N, M), bool
        False where a modality was not observed; its parameters are ignored, NaN included.
    prior_precision : float
        Precision of the zero-mean prior, counted once.

    Returns
    -------
    mean, var : Tensor, shape (N, D)
        The variance never exceeds the prior's, nor that of fewer experts; with nothing present it is the prior.

    Raises
    ------
    ShapeMismatch
        The three inputs disagree on N, M or D.

    Notes
    -----
    Wu and Goodman (2018), "Multimodal generative models for scalable weakly-supervised learning", equation 5. Ours
    differs in that experts are emitted as likelihoods (already divided by the prior), so the prior is never counted M
    times.

    Examples
    --------
    >>> one = torch.ones(1, 2, 3)
    >>> _, var = product_of_experts(one, one, torch.ones(1, 2, dtype=torch.bool))
    >>> [round(v, 3) for v in var[0].tolist()]
    [0.333, 0.333, 0.333]
    """
    if eta.shape != tau.shape or eta.ndim != 3 or present.shape != eta.shape[:2]:
        raise ShapeMismatch(
            f"product_of_experts got eta {tuple(eta.shape)}, tau {tuple(tau.shape)} and present {tuple(present.shape)}; "
            "it needs eta and tau of one shape (N, M, D) and present of shape (N, M)."
        )
    keep = present[..., None]
    precision = prior_precision + torch.where(keep, tau, 0.0).sum(1)
    return torch.where(keep, eta, 0.0).sum(1) / precision, 1.0 / precision


def fuse(experts: list[Gaussian]) -> Gaussian:
    """Sum of experts, itself an expert: natural parameters add.

    Parameters
    ----------
    experts : list of Gaussian, each (..., D)
        At least one; silent experts have eta = tau = 0.
    """
    return Gaussian(torch.stack([e.eta for e in experts]).sum(0), torch.stack([e.tau for e in experts]).sum(0))
