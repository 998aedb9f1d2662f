"""Embeddings read from a store that was finished: opened without reading pixels, refused if anything is amiss."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.expert import Expert
from georeset_lab.embed.stores.layout import Layout
from georeset_lab.embed.stores.manifest import Journal, Seal, check_chunks, read_manifest, sha256_of
from georeset_lab.errors import ShapeMismatch, StoreError

__all__ = ["StoredArray", "local_path", "open_embeddings", "partial_path"]


def local_path(path: str | os.PathLike[str]) -> Path:
    """Absolute path of a store on this machine; `StoreError` for an address."""
    text = os.fspath(path)
    if "://" in text:
        raise StoreError(
            f"A store must be a folder on this machine, not {text!r}. Give a local path and copy it after."
        )
    return Path(text).expanduser().absolute()


def partial_path(path: Path) -> Path:
    """Where a store lies until it is finished."""
    return path.with_name(f"{path.name}.partial")


class StoredArray:
    """One array of a store, (Y, X, D), read by windows; each chunk is compared with its seal before it is decoded."""

    def __init__(self, root: Path, name: str, layout: Layout, seals: Mapping[str, Seal]) -> None:
        import zarr

        self._root, self._name, self._layout, self._seals = root, name, layout, seals
        self._zarr: Any = zarr.open_array(str(root), path=name, mode="r")
        self.shape: tuple[int, ...] = (*layout.shape, layout.dim)
        self.dtype: Any = self._zarr.dtype
        self.tile_shape = layout.tile_shape

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        """Pixels of rows and columns; `StoreError` if a chunk of them is lost or damaged."""
        spans = [k.indices(n) for k, n in zip(key, self.shape, strict=False)]
        if any(step != 1 for _, _, step in spans):
            raise ShapeMismatch("A store is read by windows of whole rows and columns, without a step.")
        parts = [range(a // t, -(-b // t)) for (a, b, _), t in zip(spans, self.tile_shape, strict=True)]
        check_chunks(self._root, self._seals, (f"{self._name}/c/{i}/{j}/0" for i in parts[0] for j in parts[1]))
        window = tuple(slice(a, b) for a, b, _ in spans)
        try:
            return np.asarray(self._zarr[window])
        except Exception as err:  # the checksum is compared deep inside Zarr, which raises several kinds
            raise StoreError(
                f"A chunk of {self._name!r} in {self._root}, rows {spans[0][0]}:{spans[0][1]}, columns "
                f"{spans[1][0]}:{spans[1][1]}, is damaged ({err}). Restore it from a copy, or write the store again."
            ) from err


def open_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """Embeddings that lie in a store, without reading pixels; windows are read when they are needed.

    Metadata are compared with their SHA-256 and each chunk file with its recorded size and checksum; the content of a
    chunk is compared with its CRC-32C when it is read.

    Parameters
    ----------
    path : path
        A store that `encode` or `Embeddings.to_zarr` finished.

    Returns
    -------
    Embeddings

    Raises
    ------
    StoreError
        There is no store, it was not finished, is damaged, or is not ours.
    """
    root = local_path(path)
    if not root.exists():
        if partial_path(root).exists():
            raise StoreError(
                f"{root} is not finished: {_progress(root)}. "
                f"Repeat the call that began it, encode(scene, ..., out={str(root)!r}), to resume where it stopped."
            )
        raise StoreError(f"There is no store at {root}. Make one with encode(scene, out=...) or emb.to_zarr(...).")
    body = read_manifest(root)
    if not body.get("complete"):
        raise StoreError(f"{root} is not complete. Repeat the call that began it.")
    for name, digest in body["files"].items():
        try:
            same = sha256_of(root / name) == digest
        except OSError as err:
            raise StoreError(f"{root} has lost {name}. Restore it from a copy, or write the store again.") from err
        if not same:
            raise StoreError(f"{root / name} is damaged: its checksum differs. Restore it, or write the store again.")
    layout = Layout.from_json(body["layout"])
    seals = {n: (s[0], s[1]) for n, s in body["chunks"].items()}
    check_chunks(root, seals, (n for t in layout.tiles() for n in layout.chunk_names(layout.index(t))))
    experts = {}
    for name in layout.experts:
        eta, tau = (StoredArray(root, f"experts/{name}/{a}", layout, seals) for a in ("eta", "tau"))
        experts[name] = Expert(eta, tau, layout.quantization.get(name))
    return Embeddings(experts, layout.grid, attrs=layout.provenance)


def _progress(root: Path) -> str:
    entries = Journal(partial_path(root)).entries()
    if not entries or "layout" not in entries[0]:
        return "its journal is damaged"
    total = sum(1 for _ in Layout.from_json(entries[0]["layout"]).tiles())
    done = len({tuple(e["tile"]) for e in entries if "tile" in e})
    return f"{done} of {total} tiles are written"
