"""What an encoder is worth across sensors: transfer of labels, matched spectra, unseen sensors, fewer bands, coarser pixels.

Every function takes ``encode_maps``, from a scene to feature maps (`maps_of` for an encoder, `raw_maps` for plain bands).
Cost is in ``sensors_cost.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage

from georeset_lab.data.bands import band_table
from georeset_lab.data.scene import Scene
from georeset_lab.evaluate.score import balanced_accuracy, fit_penalised, score_features, standardise
from georeset_lab.evaluate.sensors_tasks import Pair, Spectra, coarser, every_label, kept_bands, spectra, unseen
from georeset_lab.evaluate.splits import TRAIN, Draw, Split, group_folds

if TYPE_CHECKING:
    from georeset_lab.models.checkpoint import Model

FUSED = "both"
LOOKS = ("s2", "l8", FUSED)
DECISION = "decision"
"""Labels of both sensors, both seen at test time: mean of the probabilities of one probe for each."""
OWN_SCALE = "own scale, "
_SOURCES = {"s2": ["s2"], "l8": ["l8"], FUSED: ["s2", "l8"]}
BANDS_KEPT = (1, 2, 3, 4, 6, 9, 12)
TIMES_COARSER = (1, 2, 3, 6)

Maps = dict[str, np.ndarray]
"""Modality, and `FUSED`, -> (Y, X, F) on the grid of the finest; NaN where nothing was measured."""
Encode = Callable[[Scene], Maps]

_SPECTRA_AT_ONCE = 64


def maps_of(model: Model) -> Encode:
    """Feature maps of an encoder: the means of each modality's expert and of their product."""
    from georeset_lab.embed.encode import encode

    def maps(scene: Scene) -> Maps:
        emb = encode(scene, model=model, dtype="float32", device="cpu", progress=False)
        parts = {FUSED: emb, **{name: emb.only(name) for name in emb.modalities}}
        out = {}
        for name, part in parts.items():
            mean = np.moveaxis(np.asarray(part.mean.values), 0, -1)
            out[name] = np.where(np.asarray(part.observed)[..., None], mean, np.nan)
        return out

    return maps


def raw_maps(scene: Scene) -> Maps:
    """Without any encoder: the seven HLS bands (adjusted), mean and spread over dates, mean and spread of 5 x 5 pixels.

    A sensor that is neither Sentinel-2 nor Landsat 8 fills the seven bands as the HLS-like rival does.
    """
    from georeset_lab.models.rivals.hls import to_hls

    finest = min(scene.modalities.values(), key=lambda m: m.pixel_m)
    out = {}
    for name, m in scene.modalities.items():
        x = torch.from_numpy(np.ascontiguousarray(m.read(slice(None), slice(None)), dtype=np.float32))
        seven = to_hls(x, torch.from_numpy(band_table(m.bands)), 30.0)
        mean = seven.nanmean(0)
        spread = (seven - mean).square().nanmean(0).sqrt()
        times = round(m.pixel_m / finest.pixel_m)
        whole = torch.cat([mean, spread]).numpy().repeat(times, 1).repeat(times, 2)
        out[name] = _with_neighbours(whole[:, : finest.grid.shape[0], : finest.grid.shape[1]])
    every = np.stack(list(out.values()))
    count = np.isfinite(every).sum(0)
    out[FUSED] = np.where(count > 0, np.nansum(every, axis=0) / np.maximum(count, 1), np.nan)
    return out


def transfer(encode_maps: Encode, place: Pair) -> dict[str, list[float]]:
    """Balanced accuracy of probes fitted on one sensor, the other or both and tested on each, over label draws.

    Returns
    -------
    dict
        ``"TRAIN>TEST"`` for TRAIN and TEST in `LOOKS`, and `DECISION`, -> one value for each draw. In these a probe scales
        all features by the pixels of its own sensors, so nothing of the other one is known to it. Under
        ``"own scale, TRAIN>TEST"`` the features of each sensor are scaled by that sensor's own unlabelled pixels.
    """
    maps, split = encode_maps(place.scene), place.split
    alone = [standardise(maps[n], split.side == TRAIN) for n in LOOKS]
    out = _crossed(
        {k: _scaled([maps[n] for n in v], [maps[n] for n in LOOKS], split) for k, v in _SOURCES.items()}, split
    )
    aligned = _crossed(dict.fromkeys(_SOURCES, alone), split)
    return out | {OWN_SCALE + name: values for name, values in aligned.items()}


