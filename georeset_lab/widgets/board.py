"""`Board`: HTML that Python draws and whose clicks come back as plain lists. The views of one place are made of it.

One small anywidget instead of many controls: it looks the same in JupyterLab, VS Code and Panel, and loads nothing. What
is drawn is up to the subclasses; whoever writes HTML escapes what users or files gave (``charts.py`` does).
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import traitlets

__all__ = ["Board"]

_HERE = Path(__file__).parent
_PICTURE = re.compile(r'<img data-pic="([^"]*)"')
_MARKS = '<i class="gl-marks"></i>'


class Board(anywidget.AnyWidget):
    """Parts of HTML, one below the other, and what is clicked in them.

    An element with ``data-do="what"`` (and perhaps ``data-value``) reports clicks; a check box reports its state. In an
    element of class ``gl-map`` the place of the click is reported too. ``<img data-pic="key">`` shows a picture of
    `pictures`, so that text can change without sending pixels again.
    """

    _esm = _HERE / "board.js"
    css = traitlets.Unicode().tag(sync=True)
    """Style sheet; a trait because a sheet of the page does not reach into Panel's shadow root."""
    parts = traitlets.Dict(value_trait=traitlets.Unicode()).tag(sync=True)
    """HTML of each part, in order; only parts that change are drawn again."""
    pictures = traitlets.Dict(value_trait=traitlets.Unicode()).tag(sync=True)
    """PNG data URLs by key."""
    marks: traitlets.List = traitlets.List().tag(sync=True)
    """Places (x, y) as fractions of the pictures of class ``gl-map``, each marked with a ring."""
    said: traitlets.List = traitlets.List().tag(sync=True)
    """Last click: [time, what, value, checked or None, x or None, y or None]; x and y are fractions of the picture."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(css=_style(), **kwargs)
        self.observe(self._said, "said")

    def heard(self, what: str, value: str, *, checked: bool | None, at: tuple[float, float] | None) -> None:
        """Answer a click; subclasses say how.

        Parameters
        ----------
        what, value : str
            ``data-do`` and ``data-value`` of the element.
        checked : bool or None
            State of a check box.
        at : (x, y) or None
            Where in a picture, as fractions from its upper left corner.
        """

    def put(self, **parts: str) -> None:
        """Draw these parts; the others stay. An empty one keeps its place and is not seen."""
        self.parts = {**self.parts, **parts}

    def to_html(self) -> str:
        """The same as a piece of HTML that needs no kernel: pictures inside, nothing to click."""
        rings = "".join(f'<i style="left:{100 * x:.2f}%;top:{100 * y:.2f}%"></i>' for x, y in self.marks)
        body = "".join(f"<div>{part}</div>" for part in self.parts.values())
        body = _PICTURE.sub(lambda m: f'<img src="{self.pictures.get(m[1], "")}"', body)
        body = body.replace(_MARKS, f'<i class="gl-marks">{rings}</i>')
        return f'<div class="gl-board"><style>{self.css}</style>{body}</div>'

    def _said(self, change: dict[str, Any]) -> None:
        # From the browser: shapes are checked, as anything may be sent.
        said = change["new"]
        if len(said) != 6 or not (isinstance(said[1], str) and isinstance(said[2], str)):
            return
        _, what, value, checked, x, y = said
        inside = all(isinstance(v, int | float) and 0 <= v <= 1 for v in (x, y))
        self.heard(what, value, checked=None if checked is None else bool(checked), at=(x, y) if inside else None)


@cache
def _style() -> str:
    return (_HERE / "board.css").read_text(encoding="utf-8")
