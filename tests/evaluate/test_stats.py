from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from georeset_lab.evaluate.stats import Interval, interval


def test_one_row_of_draws_gives_the_t_interval():
    x = np.random.default_rng(0).normal(0.6, 0.1, 20)
    found = interval(x[None])
    assert found.mean == pytest.approx(x.mean())
    assert found.half == pytest.approx(t.ppf(0.975, 19) * x.std(ddof=1) / np.sqrt(20))


def test_seed_spread_dominates_when_seeds_differ_most():
    rng = np.random.default_rng(0)
    seeds = np.array([0.5, 0.6, 0.7])
    found = interval(seeds[:, None] + rng.normal(0, 1e-4, (3, 20)))
    assert found.half == pytest.approx(t.ppf(0.975, 2) * seeds.std(ddof=1) / np.sqrt(3), rel=0.02)


def test_draw_spread_dominates_when_draws_differ_most():
    rng = np.random.default_rng(0)
    draws = rng.normal(0.6, 0.05, 20)
    found = interval(draws[None] + rng.normal(0, 1e-5, (3, 20)))
    assert found.half == pytest.approx(t.ppf(0.975, 19) * draws.std(ddof=1) / np.sqrt(20), rel=0.02)


def test_the_crossed_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        x = 0.02 * rng.normal(size=(3, 1)) + 0.03 * rng.normal(size=(1, 20)) + 0.02 * rng.normal(size=(3, 20))
        found = interval(x)
        hits += abs(found.mean) <= found.half
    assert 920 <= hits <= 990


def test_a_single_value_has_no_interval_and_says_nothing():
    found = interval(np.array([[0.5]]))
    assert np.isnan(found.half)
    assert not found.settled
    assert found.text() == ".500"


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (Interval(0.6124, 0.0131), False, ".612 ±.013"),
        (Interval(-0.05, 0.2), True, "-.050 ±.200"),
        (Interval(0.05, 0.01), True, "+.050 ±.010"),
        (Interval(1.0, 0.0), False, "1.000 ±.000"),
    ],
)
def test_text_is_short(value, sign, text):
    assert value.text(sign=sign) == text


def test_settled_means_zero_is_outside():
    assert Interval(0.05, 0.04).settled
    assert not Interval(-0.03, 0.04).settled