def _crossed(scaled: Mapping[str, list[np.ndarray]], split: Split) -> dict[str, list[float]]:
    """Scores of the probe of each source on each look; ``scaled`` has, for each source, the maps of `LOOKS`."""
    out, chances = {}, []
    for source, names in _SOURCES.items():
        coef, intercept = _fitted([scaled[source][LOOKS.index(n)] for n in names], split)
        for test, x in zip(LOOKS, scaled[source], strict=True):
            logits = np.einsum("nf,dfk->dnk", x[split.test_pixels], coef) + intercept[:, None]
            out[f"{source}>{test}"] = [balanced_accuracy(split.test_y, guess) for guess in logits.argmax(-1)]
            if test == source:
                chance = np.exp(logits - logits.max(-1, keepdims=True))
                chances.append(chance / chance.sum(-1, keepdims=True))
    both = np.mean(chances[:2], axis=0)
    return out | {DECISION: [balanced_accuracy(split.test_y, p.argmax(-1)) for p in both]}


def matched(model: Model | None, data: Path) -> dict[str, Any]:
    """Matched spectra: is the other sensor's view of a pixel the nearest, and does a label of its scene carry over.

    Parameters
    ----------
    model : Model, optional
        None compares the bands themselves, brought to HLS's seven.

    Returns
    -------
    dict
        ``top1`` of Landsat 8 -> Sentinel-2 among all, and ``scene`` -> test sensor -> balanced accuracy of five draws:
        nine scenes, probe fitted on Sentinel-2 spectra of half the clusters, tested on each sensor's of the others.
    """
    given = spectra(data)
    said = {name: _raw_spectra(given, name) if model is None else _said(model, given, name) for name in given.bands}
    distance = torch.cdist(torch.from_numpy(said["oli8"]), torch.from_numpy(said["msi2a"]))
    top1 = float((distance.argmin(1) == torch.arange(len(distance))).float().mean())
    scores: dict[str, list[float]] = {name: [] for name in given.bands}
    for draw in range(5):
        teaches = _half_of_clusters(given, draw)
        centre, scale = said["msi2a"][teaches].mean(0), said["msi2a"][teaches].std(0) + 1e-6
        folds = group_folds(given.scene[teaches], given.cluster[teaches])
        x = ((said["msi2a"][teaches] - centre) / scale)[None]
        _, coef, intercept = fit_penalised(x, given.scene[teaches], folds[None])
        for name, values in said.items():
            guess = (((values[~teaches] - centre) / scale) @ coef[0] + intercept[0]).argmax(1)
            scores[name].append(balanced_accuracy(given.scene[~teaches], guess))
    return {"top1": top1, "n": len(distance), "scene": scores}


def unseen_sensors(encode_maps: Encode | None, data: Path, draws: int) -> dict[str, list[float]]:
    """Balanced accuracy on sensors that no row was trained on, 20 labels per class; EnMAP with all labels too.

    ``encode_maps`` None gives all bands of each sensor to the probe.
    """
    out = {}
    for name, (task, split) in unseen(data, draws).items():
        if encode_maps is None:
            one = next(iter(task.scene.modalities.values()))
            features = np.moveaxis(np.nanmean(one.read(slice(None), slice(None)), axis=0), 0, -1)
        else:
            features = encode_maps(task.scene)[FUSED]
        out[name] = score_features(features, split).balanced_accuracy[0].tolist()
        if name.startswith("EnMAP"):
            at, y, teaches = every_label(task)
            x = standardise(features, task.side == TRAIN)[at]
            folds = group_folds(y[teaches], task.groups.ravel()[at][teaches])
            _, coef, intercept = fit_penalised(x[teaches][None], y[teaches], folds[None])
            guess = (x[~teaches] @ coef[0] + intercept[0]).argmax(1)
            out[f"{name}, all labels of the upstream split"] = [balanced_accuracy(y[~teaches], guess)]
    return out


def by_bands(encode_maps: Encode, place: Pair) -> dict[str, list[float]]:
    """Balanced accuracy on Sentinel-2 with some of its bands.

    ``same``: learned and tested with those; ``lost``: learned with all, tested with those.
    """
    s2, out = place.scene["s2"], {}
    whole = encode_maps(place.scene.only("s2"))["s2"]
    for k in (k for k in BANDS_KEPT if k <= len(s2.bands)):
        part = whole if k == len(s2.bands) else encode_maps(_with(place.scene, s2=kept_bands(s2, k)))["s2"]
        out[f"{k}, same"] = score_features(part, place.split).balanced_accuracy[0].tolist()
        out[f"{k}, lost"] = _tested(whole, part, place.split)
    return out


def by_pixel(encode_maps: Encode, place: Pair) -> dict[str, list[float]]:
    """Balanced accuracy of a probe fitted on Sentinel-2 at 10 m and tested on the same pixels averaged to 20, 30, 60 m."""
    s2, split, out = place.scene["s2"], place.split, {}
    fine = encode_maps(place.scene.only("s2"))["s2"]
    for times in TIMES_COARSER:
        wide = fine if times == 1 else encode_maps(_with(place.scene, s2=coarser(s2, times)))["s2"]
        wide = wide.repeat(times, 0).repeat(times, 1) if times > 1 else wide
        pad = [(0, n - m) for n, m in zip(fine.shape[:2], wide.shape[:2], strict=True)]
        out[str(round(times * s2.pixel_m))] = _tested(fine, np.pad(wide, [*pad, (0, 0)], mode="edge"), split)
    return out


