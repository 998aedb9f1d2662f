"""What a map looks like with the released weights: no grid of cells, strides or windows in it."""

from __future__ import annotations

import numpy as np
import pytest

from georeset_lab.data.sensors import sensor
from georeset_lab.embed.encode import encode
from tests.embed.scenes import grid, modality, scene

SIDE, EDGE = 336, 48  # 240 pixels inside one window from the edge: 40 cells, 10 strides, 5 windows
PERIODS = {"cell": 6, "stride": 24, "window": 48}
SOIL = np.array([0.08, 0.10, 0.13, 0.16, 0.19, 0.21, 0.22, 0.24, 0.25, 0.26, 0.30, 0.26])


def noise_map(seed: int) -> np.ndarray:
    """Mean of a field of bare soil with noise that has no structure of its own, (dim, 240, 240)."""
    rng = np.random.default_rng(seed)
    values = SOIL[:, None, None] * (1 + 0.15 * rng.normal(size=(1, SIDE, SIDE)))
    values = values + 0.01 * rng.normal(size=(len(SOIL), SIDE, SIDE))
    s2 = modality(values[None], grid((SIDE, SIDE), y0=5_000_160.0), bands=sensor("sentinel-2-l2a").bands)
    emb = encode(scene(s2), dtype="float32", progress=False)
    return np.concatenate([emb.mean.values, np.log(emb.variance.values)])[:, EDGE:-EDGE, EDGE:-EDGE]


def peak(maps: list[np.ndarray], period: int) -> float:
    """Power at a period over that of its neighbours in the spectrum of row and column means, averaged over dimensions.

    Means along the other axis, because a grid of cells is in phase in all rows while noise is not.
    """
    ratios = []
    for z in maps:
        for axis in (1, 2):
            profile = z.mean(axis)
            power = np.abs(np.fft.rfft(profile - profile.mean(-1, keepdims=True))) ** 2
            power = power / power.mean(1, keepdims=True)
            k = profile.shape[-1] // period
            near = [i for i in range(k - 4, k + 5) if i > 0 and i != k and profile.shape[-1] % (6 * max(i, 1)) != 0]
            ratios.append((power[:, k].mean(), power[:, near].mean()))
    at, beside = np.mean(ratios, axis=0)
    return float(at / beside)


@pytest.fixture(scope="module")
def maps() -> list[np.ndarray]:
    return [noise_map(seed) for seed in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("name", PERIODS)
def test_the_spectrum_of_a_map_has_no_peak_at_the_period_of(maps, name):
    assert peak(maps, PERIODS[name]) < 3


@pytest.mark.slow
@pytest.mark.parametrize("name", PERIODS)
def test_a_faint_grid_would_be_found(maps, name):
    period = PERIODS[name]
    checks = ((np.arange(maps[0].shape[-1]) % period) < period // 2) - 0.5
    faint = [z + 0.2 * z.std((1, 2), keepdims=True) * (checks + checks[:, None]) for z in maps]
    assert peak(faint, period) > 3
