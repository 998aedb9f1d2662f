"""One modality in another coordinate reference system: which CRS, which grid, and what is missing afterwards."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from georeset_lab.data.flags import FLAG_ATTRS, FLAGS
from georeset_lab.data.grids import METRES_PER_DEGREE, centre_of, crs_name, crs_of, move, near_turn, pixel_size_m
from georeset_lab.data.modality import Modality
from georeset_lab.data.resample import reproject_nearest
from georeset_lab.data.window import cover, crop_modality
from georeset_lab.errors import GridMismatch, MissingCRS

if TYPE_CHECKING:
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox
    from odc.geo.geom import Geometry

_NOMINAL = (0.6, 1.7)  # a nominal pixel size within these factors of the measured one is meant
_POINTS = 33  # along each side of a raster when its outline is transformed


def utm_zone(lon: float, lat: float) -> CRS:
    """UTM zone of a point on WGS 84 (polar stereographic beyond 84 N and 80 S); any turn of longitude is accepted.

    Examples
    --------
    >>> [utm_zone(lon, lat).epsg for lon, lat in [(13.4, 52.5), (180.4, -17.0), (-72.5, -38.8)]]
    [32633, 32701, 32718]
    """
    from odc.geo.crs import CRS

    if lat >= 84 or lat < -80:
        return CRS("EPSG:32661" if lat > 0 else "EPSG:32761")
    zone = int(((lon + 180) % 360) // 6) + 1
    return CRS(f"EPSG:{(32600 if lat >= 0 else 32700) + zone}")


def common_crs(modalities: Mapping[str, Modality], crs: Any = None) -> CRS:
    """CRS in which modalities are brought together: ``crs``, or the finest modality's, or the local UTM zone.

    If the finest modality has to be resampled anyway (it is in degrees), the UTM zone of another one is preferred.

    Raises
    ------
    GridMismatch
        ``crs`` is not projected in metres.
    MissingCRS
        A modality has no CRS.
    """
    from odc.geo.crs import CRS

    for name, modality in modalities.items():
        if modality.grid.crs is None:
            raise MissingCRS(f"Modality {name!r} does not say where on Earth it is. Pass crs= to load_scene.")
    if crs is not None:
        given = CRS(crs)
        if not is_metric(given):
            raise GridMismatch(f"crs={crs!r} is not projected in metres; give for example the UTM zone.")
        return given
    by_pixel = sorted(modalities.values(), key=lambda m: m.pixel_m)
    in_turn = [crs_of(m.grid) for m in by_pixel]
    if is_metric(in_turn[0]):
        return in_turn[0]
    for other in in_turn:
        if re.fullmatch(r"32[67]\d\d", str(other.epsg)):
            return other
    return utm_zone(*_centre(by_pixel[0].grid))


def is_metric(crs: CRS) -> bool:
    """Whether a CRS is projected with coordinates in metres."""
    return bool(crs.projected) and all(axis.unit_conversion_factor == 1 for axis in crs.proj.axis_info[:2])


def reproject_modality(modality: Modality, crs: CRS, ground: Geometry | None = None) -> Modality:
    """Modality on a grid of another CRS, nearest pixel; lazy if it was.

    Pixels outside the source are missing: NaN, the nodata number, or masked where the stored numbers have neither.

    Parameters
    ----------
    modality : Modality
    crs : CRS
        Projected, in metres.
    ground : Geometry, optional
        In ``crs``; only what it needs is resampled.

    Raises
    ------
    GridMismatch
        The modality does not touch ``ground``.
    """
    before = modality.grid
    if ground is not None:
        modality = _crop_around(modality, ground, crs)
    resolution = _resolution(modality)
    grid = _target_grid(modality.grid, crs, resolution, ground)
    fill, is_missing = _fill_of(modality)
    raw = reproject_nearest(modality.raw.data, modality.grid, grid, fill)
    coords: dict[str, Any] = {"time": modality.raw.coords["time"]} if "time" in modality.raw.coords else {}
    if modality.flags is not None:
        flags = reproject_nearest(modality.flags.data, modality.grid, grid, FLAGS["nodata"])
        coords["flags"] = (("time", "y", "x"), flags, FLAG_ATTRS)
    sizes = f"{pixel_size_m(before):.4g} m to {resolution:g} m"
    note = f"reprojected from {crs_name(before.crs)} to {crs_name(crs)}, nearest pixel, {sizes}"
    return replace(
        modality,
        raw=xr.DataArray(raw, dims=modality.raw.dims, coords=coords),
        mask=_moved_mask(modality, grid, is_missing),
        grid=grid,
        notes=(*modality.notes, note),
    )


def _crop_around(modality: Modality, ground: Geometry, crs: CRS) -> Modality:
    """The part of a modality that may matter for a piece of ground in another CRS, two pixels more on each side."""
    from odc.geo.geom import polygon

    grid = modality.grid
    edge = _outline(
        ground.boundingbox.left, ground.boundingbox.bottom, ground.boundingbox.right, ground.boundingbox.top
    )
    x, y = crs.transformer_to_crs(crs_of(grid))(*edge)
    if crs_of(grid).geographic:
        x = near_turn(x, grid)
    there = polygon(list(zip(np.asarray(x).tolist(), np.asarray(y).tolist(), strict=True)), crs=grid.crs)
    window = cover(grid, there)
    if window is None:
        raise GridMismatch(f"Modality {modality.name!r} in {crs_name(grid.crs)} shares no ground with the others.")
    rows, cols = (
        slice(max(0, span.start - 2), min(size, span.stop + 2)) for span, size in zip(window, grid.shape, strict=True)
    )
    return crop_modality(modality, (rows, cols))


def _resolution(modality: Modality) -> float:
    """Pixel size in metres for the new grid: the nominal one if the pixels have about that size."""
    grid = modality.grid
    pixel = pixel_size_m(grid)
    if crs_of(grid).geographic:  # north-south, because degrees of longitude shrink towards the poles
        pixel = math.hypot(grid.affine.b, grid.affine.e) * METRES_PER_DEGREE
    nominal = min(b.gsd_m for b in modality.bands)
    return nominal if _NOMINAL[0] < nominal / pixel < _NOMINAL[1] else float(f"{pixel:.3g}")


def _target_grid(source: GeoBox, crs: CRS, resolution: float, ground: Geometry | None) -> GeoBox:
    """Grid that covers the source, its edges at multiples of the pixel size, no larger than the ground needs."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    edge = move(source.affine, *_outline(0, 0, source.shape[1], source.shape[0]))
    x, y = crs_of(source).transformer_to_crs(crs)(*edge)
    left, bottom, right, top = float(np.min(x)), float(np.min(y)), float(np.max(x)), float(np.max(y))
    if ground is not None:
        box = ground.boundingbox
        left, bottom = max(left, box.left), max(bottom, box.bottom)
        right, top = min(right, box.right), min(top, box.top)
    if not all(map(math.isfinite, (left, bottom, right, top))):
        raise GridMismatch(
            f"The grid at {tuple(round(v, 6) for v in source.affine[:6])} in {crs_name(crs_of(source))} reaches where "
            f"{crs_name(crs)} does not. Check its geotransform and CRS, or give another crs=."
        )
    first_col, first_row = math.floor(left / resolution + 1e-6), math.floor(-top / resolution + 1e-6)
    columns = max(1, math.ceil(right / resolution - 1e-6) - first_col)
    rows = max(1, math.ceil(-bottom / resolution - 1e-6) - first_row)
    affine = Affine(resolution, 0, first_col * resolution, 0, -resolution, -first_row * resolution)
    return GeoBox((rows, columns), affine, crs)


