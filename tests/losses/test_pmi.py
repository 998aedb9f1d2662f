"""PMI scores against quadrature, a slow NumPy version, and their invariants."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from georeset_lab.errors import ShapeMismatch
from georeset_lab.losses.infonce import info_nce
from georeset_lab.losses.pmi import pmi_scores


def _experts(n: int, d: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    tau = rng.gamma(1.0, 2.0, (n, d))
    return torch.tensor(tau * rng.normal(size=(n, d)), dtype=dtype), torch.tensor(tau, dtype=dtype)


def _slow(eta1: np.ndarray, tau1: np.ndarray, eta2: np.ndarray, tau2: np.ndarray) -> np.ndarray:
    """Written from the formula of methods.md section 2, one pair at a time."""
    out = np.zeros((len(eta1), len(eta2)))
    for i in range(len(eta1)):
        for j in range(len(eta2)):
            for d in range(eta1.shape[1]):
                l1, l2 = 1 + tau1[i, d], 1 + tau2[j, d]
                joint, eta = l1 + l2 - 1, eta1[i, d] + eta2[j, d]
                out[i, j] += 0.5 * (
                    np.log(l1)
                    + np.log(l2)
                    - np.log(joint)
                    + eta**2 / joint
                    - eta1[i, d] ** 2 / l1
                    - eta2[j, d] ** 2 / l2
                )
    return out


def test_scores_equal_the_formula_pair_by_pair() -> None:
    first, second = _experts(5, 7, 0), _experts(4, 7, 1)
    expected = _slow(*(z.numpy() for z in (*first, *second)))
    np.testing.assert_allclose(pmi_scores(*first, *second).numpy(), expected, rtol=1e-10)


def test_one_dimension_equals_quadrature_of_q1_q2_over_p() -> None:
    z = np.linspace(-12, 12, 200_001)
    prior = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    (eta1, tau1), (eta2, tau2) = _experts(3, 1, 2), _experts(3, 1, 3)
    scores = pmi_scores(eta1, tau1, eta2, tau2).numpy()
    for i in range(3):
        for j in range(3):
            densities = []
            for eta, tau in ((eta1[i], tau1[i]), (eta2[j], tau2[j])):
                precision = 1 + float(tau)
                mean = float(eta) / precision
                densities.append(np.sqrt(precision / (2 * np.pi)) * np.exp(-precision * (z - mean) ** 2 / 2))
            integral = np.trapezoid(densities[0] * densities[1] / prior, z)
            assert scores[i, j] == pytest.approx(np.log(integral), abs=1e-6)


def test_swapping_the_two_sides_transposes_the_scores() -> None:
    first, second = _experts(5, 6, 4), _experts(3, 6, 5)
    torch.testing.assert_close(pmi_scores(*first, *second), pmi_scores(*second, *first).T)


def test_an_expert_that_says_nothing_scores_zero_with_everything() -> None:
    silent = torch.zeros(2, 6, dtype=torch.float64)
    torch.testing.assert_close(pmi_scores(silent, silent, *_experts(4, 6, 6)), torch.zeros(2, 4, dtype=torch.float64))


def test_handwritten_gradient_equals_finite_differences() -> None:
    inputs = [z.requires_grad_() for z in (*_experts(4, 3, 7), *_experts(5, 3, 8))]
    assert torch.autograd.gradcheck(pmi_scores, inputs)


def test_chunking_rows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _experts(9, 4, 9), _experts(6, 4, 10)
    whole = pmi_scores(*first, *second)
    monkeypatch.setattr("georeset_lab.losses.pmi._PAIR_BUDGET", 50)
    torch.testing.assert_close(pmi_scores(*first, *second), whole, rtol=0, atol=1e-12)


def test_precision_grows_where_two_looks_agree_and_falls_where_they_contradict() -> None:
    tau = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    mean = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    agree_then_contradict = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    loss = info_nce(pmi_scores(tau * mean, tau, agree_then_contradict, torch.ones_like(mean)))
    (gradient,) = torch.autograd.grad(loss, tau)
    assert float(gradient[:, 0].sum()) < 0 < float(gradient[:, 1].sum())


def test_experts_of_different_width_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"same D"):
        pmi_scores(*_experts(2, 3, 0), *_experts(2, 4, 0))


def test_planted_shared_and_private_dimensions_are_recovered_by_gradient_descent() -> None:
    """Two modalities see z[0:2] and z[1:3] of a latent; a table of precisions learns who sees what."""
    rng = torch.Generator().manual_seed(0)
    raw = torch.zeros(2, 3, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    sees = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    for _ in range(150):
        z = torch.randn(64, 3, generator=rng)
        tau = torch.nn.functional.softplus(raw)
        looks = [
            [
                torch.where(sees[m] > 0, z + 0.3 * torch.randn(64, 3, generator=rng), torch.randn(64, 3, generator=rng))
                for m in range(2)
            ]
            for _ in range(2)
        ]
        loss = torch.stack(
            [
                info_nce(
                    pmi_scores(tau[m] * looks[0][m], tau[m].expand(64, 3), tau[m] * looks[1][m], tau[m].expand(64, 3))
                )
                for m in range(2)
            ]
        ).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    certainty = (torch.nn.functional.softplus(raw) / (1 + torch.nn.functional.softplus(raw))).detach()
    assert certainty[sees > 0].min() > 0.6
    assert certainty[sees == 0].max() < 0.25
