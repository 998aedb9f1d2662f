"""`CertaintyView`: where, and in which dimensions, each modality is sure; with switches that leave one out.

Nothing is encoded again: the view keeps a thin sample of the precisions (``embed/profiles/place_profile.py``) and adds up those
that are switched on. Static pictures of the same are in ``embed/pictures/plot_certainty.py``.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from georeset_lab.embed.pictures.colours import certainty_image, png_data_url
from georeset_lab.embed.pictures.plot_certainty import column_order
from georeset_lab.embed.profiles.place_profile import SETTLED, CertaintySample, certainty_rows, precisions
from georeset_lab.embed.profiles.profile import FUSED
from georeset_lab.widgets.board import Board
from georeset_lab.widgets.charts import certainty_bar, matrix_row, number
from georeset_lab.widgets.page_images import label_of
from georeset_lab.widgets.state import Exploration

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["CertaintyView"]

NO_VARIANCE = "These embeddings state no variance, so how sure they are is unknown."


class CertaintyView(Board):
    """Small maps of certainty, one for each modality and one for those that are switched on, and a matrix below.

    The matrix shows how certain each modality is of each dimension at the chosen pixel, else over the brushed pixels,
    else over the map. The switches set ``state.present``; a click on a small map sets ``state.point``.

    Parameters
    ----------
    state : Exploration
    """

    def __init__(self, state: Exploration) -> None:
        super().__init__()
        self.state = state
        self._means: dict[str, float] = {}
        self._sample: CertaintySample | None = None
        self._holes = False
        self._latest = "point"
        self._order = np.arange(state.emb.dim)
        self._leader = np.zeros(state.emb.dim, np.int64)
        self.put(maps='<p class="gl-note">Reading how certain the map is…</p>')
        doing = "" if state.emb.in_memory else "reading how certain the map is"
        state.run(lambda: _Start.of(state.emb), self._begin, doing=doing, later=True)
        state.observe(self._fuse_again, "present")
        state.observe(self._choose, ["point", "selected"])

    def heard(self, what: str, value: str, *, checked: bool | None, at: tuple[float, float] | None) -> None:
        """A switch, or a click on a small map."""
        if what == "present" and checked is not None and value in self.state.emb.modalities:
            wanted = set(self.state.present) | {value} if checked else set(self.state.present) - {value}
            if wanted:
                self.state.present = tuple(name for name in self.state.emb.modalities if name in wanted)
            else:
                self._draw_maps()
        elif what == "point" and at is not None and self._sample is not None:
            (height, width), (rows, cols) = self._sample.extent, self.state.shape
            self.state.point = self.state.place_of(
                min(int(at[1] * height), rows - 1), min(int(at[0] * width), cols - 1)
            )

    # -- drawing ------------------------------------------------------------------------------------------------------

    def _begin(self, start: _Start) -> None:
        self._sample = sample = start.sample
        if not sample.known:
            self.parts = {"maps": f'<p class="gl-note">{NO_VARIANCE}</p>'}
            return
        self._order, self._leader = start.order, start.leader
        self._holes, self._means = start.holes, {name: mean for name, (_, mean) in start.maps.items()}
        pictures = {_key(name): url for name, (url, _) in start.maps.items()}
        fused, self._means[FUSED] = start.fused if self.state.present == sample.names else self._fused(sample)
        self.pictures = {**pictures, FUSED: fused}
        self._draw_maps()
        self._draw_matrix()
        self._mark()

    def _fuse_again(self, change: dict[str, Any]) -> None:
        if self._sample is None or not self._sample.known:
            return
        url, self._means[FUSED] = self._fused(self._sample)
        self.pictures = {**self.pictures, FUSED: url}
        self._draw_maps()
        self._draw_matrix()

    def _choose(self, change: dict[str, Any]) -> None:
        if self._sample is not None and self._sample.known:
            self._latest = change["name"]
            self._draw_matrix()
            self._mark()

    def _fused(self, sample: CertaintySample) -> tuple[str, float]:
        return _picture(sample.map(self.state.present))

    def _mark(self) -> None:
        assert self._sample is not None
        point, (height, width) = self.state.point, self._sample.extent
        self.marks = [] if point is None else [[(point.col + 0.5) / width, (point.row + 0.5) / height]]

    def _draw_maps(self) -> None:
        assert self._sample is not None
        present, every = self.state.present, self._sample.names
        cards = [self._card(name, present) for name in every]
        if len(every) > 1:
            said = f'<b title="{escape(", ".join(map(label_of, present)))}">Fused, {len(present)} of {len(every)}</b>'
            cards.append(_map_card(FUSED, said, self._means[FUSED], off=False))
        step = self._sample.step
        thin = f" Every {step}th row and column of the map is used." if step > 1 else ""
        hint = "Untick a modality to leave it out of the fusion. " if len(every) > 1 else ""
        self.put(
            maps=f"<h4>Where each modality is sure <small>{hint}Click a map to choose a pixel.{thin}</small></h4>"
            f'<div class="gl-cards">{"".join(cards)}</div>',
            scale=certainty_bar(missing=self._holes),
        )

    def _card(self, name: str, present: tuple[str, ...]) -> str:
        title = f"<b>{escape(label_of(name))}</b>"
        if len(self.state.emb.modalities) > 1:
            on = name in present
            last = on and len(present) == 1
            state = ("checked " if on else "") + ('disabled title="at least one modality stays on" ' if last else "")
            box = f'<input type="checkbox" data-do="present" data-value="{escape(name)}" {state}>'
            title = f"<label>{box}{title}</label>"
        return _map_card(_key(name), title, self._means[name], off=name not in present)

    def _draw_matrix(self) -> None:
        assert self._sample is not None
        names, present = self._sample.names, self.state.present
        tau, where = self._chosen()
        rows = certainty_rows(tau, [names.index(n) for n in present])[:, self._order]
        shown = list(zip(names, rows[:-1], strict=True))
        edges = np.flatnonzero(np.diff(self._leader)) + 1
        lines = [_row(label_of(n), values, self._order, edges, off=n not in present) for n, values in shown]
        if len(names) > 1:
            lines.append(_row("Fused", rows[-1], self._order, edges, fused=True))
        below = _blocks(self._leader, [label_of(n) for n in names])
        self.put(
            matrix=f"<h4>What each modality knows <small>{escape(where)}; {rows.shape[1]} columns: the dimensions, "
            "grouped by the modality that is surest of them over the map</small></h4>"
            f'<div class="gl-matrix">{"".join(lines)}<span></span>{below}<span></span></div>'
        )

    def _chosen(self) -> tuple[np.ndarray, str]:
        """Precisions of what the matrix is about, and its name: what was chosen last."""
        assert self._sample is not None
        point, selected = self.state.point, self.state.selected
        if selected is not None and selected.size and (self._latest == "selected" or point is None):
            return precisions(self.state.emb, selected), f"mean over {selected.size:,} brushed pixels"
        if point is not None:
            pixel = np.array([point.row * self.state.shape[1] + point.col])
            return precisions(self.state.emb, pixel), f"at the pixel in row {point.row}, column {point.col}"
        return self._sample.pixels(), "mean over the map"


class _Start(NamedTuple):
    """What is shown first; read and painted beside the interface."""

    sample: CertaintySample
    order: np.ndarray
    leader: np.ndarray
    maps: dict[str, tuple[str, float]]
    """Picture of each modality alone, and its mean."""
    fused: tuple[str, float]
    """The same of all together."""
    holes: bool
    """Whether some modality did not see everything."""

    @classmethod
    def of(cls, emb: Embeddings) -> _Start:
        sample = CertaintySample.of(emb)
        if not sample.known:
            return cls(sample, np.empty(0, np.int64), np.empty(0, np.int64), {}, ("", float("nan")), False)
        names = sample.names
        profile = certainty_rows(sample.pixels(), range(len(names)))
        alone = {name: sample.map([name]) for name in names}
        holes = any(bool(np.isnan(certainty).any()) for certainty in alone.values())
        maps = {name: _picture(certainty) for name, certainty in alone.items()}
        return cls(sample, *column_order(profile[:-1]), maps, _picture(sample.map(names)), holes)


def _key(name: str) -> str:
    """Key of a modality's picture; one may be called "fused"."""
    return f"of {name}"


