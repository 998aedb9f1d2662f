"""`rectified_means`: rectified answers of 3 x 3 patches to fixed kernels, averaged over each cell. No learning."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.models.pooling import pool_rectified
from georeset_lab.models.threads import in_threads

_ROWS = 2
"""Rows of cells that are answered at once: 1.2 MB for a tile of 128 cells."""


def rectified_means(
    values: Tensor, present: Tensor, kernels: Tensor, threshold: Tensor, patch: int
) -> tuple[Tensor, Tensor]:
    """Texture and colour of cells: mean positive and mean negative part of each answer.

    Parameters
    ----------
    values : Tensor, shape (N, C, Y, X)
        0 where nothing was measured.
    present : Tensor, shape (N, Y, X), bool
        Pixels whose answer counts.
    kernels : Tensor, shape (K, C, 3, 3)
        Their type is that of the products; without gradients on a CPU bfloat16 will do too.
    threshold : Tensor, shape (K,)
        Subtracted from the answers before their signs are taken.
    patch : int
        Pixels along the side of a cell.

    Returns
    -------
    means : Tensor, shape (N, Ny, Nx, 2 K)
        0 in a cell without any pixel that counts.
    share : Tensor, shape (N, Ny, Nx)
        Share of the cell's pixels that count.

    Notes
    -----
    The random convolutional features of Rolf et al. (2021, MOSAIKS). `GuidedUpsample` carries the means back to the
    pixels along edges: an average within a field instead of within a square.
    """
    share = F.avg_pool2d(present[:, None].to(values.dtype), patch)[:, 0]
    framed = F.pad(values.to(kernels.dtype), (1, 1, 1, 1))
    # Without gradients in the layout that the compiled sums read; oneDNN would bring each strip into it and back.
    layout = torch.contiguous_format if torch.is_grad_enabled() else torch.channels_last
    kernels = kernels.contiguous(memory_format=layout)
    pooled: dict[int, tuple[Tensor, Tensor]] = {}

    def pool(y: int) -> None:
        strip = framed[:, :, y : y + _ROWS * patch + 2].contiguous(memory_format=layout)
        answer = F.conv2d(strip, kernels, -threshold.to(kernels.dtype))
        pooled[y] = pool_rectified(answer, present[:, y : y + _ROWS * patch], patch)

    strips = range(0, values.shape[2], _ROWS * patch)  # the answers of one stay in a core's cache
    in_threads(pool, strips, values.device)
    answers, positive = (torch.cat(z, 1) for z in zip(*(pooled[y] for y in strips), strict=True))
    # The negative part is the positive one less the answer itself: pooling is linear.
    return torch.cat([positive, positive - answers], -1) / share[..., None].clamp_min(1e-9), share
