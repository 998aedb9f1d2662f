"""`Scene`: co-registered modalities of one place and time span, and the ways to take a part of it.

Reading files is in ``load.py``, storing in ``scene_store.py``, bringing modalities together in ``align.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from georeset_lab.data.calibration import Calibration
from georeset_lab.data.grids import crs_name, describe
from georeset_lab.data.modality import Modality
from georeset_lab.errors import GridMismatch, OutsideScene, ShapeMismatch, UnknownModality

if TYPE_CHECKING:
    from odc.geo.crs import CRS
    from odc.geo.geom import BoundingBox, Geometry

__all__ = ["Calibration", "Modality", "Scene"]


@dataclass(frozen=True, eq=False, repr=False)
class Scene:
    """Co-registered modalities of one place and time span.

    A scene is never changed: every method that takes a part of it, or adds a mask, gives a new scene that shares the
    pixels. Modalities share a coordinate reference system, not a grid.

    Raises
    ------
    GridMismatch
        A modality is in another CRS than the scene.

    Examples
    --------
    >>> from georeset_lab.data.simulate import simulate_scene
    >>> scene = simulate_scene(size=(24, 24), modalities=("s2", "dem"), dates=1)
    >>> left, bottom, right, top = scene.extent
    >>> scene.only("dem").crop(bounds=(left, bottom, left + 45, bottom + 45))["dem"].grid.shape.yx
    (2, 2)
    """

    modalities: dict[str, Modality]
    """What was measured, by name."""
    crs: CRS
    """Projected, in metres."""
    name: str = "scene"
    truth: xr.Dataset | None = None
    """Simulated scenes only: ``land_cover`` codes with their names in ``attrs["classes"]``, and truth variables."""

    def __post_init__(self) -> None:
        for key, modality in self.modalities.items():
            if modality.grid.crs != self.crs:
                raise GridMismatch(
                    f"Modality {key!r} is in {crs_name(modality.grid.crs)}, the scene in {crs_name(self.crs)}. "
                    "Bring them together with georeset_lab.data.align.to_common_ground(modalities)."
                )

    def __getitem__(self, name: str) -> Modality:
        """Modality of this name.

        Raises
        ------
        UnknownModality
            There is none; the message lists those that exist.
        """
        if name not in self.modalities:
            known = ", ".join(map(repr, self.modalities)) or "none"
            raise UnknownModality(f"Scene {self.name!r} has no modality {name!r}; it has {known}.")
        return self.modalities[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.modalities)

    def __contains__(self, name: object) -> bool:
        return name in self.modalities

    def __len__(self) -> int:
        return len(self.modalities)

    def only(self, *names: str) -> Scene:
        """Scene with just these modalities, in this order.

        Raises
        ------
        UnknownModality
            The scene has no modality of one of these names.
        """
        return replace(self, modalities={name: self[name] for name in names})

    def without(self, *names: str) -> Scene:
        """Scene with all modalities but these.

        Raises
        ------
        UnknownModality
            The scene has no modality of one of these names.
        """
        dropped = {self[name].name for name in names} | set(names)
        return replace(self, modalities={k: m for k, m in self.modalities.items() if k not in dropped})

    @property
    def extent(self) -> BoundingBox:
        """Smallest box in the scene's CRS that holds every modality."""
        from odc.geo.geom import bbox_union

        return bbox_union(m.grid.boundingbox for m in self.modalities.values())

    def crop(
        self,
        *,
        bbox: tuple[float, float, float, float] | None = None,
        bounds: tuple[float, float, float, float] | None = None,
        geometry: Any = None,
    ) -> Scene:
        """Part of the scene: of each modality the whole pixels that cover the ground asked for.

        Give one of the three. No pixel is moved or resampled; nothing inside the box is masked.

        Parameters
        ----------
        bbox : (west, south, east, north), optional
            Longitude and latitude in degrees; ``west > east`` crosses the antimeridian.
        bounds : (left, bottom, right, top), optional
            In the scene's own CRS, metres.
        geometry : GeoDataFrame, shapely geometry or GeoJSON, optional
            Longitude and latitude unless it carries a CRS; the box around it is kept.

        Raises
        ------
        OutsideScene
            None or several were given, or the ground does not touch a modality.
        """
        from georeset_lab.data.window import cover, crop_modality

        ground = self._ground(bbox, bounds, geometry)
        cropped = {}
        for name, modality in self.modalities.items():
            window = cover(modality.grid, ground)
            if window is None:
                raise OutsideScene(
                    f"The ground asked for, {_box_text(ground)} in {crs_name(self.crs)}, does not touch modality "
                    f"{name!r}, which covers {describe(modality.grid)}."
                )
            cropped[name] = crop_modality(modality, window)
        return replace(self, modalities=cropped, truth=_crop_truth(self.truth, ground))

    def with_mask(self, name: str, mask: Any) -> Scene:
        """Scene in which more pixels of a modality are unusable; what was masked stays masked.

        Parameters
        ----------
        name : str
        mask : xarray.DataArray or array, shape (time, y, x) or (y, x)
            True or non-zero where unusable; NaN counts as unusable. A DataArray that carries a grid of its own (with a
            CRS) may be coarser and larger than the modality: each pixel takes the value that holds its centre.

        Raises
        ------
        UnknownModality
            The scene has no modality of this name.
        ShapeMismatch
            The mask has another shape than the modality.
        GridMismatch
            The mask's own grid is in another CRS or does not cover the modality.
        """
        modality = self[name]
        extra = _as_mask(mask, modality)
        if modality.mask is not None:
            extra = extra | modality.mask.variable
        array = xr.DataArray(extra, dims=("time", "y", "x"))
        return replace(self, modalities=self.modalities | {name: replace(modality, mask=array)})

    def to_zarr(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the scene as a Zarr store and return its path; `load_scene` reads it back bit by bit.

        See `georeset_lab.data.scene_store.write_scene` for what is stored and how it is guarded.

        Raises
        ------
        StoreError
            Something is there already and ``overwrite`` is False, or the disk refused.
        """
        from georeset_lab.data.scene_store import write_scene

        return write_scene(self, path, overwrite=overwrite)

    def _ground(self, bbox: Any, bounds: Any, geometry: Any) -> Geometry:
        from odc.geo.geom import box, polygon

        from georeset_lab.data.geometry import as_frame
        from georeset_lab.data.window import box_ground

        if sum(given is not None for given in (bbox, bounds, geometry)) != 1:
            raise OutsideScene("Give one of bbox=(west, south, east, north), bounds=(in the scene's CRS), geometry=.")
        if bbox is not None:
            return box_ground(bbox, self.crs)
        if bounds is not None:
            left, bottom, right, top = map(float, bounds)
            if not (left < right and bottom < top):
                raise OutsideScene(f"bounds={tuple(bounds)} are no box: give (left, bottom, right, top).")
            return box(left, bottom, right, top, crs=self.crs)
        frame = as_frame(geometry).to_crs(self.crs.to_wkt())
        left, bottom, right, top = (float(v) for v in frame.total_bounds)
        corners = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
        return polygon(corners, crs=self.crs)

    def __repr__(self) -> str:
        rows = "\n".join(f"  {line}" for line in map(repr, self.modalities.values()))
        return f"<Scene {self.name!r} in {crs_name(self.crs)}>\n{rows}"

    def _repr_html_(self) -> str:
        from georeset_lab.data.quicklook import scene_html

        return scene_html(self)


def _as_mask(mask: Any, modality: Modality) -> Any:
    """The mask as a bool Variable ``(time, y, x)`` of the modality's shape."""
    array = mask if isinstance(mask, xr.DataArray) else xr.DataArray(mask, dims=("time", "y", "x")[-np.ndim(mask) :])
    array = _on_grid_of(array, modality)
    wanted = {"time": modality.raw.shape[0], "y": modality.raw.shape[2], "x": modality.raw.shape[3]}
    if not set(array.dims) <= set(wanted) or any(array.sizes[d] not in (1, wanted[str(d)]) for d in array.dims):
        raise ShapeMismatch(
            f"The mask is {dict(array.sizes)}; modality {modality.name!r} needs (time, y, x) = "
            f"{tuple(wanted.values())} or (y, x). Give a DataArray with its own CRS if it lies on another grid."
        )
    variable = array.variable
    if variable.dtype != np.bool_:
        variable = (variable != 0) | variable.isnull()
    return xr.Variable(("time", "y", "x"), _spread(variable, wanted))


def _spread(variable: xr.Variable, sizes: dict[str, int]) -> Any:
    """Values of a mask repeated along the dimensions it lacks, as ``(time, y, x)``."""
    full = variable.set_dims({d: variable.sizes.get(d, 1) for d in sizes}).transpose(*sizes)
    shape = tuple(sizes.values())
    if full.chunks is None:
        return np.broadcast_to(np.asarray(full.values), shape).copy()
    import dask.array as da

    return da.broadcast_to(full.data, shape)


def _on_grid_of(array: xr.DataArray, modality: Modality) -> xr.DataArray:
    """A mask that knows its own grid, on that of the modality."""
    import odc.geo.xr  # noqa: F401  (registers the accessor)

    from georeset_lab.data.align import repeat_onto

    same = all(array.sizes.get(d) == n for d, n in zip("yx", modality.grid.shape, strict=True))
    if "spatial_ref" not in array.coords:
        return array
    grid = array.odc.geobox
    if grid is None or grid.crs is None or (same and grid == modality.grid):
        return array
    return repeat_onto(array, grid, modality.grid)


def _crop_truth(truth: xr.Dataset | None, ground: Geometry) -> xr.Dataset | None:
    if truth is None:
        return None
    import odc.geo.xr  # noqa: F401  (registers the accessor)

    from georeset_lab.data.window import cover

    window = cover(truth.odc.geobox, ground)
    return None if window is None else truth.isel(y=window[0], x=window[1])


def _box_text(ground: Geometry) -> str:
    box = ground.boundingbox
    return f"({box.left:.6g}, {box.bottom:.6g}, {box.right:.6g}, {box.top:.6g})"
