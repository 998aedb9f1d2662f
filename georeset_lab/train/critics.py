"""`make_critic`: how well two views agree, by objective. Which views meet is in ``objectives.py``."""

from __future__ import annotations

from torch import Tensor, nn

from georeset_lab.errors import RecipeError
from georeset_lab.losses.csd import CSDScores, matching_loss
from georeset_lab.losses.elk import KL_WEIGHT, elk_scores, kl_to_prior
from georeset_lab.losses.infonce import CosineScores, info_nce
from georeset_lab.losses.pmi import pmi_scores
from georeset_lab.losses.prolip import ProLIPScores, sigmoid_loss
from georeset_lab.models.fusion import Gaussian

_VIB = 1e-4
"""Weight of the information bottleneck of PCME++ and ProLIP, whose KL is a mean over dimensions."""


class PMI(nn.Module):
    """InfoNCE over pointwise mutual information: Gaussian experts, precision learned for each dimension."""

    def forward(self, a: Gaussian, b: Gaussian, ignore: Tensor | None = None) -> Tensor:
        """Loss of experts (B, D) whose rows belong together; ``ignore`` (B, B) marks pairs that count for neither."""
        return info_nce(pmi_scores(*a, *b), ignore)


class InfoNCE(nn.Module):
    """InfoNCE over the cosine of means: no uncertainty."""

    def __init__(self) -> None:
        super().__init__()
        self.cosine = CosineScores()

    def forward(self, a: Gaussian, b: Gaussian, ignore: Tensor | None = None) -> Tensor:
        """As `PMI.forward`."""
        return info_nce(self.cosine(a.mean, b.mean), ignore)


class ELK(nn.Module):
    """InfoNCE over the expected likelihood kernel, with a small pull to the prior that fixes the scale."""

    def forward(self, a: Gaussian, b: Gaussian, ignore: Tensor | None = None) -> Tensor:
        """As `PMI.forward`."""
        pull = kl_to_prior(a.mean, a.var) + kl_to_prior(b.mean, b.var)
        return info_nce(elk_scores(a.mean, a.var, b.mean, b.var), ignore) + KL_WEIGHT * pull


class CSD(nn.Module):
    """Matching probability from the closed-form sampled distance (PCME++)."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = CSDScores()

    def forward(self, a: Gaussian, b: Gaussian, ignore: Tensor | None = None) -> Tensor:
        """As `PMI.forward`."""
        pull = (kl_to_prior(a.mean, a.var) + kl_to_prior(b.mean, b.var)) / a.tau.shape[-1]
        return matching_loss(self.scores(a.mean, a.var, b.mean, b.var), ignore) + _VIB * pull


class ProLIP(nn.Module):
    """Sigmoid loss on inner products less the mean variance."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = ProLIPScores()

    def forward(self, a: Gaussian, b: Gaussian, ignore: Tensor | None = None) -> Tensor:
        """As `PMI.forward`."""
        pull = (kl_to_prior(a.mean, a.var) + kl_to_prior(b.mean, b.var)) / a.tau.shape[-1]
        return sigmoid_loss(self.scores(a.mean, a.var, b.mean, b.var), ignore) + _VIB * pull


_CRITICS: dict[str, type[nn.Module]] = {"pmi": PMI, "infonce": InfoNCE, "elk": ELK, "csd": CSD, "prolip": ProLIP}
CONTRASTS = tuple(_CRITICS)
"""Objectives that compare views with each other."""


def make_critic(objective: str) -> nn.Module:
    """Critic of an objective, one of `CONTRASTS`.

    Raises
    ------
    RecipeError
        Unknown name.
    """
    if objective not in _CRITICS:
        raise RecipeError(f"Unknown contrast {objective!r}; use one of {', '.join(map(repr, CONTRASTS))}.")
    return _CRITICS[objective]()
