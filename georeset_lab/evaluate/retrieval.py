"""Radar finds its optical twin among windows of real places, and the other way round; the variance should know when not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from georeset_lab.embed.risk import aurc, bootstrap_interval, r_auroc, risk_coverage
from georeset_lab.evaluate.corrupt import STRENGTHS, corrupt
from georeset_lab.evaluate.robust import experts
from georeset_lab.evaluate.windows import Windows
from georeset_lab.losses.pmi import pmi_scores
from georeset_lab.models.checkpoint import Model
from georeset_lab.models.fusion import Gaussian
from georeset_lab.train.looks import encode_view

RANKS = (1, 5, 10)
LEVELS = ("scene", "aligned", "spoilt")
"""What is compared: what the encoder says of a whole window by one sensor and by the other; of each of its points with
the same point of the other; and of a whole window of Sentinel-2 that is spoilt, with the same window as it was."""

MISS_RANK = {"scene": 10, "aligned": 10, "spoilt": 1}
"""Rank up to which a window counts as found where the variance is asked for the misses. Between sensors so few are found
at rank 1, most of them by chance, that nothing can be said of who they are."""

_SPOILT = ("cloud", "haze", "noise", "bands")

_CURVE = 10


def retrieval(model: Model, windows: Windows, seed: int = 0) -> dict[str, Any]:
    """Recall at 1, 5, 10 between Sentinel-1 and Sentinel-2, with and without the variance in the score.

    Parameters
    ----------
    model : Model
    windows : Windows
        Each window of one sensor is a query among all windows of the other, but for those of the same ground on
        another date: they are neither hits nor misses.
    seed : int
        Of the corruptions.

    Returns
    -------
    dict
        ``chance`` (recall at 1), ``windows`` (their number) and, for each of `LEVELS`: ``pmi`` and ``cosine`` -> recall
        by rank, mean of both directions; ``better``, the score that finds more at rank 1; ``hits``, the queries that it
        finds up to `MISS_RANK`; and of the summed variance of the query for the others ``r_auroc`` with its 95 %
        interval over grounds, ``aurc``, and ``curve``, the ``risk`` at ten shares of ``coverage``; ``r_auroc_norm`` is
        the same of the (negative) norm of the mean.
        ``aligned`` scores two windows by the sum of the scores of their points, which for the cosine is that of all
        means in one vector. ``spoilt`` asks for Sentinel-2's windows by themselves under every corruption of `_SPOILT` at
        every strength. Without any miss, or any hit, there is nothing to tell apart, and only recalls.
    """
    ground = torch.from_numpy(windows.ground)
    rival = ground[:, None] != ground
    out: dict[str, Any] = {"chance": float((1 / (1 + rival.sum(1).double())).mean()), "windows": len(ground)}
    for level in LEVELS[:2]:
        s1, s2 = (_said(model, windows, name, level) for name in ("s1", "s2"))
        # Queries of one sensor are compared with their like: radar is always less sure than light.
        out[level] = _found([(s1, s2), (s2, s1)], rival, windows.ground, MISS_RANK[level], like_with_like=True)
    spoilt = _spoilt(model, windows, seed)
    out["spoilt"] = _found(spoilt, rival, windows.ground, MISS_RANK["spoilt"], like_with_like=False)
    return out


def _found(
    pairs: list[tuple[Gaussian, Gaussian]], rival: torch.Tensor, ground: np.ndarray, rank: int, *, like_with_like: bool
) -> dict[str, Any]:
    """Recalls and what the variance says of the misses, from pairs of queries and gallery, (N, D) each."""
    scores: dict[str, list[torch.Tensor]] = {
        "pmi": [pmi_scores(*q, *g) for q, g in pairs],
        "cosine": [F.normalize(q.mean, dim=-1) @ F.normalize(g.mean, dim=-1).T for q, g in pairs],
    }
    out: dict[str, Any] = {}
    ranks = {}
    for name, several in scores.items():
        ranks[name] = np.concatenate([_rank(score, rival) for score in several])
        out[name] = {f"R@{k}": float((ranks[name] < k).mean()) for k in RANKS}
    out["better"] = max(ranks, key=lambda name: float((ranks[name] < 1).mean()))
    wrong = ranks[out["better"]] >= rank
    out["hits"] = int((~wrong).sum())
    order = _ranked if like_with_like else np.asarray
    variance = np.concatenate([order(q.var.sum(-1).numpy()) for q, _ in pairs])
    norm = np.concatenate([order(-q.mean.norm(dim=-1).numpy()) for q, _ in pairs])
    if 0 < wrong.sum() < len(wrong):
        low, high = bootstrap_interval(r_auroc, wrong, variance, groups=np.tile(ground, len(pairs)), draws=500, seed=0)
        out |= {"r_auroc": r_auroc(wrong, variance), "r_auroc_interval": [low, high]}
        out |= {"r_auroc_norm": r_auroc(wrong, norm), "aurc": aurc(wrong.astype(float), variance)}
        out["curve"] = _curve(wrong, variance)
    return out


def _said(model: Model, windows: Windows, name: str, level: str) -> Gaussian:
    """What the encoder says of each window, (N, D), or of all its points side by side, (N, P D)."""
    view = windows.views[name]
    if level == "aligned":
        return Gaussian(*(z.flatten(1) for z in experts(model.encoder, view)))
    with torch.inference_mode():
        return encode_view(model.encoder, view)[1]


def _spoilt(model: Model, windows: Windows, seed: int) -> list[tuple[Gaussian, Gaussian]]:
    """Whole windows of Sentinel-2 under each corruption and strength, and as they were."""
    clean, view = _said(model, windows, "s2", "scene"), windows.views["s2"]
    with torch.inference_mode():
        return [
            (encode_view(model.encoder, corrupt(view, kind, strength, seed))[1], clean)
            for kind in _SPOILT
            for strength in STRENGTHS
        ]


def _rank(score: torch.Tensor, rival: torch.Tensor) -> np.ndarray:
    """Place of the true twin of each row among its rivals, 0 = first; ties count against it, and so does NaN."""
    own = score.diagonal()[:, None]
    return np.asarray((~(score < own) & rival).sum(1).numpy())


def _curve(wrong: np.ndarray, variance: np.ndarray) -> dict[str, list[float]]:
    """Share of misses among the surest 10 %, 20 %, ... 100 % of the queries."""
    coverage, risk = risk_coverage(wrong.astype(float), variance)
    shares = np.arange(1, _CURVE + 1) / _CURVE
    at = np.minimum(np.searchsorted(coverage, shares - 1e-9), len(risk) - 1)
    return {"coverage": shares.tolist(), "risk": [round(float(r), 4) for r in risk[at]]}


def _ranked(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values) / len(values))
