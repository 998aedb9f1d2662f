"""`load_scene`: whatever holds satellite data becomes a `Scene`. Reading, naming and units are in ``readers/`` and ``units.py``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Modality
from georeset_lab.data.readers.assemble import Wish, build_modality
from georeset_lab.data.readers.folder import guess_from_name, list_folder
from georeset_lab.data.readers.raster import read_raster
from georeset_lab.data.scene import Scene
from georeset_lab.data.sensors import sensor
from georeset_lab.errors import SceneReadError, UnknownSensor


def load_scene(
    source: Any,
    *,
    sensors: str | Mapping[str, str] | None = None,
    bands: Sequence[BandSpec] | Mapping[str, Sequence[BandSpec]] | None = None,
    crs: Any = None,
    scale: Any = None,
    time: Any = None,
    bbox: tuple[float, float, float, float] | None = None,
    chunks: int | None = None,
    seed: int = 0,
    size: tuple[int, int] | None = None,
) -> Scene:
    """Co-registered modalities of one place, in physical units, from files, arrays or a simulation. Being widened."""
    if isinstance(source, Scene):
        return source.crop(bbox=bbox) if bbox is not None else source
    if isinstance(source, str) and source == "simulated":
        from georeset_lab.data.simulate import simulate_scene

        return simulate_scene(seed=seed, size=size)
    parts = dict(source) if isinstance(source, Mapping) else _expand(Path(os.fspath(source)), sensors)
    modalities: dict[str, Modality] = {}
    for name, part in parts.items():
        paths = [Path(os.fspath(p)) for p in (part if isinstance(part, list | tuple) else [part])]
        wish = Wish(
            name=name,
            sensor=_sensor_of(name, paths[0], sensors, _of(bands, name)),
            bands=_of(bands, name),
            scale=scale.get(name) if isinstance(scale, Mapping) else scale,
        )
        pieces = [read_raster(p, chunks=chunks, crs=crs) for p in paths]
        modalities[name] = build_modality(pieces, wish)
    modalities = _align(modalities)
    scene = Scene(modalities, next(iter(modalities.values())).grid.crs, name="scene")
    return scene.crop(bbox=bbox) if bbox is not None else scene


def _align(modalities: dict[str, Modality]) -> dict[str, Modality]:
    if len({m.grid.crs for m in modalities.values()}) == 1 and not next(iter(modalities.values())).grid.crs.geographic:
        return modalities
    from georeset_lab.data.align import to_common_ground

    return to_common_ground(modalities)


def _expand(path: Path, sensors: Any) -> dict[str, Any]:
    if not path.exists():
        raise SceneReadError(f'There is no file or folder {path}. Give a path, a dict of paths, or "simulated".')
    if path.is_dir():
        found = list_folder(path)
        skip = "s2_l1c" if "s2" in found else ""
        return {name: files for name, (_, files) in found.items() if name != skip}
    guess = guess_from_name(path)
    return {guess[0] if guess else "s2": path}


def _sensor_of(name: str, path: Path, sensors: Any, bands: Any) -> Any:
    given = sensors.get(name) if isinstance(sensors, Mapping) else sensors
    if given is not None:
        return sensor(given)
    if bands is not None:
        return None
    guess = guess_from_name(path)
    if guess is None:
        raise UnknownSensor(f'Which sensor made {path}? Pass sensors={{{name!r}: "sentinel-2-l2a"}} or bands=[BandSpec(...)].')
    return sensor(guess[1])


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else value
