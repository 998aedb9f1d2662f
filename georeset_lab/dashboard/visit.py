"""`Visit`: one open page, from the first message of its browser to the last; everything it holds goes with it.

All methods run in the server's event loop unless they say otherwise. Work that takes time runs in threads and comes back
through `Visit._deliver`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tornado.ioloop import IOLoop

from georeset_lab.dashboard.arrivals import Arrivals, add_labels, remove
from georeset_lab.dashboard.browser_key import BrowserKey
from georeset_lab.dashboard.encodings import Stopped
from georeset_lab.dashboard.exports import EXPORTS, export
from georeset_lab.dashboard.house import House
from georeset_lab.dashboard.ownership import close_document, close_widgets
from georeset_lab.dashboard.page import Actions, Page
from georeset_lab.dashboard.sources import Source
from georeset_lab.dashboard.uploads import Desk, Upload
from georeset_lab.errors import GeoresetError

if TYPE_CHECKING:
    from georeset_lab.dashboard.encodings import Lease
    from georeset_lab.dashboard.workspaces import Workspace
    from georeset_lab.embed.labels.book import LabelBook
    from georeset_lab.widgets.state import Exploration

__all__ = ["Visit"]


class Visit:
    """One open page.

    Parameters
    ----------
    document : bokeh.document.Document
    house : House
    """

    def __init__(self, document: Any, house: House) -> None:
        self._document: Any = document
        self._house = house
        self._loop = IOLoop.current()
        self._user = house.login()
        self._workspace: Workspace | None = None
        self._arrivals = Arrivals({})
        self._desk: Desk | None = None
        self._uploader: Any = None
        self._lease: Lease | None = None
        self._book: LabelBook | None = None
        self._opening: threading.Event | None = None
        self._explorer: Any = None
        self.state: Exploration | None = None
        """What is explored; None while nothing is open."""
        self.closed = False
        self.page = Page(Actions(self.open, self.leave, self.stop, self.open_rasters, self.export), EXPORTS)
        self._key = BrowserKey(document, self.begin)
        self.roots: list[Any] = self._key.models
        """Invisible models that the document needs besides the page."""
        house.pages.add(self)

    # -- beginning and end --------------------------------------------------------------------------------------------

    def begin(self, key: str) -> None:
        """The browser has named its key: take its workspace, and open what was open."""
        if self._workspace is not None or self.closed:
            return
        self._workspace = workspace = self._house.workspaces.claim(key, self, user=self._user)
        self._key.issue(workspace.key)
        self._arrivals = Arrivals(workspace.luggage)
        if self._house.limits is not None:
            from georeset_lab.dashboard.uploader import Uploader

            self._desk = Desk(workspace.uploads, self._house.limits, self._arrived, user=self._user)
            self._house.desks.open(self._desk)
            self._uploader = Uploader(self._desk)
            self.page.add_uploader(self._uploader)
        last = workspace.card.get("source") if workspace.restored else None
        known = [s.key for s in self._sources()]
        if last in known:
            self.open(str(last))
        elif len(known) == 1:
            self.open(known[0])
        else:
            self._choose()

    def close(self) -> None:
        """Let go of everything, now."""
        if self.closed:
            return
        self.closed = True
        self._house.pages.discard(self)
        self._shut()
        if self._desk is not None:
            self._house.desks.close(self._desk)
        if self._workspace is not None and self._house.workspaces.release(self):
            for source in self._arrivals.sources:
                self._house.encodings.forget(source.key)
        close_document(self._document)
        self._document = None

    def hand_over(self) -> None:
        """Another page of this browser takes the workspace; whoever still looks at this one is told."""
        page = self.page
        self._document.add_next_tick_callback(
            lambda: page.show_end("It was opened again elsewhere. Reload it to take your labels back here.")
        )
        self.close()

    # -- a scene ------------------------------------------------------------------------------------------------------

    def open(self, key: str) -> None:
        """Open a source by its key; encodes in a thread if need be."""
        source = next((s for s in self._sources() if s.key == key), None)
        if source is None or self._workspace is None:
            return
        self._shut()
        self._opening = cancelled = threading.Event()
        self.page.say("")
        self.page.show_progress(source.title, "Opening", None)

        def tell(what: str, share: float | None) -> None:
            if cancelled.is_set():
                raise Stopped
            self._deliver(lambda: self._show_progress(cancelled, source, what, share))

        def work() -> None:
            try:
                lease = self._house.encodings.lease(source, tell)
            except Stopped:
                return
            except Exception as err:  # a thread has nobody else to tell
                message = str(err) if isinstance(err, GeoresetError) else f"{type(err).__name__}: {err}"
                self._deliver(lambda: self._failed(cancelled, message))
            else:
                # Not through _deliver: a lease that nobody takes any more must still be given back.
                self._loop.add_callback(self._take, cancelled, source, lease)

        threading.Thread(target=work, name="open-scene", daemon=True).start()

    def stop(self) -> None:
        """Give up opening; the encoding ends unless others wait for it."""
        self._shut()
        self._choose()

    def leave(self) -> None:
        """Close the scene and show what there is to open. Labels are saved already."""
        self._shut()
        if self._workspace is not None:
            self._workspace.remember(source=None)
        self._choose()

    def open_rasters(self, chosen: Mapping[str, str]) -> None:
        """Make one scene of uploaded rasters, key -> sensor, and open it."""
        try:
            self.open(self._arrivals.make_scene(chosen).key)
        except GeoresetError as err:
            self.page.say(str(err), warn=True)

    async def export(self, kind: str) -> bytes:
        """Bytes of an export; made in a thread, as a large map takes a second."""
        state, book = self.state, self._book
        if state is None or book is None:
            return b""
        self.page.say("Preparing the file …")
        try:
            return await asyncio.get_running_loop().run_in_executor(None, export, kind, state, book)
        finally:
            self._deliver(lambda: self.page.say(""))

    # -- private ------------------------------------------------------------------------------------------------------

    def _sources(self) -> list[Source]:
        return [*self._house.sources, *self._arrivals.sources]

    def _show_progress(self, cancelled: threading.Event, source: Source, what: str, share: float | None) -> None:
        if not cancelled.is_set() and self._opening is cancelled:
            self.page.show_progress(source.title, what, share)

    def _failed(self, cancelled: threading.Event, message: str) -> None:
        if not cancelled.is_set():
            self._shut()
            self._choose()
            self.page.say(message, warn=True)

    def _take(self, cancelled: threading.Event, source: Source, lease: Lease) -> None:
        if self.closed or cancelled.is_set():
            lease.release()
            return
        self._lease = lease
        self._deliver(lambda: self._show(cancelled, source, lease))

    def _show(self, cancelled: threading.Event, source: Source, lease: Lease) -> None:
        from georeset_lab.embed.labels.book import LabelBook
        from georeset_lab.widgets.state import Exploration

        if cancelled.is_set() or self._workspace is None:
            return
        self._opening = None
        try:
            self._book = book = LabelBook.open(self._workspace.folder, f"labels-{source.labels_key}")
            self.state = state = Exploration(lease.emb, lease.scene)
            state.deliver = self._deliver
            self._explorer = explorer = self._house.make_explorer(state, book=book)
        except GeoresetError as err:
            self._failed(cancelled, str(err))
            return
        state.observe(lambda _: self._allow(), "prediction")
        self.page.show_explorer(source.title, explorer)
        self._allow()
        self._workspace.remember(source=source.key)
        self.page.say(" ".join((*lease.notes, *book.notes)))

    def _allow(self) -> None:
        made = ("classes", "confidence") if self.state is not None and self.state.prediction is not None else ()
        self.page.allow(("labels", "labels-table", "page", *made))

    def _shut(self) -> None:
        """Close the scene that is open or being opened."""
        if self._opening is not None:
            self._opening.set()
            self._opening = None
        if self.state is not None:
            self.state.deliver = _drop
            if self.closed:
                close_document(self._document)
            else:
                self.page.clear()
                close_widgets(self._document, keep=self._uploader)
            # Only now, when it can no longer write to its browser: it stops listening to the state and the book.
            with suppress(Exception):  # whatever it makes of its end
                self._explorer.close()
            self.state.unobserve_all()
            self.state = self._explorer = None
        if self._book is not None:
            self._book.close()
            self._book = None
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def _choose(self) -> None:
        from georeset_lab.data.sensors import SENSORS

        self.page.show_chooser([(s.key, s.title) for s in self._sources()], self._arrivals.rasters, list(SENSORS))

    def _arrived(self, upload: Upload) -> None:
        """In a thread: a file was received and inspected."""
        self._deliver(lambda: self._use(upload))

    def _use(self, upload: Upload) -> None:
        if not upload.verdict.ok:
            self.page.say(f"{upload.name} was not taken. {upload.verdict.message}", warn=True)
        elif upload.verdict.kind == "labels":
            self._use_labels(upload)
        else:
            self._arrivals.add(upload)
            if self.state is None and self._opening is None:
                self._choose()
            else:
                self.page.say(f"{upload.name} has arrived. Press “Other scene” to open it.")

    def _use_labels(self, upload: Upload) -> None:
        try:
            if self.state is None or self._book is None:
                where = "Open the scene they belong to and upload them again."
                self.page.say(f"{upload.name} holds labels. {where}", warn=True)
            else:
                self.page.say(add_labels(upload, self._book, self.state.emb.grid))
        except GeoresetError as err:
            self.page.say(f"{upload.name} was not taken. {err}", warn=True)
        finally:
            remove(upload)

    def _deliver(self, call: Callable[[], None]) -> None:
        """From any thread: run a function where this page's widgets may be changed; never after its end."""

        def run() -> None:
            if not self.closed:
                call()

        def enqueue() -> None:
            if not self.closed:
                self._document.add_next_tick_callback(run)

        self._loop.add_callback(enqueue)


def _drop(_: Callable[[], None]) -> None:
    """What a thread of a closed scene brings is not wanted."""
