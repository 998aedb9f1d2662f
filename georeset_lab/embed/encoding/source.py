"""`Source`: the pixels of one modality as the encoder wants them, window by window, padded with NaN beyond the edge.

The only place where encoding touches a scene's arrays. A window is read through `Modality.read`, so a lazy or streamed
modality is never read whole, and stored integers become float32 only inside the window.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from georeset_lab.data.bands import band_table
from georeset_lab.data.calibration import Linear
from georeset_lab.data.ground import ground_cell_m
from georeset_lab.data.modality import Modality
from georeset_lab.data.stored import is_direct, read_stored
from georeset_lab.data.times import day_of_year
from georeset_lab.data.window import crop_modality
from georeset_lab.embed.encoding.resample import Resample
from georeset_lab.embed.encoding.tiles import (
    PIXELS_PER_CELL,
    Block,
    CellLattice,
    Needs,
    Span,
    pixel_m,
    pixel_size,
    regular_grid,
)
from georeset_lab.errors import UnitError

_SPARSE = 16
"""Step of the pixels that are looked at first: one that was measured settles that some were."""


class Source:
    """A modality on the lattice of its cells.

    Parameters
    ----------
    modality : Modality
    needs : Needs
        What the encoder asks for.
    dates : sequence of int, optional
        Which of its dates; all by default.
    cell_m : float, optional
        Side of a cell in metres; by default `georeset_lab.data.ground.ground_cell_m`. Pixels are repeated (cell smaller
        than six of them) or averaged over what was measured (larger), so that a cell is 6 x 6 samples of ``cell_m / 6``.

    Raises
    ------
    UnitError
        ``cell_m`` is not a positive number.
    """

    def __init__(
        self,
        modality: Modality,
        needs: Needs,
        *,
        dates: list[int] | None = None,
        cell_m: float | None = None,
    ) -> None:
        self.modality = modality
        self.dates = list(range(len(modality.times))) if dates is None else dates
        self.grid = modality.grid
        self.scheduler = "threads"
        """Of dask, for the windows of a lazy modality. The default one would ask a cluster, if there is one."""
        self._origin = (0, 0)  # pixel of the whole modality at which `modality` begins; see `held`
        self._resample: Resample | None = None
        own = PIXELS_PER_CELL * pixel_m(modality.grid)
        wanted = ground_cell_m(pixel_m(modality.grid)) if cell_m is None else cell_m
        if not 0 < wanted < math.inf:
            raise UnitError(f"cell_m={cell_m!r}; give the side of a cell in metres, above zero (e.g. 60).")
        if (cell_m is not None or wanted != own) and any(
            abs(size * PIXELS_PER_CELL / wanted - 1) > 1e-6 for size in pixel_size(modality.grid)
        ):
            self.grid = regular_grid(modality.grid, wanted / PIXELS_PER_CELL)
            self._resample = Resample(modality.grid, self.grid)
        self.cell_m = PIXELS_PER_CELL * pixel_m(self.grid)
        self.lattice = CellLattice.of(self.grid, needs)
        self.bands = band_table(modality.bands)
        self.day_of_year = day_of_year(modality.times[self.dates])

    @property
    def layers(self) -> int:
        """Dates times bands: float32 values of one pixel."""
        return len(self.dates) * len(self.modality.bands)

    @property
    def stored_pixel_bytes(self) -> int:
        """Size of one pixel of the modality as it is stored, all dates and bands."""
        return self.layers * int(self.modality.raw.dtype.itemsize)

    def needed(self, blocks: Iterable[Block]) -> tuple[Span, Span]:
        """Rows and columns of the modality that blocks and their margins are made of; empty if there are none."""
        spans = [(b.read_rows, b.read_cols) for b in blocks]
        if not spans:
            return Span(0, 0), Span(0, 0)
        rows, cols = (
            Span(min(s[i].start for s in spans), max(s[i].stop for s in spans)).clip(0, n)
            for i, n in enumerate(self.grid.shape)
        )
        return (rows, cols) if self._resample is None else self._resample.footprint(rows, cols)

    def held(self, rows: Span, cols: Span) -> Source:
        """The same source with this window of the modality in memory, as it is stored; `read` only blocks inside it.

        Parameters
        ----------
        rows, cols : Span
            From `needed`; not empty.
        """
        part = copy.copy(self)
        cut = crop_modality(self.modality, (slice(*rows), slice(*cols)))
        raw = cut.raw.drop_vars("flags", errors="ignore")
        whole, raw = raw.data, raw.isel(time=self.dates)
        if is_direct(whole):
            dates = [read_stored(whole, (slice(t, t + 1), *(slice(None),) * 3)) for t in self.dates]
            raw = raw.copy(data=dates[0] if len(dates) == 1 else np.concatenate(dates))
        raw = raw.compute(scheduler=self.scheduler)
        mask = None if cut.mask is None else cut.mask.isel(time=self.dates).compute(scheduler=self.scheduler)
        part.modality = replace(cut, raw=raw, mask=mask)
        part.dates = list(range(len(self.dates)))
        part._origin = (rows.start, cols.start)
        return part

    def read(self, block: Block) -> np.ndarray | None:
        """Physical values of a block and its margin, (T, C, Y, X), float32; None if nothing in it was measured."""
        rows, cols = block.read_rows, block.read_cols
        inner_rows, inner_cols = rows.clip(0, self.grid.shape.y), cols.clip(0, self.grid.shape.x)
        if not inner_rows.size or not inner_cols.size:
            return None
        inner = self._window(inner_rows, inner_cols)
        if np.isnan(inner[..., ::_SPARSE, ::_SPARSE]).all() and np.isnan(inner).all():
            return None
        if inner.flags.c_contiguous and (inner_rows, inner_cols) == (rows, cols):
            return inner
        out = np.full((len(self.dates), len(self.modality.bands), rows.size, cols.size), np.nan, np.float32)
        out[:, :, inner_rows.within(rows), inner_cols.within(cols)] = inner
        return out

    def _window(self, rows: Span, cols: Span) -> np.ndarray:
        if self._resample is None:
            return self._pixels(rows, cols)
        window = self._resample.footprint(rows, cols)
        held = self.held(*window) if self.modality.is_lazy and all(s.size for s in window) else self
        layers = (len(self.dates), len(self.modality.bands))
        linear = self._linear() if self._resample.is_mean else None
        return self._resample.read(rows, cols, held._pixels if linear is None else held._numbers, layers, linear)

    def _linear(self) -> Linear | None:
        """What the stored numbers mean, if that is a scale and an offset; under a mask, only if one means "not measured"."""
        dtype = self.modality.raw.dtype
        linear = self.modality.calibration.linear(dtype)
        if linear is None or self.modality.mask is None:
            return linear
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        return linear if low <= linear.missing <= high and float(linear.missing).is_integer() else None

    def _numbers(self, rows: Span, cols: Span) -> np.ndarray:
        """What is stored, with what is masked as not measured; only of what is in memory."""
        y, x = self._place(rows, cols)
        every = self.dates == list(range(len(self.modality.times)))
        stored: np.ndarray = self.modality.raw.data[:, :, y, x]
        stored = stored if every else stored[self.dates]
        if self.modality.mask is None:
            return stored
        hidden = np.asarray(self.modality.mask.data[:, None, y, x])
        nothing = stored.dtype.type(self.modality.calibration.nodata)
        return np.where(hidden if every else hidden[self.dates], nothing, stored)

    def _place(self, rows: Span, cols: Span) -> tuple[slice, slice]:
        """Where these pixels are in what is in memory."""
        y, x = (slice(s.start - o, s.stop - o) for s, o in zip((rows, cols), self._origin, strict=True))
        return y, x

    def _pixels(self, rows: Span, cols: Span) -> np.ndarray:
        if self.modality.is_lazy:
            return self.held(rows, cols).modality.read(slice(None), slice(None))
        y, x = self._place(rows, cols)
        if self.dates == list(range(len(self.modality.times))):
            return self.modality.read(y, x)
        return np.concatenate([self.modality.read(y, x, time=t) for t in self.dates])
