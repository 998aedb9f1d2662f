from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from rasterio.transform import from_origin

from georeset_lab.data.labels import LabelSet, read_labels
from georeset_lab.errors import LabelError, MissingCRS, SceneReadError

LEFT, TOP = 600_000, 5_700_000
GRID = GeoBox.from_bbox((LEFT, TOP - 300, LEFT + 400, TOP), "EPSG:32719", resolution=10)  # 30 rows, 40 columns


def square(row: int, col: int, size: int = 4) -> shapely.Polygon:
    """Edges of pixels row .. row + size - 1."""
    x, y = LEFT + 10 * col, TOP - 10 * row
    return shapely.box(x, y - 10 * size, x + 10 * size, y)


def frame(*rows: tuple[object, shapely.Geometry]) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame({"label": [r[0] for r in rows]}, geometry=[r[1] for r in rows], crs="EPSG:32719")


def geojson(labels: gpd.GeoDataFrame) -> dict:
    return json.loads(labels.to_crs("EPSG:4326").to_json())


def raster(values: np.ndarray, grid: GeoBox = GRID, **attrs: object) -> xr.DataArray:
    return xr.DataArray(values, dims=("y", "x"), coords=dict(xr_coords(grid, always_yx=True)), attrs=attrs)


def named(found: LabelSet) -> np.ndarray:
    return np.array([*found.classes, ""])[found.codes]


def test_polygons_label_the_pixels_whose_centres_they_cover():
    found = read_labels(frame(("trees", square(2, 3)), ("eau", square(10, 20, 5))), GRID)
    expected = np.full((30, 40), "", dtype="<U5")
    expected[2:6, 3:7], expected[10:15, 20:25] = "trees", "eau"
    np.testing.assert_array_equal(named(found), expected)
    assert found.classes == ("eau", "trees")
    assert found.counts == {"eau": 25, "trees": 16}
    assert (found.codes.dtype, found.groups.dtype) == (np.int16, np.int32)
    assert set(found.groups[2:6, 3:7].ravel()) == {0}
    assert set(found.groups[10:15, 20:25].ravel()) == {1}
    assert found.groups[0, 0] == -1


def test_every_form_of_the_same_labels_gives_the_same_pixels(tmp_path):
    table = frame(("trees", square(2, 3)), ("crops", square(10, 20)))
    expected = read_labels(table, GRID)
    path = tmp_path / "labels.geojson"
    path.write_text(json.dumps(geojson(table)))
    tif = tmp_path / "labels.tif"
    codes = np.where(expected.codes < 0, 0, expected.codes + 1).astype("uint8")
    with rasterio.open(
        tif, "w", driver="GTiff", height=30, width=40, count=1, dtype="uint8", crs="EPSG:32719",
        transform=from_origin(LEFT, TOP, 10, 10),
    ) as out:  # fmt: skip
        out.write(codes, 1)
    for form in (geojson(table), path, str(path), table.to_crs("EPSG:4326"), table.to_crs("EPSG:3857")):
        np.testing.assert_array_equal(named(read_labels(form, GRID)), named(expected))
    names = {1: "crops", 2: "trees"}
    for form in (raster(codes, classes=names), raster(codes, classes=["none", "crops", "trees"])):
        np.testing.assert_array_equal(named(read_labels(form, GRID)), named(expected))
    np.testing.assert_array_equal(named(read_labels(tif, GRID, classes=names)), named(expected))
    assert read_labels(tif, GRID).classes == ("1", "2")
    assert read_labels(expected, GRID) is expected


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 29), st.integers(0, 39), st.floats(0.02, 0.98), st.floats(0.02, 0.98))
def test_a_point_labels_the_pixel_that_holds_it(row, col, down, right):
    point = gpd.GeoSeries([shapely.Point(GRID.affine * (col + right, row + down))], crs="EPSG:32719")
    lon, lat = (float(v) for v in point.to_crs("EPSG:4326").iloc[0].coords[0])
    found = read_labels([{"lon": lon, "lat": lat, "label": "here"}], GRID)
    assert np.argwhere(found.codes == 0).tolist() == [[row, col]]


def test_a_polygon_smaller_than_a_pixel_still_labels_one():
    x, y = GRID.affine * (7.1, 4.1)
    found = read_labels(frame(("pond", shapely.box(x, y - 2, x + 2, y))), GRID)
    assert np.argwhere(found.codes == 0).tolist() == [[4, 7]]


def test_the_later_of_two_labels_holds_and_small_ones_do_not_erase():
    found = read_labels(frame(("field", square(0, 0, 10)), ("barn", square(3, 3, 2))), GRID)
    assert found.counts == {"barn": 4, "field": 96}
    again = read_labels(frame(("barn", square(3, 3, 2)), ("field", square(0, 0, 10))), GRID)
    assert again.counts == {"field": 100}


