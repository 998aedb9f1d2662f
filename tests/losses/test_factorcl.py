"""FactorCL: bounds around a known information, the objective against NumPy, and who receives a gradient in which step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from georeset_lab.errors import ShapeMismatch
from georeset_lab.losses.factorcl import (
    Critic,
    FactorCLTerms,
    Term,
    club_bound,
    critic_loss,
    factorcl_objective,
    nce_bound,
)

Pair = tuple[torch.Tensor, torch.Tensor]
CLUB_CRITICS = ("club.critic.", "club_given.critic.")


def _setting(seed: int = 0, n: int = 6, d: int = 4) -> tuple[FactorCLTerms, Pair, Pair]:
    torch.manual_seed(seed)
    z = torch.randn(4, n, d, dtype=torch.float64)
    return FactorCLTerms(d, hidden=8).double(), (z[0], z[1]), (z[2], z[3])


def _mlp(layers: Sequence[torch.nn.Linear], x: np.ndarray) -> np.ndarray:
    for i, layer in enumerate(layers):
        x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        x = x if i == len(layers) - 1 else np.maximum(x, 0)
    return x


def _linears(module: torch.nn.Module) -> list[torch.nn.Linear]:
    return [m for m in module.modules() if isinstance(m, torch.nn.Linear)]


def _slow_scores(term: Term, first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> np.ndarray:
    """Each pair concatenated and put through the critic by itself."""
    sides = [
        np.concatenate([_mlp(_linears(head), z.numpy()) for z in looks], 1)
        for head, looks in ((term.heads[0], first), (term.heads[-1], second))
    ]
    return np.array(
        [[_mlp(_linears(term.critic), np.concatenate([x, y]))[0] for y in sides[1]] for x in sides[0]], dtype=float
    )


def _slow_nce(scores: np.ndarray) -> float:
    return float(np.mean([row[i] - np.log(np.mean(np.exp(row))) for i, row in enumerate(scores)]))


def _slow_club(scores: np.ndarray) -> float:
    return float(np.mean(np.diag(scores)) - np.mean(scores))


def test_bounds_equal_numpy() -> None:
    scores = torch.randn(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(nce_bound(scores)) == pytest.approx(_slow_nce(scores.numpy()), rel=1e-12)
    assert float(club_bound(scores)) == pytest.approx(_slow_club(scores.numpy()), rel=1e-12)


def test_bounds_hold_a_known_information_between_them() -> None:
    """The best critic of correlated Gaussians is their log density ratio; their information is -log(1 - rho^2) / 2."""
    rho, n = 0.7, 1500
    information = -0.5 * math.log(1 - rho**2)
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, n))
    y = rho * x + math.sqrt(1 - rho**2) * noise
    ratio = information - (rho**2 * (x[:, None] ** 2 + y**2) - 2 * rho * x[:, None] * y) / (2 * (1 - rho**2))
    scores = torch.tensor(ratio)
    assert float(nce_bound(scores)) == pytest.approx(information, abs=0.03)
    # By how much CLUB exceeds the truth: KL of the product of the marginals from the joint.
    surplus = rho**2 / (1 - rho**2) - information
    assert float(club_bound(scores)) == pytest.approx(information + surplus, abs=0.1)


def test_information_never_exceeds_log_of_the_batch_and_is_zero_for_a_blind_critic() -> None:
    assert float(nce_bound(1e3 * torch.eye(16))) == pytest.approx(math.log(16), rel=1e-6)
    blind = torch.full((5, 5), 3.0, dtype=torch.float64)
    assert float(nce_bound(blind)) == pytest.approx(0.0, abs=1e-12)
    assert float(club_bound(blind)) == pytest.approx(0.0, abs=1e-12)


def test_critic_is_an_mlp_of_each_pair_concatenated() -> None:
    torch.manual_seed(0)
    critic = Critic(3, 5, hidden=8).double()
    first, second = torch.randn(4, 3, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    pairs = [[torch.cat([x, y]).numpy() for y in second] for x in first]
    expected = [[_mlp(_linears(critic), pair)[0] for pair in row] for row in pairs]
    np.testing.assert_allclose(critic(first, second).detach().numpy(), expected, rtol=1e-10)
    assert [layer.out_features for layer in _linears(Critic(3, 5))] == [512, 512, 1]


def test_objective_equals_numpy_with_the_augmented_condition() -> None:
    terms, first, second = _setting()
    (x1, x1_aug), (x2, x2_aug) = first, second

    def value(condition1: torch.Tensor, condition2: torch.Tensor) -> float:
        return (
            -_slow_nce(_slow_scores(terms.nce, [x1], [x2]))
            + _slow_club(_slow_scores(terms.club, [x1], [x2]))
            - _slow_nce(_slow_scores(terms.own1, [x1], [x1_aug]))
            - _slow_nce(_slow_scores(terms.own2, [x2], [x2_aug]))
            - _slow_nce(_slow_scores(terms.nce_given, [x1, x1_aug], [x2, x2_aug]))
            + _slow_club(_slow_scores(terms.club_given, [x1, condition1], [x2, condition2]))
        )

    found = float(factorcl_objective(terms, first, second).detach())
    assert found == pytest.approx(value(x1_aug, x2_aug), rel=1e-10)
    assert found != pytest.approx(value(x1, x2), rel=1e-6)  # what the published code computes


def test_critic_loss_equals_numpy_with_the_augmented_condition() -> None:
    terms, first, second = _setting(1)
    plain = _slow_nce(_slow_scores(terms.club, first[:1], second[:1]))
    given = _slow_nce(_slow_scores(terms.club_given, first, second))
    assert float(critic_loss(terms, first, second).detach()) == pytest.approx(-plain - given, rel=1e-10)


def test_conditional_club_sends_gradient_to_the_augmentation() -> None:
    terms, (x1, x1_aug), second = _setting(2)
    x1_aug.requires_grad_()
    (gradient,) = torch.autograd.grad(club_bound(terms.club_given.frozen((x1, x1_aug), second)), x1_aug)
    assert float(gradient.abs().min()) > 0


def test_main_step_trains_everything_but_the_club_critics() -> None:
    terms, first, second = _setting(3)
    embeddings = [z.requires_grad_() for z in (*first, *second)]
    factorcl_objective(terms, first, second).backward()
    untrained = {name for name, weight in terms.named_parameters() if weight.grad is None}
    assert untrained == {name for name, _ in terms.named_parameters() if name.startswith(CLUB_CRITICS)}
    assert all(z.grad is not None and bool(z.grad.abs().sum() > 0) for z in embeddings)


def test_critic_step_trains_the_club_critics_alone() -> None:
    terms, first, second = _setting(4)
    embeddings = [z.requires_grad_() for z in (*first, *second)]
    critic_loss(terms, first, second).backward()
    trained = {name for name, weight in terms.named_parameters() if weight.grad is not None}
    assert trained == {name for name, _ in terms.named_parameters() if name.startswith(CLUB_CRITICS)}
    assert all(z.grad is None for z in embeddings)


def test_both_sides_of_one_modality_share_a_projection() -> None:
    terms, *_ = _setting(5)
    n_heads = {name: len(term.heads) for name, term in terms.named_children() if isinstance(term, Term)}
    assert n_heads == {"nce": 2, "club": 2, "own1": 1, "own2": 1, "nce_given": 2, "club_given": 2}


def test_objective_ignores_the_order_of_the_batch() -> None:
    terms, first, second = _setting(6)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    shuffled = ((x[order], y[order]) for x, y in (first, second))
    torch.testing.assert_close(factorcl_objective(terms, *shuffled), factorcl_objective(terms, first, second))


def test_gradient_of_the_objective_equals_finite_differences() -> None:
    terms, first, second = _setting(7, n=4, d=3)
    inputs = [z.clone().requires_grad_() for z in (*first, *second)]
    assert torch.autograd.gradcheck(lambda a, b, c, d: factorcl_objective(terms, (a, b), (c, d)), inputs)


def test_critic_step_raises_the_bound_it_is_trained_for() -> None:
    terms, _, _ = _setting(8)
    x = torch.randn(64, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    looks = (x, x + 0.1)
    before = float(critic_loss(terms, looks, looks).detach())
    optimizer = torch.optim.Adam(terms.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        critic_loss(terms, looks, looks).backward()
        optimizer.step()
    assert float(critic_loss(terms, looks, looks).detach()) < before - 0.5


def test_shapes_that_do_not_fit_are_refused() -> None:
    terms, first, second = _setting(9)
    for bound in (nce_bound, club_bound):
        with pytest.raises(ShapeMismatch, match=r"_bound got a table of shape \(3, 4\); it needs a square"):
            bound(torch.zeros(3, 4))
    for step in (factorcl_objective, critic_loss):
        with pytest.raises(ShapeMismatch, match=r"it needs each modality and its augmentation, all of one shape"):
            step(terms, first, (second[0], second[1][:3]))
