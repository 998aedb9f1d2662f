"""`fit_signature`: the constants of a `Signature` from unlabelled views: kernels cut from them, principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from georeset_lab.data.bands import band_table
from georeset_lab.train.components import turned_components

if TYPE_CHECKING:
    from georeset_lab.models.encoder import Encoder
    from georeset_lab.models.signature import Signature
    from georeset_lab.train.crops import View

_PATCHES = 20_000
_FLOOR = 0.1
"""Added to the variance of directions that are whitened: those with little of it are noise."""


@torch.no_grad()
def fit_signature(encoder: Encoder, batches: Sequence[tuple[View, ...]], seed: int) -> None:
    """Set the kernels, thresholds and projections of ``encoder.signature``.

    Parameters
    ----------
    encoder : Encoder
    batches : sequence of tuples of View
        Unaltered views of the training scenes. What none of them sees (no radar, say) keeps its constants.
    seed : int
    """
    draw, signature = torch.Generator().manual_seed(seed), encoder.signature
    looks = [(torch.from_numpy(v.pixels), torch.from_numpy(band_table(v.bands)), v) for b in batches for v in b]
    for name in ("optical", "echo"):
        _fit_kernels(encoder, [(x, bands) for x, bands, _ in looks], name, draw)
    found: dict[str, list[Tensor]] = {"pixel": [], "texture": [], "radar": [], "wide": []}
    n = 2 * signature.n_kernels
    for x, bands, _ in looks:
        values, cover, channels = encoder.basis(x[:, 0], bands)
        answers, smooth = encoder.answers(x[:, :1], bands)
        means = answers.means()
        if channels.optical.stop:
            lit = (cover[:, channels.optical] > 0).any(1)
            found["pixel"].append(values[:, channels.optical].movedim(1, -1)[lit][::7])
        for block, features, share in (
            ("texture", means[..., :n], answers.light),
            ("radar", means[..., n:], answers.echo),
            ("wide", smooth[..., :n], answers.light),
        ):
            found[block].append(features[share[..., 0] > 0])
    for block, parts in found.items():
        sample = torch.cat(parts) if parts else torch.zeros(0, 1)
        if len(sample) >= 4 * sample.shape[1]:
            centre, turn = turned_components(sample, signature.sizes[block], draw)
            signature.get_buffer(f"{block}_centre").copy_(centre)
            signature.get_buffer(f"{block}_turn").copy_(turn)


def _fit_kernels(encoder: Encoder, looks: list[tuple[Tensor, Tensor]], name: str, draw: torch.Generator) -> None:
    """Whitened patches of the views themselves, as in Coates and Ng (2012); thresholds are medians of their answers."""
    signature: Signature = encoder.signature
    kernels = signature.get_buffer(f"{name}_kernels")
    found = []
    for x, bands in looks:
        values, cover, channels = encoder.basis(x[:, 0], bands)
        part = channels.optical if name == "optical" else channels.radar
        if part.stop - part.start == kernels.shape[1]:
            lit = (cover[:, part] > 0).all(1)
            whole = lit.unfold(1, 3, 3).unfold(2, 3, 3).flatten(3).all(-1)
            found.append(values[:, part].unfold(2, 3, 3).unfold(3, 3, 3).permute(0, 2, 3, 1, 4, 5)[whole].flatten(1))
    sample = torch.cat(found).double() if found else torch.zeros(0, 1)
    if len(sample) <= len(kernels):
        return
    sample = sample[torch.randperm(len(sample), generator=draw)[:_PATCHES]]
    centre, scale = sample.mean(0), sample.std(0).clamp_min(1e-6)
    patches = (sample - centre) / scale
    levels, vectors = torch.linalg.eigh(torch.cov(patches.T))
    whiten = (vectors / (levels.clamp_min(0) + _FLOOR).sqrt()) @ vectors.T
    picked = patches[: len(kernels)] @ whiten
    weights = (picked / picked.norm(dim=1, keepdim=True).clamp_min(1e-9)) @ whiten / scale
    kernels.copy_(weights.view(kernels.shape))
    signature.get_buffer(f"{name}_threshold").copy_((sample @ weights.T).median(0).values)
