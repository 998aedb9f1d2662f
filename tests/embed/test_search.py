from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.embed.finding import examples
from georeset_lab.embed.finding.scan import top_pixels
from georeset_lab.embed.locate import lonlat_of
from georeset_lab.embed.search import similar
from georeset_lab.errors import InvalidOption, NothingObserved, OutsideScene, ShapeMismatch

ORIGIN = (600_000, 5_700_000)


def grid_of(shape: tuple[int, int], *, shift: tuple[int, int] = (0, 0)) -> GeoBox:
    left, top = ORIGIN[0] + 10 * shift[1], ORIGIN[1] - 10 * shift[0]
    box = (left, top - 10 * shape[0], left + 10 * shape[1], top)
    return GeoBox.from_bbox(box, "EPSG:32719", resolution=10)


def build(mean: np.ndarray, var: np.ndarray | float = 0.1, *, shift: tuple[int, int] = (0, 0)) -> Embeddings:
    """Embeddings of one expert with this posterior; a variance of 1 is a pixel that was not observed."""
    var = np.broadcast_to(np.asarray(var, np.float64), mean.shape)
    eta, tau = mean / var, 1 / var - 1
    eta = np.where(tau == 0, 0, eta)
    return Embeddings({"s2": Expert(eta.astype("f4"), tau.astype("f4"))}, grid_of(mean.shape[:2], shift=shift))


