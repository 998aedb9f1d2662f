"""`load_scene` recognises, fixes with a named warning, or refuses by name; what it returns is physical and in place."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr
from affine import Affine

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.load import load_scene
from georeset_lab.data.scene import Scene
from georeset_lab.data.sensors import sensor
from georeset_lab.errors import (
    BandMismatch,
    BandsAssumed,
    BandsSuspect,
    EmptyScene,
    GeoresetWarning,
    MissingCRS,
    NothingObserved,
    Reprojected,
    SceneReadError,
    UnitError,
    UnitsInferred,
    UnknownModality,
    UnknownSensor,
)

UTM = "EPSG:32633"
L2A = sensor("sentinel-2-l2a")
WATER = np.array([300, 320, 380, 250, 200, 180, 170, 150, 140, 120, 60, 40])
CROP = np.array([250, 300, 700, 400, 1100, 3000, 4100, 4300, 4500, 4600, 2300, 1200])
SOIL = np.array([500, 700, 1100, 1600, 1800, 2000, 2200, 2400, 2600, 2700, 3500, 2900])


def counts(rows: int = 24, cols: int = 24, offset: int = 0) -> np.ndarray:
    """Sentinel-2 L2A counts ``(band, y, x)`` of a lake, a field and bare soil."""
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(3), -(-rows // 3))[:rows]
    spectra = np.array([WATER, CROP, SOIL])[kind].T[:, :, None]
    values = spectra * rng.normal(1, 0.05, (12, rows, cols)) + offset
    return np.maximum(np.round(values), 1).astype(np.uint16)


def write(path: Path, values: np.ndarray, names: tuple[str, ...] | None = None, **options: Any) -> Path:
    """GeoTIFF of ``(band, y, x)``; 10 m pixels at (500000, 5000000) unless told otherwise."""
    tags = options.pop("tags", {})
    bands, rows, cols = values.shape
    profile = {
        "driver": "GTiff", "count": bands, "height": rows, "width": cols, "dtype": values.dtype, "crs": UTM,
        "transform": Affine(10, 0, 500000, 0, -10, 5000000),
    } | options  # fmt: skip
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(values)
        if names:
            dst.descriptions = names
        if tags:
            dst.update_tags(**tags)
    return path


def quiet(source: Any, **options: Any) -> Scene:
    """Scene without the warnings that the test is not about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeoresetWarning)
        return load_scene(source, **options)


@pytest.fixture
def s2(tmp_path: Path) -> Path:
    return write(tmp_path / "S2L2A.tif", counts(), L2A.band_names, tags={"datetime": "2021-05-06"})


