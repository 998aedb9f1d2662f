"""Windows of lazy arrays read straight from their file, without the dask graph.

dask reads whole chunks: a window of 8 x 8 pixels costs a million, and one that is not cut along chunks up to twice its
size. So an array made by `lazy` from a reader of a local file is recognised, also after `cut` and `take`, and its reader
asked for the window itself. All other arrays (of servers, computed ones) go through dask as ever.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Key = tuple[slice, slice, slice, slice]
"""Times, bands, rows, columns."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of some bands on some dates."""

    times: tuple[int, ...]
    bands: tuple[int, ...]
    rows: slice
    cols: slice

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of an array that holds it."""
        return (
            len(self.times),
            len(self.bands),
            self.rows.stop - self.rows.start,
            self.cols.stop - self.cols.start,
        )

    def inside(self, outer: Box) -> Box:
        """The same pixels, counted as those are in which ``outer`` was cut out."""
        rows, cols = (
            slice(s.start + o.start, s.stop + o.start) for s, o in ((self.rows, outer.rows), (self.cols, outer.cols))
        )
        return Box(tuple(outer.times[t] for t in self.times), tuple(outer.bands[b] for b in self.bands), rows, cols)


class Reader(Protocol):
    """What reads windows of a local file, ``(time, band, y, x)``; may be called from several threads."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Times, bands, rows, columns."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored numbers."""

    def read_into(self, out: np.ndarray, box: Box) -> None:
        """Write the stored numbers of a box into ``out``, which has its shape."""


class _Pixels:
    """A box of a reader as dask wants an array."""

    ndim = 4

    def __init__(self, reader: Reader, box: Box) -> None:
        self.reader, self.box = reader, box
        self.shape, self.dtype = box.shape, reader.dtype

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        picked = [np.arange(n)[k] for n, k in zip(self.shape, key, strict=True)]
        gone = tuple(i for i, p in enumerate(picked) if p.ndim == 0)  # dask may fuse an integer index into the read
        times, bands, rows, cols = (np.atleast_1d(p) for p in picked)
        out = np.empty((times.size, bands.size, rows.size, cols.size), self.dtype)
        if out.size:
            top, left = int(rows.min()), int(cols.min())
            box = Box(
                tuple(times.tolist()),
                tuple(bands.tolist()),
                slice(top, int(rows.max()) + 1),
                slice(left, int(cols.max()) + 1),
            )
            if box.shape == out.shape and rows[0] == top and cols[0] == left:
                self.read_into(out, box)
            else:
                whole = np.empty(box.shape, self.dtype)
                self.read_into(whole, box)
                out = whole[:, :, rows - top][:, :, :, cols - left]
        return np.squeeze(out, axis=gone)

    def read_into(self, out: np.ndarray, box: Box) -> None:
        self.reader.read_into(out, box.inside(self.box))


def lazy(reader: Reader, chunks: Sequence[Any], name: str) -> Any:
    """The whole of a reader as a dask array; ``name`` must be another for other pixels."""
    times, bands, rows, cols = reader.shape
    return _dask(
        _Pixels(reader, Box(tuple(range(times)), tuple(range(bands)), slice(0, rows), slice(0, cols))), chunks, name
    )


def cut(array: Any, rows: slice, cols: slice) -> Any:
    """Rows and columns of a dask array ``(time, band, y, x)``."""
    every = slice(None)
    pixels = _pixels_of(array)
    if pixels is None:
        return array[:, :, rows, cols]
    return _part(array, pixels, _box((every, every, rows, cols), array.shape), (every, every, rows, cols))


def take(array: Any, index: Sequence[int], *, axis: int) -> Any:
    """Dates (axis 0) or bands (axis 1) of a NumPy or dask array at these positions."""
    index = [int(i) for i in index]
    if index == list(range(array.shape[axis])):
        return array
    key: tuple[Any, ...] = (slice(None),) * axis + (index,)
    pixels = _pixels_of(array)
    if pixels is None or min(index, default=-1) < 0:
        return array[key]
    box = _box((slice(None),) * 4, array.shape)
    box = (
        Box(tuple(index), box.bands, box.rows, box.cols)
        if axis == 0
        else Box(box.times, tuple(index), box.rows, box.cols)
    )
    return _part(array, pixels, box, key)


def read_stored(array: Any, key: Key, *, scheduler: str | None = None) -> np.ndarray:
    """Numbers of a window of a NumPy or dask array ``(time, band, y, x)``.

    Parameters
    ----------
    array : numpy or dask array
    key : tuple of four slices
    scheduler : str, optional
        Of dask, where it is needed.

    Raises
    ------
    SceneReadError
        The file is damaged there; the message says where.
    """
    if not hasattr(array, "dask"):
        return np.asarray(array[key])
    pixels = _pixels_of(array)
    if pixels is None or any(s.step not in (None, 1) for s in key):
        return np.asarray(array[key].compute(scheduler=scheduler))
    box = _box(key, array.shape)
    out = np.empty(box.shape, array.dtype)
    # Chunk by chunk: what the decoder holds of the file stays small, and a chunk is whole blocks of it.
    for rows, cols in itertools.product(_pieces(array.chunks[2], box.rows), _pieces(array.chunks[3], box.cols)):
        target = out[:, :, _shift(rows, -box.rows.start), _shift(cols, -box.cols.start)]
        pixels.read_into(target, Box(box.times, box.bands, rows, cols))
    return out


def is_direct(array: Any) -> bool:
    """Whether windows of this array are read from its file without dask."""
    return _pixels_of(array) is not None


def _dask(pixels: _Pixels, chunks: Sequence[Any], name: str) -> Any:
    import dask.array as da

    meta = np.empty((0,) * 4, pixels.dtype)
    return da.from_array(pixels, chunks=tuple(chunks), name=name, asarray=False, meta=meta)


def _part(array: Any, pixels: _Pixels, box: Box, key: tuple[Any, ...]) -> Any:
    from dask.base import tokenize

    part = array[key]
    if 0 in part.shape:
        return part
    return _dask(_Pixels(pixels.reader, box.inside(pixels.box)), part.chunks, f"part-{tokenize(array.name, repr(box))}")


def _pixels_of(array: Any) -> _Pixels | None:
    """What `lazy` made a dask array of; None if anything else was done to it since."""
    layers = getattr(getattr(array, "dask", None), "layers", None)
    name = getattr(array, "name", "")
    if layers is None or set(layers) != {name, f"original-{name}"}:
        return None
    found = layers[f"original-{name}"].get(f"original-{name}")
    return found if isinstance(found, _Pixels) and found.shape == tuple(array.shape) else None


def _box(key: Key, shape: tuple[int, ...]) -> Box:
    spans = [k.indices(n)[:2] for k, n in zip(key, shape, strict=True)]
    times, bands = (tuple(range(*span)) for span in spans[:2])
    rows, cols = (slice(start, max(stop, start)) for start, stop in spans[2:])
    return Box(times, bands, rows, cols)


def _shift(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)


def _pieces(sizes: Sequence[int], span: slice) -> list[slice]:
    """The span cut at the edges of chunks."""
    edges = np.cumsum((0, *sizes)).tolist()
    cuts = [span.start, *(e for e in edges if span.start < e < span.stop), span.stop]
    return [slice(a, b) for a, b in itertools.pairwise(cuts) if b > a]
