"""Small product folders in the packaging of their agencies: real layout, names and metadata, pixels as given.

Layouts follow real products' metadata: Sentinel-2 the MTD_MSIL2A.xml and MTD_MSIL1C.xml of stactools-packages/sentinel2
(S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE), Landsat the MTL of stactools-packages/landsat
(LC08_L2SP_047027_20201204_20210313_02_T1), HLS the HLS User Guide v2.0, EnMAP the elements that GFZ's EnPT and the
EnMAP-Box read, Sentinel-1 the HyP3 RTC and OPERA RTC-S1 product guides, ENVI the NV5 header documentation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

EPSG = 32633
ORIGIN = (499_980.0, 5_800_020.0)
S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
S2_GSD = (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20)
S2_NM = (442.7, 492.7, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 945.1, 1373.5, 1613.7, 2202.4)


def raster(path: Path, values: np.ndarray, pixel_m: float, *, driver: str = "GTiff", **profile: object) -> Path:
    """Write ``(y, x)`` or ``(band, y, x)`` values."""
    stack = values if values.ndim == 3 else values[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    band_tags = profile.pop("band_tags", None)
    descriptions = profile.pop("descriptions", None)
    scales, offsets = profile.pop("scales", None), profile.pop("offsets", None)
    options: dict[str, object] = {
        "crs": f"EPSG:{EPSG}",
        "transform": Affine(pixel_m, 0, ORIGIN[0], 0, -pixel_m, ORIGIN[1]),
    } | profile
    if driver == "JP2OpenJPEG":
        options |= {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}
    count, rows, cols = stack.shape
    with rasterio.open(
        path, "w", driver=driver, count=count, height=rows, width=cols, dtype=stack.dtype, **options
    ) as out:
        out.write(stack)
        if scales is not None:
            out.scales, out.offsets = scales, offsets
        for i, tags in enumerate(band_tags or ()):
            out.update_tags(i + 1, **tags)
        if descriptions:
            out.descriptions = descriptions
    return path


# ------------------------------------------------------------------------------------------------------ Sentinel-2
def safe(
    folder: Path,
    counts: Mapping[str, np.ndarray],
    *,
    level: str = "L2A",
    satellite: str = "A",
    baseline: str = "04.00",
    when: str = "2022-10-05T11:54:11.024Z",
    quantification: float = 10000,
    offsets: Mapping[str, float] | float | None = -1000,
    scl: np.ndarray | None = None,
    classes: np.ndarray | None = None,
    copies: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """A SAFE folder.

    Parameters
    ----------
    counts : mapping of band to (y, x)
        Stored numbers of each band at its own pixel size.
    offsets : float, mapping of band to float, or None
        BOA_ADD_OFFSET / RADIO_ADD_OFFSET; None leaves the list out, as before baseline 04.00.
    scl, classes : numpy.ndarray, optional
        Scene classification (20 m, L2A); opaque cloud, cirrus and snow planes (60 m, L1C).
    copies : mapping of ``"B02_20m"`` to (y, x), optional
        Copies of bands at other pixel sizes, as a Level 2A product has them.
    """
    stamp = when[:19].replace("-", "").replace(":", "")
    name = f"S2{satellite}_MSI{level}_{stamp}_N{baseline.replace('.', '')}_R023_T33UVU_20221005T164454.SAFE"
    root = folder / name
    granule = root / "GRANULE" / f"{level}_T33UVU_A038058_{stamp}"
    tile = f"T33UVU_{stamp}"
    gsd = dict(zip(S2_BANDS, S2_GSD, strict=True))
    for band, values in counts.items():
        size = gsd[band]
        end = f"IMG_DATA/R{size}m/{tile}_{band}_{size}m.jp2" if level == "L2A" else f"IMG_DATA/{tile}_{band}.jp2"
        raster(granule / end, values, size, driver="JP2OpenJPEG")
    for key, values in (copies or {}).items():
        band, size = key.split("_")
        raster(granule / f"IMG_DATA/R{size}/{tile}_{band}_{size}.jp2", values, float(size[:-1]), driver="JP2OpenJPEG")
    if scl is not None:
        raster(granule / f"IMG_DATA/R20m/{tile}_SCL_20m.jp2", scl, 20, driver="JP2OpenJPEG")
    if classes is not None:
        raster(granule / "QI_DATA/MSK_CLASSI_B00.jp2", classes, 60, driver="JP2OpenJPEG")
    (granule / "MTD_TL.xml").write_text("<a/>")
    (root / "manifest.safe").write_text("<a/>")
    (root / f"MTD_MSI{level}.xml").write_text(
        _mtd(level, satellite, baseline, when, quantification, offsets), encoding="utf-8"
    )
    return root


def _mtd(
    level: str,
    satellite: str,
    baseline: str,
    when: str,
    quantification: float,
    offsets: Mapping[str, float] | float | None,
) -> str:
    surface = level == "L2A"
    if surface:
        scale = (
            "<QUANTIFICATION_VALUES_LIST>\n"
            f'<BOA_QUANTIFICATION_VALUE unit="none">{quantification:g}</BOA_QUANTIFICATION_VALUE>\n'
            '<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>\n'
            '<WVP_QUANTIFICATION_VALUE unit="cm">1000.0</WVP_QUANTIFICATION_VALUE>\n</QUANTIFICATION_VALUES_LIST>'
        )
    else:
        scale = f'<QUANTIFICATION_VALUE unit="none">{quantification:g}</QUANTIFICATION_VALUE>'
    items = ""
    if offsets is not None:
        tag, group = (
            ("BOA_ADD_OFFSET", "BOA_ADD_OFFSET_VALUES_LIST")
            if surface
            else ("RADIO_ADD_OFFSET", "Radiometric_Offset_List")
        )
        of = dict.fromkeys(S2_BANDS, offsets) if isinstance(offsets, int | float) else offsets
        rows = [f'<{tag} band_id="{S2_BANDS.index(b)}">{v:g}</{tag}>' for b, v in of.items()]
        items = f"<{group}>\n" + "\n".join(rows) + f"\n</{group}>"
    spectral = "\n".join(
        f'<Spectral_Information bandId="{i}" physicalBand="{b.replace("B0", "B")}"><RESOLUTION>{g}</RESOLUTION>'
        f'<Wavelength><CENTRAL unit="nm">{nm}</CENTRAL></Wavelength></Spectral_Information>'
        for i, (b, g, nm) in enumerate(zip(S2_BANDS, S2_GSD, S2_NM, strict=True))
    )
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level[1:]}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level[1:]}.xsd">
<n1:General_Info>
<Product_Info>
<PRODUCT_START_TIME>{when}</PRODUCT_START_TIME>
<PROCESSING_LEVEL>Level-{level[1:]}</PROCESSING_LEVEL>
<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
<Datatake datatakeIdentifier="GS2{satellite}_20221005T115411_038058_N04.00">
<SPACECRAFT_NAME>Sentinel-2{satellite}</SPACECRAFT_NAME>
</Datatake>
</Product_Info>
<Product_Image_Characteristics>
<Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
<Special_Values><SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX></Special_Values>
{scale}
{items}
<Spectral_Information_List>
{spectral}
</Spectral_Information_List>
</Product_Image_Characteristics>
</n1:General_Info>
</n1:Level-{level[1:]}_User_Product>
"""


