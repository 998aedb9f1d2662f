"""Embeddings on disk: tiles streamed into a Zarr store that survives a kill, and opened only if it is whole.

While it grows a store lies at ``<path>.partial``; `TileStore.finish` renames it. What is damaged, incomplete or foreign
is refused with `StoreError`, never read as zeros. Arrays are described in ``layout.py``, seals in ``manifest.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.expert import Form, Quantization
from georeset_lab.embed.stores.chunks import ChunkFiles, Natural
from georeset_lab.embed.stores.layout import Layout, Tile
from georeset_lab.embed.stores.manifest import (
    JOURNAL,
    Journal,
    Seal,
    check_chunks,
    fsync_path,
    read_manifest,
    write_manifest,
)
from georeset_lab.embed.stores.partial import begin, disk, hold, read_header, refuse_other
from georeset_lab.embed.stores.stored import local_path, open_embeddings, partial_path
from georeset_lab.errors import StoreError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["TileStore", "open_embeddings"]

DEFAULT_TILE = (192, 192)


class TileStore:
    """A store that is being filled tile by tile; `write` may be called from several threads.

    Attributes
    ----------
    path : Path
        Name under which `finish` will leave the store.
    layout : Layout
        Grid, experts, form and tiles.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        """Attach to a partial store that is known to have this layout; use `create_or_resume`."""
        self.path, self.layout = path, layout
        self._root = partial_path(path)
        self._journal = Journal(self._root)
        self._lock = hold(self._root)
        self._chunks = ChunkFiles(self._root, layout)
        self._done = self._finished_tiles()

    @classmethod
    def create_or_resume(
        cls,
        path: str | os.PathLike[str],
        grid: GeoBox,
        experts: Sequence[str],
        dim: int,
        dtype: Form = "float16",
        tile_shape: tuple[int, int] = DEFAULT_TILE,
        provenance: Mapping[str, Any] | None = None,
        *,
        fused: bool = False,
        quantization: Mapping[str, Quantization] | None = None,
    ) -> TileStore:
        """Begin a store, or go on with the one that an interrupted call with the same arguments left behind.

        Parameters
        ----------
        path : path
            Final name of the store.
        grid, experts, dim, dtype, tile_shape, provenance, fused
            As in `Layout`. A tile is one chunk; `provenance` must hold whatever changes the numbers, and no clock.
        quantization : mapping, optional
            Scale of each expert in the int8 form; by default a fixed one, as the data have not been seen.

        Returns
        -------
        TileStore
            ``pending()`` is empty if the store is already complete.

        Raises
        ------
        StoreError
            A store is there that holds something else (the message names what differs), or the disk refuses.
        """
        final = local_path(path)
        rules = dict(quantization or {})
        if dtype == "int8":
            rules = {n: rules.get(n, Quantization.fixed(dim)) for n in experts}
        layout = Layout(
            grid, tuple(experts), int(dim), dtype, (int(tile_shape[0]), int(tile_shape[1])),
            dict(provenance or {}), fused, rules,
        )  # fmt: skip
        if final.exists():
            refuse_other(final, read_manifest(final)["layout"], layout)
            return _Complete(final, layout)
        partial = partial_path(final)
        if partial.exists():
            refuse_other(partial, read_header(partial)["layout"], layout)
        else:
            begin(partial, layout)
        with disk(final, "open"):
            return cls(final, layout)

    @property
    def root(self) -> Path:
        """Folder where the store lies until it is finished."""
        return self._root

    def pending(self, tiles: Iterable[Tile] | None = None) -> list[Tile]:
        """Tiles (of those given, or of all) that are not in the store yet."""
        return [t for t in (self.layout.tiles() if tiles is None else tiles) if self.layout.index(t) not in self._done]

    def write(self, tile: Tile, experts: Mapping[str, Natural]) -> None:
        """Store one tile; when this returns it survives a kill and a power cut.

        Parameters
        ----------
        tile : (rows, columns), one of ``layout.tiles()``.
        experts : mapping of name to (eta, tau)
            Each (y, x, D), any float type; values beyond float16 are clipped to its range. In the int8 form codes may
            be given instead, as an Expert with the quantization of the store.

        Raises
        ------
        ShapeMismatch
            Not a tile, or experts, shapes or values (NaN, negative precision) that cannot be.
        StoreError
            The disk refuses; tiles already written stay.
        """
        with disk(self.path, "write"):
            self.record(tile, self._chunks.write(tile, experts))

    def record(self, tile: Tile, seals: Mapping[str, Seal]) -> None:
        """Count a tile as done whose chunks lie in the store already, written by another process.

        Parameters
        ----------
        tile : (rows, columns), one of ``layout.tiles()``.
        seals : mapping
            What `ChunkFiles.write` returned there.

        Raises
        ------
        StoreError
            A chunk is not, or not as it was written, in the store that this process sees; or the disk refuses.
        """
        index = self.layout.index(tile)
        check_chunks(self._root, seals, self.layout.chunk_names(index))
        with disk(self.path, "write"):
            self._journal.append({"tile": index, "chunks": seals})
        self._done[index] = dict(seals)

    def finish(self) -> Embeddings:
        """Seal the store, give it its final name, and open it.

        Raises
        ------
        StoreError
            Tiles are missing, or a store of that name has appeared.
        """
        missing = self.pending()
        if missing:
            raise StoreError(
                f"{self._root} still lacks {len(missing)} tiles; write() each of pending() before finish()."
            )
        chunks = {name: seal for seals in self._done.values() for name, seal in seals.items()}
        with disk(self.path, "finish"):
            header = read_header(self._root)
            write_manifest(self._root, {**header, "complete": True, "chunks": chunks})
            if self.path.exists():
                raise StoreError(f"{self.path} has appeared meanwhile. Move it away and call finish() again.")
            os.rename(self._root, self.path)  # complete from here on; what follows only tidies up
            fsync_path(self.path.parent)
            self._lock.close()
            _tidy(self.path)
        return open_embeddings(self.path)

    def _finished_tiles(self) -> dict[tuple[int, int], dict[str, Seal]]:
        """Tiles in the journal whose chunk files are still what was written."""
        done: dict[tuple[int, int], dict[str, Seal]] = {}
        for entry in self._journal.entries():
            if "tile" not in entry:
                continue
            index = (entry["tile"][0], entry["tile"][1])
            seals = {n: (s[0], s[1]) for n, s in entry["chunks"].items()}
            try:
                check_chunks(self._root, seals, self.layout.chunk_names(index))
            except (StoreError, KeyError):
                continue
            done[index] = seals
        return done


class _Complete(TileStore):
    """The store was finished before: nothing is pending."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout

    def pending(self, tiles: Iterable[Tile] | None = None) -> list[Tile]:
        return []

    def write(self, tile: Tile, experts: Mapping[str, Natural]) -> None:
        raise StoreError(f"{self.path} is complete; it cannot be written to. Give another path.")

    def finish(self) -> Embeddings:
        with suppress(OSError):  # the writer may have been killed before; a store that is read only stays as it is
            _tidy(self.path)
        return open_embeddings(self.path)


def _tidy(path: Path) -> None:
    """Remove from a complete store what only its making needed: journal, lock, and half files of killed writers."""
    for stray in [path / JOURNAL, *(p for p in path.rglob(".*") if p.is_file())]:
        stray.unlink(missing_ok=True)
