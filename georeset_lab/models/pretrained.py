"""Galileo nano, a published encoder of Sentinel-1 and Sentinel-2: yardstick, and teacher of `georeset_lab.train.targets`.

Our own implementation of Tseng et al. (2025, arXiv 2502.09356); weights from github.com/nasaharvest/galileo (MIT). They
are not shipped: pass the folder that holds ``encoder.safetensors`` and ``normalization.json``.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.errors import BandMismatch, CheckpointError
from georeset_lab.files import sha256
from georeset_lab.models.core import Core, core_of
from georeset_lab.models.fusion import Gaussian
from georeset_lab.models.spectrum import FWHM_UM, WAVELENGTHS_UM
from georeset_lab.models.vit import blend_windows, split_windows

GALILEO = "galileo-nano"
"""Name that `encode(model=...)` knows."""
WEIGHTS_FOLDER = "GEORESET_GALILEO"
"""Environment variable with the folder of the weights."""

BANDS = ("VV", "VH", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
"""Inputs in the order of the published weights; NDVI is computed from B8 and B4."""
_GROUPS = {
    "S1": (0, 1),
    "S2_RGB": (2, 3, 4),
    "S2_Red_Edge": (5, 6, 7),
    "S2_NIR_10m": (8,),
    "S2_NIR_20m": (9,),
    "S2_SWIR": (10, 11),
    "NDVI": (12,),
}
_RED, _NIR, _NDVI = 4, 8, 12
_KIND_VV, _KIND_VH = 3, 4  # codes of `band_table`
_NO_MONTH = 5
"""June, where the date is not known: the weights have no code for it."""
_WIDTH, _DEPTH, _HEADS, _STORED_PATCH = 128, 4, 8, 8
_WINDOWS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class GalileoConfig:
    """What the encode pipeline asks of an encoder's sizes."""

    latent_dim: int = _WIDTH
    n_virtual: int = 32
    """Layers of a pixel that are held at once; plans the memory of a block."""
    stride: int = 8
    """Cells of 6 pixels between anchors of the windows."""
    patch: int = 6
    window_tokens: int = 8
    """Tokens along the side of an attention window: 32 pixels, as in the yardstick table of the weights' SOURCE.md."""
    token_px: int = 4


