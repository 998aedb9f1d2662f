"""Where the server may listen and which pages may talk to it. Decided before a socket is opened.

Bokeh's server has no login of its own and answers everybody who reaches it, so off this machine a login is a condition,
not advice.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from georeset_lab.errors import InvalidOption

__all__ = ["allowed_origins", "bind_address", "check_exposure", "is_loopback"]

_ORIGIN = re.compile(r"(\[[0-9a-f:]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:\d{1,5})?", re.IGNORECASE)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address. A name other than ``localhost`` is taken as one others reach."""
    if address.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def bind_address(address: str) -> str:
    """The address to bind: ``localhost`` alone would bind two sockets, whose free ports can differ."""
    return "127.0.0.1" if address.lower() == "localhost" else address.strip("[]")


def check_exposure(address: str, *, login: bool, origins: Sequence[str] | None) -> None:
    """Refuse to listen where strangers are, without a login or without saying which pages may connect.

    Raises
    ------
    InvalidOption
        ``address`` is reached by others and there is no login or no origin; or an origin is no host name.
    """
    for origin in origins or ():
        if not _ORIGIN.fullmatch(origin):
            raise InvalidOption(
                f"allow_websocket_origin={origin!r} is not a host. Give the name that stands in the browser's address "
                "bar, such as 'maps.example.org' or 'maps.example.org:8443', without scheme, path or wildcard."
            )
    if is_loopback(address):
        return
    if not login:
        raise InvalidOption(
            f"address={address!r} can be reached from other machines, and there is no login. Add basic_auth= "
            "(--basic-auth PASSWORD_OR_FILE) or oauth_provider= (--oauth-provider NAME), or serve on address='localhost'."
        )
    if not origins:
        raise InvalidOption(
            f"address={address!r} can be reached from other machines, so say under which name: "
            "allow_websocket_origin='maps.example.org:5006' (--allow-websocket-origin)."
        )


def allowed_origins(port: int, origins: Sequence[str] | None) -> list[str]:
    """Hosts whose pages may open the websocket: those asked for, else this machine by each of its names."""
    return list(origins) if origins else [f"{host}:{port}" for host in ("localhost", "127.0.0.1", "[::1]")]
