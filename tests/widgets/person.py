"""`Person`: what somebody does with an explorer by mouse and keyboard, in JupyterLab or on a served page.

Nothing here waits for a time; all waits are for something to be true, on the page or in Python.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from tests.widgets.lab import TIMEOUT_S, press

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG_S = 300
"""For what compiles at its first use."""


class Person:
    """Somebody before a page that shows one explorer.

    Parameters
    ----------
    page : Page
    look : callable
        Value of a Python expression in which ``explorer`` is the explorer.
    do : callable
        Runs Python statements beside it.
    """

    def __init__(self, page: Page, look: Callable[[str], Any], do: Callable[[str], None]) -> None:
        self.page, self.look, self.do = page, look, do

    def wait(self, expression: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Ask until the answer is true."""
        until = time.monotonic() + timeout_s
        while not self.look(f"bool({expression})"):
            if time.monotonic() > until:
                pytest.fail(f"not true within {timeout_s:g} s: {expression}")
            self.page.wait_for_timeout(50)

    def start_anew(self) -> None:
        """No labels, nothing selected, the first layer and the first tab."""
        self.wait("not explorer.labeller.live._busy", timeout_s=LONG_S)
        self.do(
            "for c in list(explorer.labeller.book.classes): explorer.labeller.book.remove_class(c.name)\n"
            "explorer.similar.clear()\n"
            "explorer.labeller._eraser.value = False\n"
            "explorer.state.selected = explorer.state.point = explorer.state.clicked = None\n"
            "explorer.state.tool, explorer.tabs.selected_index = 'look', 0\n"
        )
        self.wait("explorer.state.prediction is None and not explorer.labeller.live._busy", timeout_s=LONG_S)
        self.do("explorer.map.layer = 'pca'")

    # -- the map ------------------------------------------------------------------------------------------------------

    def box(self) -> dict[str, float]:
        """Where the map is on the page, once it has come to rest."""
        self.page.locator(".leaflet-container").first.scroll_into_view_if_needed()
        self.wait("explorer.map.canvas.is_shown")
        before: Any = None
        while True:
            now = self.page.locator(".leaflet-container").first.bounding_box(), self.look(_VIEW)
            if now == before and not self.page.locator(".leaflet-zoom-anim, .leaflet-pan-anim").count():
                assert now[0] is not None
                return now[0]
            before = now
            self.page.wait_for_timeout(100)

    def place(self, row: float, col: float) -> tuple[float, float]:
        """Where the middle of a pixel is on the page."""
        box = self.box()
        west, south, east, north = self.look(_VIEW)
        lon, lat = self.look(f"list(explorer.state.place_of({row}, {col}))[2:]")
        x = (lon - west) / (east - west)
        y = (_mercator(north) - _mercator(lat)) / (_mercator(north) - _mercator(south))
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def click_pixel(self, row: int, col: int) -> None:
        """Click the middle of a pixel where the map shows it."""
        self.page.mouse.click(*self.place(row, col))

    def polygon(self, corners: Sequence[tuple[float, float]]) -> None:
        """Draw a polygon through (row, column)."""
        press(self.page.get_by_role("button", name="Polygon"))
        self.wait("explorer.map.canvas.drawing == 'polygon'")
        self.page.locator(".leaflet-container .cursor-marker").first.wait_for(state="attached")
        points = [self.place(*corner) for corner in corners]
        for number, (x, y) in enumerate(points, 1):
            self.page.mouse.move(x, y)
            self.page.mouse.click(x, y)
            drawn = self.page.locator(".leaflet-container .marker-icon:not(.cursor-marker)").nth(number - 1)
            drawn.wait_for(state="attached")
        self.page.mouse.click(*points[0])
        self.wait("explorer.map.canvas.drawing is None")

    def picture(self) -> str:
        """What lies on the map now."""
        return self.page.locator(".leaflet-gr-layer-pane img").last.get_attribute("src") or ""

    # -- the panels ---------------------------------------------------------------------------------------------------

    def open(self, tab: str) -> None:
        """Open a tab."""
        self.page.get_by_role("tab", name=tab).click()
        self.wait(f"explorer.tabs.titles[explorer.tabs.selected_index] == {tab!r}")

    def add_class(self, name: str) -> None:
        """Add a class in the labeller, which is open."""
        field = self.page.get_by_placeholder("Name of a class")
        field.fill(name)
        field.press("Tab")
        self.wait(f"explorer.labeller._name.value == {name!r}")
        press(self.page.get_by_role("button", name="Add class"))
        self.wait(f"{name!r} in explorer.labeller.book.counts and explorer.labeller.chosen == {name!r}")

    def label(self, places: Sequence[tuple[int, int]]) -> None:
        """Click pixels, each of which becomes a label of the chosen class."""
        for row, col in places:
            many = self.look("len(explorer.labeller.book.items)")
            self.click_pixel(row, col)
            self.wait(f"len(explorer.labeller.book.items) == {many + 1}")

    def label_two_classes(self) -> None:
        """Two classes with two labels each, and the whole of their map."""
        self.open("Labels")
        for name, places in (("water", [(8, 8), (30, 12)]), ("land <b>", [(52, 60), (20, 62)])):
            self.add_class(name)
            self.label(places)
        self.wait("explorer.state.prediction is not None and 'cause' in explorer.state.prediction", timeout_s=LONG_S)

    def lasso(self, left: float, top: float, right: float, bottom: float) -> None:
        """Draw a loop on the latent view, which is open; in fractions of its plot."""
        kind = self.look("explorer.latent.frame['kind']")  # nobody draws round points that are not there yet
        self.page.locator(f".lv[data-painted='{kind}']").wait_for()
        plot = self.page.locator(".lv-points")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        assert box is not None
        path = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        steps = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in path]
        self.page.keyboard.down("Shift")
        self.page.mouse.move(*steps[0])
        self.page.mouse.down()
        for x, y in steps[1:]:
            self.page.mouse.move(x, y, steps=4)
        self.page.mouse.up()
        self.page.keyboard.up("Shift")


_VIEW = "[explorer.map.map.west, explorer.map.map.south, explorer.map.map.east, explorer.map.map.north]"


def _mercator(lat: float) -> float:
    return math.log(math.tan(math.pi / 4 + math.radians(lat) / 2))
