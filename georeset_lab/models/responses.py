"""`Responses`: rectified answers of 3 x 3 patches of virtual bands to learned kernels, averaged over each cell.

Texture and colour of a place at once. `GuidedUpsample` carries the averages back to the pixels along edges.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Responses(nn.Module):
    """Local features of cells.

    Parameters
    ----------
    n_virtual, n_kernels : int
        Virtual bands R, and kernels K; each kernel gives two features, its positive and its negative part.

    Notes
    -----
    The features of Rolf et al. (2021, MOSAIKS) with kernels that are learned, averaged within the edges of a field
    instead of in a square. Averages over 100 m and more proved much stronger than over 5 x 5 pixels in few-shot land
    cover, and rectified ones stronger than mean and spread (README, "What was tried").
    """

    def __init__(self, n_virtual: int, n_kernels: int) -> None:
        super().__init__()
        self.n_features = 2 * n_kernels
        self.kernels = nn.Conv2d(n_virtual, n_kernels, 3, padding=1)
        nn.init.normal_(self.kernels.weight, std=(9 * n_virtual) ** -0.5)

    def forward(self, values: Tensor, measured: Tensor, patch: int) -> Tensor:
        """Mean over the measured pixels of each cell and over dates.

        Parameters
        ----------
        values : Tensor, shape (B, T, R, Y, X)
            Virtual bands, 0 where nothing was measured.
        measured : Tensor, shape (B, T, Y, X), bool
        patch : int
            Pixels along the side of a cell.

        Returns
        -------
        Tensor, shape (B, Ny, Nx, 2 K)
            0 where a cell was never measured.
        """
        b, t = values.shape[:2]
        present = measured.flatten(0, 1)[:, None].to(values.dtype)
        answer = self.kernels(values.flatten(0, 1)) * present
        share = F.avg_pool2d(present, patch).view(b, t, 1, *(n // patch for n in values.shape[-2:])).sum(1)
        positive = F.avg_pool2d(answer.relu(), patch)
        # The negative part is the positive one less the answer itself: averaging is linear.
        both = torch.cat([positive, positive - F.avg_pool2d(answer, patch)], 1).view(b, t, -1, *share.shape[-2:]).sum(1)
        return (both / share.clamp_min(1e-9)).permute(0, 2, 3, 1)
