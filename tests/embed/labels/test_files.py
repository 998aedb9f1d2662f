"""Labels through files: nothing is lost on the way, and what others hand in is checked before it is believed."""

from __future__ import annotations

import io
import json
import time
import tracemalloc

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from georeset_lab.embed.labels import files as label_files
from georeset_lab.embed.labels.book import Imported, LabelBook
from georeset_lab.embed.labels.files import read_label_table
from georeset_lab.errors import LabelError, MissingCRS, SceneReadError

GRID = GeoBox.from_bbox((600_000, 5_699_000, 601_000, 5_700_000), "EPSG:32719", resolution=10)
LON, LAT = -67.84, -38.85  # inside the grid
FORMATS = ("to_geojson", "to_geoparquet")


def point(lon: object = LON, lat: object = LAT, **properties: object) -> dict:
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Point", "coordinates": [lon, lat]}}


def collection(*features: object, **members: object) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": list(features), **members}).encode()


def state(book: LabelBook) -> tuple:
    return book.classes, book.items


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)
DEGREES = st.tuples(st.floats(-180, 180), st.floats(-90, 90))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(NAMES, DEGREES, st.booleans()), max_size=6), st.lists(NAMES, max_size=2))
def test_a_round_trip_is_exact(labels, classes):
    book = LabelBook()
    for name in classes:
        if not name.isspace() and label_names([name]) and name not in book.counts:
            book.relabel([], name)
    for name, (lon, lat), polygon in labels:
        if not label_names([name]):
            continue
        if polygon and abs(lon) < 179 and abs(lat) < 89:
            corners = [(lon, lat), (lon + 0.1, lat), (lon + 0.05, lat + 0.1 / 3)]
            book.add_polygon(shapely.Polygon(corners), name, source="suggestion")
        else:
            book.add_point(lon, lat, name)
    for form in FORMATS:
        again = LabelBook()
        if not book.classes:
            continue
        again.add_labels(getattr(book, form)())
        assert [(c.name, c.colour) for c in again.classes] == [(c.name, c.colour) for c in book.classes]
        assert [(x.id, x.geometry, x.source, x.when, again.class_of(x).name) for x in again.items] == [
            (x.id, x.geometry, x.source, x.when, book.class_of(x).name) for x in book.items
        ]
        assert getattr(again, form)() == getattr(book, form)()


def label_names(names: list[str]) -> bool:
    """True if these are names at all: some text is only blanks and control characters."""
    try:
        return all(label_files.plain_name(n) for n in names)
    except LabelError:
        return False


def test_classes_without_labels_keep_their_colour_through_files():
    book = LabelBook()
    book.add_class("water", "#123456")
    book.add_class("<i>town</i>")
    for form in FORMATS:
        again = LabelBook()
        assert again.add_labels(getattr(book, form)()) == Imported(0, 0, 0, 0)
        assert again.classes == book.classes


def test_geojson_is_what_rfc_7946_says():
    book = LabelBook()
    clockwise = shapely.Polygon([(LON, LAT), (LON, LAT + 0.001), (LON + 0.001, LAT + 0.001), (LON + 0.001, LAT)])
    book.add_polygon(clockwise, "forêt")
    book.add_polygon(shapely.box(179.5, 10, 180.5, 11), "sea")
    found = json.loads(book.to_geojson().decode("utf-8"))
    assert found["type"] == "FeatureCollection"
    assert "crs" not in found
    first, second = found["features"]
    assert set(first["properties"]) == {"label", "colour", "id", "source", "when"}
    assert first["id"] == first["properties"]["id"] == book.items[0].id
    assert shapely.LinearRing(first["geometry"]["coordinates"][0]).is_ccw
    assert second["geometry"]["type"] == "MultiPolygon"
    assert np.abs(shapely.get_coordinates(shapely.geometry.shape(second["geometry"]))[:, 0]).max() == 180


def test_geoparquet_is_what_geopandas_reads(tmp_path):
    book = LabelBook()
    book.add_point(LON, LAT, "water")
    book.to_geoparquet(tmp_path / "labels.parquet")
    frame = gpd.read_parquet(tmp_path / "labels.parquet")
    assert frame.crs == "EPSG:4326"
    assert frame["label"].tolist() == ["water"]
    assert frame.geometry.iloc[0] == shapely.Point(LON, LAT)


