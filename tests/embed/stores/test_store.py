"""The Zarr store: round trips, resume after a kill, refusal of whatever is damaged, incomplete or foreign."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
import zarr
from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.embed import fused as fused_module
from georeset_lab.embed.embeddings import Embeddings, Expert, open_embeddings
from georeset_lab.embed.expert import MEAN_LIMIT, TAU_LIMIT
from georeset_lab.embed.stores.store import TileStore
from georeset_lab.errors import ShapeMismatch, StoreError

DIM = 4
ATTRS = {"model": "default", "seed": 3, "bands": {"s2": ["B02", "B03"]}}


def grid(height: int = 20, width: int = 30, rotation: float = 0.0) -> GeoBox:
    affine = Affine.translation(500_000, 4_100_000) @ Affine.rotation(rotation) @ Affine.scale(10, -10)
    return GeoBox((height, width), affine, "EPSG:32618")


def natural(height: int, width: int, seed: int, dim: int = DIM) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    tau = rng.gamma(1.0, 3.0, (height, width, dim)).astype(np.float32)
    return tau * rng.normal(size=tau.shape).astype(np.float32), tau


def embeddings(height: int = 20, width: int = 30, rotation: float = 0.0) -> Embeddings:
    experts = {n: Expert(*natural(height, width, i)) for i, n in enumerate(("s2", "s1"))}
    return Embeddings(experts, grid(height, width, rotation), attrs=ATTRS)


def tiles_of(store: TileStore, emb: Embeddings):
    for tile in store.pending():
        yield tile, {n: e.read(*tile) for n, e in emb.experts.items()}


def begin(path: Path, emb: Embeddings, **changes) -> TileStore:
    arguments = {
        "grid": emb.grid, "experts": emb.modalities, "dim": DIM, "dtype": "float16", "tile_shape": (8, 8),
        "provenance": emb.attrs,
    }  # fmt: skip
    return TileStore.create_or_resume(path, **{**arguments, **changes})


def files_of(store: Path) -> dict[str, bytes]:
    """Content by name, but for the empty lock that a writer killed in its last step may leave."""
    files = [p for p in sorted(store.rglob("*")) if p.is_file() and p.name != ".lock"]
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of twelve tiles, read only."""
    path = tmp_path_factory.mktemp("whole") / "store.zarr"
    emb = embeddings()
    store = begin(path, emb, fused=True)
    for tile, experts in tiles_of(store, emb):
        store.write(tile, experts)
    store.finish()
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy.zarr"))


# -- round trips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 17), (8, 8), (7, 9), (20, 30)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_what_is_written_is_read(tmp_path: Path, height: int, width: int, dtype: str) -> None:
    emb = embeddings(height, width).astype(dtype)
    back = emb.to_zarr(tmp_path / "e.zarr")
    assert back.attrs == ATTRS
    assert back.grid == emb.grid
    assert (back.dtype, back.modalities, back.in_memory) == (dtype, ("s2", "s1"), False)
    for kind in ("mean", "variance"):
        np.testing.assert_array_equal(getattr(back, kind).values, getattr(emb, kind).values)
    np.testing.assert_array_equal(back.observed, emb.observed)


@pytest.mark.parametrize("rotation", [0.0, 25.0])
def test_xarray_alone_finds_the_fused_map_and_its_crs(tmp_path: Path, rotation: float) -> None:
    emb = embeddings(rotation=rotation)
    emb.to_zarr(tmp_path / "e.zarr", fused=True)
    with xr.open_zarr(tmp_path / "e.zarr", decode_coords="all") as found:
        assert found.rio.crs.to_epsg() == 32618
        assert found["mean"].rio.transform().almost_equals(emb.grid.affine)
        assert found["mean"].dims == ("dim", "y", "x")
        np.testing.assert_array_equal(found["mean"].values, emb.mean.values)
        np.testing.assert_array_equal(found["variance"].values, emb.variance.values)
        assert found.attrs["proj:code"] == "EPSG:32618"
        assert found.attrs["spatial:transform"] == list(tuple(emb.grid.affine)[:6])
        assert found.attrs["model"] == "default"
    with xr.open_zarr(tmp_path / "e.zarr", group="experts/s1", decode_coords="all") as found:
        assert found.rio.crs.to_epsg() == 32618


