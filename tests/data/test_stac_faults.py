"""Servers that refuse, stall, break off or lie: every pixel is right or there is a typed error, never a black scene."""

from __future__ import annotations

import json
import pickle
import time

import numpy as np
import pytest

import georeset_lab as gl
from georeset_lab.data.stac.cache import BLOCK, cache_folder, forget, open_remote
from georeset_lab.data.stac.http import Patience, fetch, plain
from georeset_lab.data.stac.pixels import StacReader
from georeset_lab.errors import BandMismatch, MissingCRS, MissingExtra, RemoteError, SceneReadError
from tests.data.stac_items import COG, field_of, item, tif
from tests.data.stac_servers import FaultyServer

# Pixels here are noise, of which readers rightly say that bands may be exchanged.
pytestmark = pytest.mark.filterwarnings("ignore::georeset_lab.errors.BandsSuspect")

SIZE = 768  # with noise that does not compress: several cache blocks a band, and pixels beyond the first


@pytest.fixture(scope="module")
def rasters():
    return {key: tif(field_of(k, SIZE)) for k, key in enumerate(("B02", "B03", "B04", "B08"))}


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("GEORESET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GEORESET_HTTP_TIMEOUT", "0.6")
    monkeypatch.setenv("GEORESET_HTTP_TRIES", "3")
    server = FaultyServer()
    yield server
    server.close()


def scene_of(server, rasters, tmp_path, **replaced):
    assets = {}
    for key, raster in (rasters | replaced).items():
        href = server.add(f"{key}.tif", raster)
        assets[key] = {"href": href, "type": COG, "roles": ["data"], "eo:bands": [{"name": key}]}
    known = {"platform": "sentinel-2a", "s2:processing_baseline": "03.01"}
    document = item("S2", "sentinel-2-l2a", rasters["B02"], assets, date="2021-06-01T10:00:00Z", **known)
    path = tmp_path / "item.json"
    path.write_text(json.dumps(document))
    return path


def truth(band):
    return field_of(("B02", "B03", "B04", "B08").index(band), SIZE)[0] * np.float32(1e-4)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("status", {"status": 500}),
        ("status", {"status": 503}),
        ("status", {"status": 429, "headers": {"Retry-After": "0"}}),
        ("cut", {}),
        ("hang", {}),
    ],
)
@pytest.mark.parametrize("only_from", [0, BLOCK])
def test_a_fault_that_passes_costs_time_and_nothing_else(server, rasters, tmp_path, kind, more, only_from):
    path = scene_of(server, rasters, tmp_path)
    server.fault("B04", kind, times=1, only_from=only_from, **more)
    values = gl.load_scene(path)["s2"].data.sel(band="B04").values[0]
    assert server.faults["B04"].times == 0  # it did happen
    np.testing.assert_allclose(values, truth("B04"), atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("status", {"status": 404}, "points at something that is not there"),
        ("status", {"status": 403}, "not public"),
        ("status", {"status": 401}, "credentials"),
        ("status", {"status": 429}, "3 attempts: status 429.*limits how often"),
        ("status", {"status": 500}, "3 attempts: status 500"),
        ("cut", {}, "3 attempts"),
        ("hang", {}, r"no answer within 0\.6 s|bytes in"),
        ("drip", {}, "bytes in"),
    ],
)
@pytest.mark.parametrize("only_from", [0, BLOCK], ids=["from the start", "in the middle"])
def test_a_fault_that_stays_is_a_typed_error_within_seconds(server, rasters, tmp_path, kind, more, words, only_from):
    path = scene_of(server, rasters, tmp_path)
    server.fault("B04", kind, only_from=only_from, **more)
    began = time.monotonic()
    with pytest.raises(RemoteError, match=words) as caught:
        gl.load_scene(path)["s2"].data.sel(band="B04").compute()
    assert "B04.tif" in str(caught.value)
    assert caught.value.status == more.get("status")
    assert time.monotonic() - began < 30


