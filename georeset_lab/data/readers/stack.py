"""Bands of one source joined on one grid, and dates joined along time: `Part`s in, one `Part` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import DIMS
from georeset_lab.data.readers.grids import ground_of
from georeset_lab.data.readers.piece import Facts
from georeset_lab.data.stored import take
from georeset_lab.errors import BandMismatch, GridMismatch


@dataclass(frozen=True, eq=False)
class Part:
    """Stored numbers of some bands on some dates on one grid, with what is known of each."""

    raw: Any
    """``(time, band, y, x)``, NumPy or dask."""
    grid: GeoBox
    bands: tuple[BandSpec, ...]
    stated: tuple[tuple[float, float] | None, ...]
    times: np.ndarray
    nodata: float | None
    origin: str
    tags: Mapping[str, str] = field(default_factory=dict)
    facts: tuple[Facts | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.facts:
            object.__setattr__(self, "facts", (None,) * len(self.bands))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the bands."""
        return tuple(b.name for b in self.bands)

    def at(self, index: Sequence[int] | np.ndarray | slice) -> Part:
        """Part with these dates."""
        return replace(self, raw=self.raw[index], times=self.times[index])

    def only(self, names: Sequence[str]) -> Part:
        """Part with these bands, in this order."""
        index = [self.names.index(n) for n in names]
        if index == list(range(len(self.bands))):
            return self
        return replace(
            self,
            raw=take(self.raw, index, axis=1),
            bands=tuple(self.bands[i] for i in index),
            stated=tuple(self.stated[i] for i in index),
            facts=tuple(self.facts[i] for i in index),
        )


def join_acquisitions(parts: Sequence[Part], order: Sequence[str], name: str) -> tuple[list[Part], list[str]]:
    """Parts that hold different bands of the same dates become one part each; the rest stay apart.

    Parameters
    ----------
    parts : sequence of Part
        As read, one for each file or variable.
    order : sequence of str
        Order of the bands in the result; bands that are not named come last.
    name : str
        Modality, for messages.

    Returns
    -------
    list of Part
        With the same bands, in time.
    list of str
        Notes on what had to be left out.
    """
    groups: list[list[Part]] = []
    for part in parts:
        home = next((g for g in groups if _same_dates(g[0], part) and not _shared(g, part)), None)
        if home is None:
            groups.append([part])
        else:
            home.append(part)
    joined = [_join_bands(group, order, name) for group in groups]
    sets = list(dict.fromkeys(p.names for p in joined))
    if len(sets) == 1:
        return joined, []
    return _reconcile(joined, sets, order, name)


