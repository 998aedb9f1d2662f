"""The simulated scene: same bits for a seed, right grids, stated ranges, and truth that the right sensors can see."""

from __future__ import annotations

import time

import numpy as np
import pytest

from georeset_lab.data.place import CLASSES, CLIMATES, CROPS, draw_place
from georeset_lab.data.simulate import (
    NDVI_RANGE,
    NDWI_RANGE,
    SIMULATED,
    VV_RANGE_DB,
    WHO_SEES_WHAT,
    simulate_scene,
)
from georeset_lab.errors import ShapeMismatch, UnknownModality

SEEDS = (1, 3, 5)


@pytest.fixture(scope="module")
def scenes():
    return {seed: simulate_scene(seed=seed, size=(96, 96)) for seed in SEEDS}


def _index(values, a, b):
    return (values[:, a] - values[:, b]) / (values[:, a] + values[:, b] + 1e-6)


def _share_inside(values, low, high):
    values = values[np.isfinite(values)]
    return ((values >= low) & (values <= high)).mean() if len(values) >= 100 else 1.0


def _explained(features, target, groups):
    """R2, in groups that were held out, of a ridge fit to standardised features."""
    fitted = groups % 2 == 0
    features = (features - features[fitted].mean(0)) / (features[fitted].std(0) + 1e-9)
    x = np.column_stack([features, np.ones(len(target))])
    gram = x[fitted].T @ x[fitted] + 1e-3 * fitted.sum() * np.eye(x.shape[1])
    missed = target - x @ np.linalg.solve(gram, x[fitted].T @ target[fitted])
    return 1 - missed[~fitted].var() / target[~fitted].var()


def _at_30m(values):
    *lead, y, x = values.shape
    return values.reshape(*lead, y // 3, 3, x // 3, 3).mean(axis=(-3, -1))


def test_same_seed_gives_the_same_bits_and_another_seed_does_not():
    one, two = (simulate_scene(seed=4, size=(48, 54)) for _ in range(2))
    other = simulate_scene(seed=6, size=(48, 54))
    for name in SIMULATED:
        np.testing.assert_array_equal(one[name].raw.values, two[name].raw.values)
        assert not np.array_equal(one[name].raw.values, other[name].raw.values)
    assert one.truth.identical(two.truth)


@pytest.mark.parametrize("name", SIMULATED)
def test_a_modality_does_not_depend_on_which_others_are_asked_for(name):
    alone = simulate_scene(seed=2, size=(30, 30), modalities=(name,))
    among = simulate_scene(seed=2, size=(30, 30))
    np.testing.assert_array_equal(alone[name].raw.values, among[name].raw.values)
    assert alone.truth.identical(among.truth)


@pytest.mark.parametrize(
    ("name", "shape", "pixel_m"),
    [
        ("s2", (3, 12, 96, 96), 10),
        ("l8", (3, 7, 32, 32), 30),
        ("s1", (3, 2, 96, 96), 10),
        ("hyper", (1, 200, 32, 32), 30),
        ("dem", (1, 1, 32, 32), 30),
    ],
)
def test_each_modality_has_its_own_grid_on_whole_cells(scenes, name, shape, pixel_m):
    modality = scenes[1][name]
    assert modality.raw.shape == shape
    assert modality.pixel_m == pixel_m
    assert modality.grid.affine.c % 60 == 0
    assert modality.grid.affine.f % 60 == 0
    assert modality.grid.crs == scenes[1].crs


def test_coarse_bands_repeat_their_native_pixel(scenes):
    raw = scenes[1]["s2"].raw.values
    for band, native in ((0, 6), (4, 2), (9, 6), (11, 2)):
        blocks = raw[:, band].reshape(3, 96 // native, native, 96 // native, native)
        assert (blocks == blocks[:, :, :1, :, :1]).all()
    assert not np.array_equal(raw[:, 3, ::2], raw[:, 3, 1::2])


def test_the_example_point_of_the_design_lies_inside():
    pyproj = pytest.importorskip("pyproj")
    scene = simulate_scene(size=(12, 12), modalities=("s2",), dates=1)
    x, y = pyproj.Transformer.from_crs(4326, str(scene.crs), always_xy=True).transform(-72.48, -38.83)
    box = scene.extent
    assert box.left < x < box.right
    assert box.bottom < y < box.top


@pytest.mark.parametrize(("size", "dates"), [((1, 1), 1), ((1, 7), 2), ((50, 13), 3)])
def test_any_size_works(size, dates):
    scene = simulate_scene(seed=3, size=size, dates=dates)
    assert scene["s2"].raw.shape == (dates, 12, *size)
    assert scene["dem"].raw.shape[2:] == (-(-size[0] // 3), -(-size[1] // 3))
    assert scene.truth.land_cover.shape == size


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"modalities": ("s3",)}, UnknownModality, "'s3' can be simulated"),
        ({"size": (0, 10)}, ShapeMismatch, "must be at least 1"),
        ({"dates": 0}, ShapeMismatch, "must be at least 1"),
        ({"seed": -1}, ShapeMismatch, "at least 0"),
    ],
)
def test_impossible_scenes_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        simulate_scene(**options)


