"""A simulated ground seen by sensors: bands, pixel sizes, sun, haze, cloud and shadow, sensor noise, speckle.

The ground comes as weights of endmembers or as radar power at 10 m; what leaves are stored numbers as in real products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.endmembers import response
from georeset_lab.data.landscape import PIXEL_M, block_mean
from georeset_lab.data.place import Place, stream
from georeset_lab.data.terrain import fractal

LOOKS = 4.4
"""Equivalent number of looks of a Sentinel-1 IW GRD pixel (ESA product specification)."""


@dataclass(frozen=True, slots=True)
class Sky:
    """Sun and air of one overpass."""

    elevation: float
    """Sun above the horizon, radians."""
    azimuth: float
    """Sun, radians clockwise from north."""
    haze: float
    """Path reflectance left after correction, at 450 nm; may be negative."""
    gain: float
    """Error of the correction and effect of sun and view angles, factor at 1000 nm."""
    tilt: float
    """The same, slope over wavelength."""
    blue: float
    """How fast the haze fades with wavelength, as a power."""
    cloud: np.ndarray
    """Opacity of cloud, 0..1, (y, x) at 10 m."""
    shadow: np.ndarray
    """Depth of the cloud's shadow, 0..1, (y, x) at 10 m."""

    @property
    def unusable(self) -> np.ndarray:
        """True under cloud or in its shadow, (y, x)."""
        return np.asarray((self.cloud > 0.08) | (self.shadow > 0.15))


def draw_sky(place: Place, shape: tuple[int, int], day: float, purpose: str, *, clear: bool) -> Sky:
    """Sun, air and clouds of one overpass; ``purpose`` names its random stream, ``clear`` forbids clouds."""
    rng = stream(place.seed, f"sky-{purpose}")
    hour = np.radians(15 * (10.5 - 12 + rng.uniform(-0.3, 0.3)))
    tilt = np.radians(23.44) * np.sin(2 * np.pi * (day - 81) / 365.0)
    lat = np.radians(place.latitude)
    sine = np.sin(lat) * np.sin(tilt) + np.cos(lat) * np.cos(tilt) * np.cos(hour)
    elevation = float(np.clip(np.arcsin(sine), np.radians(12), np.radians(85)))
    east, north = -np.cos(tilt) * np.sin(hour), np.cos(lat) * np.sin(tilt) - np.sin(lat) * np.cos(tilt) * np.cos(hour)
    azimuth = float(np.arctan2(east, north))
    veil = fractal(rng, shape, 3.0)
    cover = 0.0 if clear or rng.random() > place.cloudiness else float(rng.beta(0.8, 1.6))
    cloud = _clouds(rng, veil, cover, shape)
    # The shadow falls away from the sun, as far as the cloud is high.
    height = rng.uniform(500, 2000)
    reach = min(height / np.tan(elevation), 0.8 * min(shape) * PIXEL_M) / PIXEL_M
    shift = (np.cos(azimuth) * reach, -np.sin(azimuth) * reach)
    shadow = 0.6 * ndimage.shift(cloud, shift, order=1, mode="mirror") if cover else np.zeros(shape)
    return Sky(
        elevation, azimuth, float(rng.normal(0.001, 0.009)), float(np.exp(rng.normal(0, 0.09))),
        float(rng.normal(0, 0.03)), float(rng.uniform(0.5, 3.0)), cloud, np.clip(shadow * (1 - cloud), 0, 1),
    )  # fmt: skip


def _clouds(rng: np.random.Generator, veil: np.ndarray, cover: float, shape: tuple[int, int]) -> np.ndarray:
    """Opacity of cumulus over ``cover`` of the scene: dense cores, ragged edges, thin fringes."""
    ragged = fractal(rng, shape, 2.7)
    if not cover:
        return np.zeros(shape)
    field = veil + 0.35 * ragged
    return np.asarray(np.clip((field - np.quantile(field, 1 - cover)) / rng.uniform(0.4, 1.2), 0, 1) ** 0.8)


def sunlight(slope_y: np.ndarray, slope_x: np.ndarray, sky: Sky, residual: float = 0.6) -> np.ndarray:
    """Factor on reflectance from slopes towards or away from the sun; products still hold ``residual`` of the effect."""
    normal = np.sqrt(1 + slope_y**2 + slope_x**2)
    # South-going rows: a slope rising southwards faces north.
    flat, up = np.cos(sky.elevation), np.sin(sky.elevation)
    east, north = np.sin(sky.azimuth) * flat, np.cos(sky.azimuth) * flat
    cos_i = (-slope_x * east + slope_y * north + up) / normal
    return np.asarray(1 + residual * (np.clip(cos_i, 0.05, 1) / up - 1)).clip(0.25, 1.8)


