"""Labels to and from files: GeoJSON (RFC 7946) and GeoParquet. Any CRS comes in, degrees go out, names are plain text.

What comes from outside is not trusted: sizes are limited, only points and polygons are taken, and nothing in a file is
run, opened or shown as HTML. ``book.py`` keeps what is read here.
"""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from georeset_lab.data.geometry import LONLAT, as_frame, describe_bounds
from georeset_lab.errors import LabelError, SceneReadError

if TYPE_CHECKING:
    import geopandas as gpd
    import shapely
    from odc.geo.geobox import GeoBox

__all__ = [
    "MAX_BYTES", "MAX_LABELS", "MAX_VERTICES", "SOURCES", "LabelRow", "LabelTable", "clean_geometry", "colour_of",
    "label_frame", "plain_name", "read_label_table", "to_geojson", "to_geoparquet",
]  # fmt: skip

MAX_BYTES = 16 << 20
MAX_LABELS = 50_000
MAX_VERTICES = 1_000_000
MAX_NAME = 200
"""Bytes and labels of a file, corners of all its polygons, characters of a name: far above what is drawn by hand."""
MAX_DECODED = 256 << 20
"""Bytes that the columns of a GeoParquet file may have once they are unpacked."""

Source = Literal["click", "polygon", "import", "suggestion"]
SOURCES: tuple[Source, ...] = ("click", "polygon", "import", "suggestion")
"""How a label came to be."""

_ID = re.compile(r"L[0-9a-f]{12}\Z")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\Z")
# Nothing but a code: PROJ would open files that a longer text names.
_CRS = re.compile(r"(?:urn:ogc:def:crs:)?(EPSG|OGC):(?:[0-9.]*:)?(CRS84|\d{1,6})\Z")
_OWN = ("colour", "id", "source", "when")


@dataclass(frozen=True)
class LabelRow:
    """One label of a file."""

    label: str
    geometry: shapely.Geometry
    """Point or polygon in degrees."""
    colour: str | None = None
    id: str | None = None
    """Only if it was ours; others number their rows 1, 2, 3, and two files would mean the same."""
    source: Source = "import"
    when: str | None = None


@dataclass(frozen=True)
class LabelTable:
    """What a file of labels holds."""

    rows: tuple[LabelRow, ...]
    classes: tuple[tuple[str, str | None], ...]
    """Names and colours, in their order; also of classes that no row has."""
    outside: int = 0
    """Labels left out because they do not touch the scene."""