def test_a_truncated_asset_gives_its_pixels_or_an_error_but_never_zeros(server, rasters, tmp_path):
    whole, rng = rasters["B04"], np.random.default_rng(5)
    outcomes = {"error": 0, "right": 0}
    for cut in [60, 500, *rng.integers(1000, len(whole) - 1, 6).tolist()]:
        path = scene_of(server, rasters, tmp_path, B04=whole[:cut])
        forget(f"{server.url}/B04.tif")
        outcomes["error"] += _refused(path)
        reader = StacReader([[[f"{server.url}/B04.tif"]]], grid(), np.dtype("uint16"), 0)
        for top in range(0, SIZE, 256):
            try:
                values = reader[0:1, 0:1, top : top + 256, 0:SIZE][0, 0]
            except SceneReadError:
                outcomes["error"] += 1
            else:
                np.testing.assert_array_equal(values, field_of(2, SIZE)[0, top : top + 256])
                outcomes["right"] += 1
    assert outcomes["error"] >= 8 + 8
    assert outcomes["right"] > 0


def _refused(path) -> bool:
    with pytest.raises((SceneReadError, MissingCRS), match=r"B04\.tif"):
        gl.load_scene(path, bands=["B04"])["s2"].data.compute()
    return True


def grid():
    from affine import Affine
    from odc.geo.geobox import GeoBox

    return GeoBox((SIZE, SIZE), Affine(10, 0, 600_000, 0, -10, 5_800_000), "EPSG:32633")


def test_a_server_without_ranges_is_read_whole_and_once(server, rasters, tmp_path):
    path = scene_of(server, rasters, tmp_path)
    server.fault(".tif", "no-range")
    np.testing.assert_allclose(gl.load_scene(path)["s2"].data.sel(band="B04").values[0], truth("B04"), atol=1e-7)
    assert len(server.asked) == 4


def test_a_file_that_changes_while_it_is_read_is_an_error_not_a_mixture(server, rasters, tmp_path):
    path = scene_of(server, rasters, tmp_path)
    server.fault("B04", "swap", only_from=BLOCK)
    with pytest.raises(RemoteError, match="changed while it was read"):
        gl.load_scene(path, bands=["B04"])["s2"].data.compute()


def test_a_new_version_replaces_what_was_kept_and_a_damaged_block_is_fetched_again(server, rasters):
    url = server.add("B04.tif", rasters["B04"])
    old = open_remote(url).read(0, len(rasters["B04"]))
    assert old == rasters["B04"]
    block = next(p for p in cache_folder().glob("*/00000001"))
    stored = bytearray(block.read_bytes())
    stored[100] ^= 1
    block.write_bytes(stored)
    forget(url)
    before = len(server.asked)
    assert open_remote(url).read(0, len(old)) == old
    assert len(server.asked) == before + 2  # asked whether it is still the same, and for the damaged block
    server.add("B04.tif", rasters["B08"])
    forget(url)
    assert open_remote(url).read(0, len(rasters["B08"])) == rasters["B08"]


