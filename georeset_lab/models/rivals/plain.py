"""`PlainViT`: tokenizer, blocks, a Gaussian for each token, carried to the pixels. Rivals differ in the tokenizer alone.

It has what `encode` and the objectives of ``train/`` ask of an encoder (`config`, `margin_cells`, `rim_cells`, `dense`, `crops`)
and none of what is special in ours: no signature, no features of the pixel itself, no edges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.errors import ShapeMismatch
from georeset_lab.models.core import Core, core_of
from georeset_lab.models.emission import Emission, emit
from georeset_lab.models.encoder import Crops
from georeset_lab.models.fusion import Gaussian
from georeset_lab.models.head import SceneHead
from georeset_lab.models.vit import Block, blend_windows, rotary_table, split_windows, window_positions

_WINDOWS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class PlainConfig:
    """Sizes of a rival; stored in the card of its weights."""

    rival: str
    """Which tokenizer: a name of `georeset_lab.models.rivals.build.RIVALS`."""
    latent_dim: int = 64
    width: int = 128
    depth: int = 2
    heads: int = 4
    token_px: int = 6
    """Pixels along the side of a token."""
    patch: int = 6
    """Pixels along the side of a cell, the unit in which `encode` plans; no token is a cell here."""
    window: int = 8
    """Cells along the side of an attention window."""
    stride: int = 4
    """Cells between windows."""
    init_spread: float = 1.0
    """Standard deviation of the means that fresh weights emit: that of the prior, as there is no signature to start from."""
    deterministic: bool = False
    """True for objectives without uncertainty: tau is 1 wherever a pixel was measured."""

    @property
    def n_virtual(self) -> int:
        """Layers of a pixel that are held at once; plans the memory of a block."""
        return max(32, self.latent_dim // 2)

    def __post_init__(self) -> None:
        step, size = self.stride * self.patch, self.window * self.patch
        if step % self.token_px or size % step or self.width % (4 * self.heads):
            raise ShapeMismatch(
                f"PlainConfig has token_px={self.token_px}, patch={self.patch}, window={self.window}, "
                f"stride={self.stride}, width={self.width}, heads={self.heads}; stride * patch must be a multiple of "
                "token_px, the window of the stride, and the width of four times the heads."
            )


class Tokenizer(Protocol):
    """How the bands of a sensor become tokens: what the rivals differ in."""

    def __call__(self, x: Tensor, bands: Tensor, pixel_m: float) -> tuple[Tensor, Tensor]:
        """Tokens (N, Ny, Nx, W) of physical values (N, C, Y, X) with NaN, and which of them were measured (N, Ny, Nx)."""
        ...


class PlainViT(nn.Module):
    """A vision transformer over tokens of ``token_px`` pixels (Dosovitskiy et al. 2021) with Gaussian heads.

    Parameters
    ----------
    config : PlainConfig
    tokenizer : nn.Module
        A `Tokenizer` of this width.

    Notes
    -----
    Blocks, metric rotary positions, windows and heads are those of `georeset_lab.models.encoder.Encoder`, so a difference
    between rivals is one of tokenizers. Dates are averaged. What tokens say is carried to the pixels linearly between
    their centres.
    """

    margin_cells = rim_cells = 8

    def __init__(self, config: PlainConfig, tokenizer: nn.Module) -> None:
        super().__init__()
        self.config = c = config
        self.tokenizer = tokenizer
        self.calendar = nn.Linear(6, c.width)
        self.blocks = nn.ModuleList(Block(c.width, c.heads) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.width)
        how = Emission(c.init_spread, c.deterministic)
        self.head = SceneHead(c.width, c.width, c.latent_dim, how)
        self.scene_head = SceneHead(c.width, c.width, c.latent_dim, how)

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
        c = self.config
        step = c.patch * c.stride
        if x.ndim != 4 or x.shape[2] % step or x.shape[3] % step:
            raise ShapeMismatch(f"dense got {tuple(x.shape)}; it needs (T, C, Y, X) with Y and X multiples of {step}.")
        size, stride = c.window * c.patch // c.token_px, step // c.token_px
        total, weight = torch.zeros(()), torch.zeros(())
        for t in range(len(x)):
            tokens, known = self._tokens(x[t : t + 1], bands, cell_m, day_of_year[t : t + 1])
            windows, masks = split_windows(tokens, size, stride), split_windows(known[..., None], size, stride)[..., 0]
            used = masks.any(-1)
            out = torch.zeros_like(windows)
            if bool(used.any()):
                parts = zip(windows[used].split(_WINDOWS_AT_ONCE), masks[used].split(_WINDOWS_AT_ONCE), strict=True)
                out[used] = torch.cat([self._attend(w, m, cell_m) for w, m in parts])
            shape = (tokens.shape[1], tokens.shape[2])
            seen = known[0, ..., None].to(x.dtype)
            total = total + seen * blend_windows(out, used.to(x.dtype), size, stride, shape)[0]
            weight = weight + seen
        pixels = self._pixels((total / weight.clamp_min(1.0))[None], weight[None, ..., 0] > 0)[0]
        inner = core_of(x, core, self.margin_cells * c.patch)
        seen = torch.isfinite(x).any((0, 1))[inner][..., None]
        return Gaussian(*(z * seen for z in emit(pixels[inner], c.latent_dim))).to(dtype)

    def crops(self, x: Tensor, bands: Tensor, *, cell_m: float, day_of_year: Tensor, points: Tensor) -> Crops:
        """Training crops with gradients; see `georeset_lab.models.encoder.Encoder.crops`."""
        b, t = x.shape[:2]
        tokens, known = self._tokens(x.flatten(0, 1), bands, cell_m, day_of_year.flatten())
        ny, nx = known.shape[1:]
        flat, mask = tokens.flatten(1, 2), known.flatten(1)
        used = mask.any(1)
        said = torch.zeros_like(flat).index_put((used,), self._attend(flat[used], mask[used], cell_m))
        seen = mask.view(b, t, ny * nx, 1).to(said.dtype)
        said = said.view(b, t, ny * nx, -1) * seen
        count = seen.sum(1)
        context = (said.sum(1) / count.clamp_min(1.0)).view(b, ny, nx, -1)
        whole = self._pixels(context, (count > 0).view(b, ny, nx))
        row = torch.arange(b, device=points.device)[:, None]
        pixels = emit(whole[row, points[..., 0], points[..., 1]], self.config.latent_dim)
        observed = torch.isfinite(x).any(2).any(1)[row, points[..., 0], points[..., 1]]
        pooled = said.sum((1, 2)) / seen.sum((1, 2)).clamp_min(1.0)
        scene = self.scene_head(pooled, pooled.new_zeros(b, self.config.latent_dim))
        return Crops(
            Gaussian(*(z * observed[..., None] for z in pixels)),
            Gaussian(*(z * (count > 0).any(1) for z in scene)),
        )

    def _tokens(self, x: Tensor, bands: Tensor, cell_m: float, day_of_year: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of single dates (N, Ny, Nx, W), with the season and the size on the ground, and which were measured."""
        tokens, known = self.tokenizer(x, bands, cell_m / self.config.patch)
        when = self.calendar(_season(day_of_year, cell_m).to(tokens))
        return tokens + when[:, None, None], known

    def _attend(self, tokens: Tensor, known: Tensor, cell_m: float) -> Tensor:
        c = self.config
        token_m = cell_m / c.patch * c.token_px
        positions = window_positions(c.window * c.patch // c.token_px, token_m).to(tokens)
        rotation = rotary_table(positions, c.width // c.heads)
        mask = None if bool(known.all()) else known
        for block in self.blocks:
            tokens = block(tokens, rotation, mask)
        return cast(Tensor, self.norm(tokens))

    def _pixels(self, context: Tensor, known: Tensor) -> Tensor:
        """What tokens (B, Ny, Nx, W) say, carried to the pixels: (B, Y, X, 2 D) before the activation."""
        said = self.head.gaussian.raw(self.head.mix(context))
        weight = known[..., None].to(said.dtype)
        wide = torch.cat([said * weight, weight], -1).permute(0, 3, 1, 2)
        wide = F.interpolate(wide, scale_factor=self.config.token_px, mode="bilinear").permute(0, 2, 3, 1)
        return wide[..., :-1] / wide[..., -1:].clamp_min(1e-6)


def patches(x: Tensor, side: int) -> Tensor:
    """Pixels (N, C, Y, X) patch by patch: (N, Y / side, X / side, C, side ** 2)."""
    n, c, y, w = x.shape
    cut = x.reshape(n, c, y // side, side, w // side, side)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(-2)


def _season(day_of_year: Tensor, cell_m: float) -> Tensor:
    """Return (N, 6): two sine-cosine pairs of the year, 0 without a date; whether there is one; log size of a cell."""
    known = torch.isfinite(day_of_year)
    angle = torch.where(known, day_of_year, 0.0) * (2 * math.pi / 365.25)
    waves = torch.stack([angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()], 1) * known[:, None]
    size = torch.full_like(angle, math.log(cell_m / 60.0))
    return torch.cat([waves, known[:, None].to(waves), size[:, None]], 1)
