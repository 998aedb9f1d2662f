"""STAC items around rasters, in the words of the catalogues that people use. Nothing here is a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
SENTINEL2 = {  # key in earth-search, centre and width in micrometres as that catalogue rounds them
    "B01": ("coastal", 0.443, 0.027), "B02": ("blue", 0.49, 0.098), "B03": ("green", 0.56, 0.045),
    "B04": ("red", 0.665, 0.038), "B05": ("rededge1", 0.704, 0.019), "B06": ("rededge2", 0.74, 0.018),
    "B07": ("rededge3", 0.783, 0.028), "B08": ("nir", 0.842, 0.145), "B8A": ("nir08", 0.865, 0.033),
    "B09": ("nir09", 0.945, 0.026), "B11": ("swir16", 1.61, 0.143), "B12": ("swir22", 2.19, 0.242),
}  # fmt: skip


def asset(href: str, raster: Path | bytes, **fields: Any) -> dict[str, Any]:
    """Asset with the projection fields of a raster and whatever else is given."""
    with rasterio.open(raster) if isinstance(raster, Path) else MemoryFile(raster).open() as src:
        proj = {"proj:shape": list(src.shape), "proj:transform": list(src.transform)[:6]}
    return {"href": href, "type": COG, "roles": ["data"], **proj, **fields}


def item(
    name: str, collection: str, raster: Path | bytes, assets: dict[str, Any], *, date: str, **properties: Any
) -> dict[str, Any]:
    """Item with the outline of a raster."""
    with rasterio.open(raster) if isinstance(raster, Path) else MemoryFile(raster).open() as src:
        west, south, east, north = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
        code = f"EPSG:{src.crs.to_epsg()}"
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"datetime": date, "proj:code": code, **properties},
        "links": [],
        "assets": assets,
    }


def earth_search_fields(key: str, um: float, fwhm: float, *, scaled: bool = True) -> dict[str, Any]:
    """``eo:bands`` and ``raster:bands`` as earth-search v1 writes them: offset -0.1 whether removed or not."""
    stored = {"nodata": 0, "data_type": "uint16"} | ({"scale": 1e-4, "offset": -0.1} if scaled else {})
    band = {"name": key, "common_name": key.rstrip("123"), "center_wavelength": um, "full_width_half_max": fwhm}
    return {"eo:bands": [band], "raster:bands": [stored]}


def tif(
    values: np.ndarray, *, pixel: float = 10, left: float = 600_000, top: float = 5_800_000, **options: Any
) -> bytes:
    """A tiled GeoTIFF ``(band, y, x)`` in memory, UTM zone 33 north unless ``crs`` is given."""
    profile = {
        "driver": "GTiff", "count": values.shape[0], "height": values.shape[1], "width": values.shape[2],
        "dtype": values.dtype, "crs": "EPSG:32633", "transform": from_origin(left, top, pixel, pixel),
        "tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate",
    }  # fmt: skip
    with MemoryFile() as memory:
        with memory.open(**(profile | options)) as dst:
            dst.write(values)
        return bytes(memory.read())


def field_of(seed: int, size: int, *, low: int = 300, high: int = 3000) -> np.ndarray:
    """Counts that look like reflectance without offset: dark pixels, bright pixels, noise that does not compress."""
    rng = np.random.default_rng(seed)
    return rng.integers(low, high, (1, size, size)).astype(np.uint16)
