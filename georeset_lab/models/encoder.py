"""`Encoder`: pixels of any sensor in, a Gaussian expert for each pixel and for the whole scene out.

``pixels + bands -> virtual bands -> tokens per cell -> transformer over cells -> context``, then
``context and local responses, carried along edges + what the pixel itself says -> Gaussian head``. Fusion of sensors
is in ``fusion.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.errors import ShapeMismatch
from georeset_lab.models.fusion import Gaussian
from georeset_lab.models.head import DenseHead, Emission, SceneHead
from georeset_lab.models.pixels import PixelStatistics, Series
from georeset_lab.models.responses import Responses
from georeset_lab.models.spectral import SpectralBasis
from georeset_lab.models.upsample import GuidedUpsample, masked_cell_mean
from georeset_lab.models.vit import Block, blend_windows, rotary_table, split_windows, window_positions

# Rows and columns of cells that are painted at once, and windows attended at once. On a CPU the hidden layers (4608
# pixels or 1024 tokens, 2 MB each) then stay in a core's cache; a GPU wants long kernels.
_BLOCK = {"cpu": (8, 16), "cuda": (64, 64)}
_SPLINE_REACH = 2
_WINDOWS_AT_ONCE = {"cpu": 16, "cuda": 1024}


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Sizes of an encoder; stored in the card of its weights."""

    latent_dim: int = 64
    width: int = 128
    depth: int = 2
    heads: int = 4
    n_virtual: int = 16
    n_local: int = 40
    """Dimensions that rest on the pixel and what surrounds it inside its own edges; the others see the context too."""
    context_power: float = 0.25
    """Power to which a map's context experts are raised. Hundreds of pixels share one context; at full weight for each,
    it would blur the step at a field's edge. 1 in training, where points are far apart."""
    n_kernels: int = 24
    """Kernels of `Responses`; each gives two local features."""
    head_width: int = 64
    patch: int = 6
    """Pixels along the side of a cell."""
    window: int = 8
    """Cells along the side of an attention window."""
    stride: int = 4
    """Cells between windows; ``window`` is a multiple of it."""
    init_spread: float = 1.0
    """Standard deviation of fresh means, in those of the prior; contrast by PMI wants more."""
    deterministic: bool = False
    """True for baselines without uncertainty: tau is 1 wherever a pixel was measured."""

    def __post_init__(self) -> None:
        if not 0 < self.n_local < self.latent_dim:
            raise ShapeMismatch(
                f"EncoderConfig has n_local={self.n_local} of latent_dim={self.latent_dim}; "
                "some dimensions must be local and some not, e.g. n_local = 3 * latent_dim // 4."
            )
        if self.window % self.stride or self.width % (4 * self.heads):
            raise ShapeMismatch(
                f"EncoderConfig has window={self.window}, stride={self.stride}, width={self.width}, heads={self.heads}; "
                "the window must be a multiple of the stride, and the width of four times the heads."
            )


class Crops(NamedTuple):
    """What the encoder says of a batch of training crops, each one attention window."""

    pixels: Gaussian
    """At the points asked for: (B, P, D)."""
    scene: Gaussian
    """Of the whole crop: (B, D)."""


