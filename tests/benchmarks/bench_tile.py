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
    from georeset_lab.embed.stores.store import TileStore
    from georeset_lab.models.encoder import Encoder

    torch.set_num_threads(int(_THREADS))
    scene = open_tile(path, rows, cols)
    tally = {"encoder": 0.0, "tiles": 0}
    draw, write = Encoder.draw, TileStore.write

    def timed(self, *args, **kwargs):
        start = time.thread_time()
        draw(self, *args, **kwargs)
        tally["encoder"] += time.thread_time() - start

    def counted(self, *args):
        tally["tiles"] += 1
        write(self, *args)

    Encoder.draw, TileStore.write = timed, counted
    with tempfile.TemporaryDirectory() as warm:  # pays for the imports
        encode(open_tile(path, 48, 48), resolution_m=10, dtype="int8", out=f"{warm}/map.zarr", progress=False)
    tally.update(encoder=0.0, tiles=0)
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
    from georeset_lab.embed.stores.manifest import Journal

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
        f"  resumed: {result['wall']:.0f} s, {result['cpu']:.0f} CPU s ({result['encoder'] / result['cpu']:.2f} of it the "
        f"encoder), {result['pixels'] / share / result['wall'] / 1e3:.0f} kpx/s, "
        f"{result['pixels'] / share / result['cpu'] / 1e3:.0f} kpx per CPU s; {_THREADS} thread(s), load {load:.1f}\n"
        f"  peak memory {max(peak, result['peak']):.0f} MB ({result['before']:.0f} MB before encoding); "
        f"{'met' if max(peak, result['peak']) < MEMORY_GOAL_MB else 'MISSED'} {MEMORY_GOAL_MB} MB",
        flush=True,
    )
    assert not again, "a finished tile was written again"
    assert chunks == total, "a tile was lost or done twice"


# -- pipe: P7 ---------------------------------------------------------------------------------------------------------


def pipe(path: Path, folder: Path) -> None:
    """Shares of encoding in the whole way."""
    for resolution_m in (60, 10):
        result = answer_of(child(path, folder / f"pipe{resolution_m}.zarr", resolution_m, PIPE_SIDE, PIPE_SIDE))
        share = result["encoder"] / result["cpu"]
        print(
            f"pipe (P7): {PIPE_SIDE}^2 x {len(BANDS)} bands to int8 at {resolution_m} m: {result['cpu']:.1f} CPU s, of them "
            f"the encoder {result['encoder']:.1f}: {share:.2f} of encode only, goal 0.85 {'met' if share >= 0.85 else 'MISSED'}",
            flush=True,
        )


# -- read: P8 ---------------------------------------------------------------------------------------------------------


