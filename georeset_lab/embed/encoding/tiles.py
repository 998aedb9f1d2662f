"""Which pixels are encoded together: cells anchored in the CRS, blocks with a margin, tiles of the output, its grid.

Only integers and affines; no pixel is read here (`source.py`) and nothing is resampled (`regrid.py`).

A cell is 6 x 6 pixels. Pixel and cell numbers are absolute: pixel ``i`` of an axis with affine ``origin + i * step``
has number ``i + floor(origin / step + 1/2)``, so two crops of one raster give the same pixel the same number, and
attention windows (whole cells, starting at multiples of the stride) never depend on where a scene was cut or tiled.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.data.ground import SAMPLES_PER_CELL
from georeset_lab.data.points import is_points
from georeset_lab.errors import GridMismatch, UnitError

PIXELS_PER_CELL = SAMPLES_PER_CELL

MAX_DEFAULT_PIXELS = 4_000_000
"""Largest output nobody asked for; ``resolution_m=None`` coarsens beyond it."""

_TOLERANCE = 1e-3  # of a pixel: a grid half a pixel off the lattice must not flip between crops by rounding


class Span(NamedTuple):
    """Half-open range of pixel indices; unlike a slice it may start below zero."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of pixels."""
        return max(self.stop - self.start, 0)

    def clip(self, low: int, high: int) -> Span:
        """Part of the span inside ``[low, high)``; empty (start == stop) if there is none."""
        start = min(max(self.start, low), high)
        return Span(start, max(min(self.stop, high), start))

    def grow(self, pixels: int) -> Span:
        """The span with ``pixels`` more on both sides."""
        return Span(self.start - pixels, self.stop + pixels)

    def within(self, other: Span) -> slice:
        """Slice that takes this span from an array that begins where ``other`` does."""
        return slice(self.start - other.start, self.stop - other.start)


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of the output: what is encoded, written and marked as done together."""

    index: tuple[int, int]
    """Row and column of the tile."""
    rows: Span
    cols: Span


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle of a modality that passes the encoder at once. All spans are pixel indices of the modality's grid."""

    rows: Span
    """What is wanted."""
    cols: Span
    read_rows: Span
    """What is wanted and what it depends on: whole strides, which may reach outside the grid, where pixels are NaN."""
    read_cols: Span


class Needs(NamedTuple):
    """What an encoder asks for, in cells."""

    stride_cells: int
    """Step between attention windows; what it is given is whole strides."""
    margin_cells: int
    """What it needs around what it is asked for."""
    rim_cells: int
    """What it needs of that beyond the strides that hold the scene, where nothing was measured: whole strides."""


