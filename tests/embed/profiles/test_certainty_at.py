"""Certainty of single pixels: planted precisions come back, unseen and unknown ones are told apart from unsure ones."""

from __future__ import annotations

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.embed.profiles.certainty_at import certainty_at, knows_most

GRID = GeoBox.from_bbox((0, 0, 50, 40), "EPSG:32631", resolution=10)


def planted(**precision):
    """Maps of 4 x 5 x 3 with one precision per modality, 0 at the first pixel of "b"."""
    experts = {}
    for name, tau in precision.items():
        values = np.full((4, 5, 3), tau, np.float32)
        if name == "b":
            values[0, 0] = 0
        experts[name] = Expert(values.copy(), values)
    return Embeddings(experts, GRID)


def test_one_modality_and_all_together():
    emb, pixels = planted(a=1.0, b=3.0), np.array([0, 7, 19])
    np.testing.assert_allclose(certainty_at(emb, pixels, "a"), 0.5)
    np.testing.assert_allclose(certainty_at(emb, pixels, "b"), [np.nan, 0.75, 0.75])
    np.testing.assert_allclose(certainty_at(emb, pixels), [0.5, 0.8, 0.8])


def test_the_same_from_a_store_that_is_read_by_tile(tmp_path):
    emb = planted(a=1.0, b=3.0)
    stored = emb.to_zarr(tmp_path / "e.zarr")
    pixels = np.arange(20)
    for name in ("a", "b", "fused"):
        np.testing.assert_allclose(certainty_at(stored, pixels, name), certainty_at(emb, pixels, name), rtol=1e-3)


def test_a_variance_that_is_not_known_is_not_a_number():
    emb = planted(a=np.nan)
    assert np.isnan(certainty_at(emb, np.arange(3), "a")).all()


def test_the_surest_wins_and_what_nobody_saw_has_no_winner():
    low, high = np.array([0.1, 0.6, np.nan, np.nan], "f4"), np.array([0.3, 0.2, 0.1, np.nan], "f4")
    assert knows_most([low, high]).tolist() == [1, 0, 1, -1]


@pytest.mark.parametrize("pixels", [np.empty(0, np.int64), np.array([19])])
def test_few_pixels_or_none(pixels):
    assert certainty_at(planted(a=1.0), pixels).shape == pixels.shape
