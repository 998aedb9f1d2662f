from __future__ import annotations

import numpy as np
import pytest

from georeset_lab.evaluate.cache import code_identity, load_row, row_key, store_row
from georeset_lab.evaluate.score import Scores


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    return Scores((5, 10), rng.random((2, 20)), rng.choice([0.01, 1.0], (2, 20)), 64)


def test_a_row_comes_back_bit_for_bit(tmp_path, scores):
    store_row(tmp_path, "k", scores, {"row": "raw"})
    back = load_row(tmp_path, "k")
    assert back.sizes == scores.sizes
    assert back.n_features == 64
    np.testing.assert_array_equal(back.balanced_accuracy, scores.balanced_accuracy)
    np.testing.assert_array_equal(back.chosen_c, scores.chosen_c)


def test_an_absent_or_damaged_row_is_none(tmp_path, scores):
    assert load_row(tmp_path, "k") is None
    store_row(tmp_path, "k", scores, {})
    path = tmp_path / "k.json"
    path.write_bytes(path.read_bytes().replace(b"0.6", b"0.7", 1))
    assert load_row(tmp_path, "k") is None


def test_the_key_changes_with_anything_a_score_depends_on():
    base = {"task": "chile", "row": ["raw", "all"], "identity": "1", "protocol": {"seed": 0}}
    keys = {row_key(base)}
    for change in ({"task": "denmark"}, {"row": ["raw", "s2"]}, {"identity": "2"}, {"protocol": {"seed": 1}}):
        keys.add(row_key({**base, **change}))
    assert len(keys) == 5
    assert row_key(base) == row_key(dict(reversed(base.items())))


def test_code_identity_tells_folders_apart_and_repeats():
    assert code_identity("evaluate") == code_identity("evaluate")
    assert code_identity("evaluate") != code_identity("evaluate", "data")
    assert code_identity("evaluate/score.py") != code_identity("evaluate/solver.py")
