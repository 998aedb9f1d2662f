"""Large products are read by window: nothing holds the scene as float32, or as a masked copy, or at all (goal P8)."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from georeset_lab.data.load import load_scene

SIDE = 4096
BANDS = ("B02", "B03", "B04", "B08")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four bands and a scene classification in one file: 4096 x 4096, 160 MiB of uint16."""
    path = tmp_path_factory.mktemp("large") / "S2A_MSIL2A_20220301T101031.tif"
    profile = {"driver": "GTiff", "count": 5, "height": SIDE, "width": SIDE, "dtype": "uint16", "crs": "EPSG:32633",
               "transform": Affine(10, 0, 5e5, 0, -10, 5.8e6), "tiled": True, "blockxsize": 512, "blockysize": 512,
               "interleave": "band", "compress": "deflate", "zlevel": 1}  # fmt: skip
    block = np.random.default_rng(0).integers(2000, 3000, (512, 512)).astype("uint16")
    classes = np.full((512, 512), 4, "uint16")
    classes[:50] = 8
    with rasterio.open(path, "w", **profile) as out:
        for row in range(0, SIDE, 512):
            for col in range(0, SIDE, 512):
                window = rasterio.windows.Window(col, row, 512, 512)
                for band in range(4):
                    out.write(block + np.uint16(band * 10), band + 1, window=window)
                out.write(classes, 5, window=window)
        out.descriptions = (*BANDS, "SCL")
    return path


def test_a_window_of_a_large_scene_costs_a_few_windows_of_memory(large: Path) -> None:
    tracemalloc.start()
    try:
        scene = load_scene(large, scale=1e-4)
        opened = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        values = scene["s2"].read(slice(600, 1112), slice(700, 1212))
        window = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert scene["s2"].is_lazy
    assert np.isfinite(values).mean() == pytest.approx(1 - 50 / 512, abs=0.02)
    whole_float32 = 4 * SIDE * SIDE * 4
    assert opened < whole_float32 / 4  # the sample that decides the units, some chunks at a time
    assert window < whole_float32 / 4  # chunks of 1024 around a window of 512: never the scene


def test_a_crop_and_a_choice_of_bands_read_no_pixel(large: Path) -> None:
    scene = load_scene(large, scale=1e-4)
    tracemalloc.start()
    try:
        left, top = 5e5, 5.8e6
        part = scene.crop(bounds=(left, top - 3000, left + 3000, top))["s2"].select_bands(["B04"]).masked_by("cloud")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert part.raw.shape == (1, 1, 300, 300)
    assert peak < 8 * 2**20


OURS = """
    modality = load_scene(path, scale=1e-4)["s2"]
    total, count = 0.0, 0
    for row in range(0, SIDE, 1024):
        for col in range(0, SIDE, 1024):
            values = modality.read(slice(row, row + 1024), slice(col, col + 1024))
            total += float(np.nansum(values, dtype=float))
            count += int(np.isfinite(values).sum())
"""
MASKED = """
    values = rioxarray.open_rasterio(path, masked=True).load().values
    count = int(np.isfinite(values[:4]).sum())
    total = sum(float(np.nansum(band, dtype=float)) for band in values[:4]) * 1e-4
"""


def peak_mib(body: str, path: Path) -> tuple[float, float]:
    """Resident memory over what the imports take, and the mean reflectance, of a program in a process of its own."""
    head = f"""
        import resource, warnings
        import numpy as np
        warnings.simplefilter("ignore")
        from pathlib import Path
        from georeset_lab.data.load import load_scene
        import dask.array, rasterio, rioxarray, odc.geo.xr
        path, SIDE = Path({str(path)!r}), {SIDE}
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start = peak()
    """
    code = textwrap.dedent(head) + textwrap.dedent(body) + "print(peak() - start, total / count)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    peak, mean = map(float, run.stdout.split())
    return peak, mean


@pytest.mark.slow
def test_the_whole_scene_streams_through_in_a_quarter_of_the_memory_of_a_masked_copy(large: Path) -> None:
    ours, mean = peak_mib(OURS, large)
    masked, plain = peak_mib(MASKED, large)
    assert mean == pytest.approx(plain, rel=2e-2)  # the masked copy knows nothing of the cloud classes
    assert ours <= 0.25 * masked, (ours, masked)
