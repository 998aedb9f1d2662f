"""`linked_section`: map and latent space of an exploration, linked and alive in a page that nothing stands behind.

What the script gets is put together here, pixel by pixel of `georeset_lab.embed.latent.packed.Packed`: positions, the colours of
every layer the map has at this moment, vectors, labels. Colours, legends and numbers are those of ``map_layers.py``.
Names that people typed are JSON strings, which the script only ever sets as text.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.points import is_points
from georeset_lab.embed.latent.landmarks import PointLayout, pca_layout, place_pixels
from georeset_lab.embed.latent.packed import Packed, pack
from georeset_lab.embed.locate import lonlat_of
from georeset_lab.embed.pictures.colours import PaletteImage, certainty_palette, png_data_url
from georeset_lab.embed.pictures.warp import MercatorView, grid_view, mercator_of, thin_grid, warp_index, warped
from georeset_lab.widgets import page_parts as parts
from georeset_lab.widgets.latent_plane import in_steps
from georeset_lab.widgets.layer_source import PCA, SCENE, LayerSource
from georeset_lab.widgets.page_images import label_of, score_palette

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.widgets.map_layers import Layer
    from georeset_lab.widgets.state import Exploration

__all__ = ["Linked", "linked_section"]

VIEW_PIXELS = 420_000
"""Pixels of the pictures: enough for the map at twice the size of `georeset_lab.embed.latent.packed.MOST_PIXELS`."""
NO_VARIANCE = "unknown: these embeddings state no variance"


@dataclass(frozen=True, eq=False)
class Linked:
    """The section and what its script reads."""

    html: str
    data: dict[str, Any]


def linked_section(
    state: Exploration,
    number: int,
    *,
    labels: Mapping[str, Any] | None = None,
    class_colours: Mapping[str, str] | None = None,
    layouts: Sequence[PointLayout] = (),
) -> Linked:
    """Section that shows all layers of an exploration, its latent space and labels; click, brush and search work in it.

    Parameters
    ----------
    labels : GeoJSON FeatureCollection in degrees, optional
        Points and polygons with the properties ``label`` and ``colour`` (#rrggbb).
    class_colours : class name to ``#rrggbb``, optional
    layouts : sequence of PointLayout
        Beside PCA, which is always there.
    """
    emb = state.current
    packed = pack(emb)
    view = grid_view(thin_grid(emb.grid, packed.step), max_pixels=VIEW_PIXELS, finest=2.0)
    source = LayerSource(state)
    made = {
        key: source.ready(key, (0, 1, 2), class_colours or {}) or source.job(key, (0, 1, 2))()
        for _, key in source.choices()
        if not source.pending(key)
    }
    shown = {key: layer for key, layer in made.items() if key != SCENE}
    lon, lat = lonlat_of(emb.grid, *np.divmod(packed.pixels, emb.shape[1]))
    x, y = mercator_of(lon, lat)
    across = np.stack([(x - view.left) / (view.right - view.left), (view.top - y) / (view.top - view.bottom)], axis=1)
    known = emb.modalities
    data = {
        "n": int(packed.pixels.size),
        "width": emb.shape[1],
        "pixels": _b64(packed.pixels.astype("<u4")),
        "view": {"w": view.shape[1], "h": view.shape[0], "left": view.left, "right": view.right,
                 "top": view.top, "bottom": view.bottom},
        "at": _b64(np.rint(np.clip(across, 0, 1) * 65535).astype("<u2")),
        "index": "" if is_points(emb.grid) else _index_picture(emb.grid, packed, view),
        "points": is_points(emb.grid),
        "scene": _scene_picture(made.get(SCENE), view),
        "layers": [_layer(key, layer, packed, emb.shape) for key, layer in shown.items()],
        "latent": [_plane(layout, state, packed) for layout in (pca_layout(emb), *layouts)],
        "vectors": None if packed.vectors is None else {
            "codes": _b64(packed.vectors.codes), "scale": [float(f"{s:.6g}") for s in packed.vectors.scale],
            "dim": emb.dim, "palette": _hex(score_palette()), "error": packed.vectors.error},
        "known": None if packed.known is None else {
            "codes": _b64(packed.known.codes), "top": packed.known.top, "dim": emb.dim,
            "palette": _hex(certainty_palette()), "names": [label_of(name) for name in known]},
        "stated": bool(_states_variance(shown)),
        "labels": _labels(labels, view),
        "point": _point(state, packed),
        "selected": _b64(np.packbits(np.isin(packed.pixels, state.selected), bitorder="little"))
        if state.selected is not None else "",
    }  # fmt: skip
    return Linked(_html(number, packed, emb, shown), data)


def _states_variance(shown: Mapping[str, Layer]) -> bool:
    picture = shown["certainty"].picture
    return isinstance(picture, PaletteImage) and bool((picture.index > 0).any())


def _index_picture(grid: Any, packed: Packed, view: MercatorView) -> str:
    """Which of the pixels lies at each place of the view, as a picture: position + 1 in red, green, blue; 0 = none."""
    thin = thin_grid(grid, packed.step)
    rows, cols = np.divmod(packed.pixels, grid.shape[1])
    number = np.zeros(thin.shape[0] * thin.shape[1], np.uint32)
    number[rows // packed.step * thin.shape[1] + cols // packed.step] = np.arange(1, packed.pixels.size + 1)
    index = warp_index(thin, view)
    found = np.where(index < 0, 0, number[index])
    return png_data_url(np.stack([found >> 16, found >> 8 & 255, found & 255], axis=-1).astype(np.uint8))


def _scene_picture(layer: Layer | None, view: MercatorView) -> str:
    return "" if layer is None else png_data_url(warped(layer.picture, warp_index(layer.grid, view)))


def _layer(key: str, layer: Layer, packed: Packed, shape: tuple[int, int]) -> dict[str, Any]:
    """Colour of each pixel, and what it means."""
    rows, cols = np.divmod(packed.pixels, shape[1])
    if layer.grid.shape != shape:  # the coarse layers of a map too large for memory
        step = max(1, round(shape[0] / layer.grid.shape[0]))
        rows, cols = rows // step, cols // step
    found: dict[str, Any] = {"key": key, "name": layer.name, "unit": layer.unit, "words": list(layer.words)}
    if isinstance(layer.picture, PaletteImage):
        found |= {"palette": _hex(layer.picture.palette[:, :3]), "codes": _b64(layer.picture.index[rows, cols])}
        if layer.limits is not None:
            found["limits"] = [float(v) for v in layer.limits]
    else:
        found["codes"] = _b64(np.ascontiguousarray(layer.picture[rows, cols, :3]))
    return found


def _plane(layout: PointLayout, state: Exploration, packed: Packed) -> dict[str, Any]:
    steps, frame = in_steps(place_pixels(state.current, layout, packed.pixels))
    return {"kind": layout.kind, "axes": list(layout.axes), "at": _b64(steps), "step": frame["step"],
            "origin": [frame["x0"], frame["y0"]], "box": frame["box"]}  # fmt: skip


def _labels(labels: Mapping[str, Any] | None, view: MercatorView) -> list[dict[str, Any]]:
    """Points and rings as fractions of the view."""
    import shapely

    found = []
    for feature in (labels or {}).get("features", []):
        about = feature.get("properties") or {}
        for part in shapely.get_parts(shapely.geometry.shape(feature["geometry"])):
            ring = part.exterior if part.geom_type == "Polygon" else part
            lon, lat = shapely.get_coordinates(ring).T
            x, y = mercator_of(lon, lat)
            at = np.stack([(x - view.left) / (view.right - view.left), (view.top - y) / (view.top - view.bottom)], 1)
            found.append({"label": str(about.get("label", "")), "colour": str(about.get("colour", "")),
                          "closed": part.geom_type == "Polygon", "at": at.round(5).tolist()})  # fmt: skip
    return found


def _point(state: Exploration, packed: Packed) -> int:
    """Position of the pixel that is looked at, or of the nearest that is in the page; -1 if none is."""
    if state.point is None or not packed.pixels.size:
        return -1
    rows, cols = np.divmod(packed.pixels, state.shape[1])
    return int(np.argmin((rows - state.point.row) ** 2 + (cols - state.point.col) ** 2))


def _html(number: int, packed: Packed, emb: Embeddings, shown: Mapping[str, Layer]) -> str:
    search, shape = packed.vectors is not None, emb.shape
    options = "".join(f'<option value="{escape(key)}">{escape(layer.name)}</option>' for key, layer in shown.items())
    if search:
        options += '<option value="like" disabled>Like the chosen place</option>'
    legends = "".join(
        f'<div data-legend="{escape(key)}" hidden>{layer.legend}</div>' for key, layer in shown.items()
    ) + ('<div data-legend="like" hidden></div>' if search else "")  # fmt: skip
    whole = packed.step == 1
    what = "points" if is_points(emb.grid) else "pixels"
    how = f"all {what}" if whole else f"every {packed.step}. " + ("point" if is_points(emb.grid) else "row and column")
    lead = (
        "Click the map or a point: the same place is marked in both, with all that is known of it. Brush points in "
        "the latent space and the map lights up. Nothing is computed elsewhere: this file is all there is."
    )
    note = f"{packed.pixels.size:,} of {shape[0] * shape[1]:,} {what}: {how} with a measurement."
    if not search:
        note += " Their vectors are too large for a page, so it cannot search."
    find = (
        '<button type="button" data-do="like" disabled>Find places like it</button>'
        if search else ""
    )  # fmt: skip
    body = f"""
<div class="lk" id="linked" data-first="{escape(PCA if "label" not in shown else "label")}">
<div class="lk-bar">
<label>Show <select data-do="layer">{options}</select></label>
<label>Opacity <input type="range" data-do="opacity" min="0" max="1" step="0.05" value="1"></label>
<label><input type="checkbox" data-do="labels" checked> Labels</label>
{find}
<button type="button" data-do="clear" disabled>Clear the selection</button>
<button type="button" data-do="home">Whole map</button>
</div>
<div class="lk-panes">
<figure><canvas class="lk-map" tabindex="0" aria-label="Map"></canvas><div class="lk-legends">{legends}</div></figure>
<figure><div class="lk-bar lk-plane"><label>Latent space <select data-do="plane"></select></label>
<span role="group" aria-label="What dragging does"><button type="button" data-do="brush" aria-pressed="true">Brush</button>
<button type="button" data-do="move" aria-pressed="false">Move</button></span>
<output class="lk-count"></output></div>
<canvas class="lk-latent" tabindex="0" aria-label="Latent space"></canvas></figure>
</div>
<figure class="lk-profile" aria-live="polite"><figcaption><b>No place chosen</b>Click the map or a point.</figcaption></figure>
<p class="note">{escape(note)} The wheel zooms; drag moves the map.</p>
</div>"""
    return parts.section(number, "explore", "Map and latent space", lead, body)


def _b64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _hex(palette: np.ndarray) -> str:
    return bytes(np.ascontiguousarray(palette, np.uint8)).hex()
