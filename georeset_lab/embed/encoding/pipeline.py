"""Read, encode and write at the same time: one thread reads the next block, one writes the last tile, this one encodes.

What is encoded is decided in `tiles.py`, what is kept in the sink. At any moment there are one block read ahead, one in
the encoder, one tile being filled and one being written; so memory does not grow with the scene. Of a lazy scene the
stored numbers of a few neighbouring tiles are read at once, because their margins and the blocks of the file overlap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from odc.geo.geobox import GeoBox

from georeset_lab.embed.encoding.regrid import Regrid
from georeset_lab.embed.encoding.source import Source
from georeset_lab.embed.encoding.sums import Sums
from georeset_lab.embed.encoding.tiles import PIXELS_PER_CELL, Block, Span, Tile, pixel_size
from georeset_lab.embed.expert import Expert
from georeset_lab.models.canvas import Canvas
from georeset_lab.models.core import Core
from georeset_lab.models.encoder import Encoder
from georeset_lab.models.fusion import Gaussian

BLOCK_BYTES = 1000 << 20
"""What the encoder may use for one block; blocks of long series or of many bands are made smaller to stay below."""

HELD_BYTES = 96 << 20
"""Stored numbers of a lazy modality that are read at once. Windows of single tiles would decode each block of 512 x 512
pixels four times."""
_GROUP_SIDES = (4, 3, 2)

Natural = tuple[np.ndarray, np.ndarray]
"""eta and tau of a tile, each (y, x, D)."""


class TileCanvas(Canvas, Protocol):
    """A canvas that keeps what is painted."""

    @property
    def result(self) -> Gaussian | Expert:
        """What was painted, (Y, X, D)."""


class Sink(Protocol):
    """Where finished tiles go."""

    def canvas(self, tile: Tile, name: str, core: Core) -> TileCanvas | None:
        """What pixels of a modality can be painted on as they are to be kept, where the core of a block is the tile."""

    def write(self, tile: Tile, experts: Mapping[str, Expert]) -> None:
        """Keep every modality of one tile. Called from one other thread, one tile at a time."""


class Progress(Protocol):
    """What is told how many pixels are done; a tqdm bar, for one."""

    def update(self, n: float, /) -> object:
        """Add ``n`` pixels."""


@dataclass(frozen=True)
class Job:
    """Everything that `run` needs to know."""

    encoder: Encoder
    sources: Mapping[str, Source]
    grid: GeoBox
    """Of the output."""
    dtype: type[np.float16] | type[np.float32]
    device: torch.device
    max_cells: int
    """Side of a block in cells, if the modality has few layers."""
    fast: bool = False
    """Whether accuracy that hardly shows is given up for speed (`is_sparse`; the encoder has its own part in it)."""
    rules: Mapping[str, Regrid] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", {n: Regrid(s.grid, self.grid) for n, s in self.sources.items()})

    def is_summed(self, name: str) -> bool:
        """Whether what the encoder says of a modality is added up while it is painted (`Sums`)."""
        return self.rules[name].is_mean and isinstance(self.encoder, Encoder)

    def tile_dtype(self, name: str) -> type[np.floating[Any]]:
        """Of the tile of a modality while it is filled: that of the result, if blocks are copied into place."""
        if self.rules[name].is_identity:
            return self.dtype
        return np.float64 if self.is_summed(name) else np.float32

    def is_sparse(self, name: str) -> bool:
        """Whether of each pair of pixels of a modality one stands for both: in means over as many as a cell has, or more."""
        source = self.sources[name]
        pairs = zip(pixel_size(self.grid), pixel_size(source.grid), strict=True)
        wide = all(of_map >= (PIXELS_PER_CELL - 1e-6) * of_pixel for of_map, of_pixel in pairs)
        if not (self.fast and wide and self.is_summed(name)):
            return False
        return self.rules[name].keeps_pairs(source.lattice.first[1])


class _Pixels:
    """Pixels of one modality for a group of tiles; read at once, when the first block asks, if that is worth it."""

    def __init__(self, source: Source, window: tuple[Span, Span] | None) -> None:
        self._source, self._window = source, window

    def read(self, block: Block) -> np.ndarray | None:
        if self._window is not None:
            self._source, self._window = self._source.held(*self._window), None
        return self._source.read(block)


@dataclass(frozen=True)
class _Step:
    tile: Tile
    name: str
    block: Block | None
    """None for a modality that does not reach the tile."""
    pixels: _Pixels
    is_whole: bool
    """The block alone is the tile, pixel by pixel."""
    ends_modality: bool
    ends_tile: bool


def run(job: Job, tiles: Sequence[Tile], sink: Sink, progress: Progress) -> None:
    """Encode tiles and hand each to the sink. An exception (Ctrl-C too) leaves whole tiles only.

    Neighbouring tiles follow each other, row by row of their groups.
    """
    with ThreadPoolExecutor(1, "encode-read") as reader, ThreadPoolExecutor(1, "encode-write") as writer:
        writing: Future[None] | None = None
        experts: dict[str, Expert] = {}
        sums: Natural | None = None
        for step, pixels in _read_ahead(job, tiles, reader):
            tile, block = step.tile, step.block
            if pixels is not None and block is not None and step.is_whole:
                experts[step.name] = _paint(job, step.name, block, pixels, tile, sink)
            else:
                sums = _zeros(job, step.name, tile) if sums is None else sums
                if pixels is not None and block is not None:
                    _add(job, step.name, block, pixels, tile, sums)
                if step.ends_modality:
                    experts[step.name], sums = _finish(job, step.name, tile, sums), None
            del pixels
            if step.ends_modality:
                progress.update(tile.rows.size * tile.cols.size)
            if step.ends_tile:
                if writing is not None:
                    writing.result()
                writing, experts = writer.submit(sink.write, tile, experts), {}
        if writing is not None:
            writing.result()


def block_cells(source: Source, max_cells: int, *, n_virtual: int, margin_cells: int, budget: int = BLOCK_BYTES) -> int:
    """Side of a block in cells: ``max_cells``, or less where dates and bands would not fit ``budget`` bytes.

    What a pixel, margin included, takes at the encoder's peak with T dates, C bands and R virtual bands is below
    ``4 * (128 + R + T * (4 R + C))`` bytes, its result of 64 dimensions included (measured for T up to 40 and C up to
    224, with holes). Nothing smaller than one stride and its margin can be encoded: 120 x 120 pixels, 0.2 GB for 40 dates
    of 12 bands.
    """
    per_pixel = 4 * (128 + n_virtual + len(source.dates) * 4 * n_virtual + source.layers)
    side = math.isqrt(budget // per_pixel) // PIXELS_PER_CELL - 2 * margin_cells
    return max(min(max_cells, side), 1)


def needed(job: Job, name: str, tiles: Sequence[Tile]) -> tuple[Span, Span]:
    """Rows and columns of a modality that these tiles are made of, margins included."""
    cells = _cells(job)
    return job.sources[name].needed(b for tile in tiles for b in _blocks(job, name, tile, cells))


def _steps(job: Job, tiles: Sequence[Tile]) -> Iterator[_Step]:
    cells = _cells(job)
    for group in _groups(job, tiles, cells):
        blocks = {(tile, name): _blocks(job, name, tile, cells) for tile in group for name in job.sources}
        pixels = {}
        for name, source in job.sources.items():
            window = source.needed(b for tile in group for b in blocks[tile, name])
            pixels[name] = _Pixels(source, window if _worth_holding(source, window) else None)
        for tile in group:
            for i, (name, rule) in enumerate(job.rules.items()):
                footprint = rule.footprint(tile.rows, tile.cols)
                sizes = [s.size for s in footprint] == [tile.rows.size, tile.cols.size]
                some: list[Block | None] = [*blocks[tile, name]] or [None]
                for j, block in enumerate(some):
                    whole = rule.is_identity and sizes and block is not None and (block.rows, block.cols) == footprint
                    last = j == len(some) - 1
                    yield _Step(tile, name, block, pixels[name], whole, last, last and i == len(job.rules) - 1)


def _cells(job: Job) -> dict[str, int]:
    """Largest side of a block of each modality, in cells."""
    c, margin = job.encoder.config, job.encoder.margin_cells
    return {
        n: block_cells(s, job.max_cells, n_virtual=c.n_virtual, margin_cells=margin) for n, s in job.sources.items()
    }


def _blocks(job: Job, name: str, tile: Tile, cells: Mapping[str, int]) -> list[Block]:
    rows, cols = job.rules[name].footprint(tile.rows, tile.cols)
    return list(job.sources[name].lattice.blocks(rows, cols, max_cells=cells[name]))


def _worth_holding(source: Source, window: tuple[Span, Span]) -> bool:
    size = window[0].size * window[1].size * source.stored_pixel_bytes
    return source.modality.is_lazy and 0 < size <= HELD_BYTES


def _groups(job: Job, tiles: Sequence[Tile], cells: Mapping[str, int]) -> list[list[Tile]]:
    """Tiles in squares of neighbours whose stored numbers can be held, each square as large as that allows."""
    lazy = [n for n, s in job.sources.items() if s.modality.is_lazy]
    for side in _GROUP_SIDES if lazy and tiles else ():
        squares: dict[tuple[int, int], list[Tile]] = {}
        for tile in tiles:
            squares.setdefault((tile.index[0] // side, tile.index[1] // side), []).append(tile)
        fullest = max(squares.values(), key=len)
        blocks = {n: [b for t in fullest for b in _blocks(job, n, t, cells)] for n in lazy}
        if all(_worth_holding(job.sources[n], job.sources[n].needed(b)) for n, b in blocks.items() if b):
            return list(squares.values())
    return [[tile] for tile in tiles]


def _read_ahead(
    job: Job, tiles: Sequence[Tile], reader: ThreadPoolExecutor
) -> Iterator[tuple[_Step, np.ndarray | None]]:
    """Steps with their pixels; the next step's are being read while the caller works on this one."""

    def read(step: _Step) -> np.ndarray | None:
        return step.pixels.read(step.block) if step.block is not None else None

    waiting: tuple[_Step, Future[np.ndarray | None]] | None = None
    for step in _steps(job, tiles):
        following = (step, reader.submit(read, step))
        if waiting is not None:
            yield waiting[0], waiting[1].result()
        waiting = following
    if waiting is not None:
        yield waiting[0], waiting[1].result()


