"""Whether the variance notices what is wrong with a view: graded corruptions of real windows, and real clouds."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from georeset_lab.errors import GeoresetWarning, SceneReadError
from georeset_lab.evaluate.corrupt import STRENGTHS, corrupt, kinds_for
from georeset_lab.evaluate.windows import Windows
from georeset_lab.models.checkpoint import Model
from georeset_lab.models.encoder import Encoder
from georeset_lab.models.fusion import Gaussian, fuse
from georeset_lab.train.crops import View
from georeset_lab.train.looks import encode_view

_AT_ONCE = 12
_DATES = ("2015-07-11", "2015-07-31", "2015-08-20", "2015-08-30", "2015-09-09")


def corruption(model: Model, windows: Windows, series: Windows | None = None, *, seed: int = 0) -> dict[str, Any]:
    """Rank agreement of strength, variance and error, over all pairs of window and strength.

    Parameters
    ----------
    model : Model
    windows : Windows
        Places that the model has not seen.
    series : Windows, optional
        Windows of several dates, of which dates are dropped.
    seed : int
        Of the corruptions.

    Returns
    -------
    dict
        ``modality/kind`` -> Spearman of ``strength_variance``, of ``variance_error``, and of ``strength_error``: what a
        variance that is always right would reach; ``within``, that of strength and variance inside one window (mean
        over windows; 0 where the variance stays the same); ``by_strength`` (mean variance at strengths 0..5). The
        other modality's expert has no part in it: experts meet in the fusion only. Error is the mean squared distance
        of the expert's mean to the fused mean of the clean views.
    """
    found = _graded(model, windows, {n: kinds_for(v) for n, v in windows.views.items()}, seed)
    if series is not None:
        found |= _graded(model, series, dict.fromkeys(series.views, ("dates",)), seed)
    return found


def _graded(model: Model, windows: Windows, kinds: dict[str, tuple[str, ...]], seed: int) -> dict[str, Any]:
    clean = {name: experts(model.encoder, view) for name, view in windows.views.items()}
    truth = fuse(list(clean.values())).mean
    out: dict[str, Any] = {}
    for name, view in windows.views.items():
        for kind in kinds[name]:
            rows = []
            for strength in (0, *STRENGTHS):
                expert = experts(model.encoder, corrupt(view, kind, strength, seed))
                error = (expert.mean - truth).square().mean((1, 2))
                rows.append(torch.stack([torch.full_like(error, strength), expert.var.mean((1, 2)), error]))
            strength, variance, error = torch.stack(rows[1:], 1).numpy()
            out[f"{name}/{kind}"] = {
                "strength_variance": _spearman(strength, variance),
                "variance_error": _spearman(variance, error),
                "strength_error": _spearman(strength, error),
                "within": float(np.mean([_spearman(s, v) for s, v in zip(strength.T, variance.T, strict=True)])),
                "by_strength": [round(float(r[1].mean()), 4) for r in rows],
            }
    return out


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman over all values; 0 if one side never changes."""
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second, axis=None).statistic)


@torch.inference_mode()
def experts(encoder: Encoder, view: View) -> Gaussian:
    """Experts (N, P, D) of the points of a view, a few windows at a time."""
    n, p = view.points.shape[:2]
    parts = []
    for i in range(0, n, _AT_ONCE):
        part = slice(i, i + _AT_ONCE)
        some = View(
            view.modality, view.pixels[part], view.bands, view.cell_m, view.day_of_year[part], view.points[part]
        )
        parts.append(encode_view(encoder, some)[0])
    return Gaussian(*(torch.cat(z).view(n, p, -1) for z in zip(*parts, strict=True)))


def real_clouds(model: Model, data: Path) -> dict[str, Any]:
    """AUROC with which the variance of a pixel finds real clouds, over five dates of one place, two of them cloudy.

    Parameters
    ----------
    model : Model
    data : path
        Folder with ``eolearn-testeopatch``.

    Returns
    -------
    dict
        ``auroc`` (variance, mean over dimensions, against the mask of s2cloudless, all pixels of all dates), ``cloudy``
        (share of pixels under cloud) and ``by_date`` (mean variance). Each date is encoded alone, without any mask.

    Raises
    ------
    SceneReadError
        The files are not there.
    """
    from sklearn.metrics import roc_auc_score

    from georeset_lab.data.load import load_scene
    from georeset_lab.embed.encode import encode

    folder = data / "eolearn-testeopatch"
    if not folder.is_dir():
        raise SceneReadError(f"{folder} is not there; pass the folder that holds eolearn-testeopatch.")
    with np.load(folder / "ndvi_cloud_68dates.npz") as stored:
        days = [str(t)[:10] for t in stored["timestamps"]]
        masks = {d: np.asarray(stored["clm_s2cloudless"][days.index(d)]) for d in _DATES}
    variances = {}
    for date in _DATES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GeoresetWarning)  # units of these files were checked by hand
            scene = load_scene({"s2": folder / f"S2_L1C_{date}.tif"}, sensors={"s2": "sentinel-2-l1c"})
        emb = encode(scene, model=model, dtype="float32", device="cpu", progress=False)
        variances[date] = np.asarray(emb.variance.values).mean(0)
    cloud, said = (np.concatenate([np.ravel(z[d]) for d in _DATES]) for z in (masks, variances))
    return {
        "auroc": float(roc_auc_score(cloud, said)),
        "cloudy": float(cloud.mean()),
        "by_date": {d: round(float(v.mean()), 4) for d, v in variances.items()},
    }
