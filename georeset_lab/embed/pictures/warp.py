"""From a grid to a web map: which pixel of the grid lies under each pixel of a view in Web Mercator, as an index array.

A slippy map stretches a picture evenly in EPSG:3857. A picture in UTM laid into its bounding box would be off by tens of
pixels, so it is warped first, by the nearest pixel: what is seen is what was computed, never a mixture of neighbours.
Building the index costs once per view; each new picture is then one ``take``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.points import PointGrid, is_points
from georeset_lab.embed.locate import crs_of
from georeset_lab.embed.pictures.colours import PaletteImage
from georeset_lab.errors import ShapeMismatch

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from pyproj import Transformer

__all__ = [
    "MercatorView",
    "fit_zoom",
    "grid_view",
    "lonlat_of_mercator",
    "mercator_of",
    "thin_grid",
    "view_of_pixels",
    "warp_index",
    "warped",
]

RADIUS_M = 6_378_137.0
"""Radius of the sphere of EPSG:3857."""
WORLD_M = 2 * math.pi * RADIUS_M
MAX_LATITUDE = 85.051129
"""Where the square world of web maps ends."""
TILE_PX = 256

_COARSE_PX = 16
"""Exact projection at every 16th pixel of a view, linear between; finer where that is off by more than `_TOLERANCE_PX`."""
_TOLERANCE_PX = 0.005


_SMALLEST_DISC_PX, _LARGEST_DISC_PX = 1.5, 6
"""Radius of the disc that a point is drawn as, by how crowded the view is."""


@dataclass(frozen=True)
class MercatorView:
    """A rectangle of the map and the pixels it is drawn with, all of one size."""

    left: float
    """Metres of EPSG:3857; beyond the half world where it crosses the antimeridian."""
    bottom: float
    right: float
    top: float
    shape: tuple[int, int]
    """Rows and columns, from the top left."""

    @property
    def corners(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """(south, west), (north, east) in degrees, as web maps want bounds."""
        (west, east), (south, north) = lonlat_of_mercator(
            np.array([self.left, self.right]), np.array([self.bottom, self.top])
        )
        return (float(south), float(west)), (float(north), float(east))

    def touches(self, other: MercatorView) -> bool:
        """Whether the two rectangles overlap."""
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top

    def covers(self, other: MercatorView) -> bool:
        """Whether the other rectangle lies inside this one."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.bottom <= other.bottom and other.top <= self.top


