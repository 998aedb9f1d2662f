"""The frame of a small SVG drawing: its size, its axes with names and units, round numbers on them.

What is drawn inside is in ``charts.py`` and ``learning_chart.py``; colours come from ``board.css``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

__all__ = ["LEFT", "RIGHT", "TOP", "WIDTH", "axis_x", "axis_y", "scale", "svg", "tick", "ticks"]

WIDTH, LEFT, RIGHT, TOP = 460.0, 46.0, 8.0, 18.0
"""Size of a drawing, and what its axes leave free, in units of its view box."""


def svg(marks: Sequence[str], height: float, title: str) -> str:
    """A drawing of `WIDTH` and some height, named for those who cannot see it."""
    return (
        f'<svg class="gl-chart" viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{escape(title)}">'
        f"{''.join(marks)}</svg>"
    )


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """From numbers to places."""
    factor = (end - start) / max(high - low, 1e-12)
    return lambda value: start + (value - low) * factor


def axis_x(items: Sequence[tuple[float, str]], bottom: float, name: str, height: float) -> str:
    """Axis at the bottom: places with what is written there, and the name of the axis with its unit."""
    right = WIDTH - RIGHT
    texts = ""
    for x, text in items:
        half = 3.2 * len(text)  # half the width of the text, about: it must not leave the drawing
        x = min(max(x, half), WIDTH - half)
        texts += f'<text x="{x:.1f}" y="{bottom + 14:g}" text-anchor="middle">{escape(text)}</text>'
    lines = "".join(f"M{x:.1f} {bottom:g}v3" for x, _ in items)
    return (
        f'<path class="gl-axis" d="M{LEFT:g} {bottom:g}H{right:g}{lines}"/>{texts}'
        f'<text x="{(LEFT + right) / 2:g}" y="{height - 4:g}" text-anchor="middle">{escape(name)}</text>'
    )


def axis_y(items: Sequence[tuple[float, str]], name: str, span: tuple[float, float]) -> str:
    """Axis on the left with lines across; ``span`` is where it begins and ends."""
    texts = "".join(f'<text x="{LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end">{escape(t)}</text>' for y, t in items)
    lines = "".join(f"M{LEFT:g} {y:.1f}H{WIDTH - RIGHT:g}" for y, _ in items)
    middle = sum(span) / 2
    return (
        f'<path class="gl-grid" d="{lines}"/>{texts}<text x="11" y="{middle:g}" text-anchor="middle" '
        f'transform="rotate(-90 11 {middle:g})">{escape(name)}</text>'
    )


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two ends, at most so many (at least two are tried for).

    >>> ticks(0.41, 2.3, 6)
    [0.5, 1.0, 1.5, 2.0]
    """
    span = max(high - low, 1e-12)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(s * power for s in (1, 2, 2.5, 5, 10, 20) if span / (s * power) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick(value: float) -> str:
    """A number as it is written on an axis."""
    return f"{value:g}".replace("-", "−")
