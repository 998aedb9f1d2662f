"""A view of a grid shows, at each of its pixels, the pixel of the grid that lies there; checked against pyproj."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from georeset_lab.embed.locate import lonlat_of, pixel_of
from georeset_lab.embed.pictures.colours import PaletteImage
from georeset_lab.embed.pictures.warp import (
    WORLD_M,
    MercatorView,
    fit_zoom,
    grid_view,
    lonlat_of_mercator,
    mercator_of,
    thin_grid,
    view_of_pixels,
    warp_index,
    warped,
)
from georeset_lab.errors import ShapeMismatch


def utm(rows: int, cols: int, *, epsg: int = 32719, res: float = 10, left: float = 700_000, top: float = 5_800_000):
    return GeoBox((rows, cols), Affine(res, 0, left, 0, -res, top), f"EPSG:{epsg}")


GRIDS = {
    "utm, 2 km": utm(200, 190),
    "utm, 3 degrees off its meridian": utm(300, 300, epsg=32632, left=750_000, top=5_300_000),
    "utm, tile of 110 km": utm(1098, 1098, res=100, left=600_000),
    "rotated": GeoBox((80, 120), Affine(10, 3, 5e5, 3, -10, 5e6), "EPSG:32632"),
    "degrees": GeoBox((90, 160), Affine(1e-3, 0, 10, 0, -1e-3, 46), "EPSG:4326"),
    "degrees, whole world": GeoBox((170, 360), Affine(1, 0, -180, 0, -1, 85), "EPSG:4326"),
    "Europe": GeoBox((400, 400), Affine(1000, 0, 4e6, 0, -1000, 3.2e6), "EPSG:3035"),
    "polar": GeoBox((300, 300), Affine(500, 0, -4e5, 0, -500, -1e6), "EPSG:3413"),
    "one pixel": utm(1, 1),
    "upside down": GeoBox((50, 60), Affine(10, 0, 5e5, 0, 10, 5e6), "EPSG:32632"),
}


def exact(grid: GeoBox, view: MercatorView) -> np.ndarray:
    """Fractional column and row (2, h, w) at each pixel centre, all by pyproj."""
    h, w = view.shape
    x = view.left + (np.arange(w) + 0.5) * (view.right - view.left) / w
    y = view.top - (np.arange(h) + 0.5) * (view.top - view.bottom) / h
    lon, lat = Transformer.from_crs(3857, 4326, always_xy=True).transform(*np.meshgrid(x, y))
    px, py = Transformer.from_crs(4326, grid.crs.proj, always_xy=True).transform(lon, lat)
    a = ~grid.affine
    return np.array([a.a * px + a.b * py + a.c, a.d * px + a.e * py + a.f])


@pytest.mark.parametrize("name", GRIDS)
def test_every_pixel_of_a_view_shows_what_lies_there(name):
    grid = GRIDS[name]
    view = grid_view(grid, max_pixels=250_000)
    index = warp_index(grid, view)
    col, row = exact(grid, view)
    height, width = grid.shape
    inside = (col >= 0) & (col < width) & (row >= 0) & (row < height)
    truth = np.where(inside, np.floor(row) * width + np.floor(col), -1)
    assert index.shape == view.shape
    # Elsewhere than truth says only within a hundredth of a pixel from the border between two.
    near = np.minimum(np.abs(col - np.round(col)), np.abs(row - np.round(row))) < 0.01
    assert ((index == truth) | near).all()


@pytest.mark.parametrize("name", ["utm, 2 km", "rotated", "degrees", "utm, 3 degrees off its meridian"])
def test_a_whole_view_shows_each_pixel_at_least_once_and_ends_with_the_grid(name):
    grid = GRIDS[name]
    index = warp_index(grid, grid_view(grid, max_pixels=1_400_000, finest=2))
    assert np.unique(index[index >= 0]).size == grid.shape[0] * grid.shape[1]
    shown = index >= 0
    assert all(edge.any() for edge in (shown[0], shown[-1], shown[:, 0], shown[:, -1]))


def test_a_click_on_a_shown_pixel_comes_back_to_it():
    grid = GRIDS["utm, 2 km"]
    view = grid_view(grid, max_pixels=10**6)
    index = warp_index(grid, view)
    rng = np.random.default_rng(0)
    for i, j in zip(rng.integers(0, view.shape[0], 200), rng.integers(0, view.shape[1], 200), strict=True):
        if index[i, j] < 0:
            continue
        x = view.left + (j + 0.5) * (view.right - view.left) / view.shape[1]
        y = view.top - (i + 0.5) * (view.top - view.bottom) / view.shape[0]
        lon, lat = lonlat_of_mercator(x, y)
        row, col = pixel_of(grid, float(lon), float(lat))
        assert row * grid.shape[1] + col == index[i, j]


def test_a_view_of_screen_pixels_is_where_leaflet_says():
    # At zoom 3 the world has 2048 pixels; its middle is longitude 0, latitude 0.
    view = view_of_pixels(1024, 824, 1324, 1024, 3)
    assert view.shape == (200, 300)
    assert view.left == pytest.approx(0)
    assert view.bottom == pytest.approx(0)
    assert view.right == pytest.approx(WORLD_M * 300 / 2048)
    (south, west), (_, east) = view.corners
    assert (south, west) == pytest.approx((0, 0))
    assert east == pytest.approx(360 * 300 / 2048)


def test_a_scene_across_the_antimeridian_is_one_piece():
    grid = utm(2000, 4000, epsg=32701, left=160_000, top=8_000_000)  # from 179.8 E to 179.8 W
    view = grid_view(grid, max_pixels=400_000)
    assert view.right - view.left < WORLD_M / 500
    assert (warp_index(grid, view) >= 0).mean() > 0.9
    (_, west), (_, east) = view.corners
    assert west < 180 < east or west < -180 < east


def test_degrees_and_mercator_are_inverse():
    lon, lat = np.array([-179.9, 0, 12.5, 200]), np.array([-80, 0, 46.5, 60])
    assert np.allclose(lonlat_of_mercator(*mercator_of(lon, lat)), (lon, lat))
    theirs = Transformer.from_crs(4326, 3857, always_xy=True).transform(lon[:3], lat[:3])
    assert np.allclose(mercator_of(lon[:3], lat[:3]), theirs)


def test_a_thin_grid_begins_where_the_full_one_does():
    full = GRIDS["utm, 2 km"]
    thin = thin_grid(full, 7)
    assert tuple(thin.shape) == (29, 28)
    lon, lat = lonlat_of(full, 7 * 3 + 3, 7 * 5 + 3)  # the middle of block (3, 5)
    assert pixel_of(thin, float(lon), float(lat)) == (3, 5)


def test_pictures_are_taken_by_the_index_and_clear_outside():
    index = np.array([[0, 3], [-1, 5]])
    rgba = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    out = warped(rgba, index)
    assert out[0, 1].tolist() == rgba[1, 0].tolist()
    assert out[1, 0].tolist() == [0, 0, 0, 0]
    palette = np.array([[0, 0, 0, 0], [9, 9, 9, 255]], np.uint8)
    flags = PaletteImage(np.array([[1, 0, 0], [1, 1, 0]], np.uint8), palette)
    assert warped(flags, index).index.tolist() == [[1, 1], [0, 0]]
    with pytest.raises(ShapeMismatch, match="over 6 pixels"):
        warped(rgba, np.array([[6]]))


def test_views_know_whether_they_meet():
    a = MercatorView(0, 0, 10, 10, (1, 1))
    assert a.touches(MercatorView(9, 9, 20, 20, (1, 1)))
    assert not a.touches(MercatorView(11, 0, 20, 10, (1, 1)))
    assert a.covers(MercatorView(1, 1, 9, 9, (1, 1)))
    assert not a.covers(MercatorView(1, 1, 11, 9, (1, 1)))


def test_the_zoom_that_fits_is_the_last_at_which_all_is_inside():
    view = grid_view(GRIDS["utm, 2 km"], max_pixels=1)
    for snap in (1.0, 0.25):
        zoom = fit_zoom(view, (600, 400), snap=snap)
        px = 256 * 2**zoom / WORLD_M
        assert (view.right - view.left) * px <= 600
        assert (view.top - view.bottom) * px <= 400
        assert (view.top - view.bottom) * px * 2**snap > 400 or (view.right - view.left) * px * 2**snap > 600
        assert zoom % snap == 0
