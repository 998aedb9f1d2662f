"""`Product`: one acquisition as its agency delivers it: image files, quality files, and what its metadata say of them.

Each product family has a module that knows its folder (`FAMILIES`); here products are found in a folder and read.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from georeset_lab.data.readers.piece import Facts, Piece
from georeset_lab.data.readers.raster import read_raster
from georeset_lab.errors import BandMismatch, SceneReadError

FAMILIES = ("sentinel2", "landsat_bundle", "hls", "enmap", "sentinel1_grd", "sentinel1", "envi")
"""Modules of this folder with ``recognise(path) -> list[Product]``; the first that recognises a path has it."""

_DEEPEST = 3
_MOST_FOLDERS = 2000


@dataclass(frozen=True)
class Layer:
    """One file of a product and what the metadata say of its columns."""

    path: Path
    names: tuple[str, ...] | None = None
    """Names of the columns; None for those in the file."""
    stated: tuple[tuple[float, float] | None, ...] = ()
    """Scale and offset of each column; empty for none."""
    stated_if_silent: tuple[tuple[float, float], ...] = ()
    """Scale and offset where the file itself states none."""
    shift: float = 0.0
    """Added to the offset, whoever states it (degrees Celsius to kelvin)."""
    facts: tuple[Facts | None, ...] = ()
    """One for each column, or one for all; empty for a quality layer."""
    nodata: float | None = None
    """Stored number that means "not measured", if the product defines it (else the file's own)."""
    nodata_if_silent: float | None = None
    """The same, where the file itself states none."""
    quality: Mapping[int, str] = field(default_factory=dict)
    """Columns that are quality layers, and their kind."""
    driver: str | None = None
    """GDAL driver, for formats that do not show it in their first bytes."""
    opener: Callable[[int | None, Any], Piece] | None = None
    """Makes the piece, from ``chunks`` and ``crs``, of images that are on no map grid yet."""


@dataclass(frozen=True)
class Product:
    """One acquisition as delivered."""

    path: Path
    """Its folder or main file, for messages."""
    modality: str
    sensor: str | None
    """Name of the sensor table; None if the metadata describe the bands themselves."""
    time: np.datetime64
    layers: tuple[Layer, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def has_images(self) -> bool:
        """Whether there is anything but quality layers."""
        return any(not layer.quality for layer in self.layers)


def recognise(path: Path) -> list[Product]:
    """Products that a folder, or a metadata file, is; empty if it is none that is known.

    Raises
    ------
    SceneReadError
        It is a known product, but damaged or incomplete.
    """
    if not path.exists():
        return []
    for name in FAMILIES:
        family = importlib.import_module(f"georeset_lab.data.readers.{name}")
        found: list[Product] = family.recognise(path)
        for product in found:
            if not product.has_images:
                raise SceneReadError(f"{path} holds metadata but none of the images they name. Unpack all of it.")
        if found:
            return found
    return []


def find_products(folder: Path) -> list[Product]:
    """Products in a folder and the folders in it, or the folder itself as one; empty if there are none."""
    budget = iter(range(_MOST_FOLDERS))
    return list(_find(folder, 0, budget))


def read_product(product: Product, *, chunks: int | None = None, crs: Any = None) -> list[Piece]:
    """Pieces of a product, one for each of its files.

    Raises
    ------
    SceneReadError
        A file is missing, damaged, or holds another number of bands than the metadata say.
    """
    return [_read(layer, product, chunks, crs) for layer in product.layers]


def _find(folder: Path, depth: int, budget: Iterator[int]) -> Iterator[Product]:
    if next(budget, None) is None:
        return
    found = recognise(folder)
    if found:
        yield from found
        return
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or path.name.startswith("."):
            continue
        if path.is_dir() and depth < _DEEPEST and not (path / "zarr.json").is_file():
            yield from _find(path, depth + 1, budget)
        elif path.suffix.lower() == ".hdr":
            yield from recognise(path)


def _read(layer: Layer, product: Product, chunks: int | None, crs: Any) -> Piece:
    if not layer.path.is_file():
        raise SceneReadError(f"{product.path} names the file {layer.path.name}, which is not there. Unpack all of it.")
    if layer.opener is not None:
        piece = layer.opener(chunks, crs)
    else:
        piece = read_raster(layer.path, chunks=chunks, crs=crs, driver=layer.driver)
    count = len(piece.names)
    names = piece.names if layer.names is None else layer.names
    facts = _merged(layer.facts * count if len(layer.facts) == 1 else layer.facts, piece.facts)
    stated = layer.stated or piece.stated
    if layer.stated_if_silent and not any(stated):
        stated = layer.stated_if_silent * count if len(layer.stated_if_silent) == 1 else layer.stated_if_silent
    if layer.shift:
        stated = tuple((s[0], s[1] + layer.shift) if s else None for s in stated)
    nodata = next((v for v in (layer.nodata, piece.nodata, layer.nodata_if_silent) if v is not None), None)
    for what, given in (("names", names), ("bands with metadata", facts), ("scales", stated)):
        if given and len(given) != count:
            raise BandMismatch(
                f"{layer.path} has {count} bands, but the metadata of {product.path.name} give {len(given)} {what}. "
                "The image and the metadata are not of the same product."
            )
    return replace(
        piece,
        names=tuple(names),
        times=np.array([product.time], dtype="datetime64[ns]"),
        stated=stated,
        facts=facts,
        nodata=nodata,
        tags={**piece.tags, **product.tags},
        quality=layer.quality,
    )


def _merged(own: tuple[Facts | None, ...], found: tuple[Facts | None, ...]) -> tuple[Facts | None, ...]:
    """Facts of the product, with wavelengths from the file where the product gives none."""
    if len(own) != len(found):
        return own or found
    return tuple(
        replace(a, spec=a.spec or (b.spec if b is not None else None)) if a is not None else b
        for a, b in zip(own, found, strict=True)
    )


def joined_notes(products: Sequence[Product]) -> tuple[str, ...]:
    """Notes of several products of one modality, each once."""
    return tuple(dict.fromkeys(n for p in products for n in p.notes))
