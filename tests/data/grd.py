"""Small Sentinel-1 ground-range products in SAFE format: real layout, names and elements, counts as given.

Layout and elements follow the Sentinel-1 Product Specification (S1-RS-MDA-52-7441). The image lies rotated by 12 degrees
(heading of a descending orbit), mirrored and slightly sheared in UTM zone 33N, with ties every 50 lines and pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.control import GroundControlPoint

from georeset_lab.data.grids import move

EPSG = 32633
NAME = "S1A_IW_GRDH_1SDV_20200607T010800_20200607T010825_032904_03CFBA_D457.SAFE"
PIXEL_M = 10.0
_TURN, _SHEAR = np.radians(192), np.tan(np.radians(2))
_AXES = PIXEL_M * np.array([[np.cos(_TURN), -np.sin(_TURN)], [np.sin(_TURN), np.cos(_TURN)]]) @ [[-1, _SHEAR], [0, 1]]
GROUND = Affine(*_AXES[0], 500_000, *_AXES[1], 5_800_000)
"""From (pixel, line), 0 at the centre of the first, to UTM."""
Blocks = Sequence[tuple[tuple[int, int, int, int], Sequence[float], Sequence[float]]]
"""First and last line, first and last pixel; lines; factors."""


def stem(polarization: str, number: int = 1) -> str:
    """Name of the files of a polarization."""
    return f"s1a-iw-grd-{polarization.lower()}-20200607t010800-20200607t010825-032904-03cfba-{number:03d}"


def product(
    folder: Path,
    counts: Mapping[str, np.ndarray],
    *,
    sigma_lut: float | np.ndarray = 500.0,
    noise: float | np.ndarray | None = None,
    blocks: Blocks = (),
    old_noise: bool = False,
    removed: bool = False,
    ground: Affine = GROUND,
    ties: str = "both",
    step: int = 50,
    day: str = "2020-06-07",
    **profile: object,
) -> Path:
    """Write a product; tables are constant or have one value for each entry of ``table_places``."""
    safe = folder / NAME
    for sub in ("measurement", "annotation/calibration"):
        (safe / sub).mkdir(parents=True, exist_ok=True)
    for i, (polarization, values) in enumerate(counts.items(), 1):
        name = stem(polarization, i)
        points = tie_points(values.shape, ground, step)
        gcps = [GroundControlPoint(row=r + 0.5, col=c + 0.5, x=x, y=y, z=0.0) for r, c, x, y in points]
        where = {"gcps": gcps, "crs": "EPSG:4326"} if ties in ("both", "tiff") else {}
        height, width = values.shape
        options = {"driver": "GTiff", "dtype": "uint16", "count": 1, "height": height, "width": width} | where | profile
        with rasterio.open(safe / "measurement" / f"{name}.tiff", "w", **options) as out:
            out.write(values, 1)
        text = annotation(values.shape, points if ties in ("both", "xml") else [], polarization, removed, day)
        (safe / "annotation" / f"{name}.xml").write_text(text)
        own = safe / "annotation" / "calibration"
        vectors = table(values.shape, sigma_lut, "calibrationVector", "sigmaNought")
        (own / f"calibration-{name}.xml").write_text(
            f"<calibration><calibrationVectorList>{vectors}</calibrationVectorList></calibration>"
        )
        if noise is not None:
            kind = ("noiseVector", "noiseLut") if old_noise else ("noiseRangeVector", "noiseRangeLut")
            text = f"<{kind[0]}List>{table(values.shape, noise, *kind)}</{kind[0]}List>"
            text += f"<noiseAzimuthVectorList>{''.join(map(_block, blocks))}</noiseAzimuthVectorList>"
            (own / f"noise-{name}.xml").write_text(f"<noise>{text}</noise>")
    stated = "".join(f"<s1:transmitterReceiverPolarisation>{p}</s1:transmitterReceiverPolarisation>" for p in counts)
    (safe / "manifest.safe").write_text(
        '<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:safe="http://www.esa.int/safe/sentinel-1.0" '
        'xmlns:s1="http://www.esa.int/safe/sentinel-1.0/sentinel-1">'
        f'<safe:relativeOrbitNumber type="start">132</safe:relativeOrbitNumber>{stated}</xfdu:XFDU>'
    )
    return safe


def tie_points(shape: tuple[int, int], ground: Affine, step: int) -> list[tuple[int, int, float, float]]:
    """Line, pixel, longitude and latitude of a regular net that ends at the last line and pixel."""
    rows, cols = (sorted({*range(0, n, step), n - 1}) for n in shape)
    to_degrees = Transformer.from_crs(EPSG, 4326, always_xy=True)
    return [(r, c, *to_degrees.transform(*move(ground, c, r))) for r in rows for c in cols]


def table_places(shape: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Lines and pixels of the vectors of a table."""
    rows, cols = (sorted({*range(0, n, 40), n - 1}) for n in shape)
    return rows, cols


def table(shape: tuple[int, int], values: float | np.ndarray, vector: str, name: str) -> str:
    """Vectors of a table."""
    rows, cols = table_places(shape)
    full = np.broadcast_to(values, (len(rows), len(cols)))
    at = " ".join(map(str, cols))
    return "".join(
        f'<{vector}><line>{r}</line><pixel count="{len(cols)}">{at}</pixel>'
        f'<{name} count="{len(cols)}">{" ".join(f"{v:.6e}" for v in line)}</{name}></{vector}>'
        for r, line in zip(rows, full, strict=True)
    )


def annotation(shape: tuple[int, int], points: Sequence[tuple], polarization: str, removed: bool, day: str) -> str:
    """Annotation of one polarization."""
    net = "".join(
        f"<geolocationGridPoint><line>{r}</line><pixel>{c}</pixel><latitude>{lat!r}</latitude>"
        f"<longitude>{lon!r}</longitude><height>0</height></geolocationGridPoint>"
        for r, c, lon, lat in points
    )
    return (
        f"<product><adsHeader><polarisation>{polarization}</polarisation><startTime>{day}T01:08:00.123456"
        "</startTime></adsHeader><generalAnnotation><productInformation><pass>Descending</pass></productInformation>"
        f"</generalAnnotation><imageAnnotation><imageInformation><rangePixelSpacing>{PIXEL_M:e}</rangePixelSpacing>"
        f"<azimuthPixelSpacing>{PIXEL_M:e}</azimuthPixelSpacing><numberOfSamples>{shape[1]}</numberOfSamples>"
        f"<numberOfLines>{shape[0]}</numberOfLines></imageInformation><processingInformation>"
        f"<thermalNoiseCorrectionPerformed>{str(removed).lower()}</thermalNoiseCorrectionPerformed>"
        "</processingInformation></imageAnnotation><geolocationGrid>"
        f"<geolocationGridPointList>{net}</geolocationGridPointList></geolocationGrid></product>"
    )


def _block(block: tuple[tuple[int, int, int, int], Sequence[float], Sequence[float]]) -> str:
    (top, bottom, left, right), lines, factors = block
    return (
        f"<noiseAzimuthVector><swath>IW1</swath><firstAzimuthLine>{top}</firstAzimuthLine><firstRangeSample>{left}"
        f"</firstRangeSample><lastAzimuthLine>{bottom}</lastAzimuthLine><lastRangeSample>{right}</lastRangeSample>"
        f"<line>{' '.join(map(str, lines))}</line><noiseAzimuthLut>{' '.join(map(str, factors))}</noiseAzimuthLut>"
        "</noiseAzimuthVector>"
    )
