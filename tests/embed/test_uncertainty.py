"""Is the variance right: planted Gaussians whose variance is right, wrong by a known factor, or says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from georeset_lab.embed.probing import metrics
from georeset_lab.embed.uncertainty import (
    aurc,
    bootstrap_interval,
    calibration,
    fit_scale,
    r_auroc,
    recalibrate,
    risk_coverage,
)
from georeset_lab.errors import InvalidOption, NothingObserved, ShapeMismatch


def planted(n: int = 6000, dim: int = 6, factor: float = 1.0, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Mean, variance and truth (N, D); the squared error is ``factor`` times the variance in the mean."""
    rng = np.random.default_rng(seed)
    # Whole samples are more or less sure, as under cloud, and so are dimensions.
    variance = np.clip(rng.uniform(0.02, 0.6, (n, 1)) * rng.uniform(0.5, 1.6, (1, dim)), 1e-3, 1)
    mean = rng.normal(size=(n, dim))
    return mean, variance, mean + np.sqrt(factor * variance) * rng.normal(size=(n, dim))


# -- calibration ------------------------------------------------------------------------------------------------------


def test_a_right_variance_has_slope_one_and_the_least_likelihood_loss() -> None:
    mean, variance, truth = planted()
    got = calibration(mean, variance, truth)
    assert 0.95 < got.pooled.slope < 1.05
    assert all(0.9 < d.slope < 1.1 for d in got.dims)
    np.testing.assert_allclose(got.pooled.realised, got.pooled.predicted, rtol=0.12)
    assert got.pooled.ratio == pytest.approx(got.pooled.ratio_predicted, rel=0.15)
    assert got.pooled.ratio > 10
    assert got.spearman > 0.5
    for wrong in (0.6, 0.8, 1.25, 1.6):
        assert calibration(mean, variance * wrong, truth).pooled.nll > got.pooled.nll


@pytest.mark.parametrize("factor", [0.1, 0.5, 3.0, 20.0])
def test_over_and_under_confidence_are_found_by_their_factor(factor: float) -> None:
    mean, variance, truth = planted(factor=factor)
    assert calibration(mean, variance, truth).pooled.slope == pytest.approx(factor, rel=0.05)
    scale = fit_scale(mean, variance, truth)
    assert scale == pytest.approx(factor, rel=0.05)
    other = planted(factor=factor, seed=1)  # another place
    mended = calibration(other[0], recalibrate(other[1], scale), other[2])
    assert 0.95 < mended.pooled.slope < 1.05
    assert mended.pooled.nll < calibration(*other).pooled.nll
    assert mended.spearman == pytest.approx(calibration(*other).spearman)


def test_the_fitted_scale_is_the_most_likely_one() -> None:
    mean, variance, truth = planted(n=300, factor=2.0)
    best = fit_scale(mean, variance, truth)
    loss = [calibration(mean, variance * s, truth).pooled.nll for s in (best, 0.99 * best, 1.01 * best)]
    assert loss[0] < min(loss[1:])


def test_shuffled_variances_are_found_to_say_nothing() -> None:
    mean, variance, truth = planted(dim=1)
    shuffled = np.random.default_rng(5).permutation(variance)
    got = calibration(mean, shuffled, truth)
    assert got.pooled.ratio == pytest.approx(1.0, abs=0.2)
    assert got.pooled.ratio_predicted > 10
    assert abs(got.spearman) < 0.04
    error = (mean - truth)[:, 0] ** 2
    wrong = error > np.median(error)
    assert r_auroc(wrong, shuffled[:, 0]) == pytest.approx(0.5, abs=0.03)
    assert r_auroc(wrong, variance[:, 0]) > 0.65


def test_a_dimension_that_lies_is_seen_beside_right_ones() -> None:
    mean, variance, truth = planted(dim=3)
    variance[:, 1] /= 4
    slopes = [d.slope for d in calibration(mean, variance, truth).dims]
    assert slopes == pytest.approx([1, 4, 1], rel=0.1)


def test_unknown_truth_is_left_out() -> None:
    mean, variance, truth = planted(n=400, dim=3)
    hidden = truth.copy()
    hidden[::3, 0] = hidden[5] = np.nan
    hidden[:, 2] = np.nan
    wild_mean, wild = mean.copy(), variance.copy()
    wild_mean[::3, 0], wild[5] = np.inf, np.nan  # never looked at
    got = calibration(wild_mean, wild, hidden)
    keep = np.setdiff1d(np.arange(400), [*range(0, 400, 3), 5])
    alone = calibration(mean[keep, :1], variance[keep, :1], truth[keep, :1])
    assert got.dims[0].slope == pytest.approx(alone.pooled.slope)
    assert got.dims[0].nll == pytest.approx(alone.pooled.nll)
    assert got.samples == 399
    assert np.isnan(got.dims[2].slope)
    assert got.dims[2].count.size == 0
    assert got.pooled.count.sum() == got.dims[0].count.sum() + got.dims[1].count.sum()
    assert fit_scale(wild_mean, wild, hidden) == pytest.approx(np.nanmean((mean - hidden) ** 2 / variance))


