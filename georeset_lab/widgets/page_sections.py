"""The sections of the page, one function each: pictures and plain words in, HTML out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.pictures.colours import certainty_palette, png_data_url, stretch_rgb
from georeset_lab.widgets import page_images as images
from georeset_lab.widgets import page_parts as parts
from georeset_lab.widgets.page_images import Canvas, label_of
from georeset_lab.widgets.page_parts import Ground, Map

if TYPE_CHECKING:
    from georeset_lab.data.modality import Modality
    from georeset_lab.data.scene import Scene
    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.embed.search import Similar


@dataclass
class Page:
    """What the sections share while a page is made."""

    canvas: Canvas
    ground: Ground
    colours: np.ndarray
    """RGBA picture of the embeddings (h, w, 4)."""
    share: np.ndarray
    """Variance explained by its three components."""
    backdrop: np.ndarray
    """RGBA picture of the scene as a person would see it (h, w, 4)."""
    tables: dict[str, Any] = field(default_factory=dict)
    """Colour tables from which the pointer reads values."""

    def value_map(
        self, key: str, name: str, values: np.ndarray, limits: tuple[float, float], palette: np.ndarray | None = None
    ) -> str:
        """Picture of numbers whose values the pointer can read."""
        url, table = images.value_picture(values, *limits, palette)
        self.tables[key] = {"name": name, **table}
        return url

    def class_map(self, key: str, codes: np.ndarray, names: list[str]) -> str:
        """Picture of classes (codes below 0 are transparent) whose names the pointer can read."""
        url, table = images.class_picture(codes, names)
        self.tables[key] = {"name": key, **table}
        return url

    def fraction(self, row: float, col: float) -> tuple[float, float]:
        """Place of a pixel centre of the embedding map on every picture, as fractions (x, y)."""
        height, width = self.canvas.grid.shape
        return (col + 0.5) / width, (row + 0.5) / height


def scene_section(page: Page, scene: Scene, number: int) -> str:
    """What was measured, modality by modality, and the truth if the scene is simulated."""
    items = [m for name in scene for m in _modality_maps(page, name, scene[name])]
    body = ""
    truth = scene.truth
    if truth is not None and "land_cover" in truth:
        names = [str(n) for n in truth["land_cover"].attrs.get("classes", [])]
        codes = truth_codes(page, scene)
        if names and codes is not None:
            url = page.class_map("truth", codes, names)
            items.append(
                Map("Truth", "land cover, as planted by the simulator", url, "Map of true land cover", "truth")
            )
            share = [f"{100 * (codes == i).mean():.0f} %" for i in range(len(names))]
            body = parts.legend(names, images.hexes(images.class_colours(names)), share, title="True land cover")
    lead = (
        "Each sensor keeps its own pixels, bands and dates; values are physical (reflectance, decibels, metres) and "
        "what was not measured stays empty. Point at any map: the same place is marked on all of them."
    )
    return parts.section(number, "scene", "The scene", lead, parts.maps(items, page.ground, after=body))


def truth_codes(page: Page, scene: Scene) -> np.ndarray | None:
    """True class of each shown pixel (h, w), -1 outside the truth's ground."""
    if scene.truth is None:
        return None
    cover = scene.truth["land_cover"]
    row, col = page.canvas.index(cover.odc.geobox)
    codes = np.full(page.canvas.shape, -1, np.int64)
    i, j = np.flatnonzero(row >= 0), np.flatnonzero(col >= 0)
    codes[np.ix_(i, j)] = cover.values[np.ix_(row[i], col[j])]
    return codes


def _modality_maps(page: Page, name: str, modality: Modality) -> list[Map]:
    kinds = {b.kind for b in modality.bands}
    label = label_of(name)
    time = images.best_date(modality)
    when = _day(modality.times[time])
    facts = f"{len(modality.bands)} band{'s' if len(modality.bands) > 1 else ''}, {_pixel(modality)} pixels"
    found: list[Map] = []
    if kinds == {"elevation"}:
        relief, low, high = _relief(page, modality)
        note = f"relief lit from the north-west, {low:.0f} to {high:.0f} m; {_pixel(modality)} pixels"
        return [Map(label, note, png_data_url(relief), f"Shaded relief, {low:.0f} to {high:.0f} metres")]
    if "backscatter" in kinds:
        both = [i for i, b in enumerate(modality.bands) if b.kind == "backscatter"][:2]
        decibels = page.canvas.read(modality, both, time)
        values = np.stack([decibels[..., 0], decibels[..., -1], decibels[..., 0] - decibels[..., -1]], axis=-1)
        names = ", ".join(modality.band_names[i] for i in both)
        url = png_data_url(stretch_rgb(np.moveaxis(values, -1, 0)))
        return [Map(label, f"{names} and their difference in dB, {when}; {facts}", url, f"Radar composite of {label}")]
    for title, centres, within in _OPTICAL:
        bands = images.nearest_bands(modality, centres, within_um=within)
        if bands is not None:
            picture = images.natural(page.canvas.read(modality, bands, time), hues=title == "true colour")
            note = f"{title}, {when}; {facts}"
            found.append(Map(label, note, png_data_url(picture), f"{label} picture, {title}, {when}"))
    # The sharpest sensor in two combinations, the spectrometer beyond what an eye sees, any other as an eye would.
    if name == "s2":
        return found
    return found[-1:] if len(modality.bands) > 20 else found[:1]


