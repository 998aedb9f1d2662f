"""The explorer in a real JupyterLab: one notebook, one kernel, one browser for the file; the last test kills the kernel."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.widgets.explorer_tests import ExplorerTests
from tests.widgets.lab import Messages, Notebooks, ask, execute, press, run_all, started_browser, wait_for
from tests.widgets.person import Person

pytestmark = pytest.mark.browser

CELLS = [
    """
import warnings
import georeset_lab as gl
from tests.widgets.planted import planted_scene
scene, emb = planted_scene()
explorer = gl.explore(scene, emb)
explorer
"""
]


@pytest.fixture(scope="module")
def seated(lab_server) -> Iterator[tuple[Person, Messages]]:
    with started_browser() as browser:
        notebooks = Notebooks(lab_server, browser)
        page = notebooks(CELLS, size=(1280, 1000))
        yield Person(page, lambda text: ask(page, text), lambda code: execute(page, code)), notebooks.messages
        lab_server.end_sessions()


@pytest.fixture
def person(seated) -> Iterator[Person]:
    who, messages = seated
    who.start_anew()
    yield who
    wrong = messages.wrong()
    messages.errors.clear()
    messages.aborted.clear()
    assert not wrong, "in the browser's console:\n" + "\n".join(wrong)


class TestInJupyterLab(ExplorerTests):
    def download(self, person):
        press(person.page.get_by_role("button", name="Save GeoJSON"))
        with person.page.expect_download() as going:
            person.page.get_by_role("link", name="Download").click()
        assert going.value.suggested_filename == "labels.geojson"
        there = ask(person.page, "open('labels.geojson').read()")
        found = Path(going.value.path()).read_bytes()
        assert there == found.decode(), "the same is in the working directory"
        return found

    @pytest.fixture(autouse=True)
    def _messages(self, seated):
        self.messages = seated[1]

    def revive(self, person):
        page = person.page
        victim = ask(page, "__import__('os').getpid()")
        os.kill(victim, signal.SIGKILL)
        page.locator(".jp-Dialog").get_by_text("Kernel Restarting").wait_for()  # JupyterLab has seen it die
        page.locator(".jp-Dialog button.jp-mod-accept").click()
        page.wait_for_function(
            "() => jupyterapp.shell.currentWidget.context.sessionContext.session?.kernel?.status === 'idle'"
        )
        run_all(page)
        self.messages.errors.clear()  # what JupyterLab says of a kernel that was killed
        assert wait_for(page, "__import__('os').getpid()") != victim
