"""The latent view in a real browser: 50,000 points are painted, gestures reach Python and select the right pixels."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import numpy as np
import pytest

from georeset_lab.embed.latent.landmarks import pca_layout
from georeset_lab.widgets.latent_plane import in_steps
from tests.widgets.lab import ROOT, TIMEOUT_S, Messages, ask, execute, press, started_browser, wait_for
from tests.widgets.planted import planted_classes, planted_embeddings

pytestmark = pytest.mark.browser

SHAPE = (200, 250)
CELL = f"""
from georeset_lab.widgets.state import Exploration
from georeset_lab.widgets.latent_view import LatentView
from tests.widgets.planted import planted_embeddings
state = Exploration(planted_embeddings({SHAPE[0]}, {SHAPE[1]}))
view = LatentView(state, cache=None, plane="pca")
view
"""


SERVER = f"""
import sys
from pathlib import Path
from georeset_lab.dashboard.server import build_server, run_server
from georeset_lab.widgets.latent_view import LatentView
from tests.widgets.planted import planted_embeddings
run_server(build_server(
    {{"planted": planted_embeddings({SHAPE[0]}, {SHAPE[1]})}}, port=int(sys.argv[1]), keep_in=Path(sys.argv[2]),
    make_explorer=lambda state, book: LatentView(state, cache=None, plane="pca"),
))
"""

# Through the shadow roots of Panel, which a plain query does not enter.
PAINTED = """() => {
    const find = (root) => root.querySelector('.lv') ??
        [...root.querySelectorAll('*')].map((n) => n.shadowRoot && find(n.shadowRoot)).find(Boolean);
    return find(document)?.dataset.painted === 'pca';
}"""


class Plot:
    """The plot on a page: where a point of the picture is on the screen, and what is painted there."""

    def __init__(self, page):
        self.page = page
        self.settle()
        self.page.locator(".lv-foot").scroll_into_view_if_needed()
        self.frame = ask(page, "view.frame")

    @property
    def box(self):
        """Where the plot is now: a screenshot may scroll it into view."""
        return self.page.locator(".lv-points").bounding_box()

    def settle(self):
        """Wait until what the kernel wants is on the screen and nothing moves."""
        wait_for(self.page, "view.frame != {}")
        kind = ask(self.page, "view.frame['kind']")
        self.page.wait_for_function(f"document.querySelector('.lv')?.dataset.painted === '{kind}'")
        self.page.wait_for_timeout(200)

    def at(self, x, y):
        """Screen position of coordinates, while the whole picture is shown."""
        (left, bottom, right, top), box, k = self.frame["box"], self.box, self.scale
        return (
            float(box["x"] + box["width"] / 2 + (x - (left + right) / 2) * k),
            float(box["y"] + box["height"] / 2 - (y - (bottom + top) / 2) * k),
        )

    @property
    def scale(self):
        """Screen pixels per unit, while the whole picture is shown."""
        left, bottom, right, top = self.frame["box"]
        return 0.92 * min(self.box["width"] / (right - left), self.box["height"] / (top - bottom))

    def lasso(self, points, *, shift=True):
        """Draw a line through coordinates with the mouse."""
        mouse, keyboard = self.page.mouse, self.page.keyboard
        path = [self.at(*p) for p in points]
        if shift:
            keyboard.down("Shift")
        mouse.move(*path[0])
        mouse.down()
        for px, py in path[1:]:
            mouse.move(px, py, steps=3)
        mouse.up()
        if shift:
            keyboard.up("Shift")

    def pixels(self):
        """(Y, X, 3) uint8 of the plot, as a person sees it."""
        from PIL import Image

        shot = self.page.locator(".lv-points").screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))


def changed(a, b):
    """Pixels that differ clearly."""
    return int((np.abs(a.astype(int) - b).max(axis=2) > 40).sum())


@pytest.fixture(scope="module")
def truth():
    """Places and classes of the pixels of the map in the notebook."""
    emb = planted_embeddings(*SHAPE)
    return pca_layout(emb).place(emb.vectors()[0]), planted_classes(*SHAPE).ravel()


def circle(xy, radius):
    angle = np.linspace(0, 2 * np.pi, 24)
    return [(xy[0] + radius * np.cos(a), xy[1] + radius * np.sin(a)) for a in angle]


def test_50_000_points_are_painted_and_a_lasso_selects_those_inside(open_notebook, truth):
    plot = Plot(open_notebook([CELL]))
    ground = plot.pixels()[3, 3]
    painted = (np.abs(plot.pixels().astype(int) - ground).max(axis=2) > 12).mean()
    assert 0.03 < painted < 0.9
    xy, code = truth
    centre, radius = np.median(xy[code == 0], axis=0), 0.8
    plot.lasso(circle(centre, radius))
    wait_for(plot.page, "state.selected is not None")
    selected = np.array(ask(plot.page, "state.selected.tolist()"))
    away = np.linalg.norm(xy - centre, axis=1)
    # The pointer is at whole pixels: one of them is 3 % of the radius here.
    assert np.isin(np.flatnonzero(away < 0.9 * radius), selected).all()
    assert away[selected].max() < 1.07 * radius
    assert (code[selected] == 0).mean() > 0.95
    assert "selected" in plot.page.locator(".lv-foot").inner_text()


def test_a_click_goes_to_the_pixel_under_it_and_a_ring_is_drawn_there(open_notebook, truth):
    plot = Plot(open_notebook([CELL]))
    xy, _ = truth
    # A point that stands alone, so that nothing else can be meant.
    far = xy[np.argsort(-np.linalg.norm(xy - xy.mean(axis=0), axis=1))[:200]]
    alone = far[np.argmax([np.sort(np.linalg.norm(xy - p, axis=1))[1] for p in far])]
    wanted = int(np.linalg.norm(xy - alone, axis=1).argmin())
    before = plot.pixels()
    plot.page.mouse.click(*plot.at(*alone))
    wait_for(plot.page, "state.point is not None")
    assert ask(plot.page, "[state.point.row, state.point.col]") == list(divmod(wanted, SHAPE[1]))
    plot.page.wait_for_timeout(300)
    px, py = (int(a - b) for a, b in zip(plot.at(*alone), (plot.box["x"], plot.box["y"]), strict=True))
    changed = np.abs(plot.pixels().astype(int) - before).max(axis=2) > 40
    window = np.s_[max(0, py - 12) : py + 13, max(0, px - 12) : px + 13]
    assert changed[window].sum() > 60
    assert changed.sum() == changed[window].sum()


def test_wheel_and_drag_change_the_view_and_a_lasso_then_still_hits(open_notebook, truth):
    plot = Plot(open_notebook([CELL]))
    xy, code = truth
    centre = np.median(xy[code == 1], axis=0)
    whole, px = plot.pixels(), plot.at(*centre)
    plot.page.mouse.move(*px)
    plot.page.mouse.wheel(0, -240)  # e^0.5 times larger, about the pointer
    plot.page.wait_for_timeout(300)
    plot.page.mouse.down()
    plot.page.mouse.move(px[0] + 40, px[1] - 30, steps=5)
    plot.page.mouse.up()
    plot.page.wait_for_timeout(300)
    moved = changed(plot.pixels(), whole)
    assert moved > 10_000
    assert ask(plot.page, "state.clicked is None")  # a drag is no click
    press(plot.page.get_by_role("button", name="Lasso"))
    px = plot.at(*centre)  # the button may have been scrolled into view
    corners = [(px[0] + 40 + dx, px[1] - 30 + dy) for dx, dy in ((-20, -20), (20, -20), (20, 20), (-20, 20))]
    plot.page.mouse.move(*corners[0])
    plot.page.mouse.down()
    for corner in corners[1:]:
        plot.page.mouse.move(*corner, steps=3)
    plot.page.mouse.up()
    wait_for(plot.page, "state.selected is not None")
    inside = np.flatnonzero((np.abs(xy - centre) < 20 / (plot.scale * np.exp(0.5))).all(axis=1))
    selected = np.array(ask(plot.page, "state.selected.tolist()"))
    assert np.setxor1d(selected, inside).size < 0.15 * inside.size  # a whole pixel is 5 % of the side
    press(plot.page.get_by_role("button", name="Clear selection"))
    plot.page.mouse.dblclick(*plot.at(*centre))
    wait_for(plot.page, "state.selected is None")
    plot.page.wait_for_timeout(400)
    assert changed(plot.pixels(), whole) < 0.1 * moved  # the whole picture again, with a ring where it was clicked


def test_the_picture_moves_from_pca_to_umap_and_colours_change(open_notebook):
    cells = [
        CELL,
        "from georeset_lab.embed.latent.landmarks import UmapLayout\nfrom georeset_lab.widgets import latent_plane",
    ]
    page = open_notebook(cells)
    plot = Plot(page)
    execute(
        page,
        "latent_plane.umap_layout = lambda emb, **k: UmapLayout(emb.vectors()[0][::9].copy(), "
        "emb.vectors()[0][::9, [2, 3]].copy())",
    )
    press(page.get_by_role("button", name="UMAP"))
    wait_for(page, "view.frame['kind'] == 'umap'")
    plot.settle()
    assert page.locator(".lv-busy").is_hidden()
    page.locator(".lv select").select_option("certainty:s1")
    page.locator(".lv-legend b", has_text="Certainty, Sentinel-1").wait_for()
    assert ask(page, "view.colour_by") == "certainty:s1"
    execute(page, "state.present = ('s2',)")
    wait_for(page, "view.frame['kind'] == 'umap'")


@pytest.fixture
def served_view(tmp_path):
    """Address of a page that shows the view alone, from a process of its own: serving changes ipywidgets' channels."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(port), str(tmp_path)], cwd=ROOT)
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + TIMEOUT_S
    try:
        while True:
            try:
                urlopen(url, timeout=TIMEOUT_S).close()
                break
            except OSError:
                assert server.poll() is None, "the server ended"
                assert time.monotonic() < until, "the server did not start"
                time.sleep(0.2)
        yield url
    finally:
        server.kill()
        server.wait()


