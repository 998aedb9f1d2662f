"""The sensor tables hold what the sources say, and names of bands find their band."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from georeset_lab.data.bands import band_table
from georeset_lab.data.masks import QA_TABLES
from georeset_lab.data.sensors import SENSORS, match_bands, sensor
from georeset_lab.errors import BandMismatch, UnknownSensor

BAND_COUNTS = {
    "sentinel-2-l1c": 13, "sentinel-2-l2a": 12, "sentinel-2b-l1c": 13, "sentinel-2c-l2a": 12,
    "landsat-5-l1": 7, "landsat-5-l2": 7, "landsat-7-l1": 8, "landsat-7-l2": 7, "landsat-8-l1": 11, "landsat-8-l2": 8,
    "landsat-9-l1": 11, "landsat-9-l2": 8, "hls-l30": 10, "hls-s30": 13,
    "sentinel-1-grd": 2, "sentinel-1-rtc": 2, "enmap-l2a": 224, "copernicus-dem": 1,
}  # fmt: skip


@pytest.mark.parametrize(("name", "count"), BAND_COUNTS.items())
def test_each_product_has_the_bands_it_is_delivered_with(name, count):
    assert len(sensor(name).bands) == count


@pytest.mark.parametrize("found", SENSORS.values(), ids=lambda s: s.name)
def test_every_table_is_sound(found):
    assert len(set(found.band_names)) == len(found.bands)
    assert found.source
    assert np.isfinite(band_table(found.bands)).all()
    assert set(found.qa.values()) <= {*QA_TABLES, "bqa"}
    assert all(found.find(name) == band for name, band in zip(found.band_names, found.bands, strict=True))
    for encoding in found.encodings:
        assert len(encoding.calibration(found.bands).scale) == len(found.bands)
    # A table whose encodings are empty says so because each scene has its own gains.
    assert found.encodings or found.name in ("landsat-5-l1", "landsat-7-l1", "enmap-l1c")


@pytest.mark.parametrize(
    ("name", "band", "nm", "fwhm_nm", "gsd_m"),
    [
        ("sentinel-2-l2a", "B04", 664.6, 31, 10),
        ("sentinel-2a-l1c", "B10", 1373.5, 31, 60),
        ("sentinel-2b-l2a", "B12", 2185.7, 185, 20),
        ("sentinel-2c-l2a", "B05", 707.1, 15, 20),
        ("landsat-8-l1", "B8", 589.5, 172.4, 15),
        ("landsat-9-l2", "B10", 10895, 590, 100),
        ("landsat-5-l2", "B4", 830, 140, 30),
        ("hls-s30", "B01", 442.7, 21, 60),
        ("hls-s30", "B02", 492.4, 66, 30),
    ],
)
def test_wavelengths_widths_and_sampling_are_those_of_the_sources(name, band, nm, fwhm_nm, gsd_m):
    spec = sensor(name).find(band)
    assert (spec.center_um * 1e3, spec.fwhm_um * 1e3, spec.gsd_m) == pytest.approx((nm, fwhm_nm, gsd_m))


def stored(name, band, value, encoding=0, **options):
    found = sensor(name)
    calibration = found.encodings[encoding].calibration([found.find(band)], **options)
    return float(calibration.apply(np.array(value, dtype=np.float64).reshape(1, 1, 1, 1))[0, 0, 0, 0])


@pytest.mark.parametrize(
    ("arguments", "physical"),
    [
        (("sentinel-2-l2a", "B04", 2500), 0.15),  # since baseline 04.00: 10000 * reflectance + 1000
        (("sentinel-2-l2a", "B04", 2500, 1), 0.25),  # before
        (("landsat-8-l2", "B4", 18639), 0.3125725),  # 2.75e-5 * DN - 0.2
        (("landsat-8-l2", "B10", 44577), 301.3648),  # 0.00341802 * DN + 149 K
        (("hls-l30", "B10", 1234), 285.49),  # 0.01 degrees Celsius
        (("hls-s30", "B8A", 4321), 0.4321),
        (("sentinel-1-rtc", "VV", 0.1), -10.0),  # linear power
        (("sentinel-1-grd", "VH", -17.5), -17.5),  # decibels
        (("copernicus-dem", "elevation", -3.5), -3.5),
        (("enmap-l2a", "B100", 1500), 0.15),
    ],
)
def test_stored_numbers_become_the_physical_values_of_the_handbooks(arguments, physical):
    assert stored(*arguments) == pytest.approx(physical, rel=1e-5)


def test_landsat_level_1_counts_become_reflectance_at_the_suns_height_and_brightness_temperature():
    assert stored("landsat-8-l1", "B5", 20000) == pytest.approx(2e-5 * 20000 - 0.1)
    assert stored("landsat-8-l1", "B5", 20000, sun_elevation_deg=30) == pytest.approx((2e-5 * 20000 - 0.1) * 2)
    radiance = 3.342e-4 * 25000 + 0.1
    kelvin = 1321.0789 / math.log(774.8853 / radiance + 1)
    assert stored("landsat-8-l1", "B10", 25000, sun_elevation_deg=30) == pytest.approx(kelvin, rel=1e-5)


def test_nodata_of_each_product_is_missing():
    for name, value in [("sentinel-2-l2a", 0), ("landsat-9-l2", 0), ("hls-l30", -9999), ("enmap-l2a", -32768)]:
        assert math.isnan(stored(name, SENSORS[name].bands[0].name, value)), name


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("sentinel-2-l2a", ["B4", "b04", "B04"][:1], ["B04"]),
        ("sentinel-2-l2a", ["b8a", "B8", "Band 12", "band_2"], ["B8A", "B08", "B12", "B02"]),
        ("sentinel-2-l2a", ["red", "nir08", "swir16"], ["B04", "B8A", "B11"]),
        ("sentinel-2-l1c", ["T31UDS_20200604T054639_B02_10m"], ["B02"]),
        ("landsat-8-l2", ["SR_B4", "ST_B10", "sr_b1"], ["B4", "B10", "B1"]),
        ("landsat-5-l2", ["red", "lwir"], ["B3", "B6"]),
        ("hls-l30", ["B5", "B10"], ["B05", "B10"]),
        ("sentinel-1-rtc", ["vh", "Gamma0_VV_db"], ["VH", "VV"]),
        ("sentinel-1-grd", ["VV_dB", "VH_dB"], ["VV", "VH"]),
        ("copernicus-dem", ["DEM"], ["elevation"]),
        ("enmap-l2a", ["418.24 nm", "band 11 (468.2 Nanometers)", "B224"], ["B001", "B011", "B224"]),
        ("sentinel-2-l2a", ["0.665 um", "2200 nm"], ["B04", "B12"]),
    ],
)
def test_the_usual_spellings_find_their_band_in_the_order_given(name, given, expected):
    assert [b.name for b in match_bands(sensor(name), given)] == expected


@pytest.mark.parametrize("name", ["B13", "SCL", "", "nirvana", "4000 nm", "AOT_10m", "BV4"])
def test_a_name_that_is_no_band_is_refused_with_what_there_is(name):
    with pytest.raises(BandMismatch, match=r"has no band .* it has B01, B02"):
        match_bands(sensor("sentinel-2-l2a"), [name])
    assert sensor("sentinel-2-l2a").find(name) is None


def test_two_names_for_one_band_are_refused():
    with pytest.raises(BandMismatch, match="'B4' and 'red' both stand for band B04"):
        match_bands(sensor("sentinel-2-l2a"), ["B4", "red"])


def test_the_level_2a_product_has_no_cirrus_band():
    with pytest.raises(BandMismatch, match="no band 'B10'"):
        match_bands(sensor("sentinel-2-l2a"), ["B10"])


@pytest.mark.parametrize(
    ("wrong", "close"), [("sentinel2-l2a", "sentinel-2-l2a"), ("landsat8-l2", "landsat-8-l2"), ("enmap", "enmap-l2a")]
)
def test_an_unknown_sensor_lists_close_names(wrong, close):
    with pytest.raises(UnknownSensor, match=f"No sensor is called '{wrong}'.*'{close}'"):
        sensor(wrong)


def test_a_name_like_no_other_lists_all_sensors_and_the_way_out():
    with pytest.raises(UnknownSensor, match=r"Known: copernicus-dem, .*pass bands="):
        sensor("quickbird")


def test_case_spaces_and_underscores_do_not_matter_in_sensor_names():
    assert sensor(" Sentinel_2 L2A") is sensor("sentinel-2-l2a")


def test_an_unknown_encoding_lists_those_that_exist():
    assert sensor("sentinel-2-l2a").encoding("before-04.00").offset == 0
    with pytest.raises(UnknownSensor, match=r"no encoding 'toa'; it has baseline-04.00, before-04.00"):
        sensor("sentinel-2-l2a").encoding("toa")


@pytest.mark.real_data
def test_enmap_wavelengths_agree_with_a_real_product_within_a_quarter_of_a_nanometre(shared_data):
    with (shared_data / "enmap-potsdam" / "bands.csv").open() as file:
        rows = list(csv.DictReader(file))
    bands = sensor("enmap-l2a").bands
    centre = np.array([float(r["wavelength_nm"]) for r in rows]) - np.array([b.center_um for b in bands]) * 1e3
    width = np.array([float(r["fwhm_nm"]) for r in rows]) - np.array([b.fwhm_um for b in bands]) * 1e3
    assert np.abs(centre).max() < 0.25
    assert np.abs(width).max() < 0.2
