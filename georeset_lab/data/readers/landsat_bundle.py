"""Landsat bundles, Collection 2 (and 1) Level 1 and 2: images and units as their MTL file says.

Level 1: top-of-atmosphere reflectance = (MULT * DN + ADD) / sin(sun elevation), brightness temperature = K2 / ln(K1 / L
+ 1) with radiance L = MULT * DN + ADD. Level 2: surface reflectance and surface temperature in kelvin = MULT * DN + ADD.
Source: Landsat 8-9 Collection 2 Data Format Control Book (LSDS-1822 and -1826) and Level 2 Science Product Guide
(LSDS-1619). Fill is 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from georeset_lab.data.readers.dates import parse_date
from georeset_lab.data.readers.mtl import Groups, flat, read_groups
from georeset_lab.data.readers.piece import Facts
from georeset_lab.data.readers.product import Layer, Product
from georeset_lab.data.sensors import sensor
from georeset_lab.errors import SceneReadError

_QUALITY = {
    "FILE_NAME_QUALITY_L1_PIXEL": ("QA_PIXEL", "qa_pixel"),
    "FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION": ("QA_RADSAT", "qa_radsat"),
    "FILE_NAME_BAND_QUALITY": ("BQA", "bqa"),  # Collection 1
}
_CONTENTS = ("PRODUCT_CONTENTS", "PRODUCT_METADATA")


def recognise(path: Path) -> list[Product]:
    """Landsat products whose MTL file and images lie in a folder, or that of one MTL file.

    Raises
    ------
    SceneReadError
        An MTL file is damaged or lacks what the units need.
    """
    if path.is_dir():
        found = [_product(p) for p in _metadata_in(path)]
        return [p for p in found if p is not None]
    if not path.name.upper().endswith(("_MTL.TXT", "_MTL.JSON")):
        return []
    product = _product(path)
    if product is None:
        raise SceneReadError(f"None of the images that {path} names lies beside it. Unpack all of the bundle.")
    return [product]


def _product(metadata: Path) -> Product | None:
    groups = read_groups(metadata)
    contents = next((groups[g] for g in _CONTENTS if g in groups), {})
    names = {k: Path(v).name for k, v in contents.items() if k.startswith("FILE_NAME_")}
    folder = metadata.parent
    if not any((folder / n).is_file() for k, n in names.items() if k.startswith("FILE_NAME_BAND_")):
        return None
    keys = flat(groups)
    level = 2 if contents.get("PROCESSING_LEVEL", contents.get("DATA_TYPE", "L1")).startswith("L2") else 1
    satellite, notes = _satellite(keys, metadata)
    known = sensor(f"landsat-{satellite}-l{level}")
    layers = []
    for key, name in names.items():
        if not (folder / name).is_file():
            if key in _QUALITY or _band_of(key):
                notes.append(f"{name} is not in the folder")
            continue
        if key in _QUALITY:
            label, kind = _QUALITY[key]
            layers.append(Layer(folder / name, (label,), quality={0: kind}))
            continue
        band = _band_of(key)
        spec = known.find(band) if band else None
        if spec is None:
            continue
        if level == 2:
            stated, facts = _level2(spec.name, spec.kind == "temperature", groups, metadata), Facts()
        else:
            stated, facts = _level1(spec.name, spec.kind == "temperature", groups, metadata)
        layers.append(Layer(folder / name, (spec.name,), (stated,), facts=(facts,), nodata=0.0))
    return Product(
        path=folder,
        modality=f"l{satellite}",
        sensor=known.name,
        time=parse_date(_when(keys)),
        layers=tuple(layers),
        tags={k: keys[k] for k in ("SUN_ELEVATION", "LANDSAT_PRODUCT_ID") if k in keys},
        notes=tuple(notes),
    )


def _metadata_in(folder: Path) -> list[Path]:
    """One MTL file of each scene in a folder: the text, else the JSON."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda p: p.suffix.lower() != ".txt"):
        if path.name.upper().endswith(("_MTL.TXT", "_MTL.JSON")) and path.is_file() and not path.is_symlink():
            found.setdefault(path.stem, path)
    return [found[k] for k in sorted(found)]


