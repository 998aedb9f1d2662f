from __future__ import annotations

import json
from itertools import pairwise

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Calibration, Modality
from georeset_lab.data.scene import Scene
from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.embed.probe import Probe, fit_probe
from georeset_lab.embed.probing import fit as probe_fit
from georeset_lab.embed.probing.cv import LOOK_WEIGHT, Features, cross_fit
from georeset_lab.embed.probing.data import gather_alone
from georeset_lab.embed.probing.fit import fit_linear, fit_temperature, softmax
from georeset_lab.embed.probing.solver import solve
from georeset_lab.errors import (
    CheckpointError,
    InvalidOption,
    LabelError,
    ModelMismatch,
    NothingObserved,
    ShapeMismatch,
)

SIDE, DIM = 72, 6
NAMES = ("lac", "forêt", "ville 🏙")


def grid_of(shape: tuple[int, int] = (SIDE, SIDE)) -> GeoBox:
    box = (600_000, 5_700_000 - 10 * shape[0], 600_000 + 10 * shape[1], 5_700_000)
    return GeoBox.from_bbox(box, "EPSG:32719", resolution=10)


def build(
    mean: np.ndarray, var: np.ndarray | float = 0.1, *, scene: Scene | None = None, model: str = "m1"
) -> Embeddings:
    var = np.broadcast_to(np.asarray(var, np.float64), mean.shape)
    eta = np.where(var == 1, 0, mean / var).astype("f4")
    attrs = {"model": "toy", "model_hash": model}
    return Embeddings(
        {"s2": Expert(eta, (1 / var - 1).astype("f4"))}, grid_of(mean.shape[:2]), attrs=attrs, scene=scene
    )


