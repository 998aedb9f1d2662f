"""Expected likelihood scores and KL against quadrature, a slow NumPy version, and their invariants."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from georeset_lab.errors import ShapeMismatch
from georeset_lab.losses.elk import elk_scores, kl_to_prior
from georeset_lab.losses.infonce import info_nce


def _gaussians(n: int, d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(n, d))), torch.tensor(rng.gamma(2.0, 0.4, (n, d)) + 0.05)


def _density(z: np.ndarray, mean: float, var: float) -> np.ndarray:
    return np.exp(-((z - mean) ** 2) / (2 * var)) / np.sqrt(2 * np.pi * var)


def _slow(m1: np.ndarray, v1: np.ndarray, m2: np.ndarray, v2: np.ndarray) -> np.ndarray:
    """Written from the formula of methods.md section 2, one pair at a time."""
    out = np.zeros((len(m1), len(m2)))
    for i in range(len(m1)):
        for j in range(len(m2)):
            for d in range(m1.shape[1]):
                v = v1[i, d] + v2[j, d]
                out[i, j] -= 0.5 * ((m1[i, d] - m2[j, d]) ** 2 / v + np.log(v))
    return out


def test_scores_equal_the_formula_pair_by_pair() -> None:
    first, second = _gaussians(5, 7, 0), _gaussians(4, 7, 1)
    expected = _slow(*(z.numpy() for z in (*first, *second)))
    np.testing.assert_allclose(elk_scores(*first, *second).numpy(), expected, rtol=1e-10)


def test_one_dimension_equals_quadrature_of_q1_q2() -> None:
    z = np.linspace(-25, 25, 400_001)
    (m1, v1), (m2, v2) = _gaussians(3, 1, 2), _gaussians(3, 1, 3)
    scores = elk_scores(m1, v1, m2, v2).numpy() - 0.5 * np.log(2 * np.pi)
    for i in range(3):
        for j in range(3):
            overlap = _density(z, float(m1[i]), float(v1[i])) * _density(z, float(m2[j]), float(v2[j]))
            assert scores[i, j] == pytest.approx(np.log(np.trapezoid(overlap, z)), abs=1e-6)


def test_swapping_the_two_sides_transposes_the_scores() -> None:
    first, second = _gaussians(5, 6, 4), _gaussians(3, 6, 5)
    torch.testing.assert_close(elk_scores(*first, *second), elk_scores(*second, *first).T)


def test_handwritten_gradient_equals_finite_differences() -> None:
    inputs = [z.requires_grad_() for z in (*_gaussians(4, 3, 7), *_gaussians(5, 3, 8))]
    assert torch.autograd.gradcheck(elk_scores, inputs)


def test_chunking_rows_changes_neither_scores_nor_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [z.requires_grad_() for z in (*_gaussians(9, 4, 9), *_gaussians(6, 4, 10))]
    whole = elk_scores(*inputs)
    gradients = torch.autograd.grad(whole.square().sum(), inputs)
    monkeypatch.setattr("georeset_lab.losses.pmi._PAIR_BUDGET", 50)
    parts = elk_scores(*inputs)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(parts.square().sum(), inputs), gradients, rtol=1e-10, atol=1e-12)


def test_gradient_of_the_variance_tells_dimensions_apart() -> None:
    mean = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    var = torch.ones_like(mean).requires_grad_()
    score = elk_scores(mean, var, torch.tensor([[0.1, 3.0]], dtype=torch.float64), torch.ones_like(mean))
    (gradient,) = torch.autograd.grad(score.sum(), var)
    assert gradient[0, 0] < 0 < gradient[0, 1]


def test_infonce_does_not_see_a_common_rescaling_but_kl_does() -> None:
    (m1, v1), (m2, v2) = _gaussians(6, 4, 11), _gaussians(6, 4, 12)
    loss, scaled = (info_nce(elk_scores(s * m1, s**2 * v1, s * m2, s**2 * v2)) for s in (1.0, 3.0))
    torch.testing.assert_close(loss, scaled)
    assert float(kl_to_prior(3 * m1, 9 * v1)) > float(kl_to_prior(m1, v1)) + 1


def test_kl_equals_quadrature_summed_over_dimensions() -> None:
    z = np.linspace(-15, 15, 200_001)
    mean, var = _gaussians(3, 2, 13)
    total = 0.0
    for m, v in zip(mean.flatten().tolist(), var.flatten().tolist(), strict=True):
        log_ratio = -0.5 * np.log(v) - (z - m) ** 2 / (2 * v) + z**2 / 2
        total += np.trapezoid(_density(z, m, v) * log_ratio, z)
    assert float(kl_to_prior(mean, var)) == pytest.approx(total / 3, abs=1e-8)


def test_kl_is_positive_but_at_the_prior() -> None:
    mean, var = _gaussians(50, 4, 14)
    assert all(float(kl_to_prior(mean[i, None], var[i, None])) > 0 for i in range(50))
    assert float(kl_to_prior(torch.zeros(5, 4), torch.ones(5, 4))) == 0.0


def test_gaussians_of_different_shape_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"elk_scores got .* with the same D"):
        elk_scores(*_gaussians(2, 3, 0), *_gaussians(2, 4, 0))
    with pytest.raises(ShapeMismatch, match=r"\(2, 3\), \(2, 4\); it needs mean and variance of one shape"):
        kl_to_prior(torch.zeros(2, 3), torch.ones(2, 4))
