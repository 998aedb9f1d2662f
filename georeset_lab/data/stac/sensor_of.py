"""Which sensor table an item belongs to, by what its properties say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from georeset_lab.data.sensors import SENSORS

if TYPE_CHECKING:
    import pystac


def sensor_of(item: pystac.Item) -> str | None:
    """Name in `SENSORS`, or None for a sensor without a table.

    The platform and the collection's id decide; of Sentinel-2 the level too (Level 2A unless something says 1C).
    """
    where = (item.collection_id or "").lower()
    said = item.properties
    platform = re.sub(r"[\s_]+", "-", str(said.get("platform") or said.get("constellation") or "").lower())
    name = _hls(where) or _elevation(where) or _satellite(platform, where, item)
    return name if name in SENSORS else None


def is_timeless(collection: str) -> bool:
    """Whether a collection is a terrain model, whose items have a date that means nothing."""
    return _elevation(collection.lower()) is not None


def _hls(where: str) -> str | None:
    found = re.search(r"hls[-_]?2?[-_]?([ls])30", where)
    return f"hls-{found[1]}30" if found else None


def _elevation(where: str) -> str | None:
    return "copernicus-dem" if re.search(r"(^|[^a-z])dem($|[^a-z])", where) else None


def _satellite(platform: str, where: str, item: pystac.Item) -> str | None:
    both = f"{platform} {where}"
    if found := re.search(r"sentinel-?2([abc])?", both):
        unit = re.search(r"sentinel-?2([abc])\b", platform)
        level = "l1c" if re.search(r"l1c|level-?1c", f"{where} {_level(item)}") else "l2a"
        return f"sentinel-2{unit[1] if unit else ''}-{level}"
    if re.search(r"sentinel-?1", both):
        return "sentinel-1-rtc" if re.search(r"rtc|nrb|gamma", where) else "sentinel-1-grd"
    if found := re.search(r"landsat-?0?([5789])", both):
        said = f"{where} {item.properties.get('landsat:correction', '')}".lower()
        return f"landsat-{found[1]}-l{1 if re.search(r'l1|level-?1', said) else 2}"
    if "enmap" in both:
        return "enmap-l2a"
    return None


def _level(item: pystac.Item) -> str:
    keys = ("processing:level", "s2:product_type", "s2:processing_level")
    return " ".join(str(item.properties.get(k, "")) for k in keys).lower().replace("s2msi1c", "l1c")
