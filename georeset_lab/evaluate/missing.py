"""What is lost by a probe learned on clean pixels when a sensor is missing or corrupted, by way of fusing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from georeset_lab.data.calibration import Calibration
from georeset_lab.data.modality import Modality
from georeset_lab.data.scene import Scene
from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.encode import encode
from georeset_lab.embed.metrics import aurc, ece, nll
from georeset_lab.evaluate.corrupt import corrupt
from georeset_lab.evaluate.jobs import Protocol, read_task
from georeset_lab.evaluate.score import balanced_accuracy, fit_penalised, standardise
from georeset_lab.evaluate.splits import TRAIN, Split
from georeset_lab.models.checkpoint import Model
from georeset_lab.train.crops import View

PLACES = ("chile", "denmark")
FUSIONS = ("product", "mean", "concatenation", "late")
"""Product of experts (ours); mean of the experts' means; their concatenation; mean of the probabilities of one probe
for each sensor."""
CONDITIONS = ("clean", "s2 alone", "s1 alone", "s2 cloud", "s2 haze", "s1 interference")
_PER_CLASS = 50


def missing(model: Model, data: Path, *, draws: int = 10, seed: int = 0) -> dict[str, Any]:
    """Scores of each way of fusing under each condition, on two places never seen, 50 labels per class.

    Parameters
    ----------
    model : Model
    data : path
        Folder with ``terramind-chips``.
    draws : int
        Label draws of each place.
    seed : int
        Of the corruptions, which cover the whole scene at test time (strength 3 of 5).

    Returns
    -------
    dict
        fusion -> condition -> metric -> list over places and draws; metrics are balanced accuracy, NLL, ECE and AURC.
        A sensor that is missing counts as its prior mean 0 in ``mean`` and ``concatenation``, and is left out by the
        other two.
    """
    out: dict[str, Any] = {f: {c: {} for c in CONDITIONS} for f in FUSIONS}
    for place in PLACES:
        task, split = read_task(data, place, Protocol(sizes=(_PER_CLASS,), n_draws=draws))
        maps = {c: _features(_encoded(model, task.scene, c, seed)) for c in CONDITIONS}
        for fusion in FUSIONS:
            for condition, scores in _scored(maps, fusion, split).items():
                for name, values in scores.items():
                    out[fusion][condition].setdefault(name, []).extend(values)
    return out


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


def _scored(maps: dict[str, dict[str, np.ndarray]], fusion: str, split: Split) -> dict[str, dict[str, list[float]]]:
    """Condition -> metric -> draws; the probe is fitted on the clean maps."""
    inputs = {c: _inputs(m, fusion, maps["clean"]) for c, m in maps.items()}
    found: dict[str, dict[str, list[float]]] = {}
    chances: dict[str, list[np.ndarray]] = {c: [] for c in maps}
    for k, clean in enumerate(inputs["clean"]):
        assert clean is not None
        x = standardise(clean, split.side == TRAIN)
        draws = split.draws
        fit = fit_penalised(x[np.stack([d.pixels for d in draws])], draws[0].y, np.stack([d.folds for d in draws]))
        for condition, columns in inputs.items():
            if columns[k] is None:
                continue
            test = _like(columns[k], clean, split)[split.test_pixels]
            logits = np.einsum("nf,dfk->dnk", test, fit[1]) + fit[2][:, None]
            chance = np.exp(logits - logits.max(-1, keepdims=True))
            chances[condition].append(chance / chance.sum(-1, keepdims=True))
    for condition, several in chances.items():
        proba = np.mean(several, axis=0)
        y = split.test_y
        found[condition] = {
            "balanced_accuracy": [balanced_accuracy(y, p.argmax(1)) for p in proba],
            "nll": [nll(y, p) for p in proba],
            "ece": [ece(y, p) for p in proba],
            "aurc": [aurc(y, p) for p in proba],
        }
    return found


def _inputs(maps: dict[str, np.ndarray], fusion: str, clean: dict[str, np.ndarray]) -> list[np.ndarray | None]:
    """Feature maps of the probes of a fusion: one, or for ``late`` one for each sensor, None where it is missing."""
    sensors = [name for name in clean if name != "fused"]
    if fusion == "product":
        return [maps["fused"]]
    if fusion == "late":
        return [maps.get(name) for name in sensors]
    there = [maps.get(name, np.zeros_like(clean[name])) for name in sensors]
    return [np.mean(there, axis=0)] if fusion == "mean" else [np.concatenate(there, axis=2)]


def _like(features: np.ndarray | None, clean: np.ndarray, split: Split) -> np.ndarray:
    """Features scaled as the clean ones of the training side are."""
    assert features is not None
    both = np.concatenate([clean, features], axis=0)
    side = np.concatenate([split.side == TRAIN, np.zeros_like(split.side, dtype=bool)], axis=0)
    return standardise(both, side)[clean.shape[0] * clean.shape[1] :]
