"""Views through the encoder, and which points of a batch are too near to be told apart."""

from __future__ import annotations

import torch
from torch import Tensor

from georeset_lab.data.bands import band_table
from georeset_lab.models.encoder import Encoder
from georeset_lab.models.fusion import Gaussian
from georeset_lab.train.crops import Batch, View

_NEAR_M = 100.0


def encode_view(encoder: Encoder, view: View) -> tuple[Gaussian, Gaussian]:
    """Experts of a view's points, (B P, D), and of its crops, (B, D)."""
    device = encoder.norm.weight.device
    out = encoder.crops(
        torch.from_numpy(view.pixels).to(device),
        torch.from_numpy(band_table(view.bands)).to(device),
        cell_m=view.cell_m,
        day_of_year=torch.from_numpy(view.day_of_year).to(device),
        points=torch.from_numpy(view.points).to(device),
    )
    return Gaussian(out.pixels.eta.flatten(0, 1), out.pixels.tau.flatten(0, 1)), out.scene


def neighbours(batch: Batch) -> tuple[Tensor, Tensor]:
    """Pairs of points within 100 m in one scene (B P, B P), and pairs of crops of one scene that overlap (B, B)."""
    place = torch.from_numpy(batch.place)
    ground = torch.from_numpy(batch.ground_m)
    p = ground.shape[1]
    points = ground.flatten(0, 1)
    owner = place.repeat_interleave(p)
    near = (torch.cdist(points, points) < _NEAR_M) & (owner[:, None] == owner)
    centre = ground.mean(1)
    reach = (ground - centre[:, None]).abs().amax()
    same = (torch.cdist(centre, centre) < 2 * reach) & (place[:, None] == place)
    return near, same
