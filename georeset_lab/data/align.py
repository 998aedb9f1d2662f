"""Bands and modalities brought together: coarse bands repeated on the finest grid, modalities on common ground.

Bands of one modality are never interpolated: a fine pixel takes the coarse pixel that holds its centre. Modalities keep
their own grids; only one in another or in a geographic coordinate reference system is resampled, nearest pixel, and
both a warning and its notes say so.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.grids import crs_name, describe, require_nested, require_parallel
from georeset_lab.data.modality import DIMS, Modality
from georeset_lab.data.reproject import common_crs, reproject_modality
from georeset_lab.data.window import cover, crop_modality
from georeset_lab.errors import CroppedToCommonExtent, GridMismatch, Reprojected, ShapeMismatch

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from odc.geo.geom import Geometry

_EDGE = 1e-6  # a centre on the edge between two pixels belongs to the later one, whatever the rounding


class Stack(NamedTuple):
    """Bands of one modality on one grid."""

    raw: xr.DataArray
    """``(time, band, y, x)``."""
    bands: tuple[BandSpec, ...]
    grid: GeoBox


def stack_bands(parts: Sequence[tuple[xr.DataArray, BandSpec, GeoBox]], *, same_grid: bool = True) -> Stack:
    """Bands of different pixel sizes as one array on the finest of their grids.

    A pixel of the finest grid takes, from each coarser band, the pixel that holds its centre. Rows and columns at the
    border whose centres lie in no pixel of some band are dropped (a Landsat panchromatic band is half a pixel larger).

    Parameters
    ----------
    parts : sequence of (array, band, grid)
        Stored numbers ``(time, y, x)`` or ``(y, x)``, NumPy or dask, of one dtype or dtypes with a common one.
    same_grid : bool
        Whether the bands are of one product, whose grids fit into each other. Then a shift that the ratio of the
        pixel sizes does not explain is an error; otherwise any shift is taken as it is.

    Returns
    -------
    Stack
        The array is lazy if one of the parts is.

    Raises
    ------
    GridMismatch
        Grids in different CRSs, without common ground, of different orientation, or shifted against each other.
    ShapeMismatch
        The numbers of dates differ, or an array has another shape than its grid.
    """
    if not parts:
        raise ShapeMismatch("stack_bands was given no band.")
    arrays = [_with_time(array, band, grid) for array, band, grid in parts]
    grids = [grid for _, _, grid in parts]
    names = [band.name for _, band, _ in parts]
    _require_same_dates(arrays, names)
    finest = min(range(len(grids)), key=lambda i: (abs(grids[i].affine.determinant), i))
    if same_grid:
        for grid, name in zip(grids, names, strict=True):
            require_nested(grid, grids[finest], name, names[finest])
    rows, cols = _common_pixels(grids, grids[finest], names)
    onto = grids[finest][rows, cols]
    lazy = next((a.data for a in arrays if a.chunks is not None), None)
    chunks = arrays[finest].isel(y=rows, x=cols).chunks
    layers = [_repeat(a.data, g, onto) for a, g in zip(arrays, grids, strict=True)]
    if lazy is not None:
        import dask.array as da

        raw = da.stack([da.asarray(v).rechunk(chunks or "auto") for v in layers], axis=1)
    else:
        raw = np.stack(layers, axis=1)
    coords = {"time": arrays[finest].coords["time"]} if "time" in arrays[finest].coords else {}
    return Stack(xr.DataArray(raw, dims=DIMS, coords=coords), tuple(band for _, band, _ in parts), onto)


def repeat_onto(array: xr.DataArray, grid: GeoBox, onto: GeoBox) -> xr.DataArray:
    """Values ``(..., y, x)`` on another grid of the same CRS: each pixel takes the one that holds its centre.

    For masks and quality bands that are coarser than the bands they belong to (SCL at 20 m for bands at 10 m).

    Raises
    ------
    GridMismatch
        The grids have different CRSs, or a pixel of ``onto`` lies outside ``grid``.
    """
    require_parallel(grid, onto, "the array", "the target")
    rows, cols = _inside(grid, onto)
    if not (rows.all() and cols.all()):
        raise GridMismatch(
            f"The array covers {describe(grid)}, but {describe(onto)} is needed. Crop to the common ground first."
        )
    return xr.DataArray(_repeat(array.data, grid, onto), dims=array.dims, attrs=array.attrs)


def to_common_ground(modalities: Mapping[str, Modality], *, crs: Any = None) -> dict[str, Modality]:
    """Modalities in one projected CRS and on the ground that all of them cover, each on its own grid.

    Parameters
    ----------
    modalities : mapping of name to Modality
    crs : anything `odc.geo.CRS` takes, optional
        Projected, in metres. By default that of the finest modality, or the local UTM zone if it is geographic.

    Returns
    -------
    dict of name to Modality
        Untouched where nothing had to be done.

    Raises
    ------
    GridMismatch
        There is no common ground, or ``crs`` is not projected in metres.

    Warns
    -----
    Reprojected
        A modality was resampled.
    CroppedToCommonExtent
        A modality lost more than one pixel at some side.
    """
    target = common_crs(modalities, crs)
    here = {k: m for k, m in modalities.items() if m.grid.crs == target}
    ground = _intersection(here) if here else None
    moved: dict[str, Modality] = {}
    for name, modality in modalities.items():
        moved[name] = modality if name in here else reproject_modality(modality, target, ground)
    changed = [name for name in modalities if name not in here]
    if changed:
        warnings.warn(
            f"{_listed(changed)} was resampled to {crs_name(target)} (nearest pixel): {_where(modalities, changed)}. "
            "Give data in one projected CRS to keep every measurement where it was.",
            Reprojected,
            stacklevel=3,
        )
    return _crop_to_common(moved)


def _crop_to_common(modalities: Mapping[str, Modality]) -> dict[str, Modality]:
    ground = _intersection(modalities)
    out: dict[str, Modality] = {}
    cropped = []
    for name, modality in modalities.items():
        window = cover(modality.grid, ground)
        if window is None:
            raise _no_common_ground(modalities)
        lost = max(max(span.start, size - span.stop) for span, size in zip(window, modality.grid.shape, strict=True))
        out[name] = crop_modality(modality, window)
        if lost > 1:
            cropped.append(name)
            size = tuple(out[name].grid.shape)
            out[name] = out[name].with_notes(
                f"cropped from {tuple(modality.grid.shape)} to {size} pixels: common ground"
            )
    if cropped:
        warnings.warn(
            f"Only the ground that all modalities share was kept; {_listed(cropped)} lost pixels. Use "
            "scene.only(...) on each alone, or crop the sources, to choose otherwise.",
            CroppedToCommonExtent,
            stacklevel=4,
        )
    return out


def _intersection(modalities: Mapping[str, Modality]) -> Geometry:
    grounds = [m.grid.extent for m in modalities.values()]
    common = grounds[0]
    for ground in grounds[1:]:
        common = common & ground
    if common.is_empty or common.area == 0:
        raise _no_common_ground(modalities)
    return common


def _no_common_ground(modalities: Mapping[str, Modality]) -> GridMismatch:
    boxes = "; ".join(f"{name} {describe(m.grid)}" for name, m in modalities.items())
    return GridMismatch(f"The modalities share no ground: {boxes}. Load them as separate scenes.")


def _with_time(array: xr.DataArray, band: BandSpec, grid: GeoBox) -> xr.DataArray:
    if "time" not in array.dims:
        array = array.expand_dims("time")
    if set(array.dims) != {"time", "y", "x"} or tuple(array.sizes[d] for d in ("y", "x")) != tuple(grid.shape):
        raise ShapeMismatch(
            f"Band {band.name!r} is {dict(array.sizes)}, its grid {tuple(grid.shape)} (y, x). "
            "Give (time, y, x) or (y, x) on its own grid."
        )
    return array.transpose("time", "y", "x")


def _require_same_dates(arrays: Sequence[xr.DataArray], names: Sequence[str]) -> None:
    for array, name in zip(arrays, names, strict=True):
        if array.sizes["time"] != arrays[0].sizes["time"]:
            raise ShapeMismatch(
                f"{names[0]} has {arrays[0].sizes['time']} dates, {name} {array.sizes['time']}; bands of one "
                "modality need the same dates. Load them as two modalities, or select common dates."
            )


def _common_pixels(grids: Sequence[GeoBox], finest: GeoBox, names: Sequence[str]) -> tuple[slice, slice]:
    """Rows and columns of the finest grid whose centres lie in a pixel of every grid."""
    rows, cols = np.ones(finest.shape[0], bool), np.ones(finest.shape[1], bool)
    coarsest = 1.0
    for grid, name in zip(grids, names, strict=True):
        require_parallel(grid, finest, name, "the finest band")
        inside = _inside(grid, finest)
        rows, cols = rows & inside[0], cols & inside[1]
        coarsest = max(coarsest, abs(grid.affine.determinant / finest.affine.determinant) ** 0.5)
    if not (rows.any() and cols.any()):
        boxes = "; ".join(f"{n} {describe(g)}" for n, g in zip(names, grids, strict=True))
        raise GridMismatch(f"The bands share no ground: {boxes}.")
    spans = [slice(int(np.argmax(a)), int(a.size - np.argmax(a[::-1]))) for a in (rows, cols)]
    lost = max(max(s.start, a.size - s.stop) for s, a in zip(spans, (rows, cols), strict=True))
    if lost > coarsest + 0.5:
        warnings.warn(
            f"Bands {', '.join(names)} cover different ground; only what they share was kept "
            f"({lost} pixels lost at one side).",
            CroppedToCommonExtent,
            stacklevel=4,
        )
    return spans[0], spans[1]


def _repeat(values: Any, grid: GeoBox, onto: GeoBox) -> Any:
    if grid == onto:
        return values
    rows, cols = _positions(grid, onto)
    rows, cols = rows.clip(0, grid.shape[0] - 1), cols.clip(0, grid.shape[1] - 1)
    if not hasattr(values, "dask"):
        return np.ascontiguousarray(np.asarray(values)[..., rows, :][..., cols])
    return values[..., rows, :][..., cols]


def _positions(grid: GeoBox, onto: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of ``grid`` that hold the centres of the rows and columns of ``onto``, unrotated."""
    into = ~grid.affine * onto.affine
    rows = into.f + into.e * (np.arange(onto.shape[0]) + 0.5)
    cols = into.c + into.a * (np.arange(onto.shape[1]) + 0.5)
    return np.floor(rows + _EDGE).astype(np.int64), np.floor(cols + _EDGE).astype(np.int64)


def _inside(grid: GeoBox, onto: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = _positions(grid, onto)
    return (rows >= 0) & (rows < grid.shape[0]), (cols >= 0) & (cols < grid.shape[1])


def _where(modalities: Mapping[str, Modality], names: Sequence[str]) -> str:
    return "; ".join(f"{n} from {crs_name(modalities[n].grid.crs)}" for n in names)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
