"""Quality bands become masks as their handbooks say."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from georeset_lab.data.masks import QA_TABLES, unusable
from georeset_lab.errors import BandMismatch, UnitError


def bits(*positions):
    return sum(1 << p for p in positions)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("scl", range(12), [1, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1]),
        # 21824 is the commonest clear land of Landsat 8 Collection 2, 21952 clear water, 22280 cloud (high confidence).
        ("qa_pixel", [21824, 21952, 22280, 1, bits(1), bits(2), bits(4), bits(5)], [0, 0, 1, 1, 1, 1, 1, 1]),
        # 322 clear, 324 water, 328 shadow, 336 snow, 352 and 480 cloud (low and high confidence), 834 cirrus, 1 fill.
        ("pixel_qa", [322, 324, 328, 336, 352, 480, 834, 1], [0, 0, 1, 1, 1, 1, 1, 1]),
        ("bqa_collection_1", [2720, 2800, 2976, 3008, 3744, 6816, 1], [0, 1, 1, 1, 1, 1, 1]),
        ("bqa_pre_collection", [20480, 53248, 28672, 23552, 36864, 1], [0, 1, 1, 1, 0, 1]),
        ("qa_radsat", [0, bits(0), bits(8), bits(11)], [0, 1, 1, 1]),
        (
            "fmask",
            [0, 0b0010_0000, 0b1100_0000, bits(0), bits(1), bits(2), bits(3), bits(4), 255],
            [0, 0, 0, 1, 1, 1, 1, 1, 1],
        ),
        ("fmask_codes", [0, 1, 2, 3, 4, 255], [0, 0, 1, 1, 1, 1]),
        ("qa60", [0, 1024, 2048, 512], [0, 1, 1, 0]),
    ],
)
def test_values_are_unusable_as_the_handbook_says(kind, values, expected):
    assert unusable(np.array(values, dtype=np.uint16), kind).astype(int).tolist() == expected


def test_the_two_landsat_bands_called_bqa_are_told_apart_by_their_values():
    both = np.array([2720, 2800, 20480, 53248, 1], dtype=np.uint16)
    assert unusable(both, "bqa").tolist() == [False, True, False, True, True]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(["cloud"], [0, 0, 1, 0]), (["shadow", "water"], [1, 1, 0, 0]), ([], [0, 0, 0, 0]), ("snow", [0, 0, 0, 1])],
)
def test_the_user_chooses_the_flags(flags, expected):
    assert unusable(np.array([3, 6, 9, 11]), "scl", flags=flags).astype(int).tolist() == expected


def test_flags_given_as_a_generator_work_for_every_kind():
    assert unusable(np.array([53248, 2800]), "bqa", flags=(f for f in ["cloud"])).tolist() == [True, True]


@pytest.mark.parametrize("table", QA_TABLES.values(), ids=QA_TABLES.keys())
def test_every_table_names_its_source_and_defaults_that_exist(table):
    assert set(table.default) <= set(table.flags)
    assert table.source


@pytest.mark.parametrize("flags", [["fog"], ["cloud", "fog"]])
@pytest.mark.parametrize("kind", ["scl", "bqa"])
def test_an_unknown_flag_lists_those_that_exist(kind, flags):
    with pytest.raises(BandMismatch, match=f"kind '{kind}' has no flag 'fog'; choose from .*cloud"):
        unusable(np.array([1]), kind, flags=flags)


def test_an_unknown_kind_of_quality_band_lists_those_that_exist():
    with pytest.raises(BandMismatch, match="'sclx'; known: bqa, scl"):
        unusable(np.array([1]), "sclx")


def test_a_quality_band_decoded_to_floats_counts_nan_as_no_data():
    assert unusable(np.array([4.0, np.nan, 9.0]), "scl", flags=["cloud"]).tolist() == [False, True, True]


def test_an_interpolated_quality_band_is_refused():
    with pytest.raises(UnitError, match="fractions"):
        unusable(np.array([4.0, 6.5]), "scl")


def test_a_lazy_dataarray_stays_lazy_and_keeps_its_dimensions():
    lazy = xr.DataArray(np.arange(12, dtype="uint8").reshape(1, 3, 4), dims=("time", "y", "x")).chunk({"x": 2})
    mask = unusable(lazy, "scl")
    assert mask.chunks is not None
    assert mask.dims == ("time", "y", "x")
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask.values, unusable(lazy.values, "scl"))


@pytest.mark.real_data
def test_clouds_of_the_landsat_8_scene_are_brighter_than_what_is_left(shared_data):
    import rasterio

    with rasterio.open(shared_data / "landsat8-sattestdata" / "LC80200392015216_B1-7_9-11_BQA_30m.tif") as source:
        blue, cirrus, qa = source.read(2), source.read(8), source.read(11)
    mask = unusable(qa, "bqa")
    assert 0.25 < mask.mean() < 0.4  # "half cloudy": without the shadows, which this band does not have
    assert np.median(cirrus[mask]) > np.median(cirrus[~mask])
    assert blue[unusable(qa, "bqa", flags=["cloud"])].mean() > 1.3 * blue[~mask].mean()


@pytest.mark.real_data
def test_the_scene_classification_of_the_belgian_patch_leaves_about_half_of_the_dates_clear(shared_data):
    path = shared_data / "sits-worldcereal-cubes" / "BE-31UDS-2018" / "S2_L2A_20m.nc"
    with xr.open_dataset(path, engine="h5netcdf", decode_coords=False, mask_and_scale=False) as cube:
        mask = unusable(cube["SCL"], "scl").load()
        blue_edge = cube["B05"].load()
    assert 0.4 < float(mask.mean()) < 0.6
    cloudy, clear = blue_edge.values[mask.values], blue_edge.values[~mask.values]
    assert cloudy.mean() > 1.5 * clear[clear > 0].mean()
