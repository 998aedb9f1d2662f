"""Pieces of one source become one `Modality`: bands told apart and stacked, dates joined, units decided, clouds masked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import DIMS, Modality
from georeset_lab.data.readers.naming import sort_columns
from georeset_lab.data.readers.piece import Piece
from georeset_lab.data.sensors import Sensor
from georeset_lab.data.units import Decision, Numbers, decide
from georeset_lab.errors import BandMismatch, GridMismatch, UnitsInferred


@dataclass(frozen=True)
class Wish:
    """What the caller said about one modality."""

    name: str
    sensor: Sensor | None = None
    bands: Sequence[BandSpec] | None = None
    scale: Any = None
    time: Any = None
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class Stack:
    """Bands of one modality on one grid, with what is known of each."""

    raw: Any
    grid: GeoBox
    bands: list[BandSpec]
    stated: list[tuple[float, float] | None]
    times: np.ndarray
    nodata: float | None
    origin: str
    tags: Mapping[str, str] = field(default_factory=dict)


def build_modality(pieces: Sequence[Piece], wish: Wish) -> Modality:
    """One modality from the pieces of one source.

    Raises
    ------
    BandMismatch
        The columns fit neither the sensor nor the given bands, or a band occurs twice on one date.
    UnitError
        The units cannot be told, or contradict what was said.
    GridMismatch
        The pieces share no date or no ground.
    """
    stacks, quality, notes = _sort(pieces, wish)
    if not stacks:
        raise BandMismatch(f"Modality {wish.name!r}: {pieces[0].origin} holds quality layers only, and no band to encode.")
    joined = _join_bands(_join_dates(stacks), wish.name)
    numbers = Numbers.of(sample(joined.raw, joined.nodata), np.dtype(joined.raw.dtype))
    decision = decide(
        numbers,
        joined.bands,
        name=wish.name,
        sensor=wish.sensor,
        stated=joined.stated,
        given=wish.scale,
        nodata=joined.nodata,
    )
    _warn(decision, wish.name)
    modality = Modality(
        name=wish.name,
        raw=as_array(joined.raw, joined.times),
        bands=tuple(joined.bands),
        grid=joined.grid,
        calibration=decision.calibration,
        sensor=wish.sensor.name if wish.sensor else None,
        notes=(*wish.notes, *notes, decision.note),
    )
    return modality


def _sort(pieces: Sequence[Piece], wish: Wish) -> tuple[list[Stack], list[tuple[Piece, int, str]], list[str]]:
    """Band columns, quality columns, and notes on what was left out."""
    stacks, quality, notes = [], [], []
    for piece in pieces:
        columns = sort_columns(piece, wish.sensor, wish.bands, wish.name)
        quality += [(piece, i, kind) for i, kind in columns.quality.items()]
        if columns.ignored:
            notes.append(f"left out of {piece.origin}: {', '.join(columns.ignored)}")
        if columns.assumed:
            notes.append(f"{piece.origin} names no bands: taken in the order of the sensor")
        if columns.bands:
            part = piece.take(list(columns.bands))
            bands = [replace(b, gsd_m=max(b.gsd_m, _pixel(part.grid))) for b in columns.bands.values()]
            stacks.append(
                Stack(part.raw, part.grid, bands, list(part.stated), part.times, part.nodata, part.origin, part.tags)
            )
    return stacks, quality, notes


def _join_dates(stacks: Sequence[Stack]) -> list[Stack]:
    """Stacks with the same bands on the same grid become one along time."""
    groups: dict[tuple[str, ...], list[Stack]] = {}
    for stack in stacks:
        groups.setdefault(tuple(b.name for b in stack.bands), []).append(stack)
    out = []
    for names, parts in groups.items():
        if len(parts) == 1:
            out.append(parts[0])
            continue
        odd = next((p for p in parts if p.grid != parts[0].grid), None)
        if odd is not None:
            raise GridMismatch(f"{parts[0].origin} and {odd.origin} both hold {', '.join(names)} but on different grids.")
        times = np.concatenate([p.times for p in parts])
        order = np.argsort(times, kind="stable")
        raw = _concatenate([p.raw for p in parts], axis=0)[order]
        out.append(replace(parts[0], raw=raw, times=times[order]))
    return out


def _join_bands(stacks: Sequence[Stack], name: str) -> Stack:
    if len(stacks) == 1:
        return stacks[0]
    from georeset_lab.data.align import stack_bands

    raise NotImplementedError(name, stack_bands)


def sample(raw: Any, nodata: float | None, most: int = 200_000) -> np.ndarray:
    """Some pixels of an array as ``(band, pixel)`` float64, NaN where missing, spread evenly over dates and ground."""
    times, bands, rows, cols = raw.shape
    dates = np.unique(np.linspace(0, times - 1, min(times, 8)).astype(int))
    step = max(1, int(np.sqrt(rows * cols * len(dates) / most)))
    if not hasattr(raw, "dask"):
        values = np.asarray(raw[dates][:, :, ::step, ::step])
    else:
        values = np.stack([np.concatenate(_windows(raw[int(t)]), axis=1) for t in dates])
        return _valid(values, nodata)
    return _valid(values.reshape(len(dates), bands, -1), nodata)


def _windows(raw: Any, side: int = 128, across: int = 4) -> list[np.ndarray]:
    """Small windows of a lazy ``(band, y, x)`` array on a regular net, each ``(band, pixel)``."""
    bands, rows, cols = raw.shape
    tops = np.unique(np.linspace(0, max(0, rows - side), across).astype(int))
    lefts = np.unique(np.linspace(0, max(0, cols - side), across).astype(int))
    boxes = [raw[:, t : t + side, x : x + side] for t in tops for x in lefts]
    return [np.asarray(b.compute(scheduler="sync")).reshape(bands, -1) for b in boxes]


def _valid(values: np.ndarray, nodata: float | None) -> np.ndarray:
    """``(time, band, pixel)`` to ``(band, time * pixel)`` with NaN where missing; a pixel that is 0 in every band is missing too."""
    flat = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
    out = flat.astype(np.float64)
    if nodata is not None:
        out[flat == nodata] = np.nan
    if flat.shape[0] > 1:
        out[:, (flat == 0).all(axis=0)] = np.nan
    return out


def as_array(raw: Any, times: np.ndarray) -> xr.DataArray:
    """Stored numbers as a DataArray with their dates."""
    return xr.DataArray(raw, dims=DIMS, coords={"time": ("time", times.astype("datetime64[ns]"))})


def _concatenate(arrays: Sequence[Any], axis: int) -> Any:
    if any(hasattr(a, "dask") for a in arrays):
        import dask.array as da

        return da.concatenate([da.asarray(a) for a in arrays], axis=axis)
    return np.concatenate(arrays, axis=axis)


def _pixel(grid: GeoBox) -> float:
    from georeset_lab.data.modality import pixel_size_m

    return round(pixel_size_m(grid), 3)


def _warn(decision: Decision, name: str) -> None:
    if decision.inferred:
        message = f"Modality {name!r}: {decision.note}. Pass scale={{{name!r}: (scale, offset)}} to state it yourself."
        warnings.warn(message, UnitsInferred, stacklevel=4)
