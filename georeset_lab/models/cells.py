"""`read_cells`: what is measured in the cells of a scene: answers of the signature's kernels, colours, what is known."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.models.pixels import Series
from georeset_lab.models.sharpness import sharpness
from georeset_lab.models.signature import CellSums, Signature
from georeset_lab.models.upsample import GuidedUpsample, masked_cell_mean


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
    sums: CellSums
    signature: Tensor
    """(B, Ny, Nx, n): texture, radar, wide."""
    look: Look


def look_of(series: Series, patch: int) -> Look:
    """How the cells of a batch of series (B, T, R', Y, X) look."""
    values = series.values[:, :, series.channels.fixed]
    mean = masked_cell_mean(values, series.measured, patch)
    square = masked_cell_mean(values.square(), series.measured, patch)
    noise = (square - mean.square()).clamp_min(0).mean(-1, keepdim=True)
    known = F.max_pool2d(series.measured.any(1, keepdim=True).to(values), patch)[:, 0] > 0
    return Look(mean, known, noise)


def read_cells(series: Series, signature: Signature, upsample: GuidedUpsample, n_virtual: int) -> Cells:
    """Summarise the cells of a batch of series (B, T, R', Y, X); ``n_virtual`` is R, all virtual bands."""
    values, cover, measured, channels = series
    patch = upsample.patch
    sums, look = signature.cells(values, cover, channels, patch), look_of(series, patch)
    bands = [masked_cell_mean(z, measured, patch) for z in (values, cover)]
    full = values.new_zeros(*look.known.shape, 2 * n_virtual + 1)
    full[..., torch.cat([channels.places, n_virtual + channels.places])] = torch.cat(bands, -1)
    # 1 for a single date, 2 for three, 3 for seven: how many there were is part of how sure their mean is.
    full[..., -1] = torch.log2(1 + F.avg_pool2d(measured.sum(1, keepdim=True).to(values), patch)[:, 0])
    read = signature.read_cells(sums)
    whole = torch.cat([read["texture"], read["radar"], upsample.smooth(read["wide"], *look)], -1)
    return Cells(torch.cat([sums.answers, full, sharpness(series, patch)], -1), sums, whole, look)


def mean_signature(cells: Cells, signature: Signature) -> Tensor:
    """Mean of the signature over the known cells of crops, (B, D); that of the pixels is read from the mean colour."""
    lit = cells.sums.light > 0
    n_colours = len(signature.get_buffer("pixel_centre")) if bool(lit.any()) else 0
    whole = signature.whole(cells.signature, cells.look.guide[..., :n_colours], lit)
    known = cells.look.known.to(whole)[..., None]
    return (whole * known).sum((1, 2)) / known.sum((1, 2)).clamp_min(1.0)
