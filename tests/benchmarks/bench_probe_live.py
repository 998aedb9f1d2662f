"""From a click to a map: performance.md P9 and P10, issue 5.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_probe_live

CPU and wall milliseconds at one thread, medians, on the Chile chip (50 k pixels x 64) and on its pixels repeated to a map
of 1 million. Wall times are only worth something on an idle machine; the load is printed.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

os.environ["NUMBA_NUM_THREADS"] = "1"

from georeset_lab.data.labels import LabelSet
from georeset_lab.embed.locate import lonlat_of
from georeset_lab.embed.pictures.colours import class_image, png_bytes
from georeset_lab.embed.probing.kernels import warm_up
from georeset_lab.embed.probing.live import LiveProbe
from georeset_lab.embed.probing.solver import solve
from tests.benchmarks.bench_probe_sets import open_place
from tests.benchmarks.bench_search import embeddings_of


def clock(function: Callable[[], object], repeats: int = 7) -> str:
    function()
    cpu, wall = [], []
    for _ in range(repeats):
        a, b = time.process_time(), time.perf_counter()
        function()
        cpu.append(time.process_time() - a)
        wall.append(time.perf_counter() - b)
    return f"{1e3 * np.median(cpu):8.1f} CPU {1e3 * np.median(wall):8.1f} wall"


def labels_on(emb: Any, truth: np.ndarray, classes: dict[int, str], per_class: int) -> tuple[LabelSet, list[dict]]:
    """The same places as burnt labels and as clicks."""
    rng = np.random.default_rng(0)
    codes, groups = np.full(emb.shape, -1, np.int16), np.full(emb.shape, -1, np.int32)
    clicks = []
    for k, (code, name) in enumerate(classes.items()):
        pixels = rng.choice(np.flatnonzero(truth.ravel() == code), per_class, replace=False)
        codes.ravel()[pixels], groups.ravel()[pixels] = k, len(clicks) + np.arange(per_class)
        lon, lat = lonlat_of(emb.grid, *np.divmod(pixels, emb.shape[1]))
        clicks += [{"lon": float(a), "lat": float(b), "label": name} for a, b in zip(lon, lat, strict=True)]
    return LabelSet(codes, tuple(classes.values()), groups, emb.grid), clicks


def bench(title: str, emb: Any, truth: np.ndarray, classes: dict[int, str], per_class: int) -> None:
    labels, clicks = labels_on(emb, truth, classes, per_class)
    live = LiveProbe()
    live.fit(emb, labels)
    now = live._now
    assert now is not None
    x, y, weight = now.features.fitted_on(now.codes)
    z = (x - now.features.center) / now.features.scale
    how = {"n_classes": len(classes), "penalty": now.settings.penalty}
    print(f"\n{title}, {len(clicks)} labels ({x.shape[0]} samples with the looks of single sensors)")
    print(f"  fit, cold                     {clock(lambda: solve(z, y, weight, **how))}")
    print(f"  fit, from the one before      {clock(lambda: solve(z, y, weight, start=now.weights, **how))}")
    print(f"  update(burnt labels)          {clock(lambda: live.update(labels))}")
    print(f"  update(clicks)                {clock(lambda: live.update(clicks))}")
    first = live.update(labels)
    print(
        f"  class map as palette PNG      {clock(lambda: png_bytes(class_image(first['label'].values, len(classes))))}"
    )
    start = time.process_time()
    settings = live.refit()
    print(f"  refit (between clicks)        {1e3 * (time.process_time() - start):8.0f} CPU, C {settings.penalty:g}")
    live.update(labels)
    print(f"  uncertainty: causes, sets, unlike {clock(live.uncertainty, 3).lstrip()}")
    tracemalloc.start()
    full = live.uncertainty()
    extra = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"  peak memory of uncertainty    {extra / 1e6:8.0f} MB, of which the answer {full.nbytes / 1e6:.0f} MB")


def bench_fits() -> None:
    """P10: fits of five planted classes, each from nothing and from the fit without the last label."""
    rng = np.random.default_rng(0)
    print("\nP10, fit of 5 classes, C = 1; goal 10 ms CPU")
    for n in (20, 100, 500):
        for d in (64, 192, 768):
            y = np.arange(n) % 5
            x = 0.25 * rng.normal(size=(5, d))[y] + rng.normal(size=(n, d))
            before = solve(x[:-1], y[:-1], n_classes=5, penalty=1.0)
            fit = partial(solve, x, y, n_classes=5, penalty=1.0)
            cold, warm = clock(fit), clock(partial(fit, start=before))
            print(f"  {n:4d} labels, {d:3d} dimensions  {cold}; one more label {warm}")


def main() -> None:
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    warm_up()
    bench_fits()
    place = open_place("chile", 10, 2)
    emb, truth, classes = place.emb, place.task.labels, place.task.classes
    bench("Chile, 224 x 224 x 64", emb, truth, classes, 10)
    bench("Chile, 224 x 224 x 64", emb, truth, classes, 100)
    mean, variance, _ = emb.vectors()
    pixels = np.resize(np.arange(mean.shape[0]), 10**6)
    many = embeddings_of(mean[pixels], variance[pixels], (1000, 1000))
    bench("1000 x 1000 x 64", many, truth.ravel()[pixels].reshape(1000, 1000), classes, 10)
    bench("1000 x 1000 x 64", many, truth.ravel()[pixels].reshape(1000, 1000), classes, 100)


if __name__ == "__main__":
    main()
