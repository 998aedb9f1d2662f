"""`EmbeddingMap`: the map of an exploration. Choose what it shows, point at it, click it, draw on it.

It draws what is in `Exploration` and tells it of clicks and shapes; the pictures are made in ``map_layers.py``, and the
leafmap that they lie on is in ``map_canvas.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import traitlets

from georeset_lab.data.points import is_points
from georeset_lab.embed.pictures.warp import grid_view
from georeset_lab.widgets.layer_source import AXES, PCA, SCENE, SIMILARITY, LayerSource
from georeset_lab.widgets.map_canvas import HEIGHT, MapCanvas, network_is_there
from georeset_lab.widgets.map_controls import WEB_MAPS, MapControls, as_note
from georeset_lab.widgets.map_layers import MAPS, mask_picture

if TYPE_CHECKING:
    from georeset_lab.widgets.map_layers import Layer
    from georeset_lab.widgets.state import Exploration


NEAR_PX = 12
"""A click this near to a point is one on it."""


class EmbeddingMap(ipw.VBox):
    """Map of the embeddings and of everything that is known about them, on the scene's own picture.

    Parameters
    ----------
    state : Exploration
        What is shown; clicks and shapes go there.
    height : str
        CSS height of the map alone.

    Examples
    --------
    >>> EmbeddingMap(Exploration(emb))  # doctest: +SKIP
    """

    layer = traitlets.Unicode(PCA)
    """Key of the layer that is shown; see `georeset_lab.widgets.layer_source.LayerSource`."""
    axes = traitlets.Tuple(traitlets.Int(), traitlets.Int(), traitlets.Int(), default_value=(0, 1, 2))
    """Dimensions shown as red, green and blue by the layer ``"axes"``."""
    opacity = traitlets.Float(1.0, min=0.0, max=1.0)
    """Of the layer; the scene lies below it."""
    labels = traitlets.Dict(default_value={})
    """GeoJSON FeatureCollection, in degrees, of what was labelled; property ``colour`` is ``#rrggbb``."""
    class_colours = traitlets.Dict(default_value={})
    """Class name to ``#rrggbb``: the colours of the class map. Others come from the class palette."""

    def __init__(self, state: Exploration, *, height: str = HEIGHT) -> None:
        self.state = state
        self.source = LayerSource(state)
        # Reading a store may take long; the rest is done when the widgets of the map are made.
        first = state.ahead(self.source.first) if state.emb.in_memory else self.source.first
        self.canvas = MapCanvas(grid_view(state.emb.grid, max_pixels=1), height=height)
        self.shown: Layer | None = None
        self._ticket = 0
        self._offering = False
        self._pointer: tuple[float, float] | None = None
        self._heard: list[tuple[str, Any]] = []
        self.controls = MapControls(state.tool, self.source.choices(), state.emb.dim)
        rows = [*self.controls.around(self.canvas.leaflet), self.canvas.gate]
        super().__init__(children=rows, layout=ipw.Layout(width="100%", min_width="0"))
        self.add_class("gr-map")
        self._link()
        self._first(first)

    @property
    def map(self) -> Any:
        """The `leafmap.Map`, to add layers of one's own."""
        return self.canvas.leaflet

    def go_to(self, lon: float, lat: float, *, zoom: float | None = None) -> None:
        """Move the map to a place in degrees."""
        with self.map.hold_sync():
            self.map.center = [lat, lon]
            if zoom is not None:
                self.map.zoom = zoom

    def close(self) -> None:
        """Stop listening to the exploration, and remove the widget."""
        for names, handler in self._heard:
            self.state.unobserve(handler, names)
        if self._heard:
            self._tool.unlink()
            self._status.unlink()
        self._heard = []
        super().close()

    # -- wires --------------------------------------------------------------------------------------------------------

    def _link(self) -> None:
        state, canvas = self.state, self.canvas
        self._tool = traitlets.link((state, "tool"), (self.controls.tools, "value"))
        traitlets.link((self, "opacity"), (self.controls.opacity, "value"))
        self._status = traitlets.dlink((state, "status"), (self.controls.status, "value"), as_note)
        self.controls.layer.observe(self._chosen, "value")
        self.controls.ground.observe(self._ground_chosen, "value")
        for box in self.controls.dims:
            box.observe(lambda _: setattr(self, "axes", tuple(b.value for b in self.controls.dims)), "value")
        for name, button in self.controls.shapes.items():
            button.observe(lambda change, name=name: self._shape_chosen(name, change["new"]), "value")
        self.controls.clear.on_click(lambda _: setattr(state, "selected", None))
        canvas.on_click, canvas.on_shape = self._clicked, self._shape_drawn
        canvas.on_hover, canvas.on_leave = self._hover, self._leave
        canvas.on_give_up, canvas.on_arrival = self._shape_given_up, self._arrived
        canvas.on_painted = state.see_picture
        self._heard = [
            ("similarity", self._similarity_changed), ("prediction", self._prediction_changed),
            ("present", lambda _: self._paint()), ("selected", self._selected), ("point", self._pointed),
        ]  # fmt: skip
        for name, handler in self._heard:
            state.observe(handler, name)
        self._selected()
        self._pointed()

    def _first(self, first: Callable[[], Layer]) -> None:
        """A coarse picture at once, then the layer in full; the scene below it."""
        if self.state.is_live:
            self.state.painted.clear()

        def then(layer: Layer) -> None:
            if self.shown is None and self.layer == PCA:
                self._show(layer)
            self._paint()

        self.state.run(first, then, doing="drawing the map", now=self.state.emb.in_memory)
        if self.state.scene is not None:
            scene = self.source.job(SCENE, self.axes)
            self.state.run(scene, self._show_scene, doing="drawing the scene", later=True)
        threading.Thread(target=self._look_for_network, daemon=True).start()

    def _arrived(self) -> None:
        """A browser shows the map. A served page may have missed what changed after it was written."""
        if self.state.is_served:
            for overlay in (self.canvas.base, self.canvas.overlay, self.canvas.mask):
                for layer in overlay.layers:
                    layer.send_state()
            for widget in (self.controls.legend, self.controls.layer, self.controls.clear, *self.canvas.rings):
                widget.send_state()

    # -- what is shown ------------------------------------------------------------------------------------------------

    @traitlets.observe("layer", "axes", "class_colours")
    def _paint(self, _: Any = None) -> None:
        """Show the chosen layer; one that takes long comes when it is ready, if it is still wanted."""
        if self.layer not in self._keys():
            self.layer = PCA
            return
        self.controls.layer.value = self.layer
        self.controls.dim_row.layout.display = "flex" if self.layer == AXES else "none"
        if self.source.pending(self.layer):
            self.state.no_picture()  # the last one stays until the new one is there
            return
        self._ticket += 1
        ticket = self._ticket
        ready = self.source.ready(self.layer, self.axes, self.class_colours)
        if ready is not None:
            if ready is not self.shown:
                self._show(ready)
            return
        job = self.source.job(self.layer, self.axes)
        self.state.run(job, lambda made: self._show(made) if ticket == self._ticket else None, doing="drawing the map")

    def _show(self, layer: Layer) -> None:
        self.shown = layer
        fine = self.canvas.overlay.layers[1]
        before = fine.url
        self.canvas.overlay.show(layer.picture, layer.grid)
        (self.state.expect_picture if fine.url != before else self.state.no_picture)()
        self.controls.legend.value = layer.legend
        if self._pointer is not None:
            self._hover(*self._pointer)

    def _show_scene(self, layer: Layer) -> None:
        self.canvas.base.show(layer.picture, layer.grid)

    @traitlets.observe("opacity")
    def _faded(self, change: dict[str, Any]) -> None:
        self.canvas.overlay.fade(change["new"])

    @traitlets.observe("labels")
    def _labels_changed(self, change: dict[str, Any]) -> None:
        self.canvas.draw_labels(change["new"].get("features", []))

    def _similarity_changed(self, change: dict[str, Any]) -> None:
        self._offer_layers()
        self._turn_to(SIMILARITY if change["new"] is not None else self.layer)

    def _prediction_changed(self, change: dict[str, Any]) -> None:
        self._offer_layers()
        first = change["old"] is None and change["new"] is not None
        if first or self.layer in MAPS:
            self._turn_to("label" if first else self.layer)
        else:
            self.state.no_picture()

    def _turn_to(self, key: str) -> None:
        if key == self.layer:
            self._paint()
        else:
            self.layer = key

    def _offer_layers(self) -> None:
        choices = self.source.choices()
        if list(self.controls.layer.options) != choices:
            self._offering = True  # new options choose the first of themselves, which nobody did
            try:
                self.controls.layer.options = choices
                self.controls.layer.value = self.layer if self.layer in self._keys() else PCA
            finally:
                self._offering = False

    def _keys(self) -> list[str]:
        return [key for _, key in self.source.choices()]

    def _chosen(self, change: dict[str, Any]) -> None:
        if change["new"] and not self._offering:
            self.layer = change["new"]

    def _look_for_network(self) -> None:
        """Web maps can be chosen once a tile server has answered; a name server may take long to say no."""
        if network_is_there():
            self.state.deliver(lambda: self.controls.ground.layout.set_trait("display", "flex"))

    def _ground_chosen(self, change: dict[str, Any]) -> None:
        import xyzservices

        name = WEB_MAPS[change["new"]]
        self.canvas.show_tiles(xyzservices.providers.query_name(name) if name else None)
        self.canvas.base.fade(0.0 if name else 1.0)

    def _selected(self, _: Any = None) -> None:
        flat = self.state.selected
        self.controls.clear.disabled = flat is None
        if flat is None:
            self.canvas.mask.hide()
        else:
            self.canvas.mask.show(mask_picture(flat, self.state.shape), self.state.emb.grid)

    def _pointed(self, _: Any = None) -> None:
        point = self.state.point
        self.canvas.mark((point.lon, point.lat) if point is not None else None)

    # -- what happens on the map --------------------------------------------------------------------------------------

    def _shape_chosen(self, name: str, on: bool) -> None:
        if on:
            for other, button in self.controls.shapes.items():
                button.value = other == name
            self.canvas.drawing = name
        elif self.canvas.drawing == name:
            self.canvas.drawing = None

    def _shape_drawn(self, geometry: dict[str, Any]) -> None:
        self._shape_given_up()
        self.state.drawn = geometry

    def _shape_given_up(self) -> None:
        for button in self.controls.shapes.values():
            button.value = False

    def _clicked(self, lon: float, lat: float) -> None:
        self.state.click(*(self._snapped(lon, lat) or (lon, lat)))

    def _snapped(self, lon: float, lat: float) -> tuple[float, float] | None:
        """The point under the pointer, if the map is one of points; a place beyond all of them if none is near."""
        grid = self.state.emb.grid
        if not is_points(grid):
            return None
        index, _ = grid.nearest(lon, lat)
        there = float(grid.lonlat[0][index[0]]), float(grid.lonlat[1][index[0]])
        return there if self.canvas.pixels_between((lon, lat), there) <= NEAR_PX else (np.nan, np.nan)

    def _hover(self, lon: float, lat: float) -> None:
        self._pointer = (lon, lat)
        found = self.state.click_at(*(self._snapped(lon, lat) or (lon, lat)))
        where = f"{abs(lat):.5f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.5f}° {'E' if lon >= 0 else 'W'}"
        if found is None:
            self.controls.read("no point here" if is_points(self.state.emb.grid) else "outside the map", where)
            return
        value = self.shown.text(found.row, found.col) if self.shown is not None else ""
        which = f"point {found.row}" if is_points(self.state.emb.grid) else f"row {found.row}, column {found.col}"
        self.controls.read(value or "no value here", f"{where} · {which}")

    def _leave(self) -> None:
        self._pointer = None
        self.controls.read("")
