"""A whole map in two dimensions: PCA at once, UMAP of some thousand landmarks with every other pixel placed among them.

A layout is fixed once and places any vectors of the same model: all pixels of the map, and those of another scene,
appear in the same picture without a refit.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np

from georeset_lab.embed.latent.layout_cache import CACHE, landmark_key, load_landmarks, store_landmarks
from georeset_lab.embed.latent.neighbours import NeighbourIndex
from georeset_lab.embed.latent.project import UmapWorker, sample_points
from georeset_lab.embed.pictures.colours import pca_axes
from georeset_lab.errors import GeoresetError, NothingObserved

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings

__all__ = [
    "PcaLayout",
    "PointLayout",
    "UmapLayout",
    "choose_landmarks",
    "known_umap",
    "pca_layout",
    "place_pixels",
    "umap_layout",
]

LANDMARKS = 6000
"""Pixels that UMAP itself sees; more took longer and kept neighbours no better (tests/benchmarks/bench_umap.py)."""
EPOCHS = 50
"""Rounds of UMAP: with ``init="pca"`` and landmarks, 200 take three times as long for 0.003 of trustworthiness."""
FEWEST = 16
"""Observed pixels that UMAP needs: its neighbourhoods hold 15."""
_ASKED, _KEPT = 5, 3
_PCA_SAMPLE = 20_000
_BLOCK = 1 << 16


class PointLayout(Protocol):
    """A fixed way from embeddings to the plane."""

    @property
    def kind(self) -> Literal["pca", "umap"]:
        """How it was made."""

    @property
    def axes(self) -> tuple[str, str]:
        """Names of the horizontal and the vertical axis."""

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Coordinates (n, 2), float32, of vectors (n, D) of the same model."""


@dataclass(frozen=True, eq=False)
class PcaLayout:
    """The first two principal components; the unit is that of the embedding, the prior's standard deviation."""

    center: np.ndarray
    """(D,)"""
    directions: np.ndarray
    """(D, 2)"""
    share: np.ndarray
    """(2,) of the variance."""
    kind: ClassVar[Literal["pca"]] = "pca"

    @property
    def axes(self) -> tuple[str, str]:
        """Names of the axes, with what each holds."""
        first, second = (f"PCA {i + 1} ({100 * s:.0f} % of variance)" for i, s in enumerate(self.share[:2]))
        return first, second

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Coordinates (n, 2), float32."""
        directions = self.directions.astype(np.float32)
        return vectors @ directions - (self.center @ self.directions).astype(np.float32)


@dataclass(frozen=True, eq=False)
class UmapLayout:
    """Landmarks and where UMAP put them."""

    vectors: np.ndarray
    """(L, D) float32: embeddings of the landmarks."""
    xy: np.ndarray
    """(L, 2) float32; turned so that the picture lies as that of PCA does. Distances between groups mean little."""
    kind: ClassVar[Literal["umap"]] = "umap"

    @property
    def axes(self) -> tuple[str, str]:
        """Names of the axes; they have no unit."""
        return "UMAP 1", "UMAP 2"

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Coordinates (n, 2), float32: the mean of the nearest landmarks, weighted by how near they are.

        Of the five nearest in the embedding, the three count that lie closest together in the plane. A plain mean puts
        whatever is between two groups into the empty space between them, where nothing is like it. A landmark stays
        where it is.
        """
        near, distance = self._index.query(vectors, _ASKED)
        out = np.empty((len(near), 2), np.float32)
        for start in range(0, len(near), _BLOCK):
            rows = slice(start, start + _BLOCK)
            out[rows] = _middle(self.xy[near[rows]], 1 / (distance[rows] + np.float32(1e-4)))
        return out

    @cached_property
    def _index(self) -> NeighbourIndex:
        return NeighbourIndex(self.vectors)


