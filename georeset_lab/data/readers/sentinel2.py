"""Sentinel-2 products in SAFE format, Level 1C and 2A: scale and offset from the product's metadata, never its date.

Layout and names: Sentinel-2 Products Specification Document 14.9 (S2-PDGS-TAS-DI-PSD). reflectance = (DN + ADD_OFFSET) /
QUANTIFICATION_VALUE; the offset list is absent before processing baseline 04.00 (offset 0) and present after it, also
in older scenes that were reprocessed. 0 is no data and 65535 saturated (``Special_Values``).
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import Element

from georeset_lab.data.readers.dates import parse_date
from georeset_lab.data.readers.piece import Facts
from georeset_lab.data.readers.product import Layer, Product
from georeset_lab.data.readers.xmlfile import elements, number, read_xml, text, texts
from georeset_lab.data.sensors import sensor
from georeset_lab.errors import SceneReadError

_METADATA = re.compile(r"^(MTD_MSI(?P<level>L1C|L2A)|S2[ABC]_OPER_MTD_SAF(?P<old>L1C|L2A)_.*)\.xml$", re.IGNORECASE)
_IMAGE = re.compile(r"_(?P<band>B\d\d|B8A|SCL)(?:_(?P<size>\d\d)m)?$", re.IGNORECASE)
# Order of band_id in the metadata (PSD, table of the physical bands).
_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_NODATA, _SATURATED = 0.0, 65535.0
# Planes of MSK_CLASSI_B00.jp2 since baseline 04.00 (PSD 14.9, Level-1C quality masks).
_CLASSI = {0: "nonzero:cloud", 1: "nonzero:cirrus", 2: "nonzero:snow"}


def recognise(path: Path) -> list[Product]:
    """The Sentinel-2 product of a SAFE folder or of its metadata file.

    Raises
    ------
    SceneReadError
        Its metadata are damaged, or it holds no or several granules.
    """
    metadata = _metadata_of(path)
    if metadata is None:
        return []
    root, folder = read_xml(metadata), metadata.parent
    found = _METADATA.match(metadata.name)
    assert found is not None
    level = (found["level"] or found["old"]).lower()
    granule = _granule(folder)
    images = _images(granule)
    scaling = _Scaling(root, metadata, level)
    layers = []
    for band, file in images.items():
        if band == "SCL":
            layers.append(Layer(file, ("SCL",), quality={0: "scl"}))
            continue
        facts = Facts(saturated=scaling.saturated)
        layers.append(Layer(file, (band,), (scaling.of(band),), facts=(facts,), nodata=scaling.nodata))
    notes = [f"Sentinel-2 baseline {text(root, 'PROCESSING_BASELINE') or 'unknown'}, offsets as its metadata say"]
    classes = sorted(granule.glob("QI_DATA/MSK_CLASSI_B00.jp2"))
    if level == "l1c" and classes:
        layers.append(Layer(classes[0], ("opaque cloud", "cirrus", "snow"), quality=_CLASSI))
    elif "SCL" not in images:
        notes.append("no cloud mask read: the product has none as a raster")
    start = text(root, "PRODUCT_START_TIME") or text(root, "DATATAKE_SENSING_START")
    product = Product(
        path=folder,
        modality="s2" if level == "l2a" else "s2_l1c",
        sensor=_sensor(root, folder, level),
        time=parse_date(start),
        layers=tuple(layers),
        tags={"PROCESSING_BASELINE": text(root, "PROCESSING_BASELINE")},
        notes=tuple(notes),
    )
    return [product]


class _Scaling:
    """Scale and offset of each band, and special values, as the product's metadata give them."""

    def __init__(self, root: Element, path: Path, level: str) -> None:
        prefix = "BOA_" if level == "l2a" else ""
        found = texts(root, f"{prefix}QUANTIFICATION_VALUE") or texts(root, "L1C_L2A_Quantification_Value")
        if not found:
            raise SceneReadError(
                f"{path} gives no {prefix}QUANTIFICATION_VALUE, so its counts have no unit. Fetch the product again."
            )
        quantification = number(found[0], f"{prefix}QUANTIFICATION_VALUE", path)
        if quantification <= 0:
            raise SceneReadError(
                f"{path} gives {prefix}QUANTIFICATION_VALUE {quantification:g}; it must be above zero."
            )
        self._scale = 1 / quantification
        self._offsets = self._read_offsets(root, path, "BOA_ADD_OFFSET" if level == "l2a" else "RADIO_ADD_OFFSET")
        special = dict(zip(texts(root, "SPECIAL_VALUE_TEXT"), texts(root, "SPECIAL_VALUE_INDEX"), strict=False))
        self.nodata = number(special.get("NODATA", str(_NODATA)), "NODATA", path)
        self.saturated = number(special.get("SATURATED", str(_SATURATED)), "SATURATED", path)

    def of(self, band: str) -> tuple[float, float]:
        """Scale and offset of a band."""
        return self._scale, self._offsets.get(band, 0.0) * self._scale

    @staticmethod
    def _read_offsets(root: Element, path: Path, name: str) -> dict[str, float]:
        ids = {e.get("bandId", ""): _padded(e.get("physicalBand", "")) for e in elements(root, "Spectral_Information")}
        offsets = {}
        for element in elements(root, name):
            key = element.get("band_id", "")
            band = ids.get(key) or (_BANDS[int(key)] if key.isdecimal() and int(key) < len(_BANDS) else "")
            if band not in _BANDS:
                raise SceneReadError(f"{path} gives a {name} for band_id {key!r}, which is no band. Fetch it again.")
            offsets[band] = number((element.text or "").strip(), name, path)
        if offsets and set(offsets) < set(ids.values()) - {""}:
            lost = ", ".join(sorted(set(ids.values()) - set(offsets) - {""}))
            raise SceneReadError(f"{path} gives a {name} for some bands but not for {lost}. Fetch the product again.")
        return offsets


