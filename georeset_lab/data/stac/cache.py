"""Bytes fetched from the network, kept on disk block by block, so that no block is fetched twice.

The folder is ``$GEORESET_CACHE``, else ``georeset_lab`` in the user's cache folder. `cache_info` says where it is and how
large, `clear_cache` empties it, and it prunes itself beyond ``$GEORESET_CACHE_GB`` (10 by default). A block carries a
checksum; one that does not match, or that belongs to an older version of the file, is fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from georeset_lab.data.stac.http import Reply, fetch, plain
from georeset_lab.data.stac.sign import signed
from georeset_lab.errors import RemoteError

BLOCK = 256 * 1024
"""Bytes in a block; most headers of cloud-optimised GeoTIFFs fit into one."""

_FRESH_S = 600.0  # how long a file is taken to be unchanged without asking
_FOLDER = "stac"


@dataclass(frozen=True)
class CacheInfo:
    """Where fetched bytes are kept, how many, and how to be rid of them."""

    folder: Path
    files: int
    """Remote files of which something is kept."""
    n_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.n_bytes / 2**20:.1f} MiB of {self.files} remote files in {self.folder}; "
            "clear_cache() of georeset_lab.data.stac.cache, or deleting the folder, clears it"
        )


def cache_folder() -> Path:
    """Folder in which fetched bytes are kept; it need not exist yet."""
    given = os.environ.get("GEORESET_CACHE")
    if given:
        return Path(given) / _FOLDER
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "georeset_lab" / _FOLDER


def cache_info() -> CacheInfo:
    """Where fetched bytes are kept and how many there are."""
    kept = list(_kept())
    return CacheInfo(cache_folder(), len(kept), sum(size for _, size, _ in kept))


def clear_cache() -> CacheInfo:
    """Delete everything that was kept, and return what that was."""
    before = cache_info()
    with _LOCK:
        _OPEN.clear()
    for folder, _, _ in _kept():
        shutil.rmtree(folder, ignore_errors=True)
    return before


def prune_cache() -> None:
    """Delete what was used longest ago until no more than the limit is kept."""
    most = float(os.environ.get("GEORESET_CACHE_GB", "10")) * 2**30
    kept = sorted(_kept(), key=lambda entry: entry[2])
    total = sum(size for _, size, _ in kept)
    for folder, size, _ in kept:
        if total <= most:
            return
        shutil.rmtree(folder, ignore_errors=True)
        total -= size


class RemoteBytes:
    """Bytes of one remote file, from the cache where they are kept."""

    def __init__(self, url: str, size: int, tag: str, folder: Path) -> None:
        self.url, self.size, self.tag, self.folder = url, size, tag, folder
        self._last: tuple[int, bytes] | None = None

    def read(self, start: int, stop: int) -> bytes:
        """Bytes from ``start`` up to ``stop`` or the end of the file.

        Raises
        ------
        RemoteError
            They could not be fetched, or the file has changed.
        """
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        first, last = start // BLOCK, (stop - 1) // BLOCK
        blocks = {i: self._kept(i) for i in range(first, last + 1)}
        for low, high in _runs([i for i, b in blocks.items() if b is None]):
            blocks.update(self._fetch(low, high))
        whole = b"".join(block for _, block in sorted(blocks.items()) if block is not None)
        return whole[start - first * BLOCK : stop - first * BLOCK]

    def put(self, index: int, block: bytes) -> None:
        """Keep one block; a full or read-only disk only costs fetching it again."""
        self._last = (index, block)
        part = self.folder / f".{index:08d}.{os.getpid()}.{threading.get_ident()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(zlib.crc32(block).to_bytes(4, "little") + block)
            os.replace(part, self.folder / f"{index:08d}")
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def _kept(self, index: int) -> bytes | None:
        if self._last is not None and self._last[0] == index:
            return self._last[1]
        try:
            stored = (self.folder / f"{index:08d}").read_bytes()
        except OSError:
            return None
        block = stored[4:]
        right = len(block) == self._length(index) and zlib.crc32(block).to_bytes(4, "little") == stored[:4]
        return block if right else None

    def _length(self, index: int) -> int:
        return min(BLOCK, self.size - index * BLOCK)

    def _fetch(self, low: int, high: int) -> dict[int, bytes]:
        start, stop = low * BLOCK, min((high + 1) * BLOCK, self.size)
        reply = ask(self.url, start, stop)
        if reply.status != 206 or _size_and_tag(reply) != (self.size, self.tag):
            forget(self.url)
            raise RemoteError(f"{plain(self.url)} changed while it was read. Load the scene again.")
        found = {}
        for index in range(low, high + 1):
            found[index] = reply.body[index * BLOCK - start : index * BLOCK - start + self._length(index)]
            self.put(index, found[index])
        return found


_LOCK = threading.Lock()
_OPEN: dict[str, tuple[RemoteBytes, float]] = {}
_ASKING: dict[str, threading.Lock] = {}


def open_remote(url: str) -> RemoteBytes:
    """Bytes of a file on a server that answers range requests (or sends a file that is small enough whole).

    Raises
    ------
    RemoteError
        It cannot be reached, is not there, or is empty.
    """
    key = plain(url)
    with _LOCK:
        asking = _ASKING.setdefault(key, threading.Lock())
    with asking:  # one thread asks, the others wait for its answer
        with _LOCK:
            known = _OPEN.get(key)
        if known is not None and time.monotonic() - known[1] < _FRESH_S and known[0].folder == _folder_of(key):
            return known[0]
        opened = _open(url, key)
        with _LOCK:
            _OPEN[key] = (opened, time.monotonic())
        return opened


def forget(url: str) -> None:
    """Ask again whether this file is still what it was."""
    with _LOCK:
        _OPEN.pop(plain(url), None)


def ask(url: str, start: int, stop: int) -> Reply:
    """Answer to a request for some bytes, complete."""
    return fetch(
        signed(url), headers={"Range": f"bytes={start}-{stop - 1}"}, expected=None if start == 0 else stop - start
    )


def _open(url: str, key: str) -> RemoteBytes:
    reply = ask(url, 0, BLOCK)
    if not reply.body:
        raise RemoteError(f"{key} is empty.")
    size, tag = _size_and_tag(reply)
    if reply.status == 206 and len(reply.body) < min(size, BLOCK):
        raise RemoteError(f"{key} broke off after {len(reply.body)} of {size} bytes. Try again later.")
    folder = _folder_of(key)
    meta = {"url": key, "size": size, "tag": tag}
    if _read_meta(folder) != meta:
        shutil.rmtree(folder, ignore_errors=True)
        _write_meta(folder, meta)
    opened = RemoteBytes(url, size, tag, folder)
    for start in range(0, len(reply.body), BLOCK):  # one block, or the whole file from a server without ranges
        opened.put(start // BLOCK, reply.body[start : start + BLOCK])
    with contextlib.suppress(OSError):
        os.utime(folder)
    return opened


def _size_and_tag(reply: Reply) -> tuple[int, str]:
    """Length of the whole file, and what tells this version of it from others."""
    total = reply.headers.get("content-range", "").rpartition("/")[2]
    size = int(total) if reply.status == 206 and total.isdigit() else len(reply.body)
    return size, reply.headers.get("etag") or reply.headers.get("last-modified", "")


def _folder_of(key: str) -> Path:
    return cache_folder() / hashlib.sha256(key.encode()).hexdigest()[:32]


def _read_meta(folder: Path) -> Any:
    try:
        return json.loads((folder / "file.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_meta(folder: Path, meta: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file.json").write_text(json.dumps(meta), encoding="utf-8")


def _kept() -> Iterator[tuple[Path, int, float]]:
    """Folder, bytes and time of last use of each file of which something is kept."""
    root = cache_folder()
    if not root.is_dir():
        return
    for folder in root.iterdir():
        try:
            sizes = [entry.stat().st_size for entry in os.scandir(folder)]
            yield folder, sum(sizes), folder.stat().st_mtime
        except OSError:
            continue


def _runs(indices: list[int]) -> list[tuple[int, int]]:
    """Runs of neighbouring blocks, each fetched with one request of at most 16 MiB."""
    runs: list[tuple[int, int]] = []
    for i in indices:
        if runs and runs[-1][1] == i - 1 and i - runs[-1][0] < 64:
            runs[-1] = (runs[-1][0], i)
        else:
            runs.append((i, i))
    return runs
