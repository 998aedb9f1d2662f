"""Sentinel-1 terrain-corrected folders, in which the file names state whether numbers are power, amplitude or dB.

Understood: ASF HyP3 (``S1A_IW_20200607T010800_DVP_RTC30_G_gpuned_A1B2_VV.tif``: radiometry g / s, scale p / a / d; HyP3 RTC
product guide), OPERA RTC-S1 (``OPERA_L2_RTC-S1_T069-147170-IW1_..._VV.tif``: gamma nought, power; product specification
JPL D-108758) and the RTC collection of Microsoft's Planetary Computer (``iw-vv.rtc.tiff``: gamma nought, power). A ground-range
product in SAFE format is read by ``sentinel1_grd.py``; a single-look complex one (SLC) is refused by name.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

from georeset_lab.data.bands import BandSpec, Polarization
from georeset_lab.data.readers.dates import date_in_name
from georeset_lab.data.readers.piece import Facts
from georeset_lab.data.readers.product import Layer, Product
from georeset_lab.data.sensors import sensor
from georeset_lab.errors import SceneReadError

_HYP3 = re.compile(
    r"^(?P<granule>S1[ABCD]_(?:IW|EW|S\d)_\d{8}T\d{6}_[DS][VH][PRO]_RTC\d\d_G_(?P<radiometry>[gsb])(?P<scale>[pad])\w{4}_"
    r"\w{4})_(?P<pol>VV|VH|HH|HV)\.tiff?$"
)
_OPERA = re.compile(r"^(?P<granule>OPERA_L2_RTC-S1_T\d{3}-\d{6}-[IE]W\d_\d{8}T\d{6}Z_.*)_(?P<pol>VV|VH|HH|HV)\.tiff?$")
_PLANETARY = re.compile(r"^(?:iw|ew)-(?P<pol>vv|vh|hh|hv)\.rtc\.tiff?$")
_SCALES = {"p": Facts(to_db=True), "a": Facts(to_db=True, amplitude=True), "d": Facts()}
_WORDS = {"p": "power", "a": "amplitude", "d": "dB"}
_RADIOMETRY = {"g": "gamma nought", "s": "sigma nought", "b": "beta nought"}


def recognise(path: Path) -> list[Product]:
    """Terrain-corrected products whose files lie in a folder.

    Raises
    ------
    SceneReadError
        The folder is a single-look complex product (SLC in SAFE format).
    """
    if not path.is_dir():
        return []
    _refuse_radar_geometry(path)
    granules: dict[str, list[tuple[str, Path, str, str]]] = {}
    for file in sorted(path.iterdir()):
        found = None if file.is_symlink() else _told_by_name(file)
        if found is not None:
            granule, *rest = found
            granules.setdefault(granule, []).append((rest[0], file, rest[1], rest[2]))
    return [_product(granule, files, path) for granule, files in granules.items()]


def _refuse_radar_geometry(folder: Path) -> None:
    measured = folder / "measurement"
    if (folder / "manifest.safe").is_file() and measured.is_dir() and any(measured.glob("s1*.tiff")):
        raise SceneReadError(
            f"{folder} is a Sentinel-1 product in the geometry of the radar (single-look complex, or none that is known): "
            "without a map grid, displaced by relief. Give the ground-range product (GRD) of the same date, or a "
            "terrain-corrected one (RTC from ASF HyP3, OPERA or the Planetary Computer), or correct it with "
            'ESA SNAP and load that: load_scene({"s1": "Gamma0_VV_db.tif"}, sensors={"s1": "sentinel-1-rtc"}).'
        )


def radar_spec(polarization: str) -> BandSpec:
    """Band of Sentinel-1 of one polarization."""
    (first, *_) = sensor("sentinel-1-rtc").bands
    if polarization not in get_args(Polarization):
        raise SceneReadError(f"Sentinel-1 has no polarization {polarization!r}.")
    return replace(first, name=polarization, polarization=cast(Polarization, polarization))


def _told_by_name(file: Path) -> tuple[str, str, str, str] | None:
    """Granule, polarization, scale letter and radiometry letter that a file name states."""
    if found := _HYP3.match(file.name):
        return found["granule"], found["pol"], found["scale"], found["radiometry"]
    if found := _OPERA.match(file.name):
        return found["granule"], found["pol"], "p", "g"
    if found := _PLANETARY.match(file.name):
        return file.parent.name, found["pol"].upper(), "p", "g"
    return None


def _product(granule: str, files: list[tuple[str, Path, str, str]], folder: Path) -> Product:
    layers = tuple(
        Layer(
            file,
            (pol,),
            facts=(replace(_SCALES[scale], spec=radar_spec(pol)),),
            nodata_if_silent=None if scale == "d" else 0.0,
        )
        for pol, file, scale, _ in files
    )
    scale, radiometry = files[0][2], files[0][3]
    note = f"{_RADIOMETRY[radiometry]}, stored as {_WORDS[scale]} as the file names say"
    return Product(folder / granule, "s1", "sentinel-1-rtc", date_in_name(granule), layers, notes=(note,))