def planted(seed: int = 0, noise: float = 0.5) -> tuple[Embeddings, np.ndarray]:
    """Blocks of 12 x 12 pixels of three classes, each with its own direction."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.permutation(np.arange(36) % 3).reshape(6, 6), np.ones((12, 12), int))
    directions = np.random.default_rng(1).normal(size=(3, DIM))
    return build(directions[truth] + noise * rng.normal(size=(SIDE, SIDE, DIM))), truth


def as_raster(truth: np.ndarray) -> xr.DataArray:
    grid = grid_of(truth.shape)
    coords = dict(xr_coords(grid, always_yx=True))
    names = {i + 1: name for i, name in enumerate(NAMES)}
    return xr.DataArray(truth + 1, dims=("y", "x"), coords=coords, attrs={"classes": names})


def as_points(truth: np.ndarray, step: int = 7) -> gpd.GeoDataFrame:
    rows, cols = (a.ravel() for a in np.mgrid[2 : truth.shape[0] : step, 3 : truth.shape[1] : step])
    points = [shapely.Point(grid_of(truth.shape).affine * (c + 0.5, r + 0.5)) for r, c in zip(rows, cols, strict=True)]
    return gpd.GeoDataFrame(
        {"label": [NAMES[truth[r, c]] for r, c in zip(rows, cols, strict=True)]}, geometry=points, crs="EPSG:32719"
    )


def two_sensors(seed: int = 0) -> tuple[Embeddings, np.ndarray]:
    """The planted classes as a sure sensor sees them in half of the dimensions, and an unsure one in the others."""
    emb, truth = planted(seed, noise=0.3)
    half = np.arange(DIM) < DIM // 2
    mean = np.asarray(emb.mean.values).transpose(1, 2, 0)
    experts = {}
    for name, sees, var in (("s2", half, 0.1), ("s1", ~half, 0.4)):
        tau = np.where(sees, 1 / var - 1, 0.0) * np.ones_like(mean)
        experts[name] = Expert((tau * mean).astype("f4"), tau.astype("f4"))
    return Embeddings(experts, emb.grid, attrs=dict(emb.attrs)), truth


def test_a_probe_that_saw_each_sensor_alone_holds_when_one_is_gone():
    emb, truth = two_sensors()
    labels, gone = as_points(truth), emb.without("s2")
    whole, partial = (fit_probe(emb, labels, partial=p) for p in (False, True))
    assert partial.score(emb, as_raster(truth)) > whole.score(emb, as_raster(truth)) - 0.01
    assert partial.score(gone, as_raster(truth)) > whole.score(gone, as_raster(truth)) + 0.1


def test_each_sensor_alone_is_fitted_on_and_not_scored():
    emb, truth = two_sensors()
    n = len(as_points(truth))
    assert fit_probe(emb, as_points(truth)).report["labels"].iloc[0] == n
    features = Features.of(np.zeros((n, 2)), partial=[np.ones((n, 2)), np.full((n, 2), 2.0)])
    x, y, weight = features.fitted_on(np.arange(n), np.array([3, 1]))
    assert x[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert y.tolist() == [3, 1, 3, 1, 3, 1]
    assert weight.tolist() == [1, 1] + [LOOK_WEIGHT] * 4
    assert Features.of(np.zeros((n, 2))).fitted_on(np.arange(n))[2] is None


def test_a_sample_of_weight_two_is_two_samples():
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(30, 3)), np.arange(30) % 3, np.where(np.arange(30) < 10, 2.0, 1.0)
    how = {"n_classes": 3, "penalty": 0.3, "center": np.zeros(3), "scale": np.ones(3)}
    once = fit_linear(x, y, weight, **how)
    twice = fit_linear(np.concatenate([x, x[:10]]), np.concatenate([y, y[:10]]), **how)
    np.testing.assert_allclose(once.weights, twice.weights, atol=1e-3)
    w = solve(x, y, weight, n_classes=3, penalty=0.3)
    np.testing.assert_allclose(w[:, :-1], twice.weights, atol=0.01)


def test_planted_classes_are_recovered_from_points():
    emb, truth = planted(noise=0.25)
    result = fit_probe(emb, as_points(truth)).predict(emb)
    names = np.array(result.attrs["classes"])
    assert (names[result["label"].values] == np.array(NAMES)[truth]).mean() > 0.97


def test_the_dataset_says_what_where_and_how_sure():
    emb, truth = planted()
    result = fit_probe(emb, as_points(truth)).predict(emb)
    assert result.odc.geobox == emb.grid
    assert result["probability"].dims == ("class", "y", "x")
    assert sorted(result["class"].values) == sorted(NAMES)
    np.testing.assert_allclose(result["probability"].sum("class"), 1, atol=1e-5)
    p = result["probability"].values.astype(float)
    np.testing.assert_allclose(result["entropy"], -(p * np.log(np.maximum(p, 1e-30))).sum(axis=0), atol=1e-4)
    assert (result["label"].values == p.argmax(axis=0)).all()
    assert result["label"].dtype == np.int16
    assert result.attrs["model_hash"] == "m1"


def test_a_stored_map_is_found_again_where_it_was(tmp_path):
    emb, truth = planted()
    result = fit_probe(emb, as_points(truth)).predict(emb)
    result.to_netcdf(tmp_path / "map.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "map.nc", engine="h5netcdf", decode_coords="all") as again:
        assert again.odc.geobox == emb.grid
        assert list(again.attrs["classes"]) == list(result.attrs["classes"])
        xr.testing.assert_equal(again["probability"].load(), result["probability"])
    result.to_zarr(tmp_path / "map.zarr")
    assert xr.open_zarr(tmp_path / "map.zarr", decode_coords="all").odc.geobox == emb.grid


def test_unobserved_pixels_are_minus_one_and_nan():
    emb, truth = planted()
    mean, var, _ = emb.vectors()
    var = var.reshape(SIDE, SIDE, DIM).copy()
    var[:20, :30] = 1
    emb = build(mean.reshape(SIDE, SIDE, DIM), var)
    probe = fit_probe(emb, as_points(truth))
    result = probe.predict(emb)
    assert (result["label"].values == -1).sum() == 600
    floats = [name for name in result if result[name].dtype == np.float32]
    assert len(floats) == 8
    for name in floats:
        hidden = np.isnan(result[name].values).reshape(-1, SIDE, SIDE)
        assert (hidden == ~emb.observed).all()
    dark = {k: result[k].values[~emb.observed] for k in ("label", "cause", "set_size", "unlike")}
    assert [np.unique(v).tolist() for v in dark.values()] == [[-1], [-1], [0], [False]]
    assert not result["prediction_set"].values[:, ~emb.observed].any()
    assert any("not observed and are left out" in note for note in probe.notes_)


def test_without_variance_it_is_plain_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    for k in (2, 3, 5):
        x = rng.normal(size=(200, 4))
        y = (x @ rng.normal(size=(4, k)) + rng.normal(size=(200, k))).argmax(axis=1)
        features = Features.of(x)
        fit = fit_linear(x, y, n_classes=k, penalty=0.5, center=features.center, scale=features.scale)
        z = (x - x.mean(axis=0)) / x.std(axis=0)
        expected = LogisticRegression(C=0.5, max_iter=1000).fit(z, y).predict_proba(z)
        np.testing.assert_allclose(softmax(fit.logits(x)), expected, atol=1e-4)
        np.testing.assert_allclose(fit.moderated(x, np.zeros_like(x)), fit.logits(x), atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(0, 3), st.floats(0.01, 3))
def test_input_variance_grows_with_the_variance_of_any_dimension(seed, k, d, more):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 4))
    y = np.arange(40) % k
    features = Features.of(x)
    fit = fit_linear(x, y, n_classes=k, penalty=1.0, center=features.center, scale=features.scale)
    variance = rng.uniform(0, 1, size=(7, 4))
    raised = variance.copy()
    raised[:, d] += more
    assert (fit.input_variance(raised) >= fit.input_variance(variance)).all()
    assert fit.input_variance(raised).sum() > fit.input_variance(variance).sum()
    expected = ((fit.weights / fit.scale) ** 2 * variance[3]).sum(axis=1)
    np.testing.assert_allclose(fit.input_variance(variance)[3], expected)


def test_two_classes_are_moderated_by_mackays_formula():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = (x[:, 0] + 0.5 * rng.normal(size=60) > 0).astype(int)
    f = Features.of(x)
    fit = fit_linear(x, y, n_classes=2, penalty=1.0, center=f.center, scale=f.scale)
    variance = rng.uniform(0.1, 2, size=(60, 3))
    w = (fit.weights[1] - fit.weights[0]) / fit.scale
    logit = fit.logits(x)[:, 1] - fit.logits(x)[:, 0]
    expected = 1 / (1 + np.exp(-logit / np.sqrt(1 + np.pi / 8 * (variance @ w**2))))
    np.testing.assert_allclose(softmax(fit.moderated(x, variance))[:, 1], expected, rtol=1e-9)


def test_moderation_is_close_to_the_mean_over_draws_of_the_input():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    y = (x[:, :3] + 0.3 * rng.normal(size=(300, 3))).argmax(axis=1)
    f = Features.of(x)
    fit = fit_linear(x, y, n_classes=3, penalty=1.0, center=f.center, scale=f.scale)
    variance = rng.uniform(0, 0.5, size=(300, 4))
    draws = [softmax(fit.logits(x + np.sqrt(variance) * rng.normal(size=x.shape))) for _ in range(400)]
    truth = np.mean(draws, axis=0)
    moderated, plain = softmax(fit.moderated(x, variance)), softmax(fit.logits(x))
    assert np.abs(moderated - truth).mean() < 0.02
    assert np.abs(moderated - truth).mean() < 0.5 * np.abs(plain - truth).mean()


@pytest.mark.parametrize("k", [2, 3])
def test_weight_variance_is_the_inverse_hessian_of_the_penalised_loss(k):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 2))
    y = np.arange(30) % k
    f = Features.of(x)
    fit = fit_linear(x, y, n_classes=k, penalty=0.7, center=f.center, scale=f.scale).with_spread(x)
    z = np.concatenate([fit.standardise(x), np.ones((30, 1))], axis=1)
    p = softmax(fit.logits(x))
    # The full Hessian over all K classes, with a stiff spring on what changes no probability.
    h = np.zeros((k * 3, k * 3))
    for zi, pi in zip(z, p, strict=True):
        h += np.kron(np.diag(pi) - np.outer(pi, pi), np.outer(zi, zi))
    h += np.kron(np.eye(k), np.diag([(2 if k == 2 else 1) / 0.7] * 2 + [1e-2]))
    h += 1e9 * np.kron(np.ones((k, k)), np.eye(3))
    sigma = np.linalg.inv(h).reshape(k, 3, k, 3)
    expected = np.stack([np.einsum("ni,ij,nj->n", z, sigma[c, :, c, :], z) for c in range(k)], axis=1)
    np.testing.assert_allclose(fit.weight_variance(x), expected, rtol=1e-4)


def test_weight_variance_falls_as_nested_label_sets_grow():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 5))
    y = (x[:, :3] + rng.normal(size=(800, 3))).argmax(axis=1)
    f = Features.of(x)
    means = []
    for n in (20, 50, 200, 800):
        fit = fit_linear(x[:n], y[:n], n_classes=3, penalty=1.0, center=f.center, scale=f.scale).with_spread(x[:n])
        means.append(fit.weight_variance(x).mean())
    assert all(a > b for a, b in pairwise(means))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 20))
def test_a_temperature_keeps_the_argmax(seed, temperature):
    logits = np.random.default_rng(seed).normal(size=(50, 4))
    assert (softmax(logits / temperature).argmax(axis=1) == logits.argmax(axis=1)).all()


def test_moderation_changes_how_sure_but_not_which():
    emb, truth = planted(noise=1.5)
    probe = fit_probe(emb, as_points(truth))
    plain, full = probe.predict(emb, uncertainty=False), probe.predict(emb)
    np.testing.assert_array_equal(plain["label"], full["label"])
    np.testing.assert_allclose(full["confidence"], full["probability"].max("class"), atol=1e-6)
    doubts = {"doubt_sensor", "doubt_labels", "doubt_overlap", "cause", "input_uncertainty", "weight_uncertainty"}
    assert set(full) - set(plain) == doubts | {"prediction_set", "set_size", "unlike"}


def test_sets_doubts_and_unlike_lie_on_the_map():
    emb, truth = planted(noise=1.0)
    probe = fit_probe(emb, as_points(truth))
    result = probe.predict(emb)
    parts = sum(result[f"doubt_{part}"] for part in ("sensor", "labels", "overlap"))
    np.testing.assert_allclose(parts, 1 - result["confidence"], atol=1e-5)
    sets, label = result["prediction_set"].values, result["label"].values
    assert sets.dtype == bool
    np.testing.assert_array_equal(sets.sum(axis=0), result["set_size"])
    assert np.take_along_axis(sets, label[None].astype(int), axis=0).all()
    names = np.array(result.attrs["classes"])
    code = np.searchsorted(names, np.array(NAMES))[truth]
    assert np.take_along_axis(sets, code[None], axis=0).mean() == pytest.approx(0.92, abs=0.06)
    assert (
        result.attrs["sets"]
        == probe.set_note_
        == "prediction sets hold the true class in 90% of the places of each class"
    )
    assert probe.set_note_ in probe.notes_
    assert result["cause"].attrs["classes"][1] == "too few labels"
    assert len(result["cause"].attrs["flag_meanings"].split()) == 3
    assert result["unlike"].values.mean() == pytest.approx(0.05, abs=0.04)
    mean, variance, _ = emb.vectors()
    expected = probe.prediction_sets(mean, variance).reshape(*emb.shape, 3).transpose(2, 0, 1)
    assert (sets == expected).mean() > 0.9999  # single against double precision


def test_a_place_unlike_any_label_is_said_to_be():
    emb, truth = planted()
    mean = emb.vectors()[0].reshape(SIDE, SIDE, DIM).copy()
    mean[-10:] += 5
    unlike = fit_probe(emb, as_points(truth)).predict(build(mean))["unlike"].values
    assert unlike[-10:].all()
    assert unlike[:-10].mean() < 0.15


def test_few_labels_give_one_limit_for_all_then_no_sets():
    emb, truth = planted()
    points = as_points(truth)
    rare = points[(points["label"] != "lac") | (points.groupby("label").cumcount() < 5)]
    probe = fit_probe(emb, rare)
    assert not probe.sets_.by_class
    assert "not of each class: 'lac' below 9 labels" in probe.set_note_
    bare = fit_probe(emb, points.groupby("label").head(2))
    assert bare.sets_ is None
    result = bare.predict(emb)
    assert "prediction_set" not in result
    assert "no prediction sets" in result.attrs["sets"]
    assert np.isnan(bare.report.loc["embedding", "coverage"])
    with pytest.raises(InvalidOption, match="no prediction sets: 6 labels"):
        bare.prediction_sets(emb.vectors()[0])


def test_alpha_is_the_share_that_may_be_missed():
    emb, truth = planted(noise=1.5)
    strict, loose = (fit_probe(emb, as_points(truth), alpha=a) for a in (0.05, 0.3))
    assert float(strict.predict(emb)["set_size"].mean()) > float(loose.predict(emb)["set_size"].mean()) + 0.3
    assert "95%" in strict.set_note_
    with pytest.raises(InvalidOption, match="alpha=0"):
        fit_probe(emb, as_points(truth), alpha=0)


def test_the_report_says_what_the_sets_cover_elsewhere():
    emb, truth = planted(noise=1.5)
    report = fit_probe(emb, as_raster(truth), max_per_class=100).report
    assert report.loc["embedding", "coverage"] == pytest.approx(0.9, abs=0.05)
    assert 1 <= report.loc["embedding", "set_size"] <= 3
    assert report.loc["embedding", "coverage_sd"] > 0


def test_an_unknown_variance_is_unknown_doubt():
    """Published embeddings come without variances."""
    emb, truth = planted(noise=1.0)
    mean = emb.vectors()[0].reshape(SIDE, SIDE, DIM)
    foreign = build(mean)
    foreign.__dict__["_fused"] = (mean, np.full_like(mean, np.nan), np.ones((SIDE, SIDE), bool))
    result = fit_probe(foreign, as_points(truth)).predict(foreign)
    assert result["doubt_sensor"].isnull().all()
    assert result["input_uncertainty"].isnull().all()
    np.testing.assert_allclose(result["doubt_labels"] + result["doubt_overlap"], 1 - result["confidence"], atol=1e-5)
    assert set(np.unique(result["cause"])) <= {1, 2}
    names = np.array(result.attrs["classes"])
    assert (names[result["label"].values] == np.array(NAMES)[truth]).mean() > 0.7


def test_a_spread_that_is_left_out_is_unknown_doubt(monkeypatch):
    """Too many classes and dimensions for the Hessian: what few labels leave open is not known to be nothing."""
    monkeypatch.setattr(probe_fit, "LAPLACE_LIMIT", 1)
    emb, truth = planted(noise=1.0)
    result = fit_probe(emb, as_points(truth)).predict(emb)
    assert result["doubt_labels"].isnull().all()
    assert result["weight_uncertainty"].isnull().all()
    np.testing.assert_allclose(result["doubt_sensor"] + result["doubt_overlap"], 1 - result["confidence"], atol=1e-5)
    assert set(np.unique(result["cause"])) <= {0, 2}


def test_each_sensor_alone_is_read_as_it_would_be_fused_alone(tmp_path):
    emb, _ = two_sensors()
    pixels = np.array([5, 1000, 17, 5183])
    expected = np.stack([emb.only(name).vectors()[0][pixels] for name in emb.modalities])
    np.testing.assert_array_equal(gather_alone(emb, pixels), expected)
    stored = emb.to_zarr(tmp_path / "emb.zarr")
    np.testing.assert_allclose(gather_alone(stored, pixels), expected, atol=1e-6)
    low = emb.astype("int8")
    same = np.stack([low.only(name).vectors()[0][pixels] for name in low.modalities])
    np.testing.assert_array_equal(gather_alone(low, pixels), same)


def test_uniform_noise_of_the_encoder_is_not_counted_twice():
    """The probe was fitted on means that are just as noisy, so its probabilities must not go flat."""
    sure, truth = planted(noise=0.3)
    mean = sure.vectors()[0].reshape(SIDE, SIDE, DIM)
    unsure = build(mean, 0.8)
    for labels in (as_points(truth), as_points(truth).drop_duplicates("label")):
        a, b = (fit_probe(e, labels).predict(e)["entropy"].mean() for e in (build(mean, 0.01), unsure))
        assert float(b) == pytest.approx(float(a), abs=0.15)


def test_temperature_finds_the_planted_one_and_stays_near_one_without_evidence():
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 4))
    y = (softmax(logits).cumsum(axis=1) > rng.random(20_000)[:, None]).argmax(axis=1)
    assert fit_temperature(3 * logits, y) == pytest.approx(3, rel=0.05)
    assert fit_temperature(logits[:0], y[:0]) == 1.0
    assert 0.6 < fit_temperature(10 * np.eye(4)[:2], np.array([0, 1])) <= 1.0


def test_penalty_is_chosen_by_held_out_loss_strong_for_noise_weak_for_signal():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    folds = np.repeat(np.arange(4), 30)
    splits = [(np.flatnonzero(folds != f), np.flatnonzero(folds == f)) for f in range(4)]
    noise = cross_fit(Features.of(rng.normal(size=(120, 30))), y, splits, n_classes=3)
    signal = cross_fit(Features.of(3 * np.eye(3)[y] + 0.3 * rng.normal(size=(120, 3))), y, splits, n_classes=3)
    assert noise.penalty <= 1e-2
    assert signal.penalty >= 10
    assert noise.fold_scores["balanced_accuracy"].mean() < 0.5 < signal.fold_scores["balanced_accuracy"].mean()


def test_held_out_scores_see_through_a_map_that_only_knows_the_place():
    """Embeddings that are nothing but position: a random split would score high, held-out blocks must not."""
    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, 3, (6, 6)), np.ones((12, 12), int))
    waves = [
        np.sin(2 * np.pi * f * np.mgrid[0:SIDE, 0:SIDE][a] / SIDE + p)
        for f in (1, 2, 3, 4, 5)
        for a in (0, 1)
        for p in (0, 1.6)
    ]
    emb = build(np.stack(waves, axis=-1))
    probe = fit_probe(emb, as_raster(truth), block_m=120)
    assert probe.report.loc["embedding", "balanced_accuracy"] < 0.45
    weak = fit_probe(emb, as_raster(truth), block_m=120, penalty=10.0)
    assert weak.score(emb, as_raster(truth)) > 0.55


def scene_of(bands: np.ndarray) -> Scene:
    specs = tuple(BandSpec(f"B{i}", 0.5 + 0.1 * i, 0.02, 10) for i in range(bands.shape[0]))
    raw = xr.DataArray(bands[None], dims=("time", "band", "y", "x"))
    grid = grid_of(bands.shape[1:])
    return Scene({"s2": Modality("s2", raw, specs, grid, Calibration.identity(len(specs)))}, grid.crs)


def test_the_report_has_the_baselines_beside_the_embedding():
    emb, truth = planted(noise=2.0)
    rng = np.random.default_rng(5)
    scene = scene_of((np.stack([truth, truth * 0]) + 0.1 * rng.normal(size=(2, SIDE, SIDE))).astype("f4"))
    probe = fit_probe(emb, as_raster(truth), scene=scene)
    report = probe.report
    assert report.index.tolist() == ["embedding", "raw bands", "raw bands + 5x5 statistics"]
    assert report.loc["raw bands", "balanced_accuracy"] > 0.95 > report.loc["embedding", "balanced_accuracy"]
    for metric in ("balanced_accuracy", "macro_f1", "nll", "ece"):
        assert report[[metric, f"{metric}_sd"]].notna().all(axis=None)
    assert (report["folds"] == 5).all()
    held = build(emb.vectors()[0].reshape(SIDE, SIDE, DIM), scene=scene)
    assert fit_probe(held, as_points(truth)).report.index.tolist() == report.index.tolist()


def test_a_report_without_scene_says_why_it_has_no_baselines():
    emb, truth = planted()
    probe = fit_probe(emb, as_points(truth))
    assert probe.report.index.tolist() == ["embedding"]
    assert "no baseline rows" in " ".join(probe.report.attrs["notes"])


def test_two_clicks_make_a_map_but_no_score():
    emb, truth = planted()
    points = as_points(truth).drop_duplicates("label").iloc[:2]
    probe = fit_probe(emb, points)
    assert 0 < probe.temperature_ <= 1.0  # what the usual noise of the encoder shrinks is given back
    assert np.isnan(probe.report.loc["embedding", "balanced_accuracy"])
    assert any("nothing can be tested" in note for note in probe.notes_)
    assert set(np.unique(probe.predict(emb)["label"])) == {0, 1}


def test_the_same_seed_gives_the_same_probe():
    emb, truth = planted()
    a, b = (fit_probe(emb, as_raster(truth), seed=3, max_per_class=60) for _ in range(2))
    np.testing.assert_array_equal(a.predict(emb)["probability"], b.predict(emb)["probability"])


def test_labels_are_dealt_evenly_over_polygons():
    emb, _ = planted()
    big, small = (
        shapely.box(600_000, 5_699_280, 600_600, 5_700_000),
        shapely.box(600_640, 5_699_500, 600_700, 5_699_560),
    )
    other = shapely.box(600_640, 5_699_300, 600_700, 5_699_400)
    frame = gpd.GeoDataFrame({"label": ["a", "a", "b"]}, geometry=[big, small, other], crs="EPSG:32719")
    probe = fit_probe(emb, frame, max_per_class=60)
    assert probe.provenance_["labels"] == {"a": 60, "b": 60}
    assert any("60 of 4356 labelled pixels of 'a'" in note for note in probe.notes_)


def test_arrays_work_as_in_scikit_learn():
    rng = np.random.default_rng(0)
    y = np.array(["a", "b", "c"])[np.arange(150) % 3]
    x = 2 * np.eye(3)[np.arange(150) % 3] + rng.normal(size=(150, 3))
    probe = Probe().fit(x, y, groups=np.arange(150) // 10)
    assert probe.classes_ == ("a", "b", "c")
    assert probe.score(x, y) == pytest.approx((probe.predict(x) == y).mean(), abs=0.02)
    assert probe.score(x, y) > 0.7
    assert probe.prediction_sets(x)[np.arange(150), np.arange(150) % 3].mean() > 0.85
    np.testing.assert_allclose(probe.predict_proba(x).sum(axis=1), 1)
    with pytest.raises(InvalidOption, match="has no report"):
        _ = probe.report


@pytest.mark.parametrize(("n", "dim"), [(100, 64), (500, 64), (500, 192)])
def test_accuracy_is_not_below_plain_logistic_regression(n, dim):
    """performance.md P10: at most a point below C = 1, on five overlapping classes."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    centres = 0.25 * rng.normal(size=(5, dim))

    def draw(m: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, 5, m)
        return centres[y] + rng.normal(size=(m, dim)), y

    (x, y), (test, truth) = draw(n), draw(5000)
    ours = Probe().fit(x, y, groups=np.arange(n) // 5)
    theirs = LogisticRegression(C=1.0, max_iter=500).fit(x, y)
    assert (ours.predict(test) == truth.astype(str)).mean() >= (theirs.predict(test) == truth).mean() - 0.01


def test_a_saved_probe_is_the_same_probe(tmp_path):
    emb, truth = planted()
    probe = fit_probe(emb, as_points(truth))
    loaded = Probe.load(probe.save(tmp_path / "probe"))
    xr.testing.assert_identical(loaded.predict(emb), probe.predict(emb))
    assert loaded.classes_ == probe.classes_
    assert loaded.report.equals(probe.report)
    assert loaded.provenance_ == probe.provenance_
    assert sorted(p.name for p in (tmp_path / "probe").iterdir()) == ["card.json", "probe.safetensors"]
    probe.save(tmp_path / "probe")  # replaces its own kind
    assert [p.name for p in tmp_path.iterdir()] == ["probe"]


def test_any_flipped_bit_in_a_saved_probe_is_found(tmp_path):
    emb, truth = planted()
    folder = fit_probe(emb, as_points(truth)).save(tmp_path / "probe")
    rng = np.random.default_rng(0)
    for name in ("card.json", "probe.safetensors"):
        good = (folder / name).read_bytes()
        for _ in range(25):
            bad = bytearray(good)
            bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
            (folder / name).write_bytes(bad)
            with pytest.raises(CheckpointError):
                Probe.load(folder)
        (folder / name).write_bytes(good[:-7])
        with pytest.raises(CheckpointError, match=name):
            Probe.load(folder)
        (folder / name).write_bytes(good)
    assert Probe.load(folder).classes_


def test_foreign_folders_are_refused_and_not_overwritten(tmp_path):
    emb, truth = planted()
    probe = fit_probe(emb, as_points(truth))
    with pytest.raises(CheckpointError, match="not a whole folder"):
        Probe.load(tmp_path / "absent")
    (tmp_path / "card.json").write_text(json.dumps({"format": "pickle"}))
    with pytest.raises(CheckpointError, match="not a sealed card"):
        Probe.load(tmp_path)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidOption, match="is not a probe's folder"):
        probe.save(precious)
    assert (precious / "thesis.txt").exists()


