"""`explore`: map, latent space, labels, certainty and search around one shared selection."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import traitlets

from georeset_lab.embed.labels.book import LabelBook
from georeset_lab.errors import InvalidOption
from georeset_lab.widgets.certainty_view import CertaintyView
from georeset_lab.widgets.collector import collector_rests
from georeset_lab.widgets.embedding_map import EmbeddingMap
from georeset_lab.widgets.labeller import Labeller
from georeset_lab.widgets.latent_colours import given_columns
from georeset_lab.widgets.latent_view import LatentView
from georeset_lab.widgets.leafmap_import import preload
from georeset_lab.widgets.place_view import PlaceView
from georeset_lab.widgets.similar_panel import SimilarPanel
from georeset_lab.widgets.state import Exploration
from georeset_lab.widgets.thumbnails import Looks

if TYPE_CHECKING:
    from georeset_lab.data.scene import Scene
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["Explorer", "explore", "make_explorer"]

_TABS = {"Latent space": "look", "Labels": "label", "Certainty": "look", "Similar places": "similar"}
"""Titles of the tabs, and the tool that a click on the map is while one is open."""


class Explorer(ipw.VBox):
    """All panels of one exploration.

    Parameters
    ----------
    state : Exploration
    book : LabelBook, optional
        Labels; by default those kept for this map in the working directory.
    files : bool
        Let the labeller read and write files; a served page has its own ways.

    Attributes
    ----------
    state : Exploration
    map, latent, labeller, certainty, similar, place : the panels
    """

    def __init__(self, state: Exploration, *, book: LabelBook | None = None, files: bool = True) -> None:
        self.state = state
        looks = Looks(state.scene, state.emb)
        self.map = EmbeddingMap(state)
        self.latent = LatentView(state, extras=given_columns(state.emb))
        self.labeller = Labeller(state, book, files=files)
        self.certainty = CertaintyView(state)
        self.similar = SimilarPanel(state, looks)
        self.place = PlaceView(state, looks)
        for panel in (self.map, self.latent):
            traitlets.dlink((self.labeller, "class_colours"), (panel, "class_colours"))
        traitlets.dlink((self.labeller, "labels"), (self.map, "labels"))
        self.tabs = ipw.Tab(
            children=[self.latent, self.labeller, self.certainty, self.similar], titles=list(_TABS), layout=_column()
        )
        self.tabs.observe(self._opened, "selected_index")
        state.observe(self._tool, "tool")
        left = ipw.VBox([self.map, self.place], layout=_column())
        body = ipw.GridBox(
            [left, self.tabs],
            layout=ipw.Layout(grid_template_columns="minmax(0, 1.15fr) minmax(0, 1fr)", grid_gap="10px", width="100%"),
        )
        super().__init__(children=[_style(), body])
        self.add_class("gr-explorer")

    @property
    def probe(self) -> Any:
        """The probe behind the class map, to be saved or used on another map; None without labels of two classes."""
        return self.labeller.live.probe.probe()

    @property
    def labels(self) -> Any:
        """The labels as a GeoDataFrame, as `georeset_lab.probe` takes them."""
        return self.labeller.book.labels()

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write what is shown now as one HTML file that needs no kernel and no network, and return where it is.

        Map with all its layers, latent space, labels and search work in it; see `page_export.export_page`.
        """
        from georeset_lab.widgets.page_export import export_page
        from georeset_lab.widgets.page_frame import write_page

        colours = self.labeller.class_colours
        return write_page(path, export_page(self.state, labels=self.labeller.labels, class_colours=colours))

    def close(self) -> None:
        """Stop listening, in every panel; the labels stay on disk."""
        self.state.unobserve(self._tool, "tool")
        for panel in (self.map, self.latent, self.labeller, self.certainty, self.similar, self.place):
            panel.close()
        super().close()

    def _opened(self, change: dict[str, Any]) -> None:
        if change["new"] is not None:
            self.state.tool = list(_TABS.values())[change["new"]]

    def _tool(self, change: dict[str, Any]) -> None:
        """Open the tab of a tool that was chosen on the map."""
        tools = list(_TABS.values())
        if self.tabs.selected_index is None or tools[self.tabs.selected_index] != change["new"]:
            self.tabs.selected_index = tools.index(change["new"])


def make_explorer(state: Exploration, *, book: LabelBook | None = None) -> Explorer:
    """The explorer of a page that is served: it names no file of the server."""
    return Explorer(state, book=book, files=False)


def explore(
    scene: Scene | None, emb: Embeddings | None = None, *, labels: Any = None, progress: bool = True
) -> Explorer:
    """Explorer of a scene, encoded first if need be; see `georeset_lab.explore`."""
    preload()
    if emb is None:
        from georeset_lab.embed.encode import encode

        if scene is None:
            raise InvalidOption(
                "explore() got neither a scene nor embeddings. Call explore(scene) or explore(None, emb)."
            )
        emb = encode(scene, progress=progress)
    with collector_rests():
        found = Explorer(Exploration(emb, scene))
    if labels is not None:
        found.labeller.book.add_labels(labels, grid=emb.grid)
    return found


def _style() -> ipw.HTML:
    text = Path(__file__).with_name("explore.css").read_text(encoding="utf-8")
    return ipw.HTML(f"<style>{text}</style>", layout=ipw.Layout(display="none"))


def _column() -> ipw.Layout:
    return ipw.Layout(min_width="0", width="100%")
