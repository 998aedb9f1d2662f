"""``georeset evaluate first``: few-shot tables on five real data sets. Here jobs are planned, run and put together."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from georeset_lab.errors import InvalidOption, SceneReadError
from georeset_lab.evaluate import report
from georeset_lab.evaluate.cache import code_identity, load_row, row_key, store_row
from georeset_lab.evaluate.results import TaskResult
from georeset_lab.evaluate.rows import Row, cheap_rows, features_of, find_models, model_rows, trained_here
from georeset_lab.evaluate.score import PENALTIES, Scores, score_features
from georeset_lab.evaluate.splits import Split, make_split
from georeset_lab.evaluate.tasks import Task, TaskSpec, all_tasks
from georeset_lab.files import sha256, write_atomic

VERSION = 1
"""Raised when the meaning of a score changes; cached rows of another version are not used."""

QUICK_TASKS = ("chile", "slovenia")


@dataclass(frozen=True)
class Protocol:
    """Everything that decides a score besides task, row and weights."""

    sizes: tuple[int, ...] = (5, 10, 20, 50)
    n_draws: int = 20
    seed: int = 0
    max_test: int = 4000
    penalties: tuple[float, ...] = PENALTIES
    version: int = VERSION


QUICK = Protocol(sizes=(5, 20), n_draws=5)


@dataclass(frozen=True)
class Evaluation:
    """What `run` found."""

    tasks: tuple[TaskResult, ...]
    numbers: dict[str, Any]
    """Every score, interval and setting; what ``first.json`` holds."""
    markdown: str
    """What ``first.md`` holds."""
    paths: tuple[Path, ...]
    """The files written."""


@dataclass(frozen=True)
class _Job:
    """Rows of one task that share an encoder, or one cheap row."""

    data: Path
    task: str
    rows: tuple[Row, ...]
    keys: tuple[str, ...]
    protocol: Protocol
    cache: Path


def run(
    data: str | Path,
    models: str | Path | None = None,
    *,
    quick: bool = False,
    out: str | Path | None = None,
    progress: bool = True,
    processes: int | None = None,
    tasks: Sequence[str] | None = None,
    protocol: Protocol | None = None,
    cache: str | Path | None = None,
    command: str | None = None,
) -> Evaluation:
    """Few-shot tables of the cheap rows and of our encoders on the test places.

    Parameters
    ----------
    data : path
        Folder that holds the data sets (``shared/data``). Sets that are not there are named in the report.
    models : path, optional
        Folder of trained encoders, ``pmi-seed0``, ``infonce-seed1``, ...; see `find_models`. The report says which are
        missing and the command that makes them.
    quick : bool
        Two tasks, five draws, cheap rows, one untrained encoder and the default weights: under a minute, for CI.
    out : path, optional
        Folder for ``first.md``, ``first.json`` and the cached rows. Nothing but the cache is written by default.
    progress : bool
        Show a bar.
    processes : int, optional
        Worker processes; as many as cores, up to 4, by default. With 1 everything runs in this process.
    tasks : names, optional
        Only these of `all_tasks`.
    protocol : Protocol, optional
        Draws, label counts, seed, penalties.
    cache : path, optional
        Folder of finished rows: ``<out>/rows``, or ``~/.cache/georeset_lab/evaluate``. A second call reads them back.
    command : str, optional
        What to print as the command of the report; this process's command line by default.

    Raises
    ------
    SceneReadError
        None of the data sets is in `data`.
    InvalidOption
        An unknown task, or fewer than one process.
    """
    data, protocol = Path(data), protocol or (QUICK if quick else Protocol())
    specs, missing = _specs(data, tasks or (QUICK_TASKS if quick else None))
    encoders, absent = find_models(None if models is None else Path(models), (0,) if quick else (0, 1, 2))
    missing += [m for m in absent if not quick]
    home = Path(cache) if cache else Path(out) / "rows" if out else Path.home() / ".cache" / "georeset_lab" / "evaluate"
    jobs = [job for spec in specs for job in _plan(data, spec, encoders, protocol, home)]
    _work([j for j in map(_unfinished, jobs) if j.rows], _count(processes), progress)
    results = tuple(_collect(data, spec, [j for j in jobs if j.task == spec.name], protocol) for spec in specs)
    about = _about(protocol, data, models, command)
    evaluation = Evaluation(
        results, report.numbers(results, missing, about), report.markdown(results, missing, about), ()
    )
    return evaluation if out is None else _write(evaluation, Path(out))


def _specs(data: Path, names: Sequence[str] | None) -> tuple[list[TaskSpec], list[str]]:
    every = {s.name: s for s in all_tasks()}
    unknown = [n for n in names or () if n not in every]
    if unknown:
        raise InvalidOption(f"There is no task {', '.join(unknown)}; choose from {', '.join(every)}.")
    wanted = [every[n] for n in (names or every)]
    there = [s for s in wanted if all((data / f).is_file() for f in s.files)]
    if not there:
        raise SceneReadError(
            f"{data} holds none of the data sets of this evaluation (for example {wanted[0].files[0]}). "
            "Pass the folder that holds terramind-chips, rstoolbox-sentinel2-para, ... as --data."
        )
    return there, [f"Task {s.name}: its files are not in {data}." for s in wanted if s not in there]


def _plan(data: Path, spec: TaskSpec, encoders: Sequence[Row], protocol: Protocol, cache: Path) -> Iterator[_Job]:
    identity = spec.identity(data)
    groups = [[row] for row in cheap_rows(spec.modalities)] + [model_rows(e, spec.modalities) for e in encoders]
    for rows in groups:
        folders = ("data", "evaluate", *(("models", "embed") if rows[0].is_model else ()))
        shared = {"task": spec.name, "data": identity, "protocol": asdict(protocol), "code": code_identity(*folders)}
        keys = [row_key({**shared, "row": [r.name, r.view, r.seed, r.local], "identity": r.identity}) for r in rows]
        yield _Job(data, spec.name, tuple(rows), tuple(keys), protocol, cache)


def _unfinished(job: _Job) -> _Job:
    left = [(r, k) for r, k in zip(job.rows, job.keys, strict=True) if load_row(job.cache, k) is None]
    rows, keys = tuple(r for r, _ in left), tuple(k for _, k in left)
    return _Job(job.data, job.task, rows, keys, job.protocol, job.cache)


def _work(jobs: Sequence[_Job], processes: int, progress: bool) -> None:
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    from tqdm.auto import tqdm

    # Encoders first: they take longest, and the last job decides when all is done.
    jobs = sorted(jobs, key=lambda j: (not j.rows[0].is_model, j.task))
    with tqdm(total=len(jobs), desc="evaluate", unit="row", disable=not (progress and jobs)) as bar:
        if processes == 1 or len(jobs) <= 1:
            for job in jobs:
                _run_job(job)
                bar.update()
            return
        with _one_thread_each(), ProcessPoolExecutor(min(processes, len(jobs)), get_context("spawn")) as pool:
            futures = [pool.submit(_run_job, job) for job in jobs]
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


def _run_job(job: _Job) -> None:
    task, split = _task(job.data, job.task, job.protocol)
    for row, key, features in zip(job.rows, job.keys, features_of(job.rows, task), strict=True):
        scores = score_features(features, split, penalties=job.protocol.penalties)
        about = {"task": job.task, "row": row.name, "view": row.view, "seed": row.seed, "local": row.local}
        store_row(job.cache, key, scores, {**about, "identity": row.identity, "draws": draws_hash(split)})


@lru_cache(maxsize=8)
def _task(data: Path, name: str, protocol: Protocol) -> tuple[Task, Split]:
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


def _collect(data: Path, spec: TaskSpec, jobs: Sequence[_Job], protocol: Protocol) -> TaskResult:
    task, split = _task(data, spec.name, protocol)
    result = TaskResult(
        spec.name,
        spec.title,
        task.rule,
        spec.modalities,
        dict(zip(split.classes, split.counts, strict=True)),
        split.test_y.size,
        split.sizes,
        draws_hash(split),
    )
    found: dict[tuple[str, str, bool], list[tuple[Row, Scores]]] = {}
    for job in jobs:
        for row, key in zip(job.rows, job.keys, strict=True):
            scores = load_row(job.cache, key)
            if scores is None:
                raise SceneReadError(f"Row {row.name} of {spec.name} is gone from {job.cache}. Run the command again.")
            found.setdefault(row.family, []).append((row, scores))
    for family, pairs in found.items():
        result.scores[family] = np.stack([s.balanced_accuracy for _, s in pairs])
        result.chosen_c[family] = np.stack([s.chosen_c for _, s in pairs])
        result.seeds[family] = tuple(r.seed for r, _ in pairs)
        result.n_features[family] = pairs[0][1].n_features
        if any(trained_here(r, task) for r, _ in pairs):
            result.seen_in_training.add(family)
    return result


def _count(processes: int | None) -> int:
    if processes is None:
        return min(4, os.cpu_count() or 1)
    if processes < 1:
        raise InvalidOption(f"processes={processes}; give 1 or more, or leave it out for one per core.")
    return processes


def _about(protocol: Protocol, data: Path, models: str | Path | None, command: str | None) -> dict[str, Any]:
    import platform

    from georeset_lab import __version__

    return {
        "command": command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "version": __version__,
        "commit": _commit(),
        "code": code_identity("data", "evaluate", "models", "embed"),
        "protocol": asdict(protocol),
        "data": str(data),
        "models": None if models is None else str(models),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _commit() -> str | None:
    """Commit of the checkout the package runs from, if it is one; read from files, no git needed."""
    git = Path(__file__).parents[2] / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        return head if not head.startswith("ref: ") else (git / head[5:]).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _write(evaluation: Evaluation, out: Path) -> Evaluation:
    text, table = out / "first.json", out / "first.md"
    write_atomic(text, json.dumps(evaluation.numbers, indent=1, ensure_ascii=False).encode())
    write_atomic(table, evaluation.markdown.encode())
    return Evaluation(evaluation.tasks, evaluation.numbers, evaluation.markdown, (table, text))
