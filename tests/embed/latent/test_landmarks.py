"""Layouts: landmarks cover the map, planted groups stay apart, new points are placed without a refit, caches are safe."""

from __future__ import annotations

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.embed.latent import landmarks
from georeset_lab.embed.latent.landmarks import (
    UmapLayout,
    choose_landmarks,
    pca_layout,
    place_pixels,
    umap_layout,
    vectors_at,
)
from georeset_lab.embed.latent.layout_cache import KEPT, landmark_key, load_landmarks, store_landmarks
from georeset_lab.errors import GeoresetError, NothingObserved

ATTRS = {"model_hash": "m", "data": "d"}


def embeddings(vectors, shape, *, unseen=(), attrs=None):
    """A map of one modality whose fused means are these vectors (N, D)."""
    tau = np.full((*shape, vectors.shape[1]), 3.0, np.float32)
    eta = vectors.reshape(tau.shape).astype(np.float32) * 4  # mean = eta / (1 + tau)
    for row, col in unseen:
        tau[row, col] = eta[row, col] = 0
    grid = GeoBox.from_bbox((0, 0, 10 * shape[1], 10 * shape[0]), "EPSG:32631", resolution=10)
    return Embeddings({"s2": Expert(eta, tau)}, grid, attrs=attrs)


def groups(shape, *, dim=8, count=3, seed=0):
    """Codes (N,) and vectors (N, D) of groups far apart."""
    rng = np.random.default_rng(seed)
    code = rng.integers(0, count, shape[0] * shape[1])
    return code, (6 * np.eye(dim)[code] + rng.normal(size=(code.size, dim))).astype(np.float32)


def planted_layout(vectors, code):
    """A layout with each group in a corner of its own, as UMAP would make it."""
    corner = np.array([[0, 0], [10, 0], [0, 10]], np.float32)[code]
    return UmapLayout(vectors, corner + np.random.default_rng(1).normal(scale=0.3, size=corner.shape).astype("f4"))


def test_landmarks_are_spread_over_the_map():
    observed = np.ones((300, 200), bool)
    observed[:, 150:] = False
    picked = choose_landmarks(observed, count=600)
    assert picked.size == 600
    assert (np.diff(picked) > 0).all()
    assert observed.ravel()[picked].all()
    rows, cols = np.divmod(picked, 200)
    # 45,000 pixels and 600 landmarks: 8 x 8 pixels each, so no square of 24 x 24 that lies inside goes without.
    count = np.histogram2d(rows, cols, bins=(np.arange(0, 289, 24), np.arange(0, 145, 24)))[0]
    assert count.min() >= 4
    assert count.max() <= 18


def test_the_seed_drives_which_landmarks_are_taken_and_a_small_map_has_them_all():
    observed = np.ones((100, 100), bool)
    assert np.array_equal(choose_landmarks(observed, count=500), choose_landmarks(observed, count=500))
    assert not np.array_equal(choose_landmarks(observed, count=500), choose_landmarks(observed, seed=1, count=500))
    assert np.array_equal(choose_landmarks(observed[:5, :5], count=500), np.arange(25))


def test_pca_finds_the_planted_plane_and_says_what_it_holds():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(900, 2)) * (3, 1)
    vectors = np.zeros((900, 6))
    vectors[:, [4, 1]] = plane
    emb = embeddings(vectors, (30, 30))
    layout = pca_layout(emb)
    assert layout.axes == ("PCA 1 (90 % of variance)", "PCA 2 (10 % of variance)")
    xy = place_pixels(emb, layout, np.arange(900))
    for found, truth in zip(xy.T, plane.T, strict=True):
        assert abs(np.corrcoef(found, truth)[0, 1]) > 0.999
        assert np.std(found) == pytest.approx(np.std(truth), rel=0.01)  # in units of the embedding


def test_places_come_in_the_order_of_the_pixels_asked_for_from_memory_and_from_tiles(tmp_path):
    _, vectors = groups((40, 50))
    emb = embeddings(vectors, (40, 50), unseen=[(0, 0)])
    layout, pixels = pca_layout(emb), np.array([3, 51, 999, 1999])
    whole = emb.vectors()[0]
    np.testing.assert_allclose(place_pixels(emb, layout, pixels), layout.place(whole)[pixels], atol=1e-5)
    stored = emb.to_zarr(tmp_path / "e.zarr")
    type(stored).fits_memory, kept = property(lambda self: False), type(stored).fits_memory
    try:
        np.testing.assert_allclose(vectors_at(stored, pixels), whole[pixels], atol=0.01)
    finally:
        type(stored).fits_memory = kept


