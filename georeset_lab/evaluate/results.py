"""Scores of all rows on all tasks, their averages and differences. Rendering is in ``report.py``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from georeset_lab.evaluate.rows import ADAPTED, ALL, CHEAP, DEFAULT, FITTED, TRAINED, UNTRAINED
from georeset_lab.evaluate.stats import Interval, interval

SATURATED = 0.90
"""A task where raw bands with 5x5 statistics are above this, averaged over label counts, is shown but not averaged."""

Family = tuple[str, str, bool]


@dataclass
class TaskResult:
    """Scores of one task."""

    name: str
    title: str
    rule: str
    modalities: tuple[str, ...]
    classes: dict[str, tuple[int, int]]
    """Class -> labelled pixels on the training and on the test side."""
    n_test: int
    sizes: tuple[int, ...]
    draws_hash: str
    """Hash of all label draws and test pixels: equal for every row by construction, and from run to run."""
    scores: dict[Family, np.ndarray] = field(default_factory=dict)
    """Balanced accuracy (seeds, sizes, draws) of each row."""
    seeds: dict[Family, tuple[int | None, ...]] = field(default_factory=dict)
    n_features: dict[Family, int] = field(default_factory=dict)
    chosen_c: dict[Family, np.ndarray] = field(default_factory=dict)
    other_sensor: bool = False
    derived: bool = False
    seen_in_training: set[Family] = field(default_factory=set)
    """Rows whose card names this place among the training scenes."""

    @property
    def averaged(self) -> bool:
        """Whether it takes part in the mean over tasks."""
        return not (self.saturated or self.derived)

    @property
    def saturated(self) -> bool:
        """Whether raw bands with 5x5 statistics are above `SATURATED`."""
        raw = self.scores.get(("raw5", ALL, False))
        return raw is not None and float(raw.mean()) > SATURATED


def table_cells(scores: np.ndarray) -> list[Interval]:
    """Interval at each label count and of the mean over label counts, from (seeds, sizes, draws)."""
    return [interval(scores[:, i]) for i in range(scores.shape[1])] + [interval(scores.mean(axis=1))]


def averaged(tasks: Iterable[TaskResult]) -> dict[Family, np.ndarray]:
    """Scores (seeds, sizes, draws) averaged over tasks, of the rows that all of them have.

    Tasks are fixed, not sampled: the average carries the spread of draws and seeds only. Draw j of one task is paired
    with draw j of the next, which is arbitrary, since they are independent.
    """
    tasks = list(tasks)
    if not tasks:
        return {}
    common = [f for f in tasks[0].scores if all(f in t.scores for t in tasks)]
    shapes = {f: {t.scores[f].shape for t in tasks} for f in common}
    return {f: np.mean([t.scores[f] for t in tasks], axis=0) for f in common if len(shapes[f]) == 1}


def comparisons(families: Iterable[Family]) -> list[tuple[Family, Family]]:
    """Which row is compared with which: trained with untrained, and with the cheap rows on the same modalities."""
    have = list(families)
    pairs = []
    for row in have:
        name, view, local = row
        if name in CHEAP:
            continue
        rivals = [] if name == UNTRAINED else [(UNTRAINED, view, local)]
        if local:
            rivals += [(name, view, False), ("raw5", view, False), ("galileo", view, True)]
        else:
            rivals += [(n, view, False) for n in ("raw", "raw5", "rcf", "galileo")]
        if name == ADAPTED:
            rivals.insert(0, (DEFAULT, view, local))
        elif name not in (UNTRAINED, FITTED):
            rivals.insert(0, (FITTED, view, local))
        pairs += [(row, rival) for rival in rivals if rival in have]
    order = {UNTRAINED: 0, **{n: i + 1 for i, n in enumerate(TRAINED)}, DEFAULT: 9}
    return sorted(pairs, key=lambda p: (order.get(p[0][0], 5), p[0][1] != ALL, p[0][2]))


def difference(
    scores: Mapping[Family, np.ndarray], seeds: Mapping[Family, tuple[int | None, ...]], a: Family, b: Family
) -> np.ndarray:
    """Paired difference a - b, (seeds, sizes, draws): draw by draw, and seed by seed where both have the seeds.

    Of two rows with seeds the common ones are kept; where there is none, the seeds of b are averaged.
    """
    x, y = scores[a], scores[b]
    both = [s for s in seeds[a] if s is not None and s in seeds[b]]
    if both:
        return x[[seeds[a].index(s) for s in both]] - y[[seeds[b].index(s) for s in both]]
    return x - y.mean(axis=0, keepdims=True)
