"""``georeset evaluate first``: few-shot tables on real data sets. Jobs are in ``jobs.py``, tables in ``report.py``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from georeset_lab.errors import InvalidOption, SceneReadError
from georeset_lab.evaluate import report
from georeset_lab.evaluate.cache import code_identity, load_row
from georeset_lab.evaluate.jobs import CODE, ENCODER_CODE, Job, Protocol, draws_hash, plan, read_task, unfinished, work
from georeset_lab.evaluate.results import TaskResult
from georeset_lab.evaluate.rows import Row, adapted_rows, find_models, galileo_row, trained_here
from georeset_lab.evaluate.score import Scores
from georeset_lab.evaluate.task import TaskSpec
from georeset_lab.evaluate.tasks import all_tasks
from georeset_lab.files import write_atomic

QUICK_TASKS = ("chile", "slovenia")


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
    galileo: str | Path | None = None,
    adapt_minutes: float | None = None,
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
    galileo : path, optional
        Folder of Galileo nano's weights, for its rows and as teacher in adaptation.
    adapt_minutes : float, optional
        Add rows of the default weights adapted to each scene with Sentinel-2 for so long, without labels.

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
    teacher = galileo_row(None if galileo is None else Path(galileo))
    if teacher is None:
        missing.append("Galileo nano: pass the folder of its weights as galileo= (--galileo).")
    jobs = []
    for spec in specs:
        rows = list(encoders)
        if adapt_minutes and "s2" in spec.modalities:
            folder = home.parent / "adapted"
            rows += adapted_rows(data, spec, folder, minutes=adapt_minutes, teacher=galileo, progress=progress)
        jobs += list(plan(data, spec, rows, protocol, home, teacher))
    work([j for j in map(unfinished, jobs) if j.rows], _count(processes), progress)
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


def _collect(data: Path, spec: TaskSpec, jobs: Sequence[Job], protocol: Protocol) -> TaskResult:
    task, split = read_task(data, spec.name, protocol)
    result = TaskResult(
        spec.name,
        spec.title,
        task.rule,
        spec.modalities,
        dict(zip(split.classes, split.counts, strict=True)),
        split.test_y.size,
        split.sizes,
        draws_hash(split),
        other_sensor=spec.other_sensor,
        derived=spec.derived,
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
        "code": code_identity(*CODE, *ENCODER_CODE),
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
