"""`Embeddings.plot` and the notebook summary: pictures of `colours.py` with axes, units and legends."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.points import is_points
from georeset_lab.embed.locate import crs_name, crs_of
from georeset_lab.embed.pictures.colours import (
    axes_rgb,
    certainty_palette,
    pca_axes,
    pca_rgb,
    png_data_url,
    scale_image,
)
from georeset_lab.errors import ShapeMismatch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.patches import Patch

    from georeset_lab.embed.embeddings import Embeddings, PlotKind

__all__ = [
    "certainty_mappable", "embeddings_html", "missing_patch", "place_image", "plot_embeddings", "thin_shape", "thin_step",
    "thin_window", "thinned",
]  # fmt: skip

MAX_PIXELS = 1_000_000
"""Pixels in a drawn map; a larger one is drawn from every second, third, ... pixel."""
THUMBNAIL_PIXELS = 65_536
"""A summary shows a thumbnail only of maps up to this size that are fused already or cost nothing to fuse."""
MISSING = "0.85"
"""Light grey behind pixels that nothing measured."""


def thinned(emb: Embeddings, max_pixels: int = MAX_PIXELS) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Every ``step``-th row and column: mean (y, x, D), variance (y, x, D), observed (y, x), step.

    Reads block by block, so memory holds one block and the result.
    """
    step = thin_step(emb.shape, max_pixels)
    size = thin_shape(emb.shape, step)
    mean, variance = (np.zeros((*size, emb.dim), np.float32) for _ in range(2))
    observed = np.zeros(size, bool)
    for rows, cols in emb.windows():
        some, place = thin_window(rows, cols, step)
        for whole, part in zip((mean, variance, observed), emb.fused(rows, cols), strict=True):
            whole[place] = part[some]
    return mean, variance, observed, step


def thin_step(shape: tuple[int, int], max_pixels: int) -> int:
    """Every which row and column of a map (Y, X) to draw, so that at most about ``max_pixels`` are drawn."""
    return max(1, int(np.ceil(np.sqrt(shape[0] * shape[1] / max_pixels))))


