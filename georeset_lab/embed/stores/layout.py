"""How embeddings lie in a Zarr store: groups, arrays, codecs and the attributes by which others find the CRS."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.expert import FORMS, Form, Quantization
from georeset_lab.embed.locate import crs_name, crs_of
from georeset_lab.embed.stores.arrays import plain_attrs
from georeset_lab.embed.stores.manifest import plain
from georeset_lab.errors import ShapeMismatch

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["Layout", "Tile"]

Tile = tuple[slice, slice]
"""Rows and columns."""

ZSTD_LEVEL = 1
"""Of the chunks. Writing is bound by this codec; higher levels save little of codes that look like noise."""

_CONVENTIONS = [
    {"uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f", "name": "proj:"},
    {"uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "name": "spatial:"},
]


@dataclass(frozen=True)
class Layout:
    """All that fixes a store before its first pixel: two stores of one layout hold tiles of the same computation."""

    grid: GeoBox
    experts: tuple[str, ...]
    dim: int
    dtype: Form
    tile_shape: tuple[int, int]
    """Rows and columns of a tile, which is one chunk; the last ones are cut by the edge of the grid."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    fused: bool = False
    """Also hold the fused mean and variance, for readers that do not know experts."""
    quantization: Mapping[str, Quantization] = field(default_factory=dict)
    """One per expert in the int8 form."""

    def __post_init__(self) -> None:
        bad = [n for n in self.experts if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", n)]
        if bad or not self.experts or len(set(self.experts)) != len(self.experts):
            raise ShapeMismatch(
                f"Expert names {self.experts} cannot be folders of a store. Use at least one, each once, of letters, "
                "digits, '_', '-' and '.'."
            )
        if self.dtype not in FORMS:
            raise ShapeMismatch(f"A store cannot hold {self.dtype!r}; choose one of {', '.join(FORMS)}.")
        if self.dim < 1 or min(self.tile_shape) < 1:
            raise ShapeMismatch(
                f"A store needs dim >= 1 and tiles of >= 1 pixel, not {self.dim} and {self.tile_shape}."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return int(self.grid.shape[0]), int(self.grid.shape[1])

    def tiles(self) -> Iterator[Tile]:
        """All tiles, row by row."""
        (height, width), (ty, tx) = self.shape, self.tile_shape
        for top in range(0, height, ty):
            for left in range(0, width, tx):
                yield slice(top, min(top + ty, height)), slice(left, min(left + tx, width))

    def index(self, tile: Tile) -> tuple[int, int]:
        """Row and column of a tile among the tiles; `ShapeMismatch` if it is not one of them."""
        out = []
        for part, size, step in zip(tile, self.shape, self.tile_shape, strict=True):
            number, rest = divmod(part.start, step)
            if rest or not 0 <= part.start < size or part.stop != min(part.start + step, size):
                raise ShapeMismatch(
                    f"rows {tile[0].start}:{tile[0].stop}, columns {tile[1].start}:{tile[1].stop} is not a tile of "
                    f"this store: tiles start at multiples of {self.tile_shape} and end there or at {self.shape}."
                )
            out.append(number)
        return out[0], out[1]

    def chunk_names(self, index: tuple[int, int]) -> list[str]:
        """Files of one tile, relative to the store."""
        i, j = index
        names = [f"experts/{e}/{a}/c/{i}/{j}/0" for e in self.experts for a in ("eta", "tau")]
        return names + [f"{a}/c/0/{i}/{j}" for a in ("mean", "variance") if self.fused]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values, for the manifest and for comparison."""
        quantization = {n: {"scale": q.scale, "step": q.step} for n, q in self.quantization.items()}
        return plain(
            {
                "crs": str(self.grid.crs),
                "transform": tuple(self.grid.affine)[:6],
                "shape": self.shape,
                "experts": self.experts,
                "dim": self.dim,
                "dtype": self.dtype,
                "tile_shape": self.tile_shape,
                "fused": self.fused,
                "quantization": quantization,
                "provenance": dict(self.provenance),
            }
        )

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Layout:
        """The layout that `to_json` described."""
        from affine import Affine
        from odc.geo.geobox import GeoBox

        return cls(
            grid=GeoBox(tuple(body["shape"]), Affine(*body["transform"]), body["crs"]),
            experts=tuple(body["experts"]),
            dim=body["dim"],
            dtype=body["dtype"],
            tile_shape=(body["tile_shape"][0], body["tile_shape"][1]),
            provenance=body["provenance"],
            fused=body["fused"],
            quantization={
                n: Quantization(np.asarray(q["scale"], np.float32), float(q["step"]))
                for n, q in body["quantization"].items()
            },
        )

    def create(self, root: Path) -> None:
        """Make an empty store: metadata and coordinates, no pixels."""
        import warnings

        import zarr

        group = zarr.open_group(str(root), mode="w", zarr_format=3, attributes=self._root_attrs())
        self._coordinates(group)
        (ty, tx), types = self.tile_shape, {"float32": ("f4", "f4"), "float16": ("f2", "f2"), "int8": ("i1", "u1")}
        for name in self.experts:
            member = group.create_group(f"experts/{name}", attributes={"modality": name, **self._place_attrs()})
            self._coordinates(member)
            for array, dtype in zip(("eta", "tau"), types[self.dtype], strict=True):
                _array(
                    member, array, (*self.shape, self.dim), (ty, tx, self.dim), ("y", "x", "dim"), dtype,
                    self._array_attrs(name, array),
                )  # fmt: skip
        if self.fused:
            for array in ("mean", "variance"):
                attrs = {
                    "long_name": f"posterior {array} of the embedding",
                    "units": "1",
                    "grid_mapping": "spatial_ref",
                }
                shape, chunks = (self.dim, *self.shape), (self.dim, ty, tx)
                _array(group, array, shape, chunks, ("dim", "y", "x"), "f4", attrs)
        with warnings.catch_warnings():  # "not part of the specification yet"; readers without it list the folders
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(str(root))

    def _root_attrs(self) -> dict[str, Any]:
        return {
            "Conventions": "CF-1.11",
            "title": "Embeddings with uncertainty",
            **self._place_attrs(),
            **plain_attrs(self.provenance),
        }

    def _place_attrs(self) -> dict[str, Any]:
        """CRS and affine as the Zarr conventions "proj:" and "spatial:" (version 1) have them, beside the CF ones."""
        box = self.grid.boundingbox
        code = crs_name(self.grid)
        return {
            "zarr_conventions": _CONVENTIONS,
            "spatial:dimensions": ["y", "x"],
            "spatial:shape": list(self.shape),
            "spatial:transform": list(tuple(self.grid.affine)[:6]),
            "spatial:bbox": [box.left, box.bottom, box.right, box.top],
            "proj:wkt2": crs_of(self.grid).to_wkt(),
            **({"proj:code": code} if code.startswith("EPSG:") else {}),
        }

    def _array_attrs(self, expert: str, array: str) -> dict[str, Any]:
        if self.dtype == "int8":
            rule = self.quantization[expert]
            how = {"eta": "code * scale is the posterior mean", "tau": "exp(-code * step) is the posterior variance"}
            number = {"scale": rule.scale.tolist()} if array == "eta" else {"step": rule.step}
            return {"long_name": how[array], "units": "1", "grid_mapping": "spatial_ref", **number}
        how = {"eta": "precision times mean, without the prior", "tau": "precision, without the prior"}
        return {"long_name": how[array], "units": "1", "grid_mapping": "spatial_ref"}

    def _coordinates(self, group: Any) -> None:
        """Pixel centres and the CRS, as CF and rioxarray read them."""
        from odc.geo.xr import xr_coords

        for name, coord in xr_coords(self.grid, always_yx=True).items():
            values = np.asarray(coord.values)
            made = _array(group, str(name), values.shape, values.shape, coord.dims, values.dtype, plain(coord.attrs))
            made[...] = values


def compressors() -> tuple[Any, ...]:
    """Zarr's codecs of every array: Zstandard, then a checksum that a reader compares."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    return ZstdCodec(level=ZSTD_LEVEL, checksum=True), Crc32cCodec()


def _array(
    group: Any, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dims: Any, dtype: Any, attrs: dict[str, Any]
) -> Any:
    """An array whose chunks carry checksums, and whose missing chunks read as NaN where the type has one."""
    return group.create_array(
        name, shape=shape, chunks=chunks, dtype=dtype, dimension_names=list(dims),
        fill_value=float("nan") if np.dtype(dtype).kind == "f" else 0,
        compressors=compressors(),
        attributes=attrs, config={"write_empty_chunks": True},
    )  # fmt: skip
