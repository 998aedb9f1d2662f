"""Windows of lazy rasters: the same numbers as the whole file, and no pixel read that was not asked for."""

from __future__ import annotations

import pickle
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
from affine import Affine

from georeset_lab.data.readers import raster
from georeset_lab.data.readers.raster import read_raster
from georeset_lab.data.readers.sampling import sample
from georeset_lab.data.stored import cut, is_direct, read_stored, take

BANDS, ROWS, COLS = 3, 300, 260
TRUTH = np.random.default_rng(0).integers(1, 60_000, (1, BANDS, ROWS, COLS)).astype("uint16")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stored") / "image.tif"
    profile = {"driver": "GTiff", "count": BANDS, "height": ROWS, "width": COLS, "dtype": "uint16", "crs": "EPSG:32633",
               "transform": Affine(10, 0, 5e5, 0, -10, 5.8e6), "tiled": True, "blockxsize": 32, "blockysize": 32,
               "compress": "deflate"}  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(TRUTH[0])
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pixels that were asked of the file, one number for each read."""
    pixels: list[int] = []
    read = raster.read_window

    def counted(path: Path, bands: list[int], rows: slice, cols: slice, **options: object) -> np.ndarray:
        pixels.append(len(bands) * (rows.stop - rows.start) * (cols.stop - cols.start))
        return read(path, bands, rows, cols, **options)

    monkeypatch.setattr(raster, "read_window", counted)
    return pixels


def test_cuts_and_choices_of_bands_stay_direct_and_read_only_their_pixels(file: Path, asked: list[int]) -> None:
    raw = read_raster(file, chunks=64).raw
    part = cut(
        cut(take(take(raw, [2, 0, 1], axis=1), [1, 2], axis=1), slice(10, 200), slice(5, 250)),
        slice(7, 99),
        slice(60, 70),
    )
    expected = TRUTH[:, [2, 0, 1]][:, [1, 2]][:, :, 10:200, 5:250][:, :, 7:99, 60:70]
    assert is_direct(part)
    assert not asked  # so far nothing was read
    assert np.array_equal(
        read_stored(part, (slice(None), slice(None), slice(3, -4), slice(2, None))), expected[:, :, 3:-4, 2:]
    )
    assert sum(asked) == 2 * 85 * 8
    assert np.array_equal(part.compute(scheduler="synchronous"), expected)  # dask sees the same array
    assert np.array_equal(part[0, 1, 4, 2:5].compute(scheduler="synchronous"), expected[0, 1, 4, 2:5])


def test_a_direct_array_stays_so_on_its_way_to_a_worker(file: Path) -> None:
    raw = pickle.loads(pickle.dumps(cut(read_raster(file, chunks=64).raw, slice(40, 90), slice(0, 30))))  # noqa: S301  (ours)
    assert is_direct(raw)
    assert np.array_equal(read_stored(raw, (slice(None),) * 4), TRUTH[:, :, 40:90, :30])


def test_what_dask_computed_is_not_taken_for_the_file(file: Path) -> None:
    raw = read_raster(file, chunks=64).raw
    key = (slice(None), slice(None), slice(60, 70), slice(0, 9))
    for changed, expected in ((raw + 1, TRUTH + 1), (raw[:, :, ::-1], TRUTH[:, :, ::-1]), (raw.rechunk(50), TRUTH)):
        assert not is_direct(changed)
        assert np.array_equal(read_stored(changed, key), expected[key])
    kept = raw.persist(scheduler="synchronous")
    assert np.array_equal(read_stored(kept, key), TRUTH[key])


def test_other_windows_of_one_file_have_other_names_and_the_same_the_same(file: Path) -> None:
    raw = read_raster(file, chunks=64).raw
    one, same, other = (cut(raw, slice(0, n), slice(0, 20)) for n in (30, 30, 31))
    assert one.name == same.name
    assert one.name != other.name
    assert len({raw.name, one.name, take(one, [0], axis=1).name, take(one, [1], axis=1).name}) == 4
    assert dask.compute(one, other, scheduler="synchronous")[1].shape == other.shape


def test_the_sample_that_decides_units_is_of_small_windows_that_share_no_chunk_edge(
    file: Path, asked: list[int]
) -> None:
    raw = read_raster(file, chunks=128).raw
    seen = sample(raw, None)
    assert seen.shape[0] == BANDS
    assert set(np.unique(seen)) <= set(np.unique(TRUTH))
    assert asked == [BANDS * 128 * 128] * 4  # a window across an edge would be two reads


def test_an_empty_window_is_empty(file: Path, asked: list[int]) -> None:
    raw = read_raster(file, chunks=64).raw
    assert read_stored(raw, (slice(None), slice(None), slice(5, 5), slice(None))).shape == (1, BANDS, 0, COLS)
    assert cut(raw, slice(400, 500), slice(0, 5)).shape == (1, BANDS, 0, 5)
    assert not asked


def test_a_broken_block_is_named_and_the_sound_ones_still_read(file: Path, tmp_path: Path) -> None:
    from georeset_lab.errors import SceneReadError

    broken = tmp_path / "broken.tif"
    broken.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    raw = read_raster(broken, chunks=64).raw
    key = (slice(None), slice(None), slice(0, 64), slice(0, 64))
    with pytest.raises(SceneReadError, match=r"broken\.tif is truncated or damaged: band 1, block \(\d+, \d+\)"):
        read_stored(raw, (slice(None),) * 4)
    assert np.array_equal(read_stored(raw, key), TRUTH[key])
