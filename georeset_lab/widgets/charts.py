"""Small drawings as strings of SVG and HTML: spectrum, series, matrix, colour bar. Numbers in, escaped text out.

Colours of lines and text come from the style sheet (``board.css``), so that a drawing is right in light and dark. What
is drawn, and from which pixels, is up to the views.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from georeset_lab.embed.pictures.colours import certainty_palette
from georeset_lab.widgets.chart_axes import LEFT, RIGHT, TOP, WIDTH, axis_x, axis_y, scale, svg, tick, ticks

__all__ = [
    "COLOURS", "Bar", "Curve", "certainty_bar", "colour_bar", "keys", "matrix_row", "meter", "number", "series",
    "spectrum", "ticks",
]  # fmt: skip

COLOURS = ("#2B8CC4", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#888888")
"""After Okabe and Ito 2008, without what a white or a nearly black background would swallow."""
CERTAINTY_LABEL = "certainty (1 - variance), 0 = knows nothing, 1 = settles it"

_REGIONS = (("visible", 0.38, 0.7), ("near infrared", 0.7, 1.3), ("short-wave infrared", 1.3, 2.6))


@dataclass(frozen=True)
class Bar:
    """One band of a spectrum."""

    name: str
    low_um: float
    high_um: float
    value: float
    """Reflectance; NaN is left out."""
    between: tuple[float, float] | None = None
    """Range around the value: quartiles, or the lowest and highest date."""


@dataclass(frozen=True)
class Curve:
    """One line: a spectrum's bands or a value at each date."""

    name: str
    colour: str
    bars: Sequence[Bar] = ()
    values: np.ndarray = field(default_factory=lambda: np.empty(0))
    """(T,) of a series; NaN where nothing was measured."""
    times: np.ndarray = field(default_factory=lambda: np.empty(0, "datetime64[ns]"))
    """(T,) datetime64 of a series, rising; NaT where unknown."""


