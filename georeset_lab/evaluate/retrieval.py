"""Radar finds its optical twin among windows of real places, and the other way round; the variance should know when not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from georeset_lab.embed.risk import aurc, bootstrap_interval, r_auroc
from georeset_lab.evaluate.windows import Windows
from georeset_lab.losses.pmi import pmi_scores
from georeset_lab.models.checkpoint import Model
from georeset_lab.models.fusion import Gaussian
from georeset_lab.train.looks import encode_view

RANKS = (1, 5, 10)


def retrieval(model: Model, windows: Windows) -> dict[str, Any]:
    """Recall at 1, 5, 10 between Sentinel-1 and Sentinel-2, with and without the variance in the score.

    Parameters
    ----------
    model : Model
    windows : Windows
        Each window of one sensor is a query among all windows of the other.

    Returns
    -------
    dict
        ``pmi`` and ``cosine`` -> recall by rank, mean of both directions; ``chance`` (recall at 1); ``r_auroc`` with its
        95 % interval over windows, and ``aurc``, of the summed variance of the query for misses at rank 1 under the
        score that finds more; ``r_auroc_norm``, the same of the (negative) norm of the mean.
    """
    with torch.inference_mode():
        scenes = {name: _scenes(model, windows, name) for name in ("s1", "s2")}
        scores = {
            "pmi": pmi_scores(*scenes["s1"], *scenes["s2"]),
            "cosine": F.normalize(scenes["s1"].mean, dim=-1) @ F.normalize(scenes["s2"].mean, dim=-1).T,
        }
    n = len(windows.place)
    out: dict[str, Any] = {"chance": 1 / n, "windows": n}
    ranks = {}
    for name, score in scores.items():
        ranks[name] = np.concatenate([_rank(score), _rank(score.T)])
        out[name] = {f"R@{k}": float((ranks[name] < k).mean()) for k in RANKS}
    best = max(ranks, key=lambda name: float((ranks[name] < 1).mean()))
    wrong = ranks[best] >= 1
    sides = [scenes["s1"], scenes["s2"]]
    # Queries of one sensor are compared with their like: radar is always less sure than light.
    variance = np.concatenate([_ranked(e.var.sum(-1).numpy()) for e in sides])
    norm = np.concatenate([_ranked(-e.mean.norm(dim=-1).numpy()) for e in sides])
    if 0 < wrong.sum() < len(wrong):
        groups = np.tile(np.arange(n), 2)
        low, high = bootstrap_interval(r_auroc, wrong, variance, groups=groups, draws=500, seed=0)
        out |= {"r_auroc": r_auroc(wrong, variance), "r_auroc_interval": [low, high]}
        out |= {"r_auroc_norm": r_auroc(wrong, norm), "aurc": aurc(wrong.astype(float), variance)}
    return out


def _scenes(model: Model, windows: Windows, name: str) -> Gaussian:
    return encode_view(model.encoder, windows.views[name])[1]


def _rank(score: torch.Tensor) -> np.ndarray:
    """Place of the true twin of each row, 0 = first; ties count against it, and so does NaN."""
    own = score.diagonal()[:, None]
    return np.asarray(((~(score < own)).sum(1) - 1).numpy())


def _ranked(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values) / len(values))