@pytest.mark.parametrize("seed", SEEDS)
def test_indices_and_backscatter_stay_in_the_stated_ranges(scenes, seed):
    scene = scenes[seed]
    optical, radar = scene["s2"].data.values, scene["s1"].data.values
    land, pure = scene.truth.land_cover.values, (scene.truth.change.values == 0) & (scene.truth.purity.values > 0.99)
    ndvi, ndwi = _index(optical, 7, 3), _index(optical, 2, 7)
    for code, name in enumerate(CLASSES):
        where = (land == code) & pure
        assert _share_inside(ndvi[:, where], *NDVI_RANGE[name]) >= 0.9, name
        assert _share_inside(ndwi[:, where], *NDWI_RANGE[name]) >= 0.9, name
        assert _share_inside(radar[:, 0][:, where], *VV_RANGE_DB[name]) >= 0.9, name


def test_classes_are_told_apart_as_in_real_images(scenes):
    greener, wetter = 0, 0
    for scene in scenes.values():
        optical, radar = scene["s2"].data.values, scene["s1"].data.values
        land = scene.truth.land_cover.values
        ndvi = np.nanmedian(_index(optical, 7, 3), axis=0)
        water, trees = land == CLASSES.index("water"), land == CLASSES.index("trees")
        greener += np.median(ndvi[trees]) - np.median(ndvi[water]) > 0.5
        wetter += np.median(radar[:, 0][:, trees]) - np.median(radar[:, 0][:, water]) > 4
    assert greener == wetter == len(SEEDS)


def test_speckle_has_the_stated_number_of_looks(scenes):
    # Deep inside of open water nothing but speckle varies.
    power = scenes[5]["s1"].raw.values[0, 0]
    deep = scenes[5].truth.water_fraction.values == 1
    looks = power[deep].mean() ** 2 / power[deep].var()
    assert looks == pytest.approx(4.4, rel=0.15)


def test_the_mask_holds_cloud_and_shadow_and_one_date_is_clear():
    for seed in range(8):
        scene = simulate_scene(seed=seed, size=(60, 60), modalities=("s2",))
        cloud, shadow = scene.truth.cloud_s2.values, scene.truth.shadow_s2.values
        mask = scene["s2"].mask.values
        assert mask[(cloud > 0.1) | (shadow > 0.2)].all()
        assert not mask[(cloud < 0.05) & (shadow < 0.1)].any()
        assert mask.mean(axis=(1, 2)).min() == 0


def test_clouds_are_bright_and_their_shadows_dark():
    brighter, darker = [], []
    for seed in (0, 3, 7):
        scene = simulate_scene(seed=seed, size=(96, 96), modalities=("s2",))
        values = scene["s2"].calibration.apply(scene["s2"].raw.values)
        cloud, shadow = scene.truth.cloud_s2.values, scene.truth.shadow_s2.values
        for blue, near, thick, dark in zip(values[:, 1], values[:, 7], cloud > 0.8, shadow > 0.4, strict=True):
            clear = ~(thick | dark)
            if min(thick.sum(), clear.sum()) > 100:
                brighter.append(np.median(blue[thick]) / np.median(blue[clear]))
            if min(dark.sum(), clear.sum()) > 100:
                darker.append(np.median(near[dark]) / np.median(near[clear]))
    assert len(brighter) >= 2
    assert len(darker) >= 2
    assert np.median(brighter) > 5
    assert np.median(darker) < 0.8


@pytest.mark.slow
def test_planted_changes_show_between_first_and_last_date():
    cleared = []
    for seed in range(1, 13):
        scene = simulate_scene(seed=seed, size=(96, 96), modalities=("s2",))
        ndvi = _index(scene["s2"].data.values, 7, 3)
        code = scene.truth.change.attrs["classes"].index("cleared")
        where = scene.truth.change.values == code
        still = (scene.truth.change.values == 0) & (scene.truth.land_cover.values == CLASSES.index("trees"))
        drop = (ndvi[-1] - ndvi[0])[where], (ndvi[-1] - ndvi[0])[still]
        if min(np.isfinite(d).sum() for d in drop) > 50:
            cleared.append(np.nanmedian(drop[0]) - np.nanmedian(drop[1]))
    assert len(cleared) >= 3
    assert np.median(cleared) < -0.2


