"""`simulate_scene`: a landscape that never was, seen by Sentinel-2, Landsat 8, Sentinel-1, a spectrometer and a DEM.

It is plausible, not radiative transfer: mixing is linear, the air is a small residual, the radar is a table of classes
with moisture, growth and slope. Its use is that the truth is known. The place is drawn in ``place.py``, the ground in
``terrain.py``, ``landscape.py`` and ``town.py``, its spectra and seasons in ``endmembers.py`` and ``season.py``, the
sensors in ``observe.py``; this file puts dates, grids and stored numbers together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from georeset_lab.data import observe
from georeset_lab.data.bands import BandSpec
from georeset_lab.data.endmembers import endmembers
from georeset_lab.data.landscape import CHANGES, COVERS, FINE, PIXEL_M, Landscape, build_landscape
from georeset_lab.data.modality import Calibration, Modality
from georeset_lab.data.place import CLASSES, CROPS, Place, draw_place, stream
from georeset_lab.data.scene import Scene
from georeset_lab.data.season import State, Surface, backscatter, draw_surface, ground_state
from georeset_lab.data.sensors import sensor
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
    "water": (-1.0, 0.25), "trees": (0.25, 0.96), "grassland": (0.08, 0.93), "crops": (0.02, 0.96),
    "built": (-0.15, 0.75), "bare": (-0.1, 0.5),
}  # fmt: skip
"""Range of Sentinel-2 NDVI that holds at least 90 % of a class's clear pixels in every simulated scene."""

NDWI_RANGE = {
    "water": (-0.1, 1.0), "trees": (-0.9, -0.2), "grassland": (-0.9, -0.1), "crops": (-0.9, 0.0),
    "built": (-0.75, 0.2), "bare": (-0.6, 0.2),
}  # fmt: skip
"""The same for NDWI, (green - NIR) / (green + NIR) (McFeeters 1996)."""

VV_RANGE_DB = {
    "water": (-27.0, -10.0), "trees": (-15.0, -3.0), "grassland": (-20.0, -6.0), "crops": (-21.0, -5.0),
    "built": (-20.0, 4.0), "bare": (-26.0, -6.0),
}  # fmt: skip
"""The same for Sentinel-1 VV gamma nought with its speckle, dB."""

_CRS = "EPSG:32718"
_CENTRE = (718850.0, 5698970.0)  # lon -72.48, lat -38.83: the Chilean river town of the design's example
_L8 = tuple(
    BandSpec(f"SR_B{i + 1}", c, w, 30)
    for i, (c, w) in enumerate(
        ((0.443, 0.016), (0.482, 0.06), (0.561, 0.057), (0.655, 0.037), (0.865, 0.028), (1.609, 0.085), (2.201, 0.187))
    )
)


