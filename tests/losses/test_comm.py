"""CoMM and NT-Xent against NumPy, and their invariants."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from georeset_lab.errors import ShapeMismatch
from georeset_lab.losses.comm import comm_loss, nt_xent

View = tuple[torch.Tensor, torch.Tensor]


def _views(seed: int, m: int = 3, n: int = 6, d: int = 4) -> tuple[View, View]:
    z = torch.randn(2, m + 1, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (z[0, :m], z[0, m]), (z[1, :m], z[1, m])


def _slow(first: np.ndarray, second: np.ndarray, temperature: float = 0.1, ignore: np.ndarray | None = None) -> float:
    """Chen et al. (2020), equation 1: each of 2 B embeddings against its partner and all others."""
    both = np.concatenate([first, second])
    both = both / np.linalg.norm(both, axis=1, keepdims=True)
    n, total = len(first), 0.0
    for i in range(2 * n):
        partner, denominator = (i + n) % (2 * n), 0.0
        for k in range(2 * n):
            dropped = ignore is not None and bool(ignore[i % n, k % n]) and k != partner
            if k != i and not dropped:
                denominator += np.exp(both[i] @ both[k] / temperature)
        total += np.log(denominator) - both[i] @ both[partner] / temperature
    return total / (2 * n)


def _near(n: int) -> torch.Tensor:
    """Neighbours of each other: samples 0 with 1 and 2 with 3."""
    near = torch.zeros(n, n, dtype=torch.bool)
    near[[0, 1, 2, 3], [1, 0, 3, 2]] = True
    return near | torch.eye(n, dtype=torch.bool)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_equals_numpy(temperature: float) -> None:
    (_, first), (_, second) = _views(0)
    expected = _slow(first.numpy(), second.numpy(), temperature)
    assert float(nt_xent(first, second, temperature=temperature)) == pytest.approx(expected, rel=1e-12)


def test_ignored_samples_leave_the_denominator_but_never_the_positive() -> None:
    (_, first), (_, second) = _views(1)
    expected = _slow(first.numpy(), second.numpy(), ignore=_near(6).numpy())
    assert float(nt_xent(first, second, ignore=_near(6))) == pytest.approx(expected, rel=1e-12)
    everything = torch.ones(6, 6, dtype=torch.bool)
    assert float(nt_xent(first, second, ignore=everything)) == pytest.approx(0.0, abs=1e-12)


def test_comm_equals_numpy() -> None:
    (singles1, full1), (singles2, full2) = _views(2)
    a, b = full1.numpy(), full2.numpy()
    terms = [(_slow(x.numpy(), b) + _slow(y.numpy(), a)) / 2 for x, y in zip(singles1, singles2, strict=True)]
    expected = np.mean([*terms, _slow(a, b)])
    assert float(comm_loss((singles1, full1), (singles2, full2))) == pytest.approx(expected, rel=1e-12)


def test_comm_passes_ignored_samples_on() -> None:
    first, second = _views(3, m=1)
    expected = 0.5 * nt_xent(first[1], second[1], ignore=_near(6)) + 0.25 * (
        nt_xent(first[0][0], second[1], ignore=_near(6)) + nt_xent(second[0][0], first[1], ignore=_near(6))
    )
    torch.testing.assert_close(comm_loss(first, second, ignore=_near(6)), expected)


def test_comm_ignores_the_order_of_samples_modalities_and_views_and_the_length_of_vectors() -> None:
    first, second = _views(4)
    loss = comm_loss(first, second)
    torch.testing.assert_close(comm_loss(second, first), loss)
    torch.testing.assert_close(comm_loss(*((s.flip(0), f) for s, f in (first, second))), loss)
    torch.testing.assert_close(comm_loss(*((s.flip(1), f.flip(0)) for s, f in (first, second))), loss)
    torch.testing.assert_close(comm_loss((3 * first[0], 0.2 * first[1]), second), loss)


def test_comm_of_a_collapsed_fusion_is_log_of_the_number_of_candidates() -> None:
    same = (torch.ones(2, 8, 3), torch.ones(8, 3))
    assert float(comm_loss(same, same)) == pytest.approx(math.log(15), rel=1e-5)


def test_gradient_equals_finite_differences() -> None:
    (singles1, full1), (singles2, full2) = _views(5, m=2, n=4, d=3)
    inputs = [z.clone().requires_grad_() for z in (singles1, full1, singles2, full2)]
    assert torch.autograd.gradcheck(lambda s1, f1, s2, f2: comm_loss((s1, f1), (s2, f2)), inputs)


def test_views_that_do_not_fit_are_refused() -> None:
    first, second = _views(6)
    with pytest.raises(ShapeMismatch, match=r"it needs \(M, B, D\) and \(B, D\) in each view"):
        comm_loss(first, (second[0], second[1][:3]))
    with pytest.raises(ShapeMismatch, match=r"nt_xent got .*; it needs two views of one shape"):
        nt_xent(first[1], second[1][:3])
