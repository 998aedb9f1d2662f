"""Folders of Zarr arrays that are written whole, sealed, and refused when damaged. What they hold is up to the caller.

Each chunk carries a CRC32C, and every chunk is written, so one that is absent was lost. ``georeset.json`` holds the
SHA-256 of every metadata file and the checksum of every chunk, so that none can take another's place; it is written
last, so a store without a valid one was never finished. Only the codecs that we write are accepted: nothing that is
opened can run code.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from georeset_lab.errors import StoreError

MANIFEST = "georeset.json"

_CODECS = {"BytesCodec", "ZstdCodec", "Crc32cCodec"}
_CHUNK_BYTES = 4 * 2**20  # all bands, and as many dates as fit: what one window of `encode` reads
_LARGEST_SIDE, _SMALLEST_SIDE = 512, 64


def write_sealed(path: Path, write: Callable[[Path], None], *, kind: str, version: int, overwrite: bool) -> None:
    """Let ``write`` fill a folder, seal it and give it its name; until then it has a temporary one beside it.

    Raises
    ------
    StoreError
        Something is at ``path`` already (and is no store of this kind, or ``overwrite`` is False), or the disk refused.
    """
    if path.exists() and not overwrite:
        raise StoreError(f"{path} exists. Pass overwrite=True to replace it, or choose another name.")
    if path.exists() and not is_sealed(path, kind):
        raise StoreError(f"{path} is not a {kind} store, so it is not overwritten. Choose another name.")
    part, old = (path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.{end}") for end in ("part", "old"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        _seal(part, kind, version)
        if path.exists():
            os.rename(path, old)
        os.rename(part, path)
    except OSError as err:
        if old.exists() and not path.exists():
            os.rename(old, path)
        raise StoreError(f"Writing {path} failed: {err}. What was there before is untouched.") from err
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@dataclass(frozen=True)
class Seal:
    """What a sound store said of itself."""

    digest: str
    """Of the whole manifest: two stores with the same one hold the same."""
    chunks: Mapping[str, Mapping[str, str]]
    """Array -> place of the chunk -> its checksum."""


def check_sealed(path: Path, *, kind: str, version: int) -> Seal:
    """Seal of a store whose manifest and metadata are as they were written and that has all its chunks.

    Raises
    ------
    StoreError
        There is no store, it is of another kind or version, it was never finished, or something is damaged or missing.
    """
    if not path.is_dir():
        raise StoreError(f"There is no {kind} store at {path}.")
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_bytes())
        stated = manifest.pop("digest")
        found = (manifest["kind"], manifest["version"], manifest["complete"])
        metadata, chunks = dict(manifest["metadata"]), dict(manifest["chunks"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as err:
        raise StoreError(
            f"{path} has no readable {MANIFEST}: it is no {kind} store of georeset_lab, or its writing never ended."
        ) from err
    if stated != digest_of(manifest):
        raise StoreError(f"{path / MANIFEST} is damaged: its digest does not match. Write the store again.")
    if found != (kind, version, True):
        raise StoreError(f"{path} holds {found[0]!r} version {found[1]!r}; this call reads {kind!r} version {version}.")
    for name, digest in metadata.items():
        file = path / name
        if not file.is_file() or _sha256(file.read_bytes()) != digest:
            raise StoreError(f"{file} is missing or damaged. Write the store again.")
    for name, known in chunks.items():
        there = {place for place, _ in _chunk_files(path / name)}
        if there != set(known):
            raise StoreError(
                f"{path / name} has {len(there & set(known))} of {len(known)} chunks. Write the store again."
            )
    return Seal(str(stated), chunks)


def is_sealed(path: Path, kind: str) -> bool:
    """Whether a folder claims to be a store of this kind."""
    try:
        return bool(json.loads((path / MANIFEST).read_bytes())["kind"] == kind)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_array(group: Any, name: str, values: Any, dims: Iterable[str]) -> None:
    """Store a NumPy or dask array in a Zarr group, each chunk with its checksum."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    chunks = _chunks(values.shape, values.dtype.itemsize)
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=chunks,
        dtype=values.dtype,
        compressors=[ZstdCodec(level=3), Crc32cCodec()],
        dimension_names=tuple(dims),
        config={"write_empty_chunks": True},
    )
    if hasattr(values, "dask"):
        import dask.array as da

        da.store(values.rechunk(chunks), array, lock=False)
    else:
        array[...] = np.asarray(values)


