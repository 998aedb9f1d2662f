"""A remote file that rasterio can read like a local one, and the allow-list of formats that it may have."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from georeset_lab.data.readers.raster import DRIVERS, driver_of
from georeset_lab.data.stac.cache import RemoteBytes, open_remote
from georeset_lab.data.stac.http import plain
from georeset_lab.errors import GeoresetError, SceneReadError

_ENV = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    "OPEN_REMOTE_GML": "NO",
    "GDAL_NUM_THREADS": "1",
    "GDAL_PAM_ENABLED": "NO",
}


class RemoteFile(io.RawIOBase):
    """Read-only file over `RemoteBytes`; what went wrong while GDAL read from it stands in ``error``."""

    def __init__(self, content: RemoteBytes) -> None:
        super().__init__()
        self.content = content
        self.error: GeoresetError | None = None
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; past the end is allowed, as in any file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.content.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes; none, and ``error`` set, if they could not be fetched: GDAL hears of no exception."""
        stop = self.content.size if size is None or size < 0 else self._at + size
        if self.error is not None:
            return b""
        try:
            found = self.content.read(self._at, stop)
        except GeoresetError as err:
            self.error = err
            return b""
        self._at += len(found)
        return found


def is_remote(href: str) -> bool:
    """Whether an address is read over HTTP."""
    return re.match(r"https?://", href, re.IGNORECASE) is not None


@contextmanager
def open_asset(href: str) -> Iterator[Any]:
    """Open a GeoTIFF or JPEG 2000, local or over HTTP, as a rasterio dataset.

    Whatever goes wrong while it is open, here or in the body, becomes a `SceneReadError` with the address in it; so
    does a fetch that failed although GDAL took no notice.

    Raises
    ------
    SceneReadError
        Missing, damaged, or of another format.
    RemoteError
        The server did not bring it.
    """
    import rasterio

    name = plain(href) if is_remote(href) else href
    opener = _Opener(open_remote(href)) if is_remote(href) else None
    driver = driver_of(Path(href)) if opener is None else _driver_of_remote(opener.content)
    with rasterio.Env(**_ENV):
        try:
            path = href if opener is None else _NAME
            with rasterio.open(path, driver=driver, sharing=False, opener=opener) as dataset:
                yield dataset
        except GeoresetError:
            raise
        except (rasterio.errors.RasterioError, UnicodeError, ValueError, OverflowError, OSError) as err:
            if opener is not None and opener.error is not None:
                raise opener.error from err
            raise SceneReadError(
                f"{name} is truncated or damaged: {_cause(err)}. Fetch it again, or choose another date with time=."
            ) from err
    if opener is not None and opener.error is not None:
        raise opener.error


_NAME = "asset.tif"


class _Opener:
    """What rasterio opens `_NAME` with; there is no other file, such as a sidecar that GDAL looks for."""

    def __init__(self, content: RemoteBytes) -> None:
        self.content = content
        self.files: list[RemoteFile] = []

    def __call__(self, path: str, mode: str = "rb", **_: Any) -> RemoteFile:
        if path not in (_NAME, "test"):  # rasterio tries an opener with "test"
            raise FileNotFoundError(path)
        self.files.append(RemoteFile(self.content))
        return self.files[-1]

    @property
    def error(self) -> GeoresetError | None:
        """What went wrong while GDAL read."""
        return next((f.error for f in self.files if f.error is not None), None)


def _driver_of_remote(remote: RemoteBytes) -> str:
    head = remote.read(0, 64)
    for magic, driver in DRIVERS:
        if head.startswith(magic):
            return driver
    kind = "text, such as a VRT or an error page" if head.lstrip()[:1] in (b"<", b"{", b"[") else f"{head[:8]!r}..."
    raise SceneReadError(
        f"{plain(remote.url)} is neither GeoTIFF nor JPEG 2000 (it holds {kind}), so it is not opened: other "
        "formats can point at other files and at the network."
    )


def _cause(err: BaseException) -> str:
    while err.__cause__ is not None:
        err = err.__cause__
    return str(err).strip().removeprefix(f"{_NAME}: ").rstrip(".") or type(err).__name__


def checked_href(href: str, *, from_network: bool) -> str:
    """An address that may be read: http(s), or a local path in a catalogue that is itself local.

    Raises
    ------
    SceneReadError
        Another protocol, or a local path that a remote catalogue names.
    """
    scheme = urlsplit(href).scheme.lower()
    if is_remote(href):
        return href
    if scheme == "file":
        href, scheme = urlsplit(href).path, ""
    if len(scheme) > 1:  # one letter is a Windows drive
        raise SceneReadError(
            f"{href} is in {scheme}:// storage, which is not read. Choose a catalogue whose assets have https addresses, "
            "or download the files and load them as paths."
        )
    if from_network:
        raise SceneReadError(
            f"A catalogue on the network names the local file {href}; such files are read only for catalogues that are "
            "local themselves."
        )
    return href
