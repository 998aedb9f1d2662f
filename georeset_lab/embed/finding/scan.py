"""One pass over an embedding map: a score for every pixel, the best pixels, and sums per cell, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.embed.finding.query import Query

__all__ = ["Scan", "scan", "top_pixels"]

THREADED_PIXELS = 1_000_000
"""Below this one thread is done before others have started."""
MAX_THREADS = 8
TOP_BLOCK = 1 << 16

Score = Literal["cosine", "pmi"]


@dataclass(frozen=True)
class Scan:
    """What one pass leaves behind; 4 bytes per pixel and a few per cell."""

    scores: np.ndarray
    """(Y, X) float32, NaN where nothing was observed."""
    cell_sum: np.ndarray
    """(cell rows, cell columns) float64: sum of the scores of the cell's observed pixels."""
    cell_count: np.ndarray
    """Observed pixels of each cell, int64."""


def scan(
    emb: Embeddings,
    like: Query,
    unlike: Query | None,
    *,
    score: Score,
    cell_px: int,
    phase: tuple[int, int],
) -> Scan:
    """Score every pixel and sum the scores by cell.

    Parameters
    ----------
    like, unlike : Query
        The score is that of ``like`` minus that of ``unlike``.
    cell_px : int
        Side of a cell in pixels.
    phase : (row, column)
        Position of pixel (0, 0) inside its cell.
    """
    from georeset_lab.embed.finding import kernels

    height, width = emb.shape
    scores = np.zeros((height, width), np.float32)
    cells = tuple(-(-(n + p) // cell_px) for n, p in zip((height, width), phase, strict=True))
    total, count = np.zeros(cells, np.float64), np.zeros(cells, np.int64)
    run = _cosine_block(like, unlike) if score == "cosine" else _pmi_block(like, unlike)

    def one(window: tuple[slice, slice]) -> tuple[slice, slice]:
        mean, variance, observed = emb.fused(*window)
        part = scores[window]
        out = part.reshape(-1) if part.flags.c_contiguous else part.ravel()
        run(_flat(mean), variance, np.ascontiguousarray(observed).reshape(-1), out)
        if not part.flags.c_contiguous:
            part[...] = out.reshape(part.shape)
        return window

    for rows, cols in _mapped(one, emb.windows(), height * width):
        kernels.sum_cells(scores[rows, cols], rows.start + phase[0], cols.start + phase[1], cell_px, total, count)
    return Scan(scores, total, count)


def top_pixels(
    mean: np.ndarray, observed: np.ndarray, query: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosine of every pixel and the k best of them, selected while streaming.

    Parameters
    ----------
    mean : (N, D) float32, C-contiguous.  observed : (N,) bool.  query : (D,).
    k : int

    Returns
    -------
    scores : (N,) float32, NaN where not observed
    ids, best : (k,) int64 and float32, best first; fewer if fewer pixels are observed. Of equal pixels the first wins.
    """
    from georeset_lab.embed.finding import kernels

    unit = _unit(np.asarray(query, np.float32))
    scores = np.empty(mean.shape[0], np.float32)
    best, ids = np.full(k, -np.inf, np.float32), np.full(k, -1, np.int64)
    for start in range(0, mean.shape[0], TOP_BLOCK):
        part = slice(start, start + TOP_BLOCK)
        kernels.cosine(mean[part], observed[part], unit, scores[part])
        kernels.offer(scores[part], start, best, ids)
    found = ids >= 0
    return scores, ids[found], best[found]


_Block = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]


def _cosine_block(like: Query, unlike: Query | None) -> _Block:
    from georeset_lab.embed.finding import kernels

    direction = _unit(like.mean)
    if unlike is not None:
        direction = direction - _unit(unlike.mean)

    def run(mean: np.ndarray, variance: np.ndarray, observed: np.ndarray, out: np.ndarray) -> None:
        kernels.cosine(mean, observed, direction, out)

    return run


def _pmi_block(like: Query, unlike: Query | None) -> _Block:
    from georeset_lab.embed.finding import kernels

    terms = [(_natural(q), sign) for q, sign in ((like, 1.0), (unlike, -1.0)) if q is not None]

    def run(mean: np.ndarray, variance: np.ndarray, observed: np.ndarray, out: np.ndarray) -> None:
        flat = _flat(variance)
        for (eta, tau, constant), sign in terms:
            kernels.pmi(mean, flat, observed, eta, tau, constant, np.float32(sign), out)

    return run


def _natural(query: Query) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """eta, tau = precision - 1, and the part of the score that no pixel changes."""
    precision = 1.0 / query.variance.astype(np.float64)
    eta = query.mean.astype(np.float64) * precision
    constant = np.sum(np.log(precision) - eta**2 / precision)
    return eta.astype(np.float32), (precision - 1.0).astype(np.float32), np.float32(constant)


def _flat(window: np.ndarray) -> np.ndarray:
    """(y, x, D) as (n, D); a copy only if it is a part of wider rows."""
    return np.ascontiguousarray(window).reshape(-1, window.shape[-1])


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vector / max(float(np.linalg.norm(vector)), 1e-15), dtype=np.float32)


def _mapped(
    function: Callable[[tuple[slice, slice]], tuple[slice, slice]],
    windows: Iterable[tuple[slice, slice]],
    pixels: int,
) -> Iterable[tuple[slice, slice]]:
    """``map`` in order, in threads if there is enough work; the kernels release the GIL."""
    import numba

    threads = min(int(vars(numba.config)["NUMBA_NUM_THREADS"]), MAX_THREADS)
    if threads == 1 or pixels < THREADED_PIXELS:
        yield from map(function, windows)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, windows)
