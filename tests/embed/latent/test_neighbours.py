"""Neighbours: exact among a few thousand, nearly all of them through the index, and always the same."""

from __future__ import annotations

import numpy as np
import pytest

from georeset_lab.embed.latent.neighbours import NeighbourIndex, nearest, unit_rows


def brute(vectors, others, k):
    """Indices and cosine distances by sorting everything, in float64."""
    a, b = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (vectors.astype(float), others.astype(float)))
    distance = 1 - a @ b.T
    index = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return index, np.take_along_axis(distance, index, axis=1)


def clouds(n, seed=0, groups=30, dim=16):
    """Groups that are sheets: of what differs in all directions alike, no neighbour is much nearer than the next."""
    shapes, rng = np.random.default_rng(99), np.random.default_rng(seed)
    centre, sheet = shapes.normal(size=(groups, dim)), shapes.normal(size=(groups, 3, dim))
    group = rng.integers(0, groups, n)
    return (3 * centre[group] + np.einsum("ni,nid->nd", rng.normal(size=(n, 3)), sheet[group])).astype("f4")


def test_neighbours_are_exact_and_start_with_the_point_itself():
    vectors = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    vectors[1] = vectors[0] * 2  # the same direction: distance 0, yet itself comes first
    index, distance = nearest(vectors, 4)
    assert (index[:, 0] == np.arange(60)).all()
    assert (distance[:, 0] == 0).all()
    np.testing.assert_allclose(distance, brute(vectors, vectors, 4)[1], atol=1e-6)


def test_neighbours_do_not_depend_on_the_blocks_in_which_they_are_found():
    vectors = clouds(2500)  # more than the 2,048 rows of a block
    index, distance = nearest(vectors, 6)
    assert (index[:, 0] == np.arange(2500)).all()
    np.testing.assert_allclose(distance, brute(vectors, vectors, 6)[1], atol=1e-5)


def test_a_small_index_is_exact():
    vectors, others = clouds(200, seed=1), clouds(300)
    found, distance = NeighbourIndex(others).query(vectors, 5)
    wanted = brute(vectors, others, 5)
    assert np.array_equal(found, wanted[0])
    np.testing.assert_allclose(distance, wanted[1], atol=1e-5)


def test_a_large_index_finds_nearly_all_and_each_at_its_true_distance():
    vectors, others = clouds(1000, seed=1), clouds(4000)
    found, distance = NeighbourIndex(others).query(vectors, 5)
    wanted = brute(vectors, others, 5)[0]
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, wanted, strict=True)]) > 0.9
    unit = unit_rows(vectors)[:, None], unit_rows(others)[found]
    np.testing.assert_allclose(distance, 1 - (unit[0] * unit[1]).sum(axis=2), atol=1e-5)
    assert (np.diff(distance, axis=1) >= 0).all()


def test_the_answer_does_not_depend_on_what_else_is_asked():
    index, vectors = NeighbourIndex(clouds(3000)), clouds(500, seed=1)
    whole, parts = index.query(vectors, 5), [index.query(v[None], 5) for v in vectors[:20]]
    assert np.array_equal(whole[0][:20], np.concatenate([p[0] for p in parts]))


@pytest.mark.parametrize("size", [1, 3])
def test_fewer_vectors_than_neighbours_asked_for_give_all_of_them(size):
    found, _ = NeighbourIndex(clouds(size)).query(clouds(2, seed=1), 5)
    assert found.shape == (2, size)
    assert sorted(found[0]) == list(range(size))


def test_a_vector_of_zeros_is_no_trouble():
    vectors = clouds(50)
    vectors[7] = 0
    index, distance = nearest(vectors, 3)
    assert index[7, 0] == 7
    assert np.isfinite(distance).all()
