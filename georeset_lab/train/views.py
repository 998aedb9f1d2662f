"""What makes two views of one place differ: orientation, bands kept, gain, noise, blur, clouds, haze and holes.

Everything works in physical units and moves the ground points with the pixels. A corruption that a mask would hide
(cloud, haze) is left *unmasked* on purpose: it is how the encoder learns to be unsure by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.sensors import sensor
from georeset_lab.train.crops import View


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Probabilities (per crop unless said) and strengths; stored in the recipe."""

    flip: bool = True
    drop_bands: float = 0.2
    """Per view: keep a random subset of at least three optical bands."""
    gain: float = 0.03
    """Standard deviation of a common factor on reflectance; half of it per band."""
    noise: float = 0.003
    """Standard deviation of reflectance noise."""
    speckle_db: float = 0.4
    cloud: float = 0.12
    """An opaque, bright, unmasked blob on one date of an optical view."""
    haze: float = 0.08
    hole: float = 0.1
    """A blob without any measurement."""
    other_sensor: float = 0.0
    """Per view of Sentinel-2: render it in the bands of another optical sensor."""
    radar_fault: float = 0.06
    """Strong interference or noise on a radar view."""
    static: float = 0.05
    """Strong white noise on an optical view."""
    blur: float = 0.1
    """Out of focus, any view."""


def augment(view: View, settings: Augmentation, rng: np.random.Generator) -> View:
    """Return an altered copy of a view; the input is not modified.

    Parameters
    ----------
    view : View
        Pixels (B, T, C, S, S) in physical units.
    settings : Augmentation
    rng : numpy.random.Generator

    Returns
    -------
    View
        Same places and points, moved with the pixels.
    """
    if rng.random() < settings.other_sensor:
        view = as_other_sensor(view, rng)
    kind = np.array([b.kind for b in view.bands])
    pixels = view.pixels.copy()
    for crop in pixels:
        if (kind == "reflectance").any():
            _light(crop, kind == "reflectance", view.bands, settings, rng)
        if (kind == "backscatter").any():
            _radar(crop, kind == "backscatter", settings, rng)
        crop[:, kind == "elevation"] += rng.normal(0, 30.0, (1, 1, 1, 1)).astype(np.float32)
        crop[:, kind == "temperature"] += rng.normal(0, 2.0, (len(crop), 1, 1, 1)).astype(np.float32)
        if rng.random() < settings.blur:
            crop[:] = _blurred(crop, rng.uniform(0.7, 5.0))
        if rng.random() < settings.hole:
            crop[:, :, _blob(crop.shape[-1], rng) > 0.5] = np.nan
    view = replace(view, pixels=pixels)
    if rng.random() < settings.drop_bands:
        view = _drop_bands(view, rng)
    return _turn(view, rng) if settings.flip else view


