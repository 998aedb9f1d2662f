"""From a map and labels to the samples of a probe: which labelled pixels are used, and their vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.errors import NothingObserved

if TYPE_CHECKING:
    from georeset_lab.data.labels import LabelSet
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["gather", "spread_pixels", "usable_labels"]


def usable_labels(
    labels: LabelSet, observed: np.ndarray, *, max_per_class: int, seed: int
) -> tuple[LabelSet, tuple[str, ...]]:
    """The labels on observed pixels, at most so many of each class, and notes on what was left out.

    Where a class has too many, every polygon gives about as many pixels as the others: a large field says little more
    than a small one.

    Raises
    ------
    NothingObserved
        No labelled pixel was observed.
    """
    codes = np.where(observed, labels.codes, -1)
    notes = []
    hidden = int((labels.codes >= 0).sum() - (codes >= 0).sum())
    if not (codes >= 0).any():
        raise NothingObserved(
            f"None of the {hidden} labelled pixels was observed (cloud, or outside the image). Label places that were, "
            "or encode a scene with more dates."
        )
    if hidden:
        notes.append(f"{hidden} labelled pixels were not observed and are left out")
    rng = np.random.default_rng(seed)
    flat, groups = codes.ravel().copy(), labels.groups.ravel()
    for code, name in enumerate(labels.classes):
        where = np.flatnonzero(flat == code)
        if where.size > max_per_class:
            mixed = rng.permutation(where)
            # Deal one pixel of every polygon, then a second of every polygon, and so on.
            turn = _rank_within(groups[mixed])
            kept = mixed[np.argsort(turn, kind="stable")[:max_per_class]]
            flat[np.setdiff1d(where, kept)] = -1
            notes.append(f"{max_per_class} of {where.size} labelled pixels of {name!r} are used")
    present = np.unique(flat[flat >= 0])
    if present.size < len(labels.classes):
        gone = [name for code, name in enumerate(labels.classes) if code not in present]
        notes.append(f"no labelled pixel of {', '.join(map(repr, gone))} was observed")
    position = np.full(len(labels.classes) + 1, -1, np.int16)
    position[present] = np.arange(present.size)
    used = position[flat].reshape(codes.shape)
    return replace(labels, codes=used, classes=tuple(labels.classes[c] for c in present)), tuple(notes)


def spread_pixels(observed: np.ndarray, limit: int) -> np.ndarray:
    """Flat indices of at most ``limit`` observed pixels, evenly over the map; the same for the same map."""
    where = np.flatnonzero(observed.ravel())
    return where[:: max(-(-where.size // limit), 1)]


def gather(emb: Embeddings, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (n, D) float32 of pixels given by flat index, in one pass over the map."""
    width = emb.shape[1]
    rows, cols = np.divmod(pixels, width)
    mean, variance = np.empty((pixels.size, emb.dim), np.float32), np.empty((pixels.size, emb.dim), np.float32)
    for window in emb.windows():
        y, x = window
        inside = np.flatnonzero((rows >= y.start) & (rows < y.stop) & (cols >= x.start) & (cols < x.stop))
        if inside.size:
            part_mean, part_variance, _ = emb.fused(y, x)
            at = rows[inside] - y.start, cols[inside] - x.start
            mean[inside], variance[inside] = part_mean[at], part_variance[at]
    return mean, variance


def _rank_within(groups: np.ndarray) -> np.ndarray:
    """How many earlier members of its group each element has."""
    order = np.argsort(groups, kind="stable")
    _, start, counts = np.unique(groups[order], return_index=True, return_counts=True)
    rank = np.empty(groups.size, np.int64)
    rank[order] = np.arange(groups.size) - np.repeat(start, counts)
    return rank
