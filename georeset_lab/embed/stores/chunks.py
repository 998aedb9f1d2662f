"""`ChunkFiles`: the chunks of a store that is being filled, written by any process that sees its folder.

A chunk counts as written once `TileStore` has journaled the seals that `write` returns; here nothing is journaled.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from georeset_lab.embed.expert import Expert, fuse, narrowed
from georeset_lab.embed.stores.layout import ZSTD_LEVEL, Layout, Tile, compressors
from georeset_lab.embed.stores.manifest import Seal, fsync_path
from georeset_lab.errors import ShapeMismatch, StoreError
from georeset_lab.files import write_atomic

Natural = tuple[np.ndarray, np.ndarray] | Expert
"""One expert of a tile: eta and tau, or codes."""

Codes = tuple[np.ndarray, np.ndarray]
"""int8 means and uint8 certainties of a tile."""

_CACHED_VALUES = 1 << 17
"""Values that are checked and narrowed at once: they then stay in a core's cache."""


class ChunkFiles:
    """Files of a partial store; `write` may be called from several threads and processes, for different tiles.

    Parameters
    ----------
    root : Path
        Folder of the partial store, which exists.
    layout : Layout
        What the store holds.
    """

    def __init__(self, root: Path, layout: Layout) -> None:
        import zarr

        self._root, self._layout, self._own = root, layout, threading.local()
        names = [f"experts/{e}/{a}" for e in layout.experts for a in ("eta", "tau")]
        names += ["mean", "variance"] if layout.fused else []
        self._arrays: dict[str, Any] = {n: zarr.open_array(str(root), path=n, mode="r") for n in names}
        for name, array in self._arrays.items():
            if array.compressors != compressors():
                raise StoreError(f"{root / name} has other codecs than are written here. Delete {root} and start over.")

    def write(self, tile: Tile, experts: Mapping[str, Natural]) -> dict[str, Seal]:
        """Write the chunks of one tile and put them on the disk.

        Returns
        -------
        dict
            Seal of each chunk file, by name relative to the store.

        Raises
        ------
        ShapeMismatch
            Not a tile, or experts, shapes or values (NaN, negative precision) that cannot be.
        """
        index = self._layout.index(tile)
        for_disk = coded(self._layout, tile, experts, self._buffers(tile))
        ready: dict[str, np.ndarray] = {}
        for name, expert in for_disk.items():
            whole = expert.window(slice(None), slice(None))
            ready |= {f"experts/{name}/eta": np.asarray(whole.eta), f"experts/{name}/tau": np.asarray(whole.tau)}
        if self._layout.fused:
            mean, variance, _ = fuse(list(for_disk.values()), slice(None), slice(None))
            ready |= {"mean": mean.transpose(2, 0, 1), "variance": variance.transpose(2, 0, 1)}
        seals = {}
        for name in self._layout.chunk_names(index):
            array = name.partition("/c/")[0]
            payload = _packed(ready[array], self._arrays[array])
            write_atomic(self._root / name, payload)
            seals[name] = (len(payload), payload[-4:].hex())
        for folder in {(self._root / n).parent for n in seals}:
            fsync_path(folder)
        return seals

    def _buffers(self, tile: Tile) -> dict[str, Codes]:
        """Arrays for the codes of a whole chunk, the same for all tiles of a thread: new memory costs as much as coding."""
        whole = tuple(part.stop - part.start for part in tile) == self._layout.tile_shape
        if self._layout.dtype != "int8" or not whole:
            return {}
        if not hasattr(self._own, "buffers"):
            shape = (*self._layout.tile_shape, self._layout.dim)
            self._own.buffers = {n: (np.empty(shape, np.int8), np.empty(shape, np.uint8)) for n in self._layout.experts}
        buffers: dict[str, Codes] = self._own.buffers
        return buffers


def _packed(values: np.ndarray, array: Any) -> bytes:
    """Bytes of a chunk file, those that Zarr would write: filled up beyond the edge, Zstandard, CRC-32C.

    Zarr's own way goes through an event loop and a pool of threads, which cost more than they give for chunks of this size.
    """
    import google_crc32c
    from numcodecs import Zstd

    chunk = values
    if values.shape != array.chunks or values.dtype != array.dtype or not values.flags.c_contiguous:
        chunk = np.full(array.chunks, array.fill_value, array.dtype)
        chunk[tuple(map(slice, values.shape))] = values
    body: bytes = Zstd(level=ZSTD_LEVEL, checksum=True).encode(chunk)
    return body + google_crc32c.value(body).to_bytes(4, "little")


def coded(
    layout: Layout, tile: Tile, experts: Mapping[str, Natural], buffers: Mapping[str, Codes] | None = None
) -> dict[str, Expert]:
    """The experts of a tile in the form of the store, checked.

    Parameters
    ----------
    layout : Layout
    tile : Tile
    experts : mapping of name to (eta, tau), or Expert
    buffers : mapping of name to arrays, optional
        Where to put the codes of the int8 form.

    Raises
    ------
    ShapeMismatch
        Experts, shapes or values that cannot be.
    """
    if set(experts) != set(layout.experts):
        raise ShapeMismatch(f"The store holds experts {layout.experts}; the tile has {tuple(experts)}.")
    shape = (tile[0].stop - tile[0].start, tile[1].stop - tile[1].start, layout.dim)
    return {n: _coded(layout, n, experts[n], shape, (buffers or {}).get(n)) for n in layout.experts}


def _coded(layout: Layout, name: str, given: Natural, shape: tuple[int, int, int], buffer: Codes | None) -> Expert:
    rule = layout.quantization.get(name)
    if isinstance(given, Expert):
        if rule is not None and given.quantization == rule and given.shape == shape:
            return given
        given = given.read()
    eta, tau = given
    if eta.shape != shape or tau.shape != shape:
        raise ShapeMismatch(
            f"Expert {name!r} of this tile has eta {eta.shape} and tau {tau.shape}; both must be {shape}."
        )
    if rule is not None:
        try:
            return Expert(*rule.encode(eta, tau, buffer), rule)
        except ShapeMismatch as err:
            raise ShapeMismatch(f"Expert {name!r}: {err}") from err
    out = np.empty(shape, layout.dtype), np.empty(shape, layout.dtype)
    step = max(_CACHED_VALUES // (shape[1] * shape[2]), 1)
    for start in range(0, shape[0], step):
        rows = slice(start, start + step)
        parts = eta[rows], tau[rows]
        if not (_finite(parts[0]) and _finite(parts[1])) or _negative(parts[1]):
            raise ShapeMismatch(
                f"Expert {name!r}: these eta and tau hold values that are not finite, or a negative precision. Give "
                "eta = tau = 0 where nothing was measured."
            )
        for target, part in zip(out, parts, strict=True):
            target[rows] = narrowed(part, layout.dtype)
    return Expert(*out)


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
