from __future__ import annotations

import numpy as np
import pytest

from georeset_lab.data.bands import C_BAND_UM, BandSpec
from georeset_lab.data.scene import Scene
from georeset_lab.errors import BandMismatch, GridMismatch
from georeset_lab.evaluate import baselines
from georeset_lab.evaluate.score import score_features
from georeset_lab.evaluate.splits import make_split

S1 = (
    BandSpec("VV", C_BAND_UM, 500.0, 10, "backscatter", "VV"),
    BandSpec("VH", C_BAND_UM, 500.0, 10, "backscatter", "VH"),
)


def joined(make_scene, planted_scene, rng, dates=2):
    s1 = make_scene(rng.normal(-12, 1, (dates, 2, 72, 72)), "s1", S1)
    return Scene({**planted_scene.modalities, **s1.modalities}, planted_scene.crs, "both")


def test_raw_holds_every_band_of_every_date_and_sensor(make_scene, planted_scene):
    scene = joined(make_scene, planted_scene, np.random.default_rng(0))
    values = baselines.raw(scene)
    assert values.shape == (72, 72, 3 + 4)
    np.testing.assert_array_equal(values[..., 1], planted_scene["s2"].read(slice(None), slice(None))[0, 1])
    np.testing.assert_array_equal(values[..., 5], scene["s1"].read(slice(None), slice(None))[1, 0])


def test_local_statistics_equal_a_slow_loop_and_skip_what_is_missing():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, (9, 11, 2)).astype(np.float32)
    values[2, 3, 0] = np.nan
    mean, std = baselines.local_statistics(values, 5)
    for r, c in ((4, 5), (3, 3), (6, 8)):
        window = values[r - 2 : r + 3, c - 2 : c + 3].reshape(-1, 2)
        np.testing.assert_allclose(mean[r, c], np.nanmean(window, axis=0), rtol=1e-5)
        np.testing.assert_allclose(std[r, c], np.nanstd(window, axis=0), rtol=1e-4)


def test_a_window_without_a_measurement_stays_missing():
    values = np.full((20, 20, 1), np.nan)
    values[:5, :5] = 1.0
    mean, std = baselines.local_statistics(values, 5)
    assert np.isnan(mean[15, 15])
    assert mean[0, 0] == 1
    assert std[0, 0] == 0


def test_indices_follow_wavelength_not_name(make_scene):
    bands = (BandSpec("x", 0.842, 0.1, 10), BandSpec("y", 0.66, 0.03, 10))
    values = np.array([0.4, 0.1]).reshape(1, 2, 1, 1) * np.ones((1, 2, 4, 4))
    index = baselines.spectral_indices(make_scene(values, bands=bands))
    np.testing.assert_allclose(index[0, 0, 0], 0.6, atol=1e-5)
    assert index.shape == (4, 4, sum({"nir", "red"} >= set(needs) for needs, _ in baselines.INDICES.values()))


def test_radar_gives_the_difference_of_its_polarizations(make_scene):
    values = np.stack([np.full((4, 4), -8.0), np.full((4, 4), -15.0)])[None]
    index = baselines.spectral_indices(make_scene(values, "s1", S1))
    assert index.shape == (4, 4, 1)
    assert (index == 7).all()


def test_bands_without_any_index_are_refused(make_scene):
    odd = (BandSpec("t", 10.9, 0.6, 30, "temperature"),)
    with pytest.raises(BandMismatch, match=r"t \(10.9 um\)"):
        baselines.spectral_indices(make_scene(np.ones((1, 1, 4, 4)), bands=odd))


def test_modalities_on_two_grids_are_refused(make_scene, planted_scene):
    other = make_scene(np.ones((1, 2, 10, 10)), "s1", S1)
    scene = Scene({**planted_scene.modalities, **other.modalities}, planted_scene.crs, "two")
    with pytest.raises(GridMismatch, match="one grid"):
        baselines.raw(scene)


def test_random_convolutions_repeat_and_learn_from_the_training_side_only(planted_scene, planted_task):
    train = planted_task.side == 0
    first = baselines.random_convolutions(planted_scene, train, n_features=32)
    assert first.shape == (72, 72, 32)
    assert (first >= 0).all()
    np.testing.assert_array_equal(first, baselines.random_convolutions(planted_scene, train, n_features=32))
    half = np.zeros_like(train)
    half[:36] = True
    values = planted_scene["s2"].read(slice(None), slice(None)).copy()
    values[:, :, 44:] = 9.0
    changed = baselines.random_convolutions(_with(planted_scene, values), half, n_features=32)
    same = baselines.random_convolutions(planted_scene, half, n_features=32)
    np.testing.assert_allclose(changed[:30], same[:30], atol=1e-5)


def test_every_cheap_row_finds_the_planted_classes(planted_scene, planted_task):
    t = planted_task
    split = make_split(t.labels, t.groups, t.side, t.classes, sizes=(20,), n_draws=3)
    for features in (baselines.raw(planted_scene), baselines.spectral_indices(planted_scene)):
        assert score_features(features, split).balanced_accuracy.mean() > 0.98
    local = baselines.raw_and_local(planted_scene)
    assert local.shape[2] == 9
    assert score_features(local, split).balanced_accuracy.mean() > 0.95


def _with(scene, values):
    from dataclasses import replace

    import xarray as xr

    m = scene["s2"]
    return Scene({"s2": replace(m, raw=xr.DataArray(values, dims=m.raw.dims))}, scene.crs, "changed")
