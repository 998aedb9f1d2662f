"""Writing files that are either whole or absent, and knowing whether they are still what was written.

Everything the package writes goes through here: a temporary name beside the target, flushed to the disk, then renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SEAL = "sha256_of_this_card"
"""Key under which a sealed card holds the hash of its other entries."""


def write_atomic(path: Path, payload: bytes) -> None:
    """Write a file so that a crash leaves the previous content or the new one, never a mixture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path)
    try:
        with partial.open("xb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that takes the name ``path`` when the block ends well, and vanishes when it does not.

    An existing folder at ``path`` is replaced only at the end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    work = _beside(path)
    work.mkdir()
    try:
        yield work
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            os.replace(path, old)
        os.replace(work, path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def sha256(payload: bytes) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(payload).hexdigest()


def seal(card: Mapping[str, Any]) -> bytes:
    """JSON text of a card with a hash of its own content, so that a flipped bit in it is noticed by `unseal`."""
    body = {k: v for k, v in card.items() if k != SEAL}
    return json.dumps({**body, SEAL: sha256(_canonical(body))}, indent=1, ensure_ascii=False).encode()


def unseal(text: bytes) -> dict[str, Any]:
    """Card written by `seal`.

    Raises
    ------
    ValueError
        The text is no JSON object, has no seal, or was changed after sealing; the caller adds the path.
    """
    card = json.loads(text)
    if not isinstance(card, dict) or SEAL not in card:
        raise ValueError("it is not a sealed card")
    expected = card.pop(SEAL)
    if sha256(_canonical(card)) != expected or seal(card) != text:
        raise ValueError("it was changed after it was written")
    return card


def _beside(path: Path) -> Path:
    """Unused hidden name in the same folder; made by plain ``open`` or ``mkdir``, so that the user's umask holds."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
