"""`widened`: weights of encoders that knew less about their input, as weights of today's that ignore the rest."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_GREW = ("tokens.weight", "head.mix.weight", "head.beside.weight")
"""Layers that read what is measured in cells; they gained the sharpness of the image, at the end of each cell's share."""


def widened(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, cells_per_token: int) -> dict[str, Tensor]:
    """Weights whose layers read fewer inputs, with zeros for the inputs they did not have.

    Parameters
    ----------
    weights : mapping
        As they were stored; the others are returned as they are.
    wanted : mapping
        Of a fresh encoder of the same sizes.
    cells_per_token : int
        Cells that a token reads side by side.

    Returns
    -------
    dict
        An encoder with these weights gives the same numbers as the one that was stored.
    """
    out = dict(weights)
    for name in _GREW:
        if name not in weights or weights[name].shape == wanted[name].shape:
            continue
        shares = cells_per_token if name == "tokens.weight" else 1
        old, new = (z.reshape(len(z), shares, -1) for z in (weights[name], torch.zeros_like(wanted[name])))
        if old.shape[-1] > new.shape[-1]:
            continue  # from a version that knows more: it will be refused for its shape
        new[..., : old.shape[-1]] = old
        out[name] = new.reshape(wanted[name].shape)
    return out
