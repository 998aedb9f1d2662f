"""Fused values as labelled arrays: coordinates, CRS, units and provenance; lazy where memory would not do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from georeset_lab.embed.expert import fuse
from georeset_lab.embed.locate import center_of, crs_name, grid_coords
from georeset_lab.embed.stores.manifest import plain

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["as_dataarray", "pixel_dataset", "plain_attrs"]

Kind = Literal["mean", "variance", "certainty"]
_NAMES: dict[Kind, str] = {
    "mean": "posterior mean of the embedding",
    "variance": "posterior variance of the embedding",
    "certainty": "certainty of the embedding (1 - variance)",
}


def as_dataarray(emb: Embeddings, kind: Kind) -> xr.DataArray:
    """Fused values (dim, y, x), float32, with coordinates, CRS, units and provenance."""
    import rioxarray  # noqa: F401  (so that the .rio of what is returned exists)

    if emb.fits_memory:
        mean, variance, _ = emb.fused(slice(None), slice(None))
        values: Any = _pick(kind, mean, variance)
    else:
        values = _lazy(emb, kind)
    coords = {**grid_coords(emb.grid), "dim": np.arange(emb.dim)}
    attrs = {"long_name": _NAMES[kind], "units": "1", **plain_attrs(emb.attrs)}
    array = xr.DataArray(values.transpose(2, 0, 1), dims=("dim", "y", "x"), coords=coords, attrs=attrs, name=kind)
    array.encoding["grid_mapping"] = "spatial_ref"
    return array


def pixel_dataset(emb: Embeddings, row: int, col: int) -> xr.Dataset:
    """Everything known about one pixel, fused and by modality; see `Embeddings.at`."""
    one = (slice(row, row + 1), slice(col, col + 1))
    mean, variance, _ = (a[0, 0] for a in fuse(list(emb.experts.values()), *one))
    alone = [[a[0, 0] for a in fuse([e], *one)] for e in emb.experts.values()]
    x, y = center_of(emb.grid, row, col)
    return xr.Dataset(
        {
            "mean": ("dim", mean),
            "variance": ("dim", variance),
            "certainty": ("dim", 1 - variance),
            "expert_mean": (("modality", "dim"), np.stack([a[0] for a in alone])),
            "expert_variance": (("modality", "dim"), np.stack([a[1] for a in alone])),
            "observed": ("modality", np.array([a[2] for a in alone])),
        },
        coords={
            "dim": np.arange(emb.dim),
            "modality": list(emb.modalities),
            **{"row": row, "col": col, "x": float(x), "y": float(y)},
        },
        attrs={**plain_attrs(emb.attrs), "crs": crs_name(emb.grid)},
    )


def plain_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance as NetCDF, GeoTIFF and Zarr can all hold it: numbers and text.

    Truth becomes 0 or 1, anything nested its JSON; what is None is left out.
    """
    out: dict[str, Any] = {}
    for key, value in plain(dict(attrs)).items():
        if isinstance(value, bool):
            out[key] = int(value)
        elif value is not None:
            out[key] = value if isinstance(value, str | int | float) else json.dumps(value)
    return out


def _pick(kind: Kind, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return mean if kind == "mean" else variance if kind == "variance" else 1 - variance


def _lazy(emb: Embeddings, kind: Kind) -> Any:
    """Dask array (Y, X, D) with one chunk per window of the map."""
    import dask.array as da
    from dask.delayed import delayed

    experts = list(emb.experts.values())

    def part(rows: slice, cols: slice) -> np.ndarray:
        mean, variance, _ = fuse(experts, rows, cols)
        return _pick(kind, mean, variance)

    bands: dict[int, list[Any]] = {}
    for rows, cols in emb.windows():
        shape = (rows.stop - rows.start, cols.stop - cols.start, emb.dim)
        bands.setdefault(rows.start, []).append(da.from_delayed(delayed(part)(rows, cols), shape, np.float32))
    return da.concatenate([da.concatenate(band, axis=1) for band in bands.values()], axis=0)
