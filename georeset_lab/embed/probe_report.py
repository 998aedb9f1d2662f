"""The table that stands beside every probe: held-out scores of the embedding and of the strong cheap baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.embed.probe_cv import METRICS, CrossFit, Features
from georeset_lab.embed.raw import pixel_features
from georeset_lab.errors import GridMismatch, NothingObserved

if TYPE_CHECKING:
    import pandas as pd
    from odc.geo.geobox import GeoBox

    from georeset_lab.data.scene import Scene

__all__ = ["BASELINES", "baselines", "report_table"]

BASELINES = {"raw bands": False, "raw bands + 5x5 statistics": True}
"""Row of the report -> whether the 5 x 5 mean and spread are added."""


def baselines(
    scene: Scene | None, grid: GeoBox, pixels: np.ndarray, background: np.ndarray
) -> tuple[dict[str, Features], tuple[str, ...]]:
    """What the sensors measured at the labelled pixels, standardised by the same background as the embedding.

    Returns
    -------
    features : dict
        One entry for each of `BASELINES`; empty if they cannot be made.
    notes : tuple of str
        Why not.
    """
    if scene is None:
        return {}, ("no baseline rows: the embeddings hold no scene; pass fit_probe(..., scene=scene)",)
    out = {}
    try:
        for name, statistics in BASELINES.items():
            flat = pixel_features(scene, grid, statistics=statistics)
            flat = flat.reshape(-1, flat.shape[2])
            out[name] = Features.of(flat[pixels], background=flat[background])
    except (GridMismatch, NothingObserved) as err:
        return {}, (f"no baseline rows: {err}",)
    return out, ()


def report_table(rows: Mapping[str, CrossFit], *, n_labels: int, n_folds: int, notes: tuple[str, ...]) -> pd.DataFrame:
    """One row per kind of features: mean and standard deviation over the folds of each metric; NaN without folds."""
    import pandas as pd

    table = {}
    for name, cross in rows.items():
        row: dict[str, float] = {}
        for metric in METRICS:
            values = cross.fold_scores.get(metric, np.array([np.nan]))
            row[metric] = float(values.mean())
            row[f"{metric}_sd"] = float(values.std(ddof=1)) if values.size > 1 else float("nan")
        table[name] = row | {"C": cross.penalty, "temperature": cross.temperature, "labels": n_labels, "folds": n_folds}
    frame = pd.DataFrame.from_dict(table, orient="index")
    frame.index.name = "features"
    frame.attrs["notes"] = list(notes)
    return frame
