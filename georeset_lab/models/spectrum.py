"""`told_by`: what the bands of any sensor say of ten reflectances, given how the spectra of the ground usually look.

Bands are noisy measurements of one spectrum, which has a Gaussian prior; the ten values are its posterior mean, linear in
the bands. So Landsat 8 has a red edge, told from the bands beside it as far as spectra allow, and a measured band is
nearly itself. No image is read here and nothing is learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from georeset_lab.data.bands import band_table

if TYPE_CHECKING:
    from georeset_lab.data.bands import BandSpec

WAVELENGTHS_UM = (0.4924, 0.5598, 0.6646, 0.7041, 0.7405, 0.7828, 0.8328, 0.8647, 1.6137, 2.2024)
"""The ten reflectances: the centres of Sentinel-2's bands of 10 and 20 m."""
FWHM_UM = (0.066, 0.036, 0.031, 0.015, 0.015, 0.020, 0.106, 0.021, 0.091, 0.175)
"""Their widths: what they measure of a spectrum."""

REFLECTANCE_SHIFT, REFLECTANCE_SCALE = 0.18, 0.15
"""What normalises reflectance."""
# Normalised surface reflectance over nine training places:
# python -m tests.benchmarks.spectral_prior DATA
_MEAN = (-0.729, -0.531, -0.555, -0.202, 0.604, 0.922, 0.972, 1.080, 0.352, -0.155)
_SD = (0.540, 0.503, 0.601, 0.559, 0.713, 0.867, 0.901, 0.898, 0.688, 0.638)
_CORRELATION = (
    (1.0000,),
    (0.9759, 1.0000),
    (0.9321, 0.9571, 1.0000),
    (0.8708, 0.9255, 0.9286, 1.0000),
    (0.3289, 0.4180, 0.2712, 0.5255, 1.0000),
    (0.1613, 0.2468, 0.0909, 0.3465, 0.9723, 1.0000),
    (0.1774, 0.2622, 0.1049, 0.3434, 0.9494, 0.9705, 1.0000),
    (0.1138, 0.2036, 0.0596, 0.3245, 0.9630, 0.9934, 0.9699, 1.0000),
    (0.1854, 0.3010, 0.4584, 0.5334, 0.2352, 0.1471, 0.1417, 0.1845, 1.0000),
    (0.3408, 0.4346, 0.6072, 0.6124, 0.0972, -0.0176, -0.0264, 0.0008, 0.9456, 1.0000),
)  # fmt: skip

_NOISE = 0.03
"""Standard deviation of a band that measures just one of the ten."""
_NOISE_PER_DECADE = 4.0
"""What is added for each decade of wavelength between a band and the nearest of the ten."""
_STEPS = 21
_FWHM_TO_SD = 1.0 / (2.0 * math.sqrt(2.0 * math.log(2.0)))


class Told(NamedTuple):
    """What C bands say of the ten reflectances ``z`` (normalised): ``z = weight @ bands + constant``."""

    weight: Tensor
    """(10, C); 0 for what is not reflectance."""
    constant: Tensor
    """(10,)."""
    share: Tensor
    """(10,): share of the prior standard deviation that the bands take away; 1 is measured without error, 0 not at all."""


def told_by(bands: Tensor) -> Told:
    """Posterior of the ten reflectances under bands (C, 4) of a band table, of which some measure reflectance.

    Notes
    -----
    Ours; Bayesian linear regression (e.g. Rasmussen and Williams 2006, chapter 2). With prior N(m, S), observation
    matrix A, noise variances n and ``w_c = 1 / sum_c' overlap(c, c')``, so that the same band twice counts once:

    ``P = S^-1 + A^T diag(w / n) A``, mean ``P^-1 (A^T diag(w / n) x + S^-1 m)``.

    A row of A interpolates the ten linearly in log wavelength, averaged over what the band is wider than they are.
    """
    table = tuple(tuple(row) for row in bands.detach().cpu().tolist())
    return Told(*(z.to(bands) for z in _told(table)))


