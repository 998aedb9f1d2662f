"""`paint`: from cells to pixels. What cells say is carried to the pixels of a map along edges, and the head applied there."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.models.canvas import Canvas
from georeset_lab.models.head import DenseHead
from georeset_lab.models.pixels import PixelStatistics, PixelView, Series
from georeset_lab.models.readout import ReadOut
from georeset_lab.models.signature import Signature
from georeset_lab.models.threads import in_threads
from georeset_lab.models.upsample import GuidedUpsample, by_row

# Rows and columns of cells that are painted at once. On a CPU the hidden layers (4608 pixels) then stay in a core's
# cache; a GPU wants long kernels.
_BLOCK = {"cpu": (8, 16), "cuda": (64, 64)}
_SPLINE_REACH = 2
_LANES = 16
"""Numbers of a vector register: products are quickest of matrices whose width is a multiple."""


class Parts(NamedTuple):
    """The parts of an encoder that turn cells into pixels."""

    patch: int
    deterministic: bool
    context_power: float
    products: torch.dtype
    statistics: PixelStatistics
    upsample: GuidedUpsample
    head: DenseHead
    signature: Signature


def finish(parts: Parts, carried: Tensor, view: PixelView, series: Series) -> tuple[Tensor, Tensor]:
    """What the head says of pixels (...) from all that reaches them: the local dimensions, then those with context.

    Parameters
    ----------
    parts : Parts
    carried : Tensor, shape (..., H)
        What their cells say, brought to them.
    view : PixelView
        What they say by themselves.
    series : Series
        From which they were seen.
    """
    n = sum(parts.signature.sizes[block] for block in ("texture", "radar", "wide"))
    features, colours = (z.movedim(0, -1) for z in (view.features, view.colours))
    known = parts.signature.parts(carried[..., -n:], colours, view.lit)
    columns, others = parts.statistics.columns(series)
    return parts.head(carried[..., :-n], features, columns, parts.head.share(series.shared, others), known)


def paint(parts: Parts, carried: Tensor, known: Tensor, cells: Tensor, series: Series, canvas: Canvas) -> None:
    """Experts of the pixels of a canvas, block by block and without gradients.

    Parameters
    ----------
    parts : Parts
    carried : Tensor, shape (Ny, Nx, H)
        What cells say.
    known : Tensor, shape (Ny, Nx), bool
        Cells that hold a measurement.
    cells : Tensor, shape (Ny, Nx, R)
        How cells look.
    series : Series
        Virtual bands of their pixels.
    canvas : Canvas
    """
    p, reach, head = parts.patch, _SPLINE_REACH, parts.head
    power = 1.0 if parts.deterministic else parts.context_power
    (top, bottom), (left, right) = ((part.start // p, -(-part.stop // p)) for part in canvas.core)
    read_out, idle = None, 0
    if carried.device.type == "cpu" and not parts.deterministic:
        columns = parts.statistics.columns(series)
        read_out = ReadOut(head, parts.signature, *columns, series.shared, power, canvas.dtype, parts.products)
        idle = -carried.shape[-1] % _LANES
    sides = (reach,) * 4
    framed = [F.pad(z, (0, more, *sides)) for z, more in ((carried, idle), (cells, 0), (known[..., None], 0))]
    tall, wide = _BLOCK.get(carried.device.type, (16, 16))
    wide *= 2 if canvas.is_sparse else 1

    def paint_block(corner: tuple[int, int]) -> None:
        y, x = corner
        n, m = min(tall, bottom - y), min(wide, right - x)
        around, near, seen = (z[y : y + n + 2 * reach, x : x + m + 2 * reach] for z in framed)
        first, size = (y * p, x * p), (n * p, m * p)
        view = parts.statistics.window(series, first, size, sparse=canvas.is_sparse)
        brought = parts.upsample.by_cell(around, near, seen[..., 0], view.guide, view.noise)
        if read_out is None:
            raw = finish(parts, by_row(brought, p), view, series)
            block = head.emit(*raw, view.observed, context_power=power).to(canvas.dtype)
        else:
            block = read_out(brought, view)
        canvas.put(first, size, block)

    in_threads(paint_block, product(range(top, bottom, tall), range(left, right, wide)), carried.device)
