"""Windows of real places as clean views of Sentinel-2 and Sentinel-1, for the table of uncertainty. No model here."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from georeset_lab.data.load import load_scene
from georeset_lab.data.modality import Modality
from georeset_lab.data.scene import Scene
from georeset_lab.data.times import day_of_year
from georeset_lab.errors import GeoresetWarning, SceneReadError
from georeset_lab.train.crops import View

SIDE, _STEP = 48, 6
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


@dataclass(frozen=True)
class Windows:
    """Windows of some places, side by side, with the same ground in every view."""

    views: dict[str, View]
    """``s2`` and ``s1``, pixels (N, 1, C, 48, 48), points every 6 pixels."""
    place: np.ndarray
    """(N,) int64, index of the place each window comes from."""
    names: tuple[str, ...]


def real_windows(data: Path, role: str) -> Windows:
    """Windows of the places of a role.

    Parameters
    ----------
    data : path
        Folder with ``terramind-chips`` and ``bigearthnet-examples``.
    role : {"test", "other"}
        Places that no weights have seen, or the training places with the same sensors (for fitting a scale).

    Raises
    ------
    SceneReadError
        None of the places is in ``data``.
    """
    scenes = [s for s in (*_chips(data, role), *_pairs(data, role)) if s is not None]
    if not scenes:
        raise SceneReadError(f"{data} holds neither terramind-chips nor bigearthnet-examples; pass the folder of both.")
    cut = [_cut(scene) for scene in scenes]
    axis = np.arange(_STEP // 2, SIDE, _STEP)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    views = {}
    for name in ("s2", "s1"):
        pixels = np.concatenate([part[name] for part in cut])
        first = [day_of_year(scene[name].times)[:1] for scene in scenes]
        day = np.concatenate([np.tile(d, (len(part[name]), 1)) for d, part in zip(first, cut, strict=True)])
        points = np.broadcast_to(grid, (len(pixels), *grid.shape)).copy()
        views[name] = View(name, pixels, scenes[0][name].bands, 60.0, day.astype(np.float32), points)
    place = np.repeat(np.arange(len(scenes)), [len(part["s2"]) for part in cut])
    return Windows(views, place, tuple(s.name for s in scenes))


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


def _load(name: str, files: dict[str, Path], sensors: dict[str, str], time: dict[str, str] | None) -> Scene | None:
    if not all(path.exists() for path in files.values()):
        return None
    with warnings.catch_warnings():
        # Units and offsets of these files were checked by hand (their SOURCE.md).
        warnings.simplefilter("ignore", GeoresetWarning)
        scene = load_scene(files, sensors=sensors, time=time)
    return replace(scene, modalities={m: _same_bands(scene[m]) for m in ("s2", "s1")}, name=name)


def _same_bands(modality: Modality) -> Modality:
    """The ten bands of 10 and 20 m that every product has, or both polarisations, in one order."""
    wanted = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
    names = [n for n in wanted if n in modality.band_names] or sorted(modality.band_names, reverse=True)
    return modality.select_bands(names)


def _cut(scene: Scene) -> dict[str, np.ndarray]:
    """Windows (N, 1, C, 48, 48) of each modality, as many as fit side by side."""
    height, width = scene["s2"].grid.shape
    corners = [(y, x) for y in range(0, height - SIDE + 1, SIDE) for x in range(0, width - SIDE + 1, SIDE)]
    return {
        name: np.stack([m.read(slice(y, y + SIDE), slice(x, x + SIDE), time=0) for y, x in corners]).astype(np.float32)
        for name, m in scene.modalities.items()
    }