def test_a_read_only_cache_only_costs_fetching(server, rasters, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("GEORESET_CACHE", str(blocked))
    path = scene_of(server, rasters, tmp_path)
    np.testing.assert_allclose(gl.load_scene(path)["s2"].data.sel(band="B04").values[0], truth("B04"), atol=1e-7)


@pytest.mark.parametrize(
    "content",
    [
        b"<html><body>Please log in</body></html>",
        b'<VRTDataset rasterXSize="9" rasterYSize="9"><SRS>EPSG:32633</SRS></VRTDataset>',
        b'{"error": "moved"}',
    ],
)
def test_what_is_no_raster_is_never_opened(server, rasters, tmp_path, content):
    path = scene_of(server, rasters, tmp_path, B04=content)
    with pytest.raises(SceneReadError, match="neither GeoTIFF nor JPEG 2000"):
        gl.load_scene(path)


def test_a_catalogue_on_the_network_cannot_name_local_files(server, rasters, tmp_path):
    secret = tmp_path / "secret.tif"
    secret.write_bytes(rasters["B02"])
    assets = {"B02": {"href": f"file://{secret}", "type": COG, "eo:bands": [{"name": "B02"}]}}
    document = item("S2", "sentinel-2-l2a", rasters["B02"], assets, date="2021-06-01T10:00:00Z", platform="sentinel-2a")
    url = server.add("item.json", json.dumps(document).encode())
    with pytest.raises(BandMismatch, match="names the local file"):
        gl.load_scene(url)
    document["assets"]["B02"]["href"] = str(secret)
    url = server.add("item.json", json.dumps(document).encode())
    with pytest.raises(RemoteError, match="404"):  # a path is one on the server
        gl.load_scene(url)


def test_the_planetary_computer_signs_each_read_and_says_what_is_missing(server, monkeypatch):
    pytest.importorskip("planetary_computer")
    from georeset_lab.data.stac.sign import signed

    address = "https://account.blob.core.windows.net/container/B04.tif"
    assert signed("https://elsewhere.org/B04.tif") == "https://elsewhere.org/B04.tif"
    assert signed(address + "?sig=own") == address + "?sig=own"
    import planetary_computer.sas as sas

    server.add("account/container", json.dumps({"msft:expiry": "2999-01-01T00:00:00Z", "token": "sig=given"}).encode())
    settings = sas.Settings.get()
    monkeypatch.setattr(settings, "sas_url", server.url)
    monkeypatch.setattr(sas, "TOKEN_CACHE", {})
    assert signed(address) == address + "?sig=given"
    assert plain(signed(address)) == address  # no signature in messages, notes and cache keys
    monkeypatch.setitem(__import__("sys").modules, "planetary_computer", None)
    with pytest.raises(MissingExtra, match=r"pip install 'georeset-lab\[planetary\]'"):
        signed(address)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pystac_client", None)
    with pytest.raises(MissingExtra, match=r"pip install 'georeset-lab\[stac\]'"):
        gl.load_scene("earth-search", collection="sentinel-2-l2a", bbox=(0, 0, 1, 1), time="2024")


def test_the_wait_is_bounded_and_follows_what_the_server_asks(server):
    url = server.add("slow", b"x" * 1000)
    server.fault("slow", "status", status=429, times=1, headers={"Retry-After": "1"})
    began = time.monotonic()
    assert fetch(url, patience=Patience(5, 3, 0.01)).body == b"x" * 1000
    assert time.monotonic() - began >= 1
    server.fault("slow", "hang")
    began = time.monotonic()
    with pytest.raises(RemoteError, match=r"no answer within 0\.5 s"):
        fetch(url, patience=Patience(0.5, 9, 0.01))
    assert time.monotonic() - began < 5  # a silent server is asked twice, not nine times
    server.faults.clear()
    with pytest.raises(RemoteError, match="sends more than"):
        fetch(url, most_bytes=100)


def test_only_the_bytes_of_the_window_are_fetched(server, tmp_path):
    raster = tif(field_of(9, 4096), compress="none")  # 32 MiB
    path = scene_of(server, {"B04": raster, "B02": raster}, tmp_path)
    s2 = gl.load_scene(path, bbox=(16.4800, 52.3150, 16.4830, 52.3165), bands=["B04"])["s2"]
    values = s2.data.values
    assert np.isfinite(values).all()
    fetched = {r for p, r in server.asked if "B04" in p}
    assert len(fetched) == len([1 for p, _ in server.asked if "B04" in p])  # nothing twice
    assert sum(int(r.partition("-")[2]) - int(r[6:].partition("-")[0]) + 1 for r in fetched) < len(raster) / 8


def test_lazy_pixels_travel_to_other_processes(server, rasters, tmp_path):
    s2 = gl.load_scene(scene_of(server, rasters, tmp_path), chunks=256)["s2"]
    there = pickle.loads(pickle.dumps(s2.data.isel(band=[2])))  # noqa: S301  (our own bytes)
    np.testing.assert_allclose(there.values[0, 0], truth(s2.band_names[2]), atol=1e-7)
