"""`read_out`: what `DenseHead` says of a block of pixels, without gradients: matrix products and compiled loops between them.

The mathematics is that of ``head.py`` and ``emission.py``. What is brought to the pixels stays in the order of their cells,
a bias is added where its sum is read anyway, and nothing passes through memory that fits a register.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from georeset_lab.compiled import compiled
from georeset_lab.models.elementary import gelu, softplus
from georeset_lab.models.emission import MAX_TAU, SHIFT
from georeset_lab.models.fusion import Gaussian

if TYPE_CHECKING:
    from georeset_lab.models.head import DenseHead


class BlockOfPixels(NamedTuple):
    """What reaches the head for a block of pixels (Y, X), whole cells of ``patch ** 2`` of them."""

    brought: Tensor
    """(Ny, Nx, patch ** 2, H): from `DenseHead.cells` and then the signature of the cells, brought to their pixels."""
    features: Tensor
    """(n, Y, X): what pixels say by themselves."""
    columns: Tensor
    """(n,): places of these features."""
    shared: Tensor
    """(width,): what the hidden layer gets from features that all pixels share, and its bias."""
    colours: Tensor
    """(Y * X, n): dimensions of the signature that pixels have by themselves, the first ones."""
    observed: Tensor
    """(Y, X), bool."""


def _first(hidden: Any, brought: Any, bias: Any) -> None:
    # Unsigned: of an index that may be negative numba asks whether it is, and such loops are not vectorised.
    tall, wide, inside = brought.shape[:3]
    patch, width = int(np.sqrt(inside)), np.uint64(hidden.shape[1])
    for y in range(tall * patch):
        for x in range(wide):
            for j in range(patch):
                row = hidden[(y * wide + x) * patch + j]
                more = brought[y // patch, x, (y % patch) * patch + j]
                for d in range(width):
                    row[d] = gelu(row[d] + more[d] + bias[d])


def _second(hidden: Any, more: Any, bias: Any) -> None:
    width = np.uint64(hidden.shape[1])
    for i in range(len(hidden)):
        row, added = hidden[i], more[i]
        for d in range(width):
            row[d] += gelu(added[d] + bias[d])


def _emit(
    local: Any, bias: Any, colours: Any, brought: Any, width: Any, power: Any, observed: Any, most: Any,
    eta: Any, tau: Any, mean: Any, certainty: Any,
) -> None:  # fmt: skip
    wide, inside = brought.shape[1:3]
    patch, dim = int(np.sqrt(inside)), np.uint64(eta.shape[2])
    n, own, width = np.uint64(local.shape[1] // 2), np.uint64(colours.shape[1]), np.uint64(width)
    others = dim - n
    signature = width + others + others - own
    for y in range(observed.shape[0]):
        for x in range(wide):
            for j in range(patch):
                pixel = (y * wide + x) * patch + j
                row, more = local[pixel], brought[y // patch, x, (y % patch) * patch + j]
                means, sure, colour = mean[j], certainty[j], colours[pixel]
                for d in range(own):
                    means[d] = row[d] + bias[d] + colour[d]
                for d in range(own, n):
                    means[d] = row[d] + bias[d] + more[signature + d]
                for d in range(n):
                    sure[d] = row[n + d] + bias[n + d]
                for d in range(others):
                    means[n + d] = more[width + d]
                    sure[n + d] = more[width + others + d]
            for j in range(patch):
                etas, taus, means, sure = eta[y, x * patch + j], tau[y, x * patch + j], mean[j], certainty[j]
                seen = np.float32(1) if observed[y, x * patch + j] else np.float32(0)
                for d in range(dim):
                    tau_d = min(softplus(sure[d] - np.float32(SHIFT)), np.float32(MAX_TAU)) * power[d] * seen
                    taus[d] = tau_d
                    etas[d] = min(max(tau_d * means[d], -most), most)


_first_loop, _second_loop, _emit_loop = (compiled(f) for f in (_first, _second, _emit))


def read_out(head: DenseHead, block: BlockOfPixels, context_power: float, dtype: torch.dtype) -> Gaussian:
    """Experts of a block of pixels, on a CPU.

    Parameters
    ----------
    head : DenseHead
        Not a deterministic one.
    block : BlockOfPixels
    context_power : float
        What both parameters of the dimensions with context are multiplied by.
    dtype : torch.dtype
        To which range the parameters are clipped.

    Returns
    -------
    Gaussian, each (Y, X, D), float32
    """
    latent, local = head.n_local + head.n_around, head.local
    brought, observed = block.brought.numpy(), block.observed.numpy()
    hidden = block.features.flatten(1).T @ head.alone.weight[:, block.columns].T
    _first_loop(hidden.numpy(), brought, block.shared.numpy())
    more = hidden @ local.to_hidden.weight.T
    _second_loop(hidden.numpy(), more.numpy(), local.to_hidden.bias.numpy())
    raw = hidden @ local.to_latent.weight.T
    power = np.full(latent, context_power, np.float32)
    power[: head.n_local] = 1
    eta, tau = raw.new_empty(2, *observed.shape, latent)
    scratch = np.empty((2, brought.shape[2], latent), np.float32)
    _emit_loop(
        raw.numpy(), local.to_latent.bias.numpy(), block.colours.numpy(), brought, head.width, power, observed,
        np.float32(torch.finfo(dtype).max), eta.numpy(), tau.numpy(), *scratch,
    )  # fmt: skip
    return Gaussian(eta, tau)
