"""Messages that are added while others are being sent reach the browser; Panel alone forgets them."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("panel")

from bokeh.document import Document
from panel.io import document as panel_document

from georeset_lab.dashboard.unsent import send_forgotten

PANELS_OWN = panel_document._dispatch_msgs


class _Protocol:
    def create(self, _kind, events):
        return events


class _Connection:
    def __init__(self, socket):
        self._socket = socket
        self.protocol = _Protocol()


class _Socket:
    """Keeps what is written, and lets more be added while it writes."""

    def __init__(self):
        self.written = []
        self.meanwhile = []

    def write(self, _connection, msg):
        async def sent():
            self.written.append(msg)
            await asyncio.sleep(0.01)
            if self.meanwhile:  # Panel ends its sending before the task of this one begins
                self.meanwhile.pop()()

        return [sent()]


async def _three_messages():
    """The second is added while the first is on its way, the third when both are through."""
    document, socket = Document(), _Socket()
    connection = _Connection(socket)

    def add(text):
        panel_document.schedule_write_events(document, [connection], [text])

    panel_document.extra_socket_handlers[_Socket] = socket.write
    try:
        socket.meanwhile.append(lambda: add("second"))
        add("first")
        await asyncio.sleep(0.1)
        told = [list(socket.written)]
        add("third")
        await asyncio.sleep(0.1)
        return [*told, socket.written, document in panel_document._WRITE_BLOCK]
    finally:
        del panel_document.extra_socket_handlers[_Socket]


@pytest.fixture
def panels_own(monkeypatch):
    monkeypatch.setattr(panel_document, "_dispatch_msgs", PANELS_OWN)


@pytest.mark.usefixtures("panels_own")
def test_what_is_added_while_panel_sends_is_sent_once_and_in_order():
    send_forgotten()
    send_forgotten()  # a second server in this process
    early, late, marked = asyncio.run(_three_messages())
    assert early == [["first"], ["second"]]
    assert late == [["first"], ["second"], ["third"]]
    assert not marked


@pytest.mark.usefixtures("panels_own")
def test_panel_alone_still_forgets():
    """When this fails, Panel has mended it: `unsent.py` and this file can go."""
    early, _, _ = asyncio.run(_three_messages())
    assert early == [["first"]]
