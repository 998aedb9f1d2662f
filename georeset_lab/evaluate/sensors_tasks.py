"""Places that Sentinel-2 and Landsat 8 both saw, with labels; sensors that no row was trained on; matched spectra.

No features and no scores here. Real places lie on one 10 m grid (Landsat's 30 m pixels repeated, as the files have them).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.load import load_scene
from georeset_lab.data.modality import Modality
from georeset_lab.data.scene import Scene
from georeset_lab.data.sensors import sensor
from georeset_lab.data.simulate import simulate_scene
from georeset_lab.errors import GeoresetWarning, SceneReadError
from georeset_lab.evaluate.patches import FOLDER, at_dates, open_patch
from georeset_lab.evaluate.places import BLOCK_M
from georeset_lab.evaluate.splits import Split, block_ids, checkerboard, eligible_classes, make_split
from georeset_lab.evaluate.task import Task
from georeset_lab.evaluate.tasks import all_tasks

PER_CLASS = 20
REAL = ("BE-31UDS-2018", "BE-31UES-2019b")
"""The WorldCereal patches that have Landsat 8 reflectance; of the second, Sentinel-2 has the six bands of 20 m alone."""
HELD_OUT = (9001, 9002)
"""Seeds of simulated landscapes that no recipe trains on."""
RGB = ("B04", "B03", "B02")
SPECTRA = "spechomo-matched-spectra/matched_spectra_9scenes_x1000.npz"
DAYS_RULE = (
    "four dates, evenly over those on which both saw the place within a day, at most 1 % masked by their own quality "
    "layers and neither more than half again as bright as usual (cloud that the masks missed)"
)
_SIDE_PX = 144
_APART, _MASKED = np.timedelta64(30, "h"), 0.01
_MIN_PIXELS, _MIN_BLOCKS = 150, 4
_CLUSTER, _OF_CLUSTER = 20, 2


@dataclass(frozen=True)
class Pair:
    """One place as two sensors saw it, and its split."""

    name: str
    scene: Scene
    """Modalities ``s2`` and ``l8``, reflectance alone."""
    split: Split
    folders: tuple[str, ...] = ()
    """Folder names by which a card would name this place among its training scenes."""


@dataclass(frozen=True)
class Spectra:
    """The same ground through three sensors; one spectrum is one pixel."""

    reflectance: dict[str, np.ndarray]
    """Sensor -> (N, C) float32."""
    bands: dict[str, tuple[BandSpec, ...]]
    scene: np.ndarray
    """(N,) int, which of nine scenes."""
    cluster: np.ndarray
    """(N,) int, which of 450 clusters of alike spectra."""


@lru_cache(maxsize=16)
def pair(data: Path, name: str, draws: int) -> Pair:
    """A labelled place of both sensors by name: one of `REAL`, or ``simulated-SEED``.

    Raises
    ------
    SceneReadError
        The patch is not under ``data``.
    """
    scene, labels = _simulated(name) if name.startswith("simulated-") else _patch(data, name)
    px = round(BLOCK_M / 10)
    groups, side = block_ids(labels.shape, px), checkerboard(labels.shape, px)
    # A class needs pixels to teach and to test: it must lie on both sides of the checkerboard.
    both = [c for c in np.unique(labels[labels > 0]) if min(np.sum(side[labels == c] == k) for k in (0, 1)) >= 50]
    codes = [c for c in eligible_classes(labels, groups, min_pixels=_MIN_PIXELS, min_groups=_MIN_BLOCKS) if c in both]
    kept = np.where(np.isin(labels, codes), labels, 0)
    split = make_split(kept, groups, side, {c: str(c) for c in codes}, sizes=(PER_CLASS,), n_draws=draws)
    return Pair(name, scene, split, () if name.startswith("simulated-") else (name,))


def same_days(s2: Modality, l8: Modality) -> tuple[list[int], list[int]]:
    """Indices of at most four dates of each on which both saw the place within a day, by `DAYS_RULE`."""
    clear = [np.flatnonzero(_masked(m) <= _MASKED) for m in (s2, l8)]
    pairs = []
    for j in clear[1]:
        away = np.abs(s2.times[clear[0]] - l8.times[j])
        if away.size and away.min() <= _APART:
            pairs.append((int(clear[0][away.argmin()]), int(j)))
    bright = np.array([[_brightness(s2, i), _brightness(l8, j)] for i, j in pairs])
    kept = [p for p, b in zip(pairs, bright, strict=True) if (b <= 1.5 * np.median(bright, axis=0)).all()]
    chosen = [kept[round(k)] for k in np.linspace(0, len(kept) - 1, min(4, len(kept)))]
    return [i for i, _ in chosen], [j for _, j in chosen]


def unseen(data: Path, draws: int) -> dict[str, tuple[Task, Split]]:
    """Labelled places of sensors that no row was trained on, by sensor and place."""
    out = {}
    wanted = {"para-l5": "Landsat 5 TM", "potsdam": "EnMAP", "chile-20m": "20 m only", "denmark-20m": "20 m only"}
    for spec in all_tasks():
        if spec.name in wanted:
            task = _light(spec.read(data))
            out[f"{wanted[spec.name]}, {spec.name.removesuffix('-20m')}"] = task
        elif spec.name in ("chile", "denmark"):
            task = spec.read(data)
            rgb = replace(task.scene, modalities={"s2": task.scene["s2"].select_bands(RGB)})
            out[f"RGB only, {spec.name}"] = replace(task, scene=rgb)
    return {name: (task, _split(task, draws)) for name, task in out.items()}


def every_label(task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All labelled pixels of a task: flat positions, class index, and whether they teach."""
    at = np.flatnonzero((task.labels > 0) & np.isin(task.labels, list(task.classes)) & (task.side >= 0))
    order = {code: k for k, code in enumerate(task.classes)}
    y = np.array([order[int(c)] for c in task.labels.ravel()[at]])
    return at, y, task.side.ravel()[at] == 0


