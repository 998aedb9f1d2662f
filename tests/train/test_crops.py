"""Crops: two views show the same ground at their points, whatever sensor, shift or turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.calibration import Calibration
from georeset_lab.data.modality import Modality
from georeset_lab.data.scene import Scene
from georeset_lab.errors import NothingObserved
from georeset_lab.train.crops import CropSampler
from georeset_lab.train.views import Augmentation, augment

QUIET = Augmentation(
    drop_bands=0, gain=0, noise=0, speckle_db=0, cloud=0, haze=0, hole=0, radar_fault=0, static=0, blur=0
)


def _coordinates(name: str, pixel_m: float, side_m: float, dates: int) -> Modality:
    """A modality whose three bands hold easting, northing and date: every pixel says where and when it is."""
    n = round(side_m / pixel_m)
    grid = GeoBox((n, n), _affine(pixel_m), "EPSG:32718")
    east = 500_000 + (np.arange(n) + 0.5) * pixel_m
    north = 5_000_000 - (np.arange(n) + 0.5) * pixel_m
    cube = np.empty((dates, 3, n, n), dtype=np.float64)
    cube[:, 0], cube[:, 1] = (east - 500_000) / 1e4, (north[:, None] - 5_000_000) / 1e4
    cube[:, 2] = np.arange(dates)[:, None, None] / 10
    times = np.datetime64("2020-01-15", "ns") + np.arange(dates) * np.timedelta64(90, "D")
    raw = xr.DataArray(cube, dims=("time", "band", "y", "x"), coords={"time": times})
    bands = tuple(BandSpec(f"B{i}", 0.5 + 0.1 * i, 0.02, pixel_m) for i in range(3))
    return Modality(name, raw, bands, grid, Calibration.identity(3), None, None, ())


def _affine(pixel_m: float) -> object:
    from affine import Affine

    return Affine(pixel_m, 0, 500_000, 0, -pixel_m, 5_000_000)


@pytest.fixture
def sampler() -> CropSampler:
    fine, coarse = _coordinates("fine", 10, 1920, 3), _coordinates("coarse", 30, 1920, 2)
    scenes = [Scene({"fine": fine, "coarse": coarse}, fine.grid.crs, f"scene {i}") for i in range(2)]
    return CropSampler(scenes, size=48, batch=4, points=10, max_dates=2, seed=5)


def _where(view: object, b: int) -> np.ndarray:
    """Easting and northing that the pixels at the points claim, (P, 2)."""
    row, col = view.points[b].T  # type: ignore[attr-defined]
    values = view.pixels[b][:, :2, row, col]  # type: ignore[attr-defined]
    return np.nanmean(values, 0).T * 1e4 + [500_000, 5_000_000]


@pytest.mark.parametrize("turned", [False, True])
def test_every_view_shows_the_ground_point_within_half_a_pixel(sampler: CropSampler, turned: bool) -> None:
    for step in range(6):
        batch, rng = sampler.draw(step)
        for view in (*batch.first, *batch.second):
            pixel = view.bands[0].gsd_m
            shown = augment(view, QUIET, rng) if turned else view
            for b in range(4):
                assert np.abs(_where(shown, b) - batch.ground_m[b]).max() <= pixel / 2 + 1e-3


def test_a_draw_depends_on_seed_and_step_alone(sampler: CropSampler) -> None:
    first, _ = sampler.draw(3)
    sampler.draw(9)
    again, _ = sampler.draw(3)
    other, _ = sampler.draw(4)
    np.testing.assert_array_equal(first.first[0].pixels, again.first[0].pixels)
    assert not np.array_equal(first.ground_m, other.ground_m)


def test_day_of_year_belongs_to_the_date_shown(sampler: CropSampler) -> None:
    batch, _ = sampler.draw(0)
    for view in (*batch.first, *batch.second):
        for b in range(4):
            for t, day in enumerate(view.day_of_year[b]):
                if np.isfinite(day):
                    date = round(float(np.nanmean(view.pixels[b, t, 2])) * 10)
                    assert day == [15, 105, 195][date]


def test_no_scene_is_refused() -> None:
    with pytest.raises(NothingObserved, match=r"at least one"):
        CropSampler([], size=48, batch=2, points=4)


def test_augmentation_leaves_its_input_and_keeps_missing_pixels_missing(sampler: CropSampler) -> None:
    batch, rng = sampler.draw(1)
    view = batch.first[0]
    view.pixels[:, :, :, 20:25, 20:25] = np.nan
    before = view.pixels.copy()
    changed = augment(view, Augmentation(flip=False, drop_bands=0, hole=1, cloud=1, haze=1), rng)
    np.testing.assert_array_equal(view.pixels, before)
    assert np.isnan(changed.pixels[np.isnan(before)]).all()
    assert np.isnan(changed.pixels).sum() > np.isnan(before).sum()


def test_a_pasted_cloud_is_bright_and_not_masked(sampler: CropSampler) -> None:
    batch, rng = sampler.draw(2)
    view = next(v for v in batch.first if v.modality == "fine")
    view.pixels[:] = 0.05
    cloudy = augment(view, Augmentation(flip=False, drop_bands=0, gain=0, noise=0, haze=0, hole=0, cloud=1), rng)
    assert np.isfinite(cloudy.pixels).all()
    assert (cloudy.pixels.max(axis=(1, 2, 3, 4)) > 0.2).all()


def test_dropping_bands_keeps_pixels_and_descriptions_together(sampler: CropSampler, tmp_path: Path) -> None:
    batch, _ = sampler.draw(0)
    view = batch.first[0]
    for seed in range(20):
        kept = augment(view, Augmentation(**{**_off(), "drop_bands": 1.0}), np.random.default_rng(seed))
        assert 2 <= len(kept.bands) == kept.pixels.shape[2] <= 3
        for i, band in enumerate(kept.bands):
            np.testing.assert_array_equal(kept.pixels[:, :, i], view.pixels[:, :, view.bands.index(band)])


def _off() -> dict[str, float]:
    return {
        "flip": False,
        "gain": 0,
        "noise": 0,
        "speckle_db": 0,
        "cloud": 0,
        "haze": 0,
        "hole": 0,
        "radar_fault": 0,
        "static": 0,
        "blur": 0,
    }
