"""`Embeddings.plot_certainty` and `plot_profile`: where, and in which dimensions, each modality is sure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from georeset_lab.embed.pictures.colours import scale_image
from georeset_lab.embed.pictures.plot import (
    MISSING,
    certainty_mappable,
    missing_patch,
    place_image,
    thin_shape,
    thin_step,
    thin_window,
)
from georeset_lab.embed.profiles.profile import FUSED, certainty_profile, certainty_windows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["certainty_maps", "column_order", "plot_certainty", "plot_profile"]

MAX_PIXELS = 250_000
"""Pixels drawn of each map: a panel is a third of a page or less."""
NARROW = 1.8
"""Inches; maps less wide than this get a title of two lines, and room beside them for it."""
UNSETTLED = 0.05
"""A dimension is led by a modality that reaches this certainty in the mean; 0.05 is a variance of 95 % of the prior's."""
DIM_LABELS = 80
"""Columns that get their number; of more, every second, third, ..."""
LABEL = "certainty (0 = prior, 1 = settled)"


def plot_certainty(emb: Embeddings, *, limits: tuple[float, float] | None = (0.0, 1.0)) -> Figure:
    """Draw where each modality alone is sure, and all together, on one scale.

    Parameters
    ----------
    emb : Embeddings
    limits : (low, high), optional
        Certainty that gets the darkest and the brightest colour in every map; None takes the 2nd and 98th percentile of
        all of them together, to show differences, at the price of not being comparable with other figures.

    Returns
    -------
    matplotlib.figure.Figure
        One map per modality and the fused one last (only one map if there is one modality, as both are the same), in
        certainty averaged over dimensions, dark = unsure. The titles give the mean over observed pixels. Axes in
        kilometres or metres of the map's CRS, or degrees. What a modality did not observe is light grey, with a legend.
        A notebook shows it as the value of a cell, so leave out the semicolon.
    """
    import matplotlib.pyplot as plt

    certainty, observed, step = certainty_maps(emb)
    names = _rows(emb)
    low, high = limits or _range(certainty[observed])
    panels, inches = _layout(len(names), emb.shape)
    narrow = inches[0] < NARROW
    size = (panels[1] * (max(inches[0], 1.2) + 0.12) + 1.9, panels[0] * (max(inches[1], 0.4) + 0.35) + 0.6)
    layout: Literal["constrained", "compressed"] = "constrained" if narrow else "compressed"
    figure, grid = plt.subplots(*panels, figsize=size, sharex=True, sharey=True, squeeze=False, layout=layout)
    axes: list[Axes] = list(grid.flat)
    for ax, name, values, seen in zip(axes, names, certainty, observed, strict=False):
        place_image(ax, scale_image(values, low=low, high=high, observed=seen).rgba(), emb, step)
        said = f"mean {values[seen].mean():.2f}" if seen.any() else "nothing observed"
        ax.set_title(f"{name}\n{said}" if narrow else f"{name}, {said}", size=10)
    # One label for all: they would collide beside flat panels.
    figure.supxlabel(axes[0].get_xlabel(), size=10)
    figure.supylabel(axes[0].get_ylabel(), size=10)
    for i, ax in enumerate(axes):
        ax.set(xlabel="", ylabel="", visible=i < len(names))
        ax.tick_params(labelsize="small", labelbottom=i + panels[1] >= len(names))  # where nothing is drawn below
    _few_ticks(axes[0], inches)
    _colourbar(figure, axes[: len(names)], (low, high), missing=not observed.all())
    return _shown_once(figure)


