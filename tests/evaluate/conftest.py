"""A planted task: three classes in stripes, two bands that tell them apart and one of pure noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Calibration, Modality
from georeset_lab.data.scene import Scene
from georeset_lab.evaluate.splits import block_ids, checkerboard
from georeset_lab.evaluate.tasks import Task, TaskSpec

SIDE = 72
BANDS = (
    BandSpec("B04", 0.665, 0.03, 10),
    BandSpec("B08", 0.842, 0.1, 10),
    BandSpec("B11", 1.61, 0.09, 20),
)


def scene_of(values: np.ndarray, name: str = "s2", bands: tuple[BandSpec, ...] = BANDS) -> Scene:
    """Scene of one modality from (T, C, Y, X) physical values."""
    grid = GeoBox.from_bbox(
        (500000, 0, 500000 + 10 * values.shape[3], 10 * values.shape[2]), "EPSG:32631", resolution=10
    )
    raw = xr.DataArray(values.astype(np.float32), dims=("time", "band", "y", "x"))
    modality = Modality(name, raw, bands, grid, Calibration.identity(len(bands)))
    return Scene({name: modality}, grid.crs, "planted")


def make_labels(side: int = SIDE) -> np.ndarray:
    """Classes 1, 2, 3 in diagonal stripes 5 pixels wide."""
    rows, cols = np.indices((side, side))
    return 1 + (rows + 2 * cols) // 5 % 3


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., Scene]:
    return scene_of


@pytest.fixture(scope="session")
def planted_labels() -> np.ndarray:
    return make_labels()


@pytest.fixture(scope="session")
def planted_scene(planted_labels: np.ndarray) -> Scene:
    rng = np.random.default_rng(0)
    means = np.array([[0.05, 0.40, 0.2], [0.20, 0.22, 0.2], [0.06, 0.04, 0.2]])
    values = means[planted_labels - 1].transpose(2, 0, 1) + rng.normal(0, 0.005, (3, SIDE, SIDE))
    return scene_of(values[None])


@pytest.fixture(scope="session")
def planted_task(planted_scene: Scene, planted_labels: np.ndarray) -> Task:
    groups, side = block_ids(planted_labels.shape, 12), checkerboard(planted_labels.shape, 12)
    classes = {1: "field", 2: "bare", 3: "water"}
    grid = planted_scene["s2"].grid
    return Task(
        "planted", "Planted", planted_scene, grid, planted_labels, groups, side, classes, "all", "id", ("home",)
    )


@pytest.fixture
def planted_spec(planted_task: Task, tmp_path: Path) -> tuple[Path, TaskSpec]:
    """A data folder and the spec that reads the planted task from it."""
    (tmp_path / "data" / "home").mkdir(parents=True)
    (tmp_path / "data" / "home" / "scene.txt").write_text("planted")
    return tmp_path / "data", TaskSpec("planted", "Planted", ("home/scene.txt",), lambda data, spec: planted_task)