def test_any_crs_comes_in(tmp_path):
    frame = gpd.GeoDataFrame(
        {"label": ["a", "b"]},
        geometry=[shapely.Point(600_505, 5_699_505), shapely.box(600_100, 5_699_100, 600_200, 5_699_200)],
        crs="EPSG:32719",
    )
    old = json.loads(frame.to_json(drop_id=True))
    old["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32719"}}
    frame.to_parquet(tmp_path / "utm.parquet")
    frame.to_crs("EPSG:3857").to_parquet(tmp_path / "web.parquet")
    expected = shapely.get_coordinates(frame.to_crs("EPSG:4326").geometry.to_numpy())
    sources = [frame, frame.to_crs("EPSG:3857"), old, tmp_path / "utm.parquet", tmp_path / "web.parquet"]
    for source in sources:
        table = read_label_table(source, grid=GRID)
        assert [row.label for row in table.rows] == ["a", "b"]
        found = [row.geometry for row in table.rows]
        np.testing.assert_allclose(found[0].coords[0], expected[0], atol=1e-9)
        np.testing.assert_allclose(found[1].bounds, shapely.MultiPoint(expected[1:]).bounds, atol=1e-9)


def test_an_import_is_one_step_and_keeps_the_colours_that_are_here():
    book = LabelBook()
    book.add_class("water", "#0000ff")
    book.add_point(LON, LAT, "water")
    done = book.add_labels(collection(point(label="water", colour="#ff0000"), point(label="town", colour="#00FF00")))
    assert done == Imported(added=2, replaced=0, unchanged=0, outside=0)
    assert [(c.name, c.colour) for c in book.classes] == [("water", "#0000ff"), ("town", "#00ff00")]
    assert [x.source for x in book.items] == ["click", "import", "import"]
    assert book.undo() == "Import 2 labels"
    assert book.counts == {"water": 1}


def test_labels_that_were_edited_elsewhere_replace_the_old_ones():
    book = LabelBook()
    for name in ("a", "b", "c"):
        book.add_point(LON, LAT, name)
    found = json.loads(book.to_geojson())
    found["features"][1]["properties"]["label"] = "changed"
    del found["features"][1]["properties"]["source"], found["features"][1]["properties"]["when"]
    found["features"].append(point(label="new"))
    before = book.items
    assert book.add_labels(found) == Imported(added=1, replaced=1, unchanged=2, outside=0)
    assert [book.class_of(x).name for x in book.items] == ["a", "changed", "c", "new"]
    assert [(x.id, x.source, x.when, x.number) for x in book.items[:3]] == [
        (x.id, x.source, x.when, x.number) for x in before
    ]
    version = book.version
    assert book.add_labels(book.to_geojson()) == Imported(0, 0, 4, 0)
    assert book.version == version


def test_ids_of_others_are_not_taken_for_ours():
    book = LabelBook()
    for _ in range(2):  # two files, both numbered from 1
        book.add_labels(collection(point(label="a", id=1), point(label="b", id="2"), point(label="c", id="<b>")))
    assert len(book.items) == 6
    twice = collection(point(label="a", id="L0123456789ab"), point(label="b", id="L0123456789ab"))
    assert book.add_labels(twice).added == 1
    assert book.class_of(book.items[-1]).name == "b"


def test_labels_outside_the_scene_are_left_out_and_counted():
    inside, outside = point(label="in"), point(lon=10, label="out")
    table = read_label_table(collection(inside, outside), grid=GRID)
    assert ([row.label for row in table.rows], table.outside) == (["in"], 1)
    assert len(read_label_table(collection(inside, outside)).rows) == 2
    with pytest.raises(LabelError, match=r"0 of 1 labels touch the scene: they lie at lon 10\.0000"):
        read_label_table(collection(outside), grid=GRID)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "&lt;b&gt;", "'\"><svg onload=x>", "${7*7}", "=1+1"])
def test_markup_in_a_name_is_text(name):
    book = LabelBook()
    book.add_labels(collection(point(label=name, colour="red;x:url(//y)", id=name, source=name, when=name)))
    (only,) = book.items
    assert book.class_of(only).name == name
    assert (book.classes[0].colour, only.source) == ("#e69f00", "import")
    assert only.id.startswith("L")
    assert only.when.endswith("+00:00")
    assert json.loads(book.to_geojson())["features"][0]["properties"]["label"] == name


def polygon(*ring: tuple[object, object]) -> dict:
    shape = {"type": "Polygon", "coordinates": [[list(p) for p in ring]]}
    return {"type": "Feature", "properties": {"label": "x"}, "geometry": shape}


def deep(levels: int) -> bytes:
    return b'{"type": "FeatureCollection", "features": [' + b"[" * levels + b"]" * levels + b"]}"


