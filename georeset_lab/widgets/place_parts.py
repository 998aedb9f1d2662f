"""What is said and drawn about measured values: curves, facts with units, the class and what is known. No widget here.

Numbers come from ``embed/profiles/place_pixels.py`` and ``embed/profiles/place_profile.py``; text in, escaped HTML out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.embed.points import columns_of
from georeset_lab.embed.profiles.place_profile import Step
from georeset_lab.widgets.charts import COLOURS, Bar, Curve, keys, meter, number, series, spectrum
from georeset_lab.widgets.page_images import label_of

if TYPE_CHECKING:
    import xarray as xr

    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.embed.profiles.place_pixels import Measured
    from georeset_lab.widgets.state import Click

__all__ = [
    "class_facts",
    "coordinates",
    "facts",
    "given_facts",
    "known_words",
    "measured_facts",
    "series_charts",
    "spectrum_chart",
]

SERIES_DATES = 3
"""Dates from which values are drawn over time."""
SERIES_BANDS = 3
_QUANTITY = {
    "reflectance": ("reflectance (0 to 1)", "", 3),
    "backscatter": ("backscatter (dB)", "dB", 1),
    "temperature": ("temperature (K)", "K", 1),
    "elevation": ("elevation (m)", "m", 0),
}
"""Of each `BandSpec.kind`: name with unit for an axis, unit for a number, decimals."""


def coordinates(place: Click) -> str:
    """Latitude and longitude of a place in words, to a metre or so."""
    north, east = ("N" if place.lat >= 0 else "S"), ("E" if place.lon >= 0 else "W")
    return f"{abs(place.lat):.5f}° {north}, {abs(place.lon):.5f}° {east}"


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Names (plain text) and what is to be said of each (HTML)."""
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{text}</dd>" for name, text in rows)
    return f'<dl class="gl-facts">{lines}</dl>' if rows else ""


def known_words(steps: Sequence[Step], dim: int, seen: Sequence[bool]) -> str:
    """What the modalities know, as a sentence: "Sentinel-2 settles 41 of 64 dimensions; Sentinel-1 adds 3".

    Parameters
    ----------
    steps : sequence of Step
        As `georeset_lab.embed.profiles.place_profile.settled_steps` orders them.
    dim : int
    seen : sequence of bool
        Whether each of them measured anything here.
    """
    said = []
    for i, (step, here) in enumerate(zip(steps, seen, strict=True)):
        name = escape(label_of(step.name))
        if not here:
            said.append(f"{name} saw nothing here")
        elif i == 0:
            said.append(f"{name} settles {step.settles} of {dim} dimensions")
        else:
            said.append(f"{name} adds {step.adds or 'none'}")
    left = dim - sum(s.adds for s in steps)
    return "; ".join(said) + (f"; {left} stay open" if left else "")


def given_facts(emb: Embeddings, row: int) -> list[tuple[str, str]]:
    """What the table of point embeddings says of a point; nothing for any other map."""
    found = []
    for name, column in columns_of(emb).items():
        value = column.values[row, 0]
        if column.classes:
            found.append((f"Given: {name}", escape(column.classes[int(value)]) if value >= 0 else "none"))
        else:
            found.append((f"Given: {name}", f"{float(value):.6g}" if np.isfinite(value) else "none"))
    return found


def class_facts(prediction: xr.Dataset, row: int, col: int) -> list[tuple[str, str]]:
    """What a prediction says of a pixel: class and probability, the classes it may be, why it is in doubt."""
    here = prediction.isel(y=row, x=col)
    names = [str(c) for c in prediction["class"].values]
    label = int(here["label"])
    if not 0 <= label < len(names):
        return [("Class", "nothing was observed here")]
    chance = float(here["probability"].values[label]) if "probability" in here else float("nan")
    rows = [("Class", f"{meter(chance)}<b>{escape(names[label])}</b>, probability {number(chance)}")]
    if "prediction_set" in here:
        inside = [n for n, is_in in zip(names, here["prediction_set"].values, strict=True) if is_in]
        note = escape(str(prediction.attrs.get("sets", "")))
        said = escape(", ".join(inside)) + (" only" if len(inside) == 1 else "")
        rows.append(("May be", f'<span title="{note}">{said or "none of the classes"}</span>'))
    parts = [("doubt_sensor", "the sensor does not see it"), ("doubt_labels", "too few labels")]
    parts.append(("doubt_overlap", "classes overlap"))
    found = [(float(here[key]), text) for key, text in parts if key in here]
    found = sorted((f for f in found if math.isfinite(f[0])), reverse=True)
    if found:
        shares = ", ".join(f"{100 * value:.0f} % {text}" for value, text in found)
        rows.append(("Doubt", f"{100 * sum(v for v, _ in found):.0f} % chance of another class: {shares}"))
    if "unlike" in here and bool(here["unlike"]):
        rows.append(("Caution", "<b>unlike any label</b>: the class is a guess here"))
    return rows


