"""`SpectralBasis`: any set of bands in, a fixed number of virtual bands out. No spatial processing here.

A band enters only through its numbers (`georeset_lab.data.bands.band_table`): centre, width, pixel size and kind. So
the order of bands, their number and the sensor's name do not matter.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.errors import ShapeMismatch

N_KINDS = 7
"""Kind codes of a band table: reflectance, temperature, elevation, VV, VH, HH, HV."""

# Shift and scale that bring each kind near N(0, 1): fixed numbers, because per-image statistics would erase absolute
# reflectance (the signal) and per-sensor statistics would leak the sensor's identity (methods.md section 3).
_SHIFT = (0.18, 290.0, 500.0, -11.0, -17.0, -11.0, -17.0)
_SCALE = (0.15, 15.0, 500.0, 5.0, 5.0, 5.0, 5.0)
_CLIP = 8.0

# Cycles per decade of wavelength; the finest period, 0.031 decades, is 50 nm at 700 nm.
_CYCLES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_FWHM_TO_SD = 1.0 / (2.0 * math.sqrt(2.0 * math.log(2.0)))
_EPS = 1e-4


class SpectralBasis(nn.Module):
    """Virtual bands: normalised, band-aware weighted means of whatever bands were measured.

    Parameters
    ----------
    n_virtual : int
        R, the number of virtual bands.
    hidden : int
        Width of the two-layer network g that maps a band's description to R weights.

    Notes
    -----
    Ours, between DOFA's generated kernels and a plain patch embedding: for virtual band r and pixel p,

    ``y_r(p) = sum_c w_c g_r(c) x_c(p) / (eps + sum_c w_c |g_r(c)|)``, ``w_c = 1 / sum_c' overlap(c, c')``,

    with ``overlap`` a Gaussian in centre wavelength, so that duplicating a band changes nothing and 200 bands weigh as
    much as 12. Bands missing at a pixel leave both sums and the overlap there: a masked band equals an absent one.
    """

    def __init__(self, n_virtual: int = 24, hidden: int = 64) -> None:
        super().__init__()
        self.n_virtual = n_virtual
        n_features = 2 * len(_CYCLES) + 2 + N_KINDS
        first, second = nn.Linear(n_features, hidden), nn.Linear(hidden, n_virtual)
        # Wide first weights: at initialisation g already changes sign between neighbouring bands, so virtual bands are
        # contrasts (as indices are) and not all the same mean.
        nn.init.normal_(first.weight, std=0.6)
        nn.init.normal_(second.weight, std=2.0 / math.sqrt(hidden))
        self.gate = nn.Sequential(first, nn.GELU(), second)

    def forward(self, x: Tensor, bands: Tensor) -> tuple[Tensor, Tensor]:
        """Project measured bands on the virtual ones.

        Parameters
        ----------
        x : Tensor, shape (B, C, Y, X), float32
            Physical values (reflectance, kelvin, metres, dB); NaN where nothing was measured. Not modified.
        bands : Tensor, shape (C, 4), float32
            Centre (um), full width at half maximum (um), pixel size (m), kind code.

        Returns
        -------
        values : Tensor, shape (B, R, Y, X)
            Virtual bands, about N(0, 1); 0 where nothing was measured.
        cover : Tensor, shape (B, R, Y, X)
            How much of each virtual band was really seen, 0..1.

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
        size = (x.shape[0], self.n_virtual, x.shape[2], x.shape[3])
        flat = normalise(x, bands).flatten(2)
        seen = torch.isfinite(flat)
        gate = self.gate(_describe(bands)).T
        overlap = _overlap(bands)
        complete = bool(seen.all())
        if complete or bool((seen.all(1) | ~seen.any(1)).all()):
            weight = 1.0 / overlap.sum(1)
            top = (gate * weight) @ (flat if complete else torch.nan_to_num(flat))
            whole = (gate.abs() * weight).sum(1)[None, :, None]
            bottom = whole.expand(flat.shape[0], -1, flat.shape[2]) if complete else whole * seen[:, :1]
        else:
            present = seen.to(flat.dtype)
            weight = present / (overlap @ present).clamp_min(_EPS)
            top = gate @ (weight * torch.nan_to_num(flat))
            bottom = gate.abs() @ weight
        values = top / (_EPS + bottom)
        return values.view(size), (bottom / (1.0 + bottom)).reshape(size)


def normalise(x: Tensor, bands: Tensor) -> Tensor:
    """Physical values shifted and scaled by kind, clipped to +-8; NaN stays NaN. Shapes as in `SpectralBasis.forward`."""
    kind = bands[:, 3].long()
    shift = x.new_tensor(_SHIFT)[kind][:, None, None]
    scale = x.new_tensor(_SCALE)[kind][:, None, None]
    return ((x - shift) / scale).clamp(-_CLIP, _CLIP)


def _describe(bands: Tensor) -> Tensor:
    """Return (C, F): Gaussian-averaged Fourier features of log10 wavelength, log width, log pixel size, kind."""
    centre, fwhm, gsd, kind = bands.unbind(1)
    has_wave = (centre > 0)[:, None]
    place = torch.log10(centre.clamp_min(1e-3))[:, None]
    spread = (fwhm * _FWHM_TO_SD / centre.clamp_min(1e-3) / math.log(10.0))[:, None]
    omega = 2 * math.pi * bands.new_tensor(_CYCLES)
    damp = torch.exp(-0.5 * (omega * spread) ** 2)
    waves = torch.cat([torch.sin(omega * place) * damp, torch.cos(omega * place) * damp], 1)
    relative_width = torch.log10((fwhm / centre.clamp_min(1e-3)).clamp_min(1e-4))[:, None]
    numbers = torch.cat([torch.where(has_wave, relative_width + 1.5, 0.0), torch.log10(gsd / 10.0)[:, None]], 1)
    return torch.cat([torch.where(has_wave, waves, 0.0), numbers, F.one_hot(kind.long(), N_KINDS).to(waves)], 1)


def _overlap(bands: Tensor) -> Tensor:
    """Return (C, C): 1 for two bands that measure the same, 0 for bands that share nothing or differ in kind."""
    centre, sd, kind = bands[:, 0], bands[:, 1] * _FWHM_TO_SD, bands[:, 3]
    distance = (centre[:, None] - centre) ** 2
    width = (2 * (sd[:, None] ** 2 + sd**2)).clamp_min(1e-12)
    return torch.exp(-distance / width) * (kind[:, None] == kind)
