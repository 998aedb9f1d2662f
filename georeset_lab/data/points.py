"""`PointGrid`: where vectors lie that are no raster. A column of N "pixels", each with a place of its own on Earth.

It stands where a `GeoBox` stands, so that search, probes and widgets need no second way; whatever needs rows and columns
side by side asks `is_points` first, or gets `NotAGrid` when it reaches for the affine that points do not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from odc.geo.geobox import GeoBox
from odc.geo.geom import BoundingBox, box

from georeset_lab.errors import InvalidOption, MissingCRS, NotAGrid, ShapeMismatch

if TYPE_CHECKING:
    import shapely

__all__ = ["PointGrid", "is_points"]

SUPPORT_M = 30.0
"""Side of the ground that a vector stands for, where nobody says: a pixel of Landsat."""
EQUAL_AREA = "EPSG:6933"
"""Metres for points given in degrees: a cylinder of equal area around the globe, so that a part keeps its blocks."""


def is_points(grid: GeoBox) -> TypeGuard[PointGrid]:
    """Whether a grid is a set of points."""
    return isinstance(grid, PointGrid)


class PointGrid(GeoBox):
    """Places of N vectors, as a grid of N rows and one column.

    Parameters
    ----------
    x, y : array, shape (N,)
        Coordinates in the CRS; longitude and latitude if that is geographic.
    crs : any
        What pyproj understands.
    support_m : float
        Side in metres of the square of ground that a vector stands for. A label point belongs to the nearest vector
        within it.

    Raises
    ------
    ShapeMismatch
        The two differ in length, or there is no point.
    MissingCRS
        There is no CRS, or coordinates in degrees are none.
    """

    def __init__(self, x: Any, y: Any, crs: Any, *, support_m: float = SUPPORT_M) -> None:
        from affine import Affine

        self.x, self.y = (np.asarray(v, np.float64).ravel() for v in (x, y))
        if self.x.size != self.y.size or not self.x.size:
            raise ShapeMismatch(f"Points need as many x as y, one at least; got {self.x.size} and {self.y.size}.")
        if not (np.isfinite(self.x).all() and np.isfinite(self.y).all()):
            raise ShapeMismatch(
                "A coordinate is missing or infinite. Drop those rows: frame.dropna(subset=['x', 'y'])."
            )
        if crs is None:
            raise MissingCRS("The points do not say where they are. Pass crs='EPSG:4326' for longitude and latitude.")
        if not support_m > 0:
            raise InvalidOption(f"support_m={support_m!r}; give the side of a vector's ground in metres, above zero.")
        super().__init__((self.x.size, 1), Affine.identity(), crs)
        if (
            self.crs is not None
            and self.crs.geographic
            and max(np.abs(self.x).max() / 360, np.abs(self.y).max() / 90) > 1
        ):
            raise MissingCRS(
                f"Coordinates up to {np.abs(self.x).max():g}, {np.abs(self.y).max():g} are no longitude and latitude. Pass "
                "x, y in this order, or the CRS they are in: crs='EPSG:32719'."
            )
        self.support_m = float(support_m)

    # -- what a GeoBox has that points do not ------------------------------------------------------------------------

    @property
    def affine(self) -> Any:
        """Points have none: `NotAGrid`."""
        raise NotAGrid(
            f"These are {self.x.size:,} points, not a grid, so there is no row and column to compute with and nothing that "
            "is a raster can be written. Use Embeddings.to_geoparquet for a file."
        )

    @property
    def transform(self) -> Any:
        """Points have none: `NotAGrid`."""
        return self.affine

    @property
    def resolution(self) -> Any:
        """Points have none: `NotAGrid`."""
        return self.affine

    @property
    def boundingbox(self) -> BoundingBox:
        """Smallest box around the points, in their CRS."""
        left, right = float(self.x.min()), float(self.x.max())
        return BoundingBox(left, float(self.y.min()), right, float(self.y.max()), self.crs)

    @property
    def extent(self) -> Any:
        """The same as a polygon."""
        b = self.boundingbox
        return box(b.left, b.bottom, b.right, b.top, self.crs)

    def __getitem__(self, roi: Any) -> PointGrid:
        rows = roi[0] if isinstance(roi, tuple) else roi
        return self.take(np.arange(self.x.size)[rows])

    def take(self, index: np.ndarray) -> PointGrid:
        """These of the points."""
        return PointGrid(self.x[index], self.y[index], self.crs, support_m=self.support_m)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PointGrid) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"PointGrid({self.x.size} points, {self.crs})"

    # -- places -------------------------------------------------------------------------------------------------------

    @cached_property
    def digest(self) -> str:
        """SHA-256 of CRS and coordinates."""
        crs = "" if self.crs is None else self.crs.to_wkt()
        parts = (crs.encode(), self.x.astype("<f8").tobytes(), self.y.astype("<f8").tobytes())
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    @cached_property
    def lonlat(self) -> tuple[np.ndarray, np.ndarray]:
        """Longitude and latitude of each point."""
        if self.crs is not None and self.crs.to_epsg() == 4326:
            return self.x, self.y
        return self._to("EPSG:4326", self.x, self.y)

    @cached_property
    def metres(self) -> np.ndarray:
        """(N, 2) in metres: as they are if projected, else on `EQUAL_AREA`."""
        assert self.crs is not None
        if not self.crs.geographic:
            return np.stack([self.x, self.y], axis=1)
        return np.stack(self._to(EQUAL_AREA, self.x, self.y), axis=1)

    @cached_property
    def reach_m(self) -> float:
        """How far a place may be from the point that answers for it: the usual distance between points, if even."""
        return max(float(np.sqrt(np.prod(np.ptp(self.metres, axis=0)) / self.x.size)), self.support_m)

    def nearest(self, lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
        """Index of the nearest point to each place in degrees, and its distance in metres."""
        from pyproj import Transformer

        target = EQUAL_AREA if self.crs.geographic else self.crs.to_wkt()  # type: ignore[union-attr]
        x, y = Transformer.from_crs("EPSG:4326", target, always_xy=True).transform(lon, lat)
        away, index = self._tree.query(np.stack([np.atleast_1d(x), np.atleast_1d(y)], axis=1))
        return index, away

    def block_ids(self, block_m: float) -> np.ndarray:
        """(N, 1) int64: number of the square of ground that holds each point; squares begin at multiples in metres."""
        cell = np.floor(self.metres / block_m).astype(np.int64)
        return np.unique(cell, axis=0, return_inverse=True)[1].reshape(-1, 1).astype(np.int64)

    def squares(self, index: np.ndarray, side: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Number, row by row from the north-west, of the square of the extent (``side`` x ``side``) that holds each point."""
        low, span = self.metres.min(axis=0), np.maximum(np.ptp(self.metres, axis=0), 1e-9)
        east, north = np.minimum((self.metres[index] - low) / span * side, side - 1).astype(np.int64).T
        return (side - 1 - north) * side + east, (side, side)

    def burn(self, geometries: Sequence[shapely.Geometry]) -> np.ndarray:
        """(N, 1) int32: number of the geometry (in the CRS of the points) that holds each point; -1 where none does.

        A polygon holds the points in it; a point belongs to the nearest vector within `support_m`. Where several vectors
        share a place and as many label points do, they belong together one by one, in their order; else the last holds.
        """
        import shapely

        shapes = np.array(list(geometries), dtype=object)
        out = np.full(self.x.size, -1, np.int64)
        single = shapely.get_type_id(shapes) == 0 if shapes.size else np.zeros(0, bool)
        for i in np.flatnonzero(~single):
            for part in shapely.get_parts(shapes[i]):
                if part.geom_type == "Point":
                    self._stick(out, np.array([part.x]), np.array([part.y]), np.array([i]))
                    continue
                left, low, right, top = part.bounds
                near = np.flatnonzero((self.x >= left) & (self.x <= right) & (self.y >= low) & (self.y <= top))
                shapely.prepare(part)
                hit = near[shapely.intersects_xy(part, self.x[near], self.y[near])]
                out[hit] = np.maximum(out[hit], i)
        where = np.flatnonzero(single)
        if where.size:
            self._stick(out, shapely.get_x(shapes[where]), shapely.get_y(shapes[where]), where)
        return out.astype(np.int32).reshape(-1, 1)

    def _stick(self, out: np.ndarray, x: np.ndarray, y: np.ndarray, number: np.ndarray) -> None:
        """Give the nearest points the numbers of label points."""
        near, away = self.nearest(*(self._to("EPSG:4326", x, y)))
        near, number = near[away <= self.support_m], number[away <= self.support_m]
        place = self._place
        points, labels = np.bincount(place), np.bincount(place[near], minlength=int(place.max()) + 1)
        one = (points > 1) & (points == labels)
        paired = one[place[near]]
        # The last label of a place holds for all vectors there ...
        last = np.full(points.size, -1, np.int64)
        np.maximum.at(last, place[near[~paired]], number[~paired])
        np.maximum(out, last[place], out=out)
        # ... unless there are as many labels as vectors: then the first goes to the first, and so on.
        vectors = np.flatnonzero(one[place])
        vectors = vectors[np.argsort(place[vectors], kind="stable")]
        own = np.flatnonzero(paired)
        own = own[np.argsort(place[near[own]], kind="stable")]
        out[vectors] = np.maximum(out[vectors], number[own])

    @cached_property
    def _place(self) -> np.ndarray:
        """(N,) number of the place of each point; points of exactly equal coordinates share one."""
        return np.unique(np.stack([self.x, self.y], axis=1), axis=0, return_inverse=True)[1].ravel()

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self.metres)

    def _to(self, crs: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from pyproj import Transformer

        assert self.crs is not None
        made = Transformer.from_crs(self.crs.to_wkt(), crs, always_xy=True).transform(x, y)
        return np.asarray(made[0]), np.asarray(made[1])
