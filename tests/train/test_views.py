"""Views rendered as other sensors, out of focus or in static; nothing done to what is not Sentinel-2."""

from __future__ import annotations

import numpy as np
import pytest

from georeset_lab.data.sensors import sensor
from georeset_lab.train.crops import View
from georeset_lab.train.views import Augmentation, as_other_sensor, augment

BANDS = sensor("sentinel-2-l2a").bands
CENTRES = np.array([b.center_um for b in BANDS])


def view(pixels: np.ndarray) -> View:
    return View("s2", pixels.astype(np.float32), BANDS, 60.0, np.zeros((2, 1), np.float32), np.zeros((2, 3, 2), int))


@pytest.mark.parametrize("seed", range(12))
def test_a_straight_spectrum_stays_straight(seed: int) -> None:
    line = 0.1 + 0.1 * CENTRES
    out = as_other_sensor(
        view(np.broadcast_to(line[None, None, :, None, None], (2, 1, 12, 48, 48))), np.random.default_rng(seed)
    )
    centres = np.clip([b.center_um for b in out.bands], CENTRES.min(), CENTRES.max())
    assert out.pixels.shape == (2, 1, len(out.bands), 48, 48)
    np.testing.assert_allclose(out.pixels[1, 0, :, 7, 9], 0.1 + 0.1 * centres, atol=1e-6)


def test_several_sensors_are_drawn_and_coarse_ones_have_coarse_pixels() -> None:
    rng = np.random.default_rng(0)
    noise = view(np.random.default_rng(1).random((2, 1, 12, 48, 48)))
    seen = [as_other_sensor(noise, rng) for _ in range(20)]
    assert {3, 6, 7} <= {len(v.bands) for v in seen}
    assert max(len(v.bands) for v in seen) > 40
    for v in seen:
        fine = np.abs(np.diff(v.pixels[0, 0, 0, 0, :3])).max()
        assert (fine == 0) == (v.bands[0].gsd_m > 20)


def test_other_views_are_left_alone() -> None:
    radar = View(
        "s1", np.zeros((1, 1, 2, 48, 48), np.float32), sensor("sentinel-1-rtc").bands, 60.0,
        np.zeros((1, 1), np.float32), np.zeros((1, 3, 2), int),
    )  # fmt: skip
    assert as_other_sensor(radar, np.random.default_rng(0)) is radar


def test_missing_pixels_stay_missing() -> None:
    pixels = np.random.default_rng(1).random((2, 1, 12, 48, 48))
    pixels[:, :, :, 12:18, 12:18] = np.nan
    settings = Augmentation(other_sensor=1.0, flip=False, hole=0, cloud=0)
    for seed in range(6):
        out = augment(view(pixels), settings, np.random.default_rng(seed))
        assert np.isnan(out.pixels[:, :, :, 12:18, 12:18]).all()
        assert np.isfinite(out.pixels[:, :, :, 20:, 20:]).all()


QUIET = dict.fromkeys(
    ("drop_bands", "gain", "noise", "speckle_db", "cloud", "haze", "hole", "radar_fault", "static", "blur"), 0.0
)


def test_blur_takes_detail_leaves_the_mean_and_lends_nothing_from_holes() -> None:
    rng = np.random.default_rng(2)
    pixels = 0.2 + 0.05 * rng.normal(size=(2, 1, 12, 48, 48))
    out = augment(view(pixels), Augmentation(**QUIET | {"blur": 1.0}, flip=False), np.random.default_rng(0)).pixels
    assert out.std((-1, -2)).max() < 0.5 * pixels.std((-1, -2)).min()
    np.testing.assert_allclose(out.mean((-1, -2)), pixels.mean((-1, -2)), atol=3e-3)
    holed = np.where(np.arange(48) < 12, np.nan, 0.2) * np.ones_like(pixels)
    kept = augment(view(holed), Augmentation(**QUIET | {"blur": 1.0}, flip=False), np.random.default_rng(0)).pixels
    np.testing.assert_array_equal(np.isnan(kept), np.isnan(holed))
    np.testing.assert_allclose(kept[..., 12:], 0.2, rtol=1e-5)


def test_static_is_strong_white_noise_and_off_by_zero() -> None:
    flat = np.full((2, 1, 12, 48, 48), 0.2)
    spread = [
        augment(view(flat), Augmentation(**QUIET | {"static": p}, flip=False), np.random.default_rng(3)).pixels.std()
        for p in (0.0, 1.0)
    ]
    assert spread[0] < 1e-6
    assert 0.01 < spread[1] < 0.1
