"""Named flags of a pixel, the same for every product: one bit for each, as in the CF conventions (``flag_masks``).

A quality band of any kind (``masks.py`` says what its values mean) becomes a uint16 number per pixel in which bit and
name always go together, so that masks of different products can be joined and chosen by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from georeset_lab.data.masks import QA_TABLES, unusable
from georeset_lab.errors import BandMismatch, UnitError

A = TypeVar("A", np.ndarray, xr.DataArray)

FLAGS: Mapping[str, int] = {
    "nodata": 1,
    "saturated": 2,
    "cloud": 4,
    "dilated_cloud": 8,
    "cirrus": 16,
    "shadow": 32,
    "snow": 64,
    "terrain": 128,
    "water": 256,
    "haze": 512,
    "other": 1024,
}
"""Bit of each flag. ``dilated_cloud`` is also HLS's "adjacent to cloud"; ``other`` is a mask that gives no reason."""

UNUSABLE = ("nodata", "saturated", "cloud", "dilated_cloud", "cirrus", "shadow", "snow", "terrain", "other")
"""Flags that make a pixel unusable unless others are chosen."""

FLAG_ATTRS: Mapping[str, Any] = {"flag_masks": list(FLAGS.values()), "flag_meanings": " ".join(FLAGS)}
"""Attributes of an array of flags, as in the CF conventions."""

_ALSO = {"dilated_cloud": ("adjacent",), "haze": ("aerosol_high",)}
_NONZERO = "nonzero:"


def flag_bits(qa: A, kind: str) -> A:
    """Flags of each pixel of a quality band.

    Parameters
    ----------
    qa : numpy.ndarray or xarray.DataArray (NumPy or dask), any shape
        Values of the quality band; not-a-number means no data.
    kind : str
        Key of `georeset_lab.data.masks.QA_TABLES`, ``"bqa"``, ``"mask"`` (not zero = unusable, no reason given), or
        ``"nonzero:cloud"`` (not zero = that flag).

    Returns
    -------
    numpy.ndarray or xarray.DataArray, uint16
        Sum of the `FLAGS` that are set; lazy if ``qa`` is.

    Raises
    ------
    BandMismatch
        No kind of quality band is called so.
    UnitError
        The values are fractions: interpolated or scaled, so no flags any more.

    Examples
    --------
    >>> flag_bits(np.array([4, 8, 11, 3]), "scl").tolist()
    [0, 4, 64, 32]
    """
    _table(kind)  # an unknown kind is refused now, also for lazy arrays
    if not isinstance(qa, xr.DataArray):
        return _bits(np.asarray(qa), kind)
    if qa.chunks is None:
        return qa.copy(data=_bits(qa.values, kind))
    data: Any = qa.data
    return qa.copy(data=data.map_blocks(_bits, kind, dtype=np.uint16, meta=np.empty((0,) * qa.ndim, np.uint16)))


def has_flag(bits: A, names: Iterable[str]) -> A:
    """True where one of these flags is set.

    Raises
    ------
    BandMismatch
        There is no flag of this name.
    """
    return (bits & bits.dtype.type(bit_of(names))) != 0


def bit_of(names: Iterable[str]) -> int:
    """Bits of several flags together.

    Raises
    ------
    BandMismatch
        There is no flag of this name.
    """
    wanted = (names,) if isinstance(names, str) else tuple(names)
    unknown = [n for n in wanted if n not in FLAGS]
    if unknown:
        raise BandMismatch(f"No flag is called {', '.join(map(repr, unknown))}; choose from {', '.join(FLAGS)}.")
    return sum(FLAGS[n] for n in set(wanted))


def _bits(values: np.ndarray, kind: str) -> np.ndarray:
    missing = None
    if not np.issubdtype(values.dtype, np.integer) and values.dtype != np.bool_:
        missing = ~np.isfinite(values)
        whole = np.where(missing, 0, values)
        if (whole % 1 != 0).any():
            raise UnitError(
                "The quality band holds fractions, so it was interpolated or scaled; read its stored integers."
            )
        values = whole.astype(np.int64)
    table = _table(kind)
    inside = (values >= 0) & (values < table.size)
    out = table[np.where(inside, values, 0).astype(np.int64)]
    if not inside.all():  # beyond 16 bits, or negative: no product writes this but a fill value
        out = np.where(inside, out, np.uint16(FLAGS["nodata"]))
    if missing is not None:
        out[missing] = FLAGS["nodata"]
    return np.asarray(out, np.uint16)


@lru_cache(maxsize=32)
def _table(kind: str) -> np.ndarray:
    """Flags of every 16-bit value."""
    values = np.arange(2**16)
    out = np.zeros(values.size, np.uint16)
    if kind == "mask" or kind.startswith(_NONZERO):
        out[1:] = FLAGS["other"] if kind == "mask" else bit_of([kind.removeprefix(_NONZERO)])
        return out
    if kind != "bqa" and kind not in QA_TABLES:
        raise BandMismatch(f"No kind of quality band is called {kind!r}; known: bqa, {', '.join(QA_TABLES)}.")
    tables = ("bqa_collection_1", "bqa_pre_collection") if kind == "bqa" else (kind,)
    known = {f for t in tables for f in QA_TABLES[t].flags}
    for flag, bit in FLAGS.items():
        names = [n for n in (flag, *_ALSO.get(flag, ())) if n in known]
        if names:
            out[unusable(values, kind, flags=names)] |= np.uint16(bit)
    out[(out & FLAGS["nodata"]) != 0] = FLAGS["nodata"]  # fill that sets all bits (255) says nothing of cloud or snow
    return out
