"""Embeddings in two dimensions by UMAP, from a process of its own. PCA, which is instant, is in ``pictures.py``."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from georeset_lab.errors import NothingObserved

MAX_POINTS = 2000
"""Points drawn at most; more cover each other on a screen and make UMAP slow."""


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

    Start it early: importing and compiling cost 10 to 40 s of one core, the layout of 2,000 points one or two. Use it
    as a context manager, so that the process ends in any case.

    Examples
    --------
    >>> with UmapWorker() as umap:  # doctest: +SKIP
    ...     vectors = some_long_job()
    ...     umap.give(vectors)
    ...     xy = umap.result(within_s=20)  # None if it was not ready
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="georeset_umap_")
        self._given = Path(self._folder.name) / "vectors.npy"
        self._out = Path(self._folder.name) / "xy.npy"
        self._since = time.monotonic()
        command = [sys.executable, "-m", "georeset_lab.embed.project", str(self._given), str(self._out)]
        quiet = subprocess.DEVNULL
        # One thread each: the caller is working at the same time.
        env = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, env=env)

    def give(self, vectors: np.ndarray, *, seed: int = 0) -> None:
        """Hand over vectors (K, D), at most a few thousand; returns at once and starts the clock of `result`."""
        np.save(self._given, np.asarray(vectors, dtype=np.float32), allow_pickle=False)
        self._since = time.monotonic()
        if self._process.stdin is not None and self._process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(f"{seed}\n".encode())
                self._process.stdin.close()

    def result(self, *, within_s: float) -> np.ndarray | None:
        """Coordinates (K, 2), float32, or None if they were not ready ``within_s`` seconds after `give`."""
        left = max(0.0, within_s - (time.monotonic() - self._since))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=left)
        return np.load(self._out, allow_pickle=False) if self._out.exists() else None

    def close(self) -> None:
        """Stop the process, if it still runs, and remove its files."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._folder.cleanup()

    def __enter__(self) -> UmapWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def nearest(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact nearest neighbours by cosine, itself first: indices and distances, both (K, k)."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    distance = np.clip(1 - unit @ unit.T, 0, 2).astype(np.float32)
    np.fill_diagonal(distance, -1)  # first even where another point is identical
    index = np.argsort(distance, axis=1, kind="stable")[:, :k].astype(np.int32)
    return index, np.maximum(np.take_along_axis(distance, index, axis=1), 0)


def _layout(vectors: np.ndarray, seed: int) -> np.ndarray:
    import umap

    k = min(15, len(vectors) - 1)
    # Neighbours found here spare UMAP a search whose compilation costs more than the search.
    fit = umap.UMAP(
        n_neighbors=k,
        metric="cosine",
        init="pca",
        n_epochs=200,
        n_jobs=1,
        random_state=seed,
        precomputed_knn=nearest(vectors, k),
    )
    return np.asarray(fit.fit_transform(vectors), dtype=np.float32)


def _serve(given: Path, out: Path) -> None:
    _layout(np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32), 0)  # compiles
    line = sys.stdin.readline()
    if line:
        partial = out.with_suffix(".part.npy")
        np.save(partial, _layout(np.load(given, allow_pickle=False), int(line)), allow_pickle=False)
        partial.replace(out)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), Path(sys.argv[2]))
