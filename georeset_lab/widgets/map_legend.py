"""Legends of map layers: what a colour means, in which unit. Escaped HTML; looks are in ``embedding_map.css``."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from georeset_lab.widgets.page_images import hexes

STOPS = 16
"""Colours that a bar is drawn from; the browser blends between them."""


def bar_legend(
    name: str, palette: np.ndarray, low: float, high: float, *, unit: str = "", ends: tuple[str, str] = ("", "")
) -> str:
    """Continuous scale.

    Parameters
    ----------
    palette : (256, 3) uint8, from ``low`` to ``high``
    unit : str
        Behind the name; empty or "1" for a bare number.
    ends : what the two ends mean, in a word or two.
    """
    chosen = hexes(palette)[:: max(1, len(palette) // STOPS)] + hexes(palette[-1:])
    values = [_short(v, high - low) for v in (low, (low + high) / 2, high)]
    words = [f"{value} {escape(word)}".strip() for value, word in zip(values, (ends[0], "", ends[1]), strict=True)]
    ticks = "".join(f"<span>{word}</span>" for word in words)
    return _framed(
        name, unit, f'<i class="gr-bar" style="background:linear-gradient(90deg,{",".join(chosen)})"></i><p>{ticks}</p>'
    )


def class_legend(name: str, classes: Sequence[str], colours: Sequence[str], shares: Sequence[float] = ()) -> str:
    """Names beside swatches, with the share of the map behind each if given."""
    after = [f" <small>{_percent(s)}</small>" for s in shares] or [""] * len(classes)
    items = "".join(
        f'<li><i style="background:{colour}"></i>{escape(str(text))}{share}</li>'
        for text, colour, share in zip(classes, colours, after, strict=True)
    )
    return _framed(name, "share of the map" if shares else "", f"<ul>{items}</ul>")


def ramp_legend(
    name: str,
    classes: Sequence[str],
    ramps: np.ndarray,
    shares: Sequence[float],
    *,
    unit: str,
    ends: tuple[str, str],
) -> str:
    """Names beside bars from pale to full colour, (n, K, 3) uint8, each with a share, and what both ends mean."""
    items = "".join(
        f'<li><i class="gr-ramp" style="background:linear-gradient(90deg,{hexes(ramp[:1])[0]},{hexes(ramp[-1:])[0]})">'
        f"</i>{escape(str(text))} <small>{_percent(share)}</small></li>"
        for text, ramp, share in zip(classes, ramps, shares, strict=True)
    )
    return _framed(
        name, unit, f"<ul>{items}</ul><small>pale: {escape(ends[0])}; full colour: {escape(ends[1])}</small>"
    )


def rgb_legend(name: str, channels: Sequence[str], note: str = "") -> str:
    """What red, green and blue show."""
    swatches = ("#d9352b", "#3f9d3f", "#3b63d4")
    items = "".join(
        f'<li><i style="background:{c}"></i>{word}: {escape(text)}</li>'
        for c, word, text in zip(swatches, ("red", "green", "blue"), channels, strict=True)
    )
    return _framed(name, "", f"<ul>{items}</ul>" + (f"<small>{escape(note)}</small>" if note else ""))


def text_legend(name: str, text: str) -> str:
    """A layer whose colours need no scale."""
    return _framed(name, "", f"<small>{escape(text)}</small>")


def _framed(name: str, unit: str, body: str) -> str:
    shown = f" <small>{escape(unit)}</small>" if unit not in ("", "1") else ""
    return f'<div class="gr-legend"><b>{escape(name)}</b>{shown} {body}</div>'


def _short(value: float, span: float) -> str:
    """A number with as many digits as the span of its scale deserves."""
    digits = max(0, 1 - int(np.floor(np.log10(max(span, 1e-9) / 2))))
    text = f"{value:.{min(digits, 6)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text.replace("-", "−")


def _percent(share: float) -> str:
    return "< 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"
