"""``georeset evaluate partial``: how right the uncertainty is, by planted truth, corruption, retrieval and calibration.

Every number is computed once for each objective and seed, or each encoder, and kept; tables are in
``partial_report.py``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from georeset_lab.evaluate import partial_report
from georeset_lab.evaluate.cache import code_identity, kept, row_key
from georeset_lab.evaluate.calibrate import calibrated
from georeset_lab.evaluate.claims import claims
from georeset_lab.evaluate.missing import missing
from georeset_lab.evaluate.planted import run_planted
from georeset_lab.evaluate.retrieval import retrieval
from georeset_lab.evaluate.robust import corruption, real_clouds
from georeset_lab.evaluate.rows import UNTRAINED, Row, find_models, load, title
from georeset_lab.evaluate.series import series_windows
from georeset_lab.evaluate.windows import SETS, Windows, real_windows
from georeset_lab.files import sha256, write_atomic
from georeset_lab.train.critics import CONTRASTS

SEEDS = (0, 1, 2, 3, 4)
PARTS = ("corruption", "clouds", "retrieval", "missing", "claims", "calibration")
_SETS = (*SETS, "eolearn-testeopatch")
_MEASURES = (
    "calibrate",
    "claims",
    "corrupt",
    "fusing",
    "missing",
    "patches",
    "places",
    "planted",
    "retrieval",
    "robust",
    "score",
    "series",
    "solver",
    "splits",
    "task",
    "tasks",
    "windows",
)
_CODE = ("data", "models", "embed", "train", "losses", *(f"evaluate/{name}.py" for name in _MEASURES))
"""Source that decides a number of an encoder; how it is printed does not."""
_PLANTED_CODE = ("losses", "models/fusion.py", "models/head.py", "train/critics.py", "evaluate/planted.py")
"""The same of the planted truth, whose networks are its own."""


@dataclass(frozen=True)
class Partial:
    """What `run` found."""

    numbers: dict[str, Any]
    """What ``partial.json`` holds: ``planted`` -> objective -> seeds, ``encoders`` -> name -> part."""
    markdown: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Places:
    """Windows that encoders are measured on."""

    test: Windows
    """Places that no weights have seen."""
    other: Windows
    """Training places, for fitting a scale."""
    series: Windows
    """Several dates of test places."""


def run(
    data: str | Path,
    models: str | Path | None = None,
    *,
    quick: bool = False,
    out: str | Path | None = None,
    progress: bool = True,
    command: str | None = None,
) -> Partial:
    """Tables of how right the uncertainty is.

    Parameters
    ----------
    data : path
        Folder with ``terramind-chips``, ``bigearthnet-examples``, ``sits-worldcereal-cubes``, ``ssl4eo-s12-0000200`` and
        ``eolearn-testeopatch``.
    models : path, optional
        Folder of trained encoders, as for ``georeset evaluate first``; each is a row beside the default weights.
    quick : bool
        One seed of 300 steps for the planted truth, two label draws, one date of each place, default weights alone: a
        few minutes, for CI.
    out : path, optional
        Folder for ``partial.md``, ``partial.json`` and the finished numbers, from which a killed run goes on.
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
    home = Path(out) / "parts" if out else Path.home() / ".cache" / "georeset_lab" / "partial"
    dates = 1 if quick else 4
    test, other = (real_windows(data, role, dates=dates) for role in ("test", "other"))
    places = Places(test, other, series_windows(data, "test"))
    found_rows = find_models(Path(models) if models and not quick else None)[0]
    rows = [r for r in found_rows if r.source is not None and r.name != UNTRAINED]
    jobs = [*_planted(quick), *_encoders(rows, data, places, draws=2 if quick else 10)]
    numbers: dict[str, Any] = {"planted": {}, "encoders": {}}
    code, planted_code = code_identity(*_CODE), code_identity(*_PLANTED_CODE)
    for where, identity, make in tqdm(jobs, desc="evaluate partial", disable=not progress):
        rests_on = planted_code if where[0] == "planted" else code
        found = kept(home / f"{row_key({'job': identity, 'code': rests_on})}.json", make)
        target = numbers
        for key in where[:-1]:
            target = target.setdefault(key, {})
        target[where[-1]] = found
    about = {"command": command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]), "quick": quick, "code": code}
    numbers["about"] = about | {"places": list(places.test.names), "scale_fitted_on": list(places.other.names)}
    numbers["about"] |= {"windows": [len(w.place) for w in (places.test, places.other, places.series)]}
    text = partial_report.markdown(numbers)
    if out is None:
        return Partial(numbers, text, ())
    table, file = Path(out) / "partial.md", Path(out) / "partial.json"
    write_atomic(table, text.encode())
    write_atomic(file, json.dumps(numbers, indent=1).encode())
    return Partial(numbers, text, (table, file))


_Job = tuple[tuple[str, ...], list[Any], Callable[[], dict[str, Any]]]


def _planted(quick: bool) -> Iterator[_Job]:
    for objective in CONTRASTS:
        for seed in SEEDS[:1] if quick else SEEDS:
            steps = 300 if quick else 1500
            yield (
                ("planted", objective, str(seed)),
                ["planted", objective, seed, steps],
                lambda o=objective, s=seed, n=steps: asdict(run_planted(o, s, steps=n)),  # type: ignore[misc]
            )


def _encoders(rows: list[Row], data: Path, places: Places, *, draws: int) -> Iterator[_Job]:
    files, n = _files(data), len(places.test.place)
    for row in rows:
        name = title(row.family, ()) if row.seed is None else f"{title(row.family, ())}, seed {row.seed}"
        make: dict[str, Callable[[], dict[str, Any]]] = {
            "corruption": lambda r=row: corruption(load(r), places.test, places.series),  # type: ignore[misc]
            "clouds": lambda r=row: real_clouds(load(r), data),  # type: ignore[misc]
            "retrieval": lambda r=row: retrieval(load(r), places.test),  # type: ignore[misc]
            "missing": lambda r=row: missing(load(r), data, draws=draws),  # type: ignore[misc]
            "calibration": lambda r=row: calibrated(load(r), places.test, places.other),  # type: ignore[misc]
            "claims": lambda r=row: claims(load(r), places.test),  # type: ignore[misc]
        }
        for part in PARTS:
            yield ("encoders", name, part), [part, row.name, row.seed, row.identity, draws, n, files], make[part]


def _files(data: Path) -> str:
    """Hash of the data sets: numbers of other files, or of fewer, are not taken for these."""
    files = sorted(f for name in _SETS for f in (data / name).rglob("*") if f.is_file())
    return sha256(b"".join(f.relative_to(data).as_posix().encode() + b"\0" + f.read_bytes() for f in files))[:16]