def thin_shape(shape: tuple[int, int], step: int) -> tuple[int, int]:
    """Rows and columns of every ``step``-th pixel of a map (Y, X)."""
    return -(-shape[0] // step), -(-shape[1] // step)


def thin_window(rows: slice, cols: slice, step: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Which pixels of a window of the map to draw, counted in the window, and where they lie in the thinned map."""
    first = [-(-w.start // step) for w in (rows, cols)]
    last = [-(-w.stop // step) for w in (rows, cols)]
    some = [slice(f * step - w.start, None, step) for f, w in zip(first, (rows, cols), strict=True)]
    place = [slice(f, e) for f, e in zip(first, last, strict=True)]
    return (some[0], some[1]), (place[0], place[1])


def plot_embeddings(
    emb: Embeddings,
    bands: tuple[int, int, int] | None = None,
    *,
    kind: PlotKind = "pca",
    limits: tuple[float, float] | None = (0.0, 1.0),
    ax: Axes | None = None,
) -> Axes:
    """Draw a map of embeddings.

    Parameters
    ----------
    emb : Embeddings
    bands : three dimensions, optional
        Drawn as red, green and blue instead of the principal components.
    kind : "pca", "axes" or "certainty"
        Certainty is the mean of ``1 - variance`` over the dimensions, dark = unsure.
    limits : (low, high), optional
        Certainty that gets the darkest and the brightest colour; None takes the 2nd and 98th percentile of this map,
        to show where it is *less* sure, at the price of not being comparable with other maps.
    ax : matplotlib Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Axes in kilometres or metres of the map's CRS (degrees, if that is what it has); rotated grids are drawn
        rotated. Pixels that nothing measured are light grey, with a legend.

    Raises
    ------
    NothingObserved
        There is no observed pixel to take colours from.
    ShapeMismatch
        An unknown kind, or bands that do not exist.
    """
    import matplotlib.pyplot as plt

    if kind not in ("pca", "axes", "certainty"):
        raise ShapeMismatch(f"kind={kind!r} is not a picture; choose 'pca', 'axes' or 'certainty'.")
    if kind == "certainty" and bands is not None:
        raise ShapeMismatch("bands= belongs to kind='axes'; certainty is one number per pixel.")
    mean, variance, observed, step = thinned(emb)
    flat, seen, size = mean.reshape(-1, emb.dim), observed.reshape(-1), (observed.shape[0], observed.shape[1])
    if kind == "certainty":
        certainty = 1 - variance.mean(axis=2)
        low, high = np.percentile(certainty[observed], (2, 98)) if observed.any() else (0.0, 1.0)
        limits = limits or (float(low), float(high))
        image = scale_image(certainty, low=limits[0], high=limits[1], observed=observed).rgba()
        title = f"Certainty, mostly {low:.2f} to {high:.2f}"
    elif bands is not None or kind == "axes":
        chosen = bands or (0, 1, 2)
        image = axes_rgb(flat, seen, size, chosen)
        title = "Dimensions {}, {}, {} as red, green, blue".format(*chosen)
    else:
        image = pca_rgb(flat, seen, size)
        share = pca_axes(flat, seen)[2].sum()
        title = f"Embedding, PCA as colour ({share:.0%} of the variance)"
    if ax is None:
        height = float(np.clip(5.2 * size[0] / size[1], 1.6, 8.0)) + 1.0
        _, ax = plt.subplots(figsize=(6.8, height), layout="compressed")
    place_image(ax, image, emb, step)
    ax.set_title(title)
    if kind == "certainty":
        ax.figure.colorbar(certainty_mappable(limits or (0.0, 1.0)), ax=ax, label="certainty (dark = unsure)")
    if not seen.all():
        ax.legend(handles=[missing_patch()], loc="upper right", fontsize="small")
    return ax


def place_image(ax: Axes, image: np.ndarray, emb: Embeddings, step: int) -> None:
    """Put a picture where its pixels lie, with axes in units of the CRS."""
    from matplotlib.transforms import Affine2D

    box, crs = emb.grid.boundingbox, crs_of(emb.grid)
    unit, scale = ("degrees", 1.0) if crs.geographic else ("m", 1.0)
    if unit == "m" and max(box.right - box.left, box.top - box.bottom) >= 2000:
        unit, scale = "km", 1e-3
    a, b, c, d, e, f = tuple(emb.grid.affine)[:6]
    matrix = np.array([[a * step, b * step, c], [d * step, e * step, f], [0, 0, 1 / scale]]) * scale
    height, width = image.shape[:2]
    picture = ax.imshow(image, extent=(0, width, height, 0), interpolation="nearest")
    picture.set_transform(Affine2D(matrix) + ax.transData)
    ax.set_xlim(box.left * scale, box.right * scale)
    ax.set_ylim(box.bottom * scale, box.top * scale)
    ax.set_aspect("equal")
    ax.set_facecolor(MISSING)
    names = ("longitude", "latitude") if crs.geographic else ("easting", "northing")
    ax.set_xlabel(f"{names[0]} ({unit})")
    ax.set_ylabel(f"{names[1]} ({unit}), {crs_name(emb.grid)}")
    ax.ticklabel_format(useOffset=False, style="plain")
    ax.locator_params(axis="x", nbins=5)


def missing_patch() -> Patch:
    """Entry of a legend for what nothing measured."""
    from matplotlib.patches import Patch

    return Patch(facecolor=MISSING, edgecolor="0.5", label="not observed")


def certainty_mappable(limits: tuple[float, float] = (0.0, 1.0)) -> ScalarMappable:
    """The scale of certainty, dark = unsure, for ``figure.colorbar``."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    return ScalarMappable(Normalize(*limits), ListedColormap(certainty_palette() / 255))


def embeddings_html(emb: Embeddings) -> str:
    """Short table for a notebook; with a thumbnail if the map is small and in memory. Reads no store."""
    height, width = emb.shape
    size = sum(e.nbytes for e in emb.experts.values()) / 1e6
    if is_points(emb.grid):
        place = {"size": f"{height:,} points, {emb.dim} dimensions", "places": crs_name(emb.grid)}
    else:
        a, b, _, d, e, _ = tuple(emb.grid.affine)[:6]
        pixel = f"{np.hypot(a, d):g} x {np.hypot(b, e):g} in units of {crs_name(emb.grid)}"
        place = {"size": f"{height} x {width} pixels, {emb.dim} dimensions", "pixel": pixel}
    stated = all(e.stated for e in emb.experts.values())
    rows: dict[str, str] = {
        **place,
        "experts": ", ".join(emb.modalities),
        **({} if stated else {"variance": "unknown"}),
        "held as": f"{emb.dtype} {'in memory' if emb.in_memory else 'in a store'}, {size:.1f} MB",
    }
    rows |= {k: str(emb.attrs[k]) for k in ("model", "version", "dates", "seed") if k in emb.attrs}
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(k)}</th><td style='text-align:left'>{escape(v[:160])}</td></tr>"
        for k, v in rows.items()
    )
    picture = ""
    if emb.in_memory and not is_points(emb.grid) and height * width <= THUMBNAIL_PIXELS and emb.observed.any():
        mean, _, observed = emb.vectors()
        url = png_data_url(pca_rgb(mean, observed, emb.shape))
        side = f"width:{min(192, max(48, width))}px"
        picture = f"<img alt='PCA of the embedding' style='{side};image-rendering:pixelated;margin:4px' src='{url}'>"
    return f"<div><b>Embeddings</b><div style='display:flex'><table>{cells}</table>{picture}</div></div>"