def _satellite(keys: Mapping[str, str], path: Path) -> tuple[int, list[str]]:
    found = re.fullmatch(r"LANDSAT_(\d)", keys.get("SPACECRAFT_ID", ""))
    number = int(found[1]) if found else 0
    if number == 4 and keys.get("SENSOR_ID") == "TM":
        return 5, ["Landsat 4 TM, described by the table of Landsat 5 TM, whose band edges are the same"]
    if number not in (5, 7, 8, 9) or keys.get("SENSOR_ID") == "MSS":
        raise SceneReadError(
            f"{path} is of {keys.get('SPACECRAFT_ID', 'no satellite')} {keys.get('SENSOR_ID', '')}, for which there is no "
            "table. Name its files and pass bands=[BandSpec(...), ...] and scale=."
        )
    return number, []


def _band_of(key: str) -> str | None:
    """Number of a band: ``4``, ``10``, ``6_VCID_1``; the second gain of Landsat 7's thermal band is left out."""
    found = re.fullmatch(r"FILE_NAME_BAND_(?:ST_B)?(\d{1,2}(?:_VCID_1)?)", key)
    return found[1] and f"B{found[1].replace('_VCID_1', '')}" if found else None


def _level2(band: str, thermal: bool, groups: Groups, path: Path) -> tuple[float, float]:
    number = band.removeprefix("B")
    if thermal:
        keys, what = _group(groups, "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS", path), f"BAND_ST_B{number}"
        return _value(keys, f"TEMPERATURE_MULT_{what}", path), _value(keys, f"TEMPERATURE_ADD_{what}", path)
    keys = _group(groups, "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", path)
    return _value(keys, f"REFLECTANCE_MULT_BAND_{number}", path), _value(keys, f"REFLECTANCE_ADD_BAND_{number}", path)


def _level1(band: str, thermal: bool, groups: Groups, path: Path) -> tuple[tuple[float, float], Facts]:
    keys = flat(groups)
    number = band.removeprefix("B")
    if thermal:
        if f"RADIANCE_MULT_BAND_{number}" not in keys:
            number += "_VCID_1"
        planck = _value(keys, f"K1_CONSTANT_BAND_{number}", path), _value(keys, f"K2_CONSTANT_BAND_{number}", path)
        scale, offset = (_value(keys, f"RADIANCE_{what}_BAND_{number}", path) for what in ("MULT", "ADD"))
        return (scale, offset), Facts(planck=planck)
    elevation = _value(keys, "SUN_ELEVATION", path)
    if not 0 < elevation <= 90:
        raise SceneReadError(
            f"{path} gives a sun elevation of {elevation:g} degrees: at night there is no reflectance. Load the thermal "
            "bands alone, by naming their files."
        )
    sine = math.sin(math.radians(elevation))
    scale, offset = (_value(keys, f"REFLECTANCE_{what}_BAND_{number}", path) for what in ("MULT", "ADD"))
    return (scale / sine, offset / sine), Facts()


def _group(groups: Groups, name: str, path: Path) -> Mapping[str, str]:
    if name not in groups:
        raise SceneReadError(f"{path} has no group {name}, so the units of its images are not known. Fetch it again.")
    return groups[name]


def _value(keys: Mapping[str, str], key: str, path: Path) -> float:
    try:
        value = float(keys[key])
    except (KeyError, ValueError):
        value = math.nan
    if not math.isfinite(value) or ("_MULT_" in key and value == 0):
        raise SceneReadError(
            f"{path} gives {keys.get(key, 'nothing')!r} for {key}; a number is needed. Fetch the product again."
        )
    return value


def _when(keys: Mapping[str, str]) -> str:
    date, clock = keys.get("DATE_ACQUIRED", ""), keys.get("SCENE_CENTER_TIME", "")
    return f"{date}T{clock}" if date and re.fullmatch(r"\d\d:\d\d:\d\d(\.\d+)?Z?", clock) else date
