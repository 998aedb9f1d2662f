"""A STAC source taken apart into modalities: items found, dates chosen, bands made pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from georeset_lab.data.stac.cache import cache_info, prune_cache
from georeset_lab.data.stac.choose import Day, choose_days, parse_time
from georeset_lab.data.stac.sensor_of import is_timeless, sensor_of
from georeset_lab.data.stac.source import Origin, find_items, require_stac
from georeset_lab.errors import InvalidOption

_LONGEST_NOTE = 6


@dataclass(frozen=True, eq=False)
class Found:
    """Items that make one modality."""

    days: tuple[Day, ...]
    collection: str
    from_network: bool
    name: str | None = None
    """Modality, if the caller named it."""
    sensor: str | None = None
    """Name of the sensor's table, if the items say which."""
    notes: tuple[str, ...] = ()


def find_modalities(
    source: Any,
    *,
    collection: str | Sequence[str] | Mapping[str, str] | None,
    bbox: tuple[float, float, float, float] | None,
    time: Any,
) -> list[Found]:
    """Items of each modality of a scene, the dates chosen.

    Parameters
    ----------
    source, collection, bbox, time
        See `georeset_lab.data.load.load_scene`.

    Raises
    ------
    MissingExtra
        pystac-client or odc-stac is not installed.
    InvalidOption, NothingObserved, RemoteError, SceneReadError
        See `find_items` and `choose_days`.
    """
    require_stac()
    prune_cache()
    _check_box(bbox)
    found: list[Found] = []
    near: datetime | None = None
    for name, wanted in _wanted(collection):
        timeless = wanted is not None and is_timeless(wanted)
        when = _time_of(time, name)
        period = parse_time(None if timeless else when)
        origin = find_items(source, wanted, bbox, period.interval)
        if origin.searched and not period.spans and not timeless:
            raise InvalidOption(
                f'{origin.name} reaches back years: pass time="2024-06" for the clearest date of a month, or '
                'time=("2024-06-01", "2024-08-31") for all dates of a span.'
            )
        for items, held_in, sensor in _split(origin, wanted):
            no_time = timeless or is_timeless(held_in)
            days, notes = choose_days(items, parse_time(None if no_time else when), bbox, near=near)
            near = near if no_time else near or days[0].moment
            said = (*notes, *_provenance(origin, held_in, days))
            found.append(Found(tuple(days), held_in, origin.from_network, name, sensor, said))
    return found


def kept_note(found: Sequence[Found]) -> tuple[str, ...]:
    """Where fetched bytes are kept, if something came over the network."""
    return (f"kept on disk: {cache_info()}",) if any(f.from_network for f in found) else ()


def _wanted(collection: str | Sequence[str] | Mapping[str, str] | None) -> list[tuple[str | None, str | None]]:
    """Name of the modality and collection, as far as they are given."""
    if isinstance(collection, Mapping):
        return [(str(k), str(v)) for k, v in collection.items()]
    if collection is None or isinstance(collection, str):
        return [(None, collection)]
    if not collection:
        raise InvalidOption("collection= is an empty list; name at least one collection.")
    return [(None, str(c)) for c in collection]


def _time_of(time: Any, name: str | None) -> Any:
    """Time asked for one modality; a dict goes by the names in a dict ``collection=``."""
    if not isinstance(time, Mapping):
        return time
    if name is None or name not in time:
        raise InvalidOption(
            f"time= is a dict for {', '.join(map(repr, time))}: name the modalities in collection= too, for example "
            'collection={"s2": "sentinel-2-l2a"}, time={"s2": "2024-06"}.'
        )
    return time[name]


def _split(origin: Origin, wanted: str | None) -> list[tuple[list[Any], str, str | None]]:
    """Items, collection and sensor of each modality; satellites of one kind stay together."""
    groups: dict[tuple[str, str | None], list[tuple[Any, str | None]]] = {}
    for item in origin.items:
        sensor = sensor_of(item)
        key = (item.collection_id or wanted or item.id, _family(sensor))
        groups.setdefault(key, []).append((item, sensor))
    parts = []
    for (held_in, family), pairs in groups.items():
        exact = {sensor for _, sensor in pairs}
        parts.append(([item for item, _ in pairs], held_in, exact.pop() if len(exact) == 1 else family))
    return parts


def _family(sensor: str | None) -> str | None:
    """Table for several satellites of one kind: Sentinel-2A and B, Landsat 8 and 9."""
    if sensor is None:
        return None
    for unit in "abc":
        sensor = sensor.replace(f"sentinel-2{unit}-", "sentinel-2-")
    return sensor.replace("landsat-9-", "landsat-8-")


def _provenance(origin: Origin, collection: str, days: Sequence[Day]) -> list[str]:
    ids = [i.id for d in days for i in d.items]
    shown = ", ".join(ids[:_LONGEST_NOTE]) + (f", ... ({len(ids)} in all)" if len(ids) > _LONGEST_NOTE else "")
    return [f"{collection} of {origin.name}: {shown}"]


def _check_box(bbox: Any) -> None:
    if bbox is None:
        return
    try:
        west, south, east, north = map(float, bbox)
    except (TypeError, ValueError):
        west, south, east, north = 0.0, 1.0, 0.0, 0.0
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90 and west != east):
        raise InvalidOption(
            f"bbox={bbox!r} is no box on Earth; give (west, south, east, north) in degrees with south < north."
        )
