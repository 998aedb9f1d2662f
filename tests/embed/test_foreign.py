"""Published vectors open from tables and rasters, keep their places, and never pretend to know how sure they are."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import xarray as xr
from odc.geo.xr import xr_coords

import georeset_lab as gl
from georeset_lab.data.labels import read_labels
from georeset_lab.embed.probe import fit_probe
from georeset_lab.embed.probing.suggest import suggest
from georeset_lab.errors import (
    InvalidOption,
    LabelError,
    MissingCRS,
    NotAGrid,
    OutsideScene,
    SceneReadError,
    ShapeMismatch,
    StoreError,
)
from tests.widgets.planted import planted_classes, utm_grid

N, DIM = 240, 6


@pytest.fixture(scope="module")
def table():
    """Points over some degrees whose vectors tell three classes apart."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, N)
    vectors = 2 * np.eye(DIM)[codes] + 0.3 * rng.normal(size=(N, DIM))
    columns = {f"E{i + 1}": vectors[:, i] for i in range(DIM)}
    place = {"longitude": rng.uniform(-60, -50, N), "latitude": rng.uniform(-20, -10, N)}
    more = {"cover": np.array(["forest", "water", "crops"])[codes], "height": rng.uniform(0, 900, N)}
    return pd.DataFrame({**columns, **place, **more})


@pytest.fixture(scope="module")
def points(table):
    return gl.import_embeddings(table)


def test_a_table_opens_as_points_with_its_other_columns(points, table):
    assert points.shape == (N, 1)
    assert points.dim == DIM
    assert points.observed.all()
    np.testing.assert_allclose(
        points.mean.values[:, :, 0], table[[f"E{i}" for i in range(1, 7)]].to_numpy().T, rtol=1e-6
    )
    assert list(points.table.columns) == ["cover", "height", "geometry"]
    assert points.mean.lon.values.tolist() == table["longitude"].tolist()
    assert repr(points) == "<PointEmbeddings 240 x 6, published, variance unknown, EPSG:4326>"


def test_unknown_variance_is_nan_everywhere_and_in_all_that_follows(points, table):
    assert np.isnan(points.variance.values).all()
    assert np.isnan(points.certainty.values).all()
    where = float(table["longitude"][3]), float(table["latitude"][3])
    assert np.isnan(points.at(*where)["expert_variance"].values).all()
    hits = gl.similar(points, at=where, k=4)
    assert hits.places["uncertainty"].isna().all()
    with pytest.raises(InvalidOption, match="needs variances"):
        gl.similar(points, at=where, score="pmi")
    prediction = gl.probe(points, points.labels("cover")).predict(points)
    assert np.isnan(prediction["doubt_sensor"].values).all()
    assert np.isfinite(prediction["doubt_labels"].values).all()
    assert set(np.unique(prediction["cause"])) <= {1, 2}


def test_similar_ranks_points_by_cosine_and_leaves_out_the_query(points, table):
    hits = gl.similar(points, at=(float(table["longitude"][3]), float(table["latitude"][3])), k=5)
    mean = points.vectors()[0]
    unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    cosine = unit @ unit[3]
    order = [i for i in np.argsort(-cosine) if i != 3][:5]
    assert hits.places["score"].tolist() == pytest.approx(cosine[order].tolist(), abs=1e-5)
    np.testing.assert_allclose(hits.places["lon"], table["longitude"].to_numpy()[order])
    assert set(hits.places.geom_type) == {"Point"}
    assert set(table["cover"].to_numpy()[order]) == {table["cover"][3]}


def test_an_area_is_an_example_too(points, table):
    box = shapely.box(-56, -16, -54, -14)
    inside = table["longitude"].between(-56, -54) & table["latitude"].between(-16, -14)
    hits = gl.similar(points, like=box, k=3)
    mean = points.vectors()[0][inside.to_numpy()].mean(axis=0)
    expected = points.vectors()[0] @ mean / np.linalg.norm(points.vectors()[0], axis=1) / np.linalg.norm(mean)
    np.testing.assert_allclose(hits.map.values[:, 0], expected, atol=1e-5)
    with pytest.raises(OutsideScene, match="none of the points"):
        gl.similar(points, like=shapely.box(0, 0, 1, 1))


def test_a_probe_is_tested_in_blocks_of_ground(points):
    probe = gl.probe(points, points.labels("cover"))
    assert any(note.startswith("tested in ground blocks of") for note in probe.notes_)
    assert probe.report.loc["embedding", "balanced_accuracy"] > 0.9
    said = probe.predict(points)["label"].values[:, 0]
    labels = points.labels("cover")
    assert (said == labels.codes[:, 0]).mean() > 0.95


