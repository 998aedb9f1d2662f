"""What a page lets people take away: labels, maps as Cloud Optimized GeoTIFF, and all of it as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.locate import crs_of
from georeset_lab.errors import NothingObserved, ShapeMismatch

if TYPE_CHECKING:
    import xarray as xr

    from georeset_lab.embed.labels.book import LabelBook
    from georeset_lab.widgets.state import Exploration

__all__ = ["EXPORTS", "class_map_cog", "confidence_cog", "export"]

EXPORTS = {
    "classes": ("Class map (COG)", "tif"),
    "confidence": ("Confidence (COG)", "tif"),
    "labels": ("Labels (GeoJSON)", "geojson"),
    "labels-table": ("Labels (GeoParquet)", "parquet"),
    "page": ("All of it (one HTML page)", "html"),
}
"""Kind of export: what people read, and the ending of the file."""

_BLOCK = 256
NO_CLASS = 0
"""Code of pixels that have no class; the classes follow from 1, in their order."""


def export(kind: str, state: Exploration, book: LabelBook) -> bytes:
    """Bytes of an export of `EXPORTS`, of an exploration and its labels.

    Raises
    ------
    NothingObserved
        A map is wanted and there is no prediction yet.
    """
    if kind == "labels":
        return book.to_geojson()
    if kind == "labels-table":
        return book.to_geoparquet()
    if kind == "page":
        return _page(state, book)
    prediction = state.prediction
    if kind == "confidence":
        return confidence_cog(prediction)
    names = [] if prediction is None else [str(c) for c in prediction["class"].values]
    return class_map_cog(prediction, palette=book.palette(names))


def _page(state: Exploration, book: LabelBook) -> bytes:
    from georeset_lab.widgets.page_export import drawn_labels, export_page

    colours = {c.name: c.colour for c in book.classes}
    return export_page(state, labels=drawn_labels(book), class_colours=colours).encode("utf-8")


def class_map_cog(prediction: xr.Dataset | None, *, palette: np.ndarray | None = None) -> bytes:
    """Class map as a COG of one uint8 band, with colours and names of the classes.

    Parameters
    ----------
    prediction : xarray.Dataset
        Of `Probe.predict`.
    palette : array (n, 3) uint8, optional
        Colour of each class; by default those of the package.

    Returns
    -------
    bytes
        0 where there is no class, else the position of the class, from 1; names and source in the tags.

    Raises
    ------
    NothingObserved
        There is no prediction yet.
    ShapeMismatch
        More classes than a byte holds.
    """
    from georeset_lab.embed.pictures.colours import class_palette

    prediction = _given(prediction)
    classes = [str(c) for c in prediction["class"].values]
    if len(classes) > 255:
        raise ShapeMismatch(f"{len(classes)} classes do not fit into one byte. Merge some.")
    colours = class_palette(len(classes)) if palette is None else palette
    table = {NO_CLASS: (0, 0, 0, 0), **{i + 1: (*map(int, c), 255) for i, c in enumerate(colours)}}
    codes = (prediction["label"].values.astype(np.int16) + 1).astype(np.uint8)
    names = {str(i + 1): name for i, name in enumerate(classes)}
    return _cog(prediction, {"class": codes}, nodata=NO_CLASS, tags={"classes": json.dumps(names)}, colours=table)


def confidence_cog(prediction: xr.Dataset | None) -> bytes:
    """How sure the class map is, and why it is not, as a COG of float32 bands; NaN where nothing was measured.

    Returns
    -------
    bytes
        Band ``probability`` (of the class on the map), and one for each two-dimensional map of the prediction, such as
        entropy; each with its unit.

    Raises
    ------
    NothingObserved
        There is no prediction yet.
    """
    prediction = _given(prediction)
    maps: dict[str, Any] = {"probability": prediction["probability"].max("class").values}
    for name, array in prediction.data_vars.items():
        if array.dims == ("y", "x") and name != "label" and array.dtype.kind in "fiub":
            maps[str(name)] = array.values
    units = [str(prediction[name].attrs.get("units", "1")) for name in maps]
    return _cog(prediction, maps, nodata=float("nan"), units=units)


def _given(prediction: xr.Dataset | None) -> xr.Dataset:
    if prediction is None:
        raise NothingObserved("There is no class map yet. Label at least two classes on the map first.")
    return prediction


def _cog(
    prediction: xr.Dataset,
    maps: Mapping[str, np.ndarray],
    *,
    nodata: float,
    tags: Mapping[str, str] | None = None,
    units: Sequence[str] = (),
    colours: Mapping[int, tuple[int, ...]] | None = None,
) -> bytes:
    """Bands of one type on the grid of a prediction, as the bytes of a COG."""
    import odc.geo.xr  # noqa: F401  (registers the accessor)
    import rasterio
    import rasterio.shutil
    from rasterio.io import MemoryFile

    grid = prediction["label"].odc.geobox
    dtype = "uint8" if colours else "float32"
    profile = {
        "driver": "GTiff", "dtype": dtype, "count": len(maps), "height": grid.shape[0], "width": grid.shape[1],
        "crs": crs_of(grid).to_wkt(), "transform": grid.affine, "nodata": nodata, "tiled": True,
        "blockxsize": _BLOCK, "blockysize": _BLOCK,
    }  # fmt: skip
    plain = {k: str(v) for k, v in prediction.attrs.items() if isinstance(v, str | int | float)}
    predictor = {"PREDICTOR": "YES"} if dtype == "float32" else {}
    with MemoryFile() as raw, MemoryFile() as made:
        with raw.open(**profile) as out:
            out.descriptions = tuple(maps)
            out.update_tags(**plain, **(tags or {}))
            for band, (values, unit) in enumerate(zip(maps.values(), [*units, *[""] * len(maps)], strict=False), 1):
                out.write(np.asarray(values, dtype), band)
                if unit:
                    out.set_band_unit(band, unit)
            if colours:
                out.write_colormap(1, dict(colours))
        # Classes have no mean: their overviews take one pixel of each four.
        resampling = "NEAREST" if colours else "AVERAGE"
        rasterio.shutil.copy(
            raw.name, made.name, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=_BLOCK, OVERVIEW_RESAMPLING=resampling,
            **predictor,
        )  # fmt: skip
        return bytes(made.getbuffer())
