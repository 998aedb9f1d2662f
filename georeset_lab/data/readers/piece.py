"""`Piece`: an array with everything its source states about it, before anything is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.stored import take
from georeset_lab.errors import ShapeMismatch

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox


@dataclass(frozen=True)
class Facts:
    """What a product's own metadata say of one column beyond its scale and offset; see `Calibration` for the formula.

    Where ``units`` holds, the column is certain: its scale and offset are not doubted because its pixels look unusual.
    """

    spec: BandSpec | None = None
    """What the band measures, where the metadata say so themselves."""
    planck: tuple[float, float] | None = None
    """Constants K1 and K2, if the scaled number is a thermal radiance."""
    to_db: bool = False
    """Whether the scaled number is linear power."""
    amplitude: bool = False
    """Whether the scaled number is an amplitude, whose square is the power."""
    saturated: float | None = None
    """Stored number that means "saturated", which is no measurement either."""
    units: bool = True
    """Whether the metadata state the units too (scale 1 and offset 0 where no others are stated)."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Some bands on some dates on one grid, as stored, with what the source says about them.

    Raises
    ------
    ShapeMismatch
        Names, dates or grid do not fit the array.
    """

    raw: Any
    """Stored numbers ``(time, band, y, x)``, NumPy or dask, any real dtype."""
    grid: GeoBox
    """Where the pixels lie; rows run downwards."""
    names: tuple[str | None, ...]
    """Band names as written; None where the source gives none."""
    times: np.ndarray
    """Dates ``(T,)`` datetime64[ns], NaT where the source gives none."""
    origin: str
    """Path, or a word for an object in memory; for messages."""
    stated: tuple[tuple[float, float] | None, ...] = ()
    """Scale and offset of each band, where the source states them and they are not yet applied."""
    nodata: float | None = None
    """Stored number that means "not measured", where the source states one."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Text metadata with upper-case keys."""
    facts: tuple[Facts | None, ...] = ()
    """What a product's metadata say of each band; None where only the file itself speaks."""
    quality: Mapping[int, str] = field(default_factory=dict)
    """Columns that are quality layers by the product's layout, and the kind of each (see ``masks.py``)."""

    def __post_init__(self) -> None:
        if not self.stated:
            object.__setattr__(self, "stated", (None,) * len(self.names))
        if not self.facts:
            object.__setattr__(self, "facts", (None,) * len(self.names))
        want = (len(self.times), len(self.names), *self.grid.shape)
        if tuple(self.raw.shape) != want or not len(self.stated) == len(self.facts) == len(self.names):
            raise ShapeMismatch(
                f"{self.origin} holds an array of shape {tuple(self.raw.shape)} but its dates, bands and grid say "
                f"{want}."
            )

    @property
    def is_lazy(self) -> bool:
        """Whether the numbers are a dask array."""
        return hasattr(self.raw, "dask")

    def take(self, bands: Sequence[int]) -> Piece:
        """Piece with the bands at these positions."""
        return Piece(
            raw=take(self.raw, bands, axis=1),
            grid=self.grid,
            names=tuple(self.names[i] for i in bands),
            times=self.times,
            origin=self.origin,
            stated=tuple(self.stated[i] for i in bands),
            nodata=self.nodata,
            tags=self.tags,
            facts=tuple(self.facts[i] for i in bands),
        )
