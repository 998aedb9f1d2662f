"""The compiled loop that makes int8 codes, against the formula in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from georeset_lab.embed.expert import MEAN_LIMIT, TAU_LIMIT, Quantization
from georeset_lab.errors import ShapeMismatch


def by_formula(rule: Quantization, eta: np.ndarray, tau: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The codes before rounding, in float64."""
    precision = 1 + tau.astype(np.float64)
    mean = np.clip(eta.astype(np.float64) / precision / rule.scale, -127, 127)
    return mean, np.clip(np.log(precision) / rule.step, 0, 255)


def natural(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    tau = np.exp(rng.normal(0, 4, shape)).astype(np.float32)  # from 1e-6 to beyond TAU_LIMIT
    tau[rng.random(shape) < 0.1] = 0
    return (rng.normal(0, 3, shape) * (1 + tau)).astype(np.float32), tau


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 64), (7, 1030, 64), (2, 70_000, 3), (0, 4, 8), (4, 0, 8)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_codes_are_the_nearest_to_the_formula(shape: tuple[int, ...], dtype: type) -> None:
    eta, tau = (np.clip(a, -6e4, 6e4).astype(dtype) for a in natural(shape))
    rule = Quantization.fixed(shape[-1])
    for codes, exact in zip(rule.encode(eta, tau), by_formula(rule, eta, tau), strict=True):
        assert codes.shape == shape
        assert np.abs(codes - exact).max(initial=0) <= 0.5 + 1e-3  # at a tie either neighbour is right


def test_a_window_of_a_larger_tile_gets_the_codes_of_the_window_alone() -> None:
    eta, tau = natural((40, 50, 16))
    rule, window = Quantization.fixed(16), (slice(3, 31), slice(7, 29))
    alone = rule.encode(*(np.ascontiguousarray(a[window]) for a in (eta, tau)))
    for got, wanted in zip(rule.encode(eta[window], tau[window]), alone, strict=True):
        assert np.array_equal(got, wanted)


def test_values_beyond_the_scale_are_clipped_and_zero_is_exact() -> None:
    rule = Quantization.fixed(2)
    eta = np.array([[[3e38, -3e38], [0, 0]]], np.float32)
    tau = np.array([[[0, TAU_LIMIT * 1e6], [0, 0]]], np.float32)
    low, high = rule.encode(eta, tau)
    assert low.tolist() == [[[127, -127], [0, 0]]]
    assert high.tolist() == [[[0, 255], [0, 0]]]
    assert rule.decode(low, high)[0][0, 0, 0] == pytest.approx(MEAN_LIMIT)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_found_anywhere(which: int, value: float) -> None:
    rule = Quantization.fixed(64)
    for place in ((0, 0, 0), (5, 1029, 63), (3, 511, 17)):
        parts = [np.ones((6, 1030, 64), np.float32), np.ones((6, 1030, 64), np.float32)]
        parts[which][place] = value
        with pytest.raises(ShapeMismatch, match="not finite"):
            rule.encode(*parts)


def test_a_negative_precision_is_found_however_small() -> None:
    tau = np.ones((2, 3, 4), np.float32)
    tau[1, 2, 3] = -1e-30
    with pytest.raises(ShapeMismatch, match="negative precision"):
        Quantization.fixed(4).encode(tau, tau)