def mercator_of(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x, y in EPSG:3857, metres, of degrees. Longitudes beyond 180 stay beyond."""
    phi = np.radians(np.clip(lat, -MAX_LATITUDE, MAX_LATITUDE))
    return RADIUS_M * np.radians(lon), RADIUS_M * np.arcsinh(np.tan(phi))


def lonlat_of_mercator(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Degrees of coordinates in EPSG:3857."""
    return np.degrees(np.asarray(x) / RADIUS_M), np.degrees(np.arctan(np.sinh(np.asarray(y) / RADIUS_M)))


def grid_view(grid: GeoBox, *, max_pixels: int, finest: float = 3.0) -> MercatorView:
    """View of a whole grid.

    Parameters
    ----------
    grid : GeoBox
    max_pixels : int
        The view has about as many pixels at most, ...
    finest : float
        ... and at most so many along the side of a pixel of the grid.

    Returns
    -------
    MercatorView
        The smallest rectangle around the grid.
    """
    if is_points(grid):
        return _points_view(grid, max_pixels)
    x, y = mercator_of(*_outline(grid))
    left, right, bottom, top = float(x.min()), float(x.max()), float(y.min()), float(y.max())
    height, width = grid.shape
    per_pixel = math.sqrt((right - left) * (top - bottom) / (height * width)) / finest
    per_pixel = max(per_pixel, math.sqrt((right - left) * (top - bottom) / max_pixels))
    shape = max(1, round((top - bottom) / per_pixel)), max(1, round((right - left) / per_pixel))
    return MercatorView(left, bottom, right, top, shape)


def view_of_pixels(left: float, top: float, right: float, bottom: float, zoom: float) -> MercatorView:
    """View of a rectangle of world pixels at a zoom level, as Leaflet's ``getPixelBounds`` gives it, one for one."""
    metres = WORLD_M / (TILE_PX * 2**zoom)
    half = WORLD_M / 2
    shape = max(1, round(bottom - top)), max(1, round(right - left))
    return MercatorView(left * metres - half, half - bottom * metres, right * metres - half, half - top * metres, shape)


def fit_zoom(view: MercatorView, size_px: tuple[float, float], *, snap: float = 1.0) -> float:
    """Largest zoom level, in steps of ``snap``, at which a rectangle fits into (width, height) screen pixels."""
    world = WORLD_M / TILE_PX
    zoom = min(
        math.log2(size_px[0] * world / max(view.right - view.left, 1e-6)),
        math.log2(size_px[1] * world / max(view.top - view.bottom, 1e-6)),
    )
    return max(0.0, math.floor(zoom / snap + 1e-6) * snap)


def thin_grid(grid: GeoBox, step: int) -> GeoBox:
    """Grid of every ``step``-th row and column, each standing for the ``step`` x ``step`` pixels from there on."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    if is_points(grid):
        return grid[::step]
    (height, width), a = grid.shape, grid.affine
    coarse = Affine(a.a * step, a.b * step, a.c, a.d * step, a.e * step, a.f)
    return GeoBox((-(-height // step), -(-width // step)), coarse, grid.crs)


def warp_index(grid: GeoBox, view: MercatorView) -> np.ndarray:
    """Flat index of the grid's pixel that holds the centre of each pixel of a view.

    Returns
    -------
    numpy.ndarray, shape ``view.shape``, int32 (int64 for grids of over 2e9 pixels)
        ``row * columns + column``; -1 outside the grid.

    Notes
    -----
    Of points that are no grid: the point whose disc covers a pixel of the view, the nearest of several.

    Projected exactly at every 16th pixel and linearly between, after checking that this is right within 0.005 pixels of
    the grid half-way between; where it is not, at every 8th, and so on.
    """
    if is_points(grid):
        return _discs(grid, view)
    rows, cols = view.shape
    step = _COARSE_PX
    while True:
        col, row, error = _coarse(grid, view, step)
        if step == 1 or error <= _TOLERANCE_PX:
            break
        step //= 2
    height, width = grid.shape
    kind = np.int32 if height * width < 2**31 else np.int64
    at_row, at_col = _between(rows, step), _between(cols, step)
    out = np.empty(view.shape, kind)
    for top in range(0, rows, 256):  # so that the temporaries stay in the cache
        part = slice(top, min(top + 256, rows))
        c, r = (_linear(a, (at_row[0][part], at_row[1][part]), at_col) for a in (col, row))
        with np.errstate(invalid="ignore"):
            inside = (c >= 0) & (c < width) & (r >= 0) & (r < height)
            index = np.floor(r) * width + np.floor(c)
        out[part] = np.where(inside, index, -1)
    return out


def warped(picture: PaletteImage | np.ndarray, index: np.ndarray) -> PaletteImage | np.ndarray:
    """A picture on a grid as the view of `warp_index` shows it; transparent outside.

    Parameters
    ----------
    picture : PaletteImage whose first colour is transparent, or numpy.ndarray, shape (Y, X, 4), uint8
    index : numpy.ndarray, shape (h, w)
        From `warp_index` for the grid of the picture.

    Raises
    ------
    ShapeMismatch
        The index points beyond the picture.
    """
    pixels = picture.index if isinstance(picture, PaletteImage) else picture
    flat = pixels.reshape(pixels.shape[0] * pixels.shape[1], *pixels.shape[2:])
    if index.size and int(index.max()) >= len(flat):
        raise ShapeMismatch(f"The index is for a grid of over {int(index.max())} pixels; the picture has {len(flat)}.")
    if isinstance(picture, PaletteImage):
        return PaletteImage(np.where(index < 0, 0, flat[index]), picture.palette)
    out = np.ascontiguousarray(flat).view(np.uint32).ravel()[index]  # four bytes at once
    out[index < 0] = 0
    return out.view(np.uint8).reshape(*index.shape, 4)


@lru_cache(maxsize=64)
def _to_grid(wkt: str) -> Transformer:
    from pyproj import CRS, Transformer

    return Transformer.from_crs("EPSG:4326", CRS.from_wkt(wkt), always_xy=True)


def _project(grid: GeoBox) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Fractional column and row of points in EPSG:3857, counted from the outer corner of the first pixel."""
    crs = crs_of(grid)
    change, back = _to_grid(crs.to_wkt()), ~grid.affine
    middle = grid.affine.a * grid.shape[1] / 2 + grid.affine.b * grid.shape[0] / 2 + grid.affine.c

    def run(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gx, gy = change.transform(*lonlat_of_mercator(x, y))
        if crs.geographic:  # at the turn of the globe that the grid uses
            gx = middle + (np.asarray(gx) - middle + 180) % 360 - 180
        return back.a * gx + back.b * gy + back.c, back.d * gx + back.e * gy + back.f

    return run


def _outline(grid: GeoBox, steps: int = 33) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes along the edge of a grid; without a jump where it crosses the antimeridian."""
    height, width = grid.shape
    t = np.linspace(0, 1, steps)
    col = np.concatenate([t, np.ones(steps), 1 - t, np.zeros(steps)]) * width
    row = np.concatenate([np.zeros(steps), t, np.ones(steps), 1 - t]) * height
    a = grid.affine
    x, y = a.a * col + a.b * row + a.c, a.d * col + a.e * row + a.f
    lon, lat = _to_grid(crs_of(grid).to_wkt()).transform(x, y, direction="INVERSE")
    lon = np.asarray(lon)
    return (lon[0] + (lon - lon[0] + 180) % 360 - 180 if not crs_of(grid).geographic else x), np.asarray(lat)


def _points_view(grid: PointGrid, max_pixels: int) -> MercatorView:
    """View around points, with a margin of a twentieth, and of a kilometre at least."""
    x, y = mercator_of(*grid.lonlat)
    margin = max(0.05 * max(float(np.ptp(x)), float(np.ptp(y))), 500.0)
    left, right, bottom, top = (
        float(v) for v in (x.min() - margin, x.max() + margin, y.min() - margin, y.max() + margin)
    )
    per_pixel = math.sqrt((right - left) * (top - bottom) / max_pixels)
    shape = max(1, round((top - bottom) / per_pixel)), max(1, round((right - left) / per_pixel))
    return MercatorView(left, bottom, right, top, shape)


def _discs(grid: PointGrid, view: MercatorView) -> np.ndarray:
    rows, cols = view.shape
    x, y = mercator_of(*grid.lonlat)
    x = x + WORLD_M * np.rint(
        ((view.left + view.right) / 2 - x) / WORLD_M
    )  # at the turn of the globe that the view is on
    col = np.floor((x - view.left) / (view.right - view.left) * cols)
    row = np.floor((view.top - y) / (view.top - view.bottom) * rows)
    margin = _LARGEST_DISC_PX
    near = np.flatnonzero((col >= -margin) & (col < cols + margin) & (row >= -margin) & (row < rows + margin))
    radius = float(np.clip(0.4 * math.sqrt(rows * cols / max(near.size, 1)), _SMALLEST_DISC_PX, _LARGEST_DISC_PX))
    around = np.arange(-margin, margin + 1)
    far = np.hypot(around[:, None], around[None, :])
    out = np.full((rows + 2 * margin + 1, cols + 2 * margin + 1), -1, np.int32)  # with room for what reaches out
    at = np.clip(row[near], -margin, rows + margin).astype(int), np.clip(col[near], -margin, cols + margin).astype(int)
    # The outermost ring first: where discs overlap, the nearest centre holds.
    for k in np.argsort(-far, axis=None, kind="stable"):
        dy, dx = divmod(int(k), around.size)
        if far[dy, dx] <= radius:
            r, c = at[0] + dy, at[1] + dx
            inside = (r >= 0) & (r < out.shape[0]) & (c >= 0) & (c < out.shape[1])
            out[r[inside], c[inside]] = near[inside]
    return out[margin : margin + rows, margin : margin + cols]


def _coarse(grid: GeoBox, view: MercatorView, step: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Column and row of the grid at every ``step``-th pixel centre of a view and beyond its end; largest error between."""
    project = _project(grid)
    rows, cols = (-(-n // step) + 1 for n in view.shape)
    across, down = (view.right - view.left) / view.shape[1], (view.top - view.bottom) / view.shape[0]

    def at(i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.meshgrid(view.left + (j + 0.5) * across, view.top - (i + 0.5) * down)
        return project(x, y)

    col, row = at(np.arange(rows) * step, np.arange(cols) * step)
    if step == 1:
        return col, row, 0.0
    error = 0.0
    height, width = grid.shape
    exact = at((np.arange(rows - 1) + 0.5) * step, (np.arange(cols - 1) + 0.5) * step)
    # Only where the grid is: far away from its zone a projection bends, or has no numbers at all.
    near = (exact[0] > -step) & (exact[0] < width + step) & (exact[1] > -step) & (exact[1] < height + step)
    for values, truth in zip((col, row), exact, strict=True):
        middle = (values[:-1, :-1] + values[1:, :-1] + values[:-1, 1:] + values[1:, 1:]) / 4
        off = np.abs(middle - truth)[near]
        error = max(error, float(np.nanmax(off)) if off.size else 0.0)
        if near.any() and not np.isfinite(off).all():
            return col, row, math.inf
    return col, row, error


def _between(n: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of n pixels the coarse one before it, and how far it lies towards the next."""
    i = np.arange(n)
    return i // step, (i % step / step).astype(np.float64)


def _linear(coarse: np.ndarray, rows: tuple[np.ndarray, np.ndarray], cols: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Bilinear values at all pixels of some rows: along the columns first, where there are few of them."""
    j, u = cols
    i, v = rows
    last = coarse.shape[0] - 1
    wide = coarse[:, j] * (1 - u) + coarse[:, np.minimum(j + 1, coarse.shape[1] - 1)] * u
    return wide[i] * (1 - v)[:, None] + wide[np.minimum(i + 1, last)] * v[:, None]
