"""What the colour of a point in the latent view can mean: an index per point, a palette, and a legend with units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.points import is_points
from georeset_lab.embed.pictures.colours import certainty_palette, class_palette
from georeset_lab.embed.points import columns_of
from georeset_lab.embed.profiles.certainty_at import certainty_at, knows_most
from georeset_lab.embed.profiles.profile import FUSED
from georeset_lab.widgets.page_images import certainty_top, class_colours, hexes, label_of, score_palette

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.widgets.state import Exploration

__all__ = ["Colours", "Extra", "choices", "colouring", "given_columns"]

NOTHING = (150, 160, 155)
"""Points without a value: grey on light and dark ground."""
_SIDE = 15
"""Colours of the map's rows and columns: 15 x 15."""
# West to east from blue to orange, north dark and south light: both run through lightness or blue-yellow, which
# colour-blind readers see as well.
_CORNERS = {"nw": (16, 42, 110), "ne": (140, 62, 0), "sw": (150, 200, 255), "se": (255, 205, 110)}


@dataclass(frozen=True, eq=False)
class Colours:
    """Colour of each point."""

    index: np.ndarray
    """(K,) uint8: row of the palette; 0 is for points without a value."""
    palette: np.ndarray
    """(P, 3) uint8."""
    legend: dict[str, Any]
    """``title``, ``kind`` ("classes", "bar" or "square") and what that kind needs; plain JSON, shown as text."""


@dataclass(frozen=True, eq=False)
class Extra:
    """A colouring that the caller brings: published classes, dates, a reference map."""

    title: str
    values: np.ndarray
    """(Y, X): numbers, NaN = none; or class codes, negative = none."""
    classes: tuple[str, ...] = ()
    """Names of the codes; empty for numbers."""
    unit: str = ""


def given_columns(emb: Embeddings) -> dict[str, Extra]:
    """Colourings that came with the vectors: classes and numbers of the table of point embeddings."""
    return {
        key: Extra(f"Given: {c.title}", c.values, c.classes, "as the table has it")
        for key, c in columns_of(emb).items()
    }


def choices(state: Exploration, extras: Mapping[str, Extra]) -> list[tuple[str, str]]:
    """Keys and names of what colour can mean now; the first is the one to begin with."""
    found = [("class", "Class")] if state.prediction is not None else []
    found += [(f"extra:{key}", extra.title) for key, extra in extras.items()]
    found += [("place", "Place on the map"), (f"certainty:{FUSED}", "Certainty, fused")]
    names = state.emb.modalities
    found += [(f"certainty:{name}", f"Certainty, {label_of(name)}") for name in names if len(names) > 1]
    found += [("knows", "Knows most")] if len(state.present) > 1 else []
    found += [("similarity", "Similarity")] if state.similarity is not None else []
    return found


def colouring(
    state: Exploration, key: str, pixels: np.ndarray, extras: Mapping[str, Extra], class_colours: Mapping[str, str]
) -> Colours:
    """Colours of pixels (sorted flat indices) for one of the `choices`.

    ``class_colours`` holds CSS colours (#rrggbb) of classes by name; what is missing comes from the class palette.
    """
    kind, _, what = key.partition(":")
    if kind == "class":
        codes = np.asarray(state.prediction["label"].values).ravel()[pixels]
        return by_class(codes, state.prediction["class"].values, "Class", colours=class_colours)
    if kind == "certainty":
        return by_certainty(state, pixels, what)
    if kind == "knows":
        return by_knowing(state, pixels)
    if kind == "similarity":
        return by_similarity(state, pixels)
    if kind == "extra":
        extra = extras[what]
        values = np.asarray(extra.values).ravel()[pixels]
        if extra.classes:
            return by_class(values, extra.classes, extra.title, colours=class_colours)
        return by_value(values, extra.title, extra.unit or "no unit")
    if is_points(state.emb.grid):
        return by_place(*state.emb.grid.squares(pixels, _SIDE))
    return by_place(pixels, state.shape)


def by_class(
    codes: np.ndarray, names: Sequence[str], title: str, *, colours: Mapping[str, str] | np.ndarray | None = None
) -> Colours:
    """Classes in their colours, with how many points each has.

    Parameters
    ----------
    codes : (K,) int, negative = none; of at most 254 classes.
    colours : class name to CSS colour, or (n, 3) uint8; what is missing comes from the class palette.
    """
    names = [str(name) for name in names][:254]
    rgb = colours if isinstance(colours, np.ndarray) else class_colours(names)
    if isinstance(colours, Mapping):
        rgb = np.array([_rgb(colours.get(n, h)) for n, h in zip(names, hexes(rgb), strict=True)], np.uint8)
    index = np.where((codes >= 0) & (codes < len(names)), codes + 1, 0).astype(np.uint8)
    count = np.bincount(index, minlength=len(names) + 1).tolist()
    entries = [[name, colour, n] for name, colour, n in zip(names, hexes(rgb), count[1:], strict=True)]
    if count[0]:
        entries.append(["none", hexes(np.array([NOTHING]))[0], count[0]])
    return Colours(index, _with_nothing(rgb), {"kind": "classes", "title": title, "unit": "points", "entries": entries})


