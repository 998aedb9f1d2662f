"""`Sums`: a canvas that adds painted pixels to the larger pixels of a map, so that they never lie in memory one by one."""

from __future__ import annotations

from threading import Lock

import numpy as np
import torch

from georeset_lab.embed.encoding.add_up import add_up
from georeset_lab.embed.encoding.regrid import Regrid
from georeset_lab.embed.encoding.tiles import Block, Tile
from georeset_lab.models.fusion import Gaussian


class Sums:
    """Canvas of a block whose pixels are averaged.

    Parameters
    ----------
    rule : Regrid
        From pixels to the map, of which both axes are means.
    block : Block
        What is encoded.
    tile : Tile
        What it is part of.
    out : pair of numpy.ndarray, shape (rows, cols, D), float64
        Sums of eta and of tau. float64, so that the order in which threads add does not show.
    is_sparse : bool
        Whether every second pixel is enough.
    """

    dtype = torch.float32

    def __init__(
        self, rule: Regrid, block: Block, tile: Tile, out: tuple[np.ndarray, np.ndarray], *, is_sparse: bool
    ) -> None:
        self.core = (block.rows.within(block.read_rows), block.cols.within(block.read_cols))
        self.is_sparse = is_sparse
        self._out, self._lock = out, Lock()
        self._targets = [np.full(span.size, -1) for span in (block.read_rows, block.read_cols)]
        wanted = rule.targets(block.rows, block.cols, tile.rows, tile.cols)
        for targets, part, some in zip(self._targets, self.core, wanted, strict=True):
            targets[part] = some

    def put(self, first: tuple[int, int], block: Gaussian) -> None:
        """Add those of the core."""
        rows = self._targets[0][first[0] :][: block.eta.shape[0]]
        cols = self._targets[1][first[1] :][: block.eta.shape[1] * (2 if self.is_sparse else 1)]
        parts = [part.cpu().numpy() for part in block]
        with self._lock:
            for out, part in zip(self._out, parts, strict=True):
                add_up(out, part, rows, cols)
