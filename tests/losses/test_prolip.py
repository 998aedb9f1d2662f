"""ProLIP's scores and contrast against NumPy; inclusion against quadrature, which the published form fails."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from georeset_lab.errors import ShapeMismatch
from georeset_lab.losses.csd import sampled_distance
from georeset_lab.losses.prolip import ProLIPScores, inclusion, inclusion_loss, sigmoid_loss


def _gaussians(n: int, d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(n, d))), torch.tensor(rng.gamma(2.0, 0.4, (n, d)) + 0.1)


def _by_quadrature(m1: float, v1: float, m2: float, v2: float) -> float:
    """log of the integral of q1^2 q2 minus that of q1 q2^2, from the densities."""
    z = np.linspace(-30, 30, 600_001)
    q1, q2 = (np.exp(-((z - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v) for m, v in ((m1, v1), (m2, v2)))
    return float(np.log(np.trapezoid(q1**2 * q2, z)) - np.log(np.trapezoid(q1 * q2**2, z)))


def _published(m1: float, v1: float, m2: float, v2: float) -> float:
    """The inclusion test of ProLIP's code, its damping left out: log variances where log sigmas belong."""

    def one_way(m1: float, v1: float, m2: float, v2: float) -> float:
        a, b = 1 / v1 + 0.5 / v2, 2 * m1 / v1 + m2 / v2
        return -2 * np.log(v1) - np.log(v2) - 0.5 * np.log(a) + b**2 / (4 * a) - (m1**2 / v1 + 0.5 * m2**2 / v2)

    return one_way(m1, v1, m2, v2) - one_way(m2, v2, m1, v1)


def test_logits_equal_the_formula_pair_by_pair() -> None:
    (m1, v1), (m2, v2) = _gaussians(4, 5, 0), _gaussians(3, 5, 1)
    a, b = (m.numpy() / np.linalg.norm(m.numpy(), axis=1, keepdims=True) for m in (m1, m2))
    scale, bias = 10.0, -10.0
    expected = [
        [scale * (a[i] @ b[j] - float(v1[i].sum() + v2[j].sum()) / 2) + bias for j in range(3)] for i in range(4)
    ]
    found = ProLIPScores().double()(m1, v1, m2, v2).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # log 10 is kept in single precision


def test_logits_are_those_of_the_sampled_distance_up_to_a_constant() -> None:
    gaussians = (*_gaussians(4, 5, 2), *_gaussians(4, 5, 3))
    difference = ProLIPScores().double()(*gaussians) + 5.0 * sampled_distance(*gaussians)
    torch.testing.assert_close(difference, torch.zeros_like(difference), rtol=0, atol=1e-4)


def test_gradient_of_a_variance_is_the_same_in_every_dimension() -> None:
    first, second = _gaussians(6, 5, 4), _gaussians(6, 5, 5)
    var = first[1].requires_grad_()
    (gradient,) = torch.autograd.grad(sigmoid_loss(ProLIPScores().double()(first[0], var, *second)), var)
    torch.testing.assert_close(gradient, gradient[:, :1].expand_as(gradient), rtol=1e-10, atol=0)


def test_contrast_equals_numpy_with_and_without_ignored_pairs() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ignore = torch.rand(5, 5, generator=torch.Generator().manual_seed(1)) < 0.3
    for mask in (None, ignore):
        total = 0.0
        for i in range(5):
            for j in range(5):
                if i == j or mask is None or not mask[i, j]:
                    total += np.log1p(np.exp(-float(logits[i, j]) if i == j else float(logits[i, j])))
        assert float(sigmoid_loss(logits, mask)) == pytest.approx(total / 5, rel=1e-12)
    assert bool((ignore & ~torch.eye(5, dtype=torch.bool)).any())


def test_contrast_ignores_the_order_of_the_batch_and_of_the_views() -> None:
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(sigmoid_loss(logits), sigmoid_loss(logits[order][:, order]))
    torch.testing.assert_close(sigmoid_loss(logits), sigmoid_loss(logits.T))


