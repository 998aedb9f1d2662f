"""Zarr stores as `Piece`s: our own scene stores go to ``scene_store.py``, any other is read as an xarray Dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from georeset_lab.data.readers.arrays import pieces_of
from georeset_lab.data.readers.lazy import loaded_or_lazy, reading
from georeset_lab.data.readers.piece import Piece

_MARKS = ("zarr.json", ".zgroup", ".zmetadata", ".zarray")


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr store."""
    return path.is_dir() and any((path / mark).is_file() for mark in _MARKS)


def read_zarr(path: Path, *, chunks: int | None = None, crs: Any = None) -> list[Piece]:
    """Pieces of a Zarr group, one per array with y and x; large stores stay lazy.

    Raises
    ------
    SceneReadError
        The store is damaged.
    """
    import xarray as xr

    with reading(path):
        data = xr.open_dataset(
            path,
            engine="zarr",
            decode_coords=False,
            mask_and_scale=False,
            cache=False,
            backend_kwargs={"consolidated": False},
        )
        # Members are listed concurrently, so their order differs from one opening to the next.
        data = data[sorted(data.data_vars, key=str)]
    return pieces_of(loaded_or_lazy(data, path, chunks), origin=str(path), crs=crs)
