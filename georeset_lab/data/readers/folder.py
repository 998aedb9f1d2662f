"""Which modalities a folder holds, told from the names of its files and folders; only what those names make certain.

Forms that are understood: one modality per file (``S2L2A.tif``, ``S1RTC.tif``, ``DEM.tif``), one band per file
(``B02.tif``, ``..._B8A.tif``, ``VV.tif``, with ``cloud_mask.tif`` or ``SCL.tif`` beside them), NetCDF cubes
(``S2_L2A_10m.nc``), and folders of such folders (several dates, several modalities).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from georeset_lab.data.readers.sidecar import sidecar_tags
from georeset_lab.errors import SceneReadError

RASTERS = (".tif", ".tiff", ".jp2")
CUBES = (".nc", ".nc4")

_KNOWN: tuple[tuple[str, str, str], ...] = (
    (r"s2[abc]?[_-]?(msi)?l?2a(?![a-z])|(?<![a-z0-9])s2sr", "s2", "sentinel-2-l2a"),
    (r"s2[abc]?[_-]?(msi)?l?1c(?![a-z])", "s2_l1c", "sentinel-2-l1c"),
    (r"s1[abc]?[_-]?(iw[_-]?)?rtc", "s1", "sentinel-1-rtc"),
    (r"s1[abc]?[_-]?(iw[_-]?)?grd", "s1", "sentinel-1-grd"),
    (r"hls[._-]?s30", "hls_s30", "hls-s30"),
    (r"hls[._-]?l30", "hls_l30", "hls-l30"),
    (r"l[cote]0?(?P<n>[5789])_l2(sp|sr)|(?<![a-z0-9])l(?P<m>[5789])_sr(?![a-z])", "l{n}", "landsat-{n}-l2"),
    (r"l[cote]0?(?P<n>[5789])_l1(tp|gt|gs)|(?<![a-z0-9])l[cote](?P<m>[5789])\d{13}", "l{n}", "landsat-{n}-l1"),
    (r"enmap.*l2a|enmap\d\d[-_]+l2a", "enmap", "enmap-l2a"),
    (r"(^|[^a-z])dem([^a-z]|$)|(^|[^a-z])srtm([^a-z]|$)", "dem", "copernicus-dem"),
)
"""Pattern in a name in lower case, modality, sensor."""

_SKIPPED = re.compile(r"lulc|label|land_?cover|training|thumbnail|segm|cropcalendar|agera5|(^|_)l8_l2-st|^msk_|_pvi$")
_BAND = re.compile(
    r"(?:^|[_.])(b\d{1,2}a?|vv|vh|hh|hv|scl|qa_pixel|pixel_qa|qa_radsat|bqa|qa60|fmask|cloud_?mask)(?:_(\d{2})m)?$",
    re.IGNORECASE,
)
_DEEPEST = 4
_MOST_FILES = 4000


@dataclass
class Find:
    """One modality found in a folder."""

    sensor: str | None
    """Name of its sensor; None if the names do not make it certain."""
    items: list[Any] = field(default_factory=list)
    """Its files, or the products it was delivered in."""


def scan_folder(folder: Path) -> tuple[dict[str, Find], list[str]]:
    """Modalities of a folder, and notes on what was left out.

    Of two products of one acquisition (Level 1C and 2A) the better one is taken.

    Raises
    ------
    SceneReadError
        Nothing in the folder is understood, or it holds too many files to look through.
    """
    found: dict[str, Find] = {}
    whole: dict[str, Find] = {}
    skipped: list[str] = []
    for path in _finest_copies(_files(folder)):
        if _SKIPPED.search(path.stem.lower()):
            skipped.append(path.name)
        elif _BAND.search(path.stem):
            key, sensor = _of_band_file(path, folder)
            found.setdefault(key, Find(sensor)).items.append(path)
        elif (told := guess(path)) is not None:
            whole.setdefault(told[0], Find(told[1])).items.append(path)
        else:
            skipped.append(path.name)
    for key, find in whole.items():
        if key in found:  # a file that is no band among files that are one each: quality, thumbnails, angles
            skipped += [p.name for p in find.items]
        else:
            found[key] = find
    if not found:
        names = ", ".join(sorted(set(skipped))[:8]) or "no raster at all"
        raise SceneReadError(
            f"The names of the files in {folder} ({names}) do not say what they are. Say it: "
            'load_scene({"s2": "path of the file"}, sensors={"s2": "sentinel-2-l2a"}).'
        )
    notes = [f"left out of {folder.name}: {', '.join(sorted(set(skipped))[:8])}"] if skipped else []
    if "s2" in found and "s2_l1c" in found:
        del found["s2_l1c"]
        notes.append("Level 1C left out: Level 2A of the same place is there; name both in a dict to have both")
    elif "s2_l1c" in found:
        found["s2"] = found.pop("s2_l1c")
    return in_order(found), notes


def in_order(found: dict[str, Find]) -> dict[str, Find]:
    """Modalities in the usual order: optical, radar, elevation."""
    return dict(sorted(found.items(), key=lambda item: _rank(item[0])))


def guess(path: Path) -> tuple[str, str] | None:
    """Modality and sensor that the name of a file, or of the folders right above it, states."""
    for text in (path.stem, path.parent.name):
        found = _match(text)
        if found is not None:
            return found
    return None


def band_in_name(path: Path) -> str | None:
    """Band or quality layer that the end of a file name states, such as ``B02``, ``VV`` or ``cloud_mask``."""
    found = _BAND.search(path.stem)
    return found[1] if found else None


def _rank(modality: str) -> int:
    order = ("s2", "l", "hls", "enmap", "image", "s1", "dem")
    return next((i for i, start in enumerate(order) if modality.startswith(start)), len(order))


def _finest_copies(paths: Iterator[Path]) -> list[Path]:
    """Paths without the coarser copies of a band that a product holds at several pixel sizes (``B02_10m``, ``B02_20m``)."""
    finest: dict[str, tuple[int, Path]] = {}
    for path in paths:
        found = _BAND.search(path.stem)
        size = int(found[2]) if found and found[2] else 0
        key = re.sub(r"_\d{2}m$", "", path.stem) if size else str(path)
        if key not in finest or size < finest[key][0]:
            finest[key] = (size, path)
    return [path for _, path in finest.values()]


def _match(text: str) -> tuple[str, str] | None:
    for pattern, modality, sensor in _KNOWN:
        found = re.search(pattern, text.lower())
        if found is not None:
            number = next((v for v in found.groupdict().values() if v), "")
            return modality.format(n=number), sensor.format(n=number)
    return None


def _of_band_file(path: Path, root: Path) -> tuple[str, str | None]:
    """Modality and sensor of a one-band file, from the product's identifier beside it, or the names above it."""
    tags = sidecar_tags(path.parent)
    texts = [tags.get("PRODUCT_ID", ""), tags.get("SYSTEM:INDEX", ""), path.stem]
    for folder in (path.parent, *path.parent.parents):
        texts.append(folder.name)
        if folder == root:
            texts.append(folder.parent.name)
            break
    for text in texts:
        found = _match(text)
        if found is not None:
            return found
    band = str(band_in_name(path)).lower()
    return ("s1" if band in ("vv", "vh", "hh", "hv") else "image"), None


def _files(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Rasters and cubes of a folder and of the folders in it, in order, links not followed."""
    count = 0
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink() and depth < _DEEPEST and not path.name.startswith("."):
            inner: Iterator[Path] = _files(path, depth + 1)
        elif path.is_file() and path.suffix.lower() in RASTERS + CUBES:
            inner = iter((path,))
        else:
            continue
        for file in inner:
            count += 1
            if count > _MOST_FILES:
                raise SceneReadError(
                    f"{folder} holds more than {_MOST_FILES} rasters; name the ones that make a scene."
                )
            yield file