@pytest.mark.slow
def test_only_the_spectrometer_sees_mineral_and_leaf_chemistry():
    found = {"hyper": [], "s2": []}
    for seed in (3, 11, 12, 16):
        scene = simulate_scene(seed=seed, size=(144, 144), modalities=("s2", "hyper"), dates=1)
        truth = scene.truth
        green, wet = (_at_30m(truth[v].values) for v in ("vegetation_fraction", "water_fraction"))
        broad = _at_30m(scene["s2"].calibration.apply(scene["s2"].raw.values)[0])
        narrow = scene["hyper"].data.values[0]
        stripes = np.add.outer(np.arange(48) // 6, np.arange(48) // 6)
        for variable, where in (("leaf_chemistry", green > 0.7), ("soil_mineral", (green < 0.15) & (wet == 0))):
            if where.sum() < 500:
                continue
            target = _at_30m(truth[variable].values)[where]
            for name, cube in (("s2", broad), ("hyper", narrow)):
                found[name].append(_explained(np.log(np.maximum(cube[:, where].T, 1e-3)), target, stripes[where]))
    assert len(found["hyper"]) >= 3
    assert np.median(found["hyper"]) > 0.5
    assert np.median(found["s2"]) < 0.2


def test_optical_sees_turbidity_and_radar_does_not(scenes):
    truth = scenes[5].truth
    where = (truth.water_fraction.values == 1) & ~np.isnan(truth.turbidity.values)
    target = np.log(truth.turbidity.values[where])
    blocks = np.add.outer(np.arange(96) // 8, np.arange(96) // 8)[where]
    clear = int(np.argmin(scenes[5]["s2"].mask.values.mean(axis=(1, 2))))
    optical = _explained(scenes[5]["s2"].data.values[clear][:, where].T, target, blocks)
    radar = _explained(scenes[5]["s1"].data.values[0][:, where].T, target, blocks)
    assert optical > 0.6
    assert radar < 0.1


@pytest.mark.slow
def test_radar_sees_roughness_of_bare_ground_and_optical_does_not():
    radar, optical, roughness, parcels = [], [], [], []
    for seed in (1, 4, 11, 14, 15, 16):
        scene = simulate_scene(seed=seed, size=(144, 144), modalities=("s2", "s1"), dates=1)
        truth = scene.truth
        where = (truth.vegetation_fraction.values < 0.15) & (truth.crop_type.values >= 0)
        radar.append(scene["s1"].data.values[0][:, where].T)
        optical.append(scene["s2"].data.values[0][:, where].T)
        roughness.append(truth.roughness.values[where])
        parcels.append(truth.parcel.values[where] + 1001 * seed)
    target, groups = np.concatenate(roughness), np.concatenate(parcels)
    assert len(np.unique(groups)) > 100
    assert _explained(np.concatenate(radar), target, groups) > 0.15  # one speckled look
    assert _explained(np.concatenate(optical), target, groups) < 0.05


def test_the_elevation_model_sees_elevation(scenes):
    for scene in scenes.values():
        truth = _at_30m(scene.truth.elevation.values)
        error = scene["dem"].data.values[0, 0] - truth
        assert np.abs(np.median(error)) < 0.5
        assert error.std() < 4


def test_every_variable_of_the_visibility_table_is_in_the_truth(scenes):
    assert set(WHO_SEES_WHAT) == set(SIMULATED)
    assert {v for seen in WHO_SEES_WHAT.values() for v in seen} <= set(scenes[1].truth.data_vars)


def test_places_differ():
    places = [draw_place(seed) for seed in range(60)]
    assert {p.climate for p in places} == set(CLIMATES)
    assert {p.water for p in places} == {"river", "coast", "lake"}
    assert {c for p in places for c in p.crops} == set(CROPS)
    assert min(p.relief_m for p in places) < 15
    assert max(p.relief_m for p in places) > 250
    assert len({round(p.soil_brightness, 6) for p in places}) == 60


def test_a_small_scene_takes_less_than_a_second_of_processor_time():
    simulate_scene(seed=1, size=(48, 48))
    start = time.process_time()
    simulate_scene(seed=2, size=(96, 96))
    assert time.process_time() - start < 1.0


@pytest.mark.slow
def test_the_default_scene_takes_less_than_three_seconds_of_processor_time():
    start = time.process_time()
    simulate_scene()
    assert time.process_time() - start < 3.0
