"""`GaussianHead`: context and pixel features to (eta, tau), and the spline that carries context from cells to pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.models.fusion import Gaussian

MAX_TAU = 1e3
"""Largest precision one expert may claim (methods.md section 2: an over-confident expert dominates the product)."""


class GaussianHead(nn.Module):
    """Two-layer network with a linear path from the pixel, emitting natural parameters.

    All tensors are feature-major (F, N), so that a map is painted by plain matrix products.

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
        self.from_context = nn.Linear(n_context, width)
        self.from_pixel = nn.Linear(n_pixel, width, bias=False) if n_pixel else None
        self.to_hidden = nn.Linear(width, width)
        self.to_mean = nn.Linear(width, latent_dim)
        self.to_certainty = nn.Linear(width, latent_dim)
        # What the pixel says also reaches the mean directly: the probe never loses it.
        self.direct = nn.Linear(n_pixel, latent_dim, bias=False) if n_pixel else None

    def mix(self, context: Tensor) -> Tensor:
        """First layer's share of the context, (n_context, N) to (width, N); linear, so it may be done before upsampling."""
        return self.from_context.weight @ context + self.from_context.bias[:, None]

    def forward(self, mixed: Tensor, pixel: Tensor | None = None) -> Gaussian:
        """Natural parameters of shape (latent_dim, N) from mixed context (width, N) and pixel features (n_pixel, N)."""
        if self.from_pixel is not None and pixel is not None:
            mixed = mixed + self.from_pixel.weight @ pixel
        hidden = F.gelu(mixed)
        hidden = hidden + F.gelu(self.to_hidden.weight @ hidden + self.to_hidden.bias[:, None])
        mean = self.to_mean.weight @ hidden + self.to_mean.bias[:, None]
        if self.direct is not None and pixel is not None:
            mean = mean + self.direct.weight @ pixel
        if self.deterministic:
            tau = torch.ones_like(mean)
        else:
            raw = self.to_certainty.weight @ hidden + self.to_certainty.bias[:, None]
            tau = F.softplus(raw - 1.0).clamp_max(MAX_TAU)
        return Gaussian(tau * mean, tau)


def spline_matrix(n_cells: int, patch: int) -> Tensor:
    """Weights of a cubic B-spline over cell centres, for each pixel.

    Returns
    -------
    Tensor, shape (n_cells * patch, n_cells), float32
        Rows sum to one inside; near the ends the missing cells' share is simply absent (the caller normalises).

    Notes
    -----
    Nearest or bilinear upsampling leaves the cell grid visible. The cubic B-spline's spectrum falls with the fourth power
    and is zero at the cell frequency, so a smooth context stays free of blocks.
    """
    pixel = (torch.arange(n_cells * patch, dtype=torch.float32) + 0.5) / patch - 0.5
    d = (pixel[:, None] - torch.arange(n_cells)).abs()
    near = 2 / 3 - d**2 + d**3 / 2
    far = (2 - d).clamp_min(0) ** 3 / 6
    return torch.where(d < 1, near, far)
