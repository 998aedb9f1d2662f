from __future__ import annotations

import json

import numpy as np
import pytest

from georeset_lab.errors import InvalidOption, SceneReadError
from georeset_lab.evaluate import first, jobs
from georeset_lab.evaluate.jobs import Protocol

SMALL = Protocol(sizes=(5, 10), n_draws=3, max_test=300)


@pytest.fixture
def planted(monkeypatch, planted_spec):
    """Let the evaluation know the planted task only, and no encoder."""
    data, spec = planted_spec
    monkeypatch.setattr(first, "all_tasks", lambda: (spec,))
    monkeypatch.setattr(jobs, "all_tasks", lambda: (spec,))
    monkeypatch.setattr(
        first, "find_models", lambda folder, seeds: ([], ["No pmi-seed0: make it with `georeset train`."])
    )
    jobs.read_task.cache_clear()
    yield data
    jobs.read_task.cache_clear()


def evaluate(data, out, **kwargs):
    return first.run(
        data, out=out, protocol=SMALL, processes=1, progress=False, command="georeset evaluate first", **kwargs
    )


def test_a_run_writes_both_files_and_finds_the_planted_classes(planted, tmp_path):
    found = evaluate(planted, tmp_path / "out")
    assert [p.name for p in found.paths] == ["first.md", "first.json"]
    saved = json.loads(found.paths[1].read_text(encoding="utf-8"))
    rows = saved["tasks"]["planted"]["rows"]
    assert set(rows) == {"raw:all", "raw5:all", "indices:all", "rcf:all", "indices:all+raw5", "rcf:all+raw5"}
    assert rows["raw:all"]["summary"]["10"]["mean"] > 0.98
    assert saved["tasks"]["planted"]["saturated"]
    assert "No pmi-seed0" in found.paths[0].read_text(encoding="utf-8")


def test_a_second_run_reads_every_row_back_unchanged(planted, tmp_path, monkeypatch):
    one = evaluate(planted, tmp_path / "out")
    monkeypatch.setattr(jobs, "features_of", lambda *_: pytest.fail("a finished row was computed again"))
    two = evaluate(planted, tmp_path / "out")
    assert one.numbers == two.numbers


def test_a_run_that_was_stopped_goes_on_where_it_was(planted, tmp_path, monkeypatch):
    real, calls = jobs.features_of, []

    def stop_at_third(rows, task):
        calls.append(rows[0].name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(rows, task)

    monkeypatch.setattr(jobs, "features_of", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate(planted, tmp_path / "out")
    evaluate(planted, tmp_path / "out")
    assert len(calls) == 7, "two rows were done, the third was stopped, it and three more remained"


def test_changed_data_or_protocol_is_computed_anew(planted, tmp_path, monkeypatch):
    evaluate(planted, tmp_path / "out")
    real, calls = jobs.features_of, []
    monkeypatch.setattr(jobs, "features_of", lambda rows, task: calls.append(rows) or real(rows, task))
    (planted / "home" / "scene.txt").write_text("changed")
    evaluate(planted, tmp_path / "out")
    assert len(calls) == 6
    first.run(planted, out=tmp_path / "out", protocol=Protocol(sizes=(5,), n_draws=3), processes=1, progress=False)
    assert len(calls) == 12


def test_every_row_was_scored_on_the_same_draws(planted, tmp_path):
    evaluate(planted, tmp_path / "out")
    cards = [json.loads(p.read_text(encoding="utf-8")) for p in (tmp_path / "out" / "rows").glob("*.json")]
    assert len(cards) == 6
    assert len({c["about"]["draws"] for c in cards}) == 1


def test_numbers_do_not_depend_on_where_rows_are_kept(planted, tmp_path):
    a = evaluate(planted, tmp_path / "a").numbers["tasks"]
    b = evaluate(planted, tmp_path / "b", cache=tmp_path / "elsewhere").numbers["tasks"]
    assert a == b
    assert not (tmp_path / "b" / "rows").exists()


def test_a_folder_without_any_data_set_is_refused_with_what_to_pass(tmp_path):
    with pytest.raises(SceneReadError, match="Pass the folder that holds terramind-chips"):
        first.run(tmp_path, progress=False)


def test_unknown_tasks_and_no_processes_are_refused(planted, tmp_path):
    with pytest.raises(InvalidOption, match="no task atlantis; choose from planted"):
        first.run(planted, tasks=["atlantis"])
    with pytest.raises(InvalidOption, match="processes=0"):
        first.run(planted, out=tmp_path / "out", processes=0, progress=False)


@pytest.mark.real_data
@pytest.mark.slow
def test_the_quick_run_on_real_data_beats_chance_and_repeats(shared_data, tmp_path):
    found = first.run(shared_data, quick=True, out=tmp_path, processes=2, progress=False)
    assert [t.name for t in found.tasks] == ["chile", "slovenia"]
    for t in found.tasks:
        assert t.scores["raw", "all", False].mean() > 1 / len(t.classes) + 0.15
        assert ("untrained", "all", False) in t.scores
    again = first.run(shared_data, quick=True, out=tmp_path, processes=1, progress=False)
    assert again.numbers["tasks"] == found.numbers["tasks"]


@pytest.mark.real_data
def test_raw_bands_on_chile_agree_with_the_published_yardstick(shared_data, tmp_path):
    # shared/weights/galileo-nano/SOURCE.md, raw S2 at 20 and 50 labels: .553 and .585 (C = 1, other draws).
    from georeset_lab.evaluate import baselines
    from georeset_lab.evaluate.score import score_features

    task, split = jobs.read_task(shared_data, "chile", Protocol(sizes=(20, 50), n_draws=10))
    score = score_features(baselines.raw(task.scene.only("s2")), split).balanced_accuracy.mean(axis=1)
    np.testing.assert_allclose(score, [0.553, 0.585], atol=0.02)
