"""``georeset evaluate sensors``: our encoder beside rival tokenizers and baselines, all trained on one budget.

Every number is computed once for each encoder and place and kept; tables are in ``sensors_report.py``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from georeset_lab.evaluate import sensors_report
from georeset_lab.evaluate.cache import code_identity, kept, row_key
from georeset_lab.evaluate.sensors_cost import cost
from georeset_lab.evaluate.sensors_measure import (
    by_bands,
    by_pixel,
    maps_of,
    matched,
    raw_maps,
    transfer,
    unseen_sensors,
)
from georeset_lab.evaluate.sensors_tasks import HELD_OUT, REAL, SPECTRA, pair
from georeset_lab.files import sha256, write_atomic
from georeset_lab.models.checkpoint import Model, load_model

RAW, DEFAULT = "raw", "default"
DRAWS = 5
"""Label draws of each place."""
_PARTS = ("tasks", "measure", "cost")
_CODE = (
    "data",
    "models",
    "embed",
    "evaluate/places.py",
    "evaluate/score.py",
    "evaluate/solver.py",
    "evaluate/splits.py",
    "evaluate/tasks.py",
    "evaluate/patches.py",
    *(f"evaluate/sensors_{part}.py" for part in _PARTS),
)
"""Source that decides a number; how it is printed does not."""
_SETS = ("enmap-potsdam", "rstoolbox-landsat5-para", "terramind-chips")


@dataclass(frozen=True)
class Sensors:
    """What `run` found."""

    numbers: dict[str, Any]
    """What ``sensors.json`` holds: ``rows`` -> name -> seed -> part."""
    markdown: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Row:
    """One encoder of one seed; without a source, plain bands."""

    name: str
    seed: str
    source: str | None

    def model(self) -> Model | None:
        """The encoder, read when it is needed."""
        return None if self.source is None else _load(self.source)


def run(
    data: str | Path,
    models: str | Path | None = None,
    *,
    quick: bool = False,
    out: str | Path | None = None,
    progress: bool = True,
    command: str | None = None,
) -> Sensors:
    """Tables of what an encoder is worth across sensors.

    Parameters
    ----------
    data : path
        Folder with ``sits-worldcereal-cubes``, ``spechomo-matched-spectra``, ``terramind-chips``,
        ``rstoolbox-landsat5-para`` and ``enmap-potsdam``.
    models : path, optional
        Folder of encoders trained by the recipe ``sensors``, each in ``NAME-seedN``; rows beside the default weights and
        plain bands.
    quick : bool
        One real and one simulated place, two label draws, labels across sensors and cost alone: a minute or two.
    out : path, optional
        Folder for ``sensors.md``, ``sensors.json`` and the finished numbers, from which a killed run goes on.
    progress : bool
        Show a bar.
    command : str, optional
        What to print as the command of the report; this process's command line by default.

    Raises
    ------
    SceneReadError
        The data sets are not in ``data``.
    """
    from tqdm.auto import tqdm

    data = Path(data)
    home = Path(out) / "parts" if out else Path.home() / ".cache" / "georeset_lab" / "sensors"
    places = (REAL[0], f"simulated-{HELD_OUT[0]}") if quick else (*REAL, *(f"simulated-{s}" for s in HELD_OUT))
    rows = find_rows(Path(models) if models else None)
    jobs = [job for row in rows for job in _jobs(row, data, places, quick=quick)]
    shared = {"code": code_identity(*_CODE), "data": _files(data)}
    numbers: dict[str, Any] = {"rows": {}}
    # Of each row first what matters most, so that a run that is stopped has whole tables.
    for row, part, place, make in tqdm(sorted(jobs, key=lambda j: j[1]), desc="evaluate sensors", disable=not progress):
        identity = RAW if row.source is None else _hash(row)
        key = row_key({"row": row.name, "weights": identity, "part": part, "place": place, "quick": quick, **shared})
        mine = numbers["rows"].setdefault(row.name, {}).setdefault(row.seed, {"saw": _saw(row, places)})
        found = kept(home / f"{key}.json", make)
        if place:
            mine.setdefault(part, {})[place] = found
        else:
            mine[part] = found
    numbers["about"] = {
        "command": command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "quick": quick, "places": list(places), "steps": _steps(rows), **shared,
    }  # fmt: skip
    text = sensors_report.markdown(numbers)
    if out is None:
        return Sensors(numbers, text, ())
    table, file = Path(out) / "sensors.md", Path(out) / "sensors.json"
    write_atomic(table, text.encode())
    write_atomic(file, json.dumps(numbers, indent=1).encode())
    return Sensors(numbers, text, (table, file))


def find_rows(folder: Path | None) -> list[Row]:
    """Plain bands, the default weights and the encoders of a folder, in the order of the report."""
    rows = [Row(RAW, "0", None), Row(DEFAULT, "0", DEFAULT)]
    for card in sorted(folder.glob("*/model/card.json")) if folder else []:
        match = re.fullmatch(r"(.+)-seed(\d+)", card.parent.parent.name)
        name, seed = (match[1], match[2]) if match else (card.parent.parent.name, "0")
        rows.append(Row(name, seed, str(card.parent)))
    order = list(sensors_report.TITLES)
    return sorted(rows, key=lambda r: (order.index(r.name) if r.name in order else len(order), r.name, r.seed))


_Job = tuple[Row, str, str, Callable[[], dict[str, Any]]]


def _jobs(row: Row, data: Path, places: tuple[str, ...], *, quick: bool) -> Iterator[_Job]:
    """Each is a row, its part (in the order of their numbers), its place and how to make it. One seed beyond the first part."""
    draws = 2 if quick else DRAWS

    def maps() -> Any:
        model = row.model()
        return raw_maps if model is None else maps_of(model)

    for place in places:
        yield row, "1 transfer", place, lambda p=place: transfer(maps(), pair(data, p, draws))  # type: ignore[misc]
    if row.seed != "0":
        return
    if row.source is not None:
        yield row, "2 cost", "", lambda: cost(_load(row.source or ""))
    if quick:
        return
    yield row, "3 matched", "", lambda: matched(row.model(), data)
    yield row, "4 unseen", "", lambda: unseen_sensors(None if row.source is None else maps(), data, draws)
    for place in places[len(REAL) : len(REAL) + 2]:
        yield row, "5 bands", place, lambda p=place: by_bands(maps(), pair(data, p, draws))  # type: ignore[misc]
        yield row, "6 pixel", place, lambda p=place: by_pixel(maps(), pair(data, p, draws))  # type: ignore[misc]


@lru_cache(maxsize=32)
def _load(source: str) -> Model:
    return load_model(source)


def _hash(row: Row) -> str:
    model = row.model()
    return "" if model is None else model.hash


def _saw(row: Row, places: tuple[str, ...]) -> list[str]:
    """Places that the weights were trained on, by their card."""
    model = row.model()
    said = "" if model is None else repr((model.card.get("scenes"), model.card.get("recipe", {}).get("real")))
    return [place for place in places if place in said]


def _steps(rows: list[Row]) -> dict[str, int]:
    models = {row.name: row.model() for row in rows if row.source is not None}
    return {name: int(m.card.get("steps", 0)) for name, m in models.items() if m is not None}


def _files(data: Path) -> str:
    """Hash of the data sets: numbers of other files are not taken for these."""
    folders = [*(data / "sits-worldcereal-cubes" / name for name in REAL), *(data / name for name in _SETS)]
    there = sorted(f for f in (*(g for folder in folders for g in folder.rglob("*")), data / SPECTRA) if f.is_file())
    return sha256(b"".join(f.relative_to(data).as_posix().encode() + b"\0" + f.read_bytes() for f in there))[:16]
