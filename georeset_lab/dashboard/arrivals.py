"""What was uploaded to one page: rasters that wait for their sensor, scenes made of them, labels for the open book."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georeset_lab.dashboard.page import Raster
from georeset_lab.dashboard.sources import Source
from georeset_lab.dashboard.uploads import Upload
from georeset_lab.errors import InvalidOption

if TYPE_CHECKING:
    from georeset_lab.embed.labels.book import LabelBook

__all__ = ["Arrivals", "add_labels"]


class Arrivals:
    """Uploaded rasters and the scenes made of them.

    Parameters
    ----------
    luggage : dict
        Of the workspace: a page that is opened after a reload finds what the one before it had.
    """

    def __init__(self, luggage: dict[str, Any]) -> None:
        self._rasters: dict[str, Upload] = luggage.setdefault("rasters", {})
        self._sources: dict[str, Source] = luggage.setdefault("sources", {})

    @property
    def sources(self) -> list[Source]:
        """Scenes that were made of uploads."""
        return list(self._sources.values())

    @property
    def rasters(self) -> list[Raster]:
        """Rasters that were uploaded, as people see them."""
        return [_raster(key, upload) for key, upload in self._rasters.items()]

    def add(self, upload: Upload) -> None:
        """Keep a raster that was inspected."""
        self._rasters[upload.path.name] = upload

    def make_scene(self, chosen: Mapping[str, str]) -> Source:
        """One scene of rasters, key -> sensor.

        Raises
        ------
        InvalidOption
            A raster has no sensor.
        """
        from georeset_lab.data.sensors import SENSORS

        parts: dict[str, Path] = {}
        sensors: dict[str, str] = {}
        uploads = [self._rasters[key] for key in chosen if key in self._rasters]
        for upload in uploads:
            sensor = chosen[upload.path.name]
            if sensor not in SENSORS:
                raise InvalidOption(f"Say which sensor made {upload.name}.")
            modality = _free_name(sensor, parts)
            parts[modality], sensors[modality] = upload.path, sensor
        if not parts:
            raise InvalidOption("Upload a GeoTIFF first.")
        title = ", ".join(upload.name for upload in uploads)
        digests = "".join(sorted(f"{u.verdict.facts['sha256']} {chosen[u.path.name]}" for u in uploads))
        source = Source(
            title if len(title) < 60 else f"{len(parts)} uploads",
            parts,
            sensors,
            key=f"upload-{secrets.token_hex(8)}",  # of this page alone: its files go when it ends
            labels_key=f"upload-{hashlib.sha256(digests.encode()).hexdigest()[:16]}",
        )
        self._sources[source.key] = source
        return source


def add_labels(upload: Upload, book: LabelBook, grid: Any) -> str:
    """Add uploaded labels to a book, and say how many.

    Raises
    ------
    LabelError
        None of them touches the scene, or the book is full.
    """
    done = book.add_labels(checked_path(upload), grid=grid)
    outside = f" {done.outside} lie outside the scene." if done.outside else ""
    return f"{upload.name}: {done.added} labels added, {done.replaced} replaced.{outside}"


def remove(upload: Upload) -> None:
    """Delete the files of an upload."""
    for path in (upload.path, checked_path(upload)):
        path.unlink(missing_ok=True)


def checked_path(upload: Upload) -> Path:
    """Where `inspect_upload.py` has put the labels that it let through."""
    return upload.path.with_name(f"{upload.path.name}.checked")


def _free_name(sensor: str, taken: Mapping[str, Any]) -> str:
    name = sensor.replace("-", "_")
    return next(n for n in (name, *(f"{name}_{i}" for i in range(2, 100))) if n not in taken)


def _raster(key: str, upload: Upload) -> Raster:
    from georeset_lab.data.readers.folder import guess

    facts = upload.verdict.facts
    found = guess(Path(upload.name))  # a name without folders, read as text: nothing of this path is opened
    text = f"{facts['bands']} bands, {facts['width']} × {facts['height']} pixels, {facts['crs']}"
    return Raster(key, upload.name, text, found[1] if found else None)
