"""From what a head says to natural parameters: the formula (`emit`), and the same of a block of pixels in one compiled loop."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numba.extending import overload
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.compiled import compiled
from georeset_lab.models.elementary import half, softplus
from georeset_lab.models.fusion import Gaussian

MAX_TAU = 1e3
"""Largest precision one expert may claim (methods.md section 2: an over-confident expert dominates the product)."""
SHIFT = 1.0
"""Taken from the certainty before its activation: fresh weights claim little."""


class Emission(NamedTuple):
    """How heads emit their parameters."""

    spread: float = 0.1
    """Standard deviation of what fresh weights add to the signature."""
    deterministic: bool = False
    """Emit tau = 1: a baseline without uncertainty."""


def emit(raw: Tensor, latent_dim: int) -> Gaussian:
    """Natural parameters (..., D) from the mean and the certainty before its activation, (..., 2 D).

    Without certainty among it, (..., D), tau is 1.
    """
    mean, certainty = raw[..., :latent_dim], raw[..., latent_dim:]
    tau = F.softplus(certainty - SHIFT).clamp_max(MAX_TAU) if certainty.shape[-1] else torch.ones_like(mean)
    return Gaussian(tau * mean, tau)


_LANES = 16
"""Numbers in the widest vector register: so many pixels at once leave no rest of a loop to be done one by one."""


def _stored(value: Any, array: Any) -> None:
    """What an array holds for a float32: itself, or the bits of its float16."""


@overload(_stored, inline="always")
def _stored_as(value: Any, array: Any) -> Any:
    def as_half(value: Any, array: Any) -> Any:
        return half(value)

    def as_is(value: Any, array: Any) -> Any:
        return value

    return as_half if array.dtype == numba.uint16 else as_is


def _emit(raw: Any, observed: Any, power: Any, first: Any, part: Any, place: Any, eta: Any, tau: Any, scratch: Any) -> None:
    # Unsigned: of an index that may be negative numba asks whether it is, and such loops are not vectorised.
    n, first = np.uint64(raw.shape[1] // 2), np.uint64(first)
    for y in range(part[0], part[1]):
        for start in range(part[2], part[3], _LANES):
            some = min(_LANES, part[3] - start)
            pixel = y * observed.shape[1] + start
            for i in range(some):
                row = np.uint64(i) * n
                for d in range(n):
                    scratch[row + d] = raw[pixel + i, n + d]
            for k in range(np.uint64(some) * n):
                scratch[k] = min(softplus(scratch[k] - np.float32(SHIFT)), np.float32(MAX_TAU))
            for i in range(some):
                exponent = power if observed[y, start + i] else np.float32(0)
                etas, taus = eta[place[0] + y, place[1] + start + i], tau[place[0] + y, place[1] + start + i]
                row, mean = np.uint64(i) * n, raw[pixel + i]
                for d in range(n):
                    certainty = scratch[row + d] * exponent
                    taus[first + d] = _stored(certainty, taus)
                    etas[first + d] = _stored(certainty * mean[d], etas)


_emit_loop = compiled(_emit)


def emit_block(
    local: Tensor, around: Tensor, observed: Tensor, context_power: float, out: Gaussian, place: tuple[int, int]
) -> None:
    """Natural parameters of a block of pixels from what a head says of them, on a CPU, without gradients.

    Parameters
    ----------
    local, around : Tensor, shape (Y * X, 2 n), float32
        Means and certainties before their activation: of the first dimensions, and of those with context.
    observed : Tensor, shape (Y, X), bool
        Pixels that were measured; of the others both parameters are 0.
    context_power : float
        What both parameters of the dimensions with context are multiplied by.
    out : Gaussian, each (Y', X', D), float32 or float16
        Where they are written; what lies beyond the range of float16 is clipped.
    place : (int, int)
        Row and column of the block's first pixel in ``out``; what falls outside is left out.
    """
    first = local.shape[1] // 2
    part = tuple(
        edge
        for n, at, size in zip(observed.shape, place, out.eta.shape, strict=False)
        for edge in (max(0, -at), min(n, size - at))
    )
    arrays = [z.numpy() for z in out]
    if out.eta.dtype == torch.float16:
        arrays = [z.view(np.uint16) for z in arrays]
    seen, scratch = observed.contiguous().numpy(), np.empty(_LANES * first, np.float32)
    _emit_loop(local.contiguous().numpy(), seen, np.float32(1), 0, part, place, *arrays, scratch)
    _emit_loop(around.contiguous().numpy(), seen, np.float32(context_power), first, part, place, *arrays, scratch)
