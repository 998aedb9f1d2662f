"""Which modalities and dates of a scene are encoded. No pixels here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from georeset_lab.data.modality import Modality
from georeset_lab.data.scene import Scene
from georeset_lab.errors import InvalidOption, UnknownModality

_LEVELS = ("l1", "l1c", "l2", "l2a", "grd", "rtc")
"""Processing levels, lower before higher within a family."""


def chosen(scene: Scene, names: Sequence[str] | None) -> tuple[Scene, list[str]]:
    """The modalities to encode, and a sentence for each that was left out.

    With ``names`` exactly these. Else all but the lower of two levels of the same acquisitions: Sentinel-2 L1C and L2A
    of a day are one measurement, and fusing both would count it twice.

    Raises
    ------
    UnknownModality
        A name is not in the scene, or there is nothing to encode.
    """
    if names is not None:
        if isinstance(names, str):
            names = [names]
        part = scene.only(*dict.fromkeys(names))
        notes = []
    else:
        better = {name: _better(name, scene) for name in scene}
        part = scene.only(*(name for name, other in better.items() if other is None))
        notes = [
            f"{name!r} left out: {other!r} is a higher level of the same acquisitions. Name both to have both."
            for name, other in better.items()
            if other is not None
        ]
    if not part.modalities:
        raise UnknownModality(
            f"There is nothing to encode: scene {scene.name!r} has {', '.join(scene) or 'no modality'}."
        )
    return part, notes


def by_date(scene: Scene) -> dict[np.datetime64, dict[str, list[int]]]:
    """Which dates of which modality belong to each day, in order; layers without a date belong to every day.

    Raises
    ------
    InvalidOption
        No modality has a date.
    """
    days = {name: m.times.astype("datetime64[D]") for name, m in scene.modalities.items()}
    every = sorted({day for d in days.values() for day in d[~np.isnat(d)]})
    if not every:
        raise InvalidOption("per='date' needs a modality with dates; this scene has none. Leave per= out.")
    return {
        day: {
            name: np.flatnonzero((d == day) | np.isnat(d)).tolist()
            for name, d in days.items()
            if ((d == day) | np.isnat(d)).any()
        }
        for day in every
    }


def _better(name: str, scene: Scene) -> str | None:
    """Another modality that is a higher level of the same acquisitions."""
    family, level = _family(scene[name])
    for other, modality in scene.modalities.items():
        if other != name and family is not None:
            family_2, level_2 = _family(modality)
            if family_2 == family and level_2 > level and _same_days(scene[name], modality):
                return other
    return None


def _family(modality: Modality) -> tuple[str | None, int]:
    """Sensor family ("sentinel-2" for 2A, 2B and 2C alike) and rank of the processing level."""
    family, _, level = (modality.sensor or "").rpartition("-")
    if level not in _LEVELS:
        return None, -1
    if family[-1:] in "abc" and family[-2:-1].isdigit():
        family = family[:-1]
    return family, _LEVELS.index(level)


def _same_days(one: Modality, other: Modality) -> bool:
    """True if the days agree, or are unknown."""
    a, b = (m.times.astype("datetime64[D]") for m in (one, other))
    if np.isnat(a).all() or np.isnat(b).all():
        return True
    return set(a[~np.isnat(a)]) == set(b[~np.isnat(b)])
