"""`send_forgotten`: what Panel was told to send while it was sending is sent too.

Panel (1.9.4) marks a document while messages to its browser are on their way and takes the mark off when they are
through, also where more were added meanwhile; the task that was to send those finds no mark and ends. They would lie
there until something else changes on the page: one that opens a scene would stay at its last progress bar for ever.
"""

from __future__ import annotations

from typing import Any

__all__ = ["send_forgotten"]


def send_forgotten() -> None:
    """See to it that Panel sends all that waits for a document, in this process and from now on.

    Of a Panel that sends in another way nothing is changed; the tests fail then.
    """
    from panel.io import document as panel_document

    send: Any = getattr(panel_document, "_dispatch_msgs", None)
    if send is None or getattr(send, "georeset", False):
        return

    async def send_all(document: Any) -> None:
        if document in panel_document._WRITE_MSGS:
            panel_document._WRITE_BLOCK[document] = True  # the mark, without which nothing is sent
        await send(document)

    send_all.georeset = True  # type: ignore[attr-defined]
    panel_document._dispatch_msgs = send_all
