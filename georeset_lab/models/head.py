"""The heads: features to natural parameters, for each pixel (`DenseHead`) and for a whole scene (`SceneHead`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.models.fusion import Gaussian

MAX_TAU = 1e3
"""Largest precision one expert may claim (methods.md section 2: an over-confident expert dominates the product)."""

_SPREAD = 1.0


class GaussianHead(nn.Module):
    """Two layers from a sum of features to (eta, tau).

    Parameters
    ----------
    width, latent_dim : int
    deterministic : bool
        Emit tau = 1: a baseline without uncertainty.
    """

    def __init__(self, width: int, latent_dim: int, *, deterministic: bool = False) -> None:
        super().__init__()
        self.deterministic = deterministic
        self.to_hidden = nn.Linear(width, width)
        self.to_latent = nn.Linear(width, latent_dim if deterministic else 2 * latent_dim)
        # Means start about as wide as the prior. Near zero the PMI score and its gradient vanish, and training would
        # first learn to claim nothing.
        nn.init.normal_(self.to_latent.weight[:latent_dim], std=_SPREAD / width**0.5)

    def forward(self, mixed: Tensor, shift: Tensor | None = None) -> Gaussian:
        """Natural parameters (..., latent_dim) from features (..., width), their mean moved by ``shift``."""
        hidden = F.gelu(mixed)
        hidden = hidden + F.gelu(self.to_hidden(hidden))
        out = self.to_latent(hidden)
        mean, raw = (out, None) if self.deterministic else out.chunk(2, -1)
        if shift is not None:
            mean = mean + shift
        tau = torch.ones_like(mean) if raw is None else F.softplus(raw - 1.0).clamp_max(MAX_TAU)
        return Gaussian(tau * mean, tau)


class DenseHead(nn.Module):
    """Expert of a pixel: local dimensions from the pixel and its surroundings, the others from the context as well.

    Parameters
    ----------
    n_context, n_own : int
        Features of the context, and of the pixel with the responses around it.
    width, latent_dim, n_local : int
        ``n_local`` of the ``latent_dim`` dimensions see no context.

    Notes
    -----
    Ours. Context changes slowly across an edge; with one head for all, the map of an encoder trained by contrast rose
    over 300 m at a planted shore. The local dimensions see no context, and have a linear path, so that the probe never
    loses what the pixels say.
    """

    def __init__(
        self, n_context: int, n_own: int, width: int, latent_dim: int, n_local: int, *, deterministic: bool = False
    ) -> None:
        super().__init__()
        self.mix = nn.Linear(n_context, width)
        """First layer's share of the context; linear, so it is applied to cells before upsampling."""
        self.beside_context = nn.Linear(n_own, width, bias=False)
        self.around = GaussianHead(width, latent_dim - n_local, deterministic=deterministic)
        self.alone = nn.Linear(n_own, width)
        self.local = GaussianHead(width, n_local, deterministic=deterministic)
        self.direct = nn.Linear(n_own, n_local, bias=False)
        nn.init.normal_(self.direct.weight, std=_SPREAD / n_own**0.5)

    def forward(self, carried: Tensor, pixel: Tensor) -> Gaussian:
        """Natural parameters (..., latent_dim) of pixels.

        Parameters
        ----------
        carried : Tensor, shape (..., width + 2 K)
            Context after `mix`, and responses, both brought to the pixel.
        pixel : Tensor, shape (..., n_own - 2 K)
        """
        width = self.mix.out_features
        own = torch.cat([pixel, carried[..., width:]], -1)
        local = self.local(self.alone(own), self.direct(own))
        around = self.around(carried[..., :width] + self.beside_context(own))
        return Gaussian(*(torch.cat(pair, -1) for pair in zip(local, around, strict=True)))


class SceneHead(nn.Module):
    """Expert of a whole scene, from the mean of its tokens; never a product of the pixels' experts, which are not independent."""

    def __init__(self, n_context: int, width: int, latent_dim: int, *, deterministic: bool = False) -> None:
        super().__init__()
        self.mix = nn.Linear(n_context, width)
        self.gaussian = GaussianHead(width, latent_dim, deterministic=deterministic)

    def forward(self, pooled: Tensor) -> Gaussian:
        """Natural parameters (..., latent_dim) from pooled tokens (..., n_context)."""
        out: Gaussian = self.gaussian(self.mix(pooled))
        return out
