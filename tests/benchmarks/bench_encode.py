"""Dense encoding against the matrix-product rate: performance.md P5.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_encode [--profile] [repeats]

Prints ratios of CPU time at one thread, medians over pairs of runs side by side, on 12 bands of 240 x 240 pixels (224 rounded up to
whole strides). Rates count multiplications and additions of matrix products only; all else a model does is loss.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from georeset_lab.data.bands import band_table
from georeset_lab.data.sensors import sensor
from georeset_lab.models.core import WHOLE
from georeset_lab.models.encoder import Encoder
from georeset_lab.models.vit import split_windows

SIDE, GEMM = 240, 1536
GOALS = {"ViT blocks": 0.75, "dense path": 0.5}


def shares(functions: dict[str, Callable[[], object]], rate: Callable[[], object], repeats: int) -> dict[str, list]:
    """CPU seconds of each function beside those of ``rate`` run for about as long just before and after it."""
    out: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    cpu_s(rate)
    for name, function in functions.items():
        n = max(round(cpu_s(function) / cpu_s(rate) / 2), 1)
        for _ in range(repeats):
            before = cpu_s(rate, n)
            seconds = cpu_s(function)
            out[name].append((seconds, (before + cpu_s(rate, n)) / 2))
    return out


def cpu_s(function: Callable[[], object], n: int = 1) -> float:
    """CPU seconds of one of ``n`` calls."""
    start = time.process_time()
    for _ in range(n):
        function()
    return (time.process_time() - start) / n


def flops(function: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())


@torch.inference_mode()
def main(repeats: int, profile: bool) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = Encoder().eval()
    bands = torch.from_numpy(band_table(sensor("sentinel-2-l2a").bands))
    x, day = torch.rand(1, len(bands), SIDE, SIDE) * 0.5, torch.tensor([100.0])
    a, b = torch.rand(GEMM, GEMM), torch.rand(GEMM, GEMM)
    cells, c = SIDE // encoder.config.patch, encoder.config
    windows = split_windows(torch.randn(1, cells, cells, c.width), c.window, c.stride).flatten(0, 2)
    valid = torch.ones(windows.shape[:2], dtype=torch.bool)
    gemm = lambda: torch.mm(a, b)  # noqa: E731
    attend = [(windows[i : i + 16], valid[i : i + 16]) for i in range(0, len(windows), 16)]  # as `Encoder` does
    functions: dict[str, Callable[[], object]] = {
        "ViT blocks": lambda: [encoder._attend(*part, 60.0) for part in attend],
        "dense path": lambda: encoder.dense(x, bands, cell_m=60.0, day_of_year=day, core=WHOLE),
    }
    work, gemm_work = {name: flops(f) for name, f in functions.items()}, flops(gemm)
    measured = shares(functions, gemm, repeats)
    rates = [gemm_work / g for pairs in measured.values() for _, g in pairs]
    print(f"torch {torch.__version__}, torch.mm {GEMM}^3 float32: {median(rates) / 1e9:.0f} GFLOP per CPU second")
    print(f"{'':12} {'GFLOP':>7} {'CPU ms':>7} {'of GEMM':>8} {'(range)':>13} {'goal':>6}")
    for name, goal in GOALS.items():
        share = sorted(work[name] / s / (gemm_work / g) for s, g in measured[name])
        ms = 1e3 * median([s for s, _ in measured[name]])
        verdict = "met" if median(share) >= goal else "MISSED"
        spread = f"{share[0]:.2f}..{share[-1]:.2f}"
        print(f"{name:12} {work[name] / 1e9:7.2f} {ms:7.0f} {median(share):8.2f} {spread:>13} {goal:6.2f} {verdict}")
    if profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as prof:
            functions["dense path"]()
        print(prof.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=40))


if __name__ == "__main__":
    numbers = [int(arg) for arg in sys.argv[1:] if arg.isdigit()]
    main(numbers[0] if numbers else 5, "--profile" in sys.argv)
