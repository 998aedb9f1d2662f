"""Views rendered as other sensors: right spectra, right pixel size, and nothing done to what is not Sentinel-2."""

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
