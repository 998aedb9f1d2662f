"""The table that stands beside every probe: held-out scores of the embedding and of the strong cheap baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.embed.probing.cv import METRICS, CrossFit, Features
from georeset_lab.embed.probing.raw import features_at
from georeset_lab.errors import GridMismatch, NothingObserved

if TYPE_CHECKING:
    import pandas as pd
    from odc.geo.geobox import GeoBox

    from georeset_lab.data.scene import Scene

__all__ = ["BASELINES", "baselines", "report_table"]

BASELINES = {"raw bands": False, "raw bands + 5x5 statistics": True}
"""Row of the report -> whether the 5 x 5 mean and spread are added."""
MAX_FEATURES = 128
"""More (a hyperspectral cube with statistics has 700) are reduced to their main components."""


def baselines(
    scene: Scene | None, modalities: Sequence[str], grid: GeoBox, pixels: np.ndarray, background: np.ndarray
) -> tuple[dict[str, Features], tuple[str, ...]]:
    """What the sensors measured at the labelled pixels, standardised by the same background as the embedding.

    Parameters
    ----------
    modalities : sequence of str
        Those that the embedding was made of; the others of the scene are left out, if these are there.

    Returns
    -------
    features : dict
        One entry for each of `BASELINES`; empty if they cannot be made.
    notes : tuple of str
        Why not, or what was reduced.
    """
    if scene is None:
        return {}, ("no baseline rows: the embeddings hold no scene; pass fit_probe(..., scene=scene)",)
    if set(modalities) <= set(scene.modalities):
        scene = scene.only(*modalities)
    out, notes = {}, []
    try:
        for name, statistics in BASELINES.items():
            values = features_at(scene, grid, np.concatenate([pixels, background]), statistics=statistics)
            out[name], share = _features(values[: pixels.size], values[pixels.size :])
            if share < 1:
                what = f"{values.shape[1]} features as {MAX_FEATURES} main components"
                notes.append(f"{name}: {what} ({share:.1%} of the variance)")
    except (GridMismatch, NothingObserved) as err:
        return {}, (f"no baseline rows: {err}",)
    return out, tuple(notes)


def _features(x: np.ndarray, background: np.ndarray) -> tuple[Features, float]:
    """Standardised samples, as their main components if they are too many to fit in seconds (hyperspectral)."""
    plain = Features.of(x, background=background)
    dim = x.shape[1]
    if dim <= MAX_FEATURES:
        return plain, 1.0
    z = (background - plain.center) / plain.scale
    power, axes = np.linalg.eigh(z.T @ z)
    # Not rescaled: the penalty then weighs directions as it does for the features themselves.
    axes = axes[:, ::-1][:, :MAX_FEATURES]
    rotated = (plain.x - plain.center) / plain.scale @ axes
    share = float(power[::-1][:MAX_FEATURES].sum() / power.sum())
    return Features(rotated, None, np.zeros(MAX_FEATURES), np.ones(MAX_FEATURES)), share


def report_table(rows: Mapping[str, CrossFit], *, n_labels: int, n_folds: int, notes: tuple[str, ...]) -> pd.DataFrame:
    """One row per kind of features: mean and standard deviation over the folds of each metric; NaN without folds."""
    import pandas as pd

    table = {}
    for name, cross in rows.items():
        row: dict[str, float] = {}
        for metric in METRICS:
            values = cross.fold_scores.get(metric, np.array([]))
            values = values[np.isfinite(values)]
            row[metric] = float(values.mean()) if values.size else float("nan")
            row[f"{metric}_sd"] = float(values.std(ddof=1)) if values.size > 1 else float("nan")
        table[name] = row | {
            "C": cross.penalty,
            "temperature": np.nan if cross.temperature is None else cross.temperature,
            "labels": n_labels,
            "folds": n_folds,
        }
    frame = pd.DataFrame.from_dict(table, orient="index")
    frame.index.name = "features"
    frame.attrs["notes"] = list(notes)
    return frame
