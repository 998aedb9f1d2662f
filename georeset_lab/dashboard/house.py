"""`House`: what all pages of one server share. Nothing in it belongs to a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from georeset_lab.dashboard.encodings import Encodings
from georeset_lab.dashboard.sources import Source
from georeset_lab.dashboard.uploads import Desks, Limits
from georeset_lab.dashboard.workspaces import Workspaces

if TYPE_CHECKING:
    from georeset_lab.embed.labels.book import LabelBook
    from georeset_lab.widgets.state import Exploration

__all__ = ["House", "MakeExplorer"]


class MakeExplorer(Protocol):
    """Builds the explorer of one page.

    It must make all its widgets in the call or in functions handed to ``state.deliver``: only there does Panel know
    whose they are. It must not let the browser name a file of the server.
    """

    def __call__(self, state: Exploration, *, book: LabelBook) -> Any:
        """An ipywidget that shows and changes ``state`` and ``book``."""


@dataclass(eq=False)
class House:
    """What the pages share."""

    sources: list[Source]
    encodings: Encodings
    workspaces: Workspaces
    make_explorer: MakeExplorer
    limits: Limits | None
    """Of uploads; None if there are none."""
    max_pages: int
    desks: Desks = field(default_factory=Desks)
    pages: set[Any] = field(default_factory=set)
    """Pages that are open now."""
    login: Callable[[], str] = lambda: ""
    """Name of the user of the current page; empty without a login."""

    @property
    def full(self) -> bool:
        """Whether another page would be one too many."""
        return len(self.pages) >= self.max_pages

    def close(self) -> None:
        """End of the server."""
        for page in list(self.pages):
            page.close()
        self.workspaces.close()