def colour_bar(colours: np.ndarray, low: str, high: str, what: str, *, missing: bool = False) -> str:
    """Continuous scale (K, 3) uint8 with both ends named, what it measures, and the colour of what was not observed."""
    stops = ",".join(f"rgb({r},{g},{b})" for r, g, b in colours[:: max(1, len(colours) // 16)].tolist())
    none = '&ensp;<i class="gl-none"></i>not observed' if missing else ""
    return (
        f'<div class="gl-bar"><span>{escape(low)}</span><i style="background:linear-gradient(90deg,{stops})"></i>'
        f'<span>{escape(high)}</span><span class="gl-what">{escape(what)}{none}</span></div>'
    )


def certainty_bar(*, missing: bool = False) -> str:
    """The scale of certainty, dark = unsure."""
    return colour_bar(certainty_palette(), "0", "1", CERTAINTY_LABEL, missing=missing)


def matrix_row(values: np.ndarray, titles: Sequence[str], edges: Sequence[int] = ()) -> str:
    """One row of a matrix of certainty: a cell for each of D values, grey where NaN, with a title to read at the pointer.

    ``edges`` are the cells before which a group ends; a gap is drawn there.
    """
    palette = certainty_palette()
    cells = []
    for i, (value, title) in enumerate(zip(values.tolist(), titles, strict=True)):
        r, g, b = palette[int(np.clip(value, 0, 1) * 255)] if math.isfinite(value) else (217, 217, 217)
        cells.append(
            f'<rect x="{i}" width="1" height="1" fill="#{r:02x}{g:02x}{b:02x}"><title>{escape(title)}</title></rect>'
        )
    gaps = "".join(f'<path d="M{i} 0V1"/>' for i in edges)
    return (
        f'<svg viewBox="0 0 {len(cells)} 1" preserveAspectRatio="none" role="img">{"".join(cells)}'
        f'<g class="gl-gap">{gaps}</g></svg>'
    )


def spectrum(curves: Sequence[Curve], *, title: str) -> str:
    """Reflectance over wavelength: each band a bar as wide as the band, with its range behind it.

    Empty if no band has a value.
    """
    bars = [b for c in curves for b in c.bars if math.isfinite(b.value)]
    if not bars:
        return ""
    height, bottom = 196.0, 162.0
    ends = [v for b in bars for v in (b.value, *(b.between or ())) if math.isfinite(v)]
    low_value, top_value = min(0.0, *ends), max(0.01, *ends)
    top_value = next((t for t in (0.1, 0.2, 0.3, 0.5, 1.0) if top_value <= t), _round_up(top_value))
    x_low, x_high = min(b.low_um for b in bars) - 0.02, max(b.high_um for b in bars) + 0.02
    x, y = scale(x_low, x_high, LEFT, WIDTH - RIGHT), scale(low_value, top_value, bottom, TOP)
    marks = [axis_x([(x(v), tick(v)) for v in ticks(x_low, x_high, 8)], bottom, "wavelength (µm)", height)]
    marks.append(
        axis_y([(y(v), tick(v)) for v in ticks(low_value, top_value, 5)], "reflectance (0 to 1)", (TOP, bottom))
    )
    marks += _regions(x, x_low, x_high)
    for curve in curves:
        marks += _bands(curve, x, y)
    return svg(marks, height, title)


def series(curves: Sequence[Curve], *, what: str, limits: tuple[float, float] | None = None) -> str:
    """Values over dates as lines with points; a line is broken where a value is missing. Empty if all are.

    Parameters
    ----------
    curves : sequence of Curve
        If a date of any is unknown, the dates of all are numbered instead.
    what : str
        Name and unit of the vertical axis.
    limits : (low, high), optional
        Range of that axis; by default that of the values.
    """
    values = np.concatenate([c.values[np.isfinite(c.values)] for c in curves]) if curves else np.empty(0)
    if not values.size:
        return ""
    height, bottom = 150.0, 116.0
    low, high = limits or _range(values)
    known = not any(np.isnat(c.times).any() for c in curves)
    at = [c.times.astype("datetime64[s]").astype(float) if known else np.arange(len(c.values)) + 1.0 for c in curves]
    first, last = min(a.min() for a in at), max(a.max() for a in at)
    pad = 0.02 * max(last - first, 1.0)
    x, y = scale(first - pad, last + pad, LEFT, WIDTH - RIGHT), scale(low, high, bottom, TOP - 8)
    below = "date" if known else "date, in order (days are not known)"
    marks = [axis_x([(x(v), t) for v, t in _dates(float(first), float(last), known)], bottom, below, height)]
    marks.append(axis_y([(y(v), tick(v)) for v in ticks(low, high, 4)], what, (TOP - 8, bottom)))
    for curve, where in zip(curves, at, strict=True):
        marks += _line(curve, where, known, x, y)
    return svg(marks, height, what)


def keys(curves: Sequence[Curve]) -> str:
    """Legend of curves; empty for a single one."""
    items = "".join(f'<li><i style="background:{c.colour}"></i>{escape(c.name)}</li>' for c in curves)
    return f'<ul class="gl-keys">{items}</ul>' if len(curves) > 1 else ""


def meter(share: float) -> str:
    """A bar that is filled to a share 0..1."""
    return f'<span class="gl-meter"><i style="width:{100 * min(max(share, 0.0), 1.0):.0f}%"></i></span>'


def number(value: float, digits: int = 2) -> str:
    """A number with a minus sign and so many decimals; a dash if it is not finite."""
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


# -- pieces -----------------------------------------------------------------------------------------------------------


def _regions(x: Callable[[float], float], low: float, high: float) -> list[str]:
    """Names of the parts of the spectrum above the plot, where there is room for them."""
    out = []
    for name, start, end in _REGIONS:
        left, right = x(max(start, low)), x(min(end, high))
        if right - left > 6 * len(name):
            out.append(f'<text x="{(left + right) / 2:.1f}" y="11" text-anchor="middle">{escape(name)}</text>')
        if low < start < high:
            out.append(f'<path class="gl-grid" stroke-dasharray="2 3" d="M{x(start):.1f} 2V162"/>')
    return out


def _bands(curve: Curve, x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
    shown = [b for b in curve.bars if math.isfinite(b.value)]
    middle = sorted(((b.low_um + b.high_um) / 2, b.value) for b in shown)
    path = "L".join(f"{x(u):.1f} {y(v):.1f}" for u, v in middle)
    out = [f'<path d="M{path}" fill="none" stroke="{curve.colour}" stroke-opacity=".55"/>'] if len(middle) > 1 else []
    for bar in shown:
        left, width = x(bar.low_um), max(x(bar.high_um) - x(bar.low_um), 2.0)
        text = f"{curve.name} {bar.name}, {bar.low_um:.3f} to {bar.high_um:.3f} µm: {number(bar.value, 3)}"
        behind = ""
        if bar.between is not None and all(map(math.isfinite, bar.between)):
            low, high = bar.between
            text += f" ({number(low, 3)} to {number(high, 3)})"
            behind = (
                f'<rect x="{left:.1f}" y="{y(high):.1f}" width="{width:.1f}" height="{max(y(low) - y(high), 0.5):.1f}" '
                f'fill="{curve.colour}" fill-opacity=".22"/>'
            )
        out.append(
            f'<g>{behind}<rect x="{left:.1f}" y="{y(bar.value) - 2:.1f}" width="{width:.1f}" height="4" rx="1.5" '
            f'fill="{curve.colour}"/><title>{escape(text)}</title></g>'
        )
    return out


def _line(
    curve: Curve, at: np.ndarray, known: bool, x: Callable[[float], float], y: Callable[[float], float]
) -> list[str]:
    seen = np.isfinite(curve.values)
    path, pen, points = [], "M", []
    for i, (when, value) in enumerate(zip(at.tolist(), curve.values.tolist(), strict=True)):
        if seen[i]:
            path.append(f"{pen}{x(when):.1f} {y(value):.1f}")
            text = escape(f"{curve.name}, {str(curve.times[i])[:10] if known else f'date {i + 1}'}: {number(value, 3)}")
            point = f'cx="{x(when):.1f}" cy="{y(value):.1f}" r="2.8" fill="{curve.colour}"'
            points.append(f"<circle {point}><title>{text}</title></circle>")
        pen = "L" if seen[i] else "M"
    return [f'<path d="{"".join(path)}" fill="none" stroke="{curve.colour}" stroke-width="1.5"/>', *points]


def _dates(first: float, last: float, known: bool) -> list[tuple[float, str]]:
    """Four dates to name: months over more than half a year, days within."""
    if not known:
        return [(v, f"{v:.0f}") for v in ticks(first, last, 5) if v == round(v)]
    if first == last:
        return [(first, str(np.datetime64(int(first), "s"))[:10])]
    length = 7 if last - first > 200 * 86400 else 10
    return [(float(v), str(np.datetime64(int(v), "s"))[:length]) for v in np.linspace(first, last, 4)]


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    pad = 0.08 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - pad, high + pad


def _round_up(value: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(s * power for s in (1, 2, 5, 10) if value <= s * power)
