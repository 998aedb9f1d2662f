"""What was really written: a journal of finished tiles while a store grows, a sealed manifest once it is whole.

Zarr reads a chunk that is missing as its fill value, without an error. So each finished tile is recorded with the size
and checksum of its chunk files, after they are on the disk, and a reader compares. Nothing here knows what arrays mean.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from georeset_lab.errors import StoreError
from georeset_lab.files import seal, sha256, unseal, write_atomic

__all__ = [
    "Journal",
    "canonical",
    "check_chunks",
    "fsync_path",
    "plain",
    "read_manifest",
    "seal_of",
    "sha256_of",
    "write_manifest",
]

MANIFEST = "manifest.json"
JOURNAL = "journal.jsonl"
FORMAT = "georeset-embeddings"
VERSION = 1

Seal = tuple[int, str]
"""Size of a chunk file in bytes, and its last four bytes (the CRC-32C that Zarr's codec put there) in hexadecimal."""


def plain(value: Any) -> Any:
    """The value as JSON gives it back: tuples are lists, keys text, NumPy numbers plain, dates and the rest text."""
    return json.loads(json.dumps(value, default=_jsonable))


def canonical(value: Any) -> str:
    """JSON text of a value, the same for equal values."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"))


def _jsonable(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf" else str(value)


def seal_of(path: Path) -> Seal:
    """Size and checksum of a chunk file, read from its end only."""
    with path.open("rb") as f:
        size = f.seek(0, os.SEEK_END)
        f.seek(max(0, size - 4))
        return size, f.read(4).hex()


def sha256_of(path: Path) -> str:
    """SHA-256 of a whole (small) file."""
    return sha256(path.read_bytes())


def fsync_path(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk. Folders cannot be synced on Windows, and need not be."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_manifest(root: Path, body: Mapping[str, Any]) -> None:
    """Write the manifest with a seal of its own content; it is whole or absent."""
    # In one order, so that a store that was interrupted ends as the same bytes as one that was not.
    write_atomic(root / MANIFEST, seal(json.loads(canonical(body))))
    fsync_path(root)


def read_manifest(root: Path) -> dict[str, Any]:
    """Body of the manifest, after its own checksum was compared.

    Raises
    ------
    StoreError
        There is none, it is damaged, or of a format or version this package cannot read.
    """
    path = root / MANIFEST
    try:
        body = unseal(path.read_bytes())
    except FileNotFoundError as err:
        raise StoreError(
            f"{root} has no {MANIFEST}, so it is not a store of embeddings of this package. "
            "Open other Zarr data with georeset_lab.load_scene(path) or xarray.open_zarr(path)."
        ) from err
    except (OSError, ValueError) as err:
        raise StoreError(f"{path} is damaged: {err}. Write the store again, or restore it from a copy.") from err
    if body.get("format") != FORMAT or body.get("version") != VERSION:
        raise StoreError(
            f"{root} is of format {body.get('format')!r} version {body.get('version')!r}; this package reads "
            f"{FORMAT!r} version {VERSION}. Install the version of georeset-lab that wrote it, or write it again."
        )
    return body


class Journal:
    """Finished tiles of a growing store, one line each, appended and synced only after the tile's chunks are."""

    def __init__(self, root: Path) -> None:
        self.path = root / JOURNAL
        self._lock = threading.Lock()

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add one line: its checksum, a space, its JSON. Durable when this returns."""
        text = canonical(entry)
        line = f"{sha256(text.encode())[:16]} {text}\n".encode()
        with self._lock, self.path.open("ab") as f:
            # A kill may have left half a line; start a new one, so that only that half is lost.
            if f.tell() and not self._ends_a_line():
                line = b"\n" + line
            f.write(line)
            f.flush()
            os.fsync(f.fileno())

    def entries(self) -> list[dict[str, Any]]:
        """All whole lines. A torn or damaged line is left out: its tile will be made again."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            digest, _, text = line.partition(b" ")
            if text and sha256(text)[:16].encode() == digest:
                found.append(json.loads(text))
        return found

    def _ends_a_line(self) -> bool:
        with self.path.open("rb") as f:
            f.seek(-1, os.SEEK_END)
            return f.read(1) == b"\n"


def check_chunks(root: Path, seals: Mapping[str, Seal], names: Iterable[str]) -> None:
    """Compare chunk files with their seals.

    Raises
    ------
    StoreError
        One is missing, of another size, or not the one that was written.
    """
    for name in names:
        if name not in seals:
            raise StoreError(f"{root} does not list its chunk {name}. Write the store again.")
        try:
            found = seal_of(root / name)
        except OSError as err:
            raise StoreError(
                f"{root} has lost its chunk {name}, which would read as zeros. "
                "Restore it from a copy, or write the store again."
            ) from err
        if found != tuple(seals[name]):
            raise StoreError(
                f"Chunk {name} of {root} is damaged: {found[0]} bytes and checksum {found[1]}, but "
                f"{seals[name][0]} bytes and {seals[name][1]} were written. Restore it, or write the store again."
            )