def test_the_reliability_curve_is_that_of_a_slow_loop() -> None:
    mean, variance, truth = planted(n=57, dim=1, seed=3)
    variance[10:14] = variance[10]  # ties
    pairs = sorted(
        (float(v), float((m - t) ** 2)) for m, v, t in zip(mean[:, 0], variance[:, 0], truth[:, 0], strict=True)
    )
    tie = variance[10, 0]
    shared = np.mean([e for v, e in pairs if v == tie])
    pairs = [(v, shared if v == tie else e) for v, e in pairs]
    sizes = [6] * 7 + [5] * 3
    got = calibration(mean, variance, truth).pooled
    assert got.count.tolist() == sizes
    at, slope = 0, 0.0
    for i, size in enumerate(sizes):
        part = pairs[at : at + size]
        at += size
        predicted, realised = sum(v for v, _ in part) / size, sum(e for _, e in part) / size
        assert got.predicted[i] == pytest.approx(predicted)
        assert got.realised[i] == pytest.approx(realised)
        slope += size * realised / predicted / 57
    assert got.slope == pytest.approx(slope)
    assert got.ratio == pytest.approx(sum(e for _, e in pairs[-5:]) / sum(e for _, e in pairs[:5]))
    nll = np.mean([0.5 * np.log(2 * np.pi * v) + e / v / 2 for v, e in pairs])
    assert got.nll == pytest.approx(nll)


def test_a_constant_variance_tells_nothing_apart() -> None:
    mean, _, truth = planted(n=100, dim=2)
    got = calibration(mean, np.ones_like(mean), truth)
    assert got.pooled.ratio == pytest.approx(1.0)
    assert np.isnan(got.spearman)


def test_a_calibration_prints_one_small_table() -> None:
    got = calibration(*planted(n=200, dim=4))
    lines = str(got).splitlines()
    assert lines[0].startswith("Calibration: 200 samples, 4 dimensions, 800 known values; Spearman")
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "slope (1 = calibrated)", "error, top / bottom tenth", "predicted, top / bottom tenth", "negative log-likelihood",
    ]  # fmt: skip
    assert max(map(len, lines)) <= 100
    html = got._repr_html_()
    assert html.count("<tr>") == 5
    assert f"{got.pooled.slope:.3g}" in html
    one = calibration(
        *planted(n=200, dim=2)[:2], np.stack([np.full(200, np.nan), planted(n=200, dim=2)[2][:, 1]], axis=1)
    )
    assert "nan" not in str(one)  # a dimension without truth does not spoil the table


@pytest.mark.parametrize("call", [calibration, fit_scale])
def test_wrong_shapes_and_numbers_are_refused(call: object) -> None:
    ones = np.ones((4, 3))
    with pytest.raises(
        ShapeMismatch, match=r"mean \(4, 3\), variance \(4, 2\), truth \(4, 3\); all three must be \(N, D\)"
    ):
        call(ones, ones[:, :2], ones)
    with pytest.raises(ShapeMismatch, match=r"truth \(4,\).* as values\[:, None\]"):
        call(ones[:, 0], ones[:, 0], ones[:, 0])
    with pytest.raises(NothingObserved, match="No truth is known"):
        call(ones, ones, ones * np.nan)
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InvalidOption, match="3 values with known truth"):
            call(ones, np.where(np.arange(4)[:, None] == 1, bad, ones), ones)
    with pytest.raises(InvalidOption, match="at least one bin"):
        calibration(ones, ones, ones, bins=0)


# -- scale ------------------------------------------------------------------------------------------------------------


def test_a_scale_never_changes_ranks_and_the_cap_keeps_the_prior() -> None:
    variance = np.random.default_rng(0).uniform(1e-3, 1, (50, 4)).astype(np.float32)
    for scale in (0.2, 7.0):
        out = recalibrate(variance, scale)
        assert out.dtype == np.float32
        np.testing.assert_array_equal(np.argsort(out, axis=None), np.argsort(variance, axis=None))
        capped = recalibrate(variance, scale, prior=1.0)
        assert capped.max() <= 1
        order = np.argsort(variance, axis=None)
        assert (np.diff(capped.ravel()[order]) >= 0).all()
        np.testing.assert_array_equal(capped, np.minimum(out, 1))
    for bad in (0.0, -2.0, np.nan, np.inf):
        with pytest.raises(InvalidOption, match="number above 0"):
            recalibrate(variance, bad)
    with pytest.raises(InvalidOption, match="prior=0"):
        recalibrate(variance, 1.0, prior=0.0)


