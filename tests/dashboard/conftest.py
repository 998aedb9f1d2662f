"""Two small sets of planted embeddings, a dashboard that serves them, and a browser to look at it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.dashboard.serving import Served, served, until
from tests.dashboard.standin import classifying_explorer
from tests.widgets.lab import TIMEOUT_S, Messages, started_browser


def planted_grid(shape: tuple[int, int]) -> Any:
    """A grid near Temuco in Chile."""
    from odc.geo.geobox import GeoBox

    height, width = shape
    bounds = (700_000, 5_700_000, 700_000 + 10 * width, 5_700_000 + 10 * height)
    return GeoBox.from_bbox(bounds, "EPSG:32718", resolution=10)


def planted(seed: int, shape: tuple[int, int] = (40, 48)) -> Any:
    """Embeddings of two modalities, random but the same for a seed."""
    from georeset_lab.embed.embeddings import Embeddings, Expert

    noise = np.random.default_rng(seed)
    experts = {}
    for name in ("s2", "s1"):
        tau = noise.uniform(0.5, 4, (*shape, 8)).astype(np.float32)
        experts[name] = Expert(tau * noise.normal(size=tau.shape).astype(np.float32), tau)
    return Embeddings(experts, planted_grid(shape), attrs={"model": "planted", "model_hash": "abc", "seed": seed})


@pytest.fixture(scope="session")
def sources() -> dict[str, Any]:
    return {"First": planted(1), "Second <b>bold</b>": planted(2)}


@pytest.fixture(scope="module")
def served_pages(sources, tmp_path_factory) -> Iterator[Served]:
    """One dashboard for the tests of a file, in which a page ends half a second after its client has gone."""
    with served(sources, tmp_path_factory.mktemp("kept"), quick_end=True) as running:
        yield running


@pytest.fixture
def dashboard(served_pages) -> Served:
    """A dashboard without open pages."""
    until(lambda: not served_pages.house.pages, why="the pages of the last test have ended")
    return served_pages


class Browsing:
    """Shows a dashboard in pages of a browser, and notes what they complain about."""

    def __init__(self, browser: Any, url: str) -> None:
        self.browser, self.url, self.messages = browser, url, Messages()
        self.running: Any = None

    def context(self, *, dark: bool = False, size: tuple[int, int] = (1280, 720)) -> Any:
        """A browser of its own: nothing is shared with other contexts."""
        viewport = {"width": size[0], "height": size[1]}
        return self.browser.new_context(viewport=viewport, color_scheme="dark" if dark else "light")

    def __call__(self, context: Any = None, *, url: str = "") -> Any:
        """A page that shows the dashboard, in a new context unless one is given."""
        page = (context or self.context()).new_page()
        page.set_default_timeout(1000 * TIMEOUT_S)
        page.set_default_navigation_timeout(1000 * TIMEOUT_S)
        self.messages.watch(page)
        page.goto(url or self.url)
        return page


@pytest.fixture
def open_page(sources, tmp_path) -> Iterator[Browsing]:
    """``open_page()`` shows a dashboard in a headless Chromium.

    The test fails afterwards if the browser logged an error or wanted anything, tiles too, from the network.
    """
    with (
        served(sources, tmp_path / "kept", make_explorer=classifying_explorer) as running,
        started_browser() as browser,
    ):
        browsing = Browsing(browser, running.url)
        browsing.running = running
        yield browsing
    assert not browsing.messages.errors, "in the browser's console:\n" + "\n".join(browsing.messages.errors)
    assert not browsing.messages.aborted, "wanted from the network:\n" + "\n".join(browsing.messages.aborted)
