"""Pieces of the page: figures, legends, tables, scatter plots. Text in, escaped HTML out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np


@dataclass(frozen=True)
class Map:
    """One picture of the ground, as it is put on the page."""

    title: str
    note: str
    url: str
    """PNG data URL."""
    alt: str
    table: str = ""
    """Key of the colour table from which the pointer reads values; empty if colours stand for no number."""
    overlay: str = ""
    """SVG and HTML drawn above the picture, already escaped."""


@dataclass(frozen=True)
class Ground:
    """What all maps of a page share: size in page pixels and metres."""

    height: int
    width: int
    width_m: float

    def scale_bar(self) -> str:
        """Bar of a round length, at most a third of the width."""
        length = round_length(self.width_m / 3)
        text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
        return f'<div class="scale" style="width:{100 * length / self.width_m:.2f}%"><span>{text}</span></div>'


def round_length(most: float) -> float:
    """Largest of 1, 2, 5, 10, 20, ... that does not exceed ``most``."""
    power = 10.0 ** math.floor(math.log10(most))
    return power * max(step for step in (1, 2, 5) if step * power <= most * (1 + 1e-9))


def figure(item: Map, ground: Ground) -> str:
    """One map with its scale bar and caption."""
    table = f' data-table="{escape(item.table)}"' if item.table else ""
    return (
        f'<figure><div class="frame"{table}>'
        f'<img src="{item.url}" width="{ground.width}" height="{ground.height}" alt="{escape(item.alt)}">'
        f"{item.overlay}{ground.scale_bar()}</div>"
        f"<figcaption><b>{escape(item.title)}</b>{escape(item.note)}</figcaption></figure>"
    )


def maps(items: Iterable[Map], ground: Ground, *, kind: str = "", after: str = "") -> str:
    """Row of maps that wraps on a small screen; ``after`` is HTML for one more cell."""
    return f'<div class="maps {kind}">{"".join(figure(item, ground) for item in items)}{after}</div>'


def section(number: int, key: str, title: str, lead: str, body: str) -> str:
    """One numbered section; ``lead`` is plain text, ``body`` is HTML."""
    return (
        f'<section id="{key}"><h2><span class="no">{number}</span>{escape(title)}</h2>'
        f'<p class="lead">{escape(lead)}</p>{body}</section>'
    )


def legend(names: Sequence[str], colours: Sequence[str], values: Sequence[str] = (), *, title: str = "") -> str:
    """Names beside swatches; with ``title`` as a card of its own, with a value behind each name if given."""
    after = [f"<span>{escape(v)}</span>" for v in values] or [""] * len(names)
    items = "".join(
        f'<li><i style="background:{c}"></i>{escape(n)}{v}</li>' for n, c, v in zip(names, colours, after, strict=True)
    )
    rows = f'<ul class="legend">{items}</ul>'
    return f'<figure class="key"><figcaption><b>{escape(title)}</b>{rows}</figcaption></figure>' if title else rows


def colour_bar(colours: Sequence[str], low: str, high: str, what: str) -> str:
    """Continuous scale with its two ends named and, below, what it measures and in which unit."""
    stops = ",".join(colours[:: max(1, len(colours) // 16)])
    return (
        f'<div class="bar"><span>{escape(low)}</span><i style="background:linear-gradient(90deg,{stops})"></i>'
        f"<span>{escape(high)}</span><small>{escape(what)}</small></div>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, ours: frozenset[int] | set[int] = frozenset()) -> str:
    """Table whose cells are HTML already; rows with an index in ``ours`` are tinted."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = []
    for i, (first, *rest) in enumerate(rows):
        mark = ' class="ours"' if i in ours else ""
        cells = "".join(f"<td>{cell}</td>" for cell in rest)
        lines.append(f'<tr{mark}><th scope="row">{first}</th>{cells}</tr>')
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def boxes(
    squares: Sequence[tuple[float, float, float, float]],
    ground: Ground,
    *,
    query: tuple[float, float, float, float] | None = None,
) -> str:
    """Numbered squares, given as fractions (left, top, right, bottom) of the map, and the query in its own colour."""
    shapes, tags = [], []
    for rank, (left, top, right, bottom) in enumerate(squares, start=1):
        shapes += [_rect(left, top, right, bottom, ground, kind) for kind in ("box under", "box")]
        middle = f"left:{50 * (left + right):.2f}%;top:{50 * (top + bottom):.2f}%"
        tags.append(f'<span class="tag" style="{middle}">{rank}</span>')
    if query is not None:
        shapes += [_rect(query[0], query[1], query[2], query[3], ground, kind) for kind in ("box under", "box query")]
    view = f'viewBox="0 0 {ground.width} {ground.height}" preserveAspectRatio="none" aria-hidden="true"'
    return f"<svg {view}>{''.join(shapes)}</svg>{''.join(tags)}"


def _rect(left: float, top: float, right: float, bottom: float, ground: Ground, kind: str) -> str:
    w, h = ground.width, ground.height
    size = f'width="{(right - left) * w:.2f}" height="{(bottom - top) * h:.2f}"'
    return f'<rect class="{kind}" x="{left * w:.2f}" y="{top * h:.2f}" {size}/>'


def scatter(
    xy: np.ndarray, colours: Sequence[str], places: np.ndarray, *, title: str, note: str, axes: tuple[str, str] | None
) -> str:
    """Points in the plane; pointing at one marks its pixel on every map.

    Parameters
    ----------
    xy : numpy.ndarray, shape (K, 2)
    colours : K CSS colours
    places : numpy.ndarray, shape (K, 2)
        Where each point lies on the maps, as fractions (x, y).
    axes : names of the two axes, or None if they mean nothing
    """
    low, high = np.percentile(xy, 0.5, axis=0), np.percentile(xy, 99.5, axis=0)
    unit = np.clip((xy - low) / np.maximum(high - low, 1e-9), -0.02, 1.02)
    px = 26 + unit * 468
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{520 - y:.1f}" r="3.1" fill="{c}" data-at="{u:.4f},{v:.4f}"/>'
        for (x, y), c, (u, v) in zip(px, colours, places, strict=True)
    )
    names = ""
    if axes:
        style = 'fill="currentColor" opacity=".65" font-size="15" font-family="system-ui,sans-serif"'
        names = f'<text x="494" y="514" text-anchor="end" {style}>{escape(axes[0])} →</text>'
        names += (
            f'<text x="14" y="30" text-anchor="end" transform="rotate(-90 14 30)" {style}>{escape(axes[1])} →</text>'
        )
    return (
        f'<figure><div class="plot"><svg viewBox="0 0 520 520" role="img" aria-label="{escape(title)}">'
        f"{dots}{names}</svg></div><figcaption><b>{escape(title)}</b>{escape(note)}</figcaption></figure>"
    )


def thumbs(items: Sequence[tuple[str, str, str, bool]]) -> str:
    """Small pictures (url, heading, text, is the query?) in rank order."""
    lines = []
    for url, heading, text, query in items:
        mark = ' class="query"' if query else ""
        label = escape(f"{heading}: {text}")
        lines.append(f'<li{mark}><img src="{url}" alt="{label}"><b>{escape(heading)}</b><br>{escape(text)}</li>')
    return f'<ul class="thumbs">{"".join(lines)}</ul>'


def code(lines: str) -> str:
    """Python or shell lines; comments are set back."""
    shown = []
    for line in lines.strip("\n").split("\n"):
        text, mark, comment = line.partition("#")
        shown.append(escape(text) + (f'<span class="c">#{escape(comment)}</span>' if mark else ""))
    return f"<pre>{'<br>'.join(shown)}</pre>"
