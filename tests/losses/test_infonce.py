"""InfoNCE against NumPy, and its invariants."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from georeset_lab.errors import ShapeMismatch
from georeset_lab.losses.infonce import CosineScores, info_nce


def _slow(scores: np.ndarray) -> float:
    total = 0.0
    for table in (scores, scores.T):
        total += sum(np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(table)) / len(table)
    return total / 2


def test_loss_equals_numpy() -> None:
    scores = torch.randn(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(info_nce(scores)) == pytest.approx(_slow(scores.numpy()), rel=1e-12)


def test_loss_ignores_the_order_of_the_batch_and_of_the_views() -> None:
    scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(info_nce(scores), info_nce(scores[order][:, order]))
    torch.testing.assert_close(info_nce(scores), info_nce(scores.T))


def test_ignored_pairs_leave_the_denominator_and_never_the_diagonal() -> None:
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    everything = torch.ones(5, 5, dtype=torch.bool)
    assert float(info_nce(scores, everything)) == pytest.approx(0.0, abs=1e-12)
    one = torch.zeros(5, 5, dtype=torch.bool)
    one[0, 3] = True
    assert float(info_nce(scores, one)) < float(info_nce(scores))


def test_matrix_that_is_not_square_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"square matrix"):
        info_nce(torch.zeros(3, 4))


def test_cosine_scores_start_at_the_clip_scale_and_are_clamped() -> None:
    scorer = CosineScores()
    vectors = torch.eye(3)
    torch.testing.assert_close(scorer(vectors, vectors).diagonal(), torch.full((3,), 1 / 0.07))
    scorer.log_scale.data.fill_(9.0)
    assert float(scorer(vectors, vectors).max().detach()) == pytest.approx(100.0, rel=1e-5)
    assert math.isfinite(float(scorer(torch.zeros(1, 3), vectors).sum().detach()))