def test_the_wkt_of_a_geotiff_is_named_by_its_code(tmp_path: Path) -> None:
    import rasterio.crs

    wkt = rasterio.crs.CRS.from_epsg(32718).to_wkt(version="WKT1_GDAL")  # what a GeoBox of a file carries
    emb = Embeddings({"s2": Expert(*natural(3, 4, 0))}, GeoBox((3, 4), grid().affine, wkt))
    back = emb.to_zarr(tmp_path / "e.zarr", fused=True)
    assert back.grid == emb.grid
    assert repr(back).endswith("EPSG:32718>")
    with xr.open_zarr(tmp_path / "e.zarr", decode_coords="all") as found:
        assert found.attrs["proj:code"] == "EPSG:32718"
        assert found.rio.crs.to_epsg() == 32718


def test_a_custom_crs_survives(tmp_path: Path) -> None:
    crs = "+proj=laea +lat_0=12.5 +lon_0=33.25 +datum=WGS84 +units=m"
    box = GeoBox((3, 4), Affine(10.0, 0.0, 0.0, 0.0, -10.0, 0.0), crs)
    emb = Embeddings({"s2": Expert(*natural(3, 4, 0))}, box)
    assert emb.to_zarr(tmp_path / "e.zarr").grid == box


def test_a_crop_of_a_store_reads_only_its_window(whole: Path, copy: Path) -> None:
    emb = open_embeddings(copy)
    for name in ("eta", "tau"):  # gone after opening: what needs it must fail, what does not must work
        (copy / "experts/s2" / name / "c/2/3/0").unlink()
    part = emb.crop(bounds=(500_000, 4_099_840, 500_200, 4_100_000))
    assert part.in_memory
    np.testing.assert_array_equal(part.mean.values, open_embeddings(whole).mean.values[:, :16, :20])
    with pytest.raises(StoreError, match="has lost its chunk experts/s2/eta/c/2/3/0"):
        emb.crop(bounds=(500_000, 4_099_800, 500_300, 4_100_000))


