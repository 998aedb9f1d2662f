"""`rectified_means`: rectified answers of 3 x 3 patches to fixed kernels, averaged over each cell. No learning."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
    weight = present[:, None].to(values.dtype)
    share = F.avg_pool2d(weight, patch)
    answer = F.conv2d(values, kernels, -threshold, padding=1) * weight
    positive = F.avg_pool2d(answer.relu(), patch)
    # The negative part is the positive one less the answer itself: pooling is linear.
    negative = positive - F.avg_pool2d(answer, patch)
    means = torch.cat([positive, negative], 1) / share.clamp_min(1e-9)
    return means.permute(0, 2, 3, 1), share[:, 0]
