"""How near ``encode(fast=True)`` stays to ``encode``: cosines of the means on real scenes, and what it costs.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_fast

Every pixel that was measured counts, those at clouds and edges too. Seconds are processor seconds of one thread, the
better of three runs that take turns.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import torch

import georeset_lab as gl
from georeset_lab.errors import GeoresetWarning
from tests.conftest import _shared_folder

SCENES = ("majortom-s2l2a-199U_1099R", "rstoolbox-sentinel2-para", "landsat8-sattestdata", "rstoolbox-landsat5-para")
MAPS: dict[str, dict[str, Any]] = {
    "its pixels": {},
    "6 pixels": {"coarse": 6},
    "160 m, cells of 160 m": {"resolution_m": 160.0, "cell_m": 160.0},
}


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of two maps (D, Y, X) where the first says something."""
    sizes = [np.linalg.norm(z, axis=0) for z in (a, b)]
    some = sizes[0] > 0
    return np.asarray((a * b).sum(0)[some] / np.maximum(sizes[0] * sizes[1], 1e-12)[some])


def main() -> None:
    """Print a row for each scene and map."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", GeoresetWarning)
    print(f"{'scene':<27} {'map':<22} {'cosine: mean':>12} {'1 % below':>10} {'least':>8} {'seconds':>8} {'fast':>6}")
    for name in SCENES:
        scene = gl.load_scene(_shared_folder() / name)
        pixel = min(m.pixel_m for m in scene.modalities.values())
        for label, options in MAPS.items():
            options = {"resolution_m": pixel * options["coarse"]} if "coarse" in options else options
            maps, seconds = {}, dict.fromkeys((False, True), float("inf"))
            for _ in range(3):
                for fast in seconds:
                    begun = time.process_time()
                    emb = gl.encode(scene, dtype="float32", fast=fast, progress=False, **options)
                    seconds[fast] = min(seconds[fast], time.process_time() - begun)
                    maps[fast] = np.asarray(emb.mean, np.float32)
            near = cosines(maps[False], maps[True])
            figures = (near.mean(), np.quantile(near, 0.01), near.min())
            print(
                f"{name:<27} {label:<22} {figures[0]:12.5f} {figures[1]:10.5f} {figures[2]:8.5f} "
                f"{seconds[False]:8.2f} {seconds[True]:6.2f}"
            )


if __name__ == "__main__":
    main()
