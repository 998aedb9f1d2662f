"""Landmark UMAP against umap-learn's defaults: performance.md P12.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_umap [points ...] [store.zarr ...]

A number makes clustered vectors of 64 dimensions; a store of embeddings brings its own. Both are compiled before the
clock starts and run in this process, with the threads umap-learn takes by itself. Time is wall and CPU; best of repeats.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

DIM, REPEATS, JUDGED = 64, 2, 4000
GOALS = {10_000: 0.25, 50_000: 0.35}
WORSE_BY = 0.01


def clustered(n: int) -> np.ndarray:
    """Forty groups of unequal size on curved sheets: neighbourhoods with a shape, and noise in every dimension."""
    rng = np.random.default_rng(0)
    group = rng.choice(40, n, p=rng.dirichlet(np.full(40, 3.0)))
    centre = rng.normal(size=(40, DIM))
    sheet = rng.normal(size=(40, 3, DIM)) / 2
    at = rng.uniform(-1, 1, size=(n, 2))
    bent = np.concatenate([at, (at**2).sum(axis=1, keepdims=True)], axis=1)
    points = centre[group] + np.einsum("ni,nid->nd", bent, sheet[group]) + 0.15 * rng.normal(size=(n, DIM))
    return points.astype(np.float32)


def timed(function: Callable[[], np.ndarray], repeats: int) -> tuple[float, float, np.ndarray]:
    """Best wall seconds, best CPU seconds and the last answer."""
    wall, cpu = [], []
    for _ in range(repeats):
        starts = time.perf_counter(), time.process_time()
        answer = function()
        wall.append(time.perf_counter() - starts[0])
        cpu.append(time.process_time() - starts[1])
    return min(wall), min(cpu), answer


def landmarked(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """What `umap_layout` and `place_pixels` compute, without map, worker and cache."""
    from georeset_lab.embed.latent.landmarks import EPOCHS, UmapLayout, choose_landmarks
    from georeset_lab.embed.latent.project import _layout

    picked = choose_landmarks(np.ones((1, len(vectors)), bool), seed=seed)
    return UmapLayout(vectors[picked], _layout(vectors[picked], seed, EPOCHS)).place(vectors)


def bench(name: str, vectors: np.ndarray) -> None:
    import umap
    from sklearn.manifold import trustworthiness

    def trust(xy: np.ndarray) -> float:
        some = np.random.default_rng(1).choice(len(vectors), min(JUDGED, len(vectors)), replace=False)
        return float(trustworthiness(vectors[some], xy[some], n_neighbors=15, metric="cosine"))

    rows = {
        "umap-learn, default": (lambda: umap.UMAP(metric="cosine").fit_transform(vectors), 1),
        "landmarks, placed by kNN": (lambda: landmarked(vectors), REPEATS),
    }
    print(f"\n{name}: {len(vectors):,} points x {vectors.shape[1]}; load {os.getloadavg()[0]:.1f}")
    got = {}
    for row, (function, repeats) in rows.items():
        wall, cpu, xy = timed(function, repeats)
        got[row] = wall, cpu, trust(xy)
        print(f"  {row:<28}{wall:8.2f} s wall {cpu:8.2f} s CPU   trustworthiness {got[row][2]:.4f}", flush=True)
    (wall0, cpu0, trust0), (wall1, cpu1, trust1) = got.values()
    goal = min(v for n, v in GOALS.items() if len(vectors) <= n) if len(vectors) <= max(GOALS) else max(GOALS.values())
    good = wall1 <= goal * wall0 and trust1 >= trust0 - WORSE_BY
    print(f"  {wall1 / wall0:.3f} of the wall time, {cpu1 / cpu0:.3f} of the CPU time; goal <= {goal}, ", end="")
    print(f"trustworthiness {trust1 - trust0:+.4f}, goal >= {-WORSE_BY}: {'met' if good else 'MISSED'}")
    again, other = landmarked(vectors), landmarked(vectors, seed=1)
    print(
        f"  same seed, same picture: {np.array_equal(again, xy)}; another seed, another: {not np.allclose(other, xy)}"
    )


def main(names: list[str]) -> None:
    from georeset_lab import open_embeddings

    landmarked(clustered(2000))
    import umap

    for n in (600, 5000):  # exact and approximate neighbours are different code
        umap.UMAP(metric="cosine", n_epochs=5).fit_transform(clustered(n))
    for name in names:
        if name.replace("_", "").isdigit():
            bench("clusters", clustered(int(name)))
        else:
            mean, _, observed = open_embeddings(name).vectors()
            bench(name, mean[observed])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1:] or ["10_000", "50_000"])
