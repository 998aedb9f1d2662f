"""`emit`: from what a head says to natural parameters."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.models.fusion import Gaussian

MAX_TAU = 1e3
"""Largest precision one expert may claim (methods.md section 2: an over-confident expert dominates the product)."""
SHIFT = 1.0
"""Taken from the certainty before its activation: fresh weights claim little."""


class Emission(NamedTuple):
    """How heads emit their parameters."""

    spread: float = 0.1
    """Standard deviation of what fresh weights add to the signature."""
    deterministic: bool = False
    """Emit tau = 1: a baseline without uncertainty."""


def emit(raw: Tensor, latent_dim: int) -> Gaussian:
    """Natural parameters (..., D) from the mean and the certainty before its activation, (..., 2 D).

    Without certainty among it, (..., D), tau is 1.
    """
    mean, certainty = raw[..., :latent_dim], raw[..., latent_dim:]
    tau = F.softplus(certainty - SHIFT).clamp_max(MAX_TAU) if certainty.shape[-1] else torch.ones_like(mean)
    return Gaussian(tau * mean, tau)