def test_embeddings_of_another_model_are_refused_unless_forced():
    emb, truth = planted()
    probe = fit_probe(emb, as_points(truth))
    mean, _, _ = emb.vectors()
    other = build(mean.reshape(SIDE, SIDE, DIM), model="m2")
    with pytest.raises(ModelMismatch, match="model 'm1'; these come from 'm2'"):
        probe.predict(other)
    assert (probe.predict(other, force=True)["label"] >= 0).all()
    with pytest.raises(ShapeMismatch, match="fitted on 6 dimensions, these embeddings have 4"):
        probe.predict(build(mean.reshape(SIDE, SIDE, DIM)[..., :4]))


def test_refusals_name_the_labels():
    emb, truth = planted()
    points = as_points(truth)
    with pytest.raises(LabelError, match="All labels are 'lac'"):
        fit_probe(emb, points[points["label"] == "lac"])
    with pytest.raises(LabelError, match=r"0 of 100 labels touch the scene"):
        fit_probe(emb, points.set_geometry(points.translate(1e5, 0)))
    dark = build(np.zeros((SIDE, SIDE, DIM)), 1.0)
    with pytest.raises(NothingObserved, match="None of the 100 labelled pixels"):
        fit_probe(dark, points)
    with pytest.raises(InvalidOption, match="not fitted yet"):
        Probe().predict(emb)
    with pytest.raises(InvalidOption, match="C must be above zero"):
        Probe(penalty=0)


