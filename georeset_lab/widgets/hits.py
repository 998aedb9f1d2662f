"""Ranked places as cards: a thumbnail with the place outlined, score, uncertainty, distance. HTML only; no widget here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.points import is_points
from georeset_lab.embed.finding.scan import Score
from georeset_lab.embed.profiles.place_pixels import distance_km, pixels_on
from georeset_lab.widgets.charts import number
from georeset_lab.widgets.thumbnails import Looks, main_optical, small_url

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from georeset_lab.embed.search import Similar

__all__ = ["hit_cards"]

CONTEXT = 3
"""Side of a thumbnail in sides of the place that is outlined in it."""
ABOUT: dict[Score, str] = {
    "pmi": "score: evidence, in nat, that the place shows the same thing as an example (pointwise mutual information); "
    "unsure: mean variance of the place, 0 = settled, 1 = nothing is known",
    "cosine": "score: cosine of the embeddings, −1 to 1; they state no variance, so how unsure they are is unknown",
}


def hit_cards(found: Similar, looks: Looks, examples: Sequence[tuple[float, float]]) -> str:
    """Cards of the places found, in their order; a click on one says ``go`` and its position.

    Parameters
    ----------
    found : Similar
    looks : Looks
        Where pictures come from: the scene's pixels if it has a photograph-like modality, else the embedding in colours.
    examples : sequence of (lon, lat)
        Places that were looked for; distances are to the nearest.
    """
    score: Score = "cosine" if found.map.attrs.get("score") == "cosine" else "pmi"
    items = []
    for i, place in enumerate(found.places.itertuples()):
        km = min(distance_km(one, (place.lon, place.lat)) for one in examples)
        unsure = number(place.uncertainty) if np.isfinite(place.uncertainty) else "unknown"
        items.append(
            f'<li><button class="gl-hit" data-do="go" data-value="{i}" title="Go to this place">'
            f"{_picture(looks, place.geometry.bounds)}<span><b>{place.rank}</b> · "
            f"{number(place.score, 1 if score == 'pmi' else 2)}</span><span>unsure {unsure}</span>"
            f"<span>{_far(km)}</span></button></li>"
        )
    if not items:
        return '<p class="gl-note">No other place on this map is large enough to be ranked.</p>'
    unit = " in nat" if score == "pmi" else ""
    return (
        f"<h4>Most similar <small>rank · score{unit}, how unsure the map is there, distance to the nearest example</small>"
        f'</h4><ul class="gl-hits">{"".join(items)}</ul><p class="gl-soft">{ABOUT[score]}</p>'
    )


def _picture(looks: Looks, bounds: tuple[float, float, float, float]) -> str:
    """Thumbnail of a place and the ground around it, with the place outlined."""
    grid = looks.emb.grid
    if is_points(grid):
        return ""  # there is no ground around a point to show
    cols, rows = _span(grid, bounds)
    (x0, x1), (y0, y1) = (_widened(*s, size) for s, size in zip((cols, rows), looks.emb.shape[::-1], strict=True))
    place = {
        "left": (cols[0] - x0) / (x1 - x0), "top": (rows[0] - y0) / (y1 - y0),
        "width": (cols[1] - cols[0]) / (x1 - x0), "height": (rows[1] - rows[0]) / (y1 - y0),
    }  # fmt: skip
    style = ";".join(f"{side}:{100 * share:.1f}%" for side, share in place.items())
    url = small_url(_ground(looks, slice(y0, y1), slice(x0, x1)))
    return f'<div class="gl-map"><img src="{url}" alt=""><i class="gl-frame" style="{style}"></i></div>'


def _ground(looks: Looks, rows: slice, cols: slice) -> np.ndarray:
    name = main_optical(looks.scene)
    if name is None or looks.scene is None:
        return looks.embedding(rows, cols)
    modality, width = looks.scene[name], looks.emb.shape[1]
    ends = np.array([rows.start * width + cols.start, (rows.stop - 1) * width + cols.stop - 1])
    r, c = pixels_on(modality.grid, looks.emb.grid, ends)
    if (r < 0).any():  # the modality covers a part of the map only
        return looks.embedding(rows, cols)
    window = slice(int(min(r)), int(max(r)) + 1), slice(int(min(c)), int(max(c)) + 1)
    return looks.modality(name, *window, looks.best_date(name))


def _span(grid: GeoBox, bounds: tuple[float, float, float, float]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last column, and row, of a box in the CRS of the grid; it may reach beyond the grid."""
    a, b, c, d, e, f = tuple(~grid.affine)[:6]
    corners = [(x, y) for x in bounds[::2] for y in bounds[1::2]]
    cols, rows = [a * x + b * y + c for x, y in corners], [d * x + e * y + f for x, y in corners]
    return (round(min(cols)), round(max(cols))), (round(min(rows)), round(max(rows)))


def _widened(first: int, last: int, size: int) -> tuple[int, int]:
    """`CONTEXT` times as long around the same middle, moved inside 0..size."""
    length = min(CONTEXT * (last - first), size)
    start = min(max((first + last - length) // 2, 0), size - length)
    return start, start + length


def _far(km: float) -> str:
    return f"{1000 * km:.0f} m away" if km < 1 else f"{number(km, 1)} km away"
