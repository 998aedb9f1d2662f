"""`turned_components`: principal components, turned at random so that every dimension has variance 1."""

from __future__ import annotations

import torch
from torch import Tensor


def turned_components(sample: Tensor, size: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Centre and projection of features on ``size`` random mixtures of their leading components.

    Parameters
    ----------
    sample : Tensor, shape (N, F)
    size : int
        More than F gives mixtures that are not independent.
    draw : torch.Generator

    Returns
    -------
    centre : Tensor, shape (F,)
    turn : Tensor, shape (F, size)
        ``(sample - centre) @ turn`` has mean 0 and variance 1 in every column.

    Notes
    -----
    Ours: components keep the weight of their variance, unlike whitened ones, and yet no dimension is worth more than
    another (README, "What was tried").
    """
    sample = sample.double()
    centre, scale = sample.mean(0), sample.std(0).clamp_min(1e-6)
    values, vectors = torch.linalg.eigh(torch.cov(((sample - centre) / scale).T))
    top = vectors[:, -min(size, len(values)) :]
    square, _ = torch.linalg.qr(torch.randn(max(size, top.shape[1]), size, generator=draw, dtype=torch.float64))
    turn = top @ square[: top.shape[1]] / scale[:, None]
    return centre, turn / ((sample - centre) @ turn).std(0).clamp_min(1e-9)
