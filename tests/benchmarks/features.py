"""What makes features of 10 m pixels good for few labels: the study behind `Signature`.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.features DATA GALILEO

Two *training* chips (Brazil's coast and Tanzania), land cover of the chips, the probe and 20 label draws of ``georeset
evaluate first``. Kernels are cut from the other training chips, never from the one that is scored. No test place is read.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter

from georeset_lab.data.scene import Scene
from georeset_lab.evaluate import baselines, places
from georeset_lab.evaluate.galileo import galileo_features
from georeset_lab.evaluate.score import score_features
from georeset_lab.evaluate.splits import make_split
from georeset_lab.evaluate.task import Task, TaskSpec

CHIPS = {"brazil": "282D_485L_3_3", "tanzania": "38D_378R_2_3", "ontario": "609U_541L_3_0"}
DAYS = {"brazil": "2021-07-23", "tanzania": "2023-06-10", "ontario": "2020-01-11"}
KERNELS = 32


def read(data: Path, name: str) -> Task:
    """A training chip as a task."""
    places._CHIP_DAYS.update(DAYS)
    files = tuple(f"terramind-chips/{CHIPS[name]}/{f}.tif" for f in ("S2L2A", "S1RTC", "LULC"))
    return TaskSpec(name, name, files, places.read_chip, ("s2", "s1")).read(data)


def responses(scene: Scene, others: list[Scene], patch: int) -> np.ndarray:
    """Both rectified parts of the answers to whitened patches of other places, (Y, X, 2 * KERNELS)."""
    pool = [baselines.raw(s).astype(np.float64) for s in others]
    mean = np.mean([np.nanmean(v, (0, 1)) for v in pool], axis=0)
    scale = np.sqrt(np.mean([np.nanvar(v, (0, 1)) for v in pool], axis=0))
    rng = np.random.default_rng(0)

    def patches(values: np.ndarray) -> np.ndarray:
        z, h = np.nan_to_num((values - mean) / scale), patch // 2
        z = np.pad(z, ((h, h), (h, h), (0, 0)), mode="reflect")
        return np.lib.stride_tricks.sliding_window_view(z, (patch, patch), axis=(0, 1)).reshape(
            *values.shape[:2], patch**2 * z.shape[2]
        )

    sample = np.concatenate([rng.choice(patches(v).reshape(-1, v.shape[2] * patch**2), 3000) for v in pool])
    whiten = baselines._zca(sample)
    kernels = (rng.choice(sample, KERNELS) - sample.mean(0)) @ whiten
    weights = whiten @ (kernels / np.linalg.norm(kernels, axis=1, keepdims=True)).T
    answer = patches(baselines.raw(scene)) @ weights - np.median(sample @ weights, axis=0)
    return np.concatenate([np.maximum(answer, 0), np.maximum(-answer, 0)], axis=2)


def components(features: np.ndarray, n: int, *, whitened: bool) -> np.ndarray:
    """Principal components of standardised features; whitened, or turned so that all dimensions vary alike."""
    flat = features.reshape(-1, features.shape[2]).astype(np.float64)
    flat = (flat - flat.mean(0)) / flat.std(0)
    values, vectors = np.linalg.eigh(np.cov(flat.T))
    scores = flat @ vectors[:, ::-1][:, :n]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(n, n)))[0]
    out = scores / np.sqrt(values[::-1][:n]) if whitened else scores @ turn
    return out.reshape(*features.shape[:2], n)


def main(data: Path, galileo: str) -> None:
    tasks = {name: read(data, name) for name in CHIPS}
    for name in ("brazil", "tanzania"):
        task = tasks[name]
        split = make_split(task.labels, task.groups, task.side, task.classes)
        others = [t.scene for n, t in tasks.items() if n != name]
        raw5, taught = baselines.raw_and_local(task.scene), galileo_features(task.scene, galileo)
        rows = {
            "raw bands": baselines.raw(task.scene),
            "raw bands + 5x5 mean and std": raw5,
            "the same, 16 components, whitened": components(raw5, 16, whitened=True),
            "the same, 16 components, rotated": components(raw5, 16, whitened=False),
            "Galileo nano": taught,
            "Galileo nano, 32 components, whitened": components(taught, 32, whitened=True),
            "Galileo nano, 32 components, rotated": components(taught, 32, whitened=False),
        }
        for patch in (1, 3):
            answer = responses(task.scene, others, patch)
            rows[f"responses {patch}x{patch}, each pixel"] = answer
            for size in (5, 9, 13, 21):
                rows[f"responses {patch}x{patch}, mean of {size}x{size}"] = uniform_filter(answer, (size, size, 1))
        print(f"\n{name} ({', '.join(task.classes.values())})\n{'labels per class':<40}    5    10    20    50")
        for title, features in rows.items():
            scores = score_features(np.asarray(features, dtype=np.float32), split).balanced_accuracy.mean(1)
            print(f"{title:<40}" + " ".join(f"{s:.3f}" for s in scores), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2])