def as_other_sensor(view: View, rng: np.random.Generator) -> View:
    """Sentinel-2 as another sensor would see it: Landsat 5 or 8, red-green-blue, or a hyperspectral imager.

    Spectra are interpolated linearly between the centres of the bands at hand, so nothing finer than Sentinel-2 sees is
    invented; 30 m pixels are means of 3 x 3. Views of other sensors are returned as they are.
    """
    centres = np.array([b.center_um for b in view.bands])
    if any(b.kind != "reflectance" for b in view.bands) or not 9 <= len(centres) < 20 or centres.max() < 2.0:
        return view
    name = str(rng.choice(["landsat-5-l2", "landsat-8-l2", "rgb", "hyperspectral"]))
    if name == "hyperspectral":
        first, step = rng.uniform(0.42, 0.5), rng.uniform(0.006, 0.03)
        wanted = np.arange(first, 2.42, step)
        wanted = wanted[~((wanted > 1.34) & (wanted < 1.46)) & ~((wanted > 1.79) & (wanted < 1.96))]
        bands = tuple(BandSpec(f"H{i:03d}", float(c), 1.2 * step, 30.0) for i, c in enumerate(wanted))
    elif name == "rgb":
        bands = tuple(BandSpec(n, c, 0.06, 10.0) for n, c in (("red", 0.66), ("green", 0.56), ("blue", 0.48)))
    else:
        bands = tuple(b for b in sensor(name).bands if b.kind == "reflectance" and 0.4 < b.center_um < 2.4)
    order = np.argsort(centres)
    at = np.clip([b.center_um for b in bands], centres[order[0]], centres[order[-1]])
    right = np.clip(np.searchsorted(centres[order], at), 1, len(order) - 1)
    share = (at - centres[order][right - 1]) / np.maximum(centres[order][right] - centres[order][right - 1], 1e-9)
    mix = np.zeros((len(bands), len(centres)), dtype=np.float32)
    mix[np.arange(len(bands)), order[right - 1]] += 1 - share
    mix[np.arange(len(bands)), order[right]] += share
    pixels = np.einsum("nc,btcyx->btnyx", mix, view.pixels)
    if bands[0].gsd_m > 20:
        b, t, n, s = pixels.shape[:4]
        pixels = pixels.reshape(b, t, n, s // 3, 3, s // 3, 3).mean((4, 6)).repeat(3, -1).repeat(3, -2)
    return replace(view, pixels=np.ascontiguousarray(pixels, dtype=np.float32), bands=bands)


def _light(
    crop: np.ndarray, optical: np.ndarray, bands: tuple[BandSpec, ...], settings: Augmentation, rng: np.random.Generator
) -> None:
    """Gain, noise, haze and cloud on the optical bands of (T, C, S, S), in place."""
    t, _, s, _ = crop.shape
    c = int(optical.sum())
    light = crop[:, optical]
    light *= 1 + settings.gain * (rng.normal(size=(t, 1, 1, 1)) + 0.5 * rng.normal(size=(t, c, 1, 1)))
    strength = rng.uniform(0.01, 0.1) if rng.random() < settings.static else settings.noise
    light += strength * rng.normal(size=light.shape)
    wavelength = np.array([b.center_um for b in bands if b.kind == "reflectance"])
    white = np.where(wavelength < 1.3, 1.0, 0.7) * np.where(abs(wavelength - 1.375) < 0.05, 0.3, 1.0)
    if rng.random() < settings.haze:
        # Scattering falls with wavelength, roughly as its inverse for thin haze.
        veil = rng.uniform(0.1, 0.6) * np.minimum(1.0, 0.5 / wavelength)[None, :, None, None]
        light[:] = light * (1 - veil) + 0.5 * veil
    if rng.random() < settings.cloud:
        date = slice(None) if rng.random() < 0.5 else slice((k := int(rng.integers(t))), k + 1)
        opacity = np.clip(2.5 * _blob(s, rng) - 0.8, 0, 1) * rng.uniform(0.6, 1.0)
        bright = rng.uniform(0.35, 0.95) * white[None, :, None, None] + 0.03 * rng.normal(size=(1, 1, s, s))
        light[date] = light[date] * (1 - opacity) + bright * opacity
    crop[:, optical] = light


def _radar(crop: np.ndarray, radar: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> None:
    """Calibration shift, speckle and faults on the backscatter bands of (T, C, S, S), in place."""
    power = crop[:, radar]
    power += rng.normal(0, 0.4, (len(crop), 1, 1, 1)) + settings.speckle_db * rng.normal(size=power.shape)
    if rng.random() < settings.radar_fault:
        power += rng.uniform(3, 10) * rng.normal(size=power.shape)
    crop[:, radar] = power


def _blurred(crop: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (T, C, S, S) by ``sigma`` pixels; what was not measured stays so and lends nothing."""
    seen = np.isfinite(crop)
    total = ndimage.gaussian_filter(np.where(seen, crop, 0.0), (0, 0, sigma, sigma), mode="nearest")
    if seen.all():
        return np.asarray(total)
    weight = ndimage.gaussian_filter(seen.astype(np.float32), (0, 0, sigma, sigma), mode="nearest")
    return np.where(seen, total / np.maximum(weight, 1e-6), np.nan)


def _blob(size: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth random field scaled to 0..1, (size, size)."""
    field = ndimage.gaussian_filter(rng.normal(size=(size, size)), rng.uniform(3, 10), mode="wrap")
    low, high = field.min(), field.max()
    return np.asarray((field - low) / max(high - low, 1e-9))


def _drop_bands(view: View, rng: np.random.Generator) -> View:
    """Keep a random subset of bands (one choice for the whole view); at least three of many, at least one of two."""
    c = len(view.bands)
    if c < 2:
        return view
    keep = np.sort(rng.permutation(c)[: int(rng.integers(min(3, c - 1), c + 1))])
    return replace(view, pixels=view.pixels[:, :, keep], bands=tuple(view.bands[i] for i in keep))


def _turn(view: View, rng: np.random.Generator) -> View:
    """Rotate and mirror each crop by one of the eight symmetries of the square, points included."""
    last = view.pixels.shape[-1] - 1
    pixels, points = np.empty_like(view.pixels), view.points.copy()
    for b, (quarter, mirror) in enumerate(rng.integers([4, 2], size=(len(pixels), 2))):
        image = view.pixels[b]
        row, col = view.points[b].T
        if mirror:
            image, col = image[..., ::-1], last - col
        for _ in range(quarter):
            image, row, col = np.rot90(image, axes=(-2, -1)), last - col, row
        pixels[b] = image
        points[b] = np.stack([row, col], 1)
    return replace(view, pixels=pixels, points=points)
