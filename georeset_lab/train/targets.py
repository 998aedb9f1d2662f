"""`Targets`: what an embedding should say of a place, read from a clean view of it by all the sensors at hand.

Colours, textures and roughness are the encoder's own `Signature`, which never changes; the other dimensions are features
of a published teacher. No label takes part. The encoder predicts them from altered views of one modality, so what a
modality cannot know becomes its variance. The loss is in ``losses/prediction.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from georeset_lab.data.bands import band_table
from georeset_lab.models.pretrained import Galileo, inputs, measured_groups, month_of
from georeset_lab.models.signature import BLOCKS
from georeset_lab.models.upsample import GuidedUpsample
from georeset_lab.train.components import turned_components

if TYPE_CHECKING:
    from georeset_lab.models.encoder import Encoder
    from georeset_lab.train.crops import View

_CELL, _TOKEN = 6, 4
_FARTHEST = 4.0
_WIDTH = 128


class Targets(nn.Module):
    """Fixed functions of clean Sentinel-2 and Sentinel-1 views; the teacher's constants are fitted once.

    Parameters
    ----------
    encoder : Encoder
        Whose signature is the target.
    teacher : Galileo, optional
        Without it the teacher's dimensions have no target.
    """

    def __init__(self, encoder: Encoder, *, teacher: Galileo | None = None) -> None:
        super().__init__()
        self.sizes = encoder.signature.sizes
        self._parts = (encoder, teacher)  # in a tuple: neither parameters nor part of the state
        self.register_buffer("teacher_centre", torch.zeros(_WIDTH))
        self.register_buffer("teacher_turn", torch.zeros(_WIDTH, self.sizes["teacher"]))

    @torch.no_grad()
    def forward(self, views: tuple[View, ...]) -> tuple[Tensor, Tensor]:
        """Targets of the points of a batch.

        Parameters
        ----------
        views : tuple of View
            Unaltered: Sentinel-2, Sentinel-1 or both. Signatures are means over their dates; the teacher sees the first.

        Returns
        -------
        target : Tensor, shape (B, P, D)
        known : Tensor, shape (B, P, D), bool
        """
        encoder, _ = self._parts
        device = self.get_buffer("teacher_centre").device
        said = []
        for view in views:
            pixels, points = (torch.from_numpy(z).to(device) for z in (view.pixels, view.points))
            said.append(encoder.signatures(pixels, torch.from_numpy(band_table(view.bands)).to(device), points))
        target = torch.stack([signature for signature, _, _ in said]).sum(0)
        lit, heard = (torch.stack(z).any(0) for z in list(zip(*said, strict=True))[1:])
        features, seen = self._taught(views)
        turned = (features - self.get_buffer("teacher_centre")) @ self.get_buffer("teacher_turn")
        n = self.sizes["teacher"]
        target = torch.cat([target[..., : target.shape[-1] - n], turned.clamp(-_FARTHEST, _FARTHEST)], -1)
        of_block = {**dict.fromkeys(BLOCKS, lit), "radar": heard, "teacher": seen & lit}
        known = torch.cat([of_block[b][..., None].expand(*lit.shape, n) for b, n in self.sizes.items()], -1)
        return target, known

    def fit(self, batches: list[tuple[View, ...]], seed: int) -> None:
        """Set the teacher's constants from clean views of the training scenes."""
        if self._parts[1] is None:
            return
        features = torch.cat([f[seen] for f, seen in map(self._taught, batches)])
        centre, turn = turned_components(features, self.sizes["teacher"], torch.Generator().manual_seed(seed))
        self.get_buffer("teacher_centre").copy_(centre)
        self.get_buffer("teacher_turn").copy_(turn)

    @torch.no_grad()
    def _taught(self, views: tuple[View, ...]) -> tuple[Tensor, Tensor]:
        """Features (B, P, 128) of the teacher at the points, and where they are known (B, P)."""
        device = self.get_buffer("teacher_centre").device
        points = torch.from_numpy(views[0].points).to(device)
        _, teacher = self._parts
        cubes = [self._cube(v, device) for v in views]
        cube = cubes[0] if len(cubes) == 1 else cubes[0].where(torch.isfinite(cubes[0]), cubes[1])
        light = torch.isfinite(cube[:, 2:12]).all(1)
        if teacher is None or not bool(light.any()):
            blank = torch.zeros(*points.shape[:2], _WIDTH, device=device)
            return blank, torch.zeros(points.shape[:2], dtype=torch.bool, device=device)
        present = measured_groups(cube)
        month = month_of(torch.from_numpy(views[0].day_of_year[:, :1]).to(cube))
        pixel_m = views[0].cell_m / _CELL
        tokens = teacher(teacher.normalise(cube)[:, None], month, patch=_TOKEN, pixel_m=pixel_m, present=present)
        return self._carry(tokens[:, 0][..., present, :].mean(3), cube, light, points)

    def _carry(self, tokens: Tensor, cube: Tensor, light: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Bring tokens of 4 x 4 pixels to the points along edges."""
        guide = cube[:, 2:12].nan_to_num() / 0.15
        weight = light[:, None].to(guide)
        share = nn.functional.avg_pool2d(weight, _TOKEN)
        near = nn.functional.avg_pool2d(guide * weight, _TOKEN) / share.clamp_min(1e-9)
        square = nn.functional.avg_pool2d(guide.square() * weight, _TOKEN) / share.clamp_min(1e-9)
        spread = (square - near.square()).clamp_min(0).mean(1)
        crop, (row, col) = torch.arange(len(points), device=points.device)[:, None], points.unbind(-1)
        own, noise = guide[crop, :, row, col], spread[crop, row // _TOKEN, col // _TOKEN][..., None]
        carried = GuidedUpsample(_TOKEN).at_points(
            tokens, near.permute(0, 2, 3, 1), share[:, 0] > 0, own, noise, points
        )
        return carried, light[crop, row, col]

    def _cube(self, view: View, device: torch.device) -> Tensor:
        """(B, 13, S, S) in Galileo's order and units, of the first date."""
        pixels = torch.from_numpy(view.pixels[:, 0]).to(device)
        return inputs(pixels, torch.from_numpy(band_table(view.bands)).to(device))