def test_blocks_of_a_store_beyond_memory_are_its_tiles(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = open_embeddings(whole).vectors()
    monkeypatch.setattr(fused_module, "FUSE_IN_MEMORY_BYTES", 0)
    emb = open_embeddings(whole)
    got = [np.full_like(a, -9) for a in wanted]
    sizes = []
    for index, *parts in emb.blocks():
        sizes.append(len(parts[0]))
        for to, part in zip(got, parts, strict=True):
            to[index] = part
    assert max(sizes) == 64
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_streamed_int8_has_a_fixed_scale_that_clips_at_its_limits(tmp_path: Path) -> None:
    emb = embeddings()
    store = begin(tmp_path / "e.zarr", emb, dtype="int8")
    for tile, experts in tiles_of(store, emb):
        store.write(tile, experts)
    back = store.finish()
    rule = back.experts["s2"].quantization
    assert rule is not None
    assert np.abs(back.expert("s2").mean.values - emb.expert("s2").mean.values).max() <= 0.501 * MEAN_LIMIT / 127
    low, high = rule.encode(np.full((1, DIM), 1e9), np.full((1, DIM), 1e7))
    eta, tau = rule.decode(low, high)
    np.testing.assert_allclose(tau, TAU_LIMIT, rtol=1e-3)
    np.testing.assert_allclose(eta / (1 + tau), MEAN_LIMIT, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_map_that_nothing_measured_is_stored_chunk_by_chunk_too(tmp_path: Path, dtype: str) -> None:
    zeros = np.zeros((20, 30, DIM), np.float32)
    emb = Embeddings({"s2": Expert(zeros, zeros)}, grid()).to_zarr(tmp_path / "e.zarr", dtype=dtype)
    assert not emb.observed.any()
    assert (emb.variance.values == 1).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_every_chunk_is_the_bytes_that_zarr_itself_writes(tmp_path: Path, dtype: str) -> None:
    emb = embeddings(13, 11)
    store = begin(tmp_path / "ours.zarr", emb, dtype=dtype, fused=True)
    again = tmp_path / "by_zarr"
    shutil.copytree(store.root, again)
    for tile, experts in tiles_of(store, emb):
        store.write(tile, experts)
    names = [f"experts/{e}/{a}" for e in emb.modalities for a in ("eta", "tau")] + ["mean", "variance"]
    for name in names:
        zarr.open_array(again, path=name, mode="r+")[...] = zarr.open_array(store.root, path=name, mode="r")[...]
    written = {p.relative_to(store.root) for p in store.root.rglob("c/**/*") if p.is_file()}
    assert len(written) == len(names) * 4 + 6  # and the coordinates, which Zarr wrote
    for name in written:
        assert (store.root / name).read_bytes() == (again / name).read_bytes(), name


def test_what_a_killed_writer_left_half_written_is_swept_away(tmp_path: Path) -> None:
    emb = embeddings()
    store = begin(tmp_path / "s.zarr", emb)
    half = store.root / "experts/s2/eta/c/0/0/.0.1234567890ab"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    for tile, experts in tiles_of(store, emb):
        store.write(tile, experts)
    store.finish()
    hidden = [p.name for p in (tmp_path / "s.zarr").rglob(".*")]
    assert hidden == []


def test_a_writer_killed_after_its_last_step_leaves_nothing_for_ever(tmp_path: Path) -> None:
    emb = embeddings()
    store = begin(tmp_path / "s.zarr", emb)
    for tile, experts in tiles_of(store, emb):
        store.write(tile, experts)
    store.finish()
    before = files_of(tmp_path / "s.zarr")
    for name in ("journal.jsonl", ".lock", "mean/c/.half"):  # what it had not yet removed
        (tmp_path / "s.zarr" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s.zarr" / name).write_bytes(b"left")
    begin(tmp_path / "s.zarr", emb).finish()
    assert files_of(tmp_path / "s.zarr") == before
    assert not (tmp_path / "s.zarr/.lock").exists()


def test_tiles_may_be_written_by_several_threads(tmp_path: Path, whole: Path) -> None:
    emb = embeddings()
    store = begin(tmp_path / "e.zarr", emb, fused=True)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda job: store.write(*job), reversed(list(tiles_of(store, emb)))))
    store.finish()
    assert files_of(tmp_path / "e.zarr") == files_of(whole)


def test_codes_of_tiles_written_at_once_do_not_mix(tmp_path: Path) -> None:
    emb = embeddings(64, 64)
    alone, together = (begin(tmp_path / f"{n}.zarr", emb, dtype="int8") for n in ("alone", "together"))
    for tile, experts in tiles_of(alone, emb):
        alone.write(tile, experts)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda work: together.write(*work), list(tiles_of(together, emb))))
    alone.finish()
    together.finish()
    assert files_of(tmp_path / "together.zarr") == files_of(tmp_path / "alone.zarr")


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_a_missing_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"There is no store at .*nothing\.zarr\. Make one with encode"):
        open_embeddings(tmp_path / "nothing.zarr")


def test_an_unfinished_store_says_how_to_resume(tmp_path: Path) -> None:
    emb = embeddings()
    store = begin(tmp_path / "e.zarr", emb)
    for tile, experts in list(tiles_of(store, emb))[:5]:
        store.write(tile, experts)
    assert not (tmp_path / "e.zarr").exists()
    with pytest.raises(StoreError, match=r"is not finished: 5 of 12 tiles are written. .*encode\(scene, \.\.\., out="):
        open_embeddings(tmp_path / "e.zarr")
    with pytest.raises(StoreError, match="still lacks 7 tiles"):
        store.finish()


