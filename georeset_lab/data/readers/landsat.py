"""Landsat Level 1: counts of one scene become reflectance at the top of the atmosphere and brightness temperature.

Gains come from the MTL file beside the raster, else from published tables; the sun's elevation from the MTL, else from
date, place and the satellite's overpass time (good to some four degrees, which is said in the note).

Source of the tables: Chander, Markham and Helder 2009, Summary of current radiometric calibration coefficients for
Landsat MSS, TM, ETM+ and EO-1 ALI sensors, Remote Sensing of Environment 113, tables 3 to 7. TM: products made by LPGS,
scenes until 1991 (later ones differ in bands 1 and 2). ETM+: high gain, but low gain for band 4, the usual setting over
land.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.grids import crs_of
from georeset_lab.data.modality import Calibration
from georeset_lab.data.readers.grids import ground_of
from georeset_lab.data.readers.mtl import flat, read_groups
from georeset_lab.data.sensors import Sensor
from georeset_lab.data.times import day_of_year
from georeset_lab.errors import SceneReadError

_TM = {"B1": (0.671339, -2.19), "B2": (1.322205, -4.16), "B3": (1.043976, -2.21), "B4": (0.876024, -2.39),
       "B5": (0.120354, -0.49), "B6": (0.055376, 1.18), "B7": (0.065551, -0.22)}  # fmt: skip
_TM_AFTER_1991 = _TM | {"B1": (0.765827, -2.29), "B2": (1.448189, -4.29)}
_ETM = {"B1": (0.778740, -6.98), "B2": (0.798819, -7.20), "B3": (0.621654, -5.62), "B4": (0.969291, -6.07),
        "B5": (0.126220, -1.13), "B6": (0.067087, -0.07), "B7": (0.043898, -0.39), "B8": (0.975591, -5.68)}  # fmt: skip
"""Gain and bias of each band: radiance in W / (m2 sr um) = gain * count + bias."""

_SUN_TM = {"B1": 1983.0, "B2": 1796.0, "B3": 1536.0, "B4": 1031.0, "B5": 220.0, "B7": 83.44}
_SUN_ETM = {"B1": 1997.0, "B2": 1812.0, "B3": 1533.0, "B4": 1039.0, "B5": 230.8, "B7": 84.90, "B8": 1362.0}
"""Exo-atmospheric solar irradiance of each band, W / (m2 um)."""

_K_TM, _K_ETM = (607.76, 1260.56), (666.09, 1282.71)
_OVERPASS_HOUR = {5: 9.7, 7: 10.0, 8: 10.2, 9: 10.2}
"""Local solar time at which the descending node is crossed."""
_TM_CHANGE = np.datetime64("1991-05-02")


def level1_ways(
    sensor: Sensor, bands: Sequence[BandSpec], tags: Mapping[str, str], date: np.datetime64, grid: GeoBox
) -> list[tuple[str, Calibration]]:
    """Labelled calibrations of a Landsat Level-1 scene; empty if the sensor is none or the date is unknown."""
    found = re.fullmatch(r"landsat-(\d)-l1", sensor.name)
    if found is None:
        return []
    number = int(found[1])
    elevation, how = sun_elevation(tags, date, grid, _OVERPASS_HOUR[number])
    if sensor.encodings:
        return [
            (f"{e.name} counts, {how}", e.calibration(bands, sun_elevation_deg=elevation)) for e in sensor.encodings
        ]
    if elevation is None:
        return []
    stated = _from_mtl(bands, tags, elevation)
    if stated is not None:
        return [(f"gains of the MTL file, {how}", stated)]
    label = f"8-bit counts with published {'TM' if number == 5 else 'ETM+'} gains (Chander et al. 2009), {how}"
    return [(label, _published(number, bands, date, elevation))]


def sun_elevation(
    tags: Mapping[str, str], date: np.datetime64, grid: GeoBox, overpass_hour: float
) -> tuple[float | None, str]:
    """Sun's elevation in degrees at the centre of a grid, and where it comes from; None without tag and date."""
    try:
        stated = float(tags.get("SUN_ELEVATION", "nan"))
    except ValueError:
        stated = math.nan
    if 0 < stated <= 90:
        return stated, f"sun {stated:.1f} degrees high as the metadata say"
    if np.isnat(date):
        return None, "not corrected for the sun's elevation (no date, no metadata)"
    day = _day(date)
    declination = math.radians(-23.44) * math.cos(2 * math.pi * (day + 10) / 365.25)
    latitude = math.radians(centre_latitude(grid))
    hour = math.radians(15 * (overpass_hour - 12))
    sine = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(declination) * math.cos(hour)
    elevation = max(math.degrees(math.asin(sine)), 5.0)
    return elevation, f"sun about {elevation:.0f} degrees high (from date, place and overpass time)"


def _day(date: np.datetime64) -> int:
    return int(day_of_year(np.array([date], "datetime64[ns]"))[0])


def centre_latitude(grid: GeoBox) -> float:
    """Latitude of a grid's centre in degrees."""
    x, y = ground_of(grid, grid.shape[1] / 2, grid.shape[0] / 2)
    return float(crs_of(grid).transformer_to_crs("EPSG:4326")(x, y)[1])


def read_mtl(folder: Path) -> dict[str, str]:
    """Keys and values of the one MTL text file in a folder; empty if there is none or several."""
    files = sorted(folder.glob("*MTL.txt"))
    if len(files) != 1:
        return {}
    try:
        return flat(read_groups(files[0]))
    except SceneReadError:
        return {}


def _published(number: int, bands: Sequence[BandSpec], date: np.datetime64, elevation: float) -> Calibration:
    early = date < _TM_CHANGE
    gains = (_TM if early else _TM_AFTER_1991) if number == 5 else _ETM
    suns, planck = (_SUN_TM, _K_TM) if number == 5 else (_SUN_ETM, _K_ETM)
    distance = 1 - 0.01672 * math.cos(math.radians(0.9856 * (_day(date) - 4)))
    scale, offset, constants = [], [], []
    for band in bands:
        gain, bias = gains[band.name]
        factor = 1.0
        if band.kind == "reflectance":
            factor = math.pi * distance**2 / (suns[band.name] * math.sin(math.radians(elevation)))
        scale.append(gain * factor)
        offset.append(bias * factor)
        constants.append(planck if band.kind == "temperature" else None)
    return Calibration(tuple(scale), tuple(offset), 0, planck=tuple(constants) if any(constants) else None)


def _from_mtl(bands: Sequence[BandSpec], tags: Mapping[str, str], elevation: float) -> Calibration | None:
    sine = math.sin(math.radians(elevation))
    scale, offset, constants = [], [], []
    for band in bands:
        number = band.name.lstrip("B")
        kind = "RADIANCE" if band.kind == "temperature" else "REFLECTANCE"
        keys = [f"{kind}_MULT_BAND_{number}", f"{kind}_ADD_BAND_{number}"]
        if band.kind == "temperature":
            keys += [f"K1_CONSTANT_BAND_{number}", f"K2_CONSTANT_BAND_{number}"]
        try:
            values = [float(tags[k]) for k in keys]
        except (KeyError, ValueError):
            return None
        factor = 1.0 if band.kind == "temperature" else 1 / sine
        scale.append(values[0] * factor)
        offset.append(values[1] * factor)
        constants.append((values[2], values[3]) if len(values) == 4 else None)
    return Calibration(tuple(scale), tuple(offset), 0, planck=tuple(constants) if any(constants) else None)
