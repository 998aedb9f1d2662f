"""Closed-form sampled distance against Monte-Carlo, the matching loss against NumPy, and what the distance cannot say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from georeset_lab.errors import ShapeMismatch
from georeset_lab.losses.csd import CSDScores, matching_loss, sampled_distance


def _gaussians(n: int, d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(n, d))), torch.tensor(rng.gamma(2.0, 0.1, (n, d)))


def _logits(seed: int, n: int = 6) -> torch.Tensor:
    return 2 * torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _slow_loss(logits: np.ndarray, ignore: np.ndarray) -> float:
    """PCME++: every pair scored as match or not; twice the mean, and 0.1 of it with pseudo-positives each way."""
    n = len(logits)
    plain, by_row, by_column = [], [], []
    for i in range(n):
        for j in range(n):
            if ignore[i, j] and i != j:
                continue
            p = 1 / (1 + np.exp(-logits[i, j]))
            match, no_match = -np.log(p), -np.log(1 - p)
            plain.append(match if i == j else no_match)
            by_row.append(match if i == j or logits[i, j] > logits[i, i] else no_match)
            by_column.append(match if i == j or logits[i, j] > logits[j, j] else no_match)
    return 2 * np.mean(plain) + 0.1 * (np.mean(by_row) + np.mean(by_column))


def test_distance_equals_the_formula_pair_by_pair() -> None:
    (m1, v1), (m2, v2) = _gaussians(5, 7, 0), _gaussians(4, 7, 1)
    a, b = (m.numpy() / np.linalg.norm(m.numpy(), axis=1, keepdims=True) for m in (m1, m2))
    expected = [[((a[i] - b[j]) ** 2).sum() + float(v1[i].sum() + v2[j].sum()) for j in range(4)] for i in range(5)]
    np.testing.assert_allclose(sampled_distance(m1, v1, m2, v2).numpy(), expected, rtol=1e-10)


def test_distance_is_the_monte_carlo_mean_between_samples() -> None:
    (m1, v1), (m2, v2) = _gaussians(1, 3, 2), _gaussians(1, 3, 3)
    rng = np.random.default_rng(0)
    z1, z2 = (
        m.numpy() / np.linalg.norm(m.numpy()) + np.sqrt(v.numpy()) * rng.normal(size=(400_000, 3))
        for m, v in ((m1, v1), (m2, v2))
    )
    squared = ((z1 - z2) ** 2).sum(1)
    error = squared.std() / np.sqrt(len(squared))
    assert float(sampled_distance(m1, v1, m2, v2)) == pytest.approx(squared.mean(), abs=4 * error)


def test_gradient_of_a_variance_is_the_same_in_every_dimension() -> None:
    first, second = _gaussians(6, 5, 4), _gaussians(6, 5, 5)
    var = first[1].requires_grad_()
    (gradient,) = torch.autograd.grad(matching_loss(CSDScores().double()(first[0], var, *second)), var)
    assert gradient.abs().min() > 0
    torch.testing.assert_close(gradient, gradient[:, :1].expand_as(gradient), rtol=1e-12, atol=0)


def test_gradients_equal_finite_differences() -> None:
    inputs = [z.requires_grad_() for z in (*_gaussians(4, 3, 6), *_gaussians(5, 3, 7))]
    assert torch.autograd.gradcheck(sampled_distance, inputs)
    assert torch.autograd.gradcheck(matching_loss, _logits(0).requires_grad_())


def test_scores_start_at_five_times_one_minus_distance_and_fall_with_variance() -> None:
    first, second = _gaussians(3, 4, 8), _gaussians(3, 4, 9)
    scorer = CSDScores().double()
    torch.testing.assert_close(scorer(*first, *second), 5.0 * (1.0 - sampled_distance(*first, *second)))
    assert (scorer(first[0], 2 * first[1], *second) < scorer(*first, *second)).all()
    assert len(list(scorer.parameters())) == 2


@pytest.mark.parametrize("n_ignored", [0, 5])
def test_loss_equals_numpy(n_ignored: int) -> None:
    logits = _logits(1)
    ignore = torch.zeros(36, dtype=torch.bool)
    ignore[torch.randperm(36, generator=torch.Generator().manual_seed(2))[:n_ignored]] = True
    ignore = ignore.view(6, 6)
    found = matching_loss(logits, ignore if n_ignored else None)
    assert float(found) == pytest.approx(_slow_loss(logits.numpy(), ignore.numpy()), rel=1e-12)


def test_loss_ignores_the_order_of_the_batch_and_of_the_views() -> None:
    logits = _logits(3)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(matching_loss(logits), matching_loss(logits[order][:, order]))
    torch.testing.assert_close(matching_loss(logits), matching_loss(logits.T))


def test_a_pair_above_its_positive_is_pushed_down_less_than_one_below() -> None:
    gradients = []
    for positive in (3.0, 1.0):
        logits = torch.tensor([[positive, 2.0], [-2.0, 3.0]], dtype=torch.float64, requires_grad=True)
        gradients.append(torch.autograd.grad(matching_loss(logits), logits)[0][0, 1])
    assert 0 < gradients[1] < gradients[0]


def test_ties_with_the_positive_stay_negatives() -> None:
    logits = torch.zeros(4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(matching_loss(logits), logits)
    assert torch.equal(gradient > 0, ~torch.eye(4, dtype=torch.bool))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"sampled_distance got .* with the same D"):
        sampled_distance(*_gaussians(2, 3, 0), *_gaussians(2, 4, 0))
    with pytest.raises(ShapeMismatch, match=r"matching_loss got a table of shape \(3, 4\); it needs a square"):
        matching_loss(torch.zeros(3, 4))
