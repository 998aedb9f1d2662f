"""Markdown of ``georeset evaluate sensors``. Nothing is computed here but means, intervals and differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from georeset_lab.evaluate.sensors_measure import BANDS_KEPT, DECISION, FUSED, OWN_SCALE
from georeset_lab.evaluate.sensors_tasks import DAYS_RULE, PER_CLASS
from georeset_lab.evaluate.stats import Interval, interval

TITLES = {
    "ours": "our encoder",
    "virtual_bands": "our virtual bands, plain transformer",
    "band_attention": "band attention (Panopticon-like)",
    "dynamic_patch": "dynamic patches (DOFA-like)",
    "slots": "input fusion (slots + mask)",
    "late": "late fusion (a network per sensor)",
    "hls": "HLS-like, 30 m",
    "translation": "Landsat translated to Sentinel-2",
    "default": "default weights",
    "raw": "no encoder: seven HLS-like bands + 5x5",
}
"""Rows in their order; ``ours`` is what the others are compared with."""
_COLUMNS = ("s2>s2", "l8>l8", "s2>l8", "l8>s2", "both>s2", "both>l8", "both>both", DECISION)
_WORDS = {"s2": "S2", "l8": "L8", FUSED: "both", DECISION: "both → both, mean of probabilities"}

Seeds = Mapping[str, Any]


def markdown(numbers: Mapping[str, Any]) -> str:
    """The whole report."""
    rows, about = numbers["rows"], numbers["about"]
    places = about["places"]
    parts = [_head(numbers), _transfer(rows, places, "", "Labels across sensors, features as they are")]
    words = "Labels across sensors, each sensor's features scaled by its own unlabelled pixels"
    parts += [_transfer(rows, places, OWN_SCALE, words), _by_place(rows, places)]
    for name, make in (
        ("2 cost", _cost),
        ("4 unseen", _unseen),
        ("3 matched", _matched),
        ("5 bands", _bands),
        ("6 pixel", _pixel),
    ):
        found = _having(rows, name)
        if found:
            parts.append(make(found))
    return "\n\n".join([*parts, f"Made by `{about['command']}`."]) + "\n"


def _having(rows: Mapping[str, Seeds], part: str) -> dict[str, Seeds]:
    """Rows and seeds that have this part."""
    found = {r: {k: s for k, s in seeds.items() if part in s} for r, seeds in rows.items()}
    return {r: seeds for r, seeds in found.items() if seeds}


def _head(numbers: Mapping[str, Any]) -> str:
    about, rows = numbers["about"], numbers["rows"]
    saw = sorted({p for seeds in rows.values() for s in seeds.values() for p in s["saw"]})
    steps = {s for name, s in about["steps"].items() if name != "default"}
    budget = f"{' and '.join(map(str, sorted(steps)))} steps of the recipe `sensors`" if steps else "no training"
    text = (
        f"Balanced accuracy, {PER_CLASS} labels per class, mean ± 95 % interval over label draws and training seeds. "
        f"Places: {', '.join(about['places'])}. Real dates: {DAYS_RULE}. Rows but the last two had the same budget: "
        f"{budget}, objective PMI. *Lost across* is what labels of the other sensor are worth less than labels of the "
        "sensor tested, mean of both ways; the last column compares accuracy across, S2 → L8 and L8 → S2, in the mean "
        "over places. Tables after the first three are of one seed."
    )
    return text + (f" The default weights (†) were trained on {', '.join(saw)}, without labels." if saw else "")


def _name(row: str, seeds: Seeds) -> str:
    n = f" ({len(seeds)} seeds)" if len(seeds) > 1 else ""
    return TITLES.get(row, row) + n + (" †" if any(s["saw"] for s in seeds.values()) else "")


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(r) + " |" for r in rows)


def _values(seeds: Seeds, places: list[str], key: str) -> np.ndarray:
    """(seeds, draws), the mean over places."""
    return np.array([np.mean([s["1 transfer"][p][key] for p in places], axis=0) for s in seeds.values()])


def _lost(seeds: Seeds, places: list[str], scale: str) -> np.ndarray:
    """(seeds, draws): what a label of the other sensor is worth less than one of the sensor tested, both ways."""
    v = {k: _values(seeds, places, scale + k) for k in ("s2>s2", "l8>l8", "s2>l8", "l8>s2")}
    return np.asarray((v["s2>s2"] - v["l8>s2"] + v["l8>l8"] - v["s2>l8"]) / 2)


def _transfer(rows: Mapping[str, Seeds], places: list[str], scale: str, title: str) -> str:
    head = ["labels → tested", *(_column(c) for c in _COLUMNS), "lost across", "across: ours − row, over places"]
    lines = []
    for row, seeds in rows.items():
        cells = [interval(_values(seeds, places, scale + c)).text() for c in _COLUMNS]
        against = "" if row == "ours" or "ours" not in rows else _against(rows["ours"], seeds, places, scale)
        lines.append([_name(row, seeds), *cells, interval(_lost(seeds, places, scale)).text(), against])
    return f"**{title}** (mean of {len(places)} places):\n\n" + _table(head, lines)


def _column(key: str) -> str:
    train, _, test = key.partition(">")
    return f"{_WORDS[train]} → {_WORDS[test]}" if test else _WORDS[train]


def _across(seeds: Seeds, place: str, scale: str) -> float:
    keys = ("s2>l8", "l8>s2")
    return float(np.mean([s["1 transfer"][place][scale + k] for s in seeds.values() for k in keys]))


def _against(ours: Seeds, other: Seeds, places: list[str], scale: str) -> str:
    """Difference of accuracy across sensors, mean and interval over places."""
    gap = np.array([[_across(ours, p, scale) - _across(other, p, scale) for p in places]])
    return interval(gap).text(sign=True)


def _by_place(rows: Mapping[str, Seeds], places: list[str]) -> str:
    lines = []
    for row, seeds in rows.items():
        pairs = [f"{_short(_across(seeds, p, ''))} / {_short(_across(seeds, p, OWN_SCALE))}" for p in places]
        lines.append([_name(row, seeds), *pairs])
    note = "**Across sensors by place** (mean of S2 → L8 and L8 → S2; as they are / own scale):\n\n"
    return note + _table(["", *places], lines)


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def _cost(rows: Mapping[str, Seeds]) -> str:
    head = [
        "",
        "parameters",
        "GFLOP per megapixel, 12 bands",
        "224 bands",
        "seconds per megapixel, 12 bands",
        "224 bands",
    ]
    lines = []
    for row, seeds in rows.items():
        c = next(s["2 cost"] for s in seeds.values() if "2 cost" in s)
        seconds = [f"{c['seconds_12']:.2f}", f"{c['seconds_224']:.2f} ({c['seconds_224'] / c['seconds_12']:.1f} x)"]
        lines.append(
            [_name(row, seeds), f"{c['parameters']:,}", f"{c['gflop_12']:.0f}", f"{c['gflop_224']:.0f}", *seconds]
        )
    return "**Cost** (one date, 10 m pixels, processor seconds of one thread):\n\n" + _table(head, lines)


def _over_seeds(rows: Mapping[str, Seeds], read: Callable[[Any], list[float]]) -> dict[str, Interval]:
    return {r: interval(np.array([read(s) for s in seeds.values()])) for r, seeds in rows.items()}


def _unseen(rows: Mapping[str, Seeds]) -> str:
    columns = list(next(iter(next(iter(rows.values())).values()))["4 unseen"])
    cells = {c: _over_seeds(rows, lambda s, c=c: s["4 unseen"][c]) for c in columns}  # type: ignore[misc]
    lines = [
        [
            _name(r, seeds) if r != "raw" else "no encoder: all bands of the sensor",
            *(cells[c][r].text() for c in columns),
        ]
        for r, seeds in rows.items()
    ]
    return "**Sensors that no row was trained on** (trained and tested on the sensor):\n\n" + _table(
        ["", *columns], lines
    )


def _matched(rows: Mapping[str, Seeds]) -> str:
    n = next(iter(next(iter(rows.values())).values()))["3 matched"]["n"]
    sensors = {"msi2a": "Sentinel-2", "oli8": "Landsat 8", "tm5": "Landsat 5 TM"}
    lines = []
    for r, seeds in rows.items():
        top = np.mean([s["3 matched"]["top1"] for s in seeds.values()])
        scores = [_over_seeds({r: seeds}, lambda s, k=k: s["3 matched"]["scene"][k])[r].text() for k in sensors]  # type: ignore[misc]
        lines.append([_name(r, seeds), _short(float(top)), *scores])
    head = ["", f"L8 → S2 retrieval, top 1 of {n}", *(f"scene of nine, labels S2 → {w}" for w in sensors.values())]
    return "**Matched spectra** (spechomo; clusters of alike spectra never on both sides):\n\n" + _table(head, lines)


def _bands(rows: Mapping[str, Seeds]) -> str:
    def read(s: Any, key: str) -> list[float]:
        return list(np.mean([place[key] for place in s["5 bands"].values()], axis=0))

    out = []
    for how, words in (
        ("same", "learned and tested with these"),
        ("lost", "learned with all twelve, tested with these"),
    ):
        lines = [
            [
                _name(r, seeds),
                *(_over_seeds({r: seeds}, lambda s, k=k: read(s, f"{k}, {how}"))[r].text() for k in BANDS_KEPT),  # type: ignore[misc] # noqa: B023
            ]
            for r, seeds in rows.items()
        ]
        head = ["bands of Sentinel-2", *map(str, BANDS_KEPT)]
        out.append(f"**Fewer bands**, {words} (simulated):\n\n" + _table(head, lines))
    return "\n\n".join(out)


def _pixel(rows: Mapping[str, Seeds]) -> str:
    def read(s: Any, key: str) -> list[float]:
        return list(np.mean([place[key] for place in s["6 pixel"].values()], axis=0))

    sizes = ("10", "20", "30", "60")
    lines = [
        [_name(r, seeds), *(_over_seeds({r: seeds}, lambda s, k=k: read(s, k))[r].text() for k in sizes)]  # type: ignore[misc]
        for r, seeds in rows.items()
    ]
    return "**Coarser pixels** (simulated Sentinel-2; learned at 10 m):\n\n" + _table(
        ["tested at", *(f"{k} m" for k in sizes)], lines
    )
