"""A map small enough to travel in one file: some of its pixels, their vectors in 8 bits, what each modality knows in 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.points import is_points
from georeset_lab.embed.latent.landmarks import vectors_at
from georeset_lab.embed.pictures.plot import thin_step

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["KnownBits", "Packed", "PackedVectors", "pack"]

MOST_PIXELS = 65_536
"""Pixels that travel: a map of 256 x 256 whole, every second row and column of one of 512 x 512."""
VECTOR_BYTES = 6_000_000
"""Most that the vectors may take: all `MOST_PIXELS` at up to 91 dimensions. Beyond it they stay at home."""
KNOWN_BYTES = 5_000_000
"""The same for the certainty of each modality and dimension: `MOST_PIXELS` of two modalities at 64 dimensions."""
_PAIRS = 2000


@dataclass(frozen=True, eq=False)
class PackedVectors:
    """Fused means in 8 bits per dimension."""

    codes: np.ndarray
    """(n, D) int8."""
    scale: np.ndarray
    """(D,) float32: mean = code * scale."""
    error: float
    """Largest error of a cosine, over `_PAIRS` pairs drawn at random."""


@dataclass(frozen=True, eq=False)
class KnownBits:
    """Certainty of each modality alone in 4 bits per dimension."""

    codes: np.ndarray
    """(n, M, ceil(D / 2)) uint8: even dimensions in the low half, odd ones in the high half; 0..15 of ``top``."""
    top: float
    """Certainty that code 15 stands for, and all beyond."""


@dataclass(frozen=True, eq=False)
class Packed:
    """Pixels of a map and what is known of them."""

    pixels: np.ndarray
    """(n,) int64: flat row-major indices, sorted, of observed pixels of the map."""
    step: int
    """They are those of every ``step``-th row and column."""
    vectors: PackedVectors | None
    """None if they would take more than `VECTOR_BYTES`."""
    known: KnownBits | None
    """None if it would take more than `KNOWN_BYTES`, or the embeddings state no variance."""


def pack(emb: Embeddings, *, most: int = MOST_PIXELS) -> Packed:
    """The pixels of every so many rows and columns that leave at most about ``most``, with their vectors.

    Raises
    ------
    NothingObserved
        No pixel was observed.
    """
    step = -(-emb.shape[0] // most) if is_points(emb.grid) else thin_step(emb.shape, most)
    seen = np.zeros(emb.shape, bool)
    seen[::step, ::step] = emb.observed[::step, ::step]
    pixels = np.flatnonzero(seen)
    vectors = _vectors(emb, pixels) if pixels.size * emb.dim <= VECTOR_BYTES else None
    fits = pixels.size * len(emb.modalities) * -(-emb.dim // 2) <= KNOWN_BYTES
    return Packed(pixels, step, vectors, _known(emb, pixels) if fits else None)


def _vectors(emb: Embeddings, pixels: np.ndarray) -> PackedVectors:
    mean = vectors_at(emb, pixels)
    scale = np.maximum(np.abs(mean).max(axis=0, initial=0) / 127, 1e-12).astype(np.float32)
    codes = np.rint(mean / scale).astype(np.int8)
    one, other = np.random.default_rng(0).integers(0, max(pixels.size, 1), (2, _PAIRS)) if pixels.size else [[], []]
    rounded = codes * scale
    off = np.abs(_cosine(mean[one], mean[other]) - _cosine(rounded[one], rounded[other]))
    return PackedVectors(codes, scale, float(off.max(initial=0)))


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / np.maximum(lengths, 1e-12))


def _known(emb: Embeddings, pixels: np.ndarray) -> KnownBits | None:
    """None if a variance is not stated."""
    fine = np.zeros((pixels.size, len(emb.modalities), emb.dim + emb.dim % 2), np.float16)
    rows, cols = np.divmod(pixels, emb.shape[1])
    for m, expert in enumerate(emb.experts.values()):
        for window in emb.tiles():
            first, last = np.searchsorted(rows, (window[0].start, window[0].stop))
            hit = np.arange(first, last)[(cols[first:last] >= window[1].start) & (cols[first:last] < window[1].stop)]
            if hit.size:
                at = rows[hit] - window[0].start, cols[hit] - window[1].start
                tau = expert.read(*window)[1][at].astype(np.float32)
                fine[hit, m, : emb.dim] = tau / (1 + tau)
    if np.isnan(fine).any():
        return None
    top = max(float(np.percentile(fine[:: max(1, len(fine) // 5000)], 99.9)) if fine.size else 0.0, 1e-3)
    codes = np.clip(np.rint(fine * np.float32(15 / top)), 0, 15).astype(np.uint8)
    return KnownBits(codes[..., 0::2] | codes[..., 1::2] << 4, top)
