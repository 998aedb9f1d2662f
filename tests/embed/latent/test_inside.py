"""A lasso: the points it encloses, whatever way it was drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from georeset_lab.embed.latent.inside import points_inside
from georeset_lab.errors import InvalidOption

POINTS = np.random.default_rng(0).uniform(-2, 2, size=(5000, 2)).astype(np.float32)


def star(corners=9, inner=0.6):
    angle = np.linspace(0, 2 * np.pi, 2 * corners, endpoint=False)
    radius = np.where(np.arange(2 * corners) % 2, inner, 1.5)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


@pytest.mark.parametrize("turn", [1, -1])
def test_the_same_points_as_another_library_finds(turn):
    line = star()[::turn]
    found = points_inside(POINTS, line.tolist())
    assert np.array_equal(found, np.flatnonzero(Outline(line).contains_points(POINTS)))
    assert 500 < found.size < 4000


def test_a_line_that_overshoots_its_start_encloses_no_less():
    angle = np.linspace(0, 2.3 * np.pi, 120)  # a good way round a second time, a little farther out
    radius = np.linspace(1.0, 1.2, 120)
    line = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    found = points_inside(POINTS, line)
    assert np.isin(np.flatnonzero(np.linalg.norm(POINTS, axis=1) < 0.98), found).all()
    assert not np.isin(np.flatnonzero(np.linalg.norm(POINTS, axis=1) > 1.2), found).any()


def test_both_loops_of_an_eight_count():
    line = [(-1.5, -1), (1.5, 1), (1.5, -1), (-1.5, 1)]
    found = points_inside(np.array([[-1.2, 0], [1.2, 0], [0, 0.5], [0, -0.5]]), line)
    assert found.tolist() == [0, 1]


def test_points_without_a_place_are_nowhere():
    assert points_inside(np.array([[np.nan, 0], [0, 0]]), star()).tolist() == [1]


def test_a_line_without_area_encloses_nothing():
    assert points_inside(POINTS, [(-1, 0), (1, 0), (0, 0)]).size == 0


@pytest.mark.parametrize(
    "line", [None, [], [(0, 0), (1, 1)], [(0, 0), (1, 1), (2, np.inf)], "abc", [[0, 1, 2]] * 5, {}]
)
def test_what_is_no_line_is_refused(line):
    with pytest.raises(InvalidOption, match="A lasso is a list"):
        points_inside(POINTS, line)
