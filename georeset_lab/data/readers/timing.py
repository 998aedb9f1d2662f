"""``time=``: dates for sources that state none, or the span of dates to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from georeset_lab.data.readers.dates import parse_date
from georeset_lab.data.readers.piece import Piece
from georeset_lab.errors import NothingObserved, ShapeMismatch


def apply_time(pieces: Sequence[Piece], time: Any, name: str) -> list[Piece]:
    """Pieces with dates given where they state none, and only the dates asked for where they do.

    Parameters
    ----------
    time : str, datetime, (start, end) tuple, list, or None
        A tuple of two is a span, both ends included. Anything else gives dates to undated sources (one for all, or a
        list with one for each date or each file); for dated ones it selects: ``"2020-04"`` keeps that month, a list
        keeps those days.

    Raises
    ------
    NothingObserved
        No date is left.
    ShapeMismatch
        A list gives another number of dates than the source has.
    """
    if time is None:
        return list(pieces)
    undated = [p for p in pieces if np.isnat(p.times).all()]
    if undated and not _is_span(time):
        pieces = _dated(pieces, time, name)
    spans = [_span(t) for t in ([time] if _is_span(time) or not isinstance(time, list) else time)]
    kept = []
    for piece in pieces:
        keep = np.isnat(piece.times)
        for start, end in spans:
            keep |= (piece.times >= start) & (piece.times <= end)
        if keep.all():
            kept.append(piece)
        elif keep.any():
            kept.append(replace(piece, raw=piece.raw[np.flatnonzero(keep)], times=piece.times[keep]))
    if not kept:
        times = np.concatenate([p.times for p in pieces])
        raise NothingObserved(
            f"Modality {name!r} has no date in time={time!r}; it has {times.size} dates from "
            f"{times.min().astype('datetime64[D]')} to {times.max().astype('datetime64[D]')}."
        )
    return kept


def _dated(pieces: Sequence[Piece], time: Any, name: str) -> list[Piece]:
    given = [_moment(t, name) for t in (time if isinstance(time, list) else [time])]
    undated = [p for p in pieces if np.isnat(p.times).all()]
    lengths = {len(p.times) for p in undated}
    out, place = [], 0
    for piece in pieces:
        if not np.isnat(piece.times).all():
            out.append(piece)
            continue
        if len(given) == 1:
            times = given * len(piece.times)
        elif lengths == {len(given)}:
            times = given
        elif lengths == {1} and len(undated) == len(given):
            times, place = [given[place]], place + 1
        else:
            raise ShapeMismatch(
                f"Modality {name!r}: time= gives {len(given)} dates, but {piece.origin} has {len(piece.times)} "
                "without a date. "
                "Give one for all, or a list with one for each."
            )
        out.append(replace(piece, times=np.array(times, dtype="datetime64[ns]")))
    return out


def _is_span(time: Any) -> bool:
    return isinstance(time, tuple) and len(time) == 2


def _span(time: Any) -> tuple[np.datetime64, np.datetime64]:
    if _is_span(time):
        return _span(time[0])[0], _span(time[1])[1]
    try:
        period = pd.Period(time) if isinstance(time, str) else pd.Period(pd.Timestamp(time), "D")
        start, end = period.start_time, period.end_time
    except (ValueError, TypeError) as err:
        raise ShapeMismatch(
            f'time={time!r} is no date; give for example "2020-04-08" or ("2020-01-01", "2020-12-31").'
        ) from err
    return start.to_datetime64().astype("datetime64[ns]"), end.to_datetime64().astype("datetime64[ns]")


def _moment(time: Any, name: str) -> np.datetime64:
    found = parse_date(time)
    if np.isnat(found):
        raise ShapeMismatch(f'Modality {name!r}: time={time!r} is no date; give for example "2020-04-08".')
    return found
