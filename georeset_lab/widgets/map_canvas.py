"""`MapCanvas`: a leafmap with our panes, pictures, marks and drawing tools. It knows places, not embeddings."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from georeset_lab.embed.pictures.warp import TILE_PX, WORLD_M, MercatorView, fit_zoom, mercator_of
from georeset_lab.widgets.graticule import graticule
from georeset_lab.widgets.leafmap_import import import_leafmap
from georeset_lab.widgets.overlay import Overlay, place, seen_on

PANES = {"gr-base": 250, "gr-layer": 300, "gr-mask": 340, "gr-lines": 380}
"""Panes of our pictures and their height; Leaflet's tiles lie at 200, its vectors at 400."""
ZOOM_SNAP = 0.25
MAX_ZOOM = 22
HEIGHT = "clamp(400px, 52vh, 680px)"
"""CSS height of a map: half the window, but enough to see something and not so much that nothing else has room."""
SHAPES = {"polygon": "draw:Polygon", "rectangle": "draw:Rectangle"}
HOVER_S = 0.06
"""A hover within this time of the last is left unanswered."""
_SHAPE_STYLE = {"color": "#ff5d8f", "weight": 2, "fillOpacity": 0.12}
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


class PointerGate(anywidget.AnyWidget):
    """Keeps the browser from sending every movement of the mouse to Python; shows nothing."""

    _esm = Path(__file__).with_name("map_pointer.js")
    every_ms = traitlets.Int(80).tag(sync=True)
    """Least time between two movements that are sent."""
    drawing = traitlets.Bool(False).tag(sync=True)
    """A shape is being drawn: let everything through; the escape key ends it."""
    painted = traitlets.Int(0).tag(sync=True)
    """How many pictures of the layer the browser has painted."""


