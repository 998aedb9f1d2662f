"""What was measured at a place: the right pixels, dates and units, whatever grid the modality lies on."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Calibration, Modality
from georeset_lab.embed.locate import lonlat_of
from georeset_lab.embed.profiles.place_pixels import (
    Measured,
    distance_km,
    measure,
    pixel_area_ha,
    pixels_on,
    window_around,
)

GRID = GeoBox((40, 50), Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32633")
BANDS = (BandSpec("B04", 0.665, 0.03, 10), BandSpec("B08", 0.842, 0.1, 10))


def modality(pixel: float = 10.0, shift: float = 0.0, dates: tuple[str, ...] = ("2020-06-01",), **kwargs) -> Modality:
    """Stored numbers say which pixel, band and date they are of: 1000 date + 100 row + col, band 1 twice that."""
    rows, cols = int(400 / pixel), int(500 / pixel)
    y, x = np.indices((rows, cols))
    raw = np.stack([np.stack([1000 * t + 100 * y + x, 2 * (1000 * t + 100 * y + x)]) for t in range(len(dates))])
    coords = {"time": np.array(dates, "datetime64[ns]")}
    where = GeoBox((rows, cols), Affine(pixel, 0, 600_000 + shift, 0, -pixel, 5_000_000), "EPSG:32633")
    array = xr.DataArray(raw.astype("int32"), dims=("time", "band", "y", "x"), coords=coords)
    return Modality("s2", array, BANDS, where, Calibration((0.5, 0.5), (0.0, 0.0), -9), **kwargs)


def flat(row: int, col: int) -> int:
    return row * 50 + col


def test_a_pixel_of_the_map_takes_the_pixel_that_holds_its_centre():
    fine = measure(modality(), GRID, np.array([flat(3, 7), flat(39, 49)]))
    np.testing.assert_allclose(fine.values[0], 0.5 * np.array([[307, 614], [3949, 7898]]))
    coarse = measure(modality(pixel=20), GRID, np.array([flat(3, 7)]))
    assert coarse.values[0, 0, 0] == 0.5 * (100 * 1 + 3)


def test_outside_and_masked_are_nan_and_dates_are_put_in_order():
    found = measure(
        modality(shift=100.0, dates=("2021-01-01", "2020-01-01")), GRID, np.array([flat(5, 3), flat(5, 12)])
    )
    assert np.isnan(found.values[:, 0]).all()
    np.testing.assert_allclose(found.values[:, 1, 0], [0.5 * 1502, 0.5 * 502])
    assert (np.diff(found.times) > np.timedelta64(0)).all()
    mask = np.zeros((2, 40, 50), bool)
    mask[1, 5, 12] = True
    hidden = modality(dates=("2020-01-01", "2021-01-01"), mask=xr.DataArray(mask, dims=("time", "y", "x")))
    np.testing.assert_array_equal(
        np.isnan(measure(hidden, GRID, np.array([flat(5, 12)])).values[:, 0, 0]), [False, True]
    )


def test_a_lazy_modality_gives_the_same_numbers():
    eager, pixels = modality(dates=("2020-01-01", "2020-02-01")), np.array([flat(0, 0), flat(20, 30)])
    lazy = dataclasses.replace(eager, raw=eager.raw.chunk({"y": 16, "x": 16}))
    np.testing.assert_array_equal(measure(lazy, GRID, pixels).values, measure(eager, GRID, pixels).values)


def test_another_crs_is_gone_through_degrees():
    other = GeoBox((30, 80), Affine(10, 0, 128_350, 0, -10, 5_010_150), "EPSG:32634")
    pixels = np.arange(0, 2000, 37)
    lon, lat = lonlat_of(GRID, *np.divmod(pixels, 50))
    rows, cols = pixels_on(other, GRID, pixels)
    assert (rows >= 0).any()
    assert (rows < 0).any()
    back_lon, back_lat = lonlat_of(other, rows[rows >= 0], cols[rows >= 0])
    far = max(
        distance_km((a, b), (c, d))
        for a, b, c, d in zip(lon[rows >= 0], lat[rows >= 0], back_lon, back_lat, strict=True)
    )
    assert far < 0.0072  # half a diagonal of a pixel of 10 m


def test_medians_quartiles_and_extremes_leave_out_what_is_missing():
    rng = np.random.default_rng(0)
    values = rng.random((5, 9, 2)).astype("f4")
    values[rng.random(values.shape) < 0.3] = np.nan
    values[:, 4, 1] = np.nan
    found = Measured(BANDS, np.arange(5).astype("datetime64[D]").astype("datetime64[ns]"), values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy warns where nothing is finite
        typical = np.nanmedian(values, axis=0)
        np.testing.assert_allclose(found.typical(), typical, rtol=1e-6)
        np.testing.assert_allclose(found.extremes(), [np.nanmin(values, axis=0), np.nanmax(values, axis=0)])
        np.testing.assert_allclose(found.quartiles(), np.nanquantile(typical, (0.25, 0.5, 0.75), axis=0), rtol=1e-6)
        np.testing.assert_allclose(found.at_dates(), np.nanmedian(values, axis=1), rtol=1e-6)
    assert np.isnan(found.typical()[4, 1])


def test_ndvi_needs_both_its_bands():
    values = np.array([[[0.1, 0.3]], [[0.2, np.nan]]], "f4")
    found = Measured(BANDS, np.array(["2020", "2021"], "datetime64[ns]"), values)
    np.testing.assert_allclose(found.ndvi(), [0.5, np.nan], rtol=1e-6)
    assert dataclasses.replace(found, bands=(BANDS[0], BandSpec("B11", 1.61, 0.09, 20))).ndvi() is None


@pytest.mark.parametrize(("row", "col", "rows", "cols"), [(20, 25, (15, 25), (20, 30)), (0, 49, (0, 10), (40, 50))])
def test_a_window_keeps_its_size_at_the_edge(row, col, rows, cols):
    found = window_around(modality(), row, col, 100)
    assert [(w.start, w.stop) for w in found] == [rows, cols]


def test_areas_and_distances_on_the_ground():
    assert pixel_area_ha(GRID, 3) == pytest.approx(0.01)
    degrees = GeoBox((10, 10), Affine(0.001, 0, 10, 0, -0.001, 60), "EPSG:4326")
    # A thousandth of a degree is 111.4 m of latitude at 60 N and 55.8 m of longitude (WGS 84).
    assert pixel_area_ha(degrees, 0) == pytest.approx(0.1114 * 55.8 / 10 * 1, rel=0.01)
    assert distance_km((10.0, 60.0), (10.0, 61.0)) == pytest.approx(111.42, abs=0.01)