def test_a_table_of_labels_finds_the_same_points_as_the_column(points):
    frame = points.table.rename(columns={"cover": "label"}).sample(frac=1, random_state=0)
    np.testing.assert_array_equal(read_labels(frame, points.grid).codes, points.labels("cover").codes)
    with pytest.raises(LabelError, match="no column of classes 'height' in this table; it has 'cover'"):
        points.labels("height")


def test_suggestions_are_points(points):
    found = suggest(points, points.table.rename(columns={"cover": "label"}).iloc[:6], k=4)
    assert len(found) == 4
    assert set(found.geom_type) == {"Point"}
    assert not set(found["row"]) & set(range(6))
    np.testing.assert_allclose(found["lon"], points.grid.x[found["row"]])


def test_a_part_keeps_vectors_places_and_table_together(points, table):
    part = points.crop((-55, -15, -50, -10))
    inside = (table["longitude"] >= -55) & (table["latitude"] >= -15)
    assert part.shape == (int(inside.sum()), 1)
    assert part.table["cover"].tolist() == table["cover"][inside].tolist()
    np.testing.assert_allclose(part.vectors()[0][:, 0], table["E1"][inside], rtol=1e-6)
    with pytest.raises(OutsideScene, match="None of the points"):
        points.crop((0, 0, 1, 1))


