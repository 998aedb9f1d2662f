"""Bands stack without moving, shifts are named, and modalities meet on common ground in one CRS."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy import ndimage

from georeset_lab.data.align import repeat_onto, require_nested, stack_bands, to_common_ground
from georeset_lab.data.bands import BandSpec
from georeset_lab.data.masks import unusable
from georeset_lab.data.modality import DIMS, Calibration, Modality
from georeset_lab.data.reproject import common_crs, reproject_modality, utm_zone
from georeset_lab.data.resample import reproject_nearest
from georeset_lab.data.sensors import sensor
from georeset_lab.errors import CroppedToCommonExtent, GridMismatch, Reprojected, ShapeMismatch

UTM = "EPSG:32632"
LEFT, TOP = 600_000.0, 5_900_000.0


def grid_of(rows, cols, gsd_m=10.0, left=LEFT, top=TOP, crs=UTM):
    return GeoBox((rows, cols), Affine(gsd_m, 0, left, 0, -gsd_m, top), crs)


def band(name, gsd_m=10.0):
    return BandSpec(name, 0.5, 0.05, gsd_m)


def part(name, grid, *, dates=None, dtype="uint16", chunks=None, seed=0):
    shape = grid.shape if dates is None else (dates, *grid.shape)
    values = np.random.default_rng(seed).integers(1, 60_000, tuple(shape)).astype(dtype)
    values = values if chunks is None else da.from_array(values, chunks=chunks)
    dims = ("y", "x") if dates is None else ("time", "y", "x")
    return xr.DataArray(values, dims=dims), band(name, abs(grid.affine.a)), grid


# ------------------------------------------------------------------------------------------------------ stack_bands
@pytest.mark.parametrize("chunks", [None, 5])
def test_coarse_bands_are_repeated_in_whole_blocks(chunks):
    parts = [
        part("c", grid_of(2, 3, 60), chunks=chunks),
        part("f", grid_of(12, 18), seed=1, chunks=chunks),
        part("m", grid_of(6, 9, 20), seed=2),
    ]
    stack = stack_bands(parts)
    assert stack.grid == grid_of(12, 18)
    assert stack.raw.dims == DIMS
    assert [b.gsd_m for b in stack.bands] == [60, 10, 20]
    assert (stack.raw.chunks is None) == (chunks is None)
    for i, ratio in enumerate((6, 1, 2)):
        expected = np.kron(parts[i][0].values, np.ones((ratio, ratio), dtype="uint16"))
        np.testing.assert_array_equal(stack.raw.values[0, i], expected)


def test_stacking_lazy_bands_reads_nothing():
    parts = [part("f", grid_of(12, 12), dates=3, chunks=4), part("c", grid_of(6, 6, 20), dates=3, chunks=4, seed=1)]
    with dask.config.set(scheduler=lambda *_, **__: pytest.fail("computed")):
        stack = stack_bands(parts)
    assert stack.raw.shape == (3, 2, 12, 12)
    assert stack.raw.dtype == np.uint16


def test_a_fine_pixel_takes_the_coarse_pixel_that_holds_its_centre_on_half_shifted_grids():
    """Landsat: pixel centres of 15 and 30 m coincide, so the panchromatic band starts half a pixel further out."""
    fine, coarse = grid_of(9, 8, 15, left=LEFT - 7.5, top=TOP + 7.5), grid_of(4, 4, 30)
    values = np.arange(16, dtype="uint16").reshape(4, 4)
    stack = stack_bands([part("pan", fine), (xr.DataArray(values, dims=("y", "x")), band("red", 30), coarse)])
    x, y = _centres(stack.grid)
    col, row = (np.floor((v + 1e-6) / 30).astype(int) for v in (x - LEFT, TOP - y))
    np.testing.assert_array_equal(stack.raw.values[0, 1], values[row][:, col])
    assert stack.grid.shape == (8, 8)  # the ninth row lies on the lower edge of the 30 m band


def _centres(grid):
    a = grid.affine
    return a.c + a.a * (np.arange(grid.shape[1]) + 0.5), a.f + a.e * (np.arange(grid.shape[0]) + 0.5)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (grid_of(12, 12, left=LEFT + 5), r"b is shifted by 0.50 pixels in x \(5 m\) against the grid of a"),
        (grid_of(12, 12, top=TOP - 3), r"shifted by 0.30 pixels in y \(3 m\)"),
        (grid_of(6, 6, 20, left=LEFT + 2.5), r"shifted by 0.25 pixels in x"),
        (grid_of(4, 4, 30, left=LEFT + 4), r"shifted by 0.40 pixels in x"),
        (grid_of(12, 12, crs="EPSG:32633"), "b is in EPSG:32633, a in EPSG:32632; reproject"),
        (GeoBox((12, 12), grid_of(12, 12).affine * Affine.rotation(3), UTM), "rotated"),
    ],
)
def test_a_shift_that_the_pixel_sizes_do_not_explain_is_named(other, message):
    with pytest.raises(GridMismatch, match=message):
        stack_bands([part("a", grid_of(12, 12)), part("b", other)])


@pytest.mark.parametrize(
    "other",
    [
        grid_of(12, 12, left=LEFT + 20),
        grid_of(6, 6, 20),
        grid_of(6, 6, 20, left=LEFT - 5),
        grid_of(4, 4, 30),
        grid_of(5, 5, 24),
    ],
)
def test_grids_that_fit_are_accepted(other):
    require_nested(other, grid_of(12, 12))


def test_bands_not_of_one_grid_are_taken_where_they_are_if_asked_to():
    shifted = part("b", grid_of(12, 12, left=LEFT + 3), seed=1)
    stack = stack_bands([part("a", grid_of(12, 12)), shifted], same_grid=False)
    np.testing.assert_array_equal(stack.raw.values[0, 1], shifted[0].values)


def test_only_the_ground_all_bands_share_is_kept_and_a_real_loss_is_warned_of():
    with pytest.warns(CroppedToCommonExtent, match="Bands a, b cover different ground"):
        stack = stack_bands([part("a", grid_of(12, 12)), part("b", grid_of(4, 4, 20, left=LEFT + 40))])
    assert stack.grid == grid_of(8, 8, left=LEFT + 40)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([], ShapeMismatch, "no band"),
        ([part("a", grid_of(4, 4)), part("b", grid_of(4, 4, left=LEFT + 1000))], GridMismatch, "share no ground"),
        ([(part("a", grid_of(4, 4))[0], band("a"), grid_of(4, 5))], ShapeMismatch, r"Band 'a' is .* its grid \(4, 5\)"),
        ([part("a", grid_of(4, 4), dates=2), part("b", grid_of(4, 4), dates=3)], ShapeMismatch, "a has 2 dates, b 3"),
    ],
)
def test_bands_that_cannot_be_stacked_are_refused(parts, error, message):
    with pytest.raises(error, match=message):
        stack_bands(parts)


def test_a_mask_on_a_coarser_larger_grid_is_repeated_onto_the_bands():
    values = np.arange(30).reshape(5, 6)
    out = repeat_onto(
        xr.DataArray(values, dims=("y", "x")), grid_of(5, 6, 20, left=LEFT - 20, top=TOP + 20), grid_of(8, 8)
    )
    np.testing.assert_array_equal(out.values, np.kron(values, np.ones((2, 2), int))[2:, 2:10])
    turned = GeoBox((8, 8), grid_of(8, 8).affine * Affine.rotation(10), UTM)
    with pytest.raises(GridMismatch, match="the array is rotated against the target"):
        repeat_onto(xr.DataArray(values, dims=("y", "x")), grid_of(5, 6, 20), turned)
    with pytest.raises(GridMismatch, match="The array covers"):
        repeat_onto(xr.DataArray(values, dims=("y", "x")), grid_of(5, 6, 20), grid_of(8, 99))


# ------------------------------------------------------------------------------------------------------ reprojection
def coded(grid):
    """Each pixel holds its own number, so that where it went can be read off."""
    return np.arange(1, grid.shape[0] * grid.shape[1] + 1, dtype=np.int32).reshape(grid.shape)


def degrees(rows, cols, step=1e-4, west=10.2, north=52.3):
    return GeoBox((rows, cols), Affine(step, 0, west, 0, -step, north), "EPSG:4326")


def modality_of(grid, *, name="m", values=None, nodata=None, chunks=None, gsd_m=10.0, mask=None, dtype=None):
    values = coded(grid) if values is None else values
    values = np.broadcast_to(values, (2, 1, *grid.shape)).astype(dtype or values.dtype)
    raw = values if chunks is None else da.from_array(values, chunks=chunks)
    mask = None if mask is None else xr.DataArray(np.broadcast_to(mask, (2, *grid.shape)), dims=("time", "y", "x"))
    times = {"time": np.array(["2020-01-01", "2020-02-01"], dtype="datetime64[ns]")}
    return Modality(
        name,
        xr.DataArray(raw, dims=DIMS, coords=times),
        (band("b", gsd_m),),
        grid,
        Calibration.identity(1, nodata),
        mask,
    )


def exact_pixel(source, target):
    """Source row and column of each target pixel centre, from pyproj alone; -1 outside."""
    x, y = np.meshgrid(*_centres(target))
    lon, lat = Transformer.from_crs(target.crs.proj, source.crs.proj, always_xy=True).transform(x, y)
    inverse = ~source.affine
    col, row = inverse.a * lon + inverse.b * lat + inverse.c, inverse.d * lon + inverse.e * lat + inverse.f
    inside = (row >= 0) & (row < source.shape[0]) & (col >= 0) & (col < source.shape[1])
    return np.where(inside, np.floor(row), -1).astype(int), np.where(inside, np.floor(col), -1).astype(int)


def test_each_resampled_pixel_holds_the_source_pixel_that_pyproj_names():
    source = degrees(400, 500)
    moved = reproject_modality(modality_of(source, nodata=0), CRS(UTM))
    row, col = exact_pixel(source, moved.grid)
    expected = np.where(row >= 0, coded(source)[row, col], 0)
    wrong = moved.raw.values[0, 0] != expected
    assert wrong.mean() < 2e-4  # centres within 1e-4 of a pixel edge
    assert moved.grid.affine.a == 10
    assert moved.grid.affine.c % 10 == 0
    assert "reprojected from EPSG:4326 to EPSG:32632, nearest pixel" in moved.notes[0]


@pytest.mark.parametrize("chunks", [(1, 1, 64, 64), (2, 1, 400, 90)])
def test_lazy_resampling_stays_lazy_and_gives_the_very_same_pixels(chunks):
    source = degrees(700, 900)
    with dask.config.set(scheduler=lambda *_, **__: pytest.fail("computed")):
        lazy = reproject_modality(modality_of(source, nodata=0, chunks=chunks), CRS(UTM))
    assert lazy.is_lazy
    eager = reproject_modality(modality_of(source, nodata=0), CRS(UTM))
    np.testing.assert_array_equal(lazy.raw.values, eager.raw.values)
    rows, cols = slice(100, 130), slice(505, 560)
    np.testing.assert_array_equal(lazy.read(rows, cols), eager.read(rows, cols))


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("float32", None), ("int32", -9999.0), ("int32", None), ("uint8", 300.0)]
)
def test_ground_outside_the_source_is_missing_whatever_the_numbers_can_say(dtype, nodata):
    source = degrees(60, 60)
    moved = reproject_modality(
        modality_of(source, nodata=nodata, values=np.full(source.shape, 7), dtype=dtype), CRS(UTM)
    )
    outside = exact_pixel(source, moved.grid)[0] < 0
    values = moved.data.values[:, 0]
    assert outside.any()
    np.testing.assert_array_equal(np.isnan(values), np.broadcast_to(outside, values.shape))
    assert (values[:, ~outside] == 7).all()


def test_a_mask_moves_with_its_pixels():
    source = degrees(80, 80)
    mask = coded(source) % 5 == 0
    moved = reproject_modality(modality_of(source, mask=mask), CRS(UTM))
    row, col = exact_pixel(source, moved.grid)
    expected = np.where(row >= 0, mask[row, col], True)
    assert (moved.mask.values[0] != expected).mean() < 1e-3
    np.testing.assert_array_equal(moved.times, modality_of(source).times)


def test_resampling_out_of_a_rotated_grid_follows_its_affine():
    rotated = GeoBox(
        (80, 90), Affine.translation(500_000, 5.8e6) * Affine.rotation(25) * Affine.scale(10, -10), "EPSG:32633"
    )
    x, y = Transformer.from_crs(32633, 32632, always_xy=True).transform(*rotated.extent.centroid.coords[0])
    target = grid_of(150, 150, left=round(x) - 750, top=round(y) + 750)
    out = reproject_nearest(coded(rotated), rotated, target, 0)
    row, col = exact_pixel(rotated, target)
    assert (row >= 0).sum() > 1000
    assert (out != np.where(row >= 0, coded(rotated)[row, col], 0)).mean() < 1e-3


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"),
    [
        (9.99, 57.2, 32632), (-180.0, 10, 32601), (180.0, -10, 32701), (179.99, -10, 32760), (181.0, -17, 32701),
        (-72.5, -38.8, 32718), (20, 84.5, 32661), (20, -85, 32761),
    ],
)  # fmt: skip
def test_the_utm_zone_of_any_longitude(lon, lat, epsg):
    assert utm_zone(lon, lat).epsg == epsg


def test_a_raster_across_the_antimeridian_lands_in_one_piece_at_its_place():
    source = degrees(60, 100, west=179.995, north=-17.0)
    moved = to_one(modality_of(source, nodata=0))
    assert moved.grid.crs.epsg == 32701
    area = moved.grid.shape[0] * moved.grid.shape[1] * 100
    lon_m, lat_m = 100 * 1e-4 * 111_320 * np.cos(np.radians(17)), 60 * 1e-4 * 110_700
    assert area == pytest.approx(lon_m * lat_m, rel=0.1)
    assert (moved.raw.values > 0).mean() > 0.9
    row, col = moved.grid.shape[0] // 2, moved.grid.shape[1] // 2
    x, y = moved.grid.affine * (col + 0.5, row + 0.5)
    lon, lat = Transformer.from_crs(32701, 4326, always_xy=True).transform(x, y)
    assert moved.raw.values[0, 0, row, col] == coded(source)[int((-17 - lat) / 1e-4), int((lon % 360 - 179.995) / 1e-4)]


def to_one(modality):
    with pytest.warns(Reprojected, match="'m' was resampled to"):
        return to_common_ground({"m": modality})["m"]


# --------------------------------------------------------------------------------------------------- to_common_ground
def test_modalities_on_the_same_ground_are_left_alone():
    given = {"a": modality_of(grid_of(12, 12)), "b": modality_of(grid_of(4, 4, 30))}
    out = to_common_ground(given)
    assert all(out[k] is given[k] for k in given)


def test_each_modality_keeps_its_own_grid_on_the_shared_ground():
    given = {"a": modality_of(grid_of(60, 60)), "b": modality_of(grid_of(20, 20, 30, left=LEFT + 240, top=TOP + 90))}
    with pytest.warns(CroppedToCommonExtent, match="'a', 'b' lost pixels"):
        out = to_common_ground(given)
    assert out["a"].grid == grid_of(51, 36, left=LEFT + 240)
    assert out["b"].grid == grid_of(17, 12, 30, left=LEFT + 240)
    np.testing.assert_array_equal(out["a"].raw.values, given["a"].raw.values[..., :51, 24:])
    np.testing.assert_array_equal(out["b"].raw.values, given["b"].raw.values[..., 3:, :12])
    assert "cropped from (60, 60) to (51, 36)" in out["a"].notes[-1]


def test_a_border_that_differs_by_less_than_a_pixel_is_no_loss_to_warn_of():
    given = {"a": modality_of(grid_of(60, 60)), "b": modality_of(grid_of(21, 21, 30, left=LEFT - 15, top=TOP + 15))}
    out = to_common_ground(given)
    assert out["b"].grid == given["b"].grid
    assert out["a"].grid == given["a"].grid


def test_modalities_without_common_ground_are_refused():
    with pytest.raises(GridMismatch, match=r"share no ground: a \(600000, .* in EPSG:32632; b "):
        to_common_ground({"a": modality_of(grid_of(6, 6)), "b": modality_of(grid_of(6, 6, left=LEFT + 60))})


def test_a_modality_far_away_in_degrees_is_refused_before_it_is_resampled():
    with pytest.raises(GridMismatch, match="'b' in EPSG:4326 shares no ground"):
        to_common_ground({"a": modality_of(grid_of(6, 6)), "b": modality_of(degrees(10, 10, west=-50), name="b")})


@pytest.mark.filterwarnings("ignore::georeset_lab.errors.CroppedToCommonExtent")
def test_only_what_is_in_another_crs_is_resampled_and_only_where_it_is_needed():
    x, y = Transformer.from_crs(UTM, 4326, always_xy=True).transform(LEFT + 300, TOP - 300)
    world = GeoBox((2000, 2000), Affine(1 / 3600, 0, x - 1000 / 3600, 0, -1 / 3600, y + 1000 / 3600), "EPSG:4326")
    given = {"s2": modality_of(grid_of(60, 60)), "dem": modality_of(world, gsd_m=30, chunks=(1, 1, 500, 500))}
    with pytest.warns(Reprojected, match=r"'dem' was resampled to EPSG:32632 \(nearest pixel\): dem from EPSG:4326"):
        out = to_common_ground(given)
    assert out["s2"] is given["s2"]
    assert out["dem"].is_lazy
    assert out["dem"].grid.affine.a == 30
    assert max(out["dem"].grid.shape) <= 22
    assert not np.isnan(out["dem"].data.values).any()
    row, col = exact_pixel(world, out["dem"].grid)
    np.testing.assert_array_equal(out["dem"].raw.values[0, 0], coded(world)[row, col])


def test_the_finest_projected_modality_gives_the_crs():
    fine, coarse = modality_of(grid_of(8, 8)), modality_of(grid_of(8, 8, 30, crs="EPSG:32633"))
    assert common_crs({"c": coarse, "f": fine}).epsg == 32632


def test_if_the_finest_is_in_degrees_another_ones_utm_zone_is_preferred_to_a_second_resampling():
    assert (
        common_crs({"f": modality_of(degrees(9, 9, 1e-5)), "c": modality_of(grid_of(9, 9, crs="EPSG:32633"))}).epsg
        == 32633
    )
    assert common_crs({"f": modality_of(degrees(9, 9, 1e-5))}).epsg == 32632


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2263"])
def test_a_crs_that_is_not_in_metres_is_refused(crs):
    with pytest.raises(GridMismatch, match="not projected in metres"):
        to_common_ground({"a": modality_of(grid_of(6, 6))}, crs=crs)


def test_feet_are_resampled_to_metres():
    feet = GeoBox((300, 300), Affine(30, 0, 980_000, 0, -30, 200_000), "EPSG:2263")
    moved = to_one(modality_of(feet, nodata=0))
    assert moved.grid.crs.epsg == 32618
    assert moved.grid.affine.a == 10  # 30 feet are 9.1 m, and the band says 10


# ---------------------------------------------------------------------------------------------------------- real data
def read_band(path):
    with rasterio.open(path) as source:
        return xr.DataArray(source.read(1), dims=("y", "x")), GeoBox(
            source.shape, source.transform, source.crs.to_wkt()
        )


@pytest.mark.real_data
def test_the_twelve_bands_of_a_major_tom_cell_stack_at_10_m(shared_data):
    bands = sensor("sentinel-2-l2a").bands
    folder = shared_data / "majortom-s2l2a-199U_1099R"
    parts = [(a, b, g) for b in bands for a, g in [read_band(folder / f"{b.name}.tif")]]
    stack = stack_bands(parts)
    assert stack.raw.shape == (1, 12, 1068, 1068)
    for i in (0, 4, 11):
        ratio = int(bands[i].gsd_m // 10)
        np.testing.assert_array_equal(stack.raw.values[0, i, ::ratio, ::ratio], parts[i][0].values)
        np.testing.assert_array_equal(
            stack.raw.values[0, i, ratio - 1 :: ratio, ratio - 1 :: ratio], parts[i][0].values
        )


@pytest.mark.real_data
def test_the_panchromatic_band_of_landsat_8_matches_its_colour_bands(shared_data):
    folder = shared_data / "landsat8-sattestdata"
    with rasterio.open(folder / "LC80200392015216_B1-7_9-11_BQA_30m.tif") as source:
        values, qa = source.read([3, 4, 8]), source.read(11)
        grid = GeoBox(source.shape, source.transform, source.crs.to_wkt())
    oli = sensor("landsat-8-l1")
    colours = [(xr.DataArray(values[i], dims=("y", "x")), oli.find(name), grid) for i, name in enumerate(("B3", "B4"))]
    pan, pan_grid = read_band(folder / "LC80200392015216_B8pan_15m.tif")
    stack = stack_bands([*colours, (pan, oli.find("B8"), pan_grid)])
    assert stack.raw.shape == (1, 3, 1206, 1254)
    # Every second 15 m pixel has the centre of a 30 m pixel; smoothed to 30 m it must look like green and red there,
    # and less so anywhere else. Clouds are left out: bands look at them from different angles.
    cloud = ndimage.binary_dilation(unusable(qa, "bqa") | (values[2] > 5200), iterations=8)
    sharp = stack.raw.values[0, 2].astype(float)
    for axis in (0, 1):
        sharp = ndimage.convolve1d(sharp, [0.25, 0.5, 0.25], axis=axis)
    colour = stack.raw.values[0, :2].mean(axis=0)[1::2, 1::2]
    scores = {}
    for dy, dx in [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (2, 0), (0, 2)]:
        there = np.roll(sharp, (dy, dx), (0, 1))[1::2, 1::2]
        pair = [(v - ndimage.uniform_filter(v, 15))[4:-4, 4:-4][~cloud[4:-4, 4:-4]] for v in (colour, there)]
        scores[dy, dx] = np.corrcoef(pair)[0, 1]
    assert scores[0, 0] > 0.98
    assert max(v for k, v in scores.items() if k != (0, 0)) < 0.95


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::georeset_lab.errors.CroppedToCommonExtent")
def test_sentinel_1_and_2_of_ssl4eo_come_from_degrees_onto_one_utm_grid(shared_data):
    place = shared_data / "ssl4eo-s12-0000200"
    s2_folder, s1_folder = (sorted((place / kind / "0000200").iterdir())[0] for kind in ("s2a", "s1"))
    s2 = sensor("sentinel-2-l2a")
    names = ("B2", "B8", "B11", "B9")
    stack = stack_bands([(a, s2.find(n), g) for n in names for a, g in [read_band(s2_folder / f"{n}.tif")]])
    vv, grid = read_band(s1_folder / "VV.tif")
    spec = sensor("sentinel-1-grd").find("VV")
    given = {
        "s2": Modality("s2", stack.raw, stack.bands, stack.grid, Calibration((1e-4,) * 4, (0.0,) * 4, 0)),
        "s1": Modality("s1", vv.expand_dims(("time", "band")), (spec,), grid, Calibration.identity(1)),
    }
    with pytest.warns(Reprojected, match="'s2', 's1' was resampled to EPSG:32643"):
        out = to_common_ground(given)
    assert {m.grid.crs.epsg for m in out.values()} == {32643}
    assert out["s2"].grid.affine.a == 10
    assert 255 < out["s2"].grid.shape[1] < 260  # 264 pixels of 9.73 m
    assert np.isnan(out["s2"].data.values).mean() < 0.05
    assert float(np.nanmedian(out["s1"].data.values)) == pytest.approx(float(np.median(vv)), abs=0.05)