# --------------------------------------------------------------------------------------------------------- Landsat
def landsat(
    folder: Path,
    counts: Mapping[str, np.ndarray],
    *,
    level: str = "L2SP",
    satellite: int = 8,
    sun_elevation: float = 18.80722985,
    quality: Mapping[str, np.ndarray] | None = None,
    form: str = "txt",
    groups: Mapping[str, Mapping[str, object]] | None = None,
) -> Path:
    """A Collection 2 bundle; ``counts`` by the band's part of the name: ``"B4"``, ``"ST_B10"``, ``"B6_VCID_1"``.

    ``groups`` replaces or adds keys of the MTL's groups.
    """
    letter = {8: "C", 9: "C", 7: "E", 5: "T", 4: "T"}[satellite]
    name = f"L{letter}{satellite:02d}_{level}_047027_20201204_20210313_02_T1"
    root = folder / name
    surface = level.startswith("L2")
    files: dict[str, object] = {}
    for band, values in counts.items():
        thermal = band.startswith("ST_")
        path = f"{name}_{band if thermal or not surface else f'SR_{band}'}.TIF"
        files[f"FILE_NAME_BAND_{band if thermal else band.removeprefix('B')}"] = path
        raster(root / path, values, 15 if band == "B8" else 30)
    keys = {"QA_PIXEL": "FILE_NAME_QUALITY_L1_PIXEL", "QA_RADSAT": "FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION"}
    for kind, values in (quality or {}).items():
        files[keys[kind]] = f"{name}_{kind}.TIF"
        raster(root / f"{name}_{kind}.TIF", values, 30, nodata=1 if kind == "QA_PIXEL" else None)
    content: dict[str, dict[str, object]] = {
        "PRODUCT_CONTENTS": {
            "LANDSAT_PRODUCT_ID": name, "PROCESSING_LEVEL": level, "COLLECTION_NUMBER": "02", **files,
            "FILE_NAME_THERMAL_RADIANCE": f"{name}_ST_TRAD.TIF", "FILE_NAME_METADATA_ODL": f"{name}_MTL.txt",
        },
        "IMAGE_ATTRIBUTES": {
            "SPACECRAFT_ID": f"LANDSAT_{satellite}",
            "SENSOR_ID": {8: "OLI_TIRS", 9: "OLI_TIRS", 7: "ETM"}.get(satellite, "TM"),
            "DATE_ACQUIRED": "2020-12-04", "SCENE_CENTER_TIME": "19:02:11.1944860Z",
            "SUN_AZIMUTH": 164.91405951, "SUN_ELEVATION": sun_elevation, "EARTH_SUN_DISTANCE": 0.9854607,
        },
    }  # fmt: skip
    if surface:
        content["LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"] = {
            f"REFLECTANCE_{what}_BAND_{i}": v for what, v in (("MULT", 2.75e-05), ("ADD", -0.2)) for i in range(1, 8)
        }
        content["LEVEL2_SURFACE_TEMPERATURE_PARAMETERS"] = {
            f"TEMPERATURE_{what}_BAND_ST_B{b}": v for what, v in (("MULT", 0.00341802), ("ADD", 149.0)) for b in (6, 10)
        }
        content["LEVEL1_PROCESSING_RECORD"] = {"PROCESSING_LEVEL": "L1TP", "FILE_NAME_BAND_1": "x_L1TP_B1.TIF"}
    thermal_bands: tuple[object, ...] = {7: ("6_VCID_1", "6_VCID_2"), 5: (6,), 4: (6,)}.get(satellite, (10, 11))
    content["LEVEL1_RADIOMETRIC_RESCALING"] = {
        **{f"RADIANCE_MULT_BAND_{b}": 3.3420e-04 for b in thermal_bands},
        **{f"RADIANCE_ADD_BAND_{b}": 0.1 for b in thermal_bands},
        **{f"REFLECTANCE_MULT_BAND_{i}": 2.0e-05 for i in range(1, 10)},
        **{f"REFLECTANCE_ADD_BAND_{i}": -0.1 for i in range(1, 10)},
    }
    planck = {
        "10": (774.8853, 1321.0789), "11": (480.8883, 1201.1442), "6": (607.76, 1260.56), "6_VCID_1": (666.09, 1282.71),
        "6_VCID_2": (666.09, 1282.71),
    }  # fmt: skip
    content["LEVEL1_THERMAL_CONSTANTS"] = {
        f"K{i + 1}_CONSTANT_BAND_{b}": planck[str(b)][i] for b in thermal_bands for i in (0, 1)
    }
    for group, changed in (groups or {}).items():
        content.setdefault(group, {}).update(changed)
    if form == "json":
        text = json.dumps({"LANDSAT_METADATA_FILE": {g: {k: str(v) for k, v in d.items()} for g, d in content.items()}})
    else:
        lines = ["GROUP = LANDSAT_METADATA_FILE"]
        for group, entries in content.items():
            lines.append(f"  GROUP = {group}")
            lines += [f'    {k} = "{v}"' if isinstance(v, str) else f"    {k} = {v}" for k, v in entries.items()]
            lines.append(f"  END_GROUP = {group}")
        text = "\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END", ""])
    (root / f"{name}_MTL.{form}").write_text(text)
    return root


