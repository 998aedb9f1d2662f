"""`MapControls`: the buttons and choices above a map and the texts on and below it. Plain ipywidgets; no behaviour."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as ipw

from georeset_lab.widgets.map_canvas import SHAPES

TOOL_NAMES = {
    "look": ("Look", "A click shows the place; a shape selects its pixels"),
    "label": ("Label", "A click or a shape gets the label that is chosen in the labeller"),
    "similar": ("Find similar", "A click or a shape asks for more places like it"),
}
WEB_MAPS = {"Scene": None, "OpenStreetMap": "OpenStreetMap.Mapnik", "Satellite (Esri)": "Esri.WorldImagery"}
"""What may lie below the layer, and its name among the providers of ``xyzservices``."""
_SIGNS = {"polygon": "⬠", "rectangle": "▭"}
_STYLE = Path(__file__).with_name("embedding_map.css")


class MapControls:
    """Everything around a map that can be pressed, chosen or read.

    Parameters
    ----------
    tool : key of `TOOL_NAMES`
    choices : names and keys of layers
    dim : dimensions of the embeddings
    """

    def __init__(self, tool: str, choices: list[tuple[str, str]], dim: int) -> None:
        auto = ipw.Layout(width="auto")
        self.tools = ipw.ToggleButtons(
            options=[(shown, key) for key, (shown, _) in TOOL_NAMES.items()],
            value=tool,
            tooltips=[hint for _, hint in TOOL_NAMES.values()],
            layout=auto,
        )
        self.shapes = {name: _shape_button(name) for name in SHAPES}
        self.clear = ipw.Button(description="Unselect", tooltip="No pixel is selected then", disabled=True, layout=auto)
        self.layer = ipw.Dropdown(options=choices, layout=ipw.Layout(width="250px"))
        self.layer.tooltip = "What the map shows"
        self.opacity = ipw.FloatSlider(
            value=1.0, min=0, max=1, step=0.05, description="Opacity", readout_format=".0%",
            layout=ipw.Layout(width="220px"), style={"description_width": "52px"},
        )  # fmt: skip
        self.ground = ipw.Dropdown(options=list(WEB_MAPS), layout=ipw.Layout(width="150px", display="none"))
        self.ground.tooltip = "What lies below"
        self.dims = [_dim_box(word, min(i, dim - 1), dim) for i, word in enumerate(("red", "green", "blue"))]
        self.dim_row = ipw.HBox(self.dims, layout=ipw.Layout(display="none"))
        self.legend, self.reading, self.status = ipw.HTML(), ipw.HTML(), ipw.HTML()
        self.reading.add_class("gr-reading")
        self.status.add_class("gr-status")

    def around(self, leaflet: Any) -> list[ipw.Widget]:
        """Rows of a map with its controls, from the top; the first carries the style sheet and is not seen."""
        style = ipw.HTML(f"<style>{_STYLE.read_text(encoding='utf-8')}</style>", layout=ipw.Layout(display="none"))
        bars = [
            ipw.Box([self.tools, *self.shapes.values(), self.clear]),
            ipw.Box([self.layer, self.opacity, self.ground, self.dim_row]),
        ]
        for bar in bars:
            bar.add_class("gr-bar-top")
        ground = ipw.Box([leaflet, self.reading, self.status])
        ground.add_class("gr-ground")
        return [style, *bars, ground, self.legend]

    def read(self, value: str, where: str = "") -> None:
        """Say what is under the pointer; nothing without a value."""
        text = f'<div class="gr-read"><b>{escape(value)}</b><small>{escape(where)}</small></div>'
        self.reading.value = text if value else ""


def as_note(status: str) -> str:
    """HTML of what is being done."""
    return f'<div class="gr-note" role="status">{escape(status)}</div>' if status else ""


def _shape_button(name: str) -> ipw.ToggleButton:
    return ipw.ToggleButton(
        description=f"{_SIGNS[name]} {name.capitalize()}",
        tooltip=f"Draw a {name}; its corners are no clicks, Escape gives it up",
        layout=ipw.Layout(width="auto"),
    )


def _dim_box(word: str, value: int, dim: int) -> ipw.BoundedIntText:
    return ipw.BoundedIntText(
        value=value, min=0, max=dim - 1, description=word, layout=ipw.Layout(width="104px"),
        style={"description_width": "44px"},
    )  # fmt: skip
