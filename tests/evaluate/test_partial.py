"""``georeset evaluate partial``: windows, corruption, retrieval, calibration, missing sensors, the run and its report."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from scipy.stats import spearmanr

from georeset_lab.data.simulate import simulate_scene
from georeset_lab.errors import SceneReadError
from georeset_lab.evaluate import calibrate, missing, partial, retrieval, robust
from georeset_lab.evaluate.corrupt import STRENGTHS, corrupt, kinds_for
from georeset_lab.evaluate.rows import Row
from georeset_lab.evaluate.splits import TRAIN, block_ids, checkerboard, make_split
from georeset_lab.evaluate.windows import Windows, _same_bands, real_windows
from georeset_lab.models.checkpoint import make_model
from georeset_lab.models.encoder import EncoderConfig
from georeset_lab.models.fusion import Gaussian, fuse
from georeset_lab.train.crops import View
from georeset_lab.train.loop import untrained
from georeset_lab.train.objectives import encode_view

SMALL = {"latent_dim": 8, "n_local": 6, "width": 16, "depth": 1, "heads": 2, "n_learned": 2, "head_width": 16}
BANDS = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
OPTICAL, RADAR = ("cloud", "haze", "noise", "blur", "bands"), ("interference", "blur")


def simulated_windows(seeds):
    """Four windows of each made-up place, without its clouds."""
    views, grid = {}, np.stack(np.meshgrid(*[np.arange(3, 48, 6)] * 2, indexing="ij"), -1).reshape(-1, 2)
    scenes = [simulate_scene(seed=s, size=(96, 96), modalities=("s2", "s1"), dates=1) for s in seeds]
    n = 4 * len(scenes)
    for name in ("s2", "s1"):
        sources = [_same_bands(replace(scene[name], mask=None)) for scene in scenes]
        parts = [m.read(slice(y, y + 48), slice(x, x + 48), time=0) for m in sources for y in (0, 48) for x in (0, 48)]
        points = np.broadcast_to(grid, (n, *grid.shape)).copy()
        pixels = np.nan_to_num(np.stack(parts)).astype(np.float32)
        views[name] = View(name, pixels, sources[0].bands, 60.0, np.full((n, 1), 180, np.float32), points)
    return Windows(views, np.repeat(np.arange(len(scenes)), 4), tuple(f"place {s}" for s in seeds))


@pytest.fixture(scope="module")
def model():
    return make_model(untrained(EncoderConfig(**SMALL), 0), name="tiny")


@pytest.fixture(scope="module")
def windows():
    return simulated_windows((1, 2))


@pytest.fixture(scope="module")
def others():
    return simulated_windows((3, 4, 5))


@pytest.fixture(scope="module")
def measured(model, windows, others):
    """What the measures that need no real scene say of the tiny encoder, made three times as sure for calibration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "experts", lambda e, v: Gaussian(*(3 * z for z in robust.experts(e, v))))
        calibrated = calibrate.calibrated(model, windows, others)
    return {
        "corruption": robust.corruption(model, windows),
        "retrieval": retrieval.retrieval(model, windows),
        "calibrated": calibrated,
    }


# Windows of real places


@pytest.fixture(scope="module")
def real(shared_data):
    return {role: real_windows(shared_data, role) for role in ("test", "other")}


@pytest.mark.real_data
@pytest.mark.parametrize(("role", "chips", "pairs"), [("test", 2, 3), ("other", 3, 3)])
def test_real_windows_are_whole_and_in_physical_units(real, role, chips, pairs):
    found = real[role]
    n = 16 * chips + 4 * pairs  # 224 x 224 and 120 x 120 pixels
    assert found.views["s2"].pixels.shape == (n, 1, 10, 48, 48)
    assert found.views["s1"].pixels.shape == (n, 1, 2, 48, 48)
    assert [b.name for b in found.views["s2"].bands] == BANDS
    assert [b.polarization for b in found.views["s1"].bands] == ["VV", "VH"]
    np.testing.assert_array_equal(np.bincount(found.place), [16] * chips + [4] * pairs)
    assert len(found.names) == chips + pairs
    for name, (low, high) in {"s2": (0.0, 1.2), "s1": (-35.0, 5.0)}.items():
        view = found.views[name]
        assert np.isfinite(view.pixels).all()
        assert low <= np.percentile(view.pixels, 1) < np.percentile(view.pixels, 99) <= high
        assert view.points.shape == (n, 64, 2)
        assert view.points.min() >= 0
        assert view.points.max() < 48
        assert ((view.day_of_year >= 1) & (view.day_of_year < 367)).all()
    apart = np.abs(found.views["s2"].day_of_year - found.views["s1"].day_of_year)
    assert apart.max() < 7, "both sensors saw the ground in one week"


