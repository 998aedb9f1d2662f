"""Arrays become pictures: PCA and axes as colour, certainty on one scale, class maps, quicklooks, PNG data URLs.

Everything is NumPy in, uint8 out; no matplotlib. What nobody measured is transparent in every picture.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from georeset_lab.errors import NothingObserved, ShapeMismatch

__all__ = [
    "PaletteImage",
    "axes_rgb",
    "certainty_image",
    "certainty_palette",
    "class_image",
    "class_palette",
    "pca_axes",
    "pca_rgb",
    "png_bytes",
    "png_data_url",
    "scale_image",
    "stretch_rgb",
]

SAMPLE = 20_000
"""Pixels that axes and stretches are estimated from; taken at even steps, so that the same map looks the same."""

# Cividis at 17 even steps (Nunez, Anderton, Renslow 2018, CC0): even in lightness for normal and colour-blind eyes.
_CIVIDIS = (
    (0, 34, 78), (0, 46, 106), (26, 56, 111), (50, 67, 109), (67, 78, 108), (83, 90, 109), (97, 101, 111),
    (111, 112, 115), (125, 124, 120), (140, 136, 120), (155, 148, 118), (171, 160, 114), (188, 174, 108),
    (205, 187, 99), (222, 201, 88), (240, 216, 70), (254, 232, 56),
)  # fmt: skip

# The first eight: Okabe and Ito 2008. The rest, mostly of Paul Tol's sets (technical note 3.2, 2021), were picked one
# by one, each the farthest from all before it in CIE L*a*b* as normal, protanopic and deuteranopic eyes see it.
_CLASSES = (
    "E69F00", "56B4E9", "009E73", "F0E442", "0072B2", "D55E00", "CC79A7", "000000",
    "663300", "99DDFF", "225555", "FFAABB", "000080", "DDCC77", "DDDDDD", "222255",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class PaletteImage:
    """A picture of at most 256 colours: an eighth of the bytes of RGBA in a PNG, and instant to encode."""

    index: np.ndarray
    """Shape (Y, X), uint8: row of the palette for each pixel."""
    palette: np.ndarray
    """Shape (K, 4), uint8: red, green, blue, alpha."""

    def rgba(self) -> np.ndarray:
        """The same as (Y, X, 4) uint8."""
        return self.palette[self.index]


def certainty_palette() -> np.ndarray:
    """The one scale for certainty everywhere: (256, 3) uint8, dark blue = unsure (0) to bright yellow = sure (1)."""
    anchors = np.asarray(_CIVIDIS, float)
    at = np.linspace(0, len(anchors) - 1, 256)
    return np.stack([np.interp(at, np.arange(len(anchors)), c) for c in anchors.T], axis=1).round().astype(np.uint8)


def class_palette(n: int) -> np.ndarray:
    """Colours of n classes, (n, 3) uint8, that colour-blind readers can tell apart.

    The first eight are those of Okabe and Ito, the next eight were chosen to stay apart from them; from the
    seventeenth on they come again, each time nearer to grey, and cannot be told apart without a legend.
    """
    colours = np.array([[int(h[i : i + 2], 16) for i in (0, 2, 4)] for h in _CLASSES], float)
    keep = 0.75 ** (np.arange(n) // len(colours))[:, None]
    return (colours[np.arange(n) % len(colours)] * keep + 128 * (1 - keep)).round().astype(np.uint8)


def scale_image(
    values: np.ndarray,
    *,
    low: float,
    high: float,
    palette: np.ndarray | None = None,
    observed: np.ndarray | None = None,
) -> PaletteImage:
    """Numbers on a sequential scale.

    Parameters
    ----------
    values : (Y, X) float; NaN is transparent. Values beyond ``low`` and ``high`` get the end colours.
    palette : (256, 3) uint8, optional; by default that of certainty.
    observed : (Y, X) bool, optional; False is transparent.
    """
    colours = certainty_palette() if palette is None else palette
    seen = np.isfinite(values) if observed is None else np.isfinite(values) & observed
    # Index 0 is kept for what is transparent, so 255 of the 256 colours are used.
    unit = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    index = np.where(seen, np.nan_to_num(unit) * 254.999 + 1, 0).astype(np.uint8)
    opaque = np.concatenate([colours[np.linspace(0, 255, 255).round().astype(int)], np.full((255, 1), 255)], axis=1)
    return PaletteImage(index, np.concatenate([np.zeros((1, 4)), opaque]).astype(np.uint8))


def certainty_image(certainty: np.ndarray, observed: np.ndarray | None = None) -> PaletteImage:
    """Certainty (Y, X) in 0..1 on its scale, dark = unsure."""
    return scale_image(certainty, low=0.0, high=1.0, observed=observed)


def class_image(codes: np.ndarray, n: int, *, palette: np.ndarray | None = None) -> PaletteImage:
    """Class codes (Y, X), int, 0..n-1, in class colours; negative codes are transparent. At most 255 classes."""
    if n > 255 or (codes.size and int(codes.max()) >= n):
        raise ShapeMismatch(
            f"A class picture holds at most 255 classes, with codes below n; got n={n}, {codes.max()=}."
        )
    colours = class_palette(n) if palette is None else palette
    table = np.zeros((n + 1, 4), np.uint8)
    table[1:, :3], table[1:, 3] = colours[:n], 255
    return PaletteImage(np.where(codes < 0, 0, codes + 1).astype(np.uint8), table)


def pca_axes(vectors: np.ndarray, observed: np.ndarray, n: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal axes of the observed vectors, estimated from an even sample of `SAMPLE` of them.

    Returns
    -------
    center : (D,);  axes : (D, n), each with its largest entry positive, so that a picture does not flip by chance
    share : (n,) of the variance that each axis holds

    Raises
    ------
    NothingObserved
        No pixel was observed.
    """
    some = np.asarray(vectors[_sample(observed)], np.float64)
    center = some.mean(axis=0)
    values, columns = np.linalg.eigh(np.cov(some, rowvar=False, bias=True).reshape(some.shape[1], -1))
    order = np.argsort(values)[::-1][:n]
    axes = columns[:, order]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    share = np.clip(values[order], 0, None) / max(values.clip(0).sum(), 1e-30)
    if axes.shape[1] < n:  # fewer dimensions than colours
        axes = np.pad(axes, ((0, 0), (0, n - axes.shape[1])))
        share = np.pad(share, (0, n - len(share)))
    return center, axes, share


