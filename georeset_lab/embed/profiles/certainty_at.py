"""How certain each modality is at given pixels, averaged over dimensions; part by part, from the experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.embed.profiles.profile import FUSED

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["certainty_at", "knows_most"]


def certainty_at(emb: Embeddings, pixels: np.ndarray, name: str = FUSED) -> np.ndarray:
    """Mean certainty (K,), float32, in 0..1, of one modality alone or of all together ("fused").

    Parameters
    ----------
    emb : Embeddings
    pixels : numpy.ndarray, shape (K,), sorted flat indices
    name : str
        A modality, or "fused".

    Returns
    -------
    numpy.ndarray
        NaN where the modality measured nothing, or where the embeddings state no variance.
    """
    out = np.full(len(pixels), np.nan, np.float32)
    rows, cols = np.divmod(pixels, emb.shape[1])
    for window in emb.windows() if name == FUSED else emb.tiles():
        first, last = np.searchsorted(rows, (window[0].start, window[0].stop))
        hit = np.arange(first, last)[(cols[first:last] >= window[1].start) & (cols[first:last] < window[1].stop)]
        at = rows[hit] - window[0].start, cols[hit] - window[1].start
        if name == FUSED:
            _, variance, observed = emb.fused(*window)
            certainty, seen = 1 - variance[at].mean(axis=1), observed[at]
        else:
            tau = emb.experts[name].read(*window)[1][at].astype(np.float32, copy=False)
            # Unknown variances are NaN and stay so; nothing measured is 0 in every dimension.
            certainty, seen = (tau / (1 + tau)).mean(axis=1), ~(tau == 0).all(axis=1)
        out[hit] = np.where(seen, certainty, np.nan)
    return out


def knows_most(certainties: Sequence[np.ndarray]) -> np.ndarray:
    """Position (K,), int64, of the one that is surest at each pixel; -1 where none measured anything."""
    stack = np.stack(certainties)
    known = np.isfinite(stack).any(axis=0)
    return np.where(known, np.nan_to_num(stack, nan=-1.0).argmax(axis=0), -1)
