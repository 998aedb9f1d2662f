"""Windows of real places with several dates, for the corruption that drops dates. No model here."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from georeset_lab.data.times import day_of_year
from georeset_lab.errors import SceneReadError
from georeset_lab.evaluate.patches import FOLDER, PATCHES, clear_dates, nearest_dates, open_patch
from georeset_lab.evaluate.windows import SIDE, Windows, values, view_of

DATES = 6
"""Dates of either sensor in every window."""


def series_windows(data: Path, role: str) -> Windows:
    """Windows of six dates of Sentinel-2 and the six nearest passes of Sentinel-1 from the WorldCereal patches of a role.

    Parameters
    ----------
    data : path
        Folder with ``sits-worldcereal-cubes``.
    role : {"test", "other"}

    Returns
    -------
    Windows
        Pixels (N, 6, C, 48, 48). The K clear dates of a patch make ``K // 6`` windows of the same ground that share no
        date: each takes every ``K // 6``-th one, and so spans the seasons.

    Raises
    ------
    SceneReadError
        The patches are not there.
    """
    place: list[int] = []
    names: list[str] = []
    parts: dict[str, list[np.ndarray]] = {"s2": [], "s1": []}
    days: dict[str, list[np.ndarray]] = {"s2": [], "s1": []}
    for name in PATCHES[role]:
        scene = open_patch(data, name)
        if scene is None:
            continue
        clear = clear_dates(scene["s2"], scene["s1"])
        count = len(clear) // DATES
        for first in range(count):
            light = clear[first::count][:DATES].tolist()
            both = {"s2": light, "s1": nearest_dates(scene["s1"], scene["s2"].times[light])}
            for sensor, dates in both.items():
                parts[sensor].append(values(scene[sensor], dates)[..., :SIDE, :SIDE])
                days[sensor].append(day_of_year(scene[sensor].times[dates]))
        place += [len(names)] * count
        names.append(name)
    if not place:
        raise SceneReadError(f"{data} does not hold {FOLDER}; pass the folder that does.")
    views = {sensor: view_of(sensor, np.stack(parts[sensor]), np.stack(days[sensor])) for sensor in parts}
    return Windows(views, np.array(place), tuple(names), np.array(place))