def read_label_table(source: Any, *, column: str = "label", grid: GeoBox | None = None) -> LabelTable:
    """Labels of a file, an upload or a table, checked and in degrees.

    Parameters
    ----------
    source : path, bytes, GeoJSON dict or GeoDataFrame
        GeoJSON or GeoParquet, told apart by content. GeoJSON is in lon/lat unless its old ``crs`` member names a code.
    column : str
        Property or column that holds the label.
    grid : odc.geo.geobox.GeoBox, optional
        Labels that do not touch it are left out and counted.

    Raises
    ------
    LabelError
        It is none of these, too large (`MAX_BYTES`, `MAX_LABELS`, `MAX_VERTICES`), has no label column, rows without a
        label, geometries other than points and polygons, coordinates that are no degrees, or touches the grid nowhere.
    MissingCRS
        A table does not say where it is.
    SceneReadError
        There is no such file.
    """
    if isinstance(source, str | Path):
        source = _read_bytes(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        source = _parse(bytes(source), column)
    if isinstance(source, Mapping):
        source = _frame_of_geojson(source, column)
    frame = as_frame(source, what="labels")
    listed = frame.attrs.get("classes")
    classes = list(_classes(listed if isinstance(listed, list) else []))
    if not len(frame) and not classes:
        raise LabelError("There are no labels in it: no feature and no row. Export some first, or draw them.")
    if column not in frame.columns:
        raise LabelError(_no_column(column, [c for c in frame.columns if c != frame.geometry.name]))
    _check_size(frame)
    frame, outside = _inside(frame, grid)
    rows = tuple(_rows(frame, column))
    named = dict(classes)
    for row in rows:
        if named.get(row.label) is None:
            named[row.label] = row.colour
    return LabelTable(rows, tuple(named.items()), outside)


def label_frame(rows: Sequence[LabelRow]) -> gpd.GeoDataFrame:
    """Labels as a table in lon/lat: label, colour, id, source, when, lon, lat (of a point inside), geometry."""
    import geopandas as gpd
    import shapely

    shapes = np.array([row.geometry for row in rows], dtype=object)
    at = shapely.point_on_surface(shapes)
    columns: dict[str, Any] = {name: [getattr(r, name) for r in rows] for name in ("label", *_OWN)}
    columns |= {"lon": shapely.get_x(at), "lat": shapely.get_y(at)}
    return gpd.GeoDataFrame(columns, geometry=list(shapes), crs=LONLAT)


def to_geojson(rows: Sequence[LabelRow], classes: Sequence[tuple[str, str]]) -> bytes:
    """GeoJSON of labels (RFC 7946), with properties label, colour, id, source and when; classes as a foreign member."""
    from shapely.geometry import mapping

    features = [
        {
            "type": "Feature",
            "id": row.id,
            "properties": {name: getattr(row, name) for name in ("label", *_OWN)},
            "geometry": mapping(row.geometry),  # type: ignore[arg-type]  # shapely's own stubs lack the protocol
        }
        for row in rows
    ]
    listed = [{"label": name, "colour": colour} for name, colour in classes]
    whole = {"type": "FeatureCollection", "classes": listed, "features": features}
    return json.dumps(whole, ensure_ascii=False, allow_nan=False).encode()


def to_geoparquet(rows: Sequence[LabelRow], classes: Sequence[tuple[str, str]]) -> bytes:
    """GeoParquet of labels, with the columns of `label_frame`."""
    frame = label_frame(rows)
    frame.attrs["classes"] = [{"label": name, "colour": colour} for name, colour in classes]
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def plain_name(name: Any) -> str:
    """Name of a class as one line of plain text: Unicode composed, no control characters, no blanks around it.

    Numbers are taken as text (1.0 is "1"); markup stays what it is, text.

    Raises
    ------
    LabelError
        It is empty, too long, not text or number, or broken Unicode.
    """
    if isinstance(name, bool | np.bool_):
        name = str(bool(name))
    elif isinstance(name, int | float | np.number) and np.isfinite(name):
        name = str(int(name)) if float(name).is_integer() else str(float(name))
    if not isinstance(name, str):
        raise LabelError(f"A label is text or a number, not {type(name).__name__}. Give each class a name.")
    text = "".join(" " if unicodedata.category(c) == "Cc" else c for c in unicodedata.normalize("NFC", name)).strip()
    if not text or len(text) > MAX_NAME:
        raise LabelError(f"The name of a class has 1 to {MAX_NAME} characters; this one has {len(text)}.")
    if any(unicodedata.category(c) == "Cs" for c in text):
        raise LabelError("The name of a class holds half of a surrogate pair, which no file can store. Type it again.")
    return text


def colour_of(text: Any) -> str:
    """A colour such as "#e69f00", in small letters; `LabelError` if it is none."""
    found = _known_colour(text)
    if found is None:
        raise LabelError(f"A colour is '#' and six hexadecimal digits, like '#e69f00'; this is {str(text)[:40]!r}.")
    return found


def clean_geometry(geometry: Any, *, what: str = "The geometry") -> shapely.Geometry:
    """A point or polygon in degrees as RFC 7946 wants it: flat, valid, outer rings anticlockwise, cut at 180 degrees.

    Raises
    ------
    LabelError
        It is neither, is empty, encloses nothing, or its coordinates are no degrees.
    """
    import shapely

    if not isinstance(geometry, shapely.Geometry):
        geometry = _shape(geometry, what)
    if geometry.is_empty or geometry.geom_type not in ("Point", "Polygon", "MultiPolygon"):
        kind = f"an empty {geometry.geom_type}" if geometry.is_empty else f"a {geometry.geom_type}"
        raise LabelError(
            f"{what} is {kind}; labels are points and polygons. Split collections with frame.explode(), and give lines "
            "a width with frame.buffer(10) in metres."
        )
    flat = shapely.force_2d(geometry)
    lon, lat = np.abs(shapely.get_coordinates(flat)).T
    if not (np.isfinite(lon).all() and np.isfinite(lat).all() and lon.max() <= 540 and lat.max() <= 90):
        raise LabelError(
            f"{what} has coordinates that are no longitude and latitude: {shapely.get_coordinates(flat)[0].tolist()}. "
            "GeoJSON is in degrees; pass other coordinates as a GeoDataFrame with its CRS."
        )
    if not flat.is_valid:  # a bow-tie is split at its crossing
        parts = [p for p in shapely.get_parts(shapely.make_valid(flat)) if "Polygon" in p.geom_type]
        flat = shapely.union_all(parts)
    if flat.geom_type != "Point" and not flat.area > 0:
        raise LabelError(f"{what} encloses nothing. Draw it with three corners or more that are not in one line.")
    if lon.max() > 180:
        flat = _cut_at_180(flat)
    return flat if flat.geom_type == "Point" else shapely.orient_polygons(flat)


def _cut_at_180(geometry: Any) -> Any:
    import shapely
    from shapely.affinity import translate

    if geometry.geom_type == "Point":
        return shapely.Point((geometry.x + 180) % 360 - 180, geometry.y)
    parts = []
    for turn in (-360, 0, 360):
        piece = geometry.intersection(shapely.box(turn - 180, -90, turn + 180, 90))
        parts += [p for p in shapely.get_parts(translate(piece, -turn)) if "Polygon" in p.geom_type]
    return shapely.union_all(parts)


def _read_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise SceneReadError(f"There is no label file {path}.")
    if path.stat().st_size > MAX_BYTES:
        raise LabelError(_too_large(f"{path.name} has {path.stat().st_size / 2**20:.0f} MB"))
    return path.read_bytes()


def _too_large(what: str) -> str:
    return (
        f"{what}; labels are read up to {MAX_BYTES >> 20} MB, {MAX_LABELS:,} labels and {MAX_VERTICES:,} corners. Keep "
        "those of the scene: geopandas.read_file(path, bbox=(west, south, east, north)), or simplify the polygons."
    )


def _parse(payload: bytes, column: str) -> Any:
    """GeoJSON as a dictionary or GeoParquet as a GeoDataFrame."""
    if len(payload) > MAX_BYTES:
        raise LabelError(_too_large(f"The file has {len(payload) / 2**20:.0f} MB"))
    if payload[:4] == b"PAR1":
        return _frame_of_parquet(payload, column)
    try:
        found = json.loads(payload.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as err:  # text that is not UTF-8 too
        why = "it is nested too deeply" if isinstance(err, RecursionError) else str(err)[:200]
        raise LabelError(
            f"This is neither GeoJSON nor GeoParquet: {why}. Read other vector files with geopandas.read_file(path) and "
            "pass the table."
        ) from err
    if not isinstance(found, dict):
        raise LabelError(f"This is JSON, but a {type(found).__name__} and no GeoJSON object. Export it as GeoJSON.")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which is no JSON number")


def _frame_of_geojson(mapping: Mapping[str, Any], column: str) -> gpd.GeoDataFrame:
    import geopandas as gpd

    features = mapping.get("features") if mapping.get("type") == "FeatureCollection" else [mapping]
    if not isinstance(features, list) or not all(
        isinstance(f, Mapping) and f.get("type") == "Feature" for f in features
    ):
        raise LabelError(
            f"This is JSON of type {str(mapping.get('type'))[:40]!r}, not a GeoJSON FeatureCollection with a list of "
            "features. Export points or polygons as GeoJSON."
        )
    if len(features) > MAX_LABELS:
        raise LabelError(_too_large(f"The file has {len(features):,} labels"))
    properties = [f.get("properties") if isinstance(f.get("properties"), Mapping) else {} for f in features]
    if features and not any(column in p for p in properties):
        raise LabelError(_no_column(column, sorted({str(name) for p in properties[:100] for name in p})))
    shapes = [_shape(f.get("geometry"), f"Feature {i}") for i, f in enumerate(features)]
    columns = {name: [p.get(name) for p in properties] for name in (column, *_OWN)}
    frame = gpd.GeoDataFrame(columns, geometry=shapes, crs=_crs_of(mapping.get("crs")))
    frame.attrs["classes"] = mapping.get("classes")
    return frame


def _shape(geometry: Any, what: str) -> Any:
    import shapely

    kind = geometry.get("type") if isinstance(geometry, Mapping) else type(geometry).__name__
    if kind not in ("Point", "Polygon", "MultiPolygon"):
        raise LabelError(f"{what} has the geometry {str(kind)[:40]!r}; labels are points and polygons.")
    try:
        return shapely.geometry.shape(geometry)
    except Exception as err:  # shapely and NumPy each have their own for coordinates that are none
        raise LabelError(f"{what} is no valid {kind}: {str(err)[:200]}. Export it again as GeoJSON.") from err


def _crs_of(member: Any) -> str:
    """The CRS of GeoJSON: degrees, or the code that the old ``crs`` member names."""
    if member is None:
        return LONLAT
    properties = member.get("properties") if isinstance(member, Mapping) else None
    name = properties.get("name") if isinstance(properties, Mapping) else None
    found = _CRS.match(name) if isinstance(name, str) else None
    if found is None:
        raise LabelError(
            f"The 'crs' member of this GeoJSON is {str(name)[:60]!r}, not a code such as 'urn:ogc:def:crs:EPSG::32719'. "
            "Remove it if the coordinates are degrees, or pass a GeoDataFrame with its CRS."
        )
    return f"{found[1]}:{found[2]}"


def _frame_of_parquet(payload: bytes, column: str) -> gpd.GeoDataFrame:
    """GeoParquet with geometries as WKB. Not by geopandas: a small file could then fill the memory."""
    import geopandas as gpd
    import pyarrow.parquet as pq
    import shapely

    try:
        file = pq.ParquetFile(io.BytesIO(payload))
        metadata = file.metadata.metadata or {}
        geo = json.loads(metadata.get(b"geo", b"null"))
        if not geo:
            raise LabelError("This is Parquet without geometries. Write it with GeoDataFrame.to_parquet().")
        place, names = geo["primary_column"], file.schema_arrow.names
        if column not in names:
            raise LabelError(_no_column(column, [n for n in names if n != place]))
        about = geo["columns"][place]
        if about.get("encoding") != "WKB":
            raise LabelError(f"Its geometries are {str(about.get('encoding'))[:20]!r}. Write them as 'WKB'.")
        wanted = list(dict.fromkeys([place, *(n for n in (column, *_OWN) if n in names)]))
        table = _unpacked(payload, file, wanted)
        columns = {name: table[name].to_pylist() for name in wanted if name != place}
        shapes = shapely.from_wkb(table[place].to_pylist())
        crs = about.get("crs", LONLAT)  # without one it is lon/lat by the standard; null is unknown
        if "crs" in about and not isinstance(crs, dict | None):
            raise LabelError(f"Its CRS is {str(crs)[:40]!r}, not PROJJSON as GeoParquet has it. Write it again.")
        frame = gpd.GeoDataFrame(columns, geometry=shapes, crs=crs)
        frame.attrs["classes"] = json.loads(metadata.get(b"PANDAS_ATTRS", b"{}")).get("classes")
    except LabelError:
        raise
    except MemoryError as err:
        raise LabelError(_too_large("The file does not fit into memory")) from err
    except Exception as err:  # Arrow, pyproj and shapely each have their own for what is damaged
        raise LabelError(
            f"This GeoParquet cannot be read: {str(err)[:200]}. Write it again with to_parquet()."
        ) from err
    return frame


def _unpacked(payload: bytes, file: Any, wanted: list[str]) -> Any:
    """The columns of a file, unless it is small and they are huge: long values repeated, or pages packed a thousandfold.

    The metadata of single columns is left alone: of a damaged file it can abort Python (pyarrow 26).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = file.metadata
    if metadata.num_rows > MAX_LABELS:
        raise LabelError(_too_large(f"The file has {metadata.num_rows:,} labels"))
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if size > MAX_DECODED:
        raise LabelError(_too_large(f"The file unpacks to {size / 2**20:.0f} MB"))
    if any(pa.types.is_nested(file.schema_arrow.field(name).type) for name in wanted):
        raise LabelError("Its columns hold lists or records. Keep one label and one geometry (WKB) in each row.")
    packed = pq.read_table(io.BytesIO(payload), columns=wanted, read_dictionary=wanted)
    size = 0
    for part in (p for c in packed.columns for p in c.chunks if isinstance(p, pa.DictionaryArray)):
        lengths = pa.compute.binary_length(part.dictionary).to_numpy(zero_copy_only=False)
        used = part.indices.drop_null().to_numpy(zero_copy_only=False)
        size += int(lengths[used].astype(np.int64).sum())
    if size > MAX_DECODED:
        raise LabelError(_too_large(f"The file unpacks to {size / 2**20:.0f} MB"))
    return packed


def _no_column(column: str, known: Sequence[Any]) -> str:
    names = ", ".join(repr(str(c)[:40]) for c in known[:10]) or "none"
    return f"Labels need a property {column!r}; these have {names}. Say which holds the label with column='...'."


def _check_size(frame: gpd.GeoDataFrame) -> None:
    import shapely

    vertices = int(shapely.get_num_coordinates(frame.geometry.to_numpy()).sum())
    if len(frame) > MAX_LABELS or vertices > MAX_VERTICES:
        raise LabelError(_too_large(f"There are {len(frame):,} labels with {vertices:,} corners"))


def _inside(frame: gpd.GeoDataFrame, grid: GeoBox | None) -> tuple[gpd.GeoDataFrame, int]:
    """The rows that touch the grid, in degrees, and how many do not."""
    import shapely

    empty = frame.geometry.isna() | frame.geometry.is_empty
    if empty.any():
        raise LabelError(
            f"{int(empty.sum())} of {len(frame)} geometries are empty or missing. Drop them with "
            "frame[~frame.geometry.is_empty & frame.geometry.notna()]."
        )
    # Coordinates that are in degrees already stay what they are, to the last bit.
    found = frame if frame.crs.equals(LONLAT, ignore_axis_order=True) else frame.to_crs(LONLAT)
    if grid is None or not len(frame):
        return found, 0
    touches = frame.to_crs(str(grid.crs)).geometry.intersects(shapely.box(*grid.boundingbox.bbox)).to_numpy()
    if not touches.any():
        raise LabelError(f"0 of {len(frame)} labels touch the scene: {describe_bounds(frame, grid)}.")
    return found[touches], int((~touches).sum())


def _rows(frame: gpd.GeoDataFrame, column: str) -> Iterator[LabelRow]:
    missing = frame[column].isna()
    if missing.any():
        raise LabelError(
            f"{int(missing.sum())} of {len(frame)} labels have no {column!r}. Drop them: "
            f"frame.dropna(subset=[{column!r}])."
        )
    own = [frame[name].tolist() if name in frame.columns else [None] * len(frame) for name in _OWN]
    cells = zip(frame[column].tolist(), frame.geometry.to_numpy(), *own, strict=True)
    for i, (label, geometry, colour, identity, source, when) in enumerate(cells):
        yield LabelRow(
            plain_name(label),
            clean_geometry(geometry, what=f"Label {i}"),
            _known_colour(colour),
            identity if isinstance(identity, str) and _ID.match(identity) else None,
            source if source in SOURCES else "import",
            when if isinstance(when, str) and _is_time(when) else None,
        )


def _is_time(text: str) -> bool:
    try:
        return len(text) < 40 and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _classes(listed: Sequence[Any]) -> Iterator[tuple[str, str | None]]:
    """Names and colours that a file of ours lists; what is not so is left out."""
    for entry in listed[:MAX_LABELS]:
        if isinstance(entry, Mapping) and isinstance(entry.get("label"), str):
            yield plain_name(entry["label"]), _known_colour(entry.get("colour"))


def _known_colour(text: Any) -> str | None:
    return text.lower() if isinstance(text, str) and _COLOUR.match(text) else None
