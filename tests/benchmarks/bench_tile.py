"""A whole Sentinel-2 tile through `encode(out=...)`, its reading and its spreading: performance.md P7, P8 and P14.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_tile [--side N] [--folder F] [whole strip pipe read spread]

The tile is real and mirrored: the 1068 x 1068 pixels of Major-TOM cell 199U_1099R (ten bands of 10 and 20 m, uint16) are
reflected at their edges until they fill 10980 x 10980, and written as one tiled GeoTIFF (deflate). Then, each in a
process of its own with one thread:

whole, strip   all of it at 60 m, and its first 2000 rows at 10 m, as int8 into a store: seconds, peak memory, size. Each is
               killed (SIGKILL) after some tiles and resumed: tiles done before the kill are neither lost nor done again.
pipe           2048 x 2048 pixels at 10 m: CPU seconds of the encoder alone over those of the whole way (P7).
read           4096 x 4096 pixels: windows of `load_scene` beside bare inflating and rioxarray (P8).
spread         the same 2304 x 2304 pixels with 1 and 2 threads, and with 1 and 2 dask workers (P14).
"""

from __future__ import annotations

import os
import sys

_THREADS = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv else "1"
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = _THREADS

import argparse
import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

SIDE, STRIP_ROWS, PIPE_SIDE, READ_SIDE, SPREAD_SIDE = 10_980, 2_000, 2_048, 4_096, 2_304
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
CELL = "majortom-s2l2a-199U_1099R"
LEFT, TOP = 300_000, 2_000_040
MEMORY_GOAL_MB = 2048


def shared() -> Path:
    return Path(os.environ.get("GEORESET_SHARED", Path(__file__).parents[3] / "shared" / "data"))


def write_tile(path: Path, side: int) -> None:
    """The mirrored tile, strip by strip."""
    import rasterio
    from rasterio.windows import Window

    cell = []
    for band in BANDS:
        with rasterio.open(shared() / CELL / f"{band}.tif") as src:
            pixels = src.read(1)
        repeat = 1068 // len(pixels)
        cell.append(pixels.repeat(repeat, 0).repeat(repeat, 1))
    pixels = np.stack(cell)
    mirrored = np.pad(np.arange(1068), (0, max(side - 1068, 0)), mode="symmetric")[:side]
    profile = {
        "driver": "GTiff", "width": side, "height": side, "count": len(BANDS), "dtype": "uint16", "crs": "EPSG:32648",
        "transform": rasterio.transform.from_origin(LEFT, TOP, 10, 10), "tiled": True, "blockxsize": 512,
        "blockysize": 512, "compress": "deflate", "zlevel": 1, "predictor": 2, "interleave": "pixel", "nodata": 0,
        "num_threads": 2, "bigtiff": "YES",
    }  # fmt: skip
    part = path.with_suffix(".part")
    with rasterio.open(part, "w", **profile) as file:
        file.descriptions = BANDS
        file.update_tags(ACQUISITION_DATE="2020-02-23")
        for y in range(0, side, 512):
            rows = mirrored[y : y + 512]
            file.write(pixels[:, rows][:, :, mirrored], window=Window(0, y, side, len(rows)))
    part.rename(path)


def open_tile(path: Path, rows: int | None = None, cols: int | None = None):
    """The scene, lazy; its first rows and columns if not all are wanted."""
    from georeset_lab.data.load import load_scene

    scene = load_scene({"s2": path}, sensors={"s2": "sentinel-2-l2a"}, scale=(1e-4, 0.0), chunks=1024)
    assert scene["s2"].is_lazy
    ny, nx = scene["s2"].grid.shape
    right, bottom = LEFT + 10 * min(cols or nx, nx), TOP - 10 * min(rows or ny, ny)
    return scene.crop(bounds=(LEFT, bottom, right, TOP))


