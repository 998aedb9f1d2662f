"""`Resample`: pixels of one size as samples of another: repeated where these are finer, averaged where they are coarser.

Averages are over what was measured, so they are made of physical values before anything is encoded. (What encoders say is
brought to the grid of a map by `Regrid`, where pixels without a measurement count.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from georeset_lab.compiled import compiled
from georeset_lab.data.calibration import Linear
from georeset_lab.embed.encoding.regrid import Regrid
from georeset_lab.embed.encoding.tiles import Span

Pixels = Callable[[Span, Span], np.ndarray]
"""What was measured in these rows and columns (T, C, y, x): physical values, float32, NaN where nothing was; or, where a
`Linear` tells what they mean, numbers as they are stored."""

_STRIP_BYTES = 4 << 20
"""Pixels that are averaged at once: they stay in a core's cache, and fine pixels of a large block never lie in memory."""

_LARGEST = np.finfo(np.float32).max


def _mean(
    values: Any, scale: Any, offset: Any, missing: Any, row_edges: Any, col_edges: Any, sums: Any, counts: Any, out: Any
) -> None:  # fmt: skip
    # Unsigned: of an index that may be negative numba asks whether it is, and such loops are not vectorised.
    wide, none, one = np.uint64(values.shape[2]), np.float32(0), np.float32(1)
    for layer in range(values.shape[0]):
        for i in range(out.shape[1]):
            sums[:] = none
            counts[:] = none
            for y in range(row_edges[i], row_edges[i + 1]):
                row = values[layer, y]
                for x in range(wide):
                    value = np.float32(row[x])
                    seen = (value != missing) & (abs(value) <= _LARGEST)
                    sums[x] += value if seen else none
                    counts[x] += one if seen else none
            target = out[layer, i]
            for j in range(len(target)):
                total, count = none, none
                for x in range(np.uint64(col_edges[j]), np.uint64(col_edges[j + 1])):
                    total += sums[x]
                    count += counts[x]
                target[j] = total / count * scale[layer] + offset[layer]


_mean_loop = compiled(_mean)


class Resample:
    """Rule that turns pixels into samples of a grid whose axes run the same way.

    Parameters
    ----------
    source, target : GeoBox
        Of the pixels and of the samples (`georeset_lab.embed.encoding.tiles.regular_grid`).
    """

    def __init__(self, source: GeoBox, target: GeoBox) -> None:
        self._regrid = Regrid(source, target)
        assert self._regrid.axes is not None
        self._axes = self._regrid.axes

    @property
    def is_mean(self) -> bool:
        """Whether samples are averages along both axes."""
        return all(rule.source_of is None for rule in self._axes)

    def footprint(self, rows: Span, cols: Span) -> tuple[Span, Span]:
        """Pixels that decide these samples; empty spans if there are none."""
        return self._regrid.footprint(rows, cols)

    def read(
        self, rows: Span, cols: Span, pixels: Pixels, layers: tuple[int, int], linear: Linear | None = None
    ) -> np.ndarray:
        """Samples of some rows and columns.

        Parameters
        ----------
        rows, cols : Span
        pixels : callable
            Where the pixels come from, asked for in strips from top to bottom.
        layers : pair of int
            Dates T and bands C.
        linear : Linear, optional
            What the pixels' numbers mean, if they come as they are stored; only where all `is_mean`.

        Returns
        -------
        numpy.ndarray, shape (T, C, rows, cols), float32
            NaN where no pixel was measured.
        """
        out = np.full((*layers, rows.size, cols.size), np.nan, np.float32)
        src_rows, src_cols = self.footprint(rows, cols)
        if not (src_rows.size and src_cols.size):
            return out
        if linear is None:
            linear = Linear(np.ones(layers[1], np.float32), np.zeros(layers[1], np.float32), np.float32(np.nan))
        per_row = src_cols.size * layers[0] * layers[1] * out.itemsize
        tall = max(1, _STRIP_BYTES * rows.size // (src_rows.size * per_row))
        for first in range(rows.start, rows.stop, tall):
            strip = Span(first, min(first + tall, rows.stop))
            wanted = self.footprint(strip, cols)[0]
            if wanted.size:
                target = out[:, :, strip.start - rows.start : strip.stop - rows.start]
                self._fill(target, pixels(wanted, src_cols), (wanted, src_cols), (strip, cols), linear)
        return out

    def _fill(
        self, out: np.ndarray, values: np.ndarray, source: tuple[Span, Span], target: tuple[Span, Span], linear: Linear
    ) -> None:
        """Write the samples that these pixels decide, and which no others do."""
        edges = []
        for axis, rule in enumerate(self._axes):
            if rule.source_of is None:
                edges.append(rule.edges(source[axis], target[axis]))
                continue
            taken = rule.source_of[target[axis].start : target[axis].stop] - source[axis].start
            values = np.take(values, taken, axis=2 + axis, mode="clip")
            values[(slice(None),) * (2 + axis) + ((taken < 0) | (taken >= source[axis].size),)] = np.nan
            edges.append(np.arange(target[axis].size + 1))
        if all(rule.source_of is not None for rule in self._axes):
            out[...] = values
            return
        for date, samples in zip(values, out, strict=True):
            sums, counts = np.empty((2, date.shape[-1]), np.float32)
            whole = np.empty(samples.shape, np.float32)
            _mean_loop(np.ascontiguousarray(date), *linear, *edges, sums, counts, whole)
            samples[...] = whole