def spectrum_chart(measured: Mapping[str, Measured], *, over: str) -> str:
    """Reflectance of all optical modalities over wavelength; empty if there is none.

    ``over`` says what the range of a bar is over: "dates" of one pixel, or "pixels".
    """
    curves = [
        Curve(label_of(name), _colour(i), bars=_bars(m, over))
        for i, (name, m) in enumerate(measured.items())
        if any(b.kind == "reflectance" for b in m.bands)
    ]
    drawn = spectrum(curves, title="Spectrum: reflectance over wavelength")
    if not drawn:
        return ""
    some = [m for m in measured.values() if any(b.kind == "reflectance" for b in m.bands)]
    dates = max(len(m.times) for m in some)
    about = "bars as wide as the bands"
    if over == "pixels":
        about = "median and quartiles of the pixels"
    elif dates > 1:
        about = f"median and range of {dates} dates"
    return f"<h4>Spectrum <small>{about}</small></h4>{drawn}{keys(curves)}"


def measured_facts(measured: Mapping[str, Measured], *, over: str) -> list[tuple[str, str]]:
    """Backscatter, elevation and temperature in their units, with the range over dates or pixels."""
    rows = []
    for name, m in measured.items():
        said = []
        low, middle, high = _summary(m, over)
        of = "over dates" if over == "dates" else "quartiles"
        for i, band in enumerate(m.bands):
            if band.kind == "reflectance" or not math.isfinite(middle[i]):
                continue
            _, unit, digits = _QUANTITY[band.kind]
            label = "" if band.kind == "elevation" else f"{escape(band.name)} "
            spread = ""
            if low[i] < high[i]:
                spread = f' <span class="gl-soft">({number(low[i], digits)} to {number(high[i], digits)} {of})</span>'
            said.append(f"{label}{number(middle[i], digits)} {unit}{spread}")
        if said:
            rows.append((label_of(name), ", ".join(said)))
        elif not m.seen:
            rows.append((label_of(name), "nothing was measured here"))
    return rows


def series_charts(measured: Mapping[str, Measured]) -> list[str]:
    """Values over time of what has enough dates: one chart of NDVI, and one of each modality that has no bands for it."""
    greens, charts = [], []
    for i, (name, m) in enumerate(measured.items()):
        values = m.at_dates()
        if len(m.times) < SERIES_DATES or np.isfinite(values).any(axis=1).sum() < 2:
            continue
        index = m.ndvi()
        if index is not None:
            greens.append(Curve(label_of(name), _colour(i), values=index, times=m.times))
            continue
        kind = m.bands[0].kind
        first = [b for b in range(len(m.bands)) if m.bands[b].kind == kind][:SERIES_BANDS]
        lines = [
            Curve(m.bands[b].name, _colour(i + k), values=values[:, b], times=m.times) for k, b in enumerate(first)
        ]
        charts.append(_series(lines, label_of(name), f"{len(m.times)} dates", _QUANTITY[kind][0], None))
    found = np.concatenate([c.values for c in greens]) if greens else np.empty(0)
    if np.isfinite(found).any():
        low = next(end for end in (0.0, -0.25, -0.5, -1.0) if end <= float(np.nanmin(found)))
        about = ", ".join(f"{len(c.times)} dates of {c.name}" for c in greens)
        charts.insert(0, _series(greens, "Vegetation", about, "NDVI (−1 to 1)", (low, 1.0)))
    return charts


def _series(lines: Sequence[Curve], title: str, about: str, what: str, limits: tuple[float, float] | None) -> str:
    head = f"<h4>{escape(title)} <small>{escape(about)}</small></h4>"
    return f"<div>{head}{series(lines, what=what, limits=limits)}{keys(lines)}</div>"


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _summary(m: Measured, over: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Low, middle and high value (C,) of each band."""
    if over == "pixels":
        low, middle, high = m.quartiles()
        return low, middle, high
    return m.extremes()[0][0], m.typical()[0], m.extremes()[1][0]


def _bars(m: Measured, over: str) -> list[Bar]:
    low, middle, high = _summary(m, over)
    return [
        Bar(
            band.name,
            band.center_um - band.fwhm_um / 2,
            band.center_um + band.fwhm_um / 2,
            float(middle[i]),
            (float(low[i]), float(high[i])) if low[i] < high[i] else None,
        )
        for i, band in enumerate(m.bands)
        if band.kind == "reflectance"
    ]
