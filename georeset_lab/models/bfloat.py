"""bfloat16 in compiled loops: NumPy has no such type, so arrays of it come as uint16 (`as_numpy`), float32 ones as they are."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numba.extending import overload
from torch import Tensor

from georeset_lab.models.elementary import bits_of, float_of

_HALF = np.int32(16)


def as_numpy(x: Tensor) -> np.ndarray:
    """The tensor's memory; of bfloat16 its bits, uint16."""
    bits: np.ndarray = (x.view(torch.uint16) if x.dtype is torch.bfloat16 else x).numpy()
    return bits


def widen(x: Any) -> Any:
    """The float32 that a bfloat16 is, given its bits; of a float32 itself. Only in compiled loops."""
    raise NotImplementedError


def narrow(value: Any, like: Any) -> Any:
    """A float32 as what an array of the type of ``like`` holds: rounded to bits of bfloat16, or as it is."""
    raise NotImplementedError


@overload(widen, inline="always")
def _widen(x: Any) -> Any:
    def from_bits(x: Any) -> Any:
        return float_of(np.int32(x) << _HALF)

    def same(x: Any) -> Any:
        return x

    return from_bits if x == numba.uint16 else same


@overload(narrow, inline="always")
def _narrow(value: Any, like: Any) -> Any:
    def to_nearest(value: Any, like: Any) -> Any:  # ties to even
        bits = bits_of(value)
        return np.uint16((bits + np.int32(0x7FFF) + ((bits >> _HALF) & np.int32(1))) >> _HALF)

    def same(value: Any, like: Any) -> Any:
        return value

    return to_nearest if like == numba.uint16 else same
