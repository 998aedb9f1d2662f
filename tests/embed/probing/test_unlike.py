from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from georeset_lab.embed.probing.unlike import MAX_PROTOTYPES, UnlikeRule, fit_unlike
from georeset_lab.errors import ShapeMismatch


def slow_distance(z: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
    return np.array([min(np.sqrt(((a - p) ** 2).sum()) for p in prototypes) for a in z])


def test_distances_are_those_to_the_nearest_prototype():
    rng = np.random.default_rng(0)
    rule = UnlikeRule(rng.normal(size=(17, 5)).astype("f4"), 1.0)
    z = rng.normal(size=(1500, 5)).astype("f4")
    np.testing.assert_allclose(rule.distance(z), slow_distance(z, rule.prototypes), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(rule.distance(rule.prototypes), 0, atol=2e-3)


def test_the_limit_is_the_95th_percentile_between_blocks():
    rng = np.random.default_rng(1)
    z, units = rng.normal(size=(40, 3)), np.arange(40) // 4
    near = [
        min(np.linalg.norm(a - b) for b, v in zip(z, units, strict=True) if v != u)
        for a, u in zip(z, units, strict=True)
    ]
    rule = fit_unlike(z, units)
    assert rule.limit == pytest.approx(np.quantile(near, 0.95), rel=1e-4)
    np.testing.assert_allclose(np.sort(rule.prototypes, axis=0), np.sort(z, axis=0), rtol=1e-6)


def test_neighbours_of_one_block_do_not_make_the_limit_small():
    """Copies within a block are near for no good reason; only the distances to other blocks count."""
    rng = np.random.default_rng(2)
    places = rng.normal(size=(12, 3))
    z = np.repeat(places, 5, axis=0) + 1e-3 * rng.normal(size=(60, 3))
    by_place, by_pixel = fit_unlike(z, np.repeat(np.arange(12), 5)), fit_unlike(z, np.arange(60))
    assert by_place.limit > 20 * by_pixel.limit


def test_a_planted_stranger_is_found_and_about_one_in_twenty_of_the_others():
    rng = np.random.default_rng(3)
    centres = 2 * rng.normal(size=(4, 8))
    z = centres[np.arange(200) % 4] + 0.5 * rng.normal(size=(200, 8))
    rule = fit_unlike(z, np.arange(200) % 40)
    known = centres[np.arange(4000) % 4] + 0.5 * rng.normal(size=(4000, 8))
    assert rule.unlike(known).mean() == pytest.approx(0.05, abs=0.03)
    assert rule.unlike(known + 6).mean() > 0.99


def test_nothing_observed_is_not_unlike():
    rule = UnlikeRule(np.zeros((1, 2), np.float32), 0.5)
    z = np.array([[np.nan, 0], [0, 0], [3, 0]], np.float32)
    assert rule.unlike(z).tolist() == [False, False, True]
    assert np.isnan(rule.distance(z)[0])
    assert rule.unlike(z[:0]).shape == (0,)


def test_labels_in_one_block_give_no_rule():
    assert fit_unlike(np.zeros((5, 2)), np.zeros(5, int)) is None


def test_many_labels_are_stood_for_by_a_spread_few():
    rng = np.random.default_rng(4)
    z = np.concatenate([rng.normal(size=(2000, 3)), 10 + rng.normal(size=(3, 3))])
    rule = fit_unlike(z, np.arange(z.shape[0]) % 50)
    assert rule.prototypes.shape == (MAX_PROTOTYPES, 3)
    assert rule.distance(z[-3:].astype("f4")).max() < 2  # the rare ones are among them
    assert rule.unlike(z.astype("f4")).mean() < 0.06


def test_shapes_are_checked():
    with pytest.raises(ShapeMismatch, match="units"):
        fit_unlike(np.zeros((5, 2)), np.zeros(4, int))
    with pytest.raises(ShapeMismatch, match=r"must be \(n, 2\)"):
        UnlikeRule(np.zeros((1, 2), np.float32), 1.0).distance(np.zeros((4, 3)))


def test_memory_stays_small_and_100_000_places_take_a_moment():
    rng = np.random.default_rng(5)
    rule = UnlikeRule(rng.normal(size=(MAX_PROTOTYPES, 64)).astype("f4"), 8.0)
    z = rng.standard_normal((100_000, 64), dtype=np.float32)
    rule.distance(z)
    start = time.process_time()
    rule.distance(z)
    assert time.process_time() - start < 0.5  # a tenth of "1 million in about a second", five times over
    tracemalloc.start()
    rule.distance(z)
    extra = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert extra < 4 * z.shape[0] + 4e6
