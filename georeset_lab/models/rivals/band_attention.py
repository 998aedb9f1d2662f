"""`BandAttention`: each band its own patch and wavelength code; one learned query attends over the bands (Panopticon)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from georeset_lab.models.normalise import N_KINDS, normalise
from georeset_lab.models.rivals.plain import patches

_LONGEST = 10_000.0


class BandAttention(nn.Module):
    """Any number of bands to one token by cross-attention.

    Parameters
    ----------
    width, heads, token_px : int

    Notes
    -----
    After Panopticon (Waldmann et al. 2025, arXiv 2503.10845; ``dinov2/models/panopticon.py``): one 1 x P x P kernel
    shared by all bands, plus sines and cosines of the centre in whole nanometres, keys and values from both, one learned
    query, no projection after the heads but the one to the width of the tokens. Theirs has 2304 dimensions and 16 heads.
    Ours computes the same sums in another order: kernel, keys and values are linear, so the patches are weighed and
    averaged first and projected once, which costs 16 numbers for each band and pixel patch instead of ``width``. Radar
    and other kinds have a learned code instead of a wavelength, as there. A band without a pixel in the patch is left
    out of the attention: a masked band equals an absent one.
    """

    def __init__(self, width: int, heads: int, token_px: int) -> None:
        super().__init__()
        self.width, self.heads, self.side = width, heads, token_px
        self.kernel = nn.Linear(token_px**2, width)
        self.kinds = nn.Embedding(N_KINDS, width)
        self.query = nn.Parameter(torch.randn(heads, width // heads))
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, bands: Tensor, pixel_m: float) -> tuple[Tensor, Tensor]:
        """Tokens and which of them were measured; see `georeset_lab.models.rivals.plain.Tokenizer`."""
        values = normalise(x, bands)
        seen = patches(torch.isfinite(values), self.side).any(-1)
        cut = patches(torch.nan_to_num(values), self.side)
        code = self.codes(bands)
        # One row for each head: the query seen from the side of the embedded bands.
        ask = torch.einsum("hd,hde->he", self.query, self.key.weight.view(self.heads, -1, self.width))
        ask = ask / math.sqrt(self.width // self.heads)
        score = cut @ (ask @ self.kernel.weight).T + code @ ask.T
        share = score.masked_fill(~seen[..., None], -torch.inf).softmax(-2)
        share = torch.nan_to_num(share)  # no band measured: nothing is said, and `seen` says so
        mixed = share.transpose(-1, -2) @ cut @ self.kernel.weight.T + share.transpose(-1, -2) @ code
        value = self.value.weight.view(self.heads, -1, self.width)
        heads = torch.einsum("...he,hde->...hd", mixed, value).flatten(-2)
        return self.project(heads), seen.any(-1)

    def codes(self, bands: Tensor) -> Tensor:
        """Code of each band, (C, W): kernel bias, wavelength, kind."""
        nm = (bands[:, 0] * 1000.0).round()[:, None]
        half = self.width // 2
        angle = nm / _LONGEST ** (torch.arange(half, device=bands.device) / half)
        wave = torch.cat([angle.sin(), angle.cos()], 1) * (bands[:, 3] == 0)[:, None]
        out: Tensor = self.kernel.bias + wave + self.kinds(bands[:, 3].long())
        return out
