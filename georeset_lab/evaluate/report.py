"""The report of an evaluation: Markdown tables for people, JSON with every number for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from georeset_lab.evaluate.results import SATURATED, Family, TaskResult, averaged, comparisons, difference, table_cells
from georeset_lab.evaluate.rows import title
from georeset_lab.evaluate.stats import METHOD, Interval


def markdown(tasks: Sequence[TaskResult], missing: Sequence[str], about: Mapping[str, Any]) -> str:
    """All tables as Markdown: the mean over unsaturated tasks, each task, paired differences, what is missing."""
    fair = [t for t in tasks if t.averaged]
    parts = [
        "# georeset evaluate first",
        f"Made with `{about['command']}`, georeset_lab {about['version']}"
        + (f" at commit {about['commit'][:10]}." if about.get("commit") else "."),
        _protocol(about["protocol"]),
    ]
    if fair:
        parts += [_mean_section(fair)]
    read = [t for t in fair if any(f[0] == "galileo" for f in t.scores)]
    if read and len(read) < len(fair):
        parts += [_mean_section(read, "that Galileo reads")]
    others = [t for t in tasks if t.other_sensor]
    if len(others) > 1:
        parts += [_mean_section(others, "with sensors that Galileo cannot read, saturated ones included")]
    parts += [_task_section(t) for t in tasks]
    if missing:
        parts.append("## Not in these tables\n" + "\n".join(f"- {m}" for m in missing))
    return "\n\n".join(parts) + "\n"


def numbers(tasks: Sequence[TaskResult], missing: Sequence[str], about: Mapping[str, Any]) -> dict[str, Any]:
    """Every score, interval and setting, ready for JSON."""
    fair = [t for t in tasks if t.averaged]
    out: dict[str, Any] = {"about": dict(about), "method": METHOD, "missing": list(missing), "tasks": {}}
    for t in tasks:
        out["tasks"][t.name] = {
            "title": t.title,
            "rule": t.rule,
            "modalities": list(t.modalities),
            "classes": {k: list(v) for k, v in t.classes.items()},
            "test_pixels": t.n_test,
            "draws_hash": t.draws_hash,
            "saturated": t.saturated,
            "rows": {
                row_name(f): {
                    "title": title(f, t.modalities),
                    "seeds": list(t.seeds[f]),
                    "features": t.n_features[f],
                    "seen_in_training": f in t.seen_in_training,
                    "balanced_accuracy": t.scores[f].tolist(),
                    "chosen_c": t.chosen_c[f].tolist(),
                    "summary": _summary(t.sizes, t.scores[f]),
                }
                for f in t.scores
            },
            "differences": _differences(t.sizes, t.scores, t.seeds),
        }
    if fair:
        out["mean"] = _mean_numbers(fair)
    read = [t for t in fair if any(f[0] == "galileo" for f in t.scores)]
    if read:
        out["mean_galileo"] = _mean_numbers(read)
    others = [t for t in tasks if t.other_sensor]
    if others:
        out["mean_other_sensors"] = _mean_numbers(others)
    return out


def _mean_numbers(tasks: Sequence[TaskResult]) -> dict[str, Any]:
    mean = averaged(tasks)
    return {
        "tasks": [t.name for t in tasks],
        "rows": {row_name(f): _summary(tasks[0].sizes, s) for f, s in mean.items()},
        "differences": _differences(tasks[0].sizes, mean, tasks[0].seeds),
    }


def row_name(family: Family) -> str:
    """Key of a row in the JSON.

    Examples
    --------
    >>> row_name(("pmi", "all", True))
    'pmi:all+raw5'
    """
    return f"{family[0]}:{family[1]}" + ("+raw5" if family[2] else "")


def _protocol(p: Mapping[str, Any]) -> str:
    sizes, grid = ", ".join(map(str, p["sizes"])), ", ".join(f"{c:g}" for c in p["penalties"])
    return (
        f"Balanced accuracy on the test side of a spatial split, {p['n_draws']} label draws (the same for every row), "
        f"{sizes} labels per class. Probe: multinomial logistic regression on features standardised over the training "
        "side, penalty C by grouped cross-validation (blocks, polygons or tiles) on the training labels alone, out of "
        f"{grid}. Scored on at most {p['max_test']} test pixels, a seeded sample with equal numbers of each class as "
        "far as there are. Elevation is not used: on places this small it tells where a pixel is. Sides have no gap "
        "between them: an encoder's context, like a 5x5 window, may look across a block's edge at pixels, never at "
        f"labels. {METHOD}"
    )


def _mean_section(fair: Sequence[TaskResult], which: str = "that are not saturated") -> str:
    mean, modalities = averaged(fair), ("one",)
    lines = [
        f"## Mean over the {len(fair)} tasks {which} ({', '.join(t.name for t in fair)})",
        _table(fair[0].sizes, {title(f, modalities): table_cells(s) for f, s in mean.items()}),
        "### Paired differences, mean over these tasks",
        _difference_table(fair[0].sizes, mean, fair[0].seeds, modalities),
    ]
    return "\n\n".join(lines)


def _task_section(t: TaskResult) -> str:
    classes = ", ".join(f"{k} ({a} / {b})" for k, (a, b) in t.classes.items())
    note = f" **Saturated** (raw + 5x5 is above {SATURATED:.2f}): not averaged." if t.saturated else ""
    mark = {f: " †" if f in t.seen_in_training else "" for f in t.scores}
    rows = {title(f, t.modalities) + mark[f]: table_cells(s) for f, s in t.scores.items()}
    lines = [
        f"## {t.title}",
        f"Classes (training / test pixels): {classes}; {t.n_test} test pixels scored. Rule: {t.rule}.{note}",
        _table(t.sizes, rows),
    ]
    if t.seen_in_training:
        lines.append("† The weights' card names this place among its training scenes: no fair row.")
    body = _difference_table(t.sizes, t.scores, t.seeds, t.modalities)
    if body:
        lines += ["Paired differences:", body]
    return "\n\n".join(lines)


def _table(sizes: Sequence[int], rows: Mapping[str, list[Interval]]) -> str:
    head = ["labels per class", *map(str, sizes), "mean"]
    best = [max(cells[i].mean for cells in rows.values()) for i in range(len(sizes) + 1)]
    lines = [_line(head), _line(["---"] * len(head))]
    for name, cells in rows.items():
        texts = [f"**{c.text()}**" if c.mean >= b - 1e-12 else c.text() for c, b in zip(cells, best, strict=True)]
        lines.append(_line([name, *texts]))
    return "\n".join(lines)


def _difference_table(
    sizes: Sequence[int],
    scores: Mapping[Family, np.ndarray],
    seeds: Mapping[Family, tuple[int | None, ...]],
    modalities: Sequence[str],
) -> str:
    pairs = comparisons(scores)
    if not pairs:
        return ""
    head = ["difference (bold: the interval leaves out 0)", *map(str, sizes), "mean"]
    lines = [_line(head), _line(["---"] * len(head))]
    for a, b in pairs:
        cells = table_cells(difference(scores, seeds, a, b))
        texts = [f"**{c.text(sign=True)}**" if c.settled else c.text(sign=True) for c in cells]
        lines.append(_line([f"{title(a, modalities)} − {title(b, modalities)}", *texts]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _summary(sizes: Sequence[int], scores: np.ndarray) -> dict[str, dict[str, float]]:
    keys = [*map(str, sizes), "mean"]
    # A single value has no interval; NaN is no JSON.
    return {
        k: {"mean": c.mean, "half": c.half if np.isfinite(c.half) else -1.0}
        for k, c in zip(keys, table_cells(scores), strict=True)
    }


def _differences(
    sizes: Sequence[int], scores: Mapping[Family, np.ndarray], seeds: Mapping[Family, tuple[int | None, ...]]
) -> dict[str, dict[str, dict[str, float]]]:
    return {
        f"{row_name(a)} - {row_name(b)}": _summary(sizes, difference(scores, seeds, a, b))
        for a, b in comparisons(scores)
    }
