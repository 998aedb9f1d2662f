"""Rows on disk: a score that was computed once, under the same protocol, data, code and weights, is read back.

One sealed JSON file per task and row, named after the hash of all it depends on, written whole or not at all; so an
evaluation that is killed goes on where it stopped, and a damaged file is computed again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from georeset_lab.evaluate.score import Scores
from georeset_lab.files import seal, sha256, unseal, write_atomic

_PACKAGE = Path(__file__).parents[1]


def row_key(parts: Mapping[str, Any]) -> str:
    """Name of a row: hash of task, row, data, code, weights and protocol.

    Examples
    --------
    >>> row_key({"a": 1, "b": 2}) == row_key({"b": 2, "a": 1})
    True
    """
    return sha256(json.dumps(parts, sort_keys=True).encode())[:32]


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A finished number read back, or a new one that is kept; of a damaged file it is made again."""
    try:
        return dict(unseal(path.read_bytes())["found"])
    except (OSError, ValueError, KeyError):
        found = make()
        write_atomic(path, seal({"found": found}))
        return found


@lru_cache
def code_identity(*parts: str) -> str:
    """Hash of the package's source in these folders and files: scores of another code are not taken for this one's."""
    paths = [_PACKAGE / part for part in parts]
    files = sorted(f for p in paths for f in (p.rglob("*.py") if p.is_dir() else [p]))
    return sha256(b"".join(str(p.relative_to(_PACKAGE)).encode() + b"\0" + p.read_bytes() for p in files))[:16]


def store_row(folder: Path, key: str, scores: Scores, about: Mapping[str, Any]) -> None:
    """Write a row."""
    card = {
        "about": dict(about),
        "sizes": list(scores.sizes),
        "balanced_accuracy": scores.balanced_accuracy.tolist(),
        "chosen_c": scores.chosen_c.tolist(),
        "n_features": scores.n_features,
    }
    write_atomic(folder / f"{key}.json", seal(card))


def load_row(folder: Path, key: str) -> Scores | None:
    """Read a row back, bit for bit; None if it is not there or was damaged."""
    try:
        card = unseal((folder / f"{key}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return Scores(
        tuple(card["sizes"]),
        np.asarray(card["balanced_accuracy"], dtype=np.float64),
        np.asarray(card["chosen_c"], dtype=np.float64),
        int(card["n_features"]),
    )
