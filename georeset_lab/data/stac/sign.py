"""Addresses of the Planetary Computer get the signature without which its storage refuses them.

The signature is short-lived, so an address is signed each time it is read, never when the scene is made, and is in no
note, message or cache.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from georeset_lab.errors import MissingExtra, RemoteError

_STORAGE = ".blob.core.windows.net"
_PUBLIC = ("ai4edatasetspublicassets.blob.core.windows.net",)


def signed(url: str) -> str:
    """The address as its server wants it: signed if it lies in the Planetary Computer's storage, else as it is.

    Raises
    ------
    MissingExtra
        A signature is needed and the package ``planetary-computer`` is not installed.
    RemoteError
        No signature was given.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host.endswith(_STORAGE) or host in _PUBLIC or "sig=" in parts.query:
        return url
    try:
        import planetary_computer
    except ImportError as err:
        raise MissingExtra(
            f"Files at {host} need a signature of the Planetary Computer, which the package planetary-computer gives. "
            "Install it with: pip install 'georeset-lab[planetary]'."
        ) from err
    import requests

    try:
        return str(planetary_computer.sign(url))
    except requests.RequestException as err:
        raise RemoteError(
            f"The Planetary Computer gave no signature for {host}: {type(err).__name__}. Try again later."
        ) from err
