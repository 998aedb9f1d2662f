"""Small text files beside a raster that state what it is: a Landsat MTL, or the JSON that archives add."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from georeset_lab.data.readers.landsat import read_mtl

_JSON = ("metadata.json", "*_labels_metadata.json")
_LARGEST = 5_000_000


def sidecar_tags(folder: Path) -> dict[str, str]:
    """Plain values (text, numbers) of the metadata files in a folder, with upper-case keys; empty if there are none."""
    return dict(_read(folder, folder.stat().st_mtime_ns) if folder.is_dir() else ())


@lru_cache(maxsize=256)
def _read(folder: Path, _changed: int) -> tuple[tuple[str, str], ...]:
    tags = read_mtl(folder)
    files = [p for pattern in _JSON for p in sorted(folder.glob(pattern))]
    if len(files) == 1 and files[0].stat().st_size <= _LARGEST:
        try:
            content = json.loads(files[0].read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            content = {}
        if isinstance(content, dict):
            tags |= {str(k).upper(): str(v) for k, v in content.items() if isinstance(v, str | int | float)}
    return tuple(tags.items())