def test_what_is_a_raster_or_needs_a_variance_is_not_written(points, tmp_path):
    with pytest.raises(NotAGrid, match="to_geoparquet"):
        points.to_cog(tmp_path / "a.tif")
    with pytest.raises(StoreError, match="state none"):
        points.to_zarr(tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


def test_points_come_back_from_their_own_file(points, tmp_path):
    back = gl.import_embeddings(points.to_geoparquet(tmp_path / "a.parquet", variance=False))
    np.testing.assert_array_equal(back.vectors()[0], points.vectors()[0])
    np.testing.assert_array_equal(back.grid.x, points.grid.x)


@pytest.mark.parametrize("form", ["csv", "parquet", "geojson"])
def test_tables_open_from_files(table, tmp_path, form):
    path = tmp_path / f"table.{form}"
    if form == "csv":
        table.to_csv(path, index=False)
    elif form == "parquet":
        table.to_parquet(path)
    else:
        place = gpd.points_from_xy(table["longitude"], table["latitude"], crs="EPSG:4326")
        gpd.GeoDataFrame(table.drop(columns=["longitude", "latitude"]), geometry=place).to_file(path)
    emb = gl.import_embeddings(path)
    np.testing.assert_allclose(emb.vectors()[0][:, 0], table["E1"], rtol=1e-5)
    np.testing.assert_allclose(emb.grid.x, table["longitude"], atol=1e-6)


def test_a_table_opens_where_scenes_do(points, tmp_path):
    from georeset_lab.dashboard.sources import make_sources

    scene, emb = make_sources(str(points.to_geoparquet(tmp_path / "a.parquet", variance=False)))[0].open()
    assert scene is None
    assert emb.grid == points.grid


def test_vectors_may_be_arrays_in_a_column_or_beside_the_table(table):
    array = table[[f"E{i}" for i in range(1, 7)]].to_numpy(np.float32)
    plain = table[["longitude", "latitude"]]
    nested = plain.assign(embedding=list(array))
    for emb in (gl.import_embeddings(nested), gl.import_embeddings(plain, vectors=array)):
        np.testing.assert_array_equal(emb.vectors()[0], array)


def test_stored_numbers_become_real_and_gaps_stay_gaps(table):
    stored = (table[[f"E{i}" for i in range(1, 7)]].to_numpy() * 1000).round().astype(np.int16)
    stored[5, 2] = -32768
    emb = gl.import_embeddings(table[["longitude", "latitude"]], vectors=stored, scale=1e-3, nodata=-32768)
    assert np.flatnonzero(~emb.observed[:, 0]).tolist() == [5]
    np.testing.assert_allclose(emb.vectors()[0][4], stored[4] * 1e-3, rtol=1e-6)
    assert (emb.vectors()[0][5] == 0).all()
    assert (emb.vectors()[1][5] == 1).all(), "what is missing is the prior, which is known"
    hits = gl.similar(emb, at=(float(table["longitude"][4]), float(table["latitude"][4])), k=3)
    assert np.isnan(hits.map.values[5, 0])


def test_a_stated_variance_is_used(table):
    variance = np.full((N, DIM), 0.25, np.float32)
    emb = gl.import_embeddings(table, variance=variance)
    np.testing.assert_allclose(emb.vectors()[1], 0.25, rtol=1e-6)
    np.testing.assert_allclose(emb.vectors()[0][:, 0], table["E1"], rtol=1e-5)
    with pytest.raises(ShapeMismatch, match=r"lie in \(0, 1\]"):
        gl.import_embeddings(table, variance=2 * variance * 4)


@pytest.mark.parametrize(
    ("change", "options", "error", "says"),
    [
        (lambda t: t.drop(columns=["longitude"]), {}, InvalidOption, "Pass x=, y= and crs="),
        (lambda t: t.rename(columns={"longitude": "x", "latitude": "y"}), {}, MissingCRS, "crs='EPSG"),
        (lambda t: t[["longitude", "latitude", "cover"]], {}, InvalidOption, "Pass vectors="),
        (lambda t: t, {"vectors": ["E1", "E9"]}, InvalidOption, "names 'E9'"),
        (lambda t: t, {"vectors": np.ones((3, 4))}, ShapeMismatch, r"\(240, D\)"),
        (lambda t: t.iloc[:0], {}, ShapeMismatch, "no rows"),
        (lambda t: "nowhere.parquet", {}, SceneReadError, "no file"),
        (lambda t: np.ones((3, 4)), {}, InvalidOption, "give a DataFrame"),
    ],
)
def test_what_is_missing_is_named_with_the_argument_that_gives_it(table, change, options, error, says):
    with pytest.raises(error, match=says):
        gl.import_embeddings(change(table), **options)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(SceneReadError, match="cannot be read"):
        gl.import_embeddings(path)


# -- rasters -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raster():
    """Like a tile of AlphaEarth: int8, -128 where there is nothing, decoded by a power of two."""
    codes = planted_classes(40, 50)
    values = (60 * np.eye(5)[codes] + np.random.default_rng(0).normal(0, 8, (40, 50, 5))).round().astype(np.int8)
    values[:3] = -128
    coords = dict(xr_coords(utm_grid(40, 50), always_yx=True))
    return xr.DataArray(values.transpose(2, 0, 1), dims=("band", "y", "x"), coords=coords)


def decoded(v):
    return np.sign(v) * (v / 127.5) ** 2


@pytest.mark.parametrize("order", [("band", "y", "x"), ("y", "x", "band")])
def test_a_raster_opens_as_a_map(raster, order):
    emb = gl.import_embeddings(raster.transpose(*order), scale=lambda v: decoded(v.astype(np.float32)), nodata=-128)
    assert emb.grid == utm_grid(40, 50)
    np.testing.assert_array_equal(emb.observed, np.arange(40)[:, None] >= 3 + np.zeros((1, 50)))
    true = decoded(raster.values.astype(np.float32))[:, 10, 10]
    np.testing.assert_allclose(emb.mean.values[:, 10, 10], true, rtol=1e-6)
    assert np.isnan(emb.variance.values[:, 3:]).all()


def test_a_geotiff_opens_whole_or_in_part_with_its_own_nodata(raster, tmp_path):
    grid, path = utm_grid(40, 50), tmp_path / "a.tif"
    profile = {"driver": "GTiff", "dtype": "int8", "count": 5, "height": 40, "width": 50, "nodata": -128}
    with rasterio.open(path, "w", crs="EPSG:32718", transform=grid.affine, **profile) as out:
        out.write(raster.values)
    whole = gl.import_embeddings(path)
    assert whole.grid == grid
    assert not whole.observed[:3].any()
    assert whole.observed[3:].all()
    lon, lat = whole.at(*_middle(whole))["lon"], whole.at(*_middle(whole))["lat"]
    part = gl.import_embeddings(path, bbox=(float(lon) - 5e-4, float(lat) - 5e-4, float(lon) + 5e-4, float(lat) + 5e-4))
    assert 0 < part.shape[0] < 40
    np.testing.assert_array_equal(part.at(float(lon), float(lat))["mean"], whole.at(float(lon), float(lat))["mean"])


def _middle(emb):
    from georeset_lab.embed.locate import lonlat_of

    return tuple(float(v) for v in lonlat_of(emb.grid, 20, 25))


def test_a_foreign_map_can_be_searched_probed_and_cropped(raster):
    emb = gl.import_embeddings(raster, nodata=-128)
    codes = xr.DataArray(
        np.where(np.arange(40)[:, None] < 3, 0, planted_classes(40, 50) + 1).astype(np.int16), dims=("y", "x")
    )
    codes = codes.assign_coords(dict(xr_coords(emb.grid, always_yx=True)))
    probe = fit_probe(emb, codes, max_per_class=60)
    assert (probe.predict(emb)["label"].values[3:] == codes.values[3:] - 1).mean() > 0.95
    assert np.isnan(gl.similar(emb, at=_middle(emb), k=2).places["uncertainty"]).all()
    part = emb.crop(bounds=emb.grid[10:20, 10:30].boundingbox.bbox)
    assert part.shape == (10, 20)
    assert np.isnan(part.variance.values).all()
    assert emb.astype("float16").observed.sum() == emb.observed.sum()
    with pytest.raises(ShapeMismatch, match="no int8 form"):
        emb.astype("int8")


def test_means_of_unknown_variance_are_not_fused_with_others(raster):
    from georeset_lab.embed.embeddings import Embeddings

    emb = gl.import_embeddings(raster, nodata=-128)
    one = emb.experts["published"]
    with pytest.raises(ShapeMismatch, match="nobody knows how much each counts"):
        Embeddings({"a": one, "b": one}, emb.grid)


def test_a_raster_without_a_place_is_refused(raster):
    with pytest.raises(MissingCRS, match="Pass crs="):
        gl.import_embeddings(raster.drop_vars(["x", "y", "spatial_ref"]))


# -- the published set ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cerrado(shared_data):
    found = np.load(shared_data / "sits-cerrado-embeddings" / "cerrado_mae_emb32_36949.npz")
    table = pd.DataFrame(found["E"], columns=[str(name) for name in found["dims"]])
    table = table.assign(
        longitude=found["longitude"], latitude=found["latitude"], cover=found["class_names"][found["y"]]
    )
    return gl.import_embeddings(table, scale=1e-4, name="sits-mae")


@pytest.mark.real_data
def test_the_published_vectors_of_the_cerrado_open_as_their_source_says(cerrado):
    assert cerrado.shape == (36_949, 1)
    assert cerrado.dim == 32
    assert np.isnan(cerrado.vectors()[1]).all()
    counts = cerrado.labels("cover").counts
    assert (counts["Cerrado"], counts["Pasture"], counts["Nat_NonVeg"], len(counts)) == (12_231, 9_549, 32, 11)
    assert cerrado.vectors()[0].min() == pytest.approx(0.5)
    assert cerrado.vectors()[0].max() == pytest.approx(0.996, abs=1e-3)


@pytest.mark.real_data
def test_neighbours_in_the_cerrado_mostly_share_their_class(cerrado):
    codes = cerrado.labels("cover").codes[:, 0]
    same = []
    for i in np.random.default_rng(0).choice(len(codes), 12, replace=False):
        hits = gl.similar(cerrado, at=(float(cerrado.grid.x[i]), float(cerrado.grid.y[i])), k=10)
        rows, _ = cerrado.grid.nearest(hits.places["lon"], hits.places["lat"])
        assert i not in rows
        same.append((codes[rows] == codes[i]).mean())
    assert np.mean(same) > 0.7


@pytest.mark.real_data
@pytest.mark.slow
def test_five_neighbours_say_what_the_source_says_and_less_by_block(cerrado):
    from sklearn.model_selection import StratifiedKFold
    from sklearn.neighbors import KNeighborsClassifier

    from georeset_lab.embed.probing.blocks import leave_blocks_out

    some = np.random.default_rng(0).choice(36_949, 4000, replace=False)
    x, y = cerrado.vectors()[0][some], cerrado.labels("cover").codes[some, 0].astype(int)

    def score(splits):
        said = np.full(y.size, -1)
        for train, test in splits:
            said[test] = KNeighborsClassifier(5).fit(x[train], y[train]).predict(x[test])
        return (said == y).mean()

    random = score(StratifiedKFold(5, shuffle=True, random_state=0).split(x, y))
    fold = leave_blocks_out(cerrado.grid.block_ids(200_000)[some, 0], y, 5)
    by_block = score([(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(5)])
    assert random == pytest.approx(0.88, abs=0.015)
    assert 0.75 < by_block < random


@pytest.mark.real_data
@pytest.mark.slow
def test_a_probe_of_the_cerrado_is_scored_by_block(cerrado):
    probe = fit_probe(cerrado, cerrado.labels("cover"), max_per_class=60)
    assert any("tested in ground blocks of" in note for note in probe.notes_)
    assert 0.75 < probe.report.loc["embedding", "balanced_accuracy"] < 0.95
