"""What training gained: how much of the clean targets the embedding explains, before and after. No optimiser here."""

from __future__ import annotations

import torch

from georeset_lab.models.fusion import fuse
from georeset_lab.train.crops import CropSampler
from georeset_lab.train.looks import encode_view
from georeset_lab.train.objectives import Prediction

_BATCHES = 8
_FIRST = -1000
"""Steps below zero are crops that no training step draws; the targets are fitted on those just below."""


@torch.no_grad()
def explained(module: Prediction, sampler: CropSampler) -> dict[str, float]:
    """Share of the variance of each block of targets that the fused mean explains, on unaltered crops.

    Parameters
    ----------
    module : Prediction
    sampler : CropSampler
        The same eight batches are drawn in every call.

    Returns
    -------
    dict
        Block -> 1 - squared error / variance; at most 1, and below 0 if the mean of the targets would be nearer. Blocks
        without targets (no radar, no teacher) are left out.
    """
    module.eval()
    pairs = []
    for k in range(_BATCHES):
        batch, _ = sampler.draw(_FIRST - k)
        if batch.reference:
            target, known = module.clean(batch)
            fused = fuse([encode_view(module.encoder, view)[0] for view in batch.first])
            pairs.append((fused.mean, target.flatten(0, 1), known.flatten(0, 1)))
    module.train()
    if not pairs:
        return {}
    mean, target, known = (torch.cat(column) for column in zip(*pairs, strict=True))
    out, first = {}, 0
    for block, size in module.targets.sizes.items():
        part = slice(first, first + size)
        first += size
        seen = known[:, part].all(1)
        if bool(seen.any()) and size:
            truth = target[seen, part]
            error = (truth - mean[seen, part]).square().sum()
            out[block] = float(1 - error / (truth - truth.mean(0)).square().sum().clamp_min(1e-9))
    return out


def table(before: dict[str, float], after: dict[str, float]) -> str:
    """Lines to print: what was explained of each block of targets before and after.

    Examples
    --------
    >>> print(table({"pixel": 0.5}, {"pixel": 0.75}))
    share of the targets explained   before   after
    pixel                              0.50    0.75
    """
    lines = ["share of the targets explained   before   after"]
    return "\n".join([*lines, *(f"{name:<30}{value:9.2f}{after[name]:8.2f}" for name, value in before.items())])
