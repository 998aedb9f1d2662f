"""Product of experts: the invariants of methods.md section 2."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from georeset_lab.errors import ShapeMismatch
from georeset_lab.models.fusion import Gaussian, fuse, product_of_experts


def _experts(n: int = 6, m: int = 3, d: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    tau = torch.rand(n, m, d, generator=rng) * 5
    return tau * torch.randn(n, m, d, generator=rng), tau


def test_nothing_present_gives_the_prior() -> None:
    eta, tau = _experts()
    mean, var = product_of_experts(eta, tau, torch.zeros(6, 3, dtype=torch.bool))
    assert torch.equal(mean, torch.zeros(6, 4))
    assert torch.equal(var, torch.ones(6, 4))


def test_precisions_add_to_the_prior_exactly_once() -> None:
    eta, tau = _experts()
    mean, var = product_of_experts(eta, tau, torch.ones(6, 3, dtype=torch.bool))
    torch.testing.assert_close(1 / var, 1 + tau.sum(1))
    torch.testing.assert_close(mean, eta.sum(1) / (1 + tau.sum(1)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_adding_a_modality_never_raises_a_variance(seed: int) -> None:
    eta, tau = _experts(seed=seed)
    present = torch.rand(6, 3, generator=torch.Generator().manual_seed(seed)) > 0.5
    more = present.clone()
    more[:, seed % 3] = True
    assert (product_of_experts(eta, tau, more)[1] <= product_of_experts(eta, tau, present)[1]).all()


def test_order_of_modalities_is_irrelevant() -> None:
    eta, tau = _experts()
    present = torch.tensor([[True, False, True]]).expand(6, 3)
    order = [2, 0, 1]
    a = product_of_experts(eta, tau, present)
    b = product_of_experts(eta[:, order], tau[:, order], present[:, order])
    torch.testing.assert_close(a, b)


def test_a_silent_expert_leaves_the_fusion_bit_identical() -> None:
    eta, tau = _experts()
    everything = torch.ones(6, 3, dtype=torch.bool)
    eta[:, 1], tau[:, 1] = 0.0, 0.0
    without = everything.clone()
    without[:, 1] = False
    for a, b in zip(product_of_experts(eta, tau, everything), product_of_experts(eta, tau, without), strict=True):
        assert torch.equal(a, b)


def test_an_absent_modality_may_hold_nan() -> None:
    eta, tau = _experts()
    eta[:, 0] = float("nan")
    mean, var = product_of_experts(eta, tau, torch.tensor([[False, True, True]]).expand(6, 3))
    assert torch.isfinite(mean).all()
    assert torch.isfinite(var).all()


def test_a_duplicated_expert_doubles_its_precision() -> None:
    eta, tau = _experts(m=1)
    one = Gaussian(eta[:, 0], tau[:, 0])
    torch.testing.assert_close(fuse([one, one]).tau, 2 * one.tau)
    torch.testing.assert_close(fuse([one, one]).eta, 2 * one.eta)


def test_shapes_that_disagree_are_refused() -> None:
    eta, tau = _experts()
    with pytest.raises(ShapeMismatch, match=r"present of shape \(N, M\)"):
        product_of_experts(eta, tau, torch.ones(6, 2, dtype=torch.bool))
