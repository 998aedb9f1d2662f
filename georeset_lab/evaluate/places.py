"""Readers of the five test places: files of ``shared/data`` -> `Task`. Which classes and sides follow stated rules."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Calibration, Modality
from georeset_lab.data.scene import Scene
from georeset_lab.data.sensors import SENSORS
from georeset_lab.evaluate.splits import TEST, TRAIN, alternate_groups, block_ids, checkerboard, eligible_classes
from georeset_lab.evaluate.tasks import Task, TaskSpec

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

BLOCK_M = 280
"""Side of the checkerboard's blocks in metres, as in the yardstick table of shared/weights/galileo-nano."""

BLOCK_RULE = f"classes with >= 200 pixels in >= 6 blocks; checkerboard of {BLOCK_M} m blocks"
POLYGON_RULE = "classes with >= 200 pixels in >= 4 polygons; polygons of a class, largest first, to each side in turn"
TILE_RULE = "classes with >= 200 pixels in >= 6 tiles; upstream training tiles teach, validation and test tiles test"

_LULC = {1: "water", 2: "trees", 3: "flooded", 4: "crops", 5: "built", 6: "bare", 7: "snow", 9: "rangeland"}
_EOLEARN = {1: "cultivated", 2: "forest", 3: "grassland", 4: "shrubland", 5: "water", 6: "wetland", 8: "artificial"}
_ENMAP = {1: "roof", 2: "pavement", 3: "low vegetation", 4: "tree", 5: "soil", 6: "water"}
_TILE_PX = 32

# Landsat 5 TM, Level 1 before 1992: at-sensor radiance at DN 1 and 255 and solar irradiance, W/(m2 um) and W/(m2 sr um)
# (Chander, Markham and Helder, 2009, tables 2 and 4); K1, K2 of band 6 from the same paper.
_TM_RADIANCE = {
    "B1": (-1.52, 169.0, 1983.0),
    "B2": (-2.84, 333.0, 1796.0),
    "B3": (-1.17, 264.0, 1536.0),
    "B4": (-1.51, 221.0, 1031.0),
    "B5": (-0.37, 30.2, 220.0),
    "B6": (1.2378, 15.303, 0.0),
    "B7": (-0.15, 16.5, 83.44),
}
_TM_PLANCK = (607.76, 1260.56)
_TM_SUN = (49.0, 1.0128)
"""Sun elevation (degrees; computed for 3.8 S 49.9 W, 1988-08-14, about 13:00 UTC: the file's own MTL is not in the
folder; a degree is 1.5 % of reflectance) and distance (astronomical units, day 227)."""


def read_chip(data: Path, spec: TaskSpec) -> Task:
    """TerraMind chip: Sentinel-2 L2A and Sentinel-1 RTC, ESRI land cover (model-made)."""
    s2 = _read(data / spec.files[0], "s2", "sentinel-2-l2a")
    s1 = _read(data / spec.files[1], "s1", "sentinel-1-rtc")
    return _block_task(data, spec, Scene({"s2": s2, "s1": s1}, s2.grid.crs, spec.name), spec.files[2], _LULC)


def read_eopatch(data: Path, spec: TaskSpec) -> Task:
    """eo-learn test patch, Slovenia: the three clear Sentinel-2 L1C dates; the two others are cloudy (SOURCE.md)."""
    dates = [_read(data / name, "s2", "sentinel-2-l1c") for name in spec.files[:-1]]
    days = [np.datetime64(Path(name).stem[-10:], "ns") for name in spec.files[:-1]]
    raw = xr.concat([d.raw for d in dates], dim="time").assign_coords(time=("time", days))
    first = dates[0]
    s2 = Modality("s2", raw, first.bands, first.grid, first.calibration, sensor=first.sensor)
    return _block_task(data, spec, Scene({"s2": s2}, s2.grid.crs, spec.name), spec.files[-1], _EOLEARN)


def read_para_s2(data: Path, spec: TaskSpec) -> Task:
    """RStoolbox Sentinel-2 L2A, Para: hand polygons."""
    s2 = _read(data / spec.files[0], "s2", "sentinel-2-l2a")
    return _polygon_task(data, spec, Scene({"s2": s2}, s2.grid.crs, spec.name))


def read_para_l5(data: Path, spec: TaskSpec) -> Task:
    """RStoolbox Landsat 5 TM digital numbers, Para, as top-of-atmosphere reflectance and kelvin: hand polygons."""
    l5 = _read(data / spec.files[0], "l5", "landsat-5-l1", calibration=landsat5_calibration())
    return _polygon_task(data, spec, Scene({"l5": l5}, l5.grid.crs, spec.name))


def read_enmap(data: Path, spec: TaskSpec) -> Task:
    """EnMAP L2A, Potsdam: the good bands; hand-made labels; upstream split by tile."""
    image, labels_file, table, *lists = spec.files
    with (data / table).open(newline="") as f:
        rows = list(csv.DictReader(f))
    bands = [
        BandSpec(f"b{int(r['band']):03d}", float(r["wavelength_nm"]) / 1e3, float(r["fwhm_nm"]) / 1e3, 30.0)
        for r in rows
    ]
    good = [b.name for b, r in zip(bands, rows, strict=True) if r["bad"] == "0"]
    scale = Calibration((1e-4,) * len(bands), (0.0,) * len(bands), nodata=-32768)
    cube = _read(data / image, "enmap", "enmap-l2a", bands=bands, calibration=scale).select_bands(good)
    labels = _raster(data / labels_file, cube.grid)
    labels = np.where(labels == 255, 0, labels)
    groups = block_ids(labels.shape, _TILE_PX)
    side = tile_sides(labels.shape, groups, data, lists)
    groups = np.where(side >= 0, groups, -1)
    return _task(data, spec, Scene({"enmap": cube}, cube.grid.crs, spec.name), labels, groups, side, _ENMAP, TILE_RULE)


