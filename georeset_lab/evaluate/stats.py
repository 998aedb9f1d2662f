"""Means and 95 % intervals of scores over label draws and training seeds. What is compared is in ``results.py``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

METHOD = (
    "Mean and 95 % interval. One encoder: Student's t over label draws. Several training seeds: seeds and draws are "
    "both taken as random and crossed, variance of the mean = (MS_seed + MS_draw - MS_rest) / (seeds x draws), never "
    "below MS_rest / (seeds x draws), with Satterthwaite's degrees of freedom. Differences are taken draw by draw (the "
    "same labels and test pixels) and, against the untrained encoder, seed by seed (the same initial weights). An "
    "interval covers the choice of labels and seeds, not of places."
)


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its 95 % interval (NaN where one value cannot tell)."""

    mean: float
    half: float

    def text(self, *, sign: bool = False) -> str:
        """For a table, in the manner of ``.612 ±.013``."""
        mean = f"{self.mean:{'+' if sign else ''}.3f}".replace("0.", ".", 1)
        return mean if not np.isfinite(self.half) else f"{mean} ±{self.half:.3f}".replace("±0.", "±.")

    @property
    def settled(self) -> bool:
        """Whether the interval leaves out zero."""
        return bool(np.isfinite(self.half) and abs(self.mean) > self.half)


def interval(values: np.ndarray) -> Interval:
    """Mean of a (seeds, draws) table and its 95 % interval, both factors random; see `METHOD`.

    Parameters
    ----------
    values : (S, J) float; S or J may be 1.

    Examples
    --------
    >>> interval(np.array([[0.5, 0.6, 0.7]])).text()
    '.600 ±.248'
    """
    from scipy.stats import t

    values = np.asarray(values, dtype=np.float64)
    seeds, draws = values.shape
    mean = float(values.mean())
    if values.size == 1:
        return Interval(mean, float("nan"))
    if min(seeds, draws) == 1:
        n = values.size
        return Interval(mean, float(t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)))
    by_seed, by_draw = values.mean(axis=1), values.mean(axis=0)
    rest = values - by_seed[:, None] - by_draw[None] + mean
    df = np.array([seeds - 1, draws - 1, (seeds - 1) * (draws - 1)], dtype=np.float64)
    ms = np.array([draws * ((by_seed - mean) ** 2).sum(), seeds * ((by_draw - mean) ** 2).sum(), (rest**2).sum()]) / df
    total = ms[0] + ms[1] - ms[2]
    if total <= ms[2]:
        total, free = ms[2], df[2]
    else:
        free = total**2 / ((ms**2) / df).sum()
    if total <= 0:
        return Interval(mean, 0.0)
    return Interval(mean, float(t.ppf(0.975, max(free, 1.0)) * np.sqrt(total / values.size)))
