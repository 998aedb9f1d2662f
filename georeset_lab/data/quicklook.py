"""Small pictures and the short HTML of a scene. Pictures of embeddings are in ``embed/pictures/colours.py``."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.grids import crs_name
from georeset_lab.data.modality import UNITS, Modality

if TYPE_CHECKING:
    from georeset_lab.data.scene import Scene

_TRUE_COLOUR_UM = (0.665, 0.56, 0.49)
_VISIBLE_UM = 0.06  # a band farther than this from red, green or blue would show a colour that is not there
_CHEAP_BYTES = 16 * 2**20  # a lazy modality up to this size is read for a picture; a larger one is not
_SHOWN_BANDS = 13


def quicklook(modality: Modality, *, size: int = 128) -> np.ndarray:
    """Small picture of the date with the most pixels, every n-th pixel.

    True colour where there are red, green and blue, else the first bands; VV, VH and their difference for radar; grey
    for one band. Each channel runs from its 2nd to its 98th percentile.

    Parameters
    ----------
    modality : Modality
    size : int
        Longest side in pixels, at most.

    Returns
    -------
    numpy.ndarray, shape (Y, X, 4), uint8
        Red, green, blue, opacity; transparent where nothing was measured.
    """
    step = max(1, -(-max(modality.raw.shape[2:]) // size))
    small = slice(None, None, step)
    chosen = _channels(modality.bands)
    part = modality.select_bands([modality.bands[i].name for i in chosen]) if chosen else modality
    values = np.empty((0,))
    best = -1.0
    for date in _few(modality.raw.shape[0]):
        candidate = part.read(small, small, time=date)[0]
        share = float(np.isfinite(candidate).mean())
        if share > best:
            best, values = share, candidate
        if share > 0.99:
            break
    if [b.kind for b in part.bands] == ["backscatter"] * 2:
        values = np.concatenate([values, values[:1] - values[1:]])
    if len(values) < 3:
        values = np.repeat(values[:1], 3, axis=0)
    seen = np.asarray(np.isfinite(values).all(axis=0))
    rgb = np.stack([_stretched(channel, seen) for channel in values[:3]], axis=-1)
    return np.concatenate([rgb, np.where(seen, 255, 0).astype(np.uint8)[..., None]], axis=-1)


def is_cheap(modality: Modality) -> bool:
    """Whether a picture may be made without asking: the numbers are in memory, or few."""
    return not modality.is_lazy or modality.raw.nbytes <= _CHEAP_BYTES


def png_url(picture: np.ndarray) -> str:
    """Picture as a PNG in a ``data:`` address, for an ``<img>``."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def scene_html(scene: Scene) -> str:
    """Short HTML of a scene: bands, grid, size, dates, and a picture where that is cheap. All text is escaped."""
    rows = "".join(_row(name, modality) for name, modality in scene.modalities.items())
    titles = ("", "", "Bands", "Pixels", "Dates", "Stored")
    head = "".join(f"<th style='text-align:left'>{title}</th>" for title in titles)
    return (
        f"<div><b>Scene {escape(scene.name)}</b> &nbsp;{escape(crs_name(scene.crs))}, {escape(_ground(scene))}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(name: str, modality: Modality) -> str:
    picture = ""
    if is_cheap(modality):
        url = png_url(quicklook(modality))
        picture = f"<img src='{url}' alt='{escape(name)}' style='max-height:96px;max-width:128px'>"
    dates, _, rows, cols = modality.raw.shape
    sensor = f"<br><small>{escape(modality.sensor)}</small>" if modality.sensor else ""
    stored = f"{escape(str(modality.raw.dtype))}{', lazy' if modality.is_lazy else ''}"
    notes = f"<br><small title='{escape('; '.join(modality.notes))}'>{len(modality.notes)} notes</small>"
    cells = (
        picture,
        f"<b>{escape(name)}</b>{sensor}",
        escape(_bands_text(modality)),
        f"{rows} &times; {cols}<br><small>{modality.pixel_m:.4g} m</small>",
        escape(_dates_text(modality)) + f"<br><small>{dates} date{'s' * (dates != 1)}</small>",
        stored + (notes if modality.notes else ""),
    )
    return "<tr>" + "".join(f"<td style='text-align:left;vertical-align:top'>{cell}</td>" for cell in cells) + "</tr>"


def _bands_text(modality: Modality) -> str:
    names = list(modality.band_names)
    if len(names) > _SHOWN_BANDS:
        names = [*names[:3], "…", names[-1]]
    units = sorted({UNITS[b.kind] for b in modality.bands} - {"1"})
    return f"{len(modality.bands)}: {' '.join(names)}" + (f" ({', '.join(units)})" if units else "")


def _dates_text(modality: Modality) -> str:
    known = modality.times[~np.isnat(modality.times)]
    if not known.size:
        return "unknown"
    first, last = str(known.min())[:10], str(known.max())[:10]
    return first if first == last else f"{first} to {last}"


def _ground(scene: Scene) -> str:
    if not scene.modalities:
        return "empty"
    box = scene.extent
    return f"{(box.right - box.left) / 1000:.4g} x {(box.top - box.bottom) / 1000:.4g} km"


def _channels(bands: tuple[BandSpec, ...]) -> list[int]:
    """Positions of the bands to show as red, green and blue, of both polarizations, or of one band."""
    optical = [i for i, b in enumerate(bands) if b.kind == "reflectance"]
    if len(optical) >= 3:
        nearest = [min(optical, key=lambda i: abs(bands[i].center_um - um)) for um in _TRUE_COLOUR_UM]
        close = all(abs(bands[i].center_um - um) < _VISIBLE_UM for i, um in zip(nearest, _TRUE_COLOUR_UM, strict=True))
        return nearest if close and len(set(nearest)) == 3 else optical[-1::-1][:3]
    if len(bands) >= 2 and all(b.kind == "backscatter" for b in bands[:2]):
        return [0, 1]
    return [0]


def _few(dates: int) -> list[int]:
    """At most five dates spread over the series, the middle one first."""
    spread = sorted(set(np.linspace(0, dates - 1, min(dates, 5)).astype(int).tolist()))
    return sorted(spread, key=lambda i: abs(i - dates // 2))


def _stretched(channel: np.ndarray, seen: np.ndarray) -> np.ndarray:
    if not seen.any():
        return np.zeros(channel.shape, dtype=np.uint8)
    low, high = np.percentile(channel[seen], (2, 98))
    span = max(float(high - low), 1e-9)
    return (np.clip((np.where(seen, channel, low) - low) / span, 0, 1) * 255).round().astype(np.uint8)
