"""Headers on every answer of the server: load nothing from elsewhere, be framed by nobody, guess no content type.

The browser then enforces what the package promises: even a widget library that would fetch from a CDN cannot.
"""

from __future__ import annotations

from typing import Any

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform

__all__ = ["SafeHeaders", "content_policy"]


def content_policy(*, web_maps: bool) -> str:
    """Content-Security-Policy of the dashboard.

    Parameters
    ----------
    web_maps : bool
        Let pictures, and nothing else, come from any https address: the tiles of a web map.
    """
    # BokehJS compiles callbacks and its page starts from an inline script; anywidget imports its modules from blobs.
    rules = {
        "default-src": "'none'",
        "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:" + (" https:" if web_maps else ""),
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "worker-src": "'self' blob:",
        "media-src": "'self' data:",
        "form-action": "'self'",
        "base-uri": "'self'",
        "frame-ancestors": "'self'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


class SafeHeaders(OutputTransform):
    """Adds the headers to whatever a handler answers; made by the server for each request."""

    def __init__(self, request: HTTPServerRequest, *, policy: str) -> None:
        self._policy = policy

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """The same answer with the headers."""
        more: dict[str, Any] = {
            "Content-Security-Policy": self._policy,
            "X-Frame-Options": "SAMEORIGIN",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        for name, value in more.items():
            headers[name] = value
        if "Server" in headers:
            del headers["Server"]
        return status_code, headers, chunk
