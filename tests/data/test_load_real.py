"""Every real set with imagery opens with one documented call, in the right place and in plausible physical units.

The table is also the documentation: copy the call. Roles and licences are in the README of the shared data.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rioxarray
import xarray as xr
from scipy.io import loadmat

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.load import load_scene
from georeset_lab.data.scene import Scene
from georeset_lab.errors import GeoresetWarning, MissingCRS, SceneReadError, UnknownSensor

pytestmark = pytest.mark.real_data

CHIPS = {
    "282D_485L_3_3": (32722, 0.0, -0.1),
    "38D_378R_2_3": (32736, 0.0, 0.0),
    "433D_629L_3_1": (32718, -0.1, -0.1),
    "609U_541L_3_0": (32616, 0.0, -0.1),
    "637U_59R_1_3": (32632, 0.0, 0.0),
}
"""EPSG code, and offset of L2A and of L1C as SOURCE.md judges them by eye."""

EUROSAT = [*(f"B{i:02d}" for i in range(1, 13)), "B8A"]


@dataclass(frozen=True)
class Case:
    """One call and what must come back: shapes, EPSG code, warnings, and a check of values."""

    call: Callable[[Path], Scene]
    shapes: dict[str, tuple[int, int, int, int]]
    epsg: int
    warned: set[str] = field(default_factory=set)
    near: dict[str, float] = field(default_factory=dict)
    """Band as ``modality.band`` -> middle value in physical units, within a tenth or 0.01."""
    masked: dict[str, float] = field(default_factory=dict)
    """Share of pixels masked, within 0.02."""


def files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    assert found, f"nothing called {pattern} in {folder}"
    return found


def call(*path: str, **options: Any) -> Callable[[Path], Scene]:
    return lambda data: load_scene(data.joinpath(*path), **options)


def monthly(data: Path, name: str, pattern: str) -> dict[str, xr.Dataset]:
    """Sentinel-2 of a Belgian series: stored as int16 with the bits of uint16, 65535 for no data."""
    cube = xr.open_dataset(data / "sits-worldcereal-belgium-monthly" / name, decode_coords=False, mask_and_scale=False)
    bands = {f"B{n:02d}": cube[pattern.format(n)].astype("uint16") for n in (2, 3, 4, 5, 6, 7, 8, 11, 12)}
    for array in bands.values():
        array.attrs = {"_FillValue": 65535, "crs": "EPSG:32631"}
    return {"s2": xr.Dataset(bands)}


def radar_counts(data: Path) -> xr.Dataset:
    """Decibels = 20 log10(count) - 83."""
    path = data / "sits-openeo-gfmap-cubes/s1_grd_10dates_2023-04.nc"
    cube = xr.open_dataset(path, decode_coords=False, mask_and_scale=False)
    out = {}
    for name in ("VV", "VH"):
        counts = cube[f"S1-SIGMA0-{name}"].astype("uint16").astype("float32")
        out[name] = (20 * np.log10(counts.where((counts > 0) & (counts < 65535))) - 83).astype("float32")
        out[name].attrs = {"crs": "EPSG:32631"}
    return xr.Dataset(out)


MODIS = [BandSpec("red", 0.645, 0.05, 231.66), BandSpec("nir", 0.858, 0.035, 231.66),
         BandSpec("blue", 0.469, 0.02, 231.66), BandSpec("mir", 2.13, 0.05, 231.66)]  # fmt: skip


def modis(data: Path) -> dict[str, xr.Dataset]:
    """Files in which the "bands" are dates; -1.7e308 is no data."""
    folder = data / "sits-dtwsat-sinop-modis"
    dates = pd.to_datetime((folder / "timeline.txt").read_text().split())
    out = {}
    for band in MODIS:
        array = rioxarray.open_rasterio(folder / f"{band.name}.tif").rename(band="time")
        out[band.name] = array.where(array > -1e30).assign_coords(time=dates)
    return {"modis": xr.Dataset(out)}


def aviris(data: Path) -> list[BandSpec]:
    channels = loadmat(data / "jasper-ridge/jasperRidge2_R198.mat")["SlectBands"].ravel()
    return [BandSpec(f"c{k}", (380 + (int(k) - 1) * 9.507) / 1000, 0.0095, 5) for k in channels]


def jasper(data: Path) -> dict[str, xr.DataArray]:
    stored = loadmat(data / "jasper-ridge/jasperRidge2_R198.mat")["Y"]
    cube = stored.reshape(198, 100, 100).transpose(0, 2, 1)
    coords = {"y": 4_140_000 - 5 * (np.arange(100) + 0.5), "x": 565_000 + 5 * (np.arange(100) + 0.5)}
    return {"aviris": xr.DataArray(cube, dims=("band", "y", "x"), coords=coords)}


WC = "sits-worldcereal-cubes"
CASES: dict[str, Case] = {
    "terramind chip, the call of the issue": Case(
        lambda data: load_scene(
            {n: data / "terramind-chips/433D_629L_3_1" / f for n, f in
             {"s2": "S2L2A.tif", "s1": "S1RTC.tif", "dem": "DEM.tif"}.items()},
            sensors={"s2": "sentinel-2-l2a", "s1": "sentinel-1-rtc", "dem": "copernicus-dem"},
        ),
        {"s2": (1, 12, 224, 224), "s1": (1, 2, 224, 224), "dem": (1, 1, 224, 224)}, 32718,
        {"UnitsInferred"}, {"s2.B04": 0.056, "s2.B08": 0.205, "s1.VV": -12.3, "dem.elevation": 131},
    ),
    "major tom": Case(
        call("majortom-s2l2a-199U_1099R"), {"s2": (1, 12, 1068, 1068)}, 32648, {"UnitsInferred"},
        {"s2.B04": 0.071, "s2.B08": 0.254, "s2.B11": 0.268}, {"s2": 0.0},
    ),
    "ssl4eo": Case(
        call("ssl4eo-s12-0000200"), {"s2": (2, 12, 259, 258), "s1": (2, 2, 259, 258)}, 32643,
        {"UnitsInferred", "Reprojected", "CroppedToCommonExtent"}, {"s2.B04": 0.105, "s2.B8A": 0.316, "s1.VV": -9.95},
    ),
    "ssl4eo level 1C": Case(
        call("ssl4eo-s12-0000200", "s2c", "0000200"), {"s2": (2, 13, 259, 258)}, 32643,
        {"UnitsInferred", "Reprojected"}, {"s2.B01": 0.159, "s2.B10": 0.001},
    ),
    "landsat 8 with its quality band": Case(
        lambda data: load_scene({"l8": files(data / "landsat8-sattestdata", "*_30m.tif")}),
        {"l8": (1, 10, 603, 627)}, 32616, {"UnitsInferred"}, {"l8.B4": 0.051, "l8.B5": 0.205, "l8.B10": 290},
        {"l8": 0.32},
    ),
    "landsat 8 with its panchromatic band": Case(
        lambda data: load_scene({"l8": files(data / "landsat8-sattestdata", "*.tif")}),
        {"l8": (1, 11, 1206, 1254)}, 32616, {"UnitsInferred"}, {"l8.B8": 0.059}, {"l8": 0.32},
    ),
    "sentinel-2 20 m bands": Case(
        call("sentinel2-20m-sattestdata", "S2_L1C_20m_6bands_512.tif"), {"s2": (1, 6, 512, 512)}, 32618,
        {"UnitsInferred"}, {"s2.B05": 0.072, "s2.B12": 0.020},
    ),
    "rstoolbox sentinel-2": Case(
        lambda data: load_scene(
            {"s2": data / "rstoolbox-sentinel2-para/S2_L2A_10m_12bands_x10000.tif",
             "dem": data / "rstoolbox-sentinel2-para/SRTM.tif"}
        ),
        {"s2": (1, 12, 237, 248), "dem": (1, 1, 237, 248)}, 32721, {"UnitsInferred", "Reprojected"},
        {"s2.B04": 0.025, "s2.B08": 0.294, "dem.elevation": 30.7},
    ),
    "rstoolbox landsat 5 counts": Case(
        lambda data: load_scene(
            {"l5": data / "rstoolbox-landsat5-para/LT52240631988227_TM_7bands_DN.tif",
             "dem": data / "rstoolbox-landsat5-para/SRTM.tif"},
            sensors={"l5": "landsat-5-l1", "dem": "copernicus-dem"},
        ),
        {"l5": (1, 7, 310, 287), "dem": (1, 1, 310, 287)}, 32622, {"UnitsInferred"},
        {"l5.B3": 0.039, "l5.B4": 0.246, "l5.B6": 296.4},
    ),
    "enmap": Case(
        call("enmap-potsdam", "enmap_potsdam_mosaic.tif", sensors="enmap-l2a"), {"enmap": (1, 218, 192, 160)}, 32633,
        set(), {"enmap.B050": 0.062},
    ),
    "eo-learn, five dates": Case(
        lambda data: load_scene(
            {"s2": files(data / "eolearn-testeopatch", "S2_L1C_*.tif"), "dem": data / "eolearn-testeopatch/DEM.tif"}
        ),
        {"s2": (5, 13, 101, 100), "dem": (1, 1, 101, 100)}, 32633, set(), {"s2.B04": 0.050, "s2.B08": 0.286},
    ),
    "worldcereal, a folder of cubes": Case(
        call(WC, "BE-31UDS-2018"),
        {"s2": (118, 10, 64, 64), "l8": (26, 7, 64, 64), "s1": (159, 2, 32, 32), "dem": (1, 1, 32, 32)}, 32631,
        set(), {"s2.B04": 0.077, "s2.B8A": 0.287, "l8.B4": 0.077, "l8.B10": 297, "s1.VV": -8.6, "dem.elevation": 42},
        {"s2": 0.50, "l8": 0.48},
    ),
    "worldcereal, named": Case(
        lambda data: load_scene(
            {"s2": files(data / WC / "BE-31UES-2019a", "S2_L2A_*0m.nc"),
             "s1": data / WC / "BE-31UES-2019a/S1_GRD-ASCENDING_20m.nc"}
        ),
        {"s2": (72, 10, 64, 64), "s1": (80, 2, 32, 32)}, 32631, set(), {"s2.B08": 0.345, "s1.VV": -10.1},
        {"s2": 0.46},
    ),
    "worldcereal without 10 m bands": Case(
        call(WC, "BE-31UES-2019b"), {"s2": (146, 6, 32, 32), "l8": (23, 7, 64, 64), "s1": (157, 2, 32, 32)}, 32631,
    ),
    "worldcereal, Tanzania": Case(
        call(WC, "TZ-37MBS-2021"), {"s2": (136, 6, 32, 32), "s1": (60, 2, 32, 32), "dem": (1, 1, 32, 32)}, 32737,
        set(), {"s2.B05": 0.137, "s1.VV": -9.6}, {"s2": 0.54},
    ),
    "worldcereal, surface temperature": Case(
        call(WC, "BE-31UES-2019a", "L8_L2-ST_10m.nc", sensors={"l8": "landsat-8-l2"}), {"l8": (61, 1, 64, 64)}, 32631,
        set(), {"l8.B10": 293}, {"l8": 0.5},
    ),
    "lahinch, QA60 and no-data border": Case(
        lambda data: load_scene({"s2": files(data / "ravaen-lahinch-s2-series", "S2L1C_*.tif")}),
        {"s2": (5, 13, 158, 214)}, 32629, {"UnitsInferred"}, {"s2.B01": 0.137}, {"s2": 0.27},
    ),
    "openEO cube of April 2023": Case(
        call("sits-openeo-gfmap-cubes", "s2_12dates_2023-04.nc", sensors="sentinel-2-l2a"), {"s2": (12, 4, 66, 64)},
        32631, {"UnitsInferred"}, {"s2.B04": 0.033}, {"s2": 0.83},
    ),
    "openEO cube, classic netCDF": Case(
        call("sits-openeo-gfmap-cubes", "s2_19dates_10m_rgbn_scl_cloudy.nc", sensors="sentinel-2-l2a"),
        {"s2": (19, 4, 52, 46)}, 32631, {"UnitsInferred"}, {"s2.B04": 0.056}, {"s2": 0.87},
    ),
    "oli2msi, unnamed RGB": Case(
        lambda data: load_scene(
            {"s2": data / "oli2msi-pair/S2B_10m_RGB_toa.tif", "l8": data / "oli2msi-pair/L8_40m_RGB_toa.tif"},
            sensors={"s2": "sentinel-2b-l1c", "l8": "landsat-8-l1"},
            bands={"s2": ["B04", "B03", "B02"], "l8": ["B4", "B3", "B2"]},
        ),
        {"s2": (1, 3, 479, 480), "l8": (1, 3, 120, 120)}, 32649, set(), {"s2.B04": 0.063, "l8.B4": 0.062},
    ),
    "taizhou, two dates of Landsat 7 counts": Case(
        lambda data: load_scene({"l7": files(data / "taizhou-landsat7-change", "L7*.tif")}, sensors="landsat-7-l1"),
        {"l7": (2, 6, 400, 400)}, 32651, {"UnitsInferred"}, {"l7.B3": 0.108, "l7.B4": 0.243},
    ),
    "a large JPEG 2000": Case(
        lambda data: load_scene(
            files(data / "s2-t33uuu-large-pair", "ref_*.jp2")[0], sensors={"s2": "sentinel-2-l1c"}, bands=["B04"],
            scale=(1e-4, 0),
        ),
        {"s2": (1, 1, 3200, 2400)}, 32633,
    ),
    "eurosat, file order": Case(
        call("eurosat-ucm-samples", "EuroSAT_MS", "SeaLake", "SeaLake_3000.tif",
             sensors="sentinel-2-l1c", bands=EUROSAT),
        {"s2": (1, 13, 64, 64)}, 32635, {"UnitsInferred"}, {"s2.B01": 0.109, "s2.B8A": 0.016},
    ),
    "eurosat, crops": Case(
        lambda data: load_scene(files(data / "eurosat-ucm-samples/EuroSAT_MS/AnnualCrop", "*.tif")[0],
                                sensors="sentinel-2-l1c", bands=EUROSAT, scale=(1e-4, 0)),
        {"s2": (1, 13, 64, 64)}, 32635,
    ),
    "eurosat, pasture": Case(
        lambda data: load_scene(files(data / "eurosat-ucm-samples/EuroSAT_MS/Pasture", "*.tif")[0],
                                sensors="sentinel-2-l1c", bands=EUROSAT, scale=(1e-4, 0)),
        {"s2": (1, 13, 64, 64)}, 32632,
    ),
    "oli2msi, second place": Case(
        call("oli2msi-pair", "S2B_10m_RGB_toa_second_place.tif", sensors="sentinel-2b-l1c", bands=["B04", "B03", "B02"]),
        {"s2": (1, 3, 480, 480)}, 32649,
    ),
    "a large JPEG 2000, the other date": Case(
        lambda data: load_scene(
            files(data / "s2-t33uuu-large-pair", "tgt_*.jp2")[0], sensors={"s2": "sentinel-2-l1c"}, bands=["B04"],
            scale=(1e-4, 0),
        ),
        {"s2": (1, 1, 3152, 2074)}, 32633,
    ),
    "bigearthnet, Austria, both sensors": Case(
        lambda data: load_scene(
            {"s2": data / "bigearthnet-examples/BigEarthNet-S2-Example/S2A_MSIL2A_20170613T101031_87_48",
             "s1": data / "bigearthnet-examples/BigEarthNet-S1-Example/S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"},
            sensors={"s1": "sentinel-1-grd"},
        ),
        {"s2": (1, 12, 120, 120), "s1": (1, 2, 120, 120)}, 32633, {"UnitsInferred"},
    ),
    "belgium, 12 monthly composites": Case(
        lambda data: load_scene(monthly(data, "belgium_12months_100px_s1s2meteo.nc", "S2-L2A-B{:02d}"),
                                sensors={"s2": "sentinel-2-l2a"}, scale=(1e-4, 0)),
        {"s2": (12, 9, 100, 100)}, 32631,
    ),
    "belgium, 20 monthly composites": Case(
        lambda data: load_scene(monthly(data, "belgium_20months_101px_s1s2meteo_wcmaps.nc", "B{}"),
                                sensors={"s2": "sentinel-2-l2a"}, scale=(1e-4, 0)),
        {"s2": (20, 9, 101, 101)}, 32631,
    ),
    "openEO radar counts, as decibels": Case(
        lambda data: load_scene({"s1": radar_counts(data)}, sensors={"s1": "sentinel-1-grd"}),
        {"s1": (10, 2, 66, 64)}, 32631,
    ),
    "modis, 137 dates": Case(
        lambda data: load_scene(modis(data), bands={"modis": MODIS}, crs="EPSG:32721"),
        {"modis": (137, 4, 28, 44)}, 32721, {"Reprojected"},
    ),
    "jasper ridge, a cube without a place": Case(
        lambda data: load_scene(jasper(data), bands={"aviris": aviris(data)}, scale=(1 / 5000, 0), crs="EPSG:32610"),
        {"aviris": (1, 198, 100, 100)}, 32610,
    ),
}  # fmt: skip

GOLDEN: dict[str, dict[str, tuple[float, tuple[int, int, int], float]]] = {
    # Reflectance x 10000, the chip's L2A carries +1000: 0.0001 * n - 0.1. Radar in dB, elevation in m, as stored.
    "terramind chip, the call of the issue": {
        "s2.B04": (0.0650749, (0, 37, 41), 0.0282), "s1.VV": (-12.4216, (0, 37, 41), -9.09375),
        "dem.elevation": (135.041, (0, 37, 41), 219),
    },
    "major tom": {  # x 10000 without offset; B11 has 20 m pixels, each repeated twice a side
        "s2.B04": (0.0831864, (0, 500, 321), 0.0648), "s2.B08": (0.262537, (0, 500, 321), 0.2554),
        "s2.B11": (0.275591, (0, 500, 321), 0.1992),
    },
    "ssl4eo": {"s2.B04": (0.113932, (0, -1, -1), 0.1114), "s1.VV": (-9.99279, (0, -1, -1), -6.95825)},
    "landsat 8 with its quality band": {  # (n * 2e-5 - 0.1) / sin(64.7436 deg); K2 / ln(K1 / (n * 3.342e-4 + 0.1) + 1)
        "l8.B4": (0.0719102, (0, 300, 200), 0.0672927), "l8.B5": (0.22298, (0, 300, 200), 0.284893),
        "l8.B10": (286.732, (0, 300, 200), 292.501),
    },
    "sentinel-2 20 m bands": {"s2.B05": (0.0823327, (0, 100, 100), 0.1273), "s2.B12": (0.0463375, (0, 100, 100), 0.0956)},
    "rstoolbox sentinel-2": {"s2.B04": (0.039878, (0, -1, -1), 0.0286), "s2.B08": (0.254767, (0, -1, -1), 0.4228)},
    # Band 6: L = 0.055376 n + 1.18, 1260.56 / ln(607.76 / L + 1) (Chander et al. 2009). Pixel: n = 137.
    "rstoolbox landsat 5 counts": {"l5.B6": (296.637, (0, 100, 100), 296.382)},
    "enmap": {"enmap.B050": (0.0650022, (0, 10, 10), 0.0398)},
    "eo-learn, five dates": {"s2.B04": (0.103773, (0, 50, 50), 0.0356), "dem.elevation": (711.584, (0, 50, 50), 692)},
    "worldcereal, a folder of cubes": {  # stored number * 0.0001 (reflectance, dB), * 0.1 (kelvin)
        "s2.B04": (0.283965, (3, 10, 12), 0.0657), "s2.B08": (0.439757, (3, 10, 12), 0.2227),
        "s1.VV": (-8.19694, (3, 10, 12), -4.0356), "l8.B4": (0.2088, (3, 10, 12), 0.0599),
    },
    "lahinch, QA60 and no-data border": {"s2.B04": (0.163658, (0, 60, 70), 0.067)},
    "oli2msi, unnamed RGB": {"l8.B4": (0.0711387, (0, 50, 50), 0.0540039)},
    "oli2msi, second place": {"s2.B04": (0.0735729, (0, 100, 100), 0.0447)},
    "a large JPEG 2000": {"s2.B04": (0.0984355, (0, 1600, 1200), 0.1018)},
    "a large JPEG 2000, the other date": {"s2.B04": (0.20821, (0, 1600, 1200), 0.1682)},
    "eurosat, file order": {"s2.B01": (0.108867, (0, 20, 20), 0.1087), "s2.B8A": (0.0162176, (0, 20, 20), 0.0163)},
    "eurosat, crops": {"s2.B01": (0.13232, (0, 20, 20), 0.1328), "s2.B8A": (0.203055, (0, 20, 20), 0.2315)},
    "eurosat, pasture": {"s2.B01": (0.113709, (0, 20, 20), 0.1109), "s2.B8A": (0.442436, (0, 20, 20), 0.5467)},
    "bigearthnet, Austria, both sensors": {
        "s2.B04": (0.0990929, (0, 60, 60), 0.1079), "s1.VV": (-11.9612, (0, 60, 60), -14.1881),
    },
    "belgium, 12 monthly composites": {"s2.B08": (0.302955, (5, 40, 50), 0.2684)},  # x 10000, 65535 is no data
    "belgium, 20 monthly composites": {"s2.B08": (0.288166, (0, 0, 0), math.nan)},
    "openEO radar counts, as decibels": {"s1.VV": (-11.9932, (3, 30, 30), -15.4648)},  # 20 log10(n) - 83
    "openEO cube of April 2023": {"s2.B04": (math.nan, (4, 20, 20), 0.2188)},  # x 10000; dark pixels of 227: no offset
    "openEO cube, classic netCDF": {"s2.B04": (math.nan, (4, 20, 20), 0.0684)},
    "modis, 137 dates": {"modis.nir": (0.320264, (20, -1, -1), 0.2273)},  # reflectance as stored
    "jasper ridge, a cube without a place": {"aviris.c54": (0.329211, (0, 40, 60), 0.5172)},  # n / 5000
}  # fmt: skip
"""Mean of a band over its measured pixels, masked or not, and one pixel (time, row, column), in physical units.

