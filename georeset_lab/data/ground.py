"""How much ground a cell is: what one context token and one texture stand for. The same for all sensors where it can be."""

from __future__ import annotations

SAMPLES_PER_CELL = 6
"""Pixels, repeated or averaged if need be, along the side of a cell."""
CELL_M = 60.0
"""Side of a cell of every sensor with pixels of 10 to 60 m."""
_SLACK = 1.05


def ground_cell_m(pixel_m: float) -> float:
    """Side of a cell in metres for pixels of ``pixel_m``.

    Finer pixels than 10 m have cells of six of them, coarser than 60 m cells of one. Between, all sensors see the same
    60 m, so that texture and context mean the same for Landsat as for Sentinel-2.

    Examples
    --------
    >>> [ground_cell_m(m) for m in (0.5, 10, 30, 250)]
    [3.0, 60.0, 60.0, 250.0]
    """
    own = SAMPLES_PER_CELL * float(pixel_m)
    return own if own <= CELL_M * _SLACK else max(CELL_M, float(pixel_m))
