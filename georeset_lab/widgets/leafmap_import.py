"""`import_leafmap`: leafmap in less than half the time, without the parts of it that no map of ours uses until someone does."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from georeset_lab.widgets.collector import collector_rests

__all__ = ["import_leafmap", "preload"]

LATER = ("leafmap.pc", "plotly.express")
"""Modules that leafmap 0.63 imports as a whole and uses only in functions: catalogues of Planetary Computer (with all of
pystac-client and its JSON schemas, 1.4 s on one core) and charts (0.5 s)."""
_LOCK = threading.RLock()


def import_leafmap() -> Any:
    """The module leafmap, as ``import leafmap`` gives it; modules of `LATER` are executed at their first use.

    Notes
    -----
    By `importlib.util.LazyLoader`: such a module is itself from the start, also for code that is not ours, and fills at
    the first look at any of its names. What was imported before stays as it is.
    """
    with _LOCK, _lazily(LATER), collector_rests():
        importlib.import_module("leafmap.leafmap")
    return sys.modules["leafmap"]


def preload() -> None:
    """Begin to import leafmap in the background, while something else is waited for."""
    threading.Thread(target=import_leafmap, daemon=True).start()


@contextmanager
def _lazily(names: Iterable[str]) -> Iterator[None]:
    finder = _Later(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Later(importlib.abc.MetaPathFinder):
    """Finds some modules, to be executed at their first use."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._names:
            return None
        self._names.discard(fullname)  # what it imports by this name, and the search below, must find the module itself
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec
