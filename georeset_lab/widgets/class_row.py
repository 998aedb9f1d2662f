"""`ClassRow`: one class of the labeller: its colour, its name to choose it by, how many labels it has, and a way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as ipw

__all__ = ["ClassRow"]


class ClassRow(ipw.HBox):
    """A row that is made once for a class and follows it, so that a label sends a number and not a dozen widgets.

    Parameters
    ----------
    name : str
    choose, drop : callable
        Called when the class is chosen, or is to be removed.
    recolour : callable
        Called with the new colour.
    """

    def __init__(
        self, name: str, *, choose: Callable[[], None], recolour: Callable[[str], None], drop: Callable[[], Any]
    ) -> None:
        self._showing = False
        self._pick = ipw.ToggleButton(
            description=name, tooltip=f"Clicks on the map get the label {name}", layout=ipw.Layout(width="200px")
        )
        self._paint = ipw.ColorPicker(concise=True, layout=ipw.Layout(width="34px"))
        self._paint.tooltip = f"Colour of {name}"
        self._count = ipw.HTML(layout=ipw.Layout(width="80px"))
        gone = ipw.Button(
            icon="trash", tooltip=f"Remove the class {name} and its labels", layout=ipw.Layout(width="auto")
        )
        self._pick.observe(lambda _: None if self._showing else choose(), "value")
        self._paint.observe(lambda change: None if self._showing else recolour(change["new"]), "value")
        gone.on_click(lambda _: drop())
        super().__init__([self._paint, self._pick, self._count, gone])
        self.add_class("gr-row")

    def close(self) -> None:
        """Remove the row and all that is in it."""
        for part in self.children:
            part.close()
        super().close()

    def show(self, colour: str, count: int, *, chosen: bool) -> None:
        """Show the class as it is now; tells nobody."""
        self._showing = True
        try:
            self._paint.value, self._pick.value = colour, chosen
            self._count.value = f"{count} label{'s' if count != 1 else ''}"
        finally:
            self._showing = False
