"""NetCDF files as `Piece`s, stored numbers untouched: scale and fill value are read once, by ``units.py``."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import xarray as xr

from georeset_lab.data.readers.arrays import pieces_of
from georeset_lab.data.readers.lazy import loaded_or_lazy, reading
from georeset_lab.data.readers.piece import Piece
from georeset_lab.errors import SceneReadError

HDF5, CLASSIC = b"\x89HDF\r\n\x1a\n", b"CDF"
"""First bytes of netCDF-4 and of classic netCDF files."""

_HEAP = b"GCOL\x01\x00\x00\x00"
_CHECKED_BYTES = 512 * 2**20
"""Larger files are not looked through: that would read all of them."""


def read_netcdf(path: Path, *, chunks: int | None = None, crs: Any = None) -> list[Piece]:
    """Pieces of a netCDF file, one per variable with y and x; large files stay lazy.

    Raises
    ------
    SceneReadError
        Damaged, of another format, or its data lie in another file (HDF5 links and external storage are never
        followed).
    """
    with path.open("rb") as file:
        head = file.read(8)
    if head != HDF5 and not (head.startswith(CLASSIC) and head[3:4] in b"\x01\x02\x05"):
        raise SceneReadError(
            f"{path} is not a netCDF file (it begins with {head!r}). Convert it to netCDF-4 or GeoTIFF."
        )
    if head == HDF5:
        _check_heaps(path)
        _refuse_outside(path)
    with reading(path):
        # decode_coords=False keeps grid mappings as variables; decoding of values is left to `units.py`, once.
        engine = "h5netcdf" if head == HDF5 else "scipy"
        data = xr.open_dataset(path, engine=engine, decode_coords=False, mask_and_scale=False, cache=False)
    return pieces_of(loaded_or_lazy(data, path, chunks), origin=str(path), crs=crs)


def _check_heaps(path: Path) -> None:
    """Refuse damaged global heaps, in which the HDF5 library loops for ever on an object that takes no space.

    Layout: HDF5 File Format Specification 3.0, III.E: signature GCOL, version 1, three zeros, size of the collection;
    then objects of 16 bytes and their data; an object of index 0 is free space whose size counts its own header.
    """
    size = path.stat().st_size
    if not 0 < size <= _CHECKED_BYTES:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(_HEAP)
        while at >= 0:
            length = int.from_bytes(data[at + 8 : at + 16], "little")
            if 4096 <= length <= size - at and not _heap_ends(data[at : at + length]):
                raise SceneReadError(f"{path} is damaged: a heap at byte {at} does not end. Fetch or write it again.")
            at = data.find(_HEAP, at + 4)


def _heap_ends(heap: bytes) -> bool:
    """Whether going from object to object reaches the end of a global heap."""
    at = 16
    while at + 16 <= len(heap):
        index = int.from_bytes(heap[at : at + 2], "little")
        size = int.from_bytes(heap[at + 8 : at + 16], "little")
        step = 16 + -(-size // 8) * 8 if index else size
        if step == 0 or at + step > len(heap):
            return False
        at += step
    return True


def _refuse_outside(path: Path) -> None:
    """Refuse links, external storage and virtual datasets: they name other files."""
    import h5py

    found: list[str] = []

    def look(group: Any) -> None:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                found.append(f"{name} is a link")
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                look(item)
            elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                found.append(f"{name} is stored in another file")

    with reading(path), h5py.File(path, "r") as file:
        look(file)
    if found:
        raise SceneReadError(f"{path} points outside itself ({'; '.join(found[:3])}); such files are not opened.")