@pytest.mark.real_data
def test_places_of_the_test_role_are_on_the_list_that_no_weights_may_see(real, shared_data):
    readme = (shared_data / "README.md").read_text(encoding="utf-8")
    forever = re.search(r"\*Test for ever\*(.*?)\*Train\*", readme, re.DOTALL)[1]
    pairs = sorted(p.name for p in (shared_data / "bigearthnet-examples" / "BigEarthNet-S2-Example").iterdir())
    assert "last three pairs by name" in " ".join(forever.split())
    test, other = set(real["test"].names), set(real["other"].names)
    assert all(f"`{name}`" in forever or name in pairs[-3:] for name in test)
    assert not any(name in forever or name in pairs[-3:] for name in other)
    assert not test & other


@pytest.mark.real_data
def test_both_sensors_of_a_window_show_the_ground_it_was_cut_from(real, shared_data):
    found, folder = real["test"], shared_data / "terramind-chips" / real["test"].names[0]
    for name, file, number in (("s2", "S2L2A.tif", 2), ("s1", "S1RTC.tif", 1)):
        with rasterio.open(folder / file) as raster:
            raw = raster.read(number).astype(float)
        for k, (y, x) in {1: (0, 48), 6: (48, 96)}.items():
            mine = found.views[name].pixels[k, 0, 0]
            cut = raw[y : y + 48, x : x + 48]
            assert np.corrcoef(mine.ravel(), cut.ravel())[0, 1] > 0.9999
            assert mine.std() > 0


@pytest.mark.parametrize("role", ["test", "other"])
def test_a_folder_without_the_places_is_refused(tmp_path, role):
    with pytest.raises(SceneReadError, match="holds neither terramind-chips nor bigearthnet-examples"):
        real_windows(tmp_path, role)


# Corruption


def test_experts_do_not_depend_on_how_many_windows_go_at_once(model, windows, monkeypatch):
    view = windows.views["s2"]
    with torch.inference_mode():
        whole = encode_view(model.encoder, view)[0]
    monkeypatch.setattr(robust, "_AT_ONCE", 3)
    found = robust.experts(model.encoder, view)
    assert found.eta.shape == (8, 64, 8)
    torch.testing.assert_close(found.eta.flatten(0, 1), whole.eta, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.tau.flatten(0, 1), whole.tau, atol=1e-4, rtol=1e-4)


def test_corruption_scores_every_kind(model, windows, measured):
    found = measured["corruption"]
    assert list(found) == [f"s2/{k}" for k in OPTICAL] + [f"s1/{k}" for k in RADAR]
    for key, scores in found.items():
        assert set(scores) == {"strength_variance", "variance_error", "by_strength"}
        assert -1 <= scores["strength_variance"] <= 1
        assert -1 <= scores["variance_error"] <= 1
        assert len(scores["by_strength"]) == 1 + len(STRENGTHS)
        assert all(0 < v <= 1 for v in scores["by_strength"])
        clean = robust.experts(model.encoder, windows.views[key.split("/")[0]]).var.mean()
        assert scores["by_strength"][0] == pytest.approx(float(clean), abs=1e-4)
    # Only what is drawn depends on the seed; haze and blur draw nothing.
    again = robust.corruption(model, windows, seed=1)
    assert {k for k in found if again[k] != found[k]} == {"s2/cloud", "s2/noise", "s2/bands", "s1/interference"}


