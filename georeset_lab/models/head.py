"""The heads: features to natural parameters, for each pixel (`DenseHead`) and for a whole scene (`SceneHead`)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.models.emission import Emission, emit
from georeset_lab.models.fusion import Gaussian


class GaussianHead(nn.Module):
    """Two layers from a sum of features to (eta, tau).

    Parameters
    ----------
    width, latent_dim : int
    how : Emission
    """

    def __init__(self, width: int, latent_dim: int, how: Emission) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.to_hidden = nn.Linear(width, width)
        self.to_latent = nn.Linear(width, latent_dim if how.deterministic else 2 * latent_dim)
        nn.init.normal_(self.to_latent.weight[:latent_dim], std=how.spread / width**0.5)

    def raw(self, mixed: Tensor) -> Tensor:
        """Mean and the certainty before its activation, (..., 2 latent_dim); the mean alone if deterministic."""
        hidden = F.gelu(mixed)
        hidden = hidden + F.gelu(self.to_hidden(hidden))
        out: Tensor = self.to_latent(hidden)
        return out


class DenseHead(nn.Module):
    """Expert of a pixel: what learning adds to its `Signature`, and how sure that is.

    Parameters
    ----------
    n_context, n_near, n_pixel : int
        Features of a cell's context, of what is measured in the cell, and of a pixel.
    width, latent_dim, n_local : int
        ``n_local`` of the ``latent_dim`` dimensions see no context.
    how : Emission

    Notes
    -----
    Ours. All that a cell can decide is computed once for the cell (`cells`), carried to its pixels along edges, and
    finished there (`forward`): the head costs a sixth of one that does everything for each pixel. Context changes slowly
    across an edge; so most dimensions see none.
    """

    def __init__(
        self, n_context: int, n_near: int, n_pixel: int, width: int, latent_dim: int, n_local: int, how: Emission
    ) -> None:
        super().__init__()
        self.n_local, self.n_around, self.width = n_local, latent_dim - n_local, width
        self.mix = nn.Linear(n_context + n_near, n_context)
        self.around = GaussianHead(n_context, self.n_around, how)
        self.beside = nn.Linear(n_near, width, bias=False)
        self.alone = nn.Linear(n_pixel, width)
        self.local = GaussianHead(width, n_local, how)

    def cells(self, context: Tensor, near: Tensor) -> Tensor:
        """Share of the cells, to be carried to their pixels: (..., H).

        Parameters
        ----------
        context : Tensor, shape (..., n_context)
        near : Tensor, shape (..., n_near)
        """
        return torch.cat([self.beside(near), self.around.raw(self.mix(torch.cat([context, near], -1)))], -1)

    def share(self, features: Tensor, columns: Tensor) -> Tensor:
        """What the hidden layer (width,) gets from features (n,) that all pixels share, at these places; and its bias."""
        return self.alone.bias + self.alone.weight[:, columns] @ features

    def forward(
        self, carried: Tensor, pixel: Tensor, columns: Tensor, shared: Tensor, signature: Mapping[int, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Mean and certainty before its activation, of the ``n_local`` dimensions and of those with context; for `emit`.

        Parameters
        ----------
        carried : Tensor, shape (..., H)
            From `cells`, brought to the pixels.
        pixel : Tensor, shape (..., n)
            Those of the ``n_pixel`` features that the sensor can fill.
        columns : Tensor, shape (n,)
            Their places.
        shared : Tensor, shape (width,)
            From `share`.
        signature : mapping of first dimension to Tensor (..., n)
            What the local means are before any learning (`Signature.parts`); 0 where nothing is given.
        """
        alone = F.linear(pixel, self.alone.weight[:, columns], shared)
        local = self.local.raw(alone + carried[..., : self.width])
        for first, part in signature.items():
            local[..., first : first + part.shape[-1]] += part
        return local, carried[..., self.width :]

    def emit(self, local: Tensor, around: Tensor, observed: Tensor, *, context_power: float = 1.0) -> Gaussian:
        """Experts of pixels from what `forward` gives.

        Parameters
        ----------
        local, around : Tensor, shape (..., 2 n), or (..., n) of a deterministic head
        observed : Tensor, shape (...), bool or float32
            Pixels that were measured, or the share of what each stands for (`PixelView.observed`); at 0 both parameters
            are 0.
        context_power : float
            Power in (0, 1] to which the experts of the dimensions with context are raised: both parameters are scaled.

        Returns
        -------
        Gaussian, each (..., D)
        """
        own, shared = emit(local, self.n_local), emit(around, self.n_around)
        seen = observed[..., None]
        return Gaussian(*(torch.cat([a, context_power * b], -1) * seen for a, b in zip(own, shared, strict=True)))


class SceneHead(nn.Module):
    """Expert of a whole scene, from the mean of its tokens; never a product of the pixels' experts, which are not independent."""

    def __init__(self, n_context: int, width: int, latent_dim: int, how: Emission) -> None:
        super().__init__()
        self.mix = nn.Linear(n_context, width)
        self.gaussian = GaussianHead(width, latent_dim, how)

    def forward(self, pooled: Tensor, signature: Tensor) -> Gaussian:
        """Natural parameters (..., latent_dim) from pooled tokens (..., n_context) and the mean signature."""
        raw = self.gaussian.raw(self.mix(pooled))
        raw[..., : signature.shape[-1]] += signature
        return emit(raw, self.gaussian.latent_dim)