# ------------------------------------------------------------------------------------------------------------- HLS
def hls(
    folder: Path,
    counts: Mapping[str, np.ndarray],
    *,
    kind: str = "L30",
    fmask: np.ndarray | None = None,
    stated: bool = True,
) -> Path:
    """An HLS v2.0 granule; reflective bands state scale 0.0001, thermal ones 0.01 (degrees Celsius), as in the archive."""
    granule = f"HLS.{kind}.T33UVU.2021105T101031.v2.0"
    thermal = ("B10", "B11") if kind == "L30" else ()
    for band, values in counts.items():
        scale = {"scales": (0.01 if band in thermal else 1e-4,), "offsets": (0.0,)} if stated else {}
        raster(folder / f"{granule}.{band}.tif", values, 30, nodata=-9999, **scale)
    if fmask is not None:
        raster(folder / f"{granule}.Fmask.tif", fmask, 30, nodata=255)
    raster(folder / f"{granule}.SZA.tif", np.full((4, 4), 3000, "uint16"), 30)
    return folder


# ----------------------------------------------------------------------------------------------------------- EnMAP
def enmap(
    folder: Path,
    counts: np.ndarray,
    bands: Sequence[tuple[float, float, float, float]],
    *,
    level: str = "L2A",
    sun_elevation: float = 55.0,
    quality: Mapping[str, np.ndarray] | None = None,
    when: str = "2022-07-24T10:45:26.000000Z",
) -> Path:
    """An EnMAP folder; each band is (centre nm, width nm, gain, offset), counts are ``(band, y, x)`` int16."""
    name = f"ENMAP01-____{level}-DT0000001867_20220724T104526Z_008_V010302_20230628T165614Z"
    root = folder / name
    raster(root / f"{name}-SPECTRAL_IMAGE.TIF", counts, 30, nodata=-32768)
    for layer, values in (quality or {}).items():
        raster(root / f"{name}-{layer}.TIF", values, 30)
    rows = "\n".join(
        f'<bandID number="{i + 1}"><wavelengthCenterOfBand>{nm}</wavelengthCenterOfBand><FWHMOfBand>{fwhm}</FWHMOfBand>'
        f"<GainOfBand>{gain!r}</GainOfBand><OffsetOfBand>{offset!r}</OffsetOfBand></bandID>"
        for i, (nm, fwhm, gain, offset) in enumerate(bands)
    )
    (root / f"{name}-METADATA.XML").write_text(
        f"""<?xml version="1.0" encoding="UTF-8"?>
<level_X>
<base><level>{level}</level><temporalCoverage><startTime>{when}</startTime></temporalCoverage></base>
<specific>
<sunElevationAngle><upper_left>54.0</upper_left><center>{sun_elevation}</center></sunElevationAngle>
<bandCharacterisation>
{rows}
</bandCharacterisation>
</specific>
</level_X>
"""
    )
    return root


