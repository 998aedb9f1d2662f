"""Windows of a Sentinel-1 ground-range product on a map grid: calibrated as the radar saw it, then placed.

A window costs what lies under it in the image, whatever the size of the product: its counts become sigma nought at their
own lines and pixels, and only that power is interpolated (bilinear) to the pixels of the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from georeset_lab.data.readers.raster import read_window
from georeset_lab.data.readers.sentinel1_lut import Noise, Table
from georeset_lab.data.readers.sentinel1_place import Place
from georeset_lab.data.stored import Box
from georeset_lab.errors import SceneReadError

FLOOR = 1e-4
"""Least sigma nought (-40 dB) after the removal of thermal noise. The noise itself lies at -22 dB or somewhat lower, so a
difference that small says nothing, and may be negative."""

_SIDE = 1024
_MOST_PIXELS = 2**25


@dataclass(frozen=True, eq=False)
class Channel:
    """One polarization: its image and its tables."""

    path: Path
    calibration: Table
    noise: Noise | None

    def power(self, rows: slice, cols: slice) -> np.ndarray:
        """Sigma nought ``(rows, columns)`` float64 in the geometry of the radar, NaN where DN is 0.

        Where thermal noise is taken off, it may be negative.

        Raises
        ------
        SceneReadError
            The file is damaged there.
        """
        counts = read_window(self.path, [1], rows, cols, driver="GTiff")[0]
        out = np.square(counts, dtype=np.float64)
        if self.noise is not None:
            out -= self.noise.over(rows, cols)
        out /= np.square(self.calibration.over(rows, cols))
        out[counts == 0] = np.nan
        return out


class GroundRangeReader:
    """Sigma nought ``(1, polarization, y, x)`` as linear power on a map grid, NaN where the radar measured nothing."""

    dtype = np.dtype(np.float32)

    def __init__(self, channels: tuple[Channel, ...], place: Place, grid: GeoBox) -> None:
        self.channels, self.place, self.grid = channels, place, grid
        self.shape = (1, len(channels), *grid.shape)

    def read_into(self, out: np.ndarray, box: Box) -> None:
        """Write the power in a box into ``out``, in blocks, so that little memory is needed for a large one."""
        for top in range(box.rows.start, box.rows.stop, _SIDE):
            rows = slice(top, min(top + _SIDE, box.rows.stop))
            for left in range(box.cols.start, box.cols.stop, _SIDE):
                cols = slice(left, min(left + _SIDE, box.cols.stop))
                here = out[:, :, top - box.rows.start :, left - box.cols.start :]
                self._read_block(here[:, :, : rows.stop - top, : cols.stop - left], box.bands, rows, cols)

    def _read_block(self, out: np.ndarray, bands: tuple[int, ...], rows: slice, cols: slice) -> None:
        line, pixel = self.place.look_up(self.grid, rows, cols)
        high, wide = self.place.shape
        inside = (line >= -0.5) & (line < high - 0.5) & (pixel >= -0.5) & (pixel < wide - 0.5)
        out[...] = np.nan
        if not inside.any():
            return
        down, along = _around(line[inside], high), _around(pixel[inside], wide)
        if (down.stop - down.start) * (along.stop - along.start) > _MOST_PIXELS:
            raise SceneReadError(
                f"{self.place.origin}: a window of {out.shape[2]} x {out.shape[3]} pixels of the map lies on lines "
                f"{down.start} to {down.stop} and pixels {along.start} to {along.stop} of the image; its longitudes and "
                "latitudes are damaged. Fetch the product again."
            )
        at = np.stack([line[inside] - down.start, pixel[inside] - along.start])
        for i, band in enumerate(bands):
            channel = self.channels[band]
            values = _interpolated(channel.power(down, along), at)
            out[:, i, inside] = values if channel.noise is None else np.maximum(values, FLOOR)  # keeps NaN


def _around(places: np.ndarray, size: int) -> slice:
    """Pixels that bilinear interpolation at some places of an axis needs."""
    start, stop = int(np.floor(places.min())), int(np.floor(places.max())) + 2
    return slice(max(start, 0), min(stop, size))


def _interpolated(power: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Bilinear values at places, of the pixels that were measured; NaN where the nearest was not."""
    from scipy.ndimage import map_coordinates

    missing = np.isnan(power)
    if not missing.any():
        return np.asarray(map_coordinates(power, at, order=1, mode="nearest"))
    known = (~missing).astype(float)
    weight = map_coordinates(known, at, order=1, mode="nearest")
    total = map_coordinates(np.where(missing, 0, power), at, order=1, mode="nearest")
    nearest = map_coordinates(known, at, order=0, mode="nearest") > 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(nearest & (weight > 0), total / weight, np.nan)
