"""Ways of fusing what several sensors say for a probe, and the score of each when some of it is missing or wrong."""

from __future__ import annotations

import numpy as np

from georeset_lab.embed.probing.cv import LOOK_WEIGHT
from georeset_lab.embed.probing.metrics import aurc, ece, nll
from georeset_lab.evaluate.score import balanced_accuracy, fit_penalised, standardise
from georeset_lab.evaluate.splits import TRAIN, Split

FUSIONS = ("product", "mean", "concatenation", "late", "product, fused labels only")
"""Product of experts (ours); mean of the experts' means; their concatenation; mean of the probabilities of one probe for
each sensor. The first three are fitted on every label as all sensors see it and as each alone does, weighed as in
`georeset_lab.embed.probe.fit_probe`; the last one is the first without the latter."""

Maps = dict[str, np.ndarray]
"""(Y, X, D) means: ``fused`` and each sensor's."""


def scored(maps: dict[str, Maps], fusion: str, split: Split) -> dict[str, dict[str, list[float]]]:
    """Scores of a way of fusing under each condition; the probe is fitted on ``maps["clean"]``.

    Parameters
    ----------
    maps : condition -> maps
        ``clean`` has all sensors.
    fusion : one of `FUSIONS`
    split : Split
        One size of label draws.

    Returns
    -------
    dict
        condition -> metric -> list over draws.
    """
    clean = maps["clean"]
    chances: dict[str, list[np.ndarray]] = {c: [] for c in maps}
    asked = {condition: inputs(m, fusion, clean) for condition, m in maps.items()}
    for k, whole in enumerate(asked["clean"]):
        assert whole is not None
        looks = [whole] if fusion in ("late", FUSIONS[-1]) else [whole, *partial(clean, fusion)]
        coef, intercept = _fitted(looks, split)
        for condition, columns in asked.items():
            column = columns[k]
            if column is None:
                continue
            test = like(column, whole, split)[split.test_pixels]
            logits = np.einsum("nf,dfk->dnk", test, coef) + intercept[:, None]
            chance = np.exp(logits - logits.max(-1, keepdims=True))
            chances[condition].append(chance / chance.sum(-1, keepdims=True))
    return {condition: _scores(split.test_y, np.mean(several, axis=0)) for condition, several in chances.items()}


def inputs(maps: Maps, fusion: str, clean: Maps) -> list[np.ndarray | None]:
    """Feature maps of the probes of a fusion: one, or for ``late`` one for each sensor, None where it is missing.

    ``mean`` is over the sensors that are there; in ``concatenation`` a missing one is NaN, which `standardise` turns into
    its mean over the scene.
    """
    sensors = [name for name in clean if name != "fused"]
    if fusion.startswith("product"):
        return [maps["fused"]]
    if fusion == "late":
        return [maps.get(name) for name in sensors]
    if fusion == "mean":
        return [np.mean([maps[name] for name in sensors if name in maps], axis=0)]
    return [np.concatenate([maps.get(name, np.full_like(clean[name], np.nan)) for name in sensors], axis=2)]


def partial(clean: Maps, fusion: str) -> list[np.ndarray]:
    """The clean scene as each sensor alone sees it."""
    alone = [inputs({"fused": part, name: part}, fusion, clean)[0] for name, part in clean.items() if name != "fused"]
    return [a for a in alone if a is not None]


def like(features: np.ndarray, clean: np.ndarray, split: Split) -> np.ndarray:
    """Features (Y * X, F) scaled as the clean ones of the training side are."""
    both = np.concatenate([clean, features], axis=0)
    side = np.concatenate([split.side == TRAIN, np.zeros_like(split.side, dtype=bool)], axis=0)
    return standardise(both, side)[clean.shape[0] * clean.shape[1] :]


def _fitted(looks: list[np.ndarray], split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Weights (draws, F, K) and intercepts (draws, K) of probes on all looks at the labelled pixels."""
    pixels, folds = (np.stack([getattr(d, name) for d in split.draws]) for name in ("pixels", "folds"))
    x = np.concatenate([like(look, looks[0], split)[pixels] for look in looks], axis=1)
    n = len(looks)
    weight = np.repeat([1.0] + [LOOK_WEIGHT] * (n - 1), pixels.shape[1])
    y, groups = np.tile(split.draws[0].y, n), np.tile(folds, (1, n))
    _, coef, intercept = fit_penalised(x, y, groups, sample_weight=weight)
    return coef, intercept


def _scores(y: np.ndarray, proba: np.ndarray) -> dict[str, list[float]]:
    """Metrics of each draw (D, N, K)."""
    return {
        "balanced_accuracy": [balanced_accuracy(y, p.argmax(1)) for p in proba],
        "nll": [nll(y, p) for p in proba],
        "ece": [ece(y, p) for p in proba],
        "aurc": [aurc(y, p) for p in proba],
    }
