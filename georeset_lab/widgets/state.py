"""`Exploration`: what the panels of an explorer share. One selection, one set of modalities, one tool in the hand.

Panels never talk to each other: each observes traits here and sets traits here. Nothing is drawn in this file.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import traitlets

from georeset_lab.data.geometry import as_frame, burn, on_grid
from georeset_lab.embed.locate import lonlat_of, pixel_of
from georeset_lab.errors import OutsideScene

if TYPE_CHECKING:
    from georeset_lab.data.scene import Scene
    from georeset_lab.embed.embeddings import Embeddings

TOOLS = ("look", "label", "similar")
"""What a click on the map means: show me this place, give it my label, find more like it."""
FIRST_PICTURE_S = 10.0
"""Longest wait for the first picture of the map, of what may come after it."""
ANSWER_S = 1.0
"""The same for a later picture."""


class Click(NamedTuple):
    """A click on the map that hit a pixel."""

    row: int
    col: int
    lon: float
    lat: float


class _Kept(traitlets.Any):
    """A value that changed if it is another object; arrays and datasets have no plain answer to ``==``."""

    def set(self, obj: Any, value: Any) -> None:
        """Keep a value and tell the observers."""
        old = obj._trait_values.get(self.name)
        obj._trait_values[self.name] = value
        if old is not value:
            obj._notify_trait(self.name, old, value)


class Exploration(traitlets.HasTraits):
    """Scene, embeddings and what is selected in them.

    Parameters
    ----------
    emb : Embeddings
    scene : Scene, optional
        Pixels behind the map, for thumbnails, spectra and series; by default the scene the embeddings came from.
    """

    tool = traitlets.Enum(TOOLS, default_value="look")
    """Which panel takes the next click or shape."""
    clicked = traitlets.Instance(Click, allow_none=True)
    """Last click; set it by `click`, so that a second one on the same pixel counts too. None in between."""
    drawn = traitlets.Dict(allow_none=True, default_value=None)
    """Last shape drawn on the map: a GeoJSON geometry in degrees."""
    point = traitlets.Instance(Click, allow_none=True)
    """Place that is looked at; follows every click, whatever the tool."""
    selected = _Kept(None, allow_none=True)
    """Flat indices, sorted int64, of the pixels that are brushed; None: nothing is."""
    present = traitlets.Tuple()
    """Modalities that are fused now; at least one."""
    prediction = _Kept(None, allow_none=True)
    """What the live probe says (`Probe.predict`), or None."""
    similarity = _Kept(None, allow_none=True)
    """Last `georeset_lab.embed.search.Similar`, or None."""
    status = traitlets.Unicode("")
    """One line for the user: what is being done, or what went wrong and what to do."""

    def __init__(self, emb: Embeddings, scene: Scene | None = None) -> None:
        super().__init__()
        self.emb = emb
        self.scene = scene if scene is not None else getattr(emb, "scene", None)
        self.present = tuple(emb.modalities)
        self._fused = lru_cache(maxsize=4)(lambda names: emb if names == tuple(emb.modalities) else emb.only(*names))
        self.painted = threading.Event()
        """Not set while a picture is on its way to the screen: what it does not need begins when it is there."""
        self.painted.set()
        self._watched = False
        self._loop = _running_loop()
        self.deliver: Callable[[Callable[[], None]], None] = self._deliver
        """Runs a function where widgets may be changed; a served app puts its document's queue here."""

    @property
    def current(self) -> Embeddings:
        """Embeddings of the modalities that are switched on; nothing is encoded again."""
        found: Embeddings = self._fused(self.present)
        return found

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        rows, cols = self.emb.shape
        return int(rows), int(cols)

    def click(self, lon: float, lat: float) -> None:
        """Take a click on the map; one outside the scene is none."""
        found = self.click_at(lon, lat)
        if found is not None:
            if self.tool != "look":
                self.expect_picture()
            self.clicked = None
            self.clicked = found

    def click_at(self, lon: float, lat: float) -> Click | None:
        """The pixel under a place in degrees; None outside the map."""
        try:
            return Click(*pixel_of(self.emb.grid, lon, lat), lon, lat)
        except OutsideScene:
            return None

    def place_of(self, row: int, col: int) -> Click:
        """The centre of a pixel, in degrees."""
        lon, lat = lonlat_of(self.emb.grid, row, col)
        return Click(row, col, float(lon), float(lat))

    def pixels_in(self, geometry: dict[str, Any]) -> np.ndarray:
        """Flat indices, sorted, of the pixels whose centre lies in a GeoJSON geometry in degrees."""
        frame = on_grid(as_frame(geometry), self.emb.grid)
        return np.flatnonzero(burn(list(frame.geometry), self.emb.grid).ravel() >= 0)

    @traitlets.observe("clicked")
    def _look(self, change: dict[str, Any]) -> None:
        place = change["new"]
        if place is not None:
            # The tool goes first: its map is waited for, and all that is said of a place takes as long as a search.
            if self.painted.is_set():
                self.deliver(lambda: self._point_at(place))
            else:
                self.run(lambda: place, self._point_at, later=True)

    def _point_at(self, place: Click) -> None:
        if place is self.clicked:
            self.point = place

    @traitlets.observe("drawn")
    def _brush(self, change: dict[str, Any]) -> None:
        if change["new"] and self.tool == "look":
            self.selected = self.pixels_in(change["new"])

    def run(
        self,
        job: Callable[[], Any],
        done: Callable[[Any], None],
        *,
        doing: str = "",
        now: bool = False,
        later: bool = False,
    ) -> None:
        """Compute beside the interface, then hand the answer over where widgets may be changed.

        Parameters
        ----------
        job : callable
            Touches no widget and no trait. What it raises is shown in `status`.
        done : callable
            Gets the answer.
        doing : str
            Shown in `status` meanwhile.
        now : bool
            Wait for the answer here: for what `ahead` began before.
        later : bool
            Begin when the picture that is on its way is on the screen; the work would slow it down.
        """
        if doing:
            self.status = doing

        def finish(answer: Any, error: Exception | None) -> None:
            if doing and self.status == doing:
                self.status = ""
            if error is not None:
                self.status = str(error)
            else:
                done(answer)

        here = now or not self.is_live  # a script or a test: no loop could hand anything over, and no browser paints

        def work() -> None:
            if later and not here:
                self.await_picture()
            try:
                answer, error = job(), None
            except Exception as err:  # a thread has nobody else to tell
                answer, error = None, err
            if now:
                finish(answer, error)
            else:
                self.deliver(lambda: finish(answer, error))

        if here:
            work()
        else:
            threading.Thread(target=work, daemon=True).start()

    def ahead(self, job: Callable[[], Any]) -> Callable[[], Any]:
        """Begin a job that takes a blink, beside what comes next; calling the result gives its answer, or raises."""
        if not self.is_live:
            return job
        pool = ThreadPoolExecutor(max_workers=1)
        answer = pool.submit(job)
        pool.shutdown(wait=False)
        return answer.result

    def expect_picture(self) -> None:
        """A picture is being made that somebody waits for; of no effect as long as no browser has shown one."""
        if self._watched:
            self.painted.clear()

    def no_picture(self) -> None:
        """None comes after all: what was there is right, or there is nothing to show."""
        self.painted.set()

    def see_picture(self) -> None:
        """A browser has painted the last picture that it was sent."""
        self._watched = True
        self.painted.set()

    def await_picture(self) -> None:
        """Return when no picture is on its way any more, or after `FIRST_PICTURE_S` or `ANSWER_S`; for threads."""
        if not self.painted.wait(ANSWER_S if self._watched else FIRST_PICTURE_S):
            self.painted.set()  # nobody looks on, or the page is hidden: the next need not wait as long again

    @property
    def is_live(self) -> bool:
        """Whether somebody looks on while things are computed; not so in a script or a test."""
        return self._loop is not None or self.is_served

    @property
    def is_served(self) -> bool:
        """Whether the widgets belong to a page that is written first and whose browser listens later."""
        return self.deliver != self._deliver

    def _deliver(self, call: Callable[[], None]) -> None:
        if self._loop is None or self._loop.is_closed():
            call()
        else:
            self._loop.call_soon_threadsafe(call)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None
