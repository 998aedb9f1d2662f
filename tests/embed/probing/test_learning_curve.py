"""Learning curves: honest about space, nested, quick to a first answer, and silent about what cannot be known."""

from __future__ import annotations

from itertools import islice

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.data.labels import LabelSet
from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.embed.labels.book import LabelBook
from georeset_lab.embed.probe import fit_probe
from georeset_lab.embed.probing import learning_curve as module
from georeset_lab.embed.probing.blocks import make_folds
from georeset_lab.embed.probing.learning_curve import LearningCurve, grow_curve, learning_curve
from georeset_lab.errors import InvalidOption, LabelError, NothingObserved
from tests.embed import scenes

SIDE, DIM = 96, 10
NAMES = ("lac", "forêt", "ville")


def build(mean: np.ndarray, variance: float = 0.2) -> Embeddings:
    grid = GeoBox(mean.shape[:2], Affine(10, 0, 600_000, 0, -10, 5_700_000), "EPSG:32719")
    tau = np.full(mean.shape, 1 / variance - 1)
    return Embeddings({"s2": Expert((mean * (1 + tau)).astype("f4"), tau.astype("f4"))}, grid)


def fields(values: np.ndarray) -> np.ndarray:
    """Fields of 8 x 8 pixels."""
    return np.kron(values.reshape(SIDE // 8, SIDE // 8), np.ones((8, 8), values.dtype))


def planted(seed: int = 0, noise: float = 1.2) -> tuple[Embeddings, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = fields(rng.integers(0, 3, (SIDE // 8) ** 2))
    centers = np.random.default_rng(1).normal(size=(3, DIM))
    return build(centers[truth] + noise * rng.normal(size=(SIDE, SIDE, DIM))), truth


def points(emb: Embeddings, truth: np.ndarray, n: int, seed: int = 0) -> gpd.GeoDataFrame:
    rows, cols = np.random.default_rng(seed).integers(0, SIDE, (2, n))
    spots = [shapely.Point(emb.grid.affine * (c + 0.5, r + 0.5)) for r, c in zip(rows, cols, strict=True)]
    names = [NAMES[truth[r, c]] for r, c in zip(rows, cols, strict=True)]
    return gpd.GeoDataFrame({"label": names}, geometry=spots, crs="EPSG:32719")


def test_a_curve_rises_from_few_labels_to_all():
    emb, truth = planted()
    curve = learning_curve(emb, points(emb, truth, 200))
    table = curve.table
    assert list(table.columns) == ["features", "per_class", "labels", "mean", "sd", "draws"]
    assert table["per_class"].is_monotonic_increasing
    assert table["labels"].is_monotonic_increasing
    assert table["labels"].iloc[0] == 3
    assert 150 < table["labels"].iloc[-1] <= 160  # four fifths of 200
    assert set(table["draws"]) == {5}
    first, last = table["mean"].iloc[0], table["mean"].iloc[-1]
    assert curve.chance == pytest.approx(1 / 3)
    assert curve.chance + 0.1 < first < last - 0.1
    assert table["sd"].iloc[0] > table["sd"].iloc[-1]
    assert curve.scarce == ()


def test_the_end_of_the_curve_is_what_a_probe_reports():
    emb, truth = planted(1)
    labels = points(emb, truth, 150)
    end = learning_curve(emb, labels).table["mean"].iloc[-1]
    assert end == pytest.approx(fit_probe(emb, labels).report.balanced_accuracy.iloc[0], abs=0.05)


def test_neighbours_of_training_labels_do_not_help():
    """Every field has a look of its own that says nothing about its class: only memory could score."""
    rng = np.random.default_rng(0)
    emb = build(rng.normal(size=((SIDE // 8) ** 2, DIM))[fields(np.arange((SIDE // 8) ** 2))])
    truth = fields(rng.integers(0, 2, (SIDE // 8) ** 2))
    labels = points(emb, truth, 600)
    end = learning_curve(emb, labels, block_m=80, draws=3).table["mean"].iloc[-1]
    assert abs(end - 0.5) < 0.1


def test_sets_are_nested_and_never_hold_what_is_tested():
    rng = np.random.default_rng(0)
    codes = np.full((SIDE, SIDE), -1, np.int16)
    codes.ravel()[rng.choice(SIDE**2, 120, replace=False)] = rng.integers(0, 3, 120)
    groups = np.where(codes >= 0, np.arange(SIDE**2).reshape(SIDE, SIDE) // 5, -1).astype(np.int32)
    labels = LabelSet(codes, NAMES, groups, planted()[0].grid)
    pixels, y = labels.pixels
    number = module._label_numbers(labels, pixels)
    rank = rng.random(number.max() + 1)
    for train, test in make_folds(labels, pixels, y).splits():
        before: set[int] = set()
        for m in (1, 2, 5, 200):
            chosen, held = module._first_labels(train, test, number, y, rank, m)
            assert set(chosen) <= set(train)
            assert not set(chosen) & set(held)
            assert before <= set(chosen)
            for c in range(3):
                assert np.unique(number[chosen][y[chosen] == c]).size <= m
            before = set(chosen)
        assert before == set(train)


def test_a_polygon_is_one_label():
    emb, truth = planted(2, noise=0.5)
    book = LabelBook()
    for row in range(0, SIDE, 16):
        for col in range(0, SIDE, 16):
            ring = [emb.grid.affine * p for p in ((col, row), (col + 8, row), (col + 8, row + 8), (col, row + 8))]
            shape = gpd.GeoSeries([shapely.Polygon(ring)], crs="EPSG:32719").to_crs("EPSG:4326").iloc[0]
            book.add_polygon(shape, NAMES[truth[row, col]])
    curve = learning_curve(emb, book.labels(), draws=2)
    assert curve.labels[0] == 3
    assert curve.labels[-1] <= len(book.items)
    assert curve.table["mean"].iloc[-1] > 0.9


def test_it_can_be_stopped_after_any_draw_and_becomes_surer():
    emb, truth = planted()
    labels = points(emb, truth, 60)
    drawn = list(islice(grow_curve(emb, labels, draws=50), 3))
    assert [curve.table["draws"].iloc[0] for curve in drawn] == [1, 2, 3]
    first = drawn[0].scores["embedding"][0]
    assert (drawn[2].scores["embedding"][0] == first).all()
    assert np.isnan(drawn[0].scores["embedding"][1:]).all()
    assert drawn[0].advice == ""
    again = learning_curve(emb, labels, draws=3)
    np.testing.assert_array_equal(again.scores["embedding"], drawn[2].scores["embedding"][:3])
    other = learning_curve(emb, labels, draws=1, seed=7)
    assert (other.scores["embedding"][0] != first).any()


def test_raw_bands_stand_beside_it_if_the_scene_is_at_hand():
    truth = fields(np.random.default_rng(0).integers(0, 2, (SIDE // 8) ** 2))
    picture = 0.2 + 0.2 * truth + 0.02 * np.random.default_rng(1).normal(size=(1, 3, SIDE, SIDE))
    emb, _ = planted()
    scene = scenes.scene(scenes.modality(picture, emb.grid))
    labels = points(emb, truth, 60)
    curve = learning_curve(emb, labels, scene=scene, draws=2)
    ends = curve.table.groupby("features")["mean"].last()
    assert ends["raw bands"] > 0.95
    assert ends["embedding"] < 0.8  # it shows other fields
    alone = learning_curve(emb, labels, draws=1)
    assert list(alone.scores) == ["embedding"]
    assert any("hold no scene; pass scene=" in note for note in alone.notes)


def curve_of(scores: np.ndarray, labels: list[float], scarce: tuple[str, ...] = (), even: int = 0) -> LearningCurve:
    sizes = tuple(int(n) // 2 for n in labels)
    return LearningCurve(sizes, even or len(labels), np.array(labels), {"embedding": scores}, 0.5, scarce, ())


def test_the_advice_says_whether_more_labels_would_help():
    wobble = 0.01 * np.random.default_rng(0).normal(size=(5, 3))
    rising, flat = np.array([0.6, 0.7, 0.8]) + wobble, np.array([0.6, 0.8, 0.8]) + wobble
    assert curve_of(rising, [10, 50, 100]).advice.startswith("From 25 to 50 labels per class: +10 ± ")
    assert curve_of(rising, [10, 50, 100]).advice.endswith("More labels would help.")
    falling = curve_of(np.column_stack([rising, rising[:, 1]]), [10, 50, 100, 400], even=3).advice
    assert falling.endswith("cost 10 points: label more of the scarce ones.")
    assert "other kinds of places, or add a sensor" in curve_of(flat, [10, 50, 100]).advice
    unsure = flat + np.array([-0.1, 0.1, -0.05, 0.05, 0.02])[:, None] * [0, 0, 1]
    assert "too unsure to tell" in curve_of(unsure, [10, 50, 100]).advice
    assert curve_of(flat, [10, 50, 100], ("lac",)).advice == "Too few labels to tell: label 5 places or more of 'lac'."
    assert curve_of(flat[:, :1], [10]).advice == ""


def test_few_labels_of_a_class_are_told():
    emb, truth = planted()
    labels = points(emb, truth, 40)
    few = labels[(labels["label"] != "ville") | (labels.groupby("label").cumcount() < 3)]
    curve = learning_curve(emb, few, draws=1)
    assert curve.scarce == ("ville",)
    assert "places or more of 'ville'" in curve.advice


def test_beyond_the_scarcest_class_there_is_one_point_with_all_labels():
    emb, truth = planted()
    labels = points(emb, truth, 150)
    few = labels[(labels["label"] != "ville") | (labels.groupby("label").cumcount() < 12)]
    curve = learning_curve(emb, few, draws=2)
    assert curve.even == len(curve.per_class) - 1
    assert curve.per_class[: curve.even] == (1, 2, 3, 5, curve.per_class[curve.even - 1])
    assert curve.per_class[curve.even - 1] <= 10
    assert curve.labels[curve.even - 1] == pytest.approx(3 * curve.per_class[curve.even - 1], abs=1)
    assert curve.labels[-1] > 0.7 * len(few)


def test_too_few_labels_are_refused_with_what_to_do():
    emb, truth = planted()
    labels = points(emb, truth, 60)
    one_each = labels.groupby("label").head(1)
    message = (
        r"Too few labels for a learning curve \(1 of 'forêt', 1 of 'lac', 1 of 'ville' pixels\).*Label a second place"
    )
    with pytest.raises(LabelError, match=message):
        learning_curve(emb, one_each)
    with pytest.raises(LabelError, match="needs two classes or more"):
        learning_curve(emb, labels[labels["label"] == "lac"])
    with pytest.raises(LabelError, match="no rows"):
        learning_curve(emb, LabelBook().labels())
    with pytest.raises(InvalidOption, match="draws=0"):
        learning_curve(emb, labels, draws=0)
    with pytest.raises(NothingObserved):
        learning_curve(build(np.zeros((SIDE, SIDE, DIM)), 1.0), labels)


def test_a_class_in_one_place_is_not_tested_and_told():
    emb, truth = planted()
    labels = points(emb, truth, 60)
    lonely = labels[(labels["label"] != "ville") | (labels.groupby("label").cumcount() < 1)]
    curve = learning_curve(emb, lonely, draws=1)
    assert curve.chance == 0.5
    assert any("'ville' in one block only" in note for note in curve.notes)
