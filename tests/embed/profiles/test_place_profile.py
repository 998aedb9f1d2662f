"""What a pixel, a selection and the map know, with and without a modality, against the whole-map numbers."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.embed.embeddings import Embeddings, Expert, open_embeddings
from georeset_lab.embed.profiles import place_profile
from georeset_lab.embed.profiles.place_profile import CertaintySample, certainty_rows, draw, precisions, settled_steps

DIM = 8
SETTLES = {"s2": slice(0, 4), "s1": slice(3, 6), "dem": slice(6, 7)}


def embeddings(shape: tuple[int, int] = (20, 30)) -> Embeddings:
    """Each modality settles its own dimensions, 3 being shared and 7 nobody's; s1 did not see the first five rows."""
    rng = np.random.default_rng(0)
    experts = {}
    for name, dims in SETTLES.items():
        tau = rng.uniform(0.01, 0.2, (*shape, DIM))
        tau[..., dims] += rng.uniform(4, 9)
        if name == "s1":
            tau[:5] = 0
        experts[name] = Expert((tau * rng.normal(size=tau.shape)).astype("f4"), tau.astype("f4"))
    return Embeddings(experts, GeoBox(shape, Affine(10, 0, 500_000, 0, -10, 4_100_000), "EPSG:32618"))


def test_rows_of_a_pixel_are_its_certainties():
    emb = embeddings()
    pixel = 7 * 30 + 11
    rows = certainty_rows(precisions(emb, np.array([pixel])), [0, 1, 2])
    found = emb.at(*(float(v[0]) for v in _lonlat(emb, 7, 11)))
    np.testing.assert_allclose(rows[:3], 1 - found["expert_variance"], atol=1e-6)
    np.testing.assert_allclose(rows[3], found["certainty"], atol=1e-6)


def test_rows_of_a_selection_are_means_over_what_each_modality_measured():
    emb = embeddings()
    pixels = np.arange(0, 20 * 30, 7)
    rows = certainty_rows(precisions(emb, pixels), [0, 1])
    for row, some in zip(rows, (emb.only("s2"), emb.only("s1"), emb.only("dem"), emb.only("s2", "s1")), strict=True):
        _, variance, observed = (a[pixels] for a in some.vectors())
        np.testing.assert_allclose(row, 1 - variance[observed].mean(axis=0), atol=1e-5)


def test_a_modality_that_measured_nothing_there_is_unknown_and_harms_nobody():
    emb = embeddings()
    tau = precisions(emb, np.array([3, 40, 100]))  # rows 0, 1 and 3: before s1 begins
    rows = certainty_rows(tau, [0, 1, 2])
    assert np.isnan(rows[1]).all()
    np.testing.assert_allclose(rows[3], certainty_rows(tau, [0, 2])[3])
    assert [s for s in settled_steps(tau, emb.modalities) if s.name == "s1"] == [("s1", 0, 0)]


def test_steps_count_what_each_modality_adds_to_the_better_ones():
    tau = precisions(embeddings(), np.array([200, 201, 400]))
    assert settled_steps(tau, ("s2", "s1", "dem")) == (("s2", 4, 4), ("s1", 3, 2), ("dem", 1, 1))
    assert settled_steps(tau[::-1], ("dem", "s1", "s2"))[0] == ("s2", 4, 4)
    halves = np.full((2, 1, 3), 0.6)  # neither reaches a half alone, both together do
    assert settled_steps(halves, ("a", "b")) == (("a", 0, 0), ("b", 0, 3))


def test_the_sample_draws_the_map_and_leaves_a_modality_out_without_reading_again():
    emb = embeddings()
    sample = CertaintySample.of(emb)
    for names in (("s2", "s1", "dem"), ("s2", "dem"), ("s1",)):
        _, variance, observed = emb.only(*names).fused(slice(None), slice(None))
        expected = np.where(observed, 1 - variance.mean(axis=-1), np.nan)
        np.testing.assert_allclose(sample.map(names), expected, atol=2e-3)  # float16
    np.testing.assert_allclose(certainty_rows(sample.pixels(), [0, 1, 2]), emb.profile().values, atol=2e-3)


@pytest.mark.parametrize("where", ["memory", "int8", "store"])
def test_a_large_map_is_thinned_the_same_wherever_it_lies(where, tmp_path):
    emb = embeddings((31, 47))
    emb.to_zarr(tmp_path / "map.zarr")
    lies = {"memory": emb, "int8": emb.astype("int8"), "store": open_embeddings(tmp_path / "map.zarr")}[where]
    sample = CertaintySample.of(lies, max_pixels=200)
    assert (sample.step, sample.tau.shape) == (3, (3, 11, 16, DIM))
    whole = np.stack([e.read()[1] for e in emb.experts.values()])
    tolerance = 0.03 if where == "int8" else 2e-3
    np.testing.assert_allclose(sample.tau, whole[:, ::3, ::3], rtol=tolerance, atol=tolerance)
    pixels = np.array([0, 500, 1456])
    np.testing.assert_allclose(
        precisions(lies, pixels), whole.reshape(3, -1, DIM)[:, pixels], rtol=tolerance, atol=0.03
    )


def test_a_draw_is_repeatable_and_not_one_column(monkeypatch):
    wide = np.arange(100 * 64)
    some = draw(wide, 64)
    np.testing.assert_array_equal(some, draw(wide, 64))
    assert len(np.unique(some)) == 64
    assert (np.diff(some) > 0).all()
    assert len(np.unique(some % 100)) > 30  # every 100th pixel would be a single column of 100
    assert draw(wide[:64], 64) is not None
    np.testing.assert_array_equal(draw(wide[:64], 64), wide[:64])
    monkeypatch.setattr(place_profile, "MOST_PIXELS", 50)
    assert precisions(embeddings(), np.arange(600)).shape == (3, 50, DIM)


def test_embeddings_without_variance_say_so():
    emb = embeddings()
    none = {"published": Expert(np.ones((20, 30, DIM), "f4"), np.full((20, 30, DIM), np.nan, "f4"))}
    assert CertaintySample.of(emb).known
    assert not CertaintySample.of(Embeddings(none, emb.grid)).known


def _lonlat(emb: Embeddings, row: int, col: int) -> tuple[np.ndarray, np.ndarray]:
    from georeset_lab.embed.locate import lonlat_of

    return lonlat_of(emb.grid, [row], [col])
