"""The units of each part of a modality: a sample is taken, ``units.py`` decides, cubes of dates are settled as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from georeset_lab.data.modality import Calibration
from georeset_lab.data.readers.baseline import CHANGE, Verdict, baseline_offset, settle
from georeset_lab.data.readers.certain import as_product_states, is_certain
from georeset_lab.data.readers.landsat import level1_ways
from georeset_lab.data.readers.plausible import Numbers
from georeset_lab.data.readers.sampling import sample
from georeset_lab.data.readers.stack import Part
from georeset_lab.data.sensors import Sensor
from georeset_lab.data.units import Decision, Undecided, decide

_MOST_DATES = 36


@dataclass(frozen=True, eq=False)
class Decided:
    """A part, how its numbers become physical values, and the sample that this rests on."""

    part: Part
    decision: Decision
    seen: np.ndarray
    """``(band, pixel)`` in stored units, NaN where missing."""


@dataclass(frozen=True, eq=False)
class _Open:
    """A part whose numbers leave its units open."""

    part: Part
    seen: np.ndarray
    reason: Undecided


def decide_parts(parts: Sequence[Part], *, name: str, sensor: Sensor | None, scale: Any) -> list[Decided]:
    """Parts with their calibrations; a cube that mixes Sentinel-2 baselines comes back in two parts.

    A part that its own numbers leave undecided follows the others, if those agree.

    Raises
    ------
    UnitError
        See `georeset_lab.data.units.decide`.
    """
    found: list[Decided | _Open] = []
    for part in parts:
        for piece, verdict in _by_baseline(part, sensor, scale):
            seen = sample(piece.raw, piece.nodata)
            try:
                found.append(Decided(piece, _decide(piece, seen, name, sensor, scale, verdict), seen))
            except Undecided as err:
                found.append(_Open(piece, seen, err))
    clear = {f.decision.calibration: f.decision for f in found if isinstance(f, Decided)}
    out = []
    for one in found:
        if isinstance(one, Decided):
            out.append(one)
            continue
        if len(clear) != 1:
            raise one.reason
        out.append(Decided(one.part, next(iter(clear.values())), one.seen))
    return out


def one_calibration(decided: Sequence[Decided]) -> tuple[Calibration, list[Part]]:
    """The calibration all parts share; if they differ, physical float32 numbers, lazy where the parts are."""
    calibrations = {d.decision.calibration for d in decided}
    parts = [d.part for d in decided]
    if len(calibrations) == 1:
        return next(iter(calibrations)), parts
    plain = Calibration.identity(len(parts[0].bands))
    return plain, [
        replace(
            d.part,
            raw=_physical(d.part.raw, d.decision.calibration),
            nodata=None,
            stated=(None,) * len(plain.scale),
            facts=(),
        )
        for d in decided
    ]


def reasons(decided: Sequence[Decided]) -> list[str]:
    """Why the calibrations are what they are; how many dates went which way, if there are many."""
    notes = list(dict.fromkeys(d.decision.note for d in decided))
    if len(notes) <= 2:
        return notes
    ways = Counter(d.decision.calibration.offset[0] for d in decided)
    counts = ", ".join(f"{n} with offset {offset:g}" for offset, n in ways.items())
    return [f"decided for each of {len(decided)} parts: {counts}; the first: {notes[0]}"]


def _by_baseline(part: Part, sensor: Sensor | None, scale: Any) -> list[tuple[Part, Verdict | None]]:
    """A silent Sentinel-2 cube with the verdict its dates give together; two parts if it mixes baselines."""
    sentinel2 = sensor is not None and sensor.name.startswith("sentinel-2")
    silent = scale is None and not any(part.stated) and not is_certain(part)
    if not (sentinel2 and silent and len(part.times) > 1 and np.dtype(part.raw.dtype).kind in "iu"):
        return [(part, None)]
    dates = np.unique(np.linspace(0, len(part.times) - 1, min(len(part.times), _MOST_DATES)).astype(int))
    um = np.array([b.center_um for b in part.bands])
    verdicts: list[Verdict] = []
    for date in dates:
        seen = sample(part.raw[int(date) : int(date) + 1], 0 if part.nodata is None else part.nodata)
        verdicts.append(baseline_offset(Numbers.of(seen, np.dtype(part.raw.dtype)).low, um))
    settled = settle(verdicts, part.times[dates])
    if settled != "by date":
        return [(part, settled)]
    late = part.times >= CHANGE
    early = part.at(np.flatnonzero(~late)), part.at(np.flatnonzero(late))
    return [(early[0], "no offset"), (early[1], "offset")]


def _decide(
    part: Part, seen: np.ndarray, name: str, sensor: Sensor | None, scale: Any, verdict: Verdict | None
) -> Decision:
    if scale is None and is_certain(part):
        return as_product_states(part, seen, name)
    ways = level1_ways(sensor, part.bands, part.tags, part.times.min(), part.grid) if sensor is not None else []
    return decide(
        Numbers.of(seen, np.dtype(part.raw.dtype)),
        part.bands,
        name=name,
        sensor=sensor,
        stated=part.stated,
        given=scale,
        nodata=part.nodata,
        ways=ways or None,
        verdict=verdict,
    )


def _physical(raw: Any, calibration: Calibration) -> Any:
    if not hasattr(raw, "dask"):
        return calibration.apply(np.asarray(raw))
    import dask.array as da

    whole = raw.rechunk({1: -1})
    return da.map_blocks(calibration.apply, whole, dtype=np.float32, meta=np.empty((0,) * 4, np.float32))
