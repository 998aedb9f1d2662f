"""From what a head says to natural parameters: the formula (`emit`), and the same of a block of pixels in one compiled loop."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.compiled import compiled
from georeset_lab.models.elementary import softplus
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


def _emit(raw: Any, observed: Any, power: Any, first: Any, most: Any, eta: Any, tau: Any, scratch: Any) -> None:
    # Unsigned: of an index that may be negative numba asks whether it is, and such loops are not vectorised.
    n, first = np.uint64(raw.shape[1] // 2), np.uint64(first)
    for start in range(0, len(raw), _LANES):
        some = min(_LANES, len(raw) - start)
        for i in range(some):
            row = np.uint64(i) * n
            for d in range(n):
                scratch[row + d] = raw[start + i, n + d]
        for k in range(np.uint64(some) * n):
            scratch[k] = min(softplus(scratch[k] - np.float32(SHIFT)), np.float32(MAX_TAU))
        for i in range(some):
            exponent = power if observed[start + i] else np.float32(0)
            row = np.uint64(i) * n
            for d in range(n):
                certainty = scratch[row + d] * exponent
                tau[start + i, first + d] = certainty
                eta[start + i, first + d] = min(max(certainty * raw[start + i, d], -most), most)


_emit_loop = compiled(_emit)


def emit_block(
    local: Tensor, around: Tensor, observed: Tensor, context_power: float, dtype: torch.dtype = torch.float32
) -> Gaussian:
    """Natural parameters of pixels from what a head says of them, on a CPU, without gradients.

    Parameters
    ----------
    local, around : Tensor, shape (Y * X, 2 n), float32
        Means and certainties before their activation: of the first dimensions, and of those with context.
    observed : Tensor, shape (Y, X), bool
        Pixels that were measured; of the others both parameters are 0.
    context_power : float
        What both parameters of the dimensions with context are multiplied by.

    dtype : torch.dtype
        To which range the parameters are clipped.

    Returns
    -------
    Gaussian, each (Y, X, D), float32
    """
    most = np.float32(torch.finfo(dtype).max)
    first = local.shape[1] // 2
    eta, tau = local.new_empty(2, len(local), first + around.shape[1] // 2)
    out, seen = (eta.numpy(), tau.numpy(), np.empty(_LANES * eta.shape[-1], np.float32)), observed.flatten().numpy()
    _emit_loop(local.contiguous().numpy(), seen, np.float32(1), 0, most, *out)
    _emit_loop(around.contiguous().numpy(), seen, np.float32(context_power), first, most, *out)
    return Gaussian(*(z.view(*observed.shape, -1) for z in (eta, tau)))
