"""`SpectralBasis`: any set of bands in, a fixed number of virtual bands out. No spatial processing here.

A band enters only through its numbers (`georeset_lab.data.bands.band_table`): centre, width, pixel size and kind. So
the order of bands, their number and the sensor's name do not matter.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from georeset_lab.errors import ShapeMismatch
from georeset_lab.models.large import empty
from georeset_lab.models.normalise import fill, normalise
from georeset_lab.models.spectrum import WAVELENGTHS_UM, overlap, place_and_spread, told_by
from georeset_lab.models.threads import in_threads

_OTHER = (torch.tensor([3, 5]), torch.tensor([4, 6]), torch.tensor([1]), torch.tensor([2]))
"""Kinds of the other fixed virtual bands: VV or HH, VH or HV, temperature, elevation."""
N_FIXED = len(WAVELENGTHS_UM) + len(_OTHER)

_AT_ONCE = 1 << 17
"""Numbers that are projected at once on a CPU: the bands of so many pixels, and what becomes of them, stay in a core's cache."""

# Cycles per decade of wavelength; the finest period, 0.031 decades, is 50 nm at 700 nm.
_CYCLES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_EPS = 1e-4


class Channels(NamedTuple):
    """Which virtual bands a sensor can fill at all; the others are not computed."""

    places: Tensor
    """(R',) where they stand among all ``n_virtual``."""
    fixed: slice
    """Among the R' of a view: wavelengths, polarisations, temperature, elevation, without the learned contrasts."""
    optical: slice
    """Among the R' of a view: the `WAVELENGTHS_UM`; empty without reflectance."""
    radar: slice
    """Among the R' of a view: co- and cross-polarised backscatter; empty without radar."""


class Mixing(NamedTuple):
    """How normalised bands (C, N), and a row of ones after them, become virtual ones."""

    mix: Tensor
    """(R', C + 1)."""
    cover: Tensor
    """(R', 1)."""


