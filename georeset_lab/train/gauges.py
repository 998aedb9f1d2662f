"""Gauges of collapse: numbers that fall long before a loss does. Logged by the loop for every objective."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.models.fusion import Gaussian


@torch.no_grad()
def gauges(expert: Gaussian) -> dict[str, float]:
    """Health of a batch of embeddings of different places.

    Parameters
    ----------
    expert : Gaussian
        ``eta`` and ``tau`` of shape (N, D).

    Returns
    -------
    dict of float
        ``spread``: standard deviation of the L2-normalised mean times sqrt(D) (1 = spread out, 0 = collapsed);
        ``rank``: effective rank, exp of the entropy of the normalised singular values; ``cosine``: mean cosine of two
        places; ``certainty``, ``certainty_low``, ``certainty_high``: mean and 5 % and 95 % quantiles of 1 - variance;
        ``certainty_spread``: standard deviation over places of the certainty summed over dimensions (0 = constant).
    """
    mean, certainty = expert.mean.float(), 1.0 - expert.var.float()
    unit = F.normalize(mean, dim=1, eps=1e-6)
    n, d = unit.shape
    centred = mean - mean.mean(0)
    low, high = torch.quantile(certainty.flatten()[:100_000], torch.tensor([0.05, 0.95], device=mean.device)).tolist()
    return {
        "spread": float(unit.std(0).mean() * d**0.5),
        "rank": effective_rank(centred),
        "cosine": float((unit.sum(0).square().sum() - n) / (n * (n - 1))),
        "certainty": float(certainty.mean()),
        "certainty_low": low,
        "certainty_high": high,
        "certainty_spread": float(certainty.sum(1).std()),
    }


def effective_rank(vectors: Tensor) -> float:
    """exp(entropy of the normalised singular values) of (N, D); Roy and Vetterli (2007)."""
    share = torch.linalg.svdvals(vectors)
    share = share / share.sum().clamp_min(1e-12)
    return float(torch.exp(-(share * share.clamp_min(1e-12).log()).sum()))
