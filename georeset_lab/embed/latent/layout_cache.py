"""Layouts on disk: the landmarks of a map that was laid out before, found again by what the map was made of.

Arrays without pickle, written whole or not at all. A file that is damaged, or whose vectors are not those at hand, is as
good as none.
"""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.embed.locate import grid_key
from georeset_lab.embed.stores.manifest import canonical
from georeset_lab.files import sha256, write_atomic

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["CACHE", "landmark_key", "load_landmarks", "store_landmarks"]

CACHE = Path.home() / ".cache" / "georeset_lab" / "layouts"
"""Where layouts are kept; 0.8 MB each with 6,000 landmarks of 64 dimensions."""
KEPT = 100
"""Files kept; the oldest go first."""
_SAME = 0.03
"""Largest difference of vectors that are the same but for the form they were stored in (int8 moves a mean by 0.02)."""
_FORMAT = 1


def landmark_key(emb: Embeddings, vectors: np.ndarray, *, seed: int, settings: tuple[int, ...]) -> str:
    """Name of a layout: hash of model, data, modalities, grid and seed, or of the vectors if the map says no origin."""
    origin = [str(emb.attrs.get(name, "")) for name in ("model_hash", "data")]
    if not all(origin):
        origin = [sha256(np.ascontiguousarray(vectors, "<f4").tobytes())]
    grid = [*emb.shape, *grid_key(emb.grid), str(emb.grid.crs)]
    parts = {
        "format": _FORMAT, "origin": origin, "modalities": list(emb.modalities), "grid": grid, "seed": seed,
        "settings": list(settings),
    }  # fmt: skip
    return sha256(canonical(parts).encode())[:32]


def load_landmarks(folder: Path, key: str, vectors: np.ndarray) -> np.ndarray | None:
    """Coordinates (L, 2) of these landmark vectors (L, D), or None."""
    try:
        with np.load(folder / f"{key}.npz", allow_pickle=False) as stored:
            xy, same = stored["xy"], stored["vectors"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, json.JSONDecodeError):
        return None
    fits = xy.shape == (len(vectors), 2) and xy.dtype == np.float32 and np.isfinite(xy).all()
    if not fits or same.shape != vectors.shape or not np.abs(same.astype(np.float32) - vectors).max() <= _SAME:
        return None
    return np.asarray(xy)


def store_landmarks(folder: Path, key: str, vectors: np.ndarray, xy: np.ndarray) -> None:
    """Keep a layout. A disk that is full or read-only is no reason to fail."""
    buffer = io.BytesIO()
    np.savez(buffer, vectors=vectors.astype(np.float16), xy=xy)
    with contextlib.suppress(OSError):
        write_atomic(folder / f"{key}.npz", buffer.getvalue())
        for old in sorted(folder.glob("*.npz"), key=lambda f: f.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)
