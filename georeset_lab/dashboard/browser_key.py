"""`BrowserKey`: the few words that a page and its browser exchange about who it is; the browser's half is `browser.js`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bokeh.models import CustomJS
from bokeh.models.widgets import TextInput

__all__ = ["BrowserKey", "key_in"]


class BrowserKey:
    """Hidden inputs through which a browser names the key of its workspace and learns the one it is given.

    Parameters
    ----------
    document : bokeh.document.Document
    named : callable
        Called with what the browser sent: a key, or an empty text.
    """

    def __init__(self, document: Any, named: Callable[[str], None]) -> None:
        self._asked, self._issued = (TextInput(visible=False, name=name) for name in ("asked", "issued"))
        code = (Path(__file__).parent / "browser.js").read_text(encoding="utf-8")
        script = CustomJS(args={"asked": self._asked, "issued": self._issued}, code=code)
        document.js_on_event("document_ready", script)
        lost = CustomJS(code="document.getElementById('georeset-lost').hidden = false")
        document.js_on_event("connection_lost", lost)
        self._asked.on_change("value", lambda _name, _old, new: named(key_in(new)))
        self.models: list[Any] = [self._asked, self._issued]
        """To be added to the document."""

    def issue(self, key: str) -> None:
        """Tell the browser which key to keep."""
        self._issued.value = key


def key_in(text: str) -> str:
    """The key in what a browser sent; empty if there is none."""
    try:
        key = json.loads(text).get("key", "")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return key if isinstance(key, str) and len(key) < 200 else ""
