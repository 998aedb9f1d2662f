"""A planted task: three classes in stripes, two bands that tell them apart and one of pure noise.

And made-up windows with a tiny encoder, for the measures of the uncertainty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Calibration, Modality
from georeset_lab.data.scene import Scene
from georeset_lab.evaluate.splits import Split, block_ids, checkerboard, make_split
from georeset_lab.evaluate.task import Task, TaskSpec

if TYPE_CHECKING:
    from georeset_lab.evaluate.windows import Windows
    from georeset_lab.models.checkpoint import Model

SIDE = 72
TINY = {"latent_dim": 8, "n_local": 6, "width": 16, "depth": 1, "heads": 2, "n_learned": 2, "head_width": 16}
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


def simulated_windows(seeds: Sequence[int], dates: int = 1) -> Windows:
    """Four windows of each made-up place, without its clouds."""
    from georeset_lab.data.simulate import simulate_scene
    from georeset_lab.evaluate.windows import Windows, values, view_of

    scenes = [simulate_scene(seed=s, size=(96, 96), modalities=("s2", "s1"), dates=dates) for s in seeds]
    n = 4 * len(scenes)
    days, views = np.tile(np.linspace(100, 250, dates), (n, 1)), {}
    for name in ("s2", "s1"):
        whole = [np.nan_to_num(values(scene[name], list(range(dates)))) for scene in scenes]
        parts = [v[..., y : y + 48, x : x + 48] for v in whole for y in (0, 48) for x in (0, 48)]
        views[name] = view_of(name, np.stack(parts), days)
    return Windows(views, np.repeat(np.arange(len(scenes)), 4), tuple(f"place {s}" for s in seeds), np.arange(n))


@pytest.fixture(scope="session")
def model() -> Model:
    from georeset_lab.models.checkpoint import make_model
    from georeset_lab.models.encoder import EncoderConfig
    from georeset_lab.train.loop import untrained

    return make_model(untrained(EncoderConfig(**TINY), 0), name="tiny")


@pytest.fixture(scope="session")
def windows() -> Windows:
    return simulated_windows((1, 2))


@pytest.fixture(scope="session")
def others() -> Windows:
    return simulated_windows((3, 4, 5))


@pytest.fixture(scope="session")
def series() -> Windows:
    return simulated_windows((6,), dates=6)


@pytest.fixture(scope="session")
def measured(model: Model, windows: Windows, others: Windows, series: Windows) -> dict[str, Any]:
    """What the measures that need no real scene say of the tiny encoder, made three times as sure for calibration."""
    from georeset_lab.evaluate import calibrate, retrieval, robust
    from georeset_lab.evaluate.claims import claims
    from georeset_lab.models.fusion import Gaussian

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "experts", lambda e, v: Gaussian(*(3 * z for z in robust.experts(e, v))))
        calibrated = calibrate.calibrated(model, windows, others)
    return {
        "corruption": robust.corruption(model, windows, series),
        "retrieval": retrieval.retrieval(model, windows),
        "claims": claims(replace(model, card={"objective": "predict"}), windows),
        "calibrated": calibrated,
    }


@pytest.fixture
def sensor_maps() -> tuple[dict[str, np.ndarray], Split]:
    """Sensor s1 knows the classes, s2 holds noise; labels in stripes."""
    side, rng = 24, np.random.default_rng(0)
    labels = 1 + np.indices((side, side))[0] // 2 % 2
    s1 = rng.normal(size=(side, side, 3)) + 6 * (labels == 2)[..., None]
    s2 = rng.normal(size=(side, side, 3))
    groups = block_ids(labels.shape, 4)
    split = make_split(
        labels, groups, checkerboard(labels.shape, 4), {1: "one", 2: "two"}, sizes=(20,), n_draws=3
    )  # fmt: skip
    return {"fused": s1 + s2, "s2": s2, "s1": s1}, split
