"""`VirtualBands`: our `SpectralBasis` in front of the plain transformer, so that the tokenizer alone is compared."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from georeset_lab.models.rivals.plain import patches
from georeset_lab.models.spectral import SpectralBasis


class VirtualBands(nn.Module):
    """Virtual bands and their cover through one patch projection.

    Parameters
    ----------
    width, token_px : int
    n_learned : int
        Learned contrasts of the `SpectralBasis`.
    """

    def __init__(self, width: int, token_px: int, n_learned: int = 6) -> None:
        super().__init__()
        self.side, self.basis = token_px, SpectralBasis(n_learned)
        self.project = nn.Linear(2 * self.basis.n_virtual * token_px**2, width)

    def forward(self, x: Tensor, bands: Tensor, pixel_m: float) -> tuple[Tensor, Tensor]:
        """Tokens and which of them were measured; see `georeset_lab.models.rivals.plain.Tokenizer`."""
        values, cover, channels = self.basis(x, bands)
        n = self.basis.n_virtual
        full = x.new_zeros(len(x), 2 * n, *x.shape[2:])
        full[:, torch.cat([channels.places, n + channels.places])] = torch.cat([values, cover], 1)
        seen = patches(torch.isfinite(x), self.side).any(-1).any(-1)
        return self.project(patches(full, self.side).flatten(-2)), seen
