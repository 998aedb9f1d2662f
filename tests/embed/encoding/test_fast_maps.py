"""Maps encoded fast are nearly those encoded otherwise, and nothing that was measured is lost."""

import numpy as np
import pytest

from georeset_lab.data.simulate import simulate_scene
from georeset_lab.embed.encode import encode
from georeset_lab.errors import StoreError
from tests.embed.scenes import grid, modality, scene, texture, transparent

COARSE = {"resolution_m": 60.0, "dtype": "float32", "progress": False}


@pytest.fixture(scope="module")
def simulated():
    scene = simulate_scene(seed=1, size=(150, 141), modalities=("s2",), dates=2)
    y, x = np.indices((150, 141))
    cloud = np.sin(y / 9) * np.cos(x / 7)
    return scene.with_mask("s2", np.stack([cloud > 0.4, cloud > -0.1]))


def _cosines(a, b):
    a, b = (np.asarray(e.mean) for e in (a, b))
    sizes = [np.linalg.norm(z, axis=0) for z in (a, b)]
    some = sizes[0] > 0
    return (a * b).sum(0)[some] / (sizes[0] * sizes[1])[some]


@pytest.mark.parametrize("options", [{}, {"resolution_m": 70.0}, {"resolution_m": 160.0, "cell_m": 160.0}])
def test_coarse_maps_stay_near(simulated, options):
    slow, fast = (encode(simulated, **{**COARSE, **options}, fast=fast) for fast in (False, True))
    near = _cosines(slow, fast)
    assert near.mean() > 0.999
    assert near.min() > 0.95
    tau = [e.experts["s2"].tau.sum() for e in (slow, fast)]
    assert tau[1] == pytest.approx(tau[0], rel=0.01), "half of the pixels stand for all"


def test_tiles_change_nothing(simulated):
    whole, cut = (encode(simulated, **COARSE, fast=True, tile_cells=n) for n in (112, 8))
    # Of numbers between 1 and 2, bfloat16 knows every 1 / 128.
    np.testing.assert_allclose(np.asarray(cut.mean), np.asarray(whole.mean), atol=1 / 128)


def test_a_pixel_that_is_all_its_cell_has_is_not_lost():
    values = texture((96, 96), n=5)
    values[:, :, 36:60, 36:60] = np.nan
    for y, x in ((44, 45), (50, 50), (57, 38)):  # one in each of three cells, of both colours of the checkerboard
        values[:, :, y, x] = 0.3
    s = scene(modality(values, grid((96, 96), y0=5_000_040.0)))
    slow, fast = (encode(s, **COARSE, fast=fast).experts["s2"].tau.sum(-1) for fast in (False, True))
    assert ((slow > 0) == (fast > 0)).all()
    few = (slow > 0) & (slow < np.median(slow) / 10)
    assert few.any(), "there are cells that hold next to nothing"
    np.testing.assert_allclose(fast[few], slow[few], rtol=0.1)


def test_it_is_remembered_and_a_store_is_not_resumed_otherwise(simulated, tmp_path):
    fast = encode(simulated, **COARSE, fast=True, out=tmp_path / "a.zarr")
    assert fast.attrs["fast"] is True
    assert encode(simulated, **COARSE).attrs["fast"] is False
    with pytest.raises(StoreError, match="fast"):
        encode(simulated, **COARSE, out=tmp_path / "a.zarr")


def test_encoders_of_other_kinds_do_as_they_always_do(simulated):
    slow, fast = (encode(simulated, **COARSE, model=transparent(), fast=fast) for fast in (False, True))
    np.testing.assert_array_equal(np.asarray(fast.mean), np.asarray(slow.mean))
