"""`SimilarPanel`: places like the ones that are pointed at, and unlike others; ranked, each with a picture.

The search is `georeset_lab.embed.search.similar`; its map of scores goes to ``state.similarity``, for the map to show. The
cards of what was found are drawn in ``hits.py``.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.finding.examples import Passes
from georeset_lab.embed.finding.query import form_of_query, make_query
from georeset_lab.embed.finding.scan import Score
from georeset_lab.embed.profiles.place_pixels import pixel_area_ha
from georeset_lab.embed.search import Similar, similar
from georeset_lab.errors import GeoresetError
from georeset_lab.widgets.board import Board
from georeset_lab.widgets.charts import number
from georeset_lab.widgets.hits import hit_cards
from georeset_lab.widgets.place_parts import coordinates
from georeset_lab.widgets.state import Click, Exploration
from georeset_lab.widgets.thumbnails import Looks

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["Example", "SimilarPanel"]

PLACES = 12
"""Places that are shown; ranked, not overlapping."""
HINT = "Click the map where it looks as you want, or draw an area: places like it come below. More examples sharpen it."
ONLY_AGAINST = "Add an example to look for: those to avoid only narrow it down."


@dataclass(frozen=True, eq=False)
class Example:
    """A place or area to look for, or to keep away from."""

    where: Any
    """(lon, lat), or a GeoJSON geometry in degrees."""
    center: Click
    text: str
    against: bool = False


@dataclass(frozen=True, eq=False)
class _Answer:
    """What a search came to."""

    found: Similar | None
    near: list[tuple[float, float]]
    """Places that were looked for, (lon, lat)."""
    refused: list[tuple[Example, str]]
    """Examples that cannot be searched for (cloud, say), and why."""


class SimilarPanel(Board):
    """Examples, for and against, and the places most like them.

    With the tool "similar" a click or a shape on the map is an example: one to look for, or, after "Avoid", one to keep
    away from. A click on a thumbnail makes its place ``state.point``.

    Parameters
    ----------
    state : Exploration
    looks : Looks, optional
        Colours of thumbnails, shared with other views.
    """

    def __init__(self, state: Exploration, looks: Looks | None = None) -> None:
        super().__init__(parts=dict.fromkeys(("controls", "examples", "hits"), ""))
        self.state = state
        self.looks = looks or Looks(state.scene, state.emb)
        self.examples: list[Example] = []
        """In the order in which they were given."""
        self.against = False
        """Whether the next click is an example to avoid."""
        self._accepted: list[Example] = []
        self._passes: Passes | None = None
        self._sound: set[Example] = set()
        """Examples that can be searched for in the map of ``_passes``."""
        self._searching = threading.Lock()
        self._asked = 0
        self._trouble = ""
        state.observe(self._clicked, "clicked")
        state.observe(self._drawn, "drawn")
        state.observe(self._tool, "tool")
        state.observe(lambda change: self.search(), "present")
        self._draw()

    # -- examples -----------------------------------------------------------------------------------------------------

    def add(self, where: Any, *, against: bool | None = None) -> None:
        """One more example, (lon, lat) or a GeoJSON geometry in degrees, and search again.

        ``against`` is what the switch of the panel says by default.
        """
        try:
            example = self._example(where, self.against if against is None else against)
        except GeoresetError as err:
            self._trouble = str(err)
            self.state.no_picture()
            self._draw()
            return
        self.examples.append(example)
        self.search()

    def remove(self, number: int) -> None:
        """Forget an example, counted from 0, and search again."""
        del self.examples[number]
        self.search()

    def clear(self) -> None:
        """Forget all examples and what was found."""
        self.examples.clear()
        self.search()

    def heard(self, what: str, value: str, *, checked: bool | None, at: tuple[float, float] | None) -> None:
        """A button, the cross of an example, or a thumbnail."""
        if what == "sign":
            self.against = value == "against"
            self.state.tool = "similar"
            self._draw()
        elif what == "clear":
            self.clear()
        elif what == "remove" and value.isdecimal() and int(value) < len(self.examples):
            self.remove(int(value))
        elif what == "go" and value.isdecimal() and self.state.similarity is not None:
            places = self.state.similarity.places
            if int(value) < len(places):
                place = places.iloc[int(value)]
                # Not a click: that would be a label or one more example.
                self.state.point = self.state.click_at(float(place["lon"]), float(place["lat"]))

    def _example(self, where: Any, against: bool) -> Example:
        emb = self.state.emb
        if not isinstance(where, dict):
            center = self.state.place_of(*emb.pixel(*where))
            return Example((float(where[0]), float(where[1])), center, coordinates(center), against)
        pixels = self.state.pixels_in(where)
        if not pixels.size:
            raise GeoresetError("The area holds no pixel of the map. Draw it on the map.")
        row, col = divmod(int(pixels[pixels.size // 2]), emb.shape[1])
        area = pixel_area_ha(emb.grid, row) * pixels.size
        return Example(where, self.state.place_of(row, col), f"area of {number(area, 1)} ha", against)

    def _clicked(self, change: dict[str, Any]) -> None:
        if self.state.tool == "similar" and change["new"] is not None:
            self.add((change["new"].lon, change["new"].lat))

    def _drawn(self, change: dict[str, Any]) -> None:
        if self.state.tool == "similar" and change["new"]:
            self.add(change["new"])

    def _tool(self, change: dict[str, Any]) -> None:
        self._draw()
        if change["new"] == "similar" and self._passes is None:
            threading.Thread(target=_warm_up, daemon=True).start()

    # -- search -------------------------------------------------------------------------------------------------------

    def search(self) -> None:
        """Rank the places by the examples that are there, and draw them when they are found."""
        self._asked += 1
        asked, examples = self._asked, list(self.examples)
        self._trouble = ""
        self._draw()
        if all(e.against for e in examples):
            self.state.similarity = None
            self.state.no_picture()
            self.put(hits="")
            return
        emb = self.state.current

        def job() -> _Answer | None:
            with self._searching:
                return self._search(emb, examples) if asked == self._asked else None

        def done(answer: _Answer | None) -> None:
            if answer is not None and asked == self._asked:
                self._show(answer)

        self.state.run(job, done, doing="searching for similar places")

    def _search(self, emb: Embeddings, examples: list[Example]) -> _Answer:
        if self._passes is None or self._passes.emb is not emb:
            self._passes, self._sound = Passes(emb, _score(emb)), set()
        refused = []
        for example in examples:
            if example not in self._sound:
                try:
                    make_query(emb, *form_of_query(example.where))
                    self._sound.add(example)
                except GeoresetError as err:
                    refused.append((example, str(err)))
        good = [example for example in examples if example in self._sound]
        likes, unlikes = [e.where for e in good if not e.against], [e.where for e in good if e.against]
        if not likes:
            return _Answer(None, [], refused)
        passes = self._passes
        found = similar(emb, like=likes, not_like=unlikes or None, k=PLACES, score=passes.score, passes=passes)
        return _Answer(found, [(e.center.lon, e.center.lat) for e in good if not e.against], refused)

    def _show(self, answer: _Answer) -> None:
        for example, why in answer.refused:
            self._trouble = why
            if example not in self._accepted:  # one that was good with other modalities is kept for when they come back
                self.examples.remove(example)
        refused = [e for e, _ in answer.refused]
        self._accepted = [e for e in self.examples if e in self._accepted or e not in refused]
        self._draw()
        self.state.similarity = answer.found  # first: the map waits for it
        if answer.found is None:
            self.state.no_picture()
            self.put(hits="")
            return
        asked, found = self._asked, answer.found
        self.state.run(
            lambda: hit_cards(found, self.looks, answer.near),
            lambda cards: self.put(hits=cards) if asked == self._asked else None,
            doing="drawing the places that were found",
            later=True,
        )

    # -- drawing ------------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        active = self.state.tool == "similar"
        buttons = "".join(
            f'<button data-do="sign" data-value="{value}" aria-pressed="{str(active and self.against == against).lower()}">'
            f"{text}</button>"
            for value, text, against in (("for", "Look for", False), ("against", "Avoid", True))
        )
        note = "" if active else '<span class="gl-soft">Press a button, then click the map or draw on it.</span>'
        clear = f'<button data-do="clear"{"" if self.examples else " disabled"}>Clear</button>'
        chips = "".join(
            f'<span class="gl-chip{" gl-minus" if e.against else ""}" title="{"avoid" if e.against else "look for"}">'
            f'{escape(e.text)}<button data-do="remove" data-value="{i}" title="remove" aria-label="remove">×</button></span>'
            for i, e in enumerate(self.examples)
        )
        said = ""
        if self._trouble:
            said = f'<p class="gl-note gl-bad">{escape(self._trouble)}</p>'
        elif all(e.against for e in self.examples):
            said = f'<p class="gl-note">{ONLY_AGAINST if self.examples else HINT}</p>'
        self.put(
            controls=f'<div class="gl-row"><span class="gl-group">{buttons}</span>{clear}{note}</div>',
            examples=(f'<div class="gl-row">{chips}</div>' if chips else "") + said,
        )


def _score(emb: Embeddings) -> Score:
    """Evidence if there are variances, else the cosine."""
    row, col = divmod(int(emb.observed.argmax()), emb.shape[1])
    known = np.isfinite(emb.fused(slice(row, row + 1), slice(col, col + 1))[1]).all()
    return "pmi" if known else "cosine"


def _warm_up() -> None:
    """Load what the first search needs while the user still looks for a place to click: seconds on a cold start."""
    import geopandas  # noqa: F401

    from georeset_lab.embed.finding import kernels

    one, none = np.zeros((1, 1), np.float32), np.zeros(1, np.float32)
    kernels.pmi(one, one, np.zeros(1, bool), none, none, np.float32(0), np.float32(1), none.copy())
    kernels.sum_cells(one, 0, 0, 6, np.zeros((1, 1)), np.zeros((1, 1), np.int64))
