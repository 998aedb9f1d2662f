"""Quality layers found beside the bands become the flags of a modality; so do pixels that are zero in every band."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from georeset_lab.data.align import repeat_onto
from georeset_lab.data.flags import FLAGS, flag_bits
from georeset_lab.data.readers.piece import Piece
from georeset_lab.data.readers.stack import Part

Quality = tuple[Piece, int, str]
"""A piece, a column of it, and its kind; see `georeset_lab.data.flags.flag_bits`."""

_DIMS = ("time", "y", "x")


def quality_flags(layers: Sequence[Quality], part: Part) -> tuple[xr.DataArray | None, list[str]]:
    """Flags ``(time, y, x)`` uint16 on the grid and dates of a part, and notes; None without layers.

    A layer without dates holds for all dates; a date that no layer covers has no flags, which the note says.

    Raises
    ------
    GridMismatch
        A layer does not cover the bands.
    UnitError
        A layer holds fractions.
    """
    flags: xr.DataArray | None = None
    seen: dict[str, np.ndarray] = {}
    for piece, column, kind in layers:
        values = xr.DataArray(piece.raw[:, column], dims=_DIMS)
        on_grid = repeat_onto(flag_bits(values, kind), piece.grid, part.grid)
        whole, covered = _on_dates(on_grid, piece.times, part.times)
        flags = whole if flags is None else flags | whole
        label = f"{piece.names[column]} ({kind})"
        seen[label] = seen.get(label, np.zeros(part.times.size, bool)) | covered
    if flags is None:
        return None, []
    notes = [
        f"masked by {label}" + ("" if covered.all() else f"; {int((~covered).sum())} dates have none")
        for label, covered in seen.items()
    ]
    return flags.assign_coords(time=("time", part.times)), notes


def zero_flags(part: Part, seen: np.ndarray) -> tuple[xr.DataArray | None, list[str]]:
    """Flag "nodata" for the pixels that are zero in every band, unless zero means "not measured" anyway.

    Parameters
    ----------
    seen : numpy.ndarray, shape (C, N)
        Sample in stored units, with NaN where `sample` found such pixels; judges lazy parts.
    """
    elevation = any(b.kind == "elevation" for b in part.bands)
    if part.nodata == 0 or elevation or len(part.bands) < 2:
        return None, []
    raw: Any = part.raw
    lazy = hasattr(raw, "dask")
    if lazy and not np.isnan(seen).all(axis=0).any():
        return None, []
    zero = xr.DataArray((raw == 0).all(axis=1), dims=_DIMS, coords={"time": ("time", part.times)})
    if not lazy and not bool(zero.any()):
        return None, []
    return zero * np.uint16(FLAGS["nodata"]), ["pixels that are 0 in every band taken as not measured"]


def either(a: xr.DataArray | None, b: xr.DataArray | None) -> xr.DataArray | None:
    """Flags that one of two layers sets."""
    if a is None or b is None:
        return b if a is None else a
    return a | b


def _on_dates(layer: xr.DataArray, own: np.ndarray, wanted: np.ndarray) -> tuple[xr.DataArray, np.ndarray]:
    """The layer at the wanted dates (same moment, else same day), 0 where it has none, and which dates it has."""
    everywhere = np.ones(wanted.size, bool)
    if own.size == wanted.size and (_days(own) == _days(wanted)).all():
        return layer, everywhere
    if own.size == 1 and np.isnat(own).all():
        return layer.isel(time=[0] * wanted.size), everywhere
    days = list(_days(own))
    index = np.array([days.index(d) if d in days else -1 for d in _days(wanted)])
    picked = layer.isel(time=index.clip(0))
    return picked * xr.DataArray((index >= 0).astype(np.uint16), dims="time"), index >= 0


def _days(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[D]").astype(str)
