"""Kernels that die while somebody labels: reliability.md R4, no acknowledged label lost, acknowledgement within 5 ms.

    python -m tests.benchmarks.kill_labels [kills]

A child labels, erases, relabels, undoes and redoes in one book, and says so after each call; it is killed (SIGKILL) at a
random moment, also while it opens or rewrites the file, and the next one goes on. SIGKILL leaves the page cache alone,
so this does not test a power cut; that every line is synced first is tested in ``tests/embed/labels/test_journal.py``.
Beside each acknowledgement a bare write of a line and fsync in the same folder is timed: what the disk asks for that.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from georeset_lab.embed.labels.book import LabelBook

KEY = "kill"
NAMES = ("water", "town", "forêt")
LIVE_S = 1.5
"""Seconds that a child labels for at most, so that 100 of them acknowledge some 10,000 changes."""


@dataclass
class Tally:
    """What was promised, and what came of it."""

    kills: int = 0
    acknowledged: int = 0
    lost: int = 0
    wrong: int = 0
    """Labels that came back though they had been erased, or with another class."""
    torn: int = 0
    """Files whose last line was cut off."""
    ms: list[float] = field(default_factory=list)
    bare_ms: list[float] = field(default_factory=list)
    """The same for a write and fsync of a line alone."""


def run(kills: int, folder: Path, *, seed: int = 0, live_s: float = LIVE_S) -> Tally:
    """Kill so many children, one after the other, and compare what each leaves with what was acknowledged."""
    rng, tally, promised = random.Random(seed), Tally(), {}
    for number in range(kills):
        said = _one_child(folder, seed + number, rng, live_s)
        tally.kills += 1
        open_ids: set[str] = set()
        for line in said:
            kind, *words = line.split("\t")
            if kind == "about":
                open_ids = set(words)
            elif kind == "done":
                open_ids = set()
                tally.ms.append(float(words[0]))
                tally.bare_ms.append(float(words[1]))
                tally.acknowledged += 1
                promised |= dict(w.split("=", 1) for w in words[2:])
        _compare(folder, promised, open_ids, tally)
    return tally


def _one_child(folder: Path, seed: int, rng: random.Random, live_s: float) -> list[str]:
    command = [sys.executable, "-m", "tests.benchmarks.kill_labels", "--child", str(folder), str(seed)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert child.stdout is not None
    first = child.stdout.readline()
    if not first.startswith("open"):
        raise RuntimeError("the child did not start")
    # From here on it opens the book, then labels; a fifth of the kills come within the first 20 ms.
    time.sleep(rng.uniform(0, 0.02) if rng.random() < 0.2 else rng.uniform(0, live_s))
    os.kill(child.pid, signal.SIGKILL)
    rest = child.stdout.read()
    child.wait()
    # What comes after the last line end was never said.
    return rest.split("\n")[:-1]


def _compare(folder: Path, promised: dict[str, str], open_ids: set[str], tally: Tally) -> None:
    """What is there against what was acknowledged; what the child was about to change may be either way."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        book = LabelBook.open(folder, KEY)
    tally.torn += any("cut off" in note for note in book.notes)
    tally.wrong += any("damaged" in note for note in book.notes)
    here = {x.id: book.class_of(x).name for x in book.items}
    book.close()
    for name in open_ids:
        promised[name] = here.get(name, "")
    for name, label in promised.items():
        if label and name not in here:
            tally.lost += 1
        elif here.get(name, "") != label:
            tally.wrong += 1
    for name in here:  # acknowledgements that were never read: killed between saving and saying
        promised.setdefault(name, here[name])


def _label_until_killed(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    _say("open")
    book = LabelBook.open(folder, KEY)
    if rng.random() < 0.5:
        book._history._limit = 4_000  # rewrites itself often
    while True:
        ids = [x.id for x in book.items]
        action, touched = _choose(book, ids, rng)
        _say("about", *touched)
        start = time.perf_counter()
        made = action()
        ms = 1e3 * (time.perf_counter() - start)
        new = [made.id] if hasattr(made, "id") else []
        here = {x.id: book.class_of(x).name for x in book.items}
        bare = _bare_sync(folder / "bare.txt")
        _say("done", f"{ms:.3f}", f"{bare:.3f}", *(f"{i}={here.get(i, '')}" for i in [*touched, *new]))
        time.sleep(rng.choice([0, 0.005]))  # as people do: what is only in a buffer then is lost


def _bare_sync(file: Path) -> float:
    """Milliseconds to append a line as long as a label's and have it on the disk."""
    with file.open("ab", buffering=0) as out:
        start = time.perf_counter()
        out.write(b"x" * 200 + b"\n")
        os.fsync(out.fileno())
        return 1e3 * (time.perf_counter() - start)


def _choose(book: LabelBook, ids: list[str], rng: random.Random):
    """Something to do, and the labels it may change."""
    lon, lat, name = rng.uniform(-73, -72), rng.uniform(-39, -38), rng.choice(NAMES)
    what = rng.random()
    if what < 0.06 and ids:
        gone = rng.sample(ids, min(3, len(ids)))
        return lambda: book.erase(gone), gone
    if what < 0.12 and ids:
        some = rng.sample(ids, min(3, len(ids)))
        return lambda: book.relabel(some, name), some
    if what < 0.18 and book.undo_title:
        return book.undo, [k for k in book._history.done[-1].after if k.startswith("L")]
    if what < 0.24 and book.redo_title:
        return book.redo, [k for k in book._history.undone[-1].after if k.startswith("L")]
    if what < 0.40:
        ring = [[lon, lat], [lon + 0.01, lat], [lon + 0.01, lat + 0.01], [lon, lat]]
        return lambda: book.add_polygon({"type": "Polygon", "coordinates": [ring]}, name), []
    return lambda: book.add_point(lon, lat, name), []


def _say(*words: str) -> None:
    os.write(1, ("\t".join(words) + "\n").encode())


def main() -> None:
    """Print the figures of R4."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        tally = run(kills, Path(folder))
    print(
        f"{tally.kills} kills, {tally.acknowledged} acknowledged changes: {tally.lost} labels lost, {tally.wrong} wrong"
    )
    print(f"{tally.torn} files ended in half a line")
    for what, ms, goal in (("acknowledgement", tally.ms, " (goal 5)"), ("bare write and fsync", tally.bare_ms, "")):
        print(f"{what}: median {statistics.median(ms):.2f} ms, 95 % {_percentile(ms, 95):.2f} ms{goal}")


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share / 100), len(values) - 1)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _label_until_killed(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
