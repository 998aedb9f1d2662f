"""Is doubt where the errors are? Risk against coverage, the AUROC of doubt for errors, and bootstrap intervals.

Pure NumPy, for any error and any uncertainty; class probabilities are scored in ``probing/metrics.py``, variances in
``uncertainty.py``. An error that is NaN is unknown and left out. Samples of equal uncertainty count with their mean
error, so no score depends on the order of samples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from georeset_lab.errors import InvalidOption, NothingObserved, ShapeMismatch

__all__ = ["aurc", "bootstrap_interval", "r_auroc", "risk_coverage", "tie_means"]


def risk_coverage(error: np.ndarray, uncertainty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean error of the most certain share of the samples, for every share.

    Parameters
    ----------
    error : numpy.ndarray, shape (N,)
        Any loss, larger is worse: 0 or 1 for right or wrong, or a squared error. NaN = unknown, left out.
    uncertainty : numpy.ndarray, shape (N,)
        Larger is less sure; only its order matters.

    Returns
    -------
    coverage, risk : numpy.ndarray, shape (K,), float64
        For the k = 1..K known errors: k / K, and the mean error of the k most certain.

    Raises
    ------
    ShapeMismatch
        The two are not (N,) alike.
    NothingObserved
        No error is known.
    InvalidOption
        An uncertainty is NaN where the error is known.

    Notes
    -----
    El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017. Ties share their mean error (ours).

    Examples
    --------
    >>> coverage, risk = risk_coverage(np.array([1, 0, 0, 1]), np.array([0.9, 0.1, 0.2, 0.8]))
    >>> coverage.tolist(), risk.round(2).tolist()
    ([0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.33, 0.5])
    """
    error, uncertainty = _known(error, uncertainty)
    smooth = tie_means(uncertainty, error)[np.argsort(uncertainty, kind="stable")]
    count = np.arange(1, error.size + 1)
    return count / error.size, np.cumsum(smooth) / count


def aurc(error: np.ndarray, uncertainty: np.ndarray) -> float:
    """Area under the risk-coverage curve: mean of the risk over all shares; arguments and errors as `risk_coverage`.

    The mean error itself if the uncertainty says nothing about errors; lower if errors lie where doubt is.
    """
    return float(risk_coverage(error, uncertainty)[1].mean())


def r_auroc(wrong: np.ndarray, uncertainty: np.ndarray) -> float:
    """Probability that a wrong sample is less sure than a right one: 0.5 is chance, 1 finds every error.

    Parameters
    ----------
    wrong : numpy.ndarray, shape (N,), bool or 0 / 1
        True where the answer was wrong; NaN = unknown, left out.
    uncertainty : numpy.ndarray, shape (N,)
        Larger is less sure.

    Returns
    -------
    float
        NaN if all are right or all wrong: there is nothing to tell apart.

    Raises
    ------
    ShapeMismatch, NothingObserved
        As `risk_coverage`.
    InvalidOption
        ``wrong`` holds something else than 0, 1 and NaN, or an uncertainty is NaN where ``wrong`` is known.

    Notes
    -----
    With retrieval's first hit as right or wrong it is the R-AUROC of Kirchhof et al. 2023 (URL benchmark).
    """
    from sklearn.metrics import roc_auc_score

    wrong, uncertainty = _known(wrong, uncertainty)
    found = np.unique(wrong)
    if not np.isin(found, (0, 1)).all():
        raise InvalidOption(f"wrong holds {found[:5]}; give True or False per sample, for instance error > threshold.")
    return float(roc_auc_score(wrong, uncertainty)) if found.size == 2 else float("nan")


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    groups: np.ndarray | None = None,
    level: float = 0.95,
    draws: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic.

    Parameters
    ----------
    statistic : callable
        Takes arrays like ``arrays`` and returns one number.
    *arrays : numpy.ndarray, shape (N, ...)
        Resampled together along their first axis.
    groups : numpy.ndarray, shape (N,), optional
        Whole groups (blocks, places) are drawn, as pixels of one group err together; without it, single samples.
    level : float
        Share of the draws inside the interval, 0..1.
    draws, seed : int

    Returns
    -------
    low, high : float
        Draws for which the statistic is NaN are left out; NaN if it is NaN for all.

    Raises
    ------
    ShapeMismatch
        No array, or arrays and groups of different lengths, or of length 0.

    Examples
    --------
    >>> low, high = bootstrap_interval(np.mean, np.arange(101.0))
    >>> 40 < low < 50 < high < 60
    True
    """
    lengths = [len(a) for a in arrays] + ([] if groups is None else [len(groups)])
    if not arrays or len(set(lengths)) > 1 or not lengths[0]:
        raise ShapeMismatch(
            f"Arrays and groups have lengths {lengths}; give at least one array, all of one length >= 1."
        )
    rng = np.random.default_rng(seed)
    unit = np.arange(lengths[0]) if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    members = np.split(np.argsort(unit, kind="stable"), np.cumsum(np.bincount(unit))[:-1])
    values = np.empty(draws)
    for i in range(draws):
        pick = np.concatenate([members[j] for j in rng.integers(0, len(members), len(members))])
        values[i] = statistic(*(a[pick] for a in arrays))
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def tie_means(key: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (N,), each replaced by the mean of those that have the same key (N,), so that order cannot matter."""
    _, tie = np.unique(key, return_inverse=True)
    tie = tie.ravel()
    return (np.bincount(tie, values) / np.bincount(tie))[tie]


def _known(error: np.ndarray, uncertainty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64, without the samples whose error is unknown."""
    error, uncertainty = np.asarray(error), np.asarray(uncertainty)
    if error.ndim != 1 or error.shape != uncertainty.shape:
        raise ShapeMismatch(
            f"The error has shape {error.shape} and the uncertainty {uncertainty.shape}; both must be (N,). "
            "Sum over dimensions first, for instance variance.sum(axis=1)."
        )
    error, uncertainty = error.astype(np.float64), uncertainty.astype(np.float64)
    known = ~np.isnan(error)
    if not known.any():
        raise NothingObserved("No error is known, so the uncertainty cannot be judged. Give some truth.")
    error, uncertainty = error[known], uncertainty[known]
    if np.isnan(uncertainty).any():
        raise InvalidOption(
            f"{int(np.isnan(uncertainty).sum())} uncertainties are NaN where the error is known; "
            "set the error to NaN there, or give the prior's uncertainty."
        )
    return error, uncertainty
