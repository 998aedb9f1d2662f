"""The map as the explorer's other panels meet it: through `Exploration`, and in a browser through the mouse and keys.

Whether layers are right is in ``test_map_layers.py``, whether pictures are where they belong in ``embed/test_warp.py``.
"""

from __future__ import annotations

import base64
import io
import time

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from georeset_lab.embed.search import Similar
from georeset_lab.widgets.state import Exploration
from tests.widgets.lab import ask, execute, press, wait_for
from tests.widgets.planted import planted_embeddings

SETUP = """
import numpy as np
import xarray as xr
from georeset_lab.embed.search import Similar
from georeset_lab.widgets.embedding_map import EmbeddingMap
from georeset_lab.widgets.state import Exploration
from tests.widgets.planted import planted_embeddings

rows, cols = {shape}
state = Exploration(planted_embeddings(rows, cols, dim=4))
clicks, events = [], []
state.observe(lambda c: c["new"] and clicks.append([c["new"].row, c["new"].col]), "clicked")
m = EmbeddingMap(state, height="360px")
m.map.on_interaction(lambda **e: events.append(e["type"]))


def bright(row, col, size=1):
    "Similarity 1 in a square around a pixel and 0 elsewhere."
    values = np.zeros((rows, cols), np.float32)
    values[row - size // 2 : row + (size + 1) // 2, col - size // 2 : col + (size + 1) // 2] = 1
    state.similarity = Similar(xr.DataArray(values, dims=("y", "x")), None)


def corner(row, col):
    "Longitude and latitude of the upper left corner of a pixel."
    from georeset_lab.embed.locate import _to_grid, crs_of
    x, y = state.emb.grid.affine.c + 10 * col, state.emb.grid.affine.f - 10 * row
    return _to_grid(crs_of(state.emb.grid).to_wkt()).transform(x, y, direction="INVERSE")
"""


# -- without a browser ------------------------------------------------------------------------------------------------


@pytest.fixture
def state() -> Exploration:
    return Exploration(planted_embeddings(40, 50))


@pytest.fixture
def made(state):
    from georeset_lab.widgets.embedding_map import EmbeddingMap

    widget = EmbeddingMap(state)
    yield widget
    widget.close()


def shown(widget) -> np.ndarray:
    """RGBA of the picture on the map."""
    url = widget.canvas.overlay.layers[1].url
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA"))


def a_prediction(shape: tuple[int, int], *, label: int = 0) -> xr.Dataset:
    codes = np.full(shape, label, np.int16)
    return xr.Dataset(
        {"label": (("y", "x"), codes), "probability": (("class", "y", "x"), np.full((2, *shape), 0.5, np.float32))},
        coords={"class": ["water", "town"]},
    )


def test_the_first_picture_is_there_and_nothing_comes_from_the_network(made):
    assert made.layer == "pca"
    assert made.shown.name == "Embedding: principal axes"
    assert len(np.unique(shown(made).reshape(-1, 4), axis=0)) > 100
    urls = [getattr(layer, "url", "data:") for layer in made.map.layers]
    assert all(url.startswith("data:") for url in urls)


def test_tools_and_the_exploration_hold_the_same_tool(made, state):
    made.controls.tools.value = "label"
    assert state.tool == "label"
    state.tool = "similar"
    assert made.controls.tools.value == "similar"


def test_a_click_goes_to_the_exploration_but_not_while_a_shape_is_drawn(made, state):
    place = state.place_of(7, 9)
    event = {"event": "interaction", "type": "click", "coordinates": [place.lat, place.lon]}
    made.map._handle_leaflet_event(None, event, None)
    assert (state.clicked.row, state.clicked.col) == (7, 9)
    assert made.canvas.rings[0].location == [place.lat, place.lon]
    state.clicked = None
    made.controls.shapes["polygon"].value = True
    made.map._handle_leaflet_event(None, event, None)
    assert state.clicked is None
    assert made.canvas.draw.current_mode == "draw:Polygon"
    made.controls.shapes["rectangle"].value = True
    assert not made.controls.shapes["polygon"].value
    assert made.canvas.draw.current_mode == "draw:Rectangle"
    made.controls.shapes["rectangle"].value = False
    assert made.canvas.draw.current_mode is None


def test_a_finished_shape_is_handed_on_and_the_next_click_counts(made, state):
    corners = [state.place_of(r, c) for r, c in ((5, 5), (5, 15), (15, 15), (15, 5), (5, 5))]
    shape = {"type": "Polygon", "coordinates": [[[p.lon, p.lat] for p in corners]]}
    made.controls.shapes["polygon"].value = True
    made.canvas.draw._handle_leaflet_event(None, {"event": "pm:create", "geo_json": {"geometry": shape}}, None)
    assert state.drawn == shape
    assert made.canvas.drawing is None
    assert not made.controls.shapes["polygon"].value
    assert 80 <= state.selected.size <= 121


