"""Points stand where a grid stands: places, blocks and labels are theirs, and a raster of them is refused."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from odc.geo.geobox import GeoBox

from georeset_lab.data.points import PointGrid, is_points
from georeset_lab.embed.locate import describe, lonlat_of, pixel_of
from georeset_lab.embed.pictures.warp import grid_view, warp_index
from georeset_lab.errors import InvalidOption, MissingCRS, NotAGrid, OutsideScene, ShapeMismatch

LON, LAT = np.array([-50.0, -50.0, -49.0, -48.0]), np.array([-10.0, -11.0, -10.0, -12.0])


@pytest.fixture
def points():
    return PointGrid(LON, LAT, "EPSG:4326")


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (([], [], "EPSG:4326"), ShapeMismatch, "one at least"),
        (([1.0], [1.0, 2.0], "EPSG:4326"), ShapeMismatch, "got 1 and 2"),
        (([np.nan], [1.0], "EPSG:4326"), ShapeMismatch, "missing or infinite"),
        (([1.0], [2.0], None), MissingCRS, "crs='EPSG:4326'"),
        (([700_000.0], [5_700_000.0], "EPSG:4326"), MissingCRS, "no longitude and latitude"),
    ],
)
def test_places_that_are_none_are_refused(arguments, error, says):
    with pytest.raises(error, match=says):
        PointGrid(*arguments)


def test_a_vector_stands_for_some_ground():
    with pytest.raises(InvalidOption, match="support_m=0"):
        PointGrid(LON, LAT, "EPSG:4326", support_m=0)


@pytest.mark.parametrize("what", ["affine", "transform", "resolution"])
def test_what_only_a_grid_has_is_refused_in_words(points, what):
    with pytest.raises(NotAGrid, match="4 points, not a grid"):
        getattr(points, what)


def test_a_grid_is_no_points_and_points_of_other_places_are_others(points):
    assert is_points(points)
    assert not is_points(GeoBox.from_bbox((0, 0, 1, 1), "EPSG:4326", resolution=0.5))
    assert points == PointGrid(LON, LAT, "EPSG:4326")
    assert points != PointGrid(LON + 1e-9, LAT, "EPSG:4326")
    assert points[1:3] == PointGrid(LON[1:3], LAT[1:3], "EPSG:4326")


def test_the_nearest_point_answers_for_a_place_but_not_from_far(points):
    assert pixel_of(points, -49.1, -10.1) == (2, 0)
    np.testing.assert_allclose(lonlat_of(points, [0, 3], [0, 0]), [LON[[0, 3]], LAT[[0, 3]]])
    with pytest.raises(OutsideScene, match=r"at \(-48\.00000, -12\.00000\); these 4 points answer"):
        pixel_of(points, -40.0, -20.0)
    assert "lon -50.00000 to -48.00000, lat -12.00000 to -10.00000" in describe(points)


def test_projected_points_are_found_in_degrees():
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32722", always_xy=True).transform(LON, LAT)
    assert pixel_of(PointGrid(x, y, "EPSG:32722"), LON[1], LAT[1]) == (1, 0)


def test_blocks_are_squares_of_ground_and_a_part_keeps_them(points):
    blocks = points.block_ids(150_000)[:, 0]
    assert blocks.shape == (4,)
    assert len(set(blocks)) >= 3
    wide = points.block_ids(5_000_000)[:, 0]
    assert set(wide) == {0}
    rng = np.random.default_rng(0)
    many = PointGrid(rng.uniform(-60, -40, 500), rng.uniform(-25, -2, 500), "EPSG:4326")
    whole, part = many.block_ids(200_000)[:, 0], many[100:300].block_ids(200_000)[:, 0]
    same = whole[100:300, None] == whole[None, 100:300]
    np.testing.assert_array_equal(part[:, None] == part[None], same)
    apart = np.abs(many.metres[:, None] - many.metres[None]).max(axis=2)
    assert apart[whole[:, None] == whole[None]].max() <= 200_000


def test_a_polygon_labels_the_points_in_it_and_the_last_holds(points):
    one, other = shapely.box(-50.5, -10.5, -48.5, -9.5), shapely.box(-49.5, -10.5, -47.5, -9.5)
    np.testing.assert_array_equal(points.burn([one, other])[:, 0], [0, -1, 1, -1])


def test_a_label_point_belongs_to_a_vector_within_its_ground_only(points):
    near, far = shapely.Point(-50.0001, -10.0), shapely.Point(-50.01, -11.0)  # 11 m and 1.1 km away
    np.testing.assert_array_equal(points.burn([near, far])[:, 0], [0, -1, -1, -1])


def test_as_many_labels_as_vectors_at_one_place_belong_together_in_their_order():
    twice = PointGrid([1.0, 2.0, 1.0], [1.0, 1.0, 1.0], "EPSG:4326")
    here, there = shapely.Point(1, 1), shapely.Point(2, 1)
    np.testing.assert_array_equal(twice.burn([there, here, here])[:, 0], [1, 0, 2])
    np.testing.assert_array_equal(twice.burn([here])[:, 0], [0, -1, 0])
    np.testing.assert_array_equal(twice.burn([here, here, here])[:, 0], [2, -1, 2])


def test_on_a_map_each_point_is_a_disc_around_its_place(points):
    view = grid_view(points, max_pixels=40_000)
    index = warp_index(points, view)
    assert set(np.unique(index)) == {-1, 0, 1, 2, 3}
    from georeset_lab.embed.pictures.warp import mercator_of

    x, y = mercator_of(LON, LAT)
    for i in range(4):
        rows, cols = np.nonzero(index == i)
        col = (x[i] - view.left) / (view.right - view.left) * view.shape[1]
        row = (view.top - y[i]) / (view.top - view.bottom) * view.shape[0]
        assert (rows.mean() + 0.5, cols.mean() + 0.5) == pytest.approx((row, col), abs=0.6)
        assert np.hypot(rows - rows.mean(), cols - cols.mean()).max() <= 6.01


def test_where_discs_overlap_the_nearest_point_is_seen():
    close = PointGrid([0.0, 0.002], [0.0, 0.0], "EPSG:4326")
    view = grid_view(close, max_pixels=2500)
    index = warp_index(close, view)
    row, cols = index.shape[0] // 2, np.flatnonzero(index[index.shape[0] // 2] >= 0)
    found = index[row, cols]
    assert (np.diff(found) >= 0).all()
    assert np.count_nonzero(found == 0) == pytest.approx(np.count_nonzero(found == 1), abs=2)