def choose_landmarks(observed: np.ndarray, *, seed: int = 0, count: int = LANDMARKS) -> np.ndarray:
    """Flat indices, sorted int64, of observed pixels spread over the map: one in each of about ``count`` squares.

    Parameters
    ----------
    observed : numpy.ndarray, shape (Y, X), bool
    seed : int
        Drives which pixel of a square is taken, and which fill up the number.
    count : int
        All observed pixels are returned if there are no more.

    Raises
    ------
    NothingObserved
        No pixel is observed.
    """
    there = sample_points(observed, limit=observed.size)
    if there.size <= count:
        return there
    rng = np.random.default_rng(seed)
    rows, cols = np.divmod(there, observed.shape[1])
    side = max(1, int(np.sqrt(there.size / count)))
    square = rows // side * (observed.shape[1] // side + 1) + cols // side
    shuffled = rng.permutation(there.size)
    first = shuffled[np.unique(square[shuffled], return_index=True)[1]]
    rest = np.setdiff1d(shuffled, first, assume_unique=True)
    chosen = np.concatenate([rng.permutation(first), rng.permutation(rest)])[:count]
    return np.sort(there[chosen])


def pca_layout(emb: Embeddings) -> PcaLayout:
    """The plane of the two principal components of the observed means; at once, and always the same.

    Raises
    ------
    NothingObserved
        No pixel is observed.
    """
    some = vectors_at(emb, sample_points(emb.observed, limit=_PCA_SAMPLE))
    return PcaLayout(*pca_axes(some, np.ones(len(some), bool), 2))


def umap_layout(
    emb: Embeddings,
    *,
    seed: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
    cache: Path | None = CACHE,
    tell: Callable[[str], None] = lambda _: None,
) -> UmapLayout | None:
    """UMAP of the fused means, from the one worker of this process; blocks until it is there, so call it in a thread.

    Parameters
    ----------
    emb : Embeddings
    seed : int
        Drives the landmarks and UMAP: the same seed gives the same picture.
    cancelled : callable
        Asked ten times a second.
    cache : Path, optional
        Folder of layouts that were made before; None neither reads nor writes.
    tell : callable
        Gets a few words on what is going on.

    Returns
    -------
    UmapLayout, or None if it was cancelled.

    Raises
    ------
    NothingObserved
        Fewer than `FEWEST` pixels are observed.
    GeoresetError
        The process that computes it has failed.
    """
    pixels = choose_landmarks(emb.observed, seed=seed)
    if pixels.size < FEWEST:
        raise NothingObserved(f"UMAP needs {FEWEST} observed pixels, this map has {pixels.size}; PCA works with any.")
    vectors = vectors_at(emb, pixels)
    key = landmark_key(emb, vectors, seed=seed, settings=(LANDMARKS, EPOCHS))
    known = load_landmarks(cache, key, vectors) if cache is not None else None
    if known is not None:
        return UmapLayout(vectors, known)
    xy = _compute(vectors, seed, cancelled, tell)
    if xy is None:
        return None
    xy = _turned(xy, vectors)
    if cache is not None:
        store_landmarks(cache, key, vectors, xy)
    return UmapLayout(vectors, xy)


def known_umap(emb: Embeddings, *, seed: int = 0, cache: Path = CACHE) -> UmapLayout | None:
    """The layout that `umap_layout` has made before, without a wait; None if it has not, or nothing is observed."""
    if not emb.observed.any():
        return None
    vectors = vectors_at(emb, choose_landmarks(emb.observed, seed=seed))
    known = load_landmarks(cache, landmark_key(emb, vectors, seed=seed, settings=(LANDMARKS, EPOCHS)), vectors)
    return None if known is None else UmapLayout(vectors, known)


def place_pixels(
    emb: Embeddings, layout: PointLayout, pixels: np.ndarray, *, cancelled: Callable[[], bool] = lambda: False
) -> np.ndarray:
    """Coordinates (K, 2), float32, of pixels given by sorted flat indices; part by part, so that memory stays small.

    What was not reached before ``cancelled`` became true is NaN.
    """
    out = np.full((len(pixels), 2), np.nan, np.float32)
    for hit, vectors in _parts(emb, pixels):
        if cancelled():
            break
        out[hit] = layout.place(vectors)
    return out