_OPTICAL = (
    ("true colour", (0.665, 0.56, 0.49), 0.05),
    ("short-wave infrared, near infrared, red", (1.61, 0.842, 0.665), 0.1),
)


def _relief(page: Page, modality: Modality) -> tuple[np.ndarray, float, float]:
    """Shaded relief (h, w, 4) made on the modality's own pixels, and its lowest and highest metre."""
    height = modality.read(slice(None), slice(None), time=0)[0, 0]
    shaded = images.hillshade(height, modality.pixel_m)
    row, col = page.canvas.index(modality.grid)
    picture = shaded[np.ix_(row, col)]
    picture[row < 0], picture[:, col < 0] = 0, 0
    if not np.isfinite(height).any():
        return picture, np.nan, np.nan
    return picture, float(np.nanmin(height)), float(np.nanmax(height))


def embedding_section(page: Page, emb: Embeddings, plots: str, number: int) -> str:
    """The map in false colour and its points in the plane."""
    share = " + ".join(f"{100 * s:.0f}" for s in page.share)
    note = f"first three principal components as red, green, blue ({share} % of the spread)"
    picture = Map("Embedding map", note, png_data_url(page.colours), "Embedding map in false colour", "")
    scene = Map("Seen from above", "for comparison", png_data_url(page.backdrop), "The scene as a person would see it")
    lead = (
        f"Every pixel is now a point in {emb.dim} dimensions. Like colours mean like ground, whatever the sensor; the "
        "colours themselves have no meaning and differ from scene to scene."
    )
    body = parts.maps([picture, scene], page.ground, kind="big") + plots
    return parts.section(number, "embedding", "The embedding map", lead, body)


def certainty_section(page: Page, emb: Embeddings, number: int) -> str:
    """Certainty of each modality and of all together, on one scale."""
    top = images.certainty_top(page.canvas.certainty)
    url = page.value_map("fused", "certainty", page.canvas.certainty, (0, top))
    mean = _mean(page.canvas.certainty)
    items = [Map("All together", f"mean {mean:.2f}", url, f"Fused certainty, mean {mean:.2f}", "fused")]
    for name in emb.modalities if len(emb.modalities) > 1 else ():
        certainty = page.canvas.certainty_of(emb.expert(name))
        missing = float(np.isnan(certainty).mean())
        note = f"mean {_mean(certainty):.2f}" + (f"; {100 * missing:.0f} % not measured" if missing > 0.005 else "")
        url = page.value_map(f"c-{name}", name, certainty, (0, top))
        items.append(
            Map(f"{label_of(name)} alone", note, url, f"Certainty of {label_of(name)} alone, {note}", f"c-{name}")
        )
    what = "Certainty: 1 − variance, averaged over dimensions, no unit. 1 would be settled in every one of them."
    what += " One scale for all maps; a pixel that a sensor did not measure is empty on its map."
    bar = parts.colour_bar(images.hexes(certainty_palette()), "0 · knows nothing", f"{top:g}", what)
    lead = (
        "Each sensor says how much it knows about each pixel; where it measured nothing it says nothing. Together "
        "they are at least as sure as the best of them, because precisions add and the prior is counted once."
    )
    return parts.section(
        number, "certainty", "How sure it is", lead, bar + parts.maps(items, page.ground, kind="three")
    )