class Galileo(nn.Module):
    """Seven groups of bands, each a token per patch, in one transformer; deterministic, so tau is 1 where it saw.

    Examples
    --------
    >>> Galileo()(torch.rand(1, 1, 13, 8, 8), torch.tensor([[3]]), patch=4, pixel_m=10.0).shape
    torch.Size([1, 1, 2, 2, 7, 128])
    """

    margin_cells = rim_cells = 8

    def __init__(self) -> None:
        super().__init__()
        self.config = GalileoConfig()
        quarter = _WIDTH // 4
        self.space_time_embed = nn.ModuleDict({name: _Patches(len(bands)) for name, bands in _GROUPS.items()})
        self.s_t_channel_embed = nn.Parameter(torch.zeros(len(_GROUPS), quarter))
        self.pos_embed = nn.Parameter(torch.zeros(24, quarter))
        self.month_embed = nn.Embedding(12, quarter)
        self.blocks = nn.ModuleList(_Block() for _ in range(_DEPTH))
        self.norm = nn.LayerNorm(_WIDTH)
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.zeros(13))
        self.register_buffer("scale", torch.ones(13))

    def forward(self, x: Tensor, month: Tensor, *, patch: int, pixel_m: float, present: Tensor | None = None) -> Tensor:
        """Tokens after the last norm.

        Parameters
        ----------
        x : Tensor, shape (B, T, 13, Y, X)
            Normalised inputs (`normalise`), Y and X multiples of ``patch``.
        month : Tensor, shape (B, T), int64, 0..11
        patch : int
            Pixels along the side of a token, 1 to 8.
        pixel_m : float
        present : Tensor, shape (7,), bool, optional
            Groups that were measured; the others are left out (their rows hold the norm's bias).

        Returns
        -------
        Tensor, shape (B, T, Y / patch, X / patch, 7, 128)
        """
        b, t, _, height, width = x.shape
        ny, nx = height // patch, width // patch
        groups = [g for g in range(len(_GROUPS)) if present is None or bool(present[g])]
        names = list(_GROUPS)
        flat = x.flatten(0, 1)
        tokens = torch.stack([self._embed(flat[:, list(_GROUPS[names[g]])], names[g], patch) for g in groups], 3)
        tokens = tokens.view(b, t, ny, nx, len(groups), _WIDTH) + self._where(month, ny, nx, groups, pixel_m * patch)
        z = tokens.reshape(b, -1, _WIDTH)
        for block in self.blocks:
            z = block(z)
        out = self.norm.bias.expand(b, t, ny, nx, len(_GROUPS), _WIDTH).clone()
        out[..., groups, :] = self.norm(z).view_as(tokens)
        return out

    def normalise(self, physical: Tensor) -> Tensor:
        """Published scaling of (..., 13, Y, X): dB, 10000 x surface reflectance and NDVI; NaN becomes the middle."""
        return ((physical - self.shift[:, None, None]) / self.scale[:, None, None]).nan_to_num(nan=0.5)

    @torch.inference_mode()
    def features(
        self, physical: Tensor, month: Tensor, *, pixel_m: float, token_px: int | None = None, window: int | None = None
    ) -> Tensor:
        """Map of features: overlapping windows, blended by a raised cosine; mean over dates and measured groups.

        Parameters
        ----------
        physical : Tensor, shape (T, 13, Y, X)
            As from `inputs`, NaN where nothing was measured. Y and X are multiples of half a window.
        month : Tensor, shape (T,), int64, 0..11
        pixel_m : float
        token_px, window : int, optional
            Pixels of a token and tokens of a window; default as in `config`.

        Returns
        -------
        Tensor, shape (Y / token_px, X / token_px, 128)
        """
        token_px, window = token_px or self.config.token_px, window or self.config.window_tokens
        t, c, height, width = physical.shape
        ny, nx = height // token_px, width // token_px
        present = measured_groups(physical)
        if not bool(present.any()):
            return physical.new_zeros(ny, nx, _WIDTH)
        x = self.normalise(physical)
        cells = x.view(t * c, ny, token_px, nx, token_px).permute(1, 3, 0, 2, 4).reshape(1, ny, nx, -1)
        windows = split_windows(cells, window, window // 2)
        _, wy, wx, n, _ = windows.shape
        windows = windows.flatten(0, 2).view(-1, window, window, t, c, token_px, token_px)
        windows = windows.permute(0, 3, 4, 1, 5, 2, 6).reshape(-1, t, c, window * token_px, window * token_px)
        done = []
        for part in windows.split(_WINDOWS_AT_ONCE):
            tokens = self(part, month.expand(len(part), t), patch=token_px, pixel_m=pixel_m, present=present)
            done.append(tokens[..., present, :].mean((1, 4)).flatten(1, 2))
        blended = torch.cat(done).view(1, wy, wx, n, _WIDTH)
        return blend_windows(blended, blended.new_ones(1, wy, wx), window, window // 2, (ny, nx))[0]

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
        """Expert of every pixel from one modality; see `georeset_lab.models.encoder.Encoder.dense`.

        Raises
        ------
        BandMismatch
            None of the bands is one that Galileo reads.
        """
        physical = inputs(x, bands)
        month = month_of(day_of_year)
        maps = self.features(physical, month, pixel_m=cell_m / self.config.patch)
        token_px = self.config.token_px
        full = maps.repeat_interleave(token_px, 0).repeat_interleave(token_px, 1)
        seen = torch.isfinite(x).any((0, 1))
        inner = core_of(x, core, self.margin_cells * self.config.patch)
        tau = seen[inner][..., None].to(full).expand(*seen[inner].shape, _WIDTH).contiguous()
        return Gaussian(full[inner] * tau, tau).to(dtype)

    def _embed(self, x: Tensor, name: str, patch: int) -> Tensor:
        """Patches of one group, (B, Ny, Nx, 128), with the stored kernel brought to this patch size."""
        stored = self.get_parameter(f"space_time_embed.{name}.proj.weight")
        kernel = stored if patch == _STORED_PATCH else _resized(stored, patch)
        bias = self.get_parameter(f"space_time_embed.{name}.proj.bias")
        return F.conv2d(x, kernel, bias, stride=patch).permute(0, 2, 3, 1)

    def _where(self, month: Tensor, ny: int, nx: int, groups: list[int], token_m: float) -> Tensor:
        """Group, place in the series, month and place on the ground, one quarter of the width each."""
        b, t = month.shape
        shape = (b, t, ny, nx, len(groups), _WIDTH // 4)
        rows, cols = (_waves(torch.arange(n, device=month.device) * (token_m / 10.0)) for n in (ny, nx))
        ground = torch.cat([cols.expand(ny, nx, -1), rows[:, None].expand(ny, nx, -1)], -1)
        parts = (
            self.s_t_channel_embed[groups],
            self.pos_embed[:t, None, None, None],
            self.month_embed(month)[:, :, None, None, None],
            ground[:, :, None],
        )
        return torch.cat([p.expand(shape) for p in parts], -1)


class _Patches(nn.Module):
    """Holder of a group's kernel under its published name."""

    def __init__(self, n_bands: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(n_bands, _WIDTH, _STORED_PATCH, _STORED_PATCH)


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
        self.attn = nn.ModuleDict({name: nn.Linear(_WIDTH, _WIDTH) for name in ("q", "k", "v", "proj")})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(_WIDTH, 4 * _WIDTH), "fc2": nn.Linear(4 * _WIDTH, _WIDTH)})

    def forward(self, x: Tensor) -> Tensor:
        b, n, w = x.shape
        y = self.norm1(x)
        q, k, v = (self.attn[name](y).view(b, n, _HEADS, -1).transpose(1, 2) for name in ("q", "k", "v"))
        x = x + self.attn["proj"](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, w))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


def inputs(x: Tensor, bands: Tensor) -> Tensor:
    """Bands of one modality in Galileo's order and units: (T, C, Y, X) to (T, 13, Y, X), NaN where there is none.

    Parameters
    ----------
    x : Tensor
        Reflectance 0..1 and backscatter in dB.
    bands : Tensor, shape (C, 4)
        Band table (`georeset_lab.data.bands.band_table`).

    Raises
    ------
    BandMismatch
        None of the bands is Sentinel-1 VV or VH, or lies on a Sentinel-2 band of like width.
    """
    out = x.new_full((len(x), 13, *x.shape[2:]), math.nan)
    for i, (centre, width, _, kind) in enumerate(bands.tolist()):
        if int(kind) in (_KIND_VV, _KIND_VH):
            out[:, int(kind) - _KIND_VV] = x[:, i]
        elif int(kind) == 0:
            for k, (c, w) in enumerate(zip(WAVELENGTHS_UM, FWHM_UM, strict=True)):
                if abs(centre - c) < 0.006 + 0.1 * w and 0.5 < width / w < 2.0:
                    out[:, 2 + k] = x[:, i] * 1e4
    if not bool(torch.isfinite(out).any()) and bool(torch.isfinite(x).any()):
        raise BandMismatch(
            "Galileo reads Sentinel-1 (VV, VH) and Sentinel-2 (B2 to B8A, B11, B12); none of these bands is there. "
            "Use model='default', which reads any sensor."
        )
    out[:, _NDVI] = (out[:, _NIR] - out[:, _RED]) / (out[:, _NIR] + out[:, _RED]).clamp_min(1.0)
    return out


def measured_groups(physical: Tensor) -> Tensor:
    """Which of the seven groups (T, 13, Y, X) holds a measurement: (7,) bool."""
    return torch.stack([torch.isfinite(physical[:, list(bands)]).any() for bands in _GROUPS.values()])


def month_of(day_of_year: Tensor) -> Tensor:
    """Month index 0..11 of days 1..366; June where the day is NaN."""
    month = ((day_of_year - 1) / 30.5).floor().clamp(0, 11)
    return torch.where(torch.isfinite(month), month, torch.full_like(month, _NO_MONTH)).long()


def load_galileo(folder: str | os.PathLike[str] | None = None) -> Galileo:
    """Load the published weights.

    Parameters
    ----------
    folder : path, optional
        Holds ``encoder.safetensors`` and ``normalization.json``; default: what the environment variable
        ``GEORESET_GALILEO`` names.

    Raises
    ------
    CheckpointError
        No folder was given or the files are missing, damaged or of another model.
    """
    folder = folder or os.environ.get(WEIGHTS_FOLDER)
    if folder is None:
        raise CheckpointError(
            f"Galileo's weights are not part of this package. Set {WEIGHTS_FOLDER}, or pass the path of a folder with "
            "encoder.safetensors and normalization.json (data/models/nano of github.com/nasaharvest/galileo, MIT)."
        )
    model = Galileo()
    try:
        stored = load_tensors((Path(folder) / "encoder.safetensors").read_bytes())
        numbers = json.loads((Path(folder) / "normalization.json").read_text(encoding="utf-8"))
        mean, std = (torch.tensor(numbers[k], dtype=torch.float64) for k in ("mean", "std"))
        state = {k: v for k, v in stored.items() if k in model.state_dict()} | {
            "shift": mean - 2 * std,
            "scale": 4 * std,
        }
        state["shift"][_NDVI], state["scale"][_NDVI] = 0.0, 1.0
        model.load_state_dict({k: v.float() for k, v in state.items()})
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as err:
        raise CheckpointError(f"{folder} holds no usable Galileo nano weights: {err}. Fetch them again.") from err
    return model.eval().requires_grad_(False)


def galileo_hash(model: Galileo) -> str:
    """First 16 hexadecimal digits of the SHA-256 over all weights."""
    return sha256(b"".join(v.numpy().tobytes() for _, v in sorted(model.state_dict().items())))[:16]


def _resized(kernel: Tensor, patch: int) -> Tensor:
    """Kernel for another patch size: pseudo-inverse of antialiased bicubic resizing (Beyer et al. 2023, FlexiViT)."""
    old = kernel.shape[-1]
    basis = torch.eye(old * old, dtype=torch.float64, device=kernel.device).view(-1, 1, old, old)
    small = F.interpolate(basis, size=(patch, patch), mode="bicubic", antialias=True, align_corners=False)
    inverse = torch.linalg.pinv(small.flatten(1)).to(kernel)  # (patch^2, old^2)
    return torch.einsum("dcn,mn->dcm", kernel.flatten(2), inverse).view(*kernel.shape[:2], patch, patch)


def _waves(position: Tensor) -> Tensor:
    """Sines, then cosines of a coordinate, (N, 16)."""
    omega = 10000.0 ** (-torch.arange(8, device=position.device) / 32.0)
    angle = position[:, None] * omega
    return torch.cat([angle.sin(), angle.cos()], 1)
