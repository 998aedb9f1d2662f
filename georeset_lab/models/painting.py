"""`paint`: from cells to pixels. What cells say is carried to the pixels of a map along edges, and the head applied there."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.models.core import Core
from georeset_lab.models.fusion import Gaussian
from georeset_lab.models.large import empty
from georeset_lab.models.pixels import Series
from georeset_lab.models.readout import ReadOut
from georeset_lab.models.threads import in_threads
from georeset_lab.models.upsample import by_row

if TYPE_CHECKING:
    from georeset_lab.models.encoder import Encoder

# Rows and columns of cells that are painted at once. On a CPU the hidden layers (2304 pixels) then stay in a core's
# cache; a GPU wants long kernels.
_BLOCK = {"cpu": (4, 16), "cuda": (64, 64)}
_SPLINE_REACH = 2


def paint(
    encoder: Encoder, carried: Tensor, known: Tensor, cells: Tensor, series: Series, core: Core, dtype: torch.dtype
) -> Gaussian:
    """Experts of the pixels of a core, (Y', X', D), block by block and without gradients.

    Parameters
    ----------
    encoder : Encoder
    carried : Tensor, shape (Ny, Nx, H)
        What cells say.
    known : Tensor, shape (Ny, Nx), bool
        Cells that hold a measurement.
    cells : Tensor, shape (Ny, Nx, R)
        How cells look.
    series : Series
        Virtual bands of their pixels.
    core : Core
        Rows and columns of the pixels that are wanted.
    dtype : torch.dtype
        Of the result.
    """
    p, reach = encoder.config.patch, _SPLINE_REACH
    power = 1.0 if encoder.config.deterministic else encoder.config.context_power
    framed = [F.pad(z, (0, 0, reach, reach, reach, reach)) for z in (carried, cells, known[..., None])]
    (top, bottom), (left, right) = ((part.start // p, -(-part.stop // p)) for part in core)
    sides = [part.stop - part.start for part in core]
    out = Gaussian(*empty((2, *sides, encoder.config.latent_dim), dtype, carried.device))
    read_out = None
    if carried.device.type == "cpu" and not encoder.config.deterministic:
        read_out = ReadOut(
            encoder.head, encoder.signature, *encoder.statistics.columns(series), series.shared, power, dtype
        )
    tall, wide = _BLOCK.get(carried.device.type, (16, 16))

    def paint_block(corner: tuple[int, int]) -> None:
        y, x = corner
        n, m = min(tall, bottom - y), min(wide, right - x)
        around, near, seen = (z[y : y + n + 2 * reach, x : x + m + 2 * reach] for z in framed)
        view = encoder.statistics.window(series, (y * p, x * p), (n * p, m * p))
        brought = encoder.upsample.by_cell(around, near, seen[..., 0], view.guide, view.noise)
        if read_out is None:
            raw = encoder.finish(by_row(brought, p), view, series)
            block = encoder.head.emit(*raw, view.observed, context_power=power).to(dtype)
        else:
            block = read_out(brought, view)
        (rows, in_rows), (cols, in_cols) = (
            _overlap(at * p, k * p, part) for at, k, part in zip(corner, (n, m), core, strict=True)
        )
        for target, part in zip(out, block, strict=True):
            target[rows, cols] = part[in_rows, in_cols]

    in_threads(paint_block, product(range(top, bottom, tall), range(left, right, wide)), carried.device)
    return out


def _overlap(first: int, size: int, part: slice) -> tuple[slice, slice]:
    """Where ``size`` pixels from ``first`` on lie in a part, and which of them do."""
    start, stop = max(first, part.start), min(first + size, part.stop)
    return slice(start - part.start, stop - part.start), slice(start - first, stop - first)
