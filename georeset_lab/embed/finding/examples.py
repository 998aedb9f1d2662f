"""Several examples, for and against: each is scored over the map on its own, then their scores become one.

A single Gaussian for a query is made in ``query.py``; the pass over the pixels is in ``scan.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.embed.finding.places import cell_px
from georeset_lab.embed.finding.scan import Scan, Score, scan

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.embed.finding.query import Query

__all__ = ["Passes", "combine"]

KEPT = 16
"""Score maps of single examples that `Passes` holds on to; 4 bytes per pixel each."""


class Passes:
    """Score maps of single examples over one map, kept so that one more example costs one more pass.

    Parameters
    ----------
    emb : Embeddings
    score : {"cosine", "pmi"}
    keep : int
        Maps held at most; those that were not used for the longest time go first.
    """

    def __init__(self, emb: Embeddings, score: Score = "pmi", *, keep: int = KEPT) -> None:
        self.emb = emb
        self.score: Score = score
        self.keep = keep
        self._kept: dict[bytes, np.ndarray] = {}

    def scan(self, likes: Sequence[Query], unlikes: Sequence[Query], *, phase: tuple[int, int]) -> Scan:
        """What one pass with all examples together would leave behind; see `combine` and `georeset_lab.embed.finding.scan`."""
        from georeset_lab.embed.finding import kernels

        if len(likes) == 1 and not unlikes and not self.keep:
            return scan(self.emb, likes[0], None, score=self.score, cell_px=cell_px(self.emb.grid), phase=phase)
        scores = combine([self._of(q, phase) for q in likes], [self._of(q, phase) for q in unlikes], score=self.score)
        side = cell_px(self.emb.grid)
        cells = tuple(-(-(n + p) // side) for n, p in zip(scores.shape, phase, strict=True))
        total, count = np.zeros(cells, np.float64), np.zeros(cells, np.int64)
        kernels.sum_cells(scores, phase[0], phase[1], side, total, count)
        return Scan(scores, total, count)

    def _of(self, query: Query, phase: tuple[int, int]) -> np.ndarray:
        key = query.mean.tobytes() + query.variance.tobytes()
        found = self._kept.pop(key, None)
        if found is None:
            found = scan(self.emb, query, None, score=self.score, cell_px=cell_px(self.emb.grid), phase=phase).scores
        self._kept[key] = found
        while len(self._kept) > self.keep:
            del self._kept[next(iter(self._kept))]
        return found


def combine(likes: Sequence[np.ndarray], unlikes: Sequence[np.ndarray], *, score: Score) -> np.ndarray:
    """One score from those of single examples.

    Parameters
    ----------
    likes, unlikes : sequences of numpy.ndarray (Y, X), float32
        Scores of examples for (at least one) and against; NaN where nothing was observed.
    score : {"cosine", "pmi"}
        ``"cosine"``: mean of those for, less the mean of those against. ``"pmi"``: see the notes.

    Returns
    -------
    numpy.ndarray (Y, X), float32
        Never one of the arrays that came in.

    Notes
    -----
    PMI is a log-ratio of evidence, so "the same thing as one of n examples, whichever" has the log of their mean ratio,
    s+ = log(mean exp s_i), and likewise s- of the examples against. A pixel shows one or the other with odds
    exp(s+ - s-), and the score is the evidence times the probability that it is the right one:
    s = s+ + log(exp s+ / (exp s+ + exp s-)), never above s+, and s+ wherever nothing against comes near. Subtracting s-
    instead rewards what is merely unlike the examples against. Mean average precision on two chips of shared/data (Chile /
    Denmark, model-made land cover; examples against taken from the best wrong hits), printed by
    ``tests/benchmarks/bench_place.py --rules``: one example for and one against 0.44 / 0.57 with this rule, 0.32 / 0.37 with
    subtraction, 0.43 / 0.57 with the example for alone; four and four 0.55 / 0.68, 0.31 / 0.51 and 0.52 / 0.66.

    Examples
    --------
    >>> one, two = np.float32([[4.0, -9.0]]), np.float32([[-9.0, 4.0]])
    >>> combine([one, two], [], score="pmi").round(2).tolist()
    [[3.309999942779541, 3.309999942779541]]
    >>> combine([one], [two], score="pmi").round(2).tolist()
    [[4.0, -22.0]]
    """
    if score == "cosine":
        mean = np.asarray(np.mean(likes, axis=0, dtype=np.float32))
        return np.subtract(mean, np.mean(unlikes, axis=0, dtype=np.float32)) if unlikes else mean
    positive = _log_mean_exp(likes)
    if not unlikes:
        return positive
    return np.float32(2) * positive - np.logaddexp(positive, _log_mean_exp(unlikes))


def _log_mean_exp(scores: Sequence[np.ndarray]) -> np.ndarray:
    # Ten times as fast as np.logaddexp of one after the other, which takes its logarithm each time.
    top = scores[0].copy()
    for more in scores[1:]:
        np.maximum(top, more, out=top)
    total, part = np.zeros_like(top), np.empty_like(top)
    for one in scores:
        total += np.exp(np.subtract(one, top, out=part), out=part)
    return top + np.log(total, out=total) - np.float32(np.log(len(scores)))
