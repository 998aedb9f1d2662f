"""``/upload``: files come in by HTTP, in pieces, straight to the disk, and are refused before they are read if too large.

Panel's own FileInput would hold the whole file in memory as base64 and end the session above the websocket's limit. Here
a page gets a ticket; what is sent with it lands under a name of ours in that page's folder, and is inspected by a
process of its own before anything else opens it.
"""

from __future__ import annotations

import json
import secrets
import shutil
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from tornado.web import HTTPError, RequestHandler, stream_request_body

from georeset_lab.dashboard.inspection import Verdict, inspect_upload

__all__ = ["Desk", "Desks", "Limits", "Upload", "shown_name", "upload_routes"]

_RESERVE_BYTES = 1 << 30
"""Left free on the disk, whatever is uploaded."""


@dataclass(frozen=True)
class Limits:
    """How much is taken."""

    file_bytes: int
    """One file, as it is sent."""
    page_bytes: int
    """All files of one page."""
    page_files: int = 24

    @property
    def of_content(self) -> dict[str, int]:
        """For `inspect_upload`: what a file of each kind may be, and a raster once it is unpacked."""
        return {
            "scene_bytes": self.file_bytes,
            "labels_bytes": min(self.file_bytes, 32_000_000),
            "decoded_bytes": max(8 * self.file_bytes, 64_000_000),
            "pixels": 16_000_000,
        }


@dataclass(frozen=True)
class Upload:
    """A file that has arrived and was inspected."""

    path: Path
    """Ours; says nothing about what the client called it."""
    name: str
    """What the client called it, for people to read."""
    verdict: Verdict


@dataclass(eq=False)
class Desk:
    """Where the uploads of one page are received."""

    folder: Path
    limits: Limits
    done: Callable[[Upload], None]
    """Called in a thread of its own for each file."""
    ticket: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    user: str = ""
    closed: bool = False
    taken_bytes: int = 0
    taken_files: int = 0

    def refusal(self, nbytes: int) -> str:
        """Why a file of this size is not taken; empty if it is."""
        most = self.limits.file_bytes
        if nbytes > most:
            return f"The file has {_mb(nbytes)}; up to {_mb(most)} are taken."
        if self.taken_files >= self.limits.page_files or self.taken_bytes + nbytes > self.limits.page_bytes:
            return (
                f"This page has sent {self.taken_files} files with {_mb(self.taken_bytes)}; up to {self.limits.page_files} "
                f"files and {_mb(self.limits.page_bytes)} are taken. Open the page anew."
            )
        if shutil.disk_usage(self.folder).free < nbytes + _RESERVE_BYTES:
            return "The server has no room for this file now. Tell whoever runs it."
        return ""

    def receive(self, path: Path, name: str) -> None:
        """Inspect a file that has arrived, in a thread, and hand it over; what is refused is removed."""

        def work() -> None:
            verdict = inspect_upload(path, self.limits.of_content)
            if not verdict.ok or self.closed:
                path.unlink(missing_ok=True)
            if not self.closed:
                self.done(Upload(path, name, verdict))

        threading.Thread(target=work, name="inspect-upload", daemon=True).start()


class Desks:
    """The desks of all open pages, by ticket."""

    def __init__(self) -> None:
        self._desks: dict[str, Desk] = {}

    def open(self, desk: Desk) -> None:
        """Receive what comes with its ticket."""
        self._desks[desk.ticket] = desk

    def close(self, desk: Desk) -> None:
        """Receive no more."""
        desk.closed = True
        self._desks.pop(desk.ticket, None)

    def find(self, ticket: str) -> Desk | None:
        """The desk of a ticket, or None."""
        return self._desks.get(ticket)


def shown_name(raw: str) -> str:
    """What the client calls a file, as text for people: no folder, no control characters, no more than 80 characters."""
    name = raw.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(c for c in name if c.isprintable()).strip()
    return (name if len(name) <= 80 else f"{name[:60]}…{name[-19:]}") or "file without a name"


def upload_routes(
    desks: Desks, *, authenticate: Callable[[RequestHandler], Awaitable[str | None]]
) -> list[tuple[Any, ...]]:
    """Routes for the ``extra_patterns`` of a Bokeh server.

    Parameters
    ----------
    desks : Desks
    authenticate : callable
        Login name of a request; None if the request has none but needs one.
    """
    return [(r"/upload", _Receiver, {"desks": desks, "authenticate": authenticate})]


@stream_request_body
class _Receiver(RequestHandler):
    """POST of one file: ``X-Ticket`` says for which page, ``X-File-Name`` (percent-encoded) what to call it."""

    def initialize(self, desks: Desks, authenticate: Callable[[RequestHandler], Awaitable[str | None]]) -> None:
        self._desks, self._authenticate = desks, authenticate
        self._desk: Desk | None = None
        self._path: Path | None = None
        self._file: IO[bytes] | None = None
        self._left = 0

    async def prepare(self) -> None:
        # Called when the header is in and before the body is read: this is where a large file ends.
        if self.request.method != "POST":
            raise HTTPError(405)
        user = await self._authenticate(self)
        desk = self._desks.find(self.request.headers.get("X-Ticket", ""))
        if user is None or desk is None or desk.user != user:
            return self._refuse(403, "This page is no longer open. Reload it and try again.")
        length = self.request.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) == 0:
            return self._refuse(411, "The file is empty, or was sent without its size.")
        nbytes = int(length)
        refusal = desk.refusal(nbytes)
        if refusal:
            return self._refuse(413, refusal)
        desk.taken_bytes += nbytes
        desk.taken_files += 1
        connection: Any = self.request.connection
        connection.set_max_body_size(nbytes)
        self._desk, self._left = desk, nbytes
        self._path = desk.folder / secrets.token_hex(16)
        self._file = self._path.open("xb")
        self._path.chmod(0o600)
        return None

    def data_received(self, chunk: bytes) -> None:
        if self._file is None:
            return
        self._left -= len(chunk)
        try:
            self._file.write(chunk)
        except OSError:
            self._drop()
            self._refuse(507, "The server has no room for this file now. Tell whoever runs it.")

    def post(self) -> None:
        if self._finished:
            return
        if self._desk is None or self._path is None or self._file is None or self._left != 0:
            raise HTTPError(400)
        self._file.close()
        self._file = None
        name = shown_name(unquote(self.request.headers.get("X-File-Name", ""), errors="replace"))
        self._desk.receive(self._path, name)
        self.write({"ok": True})

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._file is not None:
            self._drop()

    def check_xsrf_cookie(self) -> None:
        """The ticket is what another site cannot know."""

    def write_error(self, status_code: int, **_: Any) -> None:
        self.write({"ok": False, "message": f"The upload was refused (status {status_code})."})

    def _refuse(self, status: int, message: str) -> None:
        self.set_status(status)
        self.finish(json.dumps({"ok": False, "message": message}))

    def _drop(self) -> None:
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
            if self._path is not None:
                self._path.unlink(missing_ok=True)
        self._file = None


def _mb(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.1f} MB" if nbytes < 1e9 else f"{nbytes / 1e9:,.2f} GB"