def _with(scene: Scene, **modalities: Any) -> Scene:
    return replace(scene, modalities=modalities)


def _with_neighbours(x: np.ndarray) -> np.ndarray:
    """(F, Y, X) to (Y, X, 3 F): values, then mean and spread of the measured among 5 x 5 neighbours."""
    seen = np.isfinite(x)
    n = np.maximum(ndimage.uniform_filter(seen.astype(np.float32), (0, 5, 5)), 1e-6)
    total, square = (ndimage.uniform_filter(np.where(seen, v, 0.0), (0, 5, 5)) / n for v in (x, x * x))
    spread = np.sqrt(np.maximum(square - total**2, 0.0))
    return np.moveaxis(np.concatenate([x, *(np.where(seen, v, np.nan) for v in (total, spread))]), 0, -1)


def _scaled(own: list[np.ndarray], wanted: list[np.ndarray], split: Split) -> list[np.ndarray]:
    """Maps (Y * X, F) scaled by what the training side looks like through the probe's own sensors.

    As `georeset_lab.evaluate.score.standardise` does: missing and constant become 0.
    """
    train = split.side == TRAIN
    inside = np.concatenate([m[train] for m in own]).astype(np.float64)
    seen = np.isfinite(inside)
    count = np.maximum(seen.sum(0), 1)
    centre = np.where(seen, inside, 0.0).sum(0) / count
    spread = np.sqrt((np.where(seen, inside - centre, 0.0) ** 2).sum(0) / count)
    scale = np.where(spread > 1e-6 * (np.abs(centre) + 1e-6), spread, np.inf).astype(np.float32)
    flat = ((m.reshape(-1, m.shape[2]) - centre.astype(np.float32)) / scale for m in wanted)
    return [np.where(np.isfinite(z), z, np.float32(0.0)) for z in flat]


def _fitted(looks: list[np.ndarray], split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Probes (draws, F, K) and (draws, K) on the labelled pixels as each look sees them."""
    pixels, folds = _stacked(split.draws)
    x = np.concatenate([look[pixels] for look in looks], axis=1)
    n = len(looks)
    weight = np.full(n * pixels.shape[1], 1.0 / n)
    _, coef, intercept = fit_penalised(x, np.tile(split.draws[0].y, n), np.tile(folds, (1, n)), sample_weight=weight)
    return coef, intercept


def _stacked(draws: tuple[Draw, ...]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([d.pixels for d in draws]), np.stack([d.folds for d in draws])


def _tested(learned: np.ndarray, tested: np.ndarray, split: Split) -> list[float]:
    """Balanced accuracy on one map of probes fitted on another of the same place."""
    own, other = _scaled([learned], [learned, tested], split)
    coef, intercept = _fitted([own], split)
    logits = np.einsum("nf,dfk->dnk", other[split.test_pixels], coef) + intercept[:, None]
    return [balanced_accuracy(split.test_y, guess) for guess in logits.argmax(-1)]


def _said(model: Model, given: Spectra, name: str) -> np.ndarray:
    """Mean embedding of each spectrum, as the middle of an even window of 10 m pixels without a date: (N, D)."""
    encoder, values = model.encoder, torch.from_numpy(given.reflectance[name])
    side = encoder.config.window * encoder.config.patch
    bands, middle = torch.from_numpy(band_table(given.bands[name])), torch.tensor([[[side // 2, side // 2]]])
    out = []
    with torch.inference_mode():
        for part in values.split(_SPECTRA_AT_ONCE):
            x = part[:, None, :, None, None].expand(-1, 1, -1, side, side).contiguous()
            day = torch.full((len(part), 1), torch.nan)
            where = middle.expand(len(part), 1, 2)
            out.append(encoder.crops(x, bands, cell_m=60.0, day_of_year=day, points=where).pixels.mean[:, 0])
    return torch.cat(out).numpy()


def _raw_spectra(given: Spectra, name: str) -> np.ndarray:
    from georeset_lab.models.rivals.hls import to_hls

    x = torch.from_numpy(given.reflectance[name])[:, :, None, None]
    return torch.nan_to_num(to_hls(x, torch.from_numpy(band_table(given.bands[name])), 30.0))[..., 0, 0].numpy()


def _half_of_clusters(given: Spectra, draw: int) -> np.ndarray:
    """(N,) bool: spectra of half the clusters of each scene."""
    rng, teaches = np.random.default_rng([draw, 11]), np.zeros(len(given.scene), dtype=bool)
    for s in np.unique(given.scene):
        mine = np.unique(given.cluster[given.scene == s])
        teaches |= np.isin(given.cluster, rng.permutation(mine)[: len(mine) // 2])
    return teaches
