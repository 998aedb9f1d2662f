"""`Coded`: a canvas that keeps pixels as codes of the int8 form, made while a core's cache still holds what they say."""

from __future__ import annotations

import numpy as np
import torch

from georeset_lab.embed.expert import Expert, Quantization
from georeset_lab.embed.stores.layout import Layout
from georeset_lab.models.canvas import placed
from georeset_lab.models.core import Core
from georeset_lab.models.fusion import Gaussian


class Coded:
    """Keeps every pixel of the core, on a CPU, in a quarter of the memory of float32.

    Parameters
    ----------
    core : pair of slices
    dim : int
        D, latent dimensions.
    rule : Quantization
        What the codes mean.
    """

    dtype = torch.float32
    is_sparse = False

    def __init__(self, core: Core, dim: int, rule: Quantization) -> None:
        shape = (*(part.stop - part.start for part in core), dim)
        self._codes, self._rule = (np.empty(shape, np.int8), np.empty(shape, np.uint8)), rule
        self.core, self.result = core, Expert(*self._codes, rule)

    @classmethod
    def of_store(cls, layout: Layout, name: str, core: Core) -> Coded | None:
        """For an expert of a store in the int8 form; None for the others, whose numbers are narrowed as they are written."""
        return cls(core, layout.dim, layout.quantization[name]) if layout.dtype == "int8" else None

    def put(self, first: tuple[int, int], size: tuple[int, int], block: Gaussian) -> None:
        """Code what lies in the core."""
        here, part = placed(self.core, first, size)
        eta, tau = (np.ascontiguousarray(z[part].numpy()) for z in block)
        for target, some in zip(self._codes, self._rule.encode(eta, tau), strict=True):
            target[here] = some
