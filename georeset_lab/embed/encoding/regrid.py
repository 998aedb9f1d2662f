"""Bring what one modality says onto the output grid: nearest where the output is finer, mean where it is coarser.

Both are linear in the natural parameters and independent of how either grid is tiled: every output pixel takes its
value from a fixed set of source pixels, found once from the two affines. Blocks of the source are added one by one, so
the memory needed is that of one output tile and one block.

The mean, not the sum: neighbouring pixels are correlated, and their product would be far too sure. Pixels that were
not measured (tau = 0) count, so ground that is half under cloud is half as sure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from odc.geo.geobox import GeoBox

from georeset_lab.embed.encoding.add_up import add_up
from georeset_lab.embed.encoding.tiles import Span

_EPS = 1e-6  # of a pixel; a centre on an edge belongs to the pixel that begins there
_ROTATED_MEAN = math.sqrt(2)  # a rotated square this wide always holds a pixel centre, a smaller one may hold none


class Regrid:
    """Rule that takes arrays ``(y, x, ...)`` on a source grid to a target grid.

    Parameters
    ----------
    source, target : GeoBox
        Grids in one CRS. They may be rotated, flipped and of any pixel size.

    Examples
    --------
    >>> from affine import Affine
    >>> fine = GeoBox((4, 4), Affine(10, 0, 0, 0, -10, 40), "EPSG:32633")
    >>> coarse = GeoBox((2, 2), Affine(20, 0, 0, 0, -20, 40), "EPSG:32633")
    >>> rule, out = Regrid(fine, coarse), np.zeros((2, 2))
    >>> rule.add(out, np.arange(16.0).reshape(4, 4), Span(0, 4), Span(0, 4), Span(0, 2), Span(0, 2))
    >>> rule.finish(out, Span(0, 2), Span(0, 2)).tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """

    def __init__(self, source: GeoBox, target: GeoBox) -> None:
        self.source, self.target = source, target
        m = ~source.affine * target.affine
        scale = abs(m.a) + abs(m.b) + abs(m.d) + abs(m.e)
        self.axes: tuple[Axis, Axis] | None = None
        """Of rows and of columns; None where one grid is turned against the other."""
        if abs(m.b) + abs(m.d) <= 1e-9 * scale:
            self.axes = (
                Axis.of(m.e, m.f, source.shape.y, target.shape.y),
                Axis.of(m.a, m.c, source.shape.x, target.shape.x),
            )

    @property
    def is_identity(self) -> bool:
        """True when the target is the source, or a rectangle of it."""
        return self.axes is not None and all(axis.shift is not None for axis in self.axes)

    @property
    def is_mean(self) -> bool:
        """True when every target pixel is a mean over rows and columns of the source."""
        return self.axes is not None and all(axis.target_of is not None for axis in self.axes)

    def keeps_pairs(self, first: int) -> bool:
        """True when no pair of columns, one of even number and the next, is torn apart; ``first`` is the number of column 0."""
        assert self.axes is not None
        targets = self.axes[1].target_of
        assert targets is not None
        left, right = targets[first % 2 :: 2], targets[first % 2 + 1 :: 2]
        return bool((left[: len(right)] == right).all())

    def footprint(self, rows: Span, cols: Span) -> tuple[Span, Span]:
        """Source pixels that decide these target pixels; empty spans if there are none."""
        if self.axes is not None:
            return self.axes[0].footprint(rows), self.axes[1].footprint(cols)
        corners = [(x, y) for x in cols for y in rows]
        to_source = ~self.source.affine * self.target.affine
        xs, ys = zip(*(to_source * corner for corner in corners), strict=True)
        return (
            Span(math.floor(min(ys)) - 1, math.ceil(max(ys)) + 1).clip(0, self.source.shape.y),
            Span(math.floor(min(xs)) - 1, math.ceil(max(xs)) + 1).clip(0, self.source.shape.x),
        )

    def add(self, out: np.ndarray, block: np.ndarray, src_rows: Span, src_cols: Span, rows: Span, cols: Span) -> None:
        """Add what a block of the source contributes to ``out``, in place.

        Parameters
        ----------
        out : numpy.ndarray, shape (rows, cols, ...)
            Sums for target pixels ``rows`` x ``cols``; zeros before the first block. Of any float type if each target
            pixel has one source pixel (see `counts`), else of one that can be summed.
        block : numpy.ndarray, shape (src_rows, src_cols, ...)
            Source pixels ``src_rows`` x ``src_cols``, finite. Blocks of one tile must not share pixels.
        """
        if self.axes is None:
            self._add_rotated(out, block, src_rows, src_cols, rows, cols)
            return
        to_rows, block = self.axes[0].take(block, 0, src_rows, rows)
        to_cols, block = self.axes[1].take(block, 1, src_cols, cols)
        if not block.size:
            return
        if all(axis.target_of is None for axis in self.axes):
            out[_index(to_rows, to_cols)] = block  # one source pixel each: nothing to sum, and half floats add slowly
        else:
            add_up(out, block, to_rows, to_cols)

    def targets(self, src_rows: Span, src_cols: Span, rows: Span, cols: Span) -> tuple[np.ndarray, np.ndarray]:
        """Where rows and columns of the source are summed up, counted within ``rows`` and ``cols``; -1 for nowhere.

        Only for a rule of which both axes are means (`is_mean`).
        """
        assert self.axes is not None
        return self.axes[0].targets(src_rows, rows), self.axes[1].targets(src_cols, cols)

    def finish(self, out: np.ndarray, rows: Span, cols: Span) -> np.ndarray:
        """Turn the sums of all blocks into means, in place, and return them."""
        counts = self.counts(rows, cols)
        if counts is not None:
            out /= np.maximum(counts, 1).astype(out.dtype).reshape(counts.shape + (1,) * (out.ndim - 2))
        return out

    def counts(self, rows: Span, cols: Span) -> np.ndarray | None:
        """Source pixels in each target pixel, shape (rows, cols); None where each target pixel has just one."""
        if self.axes is not None:
            n = [axis.counts for axis in self.axes]
            if n[0] is None and n[1] is None:
                return None
            ny = np.ones(rows.size, int) if n[0] is None else n[0][rows.start : rows.stop]
            nx = np.ones(cols.size, int) if n[1] is None else n[1][cols.start : cols.stop]
            return ny[:, None] * nx
        if not self._rotated_is_mean:
            return None
        flat, _ = self._rotated_targets(*self.footprint(rows, cols), rows, cols)
        return np.bincount(flat, minlength=rows.size * cols.size).reshape(rows.size, cols.size)

    @property
    def _rotated_is_mean(self) -> bool:
        return abs((~self.source.affine * self.target.affine).determinant) > _ROTATED_MEAN**2

    def _rotated_targets(self, src_rows: Span, src_cols: Span, rows: Span, cols: Span) -> tuple[np.ndarray, np.ndarray]:
        """Flat target index (within the tile) of each source pixel that falls in it, and which pixels those are."""
        y, x = _centres(src_rows, src_cols)
        x, y = (~self.target.affine * self.source.affine) * (x, y)
        i, j = np.floor(y + _EPS).astype(int) - rows.start, np.floor(x + _EPS).astype(int) - cols.start
        inside = (i >= 0) & (i < rows.size) & (j >= 0) & (j < cols.size)
        return (i * cols.size + j)[inside], inside

    def _add_rotated(
        self, out: np.ndarray, block: np.ndarray, src_rows: Span, src_cols: Span, rows: Span, cols: Span
    ) -> None:
        if self._rotated_is_mean:
            flat, inside = self._rotated_targets(src_rows, src_cols, rows, cols)
            order = np.argsort(flat, kind="stable")
            targets, starts = np.unique(flat[order], return_index=True)
            if targets.size:
                i, j = np.divmod(targets, cols.size)
                out[i, j] += np.add.reduceat(block[inside][order], starts, axis=0)
            return
        y, x = _centres(rows, cols)
        x, y = (~self.source.affine * self.target.affine) * (x, y)
        i, j = np.floor(y + _EPS).astype(int) - src_rows.start, np.floor(x + _EPS).astype(int) - src_cols.start
        inside = (i >= 0) & (i < src_rows.size) & (j >= 0) & (j < src_cols.size)
        out[inside] += block[i[inside], j[inside]]


@dataclass(frozen=True)
class Axis:
    """One axis of a regridding whose axes do not mix."""

    n_source: int
    source_of: np.ndarray | None
    """Nearest: source index of each target pixel, -1 outside."""
    target_of: np.ndarray | None
    """Mean: target index of each source pixel, -1 outside."""
    counts: np.ndarray | None
    """Mean: source pixels in each target pixel."""
    shift: int | None
    """Nearest, one to one and all inside: source index of target 0."""

    @classmethod
    def of(cls, scale: float, offset: float, n_source: int, n_target: int) -> Axis:
        """Axis where target edge ``j`` lies at ``scale * j + offset`` in source pixels."""
        if abs(scale) > 1 + _EPS:
            target = np.floor((np.arange(n_source) + 0.5 - offset) / scale + _EPS).astype(int)
            target[(target < 0) | (target >= n_target)] = -1
            return cls(n_source, None, target, np.bincount(target[target >= 0], minlength=n_target), None)
        source = np.floor((np.arange(n_target) + 0.5) * scale + offset + _EPS).astype(int)
        source[(source < 0) | (source >= n_source)] = -1
        straight = bool(n_target and source[0] >= 0 and np.array_equal(source, source[0] + np.arange(n_target)))
        return cls(n_source, source, None, None, int(source[0]) if straight else None)

    def edges(self, source: Span, target: Span) -> np.ndarray:
        """Mean: where the source pixels of each target begin within ``source``, (target + 1,); axes run the same way."""
        assert self.target_of is not None
        return np.searchsorted(self.target_of[source.start : source.stop], np.arange(target.start, target.stop + 1))

    def footprint(self, target: Span) -> Span:
        """Source indices that these target indices need."""
        if self.source_of is not None:
            needed = self.source_of[target.start : target.stop]
            needed = needed[needed >= 0]
        else:
            assert self.target_of is not None
            needed = np.flatnonzero((self.target_of >= target.start) & (self.target_of < target.stop))
        return Span(int(needed.min()), int(needed.max()) + 1) if needed.size else Span(0, 0)

    def targets(self, source: Span, target: Span) -> np.ndarray:
        """Mean: position within ``target`` of each source index, -1 outside."""
        assert self.target_of is not None
        found = self.target_of[source.start : source.stop] - target.start
        found[(found < 0) | (found >= target.size)] = -1
        return found

    def take(self, block: np.ndarray, axis: int, source: Span, target: Span) -> tuple[np.ndarray, np.ndarray]:
        """Repeat a block along a nearest axis; and where each index of the result belongs (`targets` of a mean)."""
        if self.source_of is None:
            return self.targets(source, target), block
        if self.shift is not None:  # a view, no copy
            hit = Span(source.start - self.shift, source.stop - self.shift).clip(*target)
            taken = slice(hit.start + self.shift - source.start, hit.stop + self.shift - source.start)
            return np.arange(hit.start, hit.stop) - target.start, block[(slice(None),) * axis + (taken,)]
        wanted = self.source_of[target.start : target.stop]
        positions = np.flatnonzero((wanted >= source.start) & (wanted < source.stop))
        return positions, np.take(block, wanted[positions] - source.start, axis=axis)


def _centres(rows: Span, cols: Span) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.meshgrid(np.arange(*rows) + 0.5, np.arange(*cols) + 0.5, indexing="ij")
    return y, x


def _index(rows: np.ndarray, cols: np.ndarray) -> tuple[slice, slice] | tuple[np.ndarray, ...]:
    """Slices where the positions run without a gap (no copy), else an open mesh."""
    straight = [bool(p.size and np.array_equal(p, p[0] + np.arange(p.size))) for p in (rows, cols)]
    if all(straight):
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)
    return np.ix_(rows, cols)
