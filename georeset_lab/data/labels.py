"""Labels on the grid of an embedding map: `read_labels` burns points, polygons, clicks or a raster of codes.

Which labels go into which fold is in ``embed/probing/blocks.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from georeset_lab.data.geometry import as_frame, burn, describe_bounds, on_grid
from georeset_lab.data.label_raster import MAX_CLASSES, class_names, open_geotiff, raster_codes, unlabelled_code
from georeset_lab.errors import LabelError, SceneReadError

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr
    from odc.geo.geobox import GeoBox

__all__ = ["LabelSet", "read_labels"]


@dataclass(frozen=True, eq=False)
class LabelSet:
    """Class of each labelled pixel of a grid.

    Examples
    --------
    >>> labels.classes, labels.counts        # doctest: +SKIP
    (('crops', 'water'), {'crops': 812, 'water': 95})
    """

    codes: np.ndarray
    """(Y, X) int16: position in ``classes``; -1 = unlabelled."""
    classes: tuple[str, ...]
    """Names of the classes, sorted (numbers by value)."""
    groups: np.ndarray
    """(Y, X) int32: which point or polygon labelled the pixel; -1 = none. All -1 if a raster did."""
    grid: GeoBox
    """Where the pixels lie."""

    @property
    def counts(self) -> dict[str, int]:
        """Labelled pixels of each class."""
        n = np.bincount(self.codes[self.codes >= 0].astype(np.int64), minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, n, strict=True)}

    @property
    def has_groups(self) -> bool:
        """True if points or polygons made the labels, False if a raster did."""
        return bool((self.groups >= 0).any())

    @property
    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """Flat row-major indices (n,) int64 of the labelled pixels, and their codes (n,) int64."""
        where = np.flatnonzero(self.codes.ravel() >= 0)
        return where, self.codes.ravel()[where].astype(np.int64)


def read_labels(
    labels: Any,
    grid: GeoBox,
    *,
    column: str = "label",
    classes: Mapping[int, str] | Sequence[str] | None = None,
    nodata: int | Literal["auto"] | None = "auto",
) -> LabelSet:
    """Labels burnt onto a grid.

    Parameters
    ----------
    labels : GeoDataFrame, GeoJSON dict, list, path, DataArray or LabelSet
        Points or polygons with a column ``label``, in any stated CRS; GeoJSON (a dictionary, or a ``.geojson`` or
        ``.json`` file) in lon/lat; a list of clicks ``{"lon": ..., "lat": ..., "label": ...}``; or a raster of integer
        codes: a GeoTIFF, or a DataArray with a CRS, read at each pixel centre by the nearest of its own pixels.
    grid : odc.geo.geobox.GeoBox
        Of the embeddings.
    column : str
        Column or property that holds the label.
    classes : mapping of code to name, or sequence of names, optional
        Rasters only: names of the codes (of a sequence, position is code). By default ``attrs["classes"]`` of the
        DataArray, else the code itself.
    nodata : int or None
        Rasters only: code of unlabelled pixels; None if every code is a class. By default 0, unless ``classes`` names
        it. Negative codes and NaN are always unlabelled, and so is what the file states as its nodata.

    Returns
    -------
    LabelSet
        A polygon labels the pixels whose centre it covers, or one pixel if it is too small for any; a point the
        pixel it lies in. Where labels overlap, the later row holds.

    Raises
    ------
    LabelError
        No label, a missing column, an empty geometry, or nothing that touches the scene.
    MissingCRS
        The labels do not say where they are.
    SceneReadError
        The file is missing, damaged, or neither GeoJSON nor GeoTIFF.
    """
    import xarray as xr

    if isinstance(labels, LabelSet):
        if labels.grid != grid:
            raise LabelError(
                "These labels were burnt onto another grid. Read them again: read_labels(source, emb.grid)."
            )
        return labels
    if isinstance(labels, str | Path):
        labels = _open(Path(labels), grid)
    if isinstance(labels, xr.Dataset) and len(labels.data_vars) == 1:
        labels = next(iter(labels.data_vars.values()))
    if isinstance(labels, xr.DataArray):
        return _from_raster(labels, grid, classes, nodata)
    if isinstance(labels, Sequence):
        labels = _from_clicks(labels, column)
    return _from_frame(as_frame(labels, what="labels"), grid, column)


def _open(path: Path, grid: GeoBox) -> Any:
    """GeoJSON as a dictionary or GeoTIFF as a DataArray; no other format is opened (reliability.md, VRT named .tif)."""
    if not path.is_file():
        raise SceneReadError(f"There is no label file {path}.")
    if path.suffix.lower() in {".geojson", ".json"}:
        try:
            return json.loads(path.read_text(encoding="utf-8-sig"))
        except ValueError as err:  # includes UnicodeDecodeError
            raise SceneReadError(f"{path} is not GeoJSON: {err}") from err
    if path.suffix.lower() in {".tif", ".tiff"}:
        return open_geotiff(path, grid)
    raise SceneReadError(
        f"Labels are read from .geojson, .json, .tif and .tiff, not from {path.name!r}. "
        f"For other vector files pass geopandas.read_file({str(path)!r})."
    )


def _from_clicks(clicks: Sequence[Any], column: str) -> dict[str, Any]:
    if not clicks:
        raise LabelError("There are no labels: the list is empty. Click some points, two classes at least.")
    features = []
    for i, click in enumerate(clicks):
        try:
            point = [float(click["lon"]), float(click["lat"])]
            features.append(
                {
                    "type": "Feature",
                    "properties": {column: click[column]},
                    "geometry": {"type": "Point", "coordinates": point},
                }
            )
        except (KeyError, TypeError, ValueError) as err:
            raise LabelError(
                f"Click {i} is {click!r}; each needs 'lon', 'lat' (degrees) and {column!r}, like "
                f"{{'lon': -72.5, 'lat': -38.8, {column!r}: 'water'}}."
            ) from err
    return {"type": "FeatureCollection", "features": features}


def _from_frame(frame: gpd.GeoDataFrame, grid: GeoBox, column: str) -> LabelSet:
    if not len(frame):
        raise LabelError("There are no labels: the table has no rows.")
    if column not in frame.columns:
        known = ", ".join(repr(c) for c in frame.columns if c != frame.geometry.name) or "none"
        raise LabelError(
            f"Labels need a column {column!r}; this table has {known}. "
            f"Rename it: frame.rename(columns={{'...': {column!r}}})."
        )
    missing = frame[column].isna()
    if missing.any():
        raise LabelError(
            f"{int(missing.sum())} of {len(frame)} rows have no label. Drop them: frame.dropna(subset=[{column!r}])."
        )
    shapes = on_grid(frame, grid)
    hit = burn(list(shapes.geometry), grid)
    if not (hit >= 0).any():
        raise LabelError(f"0 of {len(frame)} labels touch the scene: {describe_bounds(frame, grid)}.")
    values = frame[column].tolist()
    used = np.unique(hit[hit >= 0])
    names = _ordered({_text(values[i]): values[i] for i in used})
    code_of = np.array([names.index(t) if (t := _text(v)) in names else -1 for v in values] + [-1], dtype=np.int16)
    return LabelSet(codes=code_of[hit], classes=names, groups=hit, grid=grid)


def _text(value: Any) -> str:
    """Name of a label: 1.0 (what a column with gaps makes of 1) is "1"."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _ordered(values: Mapping[str, Any]) -> tuple[str, ...]:
    if len(values) > MAX_CLASSES:
        raise LabelError(f"{len(values)} different labels are more than {MAX_CLASSES}: these are not classes.")
    if all(isinstance(v, int | float | np.number) for v in values.values()):
        return tuple(sorted(values, key=lambda name: float(values[name])))
    return tuple(sorted(values))


def _from_raster(
    array: xr.DataArray,
    grid: GeoBox,
    classes: Mapping[int, str] | Sequence[str] | None,
    nodata: int | Literal["auto"] | None,
) -> LabelSet:
    known = classes if classes is not None else array.attrs.get("classes")
    values, present = raster_codes(array, grid, unlabelled_code(known) if nodata == "auto" else nodata)
    names = class_names(present, known)
    codes = np.full(values.shape, -1, dtype=np.int16)
    for position, code in enumerate(present):
        codes[values == code] = position
    return LabelSet(codes=codes, classes=names, groups=np.full(values.shape, -1, dtype=np.int32), grid=grid)
