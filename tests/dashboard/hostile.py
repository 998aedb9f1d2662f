"""Files that somebody might upload: some good, most not. Each is made in the test that needs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

MARKUP = "<img src=x onerror=\"document.title='ran'\">"


def geotiff(path: Path, *, size: int = 64, bands: int = 4, crs: str | None = "EPSG:32718", **more: Any) -> Path:
    """A small reflectance raster near Temuco."""
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": bands, "dtype": "uint16", "crs": crs,
        "transform": from_origin(700_000, 5_700_640, 10, 10), **more,
    }  # fmt: skip
    values = np.random.default_rng(0).integers(200, 4000, (bands, size, size)).astype(profile["dtype"])
    with rasterio.open(path, "w", **profile) as out:
        out.write(values)
        out.descriptions = [*("B02", "B03", "B04", "B08"), *map(str, range(bands))][:bands]
    return path


def empty(path: Path, **profile: Any) -> Path:
    """A GeoTIFF without pixels: all is header."""
    place = {"crs": "EPSG:32718", "transform": from_origin(700_000, 5_700_640, 1, 1), "SPARSE_OK": True}
    with rasterio.open(path, "w", driver="GTiff", **place, **profile):
        return path


def bomb(path: Path) -> Path:
    """A GeoTIFF of a few megabytes that unpacks to 16 GB: every block is the same compressed zeros."""
    profile = {
        "driver": "GTiff", "width": 40_000, "height": 40_000, "count": 10, "dtype": "uint8", "crs": "EPSG:32718",
        "transform": from_origin(700_000, 5_700_640, 1, 1), "tiled": True, "blockxsize": 4096, "blockysize": 4096,
        "compress": "deflate", "interleave": "band", "SPARSE_OK": True, "BIGTIFF": "YES",
    }  # fmt: skip
    zeros = np.zeros((1, 4096, 4096), np.uint8)
    with rasterio.open(path, "w", **profile) as out:
        for col in range(0, 40_000, 4096):
            wide = min(4096, 40_000 - col)
            out.write(zeros[:, :, :wide] + 1, indexes=[1], window=((0, 4096), (col, col + wide)))
    return path


def labels(path: Path, *, names: tuple[str, ...] = ("water", MARKUP), at: tuple[float, float] = (-72.7, -38.8)) -> Path:
    """Points, one for each name."""
    features = [
        {
            "type": "Feature",
            "properties": {"label": name},
            "geometry": {"type": "Point", "coordinates": [at[0] + 1e-4 * i, at[1]]},
        }
        for i, name in enumerate(names)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path
