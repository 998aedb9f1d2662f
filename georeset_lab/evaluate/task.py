"""`Task` and `TaskSpec`: a real place with labels, and how it is made from the folder of data sets. No place is named here."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.scene import Scene
from georeset_lab.errors import GeoresetWarning, SceneReadError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox


@dataclass(frozen=True)
class Task:
    """One place with labels, ready to be split."""

    name: str
    title: str
    scene: Scene
    grid: GeoBox
    labels: np.ndarray
    """(Y, X) int, class code, 0 = none."""
    groups: np.ndarray
    """(Y, X) int, block, polygon or tile, -1 = none."""
    side: np.ndarray
    """(Y, X) int8, 0 = teaches, 1 = is tested, -1 = neither."""
    classes: dict[int, str]
    """The codes that take part."""
    rule: str
    """How the classes and the sides were chosen, for the report."""
    identity: str
    """SHA-256 of the files it was read from."""
    folders: tuple[str, ...] = ()
    """Folder names by which a card would name this place among its training scenes."""


@dataclass(frozen=True)
class TaskSpec:
    """How to make a task from the folder of data sets."""

    name: str
    title: str
    files: tuple[str, ...]
    load: Callable[[Path, TaskSpec], Task]
    modalities: tuple[str, ...] = ("s2",)
    other_sensor: bool = False
    """Averaged under "sensors that Galileo cannot read"."""
    derived: bool = False
    """Bands taken away from another task: no part of the mean over tasks."""

    def read(self, data: Path) -> Task:
        """Read the task.

        Raises
        ------
        SceneReadError
            One of its files is not under `data`.
        """
        missing = [f for f in self.files if not (data / f).is_file()]
        if missing:
            raise SceneReadError(
                f"Task {self.name!r} needs {', '.join(missing)} in {data}. Pass the folder that holds the data sets "
                f"({', '.join(sorted({f.split('/')[0] for f in self.files}))}) as data=, or leave the task out."
            )
        with warnings.catch_warnings():
            # Units and offsets of these files were checked by hand (their SOURCE.md); the notes stay on the scene.
            warnings.simplefilter("ignore", GeoresetWarning)
            return self.load(data, self)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders its files lie in, innermost only: what a card would call the place."""
        return tuple(sorted({f.split("/")[-2] for f in self.files}))

    def identity(self, data: Path) -> str:
        """SHA-256 over names and contents of its files."""
        digest = hashlib.sha256()
        for name in self.files:
            digest.update(name.encode() + b"\0" + hashlib.sha256((data / name).read_bytes()).digest())
        return digest.hexdigest()
