from __future__ import annotations

import json

import numpy as np
import pytest

from georeset_lab.evaluate import report, results
from georeset_lab.evaluate.results import TaskResult

RAW, RAW5 = ("raw", "all", False), ("raw5", "all", False)
PMI, BARE = ("pmi", "all", False), ("untrained", "all", False)


def result(name, raw5=0.6, pmi=0.7, extra=None):
    rng = np.random.default_rng(0)
    out = TaskResult(name, name.title(), "a rule", ("s2",), {"a": (60, 50), "b": (70, 80)}, 100, (5, 20), "hash")
    for family, mean, seeds in (
        (RAW, 0.5, (None,)),
        (RAW5, raw5, (None,)),
        (BARE, 0.55, (0, 1, 2)),
        (PMI, pmi, (0, 1, 2)),
    ):
        out.scores[family] = mean + 0.01 * rng.normal(size=(len(seeds), 2, 6))
        out.chosen_c[family] = np.ones((len(seeds), 2, 6))
        out.seeds[family], out.n_features[family] = seeds, 12
    if extra:
        out.scores[extra] = out.scores[RAW]
        out.chosen_c[extra], out.seeds[extra], out.n_features[extra] = out.chosen_c[RAW], (None,), 12
    return out


ABOUT = {
    "command": "georeset evaluate first --data D",
    "version": "0",
    "commit": None,
    "protocol": {"n_draws": 6, "sizes": (5, 20), "penalties": (0.1, 1.0), "max_test": 100},
}


def test_a_task_is_saturated_by_raw_bands_with_statistics_above_ninety():
    assert result("easy", raw5=0.95).saturated
    assert not result("hard", raw5=0.85).saturated


def test_the_average_is_over_tasks_and_over_rows_that_all_have():
    a, b = result("a"), result("b", pmi=0.8, extra=("raw", "s1", False))
    mean = results.averaged([a, b])
    assert set(mean) == {RAW, RAW5, BARE, PMI}
    np.testing.assert_allclose(mean[PMI], (a.scores[PMI] + b.scores[PMI]) / 2)


def test_trained_minus_untrained_is_paired_by_seed_and_draw():
    r = result("a")
    r.seeds[BARE] = (2, 1, 0)
    found = results.difference(r.scores, r.seeds, PMI, BARE)
    np.testing.assert_allclose(found, r.scores[PMI] - r.scores[BARE][::-1])


def test_only_seeds_that_both_rows_have_are_compared():
    r = result("a")
    r.scores[PMI], r.seeds[PMI] = r.scores[PMI][1:2], (1,)
    found = results.difference(r.scores, r.seeds, PMI, BARE)
    np.testing.assert_allclose(found, r.scores[PMI] - r.scores[BARE][1:2])


def test_a_row_without_seeds_is_repeated_or_compared_with_the_mean_over_seeds():
    r = result("a")
    np.testing.assert_allclose(results.difference(r.scores, r.seeds, PMI, RAW), r.scores[PMI] - r.scores[RAW])
    single = results.difference(r.scores, r.seeds, RAW, BARE)
    np.testing.assert_allclose(single, r.scores[RAW] - r.scores[BARE].mean(0, keepdims=True))


def test_comparisons_pair_trained_with_untrained_and_both_with_raw():
    pairs = results.comparisons([RAW, RAW5, BARE, PMI])
    assert (PMI, BARE) in pairs
    assert (PMI, RAW5) in pairs
    assert (BARE, RAW) in pairs
    assert all(a != b for a, b in pairs)
    assert not any(a[0].startswith("raw") for a, _ in pairs)


def test_the_report_leaves_saturated_tasks_out_of_the_mean_and_says_so():
    text = report.markdown([result("hard"), result("easy", raw5=0.97)], ["No pmi-seed9: make it."], ABOUT)
    assert "Mean over the 1 tasks that are not saturated (hard)" in text
    assert text.count("**Saturated**") == 1
    assert "No pmi-seed9" in text
    assert "`georeset evaluate first --data D`" in text
    assert "a (60 / 50), b (70 / 80)" in text


def test_the_best_row_and_settled_differences_are_bold():
    text = report.markdown([result("hard")], [], ABOUT)
    row = next(line for line in text.splitlines() if line.startswith("| our encoder, PMI |"))
    assert row.count("**") == 6
    gain = next(line for line in text.splitlines() if line.startswith("| our encoder, PMI − our encoder, untrained |"))
    assert "+.1" in gain
    assert gain.count("**") == 6


def test_a_row_trained_on_the_place_is_marked():
    r = result("hard")
    r.seen_in_training.add(PMI)
    text = report.markdown([r], [], ABOUT)
    assert "our encoder, PMI †" in text
    assert "no fair row" in text


def test_numbers_survive_json_and_hold_every_score():
    tasks = [result("hard"), result("easy", raw5=0.97)]
    out = json.loads(json.dumps(report.numbers(tasks, ["x"], ABOUT), allow_nan=False))
    np.testing.assert_array_equal(out["tasks"]["hard"]["rows"]["pmi:all"]["balanced_accuracy"], tasks[0].scores[PMI])
    assert out["tasks"]["easy"]["saturated"]
    assert out["mean"]["tasks"] == ["hard"]
    assert out["mean"]["differences"]["pmi:all - untrained:all"]["mean"]["mean"] == pytest.approx(0.15, abs=0.02)
    assert out["about"]["command"].startswith("georeset")
