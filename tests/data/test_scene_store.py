"""A stored scene comes back bit by bit, and no damage to a store goes unnoticed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from georeset_lab.data import sealed_store
from georeset_lab.data.bands import C_BAND_UM, BandSpec
from georeset_lab.data.modality import DIMS, Calibration, Modality
from georeset_lab.data.scene import Scene
from georeset_lab.data.scene_store import is_scene_store, open_scene
from georeset_lab.data.sealed_store import MANIFEST
from georeset_lab.errors import StoreError

UTM = "EPSG:32718"
RNG = np.random.default_rng(0)


def grid_of(rows, cols, gsd_m=10):
    return GeoBox((rows, cols), Affine(gsd_m, 0, 717_729.8352053786, 0, -gsd_m, 5_700_093.330553154), UTM)


def small_scene(chunks=None):
    """Integers with dates and a mask, decibels without dates, a DEM with NaN wavelengths, and a truth."""
    counts = RNG.integers(0, 2**16, (2, 2, 40, 50)).astype("uint16")
    counts[..., :10, :10] = 0  # a chunk of fill values only must be stored like any other
    raw = counts if chunks is None else da.from_array(counts, chunks=chunks)
    mask = xr.DataArray(counts[:, 0] > 60_000, dims=("time", "y", "x"))
    bands = (BandSpec("B02", 0.4924, 0.066, 10), BandSpec("B10", 10.895, 0.59, 100, kind="temperature"))
    times = {"time": np.array(["2020-04-08T14:37:00.123456789", "NaT"], dtype="datetime64[ns]")}
    calibration = Calibration((1e-4, 3.342e-4), (-0.1, 0.1), nodata=0, planck=(None, (774.8853, 1321.0789)))
    s2 = Modality(
        "s2", xr.DataArray(raw, dims=DIMS, coords=times), bands, grid_of(40, 50), calibration,
        mask if chunks is None else mask.chunk(chunks[-1]), "landsat-8-l1", ("offset removed: -1000", "ü <b>"),
    )  # fmt: skip
    power = RNG.normal(size=(1, 1, 40, 50)).astype("float32")
    power[0, 0, 0, :3] = np.nan, np.inf, -0.0
    vv = BandSpec("VV", C_BAND_UM, 580.0, 10, kind="backscatter", polarization="VV")
    s1 = Modality(
        "s1",
        xr.DataArray(power, dims=DIMS),
        (vv,),
        grid_of(40, 50),
        Calibration((1.0,), (0.0,), float("nan"), to_db=True),
    )
    height = RNG.integers(-50, 4000, (1, 1, 14, 17)).astype("int16")
    nan = float("nan")
    dem = Modality(
        "dem",
        xr.DataArray(height, dims=DIMS),
        (BandSpec("elevation", nan, nan, 30, kind="elevation"),),
        grid_of(14, 17, 30),
        Calibration.identity(1, -32768),
    )
    truth = xr.Dataset(
        {
            "land_cover": (("y", "x"), RNG.integers(0, 6, (40, 50)).astype("int8"), {"classes": ["water", "trees"]}),
            "cloud": (("time_s2", "y", "x"), RNG.random((2, 40, 50)).astype("float32")),
        },
        {**xr_coords(grid_of(40, 50), always_yx=True), "time_s2": ("time_s2", times["time"])},
        {"seed": 3, "limit": float("inf")},
    )
    return Scene({"s2": s2, "s1 <odd/../name>": s1, "dem": dem}, CRS(UTM), name="place", truth=truth)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    scene = small_scene()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed_store, "_CHUNK_BYTES", 4096)  # one chunk for each date, even of a small scene
        return scene, scene.to_zarr(tmp_path_factory.mktemp("store") / "scene.zarr")


@pytest.fixture
def copy(stored, tmp_path):
    return shutil.copytree(stored[1], tmp_path / "copy.zarr")


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def require_equal(found, scene):
    assert list(found) == list(scene)
    assert (found.name, found.crs) == (scene.name, scene.crs)
    for name in scene:
        a, b = found[name], scene[name]
        assert same_bits(a.raw.values, b.raw.values)
        assert (a.mask is None) == (b.mask is None)
        assert a.mask is None or same_bits(a.mask.values, b.mask.values)
        assert same_bits(a.times, b.times)
        assert ("time" in a.raw.coords) == ("time" in b.raw.coords)
        assert repr(a.calibration) == repr(b.calibration)  # NaN is not equal to itself
        assert repr(a.bands) == repr(b.bands)
        assert (a.name, a.sensor, a.notes, a.grid) == (b.name, b.sensor, b.notes, b.grid)
    xr.testing.assert_identical(found.truth, scene.truth)


def test_a_scene_comes_back_bit_by_bit_and_lazily(stored):
    scene, path = stored
    found = open_scene(path)
    assert all(m.is_lazy for m in found.modalities.values())
    require_equal(found, scene)


@pytest.mark.parametrize("chunks", [(1, 1, 16, 16), (2, 2, 40, 50), (1, 2, 7, 50)])
def test_a_lazy_scene_is_stored_like_one_in_memory(tmp_path, chunks):
    scene = small_scene(chunks)
    require_equal(open_scene(scene.to_zarr(tmp_path / "lazy.zarr")), scene)


def test_a_stored_scene_can_be_stored_again_over_itself(stored, copy):
    open_scene(copy).only("s2").to_zarr(copy, overwrite=True)
    found = open_scene(copy)
    assert list(found) == ["s2"]
    assert same_bits(found["s2"].raw.values, stored[0]["s2"].raw.values)
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]  # no temporary folder is left


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", ">u2", "int64", "float16", "float64"])
def test_every_kind_of_number_survives(tmp_path, dtype):
    raw = RNG.integers(0, 2, (1, 1, 3, 4)).astype(dtype)
    band = (BandSpec("b", 0.5, 0.1, 10),)
    scene = Scene(
        {"m": Modality("m", xr.DataArray(raw, dims=DIMS), band, grid_of(3, 4), Calibration.identity(1))}, CRS(UTM)
    )
    found = open_scene(scene.to_zarr(tmp_path / "s.zarr"))["m"].raw
    np.testing.assert_array_equal(found.values, raw)
    assert found.dtype.newbyteorder("=") == raw.dtype.newbyteorder("=")


@pytest.mark.parametrize(
    ("shape", "itemsize", "chunks"),
    [
        ((1, 12, 10980, 10980), 2, (1, 12, 256, 256)),  # a Sentinel-2 tile: 1.5 MB
        ((1, 224, 1000, 1000), 2, (1, 224, 64, 64)),
        ((118, 10, 64, 64), 2, (51, 10, 64, 64)),  # many dates of a small place go together
        ((3, 100, 2000), 1, (3, 100, 512)),
        ((1, 1, 1, 1), 8, (1, 1, 1, 1)),
        ((40, 50), 1, (40, 50)),
        ((7,), 8, (7,)),
    ],
)
def test_a_chunk_holds_all_bands_of_a_window_and_at_most_four_megabytes(shape, itemsize, chunks):
    assert sealed_store._chunks(shape, itemsize) == chunks
    assert np.prod(chunks) * itemsize <= 4 * 2**20


def test_reading_a_window_of_a_stored_scene_gives_the_window(stored):
    scene, path = stored
    window = slice(5, 30), slice(11, 13)
    np.testing.assert_array_equal(open_scene(path)["s2"].read(*window, time=0), scene["s2"].read(*window, time=0))


def test_zarr_readers_find_the_arrays_with_their_dimensions(stored):
    import zarr

    array = zarr.open_group(stored[1], mode="r")["modality_0/raw"]
    assert array.metadata.dimension_names == DIMS
    assert any(type(c).__name__ == "Crc32cCodec" for c in array.metadata.codecs)


# ----------------------------------------------------------------------------------------------------------- damage
def read_all(path):
    scene = open_scene(path)
    for modality in scene.modalities.values():
        modality.raw.values
        if modality.mask is not None:
            modality.mask.values


def files_of(path):
    return sorted(p for p in path.rglob("*") if p.is_file())


def test_a_missing_file_is_noticed_whichever_it_is(copy):
    for file in files_of(copy):
        data = file.read_bytes()
        file.unlink()
        with pytest.raises(StoreError, match=r"missing|chunks|readable"):
            read_all(copy)
        file.write_bytes(data)
    read_all(copy)


@pytest.mark.parametrize("seed", range(4))
def test_one_flipped_bit_is_noticed_in_whichever_file(copy, seed):
    rng = np.random.default_rng(seed)
    for file in files_of(copy):
        data = bytearray(file.read_bytes())
        at = int(rng.integers(len(data) * 8))
        data[at // 8] ^= 1 << at % 8
        good = file.read_bytes()
        file.write_bytes(data)
        with pytest.raises(StoreError, match=r"damaged|readable|chunk|holds"):
            read_all(copy)
        file.write_bytes(good)
    read_all(copy)


def test_a_chunk_that_vanishes_after_opening_is_noticed_when_it_is_read(copy):
    scene = open_scene(copy)
    (copy / "modality_0/raw/c/1/0/0/0").unlink()
    scene["s2"].read(slice(0, 5), slice(0, 5), time=0)
    with pytest.raises(StoreError, match=r"Chunk .* is missing. Write the store again"):
        scene["s2"].read(slice(0, 5), slice(0, 5), time=1)


def test_a_chunk_in_another_ones_place_is_noticed(copy):
    """Both chunks are sound and both are there; but zarr would read the wrong dates."""
    one, two = (copy / f"modality_0/raw/c/{t}/0/0/0" for t in (0, 1))
    one.write_bytes(two.read_bytes())
    with pytest.raises(StoreError, match="not the one that was written"):
        read_all(copy)


def test_a_truncated_chunk_is_noticed(copy):
    chunk = copy / "modality_0/raw/c/0/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-7])
    with pytest.raises(StoreError, match="damaged"):
        read_all(copy)


def test_a_store_of_another_version_says_which(copy):
    from georeset_lab.data.sealed_store import digest_of

    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["version"] = 99
    del manifest["digest"]
    (copy / MANIFEST).write_text(json.dumps({**manifest, "digest": digest_of(manifest)}))
    with pytest.raises(StoreError, match="'scene' version 99; this call reads 'scene' version 1"):
        open_scene(copy)


def test_a_foreign_codec_is_not_run(copy):
    """Someone who may write the digests too still cannot make us decode with a codec of their choice."""
    from georeset_lab.data.sealed_store import CheckedArray, Seal

    class Evil:
        metadata = type("M", (), {"codecs": (type("PickleCodec", (), {})(),)})

    with pytest.raises(StoreError, match="PickleCodec, which this package never writes"):
        CheckedArray(copy, "x", Evil(), Seal("", {}))


@pytest.mark.parametrize("what", ["nothing", "file", "folder", "foreign zarr"])
def test_what_is_no_scene_store_is_refused(tmp_path, what):
    path = tmp_path / "x.zarr"
    if what == "file":
        path.write_text("hello")
    elif what == "folder":
        path.mkdir()
    elif what == "foreign zarr":
        xr.Dataset({"a": ("x", [1])}).to_zarr(path, consolidated=False)
    assert not is_scene_store(path)
    with pytest.raises(StoreError, match=r"no scene store|no readable"):
        open_scene(path)


# ---------------------------------------------------------------------------------------------------------- writing
def test_what_exists_is_not_overwritten_unasked(stored):
    with pytest.raises(StoreError, match=r"exists. Pass overwrite=True"):
        stored[0].to_zarr(stored[1])


def test_what_is_no_scene_is_not_overwritten_even_if_asked(tmp_path, stored):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    with pytest.raises(StoreError, match="is not a scene store"):
        stored[0].to_zarr(tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "precious"


def broken_scene(error):
    def fail(*_):
        raise error

    lazy = da.map_blocks(fail, da.zeros((1, 1, 8, 8), chunks=4), dtype="uint16", meta=np.empty((0,) * 4, "uint16"))
    band = (BandSpec("b", 0.5, 0.1, 10),)
    return Scene(
        {"m": Modality("m", xr.DataArray(lazy, dims=DIMS), band, grid_of(8, 8), Calibration.identity(1))}, CRS(UTM)
    )


def test_a_full_disk_leaves_the_old_store_and_nothing_else(copy):
    with pytest.raises(StoreError, match=r"Writing .* failed: .*No space left"):
        broken_scene(OSError(28, "No space left on device")).to_zarr(copy, overwrite=True)
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]
    read_all(copy)


@pytest.mark.slow
def test_a_killed_writer_leaves_the_old_store_or_none(tmp_path):
    """SIGKILL at several moments of a slow write: what stands under the name is the old store or the whole new one."""
    code = """