def plot_profile(emb: Embeddings, *, limits: tuple[float, float] | None = (0.0, 1.0)) -> Figure:
    """Draw which dimensions each modality settles: a matrix of certainty, modalities by dimensions.

    Parameters
    ----------
    emb : Embeddings
    limits : (low, high), optional
        As in `plot_certainty`; None takes the percentiles of this matrix.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each modality and one for all together; columns grouped by the modality that is the most certain of
        them alone, groups in the order of the rows and certainty falling within each, with a line between groups. The
        number at the right of a row is how many dimensions it leads; those that none knows (`UNSETTLED`) come last. A
        modality that observed nothing is grey. A notebook shows it as the value of a cell.
    """
    import matplotlib.pyplot as plt

    names = _rows(emb)
    profile = certainty_profile(emb).values[: len(names)]
    order, leader = column_order(profile[: len(emb.modalities)])
    n, dim = profile.shape
    size = (float(np.clip(3.0 + 0.14 * dim, 6.0, 13.0)), max(2.6, 1.4 + 0.3 * n))
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    low, high = limits or _range(profile[~np.isnan(profile)])
    ax.imshow(
        profile[:, order], cmap=certainty_mappable().cmap, vmin=low, vmax=high, aspect="auto", interpolation="nearest"
    )
    ax.set_facecolor(MISSING)
    if n > 1:
        _mark_groups(ax, leader, len(emb.modalities))
    ax.set_yticks(range(n), names)
    every = -(-dim // DIM_LABELS)
    ax.set_xticks(range(0, dim, every), [str(d) for d in order[::every]], rotation=90, fontsize="x-small")
    ax.set_xlabel(f"dimension, {'grouped by the modality that settles it most' if n > 1 else 'most certain first'}")
    ax.set_title("Mean certainty over the pixels that each modality observed", size=10)
    _colourbar(figure, [ax], (low, high), missing=bool(np.isnan(profile).any()))
    return _shown_once(figure)


def certainty_maps(emb: Embeddings) -> tuple[np.ndarray, np.ndarray, int]:
    """Certainty averaged over dimensions, of each modality alone and of all together, thinned for drawing.

    Returns
    -------
    certainty : (M + 1, y, x) float32, the fused one last (M = 1: (1, y, x), as both are the same), 0 where not observed
    observed : of the same shape, bool
    step : int
        Every ``step``-th row and column was taken.
    """
    names = _rows(emb)
    step = thin_step(emb.shape, MAX_PIXELS)
    certainty = np.zeros((len(names), *thin_shape(emb.shape, step)), np.float32)
    observed = np.zeros(certainty.shape, bool)
    for window, row, values, seen in certainty_windows(emb, names):
        some, place = thin_window(*window, step)
        certainty[row][place] = values[some].mean(axis=-1)
        observed[row][place] = seen[some]
    return certainty, observed, step


def column_order(profile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dimensions grouped by the modality that leads them, each group from its most to its least certain.

    Parameters
    ----------
    profile : numpy.ndarray, shape (M, D)
        Certainty of modalities alone; NaN counts as 0.

    Returns
    -------
    order : (D,) int64, dimensions from left to right
    leader : (D,) int64, row that leads each *ordered* dimension; M, and last, if none reaches `UNSETTLED`
    """
    filled = np.nan_to_num(profile)
    leader = np.where(filled.max(axis=0) < UNSETTLED, len(profile), filled.argmax(axis=0))
    order = np.lexsort((-filled.max(axis=0), leader))
    return order, leader[order]


def _mark_groups(ax: Axes, leader: np.ndarray, modalities: int) -> None:
    """White lines between groups of columns and above the fused row, and how many dimensions each modality leads."""
    for edge in np.flatnonzero(np.diff(leader)) + 0.5:
        ax.axvline(edge, color="white", linewidth=1.2)
    ax.axhline(modalities - 0.5, color="white", linewidth=2.5)
    counts = np.bincount(leader, minlength=modalities + 1)
    said = [f"leads {c}" for c in counts[:-1]] + [f"none leads {counts[-1]}" if counts[-1] else ""]
    right = ax.secondary_yaxis("right")
    right.set_yticks(range(modalities + 1), said, fontsize="small")
    right.tick_params(length=0)


def _rows(emb: Embeddings) -> tuple[str, ...]:
    """Names of what is drawn; one modality alone is the fused map."""
    return (*emb.modalities, FUSED) if len(emb.modalities) > 1 else emb.modalities


def _range(values: np.ndarray) -> tuple[float, float]:
    """2nd and 98th percentile; 0..1 of nothing."""
    low, high = np.percentile(values, (2, 98)) if values.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))


def _colourbar(figure: Figure, axes: list[Axes], limits: tuple[float, float], *, missing: bool) -> None:
    """Scale beside the axes, with the colour of what was not observed below it if there is any."""
    bar = figure.colorbar(certainty_mappable(limits), ax=axes, pad=0.02, aspect=24)
    bar.set_label(LABEL, size=9)
    if missing:
        bar.ax.legend(
            handles=[missing_patch()],
            loc="upper left",
            bbox_to_anchor=(-0.6, -0.03),
            borderaxespad=0,
            handlelength=1.2,
            frameon=False,
            fontsize="small",
        )


def _shown_once(figure: Figure) -> Figure:
    """The figure, which a notebook shows as the value of its cell and would show again if pyplot still held it."""
    import matplotlib
    import matplotlib.pyplot as plt

    if "inline" in matplotlib.get_backend():
        plt.close(figure)
    return figure


def _few_ticks(ax: Axes, inches: tuple[float, float]) -> None:
    """As many numbers along each side as there is room for, at least one."""
    sides: tuple[tuple[Literal["x", "y"], Axis, float], ...] = (
        ("x", ax.xaxis, inches[0] / 0.75),
        ("y", ax.yaxis, inches[1] / 0.25),
    )
    for side, axis, room in sides:
        if room >= 2:
            ax.locator_params(axis=side, nbins=min(int(room), 8))
        else:
            low, high = axis.get_view_interval()
            inside = [t for t in axis.get_majorticklocs() if low <= t <= high]
            axis.set_ticks(inside[len(inside) // 2 :][:1])


def _layout(n: int, shape: tuple[int, int]) -> tuple[tuple[int, int], tuple[float, float]]:
    """Rows and columns of n panels, and width and height of each map in inches: as large as a 12 x 9 page allows."""
    wide = shape[1] / shape[0]

    def width(columns: int) -> float:
        return min(4.5, 10.4 / columns, wide * min(4.5, 8.2 / -(-n // columns) - 0.35))

    columns = max(range(1, min(n, 8) + 1), key=lambda c: (round(width(c), 2), -c))
    return (-(-n // columns), columns), (width(columns), width(columns) / wide)