def _paint(job: Job, name: str, block: Block, pixels: np.ndarray, tile: Tile, sink: Sink) -> Expert:
    """What the encoder says of a block that is the tile, on the sink's own canvas where that can be."""
    paints = isinstance(job.encoder, Encoder) and job.device.type == "cpu"
    canvas = sink.canvas(tile, name, _core(block)) if paints else None
    if canvas is None:
        return _narrowed(job, *_dense(job, name, block, pixels))
    job.encoder.draw(**_given(job, name, pixels), canvas=canvas)
    result = canvas.result
    return result if isinstance(result, Expert) else Expert(result.eta.numpy(), result.tau.numpy())


def _dense(job: Job, name: str, block: Block, pixels: np.ndarray) -> Natural:
    """What the encoder says of what is wanted of one block: eta and tau, (y, x, D)."""
    dtype = torch.float16 if job.dtype is np.float16 and job.rules[name].is_identity else torch.float32
    with torch.inference_mode():
        gaussian = job.encoder.dense(**_given(job, name, pixels), core=_core(block), dtype=dtype)
        return gaussian.eta.cpu().numpy(), gaussian.tau.cpu().numpy()


def _core(block: Block) -> Core:
    return block.rows.within(block.read_rows), block.cols.within(block.read_cols)


def _zeros(job: Job, name: str, tile: Tile) -> Natural:
    shape, dtype = (tile.rows.size, tile.cols.size, job.encoder.config.latent_dim), job.tile_dtype(name)
    return np.zeros(shape, dtype), np.zeros(shape, dtype)


