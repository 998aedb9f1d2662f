"""What a probe learned on clean pixels loses when a sensor is missing or corrupted. Ways of fusing are in ``fusing.py``."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from georeset_lab.data.calibration import Calibration
from georeset_lab.data.modality import Modality
from georeset_lab.data.scene import Scene
from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.encode import encode
from georeset_lab.evaluate.corrupt import corrupt
from georeset_lab.evaluate.fusing import FUSIONS, scored
from georeset_lab.evaluate.jobs import Protocol
from georeset_lab.evaluate.splits import Split, make_split
from georeset_lab.evaluate.task import Task
from georeset_lab.evaluate.tasks import missing_tasks
from georeset_lab.models.checkpoint import Model
from georeset_lab.train.crops import View

CONDITIONS = ("clean", "s2 alone", "s1 alone", "dem alone", "s2 cloud", "s2 haze", "s1 interference")
"""``clean`` is all that a place has; a condition on a sensor that a place lacks leaves that place out."""
_PER_CLASS = 50


def missing(model: Model, data: Path, *, draws: int = 10, seed: int = 0) -> dict[str, Any]:
    """Scores of each way of fusing under each condition, on three places never seen, 50 labels per class.

    Parameters
    ----------
    model : Model
    data : path
        Folder with ``terramind-chips`` (Chile and Denmark: Sentinel-2, Sentinel-1, DEM) and ``sits-worldcereal-cubes``
        (Belgium: four dates of Sentinel-2, Sentinel-1 and Landsat 8's surface temperature).
    draws : int
        Label draws of each place.
    seed : int
        Of the corruptions, which cover the whole scene at test time (strength 3 of 5).

    Returns
    -------
    dict
        fusion -> condition -> metric -> list over places and draws; metrics are balanced accuracy, NLL, ECE and AURC,
        and ``place`` names the place of each entry.
    """
    out: dict[str, Any] = {f: {c: {} for c in CONDITIONS} for f in FUSIONS}
    for place in (spec.name for spec in missing_tasks()):
        task, split = _read(data, place, draws)
        maps = {c: _features(_encoded(model, task.scene, c, seed)) for c in CONDITIONS if _fits(c, task)}
        for fusion in FUSIONS:
            for condition, scores in scored(maps, fusion, split).items():
                mine = out[fusion][condition]
                for name, values in scores.items():
                    mine.setdefault(name, []).extend(values)
                mine.setdefault("place", []).extend([place] * draws)
    return out


@lru_cache(maxsize=4)
def _read(data: Path, place: str, draws: int) -> tuple[Task, Split]:
    """A place and its labels, kept for the next encoder."""
    task = next(s for s in missing_tasks() if s.name == place).read(data)
    rules = Protocol(sizes=(_PER_CLASS,), n_draws=draws)
    parts = (task.labels, task.groups, task.side, task.classes)
    return task, make_split(*parts, sizes=rules.sizes, n_draws=rules.n_draws, seed=rules.seed, max_test=rules.max_test)


def _fits(condition: str, task: Task) -> bool:
    return condition == "clean" or condition.partition(" ")[0] in task.scene


def _encoded(model: Model, scene: Scene, condition: str, seed: int) -> dict[str, Embeddings]:
    """Embeddings of each sensor that is there."""
    sensor, _, how = condition.partition(" ")
    if how == "alone":
        scene = scene.only(sensor)
    elif condition != "clean":
        scene = replace(scene, modalities={**scene.modalities, sensor: _spoilt(scene[sensor], how, seed)})
    emb = encode(scene, model=model, dtype="float32", device="cpu", progress=False)
    return {"fused": emb, **{name: emb.only(name) for name in emb.modalities}}


def _spoilt(modality: Modality, how: str, seed: int) -> Modality:
    pixels = modality.read(slice(None), slice(None)).astype(np.float32)
    blank = np.zeros((1, 0, 2), dtype=np.int64)
    view = View(modality.name, pixels[None], modality.bands, 60.0, np.full((1, len(pixels)), np.nan, np.float32), blank)
    raw = xr.DataArray(
        corrupt(view, how, 3, seed).pixels[0], coords=modality.raw.coords, dims=modality.raw.dims, attrs={}
    )
    return replace(
        modality,
        raw=raw,
        calibration=Calibration((1.0,) * len(modality.bands), (0.0,) * len(modality.bands)),
        mask=None,
    )


def _features(parts: dict[str, Embeddings]) -> dict[str, np.ndarray]:
    """(Y, X, D) means: ``fused`` and each sensor's."""
    return {name: np.moveaxis(np.asarray(emb.mean.values), 0, -1) for name, emb in parts.items()}