# ------------------------------------------------------------------------------------------------------ several sources
def test_the_call_of_the_issue_gives_three_modalities_in_physical_units(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    paths = {
        "s2": write(tmp_path / "S2L2A.tif", counts(offset=1000), L2A.band_names),
        "s1": write(tmp_path / "S1RTC.tif", rng.normal(-12, 3, (2, 24, 24)).astype("float32"), ("VV_dB", "VH_dB")),
        "dem": write(tmp_path / "DEM.tif", rng.integers(90, 130, (1, 24, 24)).astype("int16"), ("elevation_m",)),
    }
    sensors = {"s2": "sentinel-2-l2a", "s1": "sentinel-1-rtc", "dem": "copernicus-dem"}
    with pytest.warns(UnitsInferred, match=r"'s2'.*baseline-04\.00: x 0\.0001 - 0\.1"):
        scene = load_scene({k: str(v) for k, v in paths.items()}, sensors=sensors)
    assert list(scene) == ["s2", "s1", "dem"]
    assert scene.crs.epsg == 32633
    data = scene["s2"].data
    assert data.dims == ("time", "band", "y", "x")
    assert data.dtype == np.float32
    np.testing.assert_allclose(data.values[0], counts() / 1e4, atol=1e-6)
    assert data.attrs["units"] == "1"
    assert any("baseline-04.00" in n for n in scene["s2"].notes)
    assert scene["s1"].data.attrs["units"] == "dB"
    assert scene["s1"].band_names == ("VV", "VH")
    assert float(scene["dem"].data.max()) < 130


def test_a_folder_of_chips_is_read_without_being_told_the_sensors(tmp_path: Path) -> None:
    write(tmp_path / "S2L2A.tif", counts(), L2A.band_names)
    write(tmp_path / "S2L1C.tif", counts(), L2A.band_names)
    write(tmp_path / "LULC.tif", np.ones((1, 24, 24), np.uint8))
    scene = quiet(tmp_path)
    assert list(scene) == ["s2"]
    assert scene["s2"].sensor == "sentinel-2-l2a"
    assert any("Level 1C left out" in n for n in scene["s2"].notes)


def test_one_band_per_file_becomes_one_modality_on_the_finest_grid_with_its_cloud_mask(tmp_path: Path) -> None:
    folder = tmp_path / "S2B_MSIL2A_20200223T032739"
    folder.mkdir()
    values = counts()
    for i, band in enumerate(L2A.bands):
        k = round(band.gsd_m / 10)
        grid = Affine(10 * k, 0, 500000, 0, -10 * k, 5000000)
        write(folder / f"{band.name}.tif", values[i : i + 1, ::k, ::k], transform=grid)
    cloud = np.zeros((1, 24, 24), np.uint8)
    cloud[0, :, :5] = 2
    write(folder / "cloud_mask.tif", cloud)
    modality = quiet(folder)["s2"]
    assert modality.band_names == L2A.band_names
    assert modality.raw.shape == (1, 12, 24, 24)
    assert [b.gsd_m for b in modality.bands][:5] == [60, 10, 10, 10, 20]
    assert str(modality.times[0])[:19] == "2020-02-23T03:27:39"
    assert np.isnan(modality.data.values[0, :, :, :5]).all()
    assert np.isfinite(modality.data.values[0, :, :, 5:]).all()
    assert "masked by cloud_mask (mask)" in modality.notes
    # B11 (20 m) repeats each of its pixels twice
    b11 = modality.raw.values[0, 10]
    assert np.array_equal(b11[::2, ::2], b11[1::2, 1::2])


def test_a_list_is_several_dates_in_order(tmp_path: Path) -> None:
    late = write(tmp_path / "S2_L2A_2021-07-01.tif", counts() + 5, L2A.band_names)
    early = write(tmp_path / "S2_L2A_2021-05-01.tif", counts(), L2A.band_names)
    modality = quiet({"s2": [late, early]}, sensors="sentinel-2-l2a")["s2"]
    assert modality.times.astype("datetime64[D]").astype(str).tolist() == ["2021-05-01", "2021-07-01"]
    assert np.array_equal(modality.raw.values[1] - modality.raw.values[0], np.full((12, 24, 24), 5))


def test_dates_of_different_baselines_agree_after_reading(tmp_path: Path) -> None:
    before = write(tmp_path / "S2_L2A_2021-05-01.tif", counts(), L2A.band_names)
    after = write(tmp_path / "S2_L2A_2022-05-01.tif", counts(offset=1000), L2A.band_names)
    data = quiet({"s2": [before, after]}, sensors="sentinel-2-l2a")["s2"].data.values
    np.testing.assert_allclose(data[0], data[1], atol=1e-6)


def test_an_array_that_mixes_baselines_is_split_by_date() -> None:
    cube = np.stack([counts(), counts(), counts(offset=1000)])
    times = pd.to_datetime(["2021-01-05", "2022-01-10", "2022-02-01"])
    array = placed(cube, times=times)
    data = quiet(array, sensors="sentinel-2-l2a")["s2"].data.values
    np.testing.assert_allclose(data[0], data[2], atol=1e-6)
    np.testing.assert_allclose(data[0], counts() / 1e4, atol=1e-6)


def placed(values: np.ndarray, times: Any = None, names: tuple[str, ...] = L2A.band_names) -> xr.DataArray:
    """``(time, band, y, x)`` as a DataArray with its CRS."""
    values = values if values.ndim == 4 else values[None]
    rows, cols = values.shape[2:]
    coords = {"band": list(names), "y": 5e6 - 10 * (np.arange(rows) + 0.5), "x": 5e5 + 10 * (np.arange(cols) + 0.5)}
    if times is not None:
        coords["time"] = times
    return xr.DataArray(values, dims=("time", "band", "y", "x"), coords=coords).rio.write_crs(UTM)


def test_the_order_of_bands_in_a_file_does_not_matter(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(0).permutation(12)
    plain = quiet(write(tmp_path / "a.tif", counts(), L2A.band_names), sensors="sentinel-2-l2a")["s2"]
    names = tuple(L2A.band_names[i] for i in shuffled)
    other = quiet(write(tmp_path / "b.tif", counts()[shuffled], names), sensors="sentinel-2-l2a")["s2"]
    np.testing.assert_array_equal(other.select_bands(plain.band_names).data.values, plain.data.values)


def test_scl_in_a_dataset_masks_clouds_at_its_own_pixel_size(tmp_path: Path) -> None:
    fine = placed(counts())[0].to_dataset("band")
    scl = np.full((12, 12), 4, np.uint8)
    scl[:3] = 9
    coarse = xr.Dataset(
        {"SCL": (("y", "x"), scl)},
        coords={"y": 5e6 - 20 * (np.arange(12) + 0.5), "x": 5e5 + 20 * (np.arange(12) + 0.5)},
        attrs={"crs": UTM},
    )
    modality = quiet({"s2": [fine, coarse]}, sensors="sentinel-2-l2a")["s2"]
    assert np.isnan(modality.data.values[0, :, :6]).all()
    assert np.isfinite(modality.data.values[0, :, 6:]).all()


# -------------------------------------------------------------------------------------------------------- lazy, store
def test_lazy_stays_lazy_and_equals_eager(s2: Path) -> None:
    eager, lazy = quiet(s2)["s2"], quiet(s2, chunks=8)["s2"]
    assert lazy.is_lazy
    assert not eager.is_lazy
    assert lazy.raw.dtype == np.uint16
    np.testing.assert_array_equal(lazy.data.values, eager.data.values)
    np.testing.assert_array_equal(lazy.read(slice(3, 9), slice(20, 30)), eager.read(slice(3, 9), slice(20, 30)))


def test_a_scene_store_is_read_back(s2: Path, tmp_path: Path) -> None:
    scene = quiet(s2)
    scene.to_zarr(tmp_path / "scene.zarr")
    again = load_scene(tmp_path / "scene.zarr")
    np.testing.assert_array_equal(again["s2"].data.values, scene["s2"].data.values)
    assert load_scene(scene) is scene


def test_simulated_scenes_come_through_the_same_door() -> None:
    scene = load_scene("simulated", seed=3, size=(48, 48))
    assert "s2" in scene
    assert scene.truth is not None


def test_bbox_keeps_the_part_that_is_asked_for(s2: Path) -> None:
    whole = quiet(s2)
    west, south, east, north = whole.extent.to_crs("EPSG:4326").bbox
    part = quiet(s2, bbox=(west, south, (west + east) / 2, north))
    assert 10 <= part["s2"].raw.shape[3] <= 14


# ------------------------------------------------------------------------------------------------ bands and sensors
def test_unnamed_bands_are_taken_in_the_order_of_the_sensor_with_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", counts())
    with pytest.warns(BandsAssumed, match="does not name its 12 bands"):
        modality = load_scene(path, sensors="sentinel-2-l2a", scale=(1e-4, 0))["s2"]
    assert modality.band_names == L2A.band_names


def test_a_wrong_number_of_unnamed_bands_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", counts()[:5])
    with pytest.raises(BandMismatch, match=r"has 5 bands without names, sentinel-2-l2a has 12 .*Pass bands="):
        load_scene(path, sensors="sentinel-2-l2a")
    named = quiet(path, sensors="sentinel-2-l2a", bands=["B01", "B02", "B03", "B04", "B05"])["s2"]
    assert named.band_names == ("B01", "B02", "B03", "B04", "B05")


def test_bands_of_another_sensor_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", counts()[:2], ("chlorophyll", "turbidity"))
    with pytest.raises(BandMismatch, match="names its bands chlorophyll, turbidity, none of which"):
        load_scene(path, sensors="sentinel-2-l2a")


def test_missing_bands_and_20_m_products_are_fine(tmp_path: Path) -> None:
    names = ("B05", "B06", "B07", "B8A", "B11", "B12")
    index = [L2A.band_names.index(n) for n in names]
    grid = Affine(20, 0, 500000, 0, -20, 5000000)
    path = write(tmp_path / "x.tif", counts()[index], names, transform=grid)
    modality = quiet(path, sensors="sentinel-2-l2a")["s2"]
    assert modality.band_names == names
    assert modality.pixel_m == pytest.approx(20)


def test_any_other_sensor_is_a_list_of_bands(tmp_path: Path) -> None:
    values = counts(9, 9)[[3, 7]].astype("int16")
    path = write(tmp_path / "drone.tif", values)
    bands = [BandSpec("red", 0.66, 0.03, 0.1), BandSpec("nir", 0.84, 0.1, 0.1)]
    with pytest.raises(UnitError, match=r"State it: load_scene"):
        load_scene(path, bands={"drone": bands})
    modality = load_scene(path, bands={"drone": bands}, scale=(1e-4, 0))["drone"]
    np.testing.assert_allclose(modality.data.values[0], values / 1e4, atol=1e-6)
    with pytest.raises(BandMismatch, match=r"has 2 bands .* but 3 BandSpecs"):
        load_scene(path, bands=[*bands, BandSpec("blue", 0.48, 0.06, 0.1)], scale=(1e-4, 0))


def test_nanometres_given_as_micrometres_are_refused() -> None:
    with pytest.raises(UnitError, match=r"looks like nanometres: pass center_um=0\.66"):
        BandSpec("red", 660, 30, 10)


def test_an_unknown_sensor_is_refused_with_close_names(s2: Path) -> None:
    with pytest.raises(UnknownSensor, match="sentinel-2-l2a"):
        load_scene(s2, sensors="sentinel-2-l2")
    path = write(s2.parent / "image.tif", counts(), L2A.band_names)
    with pytest.raises(UnknownSensor, match=r"Nothing says which sensor made modality 'image'.*sensors="):
        load_scene(path)


def test_arguments_for_modalities_that_do_not_exist_are_refused(s2: Path) -> None:
    with pytest.raises(UnknownModality, match="scale= names 'S2', but the modalities are 's2'"):
        load_scene({"s2": s2}, scale={"S2": (1e-4, 0)})


def test_a_red_band_named_b07_is_noticed_as_in_the_rondonia_set() -> None:
    names = ("B02", "B03", "B07", "B08", "B8A", "B11", "B12")
    index = [L2A.band_names.index(n) for n in ("B02", "B03", "B04", "B08", "B8A", "B11", "B12")]
    array = placed((counts()[index] / 1e4).astype("float32"), names=names)
    with pytest.warns(BandsSuspect, match=r"band B07 \(0\.783 um\) reads .* perhaps red"):
        modality = load_scene(array, sensors="sentinel-2-l2a")["s2"]
    assert any("band B07" in n for n in modality.notes)


# ------------------------------------------------------------------------------------------------------ units, missing
def test_a_given_scale_overrides_and_is_noted_without_a_warning(s2: Path) -> None:
    modality = load_scene(s2, scale={"s2": (1e-4, 0.0)})["s2"]
    assert modality.calibration.offset == (0.0,) * 12
    assert "scale and offset as given: x 0.0001 + 0" in modality.notes


def test_zero_means_not_measured_in_sentinel2_counts(tmp_path: Path) -> None:
    values = counts()
    values[:, :4, :4] = 0
    data = quiet(write(tmp_path / "x.tif", values, L2A.band_names), sensors="sentinel-2-l2a")["s2"].data.values
    assert np.isnan(data[0, :, :4, :4]).all()
    assert np.isfinite(data[0, :, 4:]).all()


def test_pixels_that_are_zero_in_every_float_band_are_masked_with_a_note(tmp_path: Path) -> None:
    values = (counts() / 1e4).astype("float32")
    values[:, :4, :4] = 0
    modality = quiet(write(tmp_path / "x.tif", values, L2A.band_names), sensors="sentinel-2-l2a")["s2"]
    assert np.isnan(modality.data.values[0, :, :4, :4]).all()
    assert "pixels that are 0 in every band taken as not measured" in modality.notes


def test_linear_radar_power_becomes_db(tmp_path: Path) -> None:
    db = np.random.default_rng(1).normal(-12, 3, (2, 24, 24))
    path = write(tmp_path / "S1RTC.tif", (10 ** (db / 10)).astype("float32"), ("VV", "VH"))
    with pytest.warns(UnitsInferred, match="linear power .* turned into dB"):
        data = load_scene(path)["s1"].data.values
    np.testing.assert_allclose(data[0], db, atol=1e-4)


def test_display_bytes_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", (counts() // 20).clip(1, 255).astype("uint8"), L2A.band_names)
    with pytest.raises(UnitError, match="8-bit numbers"):
        load_scene(path, sensors="sentinel-2-l2a")


def test_an_all_nan_scene_warns_and_opens(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", np.full((12, 6, 6), np.nan, "float32"), L2A.band_names)
    with pytest.warns(EmptyScene, match="holds no measured pixel"):
        scene = load_scene(path, sensors="sentinel-2-l2a")
    assert np.isnan(scene["s2"].data.values).all()


def test_a_one_pixel_scene_works(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", CROP.astype("uint16").reshape(12, 1, 1), L2A.band_names)
    scene = quiet(path, sensors="sentinel-2-l2a")
    np.testing.assert_allclose(scene["s2"].data.values.ravel(), CROP / 1e4, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------ place
def test_no_crs_is_refused_unless_given(tmp_path: Path) -> None:
    path = write(tmp_path / "S2L2A.tif", counts(), L2A.band_names, crs=None)
    with pytest.raises(MissingCRS, match=r"S2L2A\.tif does not say"):
        load_scene(path)
    assert quiet(path, crs=UTM).crs.epsg == 32633


def test_geographic_sources_are_brought_to_utm_with_a_warning(tmp_path: Path) -> None:
    grid = Affine(1e-4, 0, 15.0, 0, -1e-4, 45.0)
    path = write(tmp_path / "x.tif", counts(60, 60), L2A.band_names, crs="EPSG:4326", transform=grid)
    with pytest.warns(Reprojected, match="'s2' was resampled to EPSG:32633"):
        scene = load_scene(path, sensors="sentinel-2-l2a", scale=(1e-4, 0))
    assert scene.crs.epsg == 32633
    again = quiet(write(tmp_path / "y.tif", counts(60, 60), L2A.band_names, crs=None, transform=grid),
                  sensors="sentinel-2-l2a", crs="EPSG:4326")  # fmt: skip
    assert again["s2"].grid == scene["s2"].grid


def test_time_gives_dates_and_selects_them(s2: Path, tmp_path: Path) -> None:
    undated = write(tmp_path / "plain.tif", counts(), L2A.band_names)
    given = quiet({"s2": undated}, sensors="sentinel-2-l2a", time="2020-04-08")["s2"]
    assert str(given.times[0])[:10] == "2020-04-08"
    with pytest.raises(NothingObserved, match="'s2' has no date in time="):
        quiet(s2, time=("1999-01-01", "1999-12-31"))


def test_missing_truncated_and_foreign_files_are_named(s2: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneReadError, match=r"There is no file or folder .*gone\.tif"):
        load_scene({"s2": tmp_path / "gone.tif"}, sensors="sentinel-2-l2a")
    whole = s2.read_bytes()
    s2.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SceneReadError, match=r"S2L2A\.tif (is truncated|cannot be opened)"):
        quiet(s2)
    vrt = tmp_path / "S2L2A_vrt.tif"
    vrt.write_text("<VRTDataset></VRTDataset>")
    with pytest.raises(SceneReadError, match="never opened"):
        load_scene(vrt)
    with pytest.raises(SceneReadError, match="dict of modalities is empty"):
        load_scene({})
    with pytest.raises(SceneReadError, match="type ndarray cannot be read"):
        load_scene(np.ones((3, 3)), sensors="sentinel-2-l2a")
