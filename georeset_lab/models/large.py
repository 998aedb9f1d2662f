"""`empty`: room for large results, in large pages where the system has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """What ``torch.empty`` gives, on a CPU in memory of NumPy's.

    NumPy asks the system for pages of 2 MB instead of 4 kB: to clear them, as must be for each new array, takes less than
    half of the time.
    """
    if device.type != "cpu":
        return torch.empty(tuple(shape), dtype=dtype, device=device)
    return torch.from_numpy(np.empty(tuple(shape), torch.empty(0, dtype=dtype).numpy().dtype))
