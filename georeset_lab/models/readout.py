"""`ReadOut`: what `DenseHead` says of a block of pixels, without gradients: matrix products and compiled loops between them.

The mathematics is that of ``head.py`` and ``emission.py``. What is brought to the pixels stays in the order of their cells,
a bias is added where its sum is read anyway, and nothing passes through memory that fits a register.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from georeset_lab.compiled import compiled
from georeset_lab.models.bfloat import as_numpy, narrow, widen
from georeset_lab.models.elementary import gelu, softplus
from georeset_lab.models.emission import MAX_TAU, SHIFT
from georeset_lab.models.fusion import Gaussian
from georeset_lab.models.signature import FARTHEST, Signature

if TYPE_CHECKING:
    from georeset_lab.models.head import DenseHead
    from georeset_lab.models.pixels import PixelView


def _first(alone: Any, brought: Any, high: Any, bias: Any, hidden: Any) -> None:
    # Unsigned: of an index that may be negative numba asks whether it is, and such loops are not vectorised.
    tall, wide, inside = brought.shape[:3]
    broad, width = inside // high, np.uint64(hidden.shape[1])
    for y in range(tall * high):
        for x in range(wide):
            for j in range(broad):
                pixel = (y * wide + x) * broad + j
                own, row, more = alone[pixel], hidden[pixel], brought[y // high, x, (y % high) * broad + j]
                for d in range(width):
                    row[d] = narrow(gelu(own[d] + more[d] + bias[d]), row[d])


def _second(hidden: Any, more: Any, bias: Any) -> None:
    width = np.uint64(hidden.shape[1])
    for i in range(len(hidden)):
        row, added = hidden[i], more[i]
        for d in range(width):
            row[d] = narrow(widen(row[d]) + gelu(widen(added[d]) + bias[d]), row[d])


def _emit(
    local: Any, bias: Any, colours: Any, shift: Any, farthest: Any, lit: Any, brought: Any, width: Any, power: Any,
    observed: Any, most: Any, eta: Any, tau: Any, mean: Any, certainty: Any,
) -> None:  # fmt: skip
    tall, wide, inside = brought.shape[:3]
    high, dim = len(observed) // tall, np.uint64(eta.shape[2])
    broad = inside // high
    n, own, width = np.uint64(local.shape[1] // 2), np.uint64(colours.shape[1]), np.uint64(width)
    others = dim - n
    signature = width + others + others - own
    for y in range(observed.shape[0]):
        for x in range(wide):
            for j in range(broad):
                pixel = (y * wide + x) * broad + j
                row, more = local[pixel], brought[y // high, x, (y % high) * broad + j]
                means, sure, colour = mean[j], certainty[j], colours[pixel]
                light = np.float32(1) if lit[y, x * broad + j] else np.float32(0)
                for d in range(own):
                    means[d] = widen(row[d]) + bias[d] + min(max(colour[d] + shift[d], -farthest), farthest) * light
                for d in range(own, n):
                    means[d] = widen(row[d]) + bias[d] + more[signature + d]
                for d in range(n):
                    sure[d] = widen(row[n + d]) + bias[n + d]
                for d in range(others):
                    means[n + d] = more[width + d]
                    sure[n + d] = more[width + others + d]
            for j in range(broad):
                etas, taus, means, sure = eta[y, x * broad + j], tau[y, x * broad + j], mean[j], certainty[j]
                seen = observed[y, x * broad + j]
                for d in range(dim):
                    tau_d = min(softplus(sure[d] - np.float32(SHIFT)), np.float32(MAX_TAU)) * power[d] * seen
                    taus[d] = tau_d
                    etas[d] = min(max(tau_d * means[d], -most), most)


_first_loop, _second_loop, _emit_loop = (compiled(f) for f in (_first, _second, _emit))


class ReadOut:
    """`DenseHead` for blocks of pixels, on a CPU.

    Parameters
    ----------
    head : DenseHead
        Not a deterministic one.
    signature : Signature
    columns, others : Tensor, shape (n,) and (m,)
        Places of the pixels' features, and of those that all pixels share (`PixelStatistics.columns`).
    shared : Tensor, shape (m,)
        What these are.
    context_power : float
        What both parameters of the dimensions with context are multiplied by.
    dtype : torch.dtype
        To which range the parameters are clipped.
    products : torch.dtype
        In which matrix products are computed.
    """

    def __init__(
        self,
        head: DenseHead,
        signature: Signature,
        columns: Tensor,
        others: Tensor,
        shared: Tensor,
        context_power: float,
        dtype: torch.dtype,
        products: torch.dtype = torch.float32,
    ) -> None:
        self._head, self._products = head, products
        self._alone = head.alone.weight[:, columns].T.contiguous()
        self._weights = [z.weight.to(products).T for z in (head.local.to_hidden, head.local.to_latent)]
        biases = (head.share(shared, others), head.local.to_hidden.bias, head.local.to_latent.bias)
        self._biases = [z.detach().numpy() for z in biases]
        self._turn, centre = (signature.get_buffer(f"pixel_{name}") for name in ("turn", "centre"))
        self._shift = (-centre @ self._turn).numpy()
        self._power = np.full(head.n_local + head.n_around, context_power, np.float32)
        self._power[: head.n_local] = 1
        self._most = np.float32(torch.finfo(dtype).max)

    def __call__(self, brought: Tensor, view: PixelView) -> Gaussian:
        """Experts of a block of Y x X pixels, whole cells of P of them.

        Parameters
        ----------
        brought : Tensor, shape (Ny, Nx, P, H)
            From `DenseHead.cells`, then the signature of the cells, brought to their pixels (`GuidedUpsample.by_cell`);
            what follows is not read.
        view : PixelView, of (Y, X)
            What pixels say by themselves.

        Returns
        -------
        Gaussian, each (Y, X, D), float32
        """
        cells, (first, second, last) = brought.numpy(), self._biases
        alone = view.features.flatten(1).T @ self._alone
        # Room of its own also for float32: a loop that writes where it reads is not vectorised.
        hidden = torch.empty_like(alone, dtype=self._products)
        _first_loop(alone.numpy(), cells, view.observed.shape[0] // len(cells), first, as_numpy(hidden))
        to_hidden, to_latent = self._weights
        more = hidden @ to_hidden
        _second_loop(as_numpy(hidden), as_numpy(more), second)
        raw = hidden @ to_latent
        own = view.colours.flatten(1).T @ self._turn[: len(view.colours)]
        observed, lit = view.observed.to(alone.dtype).contiguous().numpy(), view.lit.contiguous().numpy()
        eta, tau = alone.new_empty(2, *observed.shape, len(self._power))
        scratch = np.empty((2, observed.shape[1] // brought.shape[1], len(self._power)), np.float32)
        _emit_loop(
            as_numpy(raw), last, own.numpy(), self._shift, FARTHEST, lit, cells, self._head.width,
            self._power, observed, self._most, eta.numpy(), tau.numpy(), *scratch,
        )  # fmt: skip
        return Gaussian(eta, tau)
