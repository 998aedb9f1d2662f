"""Markdown of ``georeset evaluate partial``: what was found, with intervals. No computing of results here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from georeset_lab.evaluate.missing import CONDITIONS, FUSIONS
from georeset_lab.evaluate.stats import interval

_PLANTED = {
    "ownership": "who sees what (AUROC)",
    "corruption": "cloud in the variance (AUROC)",
    "unique": "unique factors (R²)",
    "supervised_unique": "the same, supervised",
    "shared": "shared factors (R²)",
    "leaked": "leaked (R², should be 0)",
}


def markdown(numbers: Mapping[str, Any]) -> str:
    """The whole report."""
    parts = ["# Is the uncertainty right?", f"`{numbers['about']['command']}`", _planted(numbers["planted"])]
    encoders = numbers["encoders"]
    parts += [
        _corruption(encoders),
        _clouds(encoders),
        _retrieval(encoders),
        _missing(encoders),
        _calibration(encoders),
    ]
    places = ", ".join(numbers["about"]["places"])
    parts.append(f"Real places, never trained on: {places}. Strengths 1 to 5 of every corruption, unmasked.")
    return "\n\n".join(parts) + "\n"


def _planted(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for objective, seeds in found.items():
        cells = [_spread([s[key] for s in seeds.values()]) for key in _PLANTED]
        rows.append([f"{objective} ({len(seeds)} seeds)", *cells])
    return "## Planted truth: two toy sensors, 4 unique factors each, 4 shared, 30 % of one sensor cloudy\n\n" + _table(
        ["objective", *_PLANTED.values()], rows
    )


def _corruption(found: Mapping[str, Any]) -> str:
    kinds = list(next(iter(found.values()))["corruption"])
    rows = []
    for name, parts in found.items():
        mine = parts["corruption"]
        mean = float(np.mean([mine[k]["strength_variance"] for k in kinds]))
        cells = [f"{mine[k]['strength_variance']:.2f} / {mine[k]['variance_error']:.2f}" for k in kinds]
        rows.append([name, f"{mean:.2f}", *cells])
    text = (
        "## Corruption of real windows\n\nSpearman of strength and variance / of variance and error, over all pairs of "
        "window and strength.\n\n"
    )
    return text + _table(["encoder", "mean", *kinds], rows)


def _clouds(found: Mapping[str, Any]) -> str:
    rows = []
    for name, parts in found.items():
        mine = parts["clouds"]
        rows.append([name, f"{mine['auroc']:.3f}", *(f"{v:.2f}" for v in mine["by_date"].values())])
    first = next(iter(found.values()))["clouds"]
    return (
        "## Real clouds in Slovenia\n\nAUROC of the variance of a pixel against the mask of s2cloudless, all pixels of five "
        f"dates ({100 * first['cloudy']:.0f} % are cloud: two dates are overcast, three clear), and the mean variance of "
        "each date.\n\n"
    ) + _table(["encoder", "AUROC", *first["by_date"]], rows)


def _retrieval(found: Mapping[str, Any]) -> str:
    rows = []
    for name, parts in found.items():
        mine = parts["retrieval"]
        cells = [" / ".join(f"{mine[score][f'R@{k}']:.2f}" for k in (1, 5, 10)) for score in ("pmi", "cosine")]
        ranked = "-"
        if "r_auroc" in mine:
            low, high = mine["r_auroc_interval"]
            ranked = f"{mine['r_auroc']:.2f} ({low:.2f} to {high:.2f}) / {mine['r_auroc_norm']:.2f}"
        rows.append([name, *cells, f"{mine['chance']:.3f}", ranked])
    head = ["encoder", "R@1 / 5 / 10 with variance", "by cosine", "chance", "R-AUROC of variance (95 %) / of norm"]
    return "## Radar finds its optical twin, and back\n\n" + _table(head, rows)


def _missing(found: Mapping[str, Any]) -> str:
    blocks = []
    for name, parts in found.items():
        rows = []
        for fusion in FUSIONS:
            cells = []
            for condition in CONDITIONS:
                mine = parts["missing"][fusion][condition]
                cells.append(f"{_spread(mine['balanced_accuracy'])} / {np.mean(mine['nll']):.2f}")
            rows.append([fusion, *cells])
        blocks.append(f"**{name}**\n\n" + _table(["fusion", *CONDITIONS], rows))
    title = (
        "## A sensor is missing or corrupted at test time\n\nBalanced accuracy and NLL of a probe with 50 clean labels per "
        "class, Chile and Denmark.\n\n"
    )
    return title + "\n\n".join(blocks)


def _calibration(found: Mapping[str, Any]) -> str:
    rows = []
    for name, parts in found.items():
        if not parts["calibration"]:
            rows.append([name, "settles nothing", *"-----"])
        for kind, mine in parts["calibration"].items():
            rows.append([
                name, kind, f"{mine['slope']:.2f}", f"{mine['slope_unscaled']:.2f}", f"{mine['scale']:.2f}",
                f"{mine['ratio']:.1f}", f"{mine['spearman']:.2f}",
            ])  # fmt: skip
    head = ["encoder", "Gaussian", "slope", "before scaling", "scale", "error of top / bottom tenth", "Spearman"]
    return "## Realised against predicted error; the scale is fitted on other places\n\n" + _table(head, rows)


def _spread(values: Sequence[float]) -> str:
    known = np.asarray([v for v in values if np.isfinite(v)])
    return interval(known[None]).text() if known.size else "-"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
