"""`Translated`: Landsat's bands turned into Sentinel-2's by a regression on pairs; then the Sentinel-2 network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from georeset_lab.data.bands import band_table
from georeset_lab.models.rivals.slots import SENSORS, Slots, fill, home, slot_table

if TYPE_CHECKING:
    from georeset_lab.train.crops import View

_RIDGE = 1e-4
_MOST_DAYS = 16
"""Days apart that two looks of a pair may be: one repeat of Landsat 8."""


class Translated(nn.Module):
    """Slots of Sentinel-2 alone; what comes from another sensor is translated first.

    Parameters
    ----------
    width, token_px : int

    Notes
    -----
    The classical baseline: a linear regression, with intercept and squares, from the seven bands of Landsat 8 to the twelve
    of Sentinel-2 (`fit`), fitted once on ground points that both saw within 16 days. A sensor that is neither is read as
    the nearer of the two. Before `fit` a Landsat band is taken for the Sentinel-2 bands it overlaps.
    """

    def __init__(self, width: int, token_px: int) -> None:
        super().__init__()
        self.slots = Slots(width, token_px, SENSORS[:1])
        self.weight: Tensor
        self.n_pairs: Tensor
        n_in, n_out = (len(slot_table(SENSORS[k])) for k in (1, 0))
        self.register_buffer("weight", torch.zeros(n_out, 2 * n_in + 1))
        self.register_buffer("n_pairs", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, bands: Tensor, pixel_m: float) -> tuple[Tensor, Tensor]:
        """Tokens and which of them were measured; see `georeset_lab.models.rivals.plain.Tokenizer`."""
        table = slot_table(SENSORS[0]).to(x)
        out: tuple[Tensor, Tensor] = self.slots(self.translated(x, bands), table, pixel_m)
        return out

    def translated(self, x: Tensor, bands: Tensor) -> Tensor:
        """Bands of Sentinel-2 (N, 12, Y, X); NaN where nothing was measured."""
        tables = [slot_table(name) for name in SENSORS]
        if home(bands, tables) == 0 or not int(self.n_pairs):
            return fill(x, bands, tables[0].to(x))
        landsat = fill(x, bands, tables[1].to(x))
        known = torch.isfinite(landsat)
        # A missing band is taken from the others as its mean over them: the regression needs all seven.
        whole = torch.where(known, landsat, landsat.nanmean(1, keepdim=True))
        out = torch.einsum("kf,nfyx->nkyx", self.weight, _terms(whole, 1))
        return out

    @torch.no_grad()
    def fit(self, batches: Sequence[tuple[View, ...]], seed: int) -> None:
        """Fit the regression on ground points that two views of a batch share."""
        sources, targets = [], []
        for views in batches:
            of = {home(torch.from_numpy(band_table(v.bands)), [slot_table(n) for n in SENSORS]): v for v in views}
            if set(of) != {0, 1}:
                continue
            values = {k: _at_points(v, slot_table(SENSORS[k])) for k, v in of.items()}
            apart = torch.from_numpy(abs(of[0].day_of_year[:, 0] - of[1].day_of_year[:, 0]))
            good = torch.isfinite(values[0]).all(-1) & torch.isfinite(values[1]).all(-1)
            good &= (apart <= _MOST_DAYS)[:, None]
            sources.append(values[1][good])
            targets.append(values[0][good])
        x = torch.cat(sources).double() if sources else torch.zeros(0, 1)
        if len(x) < 20 * self.weight.shape[1]:
            return
        terms = _terms(x, -1)
        gram = terms.T @ terms / len(x)
        gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        weight = torch.linalg.solve(gram, terms.T @ torch.cat(targets).double() / len(x)).T
        self.weight.copy_(weight)
        self.n_pairs.fill_(len(x))


def _terms(x: Tensor, axis: int) -> Tensor:
    """Values, their squares and one."""
    return torch.cat([x, x.square(), torch.ones_like(x.narrow(axis, 0, 1))], axis)


def _at_points(view: View, slots: Tensor) -> Tensor:
    """Values of the slots at the ground points of a view's first date, (B, P, K)."""
    x = torch.from_numpy(view.pixels[:, 0])
    values = fill(x, torch.from_numpy(band_table(view.bands)), slots)
    row, points = torch.arange(len(x))[:, None], torch.from_numpy(view.points)
    return values[row, :, points[..., 0], points[..., 1]]