class SpectralBasis(nn.Module):
    """Virtual bands: what whatever bands were measured say of a fixed set.

    First come the ten `WAVELENGTHS_UM`, then co- and cross-polarised backscatter, temperature and elevation, all of
    them fixed; then ``n_learned`` learned contrasts between reflectance bands. A sensor without reflectance has none of
    the optical ones, and so on: only those of its kinds are computed (`Channels`).

    Parameters
    ----------
    n_learned : int
        Number of learned contrasts.
    hidden : int
        Width of the two-layer network that maps a band's description to their weights.

    Notes
    -----
    Ours, between DOFA's generated kernels and classical spectral resampling. The ten wavelengths are the posterior mean
    of a spectrum (`georeset_lab.models.spectrum`), so that sensors agree on what they both can know; the others are
    normalised, band-aware weighted means, for virtual band r and pixel p

    ``y_r(p) = sum_c w_c g_r(c) x_c(p) / (eps + sum_c w_c |g_r(c)|)``, ``w_c = 1 / sum_c' overlap(c, c')``,

    with ``overlap`` a Gaussian in centre wavelength. So duplicating a band changes nothing and 200 bands weigh as much
    as 12. Bands missing at a pixel leave all sums there: a masked band equals an absent one.
    """

    def __init__(self, n_learned: int = 6, hidden: int = 64) -> None:
        super().__init__()
        self.n_learned, self.n_virtual = n_learned, N_FIXED + n_learned
        n_features = 2 * len(_CYCLES) + 2
        first, second = nn.Linear(n_features, hidden), nn.Linear(hidden, n_learned)
        # Wide first weights: at initialisation g already changes sign between neighbouring bands, so these virtual
        # bands are contrasts (as indices are) and not all the same mean.
        nn.init.normal_(first.weight, std=0.6)
        nn.init.normal_(second.weight, std=2.0 / math.sqrt(hidden))
        self.gate = nn.Sequential(first, nn.GELU(), second)

    def forward(self, x: Tensor, bands: Tensor) -> tuple[Tensor, Tensor, Channels]:
        """Project measured bands on the virtual ones.

        Parameters
        ----------
        x : Tensor, shape (B, C, Y, X), float32
            Physical values (reflectance, kelvin, metres, dB); NaN where nothing was measured. Not modified.
        bands : Tensor, shape (C, 4), float32
            Centre (um), full width at half maximum (um), pixel size (m), kind code.

        Returns
        -------
        values : Tensor, shape (B, R', Y, X)
            Virtual bands, about N(0, 1); 0 where nothing was measured.
        cover : Tensor, shape (B, R', Y, X)
            How much of each virtual band was really seen, 0..1; `is_even` where every pixel has every band.
        channels : Channels
            Which virtual bands these are.

        Raises
        ------
        ShapeMismatch
            ``x`` and ``bands`` disagree on C.
        """
        if x.ndim != 4 or bands.shape != (x.shape[1], 4):
            raise ShapeMismatch(
                f"The tokenizer got pixels of shape {tuple(x.shape)} and a band table of shape {tuple(bands.shape)}; "
                "it needs (B, C, Y, X) and (C, 4) with one row for each band."
            )
        values, cover, measured, channels = self.project(x, bands)
        return values, cover if bool(measured.all()) else cover * measured[:, None], channels

    def project(self, x: Tensor, bands: Tensor) -> tuple[Tensor, Tensor, Tensor, Channels]:
        """The same without a check, and with what was measured.

        Returns
        -------
        values : Tensor, shape (B, R', Y, X)
        cover : Tensor, shape (B, R', Y, X)
            `is_even`, and only of the pixels that were measured, where each of those has every band; else 0 of the others.
        measured : Tensor, shape (B, Y, X), bool
            Pixels that have a band.
        channels : Channels
        """
        channels = self.channels(bands)
        size = (x.shape[0], len(channels.places), x.shape[2], x.shape[3])
        pixels, flat, mixings = size[2] * size[3], x.flatten(2), dict[tuple[int, ...], Mixing]()
        run = min(max(_AT_ONCE // x.shape[1], 1), pixels) if x.device.type == "cpu" else pixels
        covers = dict[int, Tensor]()
        if run == pixels:
            values, covers[0], measured = self._project(flat, slice(None), bands, channels, mixings)
        else:
            values, flat = empty((*size[:2], pixels), x.dtype, x.device), flat.contiguous()
            measured = x.new_empty(size[0], pixels, dtype=torch.bool)

            def project(start: int) -> None:
                here = slice(start, start + run)
                room = None if torch.is_grad_enabled() else values[..., here]
                found, covers[start], measured[:, here] = self._project(flat, here, bands, channels, mixings, room)
                if found is not room:
                    values[..., here] = found

            in_threads(project, range(0, pixels, run), x.device)
        if all(c.shape[::2] == (1, 1) for c in covers.values()):
            cover = covers[0].expand(values.shape)
        else:
            each = (covers[i].expand(*size[:2], min(run, pixels - i)) for i in sorted(covers))
            cover = torch.cat(list(each), 2) * measured[:, None]
        return values.reshape(size), cover.reshape(size), measured.reshape(size[0], *size[2:]), channels

    def _project(
        self,
        x: Tensor,
        part: slice,
        bands: Tensor,
        channels: Channels,
        mixings: dict[tuple[int, ...], Mixing],
        room: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Virtual bands (B, R', N) of a part of some pixels (B, C, M), their cover, and which were measured, (B, N).

        The cover is (1, R', 1) if each pixel that was measured has all bands. Where all have the same, what is found is
        written into ``room``, if there is some.
        """
        filled, patchy = fill(x, bands, part)
        if patchy:
            x = x[..., part]
            flat = normalise(x[..., None], bands)[..., 0]
            return self._patchy(flat, torch.isfinite(x), bands, channels, mixings)
        all_bands = tuple(range(len(bands)))
        if all_bands not in mixings:
            mixings[all_bands] = self._mixing(bands, channels)
        mix, cover = mixings[all_bands]
        if room is None:
            room = mix @ filled
        else:
            for image, target in zip(filled, room, strict=True):
                torch.mm(mix, image, out=target)
        return room, cover[None], filled[:, -1] > 0

    def _patchy(
        self, flat: Tensor, seen: Tensor, bands: Tensor, channels: Channels, mixings: dict[tuple[int, ...], Mixing]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same where some pixels lack some bands: each set of bands that occurs is a sensor of its own."""
        rows, there = (z.movedim(1, -1).flatten(0, 1) for z in (flat, seen))
        values = rows.new_zeros(len(rows), len(channels.places))
        cover = torch.zeros_like(values)
        _, which, counts = torch.unique(_names(there), return_inverse=True, return_counts=True)
        for at in which.argsort().split(counts.tolist()):
            mine = there[at[0]]
            if bool(mine.any()):
                own, key = self.channels(bands[mine]), tuple(mine.nonzero()[:, 0].tolist())
                if key not in mixings:
                    mixings[key] = self._mixing(bands[mine], own)
                mix, amount = mixings[key]
                places = torch.searchsorted(channels.places, own.places)
                values[at[:, None], places] = rows[at][:, mine] @ mix[:, :-1].T + mix[:, -1]
                cover[at[:, None], places] = amount.T
        values, cover = (z.unflatten(0, (len(flat), -1)).movedim(-1, 1) for z in (values, cover))
        return values, cover, seen.any(1)

    def _mixing(self, bands: Tensor, channels: Channels) -> Mixing:
        """How pixels that have all these bands are projected."""
        gate = self.gates(bands)[channels.places[channels.optical.stop :]]
        weight = 1.0 / overlap(bands).sum(1)
        amount = (gate.abs() * weight).sum(1)
        mix, constant, cover = gate * weight / (_EPS + amount)[:, None], torch.zeros_like(amount), amount / (1 + amount)
        if channels.optical.stop:
            told = told_by(bands)
            mix, constant, cover = (torch.cat(z) for z in zip(told, (mix, constant, cover), strict=True))
        return Mixing(torch.cat([mix, constant[:, None]], 1), cover[:, None])

    def gates(self, bands: Tensor) -> Tensor:
        """Weight of each band (column) in each virtual band after the optical ones in `Channels`, (R, C)."""
        kind = bands[:, 3].long()
        rows = [torch.zeros(len(bands), len(WAVELENGTHS_UM)).to(bands)]
        rows += [(kind[:, None] == k.to(kind)).any(1, keepdim=True) for k in _OTHER]
        learned = torch.where((kind == 0)[:, None], self.gate(_describe(bands)), 0.0)
        return torch.cat([z.to(learned) for z in (*rows, learned)], 1).T

    def channels(self, bands: Tensor) -> Channels:
        """Virtual bands that bands of these kinds can fill."""
        kinds = set(bands[:, 3].long().tolist())
        optical = list(range(len(WAVELENGTHS_UM))) if 0 in kinds else []
        others = [len(WAVELENGTHS_UM) + i for i, k in enumerate(_OTHER) if kinds & set(k.tolist())]
        learned = list(range(N_FIXED, self.n_virtual)) if optical else []
        n_radar = sum(i < len(WAVELENGTHS_UM) + 2 for i in others)
        return Channels(
            torch.tensor([*optical, *others, *learned], device=bands.device),
            slice(0, len(optical) + len(others)),
            slice(0, len(optical)),
            slice(len(optical), len(optical) + n_radar),
        )


def is_even(planes: Tensor) -> bool:
    """True if each plane (..., Y, X) is one value, seen through an expanded view."""
    return planes.stride(-1) == planes.stride(-2) == 0


def _describe(bands: Tensor) -> Tensor:
    """Return (C, F): Gaussian-averaged Fourier features of log10 wavelength, log width, log pixel size."""
    centre, fwhm, gsd, _ = bands.unbind(1)
    has_wave = (centre > 0)[:, None]
    place, spread = place_and_spread(bands)
    omega = 2 * math.pi * bands.new_tensor(_CYCLES)
    damp = torch.exp(-0.5 * (omega * spread) ** 2)
    waves = torch.cat([torch.sin(omega * place) * damp, torch.cos(omega * place) * damp], 1)
    relative_width = torch.log10((fwhm / centre.clamp_min(1e-3)).clamp_min(1e-4))[:, None]
    numbers = torch.cat([torch.where(has_wave, relative_width + 1.5, 0.0), torch.log10(gsd / 10.0)[:, None]], 1)
    return torch.cat([torch.where(has_wave, waves, 0.0), numbers], 1)


def _names(seen: Tensor) -> Tensor:
    """A number (N,) for the set of bands that each pixel has (N, C), the same for the same set."""
    draw = torch.Generator().manual_seed(0)
    code = torch.randint(-(2**62), 2**62, (seen.shape[1],), generator=draw).to(seen.device)
    return (seen * code).sum(1)