def test_placing_can_be_cancelled_between_the_parts_of_a_map():
    _, vectors = groups((400, 400))
    emb = embeddings(vectors, (400, 400))
    asked = iter([False, True])
    xy = place_pixels(emb, pca_layout(emb), np.arange(160_000), cancelled=lambda: next(asked))
    done = np.isfinite(xy).all(axis=1)
    assert done[:50_000].all()
    assert not done[100_000:].any()


def test_a_point_like_a_landmark_lies_where_the_landmark_lies():
    code, vectors = groups((40, 40))
    layout = planted_layout(vectors, code)
    np.testing.assert_allclose(layout.place(vectors), layout.xy, atol=0.15)


def test_new_points_lie_with_their_group_and_none_between_the_groups():
    code, vectors = groups((40, 40))
    new_code, new = groups((30, 30), seed=5)
    xy = planted_layout(vectors, code).place(new)
    corner = np.array([[0, 0], [10, 0], [0, 10]])
    assert (np.linalg.norm(xy[:, None] - corner, axis=2).argmin(axis=1) == new_code).all()
    assert np.linalg.norm(xy - corner[new_code], axis=1).max() < 1.5


def test_an_outlier_among_the_neighbours_does_not_pull_a_point_into_empty_space():
    rng = np.random.default_rng(0)
    vectors = np.eye(8)[[0] * 4 + [1] * 4] + rng.normal(scale=0.01, size=(8, 8))
    layout = UmapLayout(vectors.astype("f4"), np.array([[0, 0]] * 4 + [[100, 0]] * 4, np.float32))
    middle = np.eye(8)[:1] + 0.9 * np.eye(8)[1:2]  # its five nearest: four of the first group and one of the second
    assert layout.place(middle.astype("f4"))[0, 0] < 1


class FakeWorker:
    """Answers at the second question, or never."""

    made = 0

    def __init__(self, *, lives=True, answer=lambda v: v[:, :2]):
        self.alive, self.warm, self._answer, self._asked = lives, True, answer, 0
        FakeWorker.made += 1

    def give(self, vectors, *, seed, epochs):
        self._vectors = vectors
        return 0

    def result(self, job, *, within_s):
        self._asked += 1
        return self._answer(self._vectors) if self._asked > 1 else None

    def forget(self, job):
        pass


@pytest.fixture
def worker(monkeypatch):
    """Puts a worker of the test's in place of the process."""

    def use(**kwargs):
        monkeypatch.setattr(landmarks, "_worker", lambda: FakeWorker(**kwargs))

    return use


def test_the_layout_lies_as_pca_does_whatever_way_umap_turned_it(worker):
    _, vectors = groups((20, 20))
    emb = embeddings(vectors, (20, 20))
    pca = pca_layout(emb)
    for turn in (np.array([[0, 1], [1, 0]]), np.array([[-1, 0], [0, 1]]), np.array([[0.6, -0.8], [0.8, 0.6]])):
        worker(answer=lambda v, t=turn: (pca.place(v) @ t + 7).astype(np.float32))
        layout = umap_layout(emb, cache=None)
        np.testing.assert_allclose(layout.xy, pca.place(layout.vectors), atol=1e-3)


def test_a_cancelled_layout_is_none_and_words_are_told_once(worker):
    worker(answer=lambda v: None)
    _, vectors = groups((20, 20))
    said, asked = [], iter([False, False, True])
    assert umap_layout(
        embeddings(vectors, (20, 20)), cache=None, cancelled=lambda: next(asked), tell=said.append
    ) is None  # fmt: skip
    assert said == ["UMAP is being computed"]


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [({"lives": False}, "ended without an answer"), ({"answer": lambda v: np.full((len(v), 2), np.nan)}, "no layout")],
)
def test_a_worker_that_fails_is_an_error_that_names_the_way_out(worker, kwargs, match):
    worker(**kwargs)
    _, vectors = groups((20, 20))
    with pytest.raises(GeoresetError, match=match):
        umap_layout(embeddings(vectors, (20, 20)), cache=None)


