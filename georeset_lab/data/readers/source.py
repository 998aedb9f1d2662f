"""Anything that holds the pixels of one modality, as `Piece`s: a path, a list of paths, an xarray object."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from georeset_lab.data.readers.arrays import pieces_of
from georeset_lab.data.readers.dates import date_of
from georeset_lab.data.readers.folder import CUBES, RASTERS, band_in_name, scan_folder
from georeset_lab.data.readers.netcdf import CLASSIC, HDF5, read_netcdf
from georeset_lab.data.readers.piece import Piece
from georeset_lab.data.readers.product import Product, read_product
from georeset_lab.data.readers.raster import read_raster
from georeset_lab.data.readers.sentinel1_dates import is_dates, read_dates
from georeset_lab.data.readers.sidecar import sidecar_tags
from georeset_lab.data.readers.zarr import is_zarr, read_zarr
from georeset_lab.errors import SceneReadError

Source = str | os.PathLike[str] | xr.DataArray | xr.Dataset


def read_source(source: Any, *, chunks: int | None = None, crs: Any = None) -> list[Piece]:
    """Pieces of one modality.

    Parameters
    ----------
    source : path, Product, xarray.DataArray, xarray.Dataset, or a list of these
        A folder stands for the products in it, else for its rasters (one band each), or is a Zarr store.

    Raises
    ------
    SceneReadError
        Missing, damaged, or of a kind that is not read.
    MissingCRS
        No CRS is stated and none given.
    """
    if isinstance(source, list | tuple):
        if not source:
            raise SceneReadError("A modality was given an empty list; give at least one path or array.")
        if is_dates(source):
            return read_dates(source, chunks=chunks, crs=crs)
        return [p for s in source for p in read_source(s, chunks=chunks, crs=crs)]
    if isinstance(source, Product):
        return read_product(source, chunks=chunks, crs=crs)
    if isinstance(source, xr.DataArray | xr.Dataset):
        return pieces_of(source, origin=f"the {type(source).__name__}", crs=crs)
    if not isinstance(source, str | os.PathLike):
        raise SceneReadError(
            f"A source of type {type(source).__name__} cannot be read. Give a path, an xarray object with a CRS, a "
            "list of "
            'these, a dict of modality -> these, or "simulated". NumPy arrays: wrap them in an xarray.DataArray.'
        )
    return _read_path(Path(source), chunks, crs)


def _read_path(path: Path, chunks: int | None, crs: Any) -> list[Piece]:
    if is_zarr(path):
        return read_zarr(path, chunks=chunks, crs=crs)
    if path.is_dir():
        return [piece for p in _files_of(path) for piece in _read_path(p, chunks, crs)]
    if not path.is_file():
        raise SceneReadError(
            f"There is no file or folder {path}. Give the path of a raster, or of a folder of rasters."
        )
    with path.open("rb") as file:
        head = file.read(8)
    if head == HDF5 or head.startswith(CLASSIC):
        return read_netcdf(path, chunks=chunks, crs=crs)
    return [_told_by_place(read_raster(path, chunks=chunks, crs=crs), path)]


def _files_of(folder: Path) -> list[Path]:
    """Files of the one modality that a folder holds: those whose names say so, else all rasters and cubes in it."""
    try:
        found, _ = scan_folder(folder)
    except SceneReadError:
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in RASTERS + CUBES)
        if not files:
            raise
        return files
    if len(found) > 1:
        raise SceneReadError(
            f"The folder {folder} holds several modalities ({', '.join(found)}), but stands for one. Give load_scene the "
            "folder itself, or a dict that names the files of each."
        )
    return next(iter(found.values())).items


def _told_by_place(piece: Piece, path: Path) -> Piece:
    """The piece with what its file name and its neighbours in the folder add: the band, the date, the metadata."""
    tags = {**sidecar_tags(path.parent), **piece.tags}
    names = piece.names
    if len(names) == 1 and (band := band_in_name(path)):
        names = (band,)
    times = piece.times if not np.isnat(piece.times).all() else np.array([date_of(tags, path)], dtype="datetime64[ns]")
    return replace(piece, names=names, tags=tags, times=times)


def describe(source: Any) -> Sequence[str]:
    """Names that may say what a source is: its path, or what an array carries."""
    if isinstance(source, list | tuple):
        return [text for s in source[:3] for text in describe(s)]
    if isinstance(source, str | os.PathLike):
        return [os.fspath(source)]
    if isinstance(source, Product):
        return [os.fspath(source.path)]
    if isinstance(source, xr.DataArray | xr.Dataset):
        keys = ("sensor", "platform", "product_id", "title", "name")
        return [str(source.attrs[k]) for k in keys if k in source.attrs]
    return []
