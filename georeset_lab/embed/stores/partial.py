"""A store before it is finished: begun under a third name, recognised by its first line, held by one process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from georeset_lab.embed.stores.layout import Layout
from georeset_lab.embed.stores.manifest import FORMAT, VERSION, Journal, fsync_path, sha256_of
from georeset_lab.errors import StoreError

__all__ = ["begin", "disk", "hold", "read_header", "refuse_other"]

LOCK = ".lock"


def begin(partial: Path, layout: Layout) -> None:
    """An empty store, made under a third name so that a partial store is always a sound one."""
    making = partial.with_name(partial.name.replace(".partial", ".creating"))
    with disk(partial, "create"), _gone_if_failed(making):
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


@contextmanager
def _gone_if_failed(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def read_header(partial: Path) -> dict[str, Any]:
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


def refuse_other(where: Path, found: Mapping[str, Any], layout: Layout) -> None:
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
def disk(path: Path, doing: str) -> Iterator[None]:
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


def hold(partial: Path) -> IO[bytes]:
    """Claim a partial store for this process until the returned file is closed or the process ends, however it ends.

    Raises
    ------
    StoreError
        Another process is writing it.
    """
    handle = (partial / LOCK).open("ab")
    try:
        import fcntl
    except ImportError:  # Windows: nothing holds the store, as nothing did before
        return handle
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        handle.close()
        raise StoreError(
            f"Another process is writing {partial} now. Wait for it to finish, or give another path."
        ) from err
    return handle
