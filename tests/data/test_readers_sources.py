"""Arrays, cubes, folders, dates and side files become pieces that say what the source says, and no more."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.data.readers.arrays import pieces_of
from georeset_lab.data.readers.dates import date_in_name, date_of, parse_date
from georeset_lab.data.readers.folder import band_in_name, guess, scan_folder
from georeset_lab.data.readers.landsat import level1_ways, read_mtl, sun_elevation
from georeset_lab.data.readers.netcdf import read_netcdf
from georeset_lab.data.readers.piece import Piece
from georeset_lab.data.readers.source import read_source
from georeset_lab.data.readers.stack import Part, join_acquisitions, join_dates
from georeset_lab.data.readers.timing import apply_time
from georeset_lab.data.readers.zarr import read_zarr
from georeset_lab.data.sensors import sensor
from georeset_lab.errors import (
    BandMismatch,
    GridMismatch,
    MissingCRS,
    NothingObserved,
    SceneReadError,
    ShapeMismatch,
)

UTM = "EPSG:32633"
DAYS = pd.to_datetime(["2021-03-01", "2021-04-02", "2021-05-03"])


def cube(
    rows: int = 12, cols: int = 10, bands: tuple[str, ...] = ("B02", "B04"), *, flip: bool = False
) -> xr.DataArray:
    """``(time, band, y, x)`` with 10 m pixels whose values say where they are."""
    y = 5_000_000 - 10 * (np.arange(rows) + 0.5)
    x = 500_000 + 10 * (np.arange(cols) + 0.5)
    shape = (3, len(bands), rows, cols)
    values = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    coords = {"time": DAYS, "band": list(bands), "y": y, "x": x}
    array = xr.DataArray(values, dims=("time", "band", "y", "x"), coords=coords, attrs={"crs": UTM})
    return array.isel(y=slice(None, None, -1)) if flip else array


# ---------------------------------------------------------------------------------------------------------- arrays
def test_an_array_keeps_names_dates_and_place() -> None:
    (piece,) = pieces_of(cube(), origin="the array")
    assert piece.names == ("B02", "B04")
    assert piece.grid == GeoBox((12, 10), Affine(10, 0, 500_000, 0, -10, 5_000_000), UTM)
    assert (piece.times == DAYS.to_numpy().astype("datetime64[ns]")).all()


def test_dimensions_in_any_order_and_any_usual_name_are_understood() -> None:
    strange = cube().rename(time="t", y="lat", x="lon").transpose("lon", "band", "lat", "t")
    (piece,) = pieces_of(strange, origin="the array")
    assert np.array_equal(piece.raw, cube().values)


def test_rows_running_upwards_are_turned_over() -> None:
    (up,), (down,) = pieces_of(cube(flip=True), origin="a"), pieces_of(cube(), origin="a")
    assert up.grid == down.grid
    assert np.array_equal(up.raw, down.raw)


def test_band_numbers_are_no_names() -> None:
    (piece,) = pieces_of(cube().assign_coords(band=[1, 2]), origin="the array")
    assert piece.names == (None, None)


def test_an_array_without_time_or_band_is_one_date_and_one_band() -> None:
    flat = cube().isel(time=0, band=0, drop=True).rename("B08")
    (piece,) = pieces_of(flat, origin="the array")
    assert piece.raw.shape == (1, 1, 12, 10)
    assert piece.names == ("B08",)
    assert np.isnat(piece.times).all()


def test_what_has_no_place_is_refused_by_name() -> None:
    array = cube()
    nowhere = array.copy()
    nowhere.attrs = {}
    with pytest.raises(MissingCRS, match="the array does not say"):
        pieces_of(nowhere, origin="the array")
    assert pieces_of(nowhere, origin="the array", crs=UTM)[0].grid.crs.epsg == 32633
    uneven = array.assign_coords(x=np.r_[array.x.values[:-1], 600_000.0])
    with pytest.raises(GridMismatch, match="x coordinates of the array are not evenly spaced"):
        pieces_of(uneven, origin="the array")
    with pytest.raises(ShapeMismatch, match="what is needed is"):
        pieces_of(array.rename(band="depth"), origin="the array")


def test_one_pixel_takes_its_size_from_the_geotransform() -> None:
    array = cube().isel(y=[0], x=[0])
    with pytest.raises(GridMismatch, match="single pixel"):
        pieces_of(array, origin="the array")
    placed = array.rio.write_crs(UTM).rio.write_transform(Affine(10, 0, 500_000, 0, -10, 5_000_000))
    (piece,) = pieces_of(placed, origin="the array")
    assert piece.grid.affine[:6] == (10, 0, 500_000, 0, -10, 5_000_000)


def test_a_rotated_grid_keeps_its_affine() -> None:
    affine = Affine(8, 6, 500_000, 6, -8, 5_000_000)
    array = cube(bands=("B02",)).drop_vars(["x", "y"]).rio.write_crs(UTM).rio.write_transform(affine)
    (piece,) = pieces_of(array, origin="the array")
    assert piece.grid.affine[:6] == affine[:6]


def test_scale_in_attributes_is_stated_and_decoded_scale_is_not() -> None:
    array = cube()
    array.attrs |= {"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": 0}
    (piece,) = pieces_of(array, origin="a")
    assert piece.stated == ((1e-4, -0.1),) * 2
    assert piece.nodata == 0
    decoded = cube()
    decoded.encoding |= {"scale_factor": 1e-4}
    assert pieces_of(decoded, origin="a")[0].stated == (None, None)


# ----------------------------------------------------------------------------------------------------- netCDF, Zarr
def as_dataset() -> xr.Dataset:
    data = cube().to_dataset("band")
    for name in data:
        data[name].attrs = {"scale_factor": 1e-4, "_FillValue": np.uint16(0), "grid_mapping": "spatial_ref"}
    data["spatial_ref"] = xr.DataArray(0, attrs={"crs_wkt": rasterio.crs.CRS.from_string(UTM).to_wkt()})
    return data.drop_attrs(deep=False)


@pytest.mark.parametrize("chunks", [None, 4], ids=["eager", "lazy"])
@pytest.mark.parametrize("kind", ["h5netcdf", "scipy", "zarr"])
def test_stores_are_read_undecoded_and_alike(tmp_path: Path, kind: str, chunks: int | None) -> None:
    path = tmp_path / "cube"
    data = as_dataset()
    if kind == "zarr":
        data.to_zarr(path, zarr_format=3, consolidated=False)
    else:
        data = data if kind == "h5netcdf" else data.astype("int16", keep_attrs=True)
        data.to_netcdf(path, engine=kind)
    pieces = (read_zarr if kind == "zarr" else read_netcdf)(path, chunks=chunks)
    assert [p.names for p in pieces] == [("B02",), ("B04",)]
    for band, piece in enumerate(pieces):
        assert piece.is_lazy is (chunks is not None)
        assert np.array_equal(np.asarray(piece.raw)[:, 0], cube().values[:, band])
        assert piece.stated == ((1e-4, 0.0),)
        assert piece.nodata == 0
        assert piece.grid == GeoBox((12, 10), Affine(10, 0, 500_000, 0, -10, 5_000_000), UTM)
        assert piece.times[2] == np.datetime64("2021-05-03")


def test_a_cut_netcdf_is_a_named_error(tmp_path: Path) -> None:
    path = tmp_path / "cube.nc"
    as_dataset().to_netcdf(path, engine="h5netcdf")
    whole = path.read_bytes()
    for part in (0.2, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(SceneReadError, match=r"cube\.nc.* cannot be read"):
            [np.asarray(p.raw) for p in read_netcdf(path)]


def test_a_damaged_chunk_of_a_lazy_zarr_store_is_a_named_error(tmp_path: Path) -> None:
    path = tmp_path / "cube.zarr"
    as_dataset().to_zarr(path, zarr_format=3, consolidated=False)
    pieces = read_zarr(path, chunks=4)
    for chunk in (path / "B04" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"rubbish")
    with pytest.raises(SceneReadError, match=r"variable 'B04' at .* cannot be read"):
        pieces[1].raw.compute()


def test_netcdf_that_points_at_other_files_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.nc"
    as_dataset().to_netcdf(secret, engine="h5netcdf")
    path = tmp_path / "link.nc"
    with h5py.File(path, "w") as file:
        file["B02"] = h5py.ExternalLink("secret.nc", "/B02")
    with pytest.raises(SceneReadError, match=r"points outside itself.*B02 is a link"):
        read_netcdf(path)
    outside = tmp_path / "outside.nc"
    with h5py.File(outside, "w") as file:
        file.create_dataset("B02", (4, 4), "u2", external=[(str(secret), 0, 32)])
    with pytest.raises(SceneReadError, match="stored in another file"):
        read_netcdf(outside)


# ------------------------------------------------------------------------------------------------- dates and times
@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("S2A_MSIL2A_20170613T101031_87_48_B02.tif", "2017-06-13T10:10:31"),
        ("S2_L1C_2015-07-11.tif", "2015-07-11"),
        ("LC80200392015216_B1.tif", "2015-08-04"),
        ("LC09_L2SP_233087_20211231_20220101_02_T1_SR_B4.TIF", "2021-12-31"),
        ("20200604T054639_20200604T054831_T43RCP", "2020-06-04T05:46:39"),
        ("HLS.S30.T10TEM.2020032T190000.v2.0.B04.tif", "2020-02-01"),
        ("433D_629L_3_1", "NaT"),
        ("tile_20261399.tif", "NaT"),
    ],
)
def test_dates_in_names_are_found_and_other_numbers_are_not(name: str, date: str) -> None:
    assert str(date_in_name(name)) == str(np.datetime64(date, "ns"))


def test_tags_come_before_names() -> None:
    path = Path("S2_L1C_2015-07-11.tif")
    assert str(date_of({"DATETIME": "2020-01-02T03:04:05Z"}, path)) == "2020-01-02T03:04:05.000000000"
    assert np.isnat(parse_date("yesterday's scene"))
    assert np.isnat(parse_date("1066-10-14"))


def piece_of(values: np.ndarray, times: list[str], names: tuple[str, ...] = ("B04",), **more: object) -> Piece:
    grid = GeoBox(values.shape[2:], Affine(10, 0, 500_000, 0, -10, 5_000_000), UTM)
    return Piece(values, grid, names, np.array(times, "datetime64[ns]"), "a test", **more)  # type: ignore[arg-type]


def test_a_span_keeps_the_dates_in_it_and_a_month_keeps_its_days() -> None:
    (piece,) = pieces_of(cube(), origin="a")
    for time in (("2021-04-01", "2021-04-30"), "2021-04", ["2021-04-02"]):
        (kept,) = apply_time([piece], time, "s2")
        assert kept.times.astype("datetime64[D]").astype(str).tolist() == ["2021-04-02"]
        assert np.array_equal(kept.raw, piece.raw[[1]])
    with pytest.raises(
        NothingObserved, match="has no date in time='1999'; it has 3 dates from 2021-03-01 to 2021-05-03"
    ):
        apply_time([piece], "1999", "s2")


def test_undated_sources_take_the_date_given() -> None:
    undated = [piece_of(np.ones((1, 1, 4, 4)), ["NaT"]) for _ in range(2)]
    first, second = apply_time(undated, ["2021-04-02", "2021-05-03"], "s2")
    assert (str(first.times[0])[:10], str(second.times[0])[:10]) == ("2021-04-02", "2021-05-03")
    assert str(apply_time(undated[:1], "2020-04-08", "s2")[0].times[0])[:10] == "2020-04-08"
    with pytest.raises(ShapeMismatch, match="gives 3 dates"):
        apply_time(undated, ["2021-01-01", "2021-01-02", "2021-01-03"], "s2")
    with pytest.raises(ShapeMismatch, match="is no date"):
        apply_time(undated, "soon", "s2")


# ---------------------------------------------------------------------------------------------- bands and dates joined
def part(times: list[str], names: tuple[str, ...], value: int, pixel: int = 10) -> Part:
    size = 120 // pixel
    bands = tuple(b for b in sensor("sentinel-2-l2a").bands if b.name in names)
    grid = GeoBox((size, size), Affine(pixel, 0, 500_000, 0, -pixel, 5_000_000), UTM)
    raw = np.full((len(times), len(names), size, size), value, np.uint16)
    stated = (None,) * len(bands)
    return Part(raw, grid, bands, stated, np.array(times, "datetime64[ns]"), None, f"{names}")


def test_files_of_one_date_are_stacked_and_dates_put_in_order() -> None:
    files = [
        part(["2021-05-03"], ("B11",), 4, 20),
        part(["2021-05-03"], ("B04",), 3),
        part(["2021-04-02"], ("B04",), 1),
        part(["2021-04-02"], ("B11",), 2, 20),
    ]
    parts, notes = join_acquisitions(files, ["B04", "B11"], "s2")
    whole = join_dates(parts, "s2")
    assert notes == []
    assert whole.raw[:, :, 0, 0].tolist() == [[1, 2], [3, 4]]
    assert whole.raw.shape == (2, 2, 12, 12)


def test_dates_that_lack_some_bands_are_left_out_with_a_note() -> None:
    files = [part(["2021-04-02", "2021-05-03"], ("B04",), 1), part(["2021-05-03"], ("B11",), 2, 20)]
    parts, notes = join_acquisitions(files, ["B04", "B11"], "s2")
    assert join_dates(parts, "s2").raw.shape == (1, 2, 12, 12)
    assert notes == ["1 dates left out: not all bands were acquired on them"]


def test_bands_that_only_some_dates_have_are_left_out_with_a_note() -> None:
    files = [part(["2021-04-02"], ("B04", "B11"), 1), part(["2021-05-03"], ("B04",), 2)]
    parts, notes = join_acquisitions(files, ["B04", "B11"], "s2")
    assert join_dates(parts, "s2").raw[:, :, 0, 0].tolist() == [[1], [2]]
    assert notes == ["left out B11: not there on every date"]


def test_dates_on_different_grids_and_bands_without_common_dates_are_refused() -> None:
    with pytest.raises(GridMismatch, match="are dates on different grids"):
        join_dates([part(["2021-04-02"], ("B04",), 1), part(["2021-05-03"], ("B04",), 2, 20)], "s2")
    with pytest.raises(BandMismatch, match="share neither a date nor a band"):
        join_acquisitions([part(["2021-04-02"], ("B04",), 1), part(["2021-05-03"], ("B11",), 2)], [], "s2")


# ---------------------------------------------------------------------------------------------------------- folders
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("S2L2A.tif", ("s2", "sentinel-2-l2a")),
        ("S2L1C.tif", ("s2_l1c", "sentinel-2-l1c")),
        ("S1RTC.tif", ("s1", "sentinel-1-rtc")),
        ("S1A_IW_GRDH_1SDV_20200607T010800_D457", ("s1", "sentinel-1-grd")),
        ("majortom-s2l2a-199U_1099R/B02.tif", ("s2", "sentinel-2-l2a")),
        ("LC09_L2SP_233087_20211231_20220101_02_T1_SR_B4.TIF", ("l9", "landsat-9-l2")),
        ("LT52240631988227_TM_7bands_DN.tif", ("l5", "landsat-5-l1")),
        ("LE07_L1TP_119038_20000317.tif", ("l7", "landsat-7-l1")),
        ("HLS.S30.T10TEM.2020001T190000.v2.0.B04.tif", ("hls_s30", "hls-s30")),
        ("SRTM.tif", ("dem", "copernicus-dem")),
        ("demolition.tif", None),
        ("image.tif", None),
    ],
)
def test_sensors_are_guessed_only_from_names_that_say_so(name: str, expected: tuple[str, str] | None) -> None:
    assert guess(Path("/data") / name) == expected


@pytest.mark.parametrize(
    ("name", "band"),
    [
        ("T33_B8A.tif", "B8A"),
        ("B2.tif", "B2"),
        ("x_B11_20m.tif", "B11"),
        ("x_VV.tif", "VV"),
        ("HLS.S30.T10TEM.2020032T190000.v2.0.Fmask.tif", "Fmask"),
        ("cloud_mask.tif", "cloud_mask"),
        ("S2L2A.tif", None),
        ("B2B.tif", None),
    ],
)
def test_bands_are_told_from_the_end_of_a_file_name(name: str, band: str | None) -> None:
    assert band_in_name(Path(name)) == band


def test_a_folder_of_chips_gives_the_better_product_and_skips_labels(tmp_path: Path) -> None:
    for name in ("S2L2A", "S2L1C", "S1RTC", "DEM", "LULC"):
        (tmp_path / f"{name}.tif").touch()
    found, notes = scan_folder(tmp_path)
    assert {k: v.sensor for k, v in found.items()} == {
        "s2": "sentinel-2-l2a", "s1": "sentinel-1-rtc", "dem": "copernicus-dem",
    }  # fmt: skip
    assert any("LULC.tif" in n for n in notes)
    assert any("Level 1C left out" in n for n in notes)


def test_a_product_identifier_beside_the_bands_tells_the_sensor(tmp_path: Path) -> None:
    folder = tmp_path / "0000200" / "20200604"
    folder.mkdir(parents=True)
    for band in ("B2", "B8A"):
        (folder / f"{band}.tif").touch()
    (folder / "metadata.json").write_text(json.dumps({"PRODUCT_ID": "S2B_MSIL1C_20200604T054639_N0209_R048_T43RCP"}))
    found, _ = scan_folder(tmp_path)
    assert {k: v.sensor for k, v in found.items()} == {"s2": "sentinel-2-l1c"}


def test_a_landsat_collection_2_folder_keeps_bands_and_quality_only(tmp_path: Path) -> None:
    stem = "LC09_L2SP_233087_20211231_20220101_02_T1"
    for band in ("SR_B4", "SR_B5", "ST_B10", "QA_PIXEL", "QA_RADSAT", "SR_QA_AEROSOL", "ST_EMIS"):
        (tmp_path / f"{stem}_{band}.TIF").touch()
    found, notes = scan_folder(tmp_path)
    assert {k: v.sensor for k, v in found.items()} == {"l9": "landsat-9-l2"}
    names = [band_in_name(p) for p in found["l9"].items]
    assert names == ["QA_PIXEL", "QA_RADSAT", "B4", "B5", "B10"]
    assert "SR_QA_AEROSOL" in notes[0]


def test_a_sentinel2_product_folder_gives_each_band_once_at_its_finest_pixel(tmp_path: Path) -> None:
    inside = tmp_path / "S2B_MSIL2A_20200223T032739_N9999_R018_T48QUE_20230924T183543.SAFE" / "GRANULE" / "IMG_DATA"
    for size, bands in (("R10m", ("B02", "B04")), ("R20m", ("B02", "B05", "SCL"))):
        (inside / size).mkdir(parents=True)
        for band in bands:
            (inside / size / f"T48QUE_20200223T032739_{band}_{size[1:]}.jp2").touch()
    (inside / "MSK_DETFOO_B02.jp2").touch()
    found, _ = scan_folder(tmp_path / inside.parts[-3])
    assert {k: v.sensor for k, v in found.items()} == {"s2": "sentinel-2-l2a"}
    assert sorted(p.parent.name + "/" + str(band_in_name(p)) for p in found["s2"].items) == [
        "R10m/B02", "R10m/B04", "R20m/B05", "R20m/SCL",
    ]  # fmt: skip


def test_a_folder_that_says_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.tif").touch()
    with pytest.raises(SceneReadError, match=r"names of the files in .* \(picture.tif\) do not say what they are"):
        scan_folder(tmp_path)


def test_a_source_of_another_type_is_refused() -> None:
    with pytest.raises(SceneReadError, match=r"type ndarray cannot be read.*xarray.DataArray"):
        read_source(np.ones((3, 3)))
    with pytest.raises(SceneReadError, match="empty list"):
        read_source([])


# ---------------------------------------------------------------------------------------------------------- Landsat
def test_sun_elevation_is_stated_or_computed() -> None:
    grid = GeoBox((290, 310), Affine(30, 0, 620_000, 0, -30, 9_580_000), "EPSG:32722")
    stated, how = sun_elevation({"SUN_ELEVATION": "64.7"}, np.datetime64("NaT"), grid, 10.0)
    assert (stated, "as the metadata say" in how) == (64.7, True)
    # LT52240631988227 (Tucurui, 14 August 1988, 13:00 UTC): the almanac gives 51 degrees.
    computed, how = sun_elevation({}, np.datetime64("1988-08-14"), grid, 9.7)
    assert computed == pytest.approx(51, abs=3)
    assert sun_elevation({}, np.datetime64("NaT"), grid, 9.7)[0] is None


def test_published_gains_turn_tm_counts_into_reflectance_and_kelvin() -> None:
    tm = sensor("landsat-5-l1")
    grid = GeoBox((2, 2), Affine(30, 0, 620_000, 0, -30, 9_580_000), "EPSG:32722")
    tags = {"SUN_ELEVATION": "50"}
    ((label, calibration),) = level1_ways(tm, tm.bands, tags, np.datetime64("1988-08-14"), grid)
    counts = np.array([60, 24, 16, 73, 49, 137, 15], np.uint8).reshape(1, 7, 1, 1)
    physical = calibration.apply(counts).ravel()
    assert "published TM gains" in label
    # By hand, band 3: L = 1.043976 * 16 - 2.21 = 14.494; d = 1.01263; pi L d^2 / (1536 sin 50) = 0.03968
    assert physical[2] == pytest.approx(0.03968, rel=2e-3)
    # Band 6: L = 0.055376 * 137 + 1.18 = 8.7665; 1260.56 / ln(607.76 / L + 1) = 296.4 K
    assert physical[5] == pytest.approx(296.4, abs=0.1)
    assert level1_ways(tm, tm.bands, {}, np.datetime64("NaT"), grid) == []


def test_gains_of_an_mtl_file_come_first(tmp_path: Path) -> None:
    lines = [f"    REFLECTANCE_MULT_BAND_{i} = 1.5000E-03\n    REFLECTANCE_ADD_BAND_{i} = -0.0050" for i in (1, 2)]
    (tmp_path / "x_MTL.txt").write_text(
        "GROUP = A\n" + "\n".join(lines) + '\n    SUN_ELEVATION = 30.0\n  NAME = "q"\nEND\n'
    )
    tags = read_mtl(tmp_path)
    assert (tags["SUN_ELEVATION"], tags["NAME"]) == ("30.0", "q")
    tm = sensor("landsat-5-l1")
    grid = GeoBox((2, 2), Affine(30, 0, 620_000, 0, -30, 9_580_000), "EPSG:32722")
    ((label, calibration),) = level1_ways(tm, tm.bands[:2], tags, np.datetime64("NaT"), grid)
    assert "MTL" in label
    assert calibration.scale == pytest.approx((3e-3, 3e-3))
    assert calibration.offset == pytest.approx((-0.01, -0.01))