def _picture(certainty: np.ndarray) -> tuple[str, float]:
    """PNG of a map (y, x), and its mean over what was observed."""
    seen = np.isfinite(certainty)
    return png_data_url(certainty_image(certainty)), float(certainty[seen].mean()) if seen.any() else float("nan")


def _map_card(key: str, title: str, mean: float, *, off: bool) -> str:
    said = f"mean {number(mean)}" if np.isfinite(mean) else "saw nothing"
    left_out = '<em class="gl-tag">left out</em>' if off else ""
    return (
        f'<figure class="gl-card{" gl-off" if off else ""}"><header>{title}<span>{said}</span></header><div class="gl-map" '
        f'data-do="point"><img data-pic="{escape(key)}" alt="Map of certainty">{left_out}<i class="gl-marks"></i></div>'
        "</figure>"
    )


def _row(
    label: str, values: np.ndarray, order: np.ndarray, edges: np.ndarray, *, off: bool = False, fused: bool = False
) -> str:
    titles = [f"{label}, dimension {d}: {number(float(v))}" for d, v in zip(order, values, strict=True)]
    said = f"settles {int((np.nan_to_num(values) >= SETTLED).sum())}"
    said = "left out" if off else said if np.isfinite(values).any() else "saw nothing here"
    css = f"{' gl-off' if off else ''}{' gl-fused' if fused else ''}"
    hint = f"dimensions with a certainty of at least {SETTLED:g}"
    return (
        f'<div class="gl-name{css}" title="{escape(label)}">{escape(label)}</div><div class="gl-cells{css}">'
        f'{matrix_row(values, titles, edges.tolist())}</div><div class="gl-count{css}" title="{hint}">{said}</div>'
    )


def _blocks(leader: np.ndarray, labels: list[str]) -> str:
    """Names of the groups of columns, each as wide as its group, and how many columns they have."""
    out = []
    for row, label in enumerate([*labels, "none"]):
        count = int((leader == row).sum())
        if count:
            text = escape(f"{label}: {count}")
            out.append(f'<span style="flex:{count} 1 0" title="{text}">{text}</span>')
    return f'<div class="gl-blocks">{"".join(out)}</div>'
