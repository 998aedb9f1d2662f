"""What a whole map of embeddings looks like: three numbers per pixel as colour, or how certain it is. Streamed.

The colours of a map are fixed once, by a `ColourBasis` from a sample, so that a coarse first picture, the full one and
that of fewer sensors all mean the same by a colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.embed.expert import fuse
from georeset_lab.embed.pictures.colours import pca_axes
from georeset_lab.embed.pictures.plot import thin_step, thinned
from georeset_lab.errors import ShapeMismatch

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["ColourBasis", "Sample", "axes_basis", "certainty_map", "colour_map", "pca_basis", "sample_map"]

LIMITS = (2.0, 98.0)
"""Percentiles of the sample that become the darkest and the brightest of each colour."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Every ``step``-th row and column of a fused map."""

    mean: np.ndarray
    """(y, x, D) float32."""
    variance: np.ndarray
    observed: np.ndarray
    """(y, x) bool."""
    step: int

    @property
    def certainty(self) -> np.ndarray:
        """1 - variance averaged over dimensions, (y, x) float32; NaN where nothing was measured."""
        return np.where(self.observed, 1 - self.variance.mean(axis=-1), np.float32(np.nan))


@dataclass(frozen=True, eq=False)
class ColourBasis:
    """How an embedding becomes red, green and blue: ``(mean - center) @ axes`` between ``low`` and ``high``."""

    names: tuple[str, str, str]
    """What each colour shows."""
    center: np.ndarray
    """(D,)"""
    axes: np.ndarray
    """(D, 3)"""
    low: np.ndarray
    """(3,) value that is black."""
    high: np.ndarray
    """(3,) value that is full colour."""

    def scores(self, mean: np.ndarray) -> np.ndarray:
        """The three numbers (..., 3) float32 of means (..., D)."""
        axes = self.axes.astype(np.float32)
        return mean @ axes - (self.center @ self.axes).astype(np.float32)

    def rgba(self, mean: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """Colours (..., 4) uint8; transparent where not observed."""
        span = np.maximum(self.high - self.low, 1e-12)
        unit = (self.scores(mean) - self.low.astype(np.float32)) * (255 / span).astype(np.float32)
        out = np.empty((*observed.shape, 4), np.uint8)
        out[..., :3] = np.clip(np.nan_to_num(unit), 0, 255)
        out[..., 3] = 255
        out[~observed] = 0
        return out


def sample_map(emb: Embeddings, max_pixels: int) -> Sample:
    """A coarse copy of the fused map; at once if it is in memory, for only the sampled pixels are fused."""
    if not emb.in_memory:
        return Sample(*thinned(emb, max_pixels))
    step = thin_step(emb.shape, max_pixels)
    every = slice(None, None, step)
    return Sample(*fuse(list(emb.experts.values()), every, every), step)


def pca_basis(sample: Sample) -> ColourBasis:
    """First three principal axes; `NothingObserved` if no pixel of the sample was observed."""
    mean, observed = _flat(sample)
    center, axes, share = pca_axes(mean, observed)
    names = tuple(f"axis {i + 1} ({100 * s:.0f} %)" for i, s in enumerate(share[:3]))
    return _limited((names[0], names[1], names[2]), center, axes, mean[observed])


def axes_basis(sample: Sample, dims: Sequence[int]) -> ColourBasis:
    """Three dimensions as they are.

    Raises
    ------
    ShapeMismatch
        Not three of the map's dimensions.
    """
    dim = sample.mean.shape[-1]
    if len(dims) != 3 or not all(0 <= d < dim for d in dims):
        raise ShapeMismatch(f"axes={tuple(dims)}; give three dimensions between 0 and {dim - 1}.")
    mean, observed = _flat(sample)
    axes = np.zeros((dim, 3))
    axes[list(dims), range(3)] = 1
    r, g, b = (f"dimension {d}" for d in dims)
    return _limited((r, g, b), np.zeros(dim), axes, mean[observed])


def colour_map(emb: Embeddings, basis: ColourBasis) -> np.ndarray:
    """Colours (Y, X, 4) uint8 of every pixel, window by window."""
    out = np.empty((*emb.shape, 4), np.uint8)
    for rows, cols in emb.windows():
        mean, _, observed = emb.fused(rows, cols)
        out[rows, cols] = basis.rgba(mean, observed)
    return out


def certainty_map(emb: Embeddings) -> np.ndarray:
    """Certainty of every pixel, (Y, X) float32: 1 - variance averaged over dimensions; NaN where nothing was measured."""
    out = np.empty(emb.shape, np.float32)
    experts = list(emb.experts.values())
    for rows, cols in emb.windows():
        # One modality is looked at here and nowhere else: its fused map is not worth keeping.
        _, variance, observed = emb.fused(rows, cols) if len(experts) > 1 else fuse(experts, rows, cols)
        out[rows, cols] = np.where(observed, 1 - variance.mean(axis=-1), np.nan)
    return out


def _flat(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    return sample.mean.reshape(-1, sample.mean.shape[-1]), sample.observed.ravel()


def _limited(names: tuple[str, str, str], center: np.ndarray, axes: np.ndarray, seen: np.ndarray) -> ColourBasis:
    scores = (seen - center) @ axes
    low, high = np.percentile(scores, LIMITS, axis=0) if len(scores) else (np.zeros(3), np.ones(3))
    return ColourBasis(names, center, axes, low, high)