def see_optical(
    weights: np.ndarray, spectra: np.ndarray, bands: Sequence[BandSpec], sky: Sky, light: np.ndarray,
    rng: np.random.Generator, *, pixel_m: float, noise: tuple[float, float],
) -> np.ndarray:  # fmt: skip
    """Surface reflectance of one overpass, (C, y, x) float64 on a grid of ``pixel_m``, coarser bands repeated.

    ``noise`` is the spread at reflectance 0 and its growth with reflectance.
    """
    gain = response(bands)
    table = gain @ spectra.T
    nm = np.array([b.center_um for b in bands]) * 1000
    white, dim = _cloud_spectrum(nm), 0.25 + 0.15 * np.clip(nm / 1000, 0, 2)
    # What calibration and air leave in single bands; most where water vapour absorbs.
    own = rng.standard_normal((2, len(bands)))
    table = table * (1 + 0.025 * own[0] * _vapour(nm))[:, None]
    bias = 0.0015 * own[1]
    out = []
    for native in sorted({b.gsd_m for b in bands}):
        index = [i for i, b in enumerate(bands) if b.gsd_m == native]
        factor = max(1, round(native / PIXEL_M))
        cloud, shadow = (block_mean(a, factor)[None] for a in (sky.cloud, sky.shadow))
        seen = _mix(table[index], weights, light, factor)
        wave = nm[index][:, None, None]
        seen = seen * (sky.gain + sky.tilt * (wave - 1000) / 1000) + sky.haze * (wave / 450.0) ** -sky.blue
        seen = seen + bias[index][:, None, None]
        seen = seen * (1 - shadow * (1 - dim[index][:, None, None] * 0.6))
        seen = seen * (1 - cloud) + cloud * white[index][:, None, None] * (0.75 + 0.25 * cloud)
        spread = noise[0] + noise[1] * np.abs(seen)
        seen = seen + spread * _vapour(wave) * rng.standard_normal(seen.shape)
        again = max(1, round(native / pixel_m))
        out.append((index, np.repeat(np.repeat(seen, again, axis=1), again, axis=2)))
    cube = np.empty((len(bands), *out[0][1].shape[1:]))
    for index, seen in out:
        cube[index] = seen
    return cube


def _mix(table: np.ndarray, weights: np.ndarray, light: np.ndarray, factor: int) -> np.ndarray:
    """Reflectance (C, y, x) on pixels of ``factor`` x 10 m; sums over the fewer of bands and endmembers come first."""
    if len(table) < len(weights):
        seen = (table @ weights.reshape(len(weights), -1)).reshape(len(table), *light.shape)
        return block_mean(_blur(seen * light, 0.42 * factor), factor)
    lit = block_mean(_blur(weights * light, 0.42 * factor), factor)
    return np.asarray((table @ lit.reshape(len(lit), -1)).reshape(len(table), *lit.shape[1:]))


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """The optics' point spread, over the last two axes."""
    if min(image.shape[1:]) < 2:
        return image
    return np.asarray(ndimage.gaussian_filter(image, (0, sigma, sigma), mode="nearest", truncate=2.5))


def _cloud_spectrum(nm: np.ndarray) -> np.ndarray:
    """Reflectance of thick cloud: white, darker where ice and droplets absorb."""
    return np.asarray(0.78 - 0.30 * np.clip((nm - 1300) / 900, 0, 1) - 0.12 * np.exp(-0.5 * ((nm - 945) / 20) ** 2))


def _vapour(nm: np.ndarray) -> np.ndarray:
    """How much noisier a band is made by water vapour in the air and by weak sunlight."""
    wet = 6 * np.exp(-0.5 * ((nm - 1385) / 40) ** 2) + 8 * np.exp(-0.5 * ((nm - 1880) / 55) ** 2)
    return np.asarray(1 + wet + 1.0 * np.exp(-0.5 * ((nm - 940) / 20) ** 2) + 2.0 * np.clip((nm - 2300) / 200, 0, 1))


def hyperspectral_bands() -> tuple[BandSpec, ...]:
    """The 200 bands of the simulated spectrometer, 400-2500 nm at 30 m: EnMAP-like, without the opaque windows."""
    visible = np.linspace(404, 990, 88)
    infrared = np.concatenate([np.linspace(1000, 1335, 33), np.linspace(1465, 1785, 31), np.linspace(1965, 2495, 48)])
    width = np.concatenate([np.full(88, 8.0), np.full(112, 11.0)])
    return tuple(
        BandSpec(f"{c:.0f}nm", float(c) / 1000, float(w) / 1000, 30.0)
        for c, w in zip(np.concatenate([visible, infrared]), width, strict=True)
    )


def speckle(power: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Power times gamma noise of mean 1 and ``LOOKS`` looks, independent in each band and pixel."""
    return np.asarray(power * rng.gamma(LOOKS, 1 / LOOKS, power.shape))


def see_elevation(elevation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A 30 m elevation model: smoothed heights with correlated errors of about 1 m, (y, x)."""
    coarse = block_mean(_blur(elevation[None], 2.0), 3)[0]
    error = ndimage.gaussian_filter(rng.standard_normal(coarse.shape), 1.0, mode="nearest")
    return np.asarray(coarse + 1.8 * error + 0.2 * rng.standard_normal(coarse.shape))
