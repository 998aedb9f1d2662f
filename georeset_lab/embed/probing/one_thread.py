"""`one_blas_thread`: many small products on one core. Threads that share them spend their time waiting for each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

__all__ = ["one_blas_thread"]

_OWNER = threading.Lock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """NumPy's and SciPy's BLAS keep to one thread inside, in the whole process.

    Notes
    -----
    Every step of a fit is a product of some thousand samples and a dozen columns. With two threads on two cores that
    something else uses too, a probe on 4,443 labels of 11 classes took more than 400 s instead of 14: OpenBLAS has each
    thread spin until the other has done its part, and that one has no core.
    The number belongs to the process: of several users at once the first sets it, and puts it back when it leaves. A
    second that restored what it had found would leave one thread for ever.
    """
    if not _OWNER.acquire(blocking=False):
        yield
        return
    try:
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        _OWNER.release()


@cache
def _controller() -> Any:
    """Finding the libraries takes some 10 ms, setting them 0.1."""
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
