"""One HTTP request that either brings all its bytes or raises: timeouts, retries with growing pauses, typed errors.

Everything the package fetches for a STAC scene passes here, pixels too: GDAL's own HTTP is never used, so there is one
place where patience, retries and messages are decided.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from georeset_lab.errors import RemoteError

_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may pass; all other errors are final."""

_ADVICE = {
    401: "It wants credentials, which this package does not handle: choose a public catalogue, or download the file and "
    "give its path.",
    403: 'It refuses this address. Assets of the Planetary Computer need signing: load_scene("planetary-computer", ...). '
    "Otherwise the file is not public: download it with your credentials and give its path.",
    404: "The catalogue points at something that is not there (any more). Choose another date with time=, or check the "
    "address.",
    429: "It limits how often it may be asked. Wait some minutes; what was fetched so far is kept.",
}
_LATER = "Try again later; what was fetched so far is kept."
_LONGEST_PAUSE_S = 20.0
_SLOWEST = 20_000  # bytes per second below which a transfer counts as hanging


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to ask again.

    The environment variables ``GEORESET_HTTP_TIMEOUT`` (seconds of silence) and ``GEORESET_HTTP_TRIES`` override it.
    """

    silence_s: float = 15.0
    """Longest wait for a connection or for the next bytes."""
    tries: int = 4
    """Attempts in all; two where the server keeps silent."""
    pause_s: float = 0.5
    """First pause; each further one is twice as long, and a server's ``Retry-After`` is followed."""

    @classmethod
    def usual(cls) -> Patience:
        """The default, or what the environment says."""
        silence = float(os.environ.get("GEORESET_HTTP_TIMEOUT", cls.silence_s))
        tries = int(os.environ.get("GEORESET_HTTP_TRIES", cls.tries))
        return cls(silence, max(1, tries), min(cls.pause_s, silence / 4))


@dataclass(frozen=True)
class Reply:
    """A complete answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""


def fetch(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    params: Mapping[str, Any] | None = None,
    most_bytes: int = 256 * 2**20,
    expected: int | None = None,
    patience: Patience | None = None,
) -> Reply:
    """Complete answer of a server, asked again where that may help.

    Parameters
    ----------
    url, method, headers, json, params
        As in ``requests.request``.
    most_bytes : int
        Longer answers are refused.
    expected : int, optional
        Length of a partial (206) answer; a shorter one counts as broken off.
    patience : Patience, optional
        `Patience.usual` by default.

    Raises
    ------
    RemoteError
        The server refused, kept failing, kept silent or broke off; the message has the address without its query.
    """
    patience = patience or Patience.usual()
    tried: list[str] = []
    silent = 0
    for attempt in range(patience.tries):
        pause = patience.pause_s * 2**attempt * random.uniform(0.8, 1.2)
        try:
            reply = _once(url, method, headers, json, params, most_bytes, patience)
        except _Broken as err:
            tried.append(str(err))
            silent += err.silent
            if silent >= 2:
                break
        else:
            short = reply.status == 206 and expected is not None and len(reply.body) < expected
            if short:
                tried.append(f"broke off after {len(reply.body)} of {expected} bytes")
            elif reply.status < 400:
                return reply
            elif reply.status not in _RETRIED:
                raise _refused(url, reply, [*tried, f"status {reply.status}"])
            else:
                tried.append(f"status {reply.status}")
                pause = max(pause, _retry_after(reply))
            if attempt + 1 == patience.tries and not short:
                raise _refused(url, reply, tried)
        if attempt + 1 < patience.tries:
            time.sleep(min(pause, _LONGEST_PAUSE_S))
    raise RemoteError(f"{plain(url)} could not be read ({_said(tried)}). {_LATER}")


def plain(url: str) -> str:
    """Address without query and credentials, for messages, notes and cache keys: signatures are secrets."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))


class _Broken(Exception):
    """One attempt failed in transit."""

    def __init__(self, reason: str, *, silent: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent


_LOCAL = threading.local()


def _session() -> Any:
    """Session of this thread and process, so that connections are reused but never shared."""
    import requests

    if getattr(_LOCAL, "pid", None) != os.getpid():
        _LOCAL.session, _LOCAL.pid = requests.Session(), os.getpid()
    return _LOCAL.session


def _once(
    url: str,
    method: str,
    headers: Mapping[str, str] | None,
    json: Any,
    params: Mapping[str, Any] | None,
    most_bytes: int,
    patience: Patience,
) -> Reply:
    import requests
    import urllib3

    began = time.monotonic()
    sent = {"Accept-Encoding": "identity", **(headers or {})}
    try:
        with _session().request(
            method, url, headers=sent, json=json, params=params, timeout=patience.silence_s, stream=True
        ) as answer:
            body = bytearray()
            while chunk := answer.raw.read1(65536, decode_content=True):  # what has come, however little
                body += chunk
                if len(body) > most_bytes:
                    raise RemoteError(f"{plain(url)} sends more than {most_bytes >> 20} MiB; it was not read.")
                if time.monotonic() - began > 2 * patience.silence_s + len(body) / _SLOWEST:
                    raise _Broken(f"sent {len(body)} bytes in {time.monotonic() - began:.0f} s", silent=True)
            promised = answer.headers.get("content-length")
            coded = answer.headers.get("content-encoding", "identity") != "identity"
            if not coded and promised is not None and promised.isdigit() and len(body) < int(promised):
                raise _Broken(f"broke off after {len(body)} of {promised} bytes")
            return Reply(answer.status_code, bytes(body), {k.lower(): v for k, v in answer.headers.items()})
    except requests.exceptions.Timeout as err:
        raise _Broken(f"no answer within {patience.silence_s:g} s", silent=True) from err
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
    ) as err:
        raise RemoteError(f"{plain(url)!r} is not an address that can be asked: {err}. Give one with https.") from err
    except urllib3.exceptions.ReadTimeoutError as err:
        raise _Broken(f"fell silent for {patience.silence_s:g} s", silent=True) from err
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as err:
        raise _Broken(_short(err)) from err


def _refused(url: str, reply: Reply, tried: list[str]) -> RemoteError:
    text = " ".join(reply.body[:200].decode("utf-8", "replace").split())
    words = f": {text}" if text and not text.startswith("<") else ""
    error = RemoteError(
        f"{plain(url)} answered {_said(tried)}{words}. {_ADVICE.get(reply.status, _LATER)}", status=reply.status
    )
    return error


def _said(tried: list[str]) -> str:
    return tried[0] if len(tried) == 1 else f"{len(tried)} attempts: {'; '.join(dict.fromkeys(tried))}"


def _retry_after(reply: Reply) -> float:
    given = reply.headers.get("retry-after", "")
    return float(given) if given.isdigit() else 0.0


def _short(err: BaseException) -> str:
    while err.__context__ is not None and not isinstance(err, ConnectionError):
        err = err.__context__
    text = str(err) or type(err).__name__
    return text if len(text) < 160 else text[:157] + "..."
