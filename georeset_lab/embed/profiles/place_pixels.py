"""What the sensors measured at some pixels of an embedding map, date by date, in physical units. Small windows only.

Features of every pixel, for baselines, are in ``embed/probing/raw.py``. No pictures here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.points import is_points
from georeset_lab.embed.locate import center_of, crs_of, lonlat_of

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from georeset_lab.data.modality import Modality

__all__ = ["Measured", "distance_km", "measure", "pixel_area_ha", "pixels_on", "window_around"]

RED_UM, NIR_UM = 0.66, 0.84
NEAR_UM = 0.06
"""A band whose centre is farther than this from red or near infrared does not stand for it."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Values of one modality at n pixels."""

    bands: tuple[BandSpec, ...]
    times: np.ndarray
    """(T,) datetime64[ns], rising; NaT where unknown."""
    values: np.ndarray
    """(T, n, C) float32 in the units of the bands, NaN where nothing was measured."""

    @property
    def seen(self) -> bool:
        """False if there is no value at all."""
        return bool(np.isfinite(self.values).any())

    def typical(self) -> np.ndarray:
        """Median over the dates, (n, C); NaN where no date has a value."""
        return _quantile(self.values, 0.5)

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest date, (n, C) each."""
        return _quantile(self.values, 0.0), _quantile(self.values, 1.0)

    def quartiles(self) -> np.ndarray:
        """Quarter, half and three quarters of the pixels lie below these, (3, C), each pixel being its median date."""
        return np.stack([_quantile(self.typical(), q) for q in (0.25, 0.5, 0.75)])

    def ndvi(self) -> np.ndarray | None:
        """Median NDVI of the pixels at each date, (T,) in -1..1; None without a red and a near-infrared band."""
        red, nir = (self._nearest(um) for um in (RED_UM, NIR_UM))
        if red is None or nir is None:
            return None
        a, b = self.values[..., nir], self.values[..., red]
        with np.errstate(invalid="ignore", divide="ignore"):
            index = np.where(a + b > 0, (a - b) / (a + b), np.nan)
        return _quantile(index.T, 0.5)

    def at_dates(self) -> np.ndarray:
        """Median of the pixels at each date, (T, C)."""
        return _quantile(self.values.transpose(1, 0, 2), 0.5)

    def _nearest(self, um: float) -> int | None:
        off = [abs(b.center_um - um) if b.kind == "reflectance" else np.inf for b in self.bands]
        best = int(np.argmin(off))
        return best if off[best] <= NEAR_UM else None


def measure(modality: Modality, grid: GeoBox, pixels: np.ndarray) -> Measured:
    """Values of a modality where the centres of some pixels of another grid lie.

    Parameters
    ----------
    modality : Modality
    grid : odc.geo.geobox.GeoBox
        Grid of the embeddings.
    pixels : (n,) int
        Flat row-major indices of it.

    Returns
    -------
    Measured
        NaN outside the modality. Reads single pixels of a modality in memory; of a lazy one the chunks that hold them.
    """
    import xarray as xr

    rows, cols = pixels_on(modality.grid, grid, pixels)
    inside = np.flatnonzero(rows >= 0)
    order = np.argsort(modality.times, kind="stable")
    values = np.full((len(order), pixels.size, len(modality.bands)), np.nan, np.float32)
    if inside.size:
        where = {"y": xr.DataArray(rows[inside], dims="pixel"), "x": xr.DataArray(cols[inside], dims="pixel")}
        raw = modality.raw.variable.isel(y=where["y"].variable, x=where["x"].variable)
        stored = np.asarray(raw.transpose("time", "band", "pixel").values)
        found = modality.calibration.apply(stored[..., None])[..., 0]
        if modality.mask is not None:
            mask = modality.mask.variable.isel(y=where["y"].variable, x=where["x"].variable)
            np.copyto(found, np.nan, where=np.asarray(mask.transpose("time", "pixel").values)[:, None])
        values[:, inside] = found.transpose(0, 2, 1)[order]
    return Measured(modality.bands, modality.times[order], values)


def pixels_on(other: GeoBox, grid: GeoBox, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column on another grid of the pixels (flat indices) of a grid, by their centres; -1 outside it."""
    rows, cols = np.divmod(np.asarray(pixels), grid.shape[1])
    if other.crs == grid.crs:
        x, y = center_of(grid, rows, cols)
    else:
        from pyproj import Transformer

        lon, lat = lonlat_of(grid, rows, cols)
        x, y = Transformer.from_crs("EPSG:4326", crs_of(other).to_wkt(), always_xy=True).transform(lon, lat)
    a, b, c, d, e, f = tuple(~other.affine)[:6]
    col, row = np.floor(a * x + b * y + c), np.floor(d * x + e * y + f)
    inside = (row >= 0) & (row < other.shape[0]) & (col >= 0) & (col < other.shape[1])
    return np.where(inside, row, -1).astype(np.int64), np.where(inside, col, -1).astype(np.int64)


def window_around(modality: Modality, row: int, col: int, side_m: float) -> tuple[slice, slice]:
    """Rows and columns of a square of about ``side_m`` around a pixel, moved inside the modality at its edge."""
    side = max(round(side_m / modality.pixel_m), 3)
    out = []
    for at, size in zip((row, col), modality.grid.shape, strict=True):
        first = min(max(at - side // 2, 0), max(int(size) - side, 0))
        out.append(slice(first, min(first + side, int(size))))
    return out[0], out[1]


def pixel_area_ha(grid: GeoBox, row: int) -> float:
    """Area of one pixel of a row, in hectares; on the ellipsoid if the grid is in degrees; of points, of their ground."""
    if is_points(grid):
        return grid.support_m**2 / 1e4
    a, b, _, d, e, _ = tuple(grid.affine)[:6]
    if grid.crs is None or not grid.crs.geographic:
        return abs(a * e - b * d) / 1e4
    from pyproj import Geod

    lon, lat = lonlat_of(grid, [row - 0.5, row - 0.5, row + 0.5, row + 0.5], [-0.5, 0.5, 0.5, -0.5])
    return abs(Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)[0]) / 1e4


def distance_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Distance on the ellipsoid between two points in degrees (lon, lat), in kilometres."""
    from pyproj import Geod

    return float(Geod(ellps="WGS84").inv(*one, *other)[2]) / 1000


def _quantile(values: np.ndarray, share: float) -> np.ndarray:
    """Quantile over the first axis of what is finite; NaN, without a warning, where nothing is."""
    rest = np.sort(values, axis=0)  # NaN comes last
    count = np.isfinite(values).sum(axis=0)
    place = share * np.maximum(count - 1, 0)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    first, second = (np.take_along_axis(rest, i[None], axis=0)[0] for i in (low, high))
    weight = (place - low).astype(rest.dtype)
    return np.asarray(np.where(count > 0, first + (second - first) * weight, np.nan))
