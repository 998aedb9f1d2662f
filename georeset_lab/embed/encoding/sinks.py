"""Where finished tiles go: arrays in memory, or a Zarr store that can be resumed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.encoding.coded import Coded
from georeset_lab.embed.encoding.tiles import Span, Tile
from georeset_lab.embed.expert import Expert, Form
from georeset_lab.models.canvas import Map
from georeset_lab.models.core import Core
from georeset_lab.models.fusion import Gaussian

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from georeset_lab.embed.encoding.pipeline import Natural
    from georeset_lab.embed.stores.store import TileStore


class MemorySink:
    """Keeps tiles in arrays."""

    store = None

    def __init__(self, grid: GeoBox, names: tuple[str, ...], dim: int, dtype: type) -> None:
        self._grid, self._shape, self._dtype = grid, (*grid.shape, dim), np.dtype(dtype)
        self._names = names
        self._arrays: dict[str, Natural] = {}
        self._lock = Lock()

    def wants(self, tile: Tile) -> bool:
        """Always: nothing was kept from an earlier call."""
        return True

    def canvas(self, tile: Tile, name: str, core: Core) -> Map:
        """The tile's part of the map."""
        return Map(core, Gaussian(*map(torch.from_numpy, self._room(tile, name))))

    def write(self, tile: Tile, experts: Mapping[str, Expert]) -> None:
        """Copy a tile into place, if it was not made there; one that is the whole map is kept as it came."""
        for name, expert in experts.items():
            parts = expert.read()
            if name not in self._arrays and all(self._is_map(a) for a in parts):
                self._arrays[name] = parts
                continue
            for place, part in zip(self._room(tile, name), parts, strict=True):
                if not np.may_share_memory(place, part):
                    place[...] = part

    def _room(self, tile: Tile, name: str) -> Natural:
        """Where a tile belongs."""
        with self._lock:
            if name not in self._arrays:
                self._arrays[name] = (np.empty(self._shape, self._dtype), np.empty(self._shape, self._dtype))
            eta, tau = self._arrays[name]
        here = slice(*tile.rows), slice(*tile.cols)
        return eta[here], tau[here]

    def _is_map(self, part: np.ndarray) -> bool:
        return part.shape == self._shape and part.dtype == self._dtype and part.flags.c_contiguous

    def finish(self, attrs: Mapping[str, Any]) -> Embeddings:
        """The whole map."""
        return Embeddings({n: Expert(*self._arrays[n]) for n in self._names}, self._grid, attrs=attrs)


class StoreSink:
    """Writes tiles to a Zarr store, chunk by chunk; leaves out chunks that are there."""

    def __init__(self, store: TileStore) -> None:
        self.store = store

    @classmethod
    def open(
        cls,
        out: str | os.PathLike[str],
        grid: GeoBox,
        names: tuple[str, ...],
        dim: int,
        dtype: Form,
        chunk: tuple[int, int],
        attrs: Mapping[str, Any],
    ) -> StoreSink:
        """Begin a store, or go on with the one an interrupted call left behind."""
        from georeset_lab.embed.stores.store import TileStore

        return cls(TileStore.create_or_resume(out, grid, names, dim, dtype, chunk, attrs))

    def wants(self, tile: Tile) -> bool:
        """True if a chunk of the tile is not on the disk."""
        return bool(self.lacking(tile))

    def lacking(self, tile: Tile) -> list[tuple[slice, slice]]:
        """Chunks of a tile that are not on the disk."""
        return self.store.pending(self._chunks(tile))

    def canvas(self, tile: Tile, name: str, core: Core) -> Coded | None:
        """One that codes, if the store holds codes."""
        return Coded.of_store(self.store.layout, name, core)

    def write(self, tile: Tile, experts: Mapping[str, Expert]) -> None:
        """Write the chunks of a tile that are missing; each is durable before the next."""
        for rows, cols in self.lacking(tile):
            window = (Span(rows.start, rows.stop).within(tile.rows), Span(cols.start, cols.stop).within(tile.cols))
            self.store.write((rows, cols), {n: expert.window(*window) for n, expert in experts.items()})

    def finish(self, attrs: Mapping[str, Any]) -> Embeddings:
        """The whole map, read from its store; the store holds the attributes already."""
        return self.store.finish()

    def _chunks(self, tile: Tile) -> list[tuple[slice, slice]]:
        ty, tx = self.store.layout.tile_shape
        return [
            (slice(y, min(y + ty, tile.rows.stop)), slice(x, min(x + tx, tile.cols.stop)))
            for y in range(tile.rows.start, tile.rows.stop, ty)
            for x in range(tile.cols.start, tile.cols.stop, tx)
        ]
