"""`compiled`: how this package compiles the loops that must run at memory speed. numba, kept in the user's cache folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numba

__all__ = ["compiled"]

# Beside the source, compiled loops would outlive an uninstalled package: an empty folder of its name, which Python takes
# for the package when the next one is installed as editable.
if not vars(numba.config)["CACHE_DIR"]:
    vars(numba.config)["CACHE_DIR"] = str(Path.home() / ".cache" / "georeset_lab" / "numba")

_FASTMATH = {"reassoc", "contract", "nsz", "arcp", "afn"}
"""Floating-point sums may be reordered (that is what lets them run in vector registers), but NaN keeps its meaning."""


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """The function as a machine-code loop that releases the GIL; compiled at its first call, then read from the cache."""
    # Python's error model would test each division for zero, and no loop with a test in it is vectorised.
    compile_ = numba.njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
    loop: Callable[..., None] = compile_(function)
    return loop
