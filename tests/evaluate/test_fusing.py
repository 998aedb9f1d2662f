"""Ways of fusing: what each probe is given, and how it fares when a sensor is missing."""

from __future__ import annotations

import numpy as np
import pytest

from georeset_lab.evaluate import fusing
from georeset_lab.evaluate.splits import TRAIN


def test_inputs_of_each_fusion_when_all_is_there(sensor_maps):
    maps, _ = sensor_maps
    inputs = {f: fusing.inputs(maps, f, maps) for f in fusing.FUSIONS}
    assert {f: len(columns) for f, columns in inputs.items()} == {
        "product": 1,
        "mean": 1,
        "concatenation": 1,
        "late": 2,
        "product, fused labels only": 1,
    }
    np.testing.assert_array_equal(inputs["product"][0], maps["fused"])
    np.testing.assert_allclose(inputs["mean"][0], (maps["s2"] + maps["s1"]) / 2)
    np.testing.assert_array_equal(inputs["concatenation"][0], np.concatenate([maps["s2"], maps["s1"]], axis=2))
    for column, name in zip(inputs["late"], ("s2", "s1"), strict=True):
        np.testing.assert_array_equal(column, maps[name])


@pytest.mark.parametrize("gone", ["s2", "s1"])
def test_a_missing_sensor_is_left_out_or_counts_as_the_mean_of_the_scene(gone, sensor_maps):
    clean, split = sensor_maps
    here = "s1" if gone == "s2" else "s2"
    maps = {"fused": 2 * clean[here], here: clean[here]}
    late = fusing.inputs(maps, "late", clean)
    assert [column is None for column in late] == [gone == "s2", gone == "s1"]
    np.testing.assert_array_equal(fusing.inputs(maps, "product", clean)[0], maps["fused"])
    np.testing.assert_array_equal(fusing.inputs(maps, "mean", clean)[0], clean[here])
    joined = fusing.inputs(maps, "concatenation", clean)[0]
    void, kept = (slice(0, 3), slice(3, 6)) if gone == "s2" else (slice(3, 6), slice(0, 3))
    assert np.isnan(joined[..., void]).all()
    np.testing.assert_array_equal(joined[..., kept], clean[here])
    whole = fusing.inputs(clean, "concatenation", clean)[0]
    assert not fusing.like(joined, whole, split)[:, void].any(), "the mean of the scene is 0 once standardised"


def test_probes_see_every_label_as_each_sensor_alone_sees_it(sensor_maps):
    clean, split = sensor_maps
    names = ("s2", "s1")
    for fusion in ("product", "mean"):
        for look, name in zip(fusing.partial(clean, fusion), names, strict=True):
            np.testing.assert_array_equal(look, clean[name])
    # The sum of both is shifted against each alone: a probe that saw only sums errs on the sensor that knows the classes.
    shifted = {**clean, "fused": clean["s1"] + 4}
    maps = {"clean": shifted, "s1 alone": {"fused": clean["s1"], "s1": clean["s1"]}}
    both, fused = (
        fusing.scored(maps, f, split)["s1 alone"]["balanced_accuracy"] for f in ("product", fusing.FUSIONS[-1])
    )
    assert np.mean(fused) < 0.6
    assert np.mean(both) > 0.7


def test_features_are_scaled_as_the_clean_training_side_is(sensor_maps):
    maps, split = sensor_maps
    clean, train = maps["s1"], split.side == TRAIN
    other = clean * 3 + 1
    expected = ((other - clean[train].mean(0)) / clean[train].std(0)).reshape(-1, 3)
    np.testing.assert_allclose(fusing.like(other, clean, split), expected, rtol=1e-4, atol=1e-5)
    altered = clean.copy()
    altered[~train] += 100
    np.testing.assert_allclose(fusing.like(other, altered, split), expected, rtol=1e-4, atol=1e-5)


def test_late_fusion_asks_only_the_sensors_that_are_there(sensor_maps):
    clean, split = sensor_maps
    maps = {
        "clean": clean,
        "s1 alone": {"fused": clean["s1"], "s1": clean["s1"]},
        "s2 alone": {"fused": clean["s2"], "s2": clean["s2"]},
    }
    for fusion in fusing.FUSIONS:
        found = fusing.scored(maps, fusion, split)
        for scores in found.values():
            assert set(scores) == {"balanced_accuracy", "nll", "ece", "aurc"}
            assert {len(values) for values in scores.values()} == {3}
        accuracy = {c: np.mean(scores["balanced_accuracy"]) for c, scores in found.items()}
        assert accuracy["clean"] > 0.9
        assert abs(accuracy["s2 alone"] - 0.5) < 0.1, "noise knows nothing of the classes"
    late = fusing.scored(maps, "late", split)
    assert np.mean(late["s1 alone"]["balanced_accuracy"]) > 0.98
    # A probe that was asked in vain would flatten the chances: alone, the sensor that knows is surer than with the other.
    assert np.mean(late["s1 alone"]["nll"]) < 0.5 * np.mean(late["clean"]["nll"])
