"""Every real set with imagery opens with one documented call, in the right place and in plausible physical units.

The table is also the documentation: copy the call. Roles and licences are in the README of the shared data.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from georeset_lab.data.load import load_scene
from georeset_lab.data.scene import Scene
from georeset_lab.errors import GeoresetWarning

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
}  # fmt: skip


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
    from georeset_lab.data.bands import BandSpec
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
