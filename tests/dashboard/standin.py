"""A stand-in for the explorer: a map, a button that labels the last click, and three lines that say what is known."""

from __future__ import annotations

from typing import Any


def make_explorer(state: Any, *, book: Any) -> Any:
    """Map without web tiles; clicks go to the state, labels to the book."""
    import ipyleaflet
    import ipywidgets as ipw

    rows, cols = state.shape
    centre = state.place_of(rows // 2, cols // 2)
    plan = ipyleaflet.Map(center=(centre.lat, centre.lon), zoom=15, attribution_control=False, layers=())
    plan.layout.height = "300px"
    plan.on_interaction(lambda **k: state.click(*reversed(k["coordinates"])) if k.get("type") == "click" else None)
    # Like the pictures of the real map: computed beside the interface while the browser still loads its libraries.
    (south, west), (north, east) = (state.place_of(*at)[3:1:-1] for at in ((rows - 1, 0), (0, cols - 1)))
    picture = ipyleaflet.ImageOverlay(url=_BLANK, bounds=[[0, 0], [1e-6, 1e-6]])
    plan.layers = (picture,)

    def paint(url: str) -> None:
        with picture.hold_sync():
            picture.url, picture.bounds = url, [[south, west], [north, east]]

    state.run(lambda: _png(0), paint)
    clicked, labels, heard = (ipw.HTML() for _ in range(3))

    def show_click(change: dict[str, Any]) -> None:
        if change["new"] is not None:
            paint(_png(change["new"].row))
            clicked.value = f"<span id='clicked'>{change['new'].row},{change['new'].col}</span>"

    def show_labels(_: Any = None) -> None:
        labels.value = f"<span id='labels'>{len(book.items)}</span>"

    def show_heard(_: Any) -> None:
        # What a panel does: compute beside the interface, hand the answer over.
        point = state.point
        state.run(lambda: point.row * 1000 + point.col, lambda n: setattr(heard, "value", f"<i id='heard'>{n}</i>"))

    state.observe(show_click, "clicked")
    state.observe(show_heard, "point")
    book.observe(show_labels)
    show_labels()
    name = ipw.Text(value="water", description="class")
    button = ipw.Button(description="label it", icon="check")
    button.on_click(lambda _: book.add_point(state.point.lon, state.point.lat, name.value))
    return ipw.VBox([plan, ipw.HBox([name, button, clicked, labels, heard])])


def _png(shade: int) -> str:
    import numpy as np

    from georeset_lab.embed.pictures.colours import png_data_url

    return png_data_url(np.full((4, 4, 4), (shade, 120, 90, 255), np.uint8))


_BLANK = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def classifying_explorer(state: Any, *, book: Any) -> Any:
    """The same, and a class map of two classes as soon as the page is open, so that there is something to export."""
    import numpy as np

    from georeset_lab.embed.probe import fit_probe

    widget = make_explorer(state, book=book)
    rows, cols = state.shape
    for i, row in enumerate(np.linspace(2, rows - 3, 12).astype(int)):
        place = state.place_of(int(row), int((i * 7) % cols))
        book.add_point(place.lon, place.lat, ("water", "<b>field</b>")[i % 2])
    state.run(lambda: fit_probe(state.emb, book.labels()).predict(state.emb), lambda p: setattr(state, "prediction", p))
    return widget
