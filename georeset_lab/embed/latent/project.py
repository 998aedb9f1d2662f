"""Embeddings in two dimensions by UMAP, from a process of its own. Maps are laid out in ``landmarks.py``."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

from georeset_lab.embed.latent.neighbours import nearest
from georeset_lab.errors import NothingObserved

__all__ = ["UmapWorker", "nearest", "sample_points"]

MAX_POINTS = 2000
"""Points that the page of `georeset demo` draws; more of its circles would cover each other."""
EPOCHS = 200
"""Rounds of optimisation for a few thousand points: what umap-learn takes for 10,000 and more."""
IDLE_S = 900.0
"""A worker that nobody gives anything for so long ends itself; it holds some 300 MB."""
POLITENESS = 10
"""Niceness of a polite worker."""


def sample_points(observed: np.ndarray, *, seed: int = 0, limit: int = MAX_POINTS) -> np.ndarray:
    """Flat indices of observed pixels, at most ``limit``, drawn without replacement and sorted.

    Parameters
    ----------
    observed : numpy.ndarray, shape (N,) or (Y, X), bool
        Pixels that some modality measured.
    seed : int
        Drives the draw.
    limit : int
        Most points returned.

    Returns
    -------
    numpy.ndarray, shape (K,), int64

    Raises
    ------
    NothingObserved
        No pixel is observed.
    """
    there = np.flatnonzero(observed)
    if there.size == 0:
        raise NothingObserved(
            "No pixel was measured, so there is nothing to project. Check the scene's mask and nodata."
        )
    if there.size > limit:
        there = np.sort(np.random.default_rng(seed).choice(there, limit, replace=False))
    return there


class UmapWorker:
    """A process that gets UMAP imported and compiled while the caller does something else, then lays points out.

    Start it early: importing and compiling cost 10 to 40 s of one core, the layout of a few thousand points one or two.
    It takes one job after the other until it is closed, its owner ends, or nothing was given for `IDLE_S`. Use it as a
    context manager, so that the process ends in any case.

    Parameters
    ----------
    polite : bool
        Let whatever else runs here have the processor first, for work that nobody waits for; not on Windows.

    Examples
    --------
    >>> with UmapWorker() as umap:  # doctest: +SKIP
    ...     vectors = some_long_job()
    ...     umap.give(vectors)
    ...     xy = umap.result(within_s=20)  # None if it was not ready
    """

    def __init__(self, *, polite: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="georeset_umap_", ignore_cleanup_errors=True)
        self._root = Path(self._folder.name)
        self._writing = threading.Lock()
        self._since: dict[int, float] = {}
        command = [
            sys.executable,
            "-m",
            "georeset_lab.embed.latent.project",
            str(self._root),
            *(["polite"] if polite else []),
        ]
        quiet = subprocess.DEVNULL
        # One thread each: the caller is working at the same time.
        env = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        # A session of its own: who kills a notebook kernel with all its children leaves it the moment to clean up.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, env=env, start_new_session=True
        )

    @property
    def alive(self) -> bool:
        """False once the process has ended."""
        return self._process.poll() is None

    @property
    def warm(self) -> bool:
        """True once UMAP is imported and compiled."""
        return (self._root / "warm").exists()

    def give(self, vectors: np.ndarray, *, seed: int = 0, epochs: int = EPOCHS) -> int:
        """Hand over vectors (K, D), at most some ten thousand; returns at once, with the number of the job.

        The clock of `result` starts. A worker that has ended takes nothing; `result` is None then.
        """
        with self._writing:
            job = len(self._since)
            self._since[job] = time.monotonic()
            with contextlib.suppress(OSError, ValueError):  # ended, or closed by another thread
                np.save(self._given(job), np.asarray(vectors, dtype=np.float32), allow_pickle=False)
                if self._process.stdin is not None:
                    self._process.stdin.write(f"{job} {seed} {epochs}\n".encode())
                    self._process.stdin.flush()
        return job

    def result(self, job: int | None = None, *, within_s: float) -> np.ndarray | None:
        """Coordinates (K, 2), float32, or None if they were not ready ``within_s`` seconds after `give`.

        Of the last job, unless another is named.
        """
        job = len(self._since) - 1 if job is None else job
        done = self._root / f"xy-{job}.npy"
        until = self._since.get(job, 0.0) + within_s
        while not done.exists() and self.alive and time.monotonic() < until:
            time.sleep(0.02)
        return np.load(done, allow_pickle=False) if done.exists() else None

    def forget(self, job: int) -> None:
        """Remove the files of a job; one that has not begun is left out."""
        for file in (self._given(job), self._root / f"xy-{job}.npy"):
            file.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop the process, if it still runs, and remove its files."""
        if self.alive:
            self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._folder.cleanup()

    def __enter__(self) -> UmapWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _given(self, job: int) -> Path:
        return self._root / f"vectors-{job}.npy"


def _layout(vectors: np.ndarray, seed: int, epochs: int) -> np.ndarray:
    import umap

    k = min(15, len(vectors) - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that its own transform will not work: nobody calls it
        # Neighbours found here spare UMAP a search whose compilation costs more than the search.
        fit = umap.UMAP(
            n_neighbors=k,
            metric="cosine",
            init="pca",
            n_epochs=epochs,
            n_jobs=1,
            random_state=seed,
            precomputed_knn=nearest(vectors, k),
        )
        return np.asarray(fit.fit_transform(vectors), dtype=np.float32)


def _serve(root: Path) -> None:
    """Lay out what the owner names on standard input, until it is closed."""
    lines: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        while line := sys.stdin.readline():
            lines.put(line)
        lines.put("")

    threading.Thread(target=listen, daemon=True).start()
    _layout(np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32), 0, 5)  # compiles
    (root / "warm").touch()
    with contextlib.suppress(queue.Empty):
        while line := lines.get(timeout=IDLE_S):
            job, seed, epochs = map(int, line.split())
            with contextlib.suppress(FileNotFoundError):  # the owner has forgotten this job
                vectors = np.load(root / f"vectors-{job}.npy", allow_pickle=False)
                partial = root / f"part-{job}.npy"
                np.save(partial, _layout(vectors, seed, epochs), allow_pickle=False)
                partial.replace(root / f"xy-{job}.npy")
        shutil.rmtree(root, ignore_errors=True)  # the owner has closed the pipe, perhaps by being killed


if __name__ == "__main__":
    if "polite" in sys.argv and hasattr(os, "nice"):
        os.nice(POLITENESS)
    _serve(Path(sys.argv[1]))