def test_too_few_pixels_are_refused():
    _, vectors = groups((3, 4))
    with pytest.raises(NothingObserved, match="this map has 12"):
        umap_layout(embeddings(vectors, (3, 4)), cache=None)


def test_a_layout_is_computed_once_and_found_again(worker, tmp_path):
    worker()
    _, vectors = groups((20, 20))
    emb = embeddings(vectors, (20, 20), attrs=ATTRS)
    before = FakeWorker.made
    first = umap_layout(emb, cache=tmp_path)
    second = umap_layout(embeddings(vectors + 0.001, (20, 20), attrs=ATTRS), cache=tmp_path)
    assert FakeWorker.made == before + 1
    assert np.array_equal(first.xy, second.xy)
    umap_layout(emb, cache=tmp_path, seed=1)
    assert FakeWorker.made == before + 2


def test_the_same_origin_with_other_vectors_is_computed_anew(worker, tmp_path):
    worker()
    _, vectors = groups((20, 20))
    umap_layout(embeddings(vectors, (20, 20), attrs=ATTRS), cache=tmp_path)
    before = FakeWorker.made
    umap_layout(embeddings(vectors[::-1], (20, 20), attrs=ATTRS), cache=tmp_path)
    assert FakeWorker.made == before + 1


def test_the_key_tells_seed_modalities_and_place_apart_and_vectors_where_no_origin_is_known():
    _, vectors = groups((20, 20))
    emb = embeddings(vectors, (20, 20), attrs=ATTRS)
    bare = embeddings(vectors, (20, 20))
    keys = {
        landmark_key(emb, vectors, seed=0, settings=(1,)),
        landmark_key(emb, vectors, seed=1, settings=(1,)),
        landmark_key(emb, vectors, seed=0, settings=(2,)),
        landmark_key(emb.crop(bounds=(0, 0, 100, 100)), vectors, seed=0, settings=(1,)),
        landmark_key(bare, vectors, seed=0, settings=(1,)),
        landmark_key(bare, vectors + 1, seed=0, settings=(1,)),
    }
    assert len(keys) == 6
    assert landmark_key(emb, vectors + 1, seed=0, settings=(1,)) in keys  # the origin says it


@pytest.mark.parametrize("damage", ["empty", "cut", "pickle", "shape", "nan", "no zip"])
def test_a_damaged_file_is_as_good_as_none(tmp_path, damage):
    vectors, xy = np.ones((5, 3), np.float32), np.ones((5, 2), np.float32)
    store_landmarks(tmp_path, "k", vectors, xy)
    assert np.array_equal(load_landmarks(tmp_path, "k", vectors), xy)
    file = tmp_path / "k.npz"
    if damage in ("empty", "cut", "no zip"):
        whole = file.read_bytes()
        file.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "no zip": b"x" * 500}[damage])
    elif damage == "pickle":
        np.savez(file, vectors=vectors, xy=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    else:
        np.savez(file, vectors=vectors, xy=xy[:4] if damage == "shape" else xy * np.nan)
    assert load_landmarks(tmp_path, "k", vectors) is None
    assert load_landmarks(tmp_path, "absent", vectors) is None


def test_the_cache_does_not_grow_for_ever(tmp_path):
    for i in range(KEPT + 3):
        store_landmarks(tmp_path, f"k{i}", np.ones((2, 2), np.float32), np.ones((2, 2), np.float32))
    assert len(list(tmp_path.glob("*.npz"))) == KEPT


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path):
    (tmp_path / "file").write_text("")
    store_landmarks(tmp_path / "file" / "below", "k", np.ones((2, 2), np.float32), np.ones((2, 2), np.float32))


@pytest.mark.slow
def test_umap_of_a_map_keeps_planted_groups_apart_and_repeats_itself():
    code, vectors = groups((60, 60))
    emb = embeddings(vectors, (60, 60), unseen=[(0, 0)])
    first, second = (umap_layout(emb, cache=None) for _ in range(2))
    assert np.array_equal(first.xy, second.xy)
    xy = place_pixels(emb, first, np.arange(1, 3600))
    centre = np.stack([xy[code[1:] == c].mean(axis=0) for c in range(3)])
    assert (np.linalg.norm(xy[:, None] - centre, axis=2).argmin(axis=1) == code[1:]).mean() > 0.99
