"""Metadata XML read as data only: no document type, no entities, no network, a bounded size."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from georeset_lab.errors import SceneReadError

_LARGEST = 50_000_000
_DEEPEST = 64


def read_xml(path: Path) -> ElementTree.Element:
    """Root element of a metadata file.

    Raises
    ------
    SceneReadError
        The file is missing, too large, not well-formed, nested too deeply, or declares a document type (whose entities
        can point at other files or blow up).
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise SceneReadError(f"{path} has {size / 1e6:.0f} MB; metadata of a product are never that large.")
        builder = _Builder(path)
        parser = ElementTree.XMLParser(target=builder)
        parser.feed(path.read_bytes())
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, UnicodeError, ValueError, LookupError) as err:
        raise SceneReadError(f"{path} is no well-formed XML ({err}). Fetch the product again.") from err
    except OSError as err:
        if isinstance(err, SceneReadError):
            raise
        raise SceneReadError(f"{path} cannot be read: {err}. Fetch the product again.") from err
    return root


def texts(root: ElementTree.Element, name: str) -> list[str]:
    """Texts of all elements of this name (without its namespace), stripped."""
    return [(e.text or "").strip() for e in elements(root, name)]


def text(root: ElementTree.Element, name: str, default: str = "") -> str:
    """Text of the first element of this name, else the default."""
    return next(iter(texts(root, name)), default)


def elements(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """All elements of this name (without its namespace)."""
    return [e for e in root.iter() if isinstance(e.tag, str) and e.tag.rpartition("}")[2] == name]


def number(value: str, what: str, path: Path) -> float:
    """A finite number out of a text of the metadata.

    Raises
    ------
    SceneReadError
        It is none.
    """
    try:
        found = float(value)
    except ValueError:
        found = float("nan")
    if not abs(found) < float("inf"):
        raise SceneReadError(f"{path} gives {value!r} for {what}, which is no number. Fetch the product again.")
    return found


class _Builder(ElementTree.TreeBuilder):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._depth = path, 0

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise SceneReadError(f"{self._path} declares a document type; no product's metadata do. It is not opened.")

    def start(self, tag: str, attrs: dict[str, str]) -> ElementTree.Element:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise SceneReadError(
                f"{self._path} is nested more than {_DEEPEST} elements deep; no product's metadata are."
            )
        return super().start(tag, attrs)

    def end(self, tag: str) -> ElementTree.Element:
        self._depth -= 1
        return super().end(tag)
