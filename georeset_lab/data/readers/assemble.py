"""Pieces of one source become one `Modality`: bands told apart and stacked, units decided, dates joined, clouds masked."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Calibration, Modality, pixel_size_m
from georeset_lab.data.readers.landsat import level1_ways
from georeset_lab.data.readers.naming import sort_columns
from georeset_lab.data.readers.piece import Piece
from georeset_lab.data.readers.sampling import sample
from georeset_lab.data.readers.stack import Part, as_array, join_acquisitions, join_dates
from georeset_lab.data.sensors import Sensor
from georeset_lab.data.units import Decision, Numbers, Undecided, decide
from georeset_lab.errors import BandMismatch, UnitsInferred

Quality = tuple[Piece, int, str]
"""A piece, the column in it, and how that column is read."""


@dataclass(frozen=True)
class Wish:
    """What the caller said about one modality."""

    name: str
    sensor: Sensor | None = None
    bands: Sequence[BandSpec] | None = None
    scale: Any = None
    notes: tuple[str, ...] = ()


def build_modality(pieces: Sequence[Piece], wish: Wish) -> Modality:
    """One modality from the pieces of one source.

    Raises
    ------
    BandMismatch
        The columns fit neither the sensor nor the given bands.
    UnitError
        The units cannot be told, or contradict what was said.
    GridMismatch
        The pieces share no date or no ground.

    Warns
    -----
    UnitsInferred, BandsAssumed, BandsSuspect
        See `georeset_lab.errors`.
    """
    parts, quality, notes = _sort(pieces, wish)
    if not parts:
        raise BandMismatch(f"Modality {wish.name!r}: {pieces[0].origin} holds quality layers only, and no band to encode.")
    order = [b.name for b in (wish.bands or (wish.sensor.bands if wish.sensor else ()))]
    parts, left_out = join_acquisitions(parts, order, wish.name)
    parts = [p for part in parts for p in _by_baseline(part, wish)]
    decisions = _decide_all(parts, wish)
    calibration, parts = _one_calibration(parts, decisions)
    whole = join_dates(parts, wish.name)
    reasons = list(dict.fromkeys(d.note for d in decisions))
    _warn(reasons, any(d.inferred for d in decisions), wish.name)
    return Modality(
        name=wish.name,
        raw=as_array(whole.raw, whole.times),
        bands=whole.bands,
        grid=whole.grid,
        calibration=replace(calibration, nodata=calibration.nodata if calibration.nodata is not None else whole.nodata),
        sensor=wish.sensor.name if wish.sensor else None,
        notes=(*wish.notes, *notes, *left_out, *reasons),
    )


def _sort(pieces: Sequence[Piece], wish: Wish) -> tuple[list[Part], list[Quality], list[str]]:
    """Band columns, quality columns, and notes on what was left out."""
    parts, quality, ignored, notes = [], [], [], []
    for piece in pieces:
        columns = sort_columns(piece, wish.sensor, wish.bands, wish.name)
        quality += [(piece, i, kind) for i, kind in columns.quality.items()]
        ignored += columns.ignored
        if columns.assumed:
            notes.append(f"{piece.origin} names no bands: taken in the order of the sensor")
        if columns.bands:
            part = piece.take(list(columns.bands))
            pixel = round(pixel_size_m(part.grid), 2)
            bands = tuple(b if b.gsd_m >= pixel else replace(b, gsd_m=pixel) for b in columns.bands.values())
            parts.append(Part(part.raw, part.grid, bands, part.stated, part.times, part.nodata, part.origin, part.tags))
    if ignored:
        notes.append(f"left out: {', '.join(dict.fromkeys(ignored))}")
    return parts, quality, notes


def _decide_all(parts: Sequence[Part], wish: Wish) -> list[Decision]:
    """A decision for each part; one that its numbers leave open follows the others, if those agree."""
    found: list[Decision | Undecided] = []
    for part in parts:
        try:
            found.append(_decide(part, wish))
        except Undecided as err:
            found.append(err)
    clear = {d.calibration: d for d in found if isinstance(d, Decision)}
    out = []
    for one in found:
        if isinstance(one, Undecided):
            if len(clear) != 1:
                raise one
            out.append(next(iter(clear.values())))
        else:
            out.append(one)
    return out


def _decide(part: Part, wish: Wish) -> Decision:
    numbers = Numbers.of(sample(part.raw, part.nodata), np.dtype(part.raw.dtype))
    ways = None
    if wish.sensor is not None:
        ways = level1_ways(wish.sensor, part.bands, part.tags, part.times.min(), part.grid) or None
    return decide(
        numbers,
        part.bands,
        name=wish.name,
        sensor=wish.sensor,
        stated=part.stated,
        given=wish.scale,
        nodata=part.nodata,
        ways=ways,
    )


def _one_calibration(parts: Sequence[Part], decisions: Sequence[Decision]) -> tuple[Calibration, list[Part]]:
    """One calibration for all dates: the common one, else physical float32 numbers, made lazily."""
    calibrations = {d.calibration for d in decisions}
    if len(calibrations) == 1:
        return next(iter(calibrations)), list(parts)
    plain = Calibration.identity(len(parts[0].bands))
    return plain, [
        replace(p, raw=_physical(p.raw, d.calibration), nodata=None, stated=(None,) * len(p.bands))
        for p, d in zip(parts, decisions, strict=True)
    ]


def _physical(raw: Any, calibration: Calibration) -> Any:
    if not hasattr(raw, "dask"):
        return calibration.apply(np.asarray(raw))
    import dask.array as da

    whole = raw.rechunk({1: -1})
    return da.map_blocks(calibration.apply, whole, dtype=np.float32, meta=np.empty((0,) * 4, np.float32))


def _by_baseline(part: Part, wish: Wish) -> list[Part]:
    """Dates apart where a cube of Sentinel-2 dates may mix baselines, so that each is decided for itself."""
    sentinel2 = wish.sensor is not None and wish.sensor.name.startswith("sentinel-2")
    silent = wish.scale is None and not any(part.stated)
    if not (sentinel2 and silent and len(part.times) > 1 and np.dtype(part.raw.dtype).kind in "iu"):
        return [part]
    return [part.at(slice(i, i + 1)) for i in range(len(part.times))]


def _warn(reasons: Sequence[str], inferred: bool, name: str) -> None:
    if inferred:
        warnings.warn(
            f"Modality {name!r}: {'; '.join(reasons)}. Pass scale={{{name!r}: (scale, offset)}} to state it yourself.",
            UnitsInferred,
            stacklevel=4,
        )
