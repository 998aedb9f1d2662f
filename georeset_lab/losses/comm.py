"""CoMM: contrast of what a fusion says from one modality with what it says from all of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from georeset_lab.errors import ShapeMismatch
from georeset_lab.losses.shapes import require_one_shape

TEMPERATURE = 0.1
"""CoMM ``losses/comm_loss.py``."""


def comm_loss(
    first: tuple[Tensor, Tensor],
    second: tuple[Tensor, Tensor],
    *,
    ignore: Tensor | None = None,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Agreement of each modality, seen alone through the fusion, with all modalities in the other view.

    Parameters
    ----------
    first, second : pair of Tensor, shapes (M, B, D) and (B, D)
        One view each: fused embeddings with every modality but one masked, and the embedding of all.
    ignore : Tensor, shape (B, B), bool, optional
        True for samples that are not negatives of each other; symmetric.
    temperature : float

    Returns
    -------
    Tensor, shape ()
        Mean over M single modalities and the full embedding, and over both views, in nats.

    Raises
    ------
    ShapeMismatch
        The views differ in shape, or a single-modality embedding differs from the full one.

    Notes
    -----
    Dufumier, Castillo-Navarro et al. (2025), "What to align in multimodal contrastive learning?", averaged as in
    ``losses/comm_loss.py``. The fusion transformer is not here: this is a function of the embeddings it gives.
    """
    (singles1, full1), (singles2, full2) = first, second
    if singles1.ndim != 3 or not (
        singles1.shape == singles2.shape and singles1.shape[1:] == full1.shape == full2.shape
    ):
        given = ", ".join(str(tuple(z.shape)) for z in (*first, *second))
        raise ShapeMismatch(f"comm_loss got {given}; it needs (M, B, D) and (B, D) in each view.")
    losses = [nt_xent(full1, full2, ignore=ignore, temperature=temperature)]
    for one, other in zip(singles1, singles2, strict=True):
        sides = ((one, full2), (other, full1))
        losses.append(torch.stack([nt_xent(*s, ignore=ignore, temperature=temperature) for s in sides]).mean())
    return torch.stack(losses).mean()


def nt_xent(first: Tensor, second: Tensor, *, ignore: Tensor | None = None, temperature: float = TEMPERATURE) -> Tensor:
    """Cross-entropy of finding a sample's other view among all other embeddings of both views, by cosine.

    Parameters
    ----------
    first, second : Tensor, shape (B, D)
    ignore : Tensor, shape (B, B), bool, optional
        True for samples that are not negatives of each other; symmetric. Positive pairs are always kept.
    temperature : float

    Returns
    -------
    Tensor, shape ()
        Nats; ``log(2 B - 1)`` when nothing is told apart.

    Raises
    ------
    ShapeMismatch
        The two views differ in shape.

    Notes
    -----
    Chen et al. (2020), "A simple framework for contrastive learning of visual representations", equation 1. Unlike
    ``info_nce``, the other samples of the same view are negatives too.

    Examples
    --------
    >>> round(float(nt_xent(torch.ones(4, 2), torch.ones(4, 2)).exp()), 4)
    7.0
    """
    require_one_shape("nt_xent", "two views of one shape (B, D)", first, second)
    both = F.normalize(torch.cat([first, second]), dim=-1, eps=1e-6)
    rows = torch.arange(len(both), device=both.device)
    partner = rows.roll(len(first))
    never = torch.eye(len(both), dtype=torch.bool, device=both.device)
    if ignore is not None:
        never = never | ignore.repeat(2, 2)
        never[rows, partner] = False
    return F.cross_entropy((both @ both.T / temperature).masked_fill(never, float("-inf")), partner)