Worked out from the stored numbers (read with rasterio and h5py alone) by the formulas of each SOURCE.md, as commented; row
-1 is a pixel of a resampled set, whose source value must occur; NaN is not compared.
"""


@pytest.mark.parametrize("name", CASES)
def test_the_documented_call_opens_the_set(name: str, shared_data: Path) -> None:
    case = CASES[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scene = case.call(shared_data)
    ours = {w.category.__name__ for w in caught if issubclass(w.category, GeoresetWarning)}
    assert ours == case.warned
    assert {k: m.raw.shape for k, m in scene.modalities.items()} == case.shapes
    assert scene.crs.epsg == case.epsg
    for key, wanted in case.near.items():
        modality, band = key.split(".")
        values = scene[modality].select_bands([band]).read(slice(None), slice(None))
        assert np.nanmedian(values) == pytest.approx(wanted, rel=0.1, abs=0.01), key
    for modality, share in case.masked.items():
        mask = scene[modality].mask
        assert mask is not None
        assert float(mask.mean()) == pytest.approx(share, abs=0.02)
    for key, (mean, (time, row, col), pixel) in GOLDEN.get(name, {}).items():
        modality, band = key.split(".")
        values = replace(scene[modality].select_bands([band]), mask=None).read(slice(None), slice(None))[:, 0]
        resampled = row < 0
        if not math.isnan(mean):
            assert np.nanmean(values) == pytest.approx(mean, rel=0.02 if resampled else 1e-3), key
        if resampled:
            assert np.nanmin(np.abs(values[time] - pixel)) < 1e-5 * max(1, abs(pixel)), key
        elif not math.isnan(pixel):
            assert values[time, row, col] == pytest.approx(pixel, rel=1e-5, abs=2e-6), key


@pytest.mark.parametrize("chip", CHIPS)
def test_each_chip_is_told_whether_it_carries_the_offset(chip: str, shared_data: Path) -> None:
    epsg, l2a, l1c = CHIPS[chip]
    folder = shared_data / "terramind-chips" / chip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeoresetWarning)
        scene = load_scene({"s2": folder / "S2L2A.tif", "s2_l1c": folder / "S2L1C.tif"})
        whole = load_scene(folder)
    assert scene.crs.epsg == epsg
    assert scene["s2"].calibration.offset == (l2a,) * 12
    assert scene["s2_l1c"].calibration.offset == (l1c,) * 13
    assert list(whole) == ["s2", "s1", "dem"]
    # Level 1C and 2A of one moment agree where the atmosphere is clear of effect.
    near = [float(np.nanmedian(m.select_bands(["B11"]).data)) for m in (scene["s2"], scene["s2_l1c"])]
    assert near[0] == pytest.approx(near[1], abs=0.06)


@pytest.mark.parametrize("product", ["BigEarthNet-S2-Example", "BigEarthNet-S1-Example"])
def test_bigearthnet_patches_open_by_folder(product: str, shared_data: Path) -> None:
    for folder in files(shared_data / "bigearthnet-examples" / product, "*_*"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GeoresetWarning)
            scene = load_scene(folder)
        (modality,) = scene.modalities.values()
        assert modality.raw.shape == (1, 12 if "S2" in product else 2, 120, 120)
        assert not np.isnat(modality.times).any()
        low, high = (0.0, 0.6) if "S2" in product else (-30, 0)
        assert low < float(np.nanmedian(modality.data)) < high
        assert set(modality.calibration.offset) == {0.0}


def test_rondonia_red_under_the_name_b07_is_noticed(shared_data: Path) -> None:
    from georeset_lab.data.readers.suspect import contradictions
    from georeset_lab.data.sensors import sensor

    series = np.load(shared_data / "sits-rondonia-s2" / "t20lkp_481.npz")["X"]
    names = ["B02", "B03", "B07", "B08", "B8A", "B11", "B12"]
    specs: list[BandSpec] = [b for n in names if (b := sensor("sentinel-2-l2a").find(n)) is not None]
    values = series[..., :7].reshape(-1, 7).T
    found = contradictions(values, specs)
    assert len(found) == 1
    assert "band B07" in found[0]


def test_no_real_band_is_suspected_wrongly(shared_data: Path) -> None:
    for name in ("terramind chip, the call of the issue", "major tom", "eo-learn, five dates", "enmap", "ssl4eo"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GeoresetWarning)
            scene = CASES[name].call(shared_data)
        for modality in scene.modalities.values():
            assert not any("infrared" in n for n in modality.notes), modality.notes


NO_SCENE = {
    "aid-unlabelled-96": "display pictures without place or unit",
    "landsat8-s2-pixel-series": "series of one pixel",
    "levir-cd-samples": "display pictures without place or unit",
    "lulc-patches-terramind": "patches of the chips, as arrays",
    "sits-cawa-ndvi": "table of series",
    "sits-cbers-awfi-cube": "vegetation index",
    "sits-cerrado-embeddings": "table of embeddings",
    "sits-landsat-ccd-pixels": "series of single pixels",
    "sits-mato-grosso-modis": "table of series",
    "sits-pelletier-csv": "table of series",
    "sits-presto-regression": "table of series",
    "sits-prodes-deforestation": "table of series",
    "sits-rondonia-s2": "table of series",
    "sits-sinop-ndvi-demo": "vegetation index",
    "sits-worldcereal-pixels": "table of series",
    "spechomo-matched-spectra": "table of spectra",
    "ucmerced-rgb": "display pictures without place or unit",
}
"""Folders of the shared data that hold no measured image, and why."""

OF_FOLDER = {
    "bigearthnet-examples": "bigearthnet", "enmap-potsdam": "enmap", "eolearn-testeopatch": "eo-learn",
    "eurosat-ucm-samples": "eurosat", "jasper-ridge": "jasper", "landsat8-sattestdata": "landsat 8",
    "majortom-s2l2a-199U_1099R": "major tom", "oli2msi-pair": "oli2msi", "ravaen-lahinch-s2-series": "lahinch",
    "rstoolbox-landsat5-para": "rstoolbox landsat 5", "rstoolbox-sentinel2-para": "rstoolbox sentinel-2",
    "s2-t33uuu-large-pair": "a large JPEG 2000", "sentinel2-20m-sattestdata": "sentinel-2 20 m",
    "sits-dtwsat-sinop-modis": "modis", "sits-openeo-gfmap-cubes": "openEO",
    "sits-worldcereal-belgium-monthly": "belgium", "sits-worldcereal-cubes": "worldcereal", "ssl4eo-s12-0000200": "ssl4eo",
    "taizhou-landsat7-change": "taizhou", "terramind-chips": "terramind",
}  # fmt: skip
"""Folder -> how the names of its cases begin."""


def test_every_folder_of_the_shared_data_is_in_the_table_or_said_to_hold_no_scene(shared_data: Path) -> None:
    folders = {p.name for p in shared_data.iterdir() if p.is_dir()}
    assert folders <= set(OF_FOLDER) | set(NO_SCENE)
    for folder, start in OF_FOLDER.items():
        cases = [name for name in CASES if name.startswith(start)]
        assert cases, folder
        # Landsat 7 counts have no published sun elevation, so only their middle values are compared.
        assert folder == "taizhou-landsat7-change" or any(name in GOLDEN for name in cases), folder


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("ucmerced-rgb/images/**/*.jpg", SceneReadError, "neither GeoTIFF nor JPEG 2000"),
        ("levir-cd-samples/A/*.png", SceneReadError, "neither GeoTIFF nor JPEG 2000"),
        ("aid-unlabelled-96/images.zip", SceneReadError, "neither GeoTIFF nor JPEG 2000"),
        ("eurosat-ucm-samples/UCMerced_LandUse/Images/*/*.tif", MissingCRS, "coordinate reference system"),
        ("sits-cbers-awfi-cube/*.tif", UnknownSensor, "Nothing says which sensor"),
        ("sits-sinop-ndvi-demo/*.jp2", UnknownSensor, "Nothing says which sensor"),
    ],
)
def test_pictures_and_indices_are_refused_by_name(
    shared_data: Path, path: str, error: type[Exception], message: str
) -> None:
    found = sorted(shared_data.glob(path))
    assert found, path
    with pytest.raises(error, match=message):
        load_scene(found[0])