class MapCanvas:
    """The map, and what happens on it.

    Parameters
    ----------
    home : MercatorView
        What to show first.
    height : str
        CSS height.
    """

    def __init__(self, home: MercatorView, *, height: str = HEIGHT) -> None:
        self.on_click: Callable[[float, float], None] = _ignore
        """Called with longitude and latitude; not for the corners of a shape."""
        self.on_hover: Callable[[float, float], None] = _ignore
        self.on_leave: Callable[[], None] = _ignore
        self.on_shape: Callable[[dict[str, Any]], None] = _ignore
        """Called with the GeoJSON geometry of a shape when it is finished; the map forgets it then."""
        self.on_give_up: Callable[[], None] = _ignore
        """Called when the escape key ended a shape."""
        self.on_arrival: Callable[[], None] = _ignore
        """Called once a browser shows the map."""
        self.on_painted: Callable[[], None] = _ignore
        """Called when a browser has painted a picture of the layer."""
        self._home, self._hovered = home, 0.0
        self._fitted: float | None = None
        self._size = (0, 0)
        self.gate = PointerGate()
        self.base, self.overlay, self.mask = (Overlay(pane=p) for p in ("gr-base", "gr-layer", "gr-mask"))
        self.lines = Overlay(pane="gr-lines").layers[1]
        self.labels, self.outlines = _labels_layer(), _labels_layer()
        self.rings = _rings()
        pictures = [*self.base.layers, *self.overlay.layers, *self.mask.layers, self.lines]
        self.leaflet = _leafmap(home, height, [*pictures, self.outlines, self.labels, *self.rings])
        self.draw = _draw_control()
        self._tiles: Any = None
        self.leaflet.controls = (*self.leaflet.controls, _scale_bar(), self.draw)
        self.leaflet.on_interaction(self._interaction)
        self.leaflet.observe(self._moved, "pixel_bounds")
        self.draw.on_draw(self._drawn)
        self.gate.observe(self._escaped, "drawing")
        self.gate.observe(lambda _: self.on_painted(), "painted")

    @property
    def is_shown(self) -> bool:
        """Whether a browser has told what it shows."""
        return self._fitted is not None

    # -- what is shown ------------------------------------------------------------------------------------------------

    def mark(self, at: tuple[float, float] | None) -> None:
        """Ring around a place (longitude, latitude), or none; the map moves there if it is out of sight."""
        for ring in self.rings:
            ring.location = [at[1], at[0]] if at else [0, 0]
            ring.opacity = 1.0 if at else 0.0
        if at and self.is_shown:
            (south, west), (north, east) = self.leaflet.bounds
            if not (west <= at[0] <= east and south <= at[1] <= north):
                self.leaflet.center = [at[1], at[0]]

    def pixels_between(self, one: tuple[float, float], other: tuple[float, float]) -> float:
        """Distance on the screen of two places (longitude, latitude), at the zoom of this moment."""
        x, y = mercator_of(np.array([one[0], other[0]]), np.array([one[1], other[1]]))
        return float(np.hypot(x[1] - x[0], y[1] - y[0]) * TILE_PX * 2**self.leaflet.zoom / WORLD_M)

    def draw_labels(self, features: Sequence[dict[str, Any]]) -> None:
        """GeoJSON features in degrees, in the colour (``#rrggbb``) of their property ``colour``."""
        self.outlines.data = {"type": "FeatureCollection", "features": [_outlined(f) for f in features]}
        self.labels.data = {"type": "FeatureCollection", "features": [_styled(f) for f in features]}

    def show_tiles(self, provider: Any) -> None:
        """Web tiles of an ``xyzservices`` provider below everything, or None for none."""
        from ipyleaflet import basemap_to_tiles

        others = tuple(layer for layer in self.leaflet.layers if layer is not self._tiles)
        self._tiles = None if provider is None else basemap_to_tiles(provider)
        self.leaflet.layers = others if self._tiles is None else (self._tiles, *others)

    # -- drawing ------------------------------------------------------------------------------------------------------

    @property
    def drawing(self) -> str | None:
        """Shape that is being drawn: a key of `SHAPES`, or None."""
        return next((name for name, mode in SHAPES.items() if mode == self.draw.current_mode), None)

    @drawing.setter
    def drawing(self, shape: str | None) -> None:
        self.draw.current_mode = SHAPES[shape] if shape else None
        self.gate.drawing = shape is not None  # after the mode, so that this is not taken for the escape key

    # -- events -------------------------------------------------------------------------------------------------------

    def _interaction(self, **event: Any) -> None:
        # While a shape is drawn each of its corners is a click on the map as well; it is not meant.
        if event.get("type") == "click" and self.drawing is None:
            self.on_click(*_lonlat(event))
        elif event.get("type") == "mousemove" and time.monotonic() - self._hovered >= HOVER_S:
            self.on_hover(*_lonlat(event))
            self._hovered = time.monotonic()
        elif event.get("type") == "mouseout":
            self.on_leave()

    def _drawn(self, _: Any, action: str, geo_json: Any) -> None:
        if action != "create":
            return
        feature = geo_json[0] if isinstance(geo_json, list) else geo_json
        self.draw.clear()
        self.draw.data = []
        self.on_shape(feature["geometry"])

    def _escaped(self, change: dict[str, Any]) -> None:
        if self.drawing and not change["new"]:
            self.drawing = None
            self.on_give_up()

    def _moved(self, _: Any) -> None:
        view = seen_on(self.leaflet)
        if view is None:
            return
        if self._fitted is None:
            self._fitted = self.leaflet.zoom
            self.on_arrival()
        if view.shape != self._size and self._untouched():
            self._size = view.shape
            if self._fit():
                return  # the browser tells again from there
        around, url = graticule(view)
        place(self.lines, url, around)
        for overlay in (self.base, self.overlay, self.mask):
            overlay.look(view)

    def _untouched(self) -> bool:
        """Whether the map still shows what it showed first; then it may be fitted to another size."""
        off = max(abs(a - b) for a, b in zip(self.leaflet.center, _middle(self._home), strict=True))
        return self.leaflet.zoom == self._fitted and off < 0.05 * 360 / 2**self.leaflet.zoom

    def _fit(self) -> bool:
        """Show as much as fits, now that the size of the map is known; whether that changes anything."""
        zoom = fit_zoom(self._home, (self._size[1] - 24, self._size[0] - 24), snap=ZOOM_SNAP)
        if zoom == self._fitted:
            return False
        self._fitted = zoom
        with self.leaflet.hold_sync():
            self.leaflet.center, self.leaflet.zoom = _middle(self._home), zoom
        return True