# -- risk -------------------------------------------------------------------------------------------------------------


def test_risk_and_coverage_are_those_of_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    error, doubt = rng.random(40), rng.random(40)
    error[7] = np.nan
    coverage, risk = risk_coverage(error, doubt)
    pairs = sorted((u, e) for e, u in zip(error, doubt, strict=True) if not np.isnan(e))
    for k in range(1, 40):
        assert coverage[k - 1] == pytest.approx(k / 39)
        assert risk[k - 1] == pytest.approx(sum(e for _, e in pairs[:k]) / k)
    assert aurc(error, doubt) == pytest.approx(risk.mean())


def test_aurc_is_the_mean_error_without_information_and_that_of_metrics_for_classes() -> None:
    rng = np.random.default_rng(1)
    error = rng.random(500)
    assert aurc(error, np.ones(500)) == pytest.approx(error.mean())
    assert aurc(error, error) < aurc(error, rng.random(500)) < aurc(error, -error)
    proba = rng.dirichlet(np.ones(3), 200)
    y = rng.integers(0, 3, 200)
    assert metrics.aurc(y, proba) == pytest.approx(aurc(proba.argmax(axis=1) != y, 1 - proba.max(axis=1)))


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 60), st.integers(0, 2**31))
def test_no_score_depends_on_order_or_on_the_units_of_the_doubt(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    doubt, error = rng.integers(1, 6, n).astype(float), rng.random(n)
    wrong = error > np.median(error)
    p = rng.permutation(n)
    assert aurc(error[p], doubt[p]) == pytest.approx(aurc(error, doubt), abs=1e-12)
    assert aurc(error, np.exp(doubt)) == pytest.approx(aurc(error, doubt), abs=1e-12)
    assert r_auroc(wrong[p], doubt[p] ** 3) == pytest.approx(r_auroc(wrong, doubt), abs=1e-12)
    first, second = (calibration(np.zeros((n, 1)), doubt[q, None], error[q, None]) for q in (np.arange(n), p))
    for name in ("slope", "ratio", "nll"):
        assert getattr(second.pooled, name) == pytest.approx(getattr(first.pooled, name), abs=1e-9)


def test_r_auroc_counts_pairs_and_is_nan_if_there_is_nothing_to_tell_apart() -> None:
    wrong, doubt = np.array([True, False, True, False, False]), np.array([0.9, 0.1, 0.4, 0.4, 0.7])
    pairs = [(w > r) + 0.5 * (w == r) for w in doubt[wrong] for r in doubt[~wrong]]
    assert r_auroc(wrong, doubt) == pytest.approx(np.mean(pairs))
    assert r_auroc(np.array([1, np.nan, 0.0]), np.array([2.0, np.nan, 1.0])) == 1
    assert np.isnan(r_auroc(np.zeros(3, bool), doubt[:3]))
    with pytest.raises(InvalidOption, match="True or False per sample"):
        r_auroc(np.array([0.2, 1.0]), doubt[:2])


@pytest.mark.parametrize("call", [risk_coverage, aurc, r_auroc])
def test_wrong_errors_and_doubts_are_refused(call: object) -> None:
    with pytest.raises(
        ShapeMismatch, match=r"error has shape \(3,\) and the uncertainty \(3, 2\); both must be \(N,\)"
    ):
        call(np.zeros(3), np.zeros((3, 2)))
    with pytest.raises(NothingObserved, match="No error is known"):
        call(np.full(3, np.nan), np.zeros(3))
    with pytest.raises(InvalidOption, match="1 uncertainties are NaN"):
        call(np.zeros(3), np.array([0, np.nan, 1]))


def test_the_bootstrap_interval_covers_and_knows_groups() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)
    low, high = bootstrap_interval(np.mean, values, draws=400)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.2)
    assert (low, high) == bootstrap_interval(np.mean, values, draws=400)
    groups = np.repeat(np.arange(10), 40)
    together = values + 2 * rng.normal(size=10)[groups]
    wide = bootstrap_interval(np.mean, together, groups=groups)
    narrow = bootstrap_interval(np.mean, together)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])
    # Rows of several arrays stay together.
    assert bootstrap_interval(lambda a, b: float(np.abs(a - b).max()), values, values.copy()) == (0, 0)
    assert np.isnan(bootstrap_interval(lambda a: float("nan"), values)).all()
    with pytest.raises(ShapeMismatch, match=r"lengths \[400, 3\]"):
        bootstrap_interval(np.mean, values, groups=np.arange(3))
    with pytest.raises(ShapeMismatch, match="at least one array"):
        bootstrap_interval(np.mean)
