"""Means over the pixels of cells: `pool_squares`, `pool_rectified`. Compiled loops on a CPU where no gradient must pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.compiled import compiled


def _pool(values: Any, patch: Any, rectify: Any, mean: Any, other: Any, line: Any) -> None:
    images, planes, tall, wide = values.shape
    sums, others, share, zero = line[0], line[1], np.float32(1.0 / (patch * patch)), np.float32(0)
    for n in range(images):
        for b in range(planes):
            for y in range(tall // patch):
                sums[:] = zero
                others[:] = zero
                for i in range(patch):
                    row = values[n, b, y * patch + i]
                    if rectify:
                        for x in range(wide):
                            sums[x] += row[x]
                            others[x] += max(row[x], zero)
                    else:
                        for x in range(wide):
                            sums[x] += row[x]
                            others[x] += row[x] * row[x]
                for x in range(wide // patch):
                    one, two = zero, zero
                    for j in range(patch):
                        one += sums[x * patch + j]
                        two += others[x * patch + j]
                    mean[n, y, x, b], other[n, y, x, b] = one * share, two * share


_pool_loop = compiled(_pool)


def pool_squares(values: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Mean and mean square of images (N, R, Y, X) over cells of ``patch ** 2`` pixels, each (N, Ny, Nx, R)."""
    return _both(values, patch, rectify=False)


def pool_rectified(values: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Mean and mean positive part of images (N, R, Y, X) over cells of ``patch ** 2`` pixels, each (N, Ny, Nx, R)."""
    return _both(values, patch, rectify=True)


def _both(values: Tensor, patch: int, *, rectify: bool) -> tuple[Tensor, Tensor]:
    if values.device.type != "cpu" or torch.is_grad_enabled():
        other = values.relu() if rectify else values.square()
        mean, pooled = (F.avg_pool2d(z, patch).movedim(1, -1) for z in (values, other))
        return mean, pooled
    n, planes, tall, wide = values.shape
    out = torch.empty(2, n, tall // patch, wide // patch, planes)
    mean, pooled = out
    _pool_loop(
        values.contiguous().numpy(), patch, rectify, mean.numpy(), pooled.numpy(), np.empty((2, wide), np.float32)
    )
    return mean, pooled