def reflectances(measured: np.ndarray, bands: Sequence[BandSpec]) -> tuple[np.ndarray, np.ndarray]:
    """The ten reflectances at `WAVELENGTHS_UM` under measured ones, and how sure they are.

    Parameters
    ----------
    measured : numpy.ndarray, shape (..., C)
        Surface reflectance, nothing missing.
    bands : sequence of BandSpec
        Of kind ``"reflectance"``.

    Returns
    -------
    mean : numpy.ndarray, shape (..., 10)
    sd : numpy.ndarray, shape (10,)
        One standard deviation; the same for every spectrum.

    Examples
    --------
    >>> from georeset_lab.data.sensors import sensor
    >>> l8 = [b for b in sensor("landsat-8-l2").bands if b.kind == "reflectance"]
    >>> mean, sd = reflectances(np.array([0.03, 0.04, 0.07, 0.05, 0.35, 0.18, 0.09]), l8)
    >>> [f"{mean[i]:.2f} +- {sd[i]:.3f}" for i in (3, 7)]  # the red edge, which Landsat lacks, and the near infrared
    ['0.11 +- 0.020', '0.35 +- 0.006']
    """
    told = told_by(torch.from_numpy(band_table(bands)))
    z = (torch.from_numpy(np.asarray(measured, np.float32)) - REFLECTANCE_SHIFT) / REFLECTANCE_SCALE
    mean = (z @ told.weight.T + told.constant) * REFLECTANCE_SCALE + REFLECTANCE_SHIFT
    return mean.numpy(), ((1 - told.share) * torch.tensor(_SD) * REFLECTANCE_SCALE).numpy()


@lru_cache(maxsize=512)
def _told(table: tuple[tuple[float, ...], ...]) -> Told:
    bands = torch.tensor(table, dtype=torch.float64)
    mean, covariance = prior()
    mixing, noise = _measured(bands)
    information = (mixing * ((bands[:, 3] == 0) / overlap(bands).sum(1) / noise)[:, None]).T
    precision = torch.linalg.inv(covariance)
    posterior = torch.linalg.inv(precision + information @ mixing)
    share = 1.0 - (posterior.diagonal() / covariance.diagonal()).sqrt()
    return Told(posterior @ information, posterior @ precision @ mean, share.clamp(0.0, 1.0))


def prior() -> tuple[Tensor, Tensor]:
    """Mean (10,) and covariance (10, 10) of normalised surface reflectance."""
    sd = torch.tensor(_SD, dtype=torch.float64)
    lower = torch.zeros(len(sd), len(sd), dtype=torch.float64)
    for i, row in enumerate(_CORRELATION):
        lower[i, : i + 1] = torch.tensor(row, dtype=torch.float64)
    correlation = lower + lower.tril(-1).T
    return torch.tensor(_MEAN, dtype=torch.float64), correlation * sd * sd[:, None]


def overlap(bands: Tensor) -> Tensor:
    """Return (C, C): 1 for two bands that measure the same, 0 for bands that share nothing or differ in kind."""
    centre, sd, kind = bands[:, 0], bands[:, 1] * _FWHM_TO_SD, bands[:, 3]
    distance = (centre[:, None] - centre) ** 2
    width = (2 * (sd[:, None] ** 2 + sd**2)).clamp_min(1e-12)
    return torch.exp(-distance / width) * (kind[:, None] == kind)


def place_and_spread(bands: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and standard deviation of each band in log10 of its wavelength, (C, 1) each."""
    centre = bands[:, 0].clamp_min(1e-3)
    return torch.log10(centre)[:, None], (bands[:, 1] * _FWHM_TO_SD / centre / math.log(10.0))[:, None]


def _measured(bands: Tensor) -> tuple[Tensor, Tensor]:
    """How each band mixes the ten (C, 10), and the variance of its noise (C,)."""
    ten = torch.zeros(len(WAVELENGTHS_UM), 4, dtype=bands.dtype)
    ten[:, 0], ten[:, 1] = torch.tensor(WAVELENGTHS_UM), torch.tensor(FWHM_UM)
    anchors, widths = (z[:, 0] for z in place_and_spread(ten))
    place, spread = place_and_spread(bands)
    excess = (spread**2 - (_weights(place, anchors) @ widths) ** 2).clamp_min(0.0).sqrt()
    quantiles = torch.special.ndtri((torch.arange(_STEPS, dtype=bands.dtype) + 0.5) / _STEPS)
    at = place + excess * quantiles
    away = (at[..., None] - anchors).abs().amin(-1).mean(1)
    return _weights(at, anchors).mean(1), _NOISE**2 + (_NOISE_PER_DECADE * away) ** 2


def _weights(at: Tensor, anchors: Tensor) -> Tensor:
    """Linear interpolation between anchors (N,), constant beyond them: (..., N)."""
    high = torch.searchsorted(anchors, at.contiguous()).clamp(1, len(anchors) - 1)
    part = ((at - anchors[high - 1]) / (anchors[high] - anchors[high - 1])).clamp(0.0, 1.0)
    out = at.new_zeros(*at.shape, len(anchors))
    out.scatter_(-1, (high - 1)[..., None], (1.0 - part)[..., None])
    return out.scatter_(-1, high[..., None], part[..., None])
