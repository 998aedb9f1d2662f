"""`FusedMap`: experts on a grid, and their product read whole, by window or block by block. No files, no places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.expert import Expert, Form, form_of, fuse
from georeset_lab.errors import ShapeMismatch

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from georeset_lab.data.scene import Scene

FUSE_IN_MEMORY_BYTES = 1 << 31
"""Mean and variance up to this size together (4 million pixels of 64 dimensions) are kept; beyond it they are lazy."""
BLOCK_PIXELS = 1 << 16
"""Pixels handed out at once, if the map is in memory."""

Index = slice | np.ndarray


class FusedMap:
    """The numbers of `Embeddings`; see there."""

    def __init__(
        self,
        experts: Mapping[str, Expert],
        grid: GeoBox,
        *,
        attrs: Mapping[str, Any] | None = None,
        scene: Scene | None = None,
    ) -> None:
        if not experts:
            raise ShapeMismatch("Embeddings need at least one expert: a mapping such as {'s2': Expert(eta, tau)}.")
        shapes = {name: e.shape for name, e in experts.items()}
        if len(set(shapes.values())) > 1 or next(iter(shapes.values()))[:2] != tuple(grid.shape):
            raise ShapeMismatch(
                f"Experts have shapes {shapes}, the grid has {tuple(grid.shape)} (y, x); all must be (Y, X, D) alike."
            )
        if len(experts) > 1 and not all(e.stated for e in experts.values()):
            raise ShapeMismatch(
                "Embeddings whose variance is unknown cannot be fused with others: nobody knows how much each counts. Keep "
                "them apart."
            )
        self.experts: dict[str, Expert] = dict(experts)
        self.grid = grid
        self.attrs: dict[str, Any] = dict(attrs or {})
        self.scene = scene

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the experts."""
        return tuple(self.experts)

    @property
    def dim(self) -> int:
        """Number of dimensions D."""
        return next(iter(self.experts.values())).shape[2]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.grid.shape[0]), int(self.grid.shape[1])

    @property
    def dtype(self) -> Form:
        """Form in which the experts are held: "float32", "float16" or "int8"."""
        return form_of(self.experts)

    @property
    def in_memory(self) -> bool:
        """False if reading pixels reads a file."""
        return all(e.in_memory for e in self.experts.values())

    @property
    def fits_memory(self) -> bool:
        """True if the fused map is small enough to be kept (see `FUSE_IN_MEMORY_BYTES`)."""
        return self.shape[0] * self.shape[1] * self.dim * 8 <= FUSE_IN_MEMORY_BYTES

    @cached_property
    def observed(self) -> np.ndarray:
        """Pixels (Y, X), bool, that some modality measured."""
        if "_fused" in self.__dict__:
            return self._fused[2]
        out = np.zeros(self.shape, bool)
        for rows, cols in self.tiles():
            for expert in self.experts.values():
                out[rows, cols] |= expert.observed(rows, cols)
        return out

    def vectors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All pixels in row-major order: mean (N, D) and variance (N, D), float32 C-contiguous, and observed (N,).

        Views of the fused map, not copies. Needs 8 N D bytes; use `blocks` for more than memory holds.
        """
        mean, variance, observed = self._fused
        return mean.reshape(-1, self.dim), variance.reshape(-1, self.dim), observed.reshape(-1)

    def blocks(self) -> Iterator[tuple[Index, np.ndarray, np.ndarray, np.ndarray]]:
        """The same as `vectors`, part by part, so that a map larger than memory can be searched or classified.

        Yields
        ------
        index : slice or numpy.ndarray (n,) of int64
            Which of the N pixels; ``out[index] = value`` places a result in a flat array either way.
        mean, variance : numpy.ndarray (n, D), float32
        observed : numpy.ndarray (n,), bool
        """
        width = self.shape[1]
        for rows, cols in self.windows():
            mean, variance, seen = self.fused(rows, cols)
            index: Index = slice(rows.start * width, rows.stop * width)
            if (cols.start, cols.stop) != (0, width):
                index = (np.arange(rows.start, rows.stop)[:, None] * width + np.arange(cols.start, cols.stop)).ravel()
            yield index, mean.reshape(-1, self.dim), variance.reshape(-1, self.dim), seen.reshape(-1)

    def windows(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of the parts in which the map is best read: bands of rows, or the tiles of a large store."""
        return self._parts(by_tile=not self.fits_memory)

    def tiles(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of the parts in which single experts are best read: the tiles of a store of any size."""
        return self._parts(by_tile=True)

    def fused(self, rows: slice, cols: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and variance (y, x, D), float32, and observed (y, x) of a window."""
        if self.fits_memory:
            mean, variance, observed = self._fused
            return mean[rows, cols], variance[rows, cols], observed[rows, cols]
        return fuse(list(self.experts.values()), rows, cols)

    @cached_property
    def _fused(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and variance (Y, X, D) and observed (Y, X), filled window by window."""
        mean, variance = (np.empty((*self.shape, self.dim), np.float32) for _ in range(2))
        observed = np.empty(self.shape, bool)
        experts = list(self.experts.values())
        for w in self.tiles():
            observed[w] = fuse(experts, *w, out=(mean[w], variance[w]))[2]
        return mean, variance, observed

    def _parts(self, *, by_tile: bool) -> Iterator[tuple[slice, slice]]:
        height, width = self.shape
        tile = getattr(next(iter(self.experts.values())).eta, "tile_shape", None) if by_tile else None
        step_y, step_x = tile or (max(1, BLOCK_PIXELS // width), width)
        for top in range(0, height, step_y):
            for left in range(0, width, step_x):
                yield slice(top, min(top + step_y, height)), slice(left, min(left + step_x, width))
