"""`load_scene`: whatever holds satellite data becomes a `Scene` in physical units.

Here a source is taken apart into modalities and the result put on common ground. Files are read in ``readers/``, scales
and offsets decided in ``units.py``, grids brought together in ``align.py``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.grids import crs_of
from georeset_lab.data.modality import Modality
from georeset_lab.data.readers.asked import Asked
from georeset_lab.data.readers.assemble import Wish, build_modality
from georeset_lab.data.readers.folder import guess
from georeset_lab.data.readers.grids import parse_crs
from georeset_lab.data.readers.piece import Piece
from georeset_lab.data.readers.products import notes_of, products_in, resolve, scan, sensor_of
from georeset_lab.data.readers.source import describe, read_source
from georeset_lab.data.readers.timing import apply_time
from georeset_lab.data.readers.zarr import is_zarr
from georeset_lab.data.scene import Scene
from georeset_lab.data.sensors import Sensor, match_bands, sensor
from georeset_lab.data.stac.source import is_stac
from georeset_lab.errors import EmptyScene, InvalidOption, SceneReadError, UnknownSensor

_USUAL_NAME = {
    "sentinel-2": "s2",
    "sentinel-1": "s1",
    "landsat": "l",
    "hls": "hls",
    "enmap": "enmap",
    "copernicus-dem": "dem",
}


def load_scene(
    source: Any,
    *,
    collection: str | Sequence[str] | Mapping[str, str] | None = None,
    sensors: str | Mapping[str, str] | None = None,
    bands: Sequence[BandSpec | str] | Mapping[str, Sequence[BandSpec | str]] | None = None,
    crs: Any = None,
    scale: Any = None,
    time: Any = None,
    bbox: tuple[float, float, float, float] | None = None,
    chunks: int | None = None,
    seed: int = 0,
    size: tuple[int, int] | None = None,
) -> Scene:
    """Scene of co-registered modalities, in physical units, from files, arrays or a simulation.

    Parameters
    ----------
    source
        ``"simulated"``; a GeoTIFF, JPEG 2000, ENVI, NetCDF or Zarr path; a product as delivered (Sentinel-2 SAFE, Landsat
        bundle, HLS, Sentinel-1 GRD SAFE or RTC, EnMAP) or a folder of products or rasters; an `xarray.DataArray` or
        `xarray.Dataset` ``(time, band, y, x)``; a `Scene`; or a dict ``modality -> any of these``, where a list means
        several dates or bands; or STAC: ``"earth-search"``, ``"planetary-computer"``, the address of an API, static
        catalogue or item, a JSON file of items, or pystac objects (extra ``stac``).
    collection : str, list, or dict, optional
        Of a STAC source: the collection, or several, each a modality; a dict names them: ``{"s2": "sentinel-2-l2a"}``.
    sensors : str or dict, optional
        Name of the sensor, or one for each modality; see `georeset_lab.data.sensors`. Without it, file names and tags
        must make it certain.
    bands : list of BandSpec, or dict, optional
        One for each band of the source, for a sensor without a table; or band names, for a file that does not name
        them.
    crs : optional
        Coordinate reference system of sources that state none; else the one to bring the scene to.
    scale : float, (scale, offset), or dict, optional
        physical = number * scale + offset; for all, by modality, or ``{modality: {band: (scale, offset)}}``. Overrides
        the file.
    time : str, (start, end), list, or dict, optional
        Dates of sources that state none, or the dates to keep; see `georeset_lab.data.readers.timing.apply_time`. Of a
        STAC source: ``"2024-06"`` or another day, month or year takes its clearest date, ``("2024-06-01",
        "2024-08-31")`` all dates of the span, a list those days.
    bbox : (west, south, east, north), optional
        Part to keep, in degrees of longitude and latitude.
    chunks : int, optional
        Side of a lazy chunk in pixels; by default small sources are read at once and large ones stay lazy.
    seed, size
        For ``"simulated"``: see `georeset_lab.data.simulate.simulate_scene`.

    Returns
    -------
    Scene
        All modalities in one projected CRS, each on its own grid; the decisions taken are in ``modality.notes``.

    Raises
    ------
    SceneReadError
        A source is missing, damaged, or of a refused format.
    RemoteError
        A server refused, kept failing or broke off; see `georeset_lab.data.stac.http`. Lazy pixels raise it when read.
    MissingCRS, UnknownSensor, BandMismatch, UnitError, GridMismatch
        The source does not say what is needed, or contradicts what was said; the message has the call that fixes it.

    Warns
    -----
    UnitsInferred, BandsAssumed, BandsSuspect, Reprojected, CroppedToCommonExtent, EmptyScene
        The result is right but may surprise.

    Examples
    --------
    >>> scene = load_scene(
    ...     {"s2": "S2L2A.tif", "s1": "S1RTC.tif", "dem": "DEM.tif"},
    ...     sensors={"s2": "sentinel-2-l2a", "s1": "sentinel-1-rtc", "dem": "copernicus-dem"},
    ... )  # doctest: +SKIP
    """
    if isinstance(source, str) and source == "simulated":
        from georeset_lab.data.simulate import simulate_scene

        scene = simulate_scene(seed=seed, size=size)
    elif isinstance(source, Scene):
        scene = source
    elif _is_own_store(source):
        from georeset_lab.data.scene_store import open_scene

        scene = open_scene(Path(source))
    elif is_stac(source):
        scene = _from_stac(source, collection, bbox, Asked(sensors, bands, crs, scale, time, chunks))
    else:
        if collection is not None:
            raise InvalidOption(f"collection={collection!r} belongs to STAC catalogues; {source!r} is none.")
        scene = _assemble(source, Asked(sensors, bands, crs, scale, time, chunks))
    return scene.crop(bbox=bbox) if bbox is not None else scene


def _assemble(source: Any, asked: Asked) -> Scene:
    parts, certain, notes = _take_apart(source, asked)
    asked.check(list(parts))
    modalities = {}
    for name, part in parts.items():
        if isinstance(part, Modality):
            modalities[name] = replace(part, name=name)
            continue
        # Read first: a missing or damaged file is the better answer than "which sensor made it?".
        pieces = read_source(part, chunks=asked.chunks, crs=asked.crs)
        products = products_in(part)
        told = sensor_of(products) if products else certain.get(name)
        wish = _wish(name, part, told, asked, (*notes, *notes_of(part)), described=_describe_themselves(pieces))
        modalities[name] = build_modality(apply_time(pieces, asked.of("time", name), name), wish)
    modalities = _on_common_ground(modalities, asked.crs)
    _warn_if_empty(modalities)
    return Scene(modalities, crs_of(next(iter(modalities.values())).grid), name=_title(source))


def _from_stac(source: Any, collection: Any, bbox: Any, asked: Asked) -> Scene:
    from georeset_lab.data.stac.modalities import stac_modalities, title_of

    found = stac_modalities(source, collection, bbox, asked, usual_name=_usual_name, specs_of=_specs)
    modalities = _on_common_ground(found, asked.crs)
    _warn_if_empty(modalities)
    return Scene(modalities, crs_of(next(iter(modalities.values())).grid), name=title_of(source))


def _take_apart(source: Any, asked: Asked) -> tuple[dict[str, Any], dict[str, str | None], tuple[str, ...]]:
    """Modality -> its source, sensors that file names make certain, and notes."""
    if isinstance(source, Mapping) and not isinstance(source, xr.Dataset):
        if not source:
            raise SceneReadError('The dict of modalities is empty; give for example {"s2": "S2L2A.tif"}.')
        return {name: resolve(part) for name, part in source.items()}, {}, ()
    folder = isinstance(source, str | os.PathLike) and Path(source).is_dir() and not is_zarr(Path(source))
    if folder and not isinstance(asked.sensors, str) and asked.bands is None:
        found, notes = scan(Path(source))
        return {k: v.items for k, v in found.items()}, {k: v.sensor for k, v in found.items()}, tuple(notes)
    part = resolve(source)
    return {_name_of_single(part, asked): part}, {}, ()


def _name_of_single(source: Any, asked: Asked) -> str:
    for value in (asked.sensors, asked.bands, asked.scale):
        if isinstance(value, Mapping) and len(value) == 1:
            return str(next(iter(value)))
    if isinstance(asked.sensors, str):
        return _usual_name(sensor(asked.sensors))
    products = products_in(source)
    if products:
        return products[0].modality.replace("s2_l1c", "s2")
    found = _guessed(source)
    return found[0].replace("s2_l1c", "s2") if found else "image"


def _usual_name(known: Sensor) -> str:
    for start, name in _USUAL_NAME.items():
        if known.name.startswith(start):
            return name + known.name.split("-")[1] if name == "l" else name
    return "image"


def _guessed(source: Any) -> tuple[str, str] | None:
    return next((found for text in describe(source) if (found := guess(Path(text))) is not None), None)


def _describe_themselves(pieces: Sequence[Piece]) -> bool:
    """Whether the files state the wavelengths of their bands, so that no sensor table is needed."""
    return all(any(f is not None and f.spec is not None for f in p.facts) or p.quality for p in pieces)


def _wish(
    name: str, part: Any, certain: str | None, asked: Asked, notes: tuple[str, ...], *, described: bool = False
) -> Wish:
    wanted, given = asked.of("sensors", name), asked.of("bands", name)
    if wanted is None and certain is not None:
        wanted = certain
    if wanted is None and given is None:
        found = _guessed(part)
        if found is None and described:
            return Wish(name, None, None, asked.of("scale", name), (*notes, "bands as the file describes them"))
        if found is None:
            raise UnknownSensor(
                f"Nothing says which sensor made modality {name!r} "
                f"({', '.join(describe(part)) or type(part).__name__}). "
                f'Pass sensors={{{name!r}: "sentinel-2-l2a"}} (or another), or bands=[BandSpec(...), ...].'
            )
        wanted = found[1]
        notes = (*notes, f"sensor {wanted} told from the file name")
    known = sensor(wanted) if wanted is not None else None
    return Wish(name, known, _specs(given, known, name), asked.of("scale", name), notes)


def _specs(given: Any, known: Sensor | None, name: str) -> list[BandSpec] | None:
    """BandSpecs of a list that may name bands of the sensor instead."""
    if given is None:
        return None
    texts = [b for b in given if isinstance(b, str)]
    if texts and known is None:
        raise UnknownSensor(f"bands= of modality {name!r} names {', '.join(texts)}; pass sensors= too, or BandSpecs.")
    return [match_bands(known, [b])[0] if isinstance(b, str) and known is not None else b for b in given]


def _on_common_ground(modalities: dict[str, Modality], crs: Any) -> dict[str, Modality]:
    from georeset_lab.data.align import to_common_ground

    target = parse_crs(crs) if crs is not None else None  # a geographic one only says what the sources are in
    return dict(to_common_ground(modalities, crs=None if target is None or target.geographic else target))


def _warn_if_empty(modalities: Mapping[str, Modality]) -> None:
    """Warn where no pixel was measured; lazy modalities are judged by the sample that decided their units."""
    empty = []
    for name, modality in modalities.items():
        judged = "no valid pixel" in " ".join(modality.notes) if modality.is_lazy else not _any_valid(modality)
        if judged:
            empty.append(name)
    if empty:
        which = "The scene" if len(empty) == len(modalities) else f"Modality {', '.join(map(repr, empty))}"
        warnings.warn(
            f"{which} holds no measured pixel: all are missing or masked. `encode` will return the prior there.",
            EmptyScene,
            stacklevel=4,
        )


def _any_valid(modality: Modality) -> bool:
    for step in (16, 1):  # every 16th row and column settles it nearly always
        pixels = slice(None, None, step)
        dates = range(modality.raw.shape[0])
        if any(bool(np.isfinite(modality.read(pixels, pixels, time=t)).any()) for t in dates):
            return True
    return False


def _is_own_store(source: Any) -> bool:
    if not isinstance(source, str | os.PathLike) or not is_zarr(Path(source)):
        return False
    from georeset_lab.data.scene_store import is_scene_store

    return is_scene_store(Path(source))


def _title(source: Any) -> str:
    return Path(source).stem if isinstance(source, str | os.PathLike) else "scene"
