"""Modalities of a STAC source: found, read as pieces, and put together like those of files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Modality
from georeset_lab.data.readers.assemble import Wish, build_modality
from georeset_lab.data.sensors import Sensor, sensor
from georeset_lab.data.stac.load import Found, find_modalities, kept_note
from georeset_lab.data.stac.pieces import pieces_of_days


def stac_modalities(
    source: Any,
    collection: str | Sequence[str] | Mapping[str, str] | None,
    bbox: tuple[float, float, float, float] | None,
    asked: Any,
    *,
    usual_name: Callable[[Sensor], str],
    specs_of: Callable[[Any, Sensor | None, str], list[BandSpec] | None],
) -> dict[str, Modality]:
    """Modalities of a STAC source by name, lazy, each on its own grid.

    Parameters
    ----------
    source, collection, bbox
        See `georeset_lab.data.load.load_scene`.
    asked : Asked
        Its other arguments.
    usual_name, specs_of
        How `load_scene` names the modality of a sensor, and reads its ``bands=``.

    Raises
    ------
    GeoresetError
        See `find_modalities`, `pieces_of_days` and `build_modality`.
    """
    found = find_modalities(source, collection=collection, bbox=bbox, time=asked.time)
    names = _names_of(found, usual_name)
    asked.check(names)
    modalities = {name: _build(name, part, bbox, asked, specs_of) for name, part in zip(names, found, strict=True)}
    kept = kept_note(found)
    return {name: modality.with_notes(*kept) for name, modality in modalities.items()}


def title_of(source: Any) -> str:
    """Name of the scene: that of the catalogue or of the file."""
    return str(source).rstrip("/").rpartition("/")[2].partition("?")[0] if isinstance(source, str) else "scene"


def _build(name: str, part: Found, bbox: Any, asked: Any, specs_of: Callable[..., Any]) -> Modality:
    wanted = asked.of("sensors", name) or part.sensor
    known = sensor(wanted) if wanted is not None else None
    specs = specs_of(asked.of("bands", name), known, name)
    read = pieces_of_days(part.days, known, specs, bbox, name=name, from_network=part.from_network, chunks=asked.chunks)
    described = None if known is not None else specs or read.specs
    wish = Wish(name, known, described, asked.of("scale", name), (*part.notes, *read.notes))
    return build_modality(read.pieces, wish)


def _names_of(found: Sequence[Found], usual_name: Callable[[Sensor], str]) -> list[str]:
    """Modality names: as given, else usual for the sensor, else the collection's id; never the same twice."""
    names: list[str] = []
    for part in found:
        name = part.name or (part.collection if part.sensor is None else usual_name(sensor(part.sensor)))
        if name in names and part.collection not in names:
            name = part.collection
        while name in names:
            name += "_2"
        names.append(name)
    return names
