"""ENVI rasters: a text header (``.hdr``) that describes a plain binary file beside it.

Header keys: NV5 ENVI header documentation. Map grid, pixel type and interleave are read by GDAL's ENVI driver, which opens
the binary file only; wavelengths by ``wavelengths.py``; ``reflectance scale factor`` and ``data gain / offset values``
here.
"""

from __future__ import annotations

import re
from pathlib import Path

from georeset_lab.data.readers.dates import date_in_name, parse_date
from georeset_lab.data.readers.piece import Facts
from georeset_lab.data.readers.product import Layer, Product
from georeset_lab.errors import SceneReadError

_LARGEST = 5_000_000
_BYTES = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 12: 2, 13: 4, 14: 8, 15: 8}
"""Bytes of each ENVI data type that is real."""


def recognise(path: Path) -> list[Product]:
    """The ENVI raster of a header file, or of the binary file beside one.

    Raises
    ------
    SceneReadError
        The header is damaged, or the binary file is missing or too short for it.
    """
    header = _header_of(path)
    if header is None:
        return []
    keys = read_header(header)
    image = _image_of(header)
    _check_size(keys, header, image)
    stated, facts = _scaling(keys, header)
    time = parse_date(keys.get("acquisition time", ""))
    layer = Layer(image, None, stated, facts=facts, nodata=_optional(keys, "data ignore value"), driver="ENVI")
    name = "image"
    return [Product(header, name, None, time if time == time else date_in_name(header.stem), (layer,))]


def read_header(path: Path) -> dict[str, str]:
    """Keys of an ENVI header in lower case, values as written (lists with their braces).

    Raises
    ------
    SceneReadError
        It is too large, or lacks the size of the raster.
    """
    if path.stat().st_size > _LARGEST:
        raise SceneReadError(f"{path} has more than {_LARGEST / 1e6:g} MB; no ENVI header is that large.")
    text = path.read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^\s*([^=\n{};]+?)\s*=[ \t]*(\{[^}]*\}?|[^\n]*)", text, re.MULTILINE)
    keys = {k.strip().lower(): v.strip() for k, v in found}
    for key in ("samples", "lines", "bands", "data type"):
        if not re.fullmatch(r"\d{1,9}", keys.get(key, "")):
            raise SceneReadError(f"{path} gives {keys.get(key, 'nothing')!r} for {key!r}; a whole number is needed.")
    return keys


def _header_of(path: Path) -> Path | None:
    if not path.is_file():
        return None
    if path.suffix.lower() == ".hdr":
        with path.open("rb") as file:
            return path if file.read(4) == b"ENVI" else None
    for header in (path.with_name(path.name + ".hdr"), path.with_suffix(".hdr")):
        if header.is_file():
            with path.open("rb") as file, header.open("rb") as text:
                own_format = file.read(4) in (b"II*\x00", b"MM\x00*", b"II+\x00", b"\x89HDF", b"\x00\x00\x00\x0c")
                return header if text.read(4) == b"ENVI" and not own_format else None
    return None


def _image_of(header: Path) -> Path:
    stem = header.with_suffix("")
    ends = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin", ".envi")
    for candidate in (stem.with_name(stem.name + e) for e in (*ends, *(e.upper() for e in ends if e))):
        if candidate.is_file() and not candidate.is_symlink():
            return candidate
    raise SceneReadError(f"There is no image beside the header {header} ({stem.name}, {stem.name}.img, ...).")


def _check_size(keys: dict[str, str], header: Path, image: Path) -> None:
    kind = int(keys["data type"])
    if kind not in _BYTES:
        raise SceneReadError(f"{header} has data type {kind}: complex or unknown numbers, which are not read.")
    offset = keys.get("header offset", "0")
    start = int(offset) if re.fullmatch(r"\d{1,12}", offset) else 0
    wanted = start + int(keys["samples"]) * int(keys["lines"]) * int(keys["bands"]) * _BYTES[kind]
    size = image.stat().st_size
    if size < wanted:
        raise SceneReadError(
            f"{image} has {size} bytes, but its header describes {wanted}: it is truncated, or the header is another's."
        )


def _scaling(keys: dict[str, str], path: Path) -> tuple[tuple[tuple[float, float], ...], tuple[Facts, ...]]:
    """Scale and offset of each band, if the header states them; then its units are certain."""
    count = int(keys["bands"])
    gains, offsets = _numbers(keys, "data gain values", path), _numbers(keys, "data offset values", path)
    for name, values in (("data gain values", gains), ("data offset values", offsets)):
        if values and len(values) != count:
            raise SceneReadError(f"{path} gives {len(values)} {name} for {count} bands. Correct the header.")
    factor = _optional(keys, "reflectance scale factor")
    if factor is not None and not factor > 0:
        raise SceneReadError(f"{path} gives a reflectance scale factor of {factor:g}; it must be above zero.")
    if not gains and not offsets and factor is None:
        return (), ()
    scale = 1 / factor if factor is not None else 1.0
    pairs = tuple((g * scale, o * scale) for g, o in zip(gains or [1.0] * count, offsets or [0.0] * count, strict=True))
    return pairs, (Facts(),) * count


def _numbers(keys: dict[str, str], key: str, path: Path) -> list[float]:
    parts = [p for p in re.split(r"[,\s]+", keys.get(key, "").strip("{} \n")) if p]
    try:
        return [float(p) for p in parts]
    except ValueError as err:
        raise SceneReadError(f"{path} gives {key!r} with a part that is no number ({err}).") from err


def _optional(keys: dict[str, str], key: str) -> float | None:
    try:
        return float(keys[key].strip("{} "))
    except (KeyError, ValueError):
        return None