def test_the_same_in_the_served_page(served_view, truth):
    messages = Messages()
    with started_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.set_default_timeout(1000 * TIMEOUT_S)
        messages.watch(page)
        page.goto(served_view)
        page.wait_for_function(PAINTED)
        box = page.locator(".lv-points").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.keyboard.down("Shift")
        page.mouse.move(x - 60, y - 60)
        page.mouse.down()
        for dx, dy in ((60, -60), (60, 60), (-60, 60)):
            page.mouse.move(x + dx, y + dy, steps=4)
        page.mouse.up()
        page.keyboard.up("Shift")
        foot = page.locator(".lv-foot", has_text="selected")
        foot.wait_for()
        left, bottom, right, top = in_steps(truth[0])[1]["box"]
        half = 60 / (0.92 * min(box["width"] / (right - left), box["height"] / (top - bottom)))
        inside = (np.abs(truth[0] - ((left + right) / 2, (bottom + top) / 2)) < half).all(axis=1).sum()
        found = int(foot.inner_text().split("pixels, ")[1].split(" selected")[0].replace(",", ""))
        assert found == pytest.approx(inside, rel=0.05)
        page.locator(".lv select").select_option("certainty:s2")
        page.locator(".lv-legend b", has_text="Certainty, Sentinel-2").wait_for()
        # In the shadow root of Panel the style sheet of the view holds too.
        assert page.locator(".lv-body").evaluate("node => getComputedStyle(node).display") == "grid"
    assert messages.wrong() == []


def test_names_from_data_are_text(open_notebook):
    evil = '<img src=x onerror="window.hit = 1">'
    page = open_notebook(
        [
            CELL,
            "import numpy as np, xarray as xr\n"
            f"names = [{evil!r}, 'b', 'c', 'd']\n"
            "codes = np.arange(50_000).reshape(200, 250) % 4\n"
            "state.prediction = xr.Dataset({'label': (('y', 'x'), codes)}, coords={'class': names})",
        ]
    )
    Plot(page)
    page.locator(".lv-legend li").first.wait_for()
    assert page.locator(".lv-legend li span").first.inner_text() == evil
    assert page.evaluate("window.hit") is None
