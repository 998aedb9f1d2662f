"""`GaussianHead`: context and pixel features to (eta, tau)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.models.fusion import Gaussian

_SPREAD = 2.5

MAX_TAU = 1e3
"""Largest precision one expert may claim (methods.md section 2: an over-confident expert dominates the product)."""


class GaussianHead(nn.Module):
    """Two-layer network with a linear path from the pixel, emitting natural parameters.

    Parameters
    ----------
    n_context, n_pixel : int
        Features of the context and of the pixel; ``n_pixel = 0`` for the scene head.
    width, latent_dim : int
    deterministic : bool
        Emit tau = 1: a baseline without uncertainty.
    """

    def __init__(
        self, n_context: int, n_pixel: int, width: int, latent_dim: int, *, deterministic: bool = False
    ) -> None:
        super().__init__()
        self.deterministic = deterministic
        self.mix = nn.Linear(n_context, width)
        """First layer's share of the context; linear, so it is applied to cells before upsampling."""
        self.from_pixel = nn.Linear(n_pixel, width, bias=False) if n_pixel else None
        self.to_hidden = nn.Linear(width, width)
        self.to_latent = nn.Linear(width, latent_dim if deterministic else 2 * latent_dim)
        # What the pixel says also reaches the mean directly: the probe never loses it.
        self.direct = nn.Linear(n_pixel, latent_dim, bias=False) if n_pixel else None
        # Means start about as wide as the prior. Near zero the PMI score and its gradient vanish, and training would first
        # learn to claim nothing.
        nn.init.normal_(self.to_latent.weight[:latent_dim], std=_SPREAD / width**0.5)
        if self.direct is not None:
            nn.init.normal_(self.direct.weight, std=_SPREAD / n_pixel**0.5)

    def forward(self, mixed: Tensor, pixel: Tensor | None = None) -> Gaussian:
        """Natural parameters (..., latent_dim) from mixed context (..., width) and pixel features (..., n_pixel)."""
        if self.from_pixel is not None and pixel is not None:
            mixed = mixed + self.from_pixel(pixel)
        hidden = F.gelu(mixed)
        hidden = hidden + F.gelu(self.to_hidden(hidden))
        out = self.to_latent(hidden)
        mean, raw = (out, None) if self.deterministic else out.chunk(2, -1)
        if self.direct is not None and pixel is not None:
            mean = mean + self.direct(pixel)
        tau = torch.ones_like(mean) if raw is None else F.softplus(raw - 1.0).clamp_max(MAX_TAU)
        return Gaussian(tau * mean, tau)