def _outline(left: float, bottom: float, right: float, top: float) -> tuple[np.ndarray, np.ndarray]:
    along, up = np.linspace(left, right, _POINTS), np.linspace(bottom, top, _POINTS)
    flat, high = np.full(_POINTS, bottom), np.full(_POINTS, top)
    x = np.concatenate([along, np.full(_POINTS, right), along[::-1], np.full(_POINTS, left)])
    return x, np.concatenate([flat, up, high, up[::-1]])


def _fill_of(modality: Modality) -> tuple[Any, bool]:
    """Stored number for pixels outside the source, and whether it reads as missing."""
    dtype, nodata = modality.raw.dtype, modality.calibration.nodata
    if np.issubdtype(dtype, np.floating):
        return np.nan, True
    if nodata is not None and math.isfinite(nodata) and float(nodata).is_integer():
        limits = np.iinfo(dtype) if np.issubdtype(dtype, np.integer) else None
        if limits is not None and limits.min <= nodata <= limits.max:
            return int(nodata), True
    return 0, False


def _moved_mask(modality: Modality, grid: GeoBox, fill_is_missing: bool) -> xr.DataArray | None:
    if modality.mask is not None:
        values = reproject_nearest(modality.mask.data, modality.grid, grid, True)
    elif fill_is_missing:
        return None
    else:
        usable = np.zeros((1, *modality.grid.shape), dtype=bool)
        values = np.repeat(reproject_nearest(usable, modality.grid, grid, True), modality.raw.shape[0], axis=0)
    return xr.DataArray(values, dims=("time", "y", "x"))


def _centre(grid: GeoBox) -> tuple[float, float]:
    lon, lat = crs_of(grid).transformer_to_crs("EPSG:4326")(*centre_of(grid))
    return float(lon), float(lat)
