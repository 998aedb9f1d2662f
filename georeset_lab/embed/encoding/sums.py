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
        Whether every second pixel may stand for two.
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
        if is_sparse:
            self._pair_at_edges(rule.source.shape.x, block.read_cols.start)

    def put(self, first: tuple[int, int], size: tuple[int, int], block: Gaussian) -> None:
        """Add those of the core."""
        rows, cols = (targets[f : f + n] for targets, f, n in zip(self._targets, first, size, strict=True))
        parts = [part.cpu().numpy() for part in block]
        with self._lock:
            for out, part in zip(self._out, parts, strict=True):
                add_up(out, part, rows, cols)

    def _pair_at_edges(self, n: int, start: int) -> None:
        """Let columns beyond the ``n`` of the grid that make a pair with its first or last one count where that does."""
        cols = self._targets[1]
        for edge, beyond in ((-start, -start - 1), (n - 1 - start, n - start)):
            if edge // 2 == beyond // 2 and min(edge, beyond) >= 0 and max(edge, beyond) < len(cols):
                cols[beyond] = cols[edge]
