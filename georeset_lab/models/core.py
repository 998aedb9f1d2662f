"""`core_of`: which pixels of what `dense` is given it is asked for. Every encoder of this package asks here."""

from __future__ import annotations

from torch import Tensor

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
