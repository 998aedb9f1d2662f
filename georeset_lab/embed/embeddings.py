"""`Embeddings`: a Gaussian per pixel and dimension on a grid, per modality and fused. `encode` makes them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from georeset_lab.embed.arrays import as_dataarray, pixel_dataset
from georeset_lab.embed.expert import FORMS, Expert, Form, Quantization, form_of, fuse, quantize
from georeset_lab.embed.locate import pixel_of, window_of
from georeset_lab.errors import ShapeMismatch, UnknownModality

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from georeset_lab.data.scene import Scene

__all__ = ["Embeddings", "Expert", "Quantization", "open_embeddings"]

FUSE_IN_MEMORY_BYTES = 1 << 31
"""Mean and variance up to this size together (4 million pixels of 64 dimensions) are kept; beyond it they are lazy."""
BLOCK_PIXELS = 1 << 16
"""Pixels that `Embeddings.blocks` hands out at once, if the experts are in memory."""

Index = slice | np.ndarray


def open_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """Embeddings that lie in a store, without reading pixels; see `georeset_lab.embed.stored.open_embeddings`."""
    from georeset_lab.embed import stored

    return stored.open_embeddings(path)


class Embeddings:
    """Mean and variance of every pixel's embedding, from each modality alone and from all together.

    The fused Gaussian counts the N(0, 1) prior once: precision L = 1 + sum tau, mean = sum eta / L, variance = 1 / L.
    A pixel that nothing measured has mean 0 and variance 1 (the prior), and is False in ``observed``.

    Parameters
    ----------
    experts : mapping of modality name to Expert
        At least one, all of shape (Y, X, D).
    grid : odc.geo.geobox.GeoBox
        Where the Y x X pixels lie.
    attrs : mapping, optional
        Provenance: model, model_hash, data, bands, dates, seed, version. Copied to everything that is derived.
    scene : Scene, optional
        What was encoded; kept as it is (also by `crop`), for baselines and pictures.

    Raises
    ------
    ShapeMismatch
        No expert, or one whose shape is not that of the grid or of its siblings.

    Examples
    --------
    >>> from odc.geo.geobox import GeoBox
    >>> one = np.ones((2, 3, 4), np.float32)
    >>> emb = Embeddings({"s2": Expert(one, one)}, GeoBox.from_bbox((0, 0, 30, 20), "EPSG:32631", resolution=10))
    >>> float(emb.mean[0, 0, 0]), float(emb.variance[0, 0, 0])
    (0.5, 0.5)
    """

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

    # -- fused values -------------------------------------------------------------------------------------------------

    @property
    def mean(self) -> xr.DataArray:
        """Fused posterior mean (dim, y, x), float32: a transposed view of pixel-major memory; lazy if very large."""
        return as_dataarray(self, "mean")

    @property
    def variance(self) -> xr.DataArray:
        """Fused posterior variance (dim, y, x), float32, in 0..1: the prior's is 1."""
        return as_dataarray(self, "variance")

    @property
    def certainty(self) -> xr.DataArray:
        """1 - variance (dim, y, x), float32: 0 where nothing is known about a dimension, 1 where it is settled."""
        return as_dataarray(self, "certainty")

    @cached_property
    def observed(self) -> np.ndarray:
        """Pixels (Y, X), bool, that some modality measured."""
        if "_fused" in self.__dict__:
            return self._fused[2]
        out = np.zeros(self.shape, bool)
        for rows, cols in self.windows():
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
        strip = max(1, BLOCK_PIXELS // width)
        strips = ((slice(i, min(i + strip, self.shape[0])), slice(0, width)) for i in range(0, self.shape[0], strip))
        for rows, cols in strips if self.fits_memory else self.windows():
            mean, variance, seen = self.fused(rows, cols)
            index: Index = slice(rows.start * width, rows.stop * width)
            if (cols.start, cols.stop) != (0, width):
                index = (np.arange(rows.start, rows.stop)[:, None] * width + np.arange(cols.start, cols.stop)).ravel()
            yield index, mean.reshape(-1, self.dim), variance.reshape(-1, self.dim), seen.reshape(-1)

    def windows(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of the parts in which the map is best read: its tiles in a store, else bands of rows."""
        height, width = self.shape
        tile = getattr(next(iter(self.experts.values())).eta, "tile_shape", None)
        step_y, step_x = tile or (max(1, BLOCK_PIXELS // width), width)
        for top in range(0, height, step_y):
            for left in range(0, width, step_x):
                yield slice(top, min(top + step_y, height)), slice(left, min(left + step_x, width))

    def fused(self, rows: slice, cols: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and variance (y, x, D), float32, and observed (y, x) of a window."""
        if self.fits_memory:
            mean, variance, observed = self._fused
            return mean[rows, cols], variance[rows, cols], observed[rows, cols]
        return fuse(list(self.experts.values()), rows, cols)

    # -- parts --------------------------------------------------------------------------------------------------------

    def expert(self, name: str) -> Embeddings:
        """What one modality says alone, under the prior: variance is 1 / (1 + tau)."""
        return self.only(name)

    def only(self, *names: str) -> Embeddings:
        """The same map from these modalities alone, in this order. Nothing is encoded again.

        Raises
        ------
        UnknownModality
            No such modality, or none left.
        """
        unknown = [n for n in names if n not in self.experts]
        if unknown or not names:
            raise UnknownModality(
                f"There is no expert {', '.join(map(repr, unknown)) or 'left'}; "
                f"these embeddings have {', '.join(map(repr, self.modalities))}."
            )
        return self._like({n: self.experts[n] for n in names}, self.grid)

    def without(self, *names: str) -> Embeddings:
        """The same map from all modalities but these. Nothing is encoded again; the variance can only grow."""
        self.only(*names)
        return self.only(*(n for n in self.modalities if n not in names))

    def crop(
        self,
        bbox: tuple[float, float, float, float] | None = None,
        *,
        geometry: Any = None,
        bounds: tuple[float, float, float, float] | None = None,
    ) -> Embeddings:
        """Every pixel touched by a box, or by the rectangle around a geometry. Reads only that window of a store.

        Parameters
        ----------
        bbox : (west, south, east, north) in degrees; west > east crosses the antimeridian.
        geometry : shapely geometry, GeoJSON or GeoDataFrame, in lon/lat unless it carries a CRS.
        bounds : (left, bottom, right, top) in the CRS of the grid.

        Raises
        ------
        OutsideScene
            It does not touch the map, or not exactly one of the three was given.
        """
        rows, cols = window_of(self.grid, bbox=bbox, geometry=geometry, bounds=bounds)
        return self._like({n: e.window(rows, cols) for n, e in self.experts.items()}, self.grid[rows, cols])

    def astype(self, dtype: Form) -> Embeddings:
        """The same map with its experts held in another form, in memory.

        ``"float16"`` halves ``"float32"``; ``"int8"`` is a quarter of it: the posterior mean of each expert in 255
        steps per dimension and -ln(variance) in 255 steps, with the finest scale that holds the data.
        """
        if dtype not in FORMS:
            raise ShapeMismatch(f"Embeddings cannot be held as {dtype!r}; choose one of {', '.join(FORMS)}.")
        return self._like({n: quantize(e, dtype) for n, e in self.experts.items()}, self.grid)

    def pixel(self, lon: float, lat: float) -> tuple[int, int]:
        """Row and column of the pixel that holds a point in degrees; `OutsideScene` if none does."""
        return pixel_of(self.grid, lon, lat)

    def at(self, lon: float, lat: float) -> xr.Dataset:
        """Everything known about the pixel that holds a point.

        Returns
        -------
        xarray.Dataset
            ``mean``, ``variance``, ``certainty`` (dim,) fused; ``expert_mean``, ``expert_variance`` (modality, dim);
            ``observed`` (modality,); coordinates lon, lat (as given), row, col, and x, y of the pixel's centre.

        Raises
        ------
        OutsideScene
            The point is not on the map.
        """
        row, col = self.pixel(lon, lat)
        return pixel_dataset(self, row, col).assign_coords(lon=lon, lat=lat)

    # -- files and pictures -------------------------------------------------------------------------------------------

    def to_zarr(
        self, path: str | os.PathLike[str], *, fused: bool = False, dtype: Form | None = None, overwrite: bool = False
    ) -> Embeddings:
        """Write a Zarr store and return the embeddings that read from it; see `store.write_embeddings`."""
        from georeset_lab.embed.store import write_embeddings

        return write_embeddings(self, path, fused=fused, dtype=dtype, overwrite=overwrite)

    # -- private ------------------------------------------------------------------------------------------------------

    def _like(self, experts: Mapping[str, Expert], grid: GeoBox) -> Embeddings:
        return Embeddings(experts, grid, attrs=self.attrs, scene=self.scene)

    @cached_property
    def _fused(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and variance (Y, X, D) and observed (Y, X), filled window by window."""
        mean, variance = (np.empty((*self.shape, self.dim), np.float32) for _ in range(2))
        observed = np.empty(self.shape, bool)
        experts = list(self.experts.values())
        for w in self.windows():
            observed[w] = fuse(experts, *w, out=(mean[w], variance[w]))[2]
        return mean, variance, observed
