"""Tiles spread over a dask cluster: what travels, what comes back, and what a dead worker or a fault leaves behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import nullcontext

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from georeset_lab.embed.encode import encode
from georeset_lab.embed.encoding import spread as spreading
from georeset_lab.embed.stores.store import open_embeddings
from georeset_lab.errors import ClusterError, InvalidOption, MissingExtra, SceneReadError, StoreError
from tests.embed.scenes import NEEDS, grid, modality, scene, texture, tiny

SHAPE = (120, 144)


def put(s, **kwargs):
    return encode(s, **({"model": tiny(), "dtype": "float32", "progress": False, "tile_cells": 8} | kwargs))


def write_tif(path, shape=SHAPE, bands=3):
    import rasterio

    profile = {"driver": "GTiff", "height": shape[0], "width": shape[1], "count": bands, "dtype": "uint16", "nodata": 0}
    values = (1e4 * texture(shape, bands)[0]).astype("u2") + 1
    where = grid(shape)
    with rasterio.open(
        path,
        "w",
        crs="EPSG:32633",
        transform=where.affine,
        tiled=True,
        blockxsize=16,
        blockysize=16,
        compress="deflate",
        **profile,
    ) as file:
        file.descriptions = ("B02", "B03", "B04", "B08")[:bands]
        file.write(values)
    return path


def open_tif(path, **kwargs):
    from georeset_lab.data.load import load_scene

    return load_scene({"s2": path}, sensors={"s2": "sentinel-2-l2a"}, scale=(1e-4, 0.0), chunks=32, **kwargs)


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", memory_limit="3GiB"
    ) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster):
    from distributed import Client

    with Client(cluster) as made:
        made.wait_for_workers(2)
        yield made


# -- without a cluster ------------------------------------------------------------------------------------------------


def test_without_distributed_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"pip install 'georeset-lab\[cluster\]'"):
        put(scene(modality(texture((8, 8)))), client=object())


def test_what_is_no_client_is_refused():
    with pytest.raises(InvalidOption, match=r"client=str cannot be used; give a connected"):
        put(scene(modality(texture((8, 8)))), client="tcp://127.0.0.1:8786")


def test_a_lazy_file_is_described_in_a_few_kilobytes(tmp_path):
    from georeset_lab.embed.encoding.source import Source

    sizes = []
    for shape in (SHAPE, (960, 960)):
        s = open_tif(write_tif(tmp_path / f"{shape[0]}.tif", shape))
        lean = spreading._described(Source(s["s2"], NEEDS))
        sizes.append(spreading.wire_bytes(lean))
    assert sizes[0] < 20_000
    assert sizes[1] < 100_000  # 900 chunks; 5.5 MB of pixels


@pytest.mark.parametrize("case", ["in memory", "memory in chunks", "mask in memory"])
def test_pixels_in_memory_travel_window_by_window(case, monkeypatch, tmp_path):
    from dataclasses import replace

    from georeset_lab.embed.encoding.source import Source

    eager = modality(texture((40, 40)))
    if case == "memory in chunks":
        monkeypatch.setattr(spreading, "DESCRIPTION_BYTES", 10_000)
        eager = replace(eager, raw=eager.raw.chunk({"y": 16}))
    elif case == "mask in memory":
        mask = xr.DataArray(np.zeros((1, 40, 40), bool), dims=("time", "y", "x"))
        lazy = eager.raw.copy(data=da.zeros(eager.raw.shape, chunks=16, dtype="f4"))
        eager = replace(eager, raw=lazy, mask=mask)
    assert spreading._described(Source(eager, NEEDS)) is None


def test_a_worker_of_another_version_is_refused():
    parcel = spreading.Parcel(None, "cpu", "0.0.1", None)
    with pytest.raises(ClusterError, match=r"A worker runs georeset-lab .*, the caller 0\.0\.1\. Install one version"):
        spreading.encode_tile(parcel, None, [], {})


def test_a_tile_that_kills_workers_is_reported_with_what_helps():
    from distributed import KilledWorker

    last = type("Worker", (), {"address": "tcp://10.0.0.7:4000"})()
    told = pytest.raises(ClusterError, match=r"killed several workers, the last tcp://10\.0\.0\.7:4000.*memory_limit=")
    with told, spreading._failures(None):
        raise KilledWorker("encode-tile", last, 3)


# -- a cluster of two worker processes --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("stored", "dtype"), [(True, "int8"), (False, "float32")])
def test_a_cluster_gives_what_one_process_does(client, tmp_path, stored, dtype):
    s = open_tif(write_tif(tmp_path / "s2.tif"))
    assert s["s2"].is_lazy
    here = put(s, dtype=dtype, out=tmp_path / "here.zarr" if stored else None)
    there = put(s, dtype=dtype, out=tmp_path / "there.zarr" if stored else None, client=client)
    if stored:  # nothing is left to do for the same call
        there = put(s, dtype=dtype, out=tmp_path / "there.zarr", client=client)
    assert there.dtype == here.dtype == dtype
    step = 0 if dtype == "float32" else 6 / 127
    np.testing.assert_allclose(there.mean.values, here.mean.values, atol=1e-4 + step)
    np.testing.assert_allclose(there.variance.values, here.variance.values, atol=1e-4 + step)


@pytest.mark.slow
def test_modalities_in_memory_of_other_grids_and_masks_are_spread_too(client, monkeypatch):
    monkeypatch.setattr(spreading, "_GRAPH_BYTES", 0)  # the parcel is laid out as a large one
    shape = (60, 72)
    masked = scene(modality(texture(shape, dates=2, seed=4), times=["2020-01-11", "2020-02-01"]))
    masked = masked.with_mask("s2", np.indices(shape)[0] < 20)
    s = scene(masked["s2"], modality(texture((20, 24)), grid((20, 24), 30.0), name="l8"))
    for options in ({"per": "date"}, {"resolution_m": 30, "cell_m": 90.0}):
        here, there = (put(s, client=c, **options) for c in (None, client))
        pairs = [(here, there)] if "per" not in options else [(here[d], there[d]) for d in here]
        for a, b in pairs:
            assert a.grid == b.grid
            np.testing.assert_allclose(b.mean.values, a.mean.values, atol=1e-4)


@pytest.mark.slow
def test_paths_travel_and_pixels_do_not_and_workers_load_little(client, tmp_path, monkeypatch):
    s = open_tif(write_tif(tmp_path / "s2.tif", (192, 192)))
    submit, sent = client.submit, []

    def spy(function, *args, **kwargs):
        sent.append((function.__name__, spreading.wire_bytes([a for a in args if type(a).__name__ != "Future"])))
        return submit(function, *args, **kwargs)

    monkeypatch.setattr(client, "submit", spy)
    emb = put(s, out=tmp_path / "map.zarr", client=client, dtype="int8")
    parcels = [n for name, n in sent if name == "_same"]
    tasks = [n for name, n in sent if name == "encode_tile"]
    assert len(parcels) == 1
    assert len(tasks) == 16
    assert max(tasks) < 20_000
    assert parcels[0] < 1_000_000
    assert emb.dtype == "int8"
    loaded = client.run(
        lambda: [m for m in ("torch", "torchgeo", "panel", "leafmap", "sklearn", "lightning") if m in sys.modules]
    )
    assert set(map(tuple, loaded.values())) == {("torch",)}


@pytest.mark.slow
def test_a_worker_that_does_not_see_the_store_sends_its_tiles(client, tmp_path, monkeypatch):
    s = scene(modality(texture(SHAPE)))
    here = put(s, out=tmp_path / "here.zarr", dtype="float16")
    with monkeypatch.context() as patch:
        patch.setattr(spreading, "_marked", lambda shelf: nullcontext())
        there = put(s, out=tmp_path / "there.zarr", dtype="float16", client=client)
    np.testing.assert_array_equal(there.mean.values, here.mean.values)


@pytest.mark.slow
def test_a_fault_on_a_worker_arrives_as_our_error_and_leaves_a_store_to_resume(client, tmp_path):
    import rasterio

    path = write_tif(tmp_path / "s2.tif")
    s = open_tif(path)
    whole = path.read_bytes()
    with rasterio.open(path) as file:  # a block that the caller does not look at when it identifies the data
        start = int(file.get_tag_item("BLOCK_OFFSET_2_2", "TIFF", bidx=1))
    path.write_bytes(whole[:start] + bytes(40) + whole[start + 40 :])
    client.wait_for_workers(2)
    with pytest.raises(SceneReadError, match=r"s2\.tif is truncated or damaged: band 1, block \(2, 2\)"):
        put(s, out=tmp_path / "map.zarr", client=client)
    path.write_bytes(whole)
    resumed = put(s, out=tmp_path / "map.zarr", client=client)
    np.testing.assert_allclose(resumed.mean.values, put(s).mean.values, atol=1e-4)


@pytest.mark.slow
def test_an_interrupted_call_withdraws_its_tiles_and_can_go_on(client, tmp_path, monkeypatch):
    class Bar:
        done = 0

        def update(self, n):
            self.done += 1
            if self.done == 5:
                raise KeyboardInterrupt

    client.wait_for_workers(2)
    s = open_tif(write_tif(tmp_path / "s2.tif", (192, 192)))
    with monkeypatch.context() as patch:
        patch.setattr("georeset_lab.embed.encode._bar", lambda *args: nullcontext(Bar()))
        with pytest.raises(KeyboardInterrupt, match=r"of 16 tiles are in .*map.zarr.partial. The same call resumes"):
            put(s, out=tmp_path / "map.zarr", client=client)
    with pytest.raises(StoreError, match=r"is not finished: ([5-9]|1[0-5]) of 16 tiles are written"):
        open_embeddings(tmp_path / "map.zarr")
    deadline = time.monotonic() + 10
    while any(client.processing().values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(client.processing().values())
    resumed = put(s, out=tmp_path / "map.zarr", client=client)
    np.testing.assert_allclose(resumed.mean.values, put(s).mean.values, atol=1e-4)


def _kill_one(client, after):
    """Kill the first worker process once some tiles are done."""
    pids = client.run(os.getpid)

    class Bar:
        done = 0

        def update(self, n):
            self.done += 1
            if self.done == after:
                os.kill(next(iter(pids.values())), signal.SIGKILL)

    return Bar()


@pytest.mark.slow
def test_a_killed_worker_costs_no_tile(client, tmp_path, monkeypatch):
    client.wait_for_workers(2)
    s = open_tif(write_tif(tmp_path / "s2.tif", (192, 192)))
    here = put(s)
    bar = _kill_one(client, after=4)
    monkeypatch.setattr("georeset_lab.embed.encode._bar", lambda *args: nullcontext(bar))
    there = put(s, out=tmp_path / "map.zarr", client=client)
    assert bar.done == 16
    np.testing.assert_allclose(there.mean.values, here.mean.values, atol=1e-4)
    np.testing.assert_allclose(there.variance.values, here.variance.values, atol=1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.zarr", "s2.tif"]
    assert not list((tmp_path / "map.zarr").rglob(".*"))
