"""What is measured in cells: first sums, which add up over dates (`sum_cells`), then what they say (`read_cells`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.models.pixels import Series
from georeset_lab.models.pooling import pool_squares
from georeset_lab.models.sharpness import sharpness, sum_steps
from georeset_lab.models.signature import Answers, Signature
from georeset_lab.models.spectral import Channels, is_even
from georeset_lab.models.upsample import GuidedUpsample


class CellSums(NamedTuple):
    """Sums over the pixels of each cell, in shares of the cell: (B, T, Ny, Nx, ...)."""

    measured: Tensor
    """(..., 1)."""
    values: Tensor
    """(..., R')."""
    squares: Tensor
    """(..., fixed)."""
    cover: Tensor
    """(..., R')."""
    optical: Tensor
    """This and the next three are `Answers`."""
    radar: Tensor
    light: Tensor
    echo: Tensor
    steps: Tensor
    """(..., 3): this and the next are those of `sum_steps`."""
    pairs: Tensor

    @property
    def answers(self) -> Answers:
        """What the kernels answer."""
        return Answers(self.optical, self.radar, self.light, self.echo)

    def over_dates(self) -> CellSums:
        """All dates as one: (B, 1, Ny, Nx, ...)."""
        return CellSums(*(z.sum(1, keepdim=True) for z in self))

    def apart(self) -> CellSums:
        """Each date by itself: (B * T, 1, Ny, Nx, ...)."""
        return CellSums(*(z.flatten(0, 1)[:, None] for z in self))

    @classmethod
    def of_dates(cls, dates: Iterable[CellSums]) -> CellSums:
        """All of several as one."""
        return cls(*(torch.stack(z).sum(0) for z in zip(*dates, strict=True)))


class Look(NamedTuple):
    """How cells look: what `GuidedUpsample.smooth` compares."""

    guide: Tensor
    """(B, Ny, Nx, fixed): mean of the fixed virtual bands."""
    known: Tensor
    """(B, Ny, Nx) bool: measured on any date."""
    noise: Tensor
    """(B, Ny, Nx, 1): mean square of the spread inside the cell."""


class Cells(NamedTuple):
    """What is measured in the cells of a batch, over all dates."""

    near: Tensor
    """(B, Ny, Nx, F): answers, mean and cover of each virtual band, how often measured, sharpness."""
    answers: Answers
    signature: Tensor
    """(B, Ny, Nx, n): texture, radar, wide."""
    look: Look


def sum_cells(series: Series, signature: Signature, patch: int) -> CellSums:
    """Sums over the pixels of the cells of each date of a batch of series (B, T, R', Y, X)."""
    values, cover, measured, channels = series
    present = _share(measured[:, :, None].to(values), patch)
    mean, square = (z.unflatten(0, values.shape[:2]) for z in pool_squares(values.flatten(0, 1), patch))
    return CellSums(
        present,
        mean,
        square[..., channels.fixed],
        cover[..., 0, 0][:, :, None, None] * present if is_even(cover) else _share(cover, patch),
        *signature.answers(series, patch),
        *sum_steps(series, patch),
    )


def look_of(sums: CellSums, channels: Channels) -> Look:
    """How the cells look, from the sums (B, 1, Ny, Nx, ...) of one date or over dates."""
    amount = sums.measured[:, 0]
    n = amount.clamp_min(1e-9)
    mean, square = sums.values[:, 0, ..., channels.fixed] / n, sums.squares[:, 0] / n
    noise = (square - mean.square()).clamp_min(0).mean(-1, keepdim=True)
    return Look(mean, amount[..., 0] > 0, noise)


def read_cells(
    sums: CellSums, channels: Channels, signature: Signature, upsample: GuidedUpsample, n_virtual: int
) -> Cells:
    """What sums (B, 1, Ny, Nx, ...) of one date or over dates say; ``n_virtual`` is R, all virtual bands."""
    look, answers = look_of(sums, channels), Answers(*(z[:, 0] for z in sums.answers))
    amount = sums.measured[:, 0]
    bands = [z[:, 0] / amount.clamp_min(1e-9) for z in (sums.values, sums.cover)]
    full = amount.new_zeros(*look.known.shape, 2 * n_virtual + 1)
    full[..., torch.cat([channels.places, n_virtual + channels.places])] = torch.cat(bands, -1)
    # 1 for a single date, 2 for three, 3 for seven: how many there were is part of how sure their mean is.
    full[..., -1:] = torch.log2(1 + amount)
    read = signature.read_cells(answers)
    whole = torch.cat([read["texture"], read["radar"], upsample.smooth(read["wide"], *look)], -1)
    sharp = sharpness(sums.steps[:, 0], sums.pairs[:, 0])
    return Cells(torch.cat([answers.means(), full, sharp], -1), answers, whole, look)


def mean_signature(cells: Cells, signature: Signature) -> Tensor:
    """Mean of the signature over the known cells of crops, (B, D); that of the pixels is read from the mean colour."""
    lit = cells.answers.light[..., 0] > 0
    n_colours = len(signature.get_buffer("pixel_centre")) if bool(lit.any()) else 0
    whole = signature.whole(cells.signature, cells.look.guide[..., :n_colours], lit)
    known = cells.look.known.to(whole)[..., None]
    return (whole * known).sum((1, 2)) / known.sum((1, 2)).clamp_min(1.0)


def _share(z: Tensor, patch: int) -> Tensor:
    """Mean over the pixels of each cell: (B, T, R, Y, X) to (B, T, Ny, Nx, R)."""
    return F.avg_pool2d(z.flatten(0, 1), patch).unflatten(0, z.shape[:2]).movedim(2, -1)
