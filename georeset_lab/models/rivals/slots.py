"""`Slots`: input fusion: one channel for each band of each known sensor, zero and a mask where it is absent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from georeset_lab.data.bands import band_table
from georeset_lab.data.sensors import sensor
from georeset_lab.models.normalise import normalise
from georeset_lab.models.rivals.plain import patches

SENSORS = ("sentinel-2-l2a", "landsat-8-l2")
"""Whose bands have slots; a sensor that is not among them is read as the one whose bands are nearest."""


class Slots(nn.Module):
    """Fixed channels, values and masks, through one patch projection.

    Parameters
    ----------
    width, token_px : int
    sensors : sequence of str
        Whose reflectance bands have slots.

    Notes
    -----
    The usual way of stacking sensors (input or early fusion): every band has its own input channel, absent ones are
    zero, and a mask says so. One sensor at a time comes in here, so the channels of the other are always empty. A
    channel has a fixed meaning: bands of an unknown sensor go to the slots they overlap (`fill`), others are dropped.
    """

    def __init__(self, width: int, token_px: int, sensors: Sequence[str] = SENSORS) -> None:
        super().__init__()
        self.side, self.tables = token_px, [slot_table(name) for name in sensors]
        self.project = nn.Linear(2 * sum(map(len, self.tables)) * token_px**2, width)

    def forward(self, x: Tensor, bands: Tensor, pixel_m: float) -> tuple[Tensor, Tensor]:
        """Tokens and which of them were measured; see `georeset_lab.models.rivals.plain.Tokenizer`."""
        mine = home(bands, self.tables)
        parts, masks = [], []
        for k, table in enumerate(self.tables):
            table = table.to(x)
            values = fill(x, bands, table) if k == mine else x.new_full((len(x), len(table), *x.shape[2:]), torch.nan)
            parts.append(torch.nan_to_num(normalise(values, table)))
            masks.append(torch.isfinite(values))
        seen = torch.cat(masks, 1)
        cut = patches(torch.cat([*parts, seen.to(x.dtype)], 1), self.side)
        return self.project(cut.flatten(-2)), patches(seen, self.side).any(-1).any(-1)


def slot_table(name: str) -> Tensor:
    """Band table (K, 4) of a sensor's reflectance bands."""
    return torch.from_numpy(band_table([b for b in sensor(name).bands if b.kind == "reflectance"]))


def home(bands: Tensor, tables: Sequence[Tensor]) -> int:
    """Which of these sensors a band table belongs to: that whose bands are nearest in centre and width."""
    light = bands[bands[:, 3] == 0, :2].cpu()
    if not len(light):
        return 0
    weight = torch.tensor([1.0, 0.5])
    away = [((light[:, None] - t[None, :, :2]).abs() * weight).sum(-1).min(1).values.mean() for t in tables]
    return int(torch.stack(away).argmin())


def fill(x: Tensor, bands: Tensor, slots: Tensor) -> Tensor:
    """Values of slots (N, K, Y, X) from bands (N, C, Y, X); NaN where no band serves or nothing was measured.

    Parameters
    ----------
    slots : Tensor, shape (K, 4)

    Notes
    -----
    A slot takes the band of like centre and width; without one, the mean of all bands whose centre lies inside it (a
    spectrometer); without those, the nearest band that overlaps it.
    """
    out = x.new_full((len(x), len(slots), *x.shape[2:]), torch.nan)
    for k, chosen in enumerate(serving(bands, slots)):
        if len(chosen) == 1:
            out[:, k] = x[:, chosen[0]]
        elif chosen:
            out[:, k] = x[:, chosen].nanmean(1)
    return out


def serving(bands: Tensor, slots: Tensor) -> list[list[int]]:
    """For each slot, the bands that serve it; see `fill`."""
    light = bands[:, 3] == 0
    found = []
    for centre, width, _, _ in slots.tolist():
        away = torch.where(light, (bands[:, 0] - centre).abs(), torch.inf)
        ratio = bands[:, 1] / width
        like = (away < 0.006 + 0.1 * width) & (ratio > 0.5) & (ratio < 2.0)
        inside, near = away <= width / 2, away <= (bands[:, 1] + width) / 2
        if bool(like.any()):
            found.append([int(torch.where(like, away, torch.inf).argmin())])
        elif bool(inside.any()):
            found.append(torch.nonzero(inside)[:, 0].tolist())
        else:
            found.append([int(away.argmin())] if bool(near.any()) else [])
    return found