def test_the_escape_key_gives_up_a_shape_and_clicks_count_again(made, state):
    made.controls.shapes["polygon"].value = True
    assert made.canvas.gate.drawing
    made.canvas.gate.set_state({"drawing": False})  # as the browser says it
    assert made.canvas.drawing is None
    assert not made.controls.shapes["polygon"].value
    assert made.canvas.draw.current_mode is None


@pytest.mark.parametrize("served", [True, False])
def test_a_browser_that_comes_late_gets_what_it_missed_of_a_page_that_was_written_before(
    made, state, monkeypatch, served
):
    import ipywidgets

    sent = []
    if served:
        state.deliver = lambda call: call()
    monkeypatch.setattr(ipywidgets.Widget, "send_state", lambda self, key=None: sent.append(self))
    view = {"left": 0.0, "right": 600.0, "top": 0.0, "bottom": 400.0, "west": -180.0, "east": -100.0}
    made.map.set_state(view)
    assert (made.controls.legend in sent) == served
    assert (made.canvas.overlay.layers[1] in sent) == served
    assert made.canvas.is_shown


def test_what_can_wait_waits_until_the_first_picture_is_on_a_screen(state):
    from georeset_lab.widgets.embedding_map import EmbeddingMap

    state.deliver = lambda call: call()  # as if somebody looked on
    made = EmbeddingMap(state)
    assert len(np.unique(shown(made))) > 10  # in the answer to the cell, not some time after it
    did = []
    state.run(lambda: "what can wait", did.append, later=True)
    time.sleep(0.3)
    assert not did
    made.canvas.gate.set_state({"painted": 1})
    until = time.monotonic() + 20
    while not did:
        assert time.monotonic() < until
        time.sleep(0.01)
    made.close()


def test_selected_pixels_stand_out_of_a_shade_that_goes_away_again(made, state):
    assert made.controls.clear.disabled
    state.selected = np.array([0, 1, 50])
    url = made.canvas.mask.layers[1].url
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA"))
    assert len(np.unique(image.reshape(-1, 4), axis=0)) == 3  # outside, shade, selected
    made.controls.clear.click()
    assert state.selected is None
    assert made.canvas.mask.layers[1].url != url


def test_a_new_similarity_is_shown_at_once_and_read_under_the_pointer(made, state):
    values = np.zeros(state.shape, np.float32)
    values[3, 4] = 0.75
    place = state.place_of(3, 4)
    made._hover(place.lon, place.lat)
    state.similarity = Similar(xr.DataArray(values, dims=("y", "x")), None)
    assert made.layer == "similarity"
    assert "0.750" in made.controls.reading.value
    assert "row 3, column 4" in made.controls.reading.value
    state.similarity = None
    assert made.layer == "pca"


