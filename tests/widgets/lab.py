"""A JupyterLab of its own in a headless Chromium: open a notebook, run it, look at it, ask its kernel.

Nothing leaves the machine: every request that is not to loopback is aborted, and all but map tiles then fail the test,
as does any error in the browser's console. Fixtures that use this are in ``conftest.py``; a browser test reads

    @pytest.mark.browser
    def test_a_click_arrives(open_notebook):
        page = open_notebook(["import ...", "widget"])
        page.locator(".leaflet-container").click()
        wait_for(page, "widget.clicked is not None")
        assert ask(page, "widget.clicked.row") == 3
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Route

TIMEOUT_S = 120
"""For everything that a busy machine may delay."""
ROOT = Path(__file__).parents[2]
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip

_TRIES = 5
_LISTEN = """button => {
    const told = button.textContent;
    const same = (node) => node.localName === button.localName && node.textContent === told;
    window.glPressed = false;
    const note = (event) => { window.glPressed = event.composedPath().some(same); };
    window.addEventListener("click", note, {capture: true, once: true});
}"""
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_TILE = re.compile(r"/\d+/\d+/\d+(@2x)?(\.(png|jpe?g|webp|pbf))?(\?|$)")
_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/apputils-extension:themes": {"theme-scrollbars": False},
    "@jupyterlab/completer-extension:manager": {"autoCompletion": False},
}


def chromium() -> str | None:
    """Path of an installed Chromium or Chrome, or None."""
    names = (os.environ.get("GEORESET_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


class LabServer:
    """JupyterLab on a free loopback port, with its settings, runtime files and notebooks in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notebooks = folder / "notebooks"
        self.notebooks.mkdir(parents=True)
        self.token = secrets.token_hex(16)
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "overrides.json").write_text(json.dumps(_SETTINGS))
        self._log = (folder / "lab.log").open("w")
        # A group of its own, so that the kernels it started can be ended with it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *self._options()],
            cwd=self.notebooks, env=self._environment(), stdout=self._log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def _options(self) -> list[str]:
        return [
            "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={self.port}", "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.notebooks}",
            "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly", "--LabApp.news_url=",
            f"--LabApp.app_settings_dir={self.folder}", f"--LabApp.user_settings_dir={self.folder / 'user'}",
            f"--LabApp.workspaces_dir={self.folder / 'workspaces'}", "--ServerApp.terminals_enabled=False",
            "--MappingKernelManager.kernel_info_timeout=120",
        ]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_"))}
        own = {
            name: str(self.folder / name.lower())
            for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"  # the kernel is "python" on the path
        python = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        return {**env, **own, **threads, "PATH": path, "PYTHONPATH": python, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}

    def wait(self) -> None:
        """Return when it answers; fail with its log if it ends or takes too long."""
        until = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            with suppress(OSError):
                self.api("status")
                return
            time.sleep(0.2)
        raise RuntimeError(f"JupyterLab did not start:\n{self.log()}")

    def api(self, path: str, method: str = "GET") -> Any:
        """Answer of the server's REST API."""
        request = Request(f"{self.url}/api/{path}", method=method, headers={"Authorization": f"token {self.token}"})
        with urlopen(request, timeout=TIMEOUT_S) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def log(self) -> str:
        """End of what it printed."""
        return (self.folder / "lab.log").read_text(errors="replace")[-4000:]

    def write(self, cells: Sequence[str]) -> str:
        """A fresh notebook with these code cells; its name."""
        name = f"t{uuid.uuid4().hex[:10]}.ipynb"
        blank = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
        content = {
            "cells": [{**blank, "id": uuid.uuid4().hex[:8], "source": text} for text in cells],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.notebooks / name).write_text(json.dumps(content))
        return name

    def end_sessions(self) -> None:
        """Stop every kernel."""
        for session in self.api("sessions"):
            with suppress(OSError):
                self.api(f"sessions/{session['id']}", "DELETE")

    def close(self) -> None:
        """Stop the server and its kernels."""
        with suppress(Exception):
            self.end_sessions()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(20)
        self._log.close()


class Messages:
    """What the browser complained about and what it wanted from elsewhere."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.aborted: list[str] = []

    def watch(self, page: Page) -> None:
        """Listen to a page and keep it from the network."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.route("**/*", self._route)

    def _route(self, route: Route) -> None:
        where = urlsplit(route.request.url)
        if where.scheme in ("data", "blob", "about") or where.hostname in _LOOPBACK:
            route.continue_()
            return
        self.aborted.append(route.request.url)
        route.abort("internetdisconnected")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        source = message.location.get("url", "")
        # The tiles of a web map are welcome to be missing; whatever else was aborted is reported by its address.
        if "net::ERR_" in message.text and urlsplit(source).hostname not in _LOOPBACK:
            return
        self.errors.append(f"{message.text} ({source})")

    def wrong(self) -> list[str]:
        """Everything that must not happen offline."""
        return self.errors + [f"wanted from the network: {url}" for url in self.aborted if not _TILE.search(url)]


@contextmanager
def started_browser() -> Iterator[Browser]:
    """A headless Chromium; skips without one, fails without one in CI."""
    path = chromium()
    if path is None:
        message = "no Chromium found: apt-get install chromium, or set GEORESET_CHROMIUM"
        if os.environ.get("GEORESET_CI") == "1":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    # Started anew for each test: while Playwright's synchronous interface lives, its event loop counts as running in
    # this thread, and every other test of the process that starts a loop would fail.
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, headless=True, args=list(FLAGS), timeout=1000 * TIMEOUT_S)
        try:
            yield browser
        finally:
            browser.close()


class Notebooks:
    """Opens notebooks of a server in a browser; calling it is the helper that tests use."""

    def __init__(self, server: LabServer, browser: Browser) -> None:
        self.server, self.browser = server, browser
        self.messages = Messages()

    def __call__(
        self, cells: Sequence[str], *, size: tuple[int, int] = (1280, 720), dark: bool = False, run: bool = True
    ) -> Page:
        """Open a new notebook with these cells, run them all and return its page.

        Parameters
        ----------
        size : (width, height) of the window in pixels
        dark : JupyterLab's dark theme, and a browser that prefers dark.
        run : False only opens it.
        """
        name = self.server.write(cells)
        page = self.browser.new_page(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
        )
        page.set_default_timeout(1000 * TIMEOUT_S)
        page.set_default_navigation_timeout(1000 * TIMEOUT_S)
        self.messages.watch(page)
        self.show(page, name, dark=dark)
        if run:
            run_all(page)
        return page

    def show(self, page: Page, name: str, *, dark: bool = False) -> None:
        """Navigate to a notebook, without side bars, and wait until its kernel is ready."""
        workspace = uuid.uuid4().hex[:8]
        query = f"reset&token={self.server.token}"
        page.goto(f"{self.server.url}/lab/workspaces/auto-{workspace}/tree/{name}?{query}", wait_until="commit")
        page.wait_for_function("window.jupyterapp !== undefined")
        page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
        page.evaluate(
            """async theme => {
                await jupyterapp.restored;
                const c = jupyterapp.shell.currentWidget.context;
                await c.ready;
                await jupyterapp.commands.execute('apputils:change-theme', {theme});
                if (!jupyterapp.shell.leftCollapsed) jupyterapp.shell.collapseLeft();
                jupyterapp.shell.collapseRight?.();
            }""",
            f"JupyterLab {'Dark' if dark else 'Light'}",
        )
        page.wait_for_function(
            "() => jupyterapp.shell.currentWidget.context.sessionContext.session?.kernel?.status === 'idle'"
        )


def run_all(page: Page) -> None:
    """Run every cell and fail with the traceback if one did."""
    page.evaluate(
        """() => {
            window.__ran = false;
            jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { window.__ran = true; });
        }"""
    )
    page.wait_for_function("window.__ran === true")
    failed = page.evaluate(
        """() => jupyterapp.shell.currentWidget.context.model.toJSON().cells
            .flatMap(c => c.outputs ?? []).filter(o => o.output_type === 'error')
            .map(o => o.traceback.join('\\n'))"""
    )
    assert not failed, re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(failed))


def ask(page: Page, expression: str) -> Any:
    """Value of a Python expression in the notebook's kernel; it must be JSON."""
    answer = page.evaluate(
        """async text => {
            const kernel = jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
            const code = 'import json as _json';
            const content = {code, silent: true, store_history: false, user_expressions: {value: `_json.dumps(${text})`}};
            const reply = await kernel.requestExecute(content, true).done;
            return reply.content.user_expressions.value;
        }""",
        f"({expression})",
    )
    assert answer["status"] == "ok", f"{expression}: {answer.get('ename')}: {answer.get('evalue')}"
    # The text is the repr of a string of JSON.
    import ast

    return json.loads(ast.literal_eval(answer["data"]["text/plain"]))


def execute(page: Page, code: str) -> None:
    """Run Python statements in the notebook's kernel, as a cell would, and fail if they do."""
    reply = page.evaluate(
        """async code => {
            const kernel = jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
            const done = await kernel.requestExecute({code, store_history: false}, true).done;
            return {status: done.content.status, why: `${done.content.ename}: ${done.content.evalue}`};
        }""",
        code,
    )
    assert reply["status"] == "ok", f"{code}: {reply['why']}"


def press(button: Locator) -> None:
    """Click a button; once more if it moved away between press and release, as a person would.

    What a kernel changed reaches the page after its answer. A button then moves when rows come above it, and the browser
    gives the click to neither place.
    """
    for _ in range(_TRIES):
        button.evaluate(_LISTEN)
        button.click()
        if button.page.evaluate("window.glPressed"):
            return
    pytest.fail(f"no click reached {button} in {_TRIES} tries")


def wait_for(page: Page, expression: str, *, timeout_s: float = TIMEOUT_S) -> Any:
    """Ask until the answer is true, and return it."""
    until = time.monotonic() + timeout_s
    while True:
        value = ask(page, expression)
        if value:
            return value
        if time.monotonic() > until:
            pytest.fail(f"not true within {timeout_s:g} s: {expression}; it is {value!r}")
        page.wait_for_timeout(50)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
