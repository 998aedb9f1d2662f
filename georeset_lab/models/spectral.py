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

N_KINDS = 7
"""Kind codes of a band table: reflectance, temperature, elevation, VV, VH, HH, HV."""
WAVELENGTHS_UM = (0.4924, 0.5598, 0.6646, 0.7041, 0.7405, 0.7828, 0.8328, 0.8647, 1.6137, 2.2024)
"""Fixed optical virtual bands: the centres of Sentinel-2's ten bands of 10 and 20 m."""
_OTHER = (torch.tensor([3, 5]), torch.tensor([4, 6]), torch.tensor([1]), torch.tensor([2]))
"""Kinds of the other fixed virtual bands: VV or HH, VH or HV, temperature, elevation."""
N_FIXED = len(WAVELENGTHS_UM) + len(_OTHER)

# Shift and scale that bring each kind near N(0, 1): fixed numbers, because per-image statistics would erase absolute
# reflectance (the signal) and per-sensor statistics would leak the sensor's identity (methods.md section 3).
_SHIFT = (0.18, 290.0, 500.0, -11.0, -17.0, -11.0, -17.0)
_SCALE = (0.15, 15.0, 500.0, 5.0, 5.0, 5.0, 5.0)
_CLIP = 8.0

# Cycles per decade of wavelength; the finest period, 0.031 decades, is 50 nm at 700 nm.
_CYCLES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# Widths of the fixed wavelengths in decades: 3 % of the wavelength, and 40 % with a thousandth of the weight.
_NARROW, _WIDE, _FAINT = 0.012, 0.15, 1e-3
_FWHM_TO_SD = 1.0 / (2.0 * math.sqrt(2.0 * math.log(2.0)))
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


class SpectralBasis(nn.Module):
    """Virtual bands: normalised, band-aware weighted means of whatever bands were measured.

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
    Ours, between DOFA's generated kernels and classical spectral resampling: for virtual band r and pixel p,

    ``y_r(p) = sum_c w_c g_r(c) x_c(p) / (eps + sum_c w_c |g_r(c)|)``, ``w_c = 1 / sum_c' overlap(c, c')``,

    with ``overlap`` a Gaussian in centre wavelength, so that duplicating a band changes nothing and 200 bands weigh as
    much as 12. Bands missing at a pixel leave both sums and the overlap there: a masked band equals an absent one. For a
    fixed wavelength, ``g`` is a Gaussian in log wavelength as wide as the band itself, with a faint wide one below, so
    that a gap is filled from its neighbours and what no band comes near stays at 0, the mean.
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
            How much of each virtual band was really seen, 0..1.
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
        channels = self.channels(bands)
        size = (x.shape[0], len(channels.places), x.shape[2], x.shape[3])
        flat = normalise(x, bands).flatten(2)
        seen = torch.isfinite(flat)
        gate = self.gates(bands)[channels.places]
        overlap = _overlap(bands)
        complete = bool(seen.all())
        if complete or bool((seen.all(1) | ~seen.any(1)).all()):
            weight = 1.0 / overlap.sum(1)
            top = (gate * weight) @ (flat if complete else torch.nan_to_num(flat))
            whole = (gate.abs() * weight).sum(1)[None, :, None]
            bottom = whole if complete else whole * seen[:, :1]
        else:
            present = seen.to(flat.dtype)
            weight = present / (overlap @ present).clamp_min(_EPS)
            top = gate @ (weight * torch.nan_to_num(flat))
            bottom = gate.abs() @ weight
        values = top.mul_(1.0 / (_EPS + bottom)) if complete and not top.requires_grad else top / (_EPS + bottom)
        cover = (bottom / (1.0 + bottom)).expand(values.shape)
        return values.view(size), cover.unflatten(2, size[2:]), channels

    def gates(self, bands: Tensor) -> Tensor:
        """Weight of each band (column) in each virtual band (row), (R, C)."""
        kind = bands[:, 3].long()
        light = (kind == 0)[:, None]
        rows = [_resample(bands) * light, *((kind[:, None] == k.to(kind)).any(1, keepdim=True) for k in _OTHER)]
        learned = torch.where(light, self.gate(_describe(bands)), 0.0)
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


def normalise(x: Tensor, bands: Tensor) -> Tensor:
    """Physical values shifted and scaled by kind, clipped to +-8; NaN stays NaN. Shapes as in `SpectralBasis.forward`."""
    kind = bands[:, 3].long()
    shift = x.new_tensor(_SHIFT)[kind][:, None, None]
    scale = x.new_tensor(_SCALE)[kind][:, None, None]
    return (x - shift).mul_(1.0 / scale).clamp_(-_CLIP, _CLIP)


def _describe(bands: Tensor) -> Tensor:
    """Return (C, F): Gaussian-averaged Fourier features of log10 wavelength, log width, log pixel size."""
    centre, fwhm, gsd, _ = bands.unbind(1)
    has_wave = (centre > 0)[:, None]
    place, spread = _place(bands)
    omega = 2 * math.pi * bands.new_tensor(_CYCLES)
    damp = torch.exp(-0.5 * (omega * spread) ** 2)
    waves = torch.cat([torch.sin(omega * place) * damp, torch.cos(omega * place) * damp], 1)
    relative_width = torch.log10((fwhm / centre.clamp_min(1e-3)).clamp_min(1e-4))[:, None]
    numbers = torch.cat([torch.where(has_wave, relative_width + 1.5, 0.0), torch.log10(gsd / 10.0)[:, None]], 1)
    return torch.cat([torch.where(has_wave, waves, 0.0), numbers], 1)


def _resample(bands: Tensor) -> Tensor:
    """Return (C, 10): how much a band says about each of the `WAVELENGTHS_UM`."""
    place, spread = _place(bands)
    away = (place - torch.log10(bands.new_tensor(WAVELENGTHS_UM))) ** 2
    width = _NARROW**2 + spread**2
    return _NARROW / width.sqrt() * torch.exp(-away / width) + _FAINT * torch.exp(-away / _WIDE**2)


def _place(bands: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and standard deviation of each band in log10 of its wavelength, (C, 1) each."""
    centre = bands[:, 0].clamp_min(1e-3)
    return torch.log10(centre)[:, None], (bands[:, 1] * _FWHM_TO_SD / centre / math.log(10.0))[:, None]


def _overlap(bands: Tensor) -> Tensor:
    """Return (C, C): 1 for two bands that measure the same, 0 for bands that share nothing or differ in kind."""
    centre, sd, kind = bands[:, 0], bands[:, 1] * _FWHM_TO_SD, bands[:, 3]
    distance = (centre[:, None] - centre) ** 2
    width = (2 * (sd[:, None] ** 2 + sd**2)).clamp_min(1e-12)
    return torch.exp(-distance / width) * (kind[:, None] == kind)
