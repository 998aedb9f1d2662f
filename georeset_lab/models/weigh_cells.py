"""`weigh_cells` and `smooth_cells`: weights of the cells around, in compiled loops; the mathematics is `GuidedUpsample`'s."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.compiled import compiled
from georeset_lab.models.elementary import exp

REACH = 2
"""Cells to each side that reach a pixel."""
SIDE = 2 * REACH + 1
FLOOR = 1e-3
"""What is left of the weight of a cell that looks nothing like the pixel."""


def _weigh(spatial: Any, pixels: Any, scale: Any, cells: Any, known: Any, weight: Any, guide: Any, row: Any) -> None:
    tall, wide, _, inside = weight.shape
    bands = pixels.shape[0]
    high, broad = pixels.shape[1] // tall, pixels.shape[2] // wide
    for y in range(tall):
        for x in range(wide):
            total, by = row[0], row[1]
            total[:] = np.float32(0)
            for i in range(high):
                for j in range(broad):
                    by[i * broad + j] = -scale[y * high + i, x * broad + j]
                    for b in range(bands):
                        guide[b, i * broad + j] = pixels[b, y * high + i, x * broad + j]
            for c in range(SIDE * SIDE):
                out = weight[y, x, c]
                out[:] = np.float32(0)
                v, u = y + c // SIDE, x + c % SIDE
                if not known[v, u]:
                    continue
                for b in range(bands):
                    cell = cells[v, u, b]
                    for p in range(inside):
                        apart = guide[b, p] - cell
                        out[p] += apart * apart
                for p in range(inside):
                    out[p] = spatial[c, p] * (exp(out[p] * by[p]) + np.float32(FLOOR))
                    total[p] += out[p]
            for p in range(inside):
                total[p] = np.float32(1) / max(total[p], np.float32(1e-9))
            for c in range(SIDE * SIDE):
                for p in range(inside):
                    weight[y, x, c, p] *= total[p]


_weigh_loop = compiled(_weigh)


def _smooth(scale: Any, cells: Any, known: Any, features: Any, out: Any, row: Any) -> None:
    tall, wide, width = out.shape
    bands, n = np.uint64(cells.shape[2]), np.uint64(width)
    for y in range(tall):
        for x in range(wide):
            row[:] = np.float32(0)
            total, own = np.float32(0), cells[y, x]
            for v in range(max(0, y - REACH), min(tall, y + REACH + 1)):
                for u in range(max(0, x - REACH), min(wide, x + REACH + 1)):
                    if not known[v, u]:
                        continue
                    other, feature, apart = cells[v, u], features[v, u], np.float32(0)
                    for b in range(bands):
                        apart += (own[b] - other[b]) * (own[b] - other[b])
                    weight = exp(-apart * scale[y, x]) + np.float32(FLOOR)
                    total += weight
                    for d in range(n):
                        row[d] += weight * feature[d]
            share = np.float32(1) / max(total, np.float32(1e-9))
            for d in range(n):
                out[y, x, d] = row[d] * share


_smooth_loop = compiled(_smooth)


def smooth_cells(features: Tensor, cells: Tensor, known: Tensor, scale: Tensor) -> Tensor:
    """Average features of cells over the 5 x 5 cells around that look alike, on a CPU, without gradients.

    Parameters
    ----------
    features : Tensor, shape (Ny, Nx, H), float32
    cells : Tensor, shape (Ny, Nx, R)
    known : Tensor, shape (Ny, Nx), bool
    scale : Tensor, shape (Ny, Nx)
        What squared differences, summed over bands, are multiplied by.
    """
    out = torch.empty(features.shape)
    arrays = (z.contiguous().numpy() for z in (scale, cells, known, features, out))
    _smooth_loop(*arrays, np.empty(features.shape[-1], np.float32))
    return out


def weigh_cells(spatial: Tensor, pixels: Tensor, scale: Tensor, cells: Tensor, known: Tensor) -> Tensor:
    """Normalised weights of the 25 cells around for the pixels of each cell, on a CPU, without gradients.

    Parameters
    ----------
    spatial : Tensor, shape (P, 25), float32
        Spline weights of the P pixels of a cell, row by row.
    pixels : Tensor, shape (R, Y, X)
        Guide of the pixels.
    scale : Tensor, shape (Y, X)
        What squared differences, summed over bands, are multiplied by.
    cells : Tensor, shape (Ny + 4, Nx + 4, R)
    known : Tensor, shape (Ny + 4, Nx + 4), bool

    Returns
    -------
    Tensor, shape (Ny, Nx, 25, P)
    """
    inside = len(spatial)
    lanes = -(-inside // 16) * 16  # whole vector registers: the rest of a loop would cost as much as the loop
    weight = torch.empty(*(n - 2 * REACH for n in known.shape), SIDE**2, lanes)
    scratch = np.zeros((len(pixels) + 2, lanes), np.float32)
    arrays = (z.numpy() for z in (F.pad(spatial.T, (0, lanes - inside)), pixels, scale, cells, known, weight))
    _weigh_loop(*arrays, scratch[2:], scratch[:2])
    return weight[..., :inside]
