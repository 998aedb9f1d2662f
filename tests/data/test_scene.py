"""A modality turns stored numbers into physical values, by window and lazily too; a scene gives parts of itself."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers the accessor)
import xarray as xr
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import DIMS, Calibration, Modality
from georeset_lab.data.scene import Scene
from georeset_lab.errors import (
    BandMismatch,
    GridMismatch,
    OutsideScene,
    ShapeMismatch,
    UnitError,
    UnknownModality,
)

UTM = "EPSG:32718"
BLUE = BandSpec("B02", 0.492, 0.066, 10)
RED = BandSpec("B04", 0.665, 0.031, 10)
HOT = BandSpec("B10", 10.9, 0.6, 100, kind="temperature")
ALL = slice(None)


def grid_of(rows, cols, *, gsd_m=10, left=717_730.0, top=5_700_090.0, crs=UTM):
    return GeoBox((rows, cols), Affine(gsd_m, 0, left, 0, -gsd_m, top), crs)


def modality_of(raw, *, bands=(BLUE, RED), calibration=None, mask=None, grid=None, name="s2", chunks=None, times=None):
    raw = np.asarray(raw)
    calibration = calibration or Calibration((1e-4,) * len(bands), (-0.1,) * len(bands), nodata=0)
    grid = grid or grid_of(*raw.shape[2:])
    coords = {} if times is None else {"time": np.array(times, dtype="datetime64[ns]")}
    array = xr.DataArray(raw if chunks is None else da.from_array(raw, chunks=chunks), dims=DIMS, coords=coords)
    if mask is not None:
        mask = xr.DataArray(mask, dims=("time", "y", "x"))
        mask = mask if chunks is None else mask.chunk({"y": 3, "x": 2})
    return Modality(name, array, tuple(bands), grid, calibration, mask=mask)


def counts(shape=(2, 2, 6, 8), seed=0, dtype="uint16"):
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(dtype)


# ------------------------------------------------------------------------------------------------------ calibration
def test_each_band_has_its_own_scale_and_offset():
    raw = np.full((1, 2, 1, 1), 1000, dtype=np.uint16)
    out = Calibration(scale=(2.75e-5, 0.00341802), offset=(-0.2, 149.0)).apply(raw)
    np.testing.assert_allclose(out.ravel(), [2.75e-5 * 1000 - 0.2, 0.00341802 * 1000 + 149], rtol=1e-6)
    assert out.dtype == np.float32


@pytest.mark.parametrize(
    ("dtype", "nodata", "values", "missing"),
    [
        ("uint16", 0, [0, 1, 65535], [1, 0, 0]),
        ("int16", -9999, [-9999, 0, 1], [1, 0, 0]),
        ("uint16", -9999, [0, 1, 55537], [0, 0, 0]),  # cannot occur, and must not wrap round to 55537
        ("uint8", 255.0, [255, 254, 0], [1, 0, 0]),
        ("int16", 0.5, [0, 1, -1], [0, 0, 0]),
        ("float32", -3.4e38, [-3.4e38, 0, 1], [1, 0, 0]),
        ("float32", None, [np.nan, np.inf, -np.inf], [1, 1, 1]),
        ("float64", np.nan, [np.nan, 0, 1], [1, 0, 0]),
        ("int64", 2**53 + 1, [2**53, 2**53 + 1, 2**53 + 2], [0, 0, 0]),  # a float cannot say it: nothing is missing
    ],
)
def test_the_nodata_number_and_what_is_not_finite_are_missing_and_nothing_else(dtype, nodata, values, missing):
    raw = np.array(values, dtype=dtype).reshape(1, 1, 1, 3)
    nodata = None if nodata is None else float(nodata)
    out = Calibration((1.0,), (0.0,), nodata=nodata).apply(raw).ravel()
    if nodata == 2**53:  # float(2**53 + 1): the neighbour is what the caller really gave
        missing = [1, 0, 0]
    assert np.isnan(out).astype(int).tolist() == missing


def test_32_bit_integers_keep_their_precision_until_they_are_scaled():
    raw = np.array([123_456_789], dtype=np.int32).reshape(1, 1, 1, 1)
    out = Calibration((1e-7,), (-12.0,)).apply(raw)
    assert out.item() == pytest.approx(0.3456789, rel=1e-6)


def test_linear_power_becomes_decibels_and_no_power_is_missing():
    raw = np.array([0.1, 1.0, 0.0, -0.5], dtype=np.float32).reshape(1, 1, 2, 2)
    out = Calibration((1.0,), (0.0,), to_db=True).apply(raw).ravel()
    np.testing.assert_allclose(out[:2], [-10, 0], atol=1e-5)
    assert np.isnan(out[2:]).all()


def test_applying_a_calibration_never_changes_or_shares_the_stored_numbers():
    raw = np.ones((1, 1, 2, 2), dtype=np.float32)
    out = Calibration.identity(1, nodata=1).apply(raw)
    assert np.isnan(out).all()
    assert (raw == 1).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scale": (1.0, 1.0), "offset": (0.0,)}, ShapeMismatch, "2 scales, 1 offsets"),
        ({"scale": (0.0,), "offset": (0.0,)}, UnitError, "scale 0.0"),
        ({"scale": (float("nan"),), "offset": (0.0,)}, UnitError, "scale nan"),
        ({"scale": (1.0,), "offset": (float("inf"),)}, UnitError, "offset inf"),
        ({"scale": (1.0,), "offset": (0.0,), "planck": (None, None)}, ShapeMismatch, "2 Planck"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Calibration(**arguments)


def test_a_calibration_refuses_an_array_with_other_bands():
    with pytest.raises(ShapeMismatch, match=r"of 1 bands was given an array of shape \(1, 2, 1, 1\)"):
        Calibration.identity(1).apply(np.zeros((1, 2, 1, 1)))


# --------------------------------------------------------------------------------------------------------- modality
def test_data_are_physical_values_with_crs_units_dates_and_band_names():
    raw = counts()
    data = modality_of(raw, times=["2020-04-08", "NaT"]).data
    expected = np.where(raw == 0, np.nan, raw * 1e-4 - 0.1)
    np.testing.assert_allclose(data.values, expected, atol=1e-6)
    assert data.dims == DIMS
    assert data.dtype == np.float32
    assert data.rio.crs == CRS(UTM)
    assert data.odc.geobox == grid_of(6, 8)
    assert data.band.values.tolist() == ["B02", "B04"]
    assert data.time.dtype == "datetime64[ns]"
    assert np.isnat(data.time.values).tolist() == [False, True]
    assert data.attrs == {"units": "1", "long_name": "s2: reflectance"}


def test_mixed_bands_state_their_units_one_by_one():
    data = modality_of(counts(), bands=(RED, HOT)).data
    assert data.band_units.values.tolist() == ["1", "K"]
    assert data.attrs["units"] == "see coordinate band_units"


def test_a_modality_without_dates_has_unknown_times_of_the_right_length():
    assert np.isnat(modality_of(counts()).times).tolist() == [True, True]


@pytest.mark.parametrize("chunks", [None, (1, 1, 4, 3), (2, 2, 6, 8)])
@pytest.mark.parametrize(
    ("rows", "cols", "time"),
    [
        (ALL, ALL, None),
        (slice(1, 3), slice(2, 7), None),
        (slice(4, 99), slice(-3, None), None),
        (slice(0, 0), ALL, None),
        (ALL, ALL, 1),
        (slice(2, 5), slice(0, 1), -1),
        (ALL, slice(1, 2), slice(0, 1)),
    ],
)
def test_a_window_holds_the_same_values_as_the_whole(chunks, rows, cols, time):
    mask = counts((2, 6, 8), seed=1) > 3000
    modality = modality_of(counts(), mask=mask, chunks=chunks)
    whole = modality_of(counts(), mask=mask).data.values
    dates = ALL if time is None else time if isinstance(time, slice) else [time]
    np.testing.assert_array_equal(modality.read(rows, cols, time=time), whole[dates][:, :, rows, cols])


def test_a_date_that_does_not_exist_is_refused_rather_than_read_as_nothing():
    modality = modality_of(counts())
    assert modality.read(ALL, ALL, time=np.int64(-2)).shape[0] == 1
    with pytest.raises(OutsideScene, match="'s2' has 2 dates, numbered from 0; there is no date 2"):
        modality.read(ALL, ALL, time=2)


def test_reading_a_window_touches_only_its_chunks():
    touched = []

    def block(block_info=None):
        touched.append(block_info[None]["chunk-location"])
        return np.ones((1, 1, 10, 10), np.uint16)

    lazy = da.map_blocks(
        block, chunks=((1,), (1,), (10,) * 5, (10,) * 5), dtype="uint16", meta=np.empty((0,) * 4, "uint16")
    )
    array = xr.DataArray(lazy, dims=DIMS)
    modality = Modality("x", array, (RED,), grid_of(50, 50), Calibration.identity(1))
    out = modality.read(slice(12, 18), slice(25, 35))
    assert out.shape == (1, 1, 6, 10)
    assert sorted(set(touched)) == [(0, 0, 1, 2), (0, 0, 1, 3)]


@pytest.mark.parametrize("chunks", [(1, 1, 4, 3), (2, 2, 6, 8), (1, 2, 5, 5)])
def test_lazy_data_stay_lazy_and_equal_the_eager_ones(chunks):
    mask = counts((2, 6, 8), seed=1) > 3000
    lazy, eager = (modality_of(counts(), mask=mask, chunks=c, bands=(RED, HOT)) for c in (chunks, None))
    with dask.config.set(scheduler=lambda *_, **__: pytest.fail("computed")):
        data = lazy.data
    assert lazy.is_lazy
    assert not eager.is_lazy
    assert data.chunks is not None
    np.testing.assert_array_equal(data.values, eager.data.values)


def test_masked_pixels_are_missing_in_all_bands_of_their_date_only():
    mask = np.zeros((2, 6, 8), dtype=bool)
    mask[1, 2, 3] = True
    gone = np.isnan(modality_of(counts() + 1, mask=mask).data.values)
    assert gone[1, :, 2, 3].all()
    assert gone.sum() == 2


def test_selecting_bands_keeps_their_calibration_and_order():
    modality = modality_of(
        counts(),
        bands=(RED, HOT),
        calibration=Calibration((1e-4, 0.01), (0.0, 273.15), nodata=0, planck=(None, (7e2, 1e3))),
    )
    swapped = modality.select_bands(["B10", "B04"])
    np.testing.assert_array_equal(swapped.data.values, modality.data.values[:, ::-1])
    assert swapped.band_names == ("B10", "B04")
    with pytest.raises(BandMismatch, match=r"has no band 'B99'\. It has B04, B10"):
        modality.select_bands(["B99"])
    with pytest.raises(BandMismatch, match="none was named"):
        modality.select_bands([])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"bands": (RED,)}, BandMismatch, r"2 bands but 1 BandSpecs \(B04\)"),
        ({"bands": (RED, RED)}, BandMismatch, "names B04 more than once"),
        ({"calibration": Calibration.identity(3)}, BandMismatch, "a calibration of 3"),
        ({"grid": grid_of(8, 6)}, GridMismatch, r"6 x 8 pixels .* but its grid has 8 x 6"),
        ({"mask": np.zeros((2, 6, 8))}, ShapeMismatch, "mask of modality 's2' is float64"),
        ({"mask": np.zeros((1, 6, 8), bool)}, ShapeMismatch, r"= \(2, 6, 8\)"),
    ],
)
def test_a_modality_whose_parts_disagree_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        modality_of(counts(), **change)


def test_dimensions_in_another_order_are_refused_with_the_call_that_fixes_it():
    other = xr.DataArray(np.zeros((1, 1, 2, 2)), dims=("band", "time", "y", "x"))
    with pytest.raises(ShapeMismatch, match="transpose"):
        Modality("x", other, (RED,), grid_of(2, 2), Calibration.identity(1))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1)])
def test_scenes_of_one_pixel_row_or_column_work(size):
    modality = modality_of(counts((1, 2, *size)) + 1)
    assert modality.data.odc.geobox == grid_of(*size)
    assert modality.read(ALL, ALL).shape == (1, 2, *size)
    scene = Scene({"s2": modality}, CRS(UTM))
    assert scene.crop(bounds=tuple(scene.extent))["s2"].grid == modality.grid
    assert "s2" in scene._repr_html_()


@pytest.mark.parametrize(
    ("grid", "metres"),
    [
        (grid_of(4, 4), 10),
        (GeoBox((4, 4), Affine.translation(7e5, 5e6) * Affine.rotation(30) * Affine.scale(10, -10), UTM), 10),
        (GeoBox((4, 4), Affine(2, 0, 6.5e6, 0, -8, 2e6), "EPSG:2263"), 4 * 0.3048),  # New York, in US survey feet
        (GeoBox((2, 2), Affine(1e-4, 0, 10, 0, -1e-4, 60), "EPSG:4326"), 1e-4 * 111_320 * np.sqrt(0.5)),
    ],
)
def test_pixel_size_is_in_metres_whatever_the_grid(grid, metres):
    modality = modality_of(counts((1, 2, *grid.shape)), grid=grid)
    assert modality.pixel_m == pytest.approx(metres, rel=1e-3)


def test_a_rotated_grid_keeps_its_affine_through_data():
    grid = GeoBox((6, 8), Affine.translation(7e5, 5e6) * Affine.rotation(20) * Affine.scale(10, -10), UTM)
    data = modality_of(counts(), grid=grid).data
    assert data.odc.geobox == grid


# ------------------------------------------------------------------------------------------------------------ scene
def scene_of(**modalities):
    return Scene(modalities, CRS(UTM), name="test")


@pytest.fixture
def scene():
    """10 m and 30 m modalities over the same 480 x 360 m."""
    fine = modality_of(counts((2, 2, 36, 48)) + 1)
    coarse = modality_of(counts((1, 1, 12, 16)) + 1, bands=(HOT,), grid=grid_of(12, 16, gsd_m=30), name="l8")
    return scene_of(s2=fine, l8=coarse)


def test_a_scene_gives_its_modalities_by_name(scene):
    assert scene["l8"].name == "l8"
    assert list(scene) == ["s2", "l8"]
    assert "s2" in scene
    assert len(scene) == 2
    assert list(scene.only("l8", "s2")) == ["l8", "s2"]
    assert list(scene.without("s2")) == ["l8"]


@pytest.mark.parametrize("call", [lambda s: s["s3"], lambda s: s.only("s2", "s3"), lambda s: s.without("s3")])
def test_an_unknown_modality_lists_those_that_exist(scene, call):
    with pytest.raises(UnknownModality, match=r"Scene 'test' has no modality 's3'; it has 's2', 'l8'\."):
        call(scene)


def test_modalities_in_another_crs_are_refused_with_the_call_that_fixes_it():
    with pytest.raises(GridMismatch, match=r"in EPSG:32633, the scene in EPSG:32718.*to_common_ground"):
        scene_of(a=modality_of(counts(), grid=grid_of(6, 8, crs="EPSG:32633")))


def test_the_extent_holds_every_modality(scene):
    wider = modality_of(counts((1, 2, 2, 2)), grid=grid_of(2, 2, gsd_m=30, left=717_700, top=5_700_120), name="w")
    box = scene_of(**scene.modalities, w=wider).extent
    assert tuple(box) == (717_700, 5_699_730, 718_210, 5_700_120)


def test_cropping_keeps_whole_pixels_of_each_grid_that_cover_the_box(scene):
    left, top = 717_730, 5_700_090
    cropped = scene.crop(bounds=(left + 95, top - 145, left + 200, top - 101))
    assert cropped["s2"].grid == grid_of(5, 11, left=left + 90, top=top - 100)
    assert cropped["l8"].grid == grid_of(2, 4, gsd_m=30, left=left + 90, top=top - 90)
    for name, rows, cols in [("s2", slice(10, 15), slice(9, 20)), ("l8", slice(3, 5), slice(3, 7))]:
        np.testing.assert_array_equal(cropped[name].raw.values, scene[name].raw.values[..., rows, cols])


def test_cropping_by_the_edges_of_pixels_takes_no_neighbour(scene):
    left, top = 717_730, 5_700_090
    cropped = scene.only("s2").crop(bounds=(left + 30 - 1e-7, top - 60 + 1e-7, left + 90 + 1e-7, top - 30))
    assert cropped["s2"].grid == grid_of(3, 6, left=left + 30, top=top - 30)


@settings(max_examples=60, deadline=None)
@given(
    corners=st.tuples(*[st.floats(-40, 640)] * 4),
    turn=st.sampled_from([0.0, 17.0, 90.0, -135.0]),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_a_crop_holds_exactly_the_pixels_in_the_rows_and_columns_the_box_touches(corners, turn, shape):
    left, right = sorted(corners[:2])
    bottom, top = sorted(corners[2:])
    affine = Affine.translation(7e5, 5e6) * Affine.rotation(turn) * Affine.scale(10, -10)
    grid = GeoBox(shape, affine, UTM)
    box = (7e5 + left, 5e6 + bottom, 7e5 + right + 1, 5e6 + top + 1)
    x, y = np.array([(box[i], box[j]) for i in (0, 2) for j in (1, 3)]).T
    inverse = ~affine
    col, row = inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f
    rows = [r for r in range(shape[0]) if r + 1 > row.min() + 2e-3 and r < row.max() - 2e-3]
    cols = [c for c in range(shape[1]) if c + 1 > col.min() + 2e-3 and c < col.max() - 2e-3]
    assume(abs(np.array([row.min(), row.max(), col.min(), col.max()]) % 1 - 0.5).max() < 0.49)  # not on an edge
    scene = Scene({"s2": modality_of(counts((1, 2, *shape)), grid=grid)}, CRS(UTM))
    if not rows or not cols:
        with pytest.raises(OutsideScene, match="does not touch"):
            scene.crop(bounds=box)
        return
    cropped = scene.crop(bounds=box)["s2"]
    assert cropped.grid == grid[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    np.testing.assert_array_equal(cropped.raw.values, scene["s2"].raw.values[..., rows, :][..., cols])


def test_a_box_in_degrees_finds_the_pixel_that_pyproj_finds(scene):
    to_degrees = Transformer.from_crs(UTM, 4326, always_xy=True)
    lon, lat = to_degrees.transform(717_730 + 125, 5_700_090 - 235)
    cropped = scene.crop(bbox=(lon - 1e-7, lat - 1e-7, lon + 1e-7, lat + 1e-7))
    assert cropped["s2"].grid == grid_of(1, 1, left=717_730 + 120, top=5_700_090 - 230)
    np.testing.assert_array_equal(cropped["s2"].raw.values, scene["s2"].raw.values[..., 23:24, 12:13])


@pytest.mark.parametrize("form", ["geojson", "shapely", "frame"])
def test_a_geometry_crops_to_the_box_around_it(scene, form):
    import geopandas as gpd
    import shapely

    ring = [(717_730 + 100, 5_700_000), (717_730 + 200, 5_700_000), (717_730 + 150, 5_699_900)]
    metric = shapely.Polygon(ring)
    degrees = gpd.GeoSeries([metric], crs=UTM).to_crs(4326)[0]
    given = {
        "geojson": degrees.__geo_interface__,
        "shapely": degrees,
        "frame": gpd.GeoDataFrame(geometry=[metric], crs=UTM),
    }[form]
    box = scene.crop(geometry=given)["s2"].grid.boundingbox
    assert tuple(box) == (717_830, 5_699_900, 717_930, 5_700_000) or form != "frame"
    assert box.left <= 717_830 + 1e-3
    assert box.right >= 717_930 - 1e-3


def test_a_box_across_the_antimeridian_crops_the_piece_in_the_middle():
    crs = "EPSG:32701"  # zone 1 south; its western edge is the antimeridian
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform([179.999, 180.001], [-17.0, -17.0])
    grid = GeoBox((40, 60), Affine(10, 0, round(x[0]) - 200, 0, -10, round(y[0]) + 200), crs)
    scene = Scene({"s2": modality_of(counts((1, 2, 40, 60)), grid=grid)}, CRS(crs))
    box = scene.crop(bbox=(179.999, -17.001, -179.999, -16.999)).extent
    assert box.left == pytest.approx(x[0], abs=15)
    assert box.right == pytest.approx(x[1], abs=15)


def test_cropping_a_rotated_grid_covers_the_box():
    affine = Affine.translation(7e5, 5e6) * Affine.rotation(30) * Affine.scale(10, -10)
    scene = Scene({"s2": modality_of(counts((1, 2, 50, 60)), grid=GeoBox((50, 60), affine, UTM))}, CRS(UTM))
    x, y = affine * (30.5, 20.5)
    cropped = scene.crop(bounds=(x - 1, y - 1, x + 1, y + 1))["s2"]
    assert cropped.grid == scene["s2"].grid[20:21, 30:31]
    np.testing.assert_array_equal(cropped.raw.values, scene["s2"].raw.values[..., 20:21, 30:31])


def test_masks_and_truth_are_cropped_with_the_pixels(scene):
    from odc.geo.xr import xr_coords

    cover = np.arange(36 * 48).reshape(36, 48)
    truth = xr.Dataset({"land_cover": (("y", "x"), cover)}, xr_coords(scene["s2"].grid, always_yx=True))
    masked = Scene(scene.modalities, scene.crs, truth=truth).with_mask("s2", cover % 2 == 0)
    cropped = masked.crop(bounds=(717_780, 5_699_900, 717_880, 5_700_000))
    np.testing.assert_array_equal(cropped.truth.land_cover.values, cover[9:19, 5:15])
    np.testing.assert_array_equal(cropped["s2"].mask.values[0], cover[9:19, 5:15] % 2 == 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bounds": (0, 0, 10, 10)}, r"\(0, 0, 10, 10\) in EPSG:32718, does not touch modality 's2'"),
        ({"bounds": (10, 0, 0, 10)}, "are no box"),
        ({"bbox": (0, 10, 1, 5)}, "no box on Earth"),
        ({"bbox": (717_730, 5_699_900, 717_800, 5_700_000)}, "for coordinates of the scene's own CRS use bounds="),
        ({}, "Give one of bbox"),
        ({"bbox": (0, 0, 1, 1), "bounds": (0, 0, 1, 1)}, "Give one of bbox"),
    ],
)
def test_ground_outside_the_scene_and_boxes_that_are_none_are_refused(scene, arguments, message):
    with pytest.raises(OutsideScene, match=message):
        scene.crop(**arguments)


@pytest.mark.parametrize("shape", [(36, 48), (1, 36, 48), (2, 36, 48)])
def test_a_mask_of_any_form_adds_to_what_is_masked(scene, shape):
    first = np.zeros((36, 48), dtype=bool)
    first[0] = True
    second = np.zeros(shape, dtype=np.uint8)
    second[..., 1, :] = 7
    mask = scene.with_mask("s2", first).with_mask("s2", second)["s2"].mask.values
    assert mask[:, :2].all()
    assert not mask[:, 2:].any()
    assert scene["s2"].mask is None  # the scene itself is unchanged


def test_a_coarser_mask_with_its_own_grid_is_repeated_onto_the_pixels(scene):
    from odc.geo.xr import wrap_xr

    coarse = np.zeros((18, 24), dtype=np.uint8)
    coarse[3, 5] = 1
    mask = scene.with_mask("s2", wrap_xr(coarse, grid_of(18, 24, gsd_m=20)))["s2"].mask.values
    rows, cols = np.nonzero(mask[0])
    assert (set(rows.tolist()), set(cols.tolist())) == ({6, 7}, {10, 11})


def test_a_lazy_mask_stays_lazy(scene):
    mask = da.from_array(np.ones((36, 48), dtype=bool), chunks=20)
    masked = scene.with_mask("s2", xr.DataArray(mask, dims=("y", "x")))
    assert masked["s2"].mask.chunks is not None
    assert np.isnan(masked["s2"].read(slice(0, 3), slice(0, 3))).all()


@pytest.mark.parametrize("shape", [(36, 47), (3, 36, 48), (48, 36)])
def test_a_mask_of_another_shape_is_refused(scene, shape):
    with pytest.raises(ShapeMismatch, match=r"modality 's2' needs \(time, y, x\) = \(2, 36, 48\)"):
        scene.with_mask("s2", np.zeros(shape, dtype=bool))


def test_the_html_is_short_shows_bands_grid_dates_and_escapes_names(scene):
    evil = "<img src=x onerror=alert(1)>"
    named = Scene({evil: scene["s2"], "l8": scene["l8"]}, scene.crs, name=evil)
    html = named._repr_html_()
    assert evil not in html
    assert "&lt;img" in html
    assert "EPSG:32718" in html
    assert "B02 B04" in html
    assert "36 &times; 48" in html
    assert html.count("data:image/png") == 2
    assert len(html) < 40_000


def test_the_html_of_a_large_lazy_scene_reads_no_pixel():
    chunks, meta = ((1,), (2,), (4000,), (4000,)), np.empty((0,) * 4, "uint16")
    lazy = da.map_blocks(lambda: pytest.fail("read"), chunks=chunks, dtype="uint16", meta=meta)
    big = Modality("s2", xr.DataArray(lazy, dims=DIMS), (BLUE, RED), grid_of(4000, 4000), Calibration.identity(2))
    html = scene_of(s2=big)._repr_html_()
    assert "lazy" in html
    assert "data:image" not in html


def test_the_quicklook_has_red_in_red_and_is_transparent_where_nothing_was_measured():
    from georeset_lab.data.quicklook import quicklook

    green = BandSpec("B03", 0.56, 0.036, 10)
    raw = np.ones((1, 3, 300, 200), dtype=np.uint16)
    raw[:, 2, :150] = 3000  # red half
    raw[:, 1, 150:] = 3000  # green half
    raw[..., :40] = 0
    calibration = Calibration((1e-4,) * 3, (0.0,) * 3, nodata=0)
    picture = quicklook(modality_of(raw, bands=(BLUE, green, RED), calibration=calibration))
    assert max(picture.shape[:2]) <= 128
    assert picture[5, -1].tolist() == [255, 0, 0, 255]
    assert picture[-5, -1].tolist() == [0, 255, 0, 255]
    assert (picture[:, 0, 3] == 0).all()


def test_the_text_form_names_what_is_there_without_pixels(scene):
    text = repr(scene)
    assert "<Scene 'test' in EPSG:32718>" in text
    assert "36 x 48 pixels of 10 m" in text
    assert len(text) < 400


@pytest.mark.real_data
def test_corners_of_a_real_chip_agree_with_rasterio(shared_data):
    path = shared_data / "terramind-chips" / "433D_629L_3_1" / "S2L2A.tif"
    with rasterio.open(path) as source:
        raw, transform, crs = source.read()[None], source.transform, source.crs
        expected = [source.xy(r, c) for r, c in [(0, 0), (0, 223), (223, 0), (223, 223)]]
    grid = GeoBox(raw.shape[2:], transform, crs.to_wkt())
    bands = tuple(BandSpec(f"b{i}", 0.5 + i / 10, 0.02, 10) for i in range(raw.shape[1]))
    data = modality_of(raw, bands=bands, grid=grid, calibration=Calibration((1e-4,) * 12, (-0.1,) * 12, 0)).data
    corners = [(float(data.x[c]), float(data.y[r])) for r in (0, -1) for c in (0, -1)]
    np.testing.assert_allclose(corners, expected, atol=1e-6)
