"""`Canvas`: where painted pixels go. `Map` keeps each; a caller that wants less of them keeps only that."""

from __future__ import annotations

from typing import Protocol

import torch

from georeset_lab.models.core import Core
from georeset_lab.models.fusion import Gaussian
from georeset_lab.models.large import empty


class Canvas(Protocol):
    """Where the experts of pixels go, block by block."""

    core: Core
    """Rows and columns of the pixels that are wanted, counted in the image that is encoded."""
    dtype: torch.dtype
    """Into whose range the parameters are clipped."""
    is_sparse: bool
    """Whether every second pixel may stand for two."""

    def put(self, first: tuple[int, int], size: tuple[int, int], block: Gaussian) -> None:
        """Take a block of whole cells: ``size`` pixels from ``first`` on; it may reach beyond the core.

        Its experts are (*size, D); for a sparse canvas half as many columns, `georeset_lab.models.pixels.every_second`.
        Called from several threads.
        """


class Map:
    """Keeps every pixel of the core.

    Parameters
    ----------
    core : pair of slices
    result : Gaussian
        Where eta and tau go, (Y', X', D) each.
    """

    is_sparse = False

    def __init__(self, core: Core, result: Gaussian) -> None:
        self.core, self.dtype, self.result = core, result.eta.dtype, result

    @classmethod
    def of_its_own(cls, core: Core, dim: int, dtype: torch.dtype, device: torch.device) -> Map:
        """A map that brings its room."""
        return cls(core, Gaussian(*empty((2, *(part.stop - part.start for part in core), dim), dtype, device)))

    def put(self, first: tuple[int, int], size: tuple[int, int], block: Gaussian) -> None:
        """Copy what lies in the core."""
        here, part = placed(self.core, first, size)
        for target, some in zip(self.result, block, strict=True):
            target[here] = some[part]


def placed(core: Core, first: tuple[int, int], size: tuple[int, int]) -> tuple[Core, Core]:
    """Where a block of ``size`` pixels from ``first`` on lies in a core, and which of its pixels do."""
    (rows, of_rows), (cols, of_cols) = (_overlap(at, n, part) for at, n, part in zip(first, size, core, strict=True))
    return (rows, cols), (of_rows, of_cols)


def _overlap(first: int, size: int, part: slice) -> tuple[slice, slice]:
    start, stop = max(first, part.start), min(first + size, part.stop)
    return slice(start - part.start, stop - part.start), slice(start - first, stop - first)
