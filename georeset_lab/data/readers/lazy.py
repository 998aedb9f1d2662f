"""Variables of a store as dask arrays whose reading errors are ours, with the path and the variable in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from georeset_lab.errors import GeoresetError, SceneReadError

EAGER_VALUES = 20_000_000
"""Stores with at most this many numbers are read at once."""


def loaded_or_lazy(data: xr.Dataset, path: Path, chunks: int | None) -> xr.Dataset:
    """The dataset in memory if it is small, else with dask arrays of about ``chunks`` pixels a side."""
    with reading(path):
        if chunks is None and sum(v.size for v in data.data_vars.values()) <= EAGER_VALUES:
            return data.load()
    new = {}
    for name, variable in data.data_vars.items():
        if variable.ndim >= 2:
            new[name] = (variable.dims, _dask(variable.variable, path, str(name), chunks), variable.attrs)
    return data.assign(new)


@contextmanager
def reading(path: Path, what: str = "") -> Iterator[None]:
    """Turn whatever a store's libraries raise on damaged data into `SceneReadError`."""
    try:
        yield
    except GeoresetError:
        raise
    except MemoryError:
        raise
    except Exception as err:  # h5py, zarr, numcodecs and xarray raise many classes
        where = f", {what}," if what else ""
        raise SceneReadError(f"{path}{where} cannot be read: {err}. Fetch or write it again.") from err


class _Guarded:
    """Array-like over a lazily indexed variable; indexing reads, and raises `SceneReadError` on damage."""

    def __init__(self, variable: xr.Variable, path: Path, name: str) -> None:
        self.variable, self.path, self.name = variable, path, name
        self.shape, self.dtype, self.ndim = variable.shape, variable.dtype, variable.ndim

    def __getitem__(self, key: Any) -> np.ndarray:
        with reading(self.path, f"variable {self.name!r} at {key}"):
            return np.asarray(self.variable[key].values)


def _dask(variable: xr.Variable, path: Path, name: str, chunks: int | None) -> Any:
    import dask.array as da
    from dask.base import tokenize

    own = variable.encoding.get("preferred_chunks") or {}
    sizes = []
    for dim, size in zip(variable.dims, variable.shape, strict=True):
        step = int(own.get(dim, size))
        spatial = size > 1 and dim in variable.dims[-2:]
        if spatial:
            side = chunks or 1024
            step = min(size, max(step, round(side / step) * step) if step < side else step)
        sizes.append(min(step, size) if spatial or dim in own else 1)
    token = f"store-{name}-" + tokenize(str(path.resolve()), path.stat().st_mtime_ns, name)
    guarded = _Guarded(variable, path, name)
    meta = np.empty((0,) * variable.ndim, variable.dtype)
    return da.from_array(guarded, chunks=tuple(sizes), name=token, asarray=False, meta=meta)
