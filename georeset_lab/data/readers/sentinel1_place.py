"""Where the pixels of a Sentinel-1 ground-range image lie: from line and pixel to map coordinates and back.

The product ties some hundred of its pixels to longitude and latitude, on a regular net of lines and pixels. A cubic
spline goes through all of them, and Newton's method inverts it; GDAL's polynomials do not pass through the points they
are fitted to. The heights of the ties are the coarse ones of the product; between them the ground counts as smooth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from georeset_lab.data.readers.xmlfile import elements, number, text
from georeset_lab.data.reproject import utm_zone
from georeset_lab.errors import SceneReadError

_STEP = 32
"""Pixels of the map between two that are looked up exactly; the mapping bends by less than 0.001 pixel in between."""
_ROUNDS = 12
_CLOSE_PX = 1e-3
_MOST_TIES = 100_000
_LARGEST_RATIO = 16


@dataclass(frozen=True, eq=False)
class Ties:
    """Longitude and latitude of the centres of pixels on a regular net."""

    lines: np.ndarray
    """``(N,)``, increasing; line 0 is the centre of the first."""
    pixels: np.ndarray
    """``(M,)``, increasing."""
    lon: np.ndarray
    """``(N, M)``, degrees."""
    lat: np.ndarray
    """``(N, M)``, degrees."""

    @property
    def zone(self) -> CRS:
        """UTM zone of the middle, also across the antimeridian."""
        lon, lat = np.radians(self.lon), np.radians(self.lat)
        x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
        middle = math.atan2(z.mean(), math.hypot(x.mean(), y.mean()))
        return utm_zone(math.degrees(math.atan2(y.mean(), x.mean())), math.degrees(middle))


def ties_of(root: Element, path: Path) -> Ties | None:
    """Ties that the annotation of a product lists (``geolocationGridPoint``); None if it lists none.

    Raises
    ------
    SceneReadError
        They are damaged or no regular net.
    """
    names = ("line", "pixel", "longitude", "latitude")
    rows = [[number(text(e, n), n, path) for n in names] for e in elements(root, "geolocationGridPoint")]
    return _net(np.array(rows), path) if rows else None


def ties_in_tiff(src: Any, path: Path) -> Ties | None:
    """Ties that an open raster holds as ground control points; None if it holds none.

    Raises
    ------
    SceneReadError
        They are no regular net of longitudes and latitudes.
    """
    points, crs = src.gcps
    if not points:
        return None
    if crs is not None and not crs.is_geographic:
        raise SceneReadError(f"{path} has ground control points in {crs}, not in degrees. Fetch the product again.")
    rows = np.array([[p.row, p.col, p.x, p.y] for p in points], dtype=float)
    if (rows[:, :2] % 1 != 0).any() or str(src.tags().get("AREA_OR_POINT")) != "Point":
        rows[:, :2] -= 0.5  # GDAL counts from the corner of the first pixel
    return _net(rows, path)


def _net(rows: np.ndarray, path: Path) -> Ties:
    lines, at = np.unique(rows[:, 0], return_inverse=True)
    pixels, along = np.unique(rows[:, 1], return_inverse=True)
    fits = len(rows) == lines.size * pixels.size == np.unique(at * pixels.size + along).size
    possible = np.isfinite(rows).all() and (np.abs(rows[:, 2]) <= 540).all() and (np.abs(rows[:, 3]) <= 90).all()
    if not fits or not possible or min(lines.size, pixels.size) < 2 or len(rows) > _MOST_TIES:
        raise SceneReadError(
            f"{path} ties {len(rows)} pixels to longitude and latitude, but not on a regular net of at least 2 x 2 lines and "
            "pixels on Earth, as Sentinel-1 products do. Fetch the product again."
        )
    lon, lat = np.empty((2, lines.size, pixels.size))
    lon[at, along], lat[at, along] = rows[:, 2], rows[:, 3]
    return Ties(lines, pixels, lon, lat)


@dataclass(frozen=True, eq=False)
class Place:
    """The mapping between an image and a CRS in metres.

    Raises
    ------
    SceneReadError
        The ties lie outside what the CRS can show, or the image would be folded.
    """

    ties: Ties
    shape: tuple[int, int]
    """Lines and pixels of the image."""
    crs: CRS
    origin: str
    """For messages."""

    def __post_init__(self) -> None:
        line, pixel = np.meshgrid(self.ties.lines, self.ties.pixels, indexing="ij")
        if not all(np.isfinite(v).all() for v in self._ground):
            raise SceneReadError(f"{self.origin}: its pixels lie where {self.crs} does not reach. Give another crs=.")
        turn = np.sign(_determinant(self._slopes(line, pixel)))
        if turn[0, 0] == 0 or (turn != turn[0, 0]).any():
            raise SceneReadError(
                f"{self.origin}: the longitudes and latitudes of its pixels fold the image. Fetch the product again."
            )

    def grid(self, pixel_m: float) -> GeoBox:
        """Smallest grid north up that covers the image, its edges at multiples of the pixel size.

        Raises
        ------
        SceneReadError
            It would be far larger than the image.
        """
        high, wide = self.shape
        along, down = np.linspace(-0.5, wide - 0.5, 65), np.linspace(-0.5, high - 0.5, 65)
        line = np.concatenate([np.full(65, -0.5), down, np.full(65, high - 0.5), down])
        pixel = np.concatenate([along, np.full(65, wide - 0.5), along, np.full(65, -0.5)])
        x, y = self.to_ground(line, pixel)
        left, right = math.floor(x.min() / pixel_m), math.ceil(x.max() / pixel_m)
        bottom, top = math.floor(y.min() / pixel_m), math.ceil(y.max() / pixel_m)
        if (right - left) * (top - bottom) > _LARGEST_RATIO * (high + 64) * (wide + 64):
            raise SceneReadError(
                f"{self.origin}: an image of {high} x {wide} pixels of {pixel_m:g} m would lie on {top - bottom} x "
                f"{right - left} of them; its pixel size and its place contradict each other. Fetch the product again."
            )
        return GeoBox(
            (top - bottom, right - left),
            Affine(pixel_m, 0, left * pixel_m, 0, -pixel_m, top * pixel_m),
            self.crs,
        )

    def to_ground(self, line: np.ndarray, pixel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map coordinates of places in the image (0 is the centre of the first pixel); straight on beyond the ties."""
        inner = np.clip(line, *self.ties.lines[[0, -1]]), np.clip(pixel, *self.ties.pixels[[0, -1]])
        down, along = line - inner[0], pixel - inner[1]
        (xl, xp), (yl, yp) = self._slopes(*inner)
        x, y = (s.ev(*inner) for s in self._splines)
        return x + xl * down + xp * along, y + yl * down + yp * along

    def to_image(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Line and pixel of map coordinates; NaN where there is no such place."""
        start = self._start
        line, pixel = (a + b * x + c * y for a, b, c in start)
        for _ in range(_ROUNDS):
            inner = np.clip(line, *self.ties.lines[[0, -1]]), np.clip(pixel, *self.ties.pixels[[0, -1]])
            at = self.to_ground(line, pixel)
            slopes = self._slopes(*inner)
            (xl, xp), (yl, yp) = slopes
            area = _determinant(slopes)
            with np.errstate(all="ignore"):
                gap_x, gap_y = x - at[0], y - at[1]
                step = (gap_x * yp - gap_y * xp) / area, (gap_y * xl - gap_x * yl) / area
            line, pixel = line + step[0], pixel + step[1]
        far = ~(np.hypot(*step) < _CLOSE_PX)
        line[far], pixel[far] = np.nan, np.nan
        return line, pixel

    def look_up(self, grid: GeoBox, rows: slice, cols: slice) -> tuple[np.ndarray, np.ndarray]:
        """Line and pixel at the centres of a window of a grid, each ``(rows, columns)``; the same for any window."""
        spans = []
        for span in (rows, cols):
            at = (np.arange(span.start, span.stop) + 0.5) / _STEP
            first = span.start // _STEP
            nodes = np.arange(first, int(at[-1]) + 2)
            spans.append((nodes, at.astype(int) - first, at - at.astype(int)))
        (down, i, u), (along, j, v) = spans
        affine = grid.affine
        x, y = np.broadcast_arrays(
            affine.c + affine.a * _STEP * along[None, :], affine.f + affine.e * _STEP * down[:, None]
        )
        line, pixel = (_between(n, i, u, j, v) for n in self.to_image(x, y))
        return line, pixel

    @cached_property
    def _ground(self) -> tuple[np.ndarray, np.ndarray]:
        x, y = CRS("EPSG:4326").transformer_to_crs(self.crs)(self.ties.lon.ravel(), self.ties.lat.ravel())
        return np.asarray(x).reshape(self.ties.lon.shape), np.asarray(y).reshape(self.ties.lon.shape)

    @cached_property
    def _splines(self) -> tuple[Any, Any]:
        from scipy.interpolate import RectBivariateSpline

        lines, pixels, ground = self.ties.lines, self.ties.pixels, np.stack(self._ground)
        lines, ground = _with_middle(lines, ground, 1)
        pixels, ground = _with_middle(pixels, ground, 2)
        orders = {"kx": min(3, lines.size - 1), "ky": min(3, pixels.size - 1)}
        x, y = (RectBivariateSpline(lines, pixels, v, s=0, **orders) for v in ground)
        return x, y

    @cached_property
    def _start(self) -> np.ndarray:
        """Line and pixel as plane functions of the map coordinates, ``(2, 3)``: where the search begins."""
        x, y = (v.ravel() for v in self._ground)
        middle = x.mean(), y.mean()
        terms = np.stack([np.ones_like(x), x - middle[0], y - middle[1]], axis=1)
        line, pixel = np.meshgrid(self.ties.lines, self.ties.pixels, indexing="ij")
        found = np.linalg.lstsq(terms, np.stack([line.ravel(), pixel.ravel()], axis=1), rcond=None)[0].T
        found[:, 0] -= found[:, 1] * middle[0] + found[:, 2] * middle[1]
        return np.asarray(found)

    def _slopes(self, line: np.ndarray, pixel: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Change of x and of y for a line and for a pixel."""
        return tuple((s.ev(line, pixel, dx=1), s.ev(line, pixel, dy=1)) for s in self._splines)


def _with_middle(at: np.ndarray, values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The same straight line through three places where there are two: FITPACK has no slopes of splines of order 1."""
    if at.size > 2:
        return at, values
    return np.insert(at, 1, at.mean()), np.insert(values, 1, values.mean(axis), axis)


def _determinant(slopes: tuple[tuple[np.ndarray, np.ndarray], ...]) -> np.ndarray:
    (xl, xp), (yl, yp) = slopes
    return np.asarray(xl * yp - xp * yl)


def _between(nodes: np.ndarray, i: np.ndarray, u: np.ndarray, j: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bilinear values between nodes, first along rows, then down columns."""
    across = nodes[:, j] * (1 - v) + nodes[:, j + 1] * v
    return np.asarray(across[i] * (1 - u)[:, None] + across[i + 1] * u[:, None])
