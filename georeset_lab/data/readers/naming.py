"""What the columns of a file are: bands of a sensor, a quality layer, or something to leave out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.readers.piece import Piece
from georeset_lab.data.sensors import Sensor
from georeset_lab.errors import BandMismatch, BandsAssumed

QUALITY = {
    "scl": "scl",
    "qa_pixel": "qa_pixel",
    "qa-pixel": "qa_pixel",
    "pixel_qa": "pixel_qa",
    "bqa": "bqa",
    "fmask": "fmask",
    "qa60": "qa60",
    "cloud_mask": "mask",
    "cloudmask": "mask",
    "clm": "mask",
}
"""Names of quality layers in lower case, and the way each is read."""

_SPLIT = re.compile(r"[\s/:;,()]+|(?<=[A-Za-z0-9])[_-](?=[A-Za-z0-9])")


@dataclass(frozen=True)
class Columns:
    """What each column of a piece is."""

    bands: dict[int, BandSpec]
    quality: dict[int, str]
    ignored: tuple[str, ...]
    assumed: bool = False


def sort_columns(piece: Piece, sensor: Sensor | None, bands: Sequence[BandSpec] | None, name: str) -> Columns:
    """Tell bands, quality layers and the rest apart.

    Raises
    ------
    BandMismatch
        Names and numbers of columns fit neither the sensor nor the given bands.
    """
    quality = {i: kind for i, n in enumerate(piece.names) if n and (kind := quality_kind(n, sensor))}
    quality |= dict(piece.quality)
    rest = [i for i in range(len(piece.names)) if i not in quality]
    if not rest:
        return Columns({}, quality, ())
    if bands is not None:
        return _given(piece, rest, bands, quality, name)
    own = {i: f.spec for i in rest if (f := piece.facts[i]) is not None and f.spec is not None}
    certain = bool(own) and all(f is not None and f.units for f in piece.facts)
    if own and (sensor is None or certain):
        return _as_stated(piece, rest, own, quality)
    if sensor is None:
        raise BandMismatch(
            f"Modality {name!r} has no sensor; pass sensors={{{name!r}: ...}} or bands=[BandSpec(...), ...]."
        )
    if len(sensor.bands) == 1 and len(rest) == 1:
        return Columns({rest[0]: sensor.bands[0]}, quality, ())
    named = {i: piece.names[i] for i in rest if piece.names[i] is not None}
    if not named:
        return _as_stated(piece, rest, own, quality) if own else _in_order(piece, rest, sensor, quality, name)
    found = {i: spec for i, text in named.items() if (spec := band_named(sensor, str(text)))}
    if own and not found:
        return _as_stated(piece, rest, own, quality)
    ignored = tuple(str(piece.names[i] or f"column {i + 1}") for i in rest if i not in found)
    return Columns(found, quality, ignored)


def no_band(pieces: Sequence[Piece], sensor: Sensor | None, name: str) -> BandMismatch:
    """Error for a source none of whose columns is a band."""
    names = [n or "?" for p in pieces for n in p.names]
    known = f"{sensor.name} has ({_some(list(sensor.band_names))})" if sensor else "the given BandSpecs name"
    return BandMismatch(
        f"Modality {name!r}: {pieces[0].origin} names its bands {_some(names)}, none of which is one that {known}. "
        "Pass bands=[BandSpec(...), ...], one for each."
    )


def quality_kind(name: str, sensor: Sensor | None) -> str | None:
    """How a column of this name is read as a mask; None if it is no quality layer."""
    own = {k.lower(): v for k, v in sensor.qa.items()} if sensor is not None else {}
    for text in _readings(name):
        kind = own.get(text.lower()) or QUALITY.get(text.lower())
        if kind:
            return kind
    return None


def band_named(sensor: Sensor, name: str) -> BandSpec | None:
    """Band of a sensor that a written name stands for, such as ``B04``, ``S2-L2A-B04``, ``VV_dB`` or ``B4 red``."""
    return next((band for text in _readings(name) if (band := sensor.find(text)) is not None), None)


def _readings(name: str) -> list[str]:
    """The name, its last and its first part: ``S2-L2A-B04`` ends with the band, ``VV_dB`` begins with it."""
    text = name.strip()
    parts = [p for p in _SPLIT.split(text) if p]
    return list(dict.fromkeys([text, *(parts[-1:] + parts[:1] if len(parts) > 1 else [])]))


def _as_stated(piece: Piece, rest: list[int], own: dict[int, BandSpec], quality: dict[int, str]) -> Columns:
    """Bands as the source itself describes them; what it calls bad or does not describe is left out."""
    return Columns(own, quality, tuple(str(piece.names[i] or f"column {i + 1}") for i in rest if i not in own))


def _given(piece: Piece, rest: list[int], bands: Sequence[BandSpec], quality: dict[int, str], name: str) -> Columns:
    wanted = {b.name.lower(): b for b in bands}
    named = {i: wanted[n.lower()] for i in rest if (n := piece.names[i]) and n.lower() in wanted}
    if len(named) == len(rest):
        return Columns(named, quality, ())
    if len(bands) == len(rest):
        return Columns(dict(zip(rest, bands, strict=True)), quality, ())
    if named:
        ignored = tuple(str(piece.names[i] or f"column {i + 1}") for i in rest if i not in named)
        return Columns(named, quality, ignored)
    raise BandMismatch(
        f"Modality {name!r}: {piece.origin} has {len(rest)} bands ({_some([piece.names[i] or '?' for i in rest])}) but "
        f"{len(bands)} BandSpecs were given ({_some([b.name for b in bands])}). Pass bands= with one BandSpec for "
        "each band."
    )


def _in_order(piece: Piece, rest: list[int], sensor: Sensor, quality: dict[int, str], name: str) -> Columns:
    if len(rest) != len(sensor.bands):
        raise BandMismatch(
            f"Modality {name!r}: {piece.origin} has {len(rest)} bands without names, {sensor.name} has "
            f"{len(sensor.bands)} ({_some(list(sensor.band_names))}). Pass bands=[...] with one BandSpec for each "
            "band of the "
            f'file, e.g. bands={{{name!r}: sensor("{sensor.name}").bands[:{len(rest)}]}}.'
        )
    warnings.warn(
        f"Modality {name!r}: {piece.origin} does not name its {len(rest)} bands; they are taken in the order of "
        f"{sensor.name}: {', '.join(sensor.band_names)}. Pass bands=[...] if the order is another.",
        BandsAssumed,
        stacklevel=2,
    )
    return Columns(dict(zip(rest, sensor.bands, strict=True)), quality, (), assumed=True)


def _some(names: Sequence[object], most: int = 16) -> str:
    shown = ", ".join(str(n) for n in names[:most])
    return shown + (f", ... ({len(names)} in all)" if len(names) > most else "")