class Encoder(nn.Module):
    """One encoder for all sensors; each modality passes it alone.

    Parameters
    ----------
    config : EncoderConfig, optional
        Sizes; the defaults are those of the shipped weights (1.0 M parameters).

    Notes
    -----
    Context sees ``window`` cells (480 m of Sentinel-2) through attention windows that overlap by half and are blended
    by a raised cosine, so no tile or window edge is visible in the result. The pixel's own virtual bands, with an
    edge-keeping mean and spread of its 5 x 5 neighbourhood, and `Responses` of its side of every edge, enter the head
    directly: the map is as sharp as the pixels.
    """

    margin_cells = 8
    """Cells that `dense` needs around its output: one blend (4) and the reach of the spline, rounded up to a stride."""

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or EncoderConfig()
        self.basis = SpectralBasis(c.n_virtual)
        self.patches = nn.Linear(c.n_virtual * c.patch**2, c.width)
        self.cover = nn.Linear(c.n_virtual + 1, c.width)
        self.calendar = nn.Linear(6, c.width)
        self.blocks = nn.ModuleList(Block(c.width, c.heads) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.width)
        self.date_score = nn.Linear(c.width, 1)
        nn.init.zeros_(self.date_score.weight)
        self.statistics = PixelStatistics(c.n_virtual)
        self.responses = Responses(c.n_virtual, c.n_kernels)
        self.upsample = GuidedUpsample(c.patch)
        how = Emission(c.init_spread, c.deterministic)
        n_near, n_pixel = self.responses.n_features + c.n_virtual, self.statistics.n_features
        self.head = DenseHead(c.width, n_near, n_pixel, c.head_width, c.latent_dim, c.n_local, how)
        self.scene_head = SceneHead(c.width, c.width, c.latent_dim, how)

    @torch.inference_mode()
    def dense(
        self, x: Tensor, bands: Tensor, *, cell_m: float, day_of_year: Tensor, margin: int | None = None
    ) -> Gaussian:
        """Encode a tile of one modality: an expert for every pixel of its core.

        Parameters
        ----------
        x : Tensor, shape (T, C, Y, X), float32
            Physical values, NaN where nothing was measured. Y and X are multiples of ``patch * stride``; the first
            pixel begins a cell whose absolute index is a multiple of ``stride``.
        bands : Tensor, shape (C, 4)
            Band table of the C bands (`georeset_lab.data.bands.band_table`).
        cell_m : float
            Side of a cell in metres.
        day_of_year : Tensor, shape (T,)
            1..366; NaN where the date is not known.
        margin : int, optional
            Cells on each side that are read but not returned; default `margin_cells`.

        Returns
        -------
        Gaussian
            ``eta`` and ``tau`` of shape (Y', X', D), pixel-major. Pixels measured on no date have ``tau = 0``.

        Raises
        ------
        ShapeMismatch
            Y or X is not whole strides.
        """
        step = self.config.patch * self.config.stride
        if x.ndim != 4 or x.shape[2] % step or x.shape[3] % step:
            raise ShapeMismatch(f"dense got {tuple(x.shape)}; it needs (T, C, Y, X) with Y and X multiples of {step}.")
        margin = self.margin_cells if margin is None else margin
        measured = torch.isfinite(x).any(1)
        values = x.new_empty(len(x), self.config.n_virtual, *x.shape[2:])
        cover, contexts, valids = torch.empty_like(values), [], []
        for t in range(len(x)):  # one date at a time: only its virtual bands and its context are kept
            one = slice(t, t + 1)
            values[one], cover[one] = self.basis(x[one], bands)
            tokens, valid = self._tokens(values[one], cover[one], measured[one], cell_m, day_of_year[one])
            contexts.append(self._context(tokens, valid, cell_m))
            valids.append(valid)
        context, known = self._over_dates(torch.cat(contexts), torch.cat(valids))
        cells = masked_cell_mean(values[None], measured[None], self.config.patch)[0]
        near = self.responses(values[None], measured[None], self.config.patch)[0]
        carried = self.head.cells(context, torch.cat([near, cells], -1))
        return self._paint(carried, known, cells, (values, cover, measured), margin)

    def crops(self, x: Tensor, bands: Tensor, *, cell_m: float, day_of_year: Tensor, points: Tensor) -> Crops:
        """Encode training crops of one attention window each, with gradients.

        Parameters
        ----------
        x : Tensor, shape (B, T, C, Y, X)
            Y = X = ``window * patch``.
        bands : Tensor, shape (C, 4)
        cell_m : float
        day_of_year : Tensor, shape (B, T)
        points : Tensor, shape (B, P, 2), int64
            Row and column of the pixels whose expert is wanted.
        """
        b, t = x.shape[:2]
        flat = x.flatten(0, 1)
        values, cover = self.basis(flat, bands)
        measured = torch.isfinite(flat).any(1)
        tokens, valid = self._tokens(values, cover, measured, cell_m, day_of_year.flatten())
        n = tokens.shape[1]
        used = valid.flatten(1).any(1)
        attended = self._attend(tokens.flatten(1, 2)[used], valid.flatten(1)[used], cell_m)
        tokens = tokens.new_zeros(b * t, n * n, attended.shape[-1]).index_put((used,), attended).view(b, t, n, n, -1)
        valid = valid.view(b, t, n, n)
        context, known = self._over_dates(tokens.transpose(0, 1), valid.transpose(0, 1))
        values, cover, measured = (z.view(b, t, *z.shape[1:]) for z in (values, cover, measured))
        cells = masked_cell_mean(values, measured, self.config.patch)
        view = self.statistics.at_points(values, cover, measured, points)
        near = self.responses(values, measured, self.config.patch)
        carried = self.head.cells(context, torch.cat([near, cells], -1))
        guide, noise = (z.permute(1, 2, 0) for z in (view.guide, view.noise))
        carried = self.upsample.at_points(carried, cells, known, guide, noise, points)
        pixels = self.head(carried, view.features.permute(1, 2, 0))
        seen = valid.to(tokens.dtype)[..., None]
        pooled = (tokens * seen).sum((1, 2, 3)) / seen.sum((1, 2, 3)).clamp_min(1.0)
        scene = self.scene_head(pooled)
        return Crops(
            Gaussian(*(z * view.observed[..., None] for z in pixels)),
            Gaussian(*(z * known.flatten(1).any(1)[:, None] for z in scene)),
        )

    def _tokens(
        self, values: Tensor, cover: Tensor, measured: Tensor, cell_m: float, day_of_year: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cells (T, Ny, Nx, W) and which of them hold a measurement (T, Ny, Nx)."""
        p, r = self.config.patch, self.config.n_virtual
        t, _, y, x = values.shape
        cells = values.view(t, r, y // p, p, x // p, p).permute(0, 2, 4, 1, 3, 5).reshape(t, y // p, x // p, -1)
        share = F.avg_pool2d(torch.cat([cover, measured[:, None].to(cover.dtype)], 1), p).permute(0, 2, 3, 1)
        when = _calendar(day_of_year, cell_m).to(values)
        tokens = self.patches(cells) + self.cover(share) + self.calendar(when)[:, None, None]
        return tokens, share[..., -1] > 0

    def _attend(self, tokens: Tensor, valid: Tensor, cell_m: float) -> Tensor:
        """Pass windows (B, N, W) that each hold a valid token through the blocks."""
        rotation = rotary_table(
            window_positions(self.config.window, cell_m).to(tokens), self.config.width // self.config.heads
        )
        mask = None if bool(valid.all()) else valid
        for block in self.blocks:
            tokens = block(tokens, rotation, mask)
        return self.norm(tokens)

    def _context(self, tokens: Tensor, valid: Tensor, cell_m: float) -> Tensor:
        """Attend inside overlapping windows and blend them: (T, Ny, Nx, W)."""
        size, stride = self.config.window, self.config.stride
        windows = split_windows(tokens, size, stride)
        masks = split_windows(valid[..., None], size, stride)[..., 0]
        used = masks.any(-1)
        todo, todo_masks = windows[used], masks[used]
        n = _WINDOWS_AT_ONCE.get(tokens.device.type, 64)
        done = [self._attend(todo[i : i + n], todo_masks[i : i + n], cell_m) for i in range(0, len(todo), n)]
        out = torch.zeros_like(windows)
        if done:
            out[used] = torch.cat(done)
        return blend_windows(out, used.to(tokens.dtype), size, stride, (tokens.shape[1], tokens.shape[2]))

    def _over_dates(self, context: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Pool (T, ..., W) over dates by learned weights: (..., W), and where any date was valid (...)."""
        if context.shape[0] == 1:
            return context[0], valid[0]
        score = self.date_score(context)[..., 0].masked_fill(~valid, -1e4)
        return (score.softmax(0)[..., None] * context).sum(0), valid.any(0)

    def _paint(self, carried: Tensor, known: Tensor, cells: Tensor, series: Series, margin: int) -> Gaussian:
        """Carry what cells say to the pixels and apply the head, block by block: (Y', X', D)."""
        p, reach = self.config.patch, _SPLINE_REACH
        power = 1.0 if self.config.deterministic else self.config.context_power
        rows, cols = known.shape[0] - 2 * margin, known.shape[1] - 2 * margin
        pad = max(0, reach - margin)
        framed = [F.pad(z, (0, 0, pad, pad, pad, pad)) for z in (carried, cells, known[..., None])]
        first = margin + pad - reach
        eta = carried.new_empty(rows * p, cols * p, self.config.latent_dim)
        tau = torch.empty_like(eta)
        tall, wide = _BLOCK.get(eta.device.type, (16, 16))
        for y, x in product(range(0, rows, tall), range(0, cols, wide)):
            n, m = min(tall, rows - y), min(wide, cols - x)
            around, near, seen = (
                z[first + y : first + y + n + 2 * reach, first + x : first + x + m + 2 * reach] for z in framed
            )
            view = self.statistics.window(*series, ((margin + y) * p, (margin + x) * p), (n * p, m * p))
            guide, noise, features = (_by_cell(z, p) for z in (view.guide, view.noise, view.features))
            part = self.head(
                self.upsample.dense(around, near, seen[..., 0], guide, noise), features, context_power=power
            )
            keep = view.observed.view(n, p, m, p, 1)
            for target, source in zip((eta, tau), part, strict=True):
                window = target[y * p : (y + n) * p, x * p : (x + m) * p].unflatten(1, (m, p)).unflatten(0, (n, p))
                torch.mul(source.view(n, m, p, p, -1).transpose(1, 2), keep, out=window)
        return Gaussian(eta, tau)


def _by_cell(x: Tensor, patch: int) -> Tensor:
    """(F, Y, X) to (Ny, Nx, patch ** 2, F)."""
    f, y, w = x.shape
    cells = x.reshape(f, y // patch, patch, w // patch, patch)
    return cells.permute(1, 3, 2, 4, 0).reshape(y // patch, w // patch, patch**2, f)


def _calendar(day_of_year: Tensor, cell_m: float) -> Tensor:
    """Return (T, 6): two sine-cosine pairs of the year, whether the date is known, log size of a cell."""
    known = torch.isfinite(day_of_year)
    angle = torch.where(known, day_of_year, 0.0) * (2 * torch.pi / 365.25)
    waves = torch.stack([angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()], 1) * known[:, None]
    size = torch.full_like(angle, cell_m / 60.0).log()
    return torch.cat([waves, known[:, None].to(waves), size[:, None]], 1)
