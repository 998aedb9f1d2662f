"""`GuidedUpsample`: context from cells to pixels along the edges that the pixels show."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.models.weigh_cells import FLOOR, REACH, SIDE, smooth_cells, weigh_cells

_QUIET = 1e-3
"""Least mean square of a local spread, in squared virtual bands: a sensor without noise still has fields."""


class GuidedUpsample:
    """Weights of cells for each pixel: near on the ground, and alike in what was measured.

    Parameters
    ----------
    patch : int
        Pixels along the side of a cell.
    width : float
        Difference of virtual bands, in local spreads, at which the range kernel falls to 1 / e.

    Notes
    -----
    Joint bilateral upsampling (Kopf et al., 2007). The spatial kernel is a cubic B-spline over cell centres, whose
    spectrum vanishes at the cell frequency, so a smooth context shows no blocks. The range kernel compares the virtual
    bands of the pixel with the cell's mean: a pixel beside a shore or a field edge takes its context from its own side.
    Ours: its width follows the spread inside the pixel's own neighbourhood, so it is wide in a forest, whose pixels all
    differ, and narrow between two even fields of nearly one colour.
    """

    def __init__(self, patch: int, *, width: float = 2.7) -> None:
        self.patch, self.width = patch, width

    def weights(self, spatial: Tensor, pixels: Tensor, noise: Tensor, cells: Tensor, known: Tensor) -> Tensor:
        """Normalised weights (..., P, C) of C cells for P pixels.

        Parameters
        ----------
        spatial : Tensor, shape (..., P, C)
            Spline weights.
        pixels : Tensor, shape (..., P, R)
            Guide of the pixels.
        noise : Tensor, shape (..., P, 1)
            Mean square of their local spread.
        cells : Tensor, shape (..., C, R)
            Mean of the cells.
        known : Tensor, shape (..., C), bool
            Cells that hold a measurement.
        """
        cross = pixels @ cells.transpose(-1, -2)
        distance = pixels.square().sum(-1)[..., None] + cells.square().sum(-1)[..., None, :] - 2 * cross
        scale = self._scale(pixels.shape[-1], noise)
        weight = spatial * (torch.exp(-distance.clamp_min(0) * scale) + FLOOR) * known[..., None, :].to(spatial.dtype)
        return weight / weight.sum(-1, keepdim=True).clamp_min(1e-9)

    def _scale(self, bands: int, noise: Tensor) -> Tensor:
        """What squared differences, summed over the bands, are measured by."""
        return self.width**-2 / (bands * (noise + _QUIET))

    def by_cell(self, context: Tensor, cells: Tensor, known: Tensor, pixels: Tensor, noise: Tensor) -> Tensor:
        """Upsample a strip of cells; the pixels stay in the order of their cells.

        Parameters
        ----------
        context : Tensor, shape (Ny + 4, Nx + 4, H)
            With two cells around the strip.
        cells : Tensor, shape (Ny + 4, Nx + 4, R)
        known : Tensor, shape (Ny + 4, Nx + 4), bool
        pixels : Tensor, shape (R, Ny * patch, Nx * patch)
            Guide; or of every second pixel, (R, Ny * patch, Nx * patch / 2), see `georeset_lab.models.pixels.every_second`.
        noise : Tensor, shape (1, Ny * patch, Nx * patch)

        Returns
        -------
        Tensor, shape (Ny, Nx, patch ** 2, H), or half as many pixels
        """
        step = self.patch * (cells.shape[1] - 2 * REACH) // pixels.shape[2]
        spatial = _inside_cell(self.patch, step).to(cells)
        if context.device.type == "cpu":
            weight = weigh_cells(spatial, pixels, self._scale(pixels.shape[0], noise)[0], cells, known).mT
        else:
            guide, spread = (_by_cell(z, self.patch, self.patch // step) for z in (pixels, noise))
            weight = self.weights(spatial, guide, spread, _around(cells), _around(known[..., None])[..., 0])
        return weight @ _around(context)

    def smooth(self, features: Tensor, cells: Tensor, known: Tensor, noise: Tensor) -> Tensor:
        """Average features of cells over the 5 x 5 cells around that look alike.

        Parameters
        ----------
        features : Tensor, shape (B, Ny, Nx, H)
        cells : Tensor, shape (B, Ny, Nx, R)
        known : Tensor, shape (B, Ny, Nx), bool
        noise : Tensor, shape (B, Ny, Nx, 1)
            Mean square of the spread inside each cell.

        Returns
        -------
        Tensor, shape (B, Ny, Nx, H)
        """
        out = []
        for mine, own, seen, spread in zip(features, cells, known, noise, strict=True):
            if mine.device.type == "cpu" and not torch.is_grad_enabled():
                out.append(smooth_cells(mine, own, seen, self._scale(own.shape[-1], spread)[..., 0]))
                continue
            framed = [F.pad(z, (0, 0, *(REACH,) * 4)) for z in (own, seen[..., None], mine)]
            near, there, around = (_around(z) for z in framed)
            spatial = torch.ones(1, SIDE**2).to(mine)
            weight = self.weights(spatial, own[:, :, None], spread[:, :, None], near, there[..., 0])
            out.append((weight @ around)[:, :, 0])
        return torch.stack(out)

    def at_points(
        self, context: Tensor, cells: Tensor, known: Tensor, pixels: Tensor, noise: Tensor, points: Tensor
    ) -> Tensor:
        """Context (B, P, H) at points (B, P, 2) of crops whose cells are (B, N, N, ...); pixels is (B, P, R)."""
        spline = spline_matrix(known.shape[1], self.patch).to(context)
        spatial = (spline[points[..., 0]][..., :, None] * spline[points[..., 1]][..., None, :]).flatten(2)
        weight = self.weights(spatial, pixels, noise, cells.flatten(1, 2), known.flatten(1))
        return weight @ context.flatten(1, 2)


def _by_cell(x: Tensor, tall: int, wide: int) -> Tensor:
    """(F, Y, X) to (Ny, Nx, tall * wide, F)."""
    f, y, w = x.shape
    cells = x.reshape(f, y // tall, tall, w // wide, wide)
    return cells.permute(1, 3, 2, 4, 0).reshape(y // tall, w // wide, tall * wide, f)


def by_row(x: Tensor, patch: int) -> Tensor:
    """Pixels in the order of their cells, (Ny, Nx, patch * wide, F), row by row: (Y, X, F)."""
    ny, nx, n, f = x.shape
    return x.view(ny, nx, patch, n // patch, f).transpose(1, 2).reshape(ny * patch, nx * n // patch, f)


def _around(cells: Tensor) -> Tensor:
    """The 5 x 5 cells around each inner one: (Ny + 4, Nx + 4, H) to (Ny, Nx, 25, H)."""
    near = cells.unfold(0, SIDE, 1).unfold(1, SIDE, 1)
    return near.permute(0, 1, 3, 4, 2).reshape(*near.shape[:2], SIDE**2, -1)


@cache
def _inside_cell(patch: int, step: int) -> Tensor:
    """Spline weights (patch ** 2 / step, 25) of the cells around for the pixels of one, or for a checkerboard of them."""
    spline = spline_matrix(SIDE, patch)[REACH * patch : (REACH + 1) * patch]
    return torch.cat([of_row * spline[i % step :: step, None] for i, of_row in enumerate(spline[..., None])]).flatten(1)


def spline_matrix(n_cells: int, patch: int) -> Tensor:
    """Weights of a cubic B-spline over cell centres for each pixel: (n_cells * patch, n_cells), float32.

    Rows sum to one inside; near the ends the missing cells' share is absent, and the caller normalises.
    """
    pixel = (torch.arange(n_cells * patch, dtype=torch.float32) + 0.5) / patch - 0.5
    d = (pixel[:, None] - torch.arange(n_cells)).abs()
    near = 2 / 3 - d**2 + d**3 / 2
    far = (2 - d).clamp_min(0) ** 3 / 6
    return torch.where(d < 1, near, far)