def vectors_at(emb: Embeddings, pixels: np.ndarray) -> np.ndarray:
    """Fused means (K, D), float32, of pixels given by sorted flat indices."""
    out = np.empty((len(pixels), emb.dim), np.float32)
    for hit, vectors in _parts(emb, pixels):
        out[hit] = vectors
    return out


def warm_up() -> None:
    """Start the worker of this process, so that UMAP is compiled when it is wanted; returns at once."""
    _worker()


def _parts(emb: Embeddings, pixels: np.ndarray) -> Iterator[tuple[slice | np.ndarray, np.ndarray]]:
    """Where among the pixels, and their vectors, for each part of the map."""
    for index, mean, _, _ in emb.blocks():
        if isinstance(index, slice):  # whole rows: the pixels wanted are neighbours in the list
            low, high = np.searchsorted(pixels, (index.start, index.stop))
            at = pixels[low:high] - index.start
            yield slice(low, high), mean if len(at) == len(mean) else mean[at]
        else:
            at = np.searchsorted(pixels, index)
            found = (at < len(pixels)) & (pixels[np.minimum(at, len(pixels) - 1)] == index)
            yield at[found], mean[found]


def _middle(xy: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean (n, 2) of the `_KEPT` of the points (n, k, 2) that are nearest to their weighted medoid."""
    apart = np.linalg.norm(xy[:, :, None] - xy[:, None], axis=3)
    medoid = (apart * weight[:, None]).sum(axis=2).argmin(axis=1)
    away = np.take_along_axis(apart, medoid[:, None, None], axis=1)[:, 0]
    kept = np.argsort(away, axis=1, kind="stable")[:, :_KEPT]
    weight = np.take_along_axis(weight, kept, axis=1)
    xy = np.take_along_axis(xy, kept[..., None], axis=1)
    middle: np.ndarray = (xy * weight[..., None]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
    return middle


_shared: list[UmapWorker] = []
_starting = threading.Lock()


def _worker() -> UmapWorker:
    """The one worker of this process: sessions of a server share it."""
    with _starting:
        if not (_shared and _shared[0].alive):
            _stop()
            _shared.append(UmapWorker(polite=True))
        return _shared[0]


@atexit.register
def _stop() -> None:
    while _shared:
        _shared.pop().close()


def _compute(
    vectors: np.ndarray, seed: int, cancelled: Callable[[], bool], tell: Callable[[str], None]
) -> np.ndarray | None:
    for _ in range(2):  # a worker that had been idle may end in the moment it is given something
        worker = _worker()
        job = worker.give(vectors, seed=seed, epochs=EPOCHS)
        told = ""
        try:
            while worker.alive:
                if cancelled():
                    return None
                words = "UMAP is being computed" if worker.warm else "UMAP is being started"
                if words != told:
                    tell(told := words)
                xy = worker.result(job, within_s=0.0)
                if xy is None:
                    threading.Event().wait(0.1)
                elif np.isfinite(xy).all():
                    return xy
                else:
                    raise GeoresetError("UMAP found no layout: most pixels have the same embedding. PCA shows them.")
        finally:
            worker.forget(job)
    raise GeoresetError(
        "The process that computes UMAP ended without an answer; `python -c 'import umap'` says whether umap-learn works "
        "here. PCA is shown instead."
    )


def _turned(xy: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The layout turned, and perhaps mirrored, to lie as PCA does: it has no direction of its own."""
    xy = xy - xy.mean(axis=0)
    pca = PcaLayout(*pca_axes(vectors, np.ones(len(vectors), bool), 2)).place(vectors)
    u, _, vt = np.linalg.svd(xy.T.astype(np.float64) @ pca)
    return np.ascontiguousarray(xy @ (u @ vt), np.float32)
