"""From stored numbers to physical units: what scale and offset an array carries, decided by stated rules.

The order of trust: what the caller says (``scale=``), what the file says, what the numbers say. Every choice is checked
against the numbers (reflectance about 0..1, kelvin, dB, metres) and a choice they contradict is refused with the call
that fixes it. Sentinel-2's +1000 has a module of its own, ``readers/baseline.py``. No files here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Calibration
from georeset_lab.data.readers.baseline import Verdict, baseline_offset
from georeset_lab.data.readers.plausible import Numbers, implausible, range_of
from georeset_lab.data.sensors import Sensor
from georeset_lab.errors import UnitError

Stated = Sequence[tuple[float, float] | None]


class Undecided(UnitError):
    """The numbers fit several encodings and do not tell them apart."""


@dataclass(frozen=True)
class Decision:
    """A calibration, the reason for it, and whether it was inferred from the numbers (then the caller warns)."""

    calibration: Calibration
    note: str
    inferred: bool = False


def decide(
    numbers: Numbers,
    bands: Sequence[BandSpec],
    *,
    name: str,
    sensor: Sensor | None = None,
    stated: Stated = (),
    given: tuple[float, float] | Mapping[str, tuple[float, float]] | float | None = None,
    nodata: float | None = None,
    ways: Sequence[tuple[str, Calibration]] | None = None,
    verdict: Verdict | None = None,
) -> Decision:
    """Calibration of an array.

    Parameters
    ----------
    numbers : Numbers
        Statistics of the stored numbers.
    bands : sequence of BandSpec
        What each band measures.
    name : str
        Modality, for messages.
    sensor : Sensor, optional
        Product whose encodings are tried when neither the caller nor the file says anything.
    stated : sequence of (scale, offset) or None
        What the file says of each band, if that is not applied yet.
    given : (scale, offset), scale, or mapping band -> (scale, offset)
        What the caller says.
    nodata : float, optional
        Stored number that means "not measured", as the file says.
    ways : sequence of (label, Calibration), optional
        Ways of storing that are known for this very scene (Landsat Level 1); tried in place of the sensor's.
    verdict : "offset", "no offset" or "undecided", optional
        What is known of Sentinel-2's +1000, if it is not to be told from these numbers alone.

    Raises
    ------
    UnitError
        The numbers contradict what was said, or fit no way of storing that is known, or fit several.
    """
    nodata = _nodata(nodata, sensor, numbers)
    if given is not None:
        scale, offset = _given(given, bands, name)
        decision = Decision(Calibration(scale, offset, nodata), f"scale and offset as given: {_say(scale, offset)}")
    elif any(s is not None and s != (1.0, 0.0) for s in stated):
        decision = _as_stated(stated, bands, numbers, sensor, nodata, name)
    elif numbers.empty:
        decision = Decision(_blind(bands, sensor, nodata), "no valid pixel: units could not be checked")
    else:
        decision = _inferred(numbers, bands, sensor, nodata, name, ways, verdict)
    if not numbers.empty:
        problem = implausible(numbers, bands, decision.calibration)
        if problem:
            raise UnitError(f"Modality {name!r}: {decision.note}, but then {problem}. {_advice(name)}")
    return decision


def _inferred(
    numbers: Numbers,
    bands: Sequence[BandSpec],
    sensor: Sensor | None,
    nodata: float | None,
    name: str,
    ways: Sequence[tuple[str, Calibration]] | None,
    verdict: Verdict | None,
) -> Decision:
    kinds = {b.kind for b in bands}
    if kinds == {"backscatter"}:
        return _backscatter(numbers, sensor, bands, nodata, name)
    if numbers.byte and "reflectance" in kinds and not ways:
        raise UnitError(
            f"Modality {name!r} holds 8-bit numbers ({range_of(numbers)}): display-stretched pictures or raw counts, "
            f"which no rule turns into reflectance. {_advice(name)}"
        )
    tried = _candidates(numbers, bands, sensor, nodata, ways)
    fitting = [(label, c) for label, c in tried if not implausible(numbers, bands, c)]
    if not numbers.byte and all(_too_dark(numbers, bands, c) for _, c in fitting):
        fitting = []
    fitting = _darkest_below_half(fitting, numbers, bands)
    if sensor is not None and sensor.name.startswith("sentinel-2"):
        fitting = _by_baseline(fitting, numbers, bands, name, verdict)
    if not fitting:
        product = f"a way in which {sensor.name} is stored" if sensor else "reflectance 0..1"
        raise UnitError(
            f"Modality {name!r} holds numbers {range_of(numbers)}, which do not fit {product}. {_advice(name)}"
        )
    if len(fitting) > 1:
        several = "; ".join(f"{label} ({_say(c.scale, c.offset)})" for label, c in fitting)
        raise Undecided(
            f"Modality {name!r} holds numbers {range_of(numbers)} that fit several encodings: {several}. "
            f"{_advice(name)}"
        )
    label, calibration = fitting[0]
    certain = label == "physical values" or (ways is None and sensor is not None and len(sensor.encodings) == 1)
    way = f"{label}: {_say(calibration.scale, calibration.offset)}"
    why = f"the file states no scale; its numbers {range_of(numbers)} fit {way}"
    return Decision(calibration, why, inferred=not certain)


def _candidates(
    numbers: Numbers,
    bands: Sequence[BandSpec],
    sensor: Sensor | None,
    nodata: float | None,
    ways: Sequence[tuple[str, Calibration]] | None,
) -> list[tuple[str, Calibration]]:
    """Ways in which the numbers may be stored: each encoding of the product, and physical values as they are."""
    ones, zeros = (1.0,) * len(bands), (0.0,) * len(bands)
    if ways is None:
        ways = [] if sensor is None else [(e.name, e.calibration(bands)) for e in sensor.encodings]
    found = [(label, replace(c, nodata=nodata)) for label, c in ways]
    reflective = any(b.kind == "reflectance" for b in bands)
    if not (numbers.integer and reflective):
        found.append(("physical values", Calibration(ones, zeros, nodata)))
        if sensor is not None and sensor.name.startswith("sentinel-2"):
            found.append(("reflectance + 0.1", Calibration(ones, (-0.1,) * len(bands), nodata)))
    distinct: list[tuple[str, Calibration]] = []
    for label, calibration in found:
        if all((calibration.scale, calibration.offset) != (c.scale, c.offset) for _, c in distinct):
            distinct.append((label, calibration))
    return distinct


def _too_dark(numbers: Numbers, bands: Sequence[BandSpec], calibration: Calibration) -> bool:
    """Whether nothing reflects 0.03: more likely another scale (per cent, 0..255) than a clear sea."""
    optical = [i for i, b in enumerate(bands) if b.kind == "reflectance" and np.isfinite(numbers.high[i])]
    bright = [numbers.high[i] * calibration.scale[i] + calibration.offset[i] for i in optical]
    return bool(optical) and max(bright) < 0.03


def _darkest_below_half(
    fitting: list[tuple[str, Calibration]], numbers: Numbers, bands: Sequence[BandSpec]
) -> list[tuple[str, Calibration]]:
    """Of candidates with different scales, those under which some band has pixels darker than 0.5."""
    if len({c.scale for _, c in fitting}) < 2:
        return fitting
    optical = np.array([b.kind == "reflectance" for b in bands]) & np.isfinite(numbers.low)
    dark = [(w, c) for w, c in fitting if not (numbers.low * c.scale + c.offset)[optical].min(initial=np.inf) > 0.5]
    return dark or fitting


def _by_baseline(
    fitting: list[tuple[str, Calibration]],
    numbers: Numbers,
    bands: Sequence[BandSpec],
    name: str,
    verdict: Verdict | None,
) -> list[tuple[str, Calibration]]:
    """Of candidates that differ in the +1000 only, the one that the dark pixels show."""
    offsets = {c.offset[0] for _, c in fitting}
    if len(fitting) < 2 or offsets != {0.0, -0.1}:
        return fitting
    counts = fitting[0][1].scale[0] * 1e4
    verdict = verdict or baseline_offset(numbers.low * counts, np.array([b.center_um for b in bands]))
    if verdict == "undecided":
        raise Undecided(
            f"Modality {name!r} may or may not carry Sentinel-2's +1000: its darkest pixels are bright "
            f"({range_of(numbers)}), "
            f"as over cloud, snow or bare ground. {_advice(name)} Use (1e-4, -0.1) with the offset, (1e-4, 0) without."
        )
    wanted = -0.1 if verdict == "offset" else 0.0
    return [(label, c) for label, c in fitting if c.offset[0] == wanted]


def _backscatter(
    numbers: Numbers, sensor: Sensor | None, bands: Sequence[BandSpec], nodata: float | None, name: str
) -> Decision:
    """Decibels are negative nearly everywhere; linear power never is, and lies below 1 nearly everywhere."""
    plain = Calibration.identity(len(bands), nodata)
    if not numbers.integer and np.nanmedian(numbers.middle) < 0:
        return Decision(plain, f"stored in dB ({range_of(numbers)})")
    if not numbers.integer and np.nanmin(numbers.least) >= 0 and np.nanmedian(numbers.middle) < 2:
        note = f"stored as linear power ({range_of(numbers)}), turned into dB"
        return Decision(replace(plain, to_db=True), note, inferred=True)
    raise UnitError(
        f"Modality {name!r} holds backscatter as {range_of(numbers)}: neither dB nor linear power. Convert it first "
        "(for counts of amplitude 20 * log10(count) + the product's constant), or pass "
        f"scale={{{name!r}: (scale, offset)}}."
    )


def _as_stated(
    stated: Stated,
    bands: Sequence[BandSpec],
    numbers: Numbers,
    sensor: Sensor | None,
    nodata: float | None,
    name: str,
) -> Decision:
    pairs = [s or (1.0, 0.0) for s in stated]
    scale, offset = tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)
    calibration = Calibration(scale, offset, nodata)
    if not numbers.empty and not numbers.integer and not implausible(numbers, bands, Calibration.identity(len(bands))):
        problem = implausible(numbers, bands, calibration)
        if problem:
            raise UnitError(
                f"Modality {name!r}: the source states {_say(scale, offset)}, but its numbers ({range_of(numbers)}) "
                "are "
                f"physical already: applying it again gives {problem}. Drop the attribute or pass scale=1."
            )
    _check_baseline(calibration, numbers, bands, sensor, name)
    return Decision(calibration, f"scale and offset as the file states: {_say(scale, offset)}")


def _check_baseline(
    calibration: Calibration, numbers: Numbers, bands: Sequence[BandSpec], sensor: Sensor | None, name: str
) -> None:
    """Refuse a stated Sentinel-2 offset that the dark pixels contradict beyond doubt: such flags are often wrong."""
    if numbers.empty or sensor is None or not sensor.name.startswith("sentinel-2"):
        return
    counts = np.array(calibration.scale) * 1e4
    verdict = baseline_offset(numbers.low * counts, np.array([b.center_um for b in bands]))
    stated = "no offset" if calibration.offset[0] > -0.05 else "offset"
    sure = verdict == "no offset" or any(1.36 < b.center_um < 1.39 for b in bands)
    if sure and verdict not in ("undecided", stated):
        shown = "no +1000" if verdict == "no offset" else "the +1000 of baseline 04.00"
        raise UnitError(
            f"Modality {name!r}: the file states {_say(calibration.scale, calibration.offset)}, but its dark pixels "
            f"({range_of(numbers)}) show {shown}. {_advice(name)}"
        )


def _blind(bands: Sequence[BandSpec], sensor: Sensor | None, nodata: float | None) -> Calibration:
    if sensor is None or not sensor.encodings:
        return Calibration.identity(len(bands), nodata)
    return replace(sensor.encodings[0].calibration(bands), nodata=nodata)


def _nodata(stated: float | None, sensor: Sensor | None, numbers: Numbers) -> float | None:
    """What the file states, else what the product defines (counts only: 0 is a fine reflectance)."""
    if stated is not None or sensor is None or not sensor.encodings or not numbers.integer:
        return stated
    return sensor.encodings[0].nodata


def _given(given: Any, bands: Sequence[BandSpec], name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if isinstance(given, Mapping):
        missing = [b.name for b in bands if b.name not in given]
        if missing:
            raise UnitError(f"scale= of modality {name!r} names no value for {', '.join(missing)}.")
        pairs = [_pair(given[b.name], name) for b in bands]
    else:
        pairs = [_pair(given, name)] * len(bands)
    return tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)


def _pair(value: Any, name: str) -> tuple[float, float]:
    try:
        numbers = tuple(float(v) for v in (value if isinstance(value, Sequence) else (value, 0.0)))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 2:
        raise UnitError(f"scale= of modality {name!r} is {value!r}; give (scale, offset) or a single scale.")
    return numbers[0], numbers[1]


def _advice(name: str) -> str:
    return f"State it: load_scene(..., scale={{{name!r}: (scale, offset)}}) with physical = number * scale + offset."


def _say(scale: Sequence[float], offset: Sequence[float]) -> str:
    pairs = list(dict.fromkeys(zip(scale, offset, strict=True)))
    return " / ".join(f"x {s:g} {'+' if o >= 0 else '-'} {abs(o):g}" for s, o in pairs[:3]) + (
        " ..." if pairs[3:] else ""
    )
