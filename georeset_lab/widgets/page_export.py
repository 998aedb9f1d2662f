"""`export_page`: what an explorer shows, as one HTML file that works without a kernel and without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import shapely

from georeset_lab.embed.latent.landmarks import known_umap
from georeset_lab.widgets.page_frame import fill_template, page_facts, provenance_rows
from georeset_lab.widgets.page_images import label_of
from georeset_lab.widgets.page_linked import linked_section

if TYPE_CHECKING:
    from georeset_lab.embed.labels.book import LabelBook
    from georeset_lab.embed.latent.landmarks import PointLayout
    from georeset_lab.widgets.state import Exploration

__all__ = ["drawn_labels", "export_page"]


def export_page(
    state: Exploration,
    *,
    labels: Mapping[str, Any] | None = None,
    class_colours: Mapping[str, str] | None = None,
    layouts: Sequence[PointLayout] | None = None,
) -> str:
    """HTML of an exploration as it is now: every layer of the map, the latent space, labels, what is selected.

    Parameters
    ----------
    state : Exploration
        Its modalities, class map, search, place and selection are what the page shows.
    labels : GeoJSON FeatureCollection in degrees, optional
        With the properties ``label`` and ``colour``.
    class_colours : class name to ``#rrggbb``, optional
    layouts : sequence of PointLayout, optional
        Planes of the latent space beside PCA; by default UMAP, if it was ever made for this map.

    Returns
    -------
    str
        At most some 17 MB: a map of more than 65,536 pixels is thinned (`georeset_lab.embed.latent.packed`), and says so.
        Every text that comes from data is escaped or set as text by the script.

    Raises
    ------
    NothingObserved
        No pixel was observed.
    """
    emb, scene = state.emb, state.scene
    if layouts is None:
        found = known_umap(state.current)
        layouts = [] if found is None else [found]
    linked = linked_section(state, 1, labels=labels, class_colours=class_colours, layouts=layouts)
    name = scene.name if scene is not None else str(emb.attrs.get("scene") or "Embeddings")
    seen = ", ".join(label_of(n) for n in state.present)
    return fill_template(
        title=name,
        headline=name,
        lead=f"An exploration of embeddings from {seen}, as it stood when this page was written. It needs no network.",
        facts=page_facts(emb),
        sections={"explore": ("Map and latent space", linked.html)},
        provenance=provenance_rows(emb, scene),
        data={"tables": {}, "corners": [], "linked": linked.data},
        more=("page_linked",),
    )


def drawn_labels(book: LabelBook) -> dict[str, Any]:
    """Labels of a book as a GeoJSON FeatureCollection in degrees, with the name and colour of each class."""
    features = [
        {
            "type": "Feature",
            "geometry": json.loads(shapely.to_geojson(item.geometry)),
            "properties": {"label": book.class_of(item).name, "colour": book.class_of(item).colour},
        }
        for item in book.items
    ]
    return {"type": "FeatureCollection", "features": features}
