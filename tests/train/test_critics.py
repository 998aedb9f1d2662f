"""Critics: matching experts cost less, both natural parameters learn, and pairs that are ignored are really left out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from georeset_lab.errors import RecipeError
from georeset_lab.models.fusion import Gaussian
from georeset_lab.train.critics import CONTRASTS, make_critic

B, D = 16, 4


def expert(mean: Tensor, tau: Tensor) -> Gaussian:
    """Expert with this posterior mean."""
    return Gaussian(mean * (1 + tau), tau)


def draw(seed: int) -> tuple[Tensor, Tensor]:
    """Means and precisions (B, D), float64."""
    chance = torch.Generator().manual_seed(seed)
    mean = torch.randn(B, D, generator=chance, dtype=torch.float64)
    return mean, 8 + 12 * torch.rand(B, D, generator=chance, dtype=torch.float64)


def matching(seed: int = 0) -> tuple[Gaussian, Gaussian]:
    """Two looks at the same places: the same means but for a little noise."""
    (mean, tau), (noise, tau2) = draw(seed), draw(seed + 100)
    return expert(mean, tau), expert(mean + 0.2 * noise, tau2)


def critic(name: str) -> torch.nn.Module:
    return make_critic(name).double()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CONTRASTS)
def test_pairs_that_match_cost_less_than_shuffled_ones(name: str, seed: int) -> None:
    a, b = matching(seed)
    shuffled = Gaussian(*(z.roll(1, 0) for z in b))
    loss, wrong = (critic(name)(a, other).item() for other in (b, shuffled))
    assert 0 <= loss < float("inf")
    assert loss < wrong - 0.1


@pytest.mark.parametrize("name", CONTRASTS)
def test_the_order_of_places_does_not_matter(name: str) -> None:
    a, b = matching()
    order = torch.randperm(B, generator=torch.Generator().manual_seed(1))
    turned = [Gaussian(*(z[order] for z in e)) for e in (a, b)]
    torch.testing.assert_close(critic(name)(*turned), critic(name)(a, b))


@pytest.mark.parametrize("name", CONTRASTS)
def test_gradient_reaches_eta_and_tau_of_both_sides(name: str) -> None:
    # Unrelated and close to 0, so that no place is yet told apart so well that its gradient vanishes.
    leaves = [
        z.requires_grad_()
        for seed in (0, 1)
        for z in expert(*(x * w for x, w in zip(draw(seed), (0.3, 1), strict=True)))
    ]
    critic(name)(Gaussian(*leaves[:2]), Gaussian(*leaves[2:])).backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
        assert (leaf.grad.abs().amax(1) > 1e-12).all(), "every place learns"


@pytest.mark.parametrize("name", CONTRASTS)
def test_all_but_infonce_learn_the_spread_at_a_fixed_mean(name: str) -> None:
    """The cosine sees the mean alone: what InfoNCE sends into tau only moves the mean."""
    mean, tau = draw(0)

    def learned(other: Gaussian) -> Tensor:
        leaf = tau.detach().requires_grad_()
        critic(name)(expert(mean, leaf), other).backward()
        assert leaf.grad is not None
        return leaf.grad

    here, there = (learned(expert(*draw(seed))) for seed in (1, 2))
    assert (here.abs().max() < 1e-12) == (name == "infonce")
    # Not only from the pull to the prior, which is the same whoever the partners are.
    assert name == "infonce" or (here - there).abs().max() > 1e-6


@pytest.mark.parametrize("name", CONTRASTS)
def test_an_ignored_pair_is_left_out(name: str) -> None:
    """What place 0 learns does not depend on place 1 of the other side once their pair is ignored."""
    a, b = matching()
    other = Gaussian(*(torch.cat([z[:1], z[:1], z[2:]]) for z in b))  # place 1 now looks like place 0
    ignore = torch.zeros(B, B, dtype=torch.bool)
    ignore[0, 1] = True

    def learned(b: Gaussian, ignore: Tensor | None) -> Tensor:
        leaves = [z.detach().requires_grad_() for z in a]
        critic(name)(Gaussian(*leaves), b, ignore).backward()
        return torch.cat([leaf.grad[0] for leaf in leaves if leaf.grad is not None])

    torch.testing.assert_close(learned(b, ignore), learned(other, ignore))
    assert (learned(b, None) - learned(other, None)).abs().max() > 1e-5


@pytest.mark.parametrize("name", CONTRASTS)
def test_ignoring_a_near_twin_lowers_the_loss(name: str) -> None:
    a, b = matching()
    a, b = (Gaussian(*(torch.cat([z[:1], z[:1], z[2:]]) for z in e)) for e in (a, b))
    twins = torch.zeros(B, B, dtype=torch.bool)
    twins[0, 1] = twins[1, 0] = True
    assert critic(name)(a, b, twins).item() < critic(name)(a, b).item() - 1e-3


@pytest.mark.parametrize("name", CONTRASTS)
def test_ignoring_a_pair_that_is_far_off_changes_little(name: str) -> None:
    """CSD is a mean over the pairs that are kept, so there the loss may rise by their share."""
    a, b = matching()
    a, b = (Gaussian(torch.cat([e.eta[:1], -e.eta[:1], e.eta[2:]]), e.tau[[0, 0, *range(2, B)]]) for e in (a, b))
    apart = torch.zeros(B, B, dtype=torch.bool)
    apart[0, 1] = apart[1, 0] = True
    with_pair, without = (critic(name)(a, b, ignore).item() for ignore in (None, apart))
    share = 2 / (B * B - 2) if name == "csd" else 0.0
    assert without == pytest.approx(with_pair * (1 + share), abs=1e-5)


@pytest.mark.parametrize("name", CONTRASTS)
def test_a_mask_on_the_diagonal_ignores_nothing(name: str) -> None:
    a, b = matching()
    diagonal = torch.eye(B, dtype=torch.bool)
    torch.testing.assert_close(critic(name)(a, b, diagonal), critic(name)(a, b))


def test_an_unknown_name_is_refused_with_the_list() -> None:
    with pytest.raises(RecipeError, match=r"'clip'.*'pmi', 'infonce', 'elk', 'csd', 'prolip'"):
        make_critic("clip")
