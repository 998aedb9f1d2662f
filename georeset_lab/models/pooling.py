"""Means over the pixels of cells: `pool_squares`, `pool_rectified`. Compiled loops on a CPU where no gradient must pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.compiled import compiled
from georeset_lab.models.bfloat import as_numpy, widen


def _squares(values: Any, patch: Any, mean: Any, square: Any, line: Any) -> None:
    images, planes, tall, wide = values.shape
    sums, others, share, zero = line[0], line[1], np.float32(1.0 / (patch * patch)), np.float32(0)
    for n in range(images):
        for b in range(planes):
            for y in range(tall // patch):
                sums[:] = zero
                others[:] = zero
                for i in range(patch):
                    row = values[n, b, y * patch + i]
                    for x in range(wide):
                        sums[x] += row[x]
                        others[x] += row[x] * row[x]
                for x in range(wide // patch):
                    one, two = zero, zero
                    for j in range(patch):
                        one += sums[x * patch + j]
                        two += others[x * patch + j]
                    mean[n, y, x, b], square[n, y, x, b] = one * share, two * share


def _rectified(values: Any, present: Any, patch: Any, mean: Any, positive: Any) -> None:
    images, tall, wide = mean.shape[:3]
    # Unsigned: of an index that may be negative numba asks whether it is, and such loops are not vectorised.
    planes, share, zero = np.uint64(values.shape[3]), np.float32(1.0 / (patch * patch)), np.float32(0)
    for n in range(images):
        for y in range(tall):
            for x in range(wide):
                sums, others = mean[n, y, x], positive[n, y, x]
                sums[:] = zero
                others[:] = zero
                for i in range(patch):
                    for j in range(patch):
                        if not present[n, y * patch + i, x * patch + j]:
                            continue
                        pixel = values[n, y * patch + i, x * patch + j]
                        for b in range(planes):
                            value = widen(pixel[b])
                            sums[b] += value
                            others[b] += max(value, zero)
                for b in range(planes):
                    sums[b] *= share
                    others[b] *= share


_squares_loop, _rectified_loop = compiled(_squares), compiled(_rectified)


def pool_squares(values: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Mean and mean square of images (N, R, Y, X) over cells of ``patch ** 2`` pixels, each (N, Ny, Nx, R)."""
    if not _is_compiled(values):
        return _pooled(values, patch), _pooled(values.square(), patch)
    mean, square = _room(values, patch)
    scratch = np.empty((2, values.shape[-1]), np.float32)
    _squares_loop(values.contiguous().numpy(), patch, mean.numpy(), square.numpy(), scratch)
    return mean, square


def pool_rectified(values: Tensor, present: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Mean and mean positive part of images (N, R, Y, X) over cells of ``patch ** 2`` pixels, each (N, Ny, Nx, R).

    Pixels that are not ``present``, (N, Y, X), count as 0. Quickest of images in the memory format ``channels_last``.
    """
    if not _is_compiled(values):
        values = values * present[:, None]
        return _pooled(values, patch), _pooled(values.relu(), patch)
    mean, positive = _room(values, patch)
    arrays = (as_numpy(z.contiguous()) for z in (values.movedim(1, -1), present))
    _rectified_loop(*arrays, patch, mean.numpy(), positive.numpy())
    return mean, positive


def _is_compiled(values: Tensor) -> bool:
    return values.device.type == "cpu" and not torch.is_grad_enabled()


def _pooled(values: Tensor, patch: int) -> Tensor:
    return F.avg_pool2d(values, patch).movedim(1, -1)


def _room(values: Tensor, patch: int) -> Tensor:
    n, planes, tall, wide = values.shape
    return torch.empty(2, n, tall // patch, wide // patch, planes)
