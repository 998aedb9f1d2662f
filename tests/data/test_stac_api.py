"""Scenes from a real STAC API on loopback, whose items point at real rasters served by range requests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

import georeset_lab as gl
from georeset_lab.data.stac.cache import cache_info, clear_cache
from georeset_lab.errors import InvalidOption, NothingObserved, RemoteError
from tests.data.stac_items import COG, SENTINEL2, asset, earth_search_fields, field_of, item, tif
from tests.data.stac_servers import FaultyServer, stac_api

# Pixels here are noise, of which readers rightly say that bands may be exchanged.
pytestmark = pytest.mark.filterwarnings("ignore::georeset_lab.errors.BandsSuspect")

BOX = (103.72, 17.90, 103.74, 17.93)
CHILE = (-72.485, -38.835, -72.475, -38.825)


@pytest.fixture(scope="module")
def files():
    server = FaultyServer()
    yield server
    server.close()


def sentinel2(files, folder: Path, scl: bytes, name: str, date: str, cloud: float) -> dict:
    assets = {}
    for band, (key, um, fwhm) in SENTINEL2.items():
        href = files.add(f"{name}/{band}.tif", folder / f"{band}.tif")
        assets[key] = asset(href, folder / f"{band}.tif", **earth_search_fields(key, um, fwhm))
        assets[f"{key}-jp2"] = {"href": f"s3://elsewhere/{band}.jp2", "type": "image/jp2", "roles": ["data"]}
    assets["scl"] = asset(files.add(f"{name}/SCL.tif", scl), scl) | {
        "raster:bands": [{"nodata": 0, "data_type": "uint8"}]
    }
    assets["visual"] = {"href": assets["red"]["href"], "type": COG, "roles": ["visual"]}
    assets["thumbnail"] = {"href": f"{files.url}/none.jpg", "type": "image/jpeg", "roles": ["thumbnail"]}
    known = {
        "platform": "sentinel-2b",
        "constellation": "sentinel-2",
        "eo:cloud_cover": cloud,
        "grid:code": "MGRS-48QUE",
    }
    known |= {"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.00"}
    return item(name, "sentinel-2-l2a", folder / "B02.tif", assets, date=date, **known)


def chile(files, folder: Path) -> list[dict]:
    s1 = asset(files.add("S1.tif", folder / "S1RTC.tif"), folder / "S1RTC.tif")
    s1["eo:bands"] = [{"name": "VV"}, {"name": "VH"}]
    dem = asset(files.add("DEM.tif", folder / "DEM.tif"), folder / "DEM.tif")
    l2a = asset(files.add("S2L2A.tif", folder / "S2L2A.tif"), folder / "S2L2A.tif")
    names = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
    l2a["bands"] = [{"name": n, "data_type": "int16", "nodata": 0} for n in names]
    first = folder / "DEM.tif"
    return [
        item("S1_A", "sentinel-1-rtc", first, {"image": s1}, date="2020-04-05T10:00:00Z", platform="sentinel-1b"),
        item("S1_B", "sentinel-1-rtc", first, {"image": s1}, date="2020-04-11T10:00:00Z", platform="sentinel-1b"),
        item("DEM", "cop-dem-glo-30", first, {"data": dem}, date="2011-01-01T00:00:00Z"),
        item(
            "S2_C", "sentinel-2-l2a", first, {"image": l2a}, date="2020-04-08T14:37:00Z", platform="sentinel-2a",
            **{"eo:cloud_cover": 1.0, "s2:processing_baseline": "05.09"},
        ),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def scl():
    codes = np.full((1, 534, 534), 4, np.uint8)
    codes[0, :200], codes[0, 200:220], codes[0, 220:230] = 9, 3, 11
    return tif(codes, pixel=20, left=362612.19685932994, top=1987088.206431803, crs="EPSG:32648")


@pytest.fixture(scope="module")
def api(files, scl, shared_data, tmp_path_factory):
    cell = shared_data / "majortom-s2l2a-199U_1099R"
    items = [
        sentinel2(files, cell, scl, "S2B_48QUE_20200203_0_L2A", "2020-02-03T03:27:39Z", 71.0),
        sentinel2(files, cell, scl, "S2B_48QUE_20200223_0_L2A", "2020-02-23T03:27:39Z", 3.2),
        sentinel2(files, cell, scl, "S2B_48QUE_20200314_0_L2A", "2020-03-14T03:27:39Z", 20.0),
        *chile(files, shared_data / "terramind-chips" / "433D_629L_3_1"),
    ]
    with stac_api(items, tmp_path_factory.mktemp("api")) as door:
        yield door


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path, files):
    monkeypatch.setenv("GEORESET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GEORESET_HTTP_TIMEOUT", "2")
    files.faults.clear()
    files.asked.clear()


@pytest.mark.real_data
def test_the_clearest_date_comes_with_native_bands_and_right_reflectance(api, files, shared_data):
    scene = gl.load_scene(api.url, collection="sentinel-2-l2a", bbox=BOX, time="2020-02")
    s2 = scene["s2"]
    assert s2.is_lazy
    assert s2.sensor == "sentinel-2b-l2a"
    assert set(s2.band_names) == set(SENTINEL2)
    assert {b.name: b.gsd_m for b in s2.bands}["B05"] == 20
    assert s2.times.tolist() == [np.datetime64("2020-02-23T03:27:39", "ns").astype(int)]
    notes = " ".join(s2.notes)
    assert "clearest of 2 dates" in notes
    assert "S2B_48QUE_20200223_0_L2A" in notes
    assert "boa_offset_applied" in notes
    for band in ("B04", "B05", "B01"):
        values = s2.select_bands([band]).data.isel(time=0, band=0)
        with rasterio.open(shared_data / "majortom-s2l2a-199U_1099R" / f"{band}.tif") as src:
            x, y = s2.grid.affine * (100.5, 250.5)  # centre of pixel (250, 100)
            row, col = src.index(x, y)
            stored = src.read(1)[row, col]
        assert not bool(s2.mask.isel(time=0)[250, 100])
        assert float(values[250, 100]) == pytest.approx(stored * 1e-4, abs=1e-7)


@pytest.mark.real_data
def test_the_scene_classification_becomes_a_mask_with_names(api):
    s2 = gl.load_scene(api.url, collection="sentinel-2-l2a", bbox=(103.72, 17.92, 103.75, 17.97), time="2020-02")["s2"]
    cloud, shadow, snow = (s2.flagged(n).values[0] for n in ("cloud", "shadow", "snow"))
    assert cloud.any()
    assert shadow.any()
    assert snow.any()
    assert not (cloud & shadow).any()
    assert (s2.mask.values[0] == (cloud | shadow | snow)).all()
    assert np.isnan(s2.read(slice(0, 8), slice(0, 8))).all() == bool(s2.mask.values[0, :8, :8].all())


@pytest.mark.real_data
def test_a_span_takes_all_dates_and_two_collections_become_two_modalities(api):
    s2 = gl.load_scene(
        api.url, collection="sentinel-2-l2a", bbox=BOX, time=("2020-02-01", "2020-03-31"), bands=["red", "nir"]
    )["s2"]
    assert s2.band_names == ("B04", "B08")
    assert [str(t)[:10] for t in s2.times] == ["2020-02-03", "2020-02-23", "2020-03-14"]
    named = {"optical": "sentinel-2-l2a", "radar": "sentinel-1-rtc", "terrain": "cop-dem-glo-30"}
    named = {"terrain": named.pop("terrain"), **named}  # its date must not draw the others'
    when = dict.fromkeys(named, "2020-04")
    scene = gl.load_scene(api.url, collection=named, bbox=CHILE, time=when)
    assert list(scene) == ["terrain", "optical", "radar"]
    assert scene["radar"].band_names == ("VV", "VH")
    assert str(scene["radar"].times[0])[:10] == "2020-04-11"  # nearer to the optical date than the other
    assert 0 < float(scene["terrain"].data.mean()) < 1000
    assert -25 < float(np.nanmean(scene["radar"].read(slice(None), slice(None)))) < -5
    assert scene["optical"].calibration.offset[0] == -0.1  # by its processing baseline


@pytest.mark.real_data
def test_what_was_fetched_is_not_fetched_again_and_the_notes_say_where_it_is(api, files):
    first = gl.load_scene(api.url, collection="sentinel-2-l2a", bbox=BOX, time="2020-02", bands=["red"])["s2"]
    values = first.data.values
    fetched = len(files.asked)
    assert fetched > 0
    info = cache_info()
    assert info.n_bytes > 100_000
    assert str(info.folder) in " ".join(first.notes)
    assert "clear_cache()" in " ".join(first.notes)
    again = gl.load_scene(api.url, collection="sentinel-2-l2a", bbox=BOX, time="2020-02", bands=["red"])["s2"]
    np.testing.assert_array_equal(again.data.values, values)
    assert len(files.asked) == fetched
    assert clear_cache().n_bytes == info.n_bytes
    assert cache_info().n_bytes == 0
    assert not any(info.folder.iterdir())


@pytest.mark.real_data
def test_an_api_is_asked_for_what_it_needs_by_name(api):
    with pytest.raises(InvalidOption, match="pass collection=, one of 'cop-dem-glo-30', 'sentinel-1-rtc'"):
        gl.load_scene(api.url, bbox=BOX, time="2020-02")
    with pytest.raises(InvalidOption, match="pass bbox="):
        gl.load_scene(api.url, collection="sentinel-2-l2a", time="2020-02")
    with pytest.raises(InvalidOption, match='pass time="2024-06"'):
        gl.load_scene(api.url, collection="sentinel-2-l2a", bbox=BOX)
    with pytest.raises(InvalidOption, match="Did you mean 'sentinel-2-l2a'"):
        gl.load_scene(api.url, collection="sentinel-2-l2", bbox=BOX, time="2020-02")
    with pytest.raises(NothingObserved, match=r"no item of 'sentinel-2-l2a'.*2019-01-01.*2019-12-31"):
        gl.load_scene(api.url, collection="sentinel-2-l2a", bbox=BOX, time="2019")
    with pytest.raises(InvalidOption, match="name the modalities in collection="):
        gl.load_scene(api.url, collection="sentinel-2-l2a", bbox=BOX, time={"s2": "2020-02"})
    with pytest.raises(InvalidOption, match="south < north"):
        gl.load_scene(api.url, collection="sentinel-2-l2a", bbox=(10, 50, 11, 40), time="2020-02")


@pytest.mark.real_data
def test_catalogues_are_known_by_name_and_a_file_needs_none(api, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("georeset_lab.data.stac.source", fromlist=["x"]).CATALOGUES, "earth-search", api.url)
    named = gl.load_scene("earth-search", collection="sentinel-2-l2a", bbox=BOX, time="2020-02", bands=["red"])["s2"]
    assert "sentinel-2-l2a of earth-search" in " ".join(named.notes)
    from pystac_client import Client

    found = Client.open(api.url).search(collections=["sentinel-2-l2a"], bbox=BOX, datetime="2020-02-20/2020-02-28")
    path = tmp_path / "found.geojson"
    path.write_text(json.dumps(found.item_collection_as_dict()))
    of_file = gl.load_scene(path, bbox=BOX, bands=["red"])["s2"]
    np.testing.assert_array_equal(of_file.data.values, named.data.values)
    of_object = gl.load_scene(next(found.items()), bbox=BOX, bands=["red"])["s2"]
    np.testing.assert_array_equal(of_object.data.values, named.data.values)


@pytest.mark.real_data
def test_an_api_that_fails_twice_is_asked_again_and_one_that_keeps_failing_is_an_error(api):
    asked = {"collection": "sentinel-2-l2a", "bbox": BOX, "time": "2020-02", "bands": ["red"]}
    for kind in ({"kind": "status", "status": 500}, {"kind": "status", "status": 429}, {"kind": "cut"}):
        api.faults.clear()
        api.fault("/search", times=2, **kind)
        assert gl.load_scene(api.url, **asked)["s2"].band_names == ("B04",)
        assert api.faults["/search"].times == 0
    api.faults.clear()
    for status, words in ((500, "4 attempts: status 500"), (429, "limits how often"), (404, "404")):
        api.fault("/search", "status", status=status)
        with pytest.raises(RemoteError, match=words) as caught:
            gl.load_scene(api.url, **asked)
        assert caught.value.status == status
    api.fault("/search", "cut")
    with pytest.raises(RemoteError, match="4 attempts"):
        gl.load_scene(api.url, **asked)
    api.faults.clear()


def test_an_address_that_is_no_catalogue_is_an_error_that_says_so(files):
    page = files.add("page.html", b"<html>not STAC</html>")
    with pytest.raises(RemoteError, match="is not JSON, so no STAC"):
        gl.load_scene(page)
    with pytest.raises(RemoteError, match="answered status 404"):
        gl.load_scene(f"{files.url}/nowhere")
    with pytest.raises(RemoteError, match="could not be read"):
        gl.load_scene("http://127.0.0.1:9/stac")


def test_a_local_item_with_relative_addresses_and_a_date_range_of_mixed_baselines(tmp_path):
    days = []
    for number, (date, baseline) in enumerate((("2021-12-20", "03.01"), ("2022-02-03", "04.00"))):
        assets = {}
        for k, key in enumerate(("B02", "B03", "B04", "B08")):
            counts = field_of(k, 96) + (1000 if baseline == "04.00" else 0)
            raster = tif(counts.astype(np.uint16))
            (tmp_path / f"{number}_{key}.tif").write_bytes(raster)
            assets[key] = {"href": f"./{number}_{key}.tif", "type": COG, "roles": ["data"], "eo:bands": [{"name": key}]}
        known = {"platform": "Sentinel-2A", "s2:processing_baseline": baseline, "eo:cloud_cover": 5 + number}
        days.append(item(f"S2_{number}", "sentinel-2-l2a", raster, assets, date=f"{date}T10:00:00Z", **known))
    path = tmp_path / "two.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": days}))
    s2 = gl.load_scene(path)["s2"]
    values = s2.data.values
    assert values.shape == (2, 4, 96, 96)
    np.testing.assert_allclose(values[0], values[1], atol=1e-6)  # the same ground: the offset went where it was
    assert values.min() == pytest.approx(0.03, abs=2e-3)
    one = gl.load_scene(path, time="2022")["s2"]
    assert one.times.size == 1
    np.testing.assert_allclose(one.data.values[0], values[1], atol=1e-6)


@pytest.mark.slow
@pytest.mark.real_data
def test_workers_of_a_cluster_fetch_their_pixels_themselves(api, files, monkeypatch):
    from distributed import Client, LocalCluster

    from georeset_lab.embed.encode import encode
    from georeset_lab.embed.encoding import spread

    scene = gl.load_scene(api.url, collection="sentinel-2-l2a", bbox=BOX, time="2020-02")
    options = {"tile_cells": 16, "dtype": "float32", "progress": False}
    alone = encode(scene, **options)
    clear_cache()
    files.asked.clear()
    monkeypatch.setattr(spread, "_window", lambda *_: pytest.fail("pixels travel"))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        together = encode(scene, client=client, **options)
    assert any(address.endswith("B04.tif") for address, _ in files.asked)
    assert float(alone.certainty.max()) > 0
    np.testing.assert_allclose(together.mean.values, alone.mean.values, atol=1e-4)
    np.testing.assert_allclose(together.variance.values, alone.variance.values, atol=1e-4)
