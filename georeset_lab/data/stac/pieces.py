"""Chosen items become `Piece`s: the same dates, storage and pixel size in each, native grids, quality layers apart."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.grids import crs_name, pixel_size_m
from georeset_lab.data.readers.naming import quality_kind
from georeset_lab.data.readers.piece import Piece
from georeset_lab.data.sensors import Sensor
from georeset_lab.data.stac.assets import Column, columns_of
from georeset_lab.data.stac.choose import Day
from georeset_lab.data.stac.grid_of import common_grid, described, main_grids
from georeset_lab.data.stac.http import plain
from georeset_lab.data.stac.pixels import StacReader
from georeset_lab.errors import BandMismatch, Reprojected, SceneReadError

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox
    from odc.geo.geom import Geometry

_AT_ONCE = 8
_QUALITY_FILL = {"scl": 0, "qa_pixel": 1, "pixel_qa": 1, "fmask": 255, "qa_radsat": 0, "qa60": 0, "mask": 0}
"""Number of each kind of quality layer that says "no data", for ground that no item covers."""


@dataclass(frozen=True, eq=False)
class Read:
    """Pieces of one modality and what they measure."""

    pieces: list[Piece]
    specs: tuple[BandSpec, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Entry:
    """One band of one item with its grid."""

    day: int
    item: pystac.Item
    column: Column
    grid: GeoBox


def pieces_of_days(
    days: Sequence[Day],
    sensor: Sensor | None,
    wanted: Sequence[BandSpec] | None,
    bbox: Sequence[float] | None,
    *,
    name: str,
    from_network: bool,
    chunks: int | None = None,
) -> Read:
    """Pieces of one modality, lazy.

    Parameters
    ----------
    name : str
        Modality, for messages.
    from_network : bool
        Whether the items come from the network, and so may not name local files.

    Raises
    ------
    BandMismatch
        The items have none of the bands.
    SceneReadError, MissingCRS, OutsideScene
        See the modules that read.
    """
    entries, notes = _entries(days, sensor, wanted, from_network)
    specs = {e.column.name: e.column.spec for e in entries if e.column.spec is not None}
    if not specs:
        raise _no_band(days, sensor, name, notes)
    notes += _incomplete(entries, days)
    ground = _ground(bbox)
    grids = _grids(entries, ground, name, notes)
    pieces = []
    for key, group in _grouped(entries).items():
        pieces.append(_piece(group, days, grids[key[0]], sensor, chunks))
    return Read(pieces, tuple(specs.values()), tuple(dict.fromkeys(notes)))


def _entries(
    days: Sequence[Day], sensor: Sensor | None, wanted: Sequence[BandSpec] | None, from_network: bool
) -> tuple[list[_Entry], list[str]]:
    found: list[tuple[int, pystac.Item, Column]] = []
    notes: list[str] = []
    for number, day in enumerate(days):
        for item in day.items:
            columns, said = columns_of(item, sensor, wanted, from_network=from_network)
            notes += said
            found += [(number, item, column) for column in columns.values()]
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # most of the time is waiting for headers
        full = list(pool.map(described, [column for _, _, column in found]))
    return [_Entry(n, item, column, grid) for (n, item, _), (column, grid) in zip(found, full, strict=True)], notes


def _incomplete(entries: Sequence[_Entry], days: Sequence[Day]) -> list[str]:
    """Notes on bands that some items lack: their pixels are missing there."""
    have: dict[str, set[str]] = {}
    for e in entries:
        have.setdefault(e.column.name, set()).add(e.item.id)
    count = len({i.id for d in days for i in d.items})
    return [f"{name} missing in {count - len(ids)} of {count} items" for name, ids in have.items() if len(ids) < count]


def _size_of(entry: _Entry) -> float:
    return round(pixel_size_m(entry.grid), 2)


def _grids(entries: Sequence[_Entry], ground: Geometry | None, name: str, notes: list[str]) -> dict[str, GeoBox]:
    """Grid of each column: native pixels, all covering the ground that the coarsest covers."""
    by_name: dict[str, list[_Entry]] = {}
    for e in entries:
        by_name.setdefault(e.column.name, []).append(e)
    coarsest = max(by_name.values(), key=lambda group: _size_of(group[0]))
    whole = common_grid([e.grid for e in coarsest], ground)
    main = main_grids([e.grid for e in coarsest])[0]
    others = sorted({crs_name(e.grid.crs) for e in entries if e.grid.crs != main.crs})
    if others:
        note = f"items in {', '.join(others)} resampled to {crs_name(main.crs)}, nearest pixel"
        notes.append(note)
        warnings.warn(f"Modality {name!r}: {note}.", Reprojected, stacklevel=6)
    grids = {}
    for column, group in by_name.items():
        fitting = [e.grid for e in group if e.grid.crs == main.crs] or [e.grid for e in group]
        grids[column] = whole if group is coarsest else common_grid(fitting, whole.extent)
    return grids


def _grouped(entries: Sequence[_Entry]) -> dict[tuple[Any, ...], list[_Entry]]:
    """Entries that make one piece: a band, or quality layer, stored in one way."""
    groups: dict[tuple[Any, ...], list[_Entry]] = {}
    for e in entries:
        c = e.column
        groups.setdefault((c.name, c.stated, c.nodata, c.dtype), []).append(e)
    return groups


def _piece(
    group: Sequence[_Entry], days: Sequence[Day], grid: GeoBox, sensor: Sensor | None, chunks: int | None
) -> Piece:
    column = group[0].column
    used = sorted({e.day for e in group})
    layers = [[[e.column.href for e in group if e.day == day]] for day in used]
    fill, dtype = _fill(column, sensor)
    reader = StacReader(layers, grid, dtype, fill)
    first = group[0].item
    more = f" and {len(group) - 1} more" if len(group) > 1 else ""
    return Piece(
        raw=reader.lazy(chunks),
        grid=grid,
        names=(column.name,),
        times=np.array([days[d].moment.replace(tzinfo=None) for d in used], dtype="datetime64[ns]"),
        origin=f"{plain(column.href)}{more}",
        stated=(column.stated if column.spec is not None else None,),
        nodata=None if np.isnan(fill) else float(fill),
        tags=_tags(first),
    )


def _fill(column: Column, sensor: Sensor | None) -> tuple[float, np.dtype]:
    """Number that means "not measured" and the type to read into, so that ground without items is never a value.

    Where nothing names such a number, integers are read as floating point, which has one.
    """
    dtype = np.dtype(column.dtype or "float32")
    if dtype.kind == "c":
        raise SceneReadError(f"{column.href} holds complex numbers (single-look radar). Choose a detected product.")
    if column.spec is None:
        kind = quality_kind(column.name, sensor) or "mask"
        return float(column.nodata if column.nodata is not None else _QUALITY_FILL.get(kind, 0)), dtype
    if column.nodata is not None and (dtype.kind == "f" or not np.isnan(column.nodata)):
        return float(column.nodata), dtype
    if dtype.kind == "f":
        return float("nan"), dtype
    known = sensor.encodings[0].nodata if sensor is not None and sensor.encodings else None
    if known is not None and np.iinfo(dtype).min <= known <= np.iinfo(dtype).max:
        return float(known), dtype
    return float("nan"), np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)


def _tags(item: pystac.Item) -> dict[str, str]:
    elevation = item.properties.get("view:sun_elevation")
    return {} if elevation is None else {"SUN_ELEVATION": str(elevation)}


def _ground(bbox: Sequence[float] | None) -> Geometry | None:
    from odc.geo.geom import polygon

    if bbox is None:
        return None
    west, south, east, north = map(float, bbox)
    if east < west:
        east += 360
    along, up = np.linspace(west, east, 33), np.linspace(south, north, 33)
    ring = [(x, south) for x in along] + [(east, y) for y in up]
    ring += [(x, north) for x in along[::-1]] + [(west, y) for y in up[::-1]]
    return polygon([(float(x), float(y)) for x, y in ring], crs="EPSG:4326")


def _no_band(days: Sequence[Day], sensor: Sensor | None, name: str, notes: Sequence[str]) -> BandMismatch:
    assets = list(dict.fromkeys(k for d in days for i in d.items for k in i.assets))
    known = f"that is a band of {sensor.name}" if sensor else "whose metadata give a wavelength (eo:bands or bands)"
    why = f" {'; '.join(notes[:3])}." if notes else ""
    return BandMismatch(
        f"Modality {name!r}: of the assets {', '.join(assets)} there is none {known}.{why} Pass sensors= or "
        "bands=[BandSpec(...)], named as the assets."
    )
