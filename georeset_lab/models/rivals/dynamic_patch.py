"""`DynamicPatch`: a network writes the patch kernel of each band from its wavelength (DOFA)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from georeset_lab.models.normalise import normalise
from georeset_lab.models.rivals.plain import patches

_SCALE = 0.01
_TOKENS = 32
_USUAL = 12.0
"""Bands for which the sum keeps the published scale."""


class DynamicPatch(nn.Module):
    """Kernels written by wavelength, summed over the bands.

    Parameters
    ----------
    width, token_px : int
    hidden : int
        Width of the network that writes the kernels.

    Notes
    -----
    After DOFA (Xiong et al. 2024, arXiv 2403.15356; torchgeo ``models/dofa.py``): micrometres x 1000 to sines and
    cosines, a residual MLP, one transformer layer together with learned weight tokens and a bias token, then one P x P x D
    kernel for each band, times 0.01, and a single convolution. Theirs has 128 weight tokens and 128 dimensions.

    The convolution *sums* over bands, so DOFA's tokens grow with their number: 200 bands shout 17 times as loud as 12.
    Here the sum is divided by the bands measured in the patch and multiplied by 12: as published for 12 bands, and a kind
    reading of the rival for any other number. Only wavelengths are known to it: bands that are not reflectance are left
    out.
    """

    def __init__(self, width: int, token_px: int, hidden: int = 32) -> None:
        super().__init__()
        self.width, self.side, self.hidden = width, token_px, hidden
        self.first, self.second = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.weight_tokens = nn.Parameter(0.02 * torch.randn(_TOKENS, hidden))
        self.bias_token = nn.Parameter(0.02 * torch.randn(1, hidden))
        self.mixer = nn.TransformerEncoderLayer(hidden, 4, 2 * hidden, dropout=0.0, activation="gelu", batch_first=True)
        self.to_kernel = nn.Linear(hidden, token_px**2 * width)
        self.to_bias = nn.Linear(hidden, width)

    def forward(self, x: Tensor, bands: Tensor, pixel_m: float) -> tuple[Tensor, Tensor]:
        """Tokens and which of them were measured; see `georeset_lab.models.rivals.plain.Tokenizer`."""
        # Kernels attend to each other, so a band that nothing measured must not take part.
        light = (bands[:, 3] == 0) & torch.isfinite(x).any(-1).any(-1).any(0)
        if not bool(light.any()):
            grid = (len(x), x.shape[2] // self.side, x.shape[3] // self.side)
            return x.new_zeros(*grid, self.width), x.new_zeros(grid, dtype=torch.bool)
        values = normalise(x[:, light], bands[light])
        seen = patches(torch.isfinite(values), self.side).any(-1)
        cut = patches(torch.nan_to_num(values), self.side)
        kernel, bias = self.kernels(bands[light])
        total = cut.flatten(-2) @ kernel.flatten(0, 1)
        count = seen.sum(-1, keepdim=True).clamp_min(1)
        return total * (_USUAL / count) + bias, seen.any(-1)

    def kernels(self, bands: Tensor) -> tuple[Tensor, Tensor]:
        """Kernel of each band (C, P ** 2, W), and the bias (W,)."""
        nm = bands[:, :1] * 1000.0
        half = self.hidden // 2
        angle = nm / 10_000.0 ** (torch.arange(half, device=bands.device) / half)
        wave = torch.cat([angle.sin(), angle.cos()], 1)
        wave = wave + self.second(nn.functional.gelu(self.first(wave)))
        mixed = self.mixer(torch.cat([self.weight_tokens, wave, self.bias_token])[None])[0]
        written = self.to_kernel(mixed[_TOKENS:-1] + wave).view(len(bands), self.side**2, self.width)
        # The published 0.01 goes with 16 x 16 patches of 768 numbers; a smaller patch sums fewer pixels.
        return written * (_SCALE * 16 / self.side), self.to_bias(mixed[-1]) * _SCALE * math.sqrt(self.width)
