"""What the page draws: arrays of a scene or of embeddings, all cut to the same ground, pixel for pixel.

How numbers become colours is in ``embed/pictures/colours.py``; here is which numbers, and which colour means what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.pictures.colours import certainty_palette, class_image, class_palette, png_data_url, scale_image
from georeset_lab.embed.pictures.plot import thinned

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from georeset_lab.data.modality import Modality
    from georeset_lab.embed.embeddings import Embeddings

MAX_PIXELS = 400_000
"""Pictures have at most this many pixels; a larger map is shown by every n-th row and column, never averaged."""

_LABELS = {
    "s2": "Sentinel-2", "l8": "Landsat 8", "s1": "Sentinel-1", "hyper": "Hyperspectral", "dem": "Elevation",
}  # fmt: skip

# Land cover in the colours people expect. Found by search: the closest pair is 27 CIELAB units apart for normal,
# red-, green- and blue-blind eyes alike (Machado, Oliveira and Fernandes 2009).
_COVER = {
    "water": "2372b7", "trees": "143d21", "grassland": "8ada7f", "crops": "efac06", "built": "d35e85", "bare": "ebe6de",
}  # fmt: skip
_ALSO = {
    "forest": "trees", "tree": "trees", "grass": "grassland", "rangeland": "grassland", "cropland": "crops",
    "cultivated": "crops", "cleared": "crops", "urban": "built", "built area": "built", "buildings": "built",
    "town": "built", "bare ground": "bare", "bare soil": "bare", "soil": "bare",
}  # fmt: skip


def label_of(name: str) -> str:
    """Name of a modality for people."""
    return _LABELS.get(name, name)


def class_colours(names: Sequence[str]) -> np.ndarray:
    """Colours of classes (n, 3) uint8: the expected ones for land cover, else those of ``class_palette`` in order."""
    spare = class_palette(len(names))
    known = [_COVER.get(_ALSO.get(n.lower(), n.lower())) for n in names]
    if len({k for k in known if k}) < len(names):
        return spare
    return np.array([[int(k[i : i + 2], 16) for i in (0, 2, 4)] for k in known if k], np.uint8)


@dataclass(frozen=True)
class Canvas:
    """The ground a page shows, and which pixels of the embedding map make its pictures."""

    grid: GeoBox
    """Grid of the embeddings."""
    step: int
    """Every ``step``-th row and column is shown."""
    mean: np.ndarray
    """Fused mean (h, w, D), float32."""
    observed: np.ndarray
    """Pixels (h, w) that some modality measured."""
    certainty: np.ndarray
    """Fused certainty averaged over dimensions (h, w), NaN where nothing was measured."""

    @classmethod
    def of(cls, emb: Embeddings) -> Canvas:
        """Canvas of a whole map."""
        mean, variance, observed, step = thinned(emb, MAX_PIXELS)
        return cls(emb.grid, step, mean, observed, _certainty(variance, observed))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the pictures."""
        return self.observed.shape[0], self.observed.shape[1]

    def take(self, values: np.ndarray) -> np.ndarray:
        """Shown pixels of an array (Y, X, ...) on the embedding grid."""
        return values[:: self.step, :: self.step]

    def certainty_of(self, emb: Embeddings) -> np.ndarray:
        """Certainty (h, w) of another set of embeddings on the same grid, NaN where it measured nothing."""
        _, variance, observed, _ = thinned(emb, MAX_PIXELS)
        return _certainty(variance, observed)

    def index(self, grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
        """Row (h,) and column (w,) of another north-up grid of the same CRS at each shown pixel; -1 outside it."""
        mine, other = self.grid.affine, grid.affine
        h, w = self.shape
        y = mine.e * (np.arange(h) * self.step + 0.5) + mine.f
        x = mine.a * (np.arange(w) * self.step + 0.5) + mine.c
        row, col = np.floor((y - other.f) / other.e), np.floor((x - other.c) / other.a)
        row = np.where((row >= 0) & (row < grid.shape[0]), row, -1).astype(np.int64)
        col = np.where((col >= 0) & (col < grid.shape[1]), col, -1).astype(np.int64)
        return row, col

    def read(self, modality: Modality, bands: Sequence[int], time: int) -> np.ndarray:
        """Physical values (h, w, bands) of one date at the shown pixels, NaN outside the modality."""
        row, col = self.index(modality.grid)
        some = modality.select_bands([modality.band_names[b] for b in bands])
        out = np.full((*self.shape, len(bands)), np.nan, np.float32)
        i, j = np.flatnonzero(row >= 0), np.flatnonzero(col >= 0)
        if i.size and j.size:
            top, left = int(row[i].min()), int(col[j].min())
            window = some.read(slice(top, int(row[i].max()) + 1), slice(left, int(col[j].max()) + 1), time=time)[0]
            out[np.ix_(i, j)] = window[:, row[i] - top][:, :, col[j] - left].transpose(1, 2, 0)
        return out


def best_date(modality: Modality) -> int:
    """Date with the most measured pixels, judged by a part of them."""
    if modality.raw.shape[0] == 1:
        return 0
    first = modality.select_bands(modality.band_names[:1])
    rows, cols = (slice(None, None, max(1, n // 64)) for n in modality.raw.shape[2:])
    return int(np.isfinite(first.read(rows, cols)).mean(axis=(1, 2, 3)).argmax())


def nearest_bands(modality: Modality, centers_um: Sequence[float], *, within_um: float = 0.1) -> list[int] | None:
    """Bands whose centres are closest to these wavelengths, or None if one is farther off than ``within_um``."""
    centres = np.array([b.center_um if b.kind == "reflectance" else np.inf for b in modality.bands])
    found = [int(np.abs(centres - c).argmin()) for c in centers_um]
    far = any(abs(centres[i] - c) > within_um for i, c in zip(found, centers_um, strict=True))
    return None if far or len(set(found)) < len(found) else found


def natural(values: np.ndarray, *, hues: bool = True) -> np.ndarray:
    """Three reflectances (h, w, 3) as RGBA uint8, brightened as an eye would; transparent where missing.

    With ``hues`` one scale serves all three bands, so that grey stays grey: right for true colour. Without, each band
    has its own: right where one band outshines the others, as the near infrared does over plants.
    """
    seen = np.isfinite(values).all(axis=-1)
    out = np.zeros((*values.shape[:2], 4), np.uint8)
    if seen.any():
        some = values[seen]
        haze = np.percentile(some, 1, axis=0) * 0.4
        top = np.percentile(some - haze, 98.5, axis=None if hues else 0)
        unit = np.clip((np.where(seen[..., None], values, haze) - haze) / np.maximum(top, 1e-4), 0, 1)
        out[..., :3] = np.round(255 * unit ** (1 / 1.7 if hues else 1 / 1.15))
        out[..., 3] = 255 * seen
    return out


def hillshade(height: np.ndarray, pixel_m: float) -> np.ndarray:
    """Height field (h, w) in metres as RGBA (h, w, 4) uint8: lit from the north-west, tinted by height."""
    smooth = np.where(np.isfinite(height), height, np.nanmean(height) if np.isfinite(height).any() else 0.0)
    dy, dx = np.gradient(smooth, pixel_m)
    exaggerate = 3.0
    normal = np.stack([-dx * exaggerate, dy * exaggerate, np.ones_like(dx)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = np.clip(normal @ (np.array([-1.0, 1.0, 1.4]) / np.linalg.norm([-1.0, 1.0, 1.4])), 0, 1)
    span = np.ptp(smooth) or 1.0
    tint = _tint((smooth - smooth.min()) / span)
    out = np.zeros((*height.shape, 4), np.uint8)
    out[..., :3] = np.clip(tint * (0.35 + 0.75 * light[..., None]), 0, 255)
    out[..., 3] = 255 * np.isfinite(height)
    return out


def _tint(unit: np.ndarray) -> np.ndarray:
    """Colours (..., 3) of low to high ground: green, tan, pale."""
    stops = np.array([(96, 142, 106), (190, 178, 130), (196, 160, 122), (236, 230, 222)], float)
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(unit, at, c) for c in stops.T], axis=-1)


def _certainty(variance: np.ndarray, observed: np.ndarray) -> np.ndarray:
    return np.where(observed, 1 - variance.mean(axis=-1), np.nan).astype(np.float32)


def hexes(colours: np.ndarray) -> list[str]:
    """CSS colours of RGB rows."""
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.asarray(colours)[:, :3].tolist()]


def certainty_top(certainty: np.ndarray) -> float:
    """End of the certainty scale for a map (h, w): the least of 0.1, 0.2, 0.3, 0.5 and 1 above nearly all of it."""
    most = float(np.nanpercentile(certainty, 99)) if np.isfinite(certainty).any() else 1.0
    return next((end for end in (0.1, 0.2, 0.3, 0.5) if most <= end), 1.0)


def score_palette() -> np.ndarray:
    """Scale of similarity (256, 3) uint8: another hue than certainty's, so that the two are not mixed up."""
    stops = np.array(
        [(14, 10, 36), (72, 18, 107), (150, 44, 114), (222, 82, 84), (251, 158, 62), (252, 246, 184)], float
    )
    at = np.linspace(0, 255, len(stops))
    return np.stack([np.interp(np.arange(256), at, c) for c in stops.T], axis=1).round().astype(np.uint8)


def value_picture(
    values: np.ndarray, low: float, high: float, palette: np.ndarray | None = None
) -> tuple[str, dict[str, Any]]:
    """Picture of numbers (h, w) on a scale, and the table that turns its colours back into numbers.

    Returns
    -------
    url : PNG data URL, transparent where NaN
    table : ``colours`` (24-bit integers) and ``values`` (text), for the page's pointer
    """
    picture = scale_image(values, low=low, high=high, palette=certainty_palette() if palette is None else palette)
    texts = [f"{low + (high - low) * (i + 0.5) / 255:.2f}" for i in range(255)]
    return png_data_url(picture), {"colours": as_ints(picture.palette[1:]), "values": texts}


def class_picture(codes: np.ndarray, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The same for class codes (h, w); negative ones are transparent."""
    rgb = class_colours(names)
    return png_data_url(class_image(codes, len(names), palette=rgb)), {"colours": as_ints(rgb), "values": list(names)}


def as_ints(colours: np.ndarray) -> list[int]:
    """RGB rows as 24-bit integers."""
    wide = np.asarray(colours, dtype=np.int64)
    return ((wide[:, 0] << 16) | (wide[:, 1] << 8) | wide[:, 2]).tolist()
