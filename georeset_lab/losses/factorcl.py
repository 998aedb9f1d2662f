"""FactorCL without labels: what two modalities share and what each has alone, by bounds on mutual information."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from georeset_lab.losses.shapes import require_one_shape, require_square

HIDDEN = 512
"""Width of a critic [FactorCL ``synthetic_model.py``]."""

Looks = tuple[Tensor, ...]
"""Embeddings (B, D) of one side of a term: the sample and, if the term is conditional, its augmentation."""


def nce_bound(scores: Tensor) -> Tensor:
    """InfoNCE: a lower bound of the mutual information of two variables, from a critic's scores.

    Parameters
    ----------
    scores : Tensor, shape (B, B)
        ``scores[i, j]``: critic of sample i of the first and sample j of the second; pairs on the diagonal.

    Returns
    -------
    Tensor, shape ()
        Nats, at most ``log B``.

    Raises
    ------
    ShapeMismatch
        The matrix is not square.

    Notes
    -----
    van den Oord et al. (2018), equation 5; in one direction, as in FactorCL.

    Examples
    --------
    >>> round(float(nce_bound(100.0 * torch.eye(8)).exp()), 3)
    8.0
    """
    require_square("nce_bound", scores)
    return (scores.diagonal() - scores.logsumexp(1)).mean() + math.log(len(scores))


def club_bound(scores: Tensor) -> Tensor:
    """CLUB: an upper bound of the mutual information, if the critic is the one that makes ``nce_bound`` tight.

    Parameters
    ----------
    scores : Tensor, shape (B, B)

    Returns
    -------
    Tensor, shape ()
        Nats: mean score of pairs minus mean score of all.

    Raises
    ------
    ShapeMismatch
        The matrix is not square.

    Notes
    -----
    Cheng et al. (2020), "CLUB", with InfoNCE's critic in place of a log likelihood, as in Liang et al. (2023).

    Examples
    --------
    >>> float(club_bound(torch.eye(4)))
    0.75
    """
    require_square("club_bound", scores)
    return scores.diagonal().mean() - scores.mean()


class Critic(nn.Module):
    """Score of every pair of embeddings, from an MLP on the two concatenated.

    Parameters
    ----------
    width1, width2 : int
    hidden : int
        Width of the first layer and of the one extra layer. Memory is 2 B^2 hidden floats: 64 MiB at B = 128.
    """

    def __init__(self, width1: int, width2: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.widths = [width1, width2]
        self.joint = nn.Linear(width1 + width2, hidden)
        self.rest = nn.Sequential(
            nn.ReLU(inplace=True), nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 1)
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Scores (B1, B2) of embeddings (B1, width1) and (B2, width2)."""
        # A linear layer of a concatenation is a sum: each side goes through its half once, not once for every pair.
        weight1, weight2 = self.joint.weight.split(self.widths, dim=1)
        pairs = F.linear(first, weight1)[:, None] + F.linear(second, weight2, self.joint.bias)
        return self.rest(pairs).squeeze(-1)


class Term(nn.Module):
    """One term of the objective: a projection for each side, and a critic of the projected.

    Parameters
    ----------
    width : int
        D of the embeddings.
    n_looks : int
        2 for a term conditioned on the augmentations, whose projections are concatenated; else 1.
    n_heads : int
        1 when both sides are of one modality and share a projection; else 2.
    """

    def __init__(self, width: int, *, n_looks: int = 1, n_heads: int = 2, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(n_heads)
        )
        self.critic = Critic(n_looks * width, n_looks * width, hidden)

    def project(self, first: Looks, second: Looks) -> tuple[Tensor, Tensor]:
        """Both sides (B, n_looks * D) as the critic takes them."""
        one, other = self.heads[0], self.heads[-1]
        return torch.cat([one(look) for look in first], -1), torch.cat([other(look) for look in second], -1)

    def forward(self, first: Looks, second: Looks) -> Tensor:
        """Scores (B, B)."""
        return self.critic(*self.project(first, second))

    def frozen(self, first: Looks, second: Looks) -> Tensor:
        """Scores (B, B) whose gradient reaches embeddings and projections but not the critic."""
        weights = {name: weight.detach() for name, weight in self.critic.named_parameters()}
        return functional_call(self.critic, weights, self.project(first, second))


class FactorCLTerms(nn.Module):
    """The six terms of ``factorcl_objective``, for embeddings of ``width`` dimensions.

    One optimiser will do for both steps: what a step doesn't train gets no gradient, not a zero one.
    """

    def __init__(self, width: int, *, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.nce, self.club = Term(width, hidden=hidden), Term(width, hidden=hidden)
        self.own1, self.own2 = (Term(width, n_heads=1, hidden=hidden) for _ in range(2))
        self.nce_given, self.club_given = (Term(width, n_looks=2, hidden=hidden) for _ in range(2))


def factorcl_objective(terms: FactorCLTerms, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Main step: keep what is shared and relevant, and what each modality has alone, drop the rest.

    Parameters
    ----------
    terms : FactorCLTerms
        CLUB's two critics are held still: here they are estimators, and training them to a low bound would cheat.
    first, second : pair of Tensor, shape (B, D)
        Embeddings of one modality and of its augmentation, for each of the two modalities.

    Returns
    -------
    Tensor, shape ()
        Nats, to be minimised.

    Raises
    ------
    ShapeMismatch
        The four embeddings differ in shape.

    Notes
    -----
    Liang et al. (2023), "Factorized contrastive learning: going beyond multi-view redundancy", the self-supervised
    form, with x' the augmentation of x:

    ``- NCE(x1; x2) + CLUB(x1; x2) - NCE(x1; x1') - NCE(x2; x2') - NCE(x1; x2 | x1', x2') + CLUB(x1; x2 | x1', x2')``.

    A condition is concatenated to both sides. In the published code the conditional CLUB concatenates each embedding
    with itself, not with its augmentation; we follow the paper.
    """
    _check("factorcl_objective", first, second)
    (x1, x1_augmented), (x2, x2_augmented) = first, second
    shared = -nce_bound(terms.nce((x1,), (x2,))) + club_bound(terms.club.frozen((x1,), (x2,)))
    own = -nce_bound(terms.own1((x1,), (x1_augmented,))) - nce_bound(terms.own2((x2,), (x2_augmented,)))
    given = -nce_bound(terms.nce_given(first, second)) + club_bound(terms.club_given.frozen(first, second))
    return shared + own + given


def critic_loss(terms: FactorCLTerms, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Step of CLUB's critics: one to five on fresh batches after each main step.

    Parameters
    ----------
    terms : FactorCLTerms
        Only ``club.critic`` and ``club_given.critic`` receive a gradient.
    first, second : pair of Tensor, shape (B, D)
        As in ``factorcl_objective``.

    Returns
    -------
    Tensor, shape ()
        Minus the two InfoNCE bounds, in nats.

    Raises
    ------
    ShapeMismatch
        The four embeddings differ in shape.
    """
    _check("critic_loss", first, second)
    with torch.no_grad():
        plain = terms.club.project(first[:1], second[:1])
        given = terms.club_given.project(first, second)
    return -nce_bound(terms.club.critic(*plain)) - nce_bound(terms.club_given.critic(*given))


def _check(name: str, first: Looks, second: Looks) -> None:
    require_one_shape(name, "each modality and its augmentation, all of one shape (B, D)", *first, *second)
