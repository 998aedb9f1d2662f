"""What the dashboard offers to open: scenes and embeddings, under a title, each told apart by a key.

Nothing is read before somebody asks for it, but a path that does not exist is refused when the server starts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georeset_lab.errors import SceneReadError

if TYPE_CHECKING:
    from georeset_lab.data.scene import Scene
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["Source", "make_sources"]

_TABLES = (".parquet", ".geoparquet")
"""Files that are opened as published embeddings, one row for each place."""


@dataclass(frozen=True, eq=False)
class Source:
    """One thing that can be opened."""

    title: str
    """What people read; text, never a path that is opened."""
    origin: Any
    """What `load_scene` takes, or embeddings, or a store of them."""
    sensors: Mapping[str, str] | None = None
    """Sensor of each modality, where the files do not say."""
    key: str = ""
    """Tells it apart from all others, also after a restart of the server."""
    labels_key: str = ""
    """Under which its labels are kept; by default `key`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or _key_of(self.origin, self.title))
        object.__setattr__(self, "labels_key", self.labels_key or self.key)

    def open(self) -> tuple[Scene | None, Embeddings | None]:
        """Scene, or None where only embeddings are known; and embeddings, or None where they are still to be made."""
        from georeset_lab.data.load import load_scene
        from georeset_lab.embed.embeddings import Embeddings, open_embeddings

        if isinstance(self.origin, Embeddings):
            return self.origin.scene, self.origin
        if isinstance(self.origin, str | os.PathLike) and _holds_embeddings(Path(self.origin)):
            return None, open_embeddings(self.origin)
        if isinstance(self.origin, str | os.PathLike) and Path(self.origin).suffix.lower() in _TABLES:
            from georeset_lab.embed.foreign import import_embeddings

            return None, import_embeddings(self.origin)
        return load_scene(self.origin, sensors=self.sensors), None


def make_sources(given: Any) -> list[Source]:
    """Sources of what `serve` was called with.

    Parameters
    ----------
    given : None, path, Scene, Embeddings, a sequence of these, or a mapping of title to one of these
        None, or an empty sequence, stands for the simulated scene.

    Raises
    ------
    SceneReadError
        A path does not exist.
    """
    if given is None or (isinstance(given, Sequence | Mapping) and not given):
        given = ["simulated"]
    if isinstance(given, Mapping):
        sources = [Source(str(title), origin) for title, origin in given.items()]
    else:
        many = isinstance(given, Sequence) and not isinstance(given, str)
        origins = list(given) if many else [given]
        sources = [Source(title, origin) for title, origin in zip(_titles(origins), origins, strict=True)]
    for source in sources:
        _check(source.origin)
    return sources


def _check(origin: Any) -> None:
    if isinstance(origin, str | os.PathLike) and origin != "simulated" and not Path(origin).exists():
        raise SceneReadError(
            f"There is no file or folder {os.fspath(origin)}. Give scene folders, GeoTIFFs or Zarr stores, or nothing for "
            "the simulated scene."
        )


def _holds_embeddings(path: Path) -> bool:
    from georeset_lab.data.readers.zarr import is_zarr
    from georeset_lab.data.scene_store import is_scene_store
    from georeset_lab.embed.stores.manifest import MANIFEST

    return is_zarr(path) and not is_scene_store(path) and (path / MANIFEST).is_file()


def _titles(origins: Sequence[Any]) -> list[str]:
    """A short name for each; with the folder above where two would be called the same."""
    short = [_title(origin) for origin in origins]
    titles = []
    for name, origin in zip(short, origins, strict=True):
        path = isinstance(origin, str | os.PathLike) and origin != "simulated"
        titles.append(f"{Path(origin).absolute().parent.name}/{name}" if path and short.count(name) > 1 else name)
    return [t if titles.count(t) == 1 else f"{t} ({titles[:i].count(t) + 1})" for i, t in enumerate(titles)]


def _title(origin: Any) -> str:
    if isinstance(origin, str) and origin == "simulated":
        return "Simulated landscape"
    if isinstance(origin, str | os.PathLike):
        path = Path(origin).absolute()
        return path.name if path.is_dir() and path.suffix != ".zarr" else path.stem
    name = getattr(origin, "name", None) or getattr(getattr(origin, "scene", None), "name", None)
    return str(name or type(origin).__name__)


def _key_of(origin: Any, title: str) -> str:
    if isinstance(origin, str) and origin == "simulated":
        return "simulated"
    if isinstance(origin, str | os.PathLike):
        return hashlib.sha256(os.fsencode(Path(origin).absolute())).hexdigest()[:16]
    return hashlib.sha256(f"{type(origin).__name__}\0{title}".encode()).hexdigest()[:16]
