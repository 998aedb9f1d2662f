"""From a map and labels to the samples of a probe: which labelled pixels are used, and their vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.embed.expert import Expert, fuse
from georeset_lab.embed.probing.cv import Features
from georeset_lab.errors import NothingObserved

if TYPE_CHECKING:
    from georeset_lab.data.labels import LabelSet
    from georeset_lab.embed.embeddings import Embeddings

__all__ = [
    "BACKGROUND_PIXELS",
    "MAX_PER_CLASS",
    "LabelledVectors",
    "gather",
    "gather_alone",
    "spread_pixels",
    "usable_labels",
]

MAX_PER_CLASS = 500
"""Labelled pixels of a class that are used, spread over its polygons; more say little new and cost much."""
BACKGROUND_PIXELS = 20_000
"""Pixels of the map, labelled or not, that standardise its dimensions."""


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


def gather_alone(emb: Embeddings, pixels: np.ndarray) -> np.ndarray:
    """Mean (M, n, D) float32 of pixels given by flat index, as each of the M sensors alone sees them.

    Only these pixels are fused; of a store, the rectangle around them in each tile is read.
    """
    rows, cols = np.divmod(pixels, emb.shape[1])
    out = np.empty((len(emb.modalities), pixels.size, emb.dim), np.float32)
    whole = slice(None)
    for values, expert in zip(out, emb.experts.values(), strict=True):
        if isinstance(expert.eta, np.ndarray) and isinstance(expert.tau, np.ndarray):
            picked = Expert(expert.eta[rows, cols][None], expert.tau[rows, cols][None], expert.quantization)
            values[:] = fuse([picked], whole, whole)[0][0]
            continue
        for y, x in emb.tiles():
            inside = np.flatnonzero((rows >= y.start) & (rows < y.stop) & (cols >= x.start) & (cols < x.stop))
            if inside.size:
                r, c = rows[inside], cols[inside]
                box = slice(r.min(), r.max() + 1), slice(c.min(), c.max() + 1)
                values[inside] = fuse([expert], *box)[0][r - box[0].start, c - box[1].start]
    return out


class LabelledVectors:
    """Vectors of the labelled pixels of a map, each read once however often labels change.

    Parameters
    ----------
    emb : Embeddings
    partial : bool
        Read also what each sensor alone sees, if there are several.
    """

    def __init__(self, emb: Embeddings, *, partial: bool) -> None:
        self.emb = emb
        self._looks = len(emb.modalities) if partial and len(emb.modalities) > 1 else 0
        self._pixels = np.zeros(0, np.int64)
        self._mean, self._variance = (np.zeros((0, emb.dim), np.float32) for _ in range(2))
        self._alone = np.zeros((self._looks, 0, emb.dim), np.float32)
        background, _ = gather(emb, spread_pixels(emb.observed, BACKGROUND_PIXELS))
        self._standard = Features.of(background) if background.size else None

    def features(self, pixels: np.ndarray) -> Features:
        """Samples of pixels given by flat index, standardised by the map. `NothingObserved` if the map has no pixel."""
        if self._standard is None:
            raise NothingObserved("No pixel of this map was observed, so there is nothing to learn from.")
        self._read(np.setdiff1d(pixels, self._pixels))
        order = np.argsort(self._pixels)
        at = order[np.searchsorted(self._pixels, pixels, sorter=order)]
        variance = self._variance[at]
        return Features(
            self._mean[at].astype(np.float64),
            variance.astype(np.float64) if np.isfinite(variance).all() else None,
            self._standard.center,
            self._standard.scale,
            tuple(look[at].astype(np.float64) for look in self._alone),
        )

    def _read(self, new: np.ndarray) -> None:
        if not new.size:
            return
        mean, variance = gather(self.emb, new)
        self._mean, self._variance = np.concatenate([self._mean, mean]), np.concatenate([self._variance, variance])
        if self._looks:
            self._alone = np.concatenate([self._alone, gather_alone(self.emb, new)], axis=1)
        self._pixels = np.concatenate([self._pixels, new])


def _rank_within(groups: np.ndarray) -> np.ndarray:
    """How many earlier members of its group each element has."""
    order = np.argsort(groups, kind="stable")
    _, start, counts = np.unique(groups[order], return_index=True, return_counts=True)
    rank = np.empty(groups.size, np.int64)
    rank[order] = np.arange(groups.size) - np.repeat(start, counts)
    return rank
