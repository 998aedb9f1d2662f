"""`PointEmbeddings`: published vectors at single places, with the table they came in. Made by ``foreign.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.geometry import as_frame, on_grid
from georeset_lab.data.labels import LabelSet
from georeset_lab.data.points import PointGrid
from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.expert import Expert
from georeset_lab.errors import LabelError, OutsideScene, ShapeMismatch

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Column", "PointEmbeddings", "columns_of"]

MOST_CLASSES = 254
"""Different texts of a column that are still classes; more are names."""


@dataclass(frozen=True, eq=False)
class Column:
    """What a table says of each point beside its vector."""

    title: str
    values: np.ndarray
    """(N, 1): class codes, -1 = none; or numbers, NaN = none."""
    classes: tuple[str, ...] = ()
    """Names of the codes; empty for numbers."""


class PointEmbeddings(Embeddings):
    """Embeddings of N places: a map of N rows and one column, on a `PointGrid`.

    Everything that asks a place for its pixel gets the nearest point (within ``grid.reach_m``); blocks of spatial
    cross-validation are squares of ground in metres; nothing that is a raster can be written.

    Parameters
    ----------
    experts, grid, attrs : as `Embeddings`
        The experts have shape (N, 1, D).
    table : GeoDataFrame, optional
        Row i is point i; its other columns are shown, and may be labels.
    """

    grid: PointGrid

    def __init__(
        self,
        experts: Mapping[str, Expert],
        grid: PointGrid,
        *,
        attrs: Mapping[str, Any] | None = None,
        scene: Any = None,
        table: gpd.GeoDataFrame | None = None,
    ) -> None:
        super().__init__(experts, grid, attrs=attrs, scene=scene)
        if table is not None and len(table) != grid.shape[0]:
            raise ShapeMismatch(f"The table has {len(table)} rows, the grid {grid.shape[0]} points.")
        self.table = table

    def labels(self, column: str) -> LabelSet:
        """Labels from a column of the table, as `georeset_lab.probe` takes them; gaps are unlabelled.

        Raises
        ------
        LabelError
            There is no such column of classes.
        """
        found = columns_of(self).get(column)
        if found is None or not found.classes:
            known = ", ".join(repr(k) for k, c in columns_of(self).items() if c.classes) or "none"
            raise LabelError(f"There is no column of classes {column!r} in this table; it has {known}.")
        groups = np.where(found.values >= 0, np.arange(len(found.values))[:, None], -1)
        return LabelSet(found.values.astype(np.int16), found.classes, groups.astype(np.int32), self.grid)

    def take(self, index: Any) -> PointEmbeddings:
        """These of the points: positions, or one truth value for each."""
        rows = np.arange(self.shape[0])[np.asarray(index)]
        experts = {n: Expert(e.eta[rows, :], e.tau[rows, :], e.quantization, e.stated) for n, e in self.experts.items()}
        table = None if self.table is None else self.table.iloc[rows].reset_index(drop=True)
        return PointEmbeddings(experts, self.grid.take(rows), attrs=self.attrs, scene=self.scene, table=table)

    def crop(
        self,
        bbox: tuple[float, float, float, float] | None = None,
        *,
        geometry: Any = None,
        bounds: tuple[float, float, float, float] | None = None,
    ) -> PointEmbeddings:
        """The points in a box (west, south, east, north) in degrees, in ``bounds`` in their CRS, or in a geometry.

        Raises
        ------
        OutsideScene
            There is none, or not exactly one of the three was given.
        """
        given = [v for v in (bbox, geometry, bounds) if v is not None]
        if len(given) != 1:
            raise OutsideScene(f"crop() needs exactly one of bbox=, geometry=, bounds=; it got {len(given)}.")
        if geometry is not None:
            inside = self.grid.burn(list(on_grid(as_frame(geometry), self.grid).geometry))[:, 0] >= 0
        else:
            x, y = self.grid.lonlat if bbox is not None else (self.grid.x, self.grid.y)
            left, bottom, right, top = (float(v) for v in given[0])
            wide = (x >= left) & (x <= right) if left <= right else (x >= left) | (x <= right)
            inside = wide & (y >= bottom) & (y <= top)
        if not inside.any():
            raise OutsideScene("None of the points lies there.")
        return self.take(inside)

    def _like(self, experts: Mapping[str, Expert], grid: Any) -> PointEmbeddings:
        return PointEmbeddings(experts, grid, attrs=self.attrs, scene=self.scene, table=self.table)

    def __repr__(self) -> str:
        stated = all(e.stated for e in self.experts.values())
        known = "" if stated else ", variance unknown"
        return f"<PointEmbeddings {self.shape[0]:,} x {self.dim}, {', '.join(self.modalities)}{known}, {self.grid.crs}>"


def columns_of(emb: Embeddings) -> dict[str, Column]:
    """Columns of the table of point embeddings that can be shown: classes and numbers; empty for any other map."""
    table = getattr(emb, "table", None)
    found: dict[str, Column] = {}
    if table is None:
        return found
    for name in table.columns:
        if name == table.geometry.name:
            continue
        values = table[name]
        if values.dtype.kind in "fiu":
            found[str(name)] = Column(str(name), values.to_numpy(np.float32, na_value=np.nan).reshape(-1, 1))
        elif values.dtype.kind not in "mM":
            texts = values.astype("string")
            classes = sorted(texts.dropna().unique())
            if 0 < len(classes) <= MOST_CLASSES:
                codes = texts.map({c: i for i, c in enumerate(classes)}).fillna(-1).to_numpy(np.int64)
                found[str(name)] = Column(str(name), codes.reshape(-1, 1), tuple(map(str, classes)))
    return found
