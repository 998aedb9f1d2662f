"""`simulate_scene`: a landscape that never was, seen by Sentinel-2, Landsat 8, Sentinel-1, a spectrometer and a DEM.

It is plausible, not radiative transfer: mixing is linear, the air is a small residual, the radar is a table of classes
with moisture, growth and slope. Its use is that the truth is known. The place is drawn in ``place.py``, the ground in
``terrain.py``, ``landscape.py`` and ``town.py``, its spectra and seasons in ``endmembers.py``, ``season.py`` and
``radar.py``, the sensors in ``observe.py``; this file turns them into modalities and truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from odc.geo import CRS
from odc.geo.xr import xr_coords

from georeset_lab.data import observe
from georeset_lab.data.bands import BandSpec
from georeset_lab.data.endmembers import endmembers
from georeset_lab.data.landscape import CHANGES, COVERS, FINE, PIXEL_M, block_mean
from georeset_lab.data.modality import Calibration, Modality
from georeset_lab.data.place import CLASSES, CROPS, stream
from georeset_lab.data.radar import backscatter
from georeset_lab.data.scene import Scene
from georeset_lab.data.sensors import sensor
from georeset_lab.data.world import SCENE_CRS, World, build_world
from georeset_lab.errors import ShapeMismatch, UnknownModality

SIMULATED = ("s2", "l8", "s1", "hyper", "dem")
"""Modalities a simulated scene can have."""

WHO_SEES_WHAT: dict[str, tuple[str, ...]] = {
    "s2": ("land_cover", "vegetation_fraction", "built_fraction", "turbidity", "change"),
    "l8": ("land_cover", "vegetation_fraction", "built_fraction", "turbidity", "change"),
    "s1": ("land_cover", "vegetation_fraction", "built_fraction", "soil_moisture", "roughness", "change"),
    "hyper": ("land_cover", "vegetation_fraction", "built_fraction", "turbidity", "soil_mineral", "leaf_chemistry"),
    "dem": ("elevation",),
}
"""Truth variables each modality can see. Optical sees no roughness; radar no turbidity, mineral or chemistry; only the
spectrometer sees mineral and chemistry; heights are seen by the elevation model alone."""

NDVI_RANGE = {
    "water": (-1.0, 0.15), "trees": (0.05, 1.0), "grassland": (0.15, 0.9), "crops": (0.05, 0.92),
    "built": (-0.1, 0.82), "bare": (-0.1, 0.36),
}  # fmt: skip
"""Range of Sentinel-2 NDVI that holds at least 90 % of a class's pixels in a scene, over all its dates and seasons:
clear, unchanged, and of one class (``purity`` above 0.99). Checked for the first 60 seeds; winter trees may be leafless."""

NDWI_RANGE = {
    "water": (0.1, 1.0), "trees": (-1.0, -0.18), "grassland": (-0.78, -0.28), "crops": (-0.78, -0.18),
    "built": (-0.72, 0.08), "bare": (-0.75, 0.02),
}  # fmt: skip
"""The same for NDWI, (green - NIR) / (green + NIR) (McFeeters 1996)."""

VV_RANGE_DB = {
    "water": (-27.5, -10.5), "trees": (-16.0, -3.5), "grassland": (-19.8, -5.5), "crops": (-20.2, -5.5),
    "built": (-19.5, 1.5), "bare": (-23.0, -6.0),
}  # fmt: skip
"""The same for Sentinel-1 VV gamma nought with its speckle, dB, over calm and windy days."""


def simulate_scene(
    *,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    modalities: Sequence[str] = SIMULATED,
    dates: int = 3,
) -> Scene:
    """A made-up scene with the truth attached, the same bits for the same seed, size and dates.

    Each seed is another place: climate, season, sun, soils, crops, forests, relief, town and haze vary. What one
    modality measures does not depend on which others are asked for.

    Parameters
    ----------
    seed : int
        Not negative. Seed 0 is a temperate river valley with a town, the default of the package.
    size : tuple of int, optional
        Rows and columns in pixels of 10 m; 192 x 192 if not given. At least 1 x 1.
    modalities : sequence of str
        Any of ``"s2"``, ``"l8"``, ``"s1"``, ``"hyper"`` and ``"dem"``.
    dates : int
        Acquisitions of each of s2, l8 and s1, spread over a season; the spectrometer and the DEM have one.

    Returns
    -------
    Scene
        ``scene.truth`` is a Dataset on the 10 m grid; see ``WHO_SEES_WHAT``. ``land_cover`` holds positions in
        ``attrs["classes"]`` and is the state before the planted changes; ``change`` says where and what was changed
        between the first and the last date. Clouds and their shadows are masked, and are in the truth too.

    Raises
    ------
    ShapeMismatch
        The size, the seed or the number of dates is not possible.
    UnknownModality
        A modality cannot be simulated.

    Examples
    --------
    >>> scene = simulate_scene(size=(24, 24), modalities=("s2", "dem"), dates=2)
    >>> scene["s2"].raw.shape, scene["dem"].raw.shape
    ((2, 12, 24, 24), (1, 1, 8, 8))
    """
    unknown = [m for m in modalities if m not in SIMULATED]
    if unknown:
        raise UnknownModality(
            f"No modality {', '.join(map(repr, unknown))} can be simulated. Pass modalities= with some of {SIMULATED}."
        )
    rows, cols = size if size is not None else (192, 192)
    if min(rows, cols, dates) < 1 or seed < 0:
        raise ShapeMismatch(
            f"A scene of size {(rows, cols)} with {dates} dates and seed {seed} cannot be: rows, columns and dates must "
            "be at least 1, the seed at least 0. Pass for example simulate_scene(seed=1, size=(96, 96), dates=3)."
        )
    world = build_world(seed, (int(rows), int(cols)), dates)
    makers = {"s2": _s2, "l8": _l8, "s1": _s1, "hyper": _hyper, "dem": _dem}
    spectra = endmembers(world.place)
    made = {name: makers[name](world, spectra) for name in modalities}
    return Scene(made, crs=CRS(SCENE_CRS), name=f"simulated-{seed}", truth=_truth(world))


def _optical(
    world: World, name: str, bands: tuple[BandSpec, ...], spectra: np.ndarray, *, pixel_m: float,
    noise: tuple[float, float],
) -> np.ndarray:  # fmt: skip
    """Reflectance of every date, (T, C, y, x), on the whole landscape."""
    cubes = []
    for t, sky in enumerate(world.skies[name]):
        state = world.state(name, t)
        light = observe.sunlight(world.land.slope_y, world.land.slope_x, sky)
        rng = stream(world.place.seed, f"noise-{name}-{t}")
        cubes.append(observe.see_optical(state.weights, spectra, bands, sky, light, rng, pixel_m=pixel_m, noise=noise))
    return np.stack(cubes)


def _modality(
    world: World, name: str, values: np.ndarray, bands: tuple[BandSpec, ...], calibration: Calibration,
    pixel_m: float, time: np.ndarray, mask: np.ndarray | None, sensor_name: str | None,
) -> Modality:  # fmt: skip
    """Cut to the asked size and give coordinates."""
    grid = world.grid(pixel_m)
    ny, nx = grid.shape
    coords: dict[Any, Any] = {**xr_coords(grid, always_yx=True), "time": time}
    raw = xr.DataArray(
        np.ascontiguousarray(values[:, :, :ny, :nx]),
        dims=("time", "band", "y", "x"),
        coords={**coords, "band": [b.name for b in bands]},
        name=name,
    )
    masked = None
    if mask is not None:
        masked = xr.DataArray(np.ascontiguousarray(mask[:, :ny, :nx]), dims=("time", "y", "x"), coords=coords)
    note = "simulated: plausible, not radiative transfer"
    return Modality(name, raw, bands, grid, calibration, mask=masked, sensor=sensor_name, notes=(note,))


def _stored(physical: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """Unsigned 16-bit numbers as in a product; 0 stays free for nodata."""
    return np.clip(np.round((physical - offset) / scale), 1, 65535).astype(np.uint16)


def _mask(skies: list[observe.Sky], factor: int) -> np.ndarray:
    """True where any part of the pixel is under cloud or shadow, (T, y, x)."""
    masks = [sky.unusable for sky in skies]
    return np.stack([block_mean(m.astype(float), factor) > 0 for m in masks])


def _calibration(n: int, scale: float, offset: float, nodata: float) -> Calibration:
    return Calibration(scale=(scale,) * n, offset=(offset,) * n, nodata=nodata)


def _s2(world: World, spectra: np.ndarray) -> Modality:
    bands = sensor("sentinel-2-l2a").bands
    seen = _optical(world, "s2", bands, spectra, pixel_m=10, noise=(0.0008, 0.006))
    # As in products since baseline 04.00: 10000 * reflectance + 1000.
    calibration = _calibration(len(bands), 1e-4, -0.1, 0)
    # Atmospheric correction cuts reflectance below zero off.
    raw, mask = _stored(np.maximum(seen, 1e-4), 1e-4, -0.1), _mask(world.skies["s2"], 1)
    return _modality(world, "s2", raw, bands, calibration, 10, world.time("s2"), mask, "sentinel-2-l2a")


def _l8(world: World, spectra: np.ndarray) -> Modality:
    # Surface reflectance only: heat is not simulated.
    bands = tuple(b for b in sensor("landsat-8-l2").bands if b.kind == "reflectance")
    seen = _optical(world, "l8", bands, spectra, pixel_m=30, noise=(0.0012, 0.005))
    calibration = _calibration(len(bands), 2.75e-5, -0.2, 0)
    raw, mask = _stored(seen, 2.75e-5, -0.2), _mask(world.skies["l8"], 3)
    return _modality(world, "l8", raw, bands, calibration, 30, world.time("l8"), mask, "landsat-8-l2")


def _s1(world: World, spectra: np.ndarray) -> Modality:
    rng = stream(world.place.seed, "radar")
    look = np.radians(78.0 if rng.random() < 0.5 else 282.0)  # ascending or descending, right-looking
    cubes = []
    for t, day in enumerate(world.days["s1"]):
        noise = stream(world.place.seed, f"noise-s1-{t}")
        wind = float(noise.normal(0, 2.2))
        state = world.state("s1", t)
        power = backscatter(world.land, world.surface, state, wind, look, after=day > world.change_day)
        cubes.append(observe.speckle(power, noise))
    bands = sensor("sentinel-1-rtc").bands
    raw = np.stack(cubes).astype(np.float32)
    calibration = Calibration(scale=(1.0, 1.0), offset=(0.0, 0.0), nodata=None, to_db=True)
    return _modality(world, "s1", raw, bands, calibration, 10, world.time("s1"), None, "sentinel-1-rtc")


def _hyper(world: World, spectra: np.ndarray) -> Modality:
    bands = observe.hyperspectral_bands()
    seen = _optical(world, "hyper", bands, spectra, pixel_m=30, noise=(0.0015, 0.006))
    raw = np.clip(np.round(seen * 1e4), -1000, 32767).astype(np.int16)
    calibration = _calibration(len(bands), 1e-4, 0.0, -32768)
    return _modality(world, "hyper", raw, bands, calibration, 30, world.time("hyper"), None, None)


def _dem(world: World, spectra: np.ndarray) -> Modality:
    bands = sensor("copernicus-dem").bands
    heights = observe.see_elevation(world.land.elevation, stream(world.place.seed, "noise-dem"))
    calibration = Calibration(scale=(1.0,), offset=(0.0,), nodata=-32767.0)
    time = np.array(["NaT"], dtype="datetime64[ns]")
    raw = heights[None, None].astype(np.float32)
    return _modality(world, "dem", raw, bands, calibration, 30, time, None, "copernicus-dem")


def _truth(world: World) -> xr.Dataset:
    """What is really there, on the 10 m grid."""
    land, surface = world.land, world.surface
    skies = {name: world.skies[name] for name in ("s2", "l8")}
    states = [world.state("s2", t) for t in range(len(world.days["s2"]))]
    radar = [world.state("s1", t) for t in range(len(world.days["s1"]))]
    town = [COVERS.index(c) for c in ("asphalt", "concrete", "roof tile", "roof metal", "roof dark")]
    water = land.cover[COVERS.index("water")]
    plain: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "land_cover": (land.land_cover, {"classes": list(CLASSES), "long_name": "land cover before the changes"}),
        "purity": (land.purity, {"units": "1", "long_name": "share of the pixel under its land-cover class"}),
        "crop_type": (land.crop, {"classes": list(CROPS), "long_name": "crop, -1 = none"}),
        "change": (land.change, {"classes": list(CHANGES), "long_name": "change between first and last date"}),
        "parcel": (land.parcel, {"long_name": "number of the parcel, -1 = none"}),
        "elevation": (land.elevation, {"units": "m", "long_name": "height of ground or water"}),
        "vegetation_fraction": (np.mean([s.green for s in states], axis=0), {"units": "1"}),
        "leaf_area_index": (np.mean([s.lai for s in states], axis=0), {"units": "1"}),
        "soil_moisture": (np.mean([s.moisture for s in radar], axis=0), {"units": "m3 m-3"}),
        "built_fraction": (land.cover[town].sum(0), {"units": "1"}),
        "water_fraction": (water, {"units": "1"}),
        "water_depth": (land.depth, {"units": "m"}),
        "turbidity": (surface.turbidity, {"units": "FNU", "long_name": "suspended matter, NaN on land"}),
        "roughness": (surface.roughness, {"units": "1", "long_name": "roughness of bare ground, standardised"}),
        "soil_mineral": (surface.mineral, {"units": "1", "long_name": "carbonate against clay, standardised"}),
        "leaf_chemistry": (surface.chemistry, {"units": "1", "long_name": "wax and lignin, standardised"}),
    }
    grid = world.grid(PIXEL_M)
    cut = (slice(0, world.size[0]), slice(0, world.size[1]))
    data: dict[str, Any] = {}
    for name, (values, attrs) in plain.items():
        kept = values[cut]
        data[name] = (("y", "x"), kept.astype(np.float32) if kept.dtype.kind == "f" else kept, attrs)
    for name, list_ in skies.items():
        for kind in ("cloud", "shadow"):
            stack = np.stack([getattr(sky, kind)[cut] for sky in list_]).astype(np.float32)
            data[f"{kind}_{name}"] = ((f"time_{name}", "y", "x"), stack, {"units": "1"})
    coords: dict[Any, Any] = dict(xr_coords(grid, always_yx=True))
    coords |= {f"time_{name}": world.time(name) for name in skies}
    return xr.Dataset(data, coords=coords, attrs={"place": _describe(world), "seed": world.place.seed})


def _describe(world: World) -> str:
    place = world.place
    return (
        f"{place.climate}, latitude {place.latitude:.0f}, {place.water}, hills of {place.relief_m:.0f} m, "
        f"{', '.join(place.crops)}; geometry drawn at {PIXEL_M / FINE:g} m"
    )