def test_classes_follow_each_new_prediction_in_the_colours_of_the_labels(made, state):
    made.class_colours = {"water": "#0000ff", "town": "#ff0000"}
    state.prediction = a_prediction(state.shape)
    assert made.layer == "label"
    middle = tuple(n // 2 for n in shown(made).shape[:2])
    assert shown(made)[middle].tolist() == [0, 0, 255, 255]
    state.prediction = a_prediction(state.shape, label=1)
    assert shown(made)[middle].tolist() == [255, 0, 0, 255]
    made.layer = "confidence"
    state.prediction = a_prediction(state.shape)
    assert made.layer == "confidence"
    state.prediction = None
    assert made.layer == "pca"


def test_a_layer_nobody_chose_is_never_switched_to(made, state):
    state.prediction = a_prediction(state.shape)
    made.layer = "certainty"
    state.prediction = a_prediction(state.shape, label=1)
    assert made.layer == "certainty"
    assert made.controls.layer.value == "certainty"


def test_axes_can_be_chosen_only_while_they_are_shown(made):
    assert made.controls.dim_row.layout.display == "none"
    made.layer = "axes"
    assert made.controls.dim_row.layout.display == "flex"
    before = shown(made)
    made.controls.dims[0].value = 3
    assert made.axes == (3, 1, 2)
    assert not np.array_equal(before, shown(made))


def test_labels_are_drawn_in_their_colour_and_nothing_else_of_them_reaches_the_map(made):
    evil = "<img src=x onerror=alert(1)>"
    point = {"type": "Point", "coordinates": [-72.6, -38.8]}
    features = [
        {"type": "Feature", "geometry": point, "properties": {"label": evil, "colour": "#12ab34"}},
        {"type": "Feature", "geometry": point, "properties": {"colour": "url(javascript:1)", "label": evil}},
    ]
    made.labels = {"type": "FeatureCollection", "features": features}
    drawn = made.canvas.labels.data["features"]
    assert drawn[0]["properties"]["style"]["fillColor"] == "#12ab34"
    assert "javascript" not in str(drawn)
    assert "onerror" not in str(drawn)


def test_what_is_pointed_at_is_escaped(made, state):
    evil = a_prediction(state.shape).assign_coords({"class": ["<script>alert(1)</script>", "town"]})
    state.prediction = evil
    place = state.place_of(3, 4)
    made._hover(place.lon, place.lat)
    assert "<script" not in made.controls.reading.value + made.controls.legend.value
    assert "&lt;script" in made.controls.reading.value


def test_opacity_is_that_of_the_layer_alone(made):
    made.controls.opacity.value = 0.4
    assert made.opacity == 0.4
    assert {layer.opacity for layer in made.canvas.overlay.layers} == {0.4}
    assert {layer.opacity for layer in made.canvas.base.layers} == {1.0}


def test_a_closed_map_listens_no_longer(state):
    from georeset_lab.widgets.embedding_map import EmbeddingMap

    widget = EmbeddingMap(state)
    widget.close()
    before = widget.layer
    state.similarity = Similar(xr.DataArray(np.zeros(state.shape, np.float32), dims=("y", "x")), None)
    assert widget.layer == before


def test_importing_the_explorer_does_not_import_what_takes_seconds():
    import subprocess
    import sys

    code = "import sys, georeset_lab.widgets.explore; print([m for m in ('leafmap', 'torch', 'numba') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# -- in JupyterLab ----------------------------------------------------------------------------------------------------


def opened(open_notebook, shape: tuple[int, int]):
    """Page, and the box of the map on it."""
    page = open_notebook([SETUP.format(shape=shape), "m"])
    page.locator(".gr-map").evaluate("e => e.scrollIntoView({block: 'end'})")
    wait_for(page, "m.shown is not None and m.canvas.is_shown and state.status == ''")
    page.wait_for_timeout(300)
    return page, page.locator(".leaflet-container").bounding_box()


def painted(page, box) -> np.ndarray:
    """RGB of the map on the screen."""
    x, y = round(box["x"]), round(box["y"])
    clip = {"x": x, "y": y, "width": int(box["width"]), "height": int(box["height"])}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")).astype(int)


def bright_spot(page, box) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows, in pixels of the page, where the map has the colour of similarity 1; waits until it has."""
    for _ in range(100):
        image = painted(page, box)
        rows, cols = np.nonzero((np.abs(image - [252, 246, 184]) < 14).all(axis=-1))
        if rows.size:
            return cols + round(box["x"]), rows + round(box["y"])
        page.wait_for_timeout(100)
    pytest.fail("nothing bright on the map")


@pytest.mark.browser
@pytest.mark.parametrize(("shape", "planted"), [((180, 200), (37, 151)), ((2000, 2000), (411, 1702))])
def test_the_pixel_that_is_seen_under_the_pointer_is_the_one_that_python_gets(open_notebook, shape, planted):
    page, box = opened(open_notebook, shape)
    row, col = planted
    execute(page, "m.canvas.lines.visible = False")
    fit = ask(page, "m.map.zoom")
    for closer in (0, 1.5, 3, 5):
        # As many pixels as make some two on the screen, where one is smaller than that.
        metres = 156543 * np.cos(np.radians(38.8)) / 2 ** (fit + closer)
        size = max(1, round(2 * metres / 10)) | 1
        execute(
            page, f"state.point = None; clicks.clear(); m.go_to(*corner({row} + .5, {col} + .5), zoom={fit + closer})"
        )
        page.wait_for_timeout(400)
        execute(page, f"bright({row}, {col}, {size})")
        cols, rows = bright_spot(page, box)
        x, y = (cols.min() + cols.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
        width = max(np.ptp(cols), np.ptp(rows)) / 4
        for dx, dy in ((0, 0), (-width, -width), (width, width)):
            page.mouse.click(x + dx, y + dy)
        wait_for(page, "len(clicks) == 3")
        off = np.abs(np.array(ask(page, "clicks")) - planted)
        # Exact where a pixel of the map is larger than one of the screen; else within one of the screen: the browser
        # puts the map on a whole pixel, and the middle of the bright spot is known to half of one.
        middle, quarter = (0, 0) if size == 1 else (np.ceil(metres / 10), np.ceil(metres / 10) + size // 4)
        assert off[0].max() <= middle, (closer, ask(page, "clicks"))
        assert off[1:].max() <= quarter, (closer, ask(page, "clicks"))


@pytest.mark.browser
def test_a_large_map_is_drawn_anew_where_the_view_goes(open_notebook):
    page, box = opened(open_notebook, (2000, 2000))
    assert not ask(page, "m.canvas.overlay.is_whole")
    execute(page, "m.canvas.lines.visible = False; bright(1000, 1000, 601)")
    bright_spot(page, box)
    execute(page, "m.go_to(*corner(1000, 1000), zoom=14)")
    page.wait_for_timeout(1500)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    # Drag the bright square's edge to the middle of the map: what is left of it must be dark, to the pixel.
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 100, y, steps=5)
    page.mouse.move(x - 200, y, steps=5)
    page.wait_for_timeout(400)
    page.mouse.up()
    page.wait_for_timeout(1500)
    image = painted(page, box)
    line = image[image.shape[0] // 2]
    lit = np.flatnonzero((np.abs(line - [252, 246, 184]) < 14).all(axis=-1))
    view = ask(page, "[m.map.west, m.map.east]")
    edge = ask(page, "corner(1000, 1301)")[0]  # the square spans columns 700 to 1300
    expected = (edge - view[0]) / (view[1] - view[0]) * image.shape[1]
    assert lit.max() + 1 == pytest.approx(expected, abs=1.5)


@pytest.mark.browser
def test_shapes_tools_and_hover_by_mouse_and_keyboard(open_notebook):
    page, box = opened(open_notebook, (180, 200))
    x, y = round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)

    # A polygon: its corners are no clicks, its pixels are selected, and the next click counts again.
    press(page.get_by_role("button", name="Polygon"))
    wait_for(page, "m.canvas.drawing == 'polygon'")
    page.wait_for_timeout(300)
    ring = [(-60, -50), (60, -50), (60, 50), (-60, 50), (-60, -50)]
    for dx, dy in ring:
        page.mouse.click(x + dx, y + dy)
        page.wait_for_timeout(250)
    wait_for(page, "state.drawn is not None and state.selected is not None")
    assert ask(page, "clicks") == []
    metres = ask(page, "156543.034 * np.cos(np.radians(m.map.center[0])) / 2 ** m.map.zoom")
    assert ask(page, "state.selected.size") == pytest.approx(120 * 100 * metres**2 / 100, rel=0.05)
    press(page.get_by_role("button", name="Rectangle"))
    wait_for(page, "m.canvas.drawing == 'rectangle'")
    page.wait_for_timeout(300)
    execute(page, "state.drawn = None")
    page.mouse.click(x - 30, y - 30)
    page.mouse.move(x, y, steps=4)
    page.mouse.click(x + 30, y + 30)
    wait_for(page, "state.drawn is not None and m.canvas.drawing is None")
    assert ask(page, "clicks") == []
    page.mouse.click(x, y)
    wait_for(page, "len(clicks) == 1")

    # Escape gives up a shape.
    press(page.get_by_role("button", name="Polygon"))
    wait_for(page, "m.canvas.drawing == 'polygon'")
    page.keyboard.press("Escape")
    wait_for(page, "m.canvas.drawing is None")
    page.mouse.click(x + 9, y)
    wait_for(page, "len(clicks) == 2")

    # The pointer is answered, and does not flood the kernel.
    execute(page, "events.clear()")
    started = time.monotonic()
    for step in range(150):
        page.mouse.move(x - 60 + step // 2, y)
    took = time.monotonic() - started
    page.wait_for_timeout(400)
    told = ask(page, "[m.controls.reading.value, events.count('mousemove')]")
    assert "row " in told[0]
    assert 2 <= told[1] <= took / 0.08 + 3, "one for each 80 ms at most"
    assert told[1] < 150

    # The tools by keyboard alone.
    page.get_by_role("button", name="Look", exact=True).focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_for(page, "state.tool == 'label'")
    execute(page, "state.tool = 'similar'")
    page.wait_for_function("document.querySelector('.gr-map .mod-active').textContent === 'Find similar'")


@pytest.mark.browser
def test_labels_and_layers_appear_while_one_looks(open_notebook):
    page, box = opened(open_notebook, (180, 200))
    execute(
        page,
        """
place = state.place_of(90, 100)
m.labels = {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"colour": "#12ab34"},
    "geometry": {"type": "Point", "coordinates": [place.lon, place.lat]}}]}
state.selected = np.arange(2000)
""",
    )
    page.locator(".gr-map path[fill='#12ab34']").wait_for()
    image = painted(page, box)
    assert (np.abs(image - [0x12, 0xAB, 0x34]).sum(axis=-1) < 12).sum() > 50
    page.locator(".gr-map select").first.select_option("Certainty: all together")
    wait_for(page, "m.shown.name == 'Certainty: all together'")
    page.get_by_text("1 − variance, no unit").wait_for()
    press(page.get_by_role("button", name="Unselect"))
    wait_for(page, "state.selected is None")
    page.locator(".leaflet-control-scale-line").get_by_text("m").wait_for()
    assert page.locator(".gr-map .leaflet-tile").count() == 0
