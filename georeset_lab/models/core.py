"""Which pixels of what `dense` is given it is asked for (`core_of`), and what is missing around them (`Rim`)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

Core = tuple[slice, slice]
"""Rows and columns, without steps."""
WHOLE: Core = (slice(None), slice(None))


def core_of(x: Tensor, core: Core | None, margin_px: int) -> Core:
    """Rows and columns as slices with a start and a stop inside the image.

    Parameters
    ----------
    x : Tensor, shape (..., Y, X)
    core : pair of slices, optional
        As the caller of ``dense`` gave it; by default all but the margin.
    margin_px : int
        What an encoder needs around its output.
    """
    rows, cols = core or (slice(margin_px, -margin_px or None),) * 2
    return slice(*rows.indices(x.shape[-2])[:2]), slice(*cols.indices(x.shape[-1])[:2])


class Rim(NamedTuple):
    """How many cells without a measurement are added around a grid."""

    above: int
    below: int
    left: int
    right: int

    @classmethod
    def where_ended(cls, x: Tensor, core: Core, margin_px: int, cells: int) -> Rim:
        """Cells beyond the sides where the scene has ended: windows that begin there still reach back into it.

        Parameters
        ----------
        x : Tensor, shape (..., Y, X)
        core : pair of slices
            From `core_of`. Where fewer than ``margin_px`` lie around it, the scene has ended.
        cells : int
            How far windows reach beyond.
        """
        around = (z for part, size in zip(core, x.shape[-2:], strict=True) for z in (part.start, size - part.stop))
        return cls(*(cells if z < margin_px else 0 for z in around))

    def put_round(self, grid: Tensor) -> Tensor:
        """(T, Ny, Nx, F) with them."""
        return F.pad(grid, (0, 0, self.left, self.right, self.above, self.below)) if any(self) else grid

    def taken_off(self, grid: Tensor) -> Tensor:
        """(T, Ny, Nx, F) without them."""
        return grid[:, self.above : grid.shape[1] - self.below, self.left : grid.shape[2] - self.right]


NO_RIM = Rim(0, 0, 0, 0)
