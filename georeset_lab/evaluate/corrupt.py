"""Corruptions of one view, unmasked and graded: what the variance of its expert should notice. No model here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from georeset_lab.errors import InvalidOption
from georeset_lab.train.crops import View

STRENGTHS = (1, 2, 3, 4, 5)
"""Grades of every corruption; 0 leaves the view as it is."""

_Corruption = Callable[[View, float, np.random.Generator], View]


def corrupt(view: View, kind: str, strength: int, seed: int) -> View:
    """Return an altered copy of a view.

    Parameters
    ----------
    view : View
        Pixels (B, T, C, S, S) in physical units.
    kind : str
        One of `CORRUPTIONS` that fits the view's sensor; see `kinds_for`.
    strength : int
        0..5.
    seed : int
        The same seed draws the same cloud at every strength, only thicker and wider; what is dropped stays dropped.

    Raises
    ------
    InvalidOption
        Unknown kind, or a strength outside 0..5.
    """
    if kind not in CORRUPTIONS:
        raise InvalidOption(f"Unknown corruption {kind!r}; use one of {', '.join(CORRUPTIONS)}.")
    if strength not in (0, *STRENGTHS):
        raise InvalidOption(f"Strength {strength} is not one of 0, {', '.join(map(str, STRENGTHS))}.")
    if strength == 0:
        return view
    return CORRUPTIONS[kind](view, strength / STRENGTHS[-1], np.random.default_rng(seed))


def kinds_for(view: View) -> tuple[str, ...]:
    """Corruptions that make sense for the bands of a view, and for its dates if it has several."""
    optical = any(b.kind == "reflectance" for b in view.bands)
    kinds = ("cloud", "haze", "noise", "blur", "bands") if optical else ("interference", "blur")
    return (*kinds, "dates") if view.pixels.shape[1] > 1 else kinds


def _cloud(view: View, share: float, rng: np.random.Generator) -> View:
    """Bright opaque cloud over up to all of the view: its edge moves outwards as it grows."""
    pixels = view.pixels.copy()
    wavelength = np.array([b.center_um for b in view.bands])
    white = np.where(wavelength < 1.3, 1.0, 0.7)[:, None, None]
    for crop in pixels:
        field = ndimage.gaussian_filter(rng.normal(size=crop.shape[-2:]), 6, mode="wrap")
        rank = field.ravel().argsort().argsort().reshape(field.shape) / field.size
        opacity = np.clip((share - rank) / 0.15 + 0.5, 0, 1) * (share > 0)
        bright = 0.6 * white + 0.03 * rng.normal(size=(1, *field.shape))
        crop[:] = crop * (1 - opacity) + bright * opacity
    return replace(view, pixels=pixels)


def _haze(view: View, share: float, rng: np.random.Generator) -> View:
    """Even veil that falls with wavelength, as thin haze scatters."""
    wavelength = np.array([b.center_um for b in view.bands])
    veil = (0.7 * share * np.minimum(1.0, 0.5 / wavelength))[:, None, None]
    return replace(view, pixels=(view.pixels * (1 - veil) + 0.5 * veil).astype(np.float32))


def _noise(view: View, share: float, rng: np.random.Generator) -> View:
    """White noise of up to 0.1 reflectance."""
    return replace(view, pixels=view.pixels + (0.1 * share * rng.normal(size=view.pixels.shape)).astype(np.float32))


def _interference(view: View, share: float, rng: np.random.Generator) -> View:
    """Strong noise of up to 10 dB on backscatter."""
    return replace(view, pixels=view.pixels + (10 * share * rng.normal(size=view.pixels.shape)).astype(np.float32))


def _blur(view: View, share: float, rng: np.random.Generator) -> View:
    """Gaussian blur of up to 5 pixels."""
    return replace(view, pixels=ndimage.gaussian_filter(view.pixels, (0, 0, 0, 5 * share, 5 * share), mode="nearest"))


def _bands(view: View, share: float, rng: np.random.Generator) -> View:
    """Up to all bands but one are gone; the one that stays is a band that every window has."""
    order = rng.permutation(len(view.bands))
    last = np.isfinite(view.pixels).any((1, 3, 4)).all(0)[order].nonzero()[0]
    if last.size:
        order[[-1, last[-1]]] = order[[last[-1], -1]]
    keep = np.sort(order[round(share * (len(order) - 1)) :])
    return replace(view, pixels=view.pixels[:, :, keep], bands=tuple(view.bands[i] for i in keep))


def _dates(view: View, share: float, rng: np.random.Generator) -> View:
    """Up to all dates but one are gone, the same ones from every window."""
    order = rng.permutation(view.pixels.shape[1])
    keep = np.sort(order[round(share * (len(order) - 1)) :])
    return replace(view, pixels=view.pixels[:, keep], day_of_year=view.day_of_year[:, keep])


CORRUPTIONS: dict[str, _Corruption] = {
    "cloud": _cloud,
    "haze": _haze,
    "noise": _noise,
    "blur": _blur,
    "bands": _bands,
    "interference": _interference,
    "dates": _dates,
}
