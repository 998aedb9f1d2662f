"""What items say of their bands, units, sensors and dates, and mosaics of several items; files are local."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pystac
import pytest
import rasterio

import georeset_lab as gl
from georeset_lab.data.sensors import sensor
from georeset_lab.data.stac.assets import band_entries, columns_of
from georeset_lab.data.stac.choose import choose_days, parse_time
from georeset_lab.data.stac.sensor_of import is_timeless, sensor_of
from georeset_lab.errors import InvalidOption, NothingObserved, Reprojected, UnitError
from tests.data.stac_items import COG, field_of, item, tif

L2A = sensor("sentinel-2-l2a")


# Pixels here are noise, of which readers rightly say that bands may be exchanged.
pytestmark = pytest.mark.filterwarnings("ignore::georeset_lab.errors.BandsSuspect")


def an_item(
    assets=None, collection="sentinel-2-l2a", date="2023-05-01T10:00:00Z", box=(13.0, 52.0, 14.0, 53.0), **said
):
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return pystac.Item.from_dict({
        "type": "Feature", "stac_version": "1.0.0", "id": f"{date}-{box}", "collection": collection, "bbox": list(box),
        "geometry": {"type": "Polygon", "coordinates": [ring]}, "links": [], "assets": assets or {},
        "properties": {"datetime": date, **said},
    })  # fmt: skip


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"platform": "sentinel-2b"}, "sentinel-2b-l2a"),
        ({"platform": "Sentinel-2A", "collection": "sentinel-2-l1c"}, "sentinel-2a-l1c"),
        ({"constellation": "Sentinel 2", "collection": "s2"}, "sentinel-2-l2a"),
        ({"platform": "landsat-9", "collection": "landsat-c2-l2"}, "landsat-9-l2"),
        ({"platform": "landsat-7", "collection": "landsat-c2-l1"}, "landsat-7-l1"),
        ({"platform": "LANDSAT_8", "collection": "landsat-c2l2-sr"}, "landsat-8-l2"),
        ({"platform": "sentinel-1a", "collection": "sentinel-1-rtc"}, "sentinel-1-rtc"),
        ({"platform": "SENTINEL-1A", "collection": "sentinel-1-grd"}, "sentinel-1-grd"),
        ({"platform": "sentinel-2a", "collection": "hls2-s30"}, "hls-s30"),
        ({"collection": "HLSL30.v2.0"}, "hls-l30"),
        ({"collection": "cop-dem-glo-30"}, "copernicus-dem"),
        ({"platform": "planetscope", "collection": "demo"}, None),
    ],
)
def test_the_sensor_is_told_from_the_properties(said, expected):
    assert sensor_of(an_item(**{"collection": "c", **said})) == expected


def test_terrain_models_have_no_date_worth_asking_for():
    assert is_timeless("cop-dem-glo-30")
    assert is_timeless("nasa-dem") and is_timeless("3dep-lidar-dem")  # noqa: PT018
    assert not is_timeless("sentinel-2-l2a")
    assert not is_timeless("academic")


def stated_of(entry, **said):
    asset = {"href": "/x/B04.tif", "type": COG, **entry}
    found, notes = columns_of(an_item({"red": asset}, **said), L2A, None, from_network=False)
    return found["B04"].stated, notes


def test_the_offset_follows_the_flag_of_the_catalogue_then_its_metadata_then_the_baseline():
    scaled = {"raster:bands": [{"scale": 1e-4, "offset": -0.1, "nodata": 0}]}
    plain = {"eo:bands": [{"name": "B04"}]}
    assert stated_of(scaled, **{"earthsearch:boa_offset_applied": True})[0] == (1e-4, 0.0)
    assert "boa_offset_applied" in stated_of(scaled, **{"earthsearch:boa_offset_applied": True})[1][0]
    assert stated_of(scaled, **{"earthsearch:boa_offset_applied": False})[0] == (1e-4, -0.1)
    assert stated_of(scaled)[0] == (1e-4, -0.1)
    assert stated_of(plain, **{"sentinel:boa_offset_applied": True})[0] == (1e-4, 0.0)
    assert stated_of(plain, **{"s2:processing_baseline": "05.09"})[0] == (1e-4, -0.1)
    assert stated_of(plain, **{"s2:processing_baseline": "02.14"})[0] == (1e-4, 0.0)
    assert stated_of(plain)[0] is None
    new = {"bands": [{"name": "B04", "raster:scale": 1e-4, "raster:offset": -0.1}], "nodata": 0, "data_type": "uint16"}
    assert stated_of(new)[0] == (1e-4, -0.1)


def test_old_and_new_band_metadata_say_the_same():
    old = {
        "eo:bands": [{"name": "n", "common_name": "nir", "center_wavelength": 0.84, "full_width_half_max": 0.1}],
        "raster:bands": [{"scale": 0.01, "offset": 1, "nodata": -1, "data_type": "int16"}],
    }
    band = {"name": "n", "eo:common_name": "nir", "eo:center_wavelength": 0.84, "eo:full_width_half_max": 0.1}
    new = {"bands": [band | {"raster:scale": 0.01, "raster:offset": 1}], "nodata": -1, "data_type": "int16"}
    entries = [band_entries(pystac.Asset("a.tif", extra_fields=f)) for f in (old, new)]
    assert entries[0] == entries[1]
    assert entries[0][0]["center_wavelength"] == 0.84


def test_a_sensor_without_a_table_is_described_by_its_metadata():
    bands = [
        {"name": "b1", "common_name": "red", "center_wavelength": 0.65, "full_width_half_max": 0.06},
        {"name": "b2", "common_name": "nir"},
        {"name": "b3", "center_wavelength": 11.0},
        {"name": "udm", "description": "mask without wavelength"},
    ]
    asset = {"href": "/x/all.tif", "type": COG, "bands": bands, "gsd": 3}
    found, _ = columns_of(an_item({"analytic": asset}, collection="planet"), None, None, from_network=False)
    assert list(found) == ["b1", "b2", "b3"]
    assert (found["b1"].spec.center_um, found["b1"].spec.fwhm_um, found["b1"].spec.gsd_m) == (0.65, 0.06, 3)
    assert found["b2"].spec.center_um == pytest.approx(0.88)  # middle of the common name's range
    assert found["b3"].spec.kind == "temperature"
    assert found["b2"].href.endswith("#band=2")
    asset["bands"] = [{"name": "b1", "center_wavelength": 650}]
    with pytest.raises(UnitError, match="looks like nanometres"):
        columns_of(an_item({"analytic": asset}, collection="planet"), None, None, from_network=False)


def test_the_clearest_date_weighs_cloud_against_coverage_and_repeats_are_taken_once():
    box = (13.0, 52.0, 14.0, 53.0)
    items = [
        an_item(date="2023-05-01T10:00:00Z", **{"eo:cloud_cover": 20.0}),
        an_item(date="2023-05-06T10:00:00Z", box=(13.0, 52.0, 13.3, 53.0), **{"eo:cloud_cover": 0.0}),
        an_item(date="2023-05-11T10:00:00Z", **{"eo:cloud_cover": 60.0}),
        an_item(date="2023-05-01T10:00:20Z", **{"eo:cloud_cover": 20.0, "s2:processing_baseline": "05.10"}),
    ]
    (day,), notes = choose_days(items, parse_time("2023-05"), box)
    assert day.moment == datetime(2023, 5, 1, 10, 0, 20, tzinfo=UTC)
    assert len(day.items) == 1  # the later baseline of the two
    assert "clearest of 3 dates" in notes[0]
    assert len(choose_days(items, parse_time(("2023-05-01", "2023-05-31")), box)[0]) == 3
    assert len(choose_days(items, parse_time(["2023-05-06", "2023-05-11"]), box)[0]) == 2
    with pytest.raises(NothingObserved, match="from 2023-05-01 to 2023-05-11"):
        choose_days(items, parse_time("2024"), box)
    with pytest.raises(NothingObserved, match="No item touches"):
        choose_days(items, parse_time(None), (100, 10, 101, 11))
    for wrong in ("soon", ("2024-02-01", "2024-01-01")):
        with pytest.raises(InvalidOption, match="time="):
            parse_time(wrong)


def write(tmp_path, items):
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path


def one_tile(tmp_path, name, seed, *, date="2023-05-01T10:00:00Z", offset=0, said=None, **place):
    assets = {}
    for k, key in enumerate(("B02", "B03", "B04", "B08")):
        raster = tif((field_of(seed + k, 64) + offset).astype(np.uint16), **place)
        (tmp_path / f"{name}_{key}.tif").write_bytes(raster)
        assets[key] = {"href": f"{name}_{key}.tif", "type": COG, "eo:bands": [{"name": key}]}
    return item(name, "sentinel-2-l2a", raster, assets, date=date, platform="sentinel-2a", **(said or {}))


def test_tiles_of_one_pass_become_one_date_and_ground_between_them_is_missing_not_black(tmp_path):
    said = {"s2:processing_baseline": "05.00"}
    west = one_tile(tmp_path, "west", 10, offset=1000, said=said)
    east = one_tile(tmp_path, "east", 20, offset=1000, said=said, left=600_000 + 960, top=5_800_000 - 320)
    s2 = gl.load_scene(write(tmp_path, [west, east]))["s2"]
    values = s2.data.sel(band="B04").values
    assert values.shape == (1, 96, 160)
    np.testing.assert_allclose(values[0, :64, :64], field_of(12, 64)[0] * 1e-4, atol=1e-6)
    np.testing.assert_allclose(values[0, 32:, 96:], field_of(22, 64)[0] * 1e-4, atol=1e-6)
    assert np.isnan(values[0, :, 64:96]).all()
    assert np.isnan(values[0, 64:, :96]).all()


def test_a_tile_of_another_zone_is_resampled_and_said_so(tmp_path):
    said = {"s2:processing_baseline": "03.00"}
    one = one_tile(tmp_path, "one", 10, said=said)
    from odc.geo.crs import CRS

    x, y = CRS("EPSG:32633").transformer_to_crs(CRS("EPSG:32634"))(600_640, 5_800_000)
    two = one_tile(tmp_path, "two", 20, said=said, left=round(x, -1), top=round(y, -1), crs="EPSG:32634")
    with pytest.warns(Reprojected, match="EPSG:32634 resampled to EPSG:32633"):
        s2 = gl.load_scene(write(tmp_path, [one, two]), bbox=(16.45, 52.33, 16.50, 52.36))["s2"]
    assert s2.grid.crs == "EPSG:32633"
    assert "resampled" in " ".join(s2.notes)


def test_a_flag_that_the_pixels_contradict_is_refused_with_the_call_that_fixes_it(tmp_path):
    said = {"earthsearch:boa_offset_applied": False, "s2:processing_baseline": "05.00"}
    wrong = one_tile(tmp_path, "wrong", 10, said=said)  # says that +1000 is in, but it is not
    path = write(tmp_path, [wrong])
    with pytest.raises(UnitError, match=r"load_scene\(\.\.\., scale="):
        gl.load_scene(path)
    fixed = gl.load_scene(path, scale=(1e-4, 0.0))["s2"]
    np.testing.assert_allclose(fixed.data.sel(band="B04").values[0], field_of(12, 64)[0] * 1e-4, atol=1e-6)


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::georeset_lab.errors.UnitsInferred")
def test_a_real_landsat_scene_opens_from_an_item_with_reflectance_and_kelvin(shared_data, tmp_path):
    raster = shared_data / "landsat8-sattestdata" / "LC80200392015216_B1-7_9-11_BQA_30m.tif"
    names = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B9", "B10", "B11", "BQA"]
    asset = {"href": str(raster), "type": COG, "bands": [{"name": n} for n in names]}
    said = {"platform": "landsat-8", "view:sun_elevation": 64.74, "eo:cloud_cover": 50}
    path = tmp_path / "l8.json"
    path.write_text(
        json.dumps(item("LC8", "landsat-c2-l1", raster, {"all": asset}, date="2015-08-04T16:19:00Z", **said))
    )
    l8 = gl.load_scene(path)["l8"]
    assert l8.sensor == "landsat-8-l1"
    with rasterio.open(raster) as src:
        certain = (src.read(11) >> 14) & 3 == 3  # pre-collection BQA: confidence of cloud in bits 14 and 15
    np.testing.assert_array_equal(l8.flagged("cloud").values[0], certain)
    stored = l8.raw.sel(time=l8.raw.time[0]).isel(band=l8.band_names.index("B4")).values[300, 300]
    l8 = l8.masked_by()  # keep the clouds: their reflectance is checked too
    shown = float(l8.select_bands(["B4"]).read(slice(300, 301), slice(300, 301))[0, 0, 0, 0])
    assert shown == pytest.approx((stored * 2e-5 - 0.1) / np.sin(np.radians(64.74)), abs=1e-4)
    warm = l8.select_bands(["B10"]).read(slice(None), slice(None))
    assert 270 < np.nanmedian(warm) < 320
