"""Units of a part whose product metadata state them: taken as they are, and only checked to be possible at all."""

from __future__ import annotations

import warnings

import numpy as np

from georeset_lab.data.calibration import Calibration
from georeset_lab.data.readers.plausible import PLAUSIBLE
from georeset_lab.data.readers.stack import Part
from georeset_lab.data.units import Decision
from georeset_lab.errors import UnitError

_FEWEST = 30
"""Valid pixels from which a middle value says something."""


def is_certain(part: Part) -> bool:
    """Whether the product's own metadata state every band of a part."""
    return all(f is not None and f.units for f in part.facts)


def as_product_states(part: Part, seen: np.ndarray, name: str) -> Decision:
    """Calibration that the product's metadata state.

    Dark or bright pixels are no reason to doubt it (a Level 2A product may hold negative reflectance, a scene may be
    all cloud); a middle value that no ground has is.

    Parameters
    ----------
    part : Part
        With facts for every band.
    seen : numpy.ndarray, shape (C, N)
        Sample in stored units, NaN where missing.

    Raises
    ------
    UnitError
        A band would have a middle value that cannot be.
    """
    facts = [f for f in part.facts if f is not None]
    pairs = [s or (1.0, 0.0) for s in part.stated]
    planck = tuple(f.planck for f in facts)
    saturated = {f.saturated for f in facts}
    calibration = Calibration(
        scale=tuple(p[0] for p in pairs),
        offset=tuple(p[1] for p in pairs),
        nodata=part.nodata,
        to_db=any(f.to_db for f in facts),
        planck=planck if any(planck) else None,
        amplitude=any(f.amplitude for f in facts),
        saturated=next(iter(saturated)) if len(saturated) == 1 else None,
    )
    _check(calibration, part, seen, name)
    return Decision(calibration, f"scale and offset from the product's metadata: {_say(calibration)}")


def _check(calibration: Calibration, part: Part, seen: np.ndarray, name: str) -> None:
    values = calibration.apply(seen[None, :, None, :])[0, :, 0]
    for band, row in zip(part.bands, values, strict=True):
        valid = row[np.isfinite(row)]
        if valid.size < _FEWEST:
            continue
        middle = float(np.median(valid))
        low, high = PLAUSIBLE[band.kind]
        if not low <= middle <= high:
            raise UnitError(
                f"Modality {name!r}: with scale and offset of the metadata ({_say(calibration)}) band {band.name} of "
                f"{part.origin} would have a middle value of {middle:.4g}, outside {low:g}..{high:g}. The pixels or the "
                f"metadata were changed; state the scale: load_scene(..., scale={{{name!r}: (scale, offset)}})."
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        power = calibration.to_db and not calibration.amplitude
        negative = power and bool(np.nanmedian(seen) < 0) if np.isfinite(seen).any() else False
    if negative:
        raise UnitError(
            f"Modality {name!r}: {part.origin} is said to hold linear power, but its numbers are negative, as decibels "
            f"are. State it: load_scene(..., scale={{{name!r}: (1, 0)}}) takes them as decibels."
        )


def _say(calibration: Calibration) -> str:
    pairs = list(dict.fromkeys(zip(calibration.scale, calibration.offset, strict=True)))
    text = ", ".join(f"x {s:.6g} {'+' if o >= 0 else '-'} {abs(o):.6g}" for s, o in pairs[:3])
    text += f" and {len(pairs) - 3} more" if pairs[3:] else ""
    text += ", amplitude squared" if calibration.amplitude else ""
    return text + (", linear power turned into dB" if calibration.to_db else "")
