"""Dates as numbers of the year."""

from __future__ import annotations

import numpy as np


def day_of_year(times: np.ndarray) -> np.ndarray:
    """Day of the year with its fraction, float32, 1..367; NaN for NaT.

    Examples
    --------
    >>> day_of_year(np.array(["2020-01-01T12:00", "NaT"], "datetime64[ns]")).tolist()
    [1.5, nan]
    """
    days = (times - times.astype("datetime64[Y]").astype(times.dtype)) / np.timedelta64(1, "D")
    return np.asarray(days + 1, np.float32)
