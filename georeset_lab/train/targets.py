"""`Targets`: what an embedding should say of a place, computed from a clean view of it by all the sensors at hand.

Local dimensions are colours and textures (random kernels, as in Rolf et al. 2021), context dimensions are textures of wider
surroundings and features of a published teacher. No label takes part. The encoder predicts them from altered views of
one modality, so what a modality cannot know becomes its variance. The loss is in ``losses/prediction.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from georeset_lab.data.bands import band_table
from georeset_lab.models.pixels import PixelStatistics
from georeset_lab.models.pretrained import Galileo, inputs, measured_groups, month_of
from georeset_lab.models.upsample import GuidedUpsample

if TYPE_CHECKING:
    from georeset_lab.train.crops import View

OPTICAL, RADAR = slice(2, 12), slice(0, 2)
"""Places of Sentinel-2's ten bands and Sentinel-1's two in `georeset_lab.models.pretrained.inputs`."""
_CELL, _WIDE, _TOKEN = 6, 12, 4
_FLOOR = 0.1
_FARTHEST = 4.0
"""Standard deviations at which a target is cut off: snow and glint would rule the loss."""
_SHARES = {"pixel": 8, "texture": 24, "radar": 8, "wide": 10, "teacher": 14}
"""Of 64 dimensions, in order; other sizes are shared out alike."""
BLOCKS = tuple(_SHARES)
_LOCAL = ("pixel", "texture", "radar")


class Targets(nn.Module):
    """Fixed functions of clean Sentinel-2 and Sentinel-1 views; constants are fitted once on the training scenes.

    Parameters
    ----------
    latent_dim, n_local : int
        As in `EncoderConfig`.
    kernels : int
        Random kernels for each texture block.
    teacher : Galileo, optional
        Without it the teacher's dimensions have no target.

    Notes
    -----
    Ours. Each block is reduced to its principal components and then turned by a random rotation: whitened components
    cost up to ten points of accuracy at 5 labels, rotated ones none, and every dimension still has variance 1, that of
    the prior. Averages are taken within edges (`GuidedUpsample`), so that the targets are sharp.
    """

    def __init__(
        self, latent_dim: int = 64, n_local: int = 40, *, kernels: int = 32, teacher: Galileo | None = None
    ) -> None:
        super().__init__()
        self.sizes = share_out(latent_dim, n_local)
        self.teacher = [teacher]  # in a list: neither a parameter nor part of the state
        self.statistics = {n: PixelStatistics(n) for n in (10, 2)}
        widths = {"pixel": 10, "texture": 2 * kernels, "radar": 2 * kernels, "wide": 2 * kernels, "teacher": 128}
        for name, bands in (("optical", 10), ("backscatter", 2)):
            self.register_buffer(f"{name}_mean", torch.zeros(bands))
            self.register_buffer(f"{name}_scale", torch.ones(bands))
            self.register_buffer(f"{name}_kernels", torch.zeros(kernels, bands, 3, 3))
            self.register_buffer(f"{name}_threshold", torch.zeros(kernels))
        for block, size in self.sizes.items():
            self.register_buffer(f"{block}_centre", torch.zeros(widths[block]))
            self.register_buffer(f"{block}_turn", torch.zeros(widths[block], size))

    @torch.no_grad()
    def forward(self, views: tuple[View, ...]) -> tuple[Tensor, Tensor]:
        """Targets of the points of a batch.

        Parameters
        ----------
        views : tuple of View
            Unaltered, of one date each: Sentinel-2, Sentinel-1 or both.

        Returns
        -------
        target : Tensor, shape (B, P, D)
        known : Tensor, shape (B, P, D), bool
        """
        parts, known = [], []
        for block, (features, seen) in self.features(views).items():
            parts.append((features - self.get_buffer(f"{block}_centre")) @ self.get_buffer(f"{block}_turn"))
            known.append(seen[..., None].expand(parts[-1].shape))
        return torch.cat(parts, -1).clamp(-_FARTHEST, _FARTHEST), torch.cat(known, -1)

    @torch.no_grad()
    def features(self, views: tuple[View, ...]) -> dict[str, tuple[Tensor, Tensor]]:
        """Features (B, P, F) of each block before rotation, and where they are known (B, P)."""
        device = self.get_buffer("optical_mean").device
        cubes = [self._cube(v) for v in views]
        points = torch.from_numpy(views[0].points).to(device)
        cube = cubes[0] if len(cubes) == 1 else cubes[0].where(torch.isfinite(cubes[0]), cubes[1])
        optical = self._standard(cube[:, OPTICAL], "optical")
        radar = self._standard(cube[:, RADAR], "backscatter")
        sees_light, sees_radar = (torch.isfinite(z).all(1) for z in (optical, radar))
        light, echo = optical.nan_to_num(), radar.nan_to_num()
        guide, seen = (light, sees_light) if bool(sees_light.any()) else (echo, sees_radar)
        view = self.statistics[guide.shape[1]].at_points(guide[:, None], guide[:, None], seen[:, None], points)
        own, noise = view.guide.permute(1, 2, 0), view.noise.permute(1, 2, 0)
        texture, rough = self._responses(light, "optical"), self._responses(echo, "backscatter")
        row, col = points.unbind(-1)
        crop = torch.arange(len(points), device=device)[:, None]

        def carried(cells: Tensor, patch: int) -> Tensor:
            near, known = _cells(guide, seen, patch)
            return GuidedUpsample(patch).to(device).at_points(cells, near, known, own, noise, points)

        out = {
            "pixel": (light[crop, :, row, col], sees_light[crop, row, col]),
            "texture": (carried(_cells(texture, sees_light, _CELL)[0], _CELL), sees_light[crop, row, col]),
            "radar": (carried(_cells(rough, sees_radar, _CELL)[0], _CELL), sees_radar[crop, row, col]),
            "wide": (carried(_cells(texture, sees_light, _WIDE)[0], _WIDE), sees_light[crop, row, col]),
        }
        teacher = self.teacher[0]
        if teacher is None or not bool(sees_light.any()):
            blank = light.new_zeros(*points.shape[:2], len(self.get_buffer("teacher_centre")))
            return {**out, "teacher": (blank, torch.zeros_like(sees_light[crop, row, col]))}
        taught = carried(self._taught(teacher, cube, views[0]), _TOKEN)
        return {**out, "teacher": (taught, sees_light[crop, row, col])}

    def fit(self, batches: list[tuple[View, ...]], seed: int) -> None:
        """Set all constants from clean views of the training scenes."""
        draw = torch.Generator().manual_seed(seed)
        cubes = [torch.cat([self._cube(v) for v in views if v.modality == views[0].modality]) for views in batches]
        radar = [self._cube(v) for views in batches for v in views]
        self._fit_kernels([c[:, OPTICAL] for c in cubes], "optical", draw)
        self._fit_kernels([c[:, RADAR] for c in radar], "backscatter", draw)
        gathered: dict[str, list[Tensor]] = {block: [] for block in self.sizes}
        for views in batches:
            for block, (features, seen) in self.features(views).items():
                gathered[block].append(features[seen])
        for block, size in self.sizes.items():
            sample = torch.cat(gathered[block]).double()
            if len(sample) < 4 * size:
                continue  # no such sensor, or no teacher: the block keeps no target
            centre = sample.mean(0)
            scale = sample.std(0).clamp_min(1e-6)
            values, vectors = torch.linalg.eigh(torch.cov(((sample - centre) / scale).T))
            top = vectors[:, -size:] if size <= len(values) else vectors
            turn, _ = torch.linalg.qr(torch.randn(top.shape[1], top.shape[1], generator=draw, dtype=torch.float64))
            projection = (top @ turn)[:, :size] / scale[:, None]
            projection = projection / ((sample - centre) @ projection).std(0).clamp_min(1e-9)
            self.get_buffer(f"{block}_centre").copy_(centre)
            self.get_buffer(f"{block}_turn").copy_(projection)

    def _fit_kernels(self, cubes: list[Tensor], name: str, draw: torch.Generator) -> None:
        values = torch.cat([c.flatten(2).transpose(1, 2).flatten(0, 1) for c in cubes])
        values = values[torch.isfinite(values).all(1)]
        if not len(values):
            return
        self.get_buffer(f"{name}_mean").copy_(values.mean(0))
        self.get_buffer(f"{name}_scale").copy_(values.std(0).clamp_min(1e-6))
        patches = torch.cat([
            self._standard(c, name).unfold(2, 3, 3).unfold(3, 3, 3).permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1)
            for c in cubes
        ]).double()  # fmt: skip
        patches = patches[torch.isfinite(patches).all(1)]
        patches = patches[torch.randperm(len(patches), generator=draw)[:20_000]]
        levels, vectors = torch.linalg.eigh(torch.cov(patches.T))
        whiten = (vectors / (levels.clamp_min(0) + _FLOOR).sqrt()) @ vectors.T
        kernels = self.get_buffer(f"{name}_kernels")
        picked = (patches[: len(kernels)] - patches.mean(0)) @ whiten
        weights = (picked / picked.norm(dim=1, keepdim=True).clamp_min(1e-9)) @ whiten
        kernels.copy_(weights.view(kernels.shape))
        self.get_buffer(f"{name}_threshold").copy_((patches @ weights.T).median(0).values)

    def _cube(self, view: View) -> Tensor:
        """(B, 13, S, S) in Galileo's order and units, of the first date."""
        device = self.get_buffer("optical_mean").device
        pixels = torch.from_numpy(view.pixels[:, 0]).to(device)
        return inputs(pixels, torch.from_numpy(band_table(view.bands)).to(device))

    def _standard(self, x: Tensor, name: str) -> Tensor:
        mean, scale = (self.get_buffer(f"{name}_{k}")[:, None, None] for k in ("mean", "scale"))
        return ((x - mean) / scale).clamp(-8, 8)

    def _responses(self, x: Tensor, name: str) -> Tensor:
        answer = nn.functional.conv2d(x, self.get_buffer(f"{name}_kernels"), padding=1)
        answer = answer - self.get_buffer(f"{name}_threshold")[:, None, None]
        return torch.cat([answer.relu(), (-answer).relu()], 1)

    def _taught(self, teacher: Galileo, cube: Tensor, view: View) -> Tensor:
        """Features (B, N, N, 128) of the teacher for whole crops."""
        pixel_m = view.cell_m / _CELL
        present = measured_groups(cube)
        month = month_of(torch.from_numpy(view.day_of_year[:, :1]).to(cube))
        tokens = teacher(teacher.normalise(cube)[:, None], month, patch=_TOKEN, pixel_m=pixel_m, present=present)
        return tokens[:, 0][..., present, :].mean(3)


def share_out(latent_dim: int, n_local: int) -> dict[str, int]:
    """Dimensions of each block; the first three fill ``n_local``, the others the rest."""
    sizes: dict[str, int] = {}
    for names, room in ((_LOCAL, n_local), (tuple(b for b in BLOCKS if b not in _LOCAL), latent_dim - n_local)):
        whole = sum(_SHARES[n] for n in names)
        edges = [round(room * sum(_SHARES[n] for n in names[:i]) / whole) for i in range(len(names) + 1)]
        sizes |= {n: edges[i + 1] - edges[i] for i, n in enumerate(names)}
    return sizes


def _cells(x: Tensor, valid: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Means of (B, F, S, S) over the valid pixels of each cell, (B, N, N, F), and where there are any."""
    present = valid[:, None].to(x.dtype)
    share = nn.functional.avg_pool2d(present, patch)
    mean = nn.functional.avg_pool2d(x * present, patch) / share.clamp_min(1e-9)
    return mean.permute(0, 2, 3, 1), share[:, 0] > 0
