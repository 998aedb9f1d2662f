"""Points for the eye: the draw, exact neighbours, and UMAP in a process that can be given up."""

from __future__ import annotations

import time

import numpy as np
import pytest

from georeset_lab.embed.project import UmapWorker, nearest, sample_points
from georeset_lab.errors import NothingObserved


def test_only_observed_pixels_are_drawn_each_once_and_in_order():
    observed = np.arange(10_000).reshape(100, 100) % 3 == 0
    picked = sample_points(observed, limit=500)
    assert picked.size == 500
    assert (np.diff(picked) > 0).all()
    assert observed.ravel()[picked].all()


def test_a_small_map_is_drawn_whole():
    assert sample_points(np.array([True, False, True])).tolist() == [0, 2]


def test_nothing_observed_is_refused():
    with pytest.raises(NothingObserved, match="nothing to project"):
        sample_points(np.zeros((3, 3), bool))


def test_neighbours_are_exact_and_start_with_the_point_itself():
    vectors = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    vectors[1] = vectors[0] * 2  # the same direction: distance 0, yet itself comes first
    index, distance = nearest(vectors, 4)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    full = 1 - unit @ unit.T
    np.fill_diagonal(full, -1)
    assert (index[:, 0] == np.arange(60)).all()
    np.testing.assert_allclose(distance[:, 1:], np.clip(np.sort(full, axis=1)[:, 1:4], 0, None), atol=1e-6)


def test_a_layout_that_is_not_ready_is_given_up_and_its_process_ends():
    with UmapWorker() as umap:
        umap.give(np.random.default_rng(0).normal(size=(100, 4)))
        start = time.monotonic()
        assert umap.result(within_s=0.05) is None
        assert time.monotonic() - start < 5
    assert umap._process.poll() is not None


@pytest.mark.slow
def test_umap_keeps_planted_groups_apart():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 240)
    vectors = 6 * np.eye(8)[group] + rng.normal(size=(240, 8))
    with UmapWorker() as umap:
        umap.give(vectors)
        xy = umap.result(within_s=300)
    assert xy is not None
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (group[distance.argmin(axis=1)] == group).mean() > 0.95