def by_value(
    values: np.ndarray,
    title: str,
    unit: str,
    *,
    limits: tuple[float, float] | None = None,
    palette: np.ndarray | None = None,
) -> Colours:
    """Numbers on a sequential scale; by default from their 2nd to their 98th percentile."""
    known = np.isfinite(values)
    rgb = (score_palette() if palette is None else palette)[np.linspace(0, 255, 255).round().astype(int)]
    if limits is None:
        low, high = np.percentile(values[known], (2, 98)).tolist() if known.any() else (0.0, 1.0)
    else:
        low, high = limits
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    index = np.where(known, np.nan_to_num(scaled) * 253.999 + 1, 0).astype(np.uint8)
    legend = {
        "kind": "bar",
        "title": title,
        "unit": unit,
        "ticks": [f"{v:.3g}" for v in (low, (low + high) / 2, high)] if known.any() else [],
        "colours": hexes(rgb[np.linspace(0, 254, 17).astype(int)]) if known.any() else [],
        "note": "" if known.all() else f"grey: {_count(~known)} of {values.size:,} points without a value",
    }
    return Colours(index, _with_nothing(rgb), legend)


def by_certainty(state: Exploration, pixels: np.ndarray, name: str) -> Colours:
    """Certainty of one modality, or of those that are switched on together, on the scale of all certainty."""
    values = certainty_at(state.current if name == FUSED else state.emb, pixels, name)
    title = f"Certainty, {'fused' if name == FUSED else label_of(name)}"
    known = np.isfinite(values).any()
    unit = (
        "1 − variance, mean over dimensions, no unit" if known else "unknown: these embeddings came without variances"
    )
    top = certainty_top(values) if known else 1.0
    return by_value(values, title, unit, limits=(0.0, top), palette=certainty_palette())


def by_knowing(state: Exploration, pixels: np.ndarray) -> Colours:
    """Which of the modalities that are switched on is the surest, each alone."""
    names = state.present
    codes = knows_most([certainty_at(state.emb, pixels, name) for name in names])
    shown = [label_of(name) for name in names]
    # In the order of all modalities, so that switching one off leaves the others' colours as they are.
    rgb = class_palette(len(state.emb.modalities))[[state.emb.modalities.index(name) for name in names]]
    return by_class(codes, shown, "Knows most, each alone", colours=rgb)


def by_place(pixels: np.ndarray, shape: tuple[int, int]) -> Colours:
    """Where on the map a pixel lies: neighbours on the map have the same colour."""
    rows, cols = np.divmod(pixels, shape[1])
    index = 1 + rows * _SIDE // max(shape[0], 1) * _SIDE + cols * _SIDE // max(shape[1], 1)
    down, right = np.mgrid[0 : 1 : _SIDE * 1j, 0 : 1 : _SIDE * 1j][..., None]
    nw, ne, sw, se = (np.array(_CORNERS[k], float) for k in ("nw", "ne", "sw", "se"))
    rgb = ((1 - down) * ((1 - right) * nw + right * ne) + down * ((1 - right) * sw + right * se)).reshape(-1, 3)
    legend = {"kind": "square", "title": "Place on the map", "side": _SIDE, "colours": hexes(rgb.round().astype(int))}
    return Colours(index.astype(np.uint8), _with_nothing(rgb), legend)


def by_similarity(state: Exploration, pixels: np.ndarray) -> Colours:
    """The last similarity search."""
    scores = state.similarity.map
    values = np.asarray(scores.values).ravel()[pixels]
    known = values[np.isfinite(values)]
    limits = (float(np.percentile(known, 2)), float(known.max())) if known.size else (0.0, 1.0)
    unit = str(scores.attrs.get("units", "1"))
    what = str(scores.attrs.get("long_name", "score"))
    return by_value(values, "Similarity", f"{what}, {'no unit' if unit == '1' else unit}", limits=limits)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def _count(flags: np.ndarray) -> str:
    return f"{int(flags.sum()):,}"


def _with_nothing(rgb: np.ndarray) -> np.ndarray:
    return np.concatenate([np.array([NOTHING]), np.asarray(rgb).round()]).astype(np.uint8)
