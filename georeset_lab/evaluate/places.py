"""Readers of the test places: files of ``shared/data`` -> `Task`. Which classes and sides follow stated rules."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.load import load_scene
from georeset_lab.data.scene import Scene
from georeset_lab.evaluate.patches import at_dates, nearest_dates, open_patch, quarter_dates
from georeset_lab.evaluate.splits import TEST, TRAIN, alternate_groups, block_ids, checkerboard, eligible_classes
from georeset_lab.evaluate.task import Task, TaskSpec

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

BLOCK_M = 280
"""Side of the checkerboard's blocks in metres, as in the yardstick table of shared/weights/galileo-nano."""

BLOCK_RULE = f"classes with >= 200 pixels in >= 6 blocks; checkerboard of {BLOCK_M} m blocks"
POLYGON_RULE = "classes with >= 200 pixels in >= 4 polygons; polygons of a class, largest first, to each side in turn"
TILE_RULE = f"classes with >= 200 pixels in >= 6 blocks of {BLOCK_M} m; upstream tiles (validation is tested too)"

_LULC = {1: "water", 2: "trees", 3: "flooded", 4: "crops", 5: "built", 6: "bare", 7: "snow", 9: "rangeland"}
_EOLEARN = {1: "cultivated", 2: "forest", 3: "grassland", 4: "shrubland", 5: "water", 6: "wetland", 8: "artificial"}
_ENMAP = {1: "roof", 2: "pavement", 3: "low vegetation", 4: "tree", 5: "soil", 6: "water"}
_TILE_PX = 32
_COARSE_M = 20
_CHIP_DAYS = {"chile": "2020-04-08", "denmark": "2017-10-30"}
"""Sentinel-2 dates, which only the label files state."""


def read_chip(data: Path, spec: TaskSpec) -> Task:
    """TerraMind chip: Sentinel-2 L2A, Sentinel-1 RTC and perhaps Copernicus DEM, ESRI land cover (model-made)."""
    *rasters, labels = (data / f for f in spec.files)
    sensors = {"s2": "sentinel-2-l2a", "s1": "sentinel-1-rtc", "dem": "copernicus-dem"}
    files = dict(zip(sensors, rasters, strict=False))
    scene = load_scene(files, sensors={name: sensors[name] for name in files}, time={"s2": _CHIP_DAYS[spec.name]})
    return _block_task(data, spec, scene, labels, _LULC)


def read_chip_20m(data: Path, spec: TaskSpec) -> Task:
    """TerraMind chip as a user of Sentinel-2's 20 m product has it: B05, B06, B07, B8A, B11, B12, no radar."""
    s2, labels = (data / f for f in spec.files)
    name = spec.name.removesuffix("-20m")
    scene = load_scene({"s2_20m": s2}, sensors={"s2_20m": "sentinel-2-l2a"}, time={"s2_20m": _CHIP_DAYS[name]})
    coarse = [b.name for b in scene["s2_20m"].bands if b.gsd_m == _COARSE_M]
    scene = replace(scene, modalities={"s2_20m": scene["s2_20m"].select_bands(coarse)})
    return _block_task(data, spec, scene, labels, _LULC)


def read_patch(data: Path, spec: TaskSpec) -> Task:
    """WorldCereal patch: a date of Sentinel-2 for each quarter with the nearest radar pass, Landsat 8 if there; parcel map.

    Of Landsat 8 there is surface temperature, in whole kelvins; each quarter has one of its dates too. The classes are
    named by their codes, as upstream's legend is under another licence.
    """
    import xarray as xr

    folder = Path(spec.files[-1]).parent
    scene = open_patch(data, folder.name)
    assert scene is not None  # TaskSpec.read has looked
    light = quarter_dates(scene["s2"], scene["s1"])
    radar = nearest_dates(scene["s1"], scene["s2"].times[light])
    modalities = {"s2": at_dates(scene["s2"], light), "s1": at_dates(scene["s1"], radar)}
    for file in (data / f for f in spec.files if "L8" in f):
        thermal = load_scene({"l8": file}, sensors={"l8": "landsat-8-l2"}, scale={"l8": 1.0})["l8"]
        modalities["l8"] = at_dates(thermal, quarter_dates(thermal))
    with xr.open_dataset(data / spec.files[-1], engine="h5netcdf", decode_coords=False) as stored:
        labels = stored["CT"].values.astype(np.int64)
    scene = replace(scene, modalities=modalities)
    px = _block_px(_grid(scene))
    names = {int(code): str(code) for code in np.unique(labels) if code > 0}
    groups, side = block_ids(labels.shape, px), checkerboard(labels.shape, px)
    return _task(data, spec, scene, labels, groups, side, names, BLOCK_RULE)


