"""A learning curve as a drawing: score on held-out places over the number of labels, the embedding beside raw bands.

The numbers are made in ``embed/probing/learning_curve.py``, the axes in ``chart_axes.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.widgets.chart_axes import LEFT, RIGHT, TOP, WIDTH, axis_x, axis_y, scale, svg, tick, ticks

if TYPE_CHECKING:
    from georeset_lab.embed.probing.learning_curve import LearningCurve

__all__ = ["STYLES", "learning_chart", "learning_keys"]

STYLES = {"embedding": ("#2B8CC4", ""), "raw bands": ("#D55E00", "6 4")}
"""Colour and dashes of each kind of features: told apart without colour too."""
_HEIGHT, _BOTTOM = 206.0, 170.0
_APART = 26.0
"""Least distance of two numbers on the lower axis."""


def learning_chart(curve: LearningCurve) -> str:
    """Mean score of each kind of features with the spread over the draws behind it; empty before the first draw.

    The last point of a curve that goes on after the scarcest class has run out is hollow: it has all labels there are.
    """
    means = {name: _means(scores) for name, scores in curve.scores.items()}
    shown = [100 * v for mean, sd in means.values() for v in (mean - np.nan_to_num(sd)) if math.isfinite(v)]
    if not shown:
        return ""
    low = max(0.0, 10 * math.floor(min(*shown, 100 * curve.chance) / 10 - 0.5))
    first, last = curve.per_class[0], curve.per_class[-1]
    spread = scale(
        math.log(first), math.log(last) if last > first else math.log(first) + 1, LEFT + 8, WIDTH - RIGHT - 8
    )
    x, y = (lambda m: spread(math.log(m))), scale(low, 100, _BOTTOM, TOP)
    marks = [axis_x(_counts(curve, x), _BOTTOM, "labels per class", _HEIGHT)]
    values = ticks(low, 100, 5)
    marks.append(axis_y([(y(v), tick(v)) for v in values], "balanced accuracy (%)", (TOP, _BOTTOM)))
    level = y(100 * curve.chance)
    marks.append(
        f'<path class="gl-axis" stroke-dasharray="2 3" d="M{LEFT:g} {level:.1f}H{WIDTH - RIGHT:g}"/>'
        f'<text x="{WIDTH - RIGHT:g}" y="{level - 4:.1f}" text-anchor="end">guessing</text>'
    )
    for name, (mean, sd) in reversed(means.items()):  # the embedding last, above the others
        marks += _line(name, curve, mean, sd, x, y)
    return svg(marks, _HEIGHT, "Learning curve: balanced accuracy on held-out places over labels per class")


def learning_keys(curve: LearningCurve) -> str:
    """Legend of the lines."""
    items = []
    for name in curve.scores:
        colour, dashes = STYLES[name]
        items.append(
            f'<li><svg width="26" height="8" aria-hidden="true"><path d="M0 4H26" stroke="{colour}" stroke-width="2.5" '
            f'stroke-dasharray="{dashes}"/></svg> {escape(name)}</li>'
        )
    return f'<ul class="gl-keys">{"".join(items)}<li>band: one standard deviation over the draws</li></ul>'


def _means(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the draws that are done, each (sizes,); NaN where unknown."""
    known = scores[~np.isnan(scores).any(axis=1)]
    none = np.full(scores.shape[1], np.nan)
    return (known.mean(axis=0) if len(known) else none), (known.std(axis=0, ddof=1) if len(known) > 1 else none)


def _counts(curve: LearningCurve, x: Callable[[float], float]) -> list[tuple[float, str]]:
    """Numbers on the lower axis, from the right, as far as they do not touch."""
    out: list[tuple[float, str]] = []
    for i, m in reversed(list(enumerate(curve.per_class))):
        at = x(m)
        if not out or out[-1][0] - at >= _APART:
            out.append((at, "all" if i >= curve.even else str(m)))
    return out[::-1]


def _line(
    name: str,
    curve: LearningCurve,
    mean: np.ndarray,
    sd: np.ndarray,
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> list[str]:
    colour, dashes = STYLES[name]
    at = [x(m) for m in curve.per_class]
    middle = 100 * mean
    out = []
    if np.isfinite(sd).all():
        top = [f"{u:.1f} {y(min(100.0, v)):.1f}" for u, v in zip(at, middle + 100 * sd, strict=True)]
        low = [f"{u:.1f} {y(max(0.0, v)):.1f}" for u, v in zip(at, middle - 100 * sd, strict=True)]
        out.append(f'<path d="M{"L".join([*top, *reversed(low)])}Z" fill="{colour}" fill-opacity=".16"/>')
    path = "L".join(f"{u:.1f} {y(v):.1f}" for u, v in zip(at, middle, strict=True))
    out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>')
    for i, (u, v) in enumerate(zip(at, middle, strict=True)):
        many = "all labels" if i >= curve.even else f"{curve.per_class[i]} per class"
        error = f" ± {100 * sd[i]:.0f}" if math.isfinite(sd[i]) else ""
        fill = "var(--gl-card)" if i >= curve.even else colour
        out.append(
            f'<circle cx="{u:.1f}" cy="{y(v):.1f}" r="3.4" fill="{fill}" stroke="{colour}" stroke-width="1.6">'
            f"<title>{escape(name)}, {many} ({curve.labels[i]:.0f} labels): {v:.0f}{error} %</title></circle>"
        )
    return out
