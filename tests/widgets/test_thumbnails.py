"""Thumbnails show the right ground in colours that are the same all over the scene."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Calibration, Modality
from georeset_lab.data.scene import Scene
from georeset_lab.widgets.thumbnails import MAX_SIDE, Looks, main_optical, small_url
from tests.widgets.markup import pixels
from tests.widgets.planted import planted_embeddings, utm_grid

RGB = (BandSpec("B02", 0.49, 0.06, 10), BandSpec("B03", 0.56, 0.04, 10), BandSpec("B04", 0.665, 0.03, 10))
VV_VH = tuple(BandSpec(p, 55465.8, 1000.0, 10, kind="backscatter", polarization=p) for p in ("VV", "VH"))
DEM = (BandSpec("elevation", float("nan"), float("nan"), 30, kind="elevation"),)


def modality(name: str, values: np.ndarray, bands: tuple[BandSpec, ...], pixel: float = 10.0) -> Modality:
    """Values (T, C, Y, X) in physical units."""
    grid = GeoBox(values.shape[2:], Affine(pixel, 0, 700_000, 0, -pixel, 5_700_000), "EPSG:32718")
    raw = xr.DataArray(values.astype("f4"), dims=("time", "band", "y", "x"))
    return Modality(name, raw, bands, grid, Calibration.identity(len(bands)))


@pytest.fixture
def looks() -> Looks:
    """Dark ground with a bright red square and a bright edge; a hole in the second date; a slope; a smooth radar image."""
    rgb = np.full((2, 3, 60, 80), 0.05)
    rgb[:, :, 52:] = 0.3
    rgb[:, 2, 20:30, 40:50] = 0.3
    rgb[1, :, :30] = np.nan
    y, x = np.indices((60, 80))
    radar = np.stack([-10 - y / 10, -16 - x / 10])[None]
    scene = [modality("s2", rgb, RGB), modality("s1", radar, VV_VH), modality("dem", (10.0 * x)[None, None], DEM)]
    return Looks(Scene({m.name: m for m in scene}, utm_grid(1, 1).crs), planted_embeddings(60, 80))


def test_true_colour_shows_red_as_red_and_the_same_everywhere(looks):
    whole = looks.modality("s2", slice(0, 60), slice(0, 80), 0)
    assert whole.shape == (60, 80, 4)
    red, green = (int(z) for z in whole[25, 45, :2])
    assert red > 2 * green
    window = looks.modality("s2", slice(15, 35), slice(35, 55), 0)
    np.testing.assert_array_equal(window, whole[15:35, 35:55])  # not stretched anew for each window


def test_what_was_not_measured_is_transparent(looks):
    picture = looks.modality("s2", slice(0, 60), slice(0, 80), 1)
    assert (picture[:30, :, 3] == 0).all()
    assert (picture[30:, :, 3] == 255).all()
    assert looks.best_date("s2") == 0


def test_radar_and_relief_have_pictures_of_their_own(looks):
    radar = looks.modality("s1", slice(0, 60), slice(0, 80), 0).astype(int)
    assert (np.diff(radar[:, 10, 0]) <= 0).all()  # VV falls down the rows
    assert (np.diff(radar[10, :, 1]) <= 0).all()  # VH along the columns
    relief = looks.modality("dem", slice(0, 20), slice(0, 20), 0)
    assert (relief[..., 3] == 255).all()
    assert len(np.unique(relief[:, 10, :3], axis=0)) == 1  # a slope from west to east


def test_a_fine_picture_is_thinned_and_stays_small(looks):
    rng = np.random.default_rng(0)
    fine = modality("s2", rng.uniform(0, 0.4, (1, 3, 400, 400)), RGB, pixel=1.0)
    big = Looks(Scene({"s2": fine}, utm_grid(1, 1).crs), planted_embeddings(60, 80))
    picture = big.modality("s2", slice(0, 400), slice(0, 400), 0)
    assert max(picture.shape[:2]) <= MAX_SIDE
    url = small_url(picture)
    assert len(url) < 25_000
    assert np.abs(pixels(url).astype(int) - picture).mean() < 12
    tiny = picture[:4, :5]
    np.testing.assert_array_equal(pixels(small_url(tiny)), tiny)


def test_the_main_picture_is_the_finest_true_colour(looks):
    assert main_optical(looks.scene) == "s2"
    assert main_optical(None) is None
    assert main_optical(looks.scene.only("dem")) is None
    one = dataclasses.replace(looks.scene["s2"].select_bands(["B03"]), name="l8")
    assert main_optical(dataclasses.replace(looks.scene, modalities={"l8": one, **looks.scene.modalities})) == "s2"


def test_without_a_scene_the_embedding_is_shown_in_colours(looks):
    picture = looks.embedding(slice(10, 30), slice(0, 25))
    assert picture.shape == (20, 25, 4)
    codes = picture[..., :3].reshape(-1, 3).astype(int)
    assert codes.std(axis=0).max() > 20