def _metadata_of(path: Path) -> Path | None:
    if path.is_file():
        return path if _METADATA.match(path.name) else None
    found = sorted(p for p in path.glob("*.xml") if _METADATA.match(p.name))
    return found[0] if found and (path / "GRANULE").is_dir() else None


def _granule(folder: Path) -> Path:
    granules = sorted(p for p in (folder / "GRANULE").iterdir() if p.is_dir()) if (folder / "GRANULE").is_dir() else []
    if len(granules) != 1:
        raise SceneReadError(
            f"{folder} holds {len(granules)} granules; a product of one tile is needed. "
            + ("Unpack all of it." if not granules else f"Name one: {granules[0]}/IMG_DATA, as a folder of its own.")
        )
    return granules[0]


def _images(granule: Path) -> dict[str, Path]:
    """Image of each band, at the pixel size it was measured with where the product has several copies."""
    native = {b.name: b.gsd_m for b in sensor("sentinel-2-l1c").bands} | {"SCL": 20.0}
    best: dict[str, tuple[float, Path]] = {}
    for path in sorted((granule / "IMG_DATA").rglob("*.jp2")):
        found = _IMAGE.search(path.stem)
        if found is None or path.is_symlink():
            continue
        band = found["band"].upper()
        if band not in native:
            continue
        distance = abs(float(found["size"] or native[band]) - native[band])
        if band not in best or distance < best[band][0]:
            best[band] = (distance, path)
    return {band: best[band][1] for band in (*_BANDS, "SCL") if band in best}


def _sensor(root: Element, folder: Path, level: str) -> str:
    name = text(root, "SPACECRAFT_NAME") or folder.name[:3].replace("S2", "Sentinel-2")
    letter = name.strip()[-1:].lower()
    return f"sentinel-2{letter if letter in ('a', 'b', 'c') else ''}-{level}"


def _padded(name: str) -> str:
    found = re.fullmatch(r"B(\d{1,2})(A?)", name.strip().upper())
    if found is None:
        return ""
    return f"B{found[1]}A" if found[2] else f"B{int(found[1]):02d}"
