"""One table for each sensor: what its bands measure and how its products store the numbers.

Look up with `sensor`, match the band names of a file with `match_bands`. Nothing here reads a file, and nothing
decides which `Encoding` a given file has: that is the readers' business (metadata first, then the numbers).

Wavelengths are written in nanometres here, as in the sources, and become micrometres in `BandSpec`. ``gsd_m`` is the
native sampling, also where a product is delivered finer (Landsat thermal bands come at 30 m but were sampled at 100 m).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence

import numpy as np

from georeset_lab.data.bands import C_BAND_UM, BandSpec, Kind
from georeset_lab.data.sensor_types import Encoding, Sensor
from georeset_lab.errors import BandMismatch, UnknownSensor

__all__ = ["SENSORS", "Encoding", "Sensor", "match_bands", "sensor"]

Row = tuple[str, float, float, float]
"""Name, centre (nm), full width at half maximum (nm), ground sampling distance (m)."""

# ----------------------------------------------------------------------------------------------------- Sentinel-2
_S2_SOURCE = (
    "ESA, Sentinel-2 Spectral Response Functions (COPE-GSEG-EOPG-TN-15-0007, v3.0) for A and B; the v4 release for C, "
    "of which B09, B10 and the widths are A's. Quantification 10000 and, since processing baseline 04.00 (25 January "
    "2022; reprocessed older scenes too), RADIO_ADD_OFFSET / BOA_ADD_OFFSET -1000: Sentinel-2 Products Specification "
    "Document 14.9. 0 is no data."
)
_S2_NAMES = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_S2_GSD = (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20)
_S2_NM = {
    "a": (442.7, 492.4, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 945.1, 1373.5, 1613.7, 2202.4),
    "b": (442.2, 492.1, 559.0, 664.9, 703.8, 739.1, 779.7, 832.9, 864.0, 943.2, 1376.9, 1610.4, 2185.7),
    "c": (444.2, 489.0, 560.6, 666.5, 707.1, 741.1, 784.7, 834.6, 865.6, 945.1, 1373.5, 1612.0, 2191.3),
}
_S2_FWHM = {
    "a": (21, 66, 36, 31, 15, 15, 20, 106, 21, 20, 31, 91, 175),
    "b": (21, 66, 36, 31, 16, 15, 20, 106, 22, 21, 30, 94, 185),
    "c": (21, 66, 36, 31, 15, 15, 20, 106, 21, 20, 31, 91, 175),
}
_S2_ALIASES = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04",
    "rededge": "B05", "rededge1": "B05", "rededge2": "B06", "rededge3": "B07",
    "red_edge_1": "B05", "red_edge_2": "B06", "red_edge_3": "B07",
    "rededge071": "B05", "rededge075": "B06", "rededge078": "B07",
    "nir": "B08", "nir_1": "B08", "nir08": "B8A", "nir_2": "B8A", "nir09": "B09", "water_vapour": "B09",
    "cirrus": "B10", "swir16": "B11", "swir1": "B11", "swir_1": "B11", "swir22": "B12", "swir2": "B12", "swir_2": "B12",
}  # fmt: skip

# -------------------------------------------------------------------------------------------------------- Landsat
_OLI_SOURCE = (
    "OLI: Barsi et al. 2014, The Spectral Response of the Landsat-8 Operational Land Imager, Remote Sensing 6(10), "
    "table 1 (OLI-2 differs by less than 2 nm and is given the same figures); TIRS: band edges of the Landsat 8-9 "
    "Collection 2 Data Format Control Book, as are the scaling factors, fill 0, K1 and K2. Level-1 reflectance still "
    "has to be divided by the sine of the sun's elevation."
)
_TM_SOURCE = (
    "Band edges (half power) of the Landsat 4-7 Collection 2 Data Format Control Book; centre and width follow from "
    "them. Level-2 scaling as for Landsat 8-9, fill 0; Level-1 gains differ by scene: REFLECTANCE_MULT/ADD in its MTL."
)
_OLI: tuple[Row, ...] = (
    ("B1", 443.0, 16.0, 30), ("B2", 482.0, 60.0, 30), ("B3", 561.4, 57.3, 30), ("B4", 654.6, 37.5, 30),
    ("B5", 864.7, 28.3, 30), ("B6", 1608.9, 84.7, 30), ("B7", 2200.7, 186.7, 30), ("B8", 589.5, 172.4, 15),
    ("B9", 1373.4, 20.4, 30), ("B10", 10895, 590, 100), ("B11", 12005, 1010, 100),
)  # fmt: skip
_TM: tuple[Row, ...] = (
    ("B1", 485, 70, 30), ("B2", 560, 80, 30), ("B3", 660, 60, 30), ("B4", 830, 140, 30),
    ("B5", 1650, 200, 30), ("B6", 11450, 2100, 120), ("B7", 2215, 270, 30),
)  # fmt: skip
_ETM: tuple[Row, ...] = (
    ("B1", 485, 70, 30), ("B2", 560, 80, 30), ("B3", 660, 60, 30), ("B4", 835, 130, 30),
    ("B5", 1650, 200, 30), ("B6", 11450, 2100, 60), ("B7", 2220, 260, 30), ("B8", 710, 380, 15),
)  # fmt: skip
_OLI_ALIASES = {
    "coastal": "B1", "blue": "B2", "green": "B3", "red": "B4", "nir": "B5", "nir08": "B5", "swir16": "B6",
    "swir1": "B6", "swir22": "B7", "swir2": "B7", "pan": "B8", "panchromatic": "B8", "cirrus": "B9",
    "lwir": "B10", "lwir11": "B10", "lwir12": "B11", "thermal": "B10", "tirs1": "B10", "tirs2": "B11",
}  # fmt: skip
_TM_ALIASES = {
    "blue": "B1", "green": "B2", "red": "B3", "nir": "B4", "nir08": "B4", "swir16": "B5", "swir1": "B5", "lwir": "B6",
    "thermal": "B6", "swir22": "B7", "swir2": "B7", "pan": "B8", "panchromatic": "B8", "b6_vcid_1": "B6",
}  # fmt: skip
_LANDSAT_QA = {"QA_PIXEL": "qa_pixel", "pixel_qa": "pixel_qa", "BQA": "bqa", "QA_RADSAT": "qa_radsat"}
_PLANCK = {
    5: {"B6": (607.76, 1260.56)},
    7: {"B6": (666.09, 1282.71)},
    8: {"B10": (774.8853, 1321.0789), "B11": (480.8883, 1201.1442)},
    9: {"B10": (799.0284, 1329.2405), "B11": (475.6581, 1198.3494)},
}
_LANDSAT_SR = Encoding(
    "collection-2", {"reflectance": 2.75e-5, "temperature": 0.00341802}, {"reflectance": -0.2, "temperature": 149.0}, 0
)

# ------------------------------------------------------------------------------------------------ HLS, EnMAP, radar
_HLS_SOURCE = (
    "HLS User Guide v2.0 (LP DAAC): surface reflectance x 10000, brightness temperature in 0.01 degrees Celsius, fill "
    "-9999. Bands as Landsat 8 OLI / Sentinel-2A; S30 is averaged to 30 m, so 30 m is its sampling (60 m where it was)."
)
_ENMAP_SOURCE = (
    "Centres and widths of an EnMAP L2A product of 24 July 2022 (DLR), each detector section fitted by a polynomial in "
    "the band number (within 0.25 nm, widths within 0.2 nm); a product's own METADATA.XML is better where present."
)
# Number of the first and last band; coefficients of centre and width in nm, highest power first, over [-1, 1].
_ENMAP: tuple[tuple[int, int, tuple[float, ...], tuple[float, ...]], ...] = (
    (1, 91, (5.93, -5.28, -3.96, -11.83, 0.52, 69.31, 284.84, 653.60), (0.32, -1.56, 0.60, 0.32, 0.34, 3.21, 7.55)),
    (92, 135, (1.07, 0.34, -8.91, 11.88, 252.15, 1134.33), (0.25, 0.11, -1.27, 0.94, 11.25)),
    (136, 163, (0.0, 0.02, -0.17, -4.28, 149.35, 1614.90), (0.0, 0.03, -0.03, -0.61, 10.53)),
    (164, 224, (-0.10, -0.19, 1.40, -15.46, 251.75, 2208.12), (-0.06, -0.04, 0.16, -0.97, 8.07)),
)
# IW chirp bandwidth 56.5 MHz (Sentinel-1 Product Definition, S1-RS-MDA-52-7440) as a width in wavelength.
_S1_FWHM_UM = C_BAND_UM * 56.5e6 / 5.405e9
_DEM_ALIASES = dict.fromkeys(("dem", "dsm", "dtm", "height", "altitude", "elevation_m", "b1", "srtm"), "elevation")


def _spec(row: Row, kind: Kind | None = None) -> BandSpec:
    name, nm, fwhm, gsd_m = row
    return BandSpec(name, round(nm / 1e3, 6), round(fwhm / 1e3, 6), gsd_m, kind or _kind(nm))


def _kind(nm: float) -> Kind:
    return "temperature" if nm > 8000 else "reflectance"


def _sentinel2(level: str, platform: str = "") -> Sensor:
    p = platform or "a"
    rows = zip(_S2_NAMES, _S2_NM[p], _S2_FWHM[p], _S2_GSD, strict=True)
    bands = tuple(_spec(row) for row in rows if level == "l1c" or row[0] != "B10")
    return Sensor(
        name=f"sentinel-2{platform}-{level}",
        title=f"Sentinel-2{platform.upper()} MSI {level[:2].upper()}{level[2:].upper()}",
        bands=bands,
        encodings=(Encoding("baseline-04.00", 1e-4, -0.1, 0), Encoding("before-04.00", 1e-4, 0.0, 0)),
        aliases=_S2_ALIASES,
        qa={"SCL": "scl", "QA60": "qa60"} if level == "l2a" else {"QA60": "qa60"},
        source=_S2_SOURCE,
    )


def _landsat(number: int, level: int) -> Sensor:
    rows = {5: _TM, 7: _ETM}.get(number, _OLI)
    if level == 2:  # no panchromatic, cirrus or second thermal band in the surface products
        rows = tuple(row for row in rows if row[0] not in ("B8", "B9", "B11"))
    if level == 2:
        encodings: tuple[Encoding, ...] = (_LANDSAT_SR,)
    elif number in (8, 9):
        scale, offset = {"reflectance": 2e-5, "temperature": 3.342e-4}, {"reflectance": -0.1, "temperature": 0.1}
        encodings = (Encoding("collection-2", scale, offset, 0, planck=_PLANCK[number], sun_normalised=False),)
    else:
        encodings = ()
    instrument = {5: "TM", 7: "ETM+", 8: "OLI/TIRS", 9: "OLI-2/TIRS-2"}[number]
    return Sensor(
        name=f"landsat-{number}-l{level}",
        title=f"Landsat {number} {instrument} Collection 2 Level {level}",
        bands=tuple(_spec(row) for row in rows),
        encodings=encodings,
        aliases=_TM_ALIASES if number < 8 else _OLI_ALIASES,
        qa=_LANDSAT_QA,
        source=_TM_SOURCE if number < 8 else _OLI_SOURCE,
    )


def _hls() -> tuple[Sensor, Sensor]:
    encoding = Encoding(
        "v2.0", {"reflectance": 1e-4, "temperature": 0.01}, {"reflectance": 0.0, "temperature": 273.15}, -9999
    )
    l30 = tuple(_spec((f"B{int(n[1:]):02d}", nm, width, gsd)) for n, nm, width, gsd in _OLI if n != "B8")
    rows = zip(_S2_NAMES, _S2_NM["a"], _S2_FWHM["a"], (max(g, 30) for g in _S2_GSD), strict=True)
    l30_aliases = {alias: f"B{int(n[1:]):02d}" for alias, n in _OLI_ALIASES.items()}
    qa = {"Fmask": "fmask"}
    return (
        Sensor("hls-l30", "HLS Landsat 30 m", l30, (encoding,), l30_aliases, qa, _HLS_SOURCE),
        Sensor(
            "hls-s30", "HLS Sentinel-2 30 m", tuple(_spec(r) for r in rows), (encoding,), _S2_ALIASES, qa, _HLS_SOURCE
        ),
    )


def _enmap(level: str) -> Sensor:
    bands: list[BandSpec] = []
    for first, last, centre, width in _ENMAP:
        x = np.linspace(-1, 1, last - first + 1)
        nm, fwhm = np.polyval(centre, x), np.polyval(width, x)
        bands += [_spec((f"B{first + i:03d}", float(nm[i]), float(fwhm[i]), 30)) for i in range(x.size)]
    encodings = (Encoding("l2a", 1e-4, 0.0, -32768),) if level == "l2a" else ()  # Level 1C: gains in METADATA.XML
    title = f"EnMAP HSI Level {level[1:].upper()}"
    return Sensor(f"enmap-{level}", title, tuple(bands), encodings, source=_ENMAP_SOURCE)


def _sentinel1(product: str) -> Sensor:
    bands = tuple(
        BandSpec(p, C_BAND_UM, round(_S1_FWHM_UM, 1), 10, kind="backscatter", polarization=p) for p in ("VV", "VH")
    )
    decibel, linear = Encoding("db", 1.0, 0.0, None), Encoding("linear", 1.0, 0.0, 0, to_db=True)
    what = "sigma nought, ellipsoid" if product == "grd" else "gamma nought, terrain-corrected"
    source = f"Sentinel-1 Product Definition (S1-RS-MDA-52-7440): 5.405 GHz, IW 10 m pixels; {what}, decibels or power."
    return Sensor(
        f"sentinel-1-{product}", f"Sentinel-1 {product.upper()}", bands,
        (decibel, linear) if product == "grd" else (linear, decibel), source=source,
    )  # fmt: skip


def _dem() -> Sensor:
    band = BandSpec("elevation", math.nan, math.nan, 30, kind="elevation")
    source = "Copernicus DEM Product Handbook (GEO1988-CopernicusDEM-SPE-002): GLO-30, metres above EGM2008, float32."
    encodings = (Encoding("metres", 1.0, 0.0, None),)
    return Sensor("copernicus-dem", "Copernicus DEM GLO-30", (band,), encodings, _DEM_ALIASES, {}, source)


SENSORS: dict[str, Sensor] = {
    s.name: s
    for s in (
        *(_sentinel2(level, platform) for level in ("l1c", "l2a") for platform in ("", "a", "b", "c")),
        *(_landsat(number, level) for number in (5, 7, 8, 9) for level in (1, 2)),
        *_hls(),
        _sentinel1("grd"),
        _sentinel1("rtc"),
        _enmap("l2a"),
        _enmap("l1c"),
        _dem(),
    )
}
"""All tables by name."""


def sensor(name: str) -> Sensor:
    """Table of the sensor with this name.

    Raises
    ------
    UnknownSensor
        No table has this name; the message lists close ones.

    Examples
    --------
    >>> [b.name for b in sensor("sentinel-1-rtc").bands]
    ['VV', 'VH']
    """
    key = re.sub(r"[\s_]+", "-", name.strip().lower())
    if key in SENSORS:
        return SENSORS[key]
    close = difflib.get_close_matches(key, SENSORS, n=4, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Known: {', '.join(sorted(SENSORS))}."
    raise UnknownSensor(f"No sensor is called {name!r}. {hint} Any other sensor: pass bands=[BandSpec(...), ...].")


def match_bands(sensor: Sensor, names: Sequence[str]) -> list[BandSpec]:
    """Bands of a sensor that these names stand for, in the order of the names.

    ``B4``, ``B04``, ``b4``, ``Band 4``, ``SR_B4``, common names (``red``, ``nir08``), polarizations (``vv``,
    ``Sigma0_VV_db``) and wavelengths (``"418.24 nm"``, within half the band's width) are understood.

    Raises
    ------
    BandMismatch
        A name stands for no band of the sensor, or two names for the same band.

    Examples
    --------
    >>> [b.name for b in match_bands(sensor("sentinel-2-l2a"), ["b4", "B08", "nir08"])]
    ['B04', 'B08', 'B8A']
    """
    found: dict[str, str] = {}
    out = []
    for name in names:
        band = sensor.find(name)
        if band is None:
            raise BandMismatch(
                f"Sensor {sensor.name!r} has no band {name!r}; it has {', '.join(sensor.band_names)}. "
                "Rename the band, or pass bands= with one BandSpec for each."
            )
        if band.name in found:
            raise BandMismatch(
                f"{found[band.name]!r} and {name!r} both stand for band {band.name} of {sensor.name!r}; drop one."
            )
        found[band.name] = name
        out.append(band)
    return out
