"""Encoding puts every value where its pixel lies, and neither tiles, crops, bands' order nor a kill change it."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import dask.array as da
import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.embed.encode import encode
from georeset_lab.embed.encoding import pipeline
from georeset_lab.embed.encoding.source import Source
from georeset_lab.embed.stores.store import open_embeddings
from georeset_lab.errors import CoarsenedOutput, GridMismatch, InvalidOption, StoreError, UnitError, UnknownModality
from tests.embed.scenes import NEEDS, UTM, Transparent, bands, grid, modality, scene, texture, tiny, transparent


def values(emb, dim):
    """One dimension of eta (tau is 1 wherever something was measured)."""
    expert = next(iter(emb.experts.values()))
    return np.asarray(expert.eta[:, :][..., dim], np.float32)


def put(s, **kwargs):
    return encode(s, **({"model": transparent(), "dtype": "float32", "progress": False} | kwargs))


# -- geometry -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(60, 75), (1, 1), (1, 50), (50, 1), (24, 24)])
def test_the_map_is_on_the_grid_of_the_pixels(shape):
    s = scene(modality(texture(shape), grid(shape, x0=600_130.0)))
    emb = put(s)
    assert emb.grid == s["s2"].grid
    np.testing.assert_array_equal(values(emb, 0), s["s2"].raw.values[0, 0])
    assert emb.scene is s


@pytest.mark.parametrize("pixel", [10.0, 5.0, 0.3, 7.3])
def test_cells_lie_at_multiples_of_their_size_in_the_crs(pixel):
    where = grid((50, 40), pixel, x0=600_000.0 + 7 * pixel, y0=5_000_000.0)
    emb = put(scene(modality(texture((50, 40)), where)), tile_cells=4)
    x0, y0 = where.affine.c, where.affine.f
    rows = np.floor(-y0 / pixel + 0.501) + np.arange(50)
    cols = np.floor(x0 / pixel + 0.501) + np.arange(40)
    np.testing.assert_array_equal(values(emb, 2)[:, 0], rows % 24)
    np.testing.assert_array_equal(values(emb, 3)[0], cols % 24)
    assert values(emb, 6)[0, 0] == pytest.approx(6 * pixel)


def test_a_pixel_sees_beyond_its_tile_but_nothing_beyond_the_edge():
    v = texture((60, 70))
    emb = put(scene(modality(v)), tile_cells=4)
    pad = np.pad(v[0, 0], 6, constant_values=np.nan)
    around = np.nanmean(np.lib.stride_tricks.sliding_window_view(pad, (13, 13)), axis=(2, 3))
    np.testing.assert_allclose(values(emb, 1), around, atol=1e-5)


@pytest.mark.parametrize("tile_cells", [7, 12, 40])
@pytest.mark.parametrize("options", [{}, {"resolution_m": 30}, {"resolution_m": 14.0}, {"cell_m": 90.0}])
def test_the_size_of_tiles_changes_nothing(tile_cells, options):
    s = scene(modality(texture((100, 130)), grid((100, 130), x0=600_050.0)))
    emb, whole = (put(s, model=tiny(), tile_cells=n, **options) for n in (tile_cells, 96))
    np.testing.assert_allclose(emb.mean.values, whole.mean.values, atol=1e-4)
    np.testing.assert_allclose(emb.variance.values, whole.variance.values, atol=1e-4)


def test_a_crop_changes_nothing_farther_than_one_window_from_its_edge():
    s = scene(modality(texture((160, 160))))
    part = scene(modality(s["s2"].raw.values[:, :, 17:150, 23:155], s["s2"].grid[17:150, 23:155]))
    one, other = put(s, model=tiny()), put(part, model=tiny())
    inner = slice(48, -48)  # 8 cells of 6 pixels
    a = one.mean.values[:, 17:150, 23:155][:, inner, inner]
    np.testing.assert_allclose(other.mean.values[:, inner, inner], a, atol=1e-4)
    assert a.shape[1] > 30


def test_a_rotated_scene_keeps_its_grid():
    turned = GeoBox((30, 40), Affine.translation(600_000, 5e6) * Affine.rotation(20) * Affine.scale(10, -10), UTM)
    s = scene(modality(texture((30, 40)), turned))
    emb = put(s)
    assert emb.grid == turned
    np.testing.assert_array_equal(values(emb, 0), s["s2"].raw.values[0, 0])
    assert values(emb, 2)[0, 0] == 0


def test_pixels_that_are_not_square_work():
    where = GeoBox((30, 20), Affine(20, 0, 600_000, 0, -10, 5_000_000), UTM)
    emb = put(scene(modality(texture((30, 20)), where)))
    assert emb.grid == where
    assert values(emb, 6)[0, 0] == pytest.approx(60)


@pytest.mark.parametrize(("pixel", "cell"), [(2.0, 12.0), (10.0, 60.0), (30.0, 60.0), (60.0, 60.0), (250.0, 250.0)])
def test_cells_are_the_same_ground_for_all_sensors_between_10_and_60_m(pixel, cell):
    emb = put(scene(modality(texture((6, 6)), grid((6, 6), pixel))))
    assert values(emb, 6)[0, 0] == pytest.approx(cell)
    assert emb.grid.shape == (6, 6)


# -- several modalities and resolutions ---------------------------------------------------------------------------


def test_a_coarse_modality_lies_under_the_pixels_it_covers():
    coarse = texture((8, 9), seed=1)
    s = scene(
        modality(texture((24, 27)), grid((24, 27))), modality(coarse, grid((8, 9), 30.0, y0=5_000_010.0), name="l8")
    )
    emb = put(s)
    assert emb.modalities == ("s2", "l8")
    assert emb.grid.shape == (24, 27)
    np.testing.assert_array_equal(values(emb.only("l8"), 0), np.kron(coarse[0, 0], np.ones((3, 3), np.float32)))


def test_a_coarse_map_holds_the_mean_of_its_pixels():
    v = texture((48, 60))
    emb = put(scene(modality(v, grid((48, 60), y0=5_000_000.0))), resolution_m=20)
    np.testing.assert_allclose(values(emb, 0), v[0, 0].reshape(24, 2, 30, 2).mean((1, 3)), rtol=1e-6)
    np.testing.assert_array_equal(emb.variance.values, 0.5)


def test_one_pixel_that_covers_the_whole_scene_holds_its_mean():
    v = texture((100, 90))
    emb = put(scene(modality(v, grid((100, 90), x0=600_000.0, y0=5_000_000.0))), resolution_m=5000, tile_cells=4)
    assert emb.shape == (1, 1)
    np.testing.assert_allclose(values(emb, 0)[0, 0], v[0, 0].mean(), rtol=1e-5)


def test_the_grid_does_not_depend_on_which_modalities_are_chosen():
    s = scene(modality(texture((24, 27))), modality(texture((8, 9)), grid((8, 9), 30.0), name="l8"))
    assert put(s, modalities=["l8"]).grid == put(s).grid


def test_a_cell_of_a_given_size_is_six_samples_wide():
    v = texture((48, 48))
    emb = put(scene(modality(v, grid((48, 48), y0=5_000_000.0))), cell_m=120, resolution_m=20)
    assert values(emb, 6)[0, 0] == 120
    np.testing.assert_allclose(values(emb, 0), v[0, 0].reshape(24, 2, 24, 2).mean((1, 3)), rtol=1e-6)


def test_averaged_pixels_leave_out_what_was_not_measured():
    v = texture((24, 24))
    v[0, :, 0, :] = np.nan
    emb = put(scene(modality(v, grid((24, 24), y0=5_000_000.0))), cell_m=120, resolution_m=20)
    np.testing.assert_allclose(values(emb, 0)[0], v[0, 0, 1].reshape(12, 2).mean(1), rtol=1e-6)


def test_a_large_scene_is_coarsened_with_a_warning(monkeypatch):
    s = scene(modality(texture((60, 60))))
    monkeypatch.setattr("georeset_lab.embed.encode.output_grid", lambda grids, r: (grids[0].zoom_out(3), 3))
    with pytest.warns(CoarsenedOutput, match="3 times coarser: 30 x 30 m, 20 x 20 pixels"):
        assert put(s).shape == (20, 20)


def test_of_two_levels_of_one_acquisition_the_higher_is_used_unless_both_are_named():
    day = ["2020-04-08"]
    s = scene(
        modality(texture((12, 12)), name="l1c", sensor="sentinel-2a-l1c", times=day),
        modality(texture((12, 12)), name="l2a", sensor="sentinel-2-l2a", times=day),
        modality(texture((12, 12)), name="s1", sensor="sentinel-1-rtc", times=day),
    )
    emb = put(s)
    assert emb.modalities == ("l2a", "s1")
    assert "'l1c' left out" in emb.attrs["notes"]["encode"][0]
    assert put(s, modalities=["l1c", "l2a"]).modalities == ("l1c", "l2a")


def test_levels_of_different_days_are_both_used():
    s = scene(
        modality(texture((12, 12)), name="l1c", sensor="sentinel-2-l1c", times=["2020-04-08"]),
        modality(texture((12, 12)), name="l2a", sensor="sentinel-2-l2a", times=["2020-05-08"]),
    )
    assert put(s).modalities == ("l1c", "l2a")


# -- what is not measured -----------------------------------------------------------------------------------------


def test_an_empty_scene_gives_the_prior():
    emb = put(scene(modality(np.full((1, 2, 30, 30), np.nan))), model=tiny())
    assert (emb.mean.values == 0).all()
    assert (emb.certainty.values == 0).all()
    assert not emb.observed.any()


def test_a_pixel_that_was_not_measured_has_the_prior_and_the_others_do_not():
    v = texture((60, 60))
    v[:, :, 10:20, 30:40] = np.nan
    emb = put(scene(modality(v)), model=tiny())
    hole = np.zeros((60, 60), bool)
    hole[10:20, 30:40] = True
    np.testing.assert_array_equal(emb.observed, ~hole)
    assert (emb.variance.values[:, hole] == 1).all()
    assert np.isfinite(emb.mean.values).all()


def test_the_order_of_bands_does_not_matter():
    v, order = texture((60, 60), n=5), [3, 0, 4, 2, 1]
    one = put(scene(modality(v, bands=bands(5))), model=tiny())
    other = put(scene(modality(v[:, order], bands=tuple(bands(5)[i] for i in order))), model=tiny())
    np.testing.assert_allclose(other.mean.values, one.mean.values, atol=1e-5)


def test_a_change_in_one_modality_leaves_the_expert_of_another_untouched():
    s2, s1 = modality(texture((60, 60))), modality(texture((60, 60), seed=1), name="s1")
    cloud = texture((60, 60))
    cloud[:, :, 20:40, 20:40] = 0.9
    clear, cloudy = put(scene(s2, s1), model=tiny()), put(scene(modality(cloud), s1), model=tiny())
    np.testing.assert_array_equal(clear.expert("s1").variance.values, cloudy.expert("s1").variance.values)
    assert not np.allclose(clear.expert("s2").mean.values, cloudy.expert("s2").mean.values)


# -- time ---------------------------------------------------------------------------------------------------------


def test_all_dates_are_encoded_together():
    v = texture((20, 20), dates=3)
    emb = put(scene(modality(v, times=["2020-01-11", "2020-02-01", "2020-03-01"])))
    assert values(emb, 4)[0, 0] == 3
    assert values(emb, 5)[0, 0] == 11


def test_each_day_can_be_encoded_by_itself(tmp_path):
    v = texture((20, 20), dates=2)
    s = scene(
        modality(v, times=["2020-01-11T10:00", "2020-02-01T10:00"]),
        modality(texture((20, 20), seed=5), name="s1", times=["2020-02-01T22:00"]),
        modality(texture((20, 20), seed=6), name="dem"),
    )
    days = put(s, per="date", out=tmp_path / "days")
    assert list(map(str, days)) == ["2020-01-11", "2020-02-01"]
    first, second = days.values()
    assert first.modalities == ("s2", "dem")
    assert second.modalities == ("s2", "s1", "dem")
    np.testing.assert_array_equal(values(second, 0), v[1, 0])
    assert values(first, 4)[0, 0] == 1
    assert (tmp_path / "days" / "2020-01-11.zarr").is_dir()


def test_days_need_dates():
    with pytest.raises(InvalidOption, match="needs a modality with dates"):
        put(scene(modality(texture((8, 8)))), per="date")


def test_blocks_of_long_series_and_many_bands_are_smaller():
    def cells(dates, n):
        source = Source(modality(np.zeros((dates, n, 2, 2))), NEEDS)
        return pipeline.block_cells(source, 144, n_virtual=24, margin_cells=8)

    assert cells(1, 12) == 144
    assert cells(1, 12) > cells(12, 12) > cells(100, 12) >= 1
    assert cells(1, 224) < 144


# -- flow ---------------------------------------------------------------------------------------------------------


def test_only_windows_are_read(monkeypatch):
    s = scene(modality(texture((400, 300))))
    seen = []
    read = type(s["s2"]).read

    def spy(self, rows, cols, *, time=None):
        out = read(self, rows, cols, time=time)
        seen.append(out.shape[2] * out.shape[3])
        return out

    monkeypatch.setattr(type(s["s2"]), "read", spy)
    put(s, tile_cells=8)
    assert max(seen) <= ((8 + 4 + 16) * 6) ** 2
    assert len(seen) > 20


def test_a_lazy_scene_gives_what_an_eager_one_does():
    eager = modality(texture((70, 80)))
    lazy = dataclasses.replace(eager, raw=eager.raw.chunk({"y": 16, "x": 32}))
    one, other = (put(scene(m), model=tiny(), tile_cells=8) for m in (eager, lazy))
    np.testing.assert_array_equal(other.mean.values, one.mean.values)


@pytest.mark.parametrize("held", [0, 60_000, 96 << 20])
@pytest.mark.parametrize("options", [{}, {"resolution_m": 30}, {"cell_m": 90.0}, {"per": "date"}])
def test_neighbouring_tiles_read_at_once_give_what_single_ones_do(monkeypatch, held, options):
    eager = modality(texture((150, 170), dates=2), times=["2020-01-11", "2020-02-01"])
    eager = scene(eager).with_mask("s2", np.indices((150, 170))[1] % 50 == 0)["s2"]
    chunks = {"y": 32, "x": 64}
    lazy = dataclasses.replace(eager, raw=eager.raw.chunk(chunks), mask=eager.mask.chunk(chunks))
    monkeypatch.setattr(pipeline, "HELD_BYTES", held)
    maps = [put(scene(m), tile_cells=8, **options) for m in (eager, lazy)]
    for one, other in zip(*[m.values() if isinstance(m, dict) else [m] for m in maps], strict=True):
        np.testing.assert_array_equal(other.mean.values, one.mean.values)
        np.testing.assert_array_equal(other.observed, one.observed)


def test_of_a_lazy_scene_a_pixel_is_seldom_read_twice(monkeypatch):
    eager = modality(texture((288, 288), n=1))
    reads = []

    class File:
        shape, dtype, ndim = eager.raw.shape, eager.raw.dtype, 4

        def __getitem__(self, key):
            reads.append(np.asarray(eager.raw.values[key]))
            return reads[-1]

    data = da.from_array(File(), chunks=(1, 1, 96, 96), name="file", asarray=False, meta=np.empty((0,) * 4, "f4"))
    lazy = dataclasses.replace(eager, raw=eager.raw.copy(data=data))
    emb = put(scene(lazy), tile_cells=8)
    np.testing.assert_array_equal(values(emb, 0), eager.raw.values[0, 0])
    # One tile of 8 cells with its margin of 8 is nine tiles; four neighbours a side with theirs are 36 of 16.
    assert 1 <= sum(r.size for r in reads) / 288**2 < 3


def test_the_next_block_is_read_while_one_is_encoded(monkeypatch):
    s = scene(modality(texture((240, 24), n=1)))
    reads, waited = [], []
    again = threading.Condition()
    read = Source.read

    def spy(self, block):
        with again:
            reads.append(block)
            again.notify_all()
        return read(self, block)

    class Patient(Transparent):
        def dense(self, x, bands, **kwargs):
            n = len(waited) + 2  # while block n is in the encoder, the reading of the next one begins
            with again:
                waited.append(again.wait_for(lambda: len(reads) >= min(n, 10), timeout=5))
            return super().dense(x, bands, **kwargs)

    monkeypatch.setattr(Source, "read", spy)
    put(s, model=type(transparent())(Patient(), {}, "0" * 16, "patient"), tile_cells=4)
    assert len(waited) >= 10
    assert all(waited)


def test_no_more_than_one_block_is_read_ahead(monkeypatch):
    s = scene(modality(texture((240, 24), n=1)))
    reads, ahead = [], []
    read = Source.read

    def spy(self, block):
        reads.append(block)
        return read(self, block)

    class Slow(Transparent):
        def dense(self, x, bands, **kwargs):
            time.sleep(0.02)
            ahead.append(len(reads) - len(ahead))
            return super().dense(x, bands, **kwargs)

    monkeypatch.setattr(Source, "read", spy)
    put(s, model=type(transparent())(Slow(), {}, "0" * 16, "slow"), tile_cells=4)
    assert max(ahead) <= 2


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_a_streamed_map_is_the_one_in_memory(tmp_path, dtype):
    s = scene(modality(texture((100, 90))), modality(texture((34, 30)), grid((34, 30), 30.0), name="l8"))
    kept = put(s, model=tiny(), dtype=dtype, tile_cells=8)
    streamed = put(s, model=tiny(), dtype=dtype, tile_cells=8, out=tmp_path / "map.zarr")
    assert streamed.dtype == kept.dtype == dtype
    assert streamed.scene is s
    np.testing.assert_allclose(
        streamed.mean.values, kept.mean.values, atol={"float16": 0, "float32": 0, "int8": 0.1}[dtype]
    )


def test_the_store_says_where_the_map_comes_from(tmp_path):
    s = scene(modality(texture((20, 20)), times=["2020-04-08"], sensor="sentinel-2-l2a", notes=("offset removed",)))
    put(s, model=tiny(), out=tmp_path / "map.zarr")
    attrs = open_embeddings(tmp_path / "map.zarr").attrs
    assert attrs["model"] == "tiny"
    assert attrs["model_hash"] == tiny().hash
    assert attrs["dates"] == {"s2": ["2020-04-08"]}
    assert attrs["bands"] == {"s2": ["b0", "b1", "b2"]}
    assert attrs["notes"]["s2"] == ["offset removed"]
    assert len(attrs["data"]) == 64


def test_other_data_have_another_identity():
    v = texture((20, 20))
    changed = v.copy()
    changed[0, 1, 0, 0] += 0.01
    ids = {put(scene(modality(a))).attrs["data"] for a in (v, changed)}
    assert len(ids) == 2
    assert put(scene(modality(v))).attrs["data"] in ids


def test_a_store_of_other_data_is_refused(tmp_path):
    put(scene(modality(texture((20, 20)))), out=tmp_path / "map.zarr")
    with pytest.raises(StoreError, match=r"holds other embeddings: provenance\['data'\]"):
        put(scene(modality(texture((20, 20), seed=3))), out=tmp_path / "map.zarr")


def test_an_interrupted_call_leaves_whole_tiles_and_says_how_to_go_on(tmp_path):
    s = scene(modality(texture((96, 96))))
    calls = []

    class Interrupted(Transparent):
        def dense(self, x, bands, **kwargs):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return super().dense(x, bands, **kwargs)

    model = type(transparent())(Interrupted(), {}, "0" * 16, "transparent")
    with pytest.raises(KeyboardInterrupt, match=r"2 of 16 tiles are in .*map.zarr.partial. The same call resumes"):
        put(s, model=model, out=tmp_path / "map.zarr", tile_cells=4)
    emb = put(s, out=tmp_path / "map.zarr", tile_cells=4)
    np.testing.assert_array_equal(values(emb, 0), s["s2"].raw.values[0, 0])


CHILD = """
import os, sys, signal
sys.path.insert(0, {root!r})
from tests.embed.scenes import modality, scene, texture, tiny
from georeset_lab.embed.encoding import sinks
from georeset_lab.embed.encode import encode
write, count = sinks.StoreSink.write, 0
def spy(self, tile, experts):
    global count
    if count == {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, tile, experts)
    count += 1
