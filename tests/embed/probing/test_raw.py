from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Calibration, Modality
from georeset_lab.data.scene import Scene
from georeset_lab.embed.probing.raw import feature_names, features_at, pixel_features
from georeset_lab.errors import GridMismatch, NothingObserved

LEFT, TOP = 600_000, 5_700_000


def grid_of(rows: int, cols: int, pixel: float = 10) -> GeoBox:
    return GeoBox.from_bbox((LEFT, TOP - pixel * rows, LEFT + pixel * cols, TOP), "EPSG:32719", resolution=pixel)


def modality(name: str, values: np.ndarray, pixel: float = 10) -> Modality:
    """(T, C, Y, X) values as a modality whose bands are called B0, B1, ..."""
    bands = tuple(BandSpec(f"B{i}", 0.5, 0.02, pixel) for i in range(values.shape[1]))
    raw = xr.DataArray(values.astype("f4"), dims=("time", "band", "y", "x"))
    return Modality(name, raw, bands, grid_of(*values.shape[2:], pixel), Calibration.identity(len(bands)))


def scene_of(*modalities: Modality) -> Scene:
    return Scene({m.name: m for m in modalities}, modalities[0].grid.crs)


def test_bands_are_the_mean_over_valid_dates():
    values = np.stack([np.full((2, 6, 6), 1.0), np.full((2, 6, 6), 3.0)])
    values[1, 0, 2, 2] = np.nan
    got = pixel_features(scene_of(modality("s2", values)), grid_of(6, 6))
    assert got.shape == (6, 6, 2)
    assert got.dtype == np.float32
    assert got[2, 2].tolist() == [1.0, 2.0]
    assert got[0, 0].tolist() == [2.0, 2.0]


def test_a_coarse_modality_gives_each_pixel_the_value_that_holds_its_centre():
    fine = modality("s2", np.arange(36.0).reshape(1, 1, 6, 6))
    coarse = modality("l8", np.arange(4.0).reshape(1, 1, 2, 2), pixel=30)
    got = pixel_features(scene_of(fine, coarse), grid_of(6, 6))
    np.testing.assert_array_equal(got[..., 0], np.arange(36).reshape(6, 6))
    np.testing.assert_array_equal(got[..., 1], np.kron(np.arange(4).reshape(2, 2), np.ones((3, 3))))
    assert feature_names(scene_of(fine, coarse)) == ["s2:B0", "l8:B0"]


def test_a_window_of_the_grid_gives_the_same_numbers():
    rng = np.random.default_rng(0)
    scene = scene_of(modality("s2", rng.normal(size=(2, 3, 20, 24))), modality("l8", rng.normal(size=(1, 2, 7, 8)), 30))
    whole = pixel_features(scene, grid_of(20, 24), statistics=True)
    part = pixel_features(scene, grid_of(20, 24)[5:14, 7:20], statistics=True)
    np.testing.assert_allclose(part, whole[5:14, 7:20], atol=1e-6)


def test_some_pixels_taken_strip_by_strip_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 3, 20, 24))
    values[:, 1, 3] = np.nan
    scene = scene_of(modality("s2", values), modality("l8", rng.normal(size=(1, 2, 3, 8)), 30))
    whole = pixel_features(scene, grid_of(20, 24), statistics=True, fill=False).reshape(480, -1)
    pixels = rng.permutation(480)[:100]
    got = features_at(scene, grid_of(20, 24), pixels, statistics=True, max_bytes=4000)
    known = np.isfinite(whole[pixels])
    np.testing.assert_allclose(got[known], whole[pixels][known], atol=1e-6)
    assert (got[:, 4][~known[:, 4]] == np.median(got[:, 4][known[:, 4]])).all()


def test_statistics_are_those_of_the_valid_pixels_of_the_window():
    rng = np.random.default_rng(0)
    image = 300 + rng.normal(size=(12, 13))  # like kelvin: a naive float32 variance would drown
    image[rng.random(image.shape) < 0.3] = np.nan
    scene = scene_of(modality("s2", image[None, None]))
    got = pixel_features(scene, grid_of(12, 13), statistics=True, fill=False)
    assert feature_names(scene, statistics=True) == ["s2:B0", "s2:B0 mean", "s2:B0 std"]
    for r in range(12):
        for c in range(13):
            window = image[max(r - 2, 0) : r + 3, max(c - 2, 0) : c + 3].astype("f4").astype(float)
            np.testing.assert_allclose(got[r, c, 1:], [np.nanmean(window), np.nanstd(window)], rtol=1e-5, atol=1e-4)


def test_missing_values_become_the_median_of_the_band_and_spread_nowhere():
    image = np.arange(81.0).reshape(9, 9)
    image[4, 4] = np.nan
    scene = scene_of(modality("s2", np.stack([image, np.full((9, 9), np.nan)])[None]))
    got = pixel_features(scene, grid_of(9, 9))
    assert got[4, 4, 0] == np.nanmedian(image)
    assert (got[..., 1] == 0).all()
    bare = pixel_features(scene, grid_of(9, 9), statistics=True, fill=False)
    assert np.isnan(bare[..., 0]).sum() == 1
    assert not np.isnan(bare[..., 2]).any()


def test_ground_outside_a_modality_is_missing():
    scene = scene_of(modality("s2", np.ones((1, 1, 6, 6))), modality("s1", np.full((1, 1, 4, 4), 5.0)))
    got = pixel_features(scene, grid_of(6, 6), fill=False)
    assert np.isnan(got[..., 1]).sum() == 36 - 16
    assert (got[:4, :4, 1] == 5).all()


def test_refusals_name_the_grid():
    scene = scene_of(modality("s2", np.ones((1, 1, 6, 6))))
    with pytest.raises(GridMismatch, match="The grid is in EPSG:32720, the scene in EPSG:32719"):
        pixel_features(scene, GeoBox.from_bbox((0, 0, 60, 60), "EPSG:32720", resolution=10))
    with pytest.raises(GridMismatch, match="'s2' shares no ground"):
        pixel_features(scene, GeoBox.from_bbox((0, 0, 60, 60), "EPSG:32719", resolution=10))
    with pytest.raises(NothingObserved, match="no modality"):
        pixel_features(Scene({}, scene.crs), grid_of(6, 6))