# ------------------------------------------------------------------------------------------------------------ ENVI
def envi(
    path: Path, values: np.ndarray, header: Mapping[str, str], *, interleave: str = "bsq", big: bool = False
) -> Path:
    """A plain binary file with its ``.hdr``; returns the header. ``values`` are ``(band, y, x)``."""
    count, rows, cols = values.shape
    order = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
    kinds = {"uint8": 1, "int16": 2, "int32": 3, "float32": 4, "float64": 5, "uint16": 12}
    data = np.ascontiguousarray(values.transpose(order))
    path.with_suffix(".img").write_bytes(data.astype(data.dtype.newbyteorder(">" if big else "<")).tobytes())
    lines = {
        "description": "{a test}", "samples": cols, "lines": rows, "bands": count, "header offset": 0,
        "file type": "ENVI Standard", "data type": kinds[values.dtype.name], "interleave": interleave,
        "byte order": int(big),
        "map info": f"{{UTM, 1.0, 1.0, {ORIGIN[0]}, {ORIGIN[1]}, 5.0, 5.0, 33, North, WGS-84, units=Meters}}",
        **header,
    }  # fmt: skip
    out = path.with_suffix(".hdr")
    out.write_text("ENVI\n" + "\n".join(f"{k} = {v}" for k, v in lines.items()) + "\n")
    return out
