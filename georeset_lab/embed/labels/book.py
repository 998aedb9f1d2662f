"""`LabelBook`: the classes and labels that somebody draws on a map, with undo, and saved before each call returns.

No widget is here, and no pixel: the book knows places in degrees. How it is saved is in ``journal.py``, files are in
``files.py``, and what is learnt from labels in ``embed/probe.py``.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from georeset_lab.embed.labels.files import (
    SOURCES,
    LabelRow,
    Source,
    clean_geometry,
    colour_of,
    label_frame,
    plain_name,
    read_label_table,
    to_geojson,
    to_geoparquet,
)
from georeset_lab.embed.labels.journal import History, Journal, Record, Step
from georeset_lab.embed.locate import grid_key
from georeset_lab.embed.pictures.class_colours import natural_colour
from georeset_lab.embed.pictures.colours import class_palette
from georeset_lab.errors import GeoresetWarning, InvalidOption, LabelError
from georeset_lab.files import sha256, write_atomic

if TYPE_CHECKING:
    import geopandas as gpd
    import shapely
    from odc.geo.geobox import GeoBox

    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["Change", "Imported", "Label", "LabelBook", "LabelClass", "map_key"]

FOLDER = ".georeset_labels"
"""Where labels are kept by default, in the working directory: beside the notebook."""
MAX_CLASSES = 255
"""What a palette picture can show (`georeset_lab.embed.pictures.colours.class_image`)."""
_M_PER_DEGREE = 111_320.0  # of latitude; within 0.6 % everywhere
_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._~-]{0,119}\Z")


Records = dict[str, Record | None]


@dataclass(frozen=True, slots=True)
class LabelClass:
    """A class that can be given to places."""

    name: str
    """Plain text, any Unicode; show it as text, never as HTML."""
    colour: str
    """Such as "#e69f00"."""
    number: int
    """Stays when the class is renamed or recoloured; classes are in its order."""


@dataclass(frozen=True, slots=True)
class Label:
    """A place that somebody has given a class."""

    id: str
    """Stable, also through files and restarts: "L" and 12 hexadecimal digits."""
    class_number: int
    geometry: shapely.Geometry
    """Point or polygon, lon/lat."""
    source: Source
    """How it came to be: click, polygon, import or suggestion."""
    when: str
    """UTC, ISO 8601."""
    number: int
    """Order in which they were made; where labels overlap, the later holds."""


class Change(NamedTuple):
    """What listeners are told."""

    version: int
    title: str
    """Such as "Label water" or "Undo: Label water"."""
    labels: frozenset[str]
    """Ids that were added, removed or changed."""
    classes: frozenset[int]
    """Numbers of classes that were."""


class Imported(NamedTuple):
    """What `LabelBook.add_labels` did."""

    added: int
    replaced: int
    """Labels of this book that the file has with another class or shape; the file's hold."""
    unchanged: int
    outside: int
    """Left out, as they do not touch the scene."""


