"""Jobs of an evaluation: what is still to be computed, by how many processes, and where it is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from georeset_lab.evaluate.cache import code_identity, load_row, row_key, store_row
from georeset_lab.evaluate.rows import Row, cheap_rows, features_of, model_rows
from georeset_lab.evaluate.score import PENALTIES, score_features
from georeset_lab.evaluate.splits import Split, make_split
from georeset_lab.evaluate.task import Task, TaskSpec
from georeset_lab.evaluate.tasks import all_tasks
from georeset_lab.files import sha256

VERSION = 1
"""Raised when the meaning of a score changes; cached rows of another version are not used."""

CODE = (
    "data",
    *(f"evaluate/{f}.py" for f in ("baselines", "places", "rows", "score", "solver", "splits", "task", "tasks")),
)
"""Source that decides the score of a cheap row; a change in it makes new rows."""

ENCODER_CODE = ("models", "embed")
"""Source that an encoder's row depends on besides."""


@dataclass(frozen=True)
class Protocol:
    """Everything that decides a score besides task, row and weights."""

    sizes: tuple[int, ...] = (5, 10, 20, 50)
    n_draws: int = 20
    seed: int = 0
    max_test: int = 4000
    penalties: tuple[float, ...] = PENALTIES
    version: int = VERSION


@dataclass(frozen=True)
class Job:
    """Rows of one task that share an encoder, or one cheap row."""

    data: Path
    task: str
    rows: tuple[Row, ...]
    keys: tuple[str, ...]
    protocol: Protocol
    cache: Path


def plan(
    data: Path,
    spec: TaskSpec,
    encoders: Sequence[Row],
    protocol: Protocol,
    cache: Path,
    galileo: Row | None = None,
) -> Iterator[Job]:
    """Jobs of one task: each cheap row, and the rows of each encoder together."""
    identity = spec.identity(data)
    groups = [[row] for row in cheap_rows(spec.modalities, galileo)] + [
        model_rows(e, spec.modalities) for e in encoders
    ]
    for rows in groups:
        code = code_identity(*CODE, *(ENCODER_CODE if rows[0].is_model else ()))
        shared = {"task": spec.name, "data": identity, "protocol": asdict(protocol), "code": code}
        keys = [row_key({**shared, "row": [r.name, r.view, r.seed, r.local], "identity": r.identity}) for r in rows]
        yield Job(data, spec.name, tuple(rows), tuple(keys), protocol, cache)


def unfinished(job: Job) -> Job:
    """The rows of a job that are not in the cache."""
    left = [(r, k) for r, k in zip(job.rows, job.keys, strict=True) if load_row(job.cache, k) is None]
    rows, keys = tuple(r for r, _ in left), tuple(k for _, k in left)
    return replace(job, rows=rows, keys=keys)


def work(jobs: Sequence[Job], processes: int, progress: bool) -> None:
    """Run jobs and keep their rows in the cache, each as soon as it is there."""
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    from tqdm.auto import tqdm

    # Encoders first: they take longest, and the last job decides when all is done.
    jobs = sorted(jobs, key=lambda j: (not j.rows[0].is_model, j.task))
    with tqdm(total=len(jobs), desc="evaluate", unit="row", disable=not (progress and jobs)) as bar:
        if processes == 1 or len(jobs) <= 1:
            for job in jobs:
                run_job(job)
                bar.update()
            return
        with _one_thread_each(), ProcessPoolExecutor(min(processes, len(jobs)), get_context("spawn")) as pool:
            futures = [pool.submit(run_job, job) for job in jobs]
            try:
                for done in as_completed(futures):
                    done.result()
                    bar.update()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Make children start with one thread each: two processes with two threads each are slower than one."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    before = {n: os.environ.get(n) for n in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run_job(job: Job) -> None:
    """Compute, score and keep the rows of one job."""
    task, split = read_task(job.data, job.task, job.protocol)
    for row, key, features in zip(job.rows, job.keys, features_of(job.rows, task), strict=True):
        scores = score_features(features, split, penalties=job.protocol.penalties)
        about = {"task": job.task, "row": row.name, "view": row.view, "seed": row.seed, "local": row.local}
        store_row(job.cache, key, scores, {**about, "identity": row.identity, "draws": draws_hash(split)})


@lru_cache(maxsize=8)
def read_task(data: Path, name: str, protocol: Protocol) -> tuple[Task, Split]:
    """A task and its split, kept in memory for the next rows of the process."""
    task = next(s for s in all_tasks() if s.name == name).read(data)
    split = make_split(
        task.labels,
        task.groups,
        task.side,
        task.classes,
        sizes=protocol.sizes,
        n_draws=protocol.n_draws,
        seed=protocol.seed,
        max_test=protocol.max_test,
    )
    return task, split


def draws_hash(split: Split) -> str:
    """Hash of every label draw, its folds and the test pixels: equal for all rows and from run to run."""
    arrays = [split.test_pixels, split.test_y, *(a for d in split.draws for a in (d.pixels, d.y, d.folds))]
    return sha256(b"".join(np.ascontiguousarray(a, dtype=np.int64).tobytes() for a in arrays))[:16]
