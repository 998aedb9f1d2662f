"""`PixelStatistics`: what a pixel and its 5 x 5 neighbours say by themselves, over all dates. No learning but date weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SIDE = 5
_FLOOR = 1e-4


class PixelStatistics(nn.Module):
    """Own value, local mean, local spread and spread over dates of each virtual band, with its cover.

    Parameters
    ----------
    n_virtual : int
        R, number of virtual bands.

    Notes
    -----
    Local mean and spread are the strongest cheap features of few-shot land cover (``methods.md`` section 11), so the head is
    given them instead of having to learn them. Missing neighbours leave both sums: one NaN pixel touches no other's values.
    """

    def __init__(self, n_virtual: int) -> None:
        super().__init__()
        self.n_features = 5 * n_virtual
        self.date_score = nn.Linear(2 * n_virtual, 1)
        nn.init.zeros_(self.date_score.weight)

    def forward(self, values: Tensor, cover: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        """Summarise a series of virtual-band images.

        Parameters
        ----------
        values, cover : Tensor, shape (T, R, Y, X)
            From `SpectralBasis`; values are 0 where nothing was measured.
        measured : Tensor, shape (T, Y, X), bool

        Returns
        -------
        features : Tensor, shape (5 R, Y, X)
            Value, 5 x 5 mean, 5 x 5 spread (weighted mean over dates), spread over dates, cover.
        observed : Tensor, shape (Y, X), bool
            Measured on at least one date.
        """
        mean, spread = local_moments(values, measured)
        if len(values) == 1:
            return torch.cat([values[0], mean[0], spread[0], torch.zeros_like(values[0]), cover[0]]), measured[0]
        score = self.date_score(torch.cat([values, mean], 1).movedim(1, -1))[..., 0]
        weight = score.masked_fill(~measured, -1e4).softmax(0)[:, None]
        pooled = [(weight * part).sum(0) for part in (values, mean, spread)]
        present = measured[:, None].to(values.dtype)
        change = ((values - pooled[0]) ** 2 * present).sum(0) / present.sum(0).clamp_min(1.0)
        return torch.cat([*pooled, (change + _FLOOR).sqrt() - _FLOOR**0.5, (weight * cover).sum(0)]), measured.any(0)


def local_moments(values: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the measured pixels of each 5 x 5 neighbourhood; shapes as ``values``."""
    present = measured[:, None].to(values.dtype)
    n = _box(present).clamp_min(1.0)
    mean = _box(values) / n
    spread = (_box(values * values) / n - mean * mean).clamp_min(0.0)
    return mean, (spread + _FLOOR).sqrt() - _FLOOR**0.5


def _box(x: Tensor) -> Tensor:
    """Sum over 5 x 5 neighbours, zero outside; two one-dimensional passes."""
    half = _SIDE // 2
    y, w = x.shape[-2:]
    rows = F.pad(x, (0, 0, half, half))
    tall = sum((rows[..., k : k + y, :] for k in range(1, _SIDE)), rows[..., :y, :])
    cols = F.pad(tall, (half, half))
    return sum((cols[..., k : k + w] for k in range(1, _SIDE)), cols[..., :w])
