"""`Beacon` and `hold_messages`: each widget of a page is told each thing once, and not before it exists.

Panel sends the state of all widgets at once, and also a message for each widget that was made and each change. Three
things would go wrong. A browser that has heard of a widget by its state and then hears by message that it was made makes
it a second time, and later changes reach the one that nobody sees. What is said in the second in which the browser loads
the libraries is lost: the first picture of a map, computed in a thread, would never be seen. So messages that the state
already holds are dropped, and later ones wait until an invisible widget among the others was drawn.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anywidget
import traitlets

__all__ = ["Beacon", "drop_messages", "hold_messages"]

PATIENCE_MS = 60_000
"""After so long messages are sent anyway: a browser that shows nothing has told its user why."""


class Beacon(anywidget.AnyWidget):
    """Draws nothing; `seen` is more than 0 once a browser has drawn it."""

    _esm = Path(__file__).parent / "beacon.js"

    seen = traitlets.Int(0).tag(sync=True)


def drop_messages(document: Any, widget: Any) -> None:
    """Forget the messages that wait to be sent about a widget and what is in it.

    To be called right after their state was taken, in the same call of the server's loop.
    """
    from ipywidgets.embed import dependency_state

    session = _session(document)
    if session is not None:
        inside = set(dependency_state([widget], drop_defaults=True))
        session._queue = [event for event in session._queue if _about(event.msg_data) not in inside]


def hold_messages(document: Any, beacon: Beacon) -> None:
    """Keep back the messages to the widgets of a document until its beacon was seen."""
    session = _session(document)
    if session is None:
        return
    session._dispatch = _nothing

    def release(_: Any = None) -> None:
        # The attribute hides the method of the class, until it goes.
        if session.__dict__.pop("_dispatch", None) is not None and document.session_context is not None:
            document.add_next_tick_callback(session._dispatch)

    document.add_timeout_callback(release, PATIENCE_MS)
    beacon.observe(release, "seen")


def _session(document: Any) -> Any:
    from panel.io.state import state

    kernel = state._ipykernels.get(document)
    return None if kernel is None else kernel.session


def _about(data: str | bytes) -> str:
    """Id of the widget that a message is about."""
    if isinstance(data, bytes):  # count and offsets of the parts, the message, its buffers
        start, end = (int.from_bytes(data[i : i + 4], "big") for i in (4, 8))
        data = data[start:end]
    return str(json.loads(data).get("content", {}).get("comm_id", ""))


def _nothing() -> None:
    """What Panel calls to send messages, while they wait."""
