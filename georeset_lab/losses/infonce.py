"""InfoNCE on a matrix of scores, and the cosine scores of the CLIP baseline."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.errors import ShapeMismatch


def info_nce(scores: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE of a score matrix whose diagonal holds the positive pairs.

    Parameters
    ----------
    scores : Tensor, shape (B, B)
        ``scores[i, j]``: how well view 1 of sample i fits view 2 of sample j.
    ignore : Tensor, shape (B, B), bool, optional
        True for pairs that are neither positive nor negative (neighbours on the ground); the diagonal is always kept.

    Returns
    -------
    Tensor, shape ()
        Mean of the two cross-entropies, in nats; ``log B`` when nothing is told apart.

    Raises
    ------
    ShapeMismatch
        The matrix is not square.

    Notes
    -----
    van den Oord et al. (2018), equation 4, in both directions as in CLIP (Radford et al., 2021).

    Examples
    --------
    >>> round(float(info_nce(torch.zeros(8, 8))), 4) == round(math.log(8), 4)
    True
    """
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise ShapeMismatch(f"info_nce got scores of shape {tuple(scores.shape)}; it needs a square matrix (B, B).")
    if ignore is not None:
        off = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(ignore & off, float("-inf"))
    target = torch.arange(len(scores), device=scores.device)
    return 0.5 * (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target))


class CosineScores(nn.Module):
    """Cosine similarity times a learned scale: the scores of CLIP.

    Notes
    -----
    Radford et al. (2021): the scale starts at 1 / 0.07 and is kept at or below 100.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Scores (B1, B2) of vectors (B1, D) and (B2, D)."""
        scale = self.log_scale.clamp_max(math.log(100.0)).exp()
        return scale * F.normalize(first, dim=-1, eps=1e-6) @ F.normalize(second, dim=-1, eps=1e-6).T
