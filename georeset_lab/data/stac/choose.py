"""Which of the items found make a scene: those of the least cloudy date, or of all dates in a span.

Items of one pass over a place (one solar day) belong together. Of two versions of one acquisition the later is taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from georeset_lab.errors import InvalidOption, NothingObserved

if TYPE_CHECKING:
    import pystac


@dataclass(frozen=True)
class Period:
    """The time asked for."""

    spans: tuple[tuple[datetime, datetime], ...]
    """First and last moment of each span, UTC; empty for any time."""
    one: bool
    """Whether one date is to be chosen, rather than all taken."""

    @property
    def interval(self) -> str | None:
        """As the item search of a STAC API takes it; the smallest that holds all spans."""
        if not self.spans:
            return None
        start, end = min(s for s, _ in self.spans), max(e for _, e in self.spans)
        return f"{start:%Y-%m-%dT%H:%M:%SZ}/{end:%Y-%m-%dT%H:%M:%SZ}"

    def holds(self, moment: datetime) -> bool:
        """Whether a moment lies in one of the spans."""
        return not self.spans or any(s <= moment <= e for s, e in self.spans)


@dataclass(frozen=True, eq=False)
class Day:
    """Items of one pass over the place."""

    moment: datetime
    items: tuple[pystac.Item, ...]
    covered: float
    """Share of the box that they cover, 0 to 1; 1 without a box."""
    cloud: float | None
    """Share of cloud, 0 to 100, as the items say of their whole tiles; None if they do not."""

    @property
    def clear(self) -> float:
        """Share of the box that is covered and, as far as known, clear."""
        return self.covered * (1 - (self.cloud or 0.0) / 100)


def parse_time(time: Any) -> Period:
    """The time asked for.

    Parameters
    ----------
    time : str, date, (start, end), list of str, or None
        A string is a day, month or year of which one date is wanted: ``"2024-06-15"``, ``"2024-06"``. A tuple of two is
        a span, both ends included, of which all dates are wanted; a list gives days, all wanted. None is any time.

    Raises
    ------
    InvalidOption
        It is no date, or ends before it begins.
    """
    if time is None:
        return Period((), one=False)
    if isinstance(time, tuple) and len(time) == 2:
        span = (_span(time[0])[0], _span(time[1])[1])
        if span[0] > span[1]:
            raise InvalidOption(f"time={time!r} ends before it begins; give (start, end).")
        return Period((span,), one=False)
    if isinstance(time, list):
        return Period(tuple(_span(t) for t in time), one=False)
    return Period((_span(time),), one=True)


def choose_days(
    items: Sequence[pystac.Item], period: Period, bbox: Sequence[float] | None, *, near: datetime | None = None
) -> tuple[list[Day], list[str]]:
    """The days to load, in order, and notes on what they were chosen from.

    Parameters
    ----------
    near : datetime, optional
        Where one date is wanted, and items do not tell their clouds, the one closest to this.

    Raises
    ------
    NothingObserved
        No item lies in the period and touches the box.
    """
    timed = [(i, moment_of(i)) for i in items]
    dated = [(i, m) for i, m in timed if period.holds(m)]
    if not dated:
        moments = sorted(m for _, m in timed)
        raise NothingObserved(
            f"No item lies in the time asked for; the {len(moments)} found are from {moments[0]:%Y-%m-%d} to "
            f"{moments[-1]:%Y-%m-%d}. Give another time=."
        )
    groups: dict[str, list[pystac.Item]] = {}
    for item, moment in dated:
        groups.setdefault(_solar_day(item, moment), []).append(item)
    days = [d for d in (_day(group, bbox) for _, group in sorted(groups.items())) if d.covered > 0]
    if not days:
        raise NothingObserved(f"No item touches bbox={tuple(bbox or ())}; it must be (west, south, east, north).")
    if not period.one or len(days) == 1:
        return days, [_said(days[0])] if len(days) == 1 else [f"all {len(days)} dates of the time asked for"]
    if near is not None and all(d.cloud is None for d in days):
        best = min(days, key=lambda d: (-round(d.covered, 2), abs(d.moment - near)))
        return [best], [f"{_said(best)}: the closest in time of {len(days)} dates"]
    best = max(days, key=lambda d: (round(d.clear, 3), d.moment))
    return [best], [f"{_said(best)}: the clearest of {len(days)} dates by the catalogue's cloud figures"]


def moment_of(item: pystac.Item) -> datetime:
    """Time of an item in UTC; the start of its span if it has one only, the epoch if it has none."""
    found = item.datetime or item.common_metadata.start_datetime or datetime(1970, 1, 1)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _day(items: Sequence[pystac.Item], bbox: Sequence[float] | None) -> Day:
    import shapely

    items = _latest_versions(items)
    shapes = [shapely.geometry.shape(i.geometry) if i.geometry else None for i in items]
    weights, covered = [1.0] * len(items), 1.0
    if bbox is not None:
        box = _box(bbox)
        parts = [box if s is None else shapely.make_valid(s).intersection(box) for s in shapes]
        covered = shapely.union_all(parts).area / box.area if box.area else float(any(not p.is_empty for p in parts))
        weights = [p.area for p in parts]
    clouds = [i.properties.get("eo:cloud_cover") for i in items]
    known = [(float(c), w) for c, w in zip(clouds, weights, strict=True) if c is not None]
    total = sum(w for _, w in known)
    cloud = sum(c * w for c, w in known) / total if total else None
    return Day(min(moment_of(i) for i in items), tuple(items), covered, cloud)


def _box(bbox: Sequence[float]) -> Any:
    import shapely

    west, south, east, north = map(float, bbox)
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))


def _latest_versions(items: Sequence[pystac.Item]) -> list[pystac.Item]:
    """Items without the earlier versions of an acquisition that was processed again."""
    latest: dict[tuple[Any, ...], pystac.Item] = {}
    for item in sorted(items, key=_version):
        tile = next((item.properties[k] for k in _TILE if k in item.properties), None)
        where = tile if tile is not None else tuple(round(v, 2) for v in item.bbox or ())
        latest[item.properties.get("platform"), where, f"{moment_of(item):%Y-%m-%dT%H:%M}"] = item
    return sorted(latest.values(), key=lambda i: (moment_of(i), i.id))


_TILE = ("grid:code", "s2:mgrs_tile", "landsat:wrs_path_row")


def _version(item: pystac.Item) -> tuple[float, str, str]:
    return (
        baseline_of(item) or 0.0,
        str(item.properties.get("updated") or item.properties.get("created") or ""),
        item.id,
    )


def baseline_of(item: pystac.Item) -> float | None:
    """Processing baseline of a Sentinel-2 item, such as 5.09; None if it does not say."""
    for key in ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"):
        found = re.fullmatch(r"v?(\d{1,2}\.\d{1,2})", str(item.properties.get(key, "")))
        if found:
            return float(found[1])
    return None


def _solar_day(item: pystac.Item, moment: datetime) -> str:
    """Local date by the sun, so that one pass is not split by midnight UTC."""
    west, _, east, _ = (item.bbox or [0.0, 0.0, 0.0, 0.0])[:4] if len(item.bbox or ()) != 6 else _flat(item.bbox)
    return f"{moment + timedelta(hours=(west + east) / 30):%Y-%m-%d}"


def _flat(bbox: Any) -> list[float]:
    return [bbox[0], bbox[1], bbox[3], bbox[4]]


def _span(time: Any) -> tuple[datetime, datetime]:
    try:
        period = pd.Period(time) if isinstance(time, str) else pd.Period(pd.Timestamp(time), "D")
        start, end = period.start_time.to_pydatetime(), period.end_time.floor("s").to_pydatetime()
    except (ValueError, TypeError) as err:
        raise InvalidOption(
            f'time={time!r} is no date. Give "2024-06" for the clearest date of a month, ("2024-06-01", "2024-08-31") '
            "for all dates of a span."
        ) from err
    return start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)


def _said(day: Day) -> str:
    cloud = "" if day.cloud is None else f", {day.cloud:.0f} % cloud"
    share = "" if day.covered > 0.995 else f", {100 * day.covered:.0f} % of the box covered"
    return f"{day.moment:%Y-%m-%d} ({len(day.items)} item{'s' * (len(day.items) != 1)}{cloud}{share})"
