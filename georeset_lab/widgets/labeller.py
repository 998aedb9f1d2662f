"""`Labeller`: classes, labels and a map that follows them. The labels are kept by `LabelBook`, the map by `LiveMap`."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import shapely
import traitlets

from georeset_lab.embed.labels.book import LabelBook
from georeset_lab.errors import GeoresetError
from georeset_lab.widgets.class_row import ClassRow
from georeset_lab.widgets.learning_panel import LearningPanel
from georeset_lab.widgets.live_map import LiveMap

if TYPE_CHECKING:
    from georeset_lab.embed.probing.suggest import Suggester
    from georeset_lab.widgets.state import Exploration

__all__ = ["Labeller"]

_ERASE_M = 60.0
"""A click with the eraser removes labels within one cell."""
_SUGGESTIONS = 8
_HINT = "Name two classes, choose one, then click the map or draw on it. The class map appears with the second class."
_LINK_BYTES = 1_000_000
"""Files up to this size can also be downloaded from a link in the notebook."""
_STYLE = Path(__file__).with_name("labeller.css")


class Labeller(ipw.VBox):
    """Classes with colours, the label that the next click gives, undo, suggestions, a learning curve, files.

    Parameters
    ----------
    state : Exploration
    book : LabelBook, optional
        By default the one that is kept for this map in the working directory.
    files : bool
        Offer import and export; a served page has its own.
    """

    labels = traitlets.Dict(default_value={})
    """GeoJSON of all labels in degrees, each with the colour of its class; for the map."""
    class_colours = traitlets.Dict(default_value={})
    """Name of each class -> ``#rrggbb``."""
    chosen = traitlets.Unicode("")
    """Class that the next click gives; empty while there is none."""

    def __init__(self, state: Exploration, book: LabelBook | None = None, *, files: bool = True) -> None:
        self.state = state
        self.book = LabelBook.for_map(state.emb) if book is None else book
        self.learning = LearningPanel(state, self.book)
        self._build(files)
        super().__init__(children=self._rows)
        self.add_class("gr-map")  # the colours and buttons of the map
        self.add_class("gr-labels")
        self._heard = [("clicked", self._click), ("drawn", self._shape)]
        for name, handler in self._heard:
            state.observe(handler, name)
        self.live = LiveMap(state, self.book, self._say)  # first: its map is waited for
        self._stop = self.book.observe(lambda _: state.deliver(self._draw))
        self._draw()

    def close(self) -> None:
        """Stop listening; the labels stay on disk."""
        for name, handler in self._heard:
            self.state.unobserve(handler, name)
        self._stop()
        self.live.close()
        self.learning.close()
        super().close()

    # -- what is on the screen ----------------------------------------------------------------------------------------

    def _build(self, files: bool) -> None:
        self._classes = ipw.VBox()
        self._rows_by_class: dict[str, ClassRow] = {}
        self._name = ipw.Text(placeholder="Name of a class", layout=ipw.Layout(width="200px"), continuous_update=False)
        add = _button("Add class", "plus", "Add a class of this name", self._add_class)
        self._undo = _button("Undo", "undo", "", lambda: self.book.undo())
        self._redo = _button("Redo", "repeat", "", lambda: self.book.redo())
        self._eraser = ipw.ToggleButton(
            description="Erase", icon="eraser", tooltip="Clicks and shapes remove labels", layout=_auto()
        )
        self._eraser.observe(lambda _: self._take_tool(), "value")
        suggest = _button("Suggest a place", "lightbulb-o", "Go where the next label helps most", self._suggest)
        self._note, self._where = ipw.HTML(), ipw.HTML()
        self._offered: list[dict[str, Any]] = []
        self._files = files
        style = ipw.HTML(f"<style>{_STYLE.read_text(encoding='utf-8')}</style>", layout=ipw.Layout(display="none"))
        rows: list[ipw.Widget] = [
            style,
            self._note,
            self._classes,
            _row(self._name, add),
            _row(self._undo, self._redo, self._eraser, suggest),
            self.learning,
        ]
        if files:
            self._upload = ipw.FileUpload(
                accept=".geojson,.json,.parquet", description="Import", tooltip="GeoJSON or GeoParquet", layout=_auto()
            )
            self._upload.observe(self._import, "value")
            export = [
                _button(
                    f"Save {name}",
                    "download",
                    f"Write the labels to {file} in the working directory",
                    self._writer(file),
                )
                for name, file in (("GeoJSON", "labels.geojson"), ("GeoParquet", "labels.parquet"))
            ]
            rows.append(_row(self._upload, *export))
        self._rows = [*rows, self._where]

    def _draw(self) -> None:
        """Show the book as it is now."""
        book = self.book
        names = [c.name for c in book.classes]
        if self.chosen not in names:
            self.chosen = names[0] if names else ""
        self._classes.children = self._class_rows()
        for button, title, verb in ((self._undo, book.undo_title, "Undo"), (self._redo, book.redo_title, "Redo")):
            button.disabled = title is None
            button.tooltip = f"{verb}: {title}" if title else f"Nothing to {verb.lower()}"
        colours = {c.name: c.colour for c in book.classes}
        features = [
            {
                "type": "Feature",
                "geometry": json.loads(shapely.to_geojson(item.geometry)),
                "properties": {"label": book.class_of(item).name, "colour": book.class_of(item).colour},
            }
            for item in book.items
        ]
        self.class_colours = colours
        self.labels = {"type": "FeatureCollection", "features": features}
        kept = "Kept in memory only."
        if book.path is not None:  # a path of a server is nobody's business
            kept = (
                f"Saved at every click in {escape(str(book.path))}"
                if self._files
                else "Every label is saved as it is made."
            )
        notes = "".join(f"<br>{escape(note)}" for note in book.notes)
        self._where.value = f'<small style="opacity:.75">{kept}{notes}</small>'
        if not book.items:
            self._say("")

    def _class_rows(self) -> list[ClassRow]:
        """A row for each class, in order; those that are there already stay."""
        book, before, self._rows_by_class = self.book, self._rows_by_class, {}
        for made in book.classes:
            name = made.name
            row = before.pop(name, None) or ClassRow(
                name,
                choose=partial(self._choose, name),
                recolour=partial(book.recolour_class, name),
                drop=partial(book.remove_class, name),
            )
            row.show(made.colour, book.counts.get(name, 0), chosen=name == self.chosen)
            self._rows_by_class[name] = row
        for row in before.values():
            row.close()
        return list(self._rows_by_class.values())

    def _say(self, text: str, *, link: str = "") -> None:
        """Tell the user something; ``link`` is HTML of ours behind it."""
        self._note.value = f"<span>{escape(text or (_HINT if not self.book.items else ''))}{link}</span>"
        self._note.layout.display = "" if text or not self.book.items else "none"

    # -- what the user does -------------------------------------------------------------------------------------------

    def _choose(self, name: str) -> None:
        self.chosen = name
        self._eraser.value = False
        self._take_tool()
        self._draw()

    def _take_tool(self) -> None:
        self.state.tool = "label"

    def _add_class(self) -> None:
        self._try(lambda: self._added(self._name.value))

    def _added(self, name: str) -> None:
        made = self.book.add_class(name)
        self._name.value = ""
        self._choose(made.name)

    def _click(self, change: dict[str, Any]) -> None:
        place = change["new"]
        if place is None or self.state.tool != "label":
            return
        if self._eraser.value:
            self._try(lambda: self.book.erase_near(place.lon, place.lat, _ERASE_M))
        elif self._has_class():
            self._try(lambda: self.book.add_point(place.lon, place.lat, self.chosen))

    def _shape(self, change: dict[str, Any]) -> None:
        shape = change["new"]
        if not shape or self.state.tool != "label":
            return
        if self._eraser.value:
            self._try(lambda: self.book.erase_under(shape))
        elif self._has_class():
            self._try(lambda: self.book.add_polygon(shape, self.chosen))

    def _has_class(self) -> bool:
        if not self.chosen:
            self._say("Add a class first: a label needs a name.")
            self.state.no_picture()
        return bool(self.chosen)

    def _suggest(self) -> None:
        if self._offered:
            self._show_offer()
            return
        labels, prediction = self.book.labels(), self.state.prediction
        known = prediction if prediction is not None and "doubt_sensor" in prediction else None
        self.state.run(
            lambda: self._suggester.suggest(labels, known, k=_SUGGESTIONS).to_dict("records"),
            self._offer,
            doing="Looking for the places whose label would help most",
        )

    def _offer(self, found: list[dict[str, Any]]) -> None:
        self._offered = list(found)
        if found:
            self._show_offer()
        else:
            self._say("Every place is labelled already, or nothing was observed.")

    def _show_offer(self) -> None:
        best = self._offered.pop(0)
        self.state.point = self.state.place_of(int(best["row"]), int(best["col"]))
        guess = f"; the probe believes: {best['label']}" if best["label"] else ""
        self._say(f"What is at the ring on the map? {best['why']}{guess}. Choose its class and click there.")

    @cached_property
    def _suggester(self) -> Suggester:
        from georeset_lab.embed.probing.suggest import Suggester

        return Suggester(self.state.emb)

    def _import(self, change: dict[str, Any]) -> None:
        if not change["new"]:
            return
        content = bytes(change["new"][0]["content"])
        self._upload.value = ()

        def take() -> None:
            done = self.book.add_labels(content, grid=self.state.emb.grid)
            left = f", {done.outside} outside the scene left out" if done.outside else ""
            self._say(f"{done.added} labels added, {done.replaced} replaced{left}.")

        self._try(take)

    def _writer(self, file: str) -> Callable[[], None]:
        def write() -> None:
            made = (self.book.to_geojson if file.endswith("geojson") else self.book.to_geoparquet)(file)
            url = f"data:application/octet-stream;base64,{b64encode(made).decode()}"
            link = f' <a download="{file}" href="{url}">Download</a>' if len(made) <= _LINK_BYTES else ""
            self._say(f"Written to the working directory: {file}.", link=link)

        return lambda: self._try(write)

    def _try(self, action: Callable[[], Any]) -> None:
        """Do what was asked, or say why not."""
        try:
            self._offered = []
            action()
        except GeoresetError as err:
            self._say(str(err))


def _row(*items: ipw.Widget) -> ipw.HBox:
    row = ipw.HBox(items)
    row.add_class("gr-row")
    return row


def _auto() -> ipw.Layout:
    return ipw.Layout(width="auto")


def _button(text: str, icon: str, tooltip: str, action: Callable[[], Any]) -> ipw.Button:
    button = ipw.Button(description=text, icon=icon, tooltip=tooltip, layout=_auto())
    button.on_click(lambda _: action())
    return button
