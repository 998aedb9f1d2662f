"""The simulator against a real place: what is learnt on simulated pixels alone must hold on a Sentinel-2 chip in Chile."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from georeset_lab.data.place import CLASSES
from georeset_lab.data.simulate import simulate_scene

LULC_CODES = {"water": 1, "trees": 2, "crops": 4, "built": 5}
"""Codes of the chip's land-cover layer, from its SOURCE.md; only these four classes are trained and scored."""


def _simulated_pixels(seed, per_class=80):
    """Up to ``per_class`` clear pixels of each class and date: reflectance (N, 12) and class names (N,)."""
    scene = simulate_scene(seed=seed, size=(120, 120), modalities=("s2",))
    truth, values = scene.truth, scene["s2"].data.values
    land = truth.land_cover.values.copy()
    # That map counts sown and fenced grass as crops: "planted cereals, grasses and crops not at tree height".
    land[(land == CLASSES.index("grassland")) & (truth.parcel.values >= 0)] = CLASSES.index("crops")
    rng = np.random.default_rng(seed)
    x, y = [], []
    for one_date in values:
        usable = np.isfinite(one_date[0]) & (truth.change.values == 0)
        for name in LULC_CODES:
            places = np.flatnonzero((usable & (land == CLASSES.index(name))).ravel())
            chosen = rng.choice(places, min(per_class, len(places)), replace=False)
            x.append(one_date.reshape(12, -1)[:, chosen].T)
            y.append(np.full(len(chosen), name))
    return np.concatenate(x), np.concatenate(y)


def _chile(folder: Path):
    """Reflectance (N, 12) and land-cover codes (N,); this chip carries the +1000 offset of baseline 04.00."""
    rasterio = pytest.importorskip("rasterio")
    chip = folder / "terramind-chips" / "433D_629L_3_1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # affine's, inside rasterio
        with rasterio.open(chip / "S2L2A.tif") as source:
            values = (source.read().astype(float) - 1000) / 10000
        with rasterio.open(chip / "LULC.tif") as source:
            codes = source.read(1)
    return values.reshape(12, -1).T, codes.ravel()


@pytest.mark.real_data
@pytest.mark.slow
def test_a_classifier_of_simulated_pixels_knows_real_water_trees_crops_and_built(shared_data):
    from sklearn.ensemble import RandomForestClassifier

    values, codes = _chile(shared_data)
    recalls = []
    for first in (1, 11, 21):
        parts = [_simulated_pixels(seed) for seed in range(first, first + 10)]
        x, y = (np.concatenate(p) for p in zip(*parts, strict=True))
        center, spread = x.mean(0), x.std(0)
        forest = RandomForestClassifier(
            60, min_samples_leaf=5, max_samples=0.4, class_weight="balanced", random_state=0
        )
        forest.fit((x - center) / spread, y)
        said = forest.predict((values - center) / spread)
        recalls.append([(said[codes == code] == name).mean() for name, code in LULC_CODES.items()])
    scores = np.mean(recalls, axis=1)
    said_so = f"balanced accuracy {scores.mean():.3f} ({scores.min():.3f} to {scores.max():.3f}): {np.mean(recalls, 0)}"
    assert scores.mean() >= 0.5, said_so
    assert scores.min() > 0.45, said_so
