from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from georeset_lab.embed.probing import metrics
from georeset_lab.errors import ShapeMismatch


def calibrated(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the very probabilities that are given."""
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.ones(k), size=n)
    y = (proba.cumsum(axis=1) > rng.random(n)[:, None]).argmax(axis=1)
    return y, proba


def test_scores_equal_small_numbers_worked_by_hand():
    y = np.array([0, 0, 1, 1])
    proba = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    got = metrics.scores(y, proba)
    assert got["balanced_accuracy"] == pytest.approx(0.75)
    assert got["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert got["nll"] == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean())
    assert got["brier"] == pytest.approx(2 * (0.01 + 0.36 + 0.04 + 0.09) / 4)
    # Most confident first: right, right, right, wrong.
    assert got["aurc"] == pytest.approx((0 + 0 + 0 + 1 / 4) / 4)
    # Four samples are four bins: |1-.9|, |0-.6|, |1-.8|, |1-.7|.
    assert got["ece"] == pytest.approx((0.1 + 0.6 + 0.2 + 0.3) / 4)


def test_a_class_that_does_not_occur_does_not_lower_balanced_accuracy():
    y, guess = np.array([0, 0, 2]), np.array([0, 1, 2])
    assert metrics.balanced_accuracy(y, guess) == pytest.approx((0.5 + 1.0) / 2)
    assert metrics.macro_f1(y, guess) == pytest.approx((2 / 3 + 1.0) / 2)


def test_ece_is_small_when_calibrated_and_the_planted_gap_when_not():
    y, proba = calibrated(20_000, 4)
    assert metrics.ece(y, proba) < 0.015
    rng = np.random.default_rng(1)
    y = (rng.random(20_000) < 0.3).astype(int)  # says 0.9, is right 0.7 of the time
    assert metrics.ece(y, np.tile([0.9, 0.1], (20_000, 1))) == pytest.approx(0.2, abs=0.01)


def test_ece_interval_covers_the_ece_and_is_wider_when_groups_err_together():
    y, proba = calibrated(600, 3)
    low, high = metrics.ece_interval(y, proba, seed=1)
    assert low < metrics.ece(y, proba) < high + 0.05
    groups = np.repeat(np.arange(6), 100)
    y = np.where(groups < 3, proba.argmax(axis=1), (proba.argmax(axis=1) + 1) % 3)
    by_pixel, by_group = metrics.ece_interval(y, proba), metrics.ece_interval(y, proba, groups=groups)
    assert by_group[1] - by_group[0] > 2 * (by_pixel[1] - by_pixel[0])


def test_aurc_is_low_when_doubt_is_where_the_errors_are():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 4000)
    wrong = rng.random(4000) > confidence
    proba = np.stack([confidence, 1 - confidence], axis=1)
    informed = metrics.aurc(wrong.astype(int), proba)
    uninformed = metrics.aurc(wrong.astype(int), np.tile([0.75, 0.25], (4000, 1)))
    assert informed < 0.6 * uninformed
    assert uninformed == pytest.approx(wrong.mean(), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.integers(2, 6), st.integers(0, 2**31))
def test_no_score_depends_on_the_order_of_samples(n, k, seed):
    y, proba = calibrated(n, k, seed)
    order = np.random.default_rng(seed).permutation(n)
    before, after = metrics.scores(y, proba), metrics.scores(y[order], proba[order])
    assert after == pytest.approx(before, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 2**31))
def test_scores_stay_in_their_ranges(n, k, seed):
    got = metrics.scores(*calibrated(n, k, seed))
    for name in ("balanced_accuracy", "macro_f1", "ece", "aurc"):
        assert 0 <= got[name] <= 1
    assert 0 <= got["brier"] <= 2
    assert got["nll"] >= 0


def test_wrong_shapes_are_refused():
    with pytest.raises(ShapeMismatch, match=r"must be \(N,\) and \(N, K\)"):
        metrics.nll(np.zeros(3, int), np.full((2, 2), 0.5))
    with pytest.raises(ShapeMismatch, match="codes 0 to 2"):
        metrics.ece(np.array([0, 2]), np.full((2, 2), 0.5))