@pytest.mark.parametrize(
    ("m1", "v1", "m2", "v2"), [(0.0, 1.0, 0.0, 4.0), (0.3, 0.5, -0.4, 1.2), (2.0, 3.0, -1.0, 0.7), (0.0, 0.2, 1.5, 0.2)]
)
def test_inclusion_equals_quadrature(m1: float, v1: float, m2: float, v2: float) -> None:
    found = float(inclusion(*(torch.tensor([x], dtype=torch.float64) for x in (m1, v1, m2, v2))))
    assert found == pytest.approx(_by_quadrature(m1, v1, m2, v2), abs=1e-8)


def test_published_inclusion_doubles_the_log_determinant() -> None:
    m1, v1, m2, v2 = 0.3, 0.5, -0.4, 1.2
    surplus = _published(m1, v1, m2, v2) - _by_quadrature(m1, v1, m2, v2)
    assert surplus == pytest.approx(0.5 * np.log(v2 / v1), abs=1e-8)


def test_inclusion_changes_sign_when_swapped_and_has_the_sign_of_the_wider_side() -> None:
    first, second = _gaussians(20, 4, 6), _gaussians(20, 4, 7)
    found = inclusion(*first, *second)
    torch.testing.assert_close(found, -inclusion(*second, *first))
    assert torch.equal(found > 0, first[1] < second[1])
    torch.testing.assert_close(inclusion(*first, second[0], first[1]), torch.zeros_like(found))


def test_inclusion_does_not_see_a_common_rescaling() -> None:
    (m1, v1), (m2, v2) = _gaussians(5, 4, 8), _gaussians(5, 4, 9)
    torch.testing.assert_close(inclusion(3 * m1, 9 * v1, 3 * m2, 9 * v2), inclusion(m1, v1, m2, v2))


def test_gradients_equal_finite_differences() -> None:
    inputs = [z.requires_grad_() for z in (*_gaussians(3, 4, 10), *_gaussians(3, 4, 11))]
    assert torch.autograd.gradcheck(inclusion, inputs)
    assert torch.autograd.gradcheck(lambda *z: inclusion_loss(*z, scale=2.0), inputs)


def test_inclusion_loss_equals_numpy_and_widens_the_outer_side() -> None:
    first, second = _gaussians(4, 3, 12), _gaussians(4, 3, 13)
    each = [_by_quadrature(*(float(z.flatten()[i]) for z in (*first, *second))) for i in range(12)]
    expected = np.mean(np.log1p(np.exp(-2.0 * np.array(each))))
    assert float(inclusion_loss(*first, *second, scale=2.0)) == pytest.approx(expected, abs=1e-8)
    var = torch.full((1, 1), 0.5, requires_grad=True)
    zero = torch.zeros(1, 1)
    (gradient,) = torch.autograd.grad(inclusion_loss(zero, torch.ones(1, 1), zero, var), var)
    assert float(gradient) < 0


def test_a_dimension_that_is_included_does_not_push_the_means_apart() -> None:
    mean = torch.tensor([[0.5]], requires_grad=True)
    loss = inclusion_loss(mean, torch.tensor([[0.5]]), torch.zeros(1, 1), torch.ones(1, 1))
    (gradient,) = torch.autograd.grad(loss, mean)
    assert float(gradient) == 0.0


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"ProLIPScores got .* with the same D"):
        ProLIPScores()(*_gaussians(2, 3, 0), *_gaussians(2, 4, 0))
    with pytest.raises(ShapeMismatch, match=r"sigmoid_loss got a table of shape \(3, 4\); it needs a square"):
        sigmoid_loss(torch.zeros(3, 4))
    with pytest.raises(ShapeMismatch, match=r"inclusion got .*; it needs means and variances of one shape"):
        inclusion_loss(*_gaussians(2, 3, 0), *_gaussians(3, 3, 0))