def read_eopatch(data: Path, spec: TaskSpec) -> Task:
    """eo-learn test patch, Slovenia: the three clear Sentinel-2 L1C dates; the two others are cloudy (SOURCE.md)."""
    *dates, labels = (data / f for f in spec.files)
    scene = load_scene({"s2": dates}, sensors={"s2": "sentinel-2-l1c"})
    return _block_task(data, spec, scene, labels, _EOLEARN)


def read_para_s2(data: Path, spec: TaskSpec) -> Task:
    """RStoolbox Sentinel-2 L2A, Para, resampled from degrees to UTM: hand polygons."""
    return _polygon_task(data, spec, load_scene({"s2": data / spec.files[0]}, sensors={"s2": "sentinel-2-l2a"}))


def read_para_l5(data: Path, spec: TaskSpec) -> Task:
    """RStoolbox Landsat 5 TM digital numbers, Para, with published gains: hand polygons."""
    return _polygon_task(data, spec, load_scene({"l5": data / spec.files[0]}, sensors={"l5": "landsat-5-l1"}))


def read_enmap(data: Path, spec: TaskSpec) -> Task:
    """EnMAP L2A, Potsdam: the good bands; hand-made labels; upstream split by tile."""
    image, labels_file, table, *lists = spec.files
    with (data / table).open(newline="") as f:
        rows = list(csv.DictReader(f))
    bands = [
        BandSpec(f"B{int(r['band']):03d}", float(r["wavelength_nm"]) / 1e3, float(r["fwhm_nm"]) / 1e3, 30.0)
        for r in rows
    ]
    good = [b.name for b, r in zip(bands, rows, strict=True) if r["bad"] == "0"]
    whole = load_scene({"enmap": data / image}, bands={"enmap": bands}, scale={"enmap": 1e-4})
    scene = replace(whole, modalities={"enmap": whole["enmap"].select_bands(good)})
    labels = _raster(data / labels_file, _grid(scene))
    labels = np.where(labels == 255, 0, labels)
    tiles = block_ids(labels.shape, _TILE_PX)
    side = tile_sides(labels.shape, data, lists)
    tiles = np.where(side >= 0, tiles, -1)
    return _task(data, spec, scene, labels, tiles, side, _ENMAP, TILE_RULE)


def tile_sides(shape: tuple[int, int], data: Path, lists: Sequence[str]) -> np.ndarray:
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


def _block_task(data: Path, spec: TaskSpec, scene: Scene, labels_file: Path, names: dict[int, str]) -> Task:
    grid = _grid(scene)
    labels, block_px = _raster(labels_file, grid), _block_px(grid)
    groups, side = block_ids(labels.shape, block_px), checkerboard(labels.shape, block_px)
    return _task(data, spec, scene, labels, groups, side, names, BLOCK_RULE)


def _polygon_task(data: Path, spec: TaskSpec, scene: Scene) -> Task:
    import geopandas as gpd
    from rasterio.features import rasterize

    grid = _grid(scene)
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
    first = next(iter(scene.modalities.values()))
    seen = np.isfinite(first.read(slice(None), slice(None))).any(axis=(0, 1))
    known = np.where(np.isin(labels, list(names)) & seen & (side >= 0), labels, 0).astype(np.int64)
    if rule == POLYGON_RULE:
        keep = eligible_classes(known, groups, min_pixels=200, min_groups=4)
    else:
        blocks = block_ids(known.shape, _block_px(first.grid))
        keep = eligible_classes(known, blocks, min_pixels=200, min_groups=6)
    classes = {k: names[k] for k in keep}
    return Task(
        spec.name, spec.title, scene, first.grid, known, groups, side, classes, rule, spec.identity(data), spec.folders
    )


def _grid(scene: Scene) -> GeoBox:
    return next(iter(scene.modalities.values())).grid


def _block_px(grid: GeoBox) -> int:
    return round(BLOCK_M / abs(grid.affine.a))


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
