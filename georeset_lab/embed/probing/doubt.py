"""Why a class is in doubt: the chance that it is wrong, shared out among three causes. Arrays only."""

from __future__ import annotations

import numpy as np

__all__ = ["CAUSES", "OVERLAP", "SENSOR", "TOO_FEW", "share_doubt"]

CAUSES = ("the sensor does not see it", "too few labels", "classes overlap")
"""What would help: another sensor or date; more labels; another legend."""
SENSOR, TOO_FEW, OVERLAP = range(3)


def share_doubt(
    logits: np.ndarray, confidence: np.ndarray, input_gap: np.ndarray, weight_gap: np.ndarray, temperature: float
) -> dict[str, np.ndarray]:
    """The chance that the winning class is wrong, as three parts that add up to it, and which part is the largest.

    Parameters
    ----------
    logits : (n, K)
        Of plain logistic regression, less those of the winning class: 0 for it and below for the others.
    confidence : (n,)
        Probability of the winning class, with both variances carried through.
    input_gap : (n,)
        Variance of the distance between two logits due to the encoder; NaN where unknown.
    weight_gap : (n,)
        The same due to few labels; NaN where unknown.
    temperature : float

    Returns
    -------
    dict of (n,) arrays
        ``doubt_sensor``, ``doubt_labels``, ``doubt_overlap``: parts of 1 - confidence, in probability. Where a variance
        is unknown, so is its part (NaN), and the others add up. ``cause`` int8: position in `CAUSES` of the largest; of
        equal ones the last.

    Notes
    -----
    Ours. With both variances 0 the probe would say softmax(logits / T): what doubt it keeps then stays with all the
    information, and is called overlap. The rest came with the variances and is shared in their proportion. So more
    variance of the encoder never lowers its part, and a part without variance is 0. Shapley values of the two (the mean
    over the order in which they are added) differ by 0.003 in the mean over a map (Chile chip of terramind-chips).
    """
    doubt = 1 - confidence
    alone = 1 - 1 / np.exp(logits * logits.dtype.type(1 / temperature)).sum(axis=1)
    extra = np.maximum(doubt - alone, 0)
    of_input, both = np.nan_to_num(input_gap), np.nan_to_num(input_gap) + np.nan_to_num(weight_gap)
    seen = extra * (of_input / np.where(both > 0, both, 1))
    parts = np.stack([seen, extra - seen, doubt - extra])
    return {
        "doubt_sensor": np.where(np.isnan(input_gap), np.nan, parts[SENSOR]).astype(doubt.dtype),
        "doubt_labels": np.where(np.isnan(weight_gap), np.nan, parts[TOO_FEW]).astype(doubt.dtype),
        "doubt_overlap": parts[OVERLAP],
        "cause": (OVERLAP - parts[::-1].argmax(axis=0)).astype(np.int8),
    }
