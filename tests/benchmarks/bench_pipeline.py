"""The whole way from a tiled GeoTIFF to a Zarr store against encoding alone, and its memory: performance.md P7.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_pipeline [side ...]

For scenes of two sizes (sides in pixels, 1152 and 2304 by default), 12 bands of uint16: pixels per second of the whole
way (read, scale, encode, write float16) over those of `Encoder.dense` in the same run, in CPU time of all threads (the
goal) and in wall time (what does not overlap), with one torch thread; and the peak of resident memory over what imports
and the model take. One process for each size.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

GOAL, MEMORY_GOAL_MB, BANDS = 0.85, 1024, 12


def write_tif(path: Path, side: int) -> None:
    """Reflectance + 1000 in tiles of 512, deflate, as products come; written tile by tile."""
    import rasterio
    from rasterio.windows import Window

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 300, (BANDS, 512, 512), dtype=np.uint16)
    profile = {
        "driver": "GTiff", "width": side, "height": side, "count": BANDS, "dtype": "uint16", "crs": "EPSG:32633",
        "transform": rasterio.transform.from_origin(600_000, 5_000_040, 10, 10), "tiled": True, "blockxsize": 512,
        "blockysize": 512, "compress": "deflate", "predictor": 2, "interleave": "pixel", "nodata": 0,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        for y in range(0, side, 512):
            for x in range(0, side, 512):
                h, w = min(512, side - y), min(512, side - x)
                hills = np.sin((x + np.arange(w)) / 90) * np.cos((y + np.arange(h))[:, None] / 70)
                file.write((1500 + 700 * hills).astype("u2") + noise[:, :h, :w], window=Window(x, y, w, h))


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Peak:
    """Largest resident memory while the block runs, in MB over that at its beginning."""

    def __enter__(self) -> Peak:
        self.start = self.top = resident_mb()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.top = max(self.top, resident_mb())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def added_mb(self) -> float:
        return self.top - self.start


def one_size(side: int) -> None:
    import torch

    from georeset_lab.data.load import load_scene
    from georeset_lab.embed.encode import encode
    from georeset_lab.models.checkpoint import make_model
    from georeset_lab.models.encoder import Encoder

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = make_model(Encoder(), name="untrained")
    with tempfile.TemporaryDirectory() as folder:
        write_tif(Path(folder) / "S2.tif", side)
        scene = load_scene({"s2": f"{folder}/S2.tif"}, sensors={"s2": "sentinel-2-l2a"}, scale=(1e-4, -0.1), chunks=512)
        encode(scene.crop(bounds=(600_000, 5_000_040 - 480, 600_480, 5_000_040)), model=model, progress=False)

        alone = {"cpu": 0.0, "wall": 0.0, "blocks": 0}
        dense = Encoder.dense

        def timed(self: Encoder, *args: object, **kwargs: object) -> object:
            start = time.thread_time(), time.perf_counter()
            out = dense(self, *args, **kwargs)
            alone["cpu"] += time.thread_time() - start[0]
            alone["wall"] += time.perf_counter() - start[1]
            alone["blocks"] += 1
            return out

        Encoder.dense = timed
        with Peak() as peak:
            start = time.process_time(), time.perf_counter()
            encode(scene, model=model, resolution_m=10, out=f"{folder}/map.zarr", progress=False)
            cpu, wall = time.process_time() - start[0], time.perf_counter() - start[1]
    n = side * side / 1e3
    shares = alone["cpu"] / cpu, alone["wall"] / wall
    verdicts = ("met" if shares[0] >= GOAL else "MISSED", "met" if peak.added_mb <= MEMORY_GOAL_MB else "MISSED")
    print(
        f"{side:5d}^2 {alone['blocks']:6d} {n / cpu:9.1f} {shares[0]:6.2f} {verdicts[0]:7}"
        f"{n / wall:9.1f} {shares[1]:6.2f} {peak.added_mb:9.0f} MB {verdicts[1]}"
    )


def main(sides: list[int]) -> None:
    print("           blocks | CPU: kpx/s  of encode only | wall: kpx/s  share | peak memory added")
    for side in sides:
        subprocess.run([sys.executable, "-m", "tests.benchmarks.bench_pipeline", "--one", str(side)], check=True)


if __name__ == "__main__":
    given = [int(arg) for arg in sys.argv[1:] if arg.isdigit()]
    if "--one" in sys.argv:
        one_size(given[0])
    else:
        main(given or [1152, 2304])
