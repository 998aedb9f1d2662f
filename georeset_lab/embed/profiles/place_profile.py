"""What each modality knows about a pixel, a selection or the map, dimension by dimension, with any of them left out.

Whole-map profiles of every pixel are in ``profile.py``. Here a thin sample of the precisions is kept, so that the fusion
of other modalities is a sum and a division: nothing is encoded or read again. No pictures here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from georeset_lab.embed.pictures.plot import thin_shape, thin_step, thin_window

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.embed.expert import Expert

__all__ = ["SETTLED", "CertaintySample", "Step", "certainty_rows", "draw", "precisions", "settled_steps"]

SETTLED = 0.5
"""Certainty from which a dimension counts as settled: the measurement left less than half of the prior's variance."""
SAMPLE_PIXELS = 1 << 16
"""Pixels of a `CertaintySample`: a picture of 256 x 256, and 8 MB for each modality of 64 dimensions."""
MOST_PIXELS = 4096
"""Pixels of a selection that are read, drawn at random once; the standard error of a mean certainty is below 0.01."""


@dataclass(frozen=True, eq=False)
class CertaintySample:
    """Precisions of every ``step``-th row and column of a map."""

    names: tuple[str, ...]
    """Modalities."""
    tau: np.ndarray
    """(M, y, x, D) float16: precision of each modality alone, without the prior; 0 where it measured nothing, NaN where
    the embeddings state no variance."""
    step: int

    @classmethod
    def of(cls, emb: Embeddings, max_pixels: int = SAMPLE_PIXELS) -> CertaintySample:
        """Sample of a map. Of experts in memory only these pixels are touched; of a store every tile is read once."""
        step = thin_step(emb.shape, max_pixels)
        tau = np.zeros((len(emb.modalities), *thin_shape(emb.shape, step), emb.dim), np.float16)
        every = slice(None, None, step)
        for out, expert in zip(tau, emb.experts.values(), strict=True):
            if expert.in_memory:
                out[...] = _narrow(expert.read(every, every)[1])
                continue
            for window in emb.tiles():
                some, place = thin_window(*window, step)
                out[place] = _narrow(expert.read(*window)[1][some])
        return cls(emb.modalities, tau, step)

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of the map that the sample stands for; up to ``step - 1`` more than the map has."""
        return self.tau.shape[1] * self.step, self.tau.shape[2] * self.step

    @property
    def known(self) -> bool:
        """False if the embeddings state no variance, so that nothing can be said about certainty."""
        return not bool(np.isnan(self.tau[..., 0]).all())

    def map(self, names: Sequence[str]) -> np.ndarray:
        """Certainty (y, x), float32, averaged over dimensions, of these modalities fused; NaN where none measured."""
        total = self._total(names)
        seen = (total > 0).any(axis=-1)
        return np.where(seen, _certainty(total).mean(axis=-1), np.nan).astype(np.float32)

    def pixels(self) -> np.ndarray:
        """Precisions (M, n, D) of at most `MOST_PIXELS` pixels, as `precisions` gives them for chosen ones."""
        flat = self.tau.reshape(len(self.names), -1, self.tau.shape[-1])
        return flat[:, draw(np.arange(flat.shape[1]), MOST_PIXELS)]

    def _total(self, names: Sequence[str]) -> np.ndarray:
        rows = [self.names.index(name) for name in names]
        total = self.tau[rows[0]].astype(np.float32)
        for row in rows[1:]:
            total += self.tau[row]
        return total


class Step(NamedTuple):
    """One more modality, and what it adds to those before it."""

    name: str
    settles: int
    """Dimensions that it settles alone."""
    adds: int
    """Dimensions that are settled with it and were not before; the first one adds all that it settles."""


def precisions(emb: Embeddings, pixels: np.ndarray) -> np.ndarray:
    """Precision of each modality alone at some pixels, without the prior.

    Parameters
    ----------
    emb : Embeddings
    pixels : (n,) int
        Flat row-major indices, sorted; of more than `MOST_PIXELS`, as many are drawn (`draw`).

    Returns
    -------
    numpy.ndarray, shape (M, n, D), float32
        0 where a modality measured nothing.
    """
    chosen = draw(pixels, MOST_PIXELS)
    return np.stack([_at(emb, expert, chosen) for expert in emb.experts.values()])


def draw(pixels: np.ndarray, most: int) -> np.ndarray:
    """At most so many of these pixels, the same ones every time, in their order.

    At random: every n-th pixel of a rectangle may be a single column of it.
    """
    if pixels.size <= most:
        return pixels
    return pixels[np.sort(np.random.default_rng(0).choice(pixels.size, most, replace=False, shuffle=False))]


def certainty_rows(tau: np.ndarray, present: Sequence[int]) -> np.ndarray:
    """Mean certainty of each dimension: a row for each modality alone, and one for those that are present, fused.

    Parameters
    ----------
    tau : (M, n, D) float
        From `precisions` or `CertaintySample.pixels`.
    present : sequence of int
        Positions of the modalities that are fused; at least one.

    Returns
    -------
    numpy.ndarray, shape (M + 1, D), float32
        In 0..1; each row over the pixels that it measured, NaN if there are none.

    Examples
    --------
    >>> tau = np.array([[[3.0, 0.0]], [[1.0, 1.0]]])
    >>> certainty_rows(tau, [0, 1]).tolist()
    [[0.75, 0.0], [0.5, 0.5], [0.800000011920929, 0.5]]
    """
    return np.stack([*(_mean(alone) for alone in tau), _mean(_sum(tau, present))])


def settled_steps(tau: np.ndarray, names: Sequence[str]) -> tuple[Step, ...]:
    """How many dimensions the best modality settles, and how many each further one adds.

    Parameters
    ----------
    tau : (M, n, D) float
    names : M names

    Returns
    -------
    tuple of Step
        The modality that settles most comes first, then always the one that adds most to those before it; of equal ones
        the first named. A dimension is settled if its certainty, averaged over the pixels, reaches `SETTLED`.
    """
    alone = [int((np.nan_to_num(_mean(t)) >= SETTLED).sum()) for t in tau]
    left, taken, before, steps = list(range(len(names))), list[int](), 0, []
    while left:
        after = {m: int((np.nan_to_num(_mean(_sum(tau, [*taken, m]))) >= SETTLED).sum()) for m in left}
        best = max(left, key=lambda m: after[m])
        steps.append(Step(names[best], alone[best], after[best] - before))
        before = after[best]
        taken.append(best)
        left.remove(best)
    return tuple(steps)


def _at(emb: Embeddings, expert: Expert, pixels: np.ndarray) -> np.ndarray:
    rows, cols = np.divmod(pixels, emb.shape[1])
    out = np.zeros((pixels.size, emb.dim), np.float32)
    for y, x in emb.tiles():
        inside = np.flatnonzero((rows >= y.start) & (rows < y.stop) & (cols >= x.start) & (cols < x.stop))
        if inside.size:
            # Only the rectangle that holds them: a selection is often small.
            r, c = rows[inside], cols[inside]
            box = slice(int(r.min()), int(r.max()) + 1), slice(int(c.min()), int(c.max()) + 1)
            out[inside] = expert.read(*box)[1][r - box[0].start, c - box[1].start]
    return out


def _narrow(tau: np.ndarray) -> np.ndarray:
    return np.minimum(tau, np.finfo(np.float16).max)


def _sum(tau: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    total = tau[rows[0]].astype(np.float32)
    for row in rows[1:]:
        total += tau[row]
    return total


def _certainty(tau: np.ndarray) -> np.ndarray:
    """1 - 1 / (1 + tau), in place."""
    np.divide(tau, tau + 1, out=tau)
    return tau


def _mean(tau: np.ndarray) -> np.ndarray:
    """Mean certainty (D,) over the pixels (n, D) that were measured."""
    values = tau.astype(np.float32)
    seen = int((values > 0).any(axis=-1).sum())
    # What was not measured has a certainty of exactly 0 and adds nothing.
    total = _certainty(values).sum(axis=0, dtype=np.float64)
    return (total / seen if seen else np.full(values.shape[-1], np.nan)).astype(np.float32)
