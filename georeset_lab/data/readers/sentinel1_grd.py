"""Sentinel-1 ground-range products (GRD) in SAFE format: counts of the radar become sigma nought on a map.

Layout and names: Sentinel-1 Product Specification (S1-RS-MDA-52-7441); modes IW, EW and SM, GeoTIFF and its cloud-optimised
form. Calibration and thermal noise are in ``sentinel1_lut.py``, the place of the pixels in ``sentinel1_place.py``, windows
in ``sentinel1_window.py``. The ground is taken as flat between the ties of the product: mountains lean towards the radar.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from georeset_lab.data.readers.dates import parse_date
from georeset_lab.data.readers.grids import parse_crs
from georeset_lab.data.readers.piece import Facts, Piece
from georeset_lab.data.readers.product import Layer, Product
from georeset_lab.data.readers.raster import EAGER_PIXELS, driver_of
from georeset_lab.data.readers.sentinel1 import radar_spec
from georeset_lab.data.readers.sentinel1_lut import read_calibration, read_noise
from georeset_lab.data.readers.sentinel1_place import Place, Ties, ties_in_tiff, ties_of
from georeset_lab.data.readers.sentinel1_window import Channel, GroundRangeReader
from georeset_lab.data.readers.xmlfile import number, read_xml, text, texts
from georeset_lab.data.reproject import is_metric
from georeset_lab.data.stored import Box, lazy
from georeset_lab.errors import SceneReadError

_NAME = re.compile(
    r"^(?P<stem>s1[abcd]-(?:iw|ew|s\d)-grd-(?P<pol>vv|vh|hh|hv)-\d{8}t\d{6}-\d{8}t\d{6}-\d{6}-\w{6}-\d{3}(?:-cog)?)\.(?P<kind>tiff|xml)$"
)
_ORDER = ("VV", "VH", "HH", "HV")
_CHUNK = 1024
_BLOCK_BYTES = 512 * 2**20
_FLAT = (
    "placed as if the ground were flat between the tie points of the product (no terrain correction): slopes are "
    "displaced and brighter or darker; prefer a terrain-corrected product (RTC) in mountains"
)


def recognise(path: Path) -> list[Product]:
    """The product of a SAFE folder or of its ``manifest.safe``.

    Raises
    ------
    SceneReadError
        Its metadata are damaged, or a file of it is missing.
    """
    folder = path.parent if path.name == "manifest.safe" and path.is_file() else path
    if not folder.is_dir():
        return []
    images, annotations = _named(folder / "measurement", "tiff"), _named(folder / "annotation", "xml")
    if not images and not annotations:
        return []
    manifest = folder / "manifest.safe"
    root = read_xml(manifest) if manifest.is_file() else None
    stated = [] if root is None else [p.upper() for p in texts(root, "transmitterReceiverPolarisation")]
    parts = [
        _Polarization.find(folder, pol, images, annotations)
        for pol in _ORDER
        if pol in {*images, *annotations, *stated}
    ]
    first = read_xml(parts[0].annotation)
    time = text(first, "startTime")
    whole = _Whole(folder, tuple(parts), _spacing(first, parts[0].annotation))
    flight, orbit = text(first, "pass").lower(), "" if root is None else text(root, "relativeOrbitNumber")
    notes = ["sigma nought from the product's calibration tables, on the ellipsoid", _FLAT, whole.noise_note(first)]
    if flight or orbit:
        notes.append(f"orbit: {flight or 'direction not stated'}{f', relative orbit {orbit}' if orbit else ''}")
    facts = tuple(Facts(spec=whole.spec(p.name), to_db=True) for p in parts)
    layer = Layer(parts[0].image, tuple(p.name for p in parts), facts=facts, opener=whole.open)
    tags = {"ORBIT_DIRECTION": flight.upper(), "RELATIVE_ORBIT": orbit}
    return [Product(folder, "s1", "sentinel-1-grd", parse_date(time), (layer,), tags, tuple(notes))]


@dataclass(frozen=True)
class _Polarization:
    """The files of one polarization."""

    name: str
    image: Path
    annotation: Path
    calibration: Path
    noise: Path | None

    @classmethod
    def find(cls, folder: Path, pol: str, images: dict[str, Path], annotations: dict[str, Path]) -> _Polarization:
        """All files that belong together by their names."""
        for what, where, found in (("image", "measurement", images), ("annotation", "annotation", annotations)):
            if pol not in found:
                raise SceneReadError(
                    f"{folder} is a Sentinel-1 product with polarization {pol}, but its {what} in {where}/ is not there. "
                    "Unpack or fetch all of it."
                )
        own = folder / "annotation" / "calibration"
        stem = annotations[pol].stem
        calibration, noise = own / f"calibration-{stem}.xml", own / f"noise-{stem}.xml"
        if not calibration.is_file():
            raise SceneReadError(
                f"{folder} holds no annotation/calibration/{calibration.name}; without it the counts of {pol} cannot become "
                "sigma nought. Unpack or fetch all of the product."
            )
        return cls(pol, images[pol], annotations[pol], calibration, noise if noise.is_file() else None)


@dataclass(frozen=True)
class _Whole:
    """A product as its one piece is opened: all polarizations on one grid."""

    folder: Path
    parts: tuple[_Polarization, ...]
    pixel_m: float

    def spec(self, polarization: str) -> Any:
        """Band of this polarization with the pixel size of the product."""
        return replace(radar_spec(polarization), gsd_m=self.pixel_m)

    def noise_note(self, root: Element) -> str:
        """What is done about thermal noise."""
        if _already_removed(root):
            return "thermal noise had been removed by the processor"
        without = [p.name for p in self.parts if p.noise is None or read_noise(p.noise) is None]
        if without:
            return f"thermal noise not removed from {', '.join(without)}: the product has no table of it"
        return "thermal noise removed by the product's tables, never below -40 dB"

    def open(self, chunks: int | None, crs: Any) -> Piece:
        """The product on the map: in ``crs`` if that is projected in metres, else in its UTM zone.

        Raises
        ------
        SceneReadError
            A file is damaged, or the files contradict each other.
        """
        channels, shapes, ties = [], [], None
        for part in self.parts:
            root = read_xml(part.annotation)
            shape, own = _header(part.image)
            _check_size(root, part.annotation, part.image, shape)
            shapes.append(shape)
            ties = ties or ties_of(root, part.annotation) or own
            noise = None if part.noise is None or _already_removed(root) else read_noise(part.noise)
            channels.append(Channel(part.image, read_calibration(part.calibration), noise))
        if len(set(shapes)) != 1:
            raise SceneReadError(f"{self.folder}: its images differ in size ({shapes}). Fetch the product again.")
        if ties is None:
            raise SceneReadError(
                f"{self.folder} says nowhere where its pixels lie: no geolocationGridPoint in {self.parts[0].annotation.name} "
                f"and no ground control points in {self.parts[0].image.name}. Fetch the product again."
            )
        wanted = None if crs is None else parse_crs(crs)
        place = Place(
            ties, shapes[0], wanted if wanted is not None and is_metric(wanted) else ties.zone, str(self.folder)
        )
        reader = GroundRangeReader(tuple(channels), place, place.grid(self.pixel_m))
        return Piece(
            raw=self._array(reader, chunks),
            grid=reader.grid,
            names=tuple(p.name for p in self.parts),
            times=np.array(["NaT"], dtype="datetime64[ns]"),
            origin=str(self.folder),
            nodata=0.0,  # besides NaN: no power is zero, so nobody need look for zeros
        )

    def _array(self, reader: GroundRangeReader, chunks: int | None) -> Any:
        high, wide = reader.grid.shape
        if chunks is None and high * wide <= EAGER_PIXELS:
            out = np.empty(reader.shape, reader.dtype)
            reader.read_into(out, Box((0,), tuple(range(len(self.parts))), slice(0, high), slice(0, wide)))
            return out
        from dask.base import tokenize

        files = [f for p in self.parts for f in (p.image, p.annotation, p.calibration, p.noise) if f is not None]
        stats = [(str(f.resolve()), f.stat().st_mtime_ns, f.stat().st_size) for f in files]
        side = chunks or _CHUNK
        return lazy(
            reader,
            (1, len(self.parts), min(side, high), min(side, wide)),
            f"grd-{tokenize(stats, str(reader.grid.crs))}",
        )


def _named(folder: Path, kind: str) -> dict[str, Path]:
    """Files of ground-range images by polarization."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _NAME.match(path.name.lower())
        if match is not None and match["kind"] == kind and path.is_file() and not path.is_symlink():
            found.setdefault(match["pol"].upper(), path)
    return found


