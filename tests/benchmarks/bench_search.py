"""Similarity search against the read rate of the same bytes: performance.md P1 and P3.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python -m tests.benchmarks.bench_search [million pixels ...]

Prints ratios of CPU time at one thread, medians of interleaved repeats. 10 million pixels need 4 GB.
"""

from __future__ import annotations

import os
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

os.environ["NUMBA_NUM_THREADS"] = "1"  # read when numba is first imported, inside bench()
DIM, K = 64, 100
GOALS = {"map": 0.8, "map + top-100": 0.7, "similar()": 0.7}
SIMILAR_FROM = 4  # million pixels: below, the 10 ms that the tables take to be built are not small
RIVALS = {"sklearn cosine_similarity": 8.0, "sklearn NearestNeighbors": 8.0, "torch F.cosine_similarity": 25.0}


def median_ms(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """CPU milliseconds of each, taken in turns so that all meet the same neighbours."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.process_time()
            function()
            times[name].append(time.process_time() - start)
    return {name: 1e3 * float(np.median(values)) for name, values in times.items()}


def embeddings_of(mean: np.ndarray, variance: np.ndarray, side: tuple[int, int]):
    """Embeddings whose fused map is already there; experts of one dimension stand in for the stored ones."""
    from odc.geo.geobox import GeoBox

    from georeset_lab.embed.embeddings import Embeddings, Expert

    grid = GeoBox.from_bbox(
        (600_000, 5_000_000, 600_000 + 10 * side[1], 5_000_000 + 10 * side[0]), "EPSG:32719", resolution=10
    )
    stub = np.broadcast_to(np.float32(1), (*side, mean.shape[-1]))
    emb = Embeddings({"s2": Expert(stub, stub)}, grid)
    shape = (*side, mean.shape[-1])
    emb.__dict__["_fused"] = (mean.reshape(shape), variance.reshape(shape), np.ones(side, bool))
    type(emb).fits_memory = property(lambda self: True)  # type: ignore[method-assign]
    return emb


def bench(millions: float) -> None:
    import torch
    from sklearn.metrics.pairwise import cosine_similarity
    from sklearn.neighbors import NearestNeighbors

    from georeset_lab.embed.finding.scan import top_pixels
    from georeset_lab.embed.search import similar

    torch.set_num_threads(1)
    side = (int(1000 * millions), 1000)
    n = side[0] * side[1]
    mean = np.random.default_rng(0).standard_normal((n, DIM), dtype=np.float32)
    # The variance map is only read at the places found; one row stands for all, to fit 10 million pixels.
    emb = embeddings_of(mean, np.broadcast_to(np.float32(0.1), (n, DIM)), side)
    query, seen, tensor = mean[n // 2].copy(), np.ones(n, bool), torch.from_numpy(mean)
    at = tuple(float(v) for v in emb.grid.extent.centroid.to_crs("EPSG:4326").coords[0])

    ours: dict[str, Callable[[], object]] = {
        "read (torch.sum)": tensor.sum,
        "map": lambda: top_pixels(mean, seen, query, 0),
        "map + top-100": lambda: top_pixels(mean, seen, query, K),
        "similar()": lambda: similar(emb, at=at, k=20),
    }
    repeats = 15 if millions <= 2 else 5
    ms = median_ms(ours, repeats)
    print(f"\n{millions:g} million pixels x {DIM}, float32, one thread, CPU ms (median of {repeats})")
    for name, value in ms.items():
        ratio = ms["read (torch.sum)"] / value
        goal = f"  goal >= {GOALS[name]}: {'met' if ratio >= GOALS[name] else 'MISSED'}" if name in GOALS else ""
        goal = "" if name == "similar()" and millions < SIMILAR_FROM else goal
        print(f"  {name:<28}{value:9.1f}   {ratio:5.2f} of the read rate{goal}")

    if millions <= 2:
        index = NearestNeighbors(n_neighbors=K, metric="cosine", algorithm="brute").fit(mean)
        one = torch.from_numpy(query)[None]
        rivals: dict[str, Callable[[], object]] = {
            "map + top-100": ours["map + top-100"],
            "sklearn cosine_similarity": lambda: cosine_similarity(query[None], mean),
            "sklearn NearestNeighbors": lambda: index.kneighbors(query[None]),
            "torch F.cosine_similarity": lambda: torch.nn.functional.cosine_similarity(tensor, one),
        }
        ms = median_ms(rivals, 5)
        for name, goal in RIVALS.items():
            ratio = ms[name] / ms["map + top-100"]
            print(f"  {ratio:5.1f}x faster than {name}  goal >= {goal:g}: {'met' if ratio >= goal else 'MISSED'}")
        theirs = index.kneighbors(query[None])[1][0]
        _, ids, _ = top_pixels(mean, seen, query, K)
        print(f"  top-{K} ids equal to sklearn's: {len(set(theirs) & set(ids))} of {K}")

    tracemalloc.start()
    similar(emb, at=at, k=20)
    extra = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    limit = 4 * n + 64e6
    print(f"  extra memory {extra / 1e6:.0f} MB  goal <= {limit / 1e6:.0f} MB: {'met' if extra <= limit else 'MISSED'}")


def bench_pmi() -> None:
    import torch

    from georeset_lab.embed.search import similar

    torch.set_num_threads(1)
    side, rng = (1000, 1000), np.random.default_rng(0)
    mean = rng.standard_normal((10**6, DIM), dtype=np.float32)
    variance = rng.uniform(0.05, 1, (10**6, DIM)).astype("f4")
    emb = embeddings_of(mean, variance, side)
    at = tuple(float(v) for v in emb.grid.extent.centroid.to_crs("EPSG:4326").coords[0])
    a, b = torch.from_numpy(mean), torch.from_numpy(variance)
    ms = median_ms(
        {"read both": lambda: (a.sum(), b.sum()), "similar(score='pmi')": lambda: similar(emb, at=at, score="pmi")}, 9
    )
    print("\n1 million pixels x 64, mean and variance, score='pmi' (no goal set)")
    for name, value in ms.items():
        print(f"  {name:<28}{value:9.1f}   {ms['read both'] / value:5.2f} of the read rate")


if __name__ == "__main__":
    for size in [float(v) for v in sys.argv[1:]] or [1.0, 4.0]:
        bench(size)
    bench_pmi()
