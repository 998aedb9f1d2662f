"""`keep_freed_memory`: the C library of a dask worker keeps what is freed while a tile is encoded.

Workers of dask start with ``MALLOC_TRIM_THRESHOLD_=65536``. By that, glibc asks the system for each array beyond 128 kB and
gives it back when it is freed, and the system clears all its pages for the next one: more work than the encoding itself.
``python -m tests.benchmarks.bench_tile spread`` times workers beside a process of its own.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLE = "MALLOC_TRIM_THRESHOLD_"
_TRIM, _MMAP = -1, -3  # parameters of mallopt(3)
_USUAL_MMAP = 128 << 10
_MOST_MMAP = 32 << 20
"""Largest that glibc takes; without the variable it comes there by itself."""

_lock = threading.Lock()
_inside = 0


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Undo the setting while tiles are encoded; afterwards all that was kept goes back, and the setting holds again.

    Does nothing without the variable, or where the C library is not glibc.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    _count(libc, +1)
    try:
        yield
    finally:
        _count(libc, -1)


def _count(libc: ctypes.CDLL, change: int) -> None:
    """Threads of one worker share its memory: the first one in changes the setting, the last one out restores it."""
    global _inside
    with _lock:
        if change > 0 and not _inside:
            libc.mallopt(_MMAP, _MOST_MMAP)
            libc.mallopt(_TRIM, 2 * _MOST_MMAP)
        _inside += change
        if not _inside:
            libc.mallopt(_MMAP, _USUAL_MMAP)
            libc.mallopt(_TRIM, int(os.environ[_VARIABLE]))
            libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it is glibc and was told to trim."""
    if not os.environ.get(_VARIABLE, "").isdecimal():
        return None
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no library of this kind
        return None
    return libc if hasattr(libc, "gnu_get_libc_version") else None
