"""Items of a catalogue: a named one, any STAC API, a static catalogue or an item on the web, or a local JSON file."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georeset_lab.data.stac.http import fetch, plain
from georeset_lab.data.stac.remote_file import is_remote
from georeset_lab.errors import GeoresetError, InvalidOption, MissingExtra, NothingObserved, RemoteError, SceneReadError

if TYPE_CHECKING:
    import pystac

CATALOGUES: dict[str, str] = {
    "earth-search": "https://earth-search.aws.element84.com/v1",
    "planetary-computer": "https://planetarycomputer.microsoft.com/api/stac/v1",
}
"""Public STAC APIs that `load_scene` knows by name."""

MOST_ITEMS = 1000
"""Items that one search looks at."""

_MOST_JSON = 64 * 2**20
_TYPES = ("Feature", "FeatureCollection", "Collection", "Catalog")


@dataclass(frozen=True, eq=False)
class Origin:
    """Items and where they came from."""

    items: list[pystac.Item]
    name: str
    """Catalogue or file, for notes and messages."""
    from_network: bool
    """Whether somebody else wrote the addresses in the items."""
    searched: bool = False
    """Whether a server already kept to the place and time asked for."""


def is_stac(source: Any) -> bool:
    """Whether `load_scene` should look for STAC items in this source; reads at most the start of a local file."""
    if isinstance(source, Mapping):
        return source.get("type") in _TYPES and bool({"stac_version", "assets", "features"} & set(source))
    if type(source).__module__.split(".")[0] in ("pystac", "pystac_client"):
        return True
    if isinstance(source, str) and (source in CATALOGUES or is_remote(source)):
        return True
    if not isinstance(source, str | os.PathLike) or Path(source).suffix.lower() not in (".json", ".geojson"):
        return False
    return Path(source).is_file()


def require_stac() -> None:
    """Check that the optional packages are there.

    Raises
    ------
    MissingExtra
        One is not installed.
    """
    try:
        import odc.stac  # noqa: F401
        import pystac_client  # noqa: F401
    except ImportError as err:
        raise MissingExtra(
            f"Scenes from STAC catalogues need pystac-client and odc-stac, and {err.name} is not installed. "
            "Install them with: pip install 'georeset-lab[stac]'."
        ) from err


def find_items(source: Any, collection: str | None, bbox: Sequence[float] | None, datetime: str | None) -> Origin:
    """Items of one collection (of all, in a file) around a box and a time.

    Parameters
    ----------
    source
        Name of a catalogue, address, path, parsed JSON, or pystac object.
    collection : str, optional
        Collection id; a STAC API needs one.
    bbox, datetime
        As the item search of a STAC API takes them; only a search looks at them.

    Raises
    ------
    RemoteError
        The server did not answer, or not with STAC.
    SceneReadError
        A file is no STAC.
    InvalidOption
        An API was asked without collection or box, or has no such collection.
    NothingObserved
        There is no item.
    """
    if isinstance(source, str) and source in CATALOGUES:
        return _searched(CATALOGUES[source], source, collection, bbox, datetime)
    if isinstance(source, str) and is_remote(source):
        document = _document(fetch(source, most_bytes=_MOST_JSON).body, plain(source), remote=True)
        if document["type"] == "Catalog" and document.get("conformsTo"):
            return _searched(source, plain(source), collection, bbox, datetime)
        return _of_collection(_items(document, source), collection, plain(source), from_network=True)
    if isinstance(source, str | os.PathLike):
        path = Path(source).resolve()
        document = _document(path.read_bytes(), str(source), remote=False)
        return _of_collection(_items(document, str(path)), collection, str(source), from_network=False)
    if isinstance(source, Mapping):
        document = _checked(dict(source), "the dict")
        return _of_collection(_items(document, None), collection, "the dict", from_network=False)
    return _of_collection(_of_object(source), collection, f"the {type(source).__name__}", from_network=None)


def _searched(
    url: str, name: str, collection: str | None, bbox: Sequence[float] | None, datetime: str | None
) -> Origin:
    import pystac_client

    with _speaking_of(name):
        client = pystac_client.Client.open(url, stac_io=_reader(network=True))
        if collection is None:
            raise InvalidOption(f"{name} has several collections: pass collection=, one of {_listed(_ids(client))}.")
        if bbox is None:
            raise InvalidOption(
                f"{name} covers the world: pass bbox=(west, south, east, north) in degrees, e.g. "
                "bbox=(13.0, 52.3, 13.1, 52.4)."
            )
        try:
            search = client.search(
                collections=[collection], bbox=list(bbox), datetime=datetime, limit=100, max_items=MOST_ITEMS
            )
            items = list(search.items())
        except RemoteError as err:
            if err.status in (400, 404):
                _require_collection(client, collection, name)
            raise
        if not items:
            _require_collection(client, collection, name)
            when = f" between {datetime.replace('/', ' and ')}" if datetime else ""
            raise NothingObserved(
                f"{name} has no item of {collection!r} that touches bbox={tuple(bbox)}{when}. Widen time= or check that "
                "bbox= is (west, south, east, north)."
            )
    return Origin(items, name, from_network=True, searched=True)


def _require_collection(client: Any, collection: str, name: str) -> None:
    ids = _ids(client)
    if collection not in ids:
        close = difflib.get_close_matches(collection, ids, n=4, cutoff=0.4)
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"It has {_listed(ids)}."
        raise InvalidOption(f"{name} has no collection {collection!r}. {hint}")


def _ids(client: Any) -> list[str]:
    return sorted(c.id for c in client.get_collections())


def _listed(ids: Sequence[str], most: int = 30) -> str:
    return ", ".join(map(repr, ids[:most])) + (f", ... ({len(ids)} in all)" if len(ids) > most else "")


def _document(body: bytes, name: str, *, remote: bool) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as err:
        kind: type[SceneReadError] = RemoteError if remote else SceneReadError
        raise kind(
            f"{name} is not JSON, so no STAC. Give a STAC API, or a STAC item, collection or item search result; a "
            "raster on the web has to be downloaded, or described by an item."
        ) from err
    return _checked(document, name)


def _checked(document: Any, name: str) -> dict[str, Any]:
    if not isinstance(document, dict) or document.get("type") not in _TYPES:
        raise SceneReadError(f"{name} is JSON but no STAC item, FeatureCollection, collection or catalogue.")
    features = document.get("features", [document])
    if document["type"].startswith("Feature") and not all(isinstance(f, dict) and "assets" in f for f in features):
        raise SceneReadError(f"{name} is GeoJSON without assets, so it points at no pixels. Labels go to gl.probe.")
    return document


def _items(document: dict[str, Any], href: str | None) -> list[pystac.Item]:
    """Items in a parsed document; links of a static catalogue are followed."""
    import pystac

    name = href or "the dict"
    with _speaking_of(name):
        if document["type"] == "Feature":
            return [_item(document, href)]
        if document["type"] == "FeatureCollection":
            return [_item(feature, href) for feature in document["features"]]
        kind = pystac.Collection if document["type"] == "Collection" else pystac.Catalog
        top = kind.from_dict(document, href=href)
        top._stac_io = _reader(network=href is not None and is_remote(href))
        items: list[pystac.Item] = []
        for item in top.get_items(recursive=True):
            items.append(item)
            if len(items) >= MOST_ITEMS:
                break
        return items


def _item(feature: dict[str, Any], href: str | None) -> pystac.Item:
    import pystac

    item = pystac.Item.from_dict(feature, preserve_dict=True)
    if href is not None:
        item.set_self_href(href)
    return item


def _of_object(source: Any) -> list[pystac.Item]:
    import pystac

    with _speaking_of(f"the {type(source).__name__}"):
        if isinstance(source, pystac.Item):
            return [source]
        if isinstance(source, pystac.Catalog):
            return list(source.get_items(recursive=True))
        items = source.items() if callable(getattr(source, "items", None)) else source
        return list(items)


def _of_collection(items: list[pystac.Item], collection: str | None, name: str, *, from_network: bool | None) -> Origin:
    ids = sorted({i.collection_id or "" for i in items})
    kept = [i for i in items if collection is None or i.collection_id == collection]
    if items and not kept:
        raise InvalidOption(f"{name} has no item of collection {collection!r}; it has items of {_listed(ids)}.")
    if not kept:
        raise NothingObserved(f"{name} holds no item.")
    if from_network is None:
        from_network = any(is_remote(i.get_self_href() or "") for i in kept)
    return Origin(kept, name, from_network)


def _reader(*, network: bool) -> Any:
    """The I/O of pystac with our patience and errors; a catalogue on the network may not name local files."""
    from pystac_client.stac_api_io import StacApiIO

    class Reader(StacApiIO):
        def request(self, href: str, method: str | None = None, headers: Any = None, parameters: Any = None) -> str:
            posted = (method or "GET").upper() == "POST"
            reply = fetch(
                href,
                method=method or "GET",
                headers=headers,
                json=parameters if posted else None,
                params=None if posted else parameters,
                most_bytes=_MOST_JSON,
            )
            return reply.body.decode("utf-8")

        def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
            href = source if isinstance(source, str) else getattr(source, "href", str(source))
            if network and not is_remote(href):
                raise SceneReadError(f"A catalogue on the network links to {href}, which is not on the network.")
            return str(super().read_text(source, *args, **kwargs))

    return Reader()


@contextmanager
def _speaking_of(name: str) -> Iterator[None]:
    """Turn whatever the STAC libraries raise on a strange document into `SceneReadError`."""
    try:
        yield
    except GeoresetError:
        raise
    except Exception as err:  # pystac and pystac-client raise many classes
        if isinstance(err.__cause__, GeoresetError):
            raise err.__cause__ from err
        raise SceneReadError(
            f"{name} does not answer as STAC: {type(err).__name__}: {str(err)[:300]}. Check the address or file."
        ) from err