class LabelBook:
    """Classes, labels and their history.

    ``LabelBook()`` lives in memory; `open` and `for_map` make one that is saved. Every method that changes something is
    one undo step, and is on the disk when it returns. Methods may be called from several threads.

    Examples
    --------
    >>> book = LabelBook()
    >>> _ = book.add_point(-72.48, -38.83, "water")
    >>> _ = book.add_point(-72.47, -38.81, "town")
    >>> book.rename_class("town", "Villarrica")
    >>> book.counts, book.undo(), book.counts
    ({'water': 1, 'Villarrica': 1}, 'Rename town', {'water': 1, 'town': 1})
    """

    def __init__(self) -> None:
        self._history: History = History()
        self._classes: dict[int, LabelClass] = {}
        self._labels: dict[str, Label] = {}
        self._sorted: tuple[int, tuple[Label, ...]] = (-1, ())
        self._last = 0
        self._listeners: list[Callable[[Change], Any]] = []
        self._untold: list[Change] = []
        self._lock = threading.RLock()

    @classmethod
    def open(cls, folder: str | Path | None = None, key: str = "labels") -> LabelBook:
        """Labels kept in a folder under a key, as they were when the last kernel ended, however it did.

        Parameters
        ----------
        folder : path, optional
            ``.georeset_labels`` in the working directory by default. Made when there is something to save.
        key : str
            Any text: which map the labels are of; see `map_key`.

        Returns
        -------
        LabelBook
            The same object if the key is open in this process already, so that two explorers share their labels; give
            every user of a server a key of their own. If another kernel has it open, a copy. `notes` tells of that, and
            of anything that had to be mended; each note is also a `GeoresetWarning`.

        Raises
        ------
        StoreError
            The folder cannot be written, or holds something else under this name.
        """
        where = (Path.cwd() / FOLDER if folder is None else Path(folder).expanduser()).resolve()
        stem = key if _SAFE.match(key) else f"{_slug(key)}-{sha256(key.encode())[:12]}"
        with _OPENING:
            found = _OPEN.get(str(where / stem))
            if found is not None:
                return found
            book = cls()
            book._history = Journal(where, stem)
            book._take(book._history.records)
            _OPEN[str(where / stem)] = book
        for note in book.notes:
            warnings.warn(note, GeoresetWarning, stacklevel=2)
        return book

    @classmethod
    def for_map(cls, emb: Embeddings, *, folder: str | Path | None = None, name: str = "") -> LabelBook:
        """Labels kept for one map; see `open` and `map_key`."""
        return cls.open(folder, map_key(emb, name))

    def close(self) -> None:
        """Let other kernels open the file. Nothing is left to be saved; the book can be read on, not changed."""
        with _OPENING:
            for key in [k for k, book in _OPEN.items() if book is self]:
                del _OPEN[key]
        self._history.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what there is ------------------------------------------------------------------------------------------------

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """Classes in the order in which they were made."""
        with self._lock:
            return tuple(self._classes[n] for n in sorted(self._classes))

    @property
    def items(self) -> tuple[Label, ...]:
        """Labels in the order in which they were made."""
        with self._lock:
            if self._sorted[0] != self.version:
                self._sorted = self.version, tuple(sorted(self._labels.values(), key=lambda x: x.number))
            return self._sorted[1]

    @property
    def counts(self) -> dict[str, int]:
        """Labels (points and polygons) of each class; 0 for one that has none yet."""
        with self._lock:
            many = Counter(x.class_number for x in self._labels.values())
            return {c.name: many[c.number] for c in self.classes}

    @property
    def version(self) -> int:
        """Grows with every change, undo and redo included, also over restarts."""
        return self._history.version

    @property
    def notes(self) -> tuple[str, ...]:
        """What opening the file brought to light; the user should see it."""
        return tuple(self._history.notes) if isinstance(self._history, Journal) else ()

    @property
    def path(self) -> Path | None:
        """File that changes go to; None in memory."""
        return self._history.path if isinstance(self._history, Journal) else None

    @property
    def undo_title(self) -> str | None:
        """What `undo` would take back; None if nothing."""
        return self._history.done[-1].title if self._history.done else None

    @property
    def redo_title(self) -> str | None:
        """What `redo` would do again; None if nothing."""
        return self._history.undone[-1].title if self._history.undone else None

    def class_of(self, item: Label) -> LabelClass:
        """Class of a label."""
        return self._classes.get(item.class_number) or _lost(item.class_number)

    def palette(self, names: Iterable[str]) -> np.ndarray:
        """Colours (n, 3) uint8 of classes by name, for ``class_image(..., palette=)``; grey for one unknown here."""
        known = {c.name: c.colour for c in self.classes}
        hexes = [known.get(name, "#808080") for name in names]
        return np.array([[int(h[i : i + 2], 16) for i in (1, 3, 5)] for h in hexes], np.uint8).reshape(-1, 3)

    def labels(self) -> gpd.GeoDataFrame:
        """The labels as `georeset_lab.embed.probe.fit_probe` takes them.

        Returns
        -------
        GeoDataFrame, EPSG:4326
            Columns label, colour, id, source, when, lon, lat (of a point inside) and geometry; later labels below, as
            they hold where labels overlap. No rows without labels.
        """
        return label_frame(self._rows())

    # -- classes ------------------------------------------------------------------------------------------------------

    def add_class(self, name: str, colour: str | None = None) -> LabelClass:
        """Make a class; by default in the next colour that colour-blind readers can tell from the others."""
        name = plain_name(name)
        with self._step():
            if any(c.name == name for c in self.classes):
                raise LabelError(f"There is a class {name!r} already. Choose another name, or change its colour.")
            after: Records = {}
            self._number_of(name, after, colour)
            self._edit(f"New class {name}", after)
            return self._class(name)

    def rename_class(self, name: str, to: str) -> None:
        """Give a class another name; its labels follow."""
        to = plain_name(to)
        with self._step():
            old = self._class(name)
            if any(c.name == to and c != old for c in self.classes):
                raise LabelError(
                    f"There is a class {to!r} already. To make one of both: merge_classes({name!r}, {to!r})."
                )
            self._edit(f"Rename {name}", _record(replace(old, name=to)))

    def recolour_class(self, name: str, colour: str) -> None:
        """Give a class another colour, such as "#e69f00"."""
        with self._step():
            self._edit(f"Recolour {name}", _record(replace(self._class(name), colour=colour_of(colour))))

    def remove_class(self, name: str) -> int:
        """Remove a class and all its labels; returns how many there were."""
        with self._step():
            old = self._class(name)
            theirs = [x.id for x in self.items if x.class_number == old.number]
            self._edit(f"Remove {name}", dict.fromkeys([_key(old), *theirs]))
        return len(theirs)

    def merge_classes(self, name: str, into: str) -> int:
        """Give all labels of one class to another and remove the first; returns how many there were."""
        with self._step():
            old, new = self._class(name), self._class(into)
            if old == new:
                raise LabelError(f"{name!r} cannot be merged into itself. Choose another class.")
            theirs = [replace(x, class_number=new.number) for x in self.items if x.class_number == old.number]
            self._edit(f"Merge {name} into {into}", {_key(old): None, **_record(*theirs)})
        return len(theirs)

    # -- labels -------------------------------------------------------------------------------------------------------

    def add_point(self, lon: float, lat: float, label: str, *, source: Source = "click") -> Label:
        """Label a point in degrees; a class with a new name is made."""
        return self._add({"type": "Point", "coordinates": [float(lon), float(lat)]}, label, source)

    def add_polygon(self, geometry: Any, label: str, *, source: Source = "polygon") -> Label:
        """Label a polygon: a shapely geometry or GeoJSON dictionary in lon/lat; a class with a new name is made.

        Raises
        ------
        LabelError
            It is no polygon, encloses nothing, or is not in degrees.
        """
        return self._add(geometry, label, source)

    def relabel(self, ids: Iterable[str], label: str) -> int:
        """Give labels another class; returns how many changed."""
        name = plain_name(label)
        with self._step():
            after: Records = {}
            number = self._number_of(name, after)
            changed = [replace(x, class_number=number) for x in self._known(ids) if x.class_number != number]
            if changed:
                self._edit(f"Relabel {_many(changed)} {name}", {**after, **_record(*changed)})
        return len(changed)

    def erase(self, ids: Iterable[str]) -> int:
        """Erase labels by id; returns how many."""
        with self._step():
            gone = self._known(ids)
            self._edit(f"Erase {_many(gone)}", dict.fromkeys(x.id for x in gone))
        return len(gone)

    def erase_near(self, lon: float, lat: float, within_m: float) -> int:
        """Erase the labels at most so many metres from a point, polygons around it too; returns how many."""
        import shapely

        if not within_m >= 0:
            raise InvalidOption(f"within_m={within_m!r}; give a distance in metres.")
        scale = np.array([_M_PER_DEGREE * np.cos(np.radians(lat)), _M_PER_DEGREE])
        items = self.items
        flat = shapely.transform(_shapes(items), lambda xy: (xy - [lon, lat]) * scale)
        near = shapely.distance(flat, shapely.Point(0, 0)) <= within_m
        return self.erase([x.id for x, hit in zip(items, near, strict=True) if hit])

    def erase_under(self, geometry: Any) -> int:
        """Erase the points inside a polygon, and the polygons of which it covers half or more; returns how many."""
        import shapely

        cover = clean_geometry(geometry, what="The shape to erase under")
        items = self.items
        shapes = _shapes(items)
        half = shapely.area(shapely.intersection(shapes, cover)) >= 0.5 * shapely.area(shapes)
        under = shapely.intersects(shapes, cover) & half
        return self.erase([x.id for x, hit in zip(items, under, strict=True) if hit])

    def undo(self) -> str | None:
        """Take the last step back; returns what it was called, None if there is none."""
        with self._step():
            return self._changed(self._history.undo(), "Undo: ")

    def redo(self) -> str | None:
        """Make the step again that was taken back last; returns what it was called, None if there is none."""
        with self._step():
            return self._changed(self._history.redo(), "Redo: ")

    # -- files --------------------------------------------------------------------------------------------------------

    def add_labels(self, source: Any, *, column: str = "label", grid: GeoBox | None = None) -> Imported:
        """Add the labels of a file, an upload or a table, as one undo step.

        Labels that a book of ours wrote are known again by their id: those that were edited elsewhere replace the ones
        here. Colours of classes that are here already stay. Arguments and errors as
        `georeset_lab.embed.labels.files.read_label_table`.
        """
        table = read_label_table(source, column=column, grid=grid)
        with self._step():
            after: Records = {}
            numbers = {name: self._number_of(name, after, colour) for name, colour in table.classes}
            old: list[Label] = []
            new: list[Label] = []
            for row in {row.id or i: row for i, row in enumerate(table.rows)}.values():
                label = Label(
                    row.id or _new_id(), numbers[row.label], row.geometry, row.source, row.when or _utc(),
                    self._last + 1 + len(new),
                )  # fmt: skip
                known = self._labels.get(label.id)
                if known is not None:
                    old.append(known)
                    source = known.source if row.source == "import" else row.source
                    label = replace(label, source=source, when=row.when or known.when, number=known.number)
                new.append(label)
            same = len(set(old) & set(new))
            self._edit(f"Import {_many(new)}", {**after, **_record(*new)})
        return Imported(len(new) - len(old), len(old) - same, same, table.outside)

    def to_geojson(self, path: str | Path | None = None) -> bytes:
        """GeoJSON (RFC 7946) of labels and classes; also written to a file if a path is given. `add_labels` reads it."""
        return _written(to_geojson(self._rows(), [(c.name, c.colour) for c in self.classes]), path)

    def to_geoparquet(self, path: str | Path | None = None) -> bytes:
        """The same as GeoParquet."""
        return _written(to_geoparquet(self._rows(), [(c.name, c.colour) for c in self.classes]), path)

    def observe(self, listener: Callable[[Change], Any]) -> Callable[[], None]:
        """Call a function after every change, in the thread that made it; returns a function that ends this."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else str(self.path)
        return f"<LabelBook {_many(self.items)}, {len(self.classes)} classes, {where}>"

    def _repr_html_(self) -> str:
        many = self.counts
        rows = "".join(
            f"<li><span style='background:{c.colour}'>&emsp;</span> {escape(c.name)}: {many[c.name]}</li>"
            for c in self.classes
        )
        return f"<b>Labels</b> · {_many(self.items)}<ul style='list-style:none'>{rows}</ul>"

    # -- private ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _step(self) -> Iterator[None]:
        """Hold the lock, then tell the listeners without it, as they may wait for other threads."""
        with self._lock:
            yield
            untold, self._untold = self._untold, []
        errors: list[Exception] = []
        for change in untold:
            for listener in tuple(self._listeners):
                try:
                    listener(change)
                except Exception as err:  # the others must hear of it all the same
                    errors.append(err)
        if errors:
            raise errors[0]

    def _edit(self, title: str, after: Records) -> None:
        self._changed(self._history.edit(title, after))

    def _changed(self, step: Step | None, prefix: str = "") -> str | None:
        if step is None:
            return None
        self._take(step.after)
        touched = [k for k in step.after if k.startswith("L")]
        classes = [int(k[1:]) for k in step.after if k.startswith("C")]
        self._untold.append(Change(self.version, prefix + step.title, frozenset(touched), frozenset(classes)))
        return step.title

    def _take(self, records: Mapping[str, Record | None]) -> None:
        """Make objects of records."""
        for key, record in records.items():
            if key.startswith("C"):
                number = int(key[1:])
                self._classes.pop(number, None)
                if record is not None:
                    self._classes[number] = LabelClass(record["name"], record["colour"], number)
            elif record is None:
                self._labels.pop(key, None)
            else:
                self._labels[key] = label = _label(key, record)
                self._last = max(self._last, label.number)
        for label in (self._labels[key] for key in records if key in self._labels):
            # Only if the line that made the class was damaged.
            self._classes.setdefault(label.class_number, _lost(label.class_number))

    def _rows(self) -> list[LabelRow]:
        with self._lock:
            pairs = [(x, self.class_of(x)) for x in self.items]
        return [LabelRow(c.name, x.geometry, c.colour, x.id, x.source, x.when) for x, c in pairs]

    def _class(self, name: str) -> LabelClass:
        for found in self.classes:
            if found.name == name:
                return found
        known = ", ".join(repr(c.name) for c in self.classes) or "none"
        raise LabelError(f"There is no class {name!r}; there are {known}. Make it with add_class({name!r}).")

    def _known(self, ids: Iterable[str]) -> list[Label]:
        wanted = list(dict.fromkeys(ids))
        unknown = [i for i in wanted if i not in self._labels]
        if unknown:
            raise LabelError(f"There is no label {', '.join(map(repr, unknown[:5]))}; ids are in labels()['id'].")
        return [self._labels[i] for i in wanted]

    def _number_of(self, name: str, after: Records, colour: str | None = None) -> int:
        """Number of a class; if there is none of this name, a new one is put into ``after``."""
        made = [LabelClass(r["name"], r["colour"], int(k[1:])) for k, r in after.items() if r and k.startswith("C")]
        classes = [*self.classes, *made]
        for found in classes:
            if found.name == name:
                return found.number
        if len(classes) >= MAX_CLASSES:
            raise LabelError(
                f"{name!r} would be class {MAX_CLASSES + 1}; {MAX_CLASSES} can be drawn. Merge some first."
            )
        used = {c.colour for c in classes}
        cycle = [f"#{bytes(c.tolist()).hex()}" for c in class_palette(len(classes) + 1)]
        usual = natural_colour(name, used) or next((c for c in cycle if c not in used), cycle[-1])
        number = max((c.number for c in classes), default=0) + 1
        new = LabelClass(name, colour_of(colour) if colour else usual, number)
        after |= _record(new)
        return new.number

    def _add(self, geometry: Any, label: str, source: Source) -> Label:
        name, shape = plain_name(label), clean_geometry(geometry)
        if source not in SOURCES:
            raise InvalidOption(f"source={source!r}; choose one of {', '.join(SOURCES)}.")
        with self._step():
            after: Records = {}
            new = Label(_new_id(), self._number_of(name, after), shape, source, _utc(), self._last + 1)
            self._edit(f"Label {name}", {**after, **_record(new)})
        return new


_OPEN: weakref.WeakValueDictionary[str, LabelBook] = weakref.WeakValueDictionary()
_OPENING = threading.Lock()


def map_key(emb: Embeddings, name: str = "") -> str:
    """Key of the labels of a map: the same for the same scene, grid and name, whatever model encoded it."""
    grid = emb.grid
    what = [str(grid.crs), grid_key(grid), list(emb.shape), emb.attrs.get("data", ""), name]
    digest = sha256(json.dumps(what).encode())[:12]
    scene = emb.attrs.get("scene", "")
    return f"{_slug(f'{scene} {name}')}-{digest}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:40] or "labels"


def _key(item: Label | LabelClass) -> str:
    return item.id if isinstance(item, Label) else f"C{item.number}"


def _record(*items: Label | LabelClass) -> Records:
    """Records as the history keeps them, by key."""
    from shapely.geometry import mapping

    out: Records = {}
    for x in items:
        if isinstance(x, LabelClass):
            out[_key(x)] = {"name": x.name, "colour": x.colour}
        else:
            shape = json.loads(json.dumps(mapping(x.geometry)))  # type: ignore[arg-type]  # shapely's stubs lack it
            out[x.id] = {"class": x.class_number, "at": shape, "source": x.source, "when": x.when, "number": x.number}
    return out


def _label(key: str, record: Record) -> Label:
    from shapely.geometry import shape

    return Label(key, record["class"], shape(record["at"]), record["source"], record["when"], record["number"])


def _lost(number: int) -> LabelClass:
    return LabelClass(f"class {number}", "#808080", number)


def _shapes(items: Sequence[Label]) -> np.ndarray:
    return np.array([x.geometry for x in items], dtype=object)


def _new_id() -> str:
    return f"L{secrets.token_hex(6)}"


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _many(items: Sequence[Any]) -> str:
    return f"{len(items)} label{'' if len(items) == 1 else 's'}"


def _written(payload: bytes, path: str | Path | None) -> bytes:
    if path is not None:
        write_atomic(Path(path).expanduser(), payload)
    return payload
