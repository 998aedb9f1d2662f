"""Small pictures of the ground around a place, in the colours the whole scene is shown in.

`Looks` fixes each modality's colours once from a sample, so that two thumbnails can be compared: a dark one is a dark
place. How numbers become colours in general is in ``embed/pictures/colours.py``; pictures of whole scenes in ``data/quicklook.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.quicklook import is_cheap
from georeset_lab.embed.pictures.colours import pca_axes, png_data_url
from georeset_lab.embed.pictures.plot import thinned
from georeset_lab.widgets.page_images import best_date, hillshade, nearest_bands

if TYPE_CHECKING:
    from georeset_lab.data.modality import Modality
    from georeset_lab.data.scene import Scene
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["Looks", "main_optical", "small_url"]

TRUE_COLOUR_UM = (0.665, 0.56, 0.49)
SAMPLE_SIDE = 96
"""Rows and columns that a modality's colours are taken from."""
SAMPLE_DATES = 3
MAX_SIDE = 128
"""Pixels along a thumbnail; of a finer picture every second, third, ... pixel is shown."""
COLOURS = 128
"""Of a thumbnail: a third of the bytes, and no difference to the eye at this size."""


@dataclass(frozen=True, eq=False)
class _Stretch:
    """From values to 0..1: ``((value - low) / span) ** gamma`` for each of three channels."""

    low: np.ndarray
    span: np.ndarray
    gamma: float

    def rgba(self, values: np.ndarray) -> np.ndarray:
        """Picture (y, x, 4) uint8 of values (y, x, 3); transparent where one is missing."""
        seen = np.isfinite(values).all(axis=-1)
        unit = np.clip((np.where(seen[..., None], values, 0) - self.low) / self.span, 0, 1) ** self.gamma
        out = np.zeros((*seen.shape, 4), np.uint8)
        out[..., :3] = np.round(255 * unit)
        out[..., 3] = 255 * seen
        return out


class Looks:
    """How each modality of a scene, and the embedding, is shown.

    Parameters
    ----------
    scene : Scene or None
    emb : Embeddings
    """

    def __init__(self, scene: Scene | None, emb: Embeddings) -> None:
        self.scene = scene
        self.emb = emb
        self._stretches: dict[str, _Stretch] = {}
        self._dates: dict[str, int] = {}
        self._pca: tuple[np.ndarray, np.ndarray, _Stretch] | None = None

    def modality(self, name: str, rows: slice, cols: slice, date: int) -> np.ndarray:
        """A window of a modality at one date, (y, x, 4) uint8; transparent where nothing was measured.

        True colour if there are such bands, else the first three; VV, VH and their difference for radar, each from its
        2nd to its 98th percentile; shaded relief for heights. The stretch is that of the whole modality.
        """
        assert self.scene is not None
        modality = self.scene[name]
        step = max(1, -(-max(rows.stop - rows.start, cols.stop - cols.start) // MAX_SIDE))
        rows, cols = (slice(s.start, s.stop, step) for s in (rows, cols))
        if _is_height(modality):
            return hillshade(modality.read(rows, cols, time=date)[0, 0], modality.pixel_m * step)
        if name not in self._stretches:
            self._stretches[name] = _fit(_sample(modality), natural=_true_colour(modality) is not None)
        return self._stretches[name].rgba(_channels(modality, rows, cols, date)[0])

    def best_date(self, name: str) -> int:
        """The date of a modality with the most measured pixels; looked for once."""
        assert self.scene is not None
        if name not in self._dates:
            modality = self.scene[name]
            self._dates[name] = best_date(modality) if is_cheap(modality) else modality.raw.shape[0] // 2
        return self._dates[name]

    def embedding(self, rows: slice, cols: slice) -> np.ndarray:
        """A window of the map as its first three principal components, (y, x, 4) uint8."""
        if self._pca is None:
            mean, _, observed, _ = thinned(self.emb, 20_000)
            center, axes, _ = pca_axes(mean.reshape(-1, self.emb.dim), observed.reshape(-1))
            scores = (mean[observed] - center) @ axes
            self._pca = center, axes, _fit(scores, natural=False)
        center, axes, stretch = self._pca
        mean, _, observed = self.emb.fused(rows, cols)
        return stretch.rgba(np.where(observed[..., None], (mean - center) @ axes, np.nan))


def main_optical(scene: Scene | None) -> str | None:
    """The modality that looks most like a photograph: the finest with true colour, else with reflectance, else None."""
    if scene is None:
        return None
    optical = [n for n, m in scene.modalities.items() if any(b.kind == "reflectance" for b in m.bands)]
    return min(optical, key=lambda n: (_true_colour(scene[n]) is None, scene[n].pixel_m), default=None)


def small_url(picture: np.ndarray) -> str:
    """PNG data URL of a thumbnail (y, x, 4) in at most `COLOURS` colours."""
    import base64
    import io

    from PIL import Image

    if min(picture.shape[:2]) < 8:
        return png_data_url(picture)
    buffer = io.BytesIO()
    small = Image.fromarray(picture).quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    small.save(buffer, "PNG", compress_level=6)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _true_colour(modality: Modality) -> list[int] | None:
    return nearest_bands(modality, TRUE_COLOUR_UM, within_um=0.06)


def _is_height(modality: Modality) -> bool:
    return all(b.kind == "elevation" for b in modality.bands)


def _channels(modality: Modality, rows: slice, cols: slice, date: int | None) -> np.ndarray:
    """Three channels (T, y, x, 3) of a window, physical values."""
    chosen = _true_colour(modality) or list(range(min(len(modality.bands), 3)))
    part = modality.select_bands([modality.band_names[i] for i in chosen])
    values = part.read(rows, cols, time=date).transpose(0, 2, 3, 1)
    if values.shape[-1] == 2:
        return np.concatenate([values, values[..., :1] - values[..., 1:]], axis=-1)
    return values if values.shape[-1] == 3 else np.repeat(values[..., :1], 3, axis=-1)


def _sample(modality: Modality) -> np.ndarray:
    """Values (n, 3) to stretch by: a grid of pixels over the whole modality, or its middle if that lies on a disk."""
    height, width = modality.raw.shape[2:]
    if is_cheap(modality):
        rows, cols = (slice(None, None, max(1, n // SAMPLE_SIDE)) for n in (height, width))
    else:
        rows, cols = (slice(max(n // 2 - SAMPLE_SIDE, 0), n // 2 + SAMPLE_SIDE) for n in (height, width))
    dates = np.unique(np.linspace(0, modality.raw.shape[0] - 1, SAMPLE_DATES).astype(int))
    return np.concatenate([_channels(modality, rows, cols, int(d)).reshape(-1, 3) for d in dates])


def _fit(values: np.ndarray, *, natural: bool) -> _Stretch:
    """As `page_images.natural` for colours of the eye, so that grey stays grey; else each channel from 2 % to 98 %."""
    some = values[np.isfinite(values).all(axis=-1)]
    if not some.size:
        return _Stretch(np.zeros(3), np.ones(3), 1.0)
    if natural:
        low = np.percentile(some, 1, axis=0) * 0.4
        return _Stretch(low, np.full(3, max(float(np.percentile(some - low, 98.5)), 1e-4)), 1 / 1.7)
    low, high = np.percentile(some, (2, 98), axis=0)
    return _Stretch(low, np.maximum(high - low, 1e-6), 1.0)
