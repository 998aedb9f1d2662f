"""`Encoder`: pixels of any sensor in, a Gaussian expert for each pixel and for the whole scene out.

``pixels + bands -> virtual bands -> what cells say -> transformer over tokens of 2 x 2 cells -> context``, then
``context and cells, carried along edges + what the pixel itself says -> Gaussian head, on top of the signature``. The
second step, for whole maps, is in ``painting.py``; the fusion of sensors in ``fusion.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.errors import ShapeMismatch
from georeset_lab.models.canvas import Canvas, Map
from georeset_lab.models.cells import Cells, CellSums, look_of, mean_signature, read_cells, sum_cells
from georeset_lab.models.core import NO_RIM, Core, Rim, core_of
from georeset_lab.models.emission import Emission
from georeset_lab.models.fusion import Gaussian
from georeset_lab.models.head import DenseHead, SceneHead
from georeset_lab.models.painting import Parts, finish, paint
from georeset_lab.models.pixels import PixelStatistics, PixelView, Series
from georeset_lab.models.sharpness import N_SHARPNESS
from georeset_lab.models.signature import Answers, Signature, share_out
from georeset_lab.models.spectral import N_FIXED, Channels, SpectralBasis
from georeset_lab.models.threads import in_threads
from georeset_lab.models.upsample import GuidedUpsample
from georeset_lab.models.vit import Block, blend_windows, rotary_table, split_windows, window_positions

# On a CPU the hidden layers of 1024 tokens (2 MB) stay in a core's cache; a GPU wants long kernels.
_WINDOWS_AT_ONCE = {"cpu": 64, "cuda": 1024}


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Sizes of an encoder; stored in the card of its weights."""

    latent_dim: int = 64
    width: int = 128
    depth: int = 2
    heads: int = 4
    n_learned: int = 6
    """Learned contrasts between bands, besides the fixed virtual bands."""
    n_kernels: int = 32
    """Optical kernels of the `Signature`; each gives two features."""
    n_local: int = 54
    """Dimensions that rest on the pixel and what looks like it around; the others see the context too."""
    context_power: float = 0.25
    """Power to which a map's context experts are raised. Hundreds of pixels share one context; at full weight for each,
    it would blur the step at a field's edge. 1 in training, where points are far apart."""
    head_width: int = 64
    patch: int = 6
    """Pixels along the side of a cell."""
    token: int = 2
    """Cells along the side of a token."""
    window: int = 8
    """Cells along the side of an attention window."""
    stride: int = 4
    """Cells between windows; ``window`` is a multiple of it, and it is a multiple of ``token``."""
    init_spread: float = 0.1
    """Standard deviation of what fresh weights add to the means of the signature."""
    deterministic: bool = False
    """True for baselines without uncertainty: tau is 1 wherever a pixel was measured."""

    @property
    def n_virtual(self) -> int:
        """Virtual bands in all."""
        return N_FIXED + self.n_learned

    def __post_init__(self) -> None:
        if not 0 < self.n_local < self.latent_dim:
            raise ShapeMismatch(
                f"EncoderConfig has n_local={self.n_local} of latent_dim={self.latent_dim}; "
                "some dimensions must be local and some not, e.g. n_local = 3 * latent_dim // 4."
            )
        if self.window % self.stride or self.stride % self.token or self.width % (4 * self.heads):
            raise ShapeMismatch(
                f"EncoderConfig has window={self.window}, stride={self.stride}, token={self.token}, width={self.width}, "
                f"heads={self.heads}; the window must be a multiple of the stride, the stride of the token, and the "
                "width of four times the heads."
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
        Sizes; the defaults are those of the shipped weights.

    Notes
    -----
    The means start as the `Signature`, which is fitted in closed form; learning adds to them what the rest of the
    window, other bands and other sensors have taught, and says for each dimension how sure that is. Context sees
    ``window`` cells (480 m of Sentinel-2) through attention windows that overlap by half and are blended by a raised
    cosine, so no tile or window edge is visible. What a cell says is carried to its pixels along edges, and the pixel's
    own bands enter directly: the map is as sharp as the pixels.
    """

    margin_cells = 8
    """Cells that `dense` needs around its output: one blend (4), a token and the spline (2 each)."""
    rim_cells = 0
    """Those of them that it needs where the scene has ended."""

    products = torch.float32
    """In which the products of the compiled head are computed (`georeset_lab.models.fast.fast_form`)."""

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or EncoderConfig()
        self.basis = SpectralBasis(c.n_learned)
        self.signature = Signature(share_out(c.latent_dim, c.n_local), c.n_kernels)
        n_near = self.signature.n_features + 2 * c.n_virtual + 1 + N_SHARPNESS
        self.tokens = nn.Linear(n_near * c.token**2, c.width)
        self.calendar = nn.Linear(6, c.width)
        self.blocks = nn.ModuleList(Block(c.width, c.heads) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.width)
        self.date_score = nn.Linear(c.width, 1)
        nn.init.zeros_(self.date_score.weight)
        self.statistics = PixelStatistics(c.n_virtual)
        self.upsample = GuidedUpsample(c.patch)
        how = Emission(c.init_spread, c.deterministic)
        self.head = DenseHead(c.width, n_near, self.statistics.n_features, c.head_width, c.latent_dim, c.n_local, how)
        self.scene_head = SceneHead(c.width, c.width, c.latent_dim, how)

    @property
    def parts(self) -> Parts:
        """What turns cells into pixels."""
        c = self.config
        how = (c.patch, c.deterministic, c.context_power, self.products)
        return Parts(*how, self.statistics, self.upsample, self.head, self.signature)

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
        core : pair of slices, optional
            Rows and columns of ``x`` whose experts are wanted; by default all that have `margin_cells` around them. On a
            side where there are fewer the scene has ended: nothing was measured beyond it.
        dtype : torch.dtype
            Of the result; what lies beyond its range is clipped.

        Returns
        -------
        Gaussian
            ``eta`` and ``tau`` of shape (Y', X', D), pixel-major. Pixels measured on no date have ``tau = 0``.

        Raises
        ------
        ShapeMismatch
            Y or X is not whole strides.
        """
        inside = core_of(x, core, self.margin_cells * self.config.patch)
        canvas = Map.of_its_own(inside, self.config.latent_dim, dtype, x.device)
        self.draw(x, bands, cell_m=cell_m, day_of_year=day_of_year, canvas=canvas)
        return canvas.result

    @torch.inference_mode()
    def draw(self, x: Tensor, bands: Tensor, *, cell_m: float, day_of_year: Tensor, canvas: Canvas) -> None:
        """What `dense` does, on a canvas: experts that are summed up, say, need not lie in memory one by one."""
        step = self.config.patch * self.config.stride
        if x.ndim != 4 or x.shape[2] % step or x.shape[3] % step:
            raise ShapeMismatch(f"dense got {tuple(x.shape)}; it needs (T, C, Y, X) with Y and X multiples of {step}.")
        channels, c = self.basis.channels(bands), self.config
        rim = Rim.where_ended(x, canvas.core, self.margin_cells * c.patch, c.window - c.stride)
        dates, sums, contexts, valids = [], [], [], []
        for t in range(len(x)):  # one date at a time: only its virtual bands, its sums and its context are kept
            one = slice(t, t + 1)
            dates.append(self._series(x[None, one], bands))
            sums.append(self._sum_cells(dates[-1]))
            cells = self._cells(sums[-1], channels)
            tokens, valid = self._tokens(cells, cell_m, day_of_year[one], rim)
            contexts.append(self._context(tokens, valid, cell_m))
            valids.append(valid)
        if len(x) > 1:
            cells = self._cells(CellSums.of_dates(sums), channels)
        series = Series.of_dates(dates).map(lambda z: z[0])
        context, _ = self._over_dates(torch.cat(contexts), torch.cat(valids))
        around = rim.taken_off(self._to_cells(context[None]))
        carried = torch.cat([self.head.cells(around, cells.near), cells.signature], -1)
        paint(self.parts, carried[0], cells.look.known[0], cells.look.guide[0], series, canvas)

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
        series = self._series(x, bands)
        sums, channels = self._sum_cells(series), series.channels
        cells = self._cells(sums.over_dates(), channels)
        each = self._cells(sums.apart(), channels) if t > 1 else cells
        tokens, valid = self._tokens(each, cell_m, day_of_year.flatten())
        n = tokens.shape[1]
        used = valid.flatten(1).any(1)
        attended = self._attend(tokens.flatten(1, 2)[used], valid.flatten(1)[used], cell_m)
        tokens = tokens.new_zeros(b * t, n * n, attended.shape[-1]).index_put((used,), attended).view(b, t, n, n, -1)
        valid = valid.view(b, t, n, n)
        context, _ = self._over_dates(tokens.transpose(0, 1), valid.transpose(0, 1))
        view = self.statistics.at_points(series, points)
        carried = torch.cat([self.head.cells(self._to_cells(context), cells.near), cells.signature], -1)
        carried = self._to_points(carried, cells, view, points)
        raw = finish(self.parts, carried, view, series)
        seen = valid.to(tokens.dtype)[..., None]
        pooled = (tokens * seen).sum((1, 2, 3)) / seen.sum((1, 2, 3)).clamp_min(1.0)
        scene = self.scene_head(pooled, mean_signature(cells, self.signature))
        return Crops(
            self.head.emit(*raw, view.observed),
            Gaussian(*(z * cells.look.known.flatten(1).any(1)[:, None] for z in scene)),
        )

    @torch.no_grad()
    def signatures(self, x: Tensor, bands: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the `Signature` alone says of points of crops; shapes as in `crops`.

        Returns
        -------
        signature : Tensor, shape (B, P, D)
        lit, heard : Tensor, shape (B, P), bool
            Points that saw reflectance, and those in a cell that saw backscatter.
        """
        series = self._series(x, bands)
        cells = self._cells(self._sum_cells(series).over_dates(), series.channels)
        view = self.statistics.at_points(series, points)
        echo = (cells.answers.echo > 0).to(x.dtype)
        carried = self._to_points(torch.cat([cells.signature, echo], -1), cells, view, points)
        signature = self.signature.whole(carried[..., :-1], view.colours.permute(1, 2, 0), view.lit)
        return signature, view.lit, carried[..., -1] > 0.5

    def _series(self, x: Tensor, bands: Tensor) -> Series:
        """Virtual bands of a batch (B, T, C, Y, X)."""
        b, t = x.shape[:2]
        flat = x.flatten(0, 1)
        return Series(*self.basis.project(flat, bands)).map(lambda z: z.view(b, t, *z.shape[1:]))

    @torch.no_grad()
    def answers(self, x: Tensor, bands: Tensor) -> tuple[Answers, Tensor]:
        """What the kernels answer in the cells of crops (B, T, C, Y, X), and its average over cells alike, (B, Ny, Nx, F)."""
        series = self._series(x, bands)
        sums = self._sum_cells(series).over_dates()
        answers = Answers(*(z[:, 0] for z in sums.answers))
        return answers, self.upsample.smooth(answers.means(), *look_of(sums, series.channels))

    def _sum_cells(self, series: Series) -> CellSums:
        return sum_cells(series, self.signature, self.config.patch)

    def _cells(self, sums: CellSums, channels: Channels) -> Cells:
        return read_cells(sums, channels, self.signature, self.upsample, self.config.n_virtual)

    def _tokens(self, cells: Cells, cell_m: float, day_of_year: Tensor, rim: Rim = NO_RIM) -> tuple[Tensor, Tensor]:
        """Tokens (T, N, M, W) of single dates and which of them hold a measurement (T, N, M)."""
        near, known = rim.put_round(cells.near), rim.put_round(cells.look.known[..., None])
        t, k = len(near), self.config.token
        ny, nx = near.shape[1] // k, near.shape[2] // k
        near = near.view(t, ny, k, nx, k, -1).transpose(2, 3).reshape(t, ny, nx, -1)
        when = _calendar(day_of_year, cell_m).to(near)
        tokens = self.tokens(near) + self.calendar(when)[:, None, None]
        return tokens, known.view(t, ny, k, nx, k).any(4).any(2)

    def _to_cells(self, context: Tensor) -> Tensor:
        """Bring what tokens say (B, N, M, W) to the cells, linearly between their centres."""
        wide = F.interpolate(context.permute(0, 3, 1, 2), scale_factor=self.config.token, mode="bilinear")
        return wide.permute(0, 2, 3, 1)

    def _to_points(self, carried: Tensor, cells: Cells, view: PixelView, points: Tensor) -> Tensor:
        """Bring what cells say (B, N, N, H) to points along edges, (B, P, H)."""
        guide, noise = (z.permute(1, 2, 0) for z in (view.guide, view.noise))
        return self.upsample.at_points(carried, cells.look.guide, cells.look.known, guide, noise, points)

    def _attend(self, tokens: Tensor, valid: Tensor, cell_m: float) -> Tensor:
        """Pass windows (B, N, W) that each hold a valid token through the blocks."""
        c = self.config
        positions = window_positions(c.window // c.token, c.token * cell_m).to(tokens)
        rotation = rotary_table(positions, c.width // c.heads)
        mask = None if bool(valid.all()) else valid
        for block in self.blocks:
            tokens = block(tokens, rotation, mask)
        return self.norm(tokens)

    def _context(self, tokens: Tensor, valid: Tensor, cell_m: float) -> Tensor:
        """Attend inside overlapping windows and blend them: (T, N, M, W)."""
        size, stride = self.config.window // self.config.token, self.config.stride // self.config.token
        windows = split_windows(tokens, size, stride)
        masks = split_windows(valid[..., None], size, stride)[..., 0]
        used = masks.any(-1)
        todo, todo_masks = windows[used], masks[used]
        n = _WINDOWS_AT_ONCE.get(tokens.device.type, 64)
        done = torch.empty_like(todo)

        def attend(i: int) -> None:
            done[i : i + n] = self._attend(todo[i : i + n], todo_masks[i : i + n], cell_m)

        in_threads(attend, range(0, len(todo), n), tokens.device)
        out = torch.zeros_like(windows)
        out[used] = done
        return blend_windows(out, used.to(tokens.dtype), size, stride, (tokens.shape[1], tokens.shape[2]))

    def _over_dates(self, context: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Pool (T, ..., W) over dates by learned weights: (..., W), and where any date was valid (...)."""
        if context.shape[0] == 1:
            return context[0], valid[0]
        score = self.date_score(context)[..., 0].masked_fill(~valid, -1e4)
        return (score.softmax(0)[..., None] * context).sum(0), valid.any(0)


def _calendar(day_of_year: Tensor, cell_m: float) -> Tensor:
    """Return (T, 6): two sine-cosine pairs of the year, whether the date is known, log size of a cell."""
    known = torch.isfinite(day_of_year)
    angle = torch.where(known, day_of_year, 0.0) * (2 * torch.pi / 365.25)
    waves = torch.stack([angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()], 1) * known[:, None]
    size = torch.full_like(angle, cell_m / 60.0).log()
    return torch.cat([waves, known[:, None].to(waves), size[:, None]], 1)
