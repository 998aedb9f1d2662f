"""Lines of longitude and latitude for a view of the map, with their degrees, as one SVG picture. No network, no tiles."""

from __future__ import annotations

import base64
import math
from dataclasses import replace

import numpy as np

from georeset_lab.embed.pictures.warp import MercatorView, lonlat_of_mercator, mercator_of

SPACING_PX = 130
"""Lines are at least so far apart."""
# Zoom buttons lie left above and labels of both kinds meet right above: those of latitude keep off.
_CLEAR_LEFT_PX, _CLEAR_RIGHT_PX, _CLEAR_TOP_PX, _CLEAR_BOTTOM_PX = 70, 40, 36, 8

# Dark on light or light on dark, by the colour scheme of the page; an edge of the other keeps both legible on any ground.
_STYLE = """
path{fill:none}.under{stroke:#000;stroke-opacity:.2;stroke-width:2.2}.line{stroke:#fff;stroke-opacity:.6;stroke-width:.9}
text{font:600 11.5px system-ui,sans-serif;fill:#17201c;stroke:#fff;stroke-opacity:.85;stroke-width:3px;stroke-linejoin:round;
paint-order:stroke}@media (prefers-color-scheme:dark){.line{stroke-opacity:.32}text{fill:#e6ede9;stroke:#0b100e}}
""".replace("\n", "")


def graticule(view: MercatorView) -> tuple[MercatorView, str]:
    """Lines for a view and half a view around it, labelled along the view's top and right edge.

    Returns
    -------
    around : MercatorView
        Where the picture belongs.
    url : str
        SVG as a data URL.
    """
    height, width = view.shape
    margin_y, margin_x = height // 2, width // 2
    across, down = (view.right - view.left) / width, (view.top - view.bottom) / height
    around = replace(
        view,
        left=view.left - margin_x * across, right=view.right + margin_x * across,
        bottom=view.bottom - margin_y * down, top=view.top + margin_y * down,
        shape=(height + 2 * margin_y, width + 2 * margin_x),
    )  # fmt: skip
    (south, west), (north, east) = around.corners
    lines, labels = [], []
    step = degree_step((east - west) * SPACING_PX / around.shape[1])
    for lon in ticks(west, east, step):
        x = (float(mercator_of(np.array(lon), np.array(0.0))[0]) - around.left) / across
        lines.append(f"M{x:.1f} 0V{around.shape[0]}")
        if _CLEAR_LEFT_PX < x - margin_x < width - _CLEAR_RIGHT_PX:
            labels.append(_label(x, margin_y + 13, "middle", degrees(lon, step, "E", "W")))
    middle = float(lonlat_of_mercator(np.array(0.0), np.array((view.top + view.bottom) / 2))[1])
    step = degree_step((east - west) * SPACING_PX / around.shape[1] * max(math.cos(math.radians(middle)), 0.05))
    for lat in ticks(south, north, step):
        y = (around.top - float(mercator_of(np.array(0.0), np.array(lat))[1])) / down
        lines.append(f"M0 {y:.1f}H{around.shape[1]}")
        if _CLEAR_TOP_PX < y - margin_y < height - _CLEAR_BOTTOM_PX:
            labels.append(_label(margin_x + width - 6, y - 4, "end", degrees(lat, step, "N", "S")))
    path = "".join(lines)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{around.shape[1]}" height="{around.shape[0]}">'
        f'<style>{_STYLE}</style><path class="under" d="{path}"/><path class="line" d="{path}"/><g>{"".join(labels)}</g></svg>'
    )
    return around, "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


def degree_step(least: float) -> float:
    """Smallest of 1, 2, 5, 10, ... times a power of ten that is at least ``least`` degrees; above 20: 30, 45, 90.

    Examples
    --------
    >>> degree_step(0.013), degree_step(0.2), degree_step(21)
    (0.02, 0.2, 30.0)
    """
    if least > 20:
        return next((s for s in (30.0, 45.0) if s >= least), 90.0)
    power = 10.0 ** math.floor(math.log10(max(least, 1e-9)))
    return round(power * next(s for s in (1, 2, 5, 10) if s * power >= least * (1 - 1e-9)), 12)


def ticks(low: float, high: float, step: float) -> list[float]:
    """Multiples of ``step`` from ``low`` to ``high``."""
    return [round(i * step, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def degrees(value: float, step: float, positive: str, negative: str) -> str:
    """A coordinate with as many decimals as the step has, and its hemisphere; longitudes beyond 180 come round.

    Examples
    --------
    >>> degrees(-72.5, 0.05, "E", "W"), degrees(0, 1, "N", "S"), degrees(190, 10, "E", "W")
    ('72.50° W', '0°', '170° W')
    """
    if positive == "E":
        value = (value + 180) % 360 - 180 if abs(value) > 180 else value
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(value, decimals) == 0:
        return "0°"
    return f"{abs(value):.{decimals}f}° {positive if value > 0 else negative}"


def _label(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