def join_dates(parts: Sequence[Part], name: str) -> Part:
    """Parts with the same bands and grid, joined along time in order of date (undated ones last)."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    odd = next((p for p in parts if not _same_grid(p.grid, first.grid)), None)
    if odd is not None:
        raise GridMismatch(
            f"Modality {name!r}: {first.origin} ({_size(first.grid)}) and {odd.origin} ({_size(odd.grid)}) are "
            "dates on "
            "different grids. Crop or resample them to one grid, or load them as two modalities."
        )
    fills = {p.nodata for p in parts if p.nodata is not None}
    nodata = first.nodata if len(fills) <= 1 else next(iter(sorted(fills)))
    if len(fills) == 1:
        nodata = next(iter(fills))
    raws = [_refilled(p.raw, p.nodata, nodata) for p in parts]
    times = np.concatenate([p.times for p in parts])
    ranks = np.argsort(times, kind="stable")
    raw = concatenate(raws, axis=0)
    return replace(
        first, raw=raw if (ranks == np.arange(ranks.size)).all() else raw[ranks], times=times[ranks], nodata=nodata
    )


def concatenate(arrays: Sequence[Any], axis: int) -> Any:
    """Join NumPy or dask arrays; lazy if one of them is."""
    if len(arrays) == 1:
        return arrays[0]
    if any(hasattr(a, "dask") for a in arrays):
        import dask.array as da

        return da.concatenate([da.asarray(a) for a in arrays], axis=axis)
    return np.concatenate(arrays, axis=axis)


def as_array(raw: Any, times: np.ndarray) -> xr.DataArray:
    """Stored numbers as a DataArray with their dates."""
    return xr.DataArray(raw, dims=DIMS, coords={"time": ("time", times.astype("datetime64[ns]"))})


def _join_bands(group: Sequence[Part], order: Sequence[str], name: str) -> Part:
    parts = sorted(group, key=lambda p: _rank(p.names[0], order))
    fills = {p.nodata for p in parts}
    nodata = next(iter(fills)) if len(fills) == 1 else next((p.nodata for p in parts if p.nodata is not None), None)
    raws = [_refilled(p.raw, p.nodata, nodata) for p in parts]
    bands = tuple(b for p in parts for b in p.bands)
    stated = tuple(s for p in parts for s in p.stated)
    facts = tuple(f for p in parts for f in p.facts)
    if all(_same_grid(p.grid, parts[0].grid) for p in parts):
        raw, grid = concatenate(raws, axis=1), parts[0].grid
    else:
        from georeset_lab.data.align import stack_bands

        layers = [
            (xr.DataArray(raw[:, i], dims=("time", "y", "x")), band, p.grid)
            for raw, p in zip(raws, parts, strict=True)
            for i, band in enumerate(p.bands)
        ]
        stacked = stack_bands(layers)
        raw, grid = stacked.raw.data, stacked.grid
    tags = {k: v for p in parts for k, v in p.tags.items()}
    origin = parts[0].origin if len(parts) == 1 else f"{parts[0].origin} and {len(parts) - 1} more"
    joined = Part(raw, grid, bands, stated, parts[0].times, nodata, origin, tags, facts)
    return joined.only(sorted(joined.names, key=lambda n: _rank(n, order)))


def _reconcile(
    parts: Sequence[Part], sets: Sequence[tuple[str, ...]], order: Sequence[str], name: str
) -> tuple[list[Part], list[str]]:
    """Parts with different bands: keep the dates on which all bands exist, else the bands that all dates have."""
    days = [{d for p in parts if p.names == s for d in _days(p.times)} for s in sets]
    common = set.intersection(*days)
    disjoint = all(not set(a) & set(b) for i, a in enumerate(sets) for b in sets[i + 1 :])
    if common and disjoint:
        merged = []
        for bands in sets:
            whole = join_dates([p for p in parts if p.names == bands], name)
            own = _days(whole.times)
            merged.append(whole.at([own.index(d) for d in sorted(common)]))
        lost = max(len(d) for d in days) - len(common)
        notes = [f"{lost} dates left out: not all bands were acquired on them"] if lost else []
        return [_join_bands([replace(m, times=merged[0].times) for m in merged], order, name)], notes
    shared = [b for b in sets[0] if all(b in s for s in sets)]
    if not shared:
        raise BandMismatch(
            f"Modality {name!r}: {' / '.join(', '.join(s) for s in sets)} share neither a date nor a band. "
            "Load them as two modalities."
        )
    lost_bands = sorted({b for s in sets for b in s} - set(shared))
    return [p.only(shared) for p in parts], [f"left out {', '.join(lost_bands)}: not there on every date"]


def _same_dates(a: Part, b: Part) -> bool:
    return len(a.times) == len(b.times) and _days(a.times) == _days(b.times)


def _shared(group: Sequence[Part], part: Part) -> bool:
    return any(set(p.names) & set(part.names) for p in group)


def _days(times: np.ndarray) -> list[str]:
    return [str(t) for t in times.astype("datetime64[D]")]


def _rank(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)


def _refilled(raw: Any, own: float | None, wanted: float | None) -> Any:
    """Array in which this part's nodata value is the common one."""
    if own is None or wanted is None or own == wanted:
        return raw
    if hasattr(raw, "dask"):
        import dask.array as da

        return da.where(raw == own, np.asarray(wanted, raw.dtype), raw)
    return np.where(raw == own, np.asarray(wanted, raw.dtype), raw)


def _same_grid(a: GeoBox, b: GeoBox) -> bool:
    """Equal to a hundredth of a pixel."""
    if a == b:
        return True
    if a.shape != b.shape or a.crs != b.crs:
        return False
    step = abs(a.affine.determinant) ** 0.5
    corners = [(0, 0), (a.shape[1], a.shape[0])]
    gaps = [np.hypot(*np.subtract(ground_of(a, *c), ground_of(b, *c))) for c in corners]
    return max(gaps) < 0.01 * step


def _size(grid: GeoBox) -> str:
    return f"{grid.shape[0]} x {grid.shape[1]} pixels at ({grid.affine.c:.6g}, {grid.affine.f:.6g})"