@pytest.mark.parametrize("sign", [1, -1])
def test_an_expert_that_knows_the_damage_is_found_out_and_so_is_its_opposite(windows, monkeypatch, sign):
    """Planted: variance and error both follow how far the pixels are from the clean ones."""

    def oracle(_, view):
        clean = windows.views[view.modality]
        kept = [k for k, band in enumerate(clean.bands) if band in view.bands]
        scale = clean.pixels.std()
        damage = np.abs(view.pixels - clean.pixels[:, :, kept]).mean((1, 2, 3, 4)) / scale
        damage = torch.from_numpy(damage + (len(clean.bands) - len(kept)) / len(clean.bands))
        tau = 10.0 * torch.exp(-sign * damage)[:, None, None].expand(-1, 64, 8)
        return Gaussian(damage[:, None, None] * (1 + tau), tau)

    monkeypatch.setattr(robust, "experts", oracle)
    for key, scores in robust.corruption(SimpleNamespace(encoder=None), windows).items():
        name, kind = key.split("/")
        variance = [oracle(None, corrupt(windows.views[name], kind, k, 0)).var.mean((1, 2)) for k in STRENGTHS]
        expected = spearmanr(np.repeat(STRENGTHS, 8), np.concatenate(variance)).statistic
        assert scores["strength_variance"] == pytest.approx(expected, abs=1e-3), "all windows, strengths 1 to 5"
        assert sign * scores["strength_variance"] > 0.7
        assert sign * scores["variance_error"] > 0.99
        assert (np.diff(scores["by_strength"]) * sign > 0).all()


@pytest.mark.real_data
@pytest.mark.parametrize("sign", [1, -1])
def test_real_clouds_are_found_by_a_variance_that_is_their_brightness(shared_data, monkeypatch, sign):
    """Masks and images of one date belong together: clouds are the bright pixels of five dates."""

    def bright(scene, **_):
        blue = scene["s2"].select_bands(["B02"]).read(slice(None), slice(None))[0]
        return SimpleNamespace(variance=xr.DataArray(sign * blue, dims=("dim", "y", "x")))

    monkeypatch.setattr("georeset_lab.embed.encode.encode", bright)
    found = robust.real_clouds(None, shared_data)
    assert sign * (found["auroc"] - 0.5) > 0.4
    assert found["cloudy"] == pytest.approx(0.4, abs=0.02), "two of five dates are overcast"
    means = {date: sign * v for date, v in found["by_date"].items()}
    assert set(sorted(means, key=means.get)[-2:]) == {"2015-07-31", "2015-08-20"}


def test_real_clouds_without_their_folder_are_refused(tmp_path, model):
    with pytest.raises(SceneReadError, match="eolearn-testeopatch is not there"):
        robust.real_clouds(model, tmp_path)


# Retrieval


def crowd(n):
    return Windows({}, np.zeros(n, np.int64), ("nowhere",))


def plant(monkeypatch, radar, light):
    scenes = {"s1": radar, "s2": light}
    monkeypatch.setattr(retrieval, "_scenes", lambda model, windows, name: scenes[name])


def said(mean, tau):
    return Gaussian(mean * (1 + tau), tau)