@dataclass(frozen=True, slots=True)
class CellLattice:
    """Absolute cell numbers of one modality's grid.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the grid.
    first : (int, int)
        Absolute number of pixel 0 of each axis.
    needs : Needs
        What the encoder asks for.
    """

    shape: tuple[int, int]
    first: tuple[int, int]
    needs: Needs

    @classmethod
    def of(cls, grid: GeoBox, needs: Needs) -> CellLattice:
        """Lattice of a grid. A rotated grid has no lattice in the CRS: its own first pixel is number 0."""
        a, shape = grid.affine, (grid.shape.y, grid.shape.x)
        return cls(shape, (0, 0) if is_rotated(grid) else (first_pixel(a.f, a.e), first_pixel(a.c, a.a)), needs)

    def blocks(self, rows: Span, cols: Span, *, max_cells: int) -> Iterator[Block]:
        """Blocks of at most ``max_cells`` cells a side (at least one stride) that cover ``rows`` x ``cols``."""
        cut = [[*self._parts(i, span, max_cells)] for i, span in enumerate((rows, cols))]
        for (part_rows, read_rows), (part_cols, read_cols) in itertools.product(*cut):
            yield Block(part_rows, part_cols, read_rows, read_cols)

    def _parts(self, axis: int, span: Span, max_cells: int) -> Iterator[tuple[Span, Span]]:
        """Parts of a span, each with all that it depends on."""
        if not span.size:
            return
        n, first, unit = self.shape[axis], self.first[axis], self.needs.stride_cells * PIXELS_PER_CELL
        low, high = _strides(span, first, unit)
        # Pieces of equal size: 5 strides under a limit of 4 become 3 + 2, not 4 + 1.
        pieces = -(-(high - low) // max(max_cells // self.needs.stride_cells, 1))
        cuts = [low + (high - low) * i // pieces for i in range(pieces + 1)]
        whole = _pixels(*_strides(Span(0, n), first, unit), first, unit).grow(self.needs.rim_cells * PIXELS_PER_CELL)
        for start, stop in itertools.pairwise(cuts):
            core = _pixels(start, stop, first, unit)
            yield span.clip(*core), core.grow(self.needs.margin_cells * PIXELS_PER_CELL).clip(*whole)


def _strides(span: Span, first: int, unit: int) -> tuple[int, int]:
    """Absolute numbers of the strides that hold a span."""
    return (span.start + first) // unit, -(-(span.stop + first) // unit)


def _pixels(start: int, stop: int, first: int, unit: int) -> Span:
    """Pixels of strides, from their absolute numbers."""
    return Span(start * unit - first, stop * unit - first)


def first_pixel(origin: float, step: float) -> int:
    """Absolute number of the first pixel of an axis whose outer edge is ``origin`` and whose pixels are ``step`` wide.

    Examples
    --------
    >>> first_pixel(600_000.0, 10.0), first_pixel(5_000_000.0, -10.0)
    (60000, -500000)
    """
    return math.floor(origin / step + 0.5 + _TOLERANCE)


def is_rotated(grid: GeoBox) -> bool:
    """True when rows do not run along an axis of the CRS."""
    a = grid.affine
    return abs(a.b) + abs(a.d) > 1e-9 * (abs(a.a) + abs(a.e))


def pixel_size(grid: GeoBox) -> tuple[float, float]:
    """Height and width of a pixel in metres, along its own sides."""
    a = grid.affine
    return math.hypot(a.b, a.e), math.hypot(a.a, a.d)


def pixel_m(grid: GeoBox) -> float:
    """Side of the square with the area of a pixel, in metres; of points, of the ground that each stands for."""
    if is_points(grid):
        return grid.support_m
    height, width = pixel_size(grid)
    return math.sqrt(height * width)


def output_grid(
    grids: Sequence[GeoBox], resolution_m: float | None = None, *, max_pixels: int = MAX_DEFAULT_PIXELS
) -> tuple[GeoBox, int]:
    """Grid of an embedding map over the ground that all ``grids`` share.

    Parameters
    ----------
    grids : sequence of GeoBox
        Grids of the scene's modalities, all in one CRS.
    resolution_m : float, optional
        Pixel of the output. If it is the pixel of a modality, the result is exactly that modality's grid (cut to the
        common ground). None: the finest pixel, coarsened to a whole multiple while there are more than ``max_pixels``.

    Returns
    -------
    grid : GeoBox
    factor : int
        How many times the finest pixel was coarsened because of ``max_pixels``; 1 if not at all.

    Raises
    ------
    UnitError
        ``resolution_m`` is not a positive number.
    GridMismatch
        The modalities share no ground.
    """
    if resolution_m is None:
        base = _cut(min(grids, key=pixel_m), grids)
        factor = 1
        while math.prod(_coarse_shape(base, factor)) > max_pixels:
            factor += 1
        return (base if factor == 1 else _coarsen(base, factor)), factor
    if not 0 < resolution_m < math.inf:
        raise UnitError(f"resolution_m={resolution_m!r}; give the output pixel in metres, above zero (e.g. 10).")
    for grid in grids:
        if all(abs(size / resolution_m - 1) < 1e-6 for size in pixel_size(grid)):
            return _cut(grid, grids), 1
    return regular_grid(_cut(min(grids, key=pixel_m), grids), resolution_m), 1


def tile_plan(shape: tuple[int, int], tile_px: tuple[int, int]) -> list[Tile]:
    """Tiles in row order that cover an output of ``shape``; the last row and column may be smaller."""
    return [
        Tile((i, j), Span(y, min(y + tile_px[0], shape[0])), Span(x, min(x + tile_px[1], shape[1])))
        for i, y in enumerate(range(0, shape[0], tile_px[0]))
        for j, x in enumerate(range(0, shape[1], tile_px[1]))
    ]


def _cut(grid: GeoBox, grids: Sequence[GeoBox]) -> GeoBox:
    """Rows and columns of ``grid`` on the common ground; a modality's last, partly covered pixel counts as covered."""
    if is_rotated(grid):
        return grid
    boxes = [
        other.extent.boundingbox.buffered(*((0.0, 0.0) if other is grid else pixel_size(other)[::-1]))
        for other in grids
    ]
    left, right = max(b.left for b in boxes), min(b.right for b in boxes)
    bottom, top = max(b.bottom for b in boxes), min(b.top for b in boxes)
    rows = _inside(grid.affine.f, grid.affine.e, grid.shape.y, bottom, top)
    cols = _inside(grid.affine.c, grid.affine.a, grid.shape.x, left, right)
    if not rows.size or not cols.size:
        raise GridMismatch(
            "The modalities of this scene share no ground. Encode them one at a time (scene.only(name)), "
            "or load them together with load_scene, which keeps the part they share."
        )
    return grid[rows.start : rows.stop, cols.start : cols.stop]


def _inside(origin: float, step: float, n: int, low: float, high: float) -> Span:
    """Indices of the pixels whose centres lie in [low, high]."""
    a, b = sorted(((low - origin) / step - 0.5, (high - origin) / step - 0.5))
    return Span(math.ceil(a - _TOLERANCE), math.floor(b + _TOLERANCE) + 1).clip(0, n)


def _coarse_axis(origin: float, step: float, n: int, factor: int) -> tuple[int, int]:
    """First fine pixel (relative, <= 0) and number of the coarse pixels, which begin at absolute multiples."""
    first = first_pixel(origin, step)
    low, high = first // factor, -(-(first + n) // factor)
    return low * factor - first, high - low


def _coarse_shape(grid: GeoBox, factor: int) -> tuple[int, int]:
    a = grid.affine
    if is_rotated(grid):
        return -(-grid.shape.y // factor), -(-grid.shape.x // factor)
    return _coarse_axis(a.f, a.e, grid.shape.y, factor)[1], _coarse_axis(a.c, a.a, grid.shape.x, factor)[1]


def _coarsen(grid: GeoBox, factor: int) -> GeoBox:
    """Pixels of ``factor`` x ``factor`` pixels of ``grid``, beginning at absolute multiples of ``factor``."""
    a = grid.affine
    dy, dx = (0, 0)
    if not is_rotated(grid):
        dy = _coarse_axis(a.f, a.e, grid.shape.y, factor)[0]
        dx = _coarse_axis(a.c, a.a, grid.shape.x, factor)[0]
    return GeoBox(_coarse_shape(grid, factor), a * Affine.translation(dx, dy) * Affine.scale(factor), grid.crs)


def regular_grid(base: GeoBox, resolution_m: float) -> GeoBox:
    """Square pixels of ``resolution_m`` over ``base``, beginning at absolute multiples, so that crops share a lattice.

    If they can be blocks of whole pixels of ``base``, they are; else their edges are multiples of ``resolution_m`` in
    the CRS. A rotated grid keeps its rotation and its corner.
    """
    height, width = pixel_size(base)
    factor = round(resolution_m / width)
    if factor >= 1 and abs(height / width - 1) < 1e-6 and abs(resolution_m / (width * factor) - 1) < 1e-6:
        return _coarsen(base, factor)
    a = base.affine
    if is_rotated(base):
        shape = [math.ceil(n * s / resolution_m - _TOLERANCE) for n, s in zip(base.shape, (height, width), strict=True)]
        return GeoBox((shape[0], shape[1]), a * Affine.scale(resolution_m / width, resolution_m / height), base.crs)
    step_y, step_x = math.copysign(resolution_m, a.e), math.copysign(resolution_m, a.a)
    y0, ny = _lattice_axis(a.f, a.e * base.shape.y, step_y)
    x0, nx = _lattice_axis(a.c, a.a * base.shape.x, step_x)
    return GeoBox((ny, nx), Affine(step_x, 0.0, x0, 0.0, step_y, y0), base.crs)


def _lattice_axis(origin: float, length: float, step: float) -> tuple[float, int]:
    """Edge at a multiple of ``step``, and the number of steps that cover ``length`` from ``origin``."""
    low = math.floor(origin / step + _TOLERANCE)
    high = max(math.ceil((origin + length) / step - _TOLERANCE), low + 1)
    return low * step, high - low