def _add(job: Job, name: str, block: Block, pixels: np.ndarray, tile: Tile, sums: Natural) -> None:
    """Add what the encoder says of one block to the sums of a tile."""
    rule = job.rules[name]
    if job.is_summed(name):
        canvas = Sums(rule, block, tile, sums, is_sparse=job.is_sparse(name))
        job.encoder.draw(**_given(job, name, pixels), canvas=canvas)
        return
    for part, target in zip(_dense(job, name, block, pixels), sums, strict=True):
        rule.add(target, part, block.rows, block.cols, tile.rows, tile.cols)


def _given(job: Job, name: str, pixels: np.ndarray) -> dict[str, Any]:
    """What an encoder is told of a block."""
    source = job.sources[name]
    return {
        "x": torch.from_numpy(pixels).to(job.device),
        "bands": torch.from_numpy(source.bands).to(job.device),
        "cell_m": source.cell_m,
        "day_of_year": torch.from_numpy(source.day_of_year).to(job.device),
    }


def _finish(job: Job, name: str, tile: Tile, sums: Natural) -> Expert:
    rule = job.rules[name]
    return _narrowed(job, *(rule.finish(a, tile.rows, tile.cols) for a in sums))


def _narrowed(job: Job, eta: np.ndarray, tau: np.ndarray) -> Expert:
    """Of the type of the result, clipped to its range."""
    most = np.finfo(job.dtype).max
    eta, tau = (a if a.dtype == job.dtype else np.clip(a, -most, most).astype(job.dtype) for a in (eta, tau))
    return Expert(eta, tau)
