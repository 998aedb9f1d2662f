"""The layers a map can show: which numbers, in which colours, with which legend, and what they say at a pixel.

A `Layer` is a picture on a grid; how it gets onto the screen is in ``overlay.py``. Nothing here needs a browser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.quicklook import quicklook
from georeset_lab.embed.expert import fuse
from georeset_lab.embed.pictures.colours import PaletteImage, certainty_palette, class_image, scale_image
from georeset_lab.embed.pictures.overview import ColourBasis, Sample, certainty_map, colour_map
from georeset_lab.embed.pictures.warp import thin_grid
from georeset_lab.widgets import page_images as images
from georeset_lab.widgets.map_legend import bar_legend, class_legend, ramp_legend, rgb_legend, text_legend

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from georeset_lab.data.modality import Modality
    from georeset_lab.data.scene import Scene
    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.embed.points import Column
    from georeset_lab.embed.search import Similar

QUICKLOOK_PX = 1024
"""Longest side of the picture of the scene behind the map."""

MAPS = {
    "label": "Classes",
    "confidence": "Probability of the class",
    "entropy": "Doubt: entropy of the classes",
    "doubt_sensor": "Doubt: the sensors do not see it",
    "doubt_labels": "Doubt: too few labels",
    "doubt_overlap": "Doubt: classes overlap",
    "cause": "Main cause of doubt",
    "set_size": "How many classes it may be",
    "unlike": "Unlike any label",
}
"""Variables of a prediction that have a layer, and its name."""
FULL_DOUBT = 0.5
"""Chance of another class from which on the map of causes shows its colours in full: from there the class is a guess."""
_DOUBTS = ("doubt_sensor", "doubt_labels", "doubt_overlap")


UNSTATED = "these embeddings came without variances"


@dataclass(frozen=True, eq=False)
class Layer:
    """One picture with its meaning."""

    name: str
    grid: GeoBox
    picture: PaletteImage | np.ndarray
    """On the grid: a palette picture whose first colour is transparent, or (Y, X, 4) uint8."""
    legend: str
    """HTML."""
    text: Callable[[int, int], str]
    """Value at a row and column of the *embedding* map, for people; empty where there is none."""
    limits: tuple[float, float] | None = None
    """Numbers that the second and the last colour of a palette picture stand for; None if colours are no scale."""
    unit: str = ""
    """Of these numbers; empty: none."""
    words: tuple[str, ...] = ()
    """What the second, third, ... colour of a palette picture stands for, if they are classes."""


def coarse_colour_layer(name: str, emb: Embeddings, sample: Sample, basis: ColourBasis) -> Layer:
    """The first picture: only the sampled pixels, each standing for its neighbours."""
    picture = basis.rgba(sample.mean, sample.observed)
    return _colour_layer(name, emb, basis, thin_grid(emb.grid, sample.step), picture)


def colour_layer(name: str, emb: Embeddings, basis: ColourBasis) -> Layer:
    """Embeddings as red, green and blue, every pixel."""
    return _colour_layer(name, emb, basis, emb.grid, colour_map(emb, basis))


def certainty_layer(name: str, emb: Embeddings, top: float, sample: Sample | None = None) -> Layer:
    """Certainty on the scale 0..top that all certainty layers of a map share; dark = unsure. Coarse with a sample."""
    values, step = (certainty_map(emb), 1) if sample is None else (sample.certainty, sample.step)
    unknown = f"; unknown: {UNSTATED}" if not np.isfinite(values).any() else ""
    legend = bar_legend(
        name, certainty_palette(), 0, top, unit=f"1 − variance, no unit{unknown}", ends=("nothing known", "")
    )
    number = _number(values)
    picture = scale_image(values, low=0, high=top)
    thin = thin_grid(emb.grid, step)
    return Layer(name, thin, picture, legend, lambda row, col: number(row // step, col // step), limits=(0.0, top))


def similarity_layer(similar: Similar, grid: GeoBox) -> Layer:
    """Score of each pixel against the query, from the 2nd percentile to the best."""
    values = np.asarray(similar.map.values)
    low, high = _percentile(values, 2), float(np.nanmax(values))
    unit = str(similar.map.attrs.get("units", "1"))
    what = str(similar.map.attrs.get("long_name", "similarity"))
    what = what.capitalize() if "similarity" in what else f"Similarity: {what}"
    palette = images.score_palette()
    legend = bar_legend(what, palette, low, high, unit=unit if unit != "1" else "no unit", ends=("unlike", "alike"))
    picture = scale_image(values, low=low, high=high, palette=palette)
    said = "" if unit == "1" else unit
    return Layer("Similarity", grid, picture, legend, _number(values, unit), limits=(low, high), unit=said)


def column_layer(name: str, column: Column, grid: GeoBox) -> Layer:
    """What somebody else says of each point: classes in class colours, numbers from their 2nd to 98th percentile."""
    if column.classes:
        table = images.class_colours(list(column.classes))
        return _code_layer(name, column.values, column.classes, table, grid)
    low, high = _percentile(column.values, 2), _percentile(column.values, 98)
    palette = images.score_palette()
    picture = scale_image(column.values, low=low, high=high, palette=palette)
    legend = bar_legend(name, palette, low, high, unit="as the table has it")
    return Layer(name, grid, picture, legend, _number(column.values), limits=(low, high))


def layers_of(prediction: xr.Dataset) -> list[str]:
    """Keys of `MAPS` that a prediction has something to show for."""
    return [name for name in MAPS if name in prediction or (name == "confidence" and "probability" in prediction)]


def prediction_layer(
    prediction: xr.Dataset, variable: str, grid: GeoBox, colours: Mapping[str, str] | None = None
) -> Layer:
    """One variable of what `Probe.predict` returns.

    Parameters
    ----------
    variable : one of `layers_of`
    colours : class name to CSS colour, optional
        Those the labels were drawn with; the rest come from the class palette.
    """
    if variable == "label":
        return _label_layer(prediction, grid, colours or {})
    observed = np.asarray(prediction["label"].values) >= 0
    if variable == "confidence":
        return _scale_layer(variable, _confidence(prediction), "1", 1.0, grid)
    values = np.asarray(prediction[variable].values)
    if variable == "set_size":
        count = prediction.sizes["class"]
        least = 0 if (values[observed] == 0).any() else 1  # a set without any class is rare
        words = ["none of them" if n == 0 else f"{n} class{'es' * (n != 1)}" for n in range(least, count + 1)]
        shades = certainty_palette()[::-1][np.linspace(0, 255, len(words)).round().astype(int)]
        return _code_layer(variable, np.where(observed, values - least, -1), words, shades, grid)
    if variable == "unlike":
        codes = np.where(observed, values.astype(np.int16), -1)
        return _code_layer(variable, codes, ("like some label", "unlike any label"), _UNLIKE, grid)
    if variable == "cause":
        return _cause_layer(prediction, grid)
    # The parts of a doubt share one scale, or they could not be compared.
    peers = [prediction[name].values for name in _DOUBTS if name in prediction] if variable in _DOUBTS else [values]
    unit = str(prediction[variable].attrs.get("units", "1"))
    return _scale_layer(variable, values, unit, max(_percentile(peer, 98) for peer in peers) or 1.0, grid)


def scene_layer(scene: Scene) -> Layer | None:
    """The scene as a person would see it, or in false colour; None if it has no pixels."""
    ranked = sorted(scene.modalities.values(), key=lambda m: m.pixel_m)
    for modality in ranked:
        bands = images.nearest_bands(modality, (0.665, 0.56, 0.49), within_um=0.05)
        if bands is not None:
            step, values = _thinned_bands(modality, bands)
            return _scene_layer(modality, step, images.natural(values), "true colour")
    for modality in ranked:
        step = _step(modality)
        return _scene_layer(modality, step, quicklook(modality, size=QUICKLOOK_PX), "false colour")
    return None


def mask_picture(flat: np.ndarray, shape: tuple[int, int]) -> PaletteImage:
    """Selected pixels (flat indices) stand clear and tinted, all others lie in shade."""
    index = np.ones(shape, np.uint8)
    index.reshape(-1)[flat] = 2
    return PaletteImage(index, np.array([(0, 0, 0, 0), (8, 12, 10, 150), (255, 93, 143, 70)], np.uint8))


def _colour_layer(name: str, emb: Embeddings, basis: ColourBasis, grid: GeoBox, picture: np.ndarray) -> Layer:
    experts = list(emb.experts.values())

    def text(row: int, col: int) -> str:
        mean, _, observed = fuse(experts, slice(row, row + 1), slice(col, col + 1))
        return " / ".join(f"{v:.2f}" for v in basis.scores(mean)[0, 0]) if observed.any() else ""

    share = "; % of the variance" if any("%" in name for name in basis.names) else ""
    note = f"like colours mean like ground; no unit{share}; 2nd to 98th percentile"
    return Layer(name, grid, picture, rgb_legend(name, basis.names, note), text)


def _label_layer(prediction: xr.Dataset, grid: GeoBox, colours: Mapping[str, str]) -> Layer:
    codes = np.asarray(prediction["label"].values)
    classes = [str(c) for c in prediction["class"].values]
    spare = images.hexes(images.class_colours(classes))
    shown = [colours.get(c, colour) for c, colour in zip(classes, spare, strict=True)]
    table = np.array([[int(h[i : i + 2], 16) for i in (1, 3, 5)] for h in shown], np.uint8)
    layer = _code_layer("label", codes, classes, table, grid)
    if not {"confidence", "probability"} & set(prediction):
        return layer
    sure = _confidence(prediction)

    def text(row: int, col: int) -> str:
        name = layer.text(row, col)
        return f"{name}, probability {sure[row, col]:.2f}" if name else ""

    return replace(layer, text=text)


def _code_layer(variable: str, codes: np.ndarray, words: Sequence[str], table: np.ndarray, grid: GeoBox) -> Layer:
    """Codes 0, 1, ... with a word and a colour each; negative ones are transparent."""
    counts = np.bincount(codes[codes >= 0].ravel(), minlength=len(words))
    shares = (counts / max(1, counts.sum())).tolist()

    def text(row: int, col: int) -> str:
        code = int(codes[row, col])
        return words[code] if code >= 0 else ""

    name = MAPS.get(variable, variable)
    legend = class_legend(name, words, images.hexes(table), shares)
    picture = class_image(codes, len(words), palette=table)
    return Layer(name, grid, picture, legend, text, words=tuple(words))


def _cause_layer(prediction: xr.Dataset, grid: GeoBox) -> Layer:
    """What most of the doubt comes from, the paler the less doubt there is: where the class is sure, no cause shouts."""
    codes = np.asarray(prediction["cause"].values)
    words = [str(word) for word in prediction["cause"].attrs["classes"]]
    doubt = 1.0 - _confidence(prediction)
    strength = np.clip(np.nan_to_num(doubt) / FULL_DOUBT, 0, 1)
    steps = (strength * (_SHADES - 1)).round().astype(np.int16)
    ramps = np.stack([_ramp(colour) for colour in _CAUSES[: len(words)]])
    index = np.where(codes >= 0, 1 + codes * _SHADES + steps, 0).astype(np.uint8)
    palette = np.zeros((1 + len(words) * _SHADES, 4), np.uint8)
    palette[1:] = np.concatenate([ramps.reshape(-1, 3), np.full((len(words) * _SHADES, 1), 255)], axis=1)
    every = np.bincount(codes[codes >= 0].ravel(), doubt[codes >= 0].ravel(), minlength=len(words))

    def said(word: str, chance: float) -> str:
        return f"{word}; {100 * chance:.0f} % chance of another class"

    def text(row: int, col: int) -> str:
        code = int(codes[row, col])
        return said(words[code], float(doubt[row, col])) if code >= 0 else ""

    shades = tuple(said(word, FULL_DOUBT * i / (_SHADES - 1)) for word in words for i in range(_SHADES))
    legend = ramp_legend(
        MAPS["cause"], words, ramps, (every / max(float(every.sum()), 1e-12)).tolist(),
        unit="share of all doubt", ends=("sure", f"{100 * FULL_DOUBT:.0f} % or more chance of another class"),
    )  # fmt: skip
    return Layer(MAPS["cause"], grid, PaletteImage(index, palette), legend, text, words=shades)


def _ramp(colour: np.ndarray) -> np.ndarray:
    """From pale to a colour, (shades, 3) uint8."""
    share = np.linspace(0, 1, _SHADES)[:, None]
    return (_PALE * (1 - share) + colour * share).round().astype(np.uint8)


def _scale_layer(variable: str, values: np.ndarray, unit: str, high: float, grid: GeoBox) -> Layer:
    """Dark is unsure, here as everywhere: the scale of a doubt runs from bright to dark."""
    sure = variable == "confidence"
    palette = certainty_palette() if sure else certainty_palette()[::-1]
    ends = ("unsure", "sure") if sure else ("sure", "or more: unsure")
    what = "chance of a wrong class, no unit" if variable in _DOUBTS else "no unit" if unit == "1" else unit
    if not np.isfinite(values).any():
        what = f"unknown: {UNSTATED}"
    legend = bar_legend(MAPS[variable], palette, 0, high, unit=what, ends=ends)
    picture = scale_image(values, low=0, high=high, palette=palette)
    said = "" if unit == "1" else unit
    return Layer(MAPS[variable], grid, picture, legend, _number(values, unit), limits=(0.0, high), unit=said)


def _confidence(prediction: xr.Dataset) -> np.ndarray:
    """Probability (Y, X) of the predicted class."""
    found = prediction["confidence"].values if "confidence" in prediction else prediction["probability"].values.max(0)
    return np.asarray(found)


def _percentile(values: np.ndarray, percent: float) -> float:
    some = values.ravel()[:: max(1, values.size // 100_000)]
    some = some[np.isfinite(some)]
    return float(np.percentile(some, percent)) if some.size else 0.0


def _scene_layer(modality: Modality, step: int, picture: np.ndarray, kind: str) -> Layer:
    dates = modality.times[~np.isnat(modality.times)]
    when = f", {str(dates.min())[:10]}" if dates.size == 1 else f", {dates.size} dates" if dates.size else ""
    text = f"{images.label_of(modality.name)} in {kind}{when}; pixels of {modality.pixel_m * step:.3g} m"
    return Layer("Scene", thin_grid(modality.grid, step), picture, text_legend("Scene", text), lambda row, col: kind)


def _thinned_bands(modality: Modality, bands: Sequence[int]) -> tuple[int, np.ndarray]:
    """Step and values (h, w, 3) of its best date."""
    step = _step(modality)
    every = slice(None, None, step)
    some = modality.select_bands([modality.band_names[b] for b in bands])
    return step, some.read(every, every, time=images.best_date(modality))[0].transpose(1, 2, 0)


def _step(modality: Modality) -> int:
    return max(1, -(-max(modality.raw.shape[2:]) // QUICKLOOK_PX))


def _number(values: np.ndarray, unit: str = "1") -> Callable[[int, int], str]:
    def text(row: int, col: int) -> str:
        value = float(values[row, col])
        return f"{value:.3f}{'' if unit == '1' else ' ' + unit}" if np.isfinite(value) else ""

    return text


# Of Okabe and Ito 2008.
_CAUSES = np.array([(0, 114, 178), (230, 159, 0), (204, 121, 167)], np.uint8)
_PALE = np.array([240, 240, 236], np.uint8)
_SHADES = 32
_UNLIKE = np.array([(222, 222, 222), (213, 94, 0)], np.uint8)
