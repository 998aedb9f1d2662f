"""DeCUR against NumPy, where it is zero, and what it leaves free."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from georeset_lab.errors import ShapeMismatch
from georeset_lab.losses.decur import correlation, decur_loss

Pair = tuple[torch.Tensor, torch.Tensor]


def _views(seed: int, n: int = 12, d: int = 5) -> tuple[Pair, Pair]:
    z = torch.randn(4, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (z[0], z[1]), (z[2], z[3])


def _orthogonal(n_columns: int, n: int = 32) -> torch.Tensor:
    """Columns of mean 0 and variance 1 that are uncorrelated: all but the first of a Hadamard matrix."""
    table = np.ones((1, 1))
    while len(table) < n:
        table = np.block([[table, table], [table, -table]])
    return torch.tensor(table[:, 1 : 1 + n_columns])


def _slow(first: Pair, second: Pair, n_common: int) -> float:
    def correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (x, y))
        return np.array([[np.mean(x[:, i] * y[:, j]) for j in range(y.shape[1])] for i in range(x.shape[1])])

    def off(table: np.ndarray, diagonal: float) -> float:
        weight = np.where(np.eye(len(table)) > 0, 1.0, 0.0051)
        return float((weight * (table - diagonal * np.eye(len(table))) ** 2).sum())

    (a, a2), (b, b2) = ([z.numpy() for z in pair] for pair in (first, second))
    across = correlations(a, b)
    common, unique = off(across[:n_common, :n_common], 1.0), off(across[n_common:, n_common:], 0.0)
    return (off(correlations(a, a2), 1.0) + off(correlations(b, b2), 1.0) + (common + unique) / 2) / 3


@pytest.mark.parametrize("n_common", [0, 3, 5])
def test_loss_equals_numpy(n_common: int) -> None:
    first, second = _views(0)
    assert float(decur_loss(first, second, n_common)) == pytest.approx(_slow(first, second, n_common), rel=1e-10)


def test_loss_is_zero_when_common_dimensions_agree_and_the_others_are_unrelated() -> None:
    columns = _orthogonal(7)
    one, other = columns[:, [0, 1, 2, 3, 4]], columns[:, [0, 1, 2, 5, 6]]
    assert float(decur_loss((one, one), (other, other), 3)) == pytest.approx(0.0, abs=1e-8)
    assert float(decur_loss((one, one), (one, one), 3)) == pytest.approx(2 / 6, rel=1e-3)
    assert float(decur_loss((one, one), (other, other), 5)) == pytest.approx(2 / 6, rel=1e-3)


def test_correlation_of_a_common_with_a_unique_dimension_is_free() -> None:
    columns = _orthogonal(3)
    mixed = torch.stack([columns[:, 0], (columns[:, 0] + columns[:, 1]) / 2**0.5], 1)
    free = decur_loss((mixed, mixed), (columns[:, [0, 2]], columns[:, [0, 2]]), 1)
    within = 2 * 0.0051 * 0.5 / 3  # only the first modality's own redundancy is paid for
    assert float(free) == pytest.approx(within, rel=1e-3)


def test_loss_ignores_samples_order_modality_order_shift_and_scale() -> None:
    first, second = _views(1)
    loss = decur_loss(first, second, 3)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(decur_loss((first[0][order], first[1][order]), tuple(z[order] for z in second), 3), loss)
    torch.testing.assert_close(decur_loss(second, first, 3), loss)
    torch.testing.assert_close(decur_loss((5 * first[0] - 2, first[1]), second, 3), loss, rtol=1e-4, atol=0)


def test_correlation_is_that_of_numpy() -> None:
    (x, y), _ = _views(2)
    expected = np.corrcoef(x.numpy().T, y.numpy().T)[:5, 5:]
    np.testing.assert_allclose(correlation(x, y).numpy(), expected, atol=1e-4)


def test_gradient_equals_finite_differences() -> None:
    (a, a2), (b, b2) = _views(3, n=6, d=3)
    inputs = [z.clone().requires_grad_() for z in (a, a2, b, b2)]
    assert torch.autograd.gradcheck(lambda a, a2, b, b2: decur_loss((a, a2), (b, b2), 2), inputs)


def test_shapes_and_counts_that_do_not_fit_are_refused() -> None:
    first, second = _views(4)
    with pytest.raises(ShapeMismatch, match=r"n_common=6 for 5 dimensions; it needs 0 <= n_common <= D"):
        decur_loss(first, second, 6)
    with pytest.raises(ShapeMismatch, match=r"it needs two views of each modality, all of one shape"):
        decur_loss(first, (second[0], second[1][:, :4]), 3)
