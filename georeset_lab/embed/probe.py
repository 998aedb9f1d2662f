"""`fit_probe`: from a map and labels to a `Probe`, its held-out scores and the cheap baselines beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.labels import read_labels
from georeset_lab.embed.probing.blocks import make_folds
from georeset_lab.embed.probing.conformal import ALPHA
from georeset_lab.embed.probing.cv import Features, cross_fit
from georeset_lab.embed.probing.data import (
    BACKGROUND_PIXELS,
    MAX_PER_CLASS,
    gather,
    gather_alone,
    spread_pixels,
    usable_labels,
)
from georeset_lab.embed.probing.model import Probe, check_classes
from georeset_lab.embed.probing.report import baselines, report_table

if TYPE_CHECKING:
    from georeset_lab.data.scene import Scene
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["Probe", "fit_probe"]


def fit_probe(
    emb: Embeddings,
    labels: Any,
    *,
    scene: Scene | None = None,
    seed: int = 0,
    folds: int = 5,
    block_m: float | None = None,
    penalty: float | None = None,
    max_per_class: int = MAX_PER_CLASS,
    partial: bool = True,
    alpha: float = ALPHA,
) -> Probe:
    """Classifier of a map's embeddings from labels, scored on places it was not fitted on.

    Parameters
    ----------
    emb : Embeddings
    labels : as `georeset_lab.data.labels.read_labels` takes them
        Points, polygons, clicks, a raster; or a `LabelSet`, for options such as another column.
    scene : Scene, optional
        For the baselines of the report; ``emb.scene`` by default. Without one those rows are left out, with a note.
    seed : int
        Drives the choice of pixels and folds.
    folds : int
        At most so many; see `georeset_lab.embed.probing.blocks.make_folds` for what few labels allow.
    block_m : float, optional
        Side of the ground blocks that are held out together, in metres.
    penalty : float, optional
        C; chosen by held-out log loss by default.
    max_per_class : int
        Labelled pixels used of each class, spread over its polygons.
    partial : bool
        Show the probe every labelled pixel also as each sensor alone sees it, so that it holds on maps where one is
        missing (``emb.without``) or spoilt. It is still scored on the fused ones. Nothing changes with one sensor.
    alpha : float
        Share of places whose true class may be missing from their prediction set.

    Raises
    ------
    LabelError
        Labels are empty, of one class, outside the scene, ...
    NothingObserved
        No labelled pixel was observed.

    Notes
    -----
    Without ``partial`` a mean that has withdrawn to the prior, for lack of a sensor, is read as a class of its own: under
    a cloud the probe then falls below one that never used the clouded sensor (``georeset evaluate partial``). These looks
    count a fifth (`LOOK_WEIGHT`), so that they cost the fused map next to nothing.
    """
    found = read_labels(labels, emb.grid)
    used, notes = usable_labels(found, emb.observed, max_per_class=max_per_class, seed=seed)
    pixels, codes = used.pixels
    background = spread_pixels(emb.observed, BACKGROUND_PIXELS)
    mean, variance = gather(emb, np.concatenate([pixels, background]))
    known = variance[: pixels.size] if np.isfinite(variance).all() else None
    alone = gather_alone(emb, pixels) if partial and len(emb.modalities) > 1 else ()
    features = Features.of(mean[: pixels.size], known, mean[pixels.size :], partial=alone)
    probe = Probe(penalty=penalty, seed=seed, alpha=alpha)
    check_classes(used.classes)
    made = make_folds(used, pixels, codes, n_folds=folds, block_m=block_m, seed=seed)
    cross = probe.fit_features(features, codes, used.classes, made.splits(), made.units)
    scene = scene if scene is not None else getattr(emb, "scene", None)
    others, more = baselines(scene, emb.modalities, emb.grid, pixels, background)
    rows = {"embedding": cross} | {
        name: cross_fit(f, codes, made.splits(), n_classes=len(used.classes), alpha=alpha) for name, f in others.items()
    }
    probe.notes_ = (*notes, *made.notes, probe.set_note_, *more)
    probe.report_ = report_table(rows, n_labels=codes.size, n_folds=made.n, notes=probe.notes_)
    probe.provenance_ = {
        **{k: v for k, v in emb.attrs.items() if isinstance(v, str | int | float | bool | list)},
        "modalities": list(emb.modalities),
        "labels": used.counts,
        "folds": made.n,
        "seed": seed,
    }
    return probe