class CheckedArray:
    """Read-only view of a stored array; behaves enough like one for dask.

    Raises
    ------
    StoreError
        It has a codec that we never write; or, on reading, a chunk that the window needs is missing or damaged.
    """

    def __init__(self, root: Path, name: str, array: Any, seal: Seal) -> None:
        path = root / name
        foreign = {type(codec).__name__ for codec in array.metadata.codecs} - _CODECS
        if foreign:
            raise StoreError(f"{path} uses {', '.join(sorted(foreign))}, which this package never writes; not opened.")
        self._path = path
        self._array = array
        self._digest = seal.digest
        self._chunks = seal.chunks.get(name, {})
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = array.dtype
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        for place in self._places(key):
            file = self._path / place
            if not file.is_file():
                raise StoreError(f"Chunk {file} is missing. Write the store again.")
            if _checksum(file) != self._chunks.get(place):
                raise StoreError(f"Chunk {file} is damaged: not the one that was written. Write the store again.")
        try:
            return np.asarray(self._array[key])
        except Exception as err:
            raise StoreError(f"{self._path} has a damaged chunk in {key}: {err}. Write the store again.") from err

    def lazy(self) -> Any:
        """The array as a dask array, one task for each stored chunk, named after the store's digest."""
        import dask.array as da

        name = f"sealed-{_sha256(f'{self._path}{self._digest}'.encode())[:16]}"
        return da.from_array(self, chunks=self._array.chunks, name=name, asarray=True, lock=False)

    def _places(self, key: Any) -> list[str]:
        """Places of the chunks that a basic selection touches."""
        keys = key if isinstance(key, tuple) else (key,)
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys = keys[:at] + (slice(None),) * (self.ndim - len(keys) + 1) + keys[at + 1 :]
        keys += (slice(None),) * (self.ndim - len(keys))
        spans = []
        for part, size, chunk in zip(keys, self.shape, self._array.chunks, strict=True):
            start, stop = (part, part + 1) if isinstance(part, int) else part.indices(size)[:2]
            spans.append(range(start // chunk, -(-stop // chunk)) if stop > start else range(0))
        return ["/".join(("c", *map(str, index))) for index in itertools.product(*spans)]


def plain(value: Any) -> Any:
    """A value as JSON can hold it; NaN and infinities, for which it has no number, are named. See `number`."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def number(value: Any) -> Any:
    """The value that `plain` was given, as far as JSON kept it."""
    return float(value["float"]) if isinstance(value, dict) and set(value) == {"float"} else value


def digest_of(value: Any) -> str:
    """SHA-256 of a value that JSON can hold, whatever the order of its keys."""
    return _sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def _seal(path: Path, kind: str, version: int) -> None:
    metadata = {p.relative_to(path).as_posix(): _sha256(p.read_bytes()) for p in sorted(path.rglob("zarr.json"))}
    manifest: dict[str, Any] = {"kind": kind, "version": version, "complete": True, "metadata": metadata}
    arrays = [Path(name).parent.as_posix() for name in metadata]
    chunks = {name: {place: _checksum(file) for place, file in _chunk_files(path / name)} for name in arrays}
    manifest["chunks"] = {name: found for name, found in chunks.items() if found}
    manifest["digest"] = digest_of(manifest)
    with (path / MANIFEST).open("wb") as file:
        file.write(json.dumps(manifest).encode())
        file.flush()
        os.fsync(file.fileno())


def _chunk_files(folder: Path) -> list[tuple[str, Path]]:
    """Place and file of each chunk of an array; an array without dimensions has one, called ``c``."""
    inside = folder / "c"
    files = [inside] if inside.is_file() else sorted(p for p in inside.rglob("*") if p.is_file())
    return [(file.relative_to(folder).as_posix(), file) for file in files]


def _checksum(file: Path) -> str:
    """Checksum that the last codec put at the end of a chunk."""
    with file.open("rb") as source:
        source.seek(-min(4, os.fstat(source.fileno()).st_size), os.SEEK_END)
        return source.read().hex()


def _chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    if len(shape) < 2:
        return tuple(max(1, n) for n in shape)
    dates, *bands, rows, cols = (max(1, n) for n in (shape if len(shape) > 2 else (1, *shape)))
    layer = itemsize * math.prod(bands)
    side = _LARGEST_SIDE
    while side > _SMALLEST_SIDE and side * side * layer > _CHUNK_BYTES:
        side //= 2
    rows, cols = min(side, rows), min(side, cols)
    together = min(dates, max(1, _CHUNK_BYTES // (rows * cols * layer)))
    return (*((together, *bands) if len(shape) > 2 else ()), rows, cols)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