BAD = {
    "no JSON": (b"label,lon,lat\nwater,1,2\n", "neither GeoJSON nor GeoParquet"),
    "another format": (b"SQLite format 3\x00" + bytes(100), "geopandas.read_file"),
    "broken text": (b'{"type": "\xff\xfe"}', "neither GeoJSON nor GeoParquet"),
    "cut off": (collection(point(label="a"))[:-20], "neither GeoJSON nor GeoParquet"),
    "deep nesting": (deep(100_000), "nested too deeply"),
    "some nesting": (deep(50), "not a GeoJSON FeatureCollection"),
    "a list": (b"[1, 2]", "a list and no GeoJSON object"),
    "another object": (b'{"type": "Topology"}', "of type 'Topology'"),
    "features that are none": (b'{"type": "FeatureCollection", "features": 5}', "with a list of features"),
    "a feature that is none": (collection("x"), "with a list of features"),
    "nothing": (collection(), "no labels in it"),
    "no properties": (collection({**point(), "properties": None}), "'label'; these have none"),
    "no label column": (collection(point(name="water", n=1)), r"these have 'n', 'name'. Say which .* column="),
    "a missing label": (collection(point(label="a"), point(label=None), point()), "2 of 3 labels have no 'label'"),
    "a label that is a list": (collection(point(label=["a"])), "text or a number, not list"),
    "an endless label": (collection(point(label="x" * 100_000)), "1 to 200 characters"),
    "no geometry": (collection({**point(label="a"), "geometry": None}), "Feature 0 has the geometry 'NoneType'"),
    "a line": (
        collection({**point(label="a"), "geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}}),
        "Feature 0 has the geometry 'LineString'; labels are points and polygons",
    ),
    "coordinates that are none": (collection(point(lon="x", lat=None, label="a")), "Feature 0 is no valid Point"),
    "no coordinates": (collection(point(lon=[1, [2]], label="a")), "Feature 0 is no valid Point"),
    "infinite": (collection(point(lon=77.7, label="a")).replace(b"77.7", b"1e999"), "no longitude and latitude"),
    "NaN": (collection(point(lon=float("nan"), label="a")), "holds NaN"),
    "latitude 95": (collection(point(lat=95, label="a")), "no longitude and latitude"),
    "an empty polygon": (collection(polygon()), "empty|no valid"),
    "a polygon of two corners": (collection(polygon((0, 0), (1, 1))), "no valid Polygon|encloses nothing"),
    "a polygon without area": (collection(polygon((0, 0), (1, 1), (2, 2), (0, 0))), "encloses nothing"),
    "a CRS that is a program": (
        collection(point(label="a"), crs={"properties": {"name": "+proj=longlat +nadgrids=/etc/passwd"}}),
        "not a code such as 'urn:ogc:def:crs:EPSG::32719'",
    ),
    "a CRS that is no object": (collection(point(label="a"), crs="EPSG:4326"), "'crs' member"),
    "no Parquet": (b"PAR1" + bytes(50), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_refused_with_a_reason_and_changes_nothing(what):
    payload, message = BAD[what]
    book = LabelBook()
    start = time.perf_counter()
    with pytest.raises((LabelError, MissingCRS), match=message):
        book.add_labels(payload)
    assert time.perf_counter() - start < 5
    assert state(book) == ((), ())


def test_projected_coordinates_without_a_crs_are_refused():
    with pytest.raises(MissingCRS, match="cannot be longitude and latitude"):
        read_label_table(collection(point(lon=600_000, lat=5_700_000, label="a")))
    with pytest.raises(MissingCRS, match="set_crs"):
        read_label_table(gpd.GeoDataFrame({"label": ["a"]}, geometry=[shapely.Point(0, 0)]))


def test_files_that_are_too_large_are_refused_before_they_are_read(tmp_path, monkeypatch):
    path = tmp_path / "huge.geojson"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    tracemalloc.start()
    with pytest.raises(LabelError, match=r"huge\.geojson has 1024 MB; labels are read up to 16 MB"):
        read_label_table(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    with pytest.raises(LabelError, match="The file has 17 MB"):
        read_label_table(bytes(17 << 20))
    monkeypatch.setattr(label_files, "MAX_LABELS", 2)
    monkeypatch.setattr(label_files, "MAX_VERTICES", 10)
    with pytest.raises(LabelError, match="The file has 3 labels"):
        read_label_table(collection(*[point(label="a")] * 3))
    round_field = shapely.Point(0, 0).buffer(1)
    with pytest.raises(LabelError, match="1 labels with 65 corners"):
        read_label_table(gpd.GeoDataFrame({"label": ["a"]}, geometry=[round_field], crs="EPSG:4326"))


GEO = {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB"}}}


def parquet(label: object, shape: object, n: int = 1, geo: object = GEO) -> bytes:
    """One label n times; it is in the file once."""
    once = [pa.array([label], pa.string()), pa.array([shape], pa.binary())]
    index = pa.array([0] * n, pa.int32())
    columns = [values if values.null_count else pa.DictionaryArray.from_arrays(index, values) for values in once]
    table = pa.Table.from_arrays(columns, ["label", "geometry"])
    buffer = io.BytesIO()
    options = {"compression": "zstd", "dictionary_pagesize_limit": 1 << 30, "store_schema": False}
    with pq.ParquetWriter(buffer, table.schema, **options) as out:
        out.write_table(table)
        out.add_key_value_metadata({"geo": json.dumps(geo)})
    return buffer.getvalue()


def test_a_parquet_bomb_is_refused_before_it_goes_off():
    wkb = shapely.Point(LON, LAT).wkb
    assert len(read_label_table(parquet("a", wkb, 9)).rows) == 9
    field = shapely.Point(LON, LAT).buffer(1, quad_segs=2_000).wkb  # 128 kB
    bombs = [parquet("a", field, 40_000), parquet("x" * 200_000, wkb, 40_000)]
    many = parquet("a", wkb, 60_000)
    assert max(map(len, [*bombs, many])) < 1 << 20
    for bomb in bombs:
        with pytest.raises(LabelError, match=r"unpacks to \d{4,} MB; labels are read up to"):
            read_label_table(bomb)
    assert pa.default_memory_pool().max_memory() < 64 << 20
    with pytest.raises(LabelError, match="60,000 labels"):
        read_label_table(many)


def test_parquet_that_is_not_labels_is_refused(tmp_path):
    wkb = shapely.Point(LON, LAT).wkb
    table = io.BytesIO()
    pq.write_table(pa.table({"label": ["a"]}), table)
    with pytest.raises(LabelError, match=r"Parquet without geometries\. Write it with GeoDataFrame\.to_parquet"):
        read_label_table(table.getvalue())
    frame = gpd.GeoDataFrame({"kind": ["a"]}, geometry=[shapely.Point(LON, LAT)], crs="EPSG:4326")
    frame.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(LabelError, match=r"'label'; these have 'kind'"):
        read_label_table(tmp_path / "x.parquet")
    assert read_label_table(tmp_path / "x.parquet", column="kind").rows[0].label == "a"
    bad = [
        parquet("a", b"not WKB"),
        parquet("a", None),
        parquet(None, wkb),
        parquet("a", wkb, geo={"primary_column": "geometry"}),
        parquet("a", wkb, geo={"primary_column": 5, "columns": 3}),
        parquet("a", wkb, geo=[1]),
        parquet("a", wkb, geo=GEO | {"columns": {"geometry": {"encoding": "WKB", "crs": "x" * 99}}}),
        parquet("a", wkb)[:-30] + bytes(30),
    ]
    for payload in bad:
        with pytest.raises(LabelError):
            read_label_table(payload)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(FORMATS))
def test_a_damaged_file_is_read_or_refused_but_never_something_else(seed, form):
    payload = bytearray(WRITTEN[form])
    rng = np.random.default_rng(seed)
    for _ in range(rng.integers(1, 6)):
        kind, at = rng.integers(3), int(rng.integers(len(payload)))
        if kind == 0:
            payload[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del payload[at : at + int(rng.integers(1, 30))]
        else:
            payload[at:at] = bytes(rng.integers(0, 256, int(rng.integers(1, 5)), dtype=np.uint8))
        if not payload:
            break
    book = LabelBook()
    try:
        book.add_labels(bytes(payload))
    except (LabelError, MissingCRS):
        assert state(book) == ((), ())
    book.to_geojson()


def _written() -> dict[str, bytes]:
    book = LabelBook()
    book.add_point(LON, LAT, "water")
    book.add_polygon(shapely.box(LON, LAT, LON + 0.01, LAT + 0.01), "forêt")
    return {form: getattr(book, form)() for form in FORMATS}


WRITTEN = _written()


def test_files_are_written_whole_and_read_by_path(tmp_path):
    for form, name in zip(FORMATS, ("labels.geojson", "labels.parquet"), strict=True):
        book = LabelBook()
        book.add_labels(WRITTEN[form])
        assert getattr(book, form)(tmp_path / name) == (tmp_path / name).read_bytes() == WRITTEN[form]
        again = LabelBook()
        assert again.add_labels(str(tmp_path / name)).added == 2
    with pytest.raises(SceneReadError, match=r"no label file .*none\.geojson"):
        LabelBook().add_labels(tmp_path / "none.geojson")
    with pytest.raises(LabelError, match="labels is a int"):
        LabelBook().add_labels(5)
