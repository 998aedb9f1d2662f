"""ProLIP: pairwise sigmoid contrast of Gaussian embeddings, and the loss that puts a full input inside its masked copy."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.losses.shapes import require_gaussians, require_one_shape, require_square

INCLUSION_SCALE = 1000.0
"""Slope of the inclusion loss [ProLIP ``src/prolip/loss.py``]; its weight there is 1e-3 (image in text: 1e-7)."""


class ProLIPScores(nn.Module):
    """Logit of a match, ``a * (m1.m2 - sum_d (v1 + v2) / 2) + b``, with unit means and a and b learned.

    Notes
    -----
    Chun et al. (2025), "Probabilistic language-image pre-training", the pairwise contrastive loss. With unit means the
    bracket is 1 minus half the distance of ``csd``, so here too a variance counts only by its sum. The scale is learned
    as a logarithm; it starts at 10 and b at -10, as in SigLIP (Zhai et al., 2023).
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def forward(self, mean1: Tensor, var1: Tensor, mean2: Tensor, var2: Tensor) -> Tensor:
        """Logits (B1, B2) of Gaussians (B1, D) and (B2, D); ``var`` is the variance, ShapeMismatch if they disagree."""
        require_gaussians("ProLIPScores", mean1, var1, mean2, var2)
        cosine = F.normalize(mean1, dim=-1, eps=1e-6) @ F.normalize(mean2, dim=-1, eps=1e-6).T
        return self.log_scale.exp() * (cosine - 0.5 * (var1.sum(-1)[:, None] + var2.sum(-1))) + self.bias


def sigmoid_loss(logits: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Sigmoid contrast of a table of logits whose diagonal holds the positive pairs.

    Parameters
    ----------
    logits : Tensor, shape (B, B)
    ignore : Tensor, shape (B, B), bool, optional
        True for pairs that are neither positive nor negative; the diagonal is always kept.

    Returns
    -------
    Tensor, shape ()
        Nats: ``-logsigmoid`` of the logit where it should be high and of its negative elsewhere, summed over pairs and
        divided by B.

    Raises
    ------
    ShapeMismatch
        The matrix is not square.

    Notes
    -----
    Zhai et al. (2023), "Sigmoid loss for language image pre-training", algorithm 1; ProLIP uses it unchanged.

    Examples
    --------
    >>> round(float(sigmoid_loss(torch.zeros(4, 4))), 4) == round(4 * math.log(2), 4)
    True
    """
    require_square("sigmoid_loss", logits)
    positive = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    losses = -F.logsigmoid(logits.where(positive, -logits))
    if ignore is not None:
        losses = losses.masked_fill(ignore & ~positive, 0.0)
    return losses.sum() / len(logits)


def inclusion(mean1: Tensor, var1: Tensor, mean2: Tensor, var2: Tensor) -> Tensor:
    """How much better the first Gaussian lies inside the second than the second inside the first, by dimension.

    Parameters
    ----------
    mean1, var1, mean2, var2 : Tensor, shape (..., D)
        Paired Gaussians; ``var > 0`` is the variance.

    Returns
    -------
    Tensor, shape (..., D)
        Nats; positive exactly where ``var1 < var2``, 0 where they are equal, and negated by swapping the two.

    Raises
    ------
    ShapeMismatch
        The four inputs differ in shape.

    Notes
    -----
    Chun et al. (2025), the inclusion test: log of the integral of q1^2 q2, minus that of q1 q2^2. Since q1^2 is
    N(m1, v1 / 2) over sqrt(4 pi v1), the first is ``-1/2 log(4 pi v1) - 1/2 log(pi (v1 + 2 v2)) - (m1 - m2)^2 / (v1 + 2
    v2)``, so the difference is

    ``1/2 log(v2 / v1) + 1/2 log((2 v1 + v2) / (v1 + 2 v2)) + (m1 - m2)^2 (1 / (2 v1 + v2) - 1 / (v1 + 2 v2))``.

    The published code has ``log(v2 / v1)`` without the half: it puts log variances where log sigmas belong. It also
    damps the mean term by exp(-10), which belongs to its start at log v = -10; we leave that out. Distance between the
    means never changes the sign, it only adds to what the variances say.

    Examples
    --------
    >>> mean = torch.zeros(1)
    >>> round(float(inclusion(mean, torch.tensor([1.0]), mean, torch.tensor([4.0]))), 4)
    0.4904
    """
    require_one_shape("inclusion", "means and variances of one shape (..., D)", mean1, var1, mean2, var2)
    inner, outer = 2.0 * var1 + var2, var1 + 2.0 * var2
    spread = 0.5 * (var2.log() - var1.log() + inner.log() - outer.log())
    return spread + (mean1 - mean2) ** 2 * (1.0 / inner - 1.0 / outer)


def inclusion_loss(
    mean: Tensor, var: Tensor, outer_mean: Tensor, outer_var: Tensor, *, scale: float = INCLUSION_SCALE
) -> Tensor:
    """Penalty where a Gaussian is not inside the one that should contain it (an input inside its masked copy).

    Parameters
    ----------
    mean, var : Tensor, shape (..., D)
        Inner Gaussians, of the full inputs.
    outer_mean, outer_var : Tensor, shape (..., D)
        Outer Gaussians, of the masked inputs.
    scale : float
        Slope. Keep it steep: a satisfied dimension must have no gradient, for it would push the two means apart.

    Returns
    -------
    Tensor, shape ()
        Mean over pairs and dimensions of ``-logsigmoid(scale * inclusion)``, in nats.

    Raises
    ------
    ShapeMismatch
        The four inputs differ in shape.
    """
    return -F.logsigmoid(scale * inclusion(mean, var, outer_mean, outer_var)).mean()
