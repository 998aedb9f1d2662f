"""WorldCereal patches of 640 m: opened on one grid, with clear dates chosen by a stated rule. No windows and no model here."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from georeset_lab.data.align import repeat_onto
from georeset_lab.data.load import load_scene
from georeset_lab.data.modality import Modality
from georeset_lab.data.scene import Scene
from georeset_lab.errors import GeoresetWarning, NothingObserved

FOLDER = "sits-worldcereal-cubes"
PATCHES = {"test": ("TZ-37MBS-2021", "BE-31UES-2019a"), "other": ("BE-31UDS-2018", "BE-31UES-2019b")}
"""Places of each role (shared/data/README.md): no pixel of the first two is in any weights."""
QUARTER_RULE = (
    "of the dates of a calendar quarter with a radar pass within a week, those with the least of the patch masked by "
    "their own scene classification; of several, the one of median brightness"
)
"""Which dates stand for a patch. The median passes over cloud and shadow that the mask missed."""

_PIXEL_M = 10.0
_WEEK = np.timedelta64(7, "D")


def open_patch(data: Path, name: str) -> Scene | None:
    """Sentinel-2 and Sentinel-1 of a patch, all dates, both on the grid of 10 m; None if it is not there.

    Coarser pixels are repeated. Two patches have only the six bands of 20 m (their SOURCE.md).
    """
    folder = data / FOLDER / name
    optical = [f for f in (folder / "S2_L2A_10m.nc", folder / "S2_L2A_20m.nc") if f.is_file()]
    if not optical:
        return None
    files = {"s2": optical if len(optical) > 1 else optical[0], "s1": folder / "S1_GRD-ASCENDING_20m.nc"}
    with warnings.catch_warnings():
        # Units of these files were checked by hand (their SOURCE.md): reflectance without offset, decibels.
        warnings.simplefilter("ignore", GeoresetWarning)
        scene = load_scene(files, sensors={"s2": "sentinel-2-l2a", "s1": "sentinel-1-grd"})
    return replace(scene, modalities={n: _fine(m) for n, m in scene.modalities.items()}, name=name)


def quarter_dates(modality: Modality, near: Modality | None = None) -> list[int]:
    """Indices of one date for each calendar quarter, by `QUARTER_RULE`.

    Parameters
    ----------
    modality : Modality
        Its own mask says what is clear.
    near : Modality, optional
        The radar; without it, no pass is asked for.

    Returns
    -------
    list of int
        In order of the quarters, whatever the year; a quarter without any date is left out.

    Raises
    ------
    NothingObserved
        No date has a pass within a week.
    """
    masked, usable = _masked(modality), _usable(modality, near)
    quarter = (modality.times.astype("datetime64[M]").astype(np.int64) % 12) // 3
    chosen = []
    for q in range(4):
        mine = np.flatnonzero(usable & (quarter == q))
        if not mine.size:
            continue
        clear = mine[masked[mine] == masked[mine].min()]
        bright = np.array([np.nanmean(modality.read(slice(None), slice(None), time=int(i))) for i in clear])
        chosen.append(int(clear[bright.argsort(kind="stable")[len(clear) // 2]]))
    if not chosen:
        raise NothingObserved(f"No date of {modality.name!r} has a radar pass within a week; give another patch.")
    return chosen


def clear_dates(modality: Modality, near: Modality, *, most: float = 0.01) -> np.ndarray:
    """Indices of all dates with at most this share masked and a radar pass within a week, in order of time."""
    return np.flatnonzero(_usable(modality, near) & (_masked(modality) <= most))


def nearest_dates(modality: Modality, times: np.ndarray) -> list[int]:
    """Index of the date of a modality that is nearest to each of these times."""
    return [int(np.abs(modality.times - t).argmin()) for t in times]


def at_dates(modality: Modality, dates: list[int]) -> Modality:
    """Modality with these dates only, in this order."""
    mask = None if modality.mask is None else modality.mask.isel(time=dates)
    return replace(modality, raw=modality.raw.isel(time=dates), mask=mask)


def _masked(modality: Modality) -> np.ndarray:
    if modality.mask is None:
        return np.zeros(len(modality.times))
    return np.asarray(modality.mask.mean(("y", "x")))


def _usable(modality: Modality, near: Modality | None) -> np.ndarray:
    if near is None:
        return np.ones(len(modality.times), dtype=bool)
    return np.asarray([np.abs(near.times - t).min() <= _WEEK for t in modality.times])


def _fine(modality: Modality) -> Modality:
    """The modality on the grid of 10 m, each pixel repeated."""
    times = round(modality.pixel_m / _PIXEL_M)
    if times == 1:
        return modality
    height, width = modality.grid.shape
    grid = modality.grid.zoom_to((height * times, width * times))
    raw = repeat_onto(modality.raw, modality.grid, grid).assign_coords(time=modality.raw.coords["time"])
    mask = None if modality.mask is None else repeat_onto(modality.mask, modality.grid, grid)
    return replace(modality, raw=raw, grid=grid, mask=mask)
