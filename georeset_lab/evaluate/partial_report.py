"""Markdown of ``georeset evaluate partial``: what was found, with intervals. No computing of results here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from georeset_lab.evaluate.fusing import FUSIONS
from georeset_lab.evaluate.missing import CONDITIONS
from georeset_lab.evaluate.retrieval import LEVELS, MISS_RANK
from georeset_lab.evaluate.stats import interval

_PLANTED = {
    "ownership": "who sees what (AUROC)",
    "corruption": "cloud in the variance (AUROC)",
    "unique": "unique factors (R²)",
    "supervised_unique": "the same, supervised",
    "shared": "shared factors (R²)",
    "leaked": "leaked (R², should be 0)",
}
_AGREEMENT = {
    "strength_variance": "strength / variance",
    "within": "the same within one window",
    "strength_error": "strength / error (ceiling)",
    "variance_error": "variance / error",
}


def markdown(numbers: Mapping[str, Any]) -> str:
    """The whole report."""
    parts = ["# Is the uncertainty right?", f"`{numbers['about']['command']}`", _planted(numbers["planted"])]
    encoders = numbers["encoders"]
    parts += [
        _side_by_side(encoders),
        _corruption(encoders),
        _clouds(encoders),
        _retrieval(encoders),
        _missing(encoders),
        _claims(encoders),
        _calibration(encoders),
    ]
    about = numbers["about"]
    test, other, series = about["windows"]
    parts.append(
        f"Real places, never trained on: {', '.join(about['places'])}. Strengths 1 to 5 of every corruption, unmasked. "
        f"{test} windows of these places, {series} of several dates, {other} to fit the scale on."
    )
    return "\n\n".join(parts) + "\n"


def _planted(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for objective, seeds in found.items():
        cells = [_spread([s[key] for s in seeds.values()]) for key in _PLANTED]
        rows.append([f"{objective} ({len(seeds)} seeds)", *cells])
    return "## Planted truth: two toy sensors, 4 unique factors each, 4 shared, 30 % of one sensor cloudy\n\n" + _table(
        ["objective", *_PLANTED.values()], rows
    )


def _side_by_side(found: Mapping[str, Any]) -> str:
    """One row for each encoder: the numbers by which objectives are compared; the sections that follow tell more."""
    rows = []
    for family, members in _families(found).items():
        each = [_headline(parts) for parts in members]
        rows.append([family, *(_over_seeds([mine[key] for mine in each]) for key in each[0])])
    lead = (
        "## Encoders side by side\n\nMean over corruptions of Spearman(strength, variance) and of Spearman(variance, error); "
        "AUROC of the variance for real clouds; R-AUROC of the variance for misses of spoilt views; balanced accuracy of the "
        "product of experts; calibration of the fused Gaussian on held-out places.\n\n"
    )
    return lead + _table(["encoder", *_headline(next(iter(found.values())))], rows)


def _headline(parts: Mapping[str, Any]) -> dict[str, float]:
    """What `_side_by_side` shows of one encoder; NaN where it has no such number."""
    kinds, fused = parts["corruption"].values(), parts["calibration"].get("fused", {})
    accuracy = {c: parts["missing"][FUSIONS[0]][c].get("balanced_accuracy", np.nan) for c in CONDITIONS}
    return {
        "strength / variance": float(np.mean([k["strength_variance"] for k in kinds])),
        "variance / error": float(np.mean([k["variance_error"] for k in kinds])),
        "real clouds": parts["clouds"]["auroc"],
        "ranks misses": parts["retrieval"]["spoilt"].get("r_auroc", np.nan),
        **{c: float(np.mean(accuracy[c])) for c in ("clean", "s2 cloud", "s2 haze", "s1 interference")},
        "slope": fused.get("slope", np.nan),
        "top / bottom tenth": fused.get("ratio", np.nan),
    }


def _corruption(found: Mapping[str, Any]) -> str:
    families = _families(found)
    means, blocks = [], []
    for family, members in families.items():
        scores = [parts["corruption"] for parts in members]
        kinds = list(scores[0])
        whole = [[float(np.mean([mine[k][key] for k in kinds])) for mine in scores] for key in _AGREEMENT]
        means.append([family, *map(_over_seeds, whole)])
        rows = [[k, *(_over_seeds([mine[k][key] for mine in scores]) for key in _AGREEMENT)] for k in kinds]
        blocks.append(f"**{family}**\n\n" + _table(["corruption", *_AGREEMENT.values()], rows))
    text = (
        "## Corruption of real windows\n\nSpearman over all pairs of window and strength; within one window it is the mean "
        "over windows. A variance that is always right would reach the ceiling. Several seeds: mean ± standard deviation "
        "over seeds. First the mean over corruptions, then each.\n\n"
    )
    return "\n\n".join([text + _table(["encoder", *_AGREEMENT.values()], means), *blocks])


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
        chance = parts["retrieval"]["chance"]
        for level in LEVELS:
            mine = parts["retrieval"][level]
            cells = [" / ".join(f"{mine[score][f'R@{k}']:.2f}" for k in (1, 5, 10)) for score in ("pmi", "cosine")]
            ranked = ["-", "-", "-"]
            if "r_auroc" in mine:
                low, high = mine["r_auroc_interval"]
                ranked = [f"{mine['r_auroc']:.2f} ({low:.2f} to {high:.2f})", f"{mine['r_auroc_norm']:.2f}"]
                ranked.append(f"{mine['aurc']:.2f}")
            rows.append([name, level, *cells, f"{chance:.3f}", f"{mine['hits']} at {MISS_RANK[level]}", *ranked])
    head = [
        "encoder",
        "level",
        "R@1 / 5 / 10 with variance",
        "by cosine",
        "chance",
        "found at rank",
        "R-AUROC of variance (95 %)",
    ]
    title = (
        "## Radar finds its optical twin, and back\n\nBy what is said of a whole window (scene), or point by point "
        "(aligned); and Sentinel-2 under cloud, haze, noise or without bands, at five strengths, finds itself (spoilt). "
        "R-AUROC and AURC of misses under the better of the two scores: at rank 10 between sensors, where hardly any is "
        "found first, and at rank 1 of what is spoilt.\n\n"
    )
    return title + _table([*head, "of norm", "AURC"], rows)


def _missing(found: Mapping[str, Any]) -> str:
    blocks = []
    for name, parts in found.items():
        first = parts["missing"][FUSIONS[0]]
        everywhere = set(first["clean"]["place"])
        head = []
        for condition in CONDITIONS:
            where = dict.fromkeys(first[condition].get("place", ()))
            head.append(condition if set(where) == everywhere else f"{condition} ({', '.join(where)})")
        rows = []
        for fusion in FUSIONS:
            cells = []
            for condition in CONDITIONS:
                mine = parts["missing"][fusion][condition]
                cells.append(f"{_spread(mine['balanced_accuracy'])} / {np.mean(mine['nll']):.2f}" if mine else "-")
            rows.append([fusion, *cells])
        blocks.append(f"**{name}**\n\n" + _table(["fusion", *head], rows) + "\n\n" + _losses(parts["missing"]))
    title = (
        "## A sensor is missing or corrupted at test time\n\nBalanced accuracy and NLL of a probe with 50 clean labels per "
        "class: Chile and Denmark (Sentinel-2, Sentinel-1, DEM) and Belgium (both, and Landsat 8's temperature).\n\n"
    )
    return title + "\n\n".join(blocks)


def _losses(found: Mapping[str, Any]) -> str:
    """How much more accuracy other fusions lose than the product does, paired by place and draw."""
    spoilt = [c for c in CONDITIONS if c != "clean" and not c.endswith("alone")]
    rows = []
    for fusion in FUSIONS[1:]:
        cells = []
        for condition in spoilt:
            lost = [_lost(found[f], condition) for f in (fusion, FUSIONS[0])]
            gap = interval((lost[0] - lost[1])[None])
            cells.append(gap.text(sign=True) + ("" if gap.settled else " (open)"))
        rows.append([fusion, *cells])
    lead = "Loss of balanced accuracy against clean, minus that of the product (above 0: the product loses less):\n\n"
    return lead + _table(["fusion", *spoilt], rows)


def _lost(found: Mapping[str, Any], condition: str) -> np.ndarray:
    """Balanced accuracy lost under a condition, where the place has the sensor."""
    clean, mine = found["clean"], found[condition]
    kept = np.isin(clean["place"], list(set(mine["place"])))
    return np.asarray(clean["balanced_accuracy"])[kept] - np.asarray(mine["balanced_accuracy"])


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


def _claims(found: Mapping[str, Any]) -> str:
    rows = []
    for name, parts in found.items():
        for sensor, blocks in parts["claims"].items():
            for block, mine in blocks.items():
                predicted, realised, prior = (np.asarray(mine[k]) for k in ("predicted", "realised", "prior"))
                ratio = np.exp(np.log(realised / predicted).mean())
                cells = [f"{np.median(z):.2f}" for z in (predicted, realised, prior)]
                rows.append([name, sensor, block, *cells, f"{ratio:.2f}"])
    head = ["encoder", "sensor", "block", "predicted", "realised", "saying nothing", "realised / predicted"]
    lead = "## What each sensor claims of each block, against clean views of all sensors (squared error, median of places)\n\n"
    return lead + _table(head, rows)


def _families(found: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Encoders that differ by their seed only, under one name."""
    seeds: dict[str, list[Any]] = {}
    for name, parts in found.items():
        seeds.setdefault(re.sub(r", seed \d+$", "", name), []).append(parts)
    return {f"{name} ({len(m)} seeds)" if len(m) > 1 else name: m for name, m in seeds.items()}


def _over_seeds(values: Sequence[float]) -> str:
    known = [v for v in values if np.isfinite(v)]
    spread = f" ±{np.std(known, ddof=1):.2f}" if len(known) > 1 else ""
    return f"{np.mean(known):.2f}{spread}" if known else "-"


def _spread(values: Sequence[float]) -> str:
    known = np.asarray([v for v in values if np.isfinite(v)])
    return interval(known[None]).text() if known.size else "-"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
