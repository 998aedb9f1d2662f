"""EnMAP products: centre, width, gain and offset of every band from the METADATA.XML beside the image.

Level 2A holds surface reflectance, Level 1C radiance in W / (m2 sr nm), both on a map grid; physical = gain * DN +
offset. Level 1B is in the geometry of the sensor and is not read. Layout: EnMAP Ground Segment, Product Specification
Document (EN-PCV-ICD-2009-2); the same elements are read by GFZ's EnPT and by the EnMAP-Box.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.readers.dates import parse_date
from georeset_lab.data.readers.piece import Facts
from georeset_lab.data.readers.product import Layer, Product
from georeset_lab.data.readers.solar import earth_sun_distance_au, reflectance_factor
from georeset_lab.data.readers.xmlfile import number, read_xml
from georeset_lab.data.times import day_of_year
from georeset_lab.errors import SceneReadError

_METADATA = re.compile(r"^(ENMAP.*)-METADATA\.XML$", re.IGNORECASE)
_QUALITY = {
    "QL_QUALITY_CLOUD": "nonzero:cloud",
    "QL_QUALITY_CLOUDSHADOW": "nonzero:shadow",
    "QL_QUALITY_CIRRUS": "nonzero:cirrus",
    "QL_QUALITY_HAZE": "nonzero:haze",
    "QL_QUALITY_SNOW": "nonzero:snow",
}
_GSD_M, _NODATA = 30.0, -32768.0


def recognise(path: Path) -> list[Product]:
    """The EnMAP product of a folder with its METADATA.XML, or of that file.

    Raises
    ------
    SceneReadError
        The metadata are damaged, incomplete, or of a level that is not read.
    """
    if path.is_file():
        found = [path] if _METADATA.match(path.name) else []
    else:
        found = [p for p in sorted(path.iterdir()) if p.is_file() and _METADATA.match(p.name)]
    return [_product(p) for p in found]


def _product(metadata: Path) -> Product:
    root = read_xml(metadata)
    match = _METADATA.match(metadata.name)
    assert match is not None
    level = (_text(root, "base/level") or (re.search(r"L\d[ABC]", metadata.name.upper()) or [""])[0]).upper()
    if level not in ("L2A", "L1C"):
        raise SceneReadError(
            f"{metadata} is of level {level or 'unknown'}: in the geometry of the sensor, without a map grid. Order the "
            "scene as L1C or L2A."
        )
    time = parse_date(_text(root, "base/temporalCoverage/startTime"))
    bands = root.findall("specific/bandCharacterisation/bandID")
    if not bands:
        raise SceneReadError(f"{metadata} describes no band (specific/bandCharacterisation). Fetch it again.")
    specs = tuple(_spec(b, i, metadata) for i, b in enumerate(bands))
    stated = [(_number(b, "GainOfBand", metadata), _number(b, "OffsetOfBand", metadata)) for b in bands]
    notes = []
    if level == "L1C":
        elevation = number(_text(root, "specific/sunElevationAngle/center"), "sunElevationAngle", metadata)
        if not 0 < elevation <= 90 or np.isnat(time):
            raise SceneReadError(
                f"{metadata} gives no usable sun elevation and date; radiance cannot become reflectance."
            )
        distance = earth_sun_distance_au(float(day_of_year(np.array([time]))[0]))
        um = np.array([s.center_um for s in specs])
        factor = 1000 * reflectance_factor(um, distance_au=distance, sun_elevation_deg=elevation)
        stated = [(gain * f, offset * f) for (gain, offset), f in zip(stated, factor.tolist(), strict=True)]
        notes.append(
            f"radiance turned into top-of-atmosphere reflectance with the sun {elevation:.1f} degrees high, good to 3 % "
            "beyond 0.5 um and 10 % below"
        )
    image = _beside(metadata, match[1], "SPECTRAL_IMAGE")
    if image is None:
        raise SceneReadError(f"There is no {match[1]}-SPECTRAL_IMAGE.TIF beside {metadata}. Unpack all of the product.")
    facts = tuple(Facts(spec=s) for s in specs)
    names = tuple(s.name for s in specs)
    layers = [Layer(image, names, tuple(stated), facts=facts, nodata_if_silent=_NODATA)]
    for name, kind in _QUALITY.items():
        file = _beside(metadata, match[1], name)
        if file is not None:
            layers.append(Layer(file, (name,), quality={0: kind}))
    return Product(metadata.parent, "enmap", f"enmap-{level.lower()}", time, tuple(layers), notes=tuple(notes))


def _spec(band: Element, index: int, path: Path) -> BandSpec:
    given = band.get("number", "")
    name = f"B{int(given) if given.isdecimal() else index + 1:03d}"
    centre, width = (_number(band, key, path) for key in ("wavelengthCenterOfBand", "FWHMOfBand"))
    if not (300 <= centre <= 3000 and 0 < width < 100):
        raise SceneReadError(
            f"{path} gives band {name} a centre of {centre:g} and a width of {width:g}; nanometres between 300 and 3000 are "
            "needed. Fetch the product again."
        )
    return BandSpec(name, round(centre / 1e3, 6), round(width / 1e3, 6), _GSD_M)


def _beside(metadata: Path, stem: str, name: str) -> Path | None:
    wanted = re.compile(re.escape(f"{stem}-{name}") + r"(_COG)?\.(tiff?|geotiff)$", re.IGNORECASE)
    return next((p for p in sorted(metadata.parent.iterdir()) if wanted.match(p.name) and not p.is_symlink()), None)


def _number(band: Element, key: str, path: Path) -> float:
    return number((band.findtext(key) or "").strip(), f"{key} of band {band.get('number', '?')}", path)


def _text(root: Element, where: str) -> str:
    return (root.findtext(where) or "").strip()
