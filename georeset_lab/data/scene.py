"""`Scene`: co-registered modalities of one place and time span, and the ways to take a part of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import xarray as xr

from georeset_lab.data.modality import Calibration, Modality
from georeset_lab.errors import GridMismatch, UnknownModality

if TYPE_CHECKING:
    from odc.geo import CRS
    from odc.geo.geom import BoundingBox

__all__ = ["Calibration", "Modality", "Scene"]


@dataclass(frozen=True, eq=False)
class Scene:
    """Co-registered modalities of one place and time span."""

    modalities: dict[str, Modality]
    crs: CRS
    name: str = "scene"
    truth: xr.Dataset | None = None

    def __post_init__(self) -> None:
        for key, modality in self.modalities.items():
            if modality.grid.crs != self.crs:
                raise GridMismatch(
                    f"Modality {key!r} is in {modality.grid.crs}, the scene in {self.crs}. "
                    "Bring them together with georeset_lab.data.align.to_common_ground(modalities)."
                )

    def __getitem__(self, name: str) -> Modality:
        if name not in self.modalities:
            known = ", ".join(map(repr, self.modalities)) or "none"
            raise UnknownModality(f"Scene {self.name!r} has no modality {name!r}; it has {known}.")
        return self.modalities[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.modalities)

    def only(self, *names: str) -> Scene:
        """Scene with just these modalities, in this order."""
        return replace(self, modalities={name: self[name] for name in names})

    def without(self, *names: str) -> Scene:
        """Scene with all modalities but these."""
        for name in names:
            self[name]
        return replace(self, modalities={k: m for k, m in self.modalities.items() if k not in names})

    @property
    def extent(self) -> BoundingBox:
        """Smallest box in the scene's CRS that holds every modality."""
        from odc.geo.geom import bbox_union

        return bbox_union(m.grid.boundingbox for m in self.modalities.values())
