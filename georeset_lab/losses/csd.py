"""PCME++: the closed-form sampled distance of two Gaussian embeddings, and the soft matching loss on it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.losses.shapes import require_gaussians, require_square

_PSEUDO_WEIGHT = 0.1  # smoothness_alpha of PCME++
_START = 5.0  # init_shift and init_negative_scale of PCME++, criterions/pcmepp.py


def sampled_distance(mean1: Tensor, var1: Tensor, mean2: Tensor, var2: Tensor) -> Tensor:
    """Squared distance expected between a sample of one Gaussian and a sample of the other, for every pair.

    Parameters
    ----------
    mean1, var1 : Tensor, shape (B1, D)
        First Gaussians; means are L2-normalised here, ``var >= 0`` is the variance (published code calls its logarithm
        "std").
    mean2, var2 : Tensor, shape (B2, D)

    Returns
    -------
    Tensor, shape (B1, B2)

    Raises
    ------
    ShapeMismatch
        The Gaussians disagree on D, or mean and variance on their shape.

    Notes
    -----
    Chun (2024), "Improved probabilistic image-text representations", equation 1:

    ``d = |m1 - m2|^2 + sum_d v1 + sum_d v2``.

    Only the sum of a variance enters, so its gradient is the same in every dimension: this distance cannot say *which*
    part of an embedding is unsure.

    Examples
    --------
    >>> one, sure = torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)
    >>> round(float(sampled_distance(one, sure, -one, sure)), 4)
    4.0
    """
    require_gaussians("sampled_distance", mean1, var1, mean2, var2)
    cosine = F.normalize(mean1, dim=-1, eps=1e-6) @ F.normalize(mean2, dim=-1, eps=1e-6).T
    return 2.0 - 2.0 * cosine + var1.sum(-1)[:, None] + var2.sum(-1)


class CSDScores(nn.Module):
    """Logit of a match, ``-a * distance + b``, with a and b learned from 5 and 5.

    Notes
    -----
    Chun (2024), equation 2: the probability of a match is the sigmoid of this logit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(_START))
        self.shift = nn.Parameter(torch.tensor(_START))

    def forward(self, mean1: Tensor, var1: Tensor, mean2: Tensor, var2: Tensor) -> Tensor:
        """Logits (B1, B2) of Gaussians (B1, D) and (B2, D)."""
        return self.shift - self.scale * sampled_distance(mean1, var1, mean2, var2)


def matching_loss(logits: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Cross-entropy of match against no match over all pairs, softened by pairs that look like matches.

    Parameters
    ----------
    logits : Tensor, shape (B, B)
        ``logits[i, j]``: does view 1 of sample i match view 2 of sample j; the diagonal holds the positive pairs.
    ignore : Tensor, shape (B, B), bool, optional
        True for pairs that are neither positive nor negative; the diagonal is always kept.

    Returns
    -------
    Tensor, shape ()
        Nats: twice the mean over pairs, plus 0.1 times the same mean after relabelling, for each direction.

    Raises
    ------
    ShapeMismatch
        The matrix is not square.

    Notes
    -----
    Chun (2024), as in ``criterions/pcmepp.py``: the two directions share one table, so the loss is doubled. A pair that
    scores above the positive of its row (then of its column) is a pseudo-positive, relabelled 1. The published code also
    relabels ties; here they stay negatives, or a batch that is not yet told apart would be all positive.

    Examples
    --------
    >>> logits = 20.0 * (2 * torch.eye(4) - 1)
    >>> round(float(matching_loss(logits)), 4)
    0.0
    """
    require_square("matching_loss", logits)
    positive = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    kept = positive | ~ignore if ignore is not None else torch.ones_like(positive)
    own = logits.diagonal()
    above_row, above_column = logits > own[:, None], logits > own
    pseudo = _cross_entropy(logits, above_row | positive, kept) + _cross_entropy(logits, above_column | positive, kept)
    return 2.0 * _cross_entropy(logits, positive, kept) + _PSEUDO_WEIGHT * pseudo


def _cross_entropy(logits: Tensor, label: Tensor, kept: Tensor) -> Tensor:
    """Mean binary cross-entropy over the pairs that are kept."""
    return F.binary_cross_entropy_with_logits(logits[kept], label[kept].to(logits.dtype))
