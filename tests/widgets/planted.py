"""Small and large maps made of NumPy alone, for browser tests: no model, no torch, so that a kernel has them at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.embed.embeddings import Embeddings, Expert

if TYPE_CHECKING:
    from georeset_lab.data.scene import Scene

DIM = 8


def utm_grid(rows: int, cols: int, *, left: float = 700_000, top: float = 5_700_000) -> GeoBox:
    """A grid of 10 m in southern Chile; three degrees off its meridian, so that it is turned on a web map."""
    return GeoBox((rows, cols), Affine(10, 0, left, 0, -10, top), "EPSG:32718")


def planted_classes(rows: int, cols: int, *, classes: int = 4, seed: int = 0) -> np.ndarray:
    """Smooth patches of codes 0..classes-1, (rows, cols) int."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols] / max(rows, cols)
    fields = [
        np.sin(2 * np.pi * (rng.uniform(1, 3) * x + rng.uniform(1, 3) * y + rng.uniform()))
        + np.sin(2 * np.pi * (rng.uniform(-4, 4) * x + rng.uniform(-4, 4) * y + rng.uniform()))
        for _ in range(classes)
    ]
    return np.argmax(fields, axis=0)


def planted_embeddings(
    rows: int,
    cols: int,
    *,
    dim: int = DIM,
    precision: Mapping[str, float] | None = None,
    noise: float = 0.3,
    seed: int = 0,
) -> Embeddings:
    """Embeddings whose first dimensions tell the planted classes apart; precise modalities are certain ones."""
    codes = planted_classes(rows, cols, seed=seed)
    rng = np.random.default_rng(seed)
    experts = {}
    for name, tau in (precision or {"s2": 4.0, "s1": 1.0}).items():
        mean = 2 * np.eye(dim, dtype=np.float32)[codes] + noise * rng.standard_normal((rows, cols, dim), np.float32)
        weight = np.full(mean.shape, tau, np.float32) * rng.uniform(0.7, 1.3, (rows, cols, 1)).astype(np.float32)
        experts[name] = Expert(mean * weight, weight)
    return Embeddings(experts, utm_grid(rows, cols), attrs={"model": "planted", "model_hash": "abc"})


SCENE_SHAPE = (60, 72)


def planted_scene_classes() -> np.ndarray:
    """Land cover of `planted_scene`, (Y, X) int."""
    return np.asarray(_scene().truth["land_cover"].values).astype(int)


def planted_scene() -> tuple[Scene, Embeddings]:
    """A small simulated scene of three modalities, and embeddings that tell its land cover apart; no model is loaded."""
    scene, codes = _scene(), planted_scene_classes()
    rng = np.random.default_rng(0)
    experts = {}
    for name, precision in (("s2", 4.0), ("s1", 1.0), ("dem", 0.25)):
        mean = 2.0 * np.eye(DIM, dtype=np.float32)[codes] + 0.4 * rng.normal(size=(*codes.shape, DIM)).astype(
            np.float32
        )
        tau = np.full(mean.shape, precision, np.float32)
        experts[name] = Expert(mean * tau, tau)
    attrs = {"model": "planted", "model_hash": "abc"}
    return scene, Embeddings(experts, scene["s2"].grid, attrs=attrs, scene=scene)


@cache
def _scene() -> Scene:
    from georeset_lab.data.simulate import simulate_scene

    return simulate_scene(seed=0, size=SCENE_SHAPE, modalities=("s2", "s1", "dem"))