def _spacing(root: Element, path: Path) -> float:
    value = number(text(root, "rangePixelSpacing"), "rangePixelSpacing", path)
    if not 1 <= value <= 1000:
        raise SceneReadError(f"{path} gives a rangePixelSpacing of {value:g} m. Fetch the product again.")
    return round(value, 1)


def _already_removed(root: Element) -> bool:
    return text(root, "thermalNoiseCorrectionPerformed").lower() == "true"


def _check_size(root: Element, path: Path, image: Path, shape: tuple[int, int]) -> None:
    names = ("numberOfLines", "numberOfSamples")
    stated = [number(text(root, n), n, path) for n in names if text(root, n)]
    if stated and tuple(stated) != shape:
        raise SceneReadError(
            f"{image} has {shape[0]} x {shape[1]} pixels, but {path.name} says {' x '.join(f'{s:g}' for s in stated)}. "
            "Fetch the product again."
        )


def _header(path: Path) -> tuple[tuple[int, int], Ties | None]:
    """Lines and pixels of an image, and the ties in it."""
    import rasterio

    driver = driver_of(path)
    with warnings.catch_warnings(), rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE", GDAL_NUM_THREADS="1"):
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            with rasterio.open(path, driver=driver) as src:
                high, wide = src.block_shapes[0]
                if src.count != 1 or src.dtypes[0] != "uint16" or high * wide * 2 > _BLOCK_BYTES:
                    raise SceneReadError(
                        f"{path} holds {src.count} bands of {src.dtypes[0]} in blocks of {high} x {wide}; a ground-range "
                        "image is one band of uint16 amplitudes. Fetch the product again."
                    )
                return (src.height, src.width), ties_in_tiff(src, path)
        except SceneReadError:
            raise
        except (rasterio.errors.RasterioError, UnicodeError, ValueError, OverflowError) as err:
            raise SceneReadError(f"{path} cannot be opened as a raster: {err}. Fetch the product again.") from err
