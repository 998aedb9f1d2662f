"""`Pairwise`: objectives of exactly two sensors, without uncertainty: DeCUR, CoMM and FactorCL-SSL, as baselines."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from georeset_lab.errors import RecipeError
from georeset_lab.losses.comm import comm_loss
from georeset_lab.losses.decur import decur_loss
from georeset_lab.losses.factorcl import FactorCLTerms, critic_loss, factorcl_objective
from georeset_lab.models.encoder import Encoder
from georeset_lab.models.fusion import Gaussian, fuse
from georeset_lab.train.crops import Batch
from georeset_lab.train.looks import encode_view, neighbours

PAIRWISE = ("decur", "comm", "factorcl")
"""Objectives that need two modalities in every scene."""

_COMMON = 7 / 8
_MOST = 128
"""Points of a batch that FactorCL compares: its critics cost the square of it."""


class Pairwise(nn.Module):
    """Two looks of two sensors at the same points, compared by one of the `PAIRWISE` losses.

    Parameters
    ----------
    encoder : Encoder
    objective : {"decur", "comm", "factorcl"}

    Notes
    -----
    Embeddings are the experts' means; CoMM's fusion is our product of experts instead of its transformer, so that all
    rows of a table have one backbone. FactorCL's critics are stepped together with the encoder, on the same batch.
    """

    def __init__(self, encoder: Encoder, objective: str) -> None:
        super().__init__()
        if objective not in PAIRWISE:
            raise RecipeError(f"Unknown objective {objective!r}; use one of {', '.join(map(repr, PAIRWISE))}.")
        self.encoder, self.objective = encoder, objective
        self.terms = FactorCLTerms(encoder.config.latent_dim) if objective == "factorcl" else None

    def forward(self, batch: Batch, seed: int) -> tuple[dict[str, Tensor], list[Gaussian]]:
        """Losses by name, whose sum is to be minimised, and the pixel experts of the first look (for the gauges)."""
        looks = [[encode_view(self.encoder, view)[0] for view in side] for side in (batch.first, batch.second)]
        if len(looks[0]) != 2:
            raise RecipeError(f"Objective {self.objective!r} needs two modalities in every scene, got {len(looks[0])}.")
        return self._losses(looks, batch, seed), looks[0]

    def _losses(self, looks: list[list[Gaussian]], batch: Batch, seed: int) -> dict[str, Tensor]:
        one, two = ((side[0].mean, side[1].mean) for side in looks)
        if self.objective == "decur":
            return {"pixel/decur": decur_loss((one[0], two[0]), (one[1], two[1]), round(_COMMON * one[0].shape[-1]))}
        if self.objective == "comm":
            sides = [(torch.stack([e.mean for e in side]), fuse(side).mean) for side in looks]
            return {"pixel/comm": comm_loss(sides[0], sides[1], ignore=neighbours(batch)[0])}
        assert self.terms is not None
        pick = torch.randperm(len(one[0]), generator=torch.Generator().manual_seed(seed))[:_MOST]
        first, second = (one[0][pick], two[0][pick]), (one[1][pick], two[1][pick])
        return {
            "pixel/factorcl": factorcl_objective(self.terms, first, second),
            "pixel/critics": critic_loss(self.terms, first, second),
        }