def pca_rgb(vectors: np.ndarray, observed: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """First three principal components as red, green, blue, each from its 2nd to its 98th percentile.

    Parameters
    ----------
    vectors : (N, D) float, N = Y * X in row-major order.  observed : (N,) bool.  shape : (Y, X).

    Returns
    -------
    numpy.ndarray, shape (Y, X, 4), uint8
        Red, green, blue, alpha; alpha is 0 where not observed.
    """
    center, axes, _ = pca_axes(vectors, observed)
    axes32 = axes.astype(np.float32)
    scores = vectors @ axes32 - (center @ axes).astype(np.float32)
    return _stretched(scores, observed, shape)


def axes_rgb(
    vectors: np.ndarray, observed: np.ndarray, shape: tuple[int, int], bands: tuple[int, int, int] = (0, 1, 2)
) -> np.ndarray:
    """Three dimensions as red, green, blue; the rest as `pca_rgb`."""
    dim = vectors.shape[1]
    if len(bands) != 3 or not all(-dim <= b < dim for b in bands):
        raise ShapeMismatch(f"bands={tuple(bands)}; give three dimensions between 0 and {dim - 1}.")
    return _stretched(vectors[:, list(bands)], observed, shape)


def stretch_rgb(channels: np.ndarray) -> np.ndarray:
    """Three bands (3, Y, X), or one (1, Y, X) as grey, from their 2nd to their 98th percentile; NaN is transparent."""
    if channels.ndim != 3 or channels.shape[0] not in (1, 3):
        raise ShapeMismatch(f"A picture needs (3, Y, X) or (1, Y, X); got {channels.shape}.")
    flat = np.repeat(channels, 3 // channels.shape[0], axis=0).reshape(3, -1).T
    seen = np.isfinite(flat).all(axis=1)
    if not seen.any():
        return np.zeros((*channels.shape[1:], 4), np.uint8)
    return _stretched(flat, seen, (channels.shape[1], channels.shape[2]))


def png_bytes(image: PaletteImage | np.ndarray) -> bytes:
    """PNG file of a picture: a palette PNG, or RGB(A) of a (Y, X, 3 or 4) uint8 array."""
    from PIL import Image

    buffer = io.BytesIO()
    if isinstance(image, PaletteImage):
        picture = Image.fromarray(np.ascontiguousarray(image.index), mode="P")
        picture.putpalette(image.palette[:, :3].tobytes())
        picture.save(buffer, "PNG", compress_level=1, transparency=image.palette[:, 3].tobytes())
    else:
        if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8:
            raise ShapeMismatch(f"A picture is (Y, X, 3 or 4) uint8; got {image.dtype} {image.shape}.")
        Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def png_data_url(image: PaletteImage | np.ndarray) -> str:
    """A picture as ``data:image/png;base64,...``, for a page or a map overlay without a server."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode("ascii")


def _sample(observed: np.ndarray) -> np.ndarray:
    found = np.flatnonzero(observed)
    if not found.size:
        raise NothingObserved("No pixel was observed, so there is nothing to draw. Check the scene's masks and nodata.")
    return found[:: max(1, found.size // SAMPLE)]


def _stretched(scores: np.ndarray, observed: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(N, 3) numbers as (Y, X, 4) uint8."""
    low, high = np.percentile(scores[_sample(observed)], (2, 98), axis=0).astype(np.float32)
    out = np.zeros((*shape, 4), np.uint8)
    with np.errstate(invalid="ignore"):
        unit = (scores - low) * (np.float32(255) / np.maximum(high - low, np.float32(1e-12)))
    flat = out.reshape(-1, 4)
    flat[:, :3] = np.clip(np.nan_to_num(unit), 0, 255).astype(np.uint8)
    flat[:, 3] = 255
    flat[~observed] = 0
    return out
