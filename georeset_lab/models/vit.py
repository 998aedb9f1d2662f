"""Transformer over cells: attention blocks with metric rotary positions, and fixed windows that tile a scene.

No pixels and no bands here: tokens of shape (..., N, W) in, tokens out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SHORTEST_M = 13.0
_RATIO = 2.8


class Block(nn.Module):
    """Pre-norm transformer block with two-dimensional rotary positions.

    Parameters
    ----------
    width, heads : int
        Token width and number of heads; ``width / heads`` must be a multiple of 4.

    Notes
    -----
    Dosovitskiy et al. (2021) with the rotary embedding of Su et al. (2021) applied to eastings and northings in metres:
    attention sees only differences of positions, so a scene shifted by a whole cell gives shifted tokens.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width))

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """Update tokens.

        Parameters
        ----------
        x : Tensor, shape (B, N, W)
        rotation : pair of Tensor, shape (N, W / heads)
            Cosine and signed sine from `rotary_table`.
        mask : Tensor, shape (B, N), bool, or None
            False for tokens that carry no measurement; they are not attended to.
        """
        b, n, w = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(b, n, 3, self.heads, w // self.heads)
        # Turned before the axes are swapped: one pass over memory in its own order, for queries and keys together.
        q, k = _rotate(qkv[:, :, :2], rotation).transpose(1, 3).unbind(2)
        keys = None if mask is None else mask[:, None, None, :].expand(b, self.heads, n, n)
        mixed = F.scaled_dot_product_attention(q, k, qkv[:, :, 2].transpose(1, 2), attn_mask=keys)
        x = x + self.project(mixed.transpose(1, 2).reshape(b, n, w))
        return x + self.mlp(self.norm_mlp(x))


def rotary_table(positions_m: Tensor, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine that rotate queries and keys by their place.

    Parameters
    ----------
    positions_m : Tensor, shape (N, 2)
        Easting and southing of each cell centre in metres, relative to the window.
    head_width : int
        Channels per head; a quarter of them are frequencies of one axis.

    Returns
    -------
    cos, sin : Tensor, shape (N, head_width)
        Wavelengths run from 13 m upwards by factors of 2.8, so cells of 2 m to 1 km are told apart.
    """
    n_waves = head_width // 4
    omega = 2 * math.pi / (_SHORTEST_M * _RATIO ** torch.arange(n_waves, device=positions_m.device))
    angle = torch.cat([positions_m[:, :1] * omega, positions_m[:, 1:] * omega], 1)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], 1), torch.cat([-sin, sin], 1)


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate (B, N, 2, heads, W / heads): each half of the channels is the other axis of the other half."""
    cos, sin = (z[:, None, None] for z in rotation)
    half = x.shape[-1] // 2
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], sin[..., :half])
    out[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return out


def window_positions(size: int, cell_m: float) -> Tensor:
    """Cell centres of one window in metres, shape (size * size, 2), centred on zero, row by row."""
    axis = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2) * cell_m
    south, east = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([east.flatten(), south.flatten()], 1)


def split_windows(cells: Tensor, size: int, stride: int) -> Tensor:
    """Cut a grid of cells into overlapping windows.

    Parameters
    ----------
    cells : Tensor, shape (T, Ny, Nx, W)
        Ny and Nx are multiples of ``stride``, at least ``size``.

    Returns
    -------
    Tensor, shape (T, Wy, Wx, size * size, W)
    """
    windows = cells.unfold(1, size, stride).unfold(2, size, stride)
    t, wy, wx, w = windows.shape[:4]
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(t, wy, wx, size * size, w)


def blend_windows(windows: Tensor, weight: Tensor, size: int, stride: int, shape: tuple[int, int]) -> Tensor:
    """Put overlapping windows back on their grid, weighting each by a raised cosine.

    Parameters
    ----------
    windows : Tensor, shape (T, Wy, Wx, size * size, W)
    weight : Tensor, shape (T, Wy, Wx)
        1 for windows that were computed, 0 for those left out.
    shape : (Ny, Nx)
        The grid that was split.

    Returns
    -------
    Tensor, shape (T, Ny, Nx, W)
        Zero where no window was computed.
    """
    t, wy, wx, _, width = windows.shape
    ramp = torch.sin(math.pi * (torch.arange(size, device=windows.device) + 0.5) / size) ** 2
    hann = (ramp[:, None] * ramp).reshape(-1).to(windows)
    share = hann * weight[..., None]
    total = windows.new_zeros(t, shape[0], shape[1], width)
    amount = windows.new_zeros(t, shape[0], shape[1], 1)
    weighted = (windows * share[..., None]).view(t, wy, wx, size, size, width)
    share = share.view(t, wy, wx, size, size, 1)
    # Windows `size / stride` apart do not touch, so each phase is one dense copy instead of a scatter.
    phases = -(-size // stride)
    for py in range(phases):
        for px in range(phases):
            for source, target in ((weighted, total), (share, amount)):
                part = source[:, py::phases, px::phases]
                ny, nx = part.shape[1:3]
                if ny and nx:
                    y0, x0 = py * stride, px * stride
                    block = part.transpose(2, 3).reshape(t, ny * size, nx * size, -1)
                    target[:, y0 : y0 + ny * size, x0 : x0 + nx * size] += block
    return total / amount.clamp_min(1e-6)
