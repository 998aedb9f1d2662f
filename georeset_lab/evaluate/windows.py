"""Windows of real places as clean views of Sentinel-2 and Sentinel-1, for the table of uncertainty. No model here."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from georeset_lab.data.load import load_scene
from georeset_lab.data.modality import Modality
from georeset_lab.data.scene import Scene
from georeset_lab.data.sensors import sensor
from georeset_lab.data.times import day_of_year
from georeset_lab.errors import GeoresetWarning, SceneReadError
from georeset_lab.evaluate.patches import PATCHES, nearest_dates, open_patch, quarter_dates
from georeset_lab.train.crops import View

SIDE, _STEP = 48, 6
BANDS = {"s2": ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"), "s1": ("VV", "VH")}
"""Bands of every window: those of 10 and 20 m that most products have, and both polarisations."""

SETS = ("terramind-chips", "bigearthnet-examples", "sits-worldcereal-cubes", "ssl4eo-s12-0000200")
"""Folders that windows are cut from."""

_CHIPS = {
    "test": {"433D_629L_3_1": "2020-04-08", "637U_59R_1_3": "2017-10-30"},
    "other": {"282D_485L_3_3": "2021-07-23", "38D_378R_2_3": "2023-06-10", "609U_541L_3_0": "2020-01-11"},
}
_PAIRS = {
    "test": {
        "S2A_MSIL2A_20171221T112501_56_35": "S1A_IW_GRDH_1SDV_20171221T064238_29SND_56_35",
        "S2B_MSIL2A_20170924T93020_69_24": "S1A_IW_GRDH_1SDV_20170925T043256_35VPK_69_24",
        "S2B_MSIL2A_20180204T94161_57_38": "S1A_IW_GRDH_1SDV_20180204T043253_35VPK_57_38",
    },
    "other": {
        "S2A_MSIL2A_20170613T101031_87_48": "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48",
        "S2A_MSIL2A_20170617T113321_36_85": "S1A_IW_GRDH_1SDV_20170617T064724_29UPU_36_85",
        "S2A_MSIL2A_20170617T113321_4_55": "S1A_IW_GRDH_1SDV_20170617T064724_29UPU_4_55",
    },
}
_SSL4EO = "ssl4eo-s12-0000200"
_SSL4EO_PAIR = {
    # Of its two dates of Level-2A the other is three weeks from any radar pass.
    "s2": "s2a/0000200/20200604T054639_20200604T054831_T43RCP",
    "s1": "s1/0000200/S1A_IW_GRDH_1SDV_20200607T010800_20200607T010825_032904_03CFBA_D457",
}


@dataclass(frozen=True)
class Windows:
    """Windows of some places, side by side, with the same ground in every view."""

    views: dict[str, View]
    """``s2`` and ``s1``, pixels (N, T, C, 48, 48), points every 6 pixels. A band that a place lacks is NaN there, which
    to the encoder is as if it were absent."""
    place: np.ndarray
    """(N,) int64, index of the place each window comes from."""
    names: tuple[str, ...]
    ground: np.ndarray
    """(N,) int64, equal for windows of the same ground on several dates."""


@dataclass(frozen=True)
class _Shot:
    """A place on one date of Sentinel-2, with the pass of Sentinel-1 that is nearest to it."""

    scene: Scene
    dates: dict[str, int]


def real_windows(data: Path, role: str, *, dates: int = 4) -> Windows:
    """Windows of the places of a role.

    Parameters
    ----------
    data : path
        Folder of the `SETS`; a set that is not there is left out.
    role : {"test", "other"}
        Places that no weights have seen, or the training places with the same sensors (for fitting a scale).
    dates : int
        Most dates of one place. Only the WorldCereal patches have several: one for each quarter of a year, see
        `georeset_lab.evaluate.patches.QUARTER_RULE`.

    Raises
    ------
    SceneReadError
        None of the places is in ``data``.
    """
    scenes = [*_chips(data, role), *_pairs(data, role), *([_ssl4eo(data)] if role == "other" else [])]
    shots = [_Shot(s, {"s2": 0, "s1": 0}) for s in scenes if s is not None]
    shots += [shot for name in PATCHES[role] for shot in _patch(data, name)[:dates]]
    if not shots:
        raise SceneReadError(f"{data} holds none of {', '.join(SETS)}; pass the folder of them.")
    names = tuple(dict.fromkeys(shot.scene.name for shot in shots))
    grounds: dict[tuple[int, int, int], int] = {}
    place, ground = [], []
    parts: dict[str, list[np.ndarray]] = {"s2": [], "s1": []}
    days: dict[str, list[np.ndarray]] = {"s2": [], "s1": []}
    for shot in shots:
        here, whole = names.index(shot.scene.name), {n: values(shot.scene[n], [i]) for n, i in shot.dates.items()}
        corners = _corners(np.logical_and.reduce([np.isfinite(v).any((0, 1)) for v in whole.values()]))
        place += [here] * len(corners)
        ground += [grounds.setdefault((here, y, x), len(grounds)) for y, x in corners]
        for name, i in shot.dates.items():
            parts[name] += [whole[name][..., y : y + SIDE, x : x + SIDE] for y, x in corners]
            days[name] += [day_of_year(shot.scene[name].times[[i]])] * len(corners)
    views = {name: view_of(name, np.stack(parts[name]), np.stack(days[name])) for name in parts}
    return Windows(views, np.array(place), names, np.array(ground))


def view_of(name: str, pixels: np.ndarray, day: np.ndarray) -> View:
    """View of windows (N, T, C, 48, 48) on days (N, T), with points every 6 pixels."""
    axis = np.arange(_STEP // 2, SIDE, _STEP)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    table = {b.name: b for b in sensor({"s2": "sentinel-2-l2a", "s1": "sentinel-1-rtc"}[name]).bands}
    points = np.broadcast_to(grid, (len(pixels), *grid.shape)).copy()
    return View(name, pixels, tuple(table[b] for b in BANDS[name]), 60.0, day.astype(np.float32), points)


def values(modality: Modality, dates: list[int]) -> np.ndarray:
    """Physical values (T, C, Y, X) of the `BANDS` of a modality, NaN for those it lacks, without its mask."""
    unmasked = replace(_same_bands(modality), mask=None)
    out = np.full((len(dates), len(BANDS[modality.name]), *modality.grid.shape), np.nan, dtype=np.float32)
    where = [BANDS[modality.name].index(b) for b in unmasked.band_names]
    for t, date in enumerate(dates):
        out[t, where] = unmasked.read(slice(None), slice(None), time=date)[0]
    return out


def _chips(data: Path, role: str) -> list[Scene | None]:
    out: list[Scene | None] = []
    for name, day in _CHIPS[role].items():
        files = {m: data / "terramind-chips" / name / f for m, f in (("s2", "S2L2A.tif"), ("s1", "S1RTC.tif"))}
        sensors = {"s2": "sentinel-2-l2a", "s1": "sentinel-1-rtc"}
        out.append(_load(name, files, sensors, {"s2": day}))
    return out


def _pairs(data: Path, role: str) -> list[Scene | None]:
    folder = data / "bigearthnet-examples"
    out: list[Scene | None] = []
    for s2, s1 in _PAIRS[role].items():
        files = {"s2": folder / "BigEarthNet-S2-Example" / s2, "s1": folder / "BigEarthNet-S1-Example" / s1}
        out.append(_load(s2, files, {"s2": "sentinel-2-l2a", "s1": "sentinel-1-grd"}, None))
    return out


def _ssl4eo(data: Path) -> Scene | None:
    """The pair of one week, resampled from degrees to one UTM grid."""
    files = {name: data / _SSL4EO / path for name, path in _SSL4EO_PAIR.items()}
    return _load(_SSL4EO, files, {"s2": "sentinel-2-l2a", "s1": "sentinel-1-grd"}, None)


def _patch(data: Path, name: str) -> list[_Shot]:
    scene = open_patch(data, name)
    if scene is None:
        return []
    dates = quarter_dates(scene["s2"], scene["s1"])
    radar = nearest_dates(scene["s1"], scene["s2"].times[dates])
    return [_Shot(scene, {"s2": i, "s1": j}) for i, j in zip(dates, radar, strict=True)]


def _load(name: str, files: dict[str, Path], sensors: dict[str, str], time: dict[str, str] | None) -> Scene | None:
    if not all(path.exists() for path in files.values()):
        return None
    with warnings.catch_warnings():
        # Units and offsets of these files were checked by hand (their SOURCE.md).
        warnings.simplefilter("ignore", GeoresetWarning)
        scene = load_scene(files, sensors=sensors, time=time)
    return replace(scene, name=name)


def _same_bands(modality: Modality) -> Modality:
    """Those of the `BANDS` that the product has, in one order."""
    return modality.select_bands([b for b in BANDS[modality.name] if b in modality.band_names])


def _corners(seen: np.ndarray) -> list[tuple[int, int]]:
    """Corners of as many windows as fit side by side inside the rim that a rotation left empty, without gaps."""
    height, width = seen.shape
    rims = range(min(height, width) // 2)
    rim = next((r for r in rims if seen[r : height - r, r : width - r].all()), 0)
    return [
        (y, x)
        for y in range(rim, height - rim - SIDE + 1, SIDE)
        for x in range(rim, width - rim - SIDE + 1, SIDE)
        if seen[y : y + SIDE, x : x + SIDE].all()
    ]
