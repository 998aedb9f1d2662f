"""`PixelStatistics`: what a pixel and its 5 x 5 neighbours say by themselves, over all dates. No learning but date weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.models.spectral import Channels, is_even
from georeset_lab.models.squares import FLOOR, REACH, SHARPNESS, read_squares

_BLOCKS = (0, 1, 2, 4, 3)
"""Where the features of a view stand in the weights: the spread over dates, which a single date lacks, comes last."""


class Series(NamedTuple):
    """Virtual bands of some dates."""

    values: Tensor
    """(T, R', Y, X) from `SpectralBasis`; 0 where nothing was measured. A batch has (B, T, R', Y, X), and so on."""
    cover: Tensor
    """(T, R', Y, X), 0 where nothing was measured; or, if it `is_even`, of the pixels that were."""
    measured: Tensor
    """(T, Y, X) bool."""
    channels: Channels

    @property
    def shared(self) -> Tensor:
        """(R',): the cover of a single date, if all its measured pixels have the same; else (0,)."""
        even = self.values.shape[-4] == 1 and is_even(self.cover)
        return self.cover[..., 0, 0].reshape(-1, self.cover.shape[-3])[0] if even else self.cover.new_empty(0)

    def saw(self, part: slice) -> Tensor:
        """Pixels (T, Y, X) with any of these virtual bands."""
        cover = self.cover[..., :1, :1] if is_even(self.cover) else self.cover
        return (cover[..., part, :, :] > 0).any(-3) & self.measured

    @classmethod
    def of_dates(cls, dates: Sequence[Series]) -> Series:
        """Dates of a batch (B, 1, ...), one after the other."""
        first = dates[0]
        if len(dates) == 1:
            return first
        cover = [d.cover for d in dates]
        if all(is_even(z) for z in cover):
            whole = torch.cat([z[..., :1, :1] for z in cover], 1).expand(-1, -1, -1, *first.cover.shape[-2:])
        else:
            whole = torch.cat([d.cover * d.measured[:, :, None] for d in dates], 1)
        values, measured = (torch.cat(z, 1) for z in zip(*((d.values, d.measured) for d in dates), strict=True))
        return cls(values, whole, measured, first.channels)

    def thinned(self, values: Tensor, swap: Tensor | None) -> Series:
        """`every_second` pixel, the trailing shape is (Y, X / 2); their values are known."""
        if is_even(self.cover):
            cover = self.cover[..., :1, :1].expand(*self.cover.shape[:-2], *values.shape[-2:])
        else:
            cover = every_second(self.cover, swap)
        return Series(values, cover, every_second(self.measured, swap), self.channels)

    def map(self, change: Callable[[Tensor], Tensor]) -> Series:
        """The same of changed tensors: cut, batched or split into dates."""
        return Series(change(self.values), change(self.cover), change(self.measured), self.channels)


def every_second(x: Tensor, swap: Tensor | None = None) -> Tensor:
    """One of each pair of pixels side by side, (..., Y, X) to (..., Y, X / 2): a checkerboard; Y and X are even.

    Of an even row the left ones, of an odd one the right ones; where ``swap``, (Y, X / 2), the others.
    """
    mine, other = (x.new_empty(*x.shape[:-1], x.shape[-1] // 2) for _ in range(2))
    for row in (0, 1):
        mine[..., row::2, :] = x[..., row::2, row::2]
        if swap is not None:
            other[..., row::2, :] = x[..., row::2, 1 - row :: 2]
    return mine if swap is None else torch.where(swap, other, mine)


class PixelView(NamedTuple):
    """What the pixels of a series say by themselves; the trailing shape is (Y, X) or (B, P)."""

    features: Tensor
    """(5 R', ...): value, neighbourhood mean and spread, cover (weighted means over dates), spread over dates. Of a single
    date, which has no such spread, (4 R', ...); or (3 R', ...), if its cover is `Series.shared`."""
    guide: Tensor
    """(fixed, ...): plain mean over dates of the neighbourhood mean, comparable with the mean of a cell."""
    noise: Tensor
    """(1, ...): mean square of the neighbourhood spread, over bands and dates: what a difference must exceed to be an edge."""
    observed: Tensor
    """(...): bool, measured on at least one date; of `every_second` pixel float32, the share of its pair that was."""
    colours: Tensor
    """(10, ...): plain mean over dates of the optical virtual bands; nothing, (0, ...), without reflectance."""
    lit: Tensor
    """(...): bool, saw reflectance on at least one date."""


class PixelStatistics(nn.Module):
    """Own value, neighbourhood mean and spread, and spread over dates of each virtual band, with its cover.

    Parameters
    ----------
    n_virtual : int
        R, number of virtual bands; those that a sensor cannot fill are left out of its features (R' of R).

    Notes
    -----
    Local mean and spread are the strongest cheap features of few-shot land cover (``methods.md`` section 11), so the
    head is given them instead of having to learn them. A plain 5 x 5 mean would smear every field edge over five
    pixels; ours is a soft form of Kuwahara et al. (1976): the four 3 x 3 squares that hold the pixel in a corner are
    averaged with weights that fall with their variance. Beside an edge the squares across it drop out; in speckle all
    four count alike. Missing neighbours leave every sum.
    """

    def __init__(self, n_virtual: int) -> None:
        super().__init__()
        self.n_virtual, self.n_features = n_virtual, 5 * n_virtual
        self.date_score = nn.Linear(2 * n_virtual, 1, bias=False)
        nn.init.zeros_(self.date_score.weight)

    def columns(self, series: Series) -> tuple[Tensor, Tensor]:
        """Places among all ``n_features`` of the features of a view, (n,), and of those that its pixels share."""
        places, single = series.channels.places, series.values.shape[-4] == 1
        blocks = torch.tensor(_BLOCKS[:-1] if single else _BLOCKS, device=places.device)
        columns = (blocks[:, None] * self.n_virtual + places).flatten()
        n = len(columns) - len(series.shared)
        return columns[:n], columns[n:]

    def window(
        self, series: Series, first: tuple[int, int], size: tuple[int, int], *, sparse: bool = False
    ) -> PixelView:
        """Summarise ``size`` pixels of a series from ``first`` on, at the cost of those and the two around them.

        If ``sparse``, of `every_second` one: of the other of its pair, where only that one was measured.
        """
        rows, cols = (slice(f, f + s) for f, s in zip(first, size, strict=True))
        here = series.map(lambda z: z[..., rows, cols])
        if not sparse:
            return self._over_dates(here, *self._squares_around(series, first, size))
        seen = here.measured.any(0)
        share = seen.unflatten(-1, (-1, 2)).to(series.values.dtype).mean(-1)
        lost = (share > 0) & ~every_second(seen)
        if bool(lost.any()):
            parts, noise = (every_second(z, lost) for z in self._squares_around(series, first, size))
            here = here.thinned(parts[0], lost)
        else:
            parts, noise = self._squares_around(series, first, size, step=2)
            here = here.thinned(parts[0], None)
        return self._over_dates(here, parts, noise)._replace(observed=share)

    def at_points(self, series: Series, points: Tensor) -> PixelView:
        """Summarise a batch of series (B, T, R', S, S) at some pixels (B, P, 2), row and column; what training needs."""
        values, cover, measured, channels = series
        reach = torch.arange(2 * REACH + 1, device=points.device)
        rows = points[..., 0, None, None] + reach[:, None]
        cols = points[..., 1, None, None] + reach
        crop = torch.arange(len(points), device=points.device)[:, None, None, None]
        edges = (REACH,) * 4
        # Advanced indices around two slices put (B, P, 5, 5) first.
        near = F.pad(values, edges)[crop, :, :, rows, cols].permute(4, 5, 0, 1, 2, 3)
        present = F.pad(measured.to(values.dtype), edges)[crop, :, rows, cols].permute(4, 0, 1, 2, 3)[:, None]
        sums = [
            torch.stack([z[..., i : i + 3, j : j + 3].sum((-1, -2)) for i in (0, REACH) for j in (0, REACH)])
            for z in (near, near * near, present)
        ]
        if is_even(cover):  # the same in all crops: they were projected together
            own = cover[0, ..., :1, :1].expand(-1, -1, *points.shape[:2])
        else:
            own = cover[crop[..., 0, 0], :, :, points[..., 0], points[..., 1]].permute(2, 3, 0, 1)
        seen = present[:, 0, ..., REACH, REACH] > 0
        here = Series(near[..., REACH, REACH], own, seen, channels)
        return self._over_dates(here, *self._say(here, [z.sum(0) for z in _weigh(*sums, channel=2)]))

    def _squares(self, series: Series) -> tuple[Tensor, Tensor]:
        """What `read_squares` gives, of all pixels, on any device."""
        values, measured = series.values, series.measured
        y, x = values.shape[-2:]
        present = measured[:, None].to(values.dtype)
        sums = [_box3(F.pad(z, (1, 1, 1, 1))) for z in (values, values * values, present)]
        # The square that a pixel closes at one corner is another pixel's at the other: each is weighed once.
        return self._say(series, [_four_corners(z, y, x) for z in _weigh(*sums)])

    def _squares_around(
        self, series: Series, first: tuple[int, int], size: tuple[int, int], step: int = 1
    ) -> tuple[Tensor, Tensor]:
        """What `read_squares` gives, of a window, on any device."""
        if series.values.device.type == "cpu":
            return read_squares(series.values, series.measured, series.channels.fixed.stop, first, size, step)
        low = [max(0, f - REACH) for f in first]
        high = [min(n, f + s + REACH) for n, f, s in zip(series.values.shape[-2:], first, size, strict=True)]
        near = (slice(low[0], high[0]), slice(low[1], high[1]))
        rows, cols = (slice(f - lo, f - lo + s) for f, lo, s in zip(first, low, size, strict=True))
        window = (z[..., rows, cols] for z in self._squares(series.map(lambda z: z[..., *near])))
        parts, noise = window if step == 1 else (every_second(z) for z in window)
        return parts, noise

    def _say(self, series: Series, weighed: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What `read_squares` gives, from the summed weight, weighted mean and weighted variance of the squares."""
        share = 1.0 / weighed[0].clamp_min(1e-30)
        mean, spread = weighed[1] * share, _root(weighed[2] * share)
        noise = spread[:, series.channels.fixed].square().mean(1, keepdim=True)
        return torch.stack([series.values, mean, spread]), noise

    def _over_dates(self, series: Series, parts: Tensor, noise: Tensor) -> PixelView:
        """Pool (3, T, R', ...) summaries, value, mean and spread, with learned weights of the dates."""
        values, cover, measured, channels = series
        mean, fixed, optical = parts[1], channels.fixed, channels.optical
        light = series.saw(optical)
        colours = values[:, optical]
        if len(values) == 1:
            features = parts[:, 0].flatten(0, 1)
            if not len(series.shared):
                features = torch.cat([features, cover[0]])
            return PixelView(features, mean[0, fixed], noise[0], measured[0], colours[0], light[0])
        both = torch.cat([channels.places, self.n_virtual + channels.places])
        score = F.linear(torch.cat([values, mean], 1).movedim(1, -1), self.date_score.weight[:, both])[..., 0]
        weight = score.masked_fill(~measured, -1e4).softmax(0)[:, None]
        pooled = [(weight * part).sum(0) for part in parts]
        present = measured[:, None].to(values.dtype)
        n = present.sum(0).clamp_min(1.0)
        change = ((values - pooled[0]) ** 2 * present).sum(0) / n
        features = torch.cat([*pooled, (weight * cover).sum(0), _root(change)])
        noise = (noise * present).sum(0) / n
        guide = (mean[:, fixed] * present).sum(0) / n
        plain = (colours * light[:, None]).sum(0) / light[:, None].sum(0).clamp_min(1)
        return PixelView(features, guide, noise, measured.any(0), plain, light.any(0))


def _weigh(total: Tensor, squares: Tensor, count: Tensor, *, channel: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Weight of squares of 3 x 3, weighted mean and weighted variance, from their sums; ``channel`` is the bands' axis."""
    n = count.clamp_min(1.0)
    mean = total / n
    variance = (squares / n - mean * mean).clamp_min(0.0)
    weight = count * (variance.mean(channel, keepdim=True) + FLOOR) ** -SHARPNESS * FLOOR**SHARPNESS
    return weight, weight * mean, weight * variance


def _four_corners(framed: Tensor, y: int, x: int) -> Tensor:
    """Sum over the four squares that hold a pixel in a corner, from what is said of squares by their centre."""
    tall = framed[..., :y, :] + framed[..., REACH : REACH + y, :]
    return tall[..., :x] + tall[..., REACH : REACH + x]


def _root(variance: Tensor) -> Tensor:
    """Square root with a bounded slope, exactly 0 at 0."""
    return (variance + FLOOR).sqrt() - FLOOR**0.5


def _box3(x: Tensor) -> Tensor:
    """Sum over 3 x 3 neighbours, zero outside: shifted copies added in place, five times quicker than pooling."""
    tall = x.clone()
    tall[..., 1:, :] += x[..., :-1, :]
    tall[..., :-1, :] += x[..., 1:, :]
    wide = tall.clone()
    wide[..., 1:] += tall[..., :-1]
    wide[..., :-1] += tall[..., 1:]
    return wide
