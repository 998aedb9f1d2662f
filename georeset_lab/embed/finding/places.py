"""Places: ranked squares of whole cells that do not overlap. Scores of cells come in, a GeoDataFrame goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.points import is_points
from georeset_lab.embed.encoding.tiles import PIXELS_PER_CELL, first_pixel, is_rotated
from georeset_lab.embed.locate import lonlat_of

if TYPE_CHECKING:
    import geopandas as gpd
    from odc.geo.geobox import GeoBox

    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.embed.finding.scan import Scan

__all__ = ["cell_phase", "cell_px", "rank_places", "squares"]

MIN_OBSERVED = 0.5
"""Share of a square that must be observed: a score of fewer pixels says little about the square."""


def cell_phase(grid: GeoBox) -> tuple[int, int]:
    """Row and column of pixel (0, 0) inside its cell; cells begin at absolute multiples of 6 pixels in the CRS."""
    if is_points(grid) or is_rotated(grid):
        return 0, 0
    a = grid.affine
    return first_pixel(a.f, a.e) % PIXELS_PER_CELL, first_pixel(a.c, a.a) % PIXELS_PER_CELL


def cell_px(grid: GeoBox) -> int:
    """Pixels along the side of a cell; a vector at a point is a cell of its own."""
    return 1 if is_points(grid) else PIXELS_PER_CELL


def rank_places(
    emb: Embeddings, result: Scan, *, k: int, side: int, phase: tuple[int, int], exclude: tuple[np.ndarray, np.ndarray]
) -> gpd.GeoDataFrame:
    """The k best squares, greedily: the best first, then the best that does not overlap it, and so on.

    Parameters
    ----------
    side : int
        Side of a square in cells; squares begin at any cell.
    exclude : (rows, columns) of pixels that no place may hold.

    Returns
    -------
    GeoDataFrame
        As in `georeset_lab.embed.search.Similar.places`; no rows if nothing is left. Of vectors at points the points.
    """
    pixels = cell_px(emb.grid)
    side = 1 if is_points(emb.grid) else side
    sides = (min(side, result.cell_sum.shape[0]), min(side, result.cell_sum.shape[1]))
    count = _boxes(result.cell_count, sides)
    banned = np.zeros(result.cell_sum.shape, np.int64)
    rows, cols = exclude
    banned[(rows + phase[0]) // pixels, (cols + phase[1]) // pixels] = 1
    ok = (count >= MIN_OBSERVED * sides[0] * sides[1] * pixels**2) & (_boxes(banned, sides) == 0)
    score = np.where(ok, _boxes(result.cell_sum, sides) / np.maximum(count, 1), -np.inf)
    found = _greedy(score, sides, k)
    return _frame(emb, [(r, c, float(score[r, c])) for r, c in found], sides, phase)


def _boxes(cells: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """Sum over every square of cells, by its first row and column."""
    out = np.zeros((cells.shape[0] - sides[0] + 1, cells.shape[1] - sides[1] + 1), cells.dtype)
    for i in range(sides[0]):
        for j in range(sides[1]):
            out += cells[i : i + out.shape[0], j : j + out.shape[1]]
    return out


def _greedy(score: np.ndarray, sides: tuple[int, int], k: int) -> list[tuple[int, int]]:
    left = score.copy()
    found: list[tuple[int, int]] = []
    while len(found) < k:
        r, c = np.unravel_index(int(np.argmax(left)), left.shape)
        if left[r, c] == -np.inf:
            break
        found.append((int(r), int(c)))
        left[max(r - sides[0] + 1, 0) : r + sides[0], max(c - sides[1] + 1, 0) : c + sides[1]] = -np.inf
    return found


def _frame(
    emb: Embeddings, found: list[tuple[int, int, float]], sides: tuple[int, int], phase: tuple[int, int]
) -> gpd.GeoDataFrame:
    import geopandas as gpd

    height, width = (s * cell_px(emb.grid) for s in sides)
    corner = np.array([(r, c) for r, c, _ in found], np.int64).reshape(-1, 2) * cell_px(emb.grid) - phase
    top, left = corner[:, 0], corner[:, 1]
    uncertainty, share = [], []
    for t, i in corner:
        _, variance, observed = emb.fused(slice(max(t, 0), t + height), slice(max(i, 0), i + width))
        uncertainty.append(float(variance[observed].mean(dtype=np.float64)))
        share.append(float(observed.sum()) / (height * width))
    lon, lat = lonlat_of(emb.grid, top + height / 2 - 0.5, left + width / 2 - 0.5)
    shapes = squares(emb.grid, np.stack([top, left], 1), np.stack([top + height, left + width], 1))
    data = {
        "rank": np.arange(1, len(found) + 1),
        "score": [score for _, _, score in found],
        "uncertainty": uncertainty,
        "observed": share,
        "lon": lon,
        "lat": lat,
    }
    crs = None if emb.grid.crs is None else emb.grid.crs.proj
    return gpd.GeoDataFrame(data, geometry=shapes, crs=crs)


def squares(grid: GeoBox, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Polygons, in the CRS of a grid, of windows from first (row, column) to beyond the last, (n, 2) each.

    Of vectors at points the points: there is no ground between them.
    """
    import shapely

    if is_points(grid):
        return np.asarray(shapely.points(grid.x[low[:, 0]], grid.y[low[:, 0]]))
    rows = np.stack([low[:, 0], low[:, 0], high[:, 0], high[:, 0]], axis=1)
    cols = np.stack([low[:, 1], high[:, 1], high[:, 1], low[:, 1]], axis=1)
    a = grid.affine
    ring = np.stack([a.a * cols + a.b * rows + a.c, a.d * cols + a.e * rows + a.f], axis=-1)
    return np.asarray(shapely.polygons(ring))
