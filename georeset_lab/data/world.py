"""One simulated place with its ground, its dates and its skies: what all sensors of a scene look at together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.data.landscape import PIXEL_M, Landscape, build_landscape
from georeset_lab.data.observe import Sky, draw_sky
from georeset_lab.data.place import Place, draw_place, stream
from georeset_lab.data.season import State, Surface, draw_surface, ground_state

SCENE_CRS = "EPSG:32718"
"""Coordinate reference system of every simulated scene (UTM zone 18 south)."""

_CENTRE = (718790.0, 5699070.0)  # lon -72.48, lat -38.83: the Chilean river town of the design's example


@dataclass(frozen=True, slots=True)
class World:
    """One place with its ground, dates and grid."""

    place: Place
    land: Landscape
    surface: Surface
    size: tuple[int, int]
    """Rows and columns that were asked for; the ground may be larger."""
    origin: tuple[float, float]
    """Easting and northing of the upper left corner, multiples of 60 m."""
    days: dict[str, np.ndarray]
    """Days since 1 January of the place's year, of each modality's acquisitions."""
    change_day: float
    """Day on which the planted changes happen."""
    skies: dict[str, list[Sky]]
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
        ny, nx = (-(-int(n * PIXEL_M) // int(pixel_m)) for n in self.size)
        return GeoBox((ny, nx), Affine(pixel_m, 0, self.origin[0], 0, -pixel_m, self.origin[1]), SCENE_CRS)


def build_world(seed: int, size: tuple[int, int], dates: int) -> World:
    """The place of a seed with ``dates`` acquisitions, on at least ``size`` = (y, x) pixels of 10 m."""
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
    return World(place, land, draw_surface(land), size, origin, days, change_day, skies, {})


def _skies(place: Place, shape: tuple[int, int], name: str, days: np.ndarray, best: int) -> list[Sky]:
    """Sun, air and clouds of every overpass; there is no cloud on the ``best``."""
    return [draw_sky(place, shape, float(day) % 365, f"{name}-{t}", clear=t == best) for t, day in enumerate(days)]
