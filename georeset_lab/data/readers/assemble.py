"""Pieces of one source become one `Modality`: bands stacked, units decided, dates joined, clouds masked."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Modality, pixel_size_m
from georeset_lab.data.readers.deciding import Decided, decide_parts, one_calibration, reasons
from georeset_lab.data.readers.naming import no_band, sort_columns
from georeset_lab.data.readers.piece import Piece
from georeset_lab.data.readers.quality import Quality, either, quality_flags, zero_flags
from georeset_lab.data.readers.stack import Part, as_array, join_acquisitions, join_dates
from georeset_lab.data.readers.suspect import contradictions
from georeset_lab.data.sensors import Sensor
from georeset_lab.errors import BandsSuspect, UnitsInferred

_FEWEST = 100
"""Valid pixels in the sample from which a band without any value is taken to be empty."""


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
    parts, quality, notes = sort_pieces(pieces, wish)
    if not parts:
        raise no_band(pieces, wish.sensor, wish.name)
    order = [b.name for b in (wish.bands or (wish.sensor.bands if wish.sensor else ()))]
    parts, left_out = join_acquisitions(parts, order, wish.name)
    decided, empty = _without_empty_bands(decide_parts(parts, name=wish.name, sensor=wish.sensor, scale=wish.scale))
    calibration, parts = one_calibration(decided)
    whole = join_dates(parts, wish.name)
    why = reasons(decided)
    _warn_units(decided, why, wish.name)
    zeros, zero_notes = zero_flags(replace(whole, nodata=calibration.nodata), decided[0].seen)
    flagged, quality_notes = quality_flags(quality, whole)
    doubts = _doubts(decided, wish.name)
    modality = Modality(
        name=wish.name,
        raw=as_array(whole.raw, whole.times),
        bands=whole.bands,
        grid=whole.grid,
        calibration=calibration,
        sensor=wish.sensor.name if wish.sensor else None,
        notes=(*wish.notes, *notes, *left_out, *empty, *why, *zero_notes, *quality_notes, *doubts),
    )
    flags = either(zeros, flagged)
    return modality if flags is None else modality.with_flags(flags)


def sort_pieces(pieces: Sequence[Piece], wish: Wish) -> tuple[list[Part], list[Quality], list[str]]:
    """Band columns, quality columns, and notes on what was left out."""
    parts: list[Part] = []
    quality: list[Quality] = []
    ignored: list[str] = []
    notes = []
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
            parts.append(
                Part(
                    part.raw, part.grid, bands, part.stated, part.times, part.nodata, part.origin, part.tags, part.facts
                )
            )
    if ignored:
        notes.append(f"left out: {', '.join(dict.fromkeys(ignored))}")
    return parts, quality, notes


def _without_empty_bands(decided: Sequence[Decided]) -> tuple[list[Decided], list[str]]:
    """Parts without the bands that hold no measurement (EnMAP's absorption bands), and a note on them."""
    bands = decided[0].part.bands
    seen = np.concatenate([d.seen for d in decided], axis=1)
    enough = np.isfinite(seen).any(axis=0).sum() >= _FEWEST
    dead = [
        i for i in range(len(bands)) if enough and not np.nan_to_num(seen[i]).any() and bands[i].kind != "elevation"
    ]
    if not dead or len(dead) == len(bands):
        return list(decided), []
    keep = [i for i in range(len(bands)) if i not in dead]
    names = [bands[i].name for i in keep]
    thinned = [
        Decided(d.part.only(names), replace(d.decision, calibration=d.decision.calibration.select(keep)), d.seen[keep])
        for d in decided
    ]
    return thinned, [f"left out bands without a measurement: {', '.join(bands[i].name for i in dead)}"]


def _doubts(decided: Sequence[Decided], name: str) -> list[str]:
    """Warn where the values of a band contradict its name."""
    values = [d.decision.calibration.apply(d.seen[None, :, None, :])[0, :, 0] for d in decided]
    found = contradictions(np.concatenate(values, axis=1), decided[0].part.bands)
    if found:
        warnings.warn(
            f"Modality {name!r}: {'; '.join(found)}. Check the names; bands=[...] states which band is which.",
            BandsSuspect,
            stacklevel=4,
        )
    return found


def _warn_units(decided: Sequence[Decided], why: Sequence[str], name: str) -> None:
    if any(d.decision.inferred for d in decided):
        warnings.warn(
            f"Modality {name!r}: {'; '.join(why)}. Pass scale={{{name!r}: (scale, offset)}} to state it yourself.",
            UnitsInferred,
            stacklevel=4,
        )
