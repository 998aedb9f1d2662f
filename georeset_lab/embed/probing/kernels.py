"""The loop that turns a click into a map: class and probability of every pixel, at memory speed. Compiled by numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from georeset_lab.compiled import compiled

__all__ = ["classify", "warm_up"]

_RUN = 512  # pixels whose logits stay in the innermost cache


def _classify(x: Any, observed: Any, weights: Any, intercept: Any, label: Any, confidence: Any) -> None:
    n, d = x.shape
    k = weights.shape[0]
    logit = np.empty((k, _RUN), np.float32)
    top, total, power = np.empty(_RUN, np.float32), np.empty(_RUN, np.float32), np.empty(_RUN, np.float32)
    bits, winner = power.view(np.int32), np.empty(_RUN, np.int16)
    for start in range(0, n, _RUN):
        m = min(_RUN, n - start)
        for i in range(m):
            for c in range(k):
                a = np.float32(0)
                for j in range(d):
                    a += x[start + i, j] * weights[c, j]
                logit[c, i] = a + intercept[c]
        for i in range(m):
            top[i] = logit[0, i]
            winner[i] = 0
            total[i] = 0
        for c in range(1, k):
            for i in range(m):
                more = logit[c, i] > top[i]
                top[i] = logit[c, i] if more else top[i]
                winner[i] = c if more else winner[i]
        for c in range(k):
            for i in range(m):
                # exp(v) = 2^w * 2^f: the whole part goes into the exponent bits, a polynomial does the rest to 1e-6.
                v = max((logit[c, i] - top[i]) * np.float32(1.44269504), np.float32(-126))
                w = np.floor(v)
                f = v - w
                bits[i] = (np.int32(w) + np.int32(127)) << np.int32(23)
                p = np.float32(0.00898934) + f * np.float32(0.00187757)
                p = np.float32(0.24015361) + f * (np.float32(0.05582632) + f * p)
                total[i] += power[i] * (np.float32(0.9999999) + f * (np.float32(0.6931531) + f * p))
        for i in range(m):
            seen = observed[start + i]
            label[start + i] = winner[i] if seen else -1
            confidence[start + i] = np.float32(1) / total[i] if seen else np.float32(np.nan)


classify = compiled(_classify)
"""classify(x (n, D), observed (n,), weights (K, D), intercept (K,), label (n,) int16, confidence (n,)): float32.

Winning class and its softmax probability; -1 and NaN where not observed. A pixel with a NaN in x has no winner that means
anything: say in ``observed`` that it has none.
"""


def warm_up() -> None:
    """Compile now, so that the first click does not wait for it; later processes read the compiled loop from a cache."""
    one = np.ones((1, 1), np.float32)
    classify(one, np.ones(1, bool), one, one[0], np.zeros(1, np.int16), one[0])
