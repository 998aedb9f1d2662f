from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from georeset_lab.embed.probing.cv import Features
from georeset_lab.embed.probing.doubt import CAUSES, OVERLAP, SENSOR, TOO_FEW, share_doubt
from georeset_lab.embed.probing.fit import fit_linear, shrinkage, softmax
from georeset_lab.embed.probing.map import VARIABLES

PARTS = ("doubt_sensor", "doubt_labels", "doubt_overlap")


def doubts(logits: np.ndarray, of_input: np.ndarray, of_weights: np.ndarray, temperature: float = 1.0) -> dict:
    """The parts, and the confidence they must make up for."""
    total = np.nan_to_num(of_input) + of_weights
    confidence = softmax(logits * shrinkage(total)[:, None] / temperature).max(axis=1)
    ahead = logits - logits.max(axis=1, keepdims=True)
    return share_doubt(ahead, confidence, of_input, of_weights, temperature) | {"confidence": confidence}


seeds, positive = st.integers(0, 2**31), st.floats(0.1, 5)


@settings(max_examples=40, deadline=None)
@given(seeds, positive, st.integers(2, 6))
def test_the_parts_add_up_to_the_chance_of_a_wrong_class(seed, temperature, k):
    rng = np.random.default_rng(seed)
    found = doubts(3 * rng.normal(size=(50, k)), *rng.exponential(3, size=(2, 50)), temperature)
    np.testing.assert_allclose(sum(found[p] for p in PARTS), 1 - found["confidence"], atol=1e-12)
    assert min(found[p].min() for p in PARTS) >= 0


@settings(max_examples=40, deadline=None)
@given(seeds, positive, st.floats(0, 20))
def test_more_variance_of_the_encoder_never_lowers_its_part_nor_raises_the_overlap(seed, temperature, more):
    rng = np.random.default_rng(seed)
    logits, (a, b) = 3 * rng.normal(size=(50, 4)), rng.exponential(3, size=(2, 50))
    before, after = doubts(logits, a, b, temperature), doubts(logits, a + more, b, temperature)
    assert (after["doubt_sensor"] >= before["doubt_sensor"] - 1e-12).all()
    np.testing.assert_allclose(after["doubt_overlap"], before["doubt_overlap"], atol=1e-12)
    more_open = doubts(logits, a, b + more, temperature)
    assert (more_open["doubt_labels"] >= before["doubt_labels"] - 1e-12).all()


def test_without_either_variance_only_the_overlap_is_left():
    logits, none = np.random.default_rng(0).normal(size=(30, 3)), np.zeros(30)
    found = doubts(logits, none, none)
    assert (found["doubt_sensor"] == 0).all()
    assert (found["doubt_labels"] == 0).all()
    np.testing.assert_allclose(found["doubt_overlap"], 1 - softmax(logits).max(axis=1))
    assert (found["cause"] == OVERLAP).all()


def test_the_cause_is_the_largest_part_and_of_equal_ones_the_last():
    rng = np.random.default_rng(1)
    found = doubts(3 * rng.normal(size=(500, 3)), *rng.exponential(20, size=(2, 500)))
    ranked = np.stack([found[p] for p in PARTS])
    assert (found["cause"] == ranked.argmax(axis=0)).all()
    assert set(found["cause"]) == {SENSOR, TOO_FEW, OVERLAP}
    sure = doubts(np.array([[900.0, 0.0]]), np.zeros(1), np.zeros(1))
    assert sure["cause"][0] == OVERLAP
    assert found["cause"].dtype == np.int8
    assert len(CAUSES) == 3


def test_an_unknown_variance_is_shown_as_unknown_and_the_others_add_up():
    rng = np.random.default_rng(2)
    logits, b = 2 * rng.normal(size=(40, 3)), rng.exponential(3, size=40)
    found = doubts(logits, np.full(40, np.nan), b)
    assert np.isnan(found["doubt_sensor"]).all()
    np.testing.assert_allclose(found["doubt_labels"] + found["doubt_overlap"], 1 - found["confidence"])
    assert set(found["cause"]) <= {TOO_FEW, OVERLAP}


def test_single_precision_stays_single():
    rng = np.random.default_rng(3)
    found = doubts(rng.normal(size=(9, 3)).astype("f4"), *rng.exponential(1, size=(2, 9)).astype("f4"), 0.7)
    assert all(found[p].dtype == np.float32 for p in PARTS)


def test_the_labels_part_falls_as_nested_label_sets_grow():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 5))
    y = (x[:, :3] + rng.normal(size=(800, 3))).argmax(axis=1)
    features = Features.of(x)
    how = {"n_classes": 3, "penalty": 1.0, "center": features.center, "scale": features.scale}
    means = []
    for n in (20, 50, 200, 800):
        fit = fit_linear(x[:n], y[:n], **how).with_spread(x[:n])
        found = doubts(fit.logits(x), fit.input_gap(np.full_like(x, 0.1)), fit.weight_gap(fit.standardise(x)))
        means.append(found["doubt_labels"].mean())
    assert all(a > b for a, b in pairwise(means))
    assert means[-1] < 0.02


@pytest.mark.parametrize("name", PARTS)
def test_every_part_has_the_same_unit(name):
    assert VARIABLES[name].units == "1"
    assert VARIABLES[name].what.startswith("chance of a wrong class")
