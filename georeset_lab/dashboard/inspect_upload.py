"""A process of its own that opens one uploaded file, with little memory and time, and says what it is.

``python -m georeset_lab.dashboard.inspect_upload PATH LIMITS`` prints one line of JSON and ends. Whatever a hostile file
does to GDAL or to a parser, it does here. Nothing but NumPy, rasterio and the vector libraries is imported, and those
only once the limits hold.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from georeset_lab.errors import GeoresetError

MEMORY_BYTES = 4 << 30
CPU_SECONDS = 30
OUTPUT_BYTES = 64 << 20
"""Largest file that may be written: the labels in their checked form."""

MAX_BANDS = 64
MAX_BLOCK_BYTES = 256 << 20
MAX_NAME = 80
"""Characters of a band's name that are passed on."""


class Refused(Exception):
    """What the file is, and what is allowed: the sentence that the user reads."""


def main(argv: list[str]) -> int:
    """Inspect one file; the answer is on standard output, and the exit status is 0, whatever the file is."""
    _limit_this_process()
    path, limits = Path(argv[0]), json.loads(argv[1])
    try:
        kind = kind_of(path)
        if path.stat().st_size > limits[f"{kind}_bytes"]:
            raise Refused(_too_large(kind, path.stat().st_size, limits))
        found = _scene(path, limits) if kind == "scene" else _labels(path)
        answer = {"ok": True, "kind": kind, "sha256": _digest(path), **found}
    except Refused as err:
        answer = {"ok": False, "message": str(err)}
    except MemoryError:
        answer = {"ok": False, "message": "Opening it took more memory than is allowed."}
    except GeoresetError as err:
        answer = {"ok": False, "message": str(err)}
    except Exception as err:  # every library below has errors of its own
        answer = {"ok": False, "message": f"It could not be read: {_cause(err)}"}
    sys.stdout.write(json.dumps(answer))
    return 0


def kind_of(path: Path) -> str:
    """``"scene"`` or ``"labels"``, by content; the name of an upload says nothing."""
    with path.open("rb") as file:
        head = file.read(64)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "scene"
    if head[:4] == b"PAR1" or head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        return "labels"
    raise Refused(
        f"It is neither a GeoTIFF nor GeoJSON or GeoParquet: it begins with {head[:8]!r}. Only these are taken."
    )


def _limit_this_process() -> None:
    with suppress(ImportError):  # Windows has none; the time limit of the parent and the declared sizes remain
        import resource

        for what, most in (
            (resource.RLIMIT_AS, MEMORY_BYTES),
            (resource.RLIMIT_CPU, CPU_SECONDS),
            (resource.RLIMIT_FSIZE, OUTPUT_BYTES),
            (resource.RLIMIT_NOFILE, 128),
            (resource.RLIMIT_CORE, 0),
        ):
            _, hard = resource.getrlimit(what)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(what, (most, most))


# -- GeoTIFF ---------------------------------------------------------------------------------------------------------


def _scene(path: Path, limits: dict[str, int]) -> dict[str, Any]:
    import rasterio

    # No other driver is tried, no neighbour of the file is looked at, no address is opened.
    env: dict[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_NUM_THREADS": "1", "GDAL_CACHEMAX": 64}
    with rasterio.Env(**env), rasterio.open(path, driver="GTiff") as src:
        _check_declared(src, limits)
        _check_place(src)
        _read_all(src)
        return {
            "bands": src.count,
            "width": src.width,
            "height": src.height,
            "names": [str(d)[:MAX_NAME] if d else "" for d in src.descriptions],
            "crs": src.crs.to_string()[:200],
            "pixel": [abs(src.transform.a), abs(src.transform.e)],
        }


def _check_declared(src: Any, limits: dict[str, int]) -> None:
    """Refuse by what the header says, before a pixel is read."""
    if src.count > MAX_BANDS:
        raise Refused(f"It has {src.count} bands; at most {MAX_BANDS} are taken.")
    width_of = {d: 1 if d in ("uint8", "int8") else int("".join(filter(str.isdigit, d))) // 8 for d in src.dtypes}
    if any(d.startswith("complex") for d in src.dtypes):
        raise Refused("It holds complex numbers (single-look radar). Give detected power or dB.")
    size = src.width * src.height * sum(width_of[d] for d in src.dtypes)
    if size > limits["decoded_bytes"] or src.width * src.height > limits["pixels"]:
        raise Refused(
            f"It declares {src.width} x {src.height} pixels of {src.count} bands, {_size(size)} once unpacked; up to "
            f"{limits['pixels'] / 1e6:.0f} million pixels and {_size(limits['decoded_bytes'])} are taken. Cut out a part, "
            "for instance with gdal_translate -projwin."
        )
    high, wide = src.block_shapes[0]
    block = high * wide * (src.count if str(src.interleaving).lower().endswith("pixel") else 1)
    block *= max(width_of.values())
    if block > MAX_BLOCK_BYTES:
        raise Refused(
            f"It is stored in blocks of {high} x {wide} pixels, {_size(block)} each; up to {_size(MAX_BLOCK_BYTES)} are "
            "taken. Write it in tiles: gdal_translate -co TILED=YES."
        )


def _check_place(src: Any) -> None:
    if src.crs is None or src.transform.is_identity:
        raise Refused("It does not say where on Earth it lies (no CRS or no position). Assign them and try again.")


def _read_all(src: Any) -> None:
    """Decode every block once, so that a damaged file is known now rather than in the middle of an encoding."""
    import rasterio

    for _, window in src.block_windows(1):
        try:
            src.read(window=window)
        except rasterio.errors.RasterioError as err:
            raise Refused(
                f"It is damaged or cut off: the pixels at row {window.row_off}, column {window.col_off} cannot be read "
                f"({_cause(err)})."
            ) from err


# -- labels ----------------------------------------------------------------------------------------------------------


def _labels(path: Path) -> dict[str, Any]:
    """Check labels, and write what is kept of them beside the file, as GeoJSON of ours in ``PATH.checked``."""
    from georeset_lab.embed.labels.files import read_label_table, to_geojson

    table = read_label_table(path.read_bytes())
    classes = [(name, colour or "") for name, colour in table.classes]
    path.with_name(f"{path.name}.checked").write_bytes(to_geojson(table.rows, classes))
    counts = Counter(row.label for row in table.rows)
    return {"labels": len(table.rows), "classes": {name: counts[name] for name, _ in classes}}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _too_large(kind: str, size: int, limits: dict[str, int]) -> str:
    what = "GeoTIFF" if kind == "scene" else "labels"
    return f"It is {_size(size)} of {what}; up to {_size(limits[f'{kind}_bytes'])} are taken."


def _size(n: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if n < 1000:
            return f"{n:.0f} {unit}"
        n /= 1000
    return f"{n:.1f} GB"


def _cause(err: BaseException) -> str:
    while err.__cause__ is not None:
        err = err.__cause__
    return (str(err).strip().rstrip(".") or type(err).__name__)[:300]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
