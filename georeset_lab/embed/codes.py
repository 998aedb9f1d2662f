"""The loop that turns natural parameters into the codes of the int8 form, at memory speed. Compiled by numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from georeset_lab.compiled import compiled

__all__ = ["RUN", "encode_run"]

RUN = 1 << 16
"""Values that one call should code at most: their scales then stay in a core's cache."""

_SQRT_HALF = np.int32(0x3F3504F3)
"""Bits of the float32 sqrt(1/2): mantissas are taken from there to sqrt(2)."""


def _encode_run(eta: Any, tau: Any, per_scale: Any, per_step: Any, low: Any, high: Any, unfit: Any) -> None:
    one, most = np.float32(1), np.float32(3.4028235e38)
    bad = np.int32(0)
    for i in range(eta.shape[0]):
        t = tau[i]
        p = one + t
        mean = eta[i] / p * per_scale[i]
        bad |= np.int32(not ((t >= np.float32(0)) & (t <= most) & (abs(eta[i]) <= most)))
        # The logarithm by the polynomial of Cephes (logf, Moshier 1989; 2e-7): a call would keep the loop scalar.
        bits = np.float32(p).view(np.int32)
        exponent = (bits - _SQRT_HALF) >> np.int32(23)
        x = np.int32(bits - (exponent << np.int32(23))).view(np.float32) - one
        y = np.float32(7.0376836292e-2)
        y = y * x + np.float32(-1.1514610310e-1)
        y = y * x + np.float32(1.1676998740e-1)
        y = y * x + np.float32(-1.2420140846e-1)
        y = y * x + np.float32(1.4249322787e-1)
        y = y * x + np.float32(-1.6668057665e-1)
        y = y * x + np.float32(2.0000714765e-1)
        y = y * x + np.float32(-2.4999993993e-1)
        y = y * x + np.float32(3.3333331174e-1)
        y = x * x * (y * x - np.float32(0.5)) + np.float32(exponent) * np.float32(0.6931471805599453) + x
        high[i] = np.uint8(np.int32(min(np.rint(y * per_step), np.float32(255))))
        low[i] = np.int8(np.int32(min(max(np.rint(mean), np.float32(-127)), np.float32(127))))
    unfit[0] |= bad


encode_run = compiled(_encode_run)
"""encode_run(eta, tau, 1 / scale, 1 / step, low, high, unfit): codes of a run of values, all (n,) and contiguous.

``unfit[0]`` becomes 1 if a value is not finite or a precision negative; its codes are then worthless.
"""
