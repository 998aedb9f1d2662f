"""Physical values to numbers near N(0, 1), by kind: `normalise`, and `fill`, which also says what was measured.

The shifts and scales are fixed: per-image statistics would erase absolute reflectance (the signal) and per-sensor
statistics would leak the sensor's identity (methods.md section 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from georeset_lab.compiled import compiled
from georeset_lab.models.spectrum import REFLECTANCE_SCALE, REFLECTANCE_SHIFT

N_KINDS = 7
"""Kind codes of a band table: reflectance, temperature, elevation, VV, VH, HH, HV."""
_SHIFT = (REFLECTANCE_SHIFT, 290.0, 500.0, -11.0, -17.0, -11.0, -17.0)
_SCALE = (REFLECTANCE_SCALE, 15.0, 500.0, 5.0, 5.0, 5.0, 5.0)
_CLIP = 8.0


def normalise(x: Tensor, bands: Tensor) -> Tensor:
    """Physical values (..., C, Y, X) shifted and scaled by kind, clipped to +-8; NaN stays NaN.

    Parameters
    ----------
    x : Tensor, shape (..., C, Y, X)
        Reflectance, kelvin, metres, dB. Not modified.
    bands : Tensor, shape (C, 4)
        Centre (um), full width at half maximum (um), pixel size (m), kind code.
    """
    shift, scale = (z[:, None, None] for z in _shift_and_scale(x, bands))
    return (x - shift).mul_(scale).clamp_(-_CLIP, _CLIP)


def _shift_and_scale(x: Tensor, bands: Tensor) -> tuple[Tensor, Tensor]:
    kind = bands[:, 3].long()
    return x.new_tensor(_SHIFT)[kind], 1.0 / x.new_tensor(_SCALE)[kind]


def _fill(x: Any, first: Any, shift: Any, scale: Any, out: Any, patchy: Any) -> None:
    images, bands, n = x.shape[0], x.shape[1], out.shape[2]
    clip, zero, one, every = np.float32(_CLIP), np.float32(0), np.float32(1), np.float32(bands)
    for b in range(images):
        count = out[b, bands]
        count[:] = zero
        for c in range(bands):
            source, target = x[b, c, first : first + n], out[b, c]
            for i in range(n):
                value = (source[i] - shift[c]) * scale[c]
                there = abs(value) < np.float32(np.inf)
                target[i] = min(max(value, -clip), clip) if there else zero
                count[i] += one if there else zero
        some = zero
        for i in range(n):
            some += one if count[i] < every and count[i] > zero else zero
            count[i] = one if count[i] == every else zero
        patchy[0] += some


_fill_loop = compiled(_fill)


def fill(x: Tensor, bands: Tensor, part: slice = slice(None)) -> tuple[Tensor, bool]:
    """What `normalise` says of a part of the pixels: of those that have all bands, and 0 for the others.

    Parameters
    ----------
    x : Tensor, shape (B, C, M), float32
        Not modified.
    bands : Tensor, shape (C, 4)
    part : slice
        N of the M pixels, without a step.

    Returns
    -------
    filled : Tensor, shape (B, C + 1, N)
        The last row is 1 for pixels that have all bands, else 0. Useless if some pixel has only some of them.
    patchy : bool
        Some pixel has only some of them.
    """
    if x.device.type == "cpu":
        first, last, _ = part.indices(x.shape[2])
        out, patchy = x.new_empty(x.shape[0], x.shape[1] + 1, last - first), np.zeros(1, np.float32)
        shift, scale = (z.numpy() for z in _shift_and_scale(x, bands))
        _fill_loop(x.contiguous().numpy(), first, shift, scale, out.numpy(), patchy)
        return out, bool(patchy[0])
    x = x[..., part]
    seen = torch.isfinite(x)
    there = seen.all(1, keepdim=True)
    values = torch.where(there, normalise(x[..., None], bands)[..., 0], 0.0)
    return torch.cat([values, there.to(x)], 1), bool((seen.any(1, keepdim=True) & ~there).any())
