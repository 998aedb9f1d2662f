"""Make the pictures of README's gallery, in notebooks/gallery, from the simulated scene alone: python -m tests.gallery

The served explorer in a headless Chromium without a network, as a person would see it; a few minutes on two cores.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

import georeset_lab as gl
from georeset_lab.data.truth import truth_labels, truth_place
from georeset_lab.widgets.explore import make_explorer
from tests.dashboard.serving import Served, served, until
from tests.widgets.lab import TIMEOUT_S, Messages, started_browser

OUT = Path(__file__).resolve().parents[1] / "notebooks" / "gallery"
SIZE = (1280, 860)
QUALITY = 82
MOST_BYTES = 1_500_000
"""Of all pictures together."""
LONG_S = 300


class Sitting:
    """One explorer on a served page, which can be changed, waited for and photographed."""

    def __init__(self, running: Served, page: Any) -> None:
        self.running, self.page = running, page
        visit = until(lambda: next((v for v in list(running.house.pages) if v.state is not None), None), seconds=LONG_S)
        self.explorer = visit._explorer

    def do(self, change: Callable[[Any], Any]) -> None:
        """Change the explorer, and wait until it is at rest."""
        x = self.explorer
        self.running.change(lambda: change(x))
        until(lambda: not x.labeller.live._busy and not x.labeller.learning._busy, seconds=LONG_S)
        until(lambda: not x.latent.busy and not x.state.status, seconds=LONG_S)

    def shoot(self, name: str) -> None:
        """Write a picture of the page once it looks the same twice."""
        before = b""
        while (now := self.page.screenshot(animations="disabled")) != before:
            before = now
            self.page.wait_for_timeout(1000)
        Image.open(io.BytesIO(now)).convert("RGB").save(OUT / f"{name}.webp", quality=QUALITY, method=6)
        sys.stdout.write(f"{name}.webp {(OUT / f'{name}.webp').stat().st_size / 1000:.0f} kB\n")


def open_tab(title: str) -> Callable[[Any], None]:
    """Change that opens a tab."""
    return lambda x: setattr(x.tabs, "selected_index", list(x.tabs.titles).index(title))


def tell_story(sitting: Sitting, scene: Any) -> None:
    """Label, look, doubt, search; a picture at each step."""
    labels, town = truth_labels(scene, per_class=20), truth_place(scene, "built")

    def label(x: Any) -> None:
        x.labeller.book.add_labels(labels, grid=x.state.emb.grid)
        x.state.tool = "look"
        x.state.click(*town)

    sitting.do(label)
    sitting.do(lambda x: setattr(x.map, "layer", "label"))
    sitting.do(open_tab("Latent space"))
    sitting.shoot("1-classes-and-latent-space")
    left = sitting.page.locator(".lv-points").bounding_box()
    sitting.page.keyboard.down("Shift")
    corners = [(0.02, 0.05), (0.4, 0.05), (0.4, 0.95), (0.02, 0.95), (0.02, 0.05)]
    spots = [(left["x"] + a * left["width"], left["y"] + b * left["height"]) for a, b in corners]
    sitting.page.mouse.move(*spots[0])
    sitting.page.mouse.down()
    for spot in spots[1:]:
        sitting.page.mouse.move(*spot, steps=4)
    sitting.page.mouse.up()
    sitting.page.keyboard.up("Shift")
    until(lambda: sitting.explorer.state.selected is not None, seconds=TIMEOUT_S)
    sitting.do(lambda x: setattr(x.map, "layer", "pca"))
    sitting.shoot("2-lasso-lights-the-map")
    sitting.do(lambda x: setattr(x.state, "selected", None))
    sitting.do(open_tab("Labels"))
    sitting.do(lambda x: setattr(x.map, "layer", "cause"))
    sitting.do(lambda x: x.labeller.learning.estimate())
    sitting.shoot("3-causes-of-doubt-and-learning-curve")


def tell_more(sitting: Sitting, scene: Any) -> None:
    """Certainty of each sensor, and places that look alike."""
    town = truth_place(scene, "built")
    sitting.do(open_tab("Certainty"))
    sitting.do(lambda x: setattr(x.map, "layer", "certainty"))
    sitting.do(lambda x: x.state.click(*town))
    sitting.shoot("4-certainty-of-each-sensor")
    sitting.do(open_tab("Similar places"))
    sitting.do(lambda x: x.state.click(*town))
    until(lambda: sitting.explorer.map.layer == "similarity", seconds=LONG_S)
    sitting.page.locator(".gl-hit").first.wait_for()
    sitting.shoot("5-similar-places")


def main() -> None:
    """Take all pictures, by day and by night."""
    OUT.mkdir(exist_ok=True)
    scene = gl.load_scene("simulated", size=(192, 192))
    emb = gl.encode(scene, progress=False)
    for dark, tell in ((False, tell_story), (True, tell_more)):
        with (
            tempfile.TemporaryDirectory() as kept,
            served({"Simulated scene": emb}, Path(kept), make_explorer=make_explorer) as running,
            started_browser() as browser,
        ):
            view = {"width": SIZE[0], "height": SIZE[1]}
            page = browser.new_context(viewport=view, color_scheme="dark" if dark else "light").new_page()
            page.set_default_timeout(1000 * TIMEOUT_S)
            messages = Messages()
            messages.watch(page)
            page.goto(running.url)
            page.locator(".leaflet-container").first.wait_for()
            tell(Sitting(running, page), scene)
            if messages.wrong():
                sys.exit("\n".join(messages.wrong()))
    total = sum(f.stat().st_size for f in OUT.glob("*.webp"))
    sys.stdout.write(f"{total / 1e6:.2f} MB in all\n")
    if total > MOST_BYTES:
        sys.exit(f"more than {MOST_BYTES / 1e6} MB")


if __name__ == "__main__":
    main()
