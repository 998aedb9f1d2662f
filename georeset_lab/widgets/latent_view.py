"""`LatentView`: the pixels of a map without the map, laid out by what they are. PCA at once, UMAP when it is ready.

Where points lie is in ``latent_plane.py``, what their colour means in ``latent_colours.py``; the drawing is in
``latent_points.js`` and ``latent_view.js``. Positions and colours go to the browser as base64, what comes back is JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets

from georeset_lab.data.points import is_points
from georeset_lab.embed.latent.inside import points_inside
from georeset_lab.embed.latent.layout_cache import CACHE
from georeset_lab.errors import InvalidOption
from georeset_lab.widgets.latent_colours import Extra, choices, colouring
from georeset_lab.widgets.latent_plane import LatentPlane

if TYPE_CHECKING:
    from georeset_lab.widgets.state import Exploration

__all__ = ["Extra", "LatentView"]

_HERE = Path(__file__).parent


class LatentView(anywidget.AnyWidget):
    """Scatter of a map's embeddings, linked to the other panels through an `Exploration`.

    Drag moves, the wheel zooms, Shift and drag (or the lasso button) selects, a click looks at a pixel.

    Parameters
    ----------
    state : Exploration
    extras : mapping of key to Extra, optional
        More colourings to choose from: published classes, dates.
    seed : int
        The same seed gives the same picture.
    cache : Path, optional
        Folder of UMAP layouts; None keeps none.

    Examples
    --------
    >>> view = LatentView(state)  # doctest: +SKIP
    >>> view.colour_by = "certainty:s2"  # doctest: +SKIP
    """

    _linked = False
    _esm = traitlets.Unicode().tag(sync=True)
    css = traitlets.Unicode().tag(sync=True)
    """Style sheet; a trait because a sheet of the page does not reach into Panel's shadow root."""
    plane = traitlets.Enum(("pca", "umap"), "umap").tag(sync=True)
    """What is wanted; PCA is shown until UMAP is there."""
    colour_by = traitlets.Unicode().tag(sync=True)
    """Key of one of `choices`."""
    choices: traitlets.List = traitlets.List().tag(sync=True)
    """Pairs of key and name: what colour can mean now."""
    class_colours: traitlets.Dict = traitlets.Dict()
    """CSS colour (#rrggbb) of a class by its name, where the user has chosen one; set by whoever owns the labels."""
    height = traitlets.Int(400).tag(sync=True)
    """Of the plot, in CSS pixels."""
    points = traitlets.Unicode().tag(sync=True)
    """base64 of little-endian uint16 (K, 2): steps of `frame` from its origin."""
    frame: traitlets.Dict = traitlets.Dict().tag(sync=True)
    """kind ("pca" or "umap"), axes (two names), unit (empty: none), x0, y0, step, box (what to show at first)."""
    colours = traitlets.Unicode().tag(sync=True)
    """base64 of uint8 (K,): row of `palette`."""
    palette = traitlets.Unicode().tag(sync=True)
    """Hexadecimal RGB of up to 256 colours."""
    legend: traitlets.Dict = traitlets.Dict().tag(sync=True)
    """What the colours mean, with unit; see `latent_colours.Colours`."""
    marked = traitlets.Unicode().tag(sync=True)
    """base64 of bits, one per point, lowest first: what is selected; empty if nothing is."""
    ring: traitlets.List = traitlets.List().tag(sync=True)
    """x, y of the pixel that is looked at, or empty."""
    busy = traitlets.Unicode().tag(sync=True)
    """What is being computed."""
    note = traitlets.Unicode().tag(sync=True)
    """How many points there are, and how many pixels are selected."""

    def __init__(
        self,
        state: Exploration,
        *,
        extras: Mapping[str, Extra] | None = None,
        seed: int = 0,
        cache: Path | None = CACHE,
        **kwargs: Any,
    ) -> None:
        self._state, self._extras = state, dict(extras or {})
        self._offering = self._chosen = False
        self._map = LatentPlane(
            state, seed=seed, cache=cache, tell=self._say, arrived=self._arrive, failed=self._give_up
        )
        super().__init__(_esm=_script(), css=_style(), **kwargs)
        self._change_modalities()
        self.observe(self._change_plane, "plane")
        self.observe(self._change_colour, "colour_by")
        self.observe(self._put_colours, "class_colours")
        self.on_msg(self._hear)
        for name, does in self._watches():
            state.observe(does, name)
        self._linked = True

    def close(self) -> None:
        """Let go of the state and of what is still being computed."""
        if self._linked:  # closing comes again when the object is collected
            self._linked = False
            for name, does in self._watches():
                with suppress(ValueError):  # the state was emptied before
                    self._state.unobserve(does, name)
            self._map.stop()
        super().close()

    def _watches(self) -> list[tuple[str, Callable[..., None]]]:
        return [
            ("present", self._change_modalities),
            ("selected", self._put_marks),
            ("point", self._put_ring),
            ("prediction", self._change_answers),
            ("similarity", self._change_answers),
        ]

    # -- where points lie ---------------------------------------------------------------------------------------------

    def _change_modalities(self, _: Any = None) -> None:
        self._offer()
        self._map.refresh()

    def _arrive(self) -> None:
        """A layout is there: PCA of the modalities that are switched on now, or UMAP."""
        with self.hold_sync():
            self._put_points()
            self._put_colours()
        if self.plane == "umap" and self._map.count:
            self._map.want_umap()

    def _change_plane(self, _: Any) -> None:
        if self.plane == "umap" and self._map.count:
            self._map.want_umap()
        self._put_points()

    def _put_points(self) -> None:
        """Positions to the browser, with all that depends on them."""
        shown = self._map.shown(self.plane)
        with self.hold_sync():
            if shown is None:
                self.points, self.frame = "", {}
            else:
                unit = self._unit() if shown.layout.kind == "pca" else ""
                self.points, self.frame = _base64(shown.steps), {**shown.frame, "unit": unit}
            self._put_ring()
            self._put_marks()

    def _unit(self) -> str:
        row, col = divmod(int(self._map.pixels[0]), self._state.shape[1])
        _, variance, _ = self._state.current.fused(slice(row, row + 1), slice(col, col + 1))
        return "unit: s.d. of the prior" if np.isfinite(variance).all() else "embedding units"

    def _say(self, words: str) -> None:
        self.busy = words

    def _give_up(self, why: str) -> None:
        self.plane = "pca"
        self._state.status = why

    # -- what colours mean --------------------------------------------------------------------------------------------

    def _offer(self) -> None:
        """What colour can mean now. A choice stays while it exists; before the first, a class map takes over."""
        found = choices(self._state, self._extras)
        keys = [key for key, _ in found]
        self._offering = True
        with self.hold_sync():
            self.choices = [list(pair) for pair in found]
            if self.colour_by not in keys or (not self._chosen and keys[0] == "class"):
                self.colour_by = keys[0]
        self._offering = False

    def _change_colour(self, change: dict[str, Any]) -> None:
        if change["new"] not in [key for key, _ in self.choices]:  # anything may come from a browser
            self.colour_by = change["old"]
        elif not self._offering:
            self._chosen = True
            self._put_colours()

    def _change_answers(self, change: dict[str, Any]) -> None:
        before = self.colour_by
        self._offer()
        shown = "class" if change["name"] == "prediction" else "similarity"
        if self.colour_by != before or before == shown:
            self._put_colours()

    def _put_colours(self, _: Any = None) -> None:
        made = colouring(self._state, self.colour_by, self._map.drawn, self._extras, self.class_colours)
        with self.hold_sync():
            self.colours = _base64(made.index)
            self.palette = made.palette.tobytes().hex()
            self.legend = made.legend

    # -- what is selected ---------------------------------------------------------------------------------------------

    def _put_marks(self, _: Any = None) -> None:
        selected, drawn, count = self._state.selected, self._map.drawn, self._map.count
        what = "points" if is_points(self._state.emb.grid) else "pixels"
        words = f"{count:,} {what}" if len(drawn) == count else f"{len(drawn):,} of {count:,} {what} drawn"
        with self.hold_sync():
            if selected is None:
                self.marked, self.note = "", words
            else:
                hit = np.zeros(self._state.shape[0] * self._state.shape[1], bool)
                hit[selected] = True
                self.marked = _base64(np.packbits(hit[drawn], bitorder="little"))
                self.note = f"{words}, {len(selected):,} selected"

    def _put_ring(self, _: Any = None) -> None:
        point, shown, ring = self._state.point, self._map.shown(self.plane), []
        if point is not None and shown is not None:
            here = slice(point.row, point.row + 1), slice(point.col, point.col + 1)
            mean, _, observed = self._state.current.fused(*here)
            if observed.any():
                ring = shown.layout.place(mean.reshape(1, -1))[0].astype(float).tolist()
        self.ring = ring

    def _hear(self, _: Any, message: Any, __: Any) -> None:
        """A gesture. Anything may come from a browser: what makes no sense is passed over."""
        what = message.get("type") if isinstance(message, dict) else None
        if what == "lasso":
            self._select(message.get("line"))
        elif what == "click":
            self._click(message.get("index"))
        elif what == "clear":
            self._state.selected = None
        elif what == "stop":
            self._map.stop()
            self.plane = "pca"

    def _select(self, line: Any) -> None:
        shown = self._map.shown(self.plane)
        if shown is None:
            return
        try:
            inside = self._map.pixels[points_inside(shown.xy, line)]
        except InvalidOption as err:
            self._state.status = str(err)
        else:
            self._state.selected = inside if inside.size else None

    def _click(self, index: Any) -> None:
        if isinstance(index, int) and 0 <= index < len(self._map.drawn):
            row, col = divmod(int(self._map.drawn[index]), self._state.shape[1])
            self._state.clicked = None  # a second click on the same pixel counts too
            self._state.clicked = self._state.place_of(row, col)


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


@cache
def _script() -> str:
    return "".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in ("latent_points", "latent_view"))


@cache
def _style() -> str:
    return (_HERE / "latent_view.css").read_text(encoding="utf-8")
