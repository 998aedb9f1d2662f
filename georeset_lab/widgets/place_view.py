"""`PlaceView`: everything about the place that is looked at, and about the pixels that are brushed.

Only small windows are read: at once if the scene is in memory, else beside the interface. What is said is put together
in ``place_parts.py``, thumbnails in ``thumbnails.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from georeset_lab.data.modality import Modality
from georeset_lab.data.points import is_points
from georeset_lab.embed.profiles.place_pixels import Measured, measure, pixel_area_ha, pixels_on, window_around
from georeset_lab.embed.profiles.place_profile import draw, precisions, settled_steps
from georeset_lab.widgets import place_parts as parts
from georeset_lab.widgets.board import Board
from georeset_lab.widgets.charts import number
from georeset_lab.widgets.page_images import label_of
from georeset_lab.widgets.state import Exploration
from georeset_lab.widgets.thumbnails import Looks, small_url

__all__ = ["PlaceView"]

AROUND_M = 1000.0
"""Side of a thumbnail on the ground."""
MAX_DATES = 6
"""Thumbnails of one modality."""
QUICK = 12
"""Thumbnails up to which nobody notices the wait; each takes some 4 ms."""
MAX_READ = 1000
"""Brushed pixels that are read; the quartiles of more differ by a few thousandths of reflectance."""
HINT = "Click the map to look at a place: its pictures, spectrum, dates, class and what each sensor knows of it."


@dataclass(frozen=True)
class _Thumb:
    """One picture of the ground around the place."""

    url: str
    name: str
    when: str
    at: tuple[float, float]
    """Where the place lies in it, as fractions."""


class PlaceView(Board):
    """The place of ``state.point``, and the pixels of ``state.selected``.

    Parameters
    ----------
    state : Exploration
    looks : Looks, optional
        Colours of thumbnails, shared with other views.
    """

    def __init__(self, state: Exploration, looks: Looks | None = None) -> None:
        super().__init__(parts=dict.fromkeys(("head", "more", "brushed"), ""))
        self.state = state
        self.looks = looks or Looks(state.scene, state.emb)
        self._asked = {"point": 0, "selected": 0}
        state.observe(self._look, "point")
        state.observe(self._brush, "selected")
        state.observe(self._tell, ["prediction", "present"])
        self._look()
        self._brush()

    # -- the place ----------------------------------------------------------------------------------------------------

    def _look(self, change: dict[str, Any] | None = None) -> None:
        place = self.state.point
        if place is None:
            self.put(head=f'<p class="gl-note">{HINT}</p>', more="")
            return
        self.put(head=self._head())
        pixel = np.array([place.row * self.state.shape[1] + place.col])

        def job() -> tuple[list[_Thumb], float, dict[str, Measured]]:
            read = self._measure(pixel)
            return *self._thumbs(pixel), read

        def done(found: tuple[list[_Thumb], float, dict[str, Measured]]) -> None:
            thumbs, side_m, read = found
            said = parts.facts(parts.measured_facts(read, over="dates"))
            self.put(more=_columns(_strip(thumbs, side_m) + said, read, over="dates"))

        if self.state.scene is not None:
            self._read("point", job, done, doing="reading the pixels around this place")

    def _head(self) -> str:
        place, emb, present = self.state.point, self.state.emb, self.state.present
        assert place is not None
        which = f"point {place.row}" if is_points(emb.grid) else f"row {place.row}, column {place.col}"
        rows = [("Place", f"{parts.coordinates(place)} <span class='gl-soft'>{which}</span>")]
        rows += parts.given_facts(emb, place.row)
        tau = precisions(emb, np.array([place.row * emb.shape[1] + place.col]))
        on = [emb.modalities.index(name) for name in present]
        if np.isnan(tau).any():
            rows.append(("Known", "unknown: these embeddings state no variance"))
        else:
            steps = settled_steps(tau[on], present)
            seen = {emb.modalities[i]: bool((tau[i] > 0).any()) for i in on}
            off = [label_of(n) for n in emb.modalities if n not in present]
            without = f" <span class='gl-soft'>(without {escape(', '.join(off))})</span>" if off else ""
            rows.append(("Known", parts.known_words(steps, emb.dim, [seen[s.name] for s in steps]) + without))
        if self.state.prediction is not None:
            rows += parts.class_facts(self.state.prediction, place.row, place.col)
        return f"<h4>This place</h4>{parts.facts(rows)}"

    def _thumbs(self, pixel: np.ndarray) -> tuple[list[_Thumb], float]:
        """Pictures of each modality, at most `MAX_DATES` dates of it, and how wide the first is on the ground."""
        out, side_m = [], 0.0
        for name, modality in self._modalities().items():
            rows, cols = pixels_on(modality.grid, self.state.emb.grid, pixel)
            if rows[0] < 0:
                continue
            y, x = window_around(modality, int(rows[0]), int(cols[0]), AROUND_M)
            side_m = side_m or (x.stop - x.start) * modality.pixel_m
            at = (
                float(cols[0] - x.start + 0.5) / (x.stop - x.start),
                float(rows[0] - y.start + 0.5) / (y.stop - y.start),
            )
            for date in _some_dates(modality):
                url = small_url(self.looks.modality(name, y, x, date))
                out.append(_Thumb(url, label_of(name), _day(modality, date), at))
        return out, side_m

    # -- what is brushed ----------------------------------------------------------------------------------------------

    def _brush(self, change: dict[str, Any] | None = None) -> None:
        pixels = self.state.selected
        self._read_brushed: dict[str, Measured] = {}
        if pixels is None or not pixels.size:
            self._asked["selected"] += 1
            self.put(brushed="")
            return
        self.put(brushed=self._brushed())
        some = draw(pixels, MAX_READ)

        def done(read: dict[str, Measured]) -> None:
            self._read_brushed = read
            self.put(brushed=self._brushed())

        if self.state.scene is not None:
            self._read("selected", lambda: self._measure(some), done, doing="reading the brushed pixels")

    def _brushed(self) -> str:
        pixels, emb = self.state.selected, self.state.emb
        assert pixels is not None
        area = pixel_area_ha(emb.grid, int(np.median(pixels)) // emb.shape[1]) * pixels.size
        rows = [("Pixels", f"{pixels.size:,}"), ("Area", f"{area:,.2f} ha" if area < 1e4 else f"{area / 100:,.0f} km²")]
        if self.state.prediction is not None:
            rows.append(("Classes", _shares(self.state.prediction, pixels)))
        rows += parts.measured_facts(self._read_brushed, over="pixels")
        return _columns(f"<h4>Brushed pixels</h4>{parts.facts(rows)}", self._read_brushed, over="pixels")

    # -- both ---------------------------------------------------------------------------------------------------------

    def _tell(self, change: dict[str, Any]) -> None:
        if self.state.point is not None:
            self.put(head=self._head())
        if self.state.selected is not None and self.state.selected.size:
            self.put(brushed=self._brushed())

    def _measure(self, pixels: np.ndarray) -> dict[str, Measured]:
        return {name: measure(m, self.state.emb.grid, pixels) for name, m in self._modalities().items()}

    def _modalities(self) -> dict[str, Modality]:
        return {} if self.state.scene is None else self.state.scene.modalities

    def _read(self, about: str, job: Callable[[], Any], done: Callable[[Any], None], *, doing: str) -> None:
        """Read now if that is quick, else beside the interface; an answer that nobody waits for any more is dropped."""
        self._asked[about] += 1
        asked = self._asked[about]
        every = self._modalities().values()
        pictures = sum(min(len(m.times), MAX_DATES) for m in every) if about == "point" else 0
        if pictures <= QUICK and not any(m.is_lazy for m in every):
            done(job())
            return
        stale = object()
        self.state.run(
            lambda: job() if asked == self._asked[about] else stale,
            lambda found: done(found) if found is not stale and asked == self._asked[about] else None,
            doing=doing,
        )


def _strip(thumbs: list[_Thumb], side_m: float) -> str:
    if not thumbs:
        return '<p class="gl-note">The scene holds no pixels at this place.</p>'
    items = []
    for t in thumbs:
        ring = f'<i class="gl-ring" style="left:{100 * t.at[0]:.1f}%;top:{100 * t.at[1]:.1f}%"></i>'
        picture = f'<div class="gl-map"><img src="{t.url}" alt="{escape(t.name)} around the place">{ring}</div>'
        items.append(f"<li>{picture}<b>{escape(t.name)}</b>{escape(t.when)}</li>")
    wide = f"{number(side_m / 1000, 1)} km" if side_m >= 950 else f"{side_m:.0f} m"
    return f'<h4>Seen from above <small>{wide} wide</small></h4><ul class="gl-strip">{"".join(items)}</ul>'


def _columns(left: str, read: dict[str, Measured], *, over: str) -> str:
    """Pictures and facts on one side, curves on the other, or below if there is no room."""
    spectrum = parts.spectrum_chart(read, over=over)
    right = [f"<div>{spectrum}</div>"] if spectrum else []
    right += parts.series_charts(read)
    return f'<div class="gl-split"><div class="gl-stack">{left}</div><div class="gl-stack">{"".join(right)}</div></div>'


def _some_dates(modality: Modality) -> list[int]:
    """At most `MAX_DATES` dates of a modality, in their order, spread over the series."""
    order = np.argsort(modality.times, kind="stable")
    some = np.unique(np.linspace(0, len(order) - 1, min(len(order), MAX_DATES)).round().astype(int))
    return [int(i) for i in order[some]]


def _day(modality: Modality, date: int) -> str:
    time = modality.times[date]
    if np.isnat(time):  # heights have none
        return f"date {date + 1}" if len(modality.times) > 1 else ""
    return str(time)[:10]


def _shares(prediction: Any, pixels: np.ndarray) -> str:
    """Classes of some pixels, the most frequent first."""
    names = [str(c) for c in prediction["class"].values]
    codes = np.asarray(prediction["label"].values).ravel()[pixels]
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    order = [i for i in np.argsort(-counts, kind="stable") if counts[i]]
    shares = [100 * counts[i] / codes.size for i in order]
    said = [f"{escape(names[i])} {'&lt;1' if s < 0.5 else f'{s:.0f}'} %" for i, s in zip(order, shares, strict=True)]
    return ", ".join(said) or "none was predicted"
