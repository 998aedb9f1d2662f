"""Gaussian prediction: against a NumPy reference, its minimum, and what must not count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from georeset_lab.losses.prediction import gaussian_prediction


@pytest.fixture
def parts() -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(0)
    mean, target = (torch.randn(40, 6, generator=draw) for _ in range(2))
    return mean, torch.rand(40, 6, generator=draw) * 0.9 + 0.05, target, torch.rand(40, 6, generator=draw) < 0.7


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_it_equals_the_formula_in_numpy(parts: tuple[torch.Tensor, ...], beta: float) -> None:
    mean, var, target, known = (p.double().numpy() if p.dtype != torch.bool else p.numpy() for p in parts)
    each = var**beta * (np.log(var) + (target - mean) ** 2 / var) / 2
    expected = each[known].mean()
    assert float(gaussian_prediction(*parts, beta=beta)) == pytest.approx(expected, rel=1e-5)


def test_the_best_variance_is_the_mean_squared_error() -> None:
    target = torch.randn(4000, 1, generator=torch.Generator().manual_seed(1)) * 0.6
    known = torch.ones_like(target, dtype=torch.bool)
    raw = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        gaussian_prediction(torch.zeros_like(target), raw.exp().expand_as(target), target, known).backward()
        optimizer.step()
    assert float(raw.detach().exp()) == pytest.approx(float(target.square().mean()), rel=0.02)


def test_what_is_not_known_has_neither_loss_nor_gradient(parts: tuple[torch.Tensor, ...]) -> None:
    mean, var, target, known = parts
    mean = mean.requires_grad_()
    spoiled = torch.where(known, target, torch.nan)
    loss = gaussian_prediction(mean, var, spoiled, known)
    assert float(loss) == pytest.approx(float(gaussian_prediction(mean, var, target, known)))
    loss.backward()
    assert mean.grad is not None
    assert torch.equal(mean.grad != 0, known)
    assert float(gaussian_prediction(mean, var, target, torch.zeros_like(known))) == 0


def test_beta_one_gives_the_gradient_of_squared_error(parts: tuple[torch.Tensor, ...]) -> None:
    mean, var, target, known = parts
    mean = mean.requires_grad_()
    gaussian_prediction(mean, var, target, known, beta=1.0).backward()
    expected = torch.where(known, mean.detach() - target, 0.0) / known.sum()
    assert mean.grad is not None
    torch.testing.assert_close(mean.grad, expected)