@dataclass(frozen=True, slots=True)
class _World:
    """One place with its ground, dates and grid."""

    place: Place
    land: Landscape
    surface: Surface
    size: tuple[int, int]
    origin: tuple[float, float]
    days: dict[str, np.ndarray]
    """Days since 1 January of the place's year, of each modality's acquisitions."""
    change_day: float
    skies: dict[str, list[observe.Sky]]
    known: dict[tuple[str, int], State]
    """States worked out so far: sensor and truth look at the same one."""

    def state(self, name: str, t: int) -> State:
        """The ground at acquisition ``t`` of a modality."""
        if (name, t) not in self.known:
            day = float(self.days[name][t])
            rain = float(stream(self.place.seed, f"rain-{name}-{t}").random())
            rain = rain if name == "s1" else rain**2  # clear skies follow dry days
            sun = self.skies[name][t].elevation if name in self.skies else np.pi / 4
            after = day > self.change_day
            self.known[name, t] = ground_state(self.land, self.surface, day % 365, rain, sun, after=after)
        return self.known[name, t]

    def time(self, name: str) -> np.ndarray:
        """Acquisition times of a modality, datetime64[ns]."""
        start = np.datetime64(f"{self.place.year}-01-01T14:37:00", "s")
        return (start + (self.days[name] * 86400).astype("timedelta64[s]")).astype("datetime64[ns]")

    def grid(self, pixel_m: float) -> GeoBox:
        """Pixels of this size over the scene; the last row and column may reach past it."""
        shape = tuple(-(-int(n * PIXEL_M) // int(pixel_m)) for n in self.size)
        return GeoBox(shape, Affine(pixel_m, 0, self.origin[0], 0, -pixel_m, self.origin[1]), _CRS)


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
            f"A scene of size {(rows, cols)} with {dates} dates and seed {seed} cannot be: rows, columns and dates must be at "
            "least 1, the seed at least 0. Pass for example simulate_scene(seed=1, size=(96, 96), dates=3)."
        )
    world = _world(seed, (int(rows), int(cols)), dates)
    makers = {"s2": _s2, "l8": _l8, "s1": _s1, "hyper": _hyper, "dem": _dem}
    spectra = endmembers(world.place)
    made = {name: makers[name](world, spectra) for name in modalities}
    return Scene(made, crs=CRS(_CRS), name=f"simulated-{seed}", truth=_truth(world))


def _world(seed: int, size: tuple[int, int], dates: int) -> _World:
    place = draw_place(seed)
    # Whole 60 m pixels, and enough ground for a landscape to form; the scene is a part of it.
    shape = (max(48, -(-size[0] // 6) * 6), max(48, -(-size[1] // 6) * 6))
    land = build_landscape(place, shape)
    rng = stream(seed, "dates")
    middle = rng.uniform(0, 365) if seed else 20.0  # seed 0: southern summer
    span = float(rng.uniform(50, 260)) if seed else 150.0
    spread = np.linspace(-0.5, 0.5, dates) if dates > 1 else np.zeros(1)
    base = np.round(middle + span * spread + (rng.uniform(-6, 6, dates) if dates > 1 else 0))
    days = {
        "s2": base,
        "l8": base + rng.integers(-4, 5, dates),
        "s1": base + rng.integers(-3, 4, dates),
        "hyper": base[dates // 2 : dates // 2 + 1] + rng.integers(-2, 3),
    }
    days = {name: np.sort(d) for name, d in days.items()}
    change_day = float(middle + span * rng.uniform(-0.3, 0.3)) if dates > 1 else np.inf
    clear = {"s2": int(rng.integers(dates)), "l8": int(rng.integers(dates)), "hyper": 0}
    skies = {name: _skies(place, shape, name, days[name], best) for name, best in clear.items()}
    origin = (
        np.floor((_CENTRE[0] - size[1] * PIXEL_M / 2) / 60) * 60,
        np.ceil((_CENTRE[1] + size[0] * PIXEL_M / 2) / 60) * 60,
    )
    return _World(place, land, draw_surface(land), size, origin, days, change_day, skies, {})


def _skies(place: Place, shape: tuple[int, int], name: str, days: np.ndarray, best: int) -> list[observe.Sky]:
    """Sun, air and clouds of every overpass; there is no cloud on the ``best``."""
    return [
        observe.draw_sky(place, shape, float(day) % 365, f"{name}-{t}", clear=t == best) for t, day in enumerate(days)
    ]


def _optical(
    world: _World, name: str, bands: tuple[BandSpec, ...], spectra: np.ndarray, *, pixel_m: float, noise: tuple[float, float],
) -> np.ndarray:  # fmt: skip
    """Reflectance of every date, (T, C, y, x), on the whole landscape."""
    cubes = []
    for t, sky in enumerate(world.skies[name]):
        state = world.state(name, t)
        light = observe.sunlight(world.land.slope_y, world.land.slope_x, sky)
        rng = stream(world.place.seed, f"noise-{name}-{t}")
        cubes.append(
            observe.see_optical(state.weights, spectra, bands, sky, light, rng, pixel_m=pixel_m, noise=noise)
        )
    return np.stack(cubes)


def _modality(
    world: _World, name: str, values: np.ndarray, bands: tuple[BandSpec, ...], calibration: Calibration,
    pixel_m: float, time: np.ndarray, mask: np.ndarray | None, sensor_name: str | None,
) -> Modality:  # fmt: skip
    """Cut to the asked size and give coordinates."""
    grid = world.grid(pixel_m)
    ny, nx = grid.shape
    coords: dict[str, Any] = {**xr_coords(grid, always_yx=True), "time": time}
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
    return np.stack([observe.block_mean(m.astype(float), factor) > 0 for m in masks])


def _calibration(n: int, scale: float, offset: float, nodata: float) -> Calibration:
    return Calibration(scale=(scale,) * n, offset=(offset,) * n, nodata=nodata)


def _s2(world: _World, spectra: np.ndarray) -> Modality:
    bands = sensor("sentinel-2-l2a").bands
    seen = _optical(world, "s2", bands, spectra, pixel_m=10, noise=(0.0008, 0.006))
    # As in products since baseline 04.00: 10000 * reflectance + 1000.
    calibration = _calibration(len(bands), 1e-4, -0.1, 0)
    raw = _stored(seen, 1e-4, -0.1)
    return _modality(world, "s2", raw, bands, calibration, 10, world.time("s2"), _mask(world.skies["s2"], 1), "sentinel-2-l2a")


def _l8(world: _World, spectra: np.ndarray) -> Modality:
    seen = _optical(world, "l8", _L8, spectra, pixel_m=30, noise=(0.0012, 0.005))
    calibration = _calibration(len(_L8), 2.75e-5, -0.2, 0)
    raw = _stored(seen, 2.75e-5, -0.2)
    return _modality(world, "l8", raw, _L8, calibration, 30, world.time("l8"), _mask(world.skies["l8"], 3), "landsat-8-l2")


def _s1(world: _World, spectra: np.ndarray) -> Modality:
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


def _hyper(world: _World, spectra: np.ndarray) -> Modality:
    bands = observe.hyperspectral_bands()
    seen = _optical(world, "hyper", bands, spectra, pixel_m=30, noise=(0.0015, 0.006))
    raw = np.clip(np.round(seen * 1e4), -1000, 32767).astype(np.int16)
    calibration = _calibration(len(bands), 1e-4, 0.0, -32768)
    return _modality(world, "hyper", raw, bands, calibration, 30, world.time("hyper"), None, None)


def _dem(world: _World, spectra: np.ndarray) -> Modality:
    bands = sensor("copernicus-dem").bands
    heights = observe.see_elevation(world.land.elevation, stream(world.place.seed, "noise-dem"))
    calibration = Calibration(scale=(1.0,), offset=(0.0,), nodata=-32767.0)
    time = np.array(["NaT"], dtype="datetime64[ns]")
    raw = heights[None, None].astype(np.float32)
    return _modality(world, "dem", raw, bands, calibration, 30, time, None, "copernicus-dem")


def _truth(world: _World) -> xr.Dataset:
    """What is really there, on the 10 m grid."""
    land, surface = world.land, world.surface
    skies = {name: world.skies[name] for name in ("s2", "l8")}
    states = [world.state("s2", t) for t in range(len(world.days["s2"]))]
    radar = [world.state("s1", t) for t in range(len(world.days["s1"]))]
    town = [COVERS.index(c) for c in ("asphalt", "concrete", "roof tile", "roof metal", "roof dark")]
    water = land.cover[COVERS.index("water")]
    plain: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "land_cover": (land.land_cover, {"classes": list(CLASSES), "long_name": "land cover before the changes"}),
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
    coords: dict[str, Any] = dict(xr_coords(grid, always_yx=True))
    coords |= {f"time_{name}": world.time(name) for name in skies}
    return xr.Dataset(data, coords=coords, attrs={"place": _describe(world), "seed": world.place.seed})


def _describe(world: _World) -> str:
    place = world.place
    return (
        f"{place.climate}, latitude {place.latitude:.0f}, {place.water}, hills of {place.relief_m:.0f} m, "
        f"{', '.join(place.crops)}; geometry drawn at {PIXEL_M / FINE:g} m"
    )