def test_a_bow_tie_burns_what_it_encloses():
    x, y = LEFT + 100, TOP - 100
    tie = shapely.Polygon([(x, y), (x + 120, y - 120), (x + 120, y), (x, y - 120)])
    assert tie.area == 0
    found = read_labels(frame(("field", tie)), GRID)
    assert 60 <= found.counts["field"] <= 84  # two triangles of 3,600 m2: 72 pixels


def test_multipolygons_with_holes_and_lines_work():
    ring = shapely.box(LEFT + 50, TOP - 150, LEFT + 150, TOP - 50).difference(
        shapely.box(LEFT + 80, TOP - 120, LEFT + 120, TOP - 80)
    )
    line = shapely.LineString([(LEFT + 205, TOP - 5), (LEFT + 205, TOP - 95)])
    found = read_labels(frame(("ring", ring), ("road", line)), GRID)
    assert found.counts == {"ring": 100 - 16, "road": 10}


def test_part_of_the_labels_outside_is_fine_and_their_classes_are_not_listed():
    found = read_labels(frame(("in", square(0, 0)), ("half", square(-2, 30)), ("out", square(500, 500))), GRID)
    assert found.counts == {"half": 8, "in": 16}


@pytest.mark.parametrize("name", ["forêt-galerie", "水田", "<script>alert(1)</script>", "a, b; c", " ", "🌲"])
def test_names_may_be_any_text(name):
    found = read_labels(geojson(frame((name, square(1, 1)), ("other", square(9, 9)))), GRID)
    assert sorted(found.classes) == sorted([name, "other"])


def test_numbers_are_named_without_a_fraction_and_sorted_by_value():
    found = read_labels(frame((10.0, square(1, 1)), (2.0, square(9, 9)), (1.0, square(9, 20))), GRID)
    assert found.classes == ("1", "2", "10")


def test_a_raster_on_another_grid_and_crs_is_read_at_pixel_centres():
    fine = GeoBox.from_bbox((LEFT - 50, TOP - 350, LEFT + 450, TOP + 50), "EPSG:32719", resolution=5)
    values = np.zeros(fine.shape, "uint8")
    x, y = fine.coordinates["x"].values, fine.coordinates["y"].values
    values[np.ix_((y < TOP - 100) & (y > TOP - 200), (x > LEFT + 100) & (x < LEFT + 200))] = 7
    found = read_labels(raster(values, fine), GRID)
    expected = np.full((30, 40), -1)
    expected[10:20, 10:20] = 0
    np.testing.assert_array_equal(found.codes, expected)
    degrees = raster(values, fine).odc.reproject("EPSG:4326", resampling="nearest")
    assert (read_labels(degrees, GRID).codes == expected).mean() > 0.98


def test_zero_and_nodata_are_unlabelled_unless_said():
    values = np.full((30, 40), 9, "uint8")
    values[0], values[1] = 0, 3
    assert read_labels(raster(values), GRID).classes == ("3", "9")
    assert read_labels(raster(values, _FillValue=9), GRID).classes == ("3",)
    assert read_labels(raster(values), GRID, nodata=None).classes == ("0", "3", "9")
    holes = np.where(values == 9, np.nan, values.astype(float))
    assert read_labels(raster(holes), GRID, nodata=None).counts == {"0": 40, "3": 40}
    assert not read_labels(raster(values), GRID).has_groups


def test_zero_is_a_class_if_it_has_the_name_of_one():
    values = np.repeat([0, 1, 2], 10)[:, None] * np.ones((1, 40), int)
    assert read_labels(raster(values, classes=["water", "trees", "crops"]), GRID).classes == ("water", "trees", "crops")
    assert read_labels(raster(values, classes={0: "water", 2: "crops"}), GRID).classes == ("water", "1", "crops")
    for nothing in ("", "No data", "unlabelled"):
        assert read_labels(raster(values, classes=[nothing, "trees", "crops"]), GRID).classes == ("trees", "crops")
    assert read_labels(raster(values, classes=["water", "trees", "crops"]), GRID, nodata=0).classes == (
        "trees",
        "crops",
    )
    with pytest.raises(LabelError, match="is not JSON"):
        read_labels(raster(values, classes="water trees"), GRID)


