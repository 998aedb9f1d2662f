"""Harmonized Landsat Sentinel-2 (HLS) L30 and S30 granules: one GeoTIFF for each band, Fmask beside them.

Names and units: HLS User Guide v2.0 (LP DAAC). Surface reflectance x 10000, thermal bands in 0.01 degrees Celsius, fill
-9999; ``HLS.S30.T18TXM.2021105T154911.v2.0.B8A.tif``. The scale is read from the file where it states one.
"""

from __future__ import annotations

import re
from pathlib import Path

from georeset_lab.data.readers.dates import date_in_name
from georeset_lab.data.readers.piece import Facts
from georeset_lab.data.readers.product import Layer, Product
from georeset_lab.data.sensors import sensor

_NAME = re.compile(
    r"^(?P<granule>HLS\.(?P<kind>[LS]30)\.T\d{2}[A-Z]{3}\.\d{7}T\d{6}\.v[\d.]+)\.(?P<layer>\w+)\.tiff?$", re.IGNORECASE
)
_CELSIUS_K = 273.15


def recognise(path: Path) -> list[Product]:
    """HLS granules whose files lie in a folder, one product each."""
    if not path.is_dir():
        return []
    granules: dict[str, list[tuple[str, Path]]] = {}
    for file in sorted(path.iterdir()):
        found = _NAME.match(file.name)
        if found is not None and not file.is_symlink():
            granules.setdefault(found["granule"], []).append((found["layer"], file))
    products = [_product(name, files, path) for name, files in granules.items()]
    return [p for p in products if p.has_images]


def _product(granule: str, files: list[tuple[str, Path]], folder: Path) -> Product:
    kind = granule.split(".")[1].lower()
    known = sensor(f"hls-{kind}")
    layers = []
    for name, path in files:
        if name.lower() == "fmask":
            layers.append(Layer(path, ("Fmask",), quality={0: "fmask"}))
            continue
        band = known.find(name) if name.upper().startswith("B") else None
        if band is None:
            continue  # angles of sun and view
        thermal = band.kind == "temperature"
        layers.append(
            Layer(
                path,
                (band.name,),
                stated_if_silent=((0.01 if thermal else 1e-4, 0.0),),
                shift=_CELSIUS_K if thermal else 0.0,
                facts=(Facts(),),
                nodata=None,
                nodata_if_silent=-9999.0,
            )
        )
    return Product(folder / granule, f"hls_{kind}", known.name, date_in_name(granule), tuple(layers))
