"""`collector_rests`: no search for garbage while much is made that stays."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collector_rests"]

_LOCK = threading.Lock()
_inside: list[bool] = []


@contextmanager
def collector_rests() -> Iterator[None]:
    """Python's garbage collector looks for no cycles inside; reference counts free memory as ever.

    Importing leafmap and building an explorer make a hundred thousand objects that stay. The collector takes them for a
    reason to look through everything there is, torch included: 0.2 s each time, twice or more before the first picture.
    """
    with _LOCK:
        _inside.append(gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _LOCK:
            # Of several threads the last to leave gives back what the first had found.
            if len(_inside) > 1:
                _inside.pop()
            elif _inside.pop():
                gc.enable()
