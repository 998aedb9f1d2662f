"""Is the variance right? Calibration of a Gaussian's variance against known truth, and one scalar that mends its scale.

Pure NumPy. Scores of an uncertainty that need no truth in the units of the embedding (risk against coverage, R-AUROC)
and the bootstrap are in ``risk.py`` and can be imported from here too; class probabilities are in ``probing/metrics.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from georeset_lab.embed.risk import aurc, bootstrap_interval, r_auroc, risk_coverage, tie_means
from georeset_lab.errors import InvalidOption, NothingObserved, ShapeMismatch

__all__ = [
    "Calibration", "Reliability", "aurc", "bootstrap_interval", "calibration", "fit_scale", "r_auroc", "recalibrate",
    "risk_coverage",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted variance against realised squared error, of one dimension or of all pooled; NaN where no truth is."""

    slope: float
    """Slope through the origin of the reliability curve: 1 = calibrated, 2 = errors are twice what was predicted. A bin
    weighs by the inverse of its sampling variance, 2 predicted^2 / count, so that it is mean(realised / predicted)."""
    ratio: float
    """Realised error of the tenth with the largest predicted variance over that of the tenth with the smallest; 1 if
    the variance does not tell large from small errors."""
    ratio_predicted: float
    """The same ratio of the predicted variances: what ``ratio`` would be if they were right."""
    nll: float
    """Mean negative log-likelihood of the truth in nats; smallest, in expectation, for the right variance."""
    predicted: np.ndarray
    """(bins,) float64: mean predicted variance of each equal-mass bin, rising."""
    realised: np.ndarray
    """(bins,) float64: mean squared error there."""
    count: np.ndarray
    """(bins,) int64: known values there."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What `calibration` found; prints as a small table."""

    pooled: Reliability
    """All dimensions together."""
    dims: tuple[Reliability, ...]
    """Each of the D dimensions."""
    spearman: float
    """Rank correlation, over samples, of predicted variance and squared error, each summed over dimensions (the mean of
    the known ones, if not all are known). NaN for fewer than three samples or if either is constant."""
    samples: int
    """Samples with some known value."""

    def _rows(self) -> list[tuple[str, list[float]]]:
        names = (
            ("slope (1 = calibrated)", "slope"),
            ("error, top / bottom tenth", "ratio"),
            ("predicted, top / bottom tenth", "ratio_predicted"),
            ("negative log-likelihood", "nll"),
        )
        rows = []
        for label, name in names:
            each = np.array([getattr(d, name) for d in self.dims])
            each = each[~np.isnan(each)]
            spread = [float(f(each)) for f in (np.min, np.median, np.max)] if each.size else [float("nan")] * 3
            rows.append((label, [getattr(self.pooled, name), *spread]))
        return rows

    def _title(self) -> str:
        known = int(self.pooled.count.sum())
        text = f"{self.samples:,} samples, {len(self.dims)} dimensions, {known:,} known values"
        return f"Calibration: {text}; Spearman of variance and error {self.spearman:.2f}"

    def __str__(self) -> str:
        head = f"{'':30}" + "".join(f"{c:>12}" for c in _COLUMNS)
        lines = [f"{label:30}" + "".join(f"{v:12.3g}" for v in values) for label, values in self._rows()]
        return "\n".join([self._title(), head, *lines])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{c}</th>" for c in ("", *_COLUMNS))
        body = "".join(
            f"<tr><th style='text-align:left'>{escape(label)}</th>" + "".join(f"<td>{v:.3g}</td>" for v in values)
            for label, values in self._rows()
        )
        return f"<div><b>{escape(self._title())}</b><table><tr>{head}</tr>{body}</table></div>"


_COLUMNS = ("pooled", "lowest dim", "median dim", "highest dim")


def calibration(mean: np.ndarray, variance: np.ndarray, truth: np.ndarray, *, bins: int = 10) -> Calibration:
    """How the squared error that came about compares with the variance that was predicted.

    Parameters
    ----------
    mean, variance : numpy.ndarray, shape (N, D)
        Predicted Gaussians; variances above 0, in squared units of the truth.
    truth : numpy.ndarray, shape (N, D)
        What is known; NaN = unknown, left out.
    bins : int
        Equal-mass bins of the reliability curve; fewer if fewer values are known.

    Returns
    -------
    Calibration
        Slope, reliability curve, ratio of tenths and likelihood, pooled and per dimension; Spearman over samples.

    Raises
    ------
    ShapeMismatch
        The three are not (N, D) alike.
    NothingObserved
        No truth is known.
    InvalidOption
        Where the truth is known, something is not finite or a variance not above 0; or ``bins`` is below 1.

    Notes
    -----
    Bins of equal mass as in the ENCE of Levi et al. 2022 (there for standard deviations). Equal variances count with
    their mean error, so the order of samples does not matter. The weights of the slope follow from Var(error^2) =
    2 variance^2 of a Gaussian; without bins they would give the maximum-likelihood factor of `fit_scale`, which a
    single variance near zero can move. A tenth holds at least one value; the ratio is infinite, or NaN, if the bottom
    tenth has no error at all.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> variance = rng.uniform(0.1, 1, (5000, 4))
    >>> error = rng.normal(size=variance.shape) * np.sqrt(2 * variance)  # twice the variance that is claimed
    >>> round(calibration(np.zeros_like(error), variance, error).pooled.slope, 1)
    2.0
    """
    if bins < 1:
        raise InvalidOption(f"bins={bins}; a reliability curve needs at least one bin.")
    variance, squared, known = _checked(mean, variance, truth)
    some = known.any(axis=1)
    per_sample = [_row_means(a[some], known[some]) for a in (variance, squared)]
    return Calibration(
        _reliability(variance[known], squared[known], bins),
        tuple(_reliability(v[k], e[k], bins) for v, e, k in zip(variance.T, squared.T, known.T, strict=True)),
        _spearman(*per_sample),
        int(some.sum()),
    )


def fit_scale(mean: np.ndarray, variance: np.ndarray, truth: np.ndarray) -> float:
    """The factor by which to multiply all variances so that the truth becomes most likely: mean(error^2 / variance).

    Above 1: over-confident as it was. Fit it on other places than those it is used or judged on. Arguments and errors
    as `calibration`.
    """
    variance, squared, known = _checked(mean, variance, truth)
    return float((squared[known] / variance[known]).mean())


def recalibrate(variance: np.ndarray, scale: float, *, prior: float | None = None) -> np.ndarray:
    """Variance times a scalar, which never changes which of two is the larger.

    Parameters
    ----------
    variance : numpy.ndarray, any shape, float
    scale : float
        Above 0; from `fit_scale`.
    prior : float, optional
        Largest variance allowed, 1 for embeddings (the N(0, 1) prior). Larger ones are set to it: still no two change
        order, but those that meet the cap become equal. By default nothing is capped.

    Returns
    -------
    numpy.ndarray
        Of the shape and float type of ``variance``.

    Raises
    ------
    InvalidOption
        ``scale`` or ``prior`` is not a finite number above 0.

    Examples
    --------
    >>> recalibrate(np.array([0.1, 0.4, 0.8]), 2.0, prior=1.0).tolist()
    [0.2, 0.8, 1.0]
    """
    for name, value in (("scale", scale), ("prior", 1.0 if prior is None else prior)):
        if not (np.isfinite(value) and value > 0):
            raise InvalidOption(f"{name}={value}; a variance can only be scaled by, or capped at, a number above 0.")
    out = np.asarray(variance) * float(scale)
    return out if prior is None else np.minimum(out, float(prior))


def _checked(mean: np.ndarray, variance: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance and squared error (N, D) float64, and where the truth is known (N, D) bool."""
    given = {"mean": np.asarray(mean), "variance": np.asarray(variance), "truth": np.asarray(truth)}
    shapes: Sequence[tuple[int, ...]] = [a.shape for a in given.values()]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        listed = ", ".join(f"{name} {a.shape}" for name, a in given.items())
        raise ShapeMismatch(
            f"Got {listed}; all three must be (N, D) alike. A single dimension is (N, 1), as values[:, None]; "
            "emb.vectors() gives mean and variance of every pixel in this shape."
        )
    mean, variance, truth = (a.astype(np.float64) for a in given.values())
    known = ~np.isnan(truth)
    if not known.any():
        raise NothingObserved("No truth is known, so the variance cannot be judged. Give truth that is not all NaN.")
    squared = (mean - truth) ** 2
    good = np.isfinite(squared[known]) & np.isfinite(variance[known]) & (variance[known] > 0)
    if not good.all():
        raise InvalidOption(
            f"{int((~good).sum())} values with known truth have a mean, variance or truth that is not finite, or a "
            "variance not above 0. Set the truth to NaN there, or give the prior: mean 0, variance 1."
        )
    return variance, squared, known


def _reliability(variance: np.ndarray, squared: np.ndarray, bins: int) -> Reliability:
    """Of known values (K,), K >= 0."""
    if not variance.size:
        nan = float("nan")
        return Reliability(nan, nan, nan, nan, np.empty(0), np.empty(0), np.empty(0, np.int64))
    nll = 0.5 * (np.log(2 * np.pi * variance) + squared / variance).mean()
    order = np.argsort(variance, kind="stable")
    variance, squared = variance[order], tie_means(variance, squared)[order]
    parts = np.array_split(np.arange(variance.size), min(bins, variance.size))
    predicted, realised = (np.array([a[p].mean() for p in parts]) for a in (variance, squared))
    count = np.array([p.size for p in parts], np.int64)
    tenth = max(1, variance.size // 10)
    with np.errstate(divide="ignore", invalid="ignore"):
        tops = [float(a[-tenth:].mean() / a[:tenth].mean()) for a in (squared, variance)]
    slope = float(np.average(realised / predicted, weights=count))
    return Reliability(slope, tops[0], tops[1], float(nll), predicted, realised, count)


def _row_means(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.where(known, values, 0).sum(axis=1) / known.sum(axis=1)


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import spearmanr

    if a.size < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)
