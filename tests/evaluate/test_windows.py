"""Windows of real places: whole, in physical units, of the right role, on clear dates, with the ground they show."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from odc.geo.geobox import GeoBox

from georeset_lab.data.modality import Calibration, Modality
from georeset_lab.data.sensors import sensor
from georeset_lab.errors import NothingObserved, SceneReadError
from georeset_lab.evaluate import patches, robust
from georeset_lab.evaluate.patches import PATCHES, clear_dates, nearest_dates, open_patch, quarter_dates
from georeset_lab.evaluate.series import series_windows
from georeset_lab.evaluate.windows import BANDS, _corners, real_windows, values, view_of

WINDOWS = {  # of each place: windows, and windows of different ground
    "test": [(16, 16)] * 2 + [(4, 4)] * 3 + [(4, 1)] * 2,
    "other": [(16, 16)] * 3 + [(4, 4)] * 3 + [(25, 25)] + [(4, 1)] * 2,
}
COARSE_ONLY = {"TZ-37MBS-2021", "BE-31UES-2019b"}
"""Patches without the four bands of 10 m."""


# Clear dates


def optical(days, brightness, masked=None, side=20):
    """A modality of one band, each date of one brightness, with this share of its pixels masked."""
    grid = GeoBox.from_bbox((5e5, 0, 5e5 + 10 * side, 10 * side), "EPSG:32631", resolution=10)
    pixels = np.broadcast_to(np.array(brightness, np.float32)[:, None, None, None], (len(days), 1, side, side))
    raw = xr.DataArray(pixels.copy(), dims=("time", "band", "y", "x"))
    raw = raw.assign_coords(time=np.array(days, "datetime64[ns]"))
    cover = np.arange(side * side).reshape(side, side) / side**2
    mask = None
    if masked is not None:
        mask = xr.DataArray(np.stack([cover < share for share in masked]), dims=("time", "y", "x"))
    return Modality("s2", raw, sensor("sentinel-2-l2a").bands[2:3], grid, Calibration.identity(1), mask)


def test_a_quarter_gives_its_least_masked_date_of_median_brightness():
    days = ["2020-01-05", "2020-02-01", "2020-02-20", "2020-03-01", "2020-03-20", "2020-05-05", "2021-06-05"]
    bright = [0.1, 0.9, 0.3, 0.2, 0.25, 0.5, 0.6]
    found = quarter_dates(optical(days, bright, masked=[0, 0, 0, 0, 0.01, 0.9, 0.5]))
    assert [days[i] for i in found] == ["2020-02-20", "2021-06-05"], "0.3 is the (upper) median of 0.1, 0.2, 0.3, 0.9"


def test_a_date_without_a_radar_pass_in_a_week_is_not_chosen():
    days = ["2020-01-05", "2020-01-20", "2020-02-20"]
    light, radar = optical(days, [0.1, 0.1, 0.1], [0, 0.5, 0]), optical(["2020-01-14"], [0.1])
    assert quarter_dates(light, radar) == [1]
    assert quarter_dates(light) == [2]
    assert clear_dates(light, radar).tolist() == []
    assert clear_dates(light, radar, most=0.5).tolist() == [1]
    with pytest.raises(NothingObserved, match="No date of 's2' has a radar pass within a week"):
        quarter_dates(light, optical(["2021-01-14"], [0.1]))


def test_nearest_dates_are_nearest_in_time():
    radar = optical(["2020-01-01", "2020-01-13", "2020-01-25"], [0.1] * 3)
    wanted = np.array(["2020-01-08", "2020-01-20", "2019-05-01"], "datetime64[ns]")
    assert nearest_dates(radar, wanted) == [1, 2, 0]


def test_coarse_pixels_are_repeated_where_they_lie():
    side, coarse = 8, optical(["2020-01-05", "2020-02-05"], [0.1, 0.2], [0.25, 0.5], side=8)
    coarse = replace(coarse, grid=coarse.grid.zoom_to((side, side)))
    wide = GeoBox.from_bbox((5e5, 0, 5e5 + 20 * side, 20 * side), "EPSG:32631", resolution=20)
    noise = np.random.default_rng(0).normal(size=coarse.raw.shape).astype(np.float32)
    fine = patches._fine(replace(coarse, grid=wide, raw=coarse.raw.copy(data=noise)))
    assert fine.pixel_m == 10
    assert fine.grid.boundingbox == wide.boundingbox
    np.testing.assert_array_equal(fine.times, coarse.times)
    np.testing.assert_array_equal(fine.raw, noise.repeat(2, 2).repeat(2, 3))
    np.testing.assert_array_equal(fine.mask, coarse.mask.values.repeat(2, 1).repeat(2, 2))


@pytest.mark.real_data
@pytest.mark.parametrize("name", [name for names in PATCHES.values() for name in names])
def test_chosen_dates_of_a_patch_are_clear_and_spread_over_the_year(shared_data, name):
    scene = open_patch(shared_data, name)
    light = scene["s2"]
    assert {m.grid for m in scene.modalities.values()} == {light.grid}
    assert (light.pixel_m, tuple(light.grid.shape)) == (10, (64, 64))
    chosen = quarter_dates(light, scene["s1"])
    months = [int(str(light.times[i])[5:7]) for i in chosen]
    assert [(m - 1) // 3 for m in months] == [0, 1, 2, 3]
    assert not light.mask.isel(time=chosen).any(), "upstream's own mask sees no cloud"
    whole = values(light, chosen)
    blue = whole[:, 0] if name not in COARSE_ONLY else whole[:, 3]
    assert blue.mean((1, 2)).max() < (0.08 if name not in COARSE_ONLY else 0.2), "haze would be brighter"
    radar = scene["s1"].times[nearest_dates(scene["s1"], light.times[chosen])]
    assert (np.abs(radar - light.times[chosen]) <= np.timedelta64(7, "D")).all()


# Windows


@pytest.fixture(scope="module")
def real(shared_data):
    return {role: real_windows(shared_data, role) for role in ("test", "other")}


@pytest.mark.real_data
@pytest.mark.parametrize("role", ["test", "other"])
def test_real_windows_are_whole_and_in_physical_units(real, role):
    found = real[role]
    n = sum(count for count, _ in WINDOWS[role])
    assert found.views["s2"].pixels.shape == (n, 1, 10, 48, 48)
    assert found.views["s1"].pixels.shape == (n, 1, 2, 48, 48)
    assert [b.name for b in found.views["s2"].bands] == list(BANDS["s2"])
    assert [b.polarization for b in found.views["s1"].bands] == ["VV", "VH"]
    np.testing.assert_array_equal(np.bincount(found.place), [count for count, _ in WINDOWS[role]])
    assert len(found.names) == len(WINDOWS[role])
    for place, name in enumerate(found.names):
        mine = found.place == place
        gaps = np.isnan(found.views["s2"].pixels[mine]).mean((0, 1, 3, 4))
        lacking = {band for band, gap in zip(BANDS["s2"], gaps, strict=True) if gap}
        assert lacking == ({"B02", "B03", "B04", "B08"} if name in COARSE_ONLY else set())
        assert set(gaps) <= {0, 1}
        mean = np.nan_to_num(found.views["s2"].pixels[mine]).mean((0, 1, 3, 4))
        snow = name in ("609U_541L_3_0", "S2B_MSIL2A_20180204T94161_57_38")
        assert 0.04 < mean[-1] < 0.35, "no offset is left"
        assert mean[7] > mean[3] or snow, "the near infrared is brighter than the red edge"
        assert -15 < found.views["s1"].pixels[mine][:, :, 0].mean() < -7, "decibels of VV"
    for name, (low, high) in {"s2": (0.0, 1.2), "s1": (-35.0, 5.0)}.items():
        view = found.views[name]
        assert low <= np.nanpercentile(view.pixels, 1) < np.nanpercentile(view.pixels, 99) <= high
        assert view.points.shape == (n, 64, 2)
        assert view.points.min() >= 0
        assert view.points.max() < 48
        assert ((view.day_of_year >= 1) & (view.day_of_year < 367)).all()
    assert np.isfinite(found.views["s1"].pixels).all()
    apart = np.abs(found.views["s2"].day_of_year - found.views["s1"].day_of_year)
    assert apart.max() < 7, "both sensors saw the ground in one week"


@pytest.mark.real_data
@pytest.mark.parametrize("role", ["test", "other"])
def test_windows_of_one_ground_are_several_dates_of_one_place(real, role):
    found = real[role]
    for place, (count, different) in enumerate(WINDOWS[role]):
        ground = found.ground[found.place == place]
        assert len(ground) == count
        assert len(set(ground.tolist())) == different
        days = found.views["s2"].day_of_year[found.place == place, 0]
        assert len(set(zip(ground.tolist(), days.tolist(), strict=True))) == count, (
            "each date of a ground is there once"
        )
    assert len(set(found.ground.tolist())) == sum(different for _, different in WINDOWS[role])


@pytest.mark.real_data
def test_one_date_of_each_place_can_be_asked_for(real, shared_data):
    few = real_windows(shared_data, "test", dates=1)
    assert len(few.place) == 46
    assert len(set(few.ground.tolist())) == 46
    assert few.names == real["test"].names
    for name, view in few.views.items():
        kept = [np.flatnonzero(real["test"].ground == g)[0] for g in dict.fromkeys(real["test"].ground.tolist())]
        np.testing.assert_array_equal(view.pixels, real["test"].views[name].pixels[kept])


@pytest.mark.real_data
def test_places_of_the_test_role_are_on_the_list_that_no_weights_may_see(real, shared_data):
    readme = (shared_data / "README.md").read_text(encoding="utf-8")
    forever = re.search(r"\*Test for ever\*(.*?)\*Train\*", readme, re.DOTALL)[1]
    pairs = sorted(p.name for p in (shared_data / "bigearthnet-examples" / "BigEarthNet-S2-Example").iterdir())
    assert "last three pairs by name" in " ".join(forever.split())
    assert "the Tanzanian patch and `BE-31UES-2019a`" in " ".join(forever.split())
    tanzania = {name for name in PATCHES["test"] if name.startswith("TZ")}
    test, other = set(real["test"].names), set(real["other"].names)
    assert all(f"`{name}`" in forever or name in pairs[-3:] or name in tanzania for name in test)
    assert not any(name in forever or name in pairs[-3:] or name.startswith("TZ") for name in other)
    assert not test & other
    assert set(series_windows(shared_data, "test").names) == set(PATCHES["test"]) <= test


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


@pytest.mark.real_data
def test_a_window_of_a_patch_shows_its_date(real, shared_data):
    found, name = real["test"], "BE-31UES-2019a"
    mine = np.flatnonzero(found.place == found.names.index(name))
    with xr.open_dataset(
        shared_data / "sits-worldcereal-cubes" / name / "S2_L2A_10m.nc", engine="h5netcdf", decode_coords=False
    ) as stored:
        red = stored["B04"].values
        days = [int(np.datetime64(str(t)[:10], "D").astype(object).strftime("%j")) for t in stored["timestamp"].values]
    for k in mine:
        view = found.views["s2"]
        (date,) = [
            i for i, day in enumerate(days) if day == int(view.day_of_year[k, 0])
            and np.allclose(red[i, :48, :48], view.pixels[k, 0, 2], atol=1e-6)
        ]  # fmt: skip
        assert 0 <= date < len(red)


@pytest.mark.parametrize("role", ["test", "other"])
def test_a_folder_without_the_places_is_refused(tmp_path, role):
    with pytest.raises(SceneReadError, match="holds none of terramind-chips, bigearthnet-examples"):
        real_windows(tmp_path, role)
    with pytest.raises(SceneReadError, match="does not hold sits-worldcereal-cubes"):
        series_windows(tmp_path, role)


def test_corners_lie_inside_an_empty_rim_and_leave_gaps_out():
    seen = np.ones((120, 120), bool)
    assert _corners(seen) == [(0, 0), (0, 48), (48, 0), (48, 48)]
    seen[:3] = False
    assert _corners(seen) == [(3, 3), (3, 51), (51, 3), (51, 51)]
    seen[60, 60] = False
    assert _corners(seen) == [(48, 0)], "no rim is free of a gap in the middle: only whole windows from the corner on"


def test_a_band_that_is_not_a_number_is_as_if_it_were_absent(model):
    rng = np.random.default_rng(0)
    pixels = (0.2 + 0.05 * rng.normal(size=(3, 1, 10, 48, 48))).astype(np.float32)
    coarse = [BANDS["s2"].index(b) for b in ("B05", "B06", "B07", "B8A", "B11", "B12")]
    whole = view_of("s2", np.full_like(pixels, np.nan), np.full((3, 1), 100.0))
    whole.pixels[:, :, coarse] = pixels[:, :, coarse]
    absent = replace(whole, pixels=pixels[:, :, coarse], bands=tuple(whole.bands[i] for i in coarse))
    for one, other in zip(robust.experts(model.encoder, whole), robust.experts(model.encoder, absent), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


# Series


@pytest.mark.real_data
@pytest.mark.parametrize(("role", "counts"), [("test", [5, 4]), ("other", [7, 8])])
def test_series_are_six_clear_dates_that_no_other_window_has(shared_data, role, counts):
    found = series_windows(shared_data, role)
    assert found.names == PATCHES[role]
    np.testing.assert_array_equal(np.bincount(found.place), counts)
    np.testing.assert_array_equal(found.ground, found.place)
    for name, view in found.views.items():
        assert view.pixels.shape == (sum(counts), 6, len(BANDS[name]), 48, 48)
        assert view.day_of_year.shape == (sum(counts), 6)
        for place in range(2):
            mine = view.pixels[found.place == place]
            days = view.day_of_year[found.place == place]
            if name == "s2":
                flat = np.nan_to_num(mine.reshape(-1, mine[0, 0].size))
                assert len(np.unique(flat, axis=0)) == len(flat), "no date is in two windows"
            assert all(len(set(row.tolist())) == 6 for row in days)
            # Seen as angles, the dates of a window are spread over the year, not one season.
            angle = days * 2 * np.pi / 365.25
            assert (np.hypot(np.cos(angle).mean(1), np.sin(angle).mean(1)) < 0.8).all()
    assert np.isfinite(found.views["s1"].pixels).all()
    assert 0 < np.nanpercentile(found.views["s2"].pixels, 1) < np.nanpercentile(found.views["s2"].pixels, 99.5) < 0.7