def _leafmap(home: MercatorView, height: str, layers: list[Any]) -> Any:
    """A map without anything that a network would be needed for.

    Its layers and controls are set as traits: `leafmap.Map.add` would build a layer manager each time, a dozen widgets
    for every layer, and put its button on the map.
    """
    pixels = int((re.findall(r"\d+(?=px)", height) or ["400"])[0])  # until the browser tells the size
    return import_leafmap().Map(
        layers=layers,
        center=_middle(home),
        zoom=fit_zoom(home, (pixels * 1.3, pixels - 24), snap=ZOOM_SNAP),
        zoom_snap=ZOOM_SNAP, zoom_delta=0.5, max_zoom=MAX_ZOOM, height=height, interpolation="nearest",
        double_click_zoom=False,  # would come after two clicks, which mean something here
        scroll_wheel_zoom=True, draw_control=False, toolbar_control=False, search_control=False,
        fullscreen_control=False, scale_control=False, attribution_control=False,
        panes={name: {"zIndex": z, "pointerEvents": "none"} for name, z in PANES.items()},
        default_style={"cursor": "crosshair"},
    )  # fmt: skip


def _scale_bar() -> Any:
    from ipyleaflet import ScaleControl

    return ScaleControl(position="bottomleft", imperial=False, max_width=130)


def _draw_control() -> Any:
    from ipyleaflet import GeomanDrawControl

    options = {"pathOptions": _SHAPE_STYLE, "snappable": False, "tooltips": False, "continueDrawing": False}
    style = {"templineStyle": _SHAPE_STYLE, "hintlineStyle": {**_SHAPE_STYLE, "dashArray": [5, 5]}}
    return GeomanDrawControl(
        hide_controls=True, polygon={**options, **style}, rectangle={**options, **style}, polyline={}, circlemarker={},
        circle={}, marker={}, text={}, edit=False, drag=False, remove=False, cut=False, rotate=False,
    )  # fmt: skip


def _labels_layer() -> Any:
    from ipyleaflet import GeoJSON

    empty = {"type": "FeatureCollection", "features": []}
    return GeoJSON(data=empty, point_style={"radius": 6}, pm_ignore=True, snap_ignore=True)


def _rings() -> tuple[Any, ...]:
    """A light ring over a dark one, to be seen on any ground."""
    from ipyleaflet import CircleMarker

    return tuple(
        CircleMarker(
            location=[0, 0], radius=9, color=colour, weight=weight, fill=False, opacity=0.0, pm_ignore=True,
            snap_ignore=True,
        )
        for colour, weight in (("#101815", 5), ("#ffffff", 2))
    )  # fmt: skip


def _styled(feature: dict[str, Any]) -> dict[str, Any]:
    given = str((feature.get("properties") or {}).get("colour", ""))
    colour = given if _COLOUR.fullmatch(given) else "#7b867f"
    point = feature["geometry"]["type"] in ("Point", "MultiPoint")
    style = (
        {"color": "#ffffff", "weight": 2, "fillColor": colour, "fillOpacity": 1.0}
        if point
        else {"color": colour, "weight": 3, "fillColor": colour, "fillOpacity": 0.25}
    )
    return _drawn_as(feature, style)


def _outlined(feature: dict[str, Any]) -> dict[str, Any]:
    """The dark edge below a label, without which a light one is lost on light ground."""
    return _drawn_as(feature, {"color": "#101815", "weight": 5, "fill": False})


def _drawn_as(feature: dict[str, Any], style: dict[str, Any]) -> dict[str, Any]:
    # Nothing else of the feature is sent: a name is text that someone typed, and has no business in a map.
    return {"type": "Feature", "geometry": feature["geometry"], "properties": {"style": style}}


def _middle(view: MercatorView) -> list[float]:
    middle = MercatorView(view.left, view.bottom, (view.left + view.right) / 2, (view.bottom + view.top) / 2, (1, 1))
    return list(middle.corners[1])


def _lonlat(event: dict[str, Any]) -> tuple[float, float]:
    lat, lon = event["coordinates"]
    return float(lon), float(lat)


def _ignore(*_: Any) -> None:
    """Nobody listens."""


@lru_cache(maxsize=1)
def network_is_there(host: str = "tile.openstreetmap.org", timeout_s: float = 1.0) -> bool:
    """Whether a tile server answers; asked once per process."""
    import socket

    try:
        with socket.create_connection((host, 443), timeout=timeout_s):
            return True
    except Exception:  # no name, no route, no permission: all mean no
        return False
