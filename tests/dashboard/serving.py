"""A dashboard on a free port, in a thread of this process, so that a test can look at what it holds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from georeset_lab.dashboard import server as server_module
from georeset_lab.dashboard.server import build_server
from tests.dashboard.standin import make_explorer


class Served:
    """A running dashboard."""

    def __init__(self, sources: Any, options: dict[str, Any]) -> None:
        self._sources, self._options = sources, options
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self.server: Any = None
        self._thread = threading.Thread(target=self._run, name="served", daemon=True)
        self._thread.start()
        if not self._ready.wait(120):
            raise TimeoutError("the server did not start")
        if self._error is not None:
            raise self._error
        self.house = self.server.georeset_house
        self.host = f"127.0.0.1:{self.server.port}"
        self.url = f"http://{self.host}"

    def _run(self) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        try:
            self.server = build_server(self._sources, port=0, **self._options)
            self.server.start()
        except BaseException as err:
            self._error = err
            self._ready.set()
            return
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()
        self._loop.close()

    def call(self, work: Callable[[], Any]) -> Any:
        """Run a function in the server's thread and return what it returns."""

        async def run() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(60)

    def change(self, work: Callable[[], Any]) -> None:
        """Run a function where the widgets of the only explorer that is open may be changed, as its own threads do.

        With `call` Panel would not know which page it is about, and would link style sheets from elsewhere.
        """
        visit = next(v for v in list(self.house.pages) if v.state is not None)
        done, failed = threading.Event(), []

        def run() -> None:
            try:
                work()
            except Exception as err:
                failed.append(err)
            done.set()

        self.call(lambda: visit._deliver(run))
        assert done.wait(120), "the page has gone"
        if failed:
            raise failed[0]

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a request."""
        return request("GET", f"{self.url}{path}", headers=headers)

    def close(self) -> None:
        """Stop it."""

        def stop() -> None:
            self.house.close()
            self.server.stop()
            self.server._http.stop()
            self._loop.call_later(0.2, self._loop.stop)

        self._loop.call_soon_threadsafe(stop)
        self._thread.join(30)


@contextmanager
def served(sources: Any, keep_in: Path, *, quick_end: bool = False, **options: Any) -> Iterator[Served]:
    """Serve for a block; with ``quick_end`` a page that has lost its browser ends about a second later."""
    before = server_module.UNUSED_MS
    server_module.UNUSED_MS = 500 if quick_end else before
    try:
        running = Served(sources, {"keep_in": keep_in, "make_explorer": make_explorer, **options})
    finally:
        server_module.UNUSED_MS = before
    try:
        yield running
    finally:
        running.close()


def request(
    method: str, url: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an HTTP request, whatever the status."""
    try:
        with urlopen(Request(url, data=body, method=method, headers=headers or {}), timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except HTTPError as err:
        return err.code, dict(err.headers), err.read()


def until(true: Callable[[], Any], *, seconds: float = 30, why: str = "") -> Any:
    """Ask until the answer is true, and return it."""
    end = time.monotonic() + seconds
    while True:
        value = true()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not true within {seconds:g} s: {why or true}")
        time.sleep(0.02)
