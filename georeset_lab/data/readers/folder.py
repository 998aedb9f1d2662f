"""Which modalities a folder of rasters holds, told from the names of its files. Fuller forms are being added."""

from __future__ import annotations

import re
from pathlib import Path

SENSOR_NAMES: tuple[tuple[str, str, str], ...] = (
    (r"s2[abc]?[_-]?(msi)?l?2a(?![a-z])", "s2", "sentinel-2-l2a"),
    (r"s2[abc]?[_-]?(msi)?l?1c(?![a-z])", "s2_l1c", "sentinel-2-l1c"),
    (r"s1[abc]?[_-]?(iw[_-]?)?rtc", "s1", "sentinel-1-rtc"),
    (r"s1[abc]?[_-]?(iw[_-]?)?grd", "s1", "sentinel-1-grd"),
    (r"(^|[_-])dem([_.-]|$)|srtm", "dem", "copernicus-dem"),
)
"""Pattern in a file or folder name, modality, sensor."""

RASTER_SUFFIXES = (".tif", ".tiff", ".jp2")


def guess_from_name(path: Path) -> tuple[str, str] | None:
    """Modality and sensor that a file name states, None if it states none."""
    for text in (path.stem, path.parent.name):
        for pattern, modality, sensor in SENSOR_NAMES:
            if re.search(pattern, text.lower()):
                return modality, sensor
    return None


def list_folder(folder: Path) -> dict[str, tuple[str, list[Path]]]:
    """Modality -> (sensor, files) of a folder whose file names say what they are."""
    found: dict[str, tuple[str, list[Path]]] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in RASTER_SUFFIXES):
        guess = guess_from_name(Path(path.name))
        if guess:
            found.setdefault(guess[0], (guess[1], []))[1].append(path)
    return found
