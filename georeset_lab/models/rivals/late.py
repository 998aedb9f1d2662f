"""`LateFusion`: one network for each sensor; they meet in the latent space alone."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from georeset_lab.models.core import Core
from georeset_lab.models.encoder import Crops
from georeset_lab.models.fusion import Gaussian
from georeset_lab.models.rivals.plain import PlainConfig, PlainViT
from georeset_lab.models.rivals.slots import SENSORS, Slots, home, slot_table


class LateFusion(nn.Module):
    """A `PlainViT` with its own slots for each of Sentinel-2 and Landsat 8.

    Parameters
    ----------
    config : PlainConfig
        Sizes of each network: the pair has twice the parameters of the other rivals, and the cost of one.

    Notes
    -----
    Late fusion (one encoder per sensor, embeddings averaged or multiplied; decision fusion averages probabilities of
    probes). Trained together by the same objective, which is all that ties the two. A third sensor has no network: it goes
    to the one whose bands are nearest.
    """

    margin_cells, rim_cells = PlainViT.margin_cells, PlainViT.rim_cells

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.config = config
        self.networks = nn.ModuleList(
            PlainViT(config, Slots(config.width, config.token_px, (name,))) for name in SENSORS
        )

    @property
    def norm(self) -> nn.LayerNorm:
        """Norm of the first network: tells on which device the weights are."""
        return cast(PlainViT, self.networks[0]).norm

    def of(self, bands: Tensor) -> PlainViT:
        """The network that reads a sensor."""
        return cast(PlainViT, self.networks[home(bands, [slot_table(name) for name in SENSORS])])

    @torch.inference_mode()
    def dense(
        self,
        x: Tensor,
        bands: Tensor,
        *,
        cell_m: float,
        day_of_year: Tensor,
        core: Core | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Gaussian:
        """Expert of every pixel of a tile's core; see `georeset_lab.models.encoder.Encoder.dense`."""
        return self.of(bands).dense(x, bands, cell_m=cell_m, day_of_year=day_of_year, core=core, dtype=dtype)

    def crops(self, x: Tensor, bands: Tensor, *, cell_m: float, day_of_year: Tensor, points: Tensor) -> Crops:
        """Training crops with gradients; see `georeset_lab.models.encoder.Encoder.crops`."""
        return self.of(bands).crops(x, bands, cell_m=cell_m, day_of_year=day_of_year, points=points)