def draw(n, d=16, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_retrieval_of_a_model_has_its_numbers_in_range(measured):
    found = measured["retrieval"]
    assert found["windows"] == 8
    assert found["chance"] == 1 / 8
    for score in ("pmi", "cosine"):
        assert list(found[score]) == ["R@1", "R@5", "R@10"]
        assert 0 <= found[score]["R@1"] <= found[score]["R@5"] <= found[score]["R@10"] == 1
    if "r_auroc" in found:
        low, high = found["r_auroc_interval"]
        assert 0 <= low <= found["r_auroc"] <= high <= 1
        assert 0 <= found["r_auroc_norm"] <= 1
        assert 0 <= found["aurc"] <= 1


def test_identical_experts_find_each_other(monkeypatch):
    same = said(draw(50), torch.full((50, 16), 20.0))
    plant(monkeypatch, same, same)
    found = retrieval.retrieval(None, crowd(50))
    assert found["pmi"]["R@1"] == found["cosine"]["R@1"] == 1
    assert "r_auroc" not in found, "without a miss there is nothing to tell apart"


def test_unrelated_experts_find_each_other_by_chance(monkeypatch):
    n, tau = 400, torch.full((400, 16), 20.0)
    plant(monkeypatch, said(draw(n), tau), said(draw(n, seed=1), tau))
    found = retrieval.retrieval(None, crowd(n))
    for score in ("pmi", "cosine"):
        for k in (1, 5, 10):
            assert found[score][f"R@{k}"] == pytest.approx(k / n, abs=4 * (k / n / (2 * n)) ** 0.5)
    low, high = found["r_auroc_interval"]
    assert low <= found["r_auroc"] <= high


def test_experts_that_all_say_the_same_find_nobody(monkeypatch):
    flat = said(torch.ones(20, 16), torch.full((20, 16), 3.0))
    plant(monkeypatch, flat, flat)
    found = retrieval.retrieval(None, crowd(20))
    assert found["pmi"]["R@10"] == found["cosine"]["R@10"] == 0


def test_a_variance_that_knows_the_misses_is_rewarded(monkeypatch):
    n, mean = 100, draw(100)
    lost = torch.arange(n) % 3 == 0
    tau = torch.where(lost[:, None], 0.2, 20.0).expand(n, 16)
    noisy = torch.where(lost[:, None], draw(n, seed=2), mean)
    plant(monkeypatch, said(noisy, tau), said(mean, tau))
    found = retrieval.retrieval(None, crowd(n))
    assert found["r_auroc"] > 0.95
    assert found["r_auroc_interval"][0] > 0.9
    assert found["aurc"] < 0.1
    plant(monkeypatch, said(noisy, 20.2 - tau), said(mean, 20.2 - tau))
    assert retrieval.retrieval(None, crowd(n))["r_auroc"] < 0.2


def test_ties_and_unknown_scores_count_against_the_twin():
    nan = float("nan")
    score = torch.tensor([[5.0, 1.0, 2.0], [3.0, 3.0, 0.0], [9.0, 8.0, 7.0]])
    assert retrieval._rank(score).tolist() == [0, 1, 2]
    assert retrieval._rank(torch.zeros(4, 4)).tolist() == [3, 3, 3, 3]
    assert retrieval._rank(torch.tensor([[nan, 1.0], [nan, 2.0]])).tolist() == [1, 1]


# Calibration


@pytest.mark.parametrize(("kind", "cases"), [("expert", 6), ("fused", 4)])
def test_cases_stack_every_view_and_know_the_truth_where_it_is_settled(model, windows, monkeypatch, kind, cases):
    clean = {n: robust.experts(model.encoder, v) for n, v in windows.views.items()}
    whole = fuse(list(clean.values()))
    # An untrained encoder is sure of little: lower its variances so that some dimensions are settled, and some not.
    middle = float(whole.tau.median())
    monkeypatch.setattr(calibrate, "experts", lambda e, v: Gaussian(*(z / middle for z in robust.experts(e, v))))
    mean, variance, truth = calibrate._cases(model, windows, kind, seed=0)
    assert mean.shape == variance.shape == truth.shape == (cases * 8 * 64, 8)
    assert ((variance > 0) & (variance <= 1)).all()
    assert np.isfinite(mean).all()
    scaled = Gaussian(*(z / middle for z in whole))
    settled = np.tile((scaled.var < 0.5).flatten(0, 1).numpy(), (cases, 1))
    assert 0.2 < settled.mean() < 0.8
    np.testing.assert_array_equal(np.isnan(truth), ~settled)
    expected = np.tile(scaled.mean.flatten(0, 1).numpy(), (cases, 1))
    np.testing.assert_allclose(truth[settled], expected[settled], atol=1e-5)
    block = mean.reshape(cases, 8, 64, 8)
    if kind == "expert":
        np.testing.assert_allclose(block[0], clean["s1"].eta / middle / (1 + clean["s1"].tau / middle), atol=1e-5)
        np.testing.assert_allclose(block[1], clean["s2"].eta / middle / (1 + clean["s2"].tau / middle), atol=1e-5)
    else:
        spoilt = robust.experts(model.encoder, corrupt(windows.views["s2"], "cloud", 2, 0))
        both = fuse([Gaussian(*(z / middle for z in e)) for e in (spoilt, clean["s1"])])
        np.testing.assert_allclose(block[0], both.mean, atol=1e-5)


def test_the_scale_is_the_median_over_places_and_mends_the_slope(windows, others, monkeypatch):
    """Planted: errors are twice what is claimed, ten times so at one place of those that the scale is fitted on."""

    def planted(_, places, kind, seed):
        cases = 6 if kind == "expert" else 4
        rng = np.random.default_rng(len(kind) + len(places.names))
        place = np.tile(np.repeat(places.place, 64), cases)
        variance = rng.uniform(0.05, 0.4, (len(place), 8))
        truth = rng.normal(size=variance.shape) * np.sqrt(2 * variance)
        if places is others:
            truth[place == 1] *= 5**0.5
        truth[::3, 2] = np.nan
        return np.zeros_like(truth), variance, truth

    monkeypatch.setattr(calibrate, "_cases", planted)
    found = calibrate.calibrated(None, windows, others)
    assert list(found) == ["expert", "fused"]
    for mine in found.values():
        assert mine["scales"] == pytest.approx([2, 10, 2], rel=0.1)
        assert mine["scale"] == pytest.approx(2, rel=0.05)
        assert mine["slope_unscaled"] == pytest.approx(2, rel=0.1)
        assert mine["slope"] == pytest.approx(1, rel=0.1)
        assert mine["slope"] == pytest.approx(mine["slope_unscaled"] / mine["scale"], rel=1e-6)
        assert 3 < mine["ratio"] < 9, "0.4 / 0.05 = 8 at the ends, less within the tenths"
        assert mine["spearman"] > 0.2


# Missing sensors


def feature_maps(side=24, seed=0):
    """Sensor s1 knows the classes, s2 holds noise; labels in stripes."""
    rng = np.random.default_rng(seed)
    labels = 1 + np.indices((side, side))[0] // 2 % 2
    s1 = rng.normal(size=(side, side, 3)) + 6 * (labels == 2)[..., None]
    s2 = rng.normal(size=(side, side, 3))
    groups = block_ids(labels.shape, 4)
    split = make_split(
        labels, groups, checkerboard(labels.shape, 4), {1: "one", 2: "two"}, sizes=(20,), n_draws=3
    )  # fmt: skip
    return {"fused": s1 + s2, "s2": s2, "s1": s1}, split


def test_inputs_of_each_fusion_when_all_is_there():
    maps, _ = feature_maps()
    inputs = {f: missing._inputs(maps, f, maps) for f in missing.FUSIONS}
    assert {f: len(columns) for f, columns in inputs.items()} == {
        "product": 1,
        "mean": 1,
        "concatenation": 1,
        "late": 2,
    }
    np.testing.assert_array_equal(inputs["product"][0], maps["fused"])
    np.testing.assert_allclose(inputs["mean"][0], (maps["s2"] + maps["s1"]) / 2)
    np.testing.assert_array_equal(inputs["concatenation"][0], np.concatenate([maps["s2"], maps["s1"]], axis=2))
    for column, name in zip(inputs["late"], ("s2", "s1"), strict=True):
        np.testing.assert_array_equal(column, maps[name])


@pytest.mark.parametrize("gone", ["s2", "s1"])
def test_a_missing_sensor_is_left_out_or_counts_as_zero(gone):
    clean, _ = feature_maps()
    here = "s1" if gone == "s2" else "s2"
    maps = {"fused": 2 * clean[here], here: clean[here]}
    late = missing._inputs(maps, "late", clean)
    assert [column is None for column in late] == [gone == "s2", gone == "s1"]
    np.testing.assert_array_equal(missing._inputs(maps, "product", clean)[0], maps["fused"])
    np.testing.assert_allclose(missing._inputs(maps, "mean", clean)[0], clean[here] / 2)
    joined = missing._inputs(maps, "concatenation", clean)[0]
    zero, kept = (slice(0, 3), slice(3, 6)) if gone == "s2" else (slice(3, 6), slice(0, 3))
    assert not joined[..., zero].any()
    np.testing.assert_array_equal(joined[..., kept], clean[here])


def test_features_are_scaled_as_the_clean_training_side_is():
    maps, split = feature_maps()
    clean, train = maps["s1"], split.side == TRAIN
    other = clean * 3 + 1
    expected = ((other - clean[train].mean(0)) / clean[train].std(0)).reshape(-1, 3)
    np.testing.assert_allclose(missing._like(other, clean, split), expected, rtol=1e-4, atol=1e-5)
    altered = clean.copy()
    altered[~train] += 100
    np.testing.assert_allclose(missing._like(other, altered, split), expected, rtol=1e-4, atol=1e-5)


def test_late_fusion_asks_only_the_sensors_that_are_there():
    clean, split = feature_maps()
    maps = {
        "clean": clean,
        "s1 alone": {"fused": clean["s1"], "s1": clean["s1"]},
        "s2 alone": {"fused": clean["s2"], "s2": clean["s2"]},
    }
    for fusion in missing.FUSIONS:
        found = missing._scored(maps, fusion, split)
        for scores in found.values():
            assert set(scores) == {"balanced_accuracy", "nll", "ece", "aurc"}
            assert {len(values) for values in scores.values()} == {3}
        accuracy = {c: np.mean(scores["balanced_accuracy"]) for c, scores in found.items()}
        assert accuracy["clean"] > 0.9
        assert abs(accuracy["s2 alone"] - 0.5) < 0.1, "noise knows nothing of the classes"
    late = missing._scored(maps, "late", split)
    assert np.mean(late["s1 alone"]["balanced_accuracy"]) > 0.98
    # A probe that was asked in vain would flatten the chances: alone, the sensor that knows is surer than with the other.
    assert np.mean(late["s1 alone"]["nll"]) < 0.5 * np.mean(late["clean"]["nll"])


@pytest.mark.parametrize(("name", "how"), [("s2", "cloud"), ("s2", "haze"), ("s1", "interference")])
def test_a_spoilt_sensor_is_altered_in_physical_units_and_nothing_else(name, how):
    scene = simulate_scene(seed=1, size=(48, 48), modalities=("s2", "s1"), dates=2)
    before = scene[name].read(slice(None), slice(None))
    spoilt = missing._spoilt(scene[name], how, seed=0)
    after = spoilt.read(slice(None), slice(None))
    assert after.shape == before.shape
    assert spoilt.bands == scene[name].bands
    assert spoilt.grid == scene[name].grid
    np.testing.assert_array_equal(spoilt.times, scene[name].times)
    seen = np.isfinite(before)
    assert 0.01 < np.abs(after - before)[seen].mean() < (1 if name == "s2" else 10)
    np.testing.assert_array_equal(missing._spoilt(scene[name], how, seed=0).read(slice(None), slice(None)), after)
    np.testing.assert_array_equal(scene[name].read(slice(None), slice(None)), before)


# The run and its report


def planted_job(seed):
    return {
        "ownership": 0.9 + seed / 100, "corruption": 1.0, "unique": 0.7, "shared": 0.8, "supervised_unique": 0.8,
        "leaked": -0.01,
    }  # fmt: skip


def of_missing(draws):
    scores = {m: [0.5 + k / 100 for k in range(2 * draws)] for m in ("balanced_accuracy", "nll", "ece", "aurc")}
    return {f: dict.fromkeys(missing.CONDITIONS, scores) for f in missing.FUSIONS}


MEASURES = ("corruption", "real_clouds", "retrieval", "missing", "calibrated")
ROWS = [Row("pmi", seed=s, source=f"pmi-seed{s}", identity=f"hash{s}") for s in (0, 1)]
ROWS += [Row("untrained", seed=0), Row("mine", source="mine", identity="hash-mine")]
NAMES = ["our encoder, PMI, seed 0", "our encoder, PMI, seed 1", "mine"]


@pytest.fixture
def toys(monkeypatch, tmp_path, model, windows, others, measured):
    """A run over two made-up places and a tiny encoder under three names, whose numbers were made before."""
    data = tmp_path / "data"
    (data / "terramind-chips").mkdir(parents=True)
    (data / "terramind-chips" / "a.txt").write_text("planted")
    monkeypatch.setattr(partial, "real_windows", lambda _, role: windows if role == "test" else others)
    monkeypatch.setattr(partial, "find_models", lambda _: (ROWS, []))
    monkeypatch.setattr(partial, "load", lambda _: model)
    monkeypatch.setattr(
        partial, "_planted",
        lambda quick: [
            (("planted", o, str(s)), ["planted", o, s], lambda s=s: planted_job(s))
            for o in ("pmi", "csd") for s in range(1 if quick else 3)
        ],
    )  # fmt: skip

    def stub(name, *places):
        def known(_, *given):
            assert [id(g) for g in given] == [id(p) for p in places], f"{name} is measured on other places"
            return measured[name]

        monkeypatch.setattr(partial, name, known)

    stub("corruption", windows)
    stub("retrieval", windows)
    stub("calibrated", windows, others)
    clouds = {"auroc": 0.9, "cloudy": 0.4, "by_date": {"2015-07-11": 0.3, "2015-07-31": 0.8}}
    monkeypatch.setattr(partial, "real_clouds", lambda model, data: clouds)
    monkeypatch.setattr(partial, "missing", lambda model, data, draws: of_missing(draws))
    return data


def evaluate(data, out, **kwargs):
    return partial.run(data, out=out, progress=False, command="georeset evaluate partial", **kwargs)


def forbid(monkeypatch, *names):
    for name in names:
        monkeypatch.setattr(partial, name, lambda *_, **__: pytest.fail("a finished number was computed again"))


def count(monkeypatch):
    calls = []
    for name in MEASURES:
        real = getattr(partial, name)
        monkeypatch.setattr(partial, name, lambda *a, n=name, f=real, **k: calls.append(n) or f(*a, **k))
    return calls


def table_rows(markdown, title):
    """First cells of the table under a heading."""
    section = markdown.split(f"## {title}", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1, "a table has one width"
    return [line.split("|")[1].strip() for line in lines[2:]]


def test_a_run_writes_both_files_and_every_table_has_a_row_for_every_encoder(toys, tmp_path):
    found = evaluate(toys, tmp_path / "out")
    assert [p.name for p in found.paths] == ["partial.md", "partial.json"]
    text = found.paths[0].read_text(encoding="utf-8")
    assert text == found.markdown
    assert json.loads(found.paths[1].read_text(encoding="utf-8")) == found.numbers
    assert list(found.numbers["encoders"]) == NAMES, "rows without weights of their own are left out"
    assert all(tuple(parts) == partial.PARTS for parts in found.numbers["encoders"].values())
    assert table_rows(text, "Planted truth") == ["pmi (3 seeds)", "csd (3 seeds)"]
    for title in ("Corruption of real windows", "Real clouds in Slovenia", "Radar finds its optical twin"):
        assert table_rows(text, title) == NAMES
    assert table_rows(text, "Realised against predicted error") == [n for n in NAMES for _ in range(2)]
    assert [name for name in NAMES if f"**{name}**" in text] == NAMES
    assert text.count("| product |") == text.count("| late |") == len(NAMES)
    about = found.numbers["about"]
    assert about["command"] in text
    assert about["places"] == ["place 1", "place 2"]
    assert about["scale_fitted_on"] == ["place 3", "place 4", "place 5"]
    assert not about["quick"]
    assert len(about["code"]) == 16
    assert "never trained on: place 1, place 2." in text


def test_numbers_of_the_report_are_those_that_were_found(toys, tmp_path):
    found = evaluate(toys, None)
    assert found.paths == ()
    cells = {name: line for name in NAMES for line in found.markdown.splitlines() if line.startswith(f"| {name} |")}
    mine = found.numbers["encoders"]["mine"]["calibration"]["fused"]
    assert cells["mine"].endswith(f"| {mine['ratio']:.1f} | {mine['spearman']:.2f} |")
    assert "| pmi (3 seeds) | .910 ±.025 | 1.000 ±.000 |" in found.markdown
    assert "(40 % are cloud" in found.markdown


def test_a_second_run_reads_every_number_back_and_writes_the_same(toys, tmp_path, monkeypatch):
    one = evaluate(toys, tmp_path / "out")
    assert len(list((tmp_path / "out" / "parts").glob("*.json"))) == 2 * 3 + 3 * 5
    forbid(monkeypatch, *MEASURES, "load", "run_planted")
    two = evaluate(toys, tmp_path / "out")
    assert two.markdown == one.markdown
    assert two.numbers == one.numbers


def test_a_run_that_was_stopped_goes_on_where_it_was(toys, tmp_path, monkeypatch):
    calls, real = count(monkeypatch), partial.calibrated

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(partial, "calibrated", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate(toys, tmp_path / "out")
    assert calls == list(MEASURES[:-1])
    monkeypatch.setattr(partial, "calibrated", real)
    evaluate(toys, tmp_path / "out")
    assert calls[4:] == ["calibrated", *MEASURES, *MEASURES]


def test_a_damaged_number_is_computed_again(toys, tmp_path, monkeypatch):
    one = evaluate(toys, tmp_path / "out")
    for path in (tmp_path / "out" / "parts").glob("*.json"):
        if "R@1" in path.read_text(encoding="utf-8"):
            path.write_text(path.read_text(encoding="utf-8").replace("0.", "1.", 1), encoding="utf-8")
    calls = count(monkeypatch)
    assert evaluate(toys, tmp_path / "out").numbers == one.numbers
    assert calls == ["retrieval"] * 3


@pytest.mark.parametrize("what", ["data", "weights", "code"])
def test_what_changed_is_computed_anew(toys, tmp_path, monkeypatch, what):
    evaluate(toys, tmp_path / "out")
    calls = count(monkeypatch)
    if what == "data":
        (toys / "terramind-chips" / "a.txt").unlink()
    if what == "weights":
        monkeypatch.setattr(partial, "find_models", lambda _: ([*ROWS[:3], replace(ROWS[3], identity="new")], []))
    if what == "code":
        monkeypatch.setattr(partial, "code_identity", lambda *_: "another")
    evaluate(toys, tmp_path / "out")
    assert len(calls) == (5 if what == "weights" else 15)


def test_quick_asks_for_less(toys, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(partial, "find_models", lambda folder: asked.append(folder) or (ROWS, []))
    found = evaluate(toys, tmp_path / "out", models=tmp_path, quick=True)
    evaluate(toys, tmp_path / "out", models=tmp_path)
    assert asked == [None, tmp_path]
    assert found.numbers["about"]["quick"]
    assert list(found.numbers["planted"]["pmi"]) == ["0"]
    assert len(found.numbers["encoders"]["mine"]["missing"]["late"]["clean"]["nll"]) == 4


@pytest.mark.parametrize(("quick", "seeds", "steps"), [(True, 1, 300), (False, 5, 1500)])
def test_planted_jobs_are_all_objectives_and_seeds_each_with_its_own(monkeypatch, quick, seeds, steps):
    asked = []

    def note(objective, seed, *, steps):
        asked.append((objective, str(seed), steps))
        return partial_of_planted

    partial_of_planted = partial.run_planted.__globals__["Planted"](*[0.5] * 6)
    monkeypatch.setattr(partial, "run_planted", note)
    jobs = list(partial._planted(quick))
    assert len({json.dumps(identity) for _, identity, _ in jobs}) == len(jobs) == seeds * len(partial.CONTRASTS)
    for where, identity, make in jobs:
        assert make()["ownership"] == 0.5
        assert asked[-1] == (*where[1:], steps)
        assert identity[1:] == [where[1], int(where[2]), steps]


@pytest.mark.real_data
@pytest.mark.slow
def test_a_real_quick_run_is_whole_and_is_read_back(shared_data, tmp_path, monkeypatch, model):
    row = Row("tiny", source="tiny", identity="1")
    monkeypatch.setattr(partial, "find_models", lambda _: ([row], []))
    monkeypatch.setattr(partial, "load", lambda _: model)
    real = partial.run_planted
    monkeypatch.setattr(partial, "run_planted", lambda o, s, *, steps: real(o, s, steps=3))
    one = evaluate(shared_data, tmp_path / "out", quick=True)
    assert list(one.numbers["planted"]) == list(partial.CONTRASTS)
    (parts,) = one.numbers["encoders"].values()
    assert list(parts) == list(partial.PARTS)
    view = real_windows(shared_data, "test").views["s2"]
    assert [k for k in parts["corruption"] if k.startswith("s2/")] == [f"s2/{k}" for k in kinds_for(view)]
    assert parts["retrieval"]["windows"] == 44
    assert len(parts["clouds"]["by_date"]) == 5
    for fusion in missing.FUSIONS:
        for condition in missing.CONDITIONS:
            scores = parts["missing"][fusion][condition]
            assert {len(values) for values in scores.values()} == {4}, "two places, two draws"
            assert all(0 <= v <= 1 for v in scores["balanced_accuracy"])
    assert len(parts["calibration"]["expert"]["scales"]) == 6
    forbid(monkeypatch, *MEASURES, "load", "run_planted")
    two = evaluate(shared_data, tmp_path / "out", quick=True)
    assert two.markdown == one.markdown
    np.testing.assert_equal(two.numbers, one.numbers)
