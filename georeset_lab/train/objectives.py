"""Which views feed which loss. An objective is a module that owns the encoder; the loop only calls it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from georeset_lab.errors import RecipeError
from georeset_lab.losses.prediction import gaussian_prediction
from georeset_lab.models.encoder import Encoder
from georeset_lab.models.fusion import Gaussian, fuse
from georeset_lab.models.signature import BLOCKS
from georeset_lab.train.critics import CONTRASTS, make_critic
from georeset_lab.train.crops import Batch, View
from georeset_lab.train.looks import encode_view, neighbours
from georeset_lab.train.pairwise import PAIRWISE
from georeset_lab.train.targets import Targets

OBJECTIVES = ("predict", *CONTRASTS, *PAIRWISE)
"""Names that ``train(objective=...)`` knows."""

_SCENE_WEIGHT = 0.25
_DROP_MODALITY = 0.35


class Contrast(nn.Module):
    """Agreement of views in one latent space, for ground points and for whole crops.

    Four kinds of pairs, each scored against all other places of the batch: modality against modality, each modality
    against another look of itself (without these, what only one sensor sees is lost: ``methods.md`` section 2), and
    fused against fused with modalities dropped at random. Places closer than 100 m are neither positives nor negatives
    of each other.

    Parameters
    ----------
    encoder : Encoder
    objective : str
        How agreement is scored; see `georeset_lab.train.critics`.
    """

    def __init__(self, encoder: Encoder, objective: str) -> None:
        super().__init__()
        self.encoder, self.critic = encoder, make_critic(objective)

    def forward(self, batch: Batch, seed: int) -> tuple[dict[str, Tensor], list[Gaussian]]:
        """Losses by name, whose sum is to be minimised, and the pixel experts of the first look (for the gauges)."""
        looks = [[self._encode(view) for view in side] for side in (batch.first, batch.second)]
        chance = torch.Generator().manual_seed(seed)
        near, same = neighbours(batch)
        losses = self._contrast([[pixels for pixels, _ in side] for side in looks], near, chance, "pixel", 1.0)
        losses |= self._contrast([[scene for _, scene in side] for side in looks], same, chance, "scene", _SCENE_WEIGHT)
        return losses, [pixels for pixels, _ in looks[0]]

    def _encode(self, view: View) -> tuple[Gaussian, Gaussian]:
        return encode_view(self.encoder, view)

    def _contrast(
        self, looks: list[list[Gaussian]], ignore: Tensor, chance: torch.Generator, level: str, weight: float
    ) -> dict[str, Tensor]:
        first, second = looks
        losses = {
            f"{level}/within": sum(
                (self._score(a, b, ignore) for a, b in zip(first, second, strict=True)), torch.zeros(())
            )
        }
        if len(first) > 1:
            losses[f"{level}/across"] = self._score(first[0], second[1], ignore) + self._score(
                first[1], second[0], ignore
            )
            losses[f"{level}/fused"] = self._score(_drop(first, chance), _drop(second, chance), ignore)
        return {name: weight * loss for name, loss in losses.items()}

    def _score(self, a: Gaussian, b: Gaussian, ignore: Tensor) -> Tensor:
        loss: Tensor = self.critic(a, b, ignore)
        return loss


class Prediction(nn.Module):
    """Predict what a clean view by all sensors says of a place, from altered views of one modality or of two.

    Parameters
    ----------
    encoder : Encoder
    targets : Targets
        Its constants are part of the state; `fit` sets them.
    blocks : sequence of str
        Blocks of `Targets` that are learned; all by default.
    pmi : float
        Weight of `Contrast` with PMI scores besides; 0 leaves it out, and the second look is then not encoded.
    anchor : Encoder, optional
        Frozen; what it says of the clean view stands in for a teacher that is not at hand.
    """

    def __init__(
        self,
        encoder: Encoder,
        targets: Targets,
        *,
        blocks: Sequence[str] | None = None,
        pmi: float = 0.0,
        anchor: Encoder | None = None,
    ) -> None:
        super().__init__()
        unknown = sorted(set(blocks or ()) - set(BLOCKS))
        if unknown:
            raise RecipeError(f"Unknown targets {', '.join(unknown)}; choose some of {', '.join(BLOCKS)}.")
        self.encoder, self.targets, self.pmi = encoder, targets, pmi
        chosen = set(BLOCKS if blocks is None else blocks)
        self.learned = torch.cat([torch.full((n,), b in chosen) for b, n in targets.sizes.items()])
        self.contrast = (
            [Contrast(encoder, "pmi")] if pmi > 0 else []
        )  # in a list: its only parameters are the encoder's
        self.anchor = [anchor]  # in a list: no part of the state

    def forward(self, batch: Batch, seed: int) -> tuple[dict[str, Tensor], list[Gaussian]]:
        """Losses by name, whose sum is to be minimised, and the pixel experts of the first look (for the gauges)."""
        losses, experts = {}, []
        for contrast in self.contrast:
            parts, experts = contrast(batch, seed)
            losses = {name: self.pmi * loss for name, loss in parts.items()}
        if not batch.reference:
            return losses, experts  # only with PMI: `train` leaves out scenes that have nothing else to teach
        target, known = self.clean(batch)
        looks = [encode_view(self.encoder, view) for view in batch.first]
        experts = [pixels for pixels, _ in looks]
        scenes = [scene for _, scene in looks]
        n = known.sum(1)
        losses |= self._losses(experts, target.flatten(0, 1), known.flatten(0, 1), batch, "pixel", 1.0)
        mean = (target * known).sum(1) / n.clamp_min(1)
        losses |= self._losses(scenes, mean, n > known.shape[1] // 2, batch, "scene", _SCENE_WEIGHT)
        return losses, experts

    @torch.no_grad()
    def clean(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Targets of the points (B, P, D), and which of them are learned."""
        target, known = self.targets(batch.reference)
        anchor = self.anchor[0]
        if anchor is not None:
            held = torch.cat([torch.full((n,), b == "teacher") for b, n in self.targets.sizes.items()]).to(known.device)
            said = fuse([encode_view(anchor.to(known.device), view)[0] for view in batch.reference])
            target = torch.where(held, said.mean.view_as(target), target)
            known = known | held
        return target, known & self.learned.to(known.device)

    def _losses(
        self, experts: list[Gaussian], target: Tensor, known: Tensor, batch: Batch, level: str, weight: float
    ) -> dict[str, Tensor]:
        parts = [(view.modality, expert) for view, expert in zip(batch.first, experts, strict=True)]
        if len(experts) > 1:
            parts.append(("fused", fuse(experts)))
        return {
            f"{level}/{name}": weight / len(parts) * gaussian_prediction(e.mean, e.var, target, known)
            for name, e in parts
        }


def _drop(experts: list[Gaussian], chance: torch.Generator) -> Gaussian:
    """Product of a random non-empty subset of two experts, drawn for each sample."""
    n = len(experts[0].eta)
    keep = torch.rand(n, len(experts), generator=chance) > _DROP_MODALITY
    keep[~keep.any(1), int(torch.randint(len(experts), (1,), generator=chance))] = True
    mask = keep.to(experts[0].eta)
    return fuse([Gaussian(e.eta * mask[:, k, None], e.tau * mask[:, k, None]) for k, e in enumerate(experts)])
