"""`Embeddings`: a Gaussian per pixel and dimension on a grid, per modality and fused. `encode` makes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from georeset_lab.embed.expert import FORMS, Expert, Form, Quantization, quantize
from georeset_lab.embed.fused import FusedMap
from georeset_lab.embed.locate import crs_name, pixel_of, window_of
from georeset_lab.embed.stores.arrays import as_dataarray, pixel_dataset
from georeset_lab.errors import ShapeMismatch, UnknownModality

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from odc.geo.geobox import GeoBox

__all__ = ["Embeddings", "Expert", "Quantization", "open_embeddings"]

PlotKind = Literal["pca", "axes", "certainty"]


def open_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """Embeddings that lie in a store, without reading pixels; see `georeset_lab.embed.stores.stored.open_embeddings`."""
    from georeset_lab.embed.stores import stored

    return stored.open_embeddings(path)


class Embeddings(FusedMap):
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
    >>> import numpy as np
    >>> from odc.geo.geobox import GeoBox
    >>> one = np.ones((2, 3, 4), np.float32)
    >>> emb = Embeddings({"s2": Expert(one, one)}, GeoBox.from_bbox((0, 0, 30, 20), "EPSG:32631", resolution=10))
    >>> float(emb.mean[0, 0, 0]), float(emb.variance[0, 0, 0])
    (0.5, 0.5)
    """

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
        steps per dimension and -ln(variance) in 255 steps, with the finest scale that holds the data. Measured with the
        default model on the Sentinel scene of Chile in terramind-chips (`tests/embed/test_embeddings.py`): float16 moves
        no fused mean by more than 0.002 and int8 by 0.02, with a cosine to the original of at least 0.9995 for every
        pixel and variances within 1.3 %.
        """
        if dtype not in FORMS:
            raise ShapeMismatch(f"Embeddings cannot be held as {dtype!r}; choose one of {', '.join(FORMS)}.")
        return self._like({n: quantize(e, dtype) for n, e in self.experts.items()}, self.grid)

    def profile(self, modality: str | None = None) -> xr.DataArray:
        """Mean certainty of each dimension over a modality's observed pixels: which dimensions a sensor settles.

        (dim,) float32 for one modality or "fused"; by default (modality, dim) for all of them and "fused"; see
        `profile.certainty_profile`. `UnknownModality` if there is none of this name.
        """
        from georeset_lab.embed.profiles.profile import certainty_profile

        return certainty_profile(self, modality)

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
        """Write a Zarr store and return the embeddings that read from it; see `save.write_embeddings`."""
        from georeset_lab.embed.stores.save import write_embeddings

        return write_embeddings(self, path, fused=fused, dtype=dtype, overwrite=overwrite)

    def to_cog(self, path: str | os.PathLike[str], *, variance: bool = True) -> Path:
        """Write the fused map as a Cloud Optimized GeoTIFF of float32 bands; see `export.to_cog`."""
        from georeset_lab.embed.stores.export import to_cog

        return to_cog(self, path, variance=variance)

    def to_geoparquet(self, path: str | os.PathLike[str], *, variance: bool = True, observed_only: bool = True) -> Path:
        """Write one row per pixel, with a point and the fused values; see `export.to_geoparquet`."""
        from georeset_lab.embed.stores.export import to_geoparquet

        return to_geoparquet(self, path, variance=variance, observed_only=observed_only)

    def plot(
        self,
        bands: tuple[int, int, int] | None = None,
        *,
        kind: PlotKind = "pca",
        limits: tuple[float, float] | None = (0.0, 1.0),
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the map with matplotlib: colour from PCA or three axes, or certainty; see `plot.plot_embeddings`."""
        from georeset_lab.embed.pictures.plot import plot_embeddings

        return plot_embeddings(self, bands, kind=kind, limits=limits, ax=ax)

    def plot_certainty(self, *, limits: tuple[float, float] | None = (0.0, 1.0)) -> Figure:
        """Draw where each modality alone is sure, and all together, on one scale; see `plot_certainty.plot_certainty`."""
        from georeset_lab.embed.pictures.plot_certainty import plot_certainty

        return plot_certainty(self, limits=limits)

    def plot_profile(self, *, limits: tuple[float, float] | None = (0.0, 1.0)) -> Figure:
        """Draw which dimensions each modality settles, as a matrix; see `plot_certainty.plot_profile`."""
        from georeset_lab.embed.pictures.plot_certainty import plot_profile

        return plot_profile(self, limits=limits)

    def __repr__(self) -> str:
        height, width = self.shape
        where = "in memory" if self.in_memory else "in a store"
        return (
            f"<Embeddings {height} x {width} x {self.dim}, {', '.join(self.modalities)}, {self.dtype} {where}, "
            f"{crs_name(self.grid)}>"
        )

    def _repr_html_(self) -> str:
        from georeset_lab.embed.pictures.plot import embeddings_html

        return embeddings_html(self)

    # -- private ------------------------------------------------------------------------------------------------------

    def _like(self, experts: Mapping[str, Expert], grid: GeoBox) -> Embeddings:
        return Embeddings(experts, grid, attrs=self.attrs, scene=self.scene)