import sys, time
import dask, dask.array as da, numpy as np
sys.path.insert(0, sys.argv[2])
import test_scene_store as t
scene = t.small_scene()
lazy = da.map_blocks(lambda b: (time.sleep(0.05), b)[1], da.from_array(scene["s2"].raw.values, chunks=(1, 1, 8, 8)))
slow = t.Modality("s2", t.xr.DataArray(lazy, dims=t.DIMS), scene["s2"].bands, scene["s2"].grid, scene["s2"].calibration)
print("ready", flush=True)
t.Scene({"s2": slow}, scene.crs).to_zarr(sys.argv[1], overwrite=True)
print("done", flush=True)
"""
    path = small_scene().only("dem").to_zarr(tmp_path / "s.zarr")
    for wait_s in (0.3, 1.2):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout.readline() == "ready\n"
        time.sleep(wait_s)
        child.kill()
        finished = "done" in child.communicate()[0]
        read_all(path)
        assert list(open_scene(path)) == (["s2"] if finished else ["dem"])


def test_any_failure_while_writing_leaves_no_store_under_the_name(tmp_path):
    with pytest.raises(ZeroDivisionError):
        broken_scene(ZeroDivisionError()).to_zarr(tmp_path / "s.zarr")
    assert list(tmp_path.iterdir()) == []