def test_a_constant_map_gives_a_constant_answer():
    emb, truth = planted()
    probe = fit_probe(emb, as_points(truth))
    result = probe.predict(build(np.tile(np.arange(DIM) / DIM, (40, 40, 1))))
    for name in result:
        values = result[name].values.reshape(-1, 1600).astype(float)
        assert np.ptp(values, axis=1).max() < 1e-6


def test_doubt_of_the_encoder_and_of_the_labels_lie_where_they_were_planted():
    emb, truth = planted()
    probe = fit_probe(emb, as_points(truth))
    mean, var = emb.vectors()[0].reshape(SIDE, SIDE, DIM).copy(), np.full((SIDE, SIDE, DIM), 0.1)
    var[:10] = 0.9
    mean[-10:] += 5  # unlike any label
    result = probe.predict(build(mean, var))
    hazy, plain, odd = (result.isel(y=s) for s in (slice(0, 10), slice(20, 50), slice(-10, None)))
    assert float(hazy["input_uncertainty"].median()) > 2 * float(plain["input_uncertainty"].median())
    assert float(odd["weight_uncertainty"].median()) > 2 * float(plain["weight_uncertainty"].median())
    assert float(hazy["entropy"].median()) > float(plain["entropy"].median())


def test_each_cause_is_named_where_it_was_planted():
    """Haze over the north; a legend with two names for one thing; and few labels, then many."""
    emb, truth = planted(noise=0.2)
    mean, var = emb.vectors()[0].reshape(SIDE, SIDE, DIM), np.full((SIDE, SIDE, DIM), 0.02)
    var[:24] = 0.98
    hazy = build(mean, var)
    labels = as_points(truth)
    causes = fit_probe(hazy, labels, penalty=1.0).predict(hazy)["cause"].values
    assert (causes[:24] == 0).mean() > (causes[30:] == 0).mean() + 0.5
    twins = as_points(truth, step=3)
    rng = np.random.default_rng(0)
    swap = {"lac": "forêt", "forêt": "lac"}
    twins["label"] = [swap.get(n, n) if rng.random() < 0.5 else n for n in twins["label"]]
    sure = build(mean, 0.001)
    result = fit_probe(sure, twins).predict(sure)
    mixed = truth != 2
    assert (result["cause"].values[mixed] == 2).mean() > 0.75
    assert float(result["doubt_overlap"].values[mixed].mean()) > 0.25
    few = fit_probe(sure, labels.groupby("label").head(2), penalty=1.0).predict(sure)
    assert (few["cause"].values == 1).mean() > 0.9


def test_names_of_classes_are_escaped_in_html():
    emb, truth = planted()
    points = as_points(truth).replace({"label": {"lac": "<script>alert(1)</script>"}})
    assert "<script>" not in fit_probe(emb, points)._repr_html_()