def test_a_huge_label_raster_is_read_only_around_the_scene(tmp_path, monkeypatch):
    path = tmp_path / "national.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=50_000, width=50_000, count=1, dtype="uint8", crs="EPSG:32719", tiled=True,
        sparse_ok=True, transform=from_origin(LEFT - 200_000, TOP + 200_000, 10, 10),
    ) as out:  # fmt: skip
        window = rasterio.windows.Window(20_000, 20_000, 40, 30)
        out.write(np.full((30, 40), 2, "uint8"), 1, window=window)
    sizes = []
    read = rasterio.DatasetReader.read

    class Spy:
        def __init__(self, source):
            self.source = source

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.source.close()

        def __getattr__(self, name):
            return getattr(self.source, name)

        def read(self, *args, **kwargs):
            values = read(self.source, *args, **kwargs)
            sizes.append(values.size)
            return values

    real_open = rasterio.open
    monkeypatch.setattr(rasterio, "open", lambda *a, **k: Spy(real_open(*a, **k)))
    assert read_labels(path, GRID).counts == {"2": 1200}
    assert sizes[0] < 50 * 50


def test_refusals_say_what_was_given_and_what_to_do(tmp_path):
    good = frame(("a", square(1, 1)), ("b", square(9, 9)))
    table = [
        (good.rename(columns={"label": "klass"}), LabelError, r"column 'label'; this table has 'klass'"),
        (good.set_crs(None, allow_override=True), MissingCRS, "set_crs"),
        (frame(("a", square(900, 900))), LabelError, r"0 of 1 labels touch the scene: they lie at lon"),
        (frame(("a", shapely.Polygon())), LabelError, "1 of 1 geometries are empty or missing"),
        (frame(("a", square(1, 1)), (None, square(2, 2))), LabelError, "1 of 2 rows have no label"),
        (good.iloc[:0], LabelError, "no rows"),
        ([], LabelError, "list is empty"),
        ([{"lon": 1.0, "label": "a"}], LabelError, "each needs 'lon', 'lat'"),
        ({"type": "FeatureCollection", "features": []}, LabelError, "without features"),
        ({"type": "Nonsense"}, LabelError, "not valid GeoJSON"),
        (3.5, LabelError, "labels is a float"),
        (json.loads(good.to_json(drop_id=True)) | {"crs": None}, MissingCRS, "cannot be longitude and latitude"),
        (raster(np.zeros((30, 40), "uint8")), LabelError, "no labelled pixel"),
        (raster(np.full((30, 40), 0.5)), LabelError, "looks like a measurement"),
        (xr.DataArray(np.ones((30, 40)), dims=("y", "x")), MissingCRS, "no CRS"),
        (raster(np.ones((30, 40)), GRID.pad(0)[0:30, 0:40].translate_pix(900, 900)), LabelError, "does not touch"),
        (tmp_path / "absent.geojson", SceneReadError, "no label file"),
    ]
    for labels, error, words in table:
        with pytest.raises(error, match=words):
            read_labels(labels, GRID)


def test_files_that_are_not_what_they_say_are_refused(tmp_path):
    secret = tmp_path / "secret.tif"
    with rasterio.open(
        secret, "w", driver="GTiff", height=30, width=40, count=1, dtype="uint8", crs="EPSG:32719",
        transform=from_origin(LEFT, TOP, 10, 10),
    ) as out:  # fmt: skip
        out.write(np.ones((30, 40), "uint8"), 1)
    vrt = tmp_path / "labels.tif"
    vrt.write_text(
        f'<VRTDataset rasterXSize="40" rasterYSize="30"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{secret}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    broken = tmp_path / "half.geojson"
    broken.write_text('{"type": "FeatureColl')
    shape = tmp_path / "labels.shp"
    shape.write_bytes(b"")
    for path, words in ((vrt, "cannot be read as a GeoTIFF"), (broken, "not GeoJSON"), (shape, "geopandas.read_file")):
        with pytest.raises(SceneReadError, match=words):
            read_labels(path, GRID)
    whole = secret.read_bytes()
    secret.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(SceneReadError, match="cannot be read as a GeoTIFF"):
        read_labels(secret, GRID)


def test_labels_of_another_grid_are_not_taken_as_they_are():
    found = read_labels(frame(("a", square(1, 1))), GRID)
    with pytest.raises(LabelError, match="burnt onto another grid"):
        read_labels(found, GRID[1:, 1:])


@pytest.mark.real_data
def test_a_real_land_cover_map_keeps_every_pixel(shared_data):
    folder = shared_data / "terramind-chips" / "433D_629L_3_1"
    with rasterio.open(folder / "S2L2A.tif") as source, rasterio.open(folder / "LULC.tif") as truth:
        grid = GeoBox((source.height, source.width), source.transform, source.crs)
        values, counts = np.unique(truth.read(1), return_counts=True)
    found = read_labels(folder / "LULC.tif", grid)
    assert found.counts == {str(v): n for v, n in zip(values.tolist(), counts.tolist(), strict=True) if v}
