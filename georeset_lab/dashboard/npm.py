"""``/npm/``: the browser halves of the installed widget libraries, so that the page needs no CDN.

ipywidgets-bokeh asks for ``npm/<package>@<version>/dist/<file>``, as it would ask unpkg.com. The answer is the file of
the Jupyter extension that was installed with the Python package.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tornado.web import HTTPError, RequestHandler, StaticFileHandler

__all__ = ["NPM_ROUTES", "find_bundle"]

_PACKAGE = re.compile(r"(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*", re.IGNORECASE)
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".gif": "image/gif",
    ".svg": "image/svg+xml",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".ttf": "font/ttf",
    ".eot": "application/vnd.ms-fontobject",
}
"""What a widget library is made of; nothing else is handed out."""


def find_bundle(package: str, name: str, roots: list[Path]) -> Path | None:
    """File of an installed extension, or None.

    Parameters
    ----------
    package : str
        As in ``jupyter-leaflet`` or ``@scope/name``.
    name : str
        Path below the package's folder; ``.js`` is added to a name without a known ending.
    roots : list of Path
        Folders of Jupyter extensions, the first that has the package counts.
    """
    if not _PACKAGE.fullmatch(package) or "\0" in name or "\\" in name:
        return None
    if Path(name).suffix.lower() not in _TYPES:
        name += ".js"
    for root in roots:
        home = (root / package).resolve()
        found = (home / name).resolve()
        # The package itself may be a link, as a development install makes it; nothing may lead out of it.
        if found.is_relative_to(home) and found != home and found.is_file():
            return found
    return None


class _Npm(StaticFileHandler):
    """Static files with ETag and ranges, whose path is found by `find_bundle`."""

    def initialize(self) -> None:  # type: ignore[override]
        super().initialize(path="/")

    async def get(self, path: str, include_body: bool = True) -> None:
        await super().get(path, include_body)

    def parse_url_path(self, url_path: str) -> str:
        return url_path

    @classmethod
    def get_absolute_path(cls, root: str, path: str) -> str:
        from jupyter_core.paths import jupyter_path

        found = _REQUEST.fullmatch(path)
        if found is None:
            raise HTTPError(404)
        bundle = find_bundle(found["package"], found["file"], [Path(p) for p in jupyter_path("nbextensions")])
        if bundle is None:
            raise HTTPError(404)
        return str(bundle)

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        return absolute_path

    def get_content_type(self) -> str:
        return _TYPES[Path(self.absolute_path or "").suffix.lower()]

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "private, max-age=3600")


class _Nothing(RequestHandler):
    """204 for the font that ipywidgets-bokeh asks for as ``[object Module]``: its bundle names it wrongly."""

    def get(self) -> None:
        self.set_status(204)


_REQUEST = re.compile(r"(?P<package>(?:@[^/@]+/)?[^/@]+)@[^/]+/dist/(?P<file>.+)")
NPM_ROUTES: list[tuple[Any, ...]] = [(r"/npm/(.+)", _Npm, {}), (r"/\[object%20Module\]", _Nothing, {})]
"""For the ``extra_patterns`` of a Bokeh server."""
