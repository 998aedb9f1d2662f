"""Products in the packaging of their agencies open as physical values that are computed here by hand from their pixels."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from georeset_lab.data.load import load_scene
from georeset_lab.data.modality import Modality
from georeset_lab.errors import BandMismatch, BandsSuspect, MissingCRS, SceneReadError, UnitError

sys.path.insert(0, str(Path(__file__).parent))
import products

GSD = dict(zip(products.S2_BANDS, products.S2_GSD, strict=True))
SIDE_M = 360


def random_counts(
    shape: tuple[int, ...], *, low: int = 2000, high: int = 3000, seed: int = 0, kind: str = "uint16"
) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(kind)


def s2_counts(bands: tuple[str, ...], **options: int) -> dict[str, np.ndarray]:
    return {b: random_counts((SIDE_M // GSD[b],) * 2, seed=i, **options) for i, b in enumerate(bands)}


def one_band(modality: Modality, band: str) -> np.ndarray:
    """Physical values ``(y, x)`` of one band on its first date."""
    return modality.select_bands([band]).read(slice(None), slice(None))[0, 0]


def on_ten_metres(counts: np.ndarray, gsd_m: int) -> np.ndarray:
    return np.repeat(np.repeat(counts, gsd_m // 10, 0), gsd_m // 10, 1)


# ------------------------------------------------------------------------------------------------------ Sentinel-2
L2A = tuple(b for b in products.S2_BANDS if b != "B10")


@pytest.mark.parametrize("when", ["2017-06-13T10:10:31.024Z", "2022-10-05T11:54:11.024Z"])
@pytest.mark.parametrize(("offsets", "quantification"), [(-1000, 10000), (None, 10000), (-500, 5000)])
@pytest.mark.parametrize("level", ["L2A", "L1C"])
def test_reflectance_follows_the_products_metadata_and_not_its_date(
    tmp_path: Path, level: str, offsets: float | None, quantification: float, when: str
) -> None:
    counts = s2_counts(L2A if level == "L2A" else products.S2_BANDS)
    folder = products.safe(tmp_path, counts, level=level, offsets=offsets, quantification=quantification, when=when)
    scene = load_scene(folder)
    assert list(scene) == ["s2"]
    for band, stored in counts.items():
        expected = (on_ten_metres(stored, GSD[band]).astype(float) + (offsets or 0)) / quantification
        np.testing.assert_allclose(one_band(scene["s2"], band), expected, atol=1e-6, err_msg=band)
        assert next(b for b in scene["s2"].bands if b.name == band).gsd_m == GSD[band]
    assert str(scene["s2"].times[0])[:19] == when[:19]
    assert scene["s2"].sensor == f"sentinel-2a-{level.lower()}"


def test_each_band_has_the_offset_of_its_own_band_id(tmp_path: Path) -> None:
    counts = s2_counts(("B02", "B8A", "B11"))
    offsets = {b: -1000 - 10 * i for i, b in enumerate(products.S2_BANDS)}
    scene = load_scene(products.safe(tmp_path, counts, level="L1C", offsets=offsets))
    for band, stored in counts.items():
        expected = (on_ten_metres(stored, GSD[band]).astype(float) + offsets[band]) / 10000
        np.testing.assert_allclose(one_band(scene["s2"], band), expected, atol=1e-6, err_msg=band)


def test_dark_pixels_do_not_overrule_the_offset_that_an_official_product_states(tmp_path: Path) -> None:
    # Level 2A over dark water may hold counts below 1000: reflectance a little below zero is what the product says.
    counts = s2_counts(("B02", "B03", "B04", "B08"), low=900, high=1150)
    scene = load_scene(products.safe(tmp_path, counts, offsets=-1000))
    assert float(np.nanmin(scene["s2"].data)) == pytest.approx(-0.01, abs=1e-4)


def test_zero_and_saturated_counts_are_missing_in_their_band_alone(tmp_path: Path) -> None:
    counts = s2_counts(("B02", "B03"))
    counts["B02"][0, 0], counts["B02"][1, 1] = 0, 65535
    scene = load_scene(products.safe(tmp_path, counts))
    blue, green = one_band(scene["s2"], "B02"), one_band(scene["s2"], "B03")
    assert np.isnan(blue[[0, 1], [0, 1]]).all()
    assert np.isnan(blue).sum() == 2
    assert not np.isnan(green).any()


def test_bands_are_read_at_the_pixel_size_they_were_measured_with(tmp_path: Path) -> None:
    counts = s2_counts(("B01", "B02", "B8A"))
    wrong = {
        "B01_20m": random_counts((18, 18), low=9000, high=9001),
        "B02_20m": random_counts((18, 18), low=9000, high=9001),
    }
    scene = load_scene(products.safe(tmp_path, counts, copies=wrong))
    assert float(np.nanmax(scene["s2"].data)) < 0.25


def test_scene_classification_becomes_named_flags(tmp_path: Path) -> None:
    scl = np.full((18, 18), 4, "uint8")
    scl[0, :6] = (0, 1, 3, 8, 10, 11)
    scl[1, :3] = (2, 6, 9)
    modality = load_scene(products.safe(tmp_path, s2_counts(("B02", "B03", "B11")), scl=scl))["s2"]
    wanted = {
        "nodata": [0],
        "saturated": [1],
        "shadow": [3],
        "cloud": [8, 9],
        "cirrus": [10],
        "snow": [11],
        "water": [6],
    }
    for name, codes in wanted.items():
        expected = on_ten_metres(np.isin(scl, codes), 20)
        assert np.array_equal(modality.flagged(name).values[0], expected), name
    assert modality.mask is not None
    assert np.array_equal(modality.mask.values[0], on_ten_metres(np.isin(scl, [0, 1, 3, 8, 9, 10, 11]), 20))
    only_cloud = modality.masked_by("cloud")
    assert np.array_equal(only_cloud.mask.values[0], on_ten_metres(np.isin(scl, [0, 8, 9]), 20))
    assert np.isnan(only_cloud.read(slice(0, 2), slice(0, 12))[0, 0]).sum() == 8  # two pixels a side, no data and cloud
    with pytest.raises(BandMismatch, match="No flag is called 'fog'; choose from nodata"):
        modality.flagged("fog")


def test_a_level_1c_product_is_masked_by_its_own_cloud_planes(tmp_path: Path) -> None:
    planes = np.zeros((3, 6, 6), "uint8")
    planes[0, 0, 0], planes[1, 1, 1], planes[2, 2, 2] = 1, 1, 1
    modality = load_scene(products.safe(tmp_path, s2_counts(("B02", "B08")), level="L1C", classes=planes))["s2"]
    for i, name in enumerate(("cloud", "cirrus", "snow")):
        assert np.array_equal(modality.flagged(name).values[0], on_ten_metres(planes[i] != 0, 60)), name


def test_two_dates_of_different_baselines_and_satellites_agree_after_reading(tmp_path: Path) -> None:
    counts = s2_counts(("B02", "B03", "B04"))
    later = {b: v + 1000 for b, v in counts.items()}
    products.safe(tmp_path, counts, offsets=None, baseline="02.08", when="2019-05-01T10:00:00.000Z")
    products.safe(tmp_path, later, offsets=-1000, satellite="B", when="2023-05-01T10:00:00.000Z")
    modality = load_scene(tmp_path)["s2"]
    assert [str(t)[:4] for t in modality.times] == ["2019", "2023"]
    values = modality.read(slice(None), slice(None))
    np.testing.assert_allclose(values[0], values[1], atol=1e-6)
    assert modality.sensor == "sentinel-2-l2a"


def test_other_modalities_beside_a_product_are_found_too(tmp_path: Path) -> None:
    products.safe(tmp_path, s2_counts(("B02", "B08")))
    products.raster(tmp_path / "DEM.tif", random_counts((36, 36), low=100, high=120, kind="int16"), 10)
    scene = load_scene(tmp_path)
    assert set(scene) == {"s2", "dem"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (("BOA_QUANTIFICATION_VALUE", "X"), "gives no BOA_QUANTIFICATION_VALUE, so its counts have no unit"),
        ((">10000<", ">ten<"), "gives 'ten' for BOA_QUANTIFICATION_VALUE, which is no number"),
        ((">10000<", ">0<"), "BOA_QUANTIFICATION_VALUE 0; it must be above zero"),
        (('band_id="3"', 'band_id="33"'), "for band_id '33', which is no band"),
        (('<BOA_ADD_OFFSET band_id="3">-1000</BOA_ADD_OFFSET>', ""), "for some bands but not for B04"),
        (("</n1:General_Info>", ""), "is no well-formed XML"),
        (('standalone="no"?>', 'standalone="no"?><!DOCTYPE a [<!ENTITY b "c">]>'), "declares a document type"),
    ],
)
def test_damaged_sentinel2_metadata_are_named(tmp_path: Path, damage: tuple[str, str], message: str) -> None:
    folder = products.safe(tmp_path, s2_counts(("B02", "B03")))
    metadata = folder / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace(*damage))
    with pytest.raises(SceneReadError, match=message):
        load_scene(folder)


def test_a_safe_folder_without_images_or_granule_is_named(tmp_path: Path) -> None:
    folder = products.safe(tmp_path, s2_counts(("B02",)))
    for image in folder.rglob("*.jp2"):
        image.unlink()
    with pytest.raises(SceneReadError, match="none of the images they name"):
        load_scene(folder)
    (folder / "GRANULE" / "L2A_T33UVV_A1_20221005T115411").mkdir()
    with pytest.raises(SceneReadError, match="holds 2 granules"):
        load_scene(folder / "MTD_MSIL2A.xml")


def test_pixels_that_contradict_the_metadata_are_refused(tmp_path: Path) -> None:
    counts = s2_counts(("B02", "B03"), low=30_000, high=40_000)
    with pytest.raises(UnitError, match=r"would have a middle value of 3\.4"):
        load_scene(products.safe(tmp_path, counts))


# --------------------------------------------------------------------------------------------------------- Landsat
@pytest.mark.parametrize("form", ["txt", "json"])
def test_landsat_level_2_is_surface_reflectance_and_kelvin_by_the_level_2_groups(tmp_path: Path, form: str) -> None:
    counts = {
        b: random_counts((12, 12), low=20_000, high=25_000, seed=i) for i, b in enumerate(("B2", "B3", "B4", "B5"))
    }
    counts["ST_B10"] = random_counts((12, 12), low=38_000, high=46_000, seed=9)
    modality = load_scene(products.landsat(tmp_path, counts, form=form))["l8"]
    assert modality.sensor == "landsat-8-l2"
    for band in ("B2", "B3", "B4", "B5"):
        # The same keys stand once more further down in the MTL, with Level 1's 2e-5 and -0.1.
        np.testing.assert_allclose(one_band(modality, band), counts[band] * 2.75e-05 - 0.2, atol=1e-6)
    np.testing.assert_allclose(one_band(modality, "B10"), counts["ST_B10"] * 0.00341802 + 149.0, atol=1e-3)
    assert str(modality.times[0])[:19] == "2020-12-04T19:02:11"


def test_landsat_scale_factors_come_from_the_mtl_itself(tmp_path: Path) -> None:
    counts = {"B4": random_counts((6, 6)), "B5": random_counts((6, 6), seed=1)}
    changed = {
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {
            "REFLECTANCE_MULT_BAND_4": 1e-4,
            "REFLECTANCE_ADD_BAND_4": 0.01,
            "REFLECTANCE_MULT_BAND_5": 1e-4,
            "REFLECTANCE_ADD_BAND_5": 0.02,
        }
    }
    modality = load_scene(products.landsat(tmp_path, counts, groups=changed))["l8"]
    np.testing.assert_allclose(one_band(modality, "B4"), counts["B4"] * 1e-4 + 0.01, atol=1e-6)
    np.testing.assert_allclose(one_band(modality, "B5"), counts["B5"] * 1e-4 + 0.02, atol=1e-6)


@pytest.mark.parametrize("elevation", [64.74, 18.80722985])
def test_landsat_level_1_is_top_of_atmosphere_reflectance_at_the_suns_height_and_kelvin(
    tmp_path: Path, elevation: float
) -> None:
    counts = {b: random_counts((12, 12), low=8000, high=9500, seed=i) for i, b in enumerate(("B2", "B4", "B5"))}
    counts |= {"B10": random_counts((12, 12), low=22_000, high=30_000, seed=7)}
    modality = load_scene(products.landsat(tmp_path, counts, level="L1TP", sun_elevation=elevation))["l8"]
    for band in ("B2", "B4", "B5"):
        expected = (counts[band] * 2e-5 - 0.1) / math.sin(math.radians(elevation))
        np.testing.assert_allclose(one_band(modality, band), expected, atol=1e-5)
    radiance = counts["B10"] * 3.342e-4 + 0.1
    np.testing.assert_allclose(one_band(modality, "B10"), 1321.0789 / np.log(774.8853 / radiance + 1), atol=0.01)


def test_landsat_7_thermal_band_is_its_low_gain_one(tmp_path: Path) -> None:
    counts = {"B3": random_counts((6, 6), low=8000, high=9000)}
    counts["B6_VCID_1"] = random_counts((6, 6), low=24_000, high=26_000)
    counts["B6_VCID_2"] = random_counts((6, 6), low=1, high=9)
    modality = load_scene(products.landsat(tmp_path, counts, level="L1TP", satellite=7))["l7"]
    assert modality.band_names == ("B3", "B6")
    radiance = counts["B6_VCID_1"] * 3.342e-4 + 0.1
    np.testing.assert_allclose(one_band(modality, "B6"), 1282.71 / np.log(666.09 / radiance + 1), atol=0.01)


def test_landsat_quality_bits_become_named_flags(tmp_path: Path) -> None:
    bits = {"nodata": 0, "dilated_cloud": 1, "cirrus": 2, "cloud": 3, "shadow": 4, "snow": 5, "water": 7}
    qa = np.full((6, 6), 1 << 6, "uint16")
    for i, bit in enumerate(bits.values()):
        qa.flat[i] = 1 << bit
    saturation = np.zeros((6, 6), "uint16")
    saturation[5, 5], saturation[5, 4] = 1 << 4, 1 << 11
    folder = products.landsat(
        tmp_path,
        {"B4": random_counts((6, 6), low=20_000, high=25_000)},
        quality={"QA_PIXEL": qa, "QA_RADSAT": saturation},
    )
    modality = load_scene(folder)["l8"]
    for i, name in enumerate(bits):
        expected = np.zeros(36, bool)
        expected[i] = True
        assert np.array_equal(modality.flagged(name).values.ravel(), expected), name
    assert np.argwhere(modality.flagged("saturated").values[0]).tolist() == [[5, 5]]
    assert np.argwhere(modality.flagged("terrain").values[0]).tolist() == [[5, 4]]
    assert int(modality.mask.sum()) == 6 + 2  # water stays


def test_fill_is_missing_in_a_landsat_bundle(tmp_path: Path) -> None:
    counts = {
        "B3": random_counts((6, 6), low=20_000, high=25_000),
        "B4": random_counts((6, 6), low=20_000, high=25_000),
    }
    counts["B3"][0, 0] = 0
    modality = load_scene(products.landsat(tmp_path, counts))["l8"]
    assert np.isnan(one_band(modality, "B3")).sum() == 1
    assert np.isnan(one_band(modality, "B4")).sum() == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {"REFLECTANCE_MULT_BAND_4": "none"}},
            "gives 'none' for REFLECTANCE_MULT",
        ),
        ({"LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {"REFLECTANCE_MULT_BAND_4": 0}}, "gives '0' for REFLECTANCE_MULT"),
        (
            {"IMAGE_ATTRIBUTES": {"SPACECRAFT_ID": "LANDSAT_1", "SENSOR_ID": "MSS"}},
            "LANDSAT_1 MSS, for which there is no table",
        ),
        (
            {"PRODUCT_CONTENTS": {"PROCESSING_LEVEL": "L1TP"}, "IMAGE_ATTRIBUTES": {"SUN_ELEVATION": -12}},
            "at night there is no reflectance",
        ),
    ],
)
def test_mtl_files_that_do_not_say_the_units_are_named(tmp_path: Path, changed: dict, message: str) -> None:
    with pytest.raises(SceneReadError, match=re.escape(message)):
        load_scene(products.landsat(tmp_path, {"B4": random_counts((6, 6))}, groups=changed))


def test_file_names_in_an_mtl_cannot_leave_its_folder(tmp_path: Path) -> None:
    products.raster(tmp_path / "secret.TIF", random_counts((6, 6), low=20_000, high=25_000), 30)
    away = {"PRODUCT_CONTENTS": {"FILE_NAME_BAND_5": "../secret.TIF"}}
    folder = products.landsat(tmp_path, {"B4": random_counts((6, 6), low=20_000, high=25_000)}, groups=away)
    modality = load_scene(folder)["l8"]
    assert modality.band_names == ("B4",)
    assert any("secret.TIF is not in the folder" in n for n in modality.notes)


# ------------------------------------------------------------------------------------------------------------- HLS
@pytest.mark.parametrize("stated", [True, False])
def test_hls_is_reflectance_and_kelvin_whether_or_not_the_files_state_their_scale(tmp_path: Path, stated: bool) -> None:
    counts = {b: random_counts((12, 12), seed=i, kind="int16") for i, b in enumerate(("B02", "B04", "B05", "B10"))}
    counts["B02"][3, 3] = -9999
    modality = load_scene(products.hls(tmp_path, counts, stated=stated))["hls_l30"]
    expected = np.where(counts["B02"] == -9999, np.nan, counts["B02"] * 1e-4)
    np.testing.assert_allclose(one_band(modality, "B02"), expected, atol=1e-6)
    np.testing.assert_allclose(one_band(modality, "B10"), counts["B10"] * 0.01 + 273.15, atol=1e-3)
    assert str(modality.times[0])[:10] == "2021-04-15"  # day 105


def test_hls_s30_keeps_its_red_edge_bands_and_fmask_bits_become_named_flags(tmp_path: Path) -> None:
    counts = {b: random_counts((12, 12), seed=i, kind="int16") for i, b in enumerate(("B02", "B05", "B8A"))}
    fmask = np.zeros((12, 12), "uint8")
    bits = {"cirrus": 0, "cloud": 1, "dilated_cloud": 2, "shadow": 3, "snow": 4, "water": 5}
    for i, bit in enumerate(bits.values()):
        fmask[0, i] = 1 << bit
    fmask[1, 0], fmask[1, 1] = 0b11000000, 255
    modality = load_scene(products.hls(tmp_path, counts, kind="S30", fmask=fmask))["hls_s30"]
    assert modality.band_names == ("B02", "B05", "B8A")
    for i, name in enumerate(bits):
        got = modality.flagged(name).values[0]
        assert got[0, i], name
        assert got.sum() == 1, name
    assert modality.flagged("haze").values[0, 1, 0]
    assert np.argwhere(modality.flagged("nodata").values[0]).tolist() == [[1, 1]]
    assert modality.mask.values[0, 0].tolist() == [True] * 5 + [False] * 7


def test_hls_granules_of_several_dates_in_one_folder_are_one_series(tmp_path: Path) -> None:
    counts = {b: random_counts((6, 6), kind="int16") for b in ("B02", "B04")}
    products.hls(tmp_path, counts)
    for path in list(tmp_path.glob("*.tif")):
        products.raster(tmp_path / path.name.replace("2021105", "2021121"), counts["B04"], 30, nodata=-9999)
    assert load_scene(tmp_path)["hls_l30"].raw.shape == (2, 2, 6, 6)


# ----------------------------------------------------------------------------------------------------------- EnMAP
ENMAP_BANDS = [
    (418.24, 6.99, 1e-4, 0.0),
    (652.1, 7.6, 2e-4, 0.01),
    (1610.0, 11.2, 1e-4, 0.0),
    (2445.53, 7.2, 1e-4, -0.02),
]


def test_enmap_bands_centres_widths_and_gains_are_those_of_its_metadata(tmp_path: Path) -> None:
    counts = random_counts((4, 12, 12), kind="int16")
    counts[:, 0, 0] = -32768
    modality = load_scene(products.enmap(tmp_path, counts, ENMAP_BANDS))["enmap"]
    assert [b.center_um for b in modality.bands] == pytest.approx([nm / 1e3 for nm, *_ in ENMAP_BANDS])
    assert [b.fwhm_um for b in modality.bands] == pytest.approx([w / 1e3 for _, w, *_ in ENMAP_BANDS])
    for i, (_, _, gain, offset) in enumerate(ENMAP_BANDS):
        expected = counts[i] * gain + offset
        expected[0, 0] = np.nan
        np.testing.assert_allclose(one_band(modality, f"B{i + 1:03d}"), expected, atol=1e-6)
    assert str(modality.times[0])[:10] == "2022-07-24"


def test_enmap_radiance_becomes_reflectance_of_the_sun_that_shone(tmp_path: Path) -> None:
    counts = random_counts((2, 6, 6), kind="int16")
    # Band centres at two of the published Sentinel-2A irradiances: 1512.06 and 245.59 W / (m2 um).
    bands = [(664.6, 7.6, 3e-5, 0.0), (1613.7, 11.2, 5e-6, 1e-4)]
    modality = load_scene(products.enmap(tmp_path, counts, bands, level="L1C", sun_elevation=30.0))["enmap"]
    distance = 1 - 0.01672 * math.cos(math.radians(0.9856 * (205 + 10.7572 / 24 - 4)))  # 24 July, 10:45
    for i, ((_, _, gain, offset), sun) in enumerate(zip(bands, (1512.06, 245.59), strict=True)):
        radiance = (counts[i] * gain + offset) * 1000
        expected = math.pi * radiance * distance**2 / (sun * 0.5)
        np.testing.assert_allclose(one_band(modality, f"B{i + 1:03d}"), expected, rtol=1e-4)
    assert modality.sensor == "enmap-l1c"


def test_enmap_quality_layers_become_named_flags_and_haze_alone_masks_nothing(tmp_path: Path) -> None:
    layers = {"CLOUD": "cloud", "CLOUDSHADOW": "shadow", "CIRRUS": "cirrus", "SNOW": "snow", "HAZE": "haze"}
    quality = {}
    for i, name in enumerate(layers):
        quality[f"QL_QUALITY_{name}"] = np.zeros((6, 6), "uint8")
        quality[f"QL_QUALITY_{name}"][i, i] = 1 + i % 3  # cirrus comes in three thicknesses
    counts = random_counts((4, 6, 6), kind="int16")
    modality = load_scene(products.enmap(tmp_path, counts, ENMAP_BANDS, quality=quality))["enmap"]
    for i, flag in enumerate(layers.values()):
        assert np.argwhere(modality.flagged(flag).values[0]).tolist() == [[i, i]], flag
    assert int(modality.mask.sum()) == 4


def test_bands_without_a_measurement_are_left_out_of_an_enmap_scene(tmp_path: Path) -> None:
    counts = random_counts((4, 12, 12), kind="int16")
    counts[2] = -32768
    modality = load_scene(products.enmap(tmp_path, counts, ENMAP_BANDS))["enmap"]
    assert modality.band_names == ("B001", "B002", "B004")
    assert modality.bands[2].center_um == pytest.approx(2.44553)


@pytest.mark.parametrize(
    ("bands", "options", "message"),
    [
        (ENMAP_BANDS[:3], {}, "has 4 bands, but the metadata of .* give 3"),
        (ENMAP_BANDS, {"level": "L1B"}, "in the geometry of the sensor"),
        ([(0.418, 6.99, 1e-4, 0.0), *ENMAP_BANDS[1:]], {}, "nanometres between 300 and 3000"),
        ([(418, 6.99, math.nan, 0.0), *ENMAP_BANDS[1:]], {}, "GainOfBand of band 1, which is no number"),
    ],
)
def test_enmap_metadata_that_do_not_fit_are_named(tmp_path: Path, bands: list, options: dict, message: str) -> None:
    folder = products.enmap(tmp_path, random_counts((4, 6, 6), kind="int16"), bands, **options)
    with pytest.raises((SceneReadError, BandMismatch), match=message):
        load_scene(folder)


# ------------------------------------------------------------------------------------------------------ Sentinel-1
@pytest.mark.parametrize(
    ("letter", "to_db"),
    [("p", lambda v: 10 * np.log10(v)), ("a", lambda v: 20 * np.log10(v)), ("d", lambda v: v)],
)
def test_hyp3_names_say_whether_power_amplitude_or_decibels_are_stored(tmp_path: Path, letter: str, to_db) -> None:
    rng = np.random.default_rng(3)
    values = {"p": rng.gamma(4, 0.02, (8, 8)), "a": rng.gamma(4, 0.05, (8, 8)), "d": rng.normal(-11, 3, (8, 8))}[letter]
    values = values.astype("float32")
    name = f"S1A_IW_20200607T010800_DVP_RTC30_G_g{letter}uned_A1B2"
    for polarization in ("VV", "VH"):
        products.raster(tmp_path / name / f"{name}_{polarization}.tif", values, 30, nodata=0)
    modality = load_scene(tmp_path)["s1"]
    assert set(modality.band_names) == {"VV", "VH"}
    np.testing.assert_allclose(one_band(modality, "VV"), to_db(values.astype(float)), atol=1e-4)
    assert str(modality.times[0])[:10] == "2020-06-07"


@pytest.mark.parametrize(
    "name",
    [
        "S1A_IW_GRDH_1SDV_20200607T010800_20200607T010825_032904_03CFBA_rtc/iw-vv.rtc.tiff",
        "x/OPERA_L2_RTC-S1_T069-147170-IW1_20200607T010800Z_20230607T010825Z_S1A_30_v1.0_VV.tif",
    ],
)
def test_linear_power_of_published_terrain_corrected_products_becomes_decibels(tmp_path: Path, name: str) -> None:
    power = np.random.default_rng(3).gamma(4, 0.02, (8, 8)).astype("float32")
    products.raster(tmp_path / name, power, 10, nodata=-32768)
    modality = load_scene(tmp_path)["s1"]
    np.testing.assert_allclose(one_band(modality, "VV"), 10 * np.log10(power), atol=1e-4)


def test_decibels_under_a_name_that_says_power_are_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(-11, 2, (8, 8)).astype("float32")
    products.raster(tmp_path / "S1A_IW_20200607T010800_DVP_RTC30_G_gpuned_A1B2_VV.tif", values, 30)
    with pytest.raises(UnitError, match="said to hold linear power, but its numbers are negative"):
        load_scene(tmp_path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
@pytest.mark.parametrize("family", ["safe", "landsat", "enmap", "envi"])
def test_a_truncated_image_of_a_product_is_named_whatever_the_format(tmp_path: Path, family: str, share: float) -> None:
    if family == "safe":
        folder = products.safe(tmp_path, s2_counts(("B02", "B03")))
    elif family == "landsat":
        folder = products.landsat(tmp_path, {"B4": random_counts((60, 60), low=20_000, high=25_000)})
    elif family == "enmap":
        folder = products.enmap(tmp_path, random_counts((4, 30, 30), kind="int16"), ENMAP_BANDS)
    else:
        header = {"wavelength": "{550, 650}", "reflectance scale factor": "10000"}
        folder = products.envi(tmp_path / "a.img", random_counts((2, 30, 30)), header)
    image = next(p for e in ("*_B02_10m.jp2", "*_SR_B4.TIF", "*SPECTRAL_IMAGE.TIF", "*.img") for p in tmp_path.rglob(e))
    data = image.read_bytes()
    image.write_bytes(data[: int(share * len(data))])
    with pytest.raises(SceneReadError, match=re.escape(image.name)):
        load_scene(folder)


# -------------------------------------------------------------------------------------------- ENVI, GeoTIFF with tags
@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("big", [True, False])
def test_an_envi_raster_is_read_by_its_header(tmp_path: Path, interleave: str, big: bool) -> None:
    values = random_counts((4, 7, 5), kind="int16")
    values[:, 2, 3] = -99
    header = {
        "wavelength": "{450.0,\n 550.0, 650.0, 2200.0}",
        "wavelength units": "Nanometers",
        "fwhm": "{10, 11, 12, 13}",
        "reflectance scale factor": "5000",
        "data ignore value": "-99",
        "band names": "{blue, green, red, swir}",
        "acquisition time": "2021-06-05T10:00:00Z",
    }
    path = products.envi(tmp_path / "drone.img", values, header, interleave=interleave, big=big)
    for source in (path, path.with_suffix(".img"), tmp_path):
        scene = load_scene(source)
        modality = scene["image"]
        expected = np.where(values == -99, np.nan, values / 5000)
        np.testing.assert_allclose(modality.read(slice(None), slice(None))[0], expected, atol=1e-6)
        assert [b.center_um for b in modality.bands] == [0.45, 0.55, 0.65, 2.2]
        assert [b.fwhm_um for b in modality.bands] == [0.01, 0.011, 0.012, 0.013]
        assert modality.bands[0].gsd_m == 5
        assert scene.crs.epsg == 32633
        assert str(modality.times[0])[:10] == "2021-06-05"


def test_gains_and_offsets_of_an_envi_header_are_applied_once(tmp_path: Path) -> None:
    values = random_counts((2, 6, 6))
    header = {
        "wavelength": "{0.55, 0.65}",
        "wavelength units": "Micrometers",
        "data gain values": "{1e-4, 2e-4}",
        "data offset values": "{-0.1, 0.05}",
    }
    modality = load_scene(products.envi(tmp_path / "a.img", values, header))["image"]
    got = modality.read(slice(None), slice(None))[0]
    np.testing.assert_allclose(got[0], values[0] * 1e-4 - 0.1, atol=1e-6)
    np.testing.assert_allclose(got[1], values[1] * 2e-4 + 0.05, atol=1e-6)


def test_bad_bands_of_an_envi_header_are_left_out(tmp_path: Path) -> None:
    header = {"wavelength": "{550, 1400, 1650}", "bbl": "{1, 0, 1}", "reflectance scale factor": "10000"}
    modality = load_scene(products.envi(tmp_path / "a.img", random_counts((3, 6, 6)), header))["image"]
    assert [b.center_um for b in modality.bands] == [0.55, 1.65]
    assert any("left out" in n for n in modality.notes)


@pytest.mark.parametrize(
    ("header", "error", "message"),
    [
        ({"wavelength": "{450, 550}", "wavelength units": "Micrometers"}, UnitError, "looks like nanometres"),
        ({"wavelength": "{0.45, 0.55}", "wavelength units": "Nanometers"}, UnitError, "cannot be micrometres"),
        (
            {"wavelength": "{450, 550}", "wavelength units": "Wavenumber"},
            UnitError,
            "micrometres or nanometres are understood",
        ),
        ({"wavelength": "{150, 550}"}, UnitError, "without a unit"),
        ({"wavelength": "{450, 550, 650}"}, BandMismatch, "has 2 bands but states 3 wavelengths"),
        ({"wavelength": "{450, many}"}, UnitError, "is no number"),
        (
            {"wavelength": "{450, 550}", "data gain values": "{1, 2, 3}"},
            SceneReadError,
            "gives 3 data gain values for 2 bands",
        ),
        ({"data type": "6"}, SceneReadError, "complex or unknown numbers"),
        ({"samples": "many"}, SceneReadError, "gives 'many' for 'samples'"),
        ({"lines": "600"}, SceneReadError, "is truncated, or the header is another's"),
        (
            {"wavelength": "{450, 550}", "map info": "{Arbitrary, 1, 1, 0, 0, 1, 1}"},
            MissingCRS,
            "coordinate reference system",
        ),
        ({"wavelength": "{450, 550}"}, UnitError, "State it: load_scene"),  # counts without a scale
    ],
)
def test_envi_headers_that_do_not_fit_are_named(tmp_path: Path, header: dict, error: type, message: str) -> None:
    path = products.envi(tmp_path / "a.img", random_counts((2, 6, 6)), header)
    with pytest.raises(error, match=message):
        load_scene(path)


@pytest.mark.parametrize(
    "tags",
    [
        [
            {"wavelength": "550", "fwhm": "20", "wavelength_units": "Nanometers"},
            {"wavelength": "0.65e3", "fwhm": "30", "wavelength_units": "nm"},
        ],
        [
            {"Wavelength": "0.55", "FWHM": "0.02", "Wavelength_Units": "um"},
            {"Wavelength": "0.65", "FWHM": "0.03", "Wavelength_Units": "um"},
        ],
        [
            {"ns": "IMAGERY", "CENTRAL_WAVELENGTH_UM": "0.550", "FWHM_UM": "0.020"},
            {"ns": "IMAGERY", "CENTRAL_WAVELENGTH_UM": "0.650", "FWHM_UM": "0.030"},
        ],
    ],
)
def test_a_geotiff_with_wavelength_tags_needs_no_sensor(tmp_path: Path, tags: list[dict[str, str]]) -> None:
    values = random_counts((2, 6, 6)).astype("float32") / 10000
    path = products.raster(tmp_path / "camera.tif", values, 2, band_tags=tags)
    modality = load_scene(path)["image"]
    assert [(b.center_um, b.fwhm_um, b.gsd_m) for b in modality.bands] == [(0.55, 0.02, 2), (0.65, 0.03, 2)]
    np.testing.assert_allclose(modality.read(slice(None), slice(None))[0], values, atol=1e-7)


def test_a_named_sensor_outranks_wavelength_tags_that_only_repeat_it(tmp_path: Path) -> None:
    tags = [{"wavelength": "492", "fwhm": "60", "wavelength_units": "nm"}] * 2
    path = products.raster(
        tmp_path / "x.tif", random_counts((2, 6, 6)), 10, band_tags=tags, descriptions=("B02", "B04"), nodata=0
    )
    modality = load_scene(path, sensors="sentinel-2-l2a", scale=1e-4)["s2"]
    assert [b.center_um for b in modality.bands] == [0.4924, 0.6646]


def test_names_that_values_contradict_are_still_told_for_products(tmp_path: Path) -> None:
    counts = s2_counts(("B04", "B07", "B08", "B8A", "B11", "B12"))
    counts["B07"] = random_counts(counts["B07"].shape, low=1300, high=1400)
    with pytest.warns(BandsSuspect, match="band B07"):
        load_scene(products.safe(tmp_path, counts))
