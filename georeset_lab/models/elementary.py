"""Elementary functions of float32 inside compiled loops: without calls, so that the loops around them are vectorised."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic
from numpy.polynomial import Chebyshev, Polynomial

_LOG2E = np.float32(1 / np.log(2))
_LEAST = np.float32(-126)
"""Powers of two below this one are not normal numbers; here they count as this one."""


def _polynomial(function: Any, degree: int) -> tuple[np.float32, ...]:
    """Coefficients, highest first, of the polynomial that is closest to a smooth function on 0..1."""
    fitted = Chebyshev.interpolate(function, degree, domain=[0, 1]).convert(kind=Polynomial)
    return tuple(np.float32(c) for c in fitted.coef[::-1])


_POWER = _polynomial(np.exp2, 6)
_LOG1P = _polynomial(lambda u: np.log1p(np.maximum(u, 1e-12)) / np.maximum(u, 1e-12), 9)


def _cast(to: Any, of: Any) -> Any:
    def cast(typing: Any, bits: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

        return to(of), generate

    return intrinsic(cast)


float_of: Any = _cast(numba.float32, numba.int32)
"""The float32 that has the bits of an int32."""
bits_of: Any = _cast(numba.int32, numba.float32)
"""The int32 that has the bits of a float32."""


@numba.njit(inline="always", error_model="numpy")
def exp(x: Any) -> Any:
    """``e ** x`` of a float32 up to 88, to a relative 4e-6 (3e-7 near 0)."""
    power = max(x * _LOG2E, _LEAST)
    whole = np.floor(power)
    f = power - whole
    p = _POWER
    fraction = (((((p[0] * f + p[1]) * f + p[2]) * f + p[3]) * f + p[4]) * f + p[5]) * f + p[6]
    return fraction * float_of((np.int32(whole) + np.int32(127)) << np.int32(23))


@numba.njit(inline="always", error_model="numpy")
def softplus(x: Any) -> Any:
    """``log(1 + e ** x)`` of a float32, to a relative 4e-6 (5e-7 near 0)."""
    u = exp(-abs(x))
    p = _LOG1P
    high = ((((p[0] * u + p[1]) * u + p[2]) * u + p[3]) * u + p[4]) * u + p[5]
    return max(x, np.float32(0)) + u * ((((high * u + p[6]) * u + p[7]) * u + p[8]) * u + p[9])


_ERFC = tuple(
    np.float32(c / 2 ** (i / 2))
    for i, c in enumerate((1, 0.0705230784, 0.0422820123, 0.0092705272, 0.0001520143, 0.0002765672, 0.0000430638))
)


@numba.njit(inline="always", error_model="numpy")
def gelu(x: Any) -> Any:
    """``x`` times the normal distribution function of a float32 ``x``, to ``4e-7 * max(1, abs(x))``.

    Abramowitz and Stegun (1964), 7.1.28: no exponential.
    """
    size, c = abs(x), _ERFC
    root = (((((c[6] * size + c[5]) * size + c[4]) * size + c[3]) * size + c[2]) * size + c[1]) * size + c[0]
    root = np.float32(1) / (root * root)
    root *= root
    root *= root
    return max(x, np.float32(0)) - np.float32(0.5) * size * (root * root)
