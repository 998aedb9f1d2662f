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
        """Summarise a series of virtual-band images, for every pixel.

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
        present = measured[:, None].to(values.dtype)
        mean, spread = _moments(_box(values), _box(values * values), _box(present))
        return self.over_dates(values, mean, spread, cover, measured)

    def at_points(self, values: Tensor, cover: Tensor, measured: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Summarise a batch of series at some pixels only; what training needs.

        Parameters
        ----------
        values, cover : Tensor, shape (B, T, R, S, S)
        measured : Tensor, shape (B, T, S, S), bool
        points : Tensor, shape (B, P, 2), int64
            Row and column.

        Returns
        -------
        features : Tensor, shape (5 R, B, P)
        observed : Tensor, shape (B, P), bool
        """
        half = _SIDE // 2
        reach = torch.arange(-half, half + 1, device=points.device)
        rows = points[..., 0, None, None] + half + reach[:, None]
        cols = points[..., 1, None, None] + half + reach
        crop = torch.arange(len(points), device=points.device)[:, None, None, None]
        # Advanced indices around two slices put (B, P, 5, 5) first.
        near = F.pad(values, (half, half, half, half))[crop, :, :, rows, cols].permute(4, 5, 0, 1, 2, 3)
        present = F.pad(measured.to(values.dtype), (half, half, half, half))[crop, :, rows, cols].permute(4, 0, 1, 2, 3)
        mean, spread = _moments(near.sum((-1, -2)), near.square().sum((-1, -2)), present.sum((-1, -2))[:, None])
        own = cover[crop[..., 0, 0], :, :, points[..., 0], points[..., 1]].permute(2, 3, 0, 1)
        return self.over_dates(near[..., half, half], mean, spread, own, present[..., half, half] > 0)

    def over_dates(
        self, values: Tensor, mean: Tensor, spread: Tensor, cover: Tensor, measured: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Pool (T, R, ...) summaries with learned weights of the dates: features (5 R, ...), observed (...)."""
        if len(values) == 1:
            return torch.cat([values[0], mean[0], spread[0], torch.zeros_like(values[0]), cover[0]]), measured[0]
        score = self.date_score(torch.cat([values, mean], 1).movedim(1, -1))[..., 0]
        weight = score.masked_fill(~measured, -1e4).softmax(0)[:, None]
        pooled = [(weight * part).sum(0) for part in (values, mean, spread)]
        present = measured[:, None].to(values.dtype)
        change = ((values - pooled[0]) ** 2 * present).sum(0) / present.sum(0).clamp_min(1.0)
        return torch.cat([*pooled, _root(change), (weight * cover).sum(0)]), measured.any(0)


def _moments(total: Tensor, squares: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation from the sums over the measured pixels of a neighbourhood."""
    n = n.clamp_min(1.0)
    mean = total / n
    return mean, _root((squares / n - mean * mean).clamp_min(0.0))


def _root(variance: Tensor) -> Tensor:
    """Square root with a bounded slope, exactly 0 at 0."""
    return (variance + _FLOOR).sqrt() - _FLOOR**0.5


def _box(x: Tensor) -> Tensor:
    """Sum over 5 x 5 neighbours, zero outside: shifted copies added in place, five times quicker than pooling."""
    half = _SIDE // 2
    tall = x.clone()
    for k in range(1, half + 1):
        tall[..., k:, :] += x[..., :-k, :]
        tall[..., :-k, :] += x[..., k:, :]
    wide = tall.clone()
    for k in range(1, half + 1):
        wide[..., k:] += tall[..., :-k]
        wide[..., :-k] += tall[..., k:]
    return wide
