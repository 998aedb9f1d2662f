"""What each band of an item measures and how it is stored, as the item's metadata say.

Read are ``eo:bands`` with ``raster:bands`` (STAC 1.0) and ``bands`` with ``eo:`` and ``raster:`` fields (STAC 1.1), at
the band or at the asset. The measurement of a sensor that has a table is the table's (spectral responses, not the
rounded figures of catalogues); the metadata then say which band is which. Nothing is fetched here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from georeset_lab.data.bands import BandSpec, Kind
from georeset_lab.data.readers.naming import quality_kind
from georeset_lab.data.sensors import Sensor
from georeset_lab.data.stac.choose import baseline_of
from georeset_lab.data.stac.driver import BAND_MARK
from georeset_lab.data.stac.remote_file import checked_href
from georeset_lab.errors import GeoresetError

if TYPE_CHECKING:
    import pystac

COMMON_UM: Mapping[str, tuple[float, float]] = {
    "coastal": (0.40, 0.45), "blue": (0.45, 0.53), "green": (0.51, 0.60), "yellow": (0.585, 0.625), "pan": (0.40, 1.00),
    "red": (0.62, 0.69), "rededge": (0.69, 0.79), "rededge071": (0.69, 0.73), "rededge075": (0.73, 0.76),
    "rededge078": (0.76, 0.79), "nir": (0.76, 1.00), "nir08": (0.80, 0.90), "nir09": (0.90, 1.00),
    "cirrus": (1.35, 1.40), "swir16": (1.55, 1.75), "swir22": (2.08, 2.35), "lwir": (10.4, 12.5),
    "lwir11": (10.5, 11.5), "lwir12": (11.5, 12.5),
}  # fmt: skip
"""Range of each common name in micrometres; source: STAC Electro-Optical extension, table of common band names."""

_PICTURES = {
    "visual",
    "overview",
    "thumbnail",
    "preview",
    "rendered_preview",
    "tilejson",
    "tci",
    "true_color",
    "browse",
}
_THERMAL_UM = 3.5


@dataclass(frozen=True)
class Column:
    """One band or quality layer of one item."""

    name: str
    """Name of the band in the modality."""
    href: str
    """Address of the asset, with the number of the band after `BAND_MARK` if it is not the first."""
    spec: BandSpec | None = None
    """What it measures; None for a quality layer."""
    stated: tuple[float, float] | None = None
    """Scale and offset, where the metadata state them."""
    nodata: float | None = None
    dtype: str | None = None
    proj: tuple[Any, ...] = ()
    """CRS, shape and six numbers of the transform, where the metadata state all three."""


def columns_of(
    item: pystac.Item, sensor: Sensor | None, wanted: Sequence[BandSpec] | None, *, from_network: bool
) -> tuple[dict[str, Column], list[str]]:
    """Bands and quality layers of an item by name, and notes on what was left out or decided.

    Parameters
    ----------
    sensor : Sensor, optional
        Table that says what the bands measure; without one the metadata must.
    wanted : sequence of BandSpec, optional
        Only these bands, found by their names; with a sensor by the table's names.

    Raises
    ------
    UnitError
        The metadata give a wavelength that cannot be micrometres.
    """
    found: dict[str, Column] = {}
    notes: list[str] = []
    for key, asset in sorted(item.assets.items(), key=lambda pair: _rank(pair[1])):
        if not _is_raster(key, asset):
            continue
        entries = band_entries(asset)
        for number, entry in enumerate(entries, 1):
            names = _names(key, entry, alone=len(entries) == 1)
            kind = next((k for n in names if (k := quality_kind(n, sensor))), None)
            spec = None if kind else _spec(names, entry, sensor, wanted, item)
            if spec is None and kind is None:
                continue
            name = spec.name if spec is not None else names[0]
            if name in found:
                continue  # the same band in another format
            try:
                href = checked_href(_href(asset), from_network=from_network)
            except GeoresetError as err:
                notes.append(f"{name} left out: {err}")
                continue
            stated, why = _stated(entry, item, sensor, spec)
            notes += [why] if why else []
            marked = href if number == 1 and len(entries) == 1 else f"{href}{BAND_MARK}{number}"
            found[name] = Column(
                name, marked, spec, stated, _number(entry, "nodata"), entry.get("data_type"), _proj(asset, item)
            )
    return found, list(dict.fromkeys(notes))


def band_entries(asset: pystac.Asset) -> list[dict[str, Any]]:
    """Metadata of each band of an asset, old and new forms merged, keys without their prefixes.

    Examples
    --------
    >>> import pystac
    >>> old = {"eo:bands": [{"name": "B04", "center_wavelength": 0.665}], "raster:bands": [{"scale": 0.0001}]}
    >>> new = {"bands": [{"name": "B04", "eo:center_wavelength": 0.665, "raster:scale": 0.0001}]}
    >>> band_entries(pystac.Asset("a.tif", extra_fields=old)) == band_entries(pystac.Asset("a.tif", extra_fields=new))
    True
    """
    fields = asset.extra_fields
    lists = [fields.get(k) or [] for k in ("bands", "eo:bands", "raster:bands")]
    own = _unprefixed({k: v for k, v in fields.items() if not isinstance(v, list | dict)})
    count = max(1, *(len(entries) for entries in lists))
    merged = []
    for i in range(count):
        entry = dict(own)
        for entries in lists:
            if i < len(entries) and isinstance(entries[i], Mapping):
                entry |= _unprefixed(entries[i])
        merged.append(entry)
    return merged


def _unprefixed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {re.sub(r"^(eo|raster):", "", str(k)): v for k, v in fields.items()}


def _rank(asset: pystac.Asset) -> int:
    """GeoTIFF before JPEG 2000: it is read in smaller parts."""
    return 1 if "jp2" in (asset.media_type or "").lower() or asset.href.lower().endswith(".jp2") else 0


def _is_raster(key: str, asset: pystac.Asset) -> bool:
    roles = {r.lower() for r in asset.roles or ()}
    picture = bool(roles & {"thumbnail", "overview", "visual", "metadata"}) and "data" not in roles
    if picture or key.lower() in _PICTURES:
        return False
    kind, path = (asset.media_type or "").lower(), asset.href.lower().partition("?")[0]
    if kind and not kind.startswith("image/"):
        return False
    return "tiff" in kind or "jp2" in kind or path.endswith((".tif", ".tiff", ".jp2"))


def _names(key: str, entry: Mapping[str, Any], *, alone: bool) -> list[str]:
    """Names under which a band may be known, the surest first."""
    named = [str(entry[k]) for k in ("name", "common_name") if entry.get(k)]
    return list(dict.fromkeys([key, *named] if alone else named))


def _spec(
    names: Sequence[str],
    entry: Mapping[str, Any],
    sensor: Sensor | None,
    wanted: Sequence[BandSpec] | None,
    item: pystac.Item,
) -> BandSpec | None:
    if sensor is not None:
        found = next((b for n in names if (b := sensor.find(n)) is not None), None)
        if found is None and len(sensor.bands) == 1 and names and names[0] in ("data", "elevation", "dem"):
            found = sensor.bands[0]
        return found if found is None or wanted is None or found.name in {b.name for b in wanted} else None
    if wanted is not None:
        lower = [n.lower() for n in names]
        return next((b for b in wanted if b.name.lower() in lower), None)
    return measured(
        names, entry, float(entry.get("spatial_resolution") or entry.get("gsd") or item.properties.get("gsd") or 0)
    )


def measured(names: Sequence[str], entry: Mapping[str, Any], gsd_m: float) -> BandSpec | None:
    """What a band without a sensor table measures; None if the metadata do not give a wavelength.

    A missing width is that of the band's common name, else a tenth of the wavelength.
    """
    usual = COMMON_UM.get(str(entry.get("common_name", "")))
    centre, width = _number(entry, "center_wavelength"), _number(entry, "full_width_half_max")
    if centre is None and usual is None:
        return None
    if centre is None and usual is not None:
        centre = sum(usual) / 2
    if centre is None:
        return None
    if width is None:
        width = usual[1] - usual[0] if usual is not None else centre / 10
    name = str(entry.get("name") or names[0])
    kind: Kind = "temperature" if _THERMAL_UM < centre < 100 else "reflectance"
    return BandSpec(name, round(centre, 6), round(width, 6), gsd_m or 1e-3, kind=kind)


def _stated(
    entry: Mapping[str, Any], item: pystac.Item, sensor: Sensor | None, spec: BandSpec | None
) -> tuple[tuple[float, float] | None, str]:
    """Scale and offset of a band and, where more than the raster extension decided, why."""
    scale, offset = _number(entry, "scale"), _number(entry, "offset")
    stated = None if scale is None and offset is None else (1.0 if scale is None else scale, offset or 0.0)
    if spec is None or sensor is None:
        return stated, ""
    if re.fullmatch(r"landsat-\d-l1", sensor.name):
        return None, ""  # Level 1 still has to be divided by the sine of the sun's elevation
    if not sensor.name.startswith("sentinel-2"):
        return stated, ""
    said = item.properties
    applied = said.get("earthsearch:boa_offset_applied", said.get("sentinel:boa_offset_applied"))
    factor = stated[0] if stated is not None and stated[0] != 1 else 1e-4
    if applied is True:
        return (factor, 0.0), "the catalogue says that it has removed the offset of baseline 04.00 (boa_offset_applied)"
    if offset is not None:
        return stated, ""
    baseline = baseline_of(item)
    if baseline is None:
        return stated, ""
    return (factor, -0.1 if baseline >= 4 else 0.0), f"offset by processing baseline {baseline:05.2f}"


def _number(entry: Mapping[str, Any], key: str) -> float | None:
    value = entry.get(key)
    if isinstance(value, str):
        value = {"nan": float("nan"), "inf": None, "-inf": None}.get(value.lower(), value)
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _href(asset: pystac.Asset) -> str:
    """Absolute address; an alternate one over https if the main one is in other storage."""
    href = asset.get_absolute_href() or asset.href
    if re.match(r"(https?|file)://|/|[A-Za-z]:[\\/]", href):
        return href
    others = asset.extra_fields.get("alternate")
    if "://" in href and isinstance(others, Mapping):
        for other in others.values():
            if isinstance(other, Mapping) and str(other.get("href", "")).startswith("https://"):
                return str(other["href"])
    return href


def _proj(asset: pystac.Asset, item: pystac.Item) -> tuple[Any, ...]:
    """CRS, shape and transform by the projection extension, at the asset or else at the item; empty if incomplete."""
    said = {**item.properties, **asset.extra_fields}
    crs = said.get("proj:code") or (f"EPSG:{said['proj:epsg']}" if said.get("proj:epsg") else None)
    crs = crs or said.get("proj:wkt2")
    shape, transform = _numbers(said.get("proj:shape")), _numbers(said.get("proj:transform"))
    if not isinstance(crs, str) or len(shape) != 2 or len(transform) not in (6, 9):
        return ()
    return (crs, (int(shape[0]), int(shape[1])), transform[:6])


def _numbers(values: Any) -> tuple[float, ...]:
    good = isinstance(values, Sequence) and all(isinstance(v, int | float) for v in values)
    return tuple(float(v) for v in values) if good else ()
