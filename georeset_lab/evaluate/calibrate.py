"""Predicted variance against realised error on places never seen, with a scale fitted elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from georeset_lab.embed.uncertainty import calibration, fit_scale, recalibrate
from georeset_lab.evaluate.corrupt import corrupt
from georeset_lab.evaluate.robust import experts
from georeset_lab.evaluate.windows import Windows
from georeset_lab.models.checkpoint import Model
from georeset_lab.models.fusion import Gaussian, fuse

_VIEWS = (
    ("s1", None, 0),
    ("s2", None, 0),
    ("s2", "cloud", 2),
    ("s2", "cloud", 4),
    ("s2", "haze", 3),
    ("s2", "bands", 3),
)
"""What is asked to predict: a modality, alone or with a corruption of a strength; with the other modality or without."""


def calibrated(model: Model, test: Windows, other: Windows, seed: int = 0) -> dict[str, Any]:
    """Calibration of single experts and of fused ones on test places.

    Parameters
    ----------
    model : Model
    test, other : Windows
        Places never seen, and the places on which one factor for the variance of experts, and one for fused ones, is
        fitted.
    seed : int

    Returns
    -------
    dict
        ``expert`` and ``fused`` -> ``slope`` of realised against predicted error, ``ratio`` of the errors of the top and
        the bottom tenth by predicted variance, ``spearman``, ``scale`` (the factor, a median over places: one snowy place
        must not decide for all) and ``scales`` of each; ``slope_unscaled``. The truth is the fused mean of the clean views
        of both sensors, in the dimensions that they settle; an encoder that settles none has no entry.
    """
    found: dict[str, Any] = {}
    for kind in ("expert", "fused"):
        parts = {role: _cases(model, windows, kind, seed) for role, windows in (("test", test), ("other", other))}
        places = np.tile(
            np.repeat(other.place, other.views["s2"].points.shape[1]), len(parts["other"][0]) // _points(other)
        )
        settled = [p for p in range(len(other.names)) if np.isfinite(parts["other"][2][places == p]).any()]
        if not settled or not np.isfinite(parts["test"][2]).any():
            continue
        each = [fit_scale(*(z[places == p] for z in parts["other"])) for p in settled]
        scale = float(np.median(each))
        mean, variance, truth = parts["test"]
        scaled = calibration(mean, recalibrate(variance, scale), truth)
        found[kind] = {
            "slope": scaled.pooled.slope,
            "slope_unscaled": calibration(mean, variance, truth).pooled.slope,
            "ratio": scaled.pooled.ratio,
            "spearman": scaled.spearman,
            "scale": scale,
            "scales": [round(e, 3) for e in each],
        }
    return found


def _points(windows: Windows) -> int:
    return int(np.prod(windows.views["s2"].points.shape[:2]))


def _cases(model: Model, windows: Windows, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance and truth, (N, D), of all windows, points and cases."""
    clean = {name: experts(model.encoder, view) for name, view in windows.views.items()}
    whole = fuse(list(clean.values()))
    truth = torch.where(whole.var < 0.5, whole.mean, torch.nan)
    columns: list[tuple[torch.Tensor, torch.Tensor]] = []
    for name, how, strength in _VIEWS:
        view = windows.views[name]
        mine = experts(model.encoder, corrupt(view, how, strength, seed)) if how else clean[name]
        others = [e for n, e in clean.items() if n != name]
        if kind == "fused" and not how:
            continue  # clean and fused is the truth itself
        said: Gaussian = fuse([mine, *others]) if kind == "fused" else mine
        columns.append((said.mean, said.var))
    stacked = [torch.cat([c[i].flatten(0, 1) for c in columns]).double().numpy() for i in (0, 1)]
    return stacked[0], stacked[1], np.tile(truth.flatten(0, 1).double().numpy(), (len(columns), 1))
