"""P15: what importing costs, in fresh processes. ``python tests/benchmarks/bench_import.py``.

Targets (performance.md): ``import georeset_lab`` at most 0.6 s of CPU; ``from georeset_lab import similar`` and a first
map of scores at most what ``import torch`` costs plus 1 s. CPU seconds, so that a busy machine changes them little; the
least of several runs.
"""

from __future__ import annotations

import subprocess
import sys

REPEATS = 3
PYTHON_ALONE = "pass"
PACKAGE = "import georeset_lab"
TORCH = "import torch"
FIRST_MAP = """
import numpy as np
from odc.geo.geobox import GeoBox
from georeset_lab import Embeddings, similar
from georeset_lab.embed.embeddings import Expert
one = np.random.default_rng(0).normal(size=(128, 128, 64)).astype(np.float32)
grid = GeoBox.from_bbox((500000, 0, 501280, 1280), "EPSG:32631", resolution=10)
emb = Embeddings({"s2": Expert(one, np.ones_like(one))}, grid)
similar(emb, vector=one[5, 5], k=5).map.max()
"""


def cpu_seconds(code: str) -> float:
    """Least CPU time of a fresh process that runs ``code``, less that of one that runs nothing."""
    program = f"import time\n{code}\nprint(time.process_time())"
    runs = []
    for _ in range(REPEATS):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        runs.append(float(done.stdout.split()[-1]))
    return min(runs)


def main() -> None:
    """Print one line for each target."""
    nothing = cpu_seconds(PYTHON_ALONE)
    package, torch, first = (cpu_seconds(code) - nothing for code in (PACKAGE, TORCH, FIRST_MAP))
    rows = (
        ("import georeset_lab", package, 0.6),
        ("import torch, for comparison", torch, None),
        ("similar and a first map, 128 x 128", first, torch + 1),
    )
    for name, spent, target in rows:
        verdict = "" if target is None else f"   target {target:.2f}   {'ok' if spent <= target else 'MISSED'}"
        print(f"{name:<36}{spent:7.3f} s CPU{verdict}")


if __name__ == "__main__":
    main()