def test_foreign_zarr_is_refused(tmp_path: Path) -> None:
    xr.Dataset({"a": ("x", [1.0])}).to_zarr(tmp_path / "other.zarr", zarr_format=3)
    with pytest.raises(StoreError, match="not a store of embeddings of this package"):
        open_embeddings(tmp_path / "other.zarr")


def test_an_address_is_refused() -> None:
    with pytest.raises(StoreError, match="must be a folder on this machine"):
        open_embeddings("s3://bucket/e.zarr")


def test_a_newer_format_is_refused(copy: Path) -> None:
    from georeset_lab.embed.stores.manifest import read_manifest, write_manifest

    write_manifest(copy, {**read_manifest(copy), "version": 99})
    with pytest.raises(StoreError, match="version 99"):
        open_embeddings(copy)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"provenance": {**ATTRS, "seed": 4}}, r"provenance\['seed'\] is 3 there and 4 here"),
        ({"provenance": {**ATTRS, "dates": []}}, r"provenance\['dates'\] is 'nothing' there and \[\] here"),
        ({"grid": grid(20, 31)}, r"shape is \[20, 30\] there and \[20, 31\] here"),
        ({"grid": grid(20, 30, 1.0)}, "transform is"),
        ({"dtype": "float32"}, "dtype is 'float16' there and 'float32' here"),
        ({"experts": ("s2",)}, "experts is"),
        ({"tile_shape": (16, 16)}, r"tile_shape is \[8, 8\] there and \[16, 16\] here"),
        ({"dim": 5}, "dim is 4 there and 5 here"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_a_store_of_something_else_is_never_continued(tmp_path: Path, finished: bool, changes: dict, key: str) -> None:
    emb = embeddings()
    if finished:
        store = begin(tmp_path / "e.zarr", emb)
        for tile, experts in tiles_of(store, emb):
            store.write(tile, experts)
        store.finish()
    else:
        begin(tmp_path / "e.zarr", emb)
    with pytest.raises(StoreError, match=f"holds other embeddings: {key}"):
        begin(tmp_path / "e.zarr", emb, **changes)


def test_a_finished_store_has_nothing_pending_for_the_same_call(tmp_path: Path) -> None:
    emb = embeddings()
    store = begin(tmp_path / "e.zarr", emb)
    for tile, experts in tiles_of(store, emb):
        store.write(tile, experts)
    first = store.finish()
    again = begin(tmp_path / "e.zarr", emb)
    assert again.pending() == []
    np.testing.assert_array_equal(again.finish().mean.values, first.mean.values)
    with pytest.raises(StoreError, match="is complete"):
        again.write((slice(0, 8), slice(0, 8)), {})


def test_to_zarr_takes_no_taken_name_unless_told_to(tmp_path: Path) -> None:
    path = tmp_path / "e.zarr"
    embeddings().to_zarr(path)
    other = embeddings().only("s1")
    with pytest.raises(StoreError, match=r"exists already\. Pass overwrite=True"):
        other.to_zarr(path)
    assert open_embeddings(path).modalities == ("s2", "s1")
    assert other.to_zarr(path, overwrite=True).modalities == ("s1",)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.zarr"]


@pytest.mark.parametrize(
    ("tile", "change", "message"),
    [
        ((slice(4, 12), slice(0, 8)), None, "is not a tile of this store"),
        ((slice(0, 8), slice(0, 7)), None, "is not a tile of this store"),
        ((slice(0, 8), slice(0, 8)), "names", "The store holds experts"),
        ((slice(0, 8), slice(0, 8)), "shape", r"both must be \(8, 8, 4\)"),
        ((slice(0, 8), slice(0, 8)), "nan", "not finite"),
        ((slice(0, 8), slice(0, 8)), "negative", "negative precision"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_tile_that_cannot_be_is_refused(tmp_path: Path, tile, change, message: str, dtype) -> None:
    emb = embeddings()
    store = begin(tmp_path / "e.zarr", emb)
    parts = {n: [a.astype(dtype) for a in e.read(slice(0, 8), slice(0, 8))] for n, e in emb.experts.items()}
    if change == "names":
        del parts["s1"]
    elif change == "shape":
        parts["s1"][0] = parts["s1"][0][:7]
    elif change == "nan":
        parts["s1"][0][3, 3, 3] = np.nan
    elif change == "negative":
        parts["s1"][1][3, 3, 3] = -0.5
    with pytest.raises(ShapeMismatch, match=message):
        store.write(tile, {n: tuple(p) for n, p in parts.items()})
    assert len(store.pending()) == 12


def test_a_negative_zero_is_no_negative_precision(tmp_path: Path) -> None:
    store = begin(tmp_path / "e.zarr", embeddings())
    zero = np.zeros((8, 8, DIM), np.float16)
    store.write((slice(0, 8), slice(0, 8)), {"s2": (zero, -zero), "s1": (zero, zero)})
    assert len(store.pending()) == 11


# -- damage -----------------------------------------------------------------------------------------------------------


def read_all(path: Path) -> dict[str, np.ndarray]:
    emb = open_embeddings(path)
    assert emb.attrs == ATTRS
    read = [emb.experts[n].read() for n in emb.modalities]
    return {
        "eta": np.stack([r[0] for r in read]),
        "tau": np.stack([r[1] for r in read]),
        "crs": np.array(str(emb.grid)),
    }


def flips(store: Path, wanted: dict[str, np.ndarray], seeds: range) -> int:
    """Flip one bit in one file for each seed; count those that are detected, fail on any that changes a number."""
    contents = files_of(store)
    names = sorted(contents)
    caught = 0
    for seed in seeds:
        rng = random.Random(seed)
        # By size half of the time, so that large chunks and small metadata are both hit.
        by_size = [len(contents[n]) for n in names] if seed % 2 else None
        name = rng.choices(names, weights=by_size)[0]
        data = bytearray(contents[name])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (store / name).write_bytes(data)
        try:
            found = read_all(store)
        except StoreError:
            caught += 1
        else:
            for key, value in found.items():
                np.testing.assert_array_equal(value, wanted[key], err_msg=f"silent: seed {seed}, {name}")
        (store / name).write_bytes(contents[name])
    return caught


def test_a_flipped_bit_is_detected_or_harmless(copy: Path, whole: Path) -> None:
    # What is harmless: the fused copies, which our reader does not need, once their last four bytes are intact.
    assert flips(copy, read_all(whole), range(60)) >= 45


@pytest.mark.slow
def test_500_flipped_bits_are_detected_or_harmless(copy: Path, whole: Path) -> None:
    assert flips(copy, read_all(whole), range(1000, 1500)) >= 400


def test_every_flip_in_an_expert_or_in_metadata_is_detected(copy: Path) -> None:
    contents = files_of(copy)
    names = [n for n in contents if not n.startswith(("mean/c", "variance/c"))]
    for seed in range(40):
        rng = random.Random(seed)
        name = rng.choice(names)
        data = bytearray(contents[name])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (copy / name).write_bytes(data)
        with pytest.raises(StoreError, match="damaged"):
            read_all(copy)
        (copy / name).write_bytes(contents[name])


def test_a_flip_in_a_fused_copy_is_detected_by_any_zarr_reader(copy: Path) -> None:
    path = copy / "mean/c/0/1/1"
    data = bytearray(path.read_bytes())
    data[40] ^= 4
    path.write_bytes(data)
    with xr.open_zarr(copy, chunks=None) as found, pytest.raises(Exception, match=r"(?i)checksum|crc"):
        found["mean"].load()


def test_any_lost_chunk_is_detected(copy: Path) -> None:
    chunks = [n for n in files_of(copy) if "/c/" in n or n.endswith("/c")]
    for name in chunks:
        (copy / name).rename(copy.parent / "aside")
        with pytest.raises(StoreError, match="has lost"):
            open_embeddings(copy)
        (copy.parent / "aside").rename(copy / name)
    assert len(chunks) >= 12 * 6


def test_a_chunk_of_another_tile_is_detected(copy: Path) -> None:
    shutil.copy(copy / "experts/s2/eta/c/0/0/0", copy / "experts/s2/eta/c/0/1/0")  # its own checksum is right
    with pytest.raises(StoreError, match=r"Chunk experts/s2/eta/c/0/1/0 of .* is damaged"):
        open_embeddings(copy)


@pytest.mark.parametrize("keep", [0, 3, 50])
def test_a_truncated_file_is_detected(copy: Path, keep: int) -> None:
    for name in ("experts/s1/tau/c/1/1/0", "zarr.json", "experts/s1/tau/zarr.json", "manifest.json"):
        data = (copy / name).read_bytes()
        (copy / name).write_bytes(data[:keep])
        with pytest.raises(StoreError, match="damaged"):
            open_embeddings(copy)
        (copy / name).write_bytes(data)


def test_the_store_holds_no_pickle_and_json_that_anyone_can_read(whole: Path) -> None:
    for name, data in files_of(whole).items():
        assert b"cnumpy" not in data
        if name.endswith(".json"):
            json.loads(data)


# -- kills and full disks ---------------------------------------------------------------------------------------------

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the children are forked, to spare their imports")


def child(work: Callable[[Connection], None]) -> tuple[BaseProcess, Connection]:
    """Run ``work`` in a process of its own, that can be killed; it gets a pipe to report on."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there,), daemon=True)
    process.start()
    there.close()
    return process, here


def large(path: Path) -> TileStore:
    box = GeoBox((24, 32), Affine(10, 0, 500_000, 0, -10, 4_100_000), "EPSG:32618")
    return TileStore.create_or_resume(path, box, ("s2", "s1"), DIM, "float16", (8, 8), {"seed": 1}, fused=True)


def fill(path: Path, wait: float = 0.0, pipe: Connection | None = None) -> int:
    """Write what is pending of a store of 12 tiles, and finish it; how many tiles that were."""
    store = large(path)
    todo = store.pending()
    for rows, cols in todo:
        rng = np.random.default_rng((rows.start, cols.start))
        tau = rng.gamma(1, 3, (rows.stop - rows.start, cols.stop - cols.start, DIM)).astype(np.float32)
        store.write((rows, cols), {"s2": (tau * 0.5, tau), "s1": (-tau, tau)})
        if pipe is not None:
            pipe.send_bytes(b"tile")
        time.sleep(wait)
    store.finish()
    return len(todo)


def killed_then_resumed(path: Path, unbroken: dict[str, bytes], seed: int) -> int:
    """Kill a writer at a random moment and go on; how many tiles it had acknowledged."""
    rng = random.Random(seed)
    process, pipe = child(lambda there: fill(path, 0.0, there) and None)
    told = 0
    try:
        for _ in range(rng.randrange(12)):
            pipe.recv_bytes()
            told += 1
        time.sleep(rng.uniform(0.0, 0.02))
    finally:
        process.kill()
        process.join()
    if not path.exists():
        with pytest.raises(StoreError, match=r"is not finished|no store at"):
            open_embeddings(path)
    assert fill(path) <= 12 - told  # nothing that was acknowledged is made again
    assert files_of(path) == unbroken
    return told


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("unbroken") / "e.zarr"
    assert fill(path) == 12
    return files_of(path)


@needs_fork
@pytest.mark.parametrize("seed", range(3))
def test_a_killed_writer_resumes_to_the_same_bytes(tmp_path: Path, unbroken: dict[str, bytes], seed: int) -> None:
    killed_then_resumed(tmp_path / "e.zarr", unbroken, seed)


@needs_fork
@pytest.mark.slow
def test_many_killed_writers_resume_to_the_same_bytes(tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    kills = int(os.environ.get("GEORESET_KILLS", "10"))  # 100 for the figure in the note
    told = [killed_then_resumed(tmp_path / f"{seed}.zarr", unbroken, seed) for seed in range(100, 100 + kills)]
    assert len(set(told)) > 1


@needs_fork
def test_a_second_process_does_not_write_into_the_same_store(tmp_path: Path) -> None:
    first, pipe = child(lambda there: fill(tmp_path / "e.zarr", 60.0, there) and None)
    pipe.recv_bytes()
    with pytest.raises(StoreError, match="Another process is writing"):
        large(tmp_path / "e.zarr")
    first.kill()
    first.join()
    assert len(large(tmp_path / "e.zarr").pending()) == 11


@needs_fork
@pytest.mark.parametrize("limit", [300, 20_000, 100_000])
@pytest.mark.parametrize("kind", ["to_zarr", "to_cog", "to_geoparquet"])
def test_a_full_disk_is_a_named_error_and_leaves_nothing(tmp_path: Path, kind: str, limit: int) -> None:
    import resource

    one = np.random.default_rng(0).gamma(1, 1, (128, 128, 8)).astype(np.float32)
    emb = Embeddings({"s2": Expert(one, one)}, grid(128, 128))

    def work(pipe: Connection) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            getattr(emb, kind)(tmp_path / "out")
        except StoreError as err:
            pipe.send_bytes(str(err).encode())

    process, pipe = child(work)
    assert pipe.recv_bytes().decode().startswith("Could not ")
    process.join()
    assert list(tmp_path.iterdir()) == []


@needs_fork
def test_a_full_disk_costs_a_stream_only_the_tile_at_hand(tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    import resource

    def work(pipe: Connection) -> None:
        store = large(tmp_path / "e.zarr")  # there is room to begin, then less and less
        for n, tile in enumerate(store.pending()):
            if n == 9:
                resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
            tau = np.ones((tile[0].stop - tile[0].start, tile[1].stop - tile[1].start, DIM), np.float32)
            try:
                store.write(tile, {"s2": (tau, tau), "s1": (tau, tau)})
            except StoreError as err:
                pipe.send_bytes(str(err).encode())
                return

    process, pipe = child(work)
    assert "tiles that were finished are kept" in pipe.recv_bytes().decode()
    process.join()
    assert len(large(tmp_path / "e.zarr").pending()) == 3


@pytest.mark.parametrize("cut", [1, 30, 100])
def test_a_torn_or_damaged_journal_line_costs_its_tile_only(tmp_path: Path, whole: Path, cut: int) -> None:
    emb = embeddings()
    store = begin(tmp_path / "e.zarr", emb, fused=True)
    for tile, experts in list(tiles_of(store, emb))[:6]:
        store.write(tile, experts)
    journal = tmp_path / "e.zarr.partial/journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-cut])
    (tmp_path / "e.zarr.partial/experts/s2/eta/c/0/0/0").unlink()  # and a chunk that the journal promises
    del store
    store = begin(tmp_path / "e.zarr", emb, fused=True)
    assert len(store.pending()) == 6 + 1 + (cut > 1)  # the newline alone is no loss
    for tile, experts in tiles_of(store, emb):
        store.write(tile, experts)
    store.finish()
    assert files_of(tmp_path / "e.zarr") == files_of(whole)


def test_a_damaged_beginning_says_to_start_over(tmp_path: Path) -> None:
    begin(tmp_path / "e.zarr", embeddings())
    journal = tmp_path / "e.zarr.partial/journal.jsonl"
    journal.write_bytes(b"x" + journal.read_bytes())
    with pytest.raises(StoreError, match="Delete it and call again"):
        begin(tmp_path / "e.zarr", embeddings())