def peak_mb() -> float:
    """Largest resident memory this process ever had."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


# -- whole and strip --------------------------------------------------------------------------------------------------


def encode_part(path: Path, out: str, resolution_m: float, rows: int | None, cols: int | None) -> dict[str, float]:
    """In a process of its own: encode, and say what it cost and how many tiles of the store were written."""
    import torch

    from georeset_lab.embed.encode import encode
    from georeset_lab.embed.store import TileStore
    from georeset_lab.models.encoder import Encoder

    torch.set_num_threads(int(_THREADS))
    scene = open_tile(path, rows, cols)
    tally = {"dense": 0.0, "tiles": 0}
    dense, write = Encoder.dense, TileStore.write

    def timed(self, *args, **kwargs):
        start = time.thread_time()
        out = dense(self, *args, **kwargs)
        tally["dense"] += time.thread_time() - start
        return out

    def counted(self, *args):
        tally["tiles"] += 1
        write(self, *args)

    Encoder.dense, TileStore.write = timed, counted
    before = peak_mb()
    start = time.process_time(), time.perf_counter()
    emb = encode(scene, resolution_m=resolution_m, dtype="int8", out=out, progress=False)
    cpu, wall = time.process_time() - start[0], time.perf_counter() - start[1]
    ny, nx = scene["s2"].grid.shape
    shape = emb.grid.shape
    return {
        "cpu": cpu, "wall": wall, "peak": peak_mb(), "before": before, "pixels": ny * nx, "shape": f"{shape.y} x {shape.x}",
        "observed": float(emb.observed[::61, ::61].mean()), **tally,
    }  # fmt: skip


def child(path: Path, out: Path, resolution_m: float, rows: int | None, cols: int | None = None) -> subprocess.Popen:
    given = json.dumps([str(path), str(out), resolution_m, rows, cols])
    command = [sys.executable, "-m", "tests.benchmarks.bench_tile", "--child", given, "--threads", _THREADS]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def answer_of(process: subprocess.Popen) -> dict[str, float]:
    text, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a child ended with {process.returncode}")
    return json.loads(text.splitlines()[-1])


def journaled(store: Path) -> dict[tuple[int, int], list[str]]:
    """Tiles that an unfinished store counts as done, with their chunk files; each must be there once."""
    from georeset_lab.embed.manifest import Journal

    lines = [e for e in Journal(store.with_name(f"{store.name}.partial")).entries() if "tile" in e]
    done = {tuple(e["tile"]): list(e["chunks"]) for e in lines}
    assert len(done) == len(lines), "a tile was done twice"
    return done


def killed_and_resumed(name: str, path: Path, folder: Path, resolution_m: float, rows: int | None) -> None:
    """Encode, killing the process once it has written a tenth of the tiles; print what both processes took."""
    store = folder / f"{name}.zarr"
    partial = store.with_name(f"{store.name}.partial")
    load = os.getloadavg()[0]
    first = child(path, store, resolution_m, rows)
    while first.poll() is None and not (partial.exists() and len(journaled(store)) >= 30):
        time.sleep(0.5)
    peak = int(Path(f"/proc/{first.pid}/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    done = journaled(store)
    stamps = {f: (partial / f).stat().st_mtime_ns for files in done.values() for f in files}
    result = answer_of(child(path, store, resolution_m, rows))
    again = [f for f, stamp in stamps.items() if (store / f).stat().st_mtime_ns != stamp]
    size = sum(f.stat().st_size for f in store.rglob("*") if f.is_file())
    total = len(done) + result["tiles"]
    share = total / result["tiles"]  # the process that was killed did the rest
    chunks = len(list(store.glob("experts/s2/eta/c/*/*/0")))
    print(
        f"{name}: {result['pixels'] / 1e6:.1f} Mpx x {len(BANDS)} bands to {result['shape']} x 64 int8 at "
        f"{resolution_m:g} m, store {size / 1e6:.0f} MB\n"
        f"  after the kill {len(done)} of {total} tiles were done; the resumed call wrote {result['tiles']}, "
        f"rewrote {len(again)}, lacks {chunks - total}\n"
        f"  resumed: {result['wall']:.0f} s, {result['cpu']:.0f} CPU s ({result['dense'] / result['cpu']:.2f} of it the "
        f"encoder), {result['pixels'] / share / result['wall'] / 1e3:.0f} kpx/s, "
        f"{result['pixels'] / share / result['cpu'] / 1e3:.0f} kpx per CPU s; {_THREADS} thread(s), load {load:.1f}\n"
        f"  peak memory {max(peak, result['peak']):.0f} MB ({result['before']:.0f} MB before encoding); "
        f"{'met' if max(peak, result['peak']) < MEMORY_GOAL_MB else 'MISSED'} {MEMORY_GOAL_MB} MB",
        flush=True,
    )
    assert not again, "a finished tile was written again"
    assert chunks == total, "a tile was lost or done twice"


def main() -> None:
    if "--child" in sys.argv:
        path, out, resolution_m, rows, cols = json.loads(sys.argv[sys.argv.index("--child") + 1])
        print(json.dumps(encode_part(Path(path), out, resolution_m, rows, cols)))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=["whole", "strip"])
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--folder", type=Path, help="keep the tile here, to use it again")
    parser.add_argument("--threads", default="1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        path = folder / f"mirrored_{options.side}.tif"
        if not path.exists():
            start = time.perf_counter()
            write_tile(path, options.side)
            print(
                f"{CELL}, real, mirrored from 1068 to {options.side} pixels a side: {path.stat().st_size / 1e6:.0f} MB, "
                f"written in {time.perf_counter() - start:.0f} s",
                flush=True,
            )
        if "whole" in options.parts:
            killed_and_resumed("whole", path, Path(temporary), 60, None)
        if "strip" in options.parts:
            killed_and_resumed("strip", path, Path(temporary), 10, STRIP_ROWS)


if __name__ == "__main__":
    main()