def kept_bands(modality: Modality, k: int, seed: int = 0) -> Modality:
    """A modality with ``k`` of its bands, a nested random choice: 3 bands contain the 2."""
    order = np.random.default_rng([seed, 7]).permutation(len(modality.bands))
    return modality.select_bands([modality.bands[i].name for i in np.sort(order[:k])])


def coarser(modality: Modality, times: int) -> Modality:
    """A modality with pixels ``times`` as wide: the mean of what was measured in each block."""
    if times == 1:
        return modality
    import xarray as xr

    values = modality.read(slice(None), slice(None))
    t, c, height, width = values.shape
    ny, nx = height // times, width // times
    blocks = values[:, :, : ny * times, : nx * times].reshape(t, c, ny, times, nx, times)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a block without any measurement stays NaN
        mean = np.nanmean(blocks, axis=(3, 5)).astype(np.float32)
    grid = modality.grid[: ny * times, : nx * times].zoom_out(times)
    bands = tuple(replace(b, gsd_m=max(b.gsd_m, times * modality.pixel_m)) for b in modality.bands)
    n = len(bands)
    plain = replace(modality.calibration, scale=(1.0,) * n, offset=(0.0,) * n, nodata=None)
    raw = xr.DataArray(mean, dims=modality.raw.dims, coords={"time": modality.raw.coords["time"].values})
    return replace(modality, raw=raw, bands=bands, grid=grid, calibration=plain, mask=None)


@lru_cache(maxsize=1)
def spectra(data: Path) -> Spectra:
    """900 of the 9,000 matched spectra of spechomo, two of each cluster.

    Raises
    ------
    SceneReadError
        The file is not under ``data``.
    """
    if not (data / SPECTRA).is_file():
        raise SceneReadError(f"There is no {SPECTRA} in {data}. Pass the folder that holds the data sets as data=.")
    stored = np.load(data / SPECTRA)
    names = {"tm5": "landsat-5-l2", "oli8": "landsat-8-l2", "msi2a": "sentinel-2-l2a"}
    values = {k: stored[k].reshape(-1, stored[k].shape[-1]).astype(np.float32) for k in names}
    number = np.arange(len(values["oli8"]))
    whole = np.all([(v > -9000).all(1) for v in values.values()], axis=0)
    chosen = number[whole & (number % _CLUSTER < _OF_CLUSTER)]
    return Spectra(
        {k: v[chosen] / 1e4 for k, v in values.items()},
        {k: _nearest(name, stored[f"{k}_wavelength_nm"] / 1e3) for k, name in names.items()},
        chosen // 1000,
        chosen // _CLUSTER,
    )


def _nearest(name: str, centres_um: np.ndarray) -> tuple[BandSpec, ...]:
    light = [b for b in sensor(name).bands if b.kind == "reflectance"]
    return tuple(min(light, key=lambda b: abs(b.center_um - c)) for c in centres_um)


def _simulated(name: str) -> tuple[Scene, np.ndarray]:
    seed = int(name.removeprefix("simulated-"))
    scene = simulate_scene(seed=seed, size=(_SIDE_PX, _SIDE_PX), modalities=("s2", "l8"), dates=2)
    assert scene.truth is not None
    truth = scene.truth
    steady = (truth["change"].values == 0) & (truth["purity"].values > 0.7)
    return scene, np.where(steady, truth["land_cover"].values.astype(np.int64) + 1, 0)


def _patch(data: Path, name: str) -> tuple[Scene, np.ndarray]:
    import xarray as xr

    optical, landsat = open_patch(data, name), data / FOLDER / name / "L8_SR_10m.nc"
    if optical is None or not landsat.is_file():
        raise SceneReadError(
            f"{data / FOLDER / name} lacks Sentinel-2 or Landsat 8 reflectance. Pass the folder that holds the data sets "
            f"({FOLDER}) as data=."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeoresetWarning)  # units were checked by hand (SOURCE.md)
        l8 = load_scene({"l8": landsat}, sensors={"l8": "landsat-8-l2"})["l8"]
    l8 = l8.select_bands([b.name for b in l8.bands if b.kind == "reflectance"])
    own, other = same_days(optical["s2"], l8)
    parts = {"s2": at_dates(optical["s2"], own), "l8": at_dates(l8, other)}
    with xr.open_dataset(landsat.with_name("labels_10m.nc"), engine="h5netcdf", decode_coords=False) as stored:
        labels = stored["CT"].values.astype(np.int64)
    return replace(optical, modalities=parts, name=name), np.maximum(labels, 0)


def _masked(modality: Modality) -> np.ndarray:
    if modality.mask is None:
        return np.zeros(len(modality.times))
    return np.asarray(modality.mask.mean(("y", "x")))


def _brightness(modality: Modality, date: int) -> float:
    return float(np.nanmean(modality.read(slice(None), slice(None), time=date)))


def _light(task: Task) -> Task:
    """Reflectance alone: most rivals cannot read heat."""
    parts = {
        n: m.select_bands([b.name for b in m.bands if b.kind == "reflectance"])
        for n, m in task.scene.modalities.items()
    }
    return replace(task, scene=replace(task.scene, modalities=parts))


def _split(task: Task, draws: int) -> Split:
    return make_split(task.labels, task.groups, task.side, task.classes, sizes=(PER_CLASS,), n_draws=draws)
