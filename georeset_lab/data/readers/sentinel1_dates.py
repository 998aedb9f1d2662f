"""Several Sentinel-1 ground-range products as dates of one modality: one map projection, the ground they share."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from georeset_lab.data.readers.piece import Piece
from georeset_lab.data.readers.product import Product, read_product
from georeset_lab.data.stored import cut
from georeset_lab.errors import CroppedToCommonExtent, GridMismatch


def is_dates(source: Sequence[Any]) -> bool:
    """Whether a list holds several ground-range products and nothing else."""
    return len(source) > 1 and all(isinstance(s, Product) and s.sensor == "sentinel-1-grd" for s in source)


def read_dates(products: Sequence[Product], *, chunks: int | None = None, crs: Any = None) -> list[Piece]:
    """Pieces of the products on the same pixels: no two passes see exactly the same ground.

    The first product decides the projection. All grids have their edges at multiples of the pixel size, so that nothing is
    resampled a second time.

    Raises
    ------
    GridMismatch
        The products share no ground, or have different pixel sizes.

    Warns
    -----
    CroppedToCommonExtent
        A product covers more than the ground they share.
    """
    pieces = read_product(products[0], chunks=chunks, crs=crs)
    for product in products[1:]:
        pieces += read_product(product, chunks=chunks, crs=pieces[0].grid.crs)
    pixel = pieces[0].grid.affine.a
    odd = next((p for p in pieces if p.grid.affine.a != pixel), None)
    if odd is not None:
        raise GridMismatch(
            f"{pieces[0].origin} has pixels of {pixel:g} m, {odd.origin} of {odd.grid.affine.a:g} m. "
            "Load them as two modalities."
        )
    corners = np.array([_corners(p) for p in pieces])
    first, last = corners[:, :2].max(axis=0), corners[:, 2:].min(axis=0)
    if (first >= last).any():
        raise GridMismatch(
            f"{pieces[0].origin} and {len(pieces) - 1} more products share no ground, so they cannot be dates of one "
            "modality. Give products of one place, or load each as a scene of its own."
        )
    if (corners != np.concatenate([first, last])).any():
        warnings.warn(
            f"{len(pieces)} Sentinel-1 products cover different ground; kept are the {last[0] - first[0]} x "
            f"{last[1] - first[1]} pixels that all of them cover. Load one alone to see all of it.",
            CroppedToCommonExtent,
            stacklevel=2,
        )
    return [_cropped(p, first - own[:2], last - own[:2]) for p, own in zip(pieces, corners, strict=True)]


def _corners(piece: Piece) -> list[int]:
    """First row and column, and those after the last, counted in pixels from the origin of the projection."""
    affine, (high, wide) = piece.grid.affine, piece.grid.shape
    row, col = round(affine.f / affine.e), round(affine.c / affine.a)
    return [row, col, row + high, col + wide]


def _cropped(piece: Piece, first: np.ndarray, last: np.ndarray) -> Piece:
    rows, cols = slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))
    raw = cut(piece.raw, rows, cols) if piece.is_lazy else piece.raw[:, :, rows, cols]
    return replace(piece, raw=raw, grid=piece.grid[rows, cols])
