"""`in_threads`: pieces of work on a CPU, each done in one thread, as many at once as torch may use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Barrier
from typing import TypeVar

import torch

__all__ = ["in_threads"]

T = TypeVar("T")


def in_threads(work: Callable[[T], None], pieces: Iterable[T], device: torch.device) -> None:
    """Do ``work`` on each piece, in any order; an error of one is raised when all that have begun have ended.

    torch would split each operation over its threads and wait for the slowest each time. Handing out whole pieces that
    fit a core's cache costs less, and takes along the compiled loops, each of which runs in one thread.

    Parameters
    ----------
    work : callable
        Called by several threads at once; what it writes for one piece, no other piece may need.
    pieces : iterable
    device : torch.device
        Where the tensors are. The pieces follow each other on any but a CPU, and outside of ``torch.inference_mode``:
        a thread of its own would know nothing of gradients.
    """
    pieces = list(pieces)
    alone = device.type != "cpu" or not torch.is_inference_mode_enabled()
    n = 1 if alone else min(torch.get_num_threads(), len(pieces))
    if n < 2:
        for piece in pieces:
            work(piece)
        return
    threads, todo, begun = torch.get_num_threads(), iter(pieces), Barrier(n + 1)

    def labour() -> None:
        torch.get_num_threads()  # a thread takes the number of all at its first use of torch; only then has it its own
        torch.set_num_threads(1)  # of this thread, and of all that begin to use torch from now on ...
        begun.wait()
        with torch.inference_mode():
            for piece in todo:  # the iterator is shared: each piece goes to one thread
                work(piece)

    with ThreadPoolExecutor(n, "encode-part") as pool:
        try:
            labours = [pool.submit(labour) for _ in range(n)]
            begun.wait()
        except BaseException:  # else those that have begun would wait for ever
            begun.abort()
            raise
        finally:
            torch.set_num_threads(threads)  # ... which holds no longer
        try:
            wait(labours, return_when=FIRST_EXCEPTION)
        finally:
            for _ in todo:  # what has not begun; nothing, unless one failed or the call is interrupted
                pass
    for each in labours:
        each.result()
