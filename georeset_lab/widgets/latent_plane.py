"""`LatentPlane`: which pixels of a map are in the latent view and where they lie; UMAP is computed beside the interface.

No widget here: the view is told when something has changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from georeset_lab.embed.latent.landmarks import FEWEST, PointLayout, pca_layout, place_pixels, umap_layout
from georeset_lab.embed.latent.project import sample_points

if TYPE_CHECKING:
    from georeset_lab.widgets.state import Exploration

__all__ = ["LatentPlane", "in_steps"]

MOST_DRAWN = 1_000_000
"""Points sent to the browser: 5 MB of positions, painted in some 30 ms on an idle core."""
MOST_PLACED = 4_000_000
"""Pixels that are laid out, and that a lasso finds though only some are drawn; of larger maps `MOST_DRAWN` are."""
QUIET_S = 0.4
"""UMAP begins when the modalities were left alone for so long."""


class Placed(NamedTuple):
    """Pixels in the plane, and how the browser gets those that are drawn."""

    layout: PointLayout
    xy: np.ndarray
    """(N, 2) float32: places of all pixels that have one."""
    steps: np.ndarray
    """(K, 2) uint16: those of the drawn ones; see `in_steps`."""
    frame: dict[str, Any]


class _Pixels(NamedTuple):
    """Which pixels of a map are laid out, and which of these are drawn."""

    observed: int
    pixels: np.ndarray
    at: np.ndarray

    @classmethod
    def of(cls, observed: np.ndarray, seed: int) -> _Pixels:
        count = int(np.count_nonzero(observed))
        if count == 0:
            return cls(0, np.empty(0, np.int64), np.empty(0, np.int64))
        limit = count if count <= MOST_PLACED else MOST_DRAWN
        pixels = sample_points(observed, seed=seed, limit=limit)
        return cls(count, pixels, sample_points(np.ones(len(pixels), bool), seed=seed, limit=MOST_DRAWN))


class LatentPlane:
    """Pixels and their places in the plane, for the modalities that are switched on.

    Parameters
    ----------
    state : Exploration
    seed : int
        Drives the draw, the landmarks and UMAP.
    cache : Path or None
        Folder of UMAP layouts.
    tell : callable
        Gets what is being computed, "" when nothing is, and is called where widgets may be changed.
    arrived : callable
        Called when a layout is there, PCA or UMAP.
    failed : callable
        Gets why it will not be.
    """

    def __init__(
        self,
        state: Exploration,
        *,
        seed: int,
        cache: Path | None,
        tell: Callable[[str], None],
        arrived: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        self._state, self._seed, self._cache = state, seed, cache
        self._tell, self._arrived, self._failed = tell, arrived, failed
        self._turn = self._asked = 0
        self._job: threading.Thread | None = None
        self._layouts: dict[str, Placed] = {}
        self.count = 0
        """Observed pixels of the map."""
        self.pixels = np.empty(0, np.int64)
        """Flat indices, sorted, of the pixels that have a place: all that are observed, but for the largest maps."""
        self.drawn = np.empty(0, np.int64)
        """Flat indices, sorted, of those that are drawn."""
        self._at = np.empty(0, np.int64)

    def refresh(self) -> None:
        """Take the modalities that are switched on now: PCA as soon as it is computed, and no layout of those before.

        What was there stays until then, and `arrived` is called.
        """
        self.stop()
        self._asked += 1
        asked, emb, seed = self._asked, self._state.current, self._seed

        def job() -> tuple[_Pixels, Placed | None]:
            found = _Pixels.of(emb.observed, seed)
            if not found.observed:
                return found, None
            layout = pca_layout(emb)
            return found, _placed(layout, place_pixels(emb, layout, found.pixels), found.at)

        def done(answer: tuple[_Pixels, Placed | None]) -> None:
            if asked != self._asked:
                return
            found, placed = answer
            self.stop()
            self.count, self.pixels, self._at = found
            self.drawn = self.pixels[self._at]
            self._layouts = {} if placed is None else {"pca": placed}
            self._arrived()

        self._state.run(job, done, later=True)

    def shown(self, kind: str) -> Placed | None:
        """The layout of this kind, or PCA as long as it is not there; None without pixels."""
        return self._layouts.get(kind) or self._layouts.get("pca")

    def want_umap(self) -> None:
        """See to it that UMAP is computed, unless it is there or on its way; returns at once."""
        if "umap" in self._layouts or self._job is not None:
            return
        if self.count < FEWEST:
            self._failed(f"UMAP needs {FEWEST} observed pixels, this map has {self.count}; PCA works with any.")
            return
        self._tell("UMAP is being started")
        self._job = threading.Thread(target=self._compute, args=(self._turn, self._state.current), daemon=True)
        self._job.start()

    def stop(self) -> None:
        """Give up what is being computed."""
        self._turn += 1
        if self._job is not None:
            self._job = None
            self._tell("")

    def _compute(self, turn: int, emb: Any) -> None:
        """In a thread. What belongs to an earlier turn is thrown away, here and where it is delivered."""

        def stale() -> bool:
            return turn != self._turn

        def deliver(call: Callable[[], None]) -> None:
            self._state.deliver(lambda: None if stale() else call())

        def words(text: str) -> None:
            deliver(lambda: self._tell(text))

        time.sleep(QUIET_S)
        self._state.await_picture()
        try:
            if stale():
                return
            layout = umap_layout(emb, seed=self._seed, cancelled=stale, cache=self._cache, tell=words)
            if layout is not None:
                made = _placed(layout, place_pixels(emb, layout, self.pixels, cancelled=stale), self._at)
                deliver(lambda: self._finish(made))
        except Exception as err:  # a thread has nobody else to tell
            why = str(err)
            deliver(lambda: self._finish(why))

    def _finish(self, answer: Placed | str) -> None:
        self._job = None
        self._tell("")
        if isinstance(answer, str):
            self._failed(answer)
        else:
            self._layouts["umap"] = answer
            self._arrived()


def _placed(layout: PointLayout, xy: np.ndarray, at: np.ndarray) -> Placed:
    steps, frame = in_steps(xy[at])
    return Placed(layout, xy, steps, {**frame, "kind": layout.kind, "axes": list(layout.axes)})


def in_steps(xy: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Positions (K, 2) as uint16 in steps of one size for both axes, and how to read them.

    Returns
    -------
    steps : numpy.ndarray (K, 2), little-endian uint16
    frame : x0, y0, step; box (left, bottom, right, top): what to show, all but a few points that lie far off
    """
    low, high = xy.min(axis=0).astype(float), xy.max(axis=0).astype(float)
    step = max(float((high - low).max()) / 65535, 1e-12)
    inner = np.percentile(xy, (0.1, 99.9), axis=0)
    room = 0.35 * (inner[1] - inner[0])
    first, last = np.maximum(low, inner[0] - room), np.minimum(high, inner[1] + room)
    frame = {"x0": float(low[0]), "y0": float(low[1]), "step": step, "box": [*first.tolist(), *last.tolist()]}
    return np.rint((xy - low) / step).astype("<u2"), frame
