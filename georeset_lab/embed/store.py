"""Embeddings on disk: tiles streamed into a Zarr store that survives a kill, and opened only if it is whole.

While it grows a store lies at ``<path>.partial``; `TileStore.finish` renames it. What is damaged, incomplete or foreign
is refused with `StoreError`, never read as zeros. Arrays are described in ``layout.py``, seals in ``manifest.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.expert import Expert, Form, Quantization, fuse, narrowed
from georeset_lab.embed.layout import Layout, Tile
from georeset_lab.embed.manifest import (
    JOURNAL,
    Journal,
    Seal,
    check_chunks,
    fsync_path,
    read_manifest,
    seal_of,
    write_manifest,
)
from georeset_lab.embed.partial import LOCK, begin, disk, hold, read_header, refuse_other
from georeset_lab.embed.stored import local_path, open_embeddings, partial_path
from georeset_lab.errors import ShapeMismatch, StoreError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["TileStore", "open_embeddings"]

Natural = tuple[np.ndarray, np.ndarray] | Expert
"""One expert of a tile: eta and tau, or codes."""
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
        import zarr

        self.path, self.layout = path, layout
        self._root = partial_path(path)
        self._journal = Journal(self._root)
        self._lock = hold(self._root)
        names = [f"experts/{e}/{a}" for e in layout.experts for a in ("eta", "tau")]
        names += ["mean", "variance"] if layout.fused else []
        # A chunk of nothing but the fill value would else not be written, and be missed.
        with zarr.config.set({"array.write_empty_chunks": True}):
            self._arrays: dict[str, Any] = {n: zarr.open_array(str(self._root), path=n, mode="r+") for n in names}
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
        index = self.layout.index(tile)
        if set(experts) != set(self.layout.experts):
            raise ShapeMismatch(f"The store holds experts {self.layout.experts}; the tile has {tuple(experts)}.")
        shape = (tile[0].stop - tile[0].start, tile[1].stop - tile[1].start, self.layout.dim)
        for_disk = {n: self._for_disk(n, experts[n], shape) for n in self.layout.experts}
        with disk(self.path, "write"):
            for name, expert in for_disk.items():
                self._arrays[f"experts/{name}/eta"][tile] = expert.eta
                self._arrays[f"experts/{name}/tau"][tile] = expert.tau
            if self.layout.fused:
                mean, variance, _ = fuse(list(for_disk.values()), slice(None), slice(None))
                self._arrays["mean"][(slice(None), *tile)] = mean.transpose(2, 0, 1)
                self._arrays["variance"][(slice(None), *tile)] = variance.transpose(2, 0, 1)
            names = self.layout.chunk_names(index)
            for name in names:
                fsync_path(self._root / name)
            for folder in {(self._root / n).parent for n in names}:
                fsync_path(folder)
            seals = {n: seal_of(self._root / n) for n in names}
            self._journal.append({"tile": index, "chunks": seals})
        self._done[index] = seals

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
            for stray in [self.path / JOURNAL, self.path / LOCK, *self.path.rglob("*.partial")]:
                stray.unlink(missing_ok=True)
        return open_embeddings(self.path)

    def _for_disk(self, name: str, given: Natural, shape: tuple[int, int, int]) -> Expert:
        """The tile of one expert as it goes to the disk, checked."""
        rule = self.layout.quantization.get(name)
        if isinstance(given, Expert):
            if rule is not None and given.quantization == rule and given.shape == shape:
                return given
            given = given.read()
        eta, tau = given
        if eta.shape != shape or tau.shape != shape:
            raise ShapeMismatch(
                f"Expert {name!r} of this tile has eta {eta.shape} and tau {tau.shape}; both must be {shape}."
            )
        if not (_finite(eta) and _finite(tau)) or _negative(tau):
            raise ShapeMismatch(
                f"Expert {name!r} has values that are not finite, or a negative precision. "
                "Give eta = tau = 0 where nothing was measured."
            )
        if rule is not None:
            return Expert(*rule.encode(eta, tau), rule)
        return Expert(narrowed(eta, self.layout.dtype), narrowed(tau, self.layout.dtype))

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


def _finite(values: np.ndarray) -> bool:
    """No NaN and no infinity. Of float16 the bits are compared, which is thirty times faster."""
    if values.dtype == np.float16:
        return bool(((values.view(np.uint16) & 0x7C00) != 0x7C00).all())
    return bool(np.isfinite(values).all())


def _negative(tau: np.ndarray) -> bool:
    """Some precision below zero; a negative zero is none."""
    if tau.dtype == np.float16 and not (tau.view(np.int16) < 0).any():
        return False
    return bool(tau.min() < 0)


class _Complete(TileStore):
    """The store was finished before: nothing is pending."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout

    def pending(self, tiles: Iterable[Tile] | None = None) -> list[Tile]:
        return []

    def write(self, tile: Tile, experts: Mapping[str, Natural]) -> None:
        raise StoreError(f"{self.path} is complete; it cannot be written to. Give another path.")

    def finish(self) -> Embeddings:
        return open_embeddings(self.path)
