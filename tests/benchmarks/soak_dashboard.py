"""Many people at once on one dashboard, for a while: errors, crossed labels, memory, and how long everybody waits.

    python -m tests.benchmarks.soak_dashboard --clients 8 --seconds 600
    python -m tests.benchmarks.soak_dashboard --clients 10 --seconds 120 --explorer real

Each client is a page that speaks the server's protocol without a browser (`tests/dashboard/client.py`). It opens the
scene, clicks the map, labels under a class name that only it uses, goes away, and comes back with its key or as somebody
new. With ``--explorer real`` it clicks the map of the real explorer and labels by uploading. At the end every folder of
labels must hold exactly what its client had acknowledged, and the memory must be what it was after the first pages.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import asyncio
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[2]
SHAPE = (200, 240)
WARM_PAGES = 6
"""Pages before the first reading of memory: what they leave in caches is no leak."""


@dataclass
class Outcome:
    """What a run has shown."""

    pages: int = 0
    actions: int = 0
    errors: list[str] = field(default_factory=list)
    crossed: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    """Of a click or a label, until its answer was there."""
    pings_s: list[float] = field(default_factory=list)
    """Of a small request while all this goes on."""
    rss_mb: tuple[float, float, float] = (0, 0, 0)
    """After the first pages, with all clients at work, and after all have gone."""
    at_work_mb: list[float] = field(default_factory=list)
    """Every half second or so: what grows on and on is a leak, what levels off is not."""
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Labels by key."""
    names: dict[str, str] = field(default_factory=dict)

    @property
    def growth_mb(self) -> float:
        """Memory that each page has left behind."""
        return (self.rss_mb[2] - self.rss_mb[0]) / max(self.pages, 1)

    def _tenths(self) -> str:
        n = len(self.at_work_mb)
        tenths = [self.at_work_mb[i * n // 10 : (i + 1) * n // 10] for i in range(10)]
        return ", ".join(f"{sum(t) / len(t):.0f}" for t in tenths if t)

    def report(self) -> str:
        """All of it in a few lines."""
        return "\n".join(
            [
                f"pages {self.pages}, actions {self.actions}, labels {sum(self.acknowledged.values())}",
                f"errors {len(self.errors)}, crossed or lost labels {len(self.crossed)}",
                f"click or label, median and 95 %: {_ms(self.waits_s, 0.5)} and {_ms(self.waits_s, 0.95)}",
                f"request meanwhile, median and 95 %: {_ms(self.pings_s, 0.5)} and {_ms(self.pings_s, 0.95)}",
                "memory of the server: {:.0f} MB after the first pages, {:.0f} MB at work, {:.0f} MB at the end".format(
                    *self.rss_mb
                ),
                f"left by each page: {self.growth_mb:.2f} MB",
                f"at work, mean of each tenth of the time: {self._tenths()} MB",
                *(f"  error: {e}" for e in self.errors[:5]),
                *(f"  crossed: {c}" for c in self.crossed[:5]),
            ]
        )


def soak(*, clients: int, seconds: float, explorer: str = "standin", seed: int = 0) -> Outcome:
    """Run it: a server in a process of its own, the clients here."""
    import psutil

    outcome = Outcome()
    with tempfile.TemporaryDirectory() as kept:
        command = [sys.executable, "-m", "tests.benchmarks.soak_dashboard", "--serve", kept, "--explorer", explorer]
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            host = f"127.0.0.1:{int(server.stdout.readline())}"
            process = psutil.Process(server.pid)

            def memory() -> float:
                return process.memory_info().rss / 1e6

            asyncio.run(_run(outcome, host, explorer, clients, seconds, random.Random(seed), memory))
            if server.poll() is not None:
                outcome.errors.append(f"the server ended with {server.returncode}")
        finally:
            server.terminate()
            server.wait(30)
        _check_labels(outcome, Path(kept))
    return outcome


async def _run(
    outcome: Outcome, host: str, explorer: str, clients: int, seconds: float, chance: random.Random, memory: Any
) -> None:
    person = _by_upload if explorer == "real" else _by_button
    for i in range(WARM_PAGES):
        await person(outcome, host, f"warm-{i}", "", chance, 2)
    await _all_gone(host)
    first, outcome.pages = memory(), 0
    until = time.monotonic() + seconds

    async def come_and_go(i: int) -> None:
        key = ""
        while time.monotonic() < until:
            name = outcome.names.get(key, f"client-{i}-{chance.getrandbits(32):x}")
            key = await person(outcome, host, name, key, chance, chance.randint(2, 12))
            if chance.random() < 0.4:
                key = ""

    async def watch() -> None:
        while time.monotonic() < until:
            start = time.perf_counter()
            await asyncio.to_thread(_get, f"http://{host}/favicon.ico")
            outcome.pings_s.append(time.perf_counter() - start)
            outcome.at_work_mb.append(memory())
            await asyncio.sleep(0.5)

    await asyncio.gather(watch(), *(come_and_go(i) for i in range(clients)))
    await _all_gone(host)
    outcome.rss_mb = (first, max(first, *outcome.at_work_mb), memory())


async def _by_button(outcome: Outcome, host: str, name: str, key: str, chance: random.Random, times: int) -> str:
    """One page of the stand-in: click, label, look whether the answer is one's own."""
    from tests.dashboard.client import Client

    try:
        async with Client(host, key) as page:
            _admit(outcome, page.key, name)
            if not key:
                await page.open("Scene")
            await page.wait(lambda: page.text("labels"), "the explorer")
            had = outcome.acknowledged[page.key]
            if page.text("labels") != str(had):
                outcome.crossed.append(f"{name} came back to {page.text('labels')} labels instead of {had}")
            await page.fill("class", name)
            for _ in range(times):
                row, col = chance.randrange(SHAPE[0]), chance.randrange(SHAPE[1])
                start = time.perf_counter()
                await page.click_map(*_lonlat(row, col))
                await page.see("clicked", f"{row},{col}")
                await page.see("heard", str(row * 1000 + col))
                await page.press("label it")
                had += 1
                await page.see("labels", str(had))
                outcome.waits_s.append((time.perf_counter() - start) / 2)
                outcome.acknowledged[page.key] = had
                outcome.actions += 2
                await asyncio.sleep(chance.uniform(0, 0.5))
            outcome.errors += page.errors
            return page.key
    except Exception as err:
        outcome.errors.append(f"{name}: {type(err).__name__}: {str(err)[:300]}")
        return key


async def _by_upload(outcome: Outcome, host: str, name: str, key: str, chance: random.Random, times: int) -> str:
    """One page of the real explorer: click the map, upload a label, see that it was taken."""
    from tests.dashboard.client import Client

    try:
        async with Client(host, key) as page:
            _admit(outcome, page.key, name)
            if not key:
                await page.open("Scene")
            await page.wait(lambda: page.has("LeafletMapModel"), "the map")
            for _ in range(times):
                row, col = chance.randrange(SHAPE[0]), chance.randrange(SHAPE[1])
                start, before = time.perf_counter(), page.heard
                await page.click_map(*_lonlat(row, col))
                await page.wait(lambda before=before: page.heard > before, "an answer to a click")
                outcome.waits_s.append(time.perf_counter() - start)
                outcome.actions += 1
                await asyncio.sleep(chance.uniform(0, 0.5))
            before = page.panes().count("labels added")
            await asyncio.to_thread(
                _upload, host, page, name, _lonlat(chance.randrange(SHAPE[0]), chance.randrange(SHAPE[1]))
            )
            await page.wait(lambda: page.panes().count("labels added") > before, "the upload", 120)
            outcome.acknowledged[page.key] += 1
            outcome.errors += page.errors
            return page.key
    except Exception as err:
        outcome.errors.append(f"{name}: {type(err).__name__}: {str(err)[:300]}")
        return key


def _admit(outcome: Outcome, key: str, name: str) -> None:
    if outcome.names.setdefault(key, name) != name:
        outcome.crossed.append(f"{name} was given the workspace of {outcome.names[key]}")
    outcome.acknowledged.setdefault(key, 0)
    outcome.pages += 1


def _check_labels(outcome: Outcome, kept: Path) -> None:
    """What is on the disk, against what each client was told."""
    from georeset_lab.embed.labels.book import LabelBook

    for key, name in outcome.names.items():
        folder = kept / hashlib.sha256(f"\0{key}".encode()).hexdigest()[:40]
        found: Counter[str] = Counter()
        for journal in folder.glob("labels-*.jsonl"):
            with LabelBook.open(folder, journal.stem) as book:
                found.update(book.counts)
        wanted = {name: n} if (n := outcome.acknowledged[key]) else {}
        # An error in the middle of a label leaves open whether it was saved.
        if dict(found) != wanted and not (outcome.errors and set(found) <= {name}):
            outcome.crossed.append(f"{name}: on the disk {dict(found)}, acknowledged {wanted}")


async def _all_gone(host: str) -> None:
    for _ in range(600):
        if await asyncio.to_thread(_get, f"http://{host}/soak/pages") == b"0":
            return
        await asyncio.sleep(0.1)
    raise TimeoutError("pages are still open a minute after their clients have gone")


def _lonlat(row: int, col: int) -> tuple[float, float]:
    from georeset_lab.embed.locate import lonlat_of
    from tests.dashboard.conftest import planted_grid

    lon, lat = lonlat_of(planted_grid(SHAPE), row, col)
    return float(lon), float(lat)


def _get(url: str) -> bytes:
    with urlopen(url, timeout=120) as answer:
        return answer.read()


def _upload(host: str, page: Any, name: str, at: tuple[float, float]) -> None:
    ticket = next(w["ticket"] for w in page.widgets.values() if "ticket" in w)
    point = {"type": "Feature", "properties": {"label": name}, "geometry": {"type": "Point", "coordinates": at}}
    body = json.dumps({"type": "FeatureCollection", "features": [point]}).encode()
    headers = {"X-Ticket": ticket, "X-File-Name": "labels.geojson"}
    urlopen(Request(f"http://{host}/upload", data=body, method="POST", headers=headers), timeout=120).read()


def _ms(values: list[float], share: float) -> str:
    return f"{1000 * sorted(values)[int(share * (len(values) - 1))]:.0f} ms" if values else "none"


def _serve(kept: str, explorer: str) -> None:
    """The server's process: prints its port, serves until it is ended."""
    import gc

    from tornado.web import RequestHandler

    from georeset_lab.dashboard import server as server_module
    from tests.dashboard.conftest import planted
    from tests.dashboard.standin import make_explorer

    class Pages(RequestHandler):
        def get(self) -> None:
            gc.collect()
            self.write(str(len(server.georeset_house.pages)))

    server_module.UNUSED_MS = 1000
    options = {} if explorer == "real" else {"make_explorer": make_explorer}
    server = server_module.build_server(
        {"Scene": planted(1, SHAPE), "Other": planted(2, SHAPE)}, port=0, keep_in=kept, **options
    )
    server._tornado.add_handlers(r".*", [(r"/soak/pages", Pages)])
    print(server.port, flush=True)
    server_module.run_server(server)


def main() -> int:
    """Print what a run has shown; 1 if there was an error or a crossed label."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--explorer", choices=("standin", "real"), default="standin")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        _serve(args.serve, args.explorer)
        return 0
    outcome = soak(clients=args.clients, seconds=args.seconds, explorer=args.explorer, seed=args.seed)
    print(outcome.report())
    return 1 if outcome.errors or outcome.crossed else 0


if __name__ == "__main__":
    raise SystemExit(main())
