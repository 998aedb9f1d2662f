"""When a file was acquired, from its tags, its name or the names of its folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

NOT_A_TIME = np.datetime64("NaT", "ns")
_TAGS = (
    "DATETIME",
    "ACQUISITION_DATETIME",
    "ACQUISITIONDATETIME",
    "SENSING_TIME",
    "PRODUCT_START_TIME",
    "ACQUISITION_DATE",
    "ACQUISITION_TIME",
    "DATE_ACQUIRED",
    "ACQUIRED",
    "DATE",
)
_FIRST, _LAST = np.datetime64("1960-01-01"), np.datetime64("2100-01-01")
# Landsat pre-collection scene identifier: sensor, path, row, year, day of year (LT52240631988227).
_LANDSAT = re.compile(r"L[COTEM]\d\d{6}(\d{4})(\d{3})")
_DAY_OF_YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(\d{3})T\d{6}(?!\d)")  # HLS: 2020001T190000
_DATED = re.compile(
    r"(?<!\d)((?:19|20)\d\d)(-|_|)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?:T(\d\d):?(\d\d):?(\d\d))?(?!\d)"
)


def date_of(tags: Mapping[str, str], path: Path | None = None) -> np.datetime64:
    """Acquisition time from tags, else from the file name, else from the two folders above it; NaT if none says.

    Examples
    --------
    >>> str(date_of({}, Path("S2A_MSIL2A_20170613T101031_87_48/B02.tif")))
    '2017-06-13T10:10:31.000000000'
    >>> str(date_of({}, Path("LT52240631988227_TM.tif")))
    '1988-08-14T00:00:00.000000000'
    """
    for key in _TAGS:
        found = parse_date(tags.get(key, ""))
        if not np.isnat(found):
            return found
    names = () if path is None else (path.name, path.parent.name, path.parent.parent.name)
    for name in names:
        found = date_in_name(name)
        if not np.isnat(found):
            return found
    return NOT_A_TIME


def parse_date(text: object) -> np.datetime64:
    """Date and time in UTC of a text, NaT if it is none or lies outside 1960..2100."""
    try:
        stamp = pd.Timestamp(str(text)) if str(text).strip() else pd.NaT
    except (ValueError, OverflowError):
        return NOT_A_TIME
    if not isinstance(stamp, pd.Timestamp):
        return NOT_A_TIME
    if stamp.tzinfo is not None:
        stamp = stamp.tz_convert("UTC").tz_localize(None)
    value = stamp.to_datetime64().astype("datetime64[ns]")
    return value if _FIRST < value < _LAST else NOT_A_TIME


def date_in_name(name: str) -> np.datetime64:
    """First date written in a file or folder name, NaT if there is none."""
    landsat = _LANDSAT.search(name) or _DAY_OF_YEAR.search(name)
    if landsat and 1 <= int(landsat[2]) <= 366:
        start = np.datetime64(f"{landsat[1]}-01-01", "D")
        return (start + np.timedelta64(int(landsat[2]) - 1, "D")).astype("datetime64[ns]")
    found = _DATED.search(name)
    if not found:
        return NOT_A_TIME
    year, _, month, day, *clock = found.groups()
    return parse_date(f"{year}-{month}-{day}" + ("T" + ":".join(clock) if clock[0] else ""))
