"""The explorer on 36,949 published vectors, in JupyterLab: all are on the map and in the latent view, and can be labelled."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from tests.widgets.lab import ask, execute, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.real_data]

CELL = """
import numpy as np, pandas as pd, georeset_lab as gl
from georeset_lab.embed.labels.book import LabelBook
from georeset_lab.widgets.explore import Explorer
from georeset_lab.widgets.state import Exploration
found = np.load({path!r})
table = pd.DataFrame(found["E"], columns=[str(name) for name in found["dims"]])
table = table.assign(longitude=found["longitude"], latitude=found["latitude"], cover=found["class_names"][found["y"]])
emb = gl.import_embeddings(table, scale=1e-4, name="sits-mae")
ex = Explorer(Exploration(emb), book=LabelBook())
ex.latent.plane = "pca"
ex
"""


def on_screen(page, index):
    """Where a point is on the screen, by the map's own zoom and bounds."""
    lon, lat = ask(page, f"(float(emb.grid.x[{index}]), float(emb.grid.y[{index}]))")
    (left, top), _ = ask(page, "ex.map.map.pixel_bounds")
    world = 256 * 2 ** ask(page, "ex.map.map.zoom")
    x = (lon + 180) / 360 * world - left
    y = (0.5 - math.asinh(math.tan(math.radians(lat))) / 2 / math.pi) * world - top
    box = page.locator(".leaflet-container").first.bounding_box()
    return box["x"] + x, box["y"] + y


def test_all_points_are_shown_and_can_be_clicked_brushed_and_labelled(open_notebook, shared_data):
    path = shared_data / "sits-cerrado-embeddings" / "cerrado_mae_emb32_36949.npz"
    page = open_notebook([CELL.format(path=str(path))], size=(1500, 1000))
    page.locator(".leaflet-container").first.wait_for()
    wait_for(page, "ex.map.shown is not None and ex.map.canvas.is_shown")
    page.wait_for_function("document.querySelector('.lv')?.dataset.painted === 'pca'")
    assert ask(page, "len(ex.latent._map.drawn)") == 36_949
    assert ask(page, "ex.latent.frame['unit']") == "embedding units"
    assert ["extra:cover", "Given: cover"] in ask(page, "[list(c) for c in ex.latent.choices]")
    page.wait_for_timeout(1500)
    shot = np.asarray(Image.open(io.BytesIO(page.locator(".leaflet-container").first.screenshot())).convert("RGB"))
    lively = np.ptp(shot.astype(int), axis=2) > 60
    assert lively.mean() > 0.08, "coloured discs cover a good part of the map"
    # A point that stands alone, so that the click means no other.
    lonely = ask(page, """(lambda g: int(np.argmax(g._tree.query(g.metres, 2)[0][:, 1])))(emb.grid)""")
    page.mouse.click(*on_screen(page, lonely))
    wait_for(page, f"ex.state.point is not None and ex.state.point.row == {lonely}")
    assert ask(
        page,
        "(ex.state.point.lon, ex.state.point.lat) == (emb.grid.x[ex.state.point.row], emb.grid.y[ex.state.point.row])",
    )
    said = ask(page, "ex.place.parts['head']")
    assert "state no variance" in said
    assert "Given: cover" in said
    # Between the points there is nothing to click.
    execute(page, "ex.state.point = None")
    box = page.locator(".leaflet-container").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 60, box["y"] + box["height"] - 90)
    page.wait_for_timeout(800)
    assert ask(page, "ex.state.point is None")
    # Two classes by clicks: the whole map follows, with the part of doubt that nobody knows left open.
    execute(page, "ex.labeller.book.add_class('one'); ex.labeller.book.add_class('two'); ex.state.tool = 'label'")
    for name, index in (("one", lonely), ("two", 20_000)):
        execute(page, f"ex.labeller._choose({name!r})")
        page.wait_for_timeout(500)
        page.mouse.click(*on_screen(page, index))
        wait_for(page, f"ex.labeller.book.counts.get({name!r}) == 1")
    wait_for(page, "ex.state.prediction is not None and 'doubt_labels' in ex.state.prediction")
    assert ask(page, "int((ex.state.prediction['label'].values >= 0).sum())") == 36_949
    assert ask(page, "bool(np.isnan(ex.state.prediction['doubt_sensor'].values).all())")