def similar_section(
    page: Page, emb: Embeddings, hits: Similar, query: tuple[float, float] | None, about: str, number: int
) -> str:
    """Score map with the ranked places, and a thumbnail of each."""
    values = page.canvas.take(np.asarray(hits.map.values))
    low, high = (float(v) for v in np.nanpercentile(values, (2, 100))) if np.isfinite(values).any() else (0.0, 1.0)
    unit = str(hits.map.attrs.get("long_name", "score"))
    squares = [_square(page, geometry.bounds) for geometry in hits.places.geometry]
    at = None if query is None else _around(page, *emb.pixel(*query))
    url = page.value_map("score", "similarity", values, (low, high), images.score_palette())
    overlay = parts.boxes(squares[:9], page.ground, query=at)
    shown = [
        Map(
            "How alike",
            f"{unit}; the query is pink, the best places are numbered",
            url,
            f"Map of {unit}",
            "score",
            overlay,
        ),
        Map("The same places", "seen from above", png_data_url(page.backdrop), "Places on the scene", "", overlay),
    ]
    items = [] if at is None else [(_cut(page, at), "Query", about, True)]
    for square, (_, row) in list(zip(squares, hits.places.iterrows(), strict=True))[:11]:
        text = f"{row['score']:.2f}, certainty {1 - row['uncertainty']:.2f}"
        items.append((_cut(page, square), f"#{row['rank']:.0f}", text, False))
    bar = parts.colour_bar(images.hexes(images.score_palette()), f"{low:.2f}", f"{high:.2f}", unit)
    lead = (
        "Point at one place and find others like it. Places are squares of a few cells that do not overlap, ranked by "
        "their mean score; each comes with how certain the map is there."
    )
    body = parts.maps(shown, page.ground, kind="big") + bar + parts.thumbs(items)
    return parts.section(number, "similar", "Places like this one", lead, body)


def next_section(scene: Scene, query: tuple[float, float], number: int) -> str:
    """Lines to copy."""
    lon, lat = query
    without = next(iter(scene))
    one = f"""
import georeset_lab as gl
scene = gl.load_scene("simulated", seed=1)             # another landscape
emb = gl.encode(scene)
emb.without("{without}").certainty                            # what one sensor adds; nothing is encoded again
gl.similar(emb, at=({lon:.4f}, {lat:.4f}), score="pmi")    # a score that knows what it does not know
emb.to_zarr("embeddings.zarr")                         # and gl.open_embeddings("embeddings.zarr")
"""
    two = """
scene = gl.load_scene({"s2": "S2L2A.tif", "s1": "S1RTC.tif"},   # your own files
                      sensors={"s2": "sentinel-2-l2a", "s1": "sentinel-1-rtc"})
probe = gl.probe(gl.encode(scene), "labels.geojson")            # points or polygons with a column `label`
print(probe.report)                                             # scores by spatial block, with baselines
"""
    three = """
georeset encode S2L2A.tif --sensor s2=sentinel-2-l2a --out embeddings.zarr
georeset train RECIPE --out runs/mine        # an encoder of your own
"""
    body = "<h3>Play with this scene</h3>" + parts.code(one)
    body += "<h3>Take your own</h3>" + parts.code(two) + "<h3>From the shell</h3>" + parts.code(three)
    return parts.section(number, "next", "What to try next", "Copy a line, change it, look again.", body)


def _square(page: Page, bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Bounds in the CRS as fractions (left, top, right, bottom) of the map."""
    box = page.canvas.grid.boundingbox
    left, bottom, right, top = bounds
    width, height = box.right - box.left, box.top - box.bottom
    return (left - box.left) / width, (box.top - top) / height, (right - box.left) / width, (box.top - bottom) / height


def _around(page: Page, row: int, col: int, *, half: int = 9) -> tuple[float, float, float, float]:
    """Square of a place's size around a pixel."""
    x, y = page.fraction(row, col)
    height, width = page.canvas.grid.shape
    return x - half / width, y - half / height, x + half / width, y + half / height


def _cut(page: Page, square: tuple[float, float, float, float]) -> str:
    """Thumbnail of the scene around a square, twice as wide as it."""
    h, w = page.canvas.shape
    left, top, right, bottom = square
    x, y = (left + right) / 2 * w, (top + bottom) / 2 * h
    half = int(max(6, round((right - left) * w)))
    half = min(half, h // 2, w // 2)
    row, col = int(np.clip(round(y), half, h - half)), int(np.clip(round(x), half, w - half))
    return png_data_url(page.backdrop[row - half : row + half, col - half : col + half])


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def _day(time: np.datetime64) -> str:
    return "undated" if np.isnat(time) else str(np.datetime_as_string(time, "D"))


def _pixel(modality: Modality) -> str:
    return f"{modality.pixel_m:.3g} m"
