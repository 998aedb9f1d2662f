"""The explorer on a served page: one server, one browser for the file. Whatever it wants from elsewhere fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from georeset_lab.widgets.explore import make_explorer
from tests.dashboard.serving import Served, served, until
from tests.widgets.explorer_tests import ExplorerTests
from tests.widgets.lab import TIMEOUT_S, Messages, started_browser
from tests.widgets.person import Person
from tests.widgets.planted import planted_scene

pytestmark = pytest.mark.browser


def explorer_of(running: Served) -> Any:
    """The explorer of the only open page."""
    return until(
        lambda: next((v._explorer for v in list(running.house.pages) if v.state is not None), None), seconds=TIMEOUT_S
    )


def look(running: Served, expression: str) -> Any:
    """Value of an expression beside the explorer, in the server's thread."""
    names = {"explorer": explorer_of(running)}  # waited for here: in the server's thread it would never come
    return running.call(lambda: eval(expression, names))  # noqa: S307


def do(running: Served, code: str) -> None:
    """Run statements where a page's widgets may be changed."""
    names = {"explorer": explorer_of(running)}
    running.change(lambda: exec(code, names))


@pytest.fixture(scope="module")
def seated(tmp_path_factory) -> Iterator[tuple[Person, Messages]]:
    _, emb = planted_scene()
    keep_in = tmp_path_factory.mktemp("kept")
    with (
        served({"Planted": emb}, keep_in, make_explorer=make_explorer, quick_end=True) as running,
        started_browser() as browser,
    ):
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(1000 * TIMEOUT_S)
        messages = Messages()
        messages.watch(page)
        page.goto(running.url)

        yield Person(page, partial(look, running), partial(do, running)), messages


@pytest.fixture
def person(seated) -> Iterator[Person]:
    who, messages = seated
    who.start_anew()
    yield who
    wrong = messages.errors + [f"wanted from the network: {url}" for url in messages.aborted]
    messages.errors.clear()
    messages.aborted.clear()
    assert not wrong, "in the browser's console:\n" + "\n".join(wrong)


class TestOnAServedPage(ExplorerTests):
    def download(self, person):
        person.page.locator("select", has_text="Labels (GeoJSON)").select_option("Labels (GeoJSON)")
        with person.page.expect_download() as going:
            person.page.get_by_text("Download", exact=True).click()
        assert going.value.suggested_filename == "Planted-labels.geojson"
        return Path(going.value.path()).read_bytes()

    def revive(self, person):
        before = person.look("id(explorer)")
        person.page.reload()
        person.wait(f"id(explorer) != {before}")
        person.page.locator(".leaflet-container").first.wait_for()