def inflate_blocks(path: Path) -> str:
    """Decode every block of a file, and nothing else; says by which library."""
    import ctypes
    import ctypes.util
    import zlib

    import rasterio

    with rasterio.open(path) as src:
        rows, cols = (-(-n // 512) for n in src.shape)
        where = [
            [int(src.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE")]
            for y in range(rows)
            for x in range(cols)
        ]
    data, size = path.read_bytes(), 512 * 512 * 2 * len(BANDS)
    name = ctypes.util.find_library("deflate")
    if name is None:
        for start, length in where:
            zlib.decompress(data[start : start + length])
        return "zlib"
    library = ctypes.CDLL(name)
    library.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
    handle, out = ctypes.c_void_p(library.libdeflate_alloc_decompressor()), ctypes.create_string_buffer(size)
    for start, length in where:
        block = data[start : start + length]
        assert not library.libdeflate_zlib_decompress(
            handle, block, ctypes.c_size_t(length), out, ctypes.c_size_t(size), None
        )
    return "libdeflate"


def windows(path: Path, *, physical: bool) -> None:
    from georeset_lab.embed.encoding.source import Source
    from georeset_lab.embed.encoding.tiles import Needs, Span

    modality = open_tile(path)["s2"]
    source = Source(modality, Needs(stride_cells=4, margin_cells=8, rim_cells=0))
    source.scheduler = "synchronous"
    for y in range(0, READ_SIDE, 1024):
        for x in range(0, READ_SIDE, 1024):
            if physical:
                modality.read(slice(y, y + 1024), slice(x, x + 1024))
            else:
                source.held(Span(y, y + 1024), Span(x, x + 1024))


def masked(path: Path) -> None:
    import rioxarray

    rioxarray.open_rasterio(path, masked=True).load()


READERS = {
    "blocks": inflate_blocks,
    "windows": lambda path: windows(path, physical=False),
    "physical": lambda path: windows(path, physical=True),
    "masked": masked,
}


def reader_child(name: str, path: Path) -> dict[str, object]:
    import dask
    import rioxarray  # noqa: F401  (imported beforehand for all, so that no reader pays for it)

    import georeset_lab.embed.encoding.source  # noqa: F401

    open_tile(path)  # imports, and what identifies the file
    dask.config.set(scheduler="synchronous")
    before = peak_mb()
    start = time.process_time()
    by = READERS[name](path)
    return {"cpu": time.process_time() - start, "added": peak_mb() - before, "by": by}


def read(folder: Path) -> None:
    path = folder / f"mirrored_{READ_SIDE}.tif"
    if not path.exists():
        write_tile(path, READ_SIDE)
    samples = READ_SIDE**2 * len(BANDS) * 2 / 1e6
    results = {}
    for name in READERS:
        command = [sys.executable, "-m", "tests.benchmarks.bench_tile", "--reader", name, str(path)]
        runs = [answer_of(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) for _ in range(3)]
        results[name] = min(runs, key=lambda r: r["cpu"])
    limit, plain = results["blocks"], results["masked"]
    print(
        f"read (P8): {READ_SIDE}^2 x {len(BANDS)} uint16, {samples:.0f} MB; best of 3, CPU time; bare inflating by {limit['by']}"
    )
    for name, text in {
        "blocks": "inflate the blocks, nothing else",
        "windows": "load_scene, windows of 1024^2 as encode reads them",
        "physical": "load_scene, the same scaled to float32",
        "masked": "rioxarray masked=True .load()",
    }.items():
        r = results[name]
        print(
            f"  {text:52} {r['cpu']:5.2f} s {limit['cpu'] / r['cpu']:5.2f} of inflating "
            f"{plain['cpu'] / r['cpu']:5.2f} x masked {r['added']:6.0f} MB added ({r['added'] / plain['added']:.2f})",
            flush=True,
        )


# -- spread: P14 ------------------------------------------------------------------------------------------------------


def spread_child(path: Path, out: Path, workers: int) -> dict[str, object]:
    """Encode the same pixels here (no workers) or on a cluster, after a first call has paid for imports."""
    import torch

    from georeset_lab.embed.encode import encode

    torch.set_num_threads(int(_THREADS))
    part, scene = (open_tile(path, side, side) for side in (SPREAD_SIDE // 2, SPREAD_SIDE))
    options = {"resolution_m": 10, "dtype": "int8", "progress": False}

    def timed(client: object) -> float:
        for i in range(2):  # tiles enough that each worker has some: it imports and compiles with its first
            encode(part, out=out.with_name(f"warm{i}.zarr"), client=client, **options)
        start = time.perf_counter()
        encode(scene, out=out, client=client, **options)
        return time.perf_counter() - start

    if not workers:
        return {"wall": timed(None), "rss": [peak_mb()]}
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", memory_limit=0
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(workers)
        return {"wall": timed(client), "rss": list(client.run(peak_mb).values())}


def spread(path: Path, folder: Path) -> None:
    print(f"spread (P14): {SPREAD_SIDE}^2 x {len(BANDS)} bands at 10 m, int8 into a store")
    first: dict[str, float] = {}
    for text, threads, workers in (
        ("one process, 1 thread", 1, 0),
        ("one process, 2 threads", 2, 0),
        ("dask, 1 worker x 1 thread", 1, 1),
        ("dask, 2 workers x 1 thread", 1, 2),
    ):
        given = json.dumps([str(path), str(folder / f"spread{threads}{workers}" / "map.zarr"), workers])
        command = [sys.executable, "-m", "tests.benchmarks.bench_tile", "--spread", given, "--threads", str(threads)]
        result = answer_of(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        base = first.setdefault(text.split(",")[0], result["wall"])
        print(
            f"  {text:28} {result['wall']:6.1f} s, {base / result['wall']:.2f}x; peak memory "
            f"{', '.join(f'{m:.0f}' for m in result['rss'])} MB; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def main() -> None:
    if "--child" in sys.argv:
        path, out, resolution_m, rows, cols = json.loads(sys.argv[sys.argv.index("--child") + 1])
        print(json.dumps(encode_part(Path(path), out, resolution_m, rows, cols)))
        return
    if "--reader" in sys.argv:
        name, path = sys.argv[sys.argv.index("--reader") + 1 :][:2]
        print(json.dumps(reader_child(name, Path(path))))
        return
    if "--spread" in sys.argv:
        path, out, workers = json.loads(sys.argv[sys.argv.index("--spread") + 1])
        Path(out).parent.mkdir(parents=True)
        print(json.dumps(spread_child(Path(path), Path(out), workers)))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=["whole", "strip", "pipe", "read", "spread"])
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
        if "pipe" in options.parts:
            pipe(path, Path(temporary))
        if "read" in options.parts:
            read(folder)
        if "spread" in options.parts:
            spread(path, Path(temporary))


if __name__ == "__main__":
    main()
