"""Damaged files of every kind we read: no crash, no hang, no untyped error; each case is told by its number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

sys.path.insert(0, str(Path(__file__).parent))
import grd
import products

CASES = int(os.environ.get("GEORESET_FUZZ_CASES", "2000"))
BATCH = max(1, -(-CASES // 2))
"""Two processes, one for each core of a small machine."""
SLOWEST_S = 10


def counts(shape: tuple[int, ...], kind: str = "uint16", *, low: int = 2000, high: int = 3000) -> np.ndarray:
    return np.random.default_rng(0).integers(low, high, shape).astype(kind)


def make_seeds(folder: Path) -> None:
    """One small product of each family; ``table.json`` says how each is opened."""
    table: dict[str, dict] = {}

    def add(name: str, path: Path | None = None, **options: object) -> Path:
        table[name] = {"path": str(path or name), "options": options}
        return folder / name

    root = add("safe_l2a")
    products.safe(root, {"B02": counts((12, 12)), "B03": counts((12, 12))}, scl=np.full((6, 6), 4, "uint8"))
    root = add("safe_l1c")
    products.safe(root, {"B02": counts((12, 12))}, level="L1C", classes=np.zeros((3, 2, 2), "uint8"))
    quality = {"QA_PIXEL": np.full((8, 8), 64, "uint16")}
    for level, form in (("L2SP", "txt"), ("L1TP", "json")):
        root = add(f"landsat_{level}")
        low = 8000 if level == "L1TP" else 20_000
        products.landsat(root, {"B4": counts((8, 8), low=low, high=low + 900)}, level=level, quality=quality, form=form)
    root = add("hls")
    products.hls(root, {"B04": counts((8, 8), "int16")}, fmask=np.zeros((8, 8), "uint8"))
    root = add("enmap")
    bands = [(650.0, 7.0, 1e-4, 0.0), (860.0, 8.0, 1e-4, 0.0)]
    products.enmap(root, counts((2, 8, 8), "int16"), bands, quality={"QL_QUALITY_CLOUD": np.zeros((8, 8), "uint8")})
    root = add("enmap_l1c")
    products.enmap(root, counts((2, 8, 8), "int16"), [(650.0, 7.0, 3e-5, 0.0), (860.0, 8.0, 3e-5, 0.0)], level="L1C")
    root = add("envi", Path("envi/a.hdr"))
    root.mkdir()
    header = {
        "wavelength": "{550, 650}",
        "wavelength units": "nm",
        "reflectance scale factor": "10000",
        "fwhm": "{9, 9}",
    }
    products.envi(root / "a.img", counts((2, 8, 8)), header)
    root = add("tagged", Path("tagged/a.tif"))
    tags = [{"wavelength": str(nm), "fwhm": "9", "wavelength_units": "nm"} for nm in (550, 650)]
    products.raster(root / "a.tif", counts((2, 8, 8)).astype("float32") / 1e4, 2, band_tags=tags)
    root = add("radar")
    name = "S1A_IW_20200607T010800_DVP_RTC30_G_gpuned_A1B2_VV.tif"
    products.raster(root / name, (counts((8, 8)) / 1e5).astype("float32"), 30)
    root = add("radar_grd", Path("radar_grd") / grd.NAME)
    grd.product(
        root, {"VV": counts((24, 30), low=100, high=200)}, noise=100.0, blocks=[((0, 23, 0, 9), [0, 23], [1, 2])]
    )
    root = add("tiled", Path("tiled/a.tif"), sensors="sentinel-2-l2a", bands=["B02", "B04"], scale=1e-4)
    big = counts((2, 64, 64))
    products.raster(root / "a.tif", big, 10, tiled=True, blockxsize=16, blockysize=16, compress="deflate", predictor=2)
    root = add("netcdf", Path("netcdf/a.nc"), sensors="sentinel-2-l2a", scale=1e-4)
    root.mkdir()
    cube().to_netcdf(root / "a.nc", engine="h5netcdf")
    root = add("zarr", Path("zarr/a.zarr"), sensors="sentinel-2-l2a", scale=1e-4)
    cube().to_zarr(root / "a.zarr", consolidated=False)
    (folder / "table.json").write_text(json.dumps(table))


def cube() -> xr.Dataset:
    y, x = 5_000_000 - 10 * (np.arange(8) + 0.5), 500_000 + 10 * (np.arange(8) + 0.5)
    times = np.array(["2020-01-01", "2020-02-01"], "datetime64[ns]")
    bands = {n: (("time", "y", "x"), counts((2, 8, 8)), {"crs": "EPSG:32633"}) for n in ("B02", "B04")}
    return xr.Dataset(bands, coords={"time": times, "y": y, "x": x})


def run_batch(folder: Path, first: int, count: int) -> tuple[list[dict], list[str]]:
    """Results of a batch, and what went wrong with the process itself."""
    make_seeds(folder)
    command = [sys.executable, str(Path(__file__).with_name("fuzz_child.py")), str(folder)]
    done: list[dict] = []
    broken: list[str] = []
    last = first + count
    while first < last:
        try:
            run = subprocess.run(
                [*command, str(first), str(last - first)], capture_output=True, text=True, timeout=500, check=False
            )
            out, code, err = run.stdout, run.returncode, run.stderr
        except subprocess.TimeoutExpired as expired:
            out, code, err = (expired.stdout or b"").decode(), 124, "hang"
        lines = [json.loads(line) for line in out.splitlines()]
        done += [line for line in lines if "done" in line]
        begun = [line for line in lines if "case" in line]
        if code == 0:
            break
        if not begun:
            return done, [f"child did not start: {err[-1500:]}"]
        broken.append(f"exit {code} in case {begun[-1]}: {err[-300:]}")
        first = begun[-1]["case"] + 1
    return done, broken


@pytest.mark.slow
def test_damaged_files_give_typed_errors_or_a_scene_and_never_a_crash(tmp_path: Path) -> None:
    batches = [(tmp_path / str(i), i, min(BATCH, CASES - i)) for i in range(0, CASES, BATCH)]
    for folder, *_ in batches:
        folder.mkdir()
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda b: run_batch(*b), batches))
    done = [line for lines, _ in results for line in lines]
    broken = [text for _, texts in results for text in texts]
    untyped = [f"case {d['done']}: {d['trouble']}" for d in done if d["what"].startswith("untyped")]
    slow = [f"case {d['done']}: {d['s']:.1f} s" for d in done if d["s"] > SLOWEST_S]
    kinds = Counter(d["what"] for d in done)
    assert not broken, broken[:3]
    assert not untyped, f"{len(untyped)} untyped: " + "\n".join(untyped[:4])
    assert not slow, slow
    assert len(done) == CASES
    # The mutations bite, and some leave a file that still opens.
    assert kinds["SceneReadError"] > CASES / 10
    assert kinds["ok"] > CASES / 20
