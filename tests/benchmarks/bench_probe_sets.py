"""Prediction sets, doubts and the live probe on ground no label came from: methods.md section 7, issue 5.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_probe_sets [chile denmark ...] [--draws 20] [--per-class 10]

Labels are clicks on one half of a checkerboard of 280 m blocks, sets are tested on the other half, as in
``georeset evaluate first``; all rows get the same clicks and the same folds. The halves change places with every draw: on
one chip they differ by several points of coverage, whatever the method (CV+ too), and that is no property of the sets.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from georeset_lab.data.labels import LabelSet
from georeset_lab.embed.encode import encode
from georeset_lab.embed.probe import Probe, fit_probe
from georeset_lab.embed.probing.blocks import make_folds
from georeset_lab.embed.probing.conformal import coverage
from georeset_lab.embed.probing.cv import METRICS, Features
from georeset_lab.embed.probing.data import spread_pixels
from georeset_lab.embed.probing.live import LiveProbe
from georeset_lab.embed.probing.raw import pixel_features
from georeset_lab.evaluate.score import balanced_accuracy, score_features
from georeset_lab.evaluate.splits import Draw, Split, make_split
from georeset_lab.evaluate.task import Task
from georeset_lab.evaluate.tasks import all_tasks

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
RAW = {"raw bands": False, "raw bands + 5x5 statistics": True}


@dataclass(frozen=True)
class Place:
    """A task with its embeddings and raw features."""

    task: Task
    emb: Any
    splits: tuple[Split, Split]
    """The halves either way round; draws are taken from them in turn."""
    raw: dict[str, np.ndarray]
    background: np.ndarray


@lru_cache(maxsize=1)
def open_place(name: str, per_class: int, draws: int, data: Path = DATA) -> Place:
    task = next(s for s in all_tasks() if s.name == name).read(data)
    emb = encode(task.scene, dtype="float32", device="cpu", progress=False)
    emb.scene = None  # or each fit would make the baselines of its report too
    swapped = np.where(task.side >= 0, 1 - task.side, task.side)
    how = {"sizes": (per_class,), "n_draws": -(-draws // 2)}
    a, b = (make_split(task.labels, task.groups, side, task.classes, **how) for side in (task.side, swapped))
    flat = {
        title: pixel_features(task.scene, task.grid, statistics=s).reshape(emb.shape[0] * emb.shape[1], -1)
        for title, s in RAW.items()
    }
    return Place(task, emb, (a, b), flat, spread_pixels(emb.observed, 20_000))


def clicks(place: Place, draw: Draw) -> LabelSet:
    """The labels of a draw, as clicks on the map."""
    shape = place.task.labels.shape
    codes, groups = np.full(shape, -1, np.int16), np.full(shape, -1, np.int32)
    codes.ravel()[draw.pixels], groups.ravel()[draw.pixels] = draw.y, np.arange(draw.y.size)
    return LabelSet(codes, place.splits[0].classes, groups, place.task.grid)


def fit_raw(place: Place, title: str, labels: LabelSet) -> Probe:
    """The same probe on what the sensors measured."""
    pixels, codes = labels.pixels
    made = make_folds(labels, pixels, codes)
    values = place.raw[title]
    features = Features.of(values[pixels], background=values[place.background])
    probe = Probe()
    cross = probe.fit_features(features, codes, labels.classes, made.splits(), made.units)
    probe.report_ = None
    probe.provenance_ = {m: float(np.nanmean(cross.fold_scores[m])) for m in METRICS}
    return probe


def score(split: Split, probe: Probe, x: np.ndarray, variance: np.ndarray | None) -> dict[str, float]:
    """How the sets and classes of a probe do on the test pixels."""
    at, truth = split.test_pixels, split.test_y
    v = None if variance is None else variance[at]
    sets = probe.prediction_sets(x[at], v)
    guess = np.array([split.classes.index(n) for n in probe.predict(x[at])])
    return {
        "accuracy": balanced_accuracy(truth, guess),
        "coverage": coverage(sets, truth),
        "worst class": min(coverage(sets[truth == k], truth[truth == k]) for k in np.unique(truth)),
        "set size": float(sets.sum(axis=1).mean()),
    }


def measure(
    place: Place, *, raw: Sequence[str] = tuple(RAW), live: int | None = None
) -> dict[str, list[dict[str, float]]]:
    """Scores of each draw, by row; even draws are taught by one half, odd ones by the other; ``live`` probes of the first."""
    mean, variance, _ = place.emb.vectors()
    rows: dict[str, list[dict[str, float]]] = {}
    turns = [
        (split, draw)
        for pair in zip(*(s.draws for s in place.splits), strict=True)
        for split, draw in zip(place.splits, pair, strict=True)
    ]
    for n, (split, draw) in enumerate(turns):
        labels = clicks(place, draw)
        probe = fit_probe(place.emb, labels)
        own = {"reported coverage": probe.report["coverage"].iloc[0], "size": probe.report["set_size"].iloc[0]}
        rows.setdefault("embedding", []).append(score(split, probe, mean, variance) | own)
        for title in raw:
            rival = fit_raw(place, title, labels)
            own = {"reported coverage": rival.provenance_["coverage"], "size": rival.provenance_["set_size"]}
            rows.setdefault(title, []).append(score(split, rival, place.raw[title], None) | own)
        if live is None or n < live:
            rows.setdefault("live probe", []).append(follow(place, split, labels))
    return rows


def follow(place: Place, split: Split, labels: LabelSet) -> dict[str, float]:
    """Accuracy of the live map after its penalty was chosen, and the mean parts of its doubt."""
    follower = LiveProbe()
    follower.fit(place.emb, labels)
    follower.refit()
    first, full = follower.update(labels), follower.uncertainty()
    at = split.test_pixels
    guess = first["label"].values.ravel()[at]
    return {
        "accuracy": balanced_accuracy(split.test_y, guess),
        "error": float((guess != split.test_y).mean()),
        **{p: float(full[f"doubt_{p}"].values.ravel()[at].mean()) for p in ("sensor", "labels", "overlap")},
        "unlike": float(full["unlike"].values.ravel()[at].mean()),
    }


def first_accuracy(place: Place) -> float:
    """Mean balanced accuracy of the embedding by the protocol of ``georeset evaluate first``, on the same clicks."""
    mean = place.emb.vectors()[0].reshape(*place.emb.shape, -1)
    return float(np.mean([score_features(mean, split).balanced_accuracy for split in place.splits]))


def show(title: str, rows: dict[str, list[dict[str, float]]]) -> None:
    print(f"\n{title}: mean over draws ± standard deviation of a draw")
    for name, found in rows.items():
        cells = []
        for key in found[0]:
            values = np.array([f[key] for f in found])
            cells.append(f"{key} {np.nanmean(values):.3f} ± {np.nanstd(values, ddof=1):.3f}")
        print(f"  {name:<28}{'   '.join(cells)}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("places", nargs="*", default=["chile"])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--per-class", type=int, nargs="*", default=[10])
    given = parser.parse_args()
    for name in given.places:
        for per_class in given.per_class:
            start = time.process_time()
            place = open_place(name, per_class, given.draws)
            rows = measure(place)
            show(f"{name}, {per_class} clicks per class, {given.draws} draws", rows)
            covered = [f["coverage"] for f in rows["embedding"]]
            print(f"  coverage of the two halves    {np.mean(covered[::2]):.3f} and {np.mean(covered[1::2]):.3f}")
            print(f"  georeset evaluate first       accuracy {first_accuracy(place):.3f} (its own probe, same clicks)")
            print(f"  {time.process_time() - start:.0f} s of CPU")


if __name__ == "__main__":
    main()