sinks.StoreSink.write = spy
encode(scene(modality(texture((96, 120)))), model=tiny(), out={out!r}, dtype="float32", tile_cells=8, progress=False)
"""


@pytest.mark.slow  # starts an interpreter
@pytest.mark.parametrize("after", [0, 3])
def test_a_killed_call_is_resumed_bit_for_bit(tmp_path, after):
    s = scene(modality(texture((96, 120))))
    out = tmp_path / "map.zarr"
    code = textwrap.dedent(CHILD.format(root=os.getcwd(), out=str(out), after=after))
    child = subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120)
    assert child.returncode == -signal.SIGKILL
    with pytest.raises(StoreError, match=f"{after} of 6 tiles are written"):
        open_embeddings(out)
    written = []
    original = pipeline.run

    def count(job, tiles, sink, progress):
        written.append(len(tiles))
        original(job, tiles, sink, progress)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "run", count)
        resumed = put(s, model=tiny(), out=out, tile_cells=8)
    assert written == [6 - after]
    whole = put(s, model=tiny(), tile_cells=8)
    np.testing.assert_array_equal(resumed.mean.values, whole.mean.values)
    np.testing.assert_array_equal(resumed.variance.values, whole.variance.values)


def test_a_fault_in_reading_is_raised_and_no_thread_is_left(monkeypatch):
    def broken(self, block):
        raise OSError("disk on fire")

    monkeypatch.setattr(Source, "read", broken)
    with pytest.raises(OSError, match="disk on fire"):
        put(scene(modality(texture((60, 60)))), tile_cells=4)
    assert not [t for t in threading.enumerate() if t.name.startswith("encode-")]


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"modalities": ["s3"]}, UnknownModality, "no modality 's3'; it has 's2'"),
        ({"modalities": []}, UnknownModality, "nothing to encode"),
        ({"dtype": "float64"}, InvalidOption, "choose one of float32, float16, int8"),
        ({"per": "month"}, InvalidOption, "use per='date'"),
        ({"tile_cells": 0}, InvalidOption, "tile_cells=0"),
        ({"cell_m": -60}, UnitError, "cell_m=-60"),
        ({"resolution_m": 0}, UnitError, "resolution_m=0"),
        ({"device": "warp"}, InvalidOption, "device='warp' cannot be used"),
    ],
)
def test_what_cannot_be_done_is_refused(kwargs, error, match):
    with pytest.raises(error, match=match):
        put(scene(modality(texture((8, 8)))), **kwargs)


def test_modalities_without_common_ground_are_refused():
    s = scene(modality(texture((8, 8))), modality(texture((8, 8)), grid((8, 8), x0=700_000.0), name="s1"))
    with pytest.raises(GridMismatch, match="share no ground"):
        put(s)


def test_the_callers_model_stays_where_it_is():
    model = tiny()
    put(scene(modality(texture((8, 8)))), model=model, device="cpu")
    assert next(model.encoder.parameters()).device == torch.device("cpu")
