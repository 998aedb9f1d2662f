"""Elementary functions inside compiled loops, against NumPy in double precision."""

import math

import numpy as np
import pytest

from georeset_lab.compiled import compiled
from georeset_lab.models.elementary import exp, gelu, softplus


def _exp_of(x, out):
    for i in range(len(x)):
        out[i] = exp(x[i])


def _softplus_of(x, out):
    for i in range(len(x)):
        out[i] = softplus(x[i])


@pytest.mark.parametrize(
    ("function", "truth", "low", "high"),
    [(_exp_of, np.exp, -87, 88), (_softplus_of, lambda x: np.logaddexp(0, x), -80, 80)],
    ids=["exp", "softplus"],
)
def test_relative_error(function, truth, low, high):
    x = np.linspace(low, high, 100_001, dtype=np.float32)
    out = np.empty_like(x)
    compiled(function)(x, out)
    error = np.abs(out / truth(x.astype(np.float64)) - 1)
    assert error.max() < 5e-6
    assert error[np.abs(x) < 1].max() < 6e-7


def test_what_is_too_small_for_a_normal_number_is_nearly_nothing():
    out = np.empty(3, np.float32)
    compiled(_exp_of)(np.array([-100, -1e30, -np.inf], np.float32), out)
    assert (out >= 0).all()
    assert (out < 1e-37).all()


def _gelu_of(x, out):
    for i in range(len(x)):
        out[i] = gelu(x[i])


def test_gelu_is_the_one_of_the_error_function():
    x = np.linspace(-30, 30, 100_001, dtype=np.float32)
    out = np.empty_like(x)
    compiled(_gelu_of)(x, out)
    truth = np.array([0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x.astype(np.float64)])
    assert (np.abs(out - truth) / np.maximum(1, np.abs(x))).max() < 4e-7
