"""CPU time of a dense 10 m map beside Galileo nano's, on the same pixels of Sentinel-2 and Sentinel-1, at one thread.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_galileo WEIGHTS_FOLDER [side] [repeats]

Ours: `encode` as a user calls it, fused mean and variance in float32 at 10 m. Galileo: patch 4, tiles of 64 pixels side by
side, one output per 40 m. The goal is a fifth.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from georeset_lab.data.scene import Scene
from georeset_lab.data.simulate import simulate_scene
from georeset_lab.embed.encode import encode
from georeset_lab.models.pretrained import BANDS, load_galileo

TILE, PATCH, GOAL = 64, 4, 0.2


def cpu_s(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def crops(side: int) -> Scene:
    return simulate_scene(seed=0, size=(side, side), modalities=("s2", "s1"), dates=1)


def main(weights: str, side: int, repeats: int) -> None:
    torch.set_num_threads(1)
    scene, galileo = crops(side), load_galileo(weights)
    tiles = (side // TILE) ** 2
    x = torch.randn(tiles, 1, len(BANDS) + 1, TILE, TILE) * 0.1 + 0.5
    month = torch.full((tiles, 1), 5)

    @torch.inference_mode()
    def theirs() -> None:
        for part in range(tiles):
            galileo(x[part : part + 1], month[part : part + 1], patch=PATCH, pixel_m=10.0).mean(4)

    def ours() -> np.ndarray:
        emb = encode(scene, dtype="float32", progress=False)
        return np.concatenate([np.asarray(emb.mean.values), np.asarray(emb.variance.values)])

    encode(crops(64), progress=False)  # imports and caches
    pairs = [(cpu_s(ours), cpu_s(theirs) * side**2 / (tiles * TILE**2)) for _ in range(repeats)]
    a, b = (median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(p / q for p, q in pairs)
    print(f"{side} x {side} pixels of Sentinel-2 and Sentinel-1, one thread, median of {repeats} runs")
    print(f"ours, fused mean and variance at 10 m   {a:7.1f} s CPU")
    print(f"Galileo nano, features at 40 m          {b:7.1f} s CPU")
    verdict = "ok" if a / b <= GOAL else "MISSED"
    print(f"ratio {a / b:.2f} ({ratios[0]:.2f}..{ratios[-1]:.2f})   goal {GOAL}   {verdict}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], int((*sys.argv, 1000)[2]), int((*sys.argv, 1000, 1)[3]))