def tile_sides(shape: tuple[int, int], groups: np.ndarray, data: Path, lists: Sequence[str]) -> np.ndarray:
    """Side of each pixel from upstream's lists of tile names, the first list being the training tiles."""
    tiles: list[tuple[int, int, int]] = []
    for name in lists:
        with (data / name).open(newline="") as f:
            for row in csv.DictReader(f):
                x, y = (int(v) for v in Path(row["image"]).stem.split("_")[-2:])
                tiles.append((x, y, TRAIN if name == lists[0] else TEST))
    # The mosaic starts at the smallest tile offset of the full scene.
    x0, y0 = min(t[0] for t in tiles), min(t[1] for t in tiles)
    side = np.full(shape, -1, dtype=np.int8)
    for x, y, which in tiles:
        side[y - y0 : y - y0 + _TILE_PX, x - x0 : x - x0 + _TILE_PX] = which
    return side


def landsat5_calibration() -> Calibration:
    """Digital numbers of this Landsat 5 scene to top-of-atmosphere reflectance, and kelvin in band 6."""
    elevation, distance = _TM_SUN
    scale, offset, planck = [], [], []
    for low, high, sun in _TM_RADIANCE.values():
        gain = (high - low) / 254.0
        factor = np.pi * distance**2 / (sun * np.sin(np.radians(elevation))) if sun else 1.0
        scale.append(float(gain * factor))
        offset.append(float((low - gain) * factor))
        planck.append(None if sun else _TM_PLANCK)
    return Calibration(tuple(scale), tuple(offset), nodata=0, planck=tuple(planck))


def _block_task(data: Path, spec: TaskSpec, scene: Scene, labels_file: str, names: dict[int, str]) -> Task:
    grid = next(iter(scene.modalities.values())).grid
    labels = _raster(data / labels_file, grid)
    block_px = round(BLOCK_M / abs(grid.affine.a))
    groups, side = block_ids(labels.shape, block_px), checkerboard(labels.shape, block_px)
    return _task(data, spec, scene, labels, groups, side, names, BLOCK_RULE)


def _polygon_task(data: Path, spec: TaskSpec, scene: Scene) -> Task:
    import geopandas as gpd
    from rasterio.features import rasterize

    grid = next(iter(scene.modalities.values())).grid
    frame = gpd.read_file(data / spec.files[1]).to_crs(str(grid.crs))
    names = dict(enumerate(sorted(frame["class"].unique()), start=1))
    code = {name: k for k, name in names.items()}
    shapes = [(shape, i) for i, shape in enumerate(frame.geometry)]
    groups = rasterize(shapes, out_shape=tuple(grid.shape), transform=grid.affine, fill=-1, dtype="int32")
    of_polygon = np.array([code[c] for c in frame["class"]] + [0])
    labels = of_polygon[groups]
    side = alternate_groups(labels, groups)
    return _task(data, spec, scene, labels, groups.astype(np.int64), side, names, POLYGON_RULE)


def _task(
    data: Path,
    spec: TaskSpec,
    scene: Scene,
    labels: np.ndarray,
    groups: np.ndarray,
    side: np.ndarray,
    names: dict[int, str],
    rule: str,
) -> Task:
    known = np.where(np.isin(labels, list(names)), labels, 0).astype(np.int64)
    floor = 4 if rule == POLYGON_RULE else 6
    keep = eligible_classes(known, groups, min_pixels=200, min_groups=floor)
    grid = next(iter(scene.modalities.values())).grid
    return Task(
        spec.name, spec.title, scene, grid, known, groups, side, {k: names[k] for k in keep}, rule, spec.identity(data)
    )


def _raster(path: Path, grid: GeoBox) -> np.ndarray:
    """First layer of a label raster on `grid`, nearest neighbour."""
    import rasterio
    from rasterio.warp import Resampling, reproject

    out = np.zeros(tuple(grid.shape), dtype=np.int64)
    with rasterio.open(path) as src:
        reproject(
            src.read(1).astype(np.int32),
            out.view(),
            src_transform=src.transform,
            src_crs=src.crs,
            dst_transform=grid.affine,
            dst_crs=str(grid.crs),
            resampling=Resampling.nearest,
        )
    return out


def _read(
    path: Path,
    name: str,
    sensor: str,
    *,
    bands: Sequence[BandSpec] | None = None,
    calibration: Calibration | None = None,
) -> Modality:
    import rasterio
    from odc.geo.geobox import GeoBox

    with rasterio.open(path) as src:
        values, grid = src.read(), GeoBox(src.shape, src.transform, str(src.crs))
    table = SENSORS[sensor]
    specs = tuple(bands or table.bands)
    if calibration is None:
        calibration = Calibration.identity(len(specs))
        if sensor.startswith("sentinel-2") and values.max() > 10:
            raised = np.percentile(values[-1], 0.5) > 1000 and "433D" in str(path)
            calibration = Calibration((1e-4,) * len(specs), (-0.1 if raised else 0.0,) * len(specs), nodata=0)
    return Modality(name, xr.DataArray(values[None], dims=("time", "band", "y", "x")), specs, grid, calibration)