def planted(seed: int = 0, shape: tuple[int, int] = (72, 90), dim: int = 8) -> tuple[Embeddings, np.ndarray]:
    """Random vectors, but for three squares that share one direction."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(*shape, dim))
    target = np.zeros(shape, bool)
    for top, left in ((6, 6), (36, 60), (48, 18)):
        target[top : top + 18, left : left + 18] = True
    mean[target] = np.arange(dim) + 0.2 * rng.normal(size=(int(target.sum()), dim))
    return build(mean), target


def lonlat(emb: Embeddings, row: int, col: int) -> tuple[float, float]:
    lon, lat = lonlat_of(emb.grid, row, col)
    return float(lon), float(lat)


def pmi_by_formula(m1: np.ndarray, v1: np.ndarray, m2: np.ndarray, v2: np.ndarray) -> np.ndarray:
    """methods.md section 2, term by term, float64."""
    l1, l2 = 1 / v1, 1 / v2
    e1, e2 = m1 * l1, m2 * l2
    both = l1 + l2 - 1
    terms = np.log(l1) + np.log(l2) - np.log(both) + (e1 + e2) ** 2 / both - e1**2 / l1 - e2**2 / l2
    return 0.5 * terms.sum(axis=-1)


@pytest.mark.parametrize("score", ["cosine", "pmi"])
def test_planted_places_come_first_and_the_query_place_is_left_out(score):
    emb, target = planted()
    found = similar(emb, at=lonlat(emb, 15, 15), k=2, score=score)
    truth = {(45, 69), (57, 27)}  # centres of the other two squares
    centres = {emb.pixel(lon, lat) for lon, lat in zip(found.places["lon"], found.places["lat"], strict=True)}
    assert len(centres) == 2
    for row, col in centres:
        assert min(abs(row - r) + abs(col - c) for r, c in truth) <= 1
    assert np.nanmin(found.map.values[target]) > np.nanquantile(found.map.values[~target], 0.99)


def test_cosine_map_equals_the_plain_formula():
    emb, _ = planted(3)
    mean, _, _ = emb.vectors()
    query = mean[15 * 90 + 15].astype(np.float64)
    expected = mean @ query / np.linalg.norm(mean, axis=1) / np.linalg.norm(query)
    got = similar(emb, at=lonlat(emb, 15, 15)).map.values
    np.testing.assert_allclose(got.ravel(), expected, atol=2e-6)


def test_pmi_map_equals_the_closed_form():
    rng = np.random.default_rng(1)
    emb = build(rng.normal(size=(7, 9, 70)), rng.uniform(0.01, 0.99, size=(7, 9, 70)))
    mean, variance, _ = (a.astype(np.float64) for a in emb.vectors())
    got = similar(emb, at=lonlat(emb, 3, 4), score="pmi").map.values.ravel()
    i = 3 * 9 + 4
    np.testing.assert_allclose(got, pmi_by_formula(mean[i], variance[i], mean, variance), rtol=2e-4, atol=2e-3)


def test_pmi_is_the_log_of_the_integral_it_claims_to_be():
    m1, v1, m2, v2 = 0.7, 0.3, -0.2, 0.5
    z = np.linspace(-12, 12, 200_001)

    def normal(m: float, v: float) -> np.ndarray:
        return np.exp(-((z - m) ** 2) / 2 / v) / np.sqrt(2 * np.pi * v)

    integral = np.trapezoid(normal(m1, v1) * normal(m2, v2) / normal(0, 1), z)
    emb = build(np.array([[[m1], [m2]]]), np.array([[[v1], [v2]]]))
    got = similar(emb, at=lonlat(emb, 0, 0), score="pmi").map.values[0, 1]
    assert got == pytest.approx(np.log(integral), abs=1e-5)


def test_pmi_prefers_a_sure_match_where_cosine_sees_no_difference():
    mean = np.ones((1, 3, 4))
    var = np.full(mean.shape, 0.1)
    mean[0, 2], var[0, 2] = 0.2, 0.9  # the same direction, pulled to the prior because hardly anything was seen
    emb = build(mean, var)
    cosine = similar(emb, at=lonlat(emb, 0, 0)).map.values[0]
    pmi = similar(emb, at=lonlat(emb, 0, 0), score="pmi").map.values[0]
    assert cosine[2] == pytest.approx(cosine[1], abs=1e-6)
    assert pmi[2] < 0.2 * pmi[1]


def test_a_dimension_at_the_prior_adds_nothing_to_pmi():
    rng = np.random.default_rng(2)
    mean, var = rng.normal(size=(4, 4, 3)), rng.uniform(0.1, 0.8, size=(4, 4, 3))
    padded = np.concatenate([mean, np.zeros((4, 4, 2))], axis=2), np.concatenate([var, np.ones((4, 4, 2))], axis=2)
    small, large = build(mean, var), build(*padded)
    at = lonlat(small, 1, 2)
    np.testing.assert_allclose(
        similar(large, at=at, score="pmi").map, similar(small, at=at, score="pmi").map, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("score", ["cosine", "pmi"])
def test_unobserved_pixels_are_nan_and_in_no_place(score):
    emb, _ = planted()
    mean, variance, _ = (a.copy() for a in emb.vectors())
    variance = variance.reshape(72, 90, 8)
    variance[48:66, 18:36] = 1.0  # one planted square was never seen
    emb = build(mean.reshape(72, 90, 8), variance)
    found = similar(emb, at=lonlat(emb, 15, 15), k=30, score=score)
    np.testing.assert_array_equal(np.isnan(found.map.values), ~emb.observed)
    hidden = shapely.box(600_180, 5_699_340, 600_360, 5_699_520)
    assert found.places.geometry.intersection(hidden).area.max() <= 0.5 * 180 * 180
    assert np.isfinite(found.places["score"]).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 300))
def test_top_pixels_are_those_of_a_full_sort_and_never_masked(seed, k, n):
    rng = np.random.default_rng(seed)
    x, query = rng.normal(size=(n, 5)).astype("f4"), rng.normal(size=5)
    observed = rng.random(n) < 0.7
    scores, ids, best = top_pixels(x, observed, query, k)
    assert observed[ids].all()
    assert len(ids) == min(k, observed.sum())
    order = np.argsort(-scores[observed], kind="stable")[:k]
    np.testing.assert_array_equal(best, scores[observed][order])
    np.testing.assert_array_equal(ids, np.flatnonzero(observed)[order])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_scores_do_not_depend_on_the_order_of_pixels(seed):
    rng = np.random.default_rng(seed)
    x, query = rng.normal(size=(131, 16)).astype("f4"), rng.normal(size=16)
    order = rng.permutation(131)
    seen = np.ones(131, bool)
    plain, mixed = top_pixels(x, seen, query, 5), top_pixels(x[order], seen, query, 5)
    np.testing.assert_allclose(mixed[0], plain[0][order], atol=1e-6)
    np.testing.assert_array_equal(order[mixed[1]], plain[1])


def test_places_are_ranked_squares_of_whole_cells_that_do_not_overlap():
    emb, _ = planted(shape=(72, 91))
    places = similar(emb, at=lonlat(emb, 15, 15), k=12).places
    assert places["rank"].tolist() == list(range(1, len(places) + 1))
    assert (np.diff(places["score"]) <= 0).all()
    assert np.allclose(places.area, 180 * 180)
    assert np.allclose(places.bounds.to_numpy() % 60, 0)  # cells begin at multiples of 60 m
    squares = list(places.geometry)
    assert all(a.intersection(b).area == 0 for i, a in enumerate(squares) for b in squares[:i])
    assert str(places.crs) == "EPSG:32719"
    assert places["uncertainty"].to_numpy() == pytest.approx(0.1, abs=1e-6)


def test_a_place_scores_the_mean_of_its_pixels():
    emb, _ = planted()
    found = similar(emb, at=lonlat(emb, 15, 15), k=3)
    left, bottom, right, top = found.places.geometry[0].bounds
    window = found.map.sel(x=slice(left, right), y=slice(top, bottom)).values
    assert window.shape == (18, 18)
    assert found.places["score"][0] == pytest.approx(float(window.mean()), abs=1e-6)


def test_cells_stay_where_they_are_when_the_map_is_cropped():
    emb, _ = planted()
    mean, variance, _ = emb.vectors()
    part = build(mean.reshape(72, 90, 8)[5:, 7:], variance.reshape(72, 90, 8)[5:, 7:], shift=(5, 7))
    at = lonlat(emb, 40, 65)
    whole, cut = similar(emb, at=at, k=1).places, similar(part, at=at, k=1).places
    assert whole.geometry[0].equals(cut.geometry[0])


def test_a_map_read_tile_by_tile_gives_the_same_answer(monkeypatch):
    emb, _ = planted()
    at = lonlat(emb, 15, 15)
    expected = {s: similar(emb, at=at, k=3, score=s) for s in ("cosine", "pmi")}
    monkeypatch.setattr(Embeddings, "fits_memory", False)
    tiles = [(slice(r, min(r + 25, 72)), slice(c, min(c + 32, 90))) for r in range(0, 72, 25) for c in range(0, 90, 32)]
    fresh = Embeddings(emb.experts, emb.grid)
    monkeypatch.setattr(Embeddings, "windows", lambda self: iter(tiles))
    for score, want in expected.items():
        got = similar(fresh, at=at, k=3, score=score)
        np.testing.assert_allclose(got.map, want.map, atol=1e-5)
        assert got.places.geometry.equals(want.places.geometry)


def test_an_area_several_points_and_a_vector_ask_the_same_thing():
    emb, _ = planted()
    corners = [emb.grid.affine * p for p in ((6, 6), (24, 6), (24, 24), (6, 24))]
    frame = gpd.GeoDataFrame(geometry=[shapely.Polygon(corners)], crs="EPSG:32719")
    points = [lonlat(emb, r, c) for r in range(6, 24) for c in range(6, 24)]
    mean = emb.vectors()[0].reshape(72, 90, 8)[6:24, 6:24].reshape(-1, 8).mean(axis=0)
    area = similar(emb, like=frame)
    geojson = similar(emb, like=shapely.geometry.mapping(frame.to_crs("EPSG:4326").geometry[0]))
    np.testing.assert_allclose(similar(emb, at=points).map, area.map, atol=1e-5)
    np.testing.assert_allclose(geojson.map, area.map, atol=1e-2)  # the edge bends a little in degrees
    np.testing.assert_allclose(similar(emb, vector=mean).map, area.map, atol=1e-5)


def test_not_like_turns_the_ranking_away():
    emb, target = planted()
    mean, variance, _ = emb.vectors()
    mean = mean.reshape(72, 90, 8).copy()
    mean[48:66, 18:36, 0] = 9  # one of the look-alikes differs in one dimension
    emb = build(mean, variance.reshape(72, 90, 8))
    away = (lonlat(emb, 55, 25),)
    for score in ("cosine", "pmi"):
        best = similar(emb, at=lonlat(emb, 15, 15), not_like=list(away), k=1, score=score).places
        row, col = emb.pixel(best["lon"][0], best["lat"][0])
        assert target[row, col]
        assert 30 < row < 60
        assert col > 50


def test_examples_are_scored_each_on_its_own_and_weighed_as_evidence():
    rng = np.random.default_rng(4)
    emb = build(rng.normal(size=(8, 9, 6)), rng.uniform(0.2, 0.9, size=(8, 9, 6)))
    mean, variance = (a.astype(np.float64).reshape(8, 9, 6) for a in emb.vectors()[:2])
    for_, against = [(1, 1), (4, 7), (6, 2)], [(2, 5), (7, 8)]
    one = {p: pmi_by_formula(mean[p], variance[p], mean, variance) for p in for_ + against}
    evidence = [np.exp([one[p] for p in side]).mean(axis=0) for side in (for_, against)]
    expected = np.log(evidence[0] * evidence[0] / (evidence[0] + evidence[1]))
    like, not_like = ([lonlat(emb, *p) for p in side] for side in (for_, against))
    got = similar(emb, like=like, not_like=not_like, score="pmi").map.values
    np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-3)
    alone = similar(emb, like=like, score="pmi").map.values
    np.testing.assert_allclose(alone, np.log(evidence[0]), rtol=2e-4, atol=2e-3)
    assert (got < alone).all()


def test_examples_of_every_form_mix_and_one_alone_is_the_plain_query():
    emb, target = planted()
    corners = [emb.grid.affine * p for p in ((60, 36), (78, 36), (78, 54), (60, 54))]
    area = gpd.GeoSeries([shapely.Polygon(corners)], crs="EPSG:32719").to_crs("EPSG:4326")[0]
    point, vector = lonlat(emb, 15, 15), np.arange(8, dtype=np.float32)
    for score in ("cosine", "pmi"):
        plain = similar(emb, at=point, score=score)
        listed = similar(emb, like=[point], score=score)
        np.testing.assert_allclose(listed.map, plain.map, atol=1e-5)
        assert listed.places.geometry.equals(plain.places.geometry)
        mixed = similar(emb, like=[point, area, vector], k=1, score=score)
        assert np.nanmin(mixed.map.values[target]) > np.nanmax(mixed.map.values[~target])
        row, col = emb.pixel(mixed.places["lon"][0], mixed.places["lat"][0])
        assert (abs(row - 57) <= 1, abs(col - 27) <= 1) == (True, True)  # the square that was not pointed at
    halves = [similar(emb, like=[p]).map.values for p in (point, area)]
    np.testing.assert_allclose(similar(emb, like=[point, area]).map, np.mean(halves, axis=0), atol=1e-5)


def test_an_example_against_takes_nothing_from_places_unlike_it():
    mean = np.zeros((1, 6, 4))
    mean[0, :3, 0], mean[0, 3:, 1] = 3, 3
    emb = build(mean, 0.05)
    for_, against = lonlat(emb, 0, 0), lonlat(emb, 0, 3)
    alone = similar(emb, at=for_, score="pmi").map.values[0]
    both = similar(emb, at=for_, not_like=against, score="pmi").map.values[0]
    np.testing.assert_allclose(both[:3], alone[:3], atol=1e-3)
    assert (both[3:] < alone[3:] - 20).all()


def test_an_example_that_was_scored_before_is_not_scored_again(monkeypatch):
    emb, _ = planted()
    counted = []
    real = examples.scan
    monkeypatch.setattr(examples, "scan", lambda *a, **k: counted.append(1) or real(*a, **k))
    first, second, third = lonlat(emb, 15, 15), lonlat(emb, 40, 65), lonlat(emb, 1, 80)
    passes = examples.Passes(emb, "pmi", keep=2)
    got = similar(emb, like=[first], score="pmi", passes=passes)
    got.map.values[:] = 0  # whoever asked may change what they were given
    again = similar(emb, like=[first, second], not_like=[third], score="pmi", passes=passes)
    assert len(counted) == 3
    plain = similar(emb, like=[first, second], not_like=[third], score="pmi")
    np.testing.assert_array_equal(again.map, plain.map)
    counted.clear()
    similar(emb, like=[third], score="pmi", passes=passes)
    assert not counted
    similar(emb, like=[first], score="pmi", passes=passes)  # only two are kept
    assert len(counted) == 1
    similar(emb, like=[third], score="cosine", passes=passes)  # those of another score do not serve
    assert len(counted) == 2


def test_disagreeing_examples_count_less_in_the_dimension_they_disagree_on():
    mean = np.array([[[1.0, 1.0], [1.0, -1.0], [1.0, 0.9], [0.0, 0.9]]])
    emb = build(mean, 0.05)
    got = similar(emb, at=[lonlat(emb, 0, 0), lonlat(emb, 0, 1)], score="pmi").map.values[0]
    assert got[2] > 0 > got[3]


def test_the_map_knows_its_crs_and_what_it_is():
    emb, _ = planted()
    found = similar(emb, at=lonlat(emb, 15, 15), score="pmi")
    assert found.map.odc.geobox == emb.grid
    assert found.map.dtype == np.float32
    assert found.map.attrs["units"] == "nat"
    assert "places" in found._repr_html_()


def test_a_single_pixel_is_like_itself():
    emb = build(np.ones((1, 1, 4)))
    found = similar(emb, at=lonlat(emb, 0, 0))
    assert found.map.values == pytest.approx(1.0, abs=1e-6)
    assert len(found.places) == 0  # its own place is left out


def test_refusals_say_what_to_do():
    emb, _ = planted()
    inside = lonlat(emb, 15, 15)
    dark = build(np.zeros((6, 6, 3)), 1.0)
    table = [
        (emb, {}, InvalidOption, "exactly one of at=, like=, vector=; it got none"),
        (emb, {"at": inside, "vector": np.ones(8)}, InvalidOption, "it got at and vector"),
        (emb, {"at": (0.0, 0.0)}, OutsideScene, "outside the map"),
        (emb, {"like": shapely.box(0, 0, 1, 1)}, OutsideScene, "touches no pixel of the map"),
        (emb, {"like": shapely.Polygon()}, InvalidOption, "empty"),
        (emb, {"at": (1.0, 2.0, 3.0)}, InvalidOption, "list of such pairs"),
        (emb, {"vector": np.ones(5)}, ShapeMismatch, "5 numbers, these embeddings have 8"),
        (emb, {"vector": np.zeros(8)}, InvalidOption, "points nowhere"),
        (emb, {"like": []}, InvalidOption, "like= is an empty list"),
        (emb, {"at": inside, "not_like": ()}, InvalidOption, "not_like= is an empty list"),
        (emb, {"at": inside, "score": "dot"}, InvalidOption, "score='dot'"),
        (emb, {"at": inside, "k": 0}, InvalidOption, "at least 1"),
        (dark, {"at": lonlat(dark, 1, 1)}, NothingObserved, "No pixel of these embeddings was observed"),
    ]
    for target, arguments, error, words in table:
        with pytest.raises(error, match=words):
            similar(target, **arguments)


def test_pointing_at_a_hole_names_the_nearest_observed_pixel():
    mean, var = np.ones((8, 8, 3)), np.full((8, 8, 3), 0.2)
    var[:4, :4] = 1
    emb = build(mean, var)
    with pytest.raises(NothingObserved, match="nearest observed pixel is at"):
        similar(emb, at=lonlat(emb, 1, 1))


def test_pmi_needs_variances_and_cosine_does_not():
    mean = np.ones((2, 2, 3), "f4")
    emb = build(mean)
    fused = emb._fused
    emb.__dict__["_fused"] = (fused[0], np.full_like(fused[1], np.nan), fused[2])
    with pytest.raises(InvalidOption, match="needs variances"):
        similar(emb, at=lonlat(emb, 0, 0), score="pmi")
    assert np.isfinite(similar(emb, at=lonlat(emb, 0, 0)).map).all()


def test_scores_of_many_examples_are_the_log_of_their_mean_evidence():
    from georeset_lab.embed.finding.examples import combine

    rng = np.random.default_rng(0)
    scores = [rng.normal(0, 200, (7, 9)).astype("f4") for _ in range(5)]
    for one in scores:
        one[2, 3] = np.nan
    expected = np.logaddexp.reduce(np.stack(scores).astype(float)) - np.log(5)
    found = combine(scores, [], score="pmi")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-4)
    assert np.isnan(found[2, 3])
    assert not any(np.shares_memory(found, one) for one in scores)
    np.testing.assert_array_equal(combine(scores[:1], [], score="pmi"), scores[0])


def test_two_answers_share_coordinates_and_nothing_else():
    from georeset_lab.embed.locate import grid_coords
    from tests.widgets.planted import utm_grid

    one, two = (xr.DataArray(np.zeros((4, 5)), dims=("y", "x"), coords=grid_coords(utm_grid(4, 5))) for _ in range(2))
    assert grid_coords(utm_grid(4, 5))["x"] is grid_coords(utm_grid(4, 5))["x"]
    one["x"].attrs["units"] = "mile"
    one.coords["extra"] = 1
    one = one.assign_coords(x=one["x"] + 5)
    assert two["x"].attrs["units"] == "metre"
    assert two.odc.geobox == utm_grid(4, 5)
    assert "extra" not in grid_coords(utm_grid(4, 5))
