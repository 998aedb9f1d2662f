"""Embeddings on disk: tiles streamed into a Zarr store that survives a kill, and opened only if it is whole.

While it grows a store lies at ``<path>.partial``; `TileStore.finish` renames it. What is damaged, incomplete or foreign
is refused with `StoreError`, never read as zeros. Arrays are described in ``layout.py``, seals in ``manifest.py``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.expert import Expert, Form, Quantization, fuse
from georeset_lab.embed.layout import Layout, Tile
from georeset_lab.embed.manifest import (
    FORMAT,
    JOURNAL,
    VERSION,
    Journal,
    Seal,
    check_chunks,
    fsync_path,
    read_manifest,
    seal_of,
    sha256_of,
    write_manifest,
)
from georeset_lab.embed.stored import local_path, open_embeddings, partial_path
from georeset_lab.errors import ShapeMismatch, StoreError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["TileStore", "open_embeddings", "write_embeddings"]

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
        names = [f"experts/{e}/{a}" for e in layout.experts for a in ("eta", "tau")]
        names += ["mean", "variance"] if layout.fused else []
        self._arrays: dict[str, Any] = {
            n: zarr.open_array(str(self._root), path=n, mode="r+", config={"write_empty_chunks": True}) for n in names
        }
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
            _same(final, read_manifest(final)["layout"], layout)
            return _Complete(final, layout)
        partial = partial_path(final)
        if partial.exists():
            _same(partial, _header(partial)["layout"], layout)
        else:
            _begin(partial, layout)
        with _disk(final, "open"):
            return cls(final, layout)

    def pending(self, tiles: Iterable[Tile] | None = None) -> list[Tile]:
        """Tiles (of those given, or of all) that are not in the store yet."""
        return [t for t in (self.layout.tiles() if tiles is None else tiles) if self.layout.index(t) not in self._done]

    def write(self, tile: Tile, experts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """Store one tile; when this returns it survives a kill and a power cut.

        Parameters
        ----------
        tile : (rows, columns), one of ``layout.tiles()``.
        experts : mapping of name to (eta, tau)
            Each (y, x, D), any float type; values beyond float16 are clipped to its range.

        Raises
        ------
        ShapeMismatch
            Not a tile, or experts, shapes or values (NaN, negative precision) that cannot be.
        StoreError
            The disk refuses; tiles already written stay.
        """
        index = self.layout.index(tile)
        self._check(tile, experts)
        for_disk = {n: self._encode(n, *experts[n]) for n in self.layout.experts}
        with _disk(self.path, "write"):
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
        with _disk(self.path, "finish"):
            header = _header(self._root)
            write_manifest(self._root, {**header, "complete": True, "chunks": chunks})
            if self.path.exists():
                raise StoreError(f"{self.path} has appeared meanwhile. Move it away and call finish() again.")
            os.rename(self._root, self.path)
            fsync_path(self.path.parent)
            for stray in [self.path / JOURNAL, *self.path.rglob("*.partial")]:
                stray.unlink(missing_ok=True)
        return open_embeddings(self.path)

    def _check(self, tile: Tile, experts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        if set(experts) != set(self.layout.experts):
            raise ShapeMismatch(f"The store holds experts {self.layout.experts}; the tile has {tuple(experts)}.")
        shape = (tile[0].stop - tile[0].start, tile[1].stop - tile[1].start, self.layout.dim)
        for name, (eta, tau) in experts.items():
            if eta.shape != shape or tau.shape != shape:
                raise ShapeMismatch(
                    f"Expert {name!r} of this tile has eta {eta.shape} and tau {tau.shape}; both must be {shape}."
                )
            if not (np.isfinite(eta).all() and np.isfinite(tau).all() and tau.min() >= 0):
                raise ShapeMismatch(
                    f"Expert {name!r} has values that are not finite, or a negative precision. "
                    "Give eta = tau = 0 where nothing was measured."
                )

    def _encode(self, name: str, eta: np.ndarray, tau: np.ndarray) -> Expert:
        """The tile of one expert as it goes to the disk."""
        rule = self.layout.quantization.get(name)
        if rule is not None:
            return Expert(*rule.encode(eta, tau), rule)
        limit = np.finfo(self.layout.dtype).max
        return Expert(*(np.clip(a, -limit, limit).astype(self.layout.dtype) for a in (eta, tau)))

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

    def write(self, tile: Tile, experts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        raise StoreError(f"{self.path} is complete; it cannot be written to. Give another path.")

    def finish(self) -> Embeddings:
        return open_embeddings(self.path)


def write_embeddings(
    emb: Embeddings,
    path: str | os.PathLike[str],
    *,
    fused: bool = False,
    dtype: Form | None = None,
    overwrite: bool = False,
    tile_shape: tuple[int, int] = DEFAULT_TILE,
) -> Embeddings:
    """Write embeddings to a Zarr store and open it.

    Parameters
    ----------
    emb : Embeddings
    path : path
        Name of the store; it appears only when the store is whole.
    fused : bool
        Also write the fused mean and variance as CF variables, so that ``xarray.open_zarr(path, decode_coords="all")``
        finds them and their CRS.
    dtype : "float32", "float16" or "int8", optional
        Form of the experts; by default the one they have.
    overwrite : bool
        Replace a store of that name, after the new one is whole.

    Raises
    ------
    StoreError
        The name is taken, or the disk refuses; nothing is left under the name then.
    """
    final, dtype = local_path(path), dtype or emb.dtype
    partial = partial_path(final)
    for taken in (final, partial):
        if taken.exists() and not overwrite:
            raise StoreError(f"{taken} exists already. Pass overwrite=True to replace it, or give another path.")
    if dtype == "int8" and emb.dtype != "int8" and emb.fits_memory:
        emb = emb.astype("int8")  # the data are at hand, so the finest scale that holds them can be used
    rules = {n: e.quantization for n, e in emb.experts.items() if e.quantization is not None and dtype == "int8"}
    aside = final.with_name(f"{final.name}.old")
    if partial.exists():
        shutil.rmtree(partial)
    shown = final if not final.exists() else final.with_name(f"{final.name}.new")
    try:
        store = TileStore.create_or_resume(
            shown, emb.grid, emb.modalities, emb.dim, dtype, tile_shape, emb.attrs, fused=fused, quantization=rules
        )
        for tile in store.pending():
            store.write(tile, {n: e.read(*tile) for n, e in emb.experts.items()})
        store.finish()
    except BaseException:
        shutil.rmtree(partial_path(shown), ignore_errors=True)
        raise
    if shown != final:
        with _disk(final, "replace"):
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(final, aside)
            os.rename(shown, final)
            shutil.rmtree(aside)
    return open_embeddings(final)


def _begin(partial: Path, layout: Layout) -> None:
    """An empty store, made under a third name so that a partial store is always a sound one."""
    making = partial.with_name(partial.name.replace(".partial", ".creating"))
    with _disk(partial, "create"):
        shutil.rmtree(making, ignore_errors=True)
        making.parent.mkdir(parents=True, exist_ok=True)
        layout.create(making)
        files = sorted(p.relative_to(making).as_posix() for p in making.rglob("*") if p.is_file())
        header = {
            "format": FORMAT,
            "version": VERSION,
            "layout": layout.to_json(),
            "files": {name: sha256_of(making / name) for name in files},
        }
        Journal(making).append(header)
        os.rename(making, partial)
        fsync_path(partial.parent)


def _header(partial: Path) -> dict[str, Any]:
    """First line of the journal: what the store is to hold."""
    entries = Journal(partial).entries()
    if not entries or entries[0].get("format") != FORMAT:
        raise StoreError(f"{partial} is damaged or not ours. Delete it and call again to start over.")
    header = entries[0]
    for name, digest in header["files"].items():
        path = partial / name
        if not path.exists() or sha256_of(path) != digest:
            raise StoreError(f"{path} is damaged. Delete {partial} and call again to start over.")
    return header


def _same(where: Path, found: Mapping[str, Any], layout: Layout) -> None:
    """Refuse a store of another layout, naming the first thing that differs."""
    wanted = layout.to_json()
    flat = [{k: v for k, v in side.items() if k != "provenance"} for side in (found, wanted)]
    for side, source in zip(flat, (found, wanted), strict=True):
        side.update({f"provenance[{k!r}]": v for k, v in source["provenance"].items()})
    for key in sorted({*flat[0], *flat[1]}):
        old, new = flat[0].get(key, "nothing"), flat[1].get(key, "nothing")
        if old != new:
            raise StoreError(
                f"{where} holds other embeddings: {key} is {_short(old)} there and {_short(new)} here. "
                "Give another path, delete that store, or repeat the call that made it."
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@contextmanager
def _disk(path: Path, doing: str) -> Iterator[None]:
    """Say in our words that the disk refused."""
    try:
        yield
    except StoreError:
        raise
    except OSError as err:
        raise StoreError(
            f"Could not {doing} {path}: {err}. Check the space and permissions there and call again; "
            "tiles that were finished are kept."
        ) from err
