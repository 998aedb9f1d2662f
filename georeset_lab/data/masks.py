"""Which pixels a product's own quality band calls unusable: cloud, shadow, snow, saturation, no data.

One `QaTable` for each kind of quality band, with its source; `unusable` turns values into a bool array. Nothing here
decides which band of a file is the quality band: ``Sensor.qa`` names it, readers find it.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from georeset_lab.errors import BandMismatch, UnitError

A = TypeVar("A", np.ndarray, xr.DataArray)


@dataclass(frozen=True)
class Codes:
    """A flag that is set where the value is one of some codes."""

    codes: tuple[int, ...]


@dataclass(frozen=True)
class Bits:
    """A flag that is set where a field of bits, shifted down, has one of some values."""

    first: int
    width: int = 1
    values: tuple[int, ...] = (1,)


Flag = Codes | Bits


@dataclass(frozen=True)
class QaTable:
    """Meaning of the values of one kind of quality band."""

    flags: Mapping[str, Flag | tuple[Flag, ...]]
    """What can be asked for by name; several tests are joined by "or"."""
    default: tuple[str, ...]
    """Flags that make a pixel unusable unless the user chooses others."""
    source: str


_HIGH = (3,)  # confidence: 0 not determined, 1 low, 2 medium, 3 high

QA_TABLES: Mapping[str, QaTable] = {
    # Scene classification of Sentinel-2 Level-2A, 20 m. 2 (dark area, cast shadow of relief) and 7 (unclassified) are
    # measurements of the ground and stay by default.
    "scl": QaTable(
        flags={
            "nodata": Codes((0,)),
            "saturated": Codes((1,)),
            "dark": Codes((2,)),
            "shadow": Codes((3,)),
            "vegetation": Codes((4,)),
            "bare": Codes((5,)),
            "water": Codes((6,)),
            "unclassified": Codes((7,)),
            "cloud": Codes((8, 9)),
            "cloud_high": Codes((9,)),
            "cirrus": Codes((10,)),
            "snow": Codes((11,)),
        },
        default=("nodata", "saturated", "shadow", "cloud", "cirrus", "snow"),
        source="ESA, Sentinel-2 Level-2A Algorithm Theoretical Basis Document, table of the scene classification",
    ),
    # Collection 2, Level 1 and 2, all Landsats. Bit 2 is never set on Landsat 4-7; bits 8-15 are confidences.
    "qa_pixel": QaTable(
        flags={
            "nodata": Bits(0),
            "dilated_cloud": Bits(1),
            "cirrus": Bits(2),
            "cloud": Bits(3),
            "shadow": Bits(4),
            "snow": Bits(5),
            "clear": Bits(6),
            "water": Bits(7),
            "cloud_likely": Bits(8, 2, (2, 3)),
            "cirrus_likely": Bits(14, 2, (2, 3)),
        },
        default=("nodata", "dilated_cloud", "cirrus", "cloud", "shadow", "snow"),
        source="USGS, Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619), table of QA_PIXEL",
    ),
    # Collection 1 surface reflectance (LEDAPS / LaSRC).
    "pixel_qa": QaTable(
        flags={
            "nodata": Bits(0),
            "clear": Bits(1),
            "water": Bits(2),
            "shadow": Bits(3),
            "snow": Bits(4),
            "cloud": (Bits(5), Bits(6, 2, _HIGH)),
            "cirrus": Bits(8, 2, _HIGH),
            "terrain": Bits(10),
        },
        default=("nodata", "shadow", "snow", "cloud", "cirrus", "terrain"),
        source="USGS, Landsat 8 Surface Reflectance Code (LaSRC) Product Guide (LSDS-1368), table of pixel_qa",
    ),
    # Collection 1 Level 1.
    "bqa_collection_1": QaTable(
        flags={
            "nodata": Bits(0),
            "terrain": Bits(1),  # dropped pixel on Landsat 4-7: as unusable
            "saturated": Bits(2, 2, (1, 2, 3)),
            "cloud": (Bits(4), Bits(5, 2, _HIGH)),
            "shadow": Bits(7, 2, _HIGH),
            "snow": Bits(9, 2, _HIGH),
            "cirrus": Bits(11, 2, _HIGH),
        },
        default=("nodata", "terrain", "saturated", "cloud", "shadow", "snow", "cirrus"),
        source="USGS, Landsat Collection 1 Level-1 Quality Assessment Band, table of the 16 bits",
    ),
    # Landsat 8 before the collections (until 2016/17). There is no shadow.
    "bqa_pre_collection": QaTable(
        flags={
            "nodata": (Bits(0), Bits(1)),
            "terrain": Bits(2),
            "water": Bits(4, 2, _HIGH),
            "vegetation": Bits(8, 2, _HIGH),
            "snow": Bits(10, 2, _HIGH),
            "cirrus": Bits(12, 2, _HIGH),
            "cloud": Bits(14, 2, _HIGH),
            "cloud_likely": Bits(14, 2, (2, 3)),
        },
        default=("nodata", "terrain", "cloud", "snow", "cirrus"),
        source="USGS, Landsat 8 Data Users Handbook (LSDS-1574) v1.0, table of the quality band",
    ),
    # Landsat Collection 2 saturation: bit n - 1 for band n, bit 11 terrain occlusion.
    "qa_radsat": QaTable(
        flags={"saturated": tuple(Bits(i) for i in range(9)), "terrain": Bits(11)},
        default=("saturated", "terrain"),
        source="USGS, Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619), table of QA_RADSAT",
    ),
    # HLS v2.0; bits 6-7 are the aerosol level (3 = high). 255 is fill, which sets all.
    "fmask": QaTable(
        flags={
            "nodata": Codes((255,)),
            "cirrus": Bits(0),
            "cloud": Bits(1),
            "adjacent": Bits(2),
            "shadow": Bits(3),
            "snow": Bits(4),
            "water": Bits(5),
            "aerosol_high": Bits(6, 2, _HIGH),
        },
        default=("nodata", "cirrus", "cloud", "adjacent", "shadow", "snow"),
        source="HLS User Guide v2.0 (LP DAAC), table of the quality assessment layer",
    ),
    # Output of the Fmask program itself.
    "fmask_codes": QaTable(
        flags={
            "clear": Codes((0,)),
            "water": Codes((1,)),
            "shadow": Codes((2,)),
            "snow": Codes((3,)),
            "cloud": Codes((4,)),
            "nodata": Codes((255,)),
        },
        default=("nodata", "shadow", "snow", "cloud"),
        source="Qiu, Zhu and He 2019, Fmask 4.0, Remote Sensing of Environment 231",
    ),
    # Cloud mask of Earth Engine's Sentinel-2 collections.
    "qa60": QaTable(
        flags={"cloud": Bits(10), "cirrus": Bits(11)},
        default=("cloud", "cirrus"),
        source="Google Earth Engine data catalogue, COPERNICUS/S2_SR_HARMONIZED, bitmask of QA60",
    ),
}
"""Kinds of quality band; ``"bqa"`` stands for the two Landsat ones of that name, told apart pixel by pixel."""

_BQA = ("bqa_collection_1", "bqa_pre_collection")


def unusable(qa: A, kind: str, *, flags: Iterable[str] | None = None) -> A:
    """True where a quality band says that a pixel must not be used.

    Parameters
    ----------
    qa : numpy.ndarray or xarray.DataArray (NumPy or dask), any shape
        Values of the quality band. Not-a-number (a band that was decoded with its fill value) means no data.
    kind : str
        Key of `QA_TABLES`, or ``"bqa"``.
    flags : iterable of str, optional
        Which flags count, for example ``("cloud", "shadow")``; by default those of ``QA_TABLES[kind].default``.

    Returns
    -------
    numpy.ndarray or xarray.DataArray, bool
        Same shape; lazy if ``qa`` is.

    Raises
    ------
    BandMismatch
        No quality band of this kind, or no flag of this name.
    UnitError
        The values are fractions: interpolated or scaled, so no flags any more.

    Examples
    --------
    >>> unusable(np.array([4, 8, 11, 3]), "scl").tolist()
    [False, True, True, True]
    >>> unusable(np.array([4, 8, 11, 3]), "scl", flags=["cloud"]).tolist()
    [False, True, False, False]
    """
    if flags is not None:
        flags = (flags,) if isinstance(flags, str) else tuple(flags)
    values, missing = _as_integers(qa)
    if kind == "bqa":
        # Before the collections every measured pixel had a cloud confidence of at least 1 in bits 14-15; Collection 1
        # leaves bits 13-15 unused. So the value itself says which table it was written with.
        old = (values >> 13) > 0
        new_test, old_test = (_test(values, k, flags, strict=False) for k in _BQA)
        if flags is not None:
            _check_flags(flags, "bqa", {f for k in _BQA for f in QA_TABLES[k].flags})
        return (old & old_test) | (~old & new_test) | missing
    if kind not in QA_TABLES:
        raise BandMismatch(f"No kind of quality band is called {kind!r}; known: bqa, {', '.join(QA_TABLES)}.")
    return _test(values, kind, flags, strict=True) | missing


def _as_integers(qa: Any) -> tuple[Any, Any]:
    """Values as int64, and where they were not a number."""
    if np.issubdtype(qa.dtype, np.integer) or qa.dtype == np.bool_:
        return qa.astype(np.int64), qa != qa
    missing = ~np.isfinite(qa)
    values = xr.where(missing, 0, qa) if isinstance(qa, xr.DataArray) else np.where(missing, 0, qa)
    lazy = isinstance(qa, xr.DataArray) and qa.chunks is not None
    if not lazy and bool((np.asarray(values) % 1 != 0).any()):
        raise UnitError("The quality band holds fractions, so it was interpolated or scaled; read its stored integers.")
    return values.astype(np.int64), missing


def _test(values: Any, kind: str, flags: Iterable[str] | None, *, strict: bool) -> Any:
    table = QA_TABLES[kind]
    wanted = table.default if flags is None else tuple(flags)
    if strict:
        _check_flags(wanted, kind, set(table.flags))
    tests: list[Any] = []
    for name in wanted:
        parts = table.flags.get(name, ())
        tests += [_test_one(values, part) for part in (parts if isinstance(parts, tuple) else (parts,))]
    return functools.reduce(operator.or_, tests, values != values)


def _test_one(values: Any, flag: Flag) -> Any:
    if isinstance(flag, Codes):
        field, accepted = values, flag.codes
    else:
        field, accepted = (values >> flag.first) & ((1 << flag.width) - 1), flag.values
    return functools.reduce(operator.or_, (field == code for code in accepted))


def _check_flags(flags: Iterable[str], kind: str, known: set[str]) -> None:
    unknown = [f for f in flags if f not in known]
    if unknown:
        raise BandMismatch(
            f"A quality band of kind {kind!r} has no flag {', '.join(map(repr, unknown))}; "
            f"choose from {', '.join(sorted(known))}."
        )
