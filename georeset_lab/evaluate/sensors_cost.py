"""What an encoder costs: parameters, floating-point operations and seconds for a megapixel. One thread of this machine."""

from __future__ import annotations

import time
from typing import Any

import torch

from georeset_lab.data.bands import BandSpec, band_table
from georeset_lab.models.checkpoint import Model
from georeset_lab.models.core import WHOLE

MANY = 224
"""Bands of EnMAP."""
_SIDE, _CELL_M = 288, 60.0
_REPEATS = 3


def cost(model: Model) -> dict[str, Any]:
    """Parameters; GFLOP and seconds for a megapixel of 12 bands and of `MANY`, same pixel and area, one date.

    Notes
    -----
    `torch.utils.flop_counter` counts matrix products and convolutions, a multiplication and an addition as two. Seconds
    are processor time of one thread, the least of three runs after a first, so that other processes do not count.
    """
    out: dict[str, Any] = {"parameters": sum(p.numel() for p in model.encoder.parameters())}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for n in (12, MANY):
            out[f"gflop_{n}"], out[f"seconds_{n}"] = _one(model, n)
    finally:
        torch.set_num_threads(threads)
    return out


def even_bands(n: int) -> torch.Tensor:
    """Band table (n, 4) of bands spread evenly over 0.42-2.4 um, 10 m pixels."""
    step = 2.0 / n
    return torch.from_numpy(band_table([BandSpec(f"H{i}", 0.42 + step * i, 0.9 * step, 10.0) for i in range(n)]))


def _one(model: Model, n: int) -> tuple[float, float]:
    # Here because it loads torch's compiler: seconds that no other row needs.
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    bands = even_bands(n)
    x = 0.05 + 0.3 * torch.rand(1, n, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    megapixel = _SIDE**2 / 1e6

    def run() -> None:
        model.encoder.dense(x, bands, cell_m=_CELL_M, day_of_year=torch.full((1,), 180.0), core=WHOLE)

    # The counter has no formula for the fused attention of a CPU; the plain one is the same products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    spent = []
    for _ in range(_REPEATS):
        begun = time.process_time()
        run()
        spent.append(time.process_time() - begun)
    return counter.get_total_flops() / 1e9 / megapixel, min(spent) / megapixel
