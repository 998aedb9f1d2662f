"""Loopback servers for the STAC tests: a real STAC API (rustac) behind a door with faults, and files by range request.

Nothing here is a test. `FaultyServer` answers range requests for files and passes everything else on to an upstream
server; faults are set by path and count down, so that a test can say "the first two answers are 503".
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Fault:
    """What a path does wrong, and how often before it behaves (None: always)."""

    kind: str
    """"status", "cut" (half of the promised bytes), "hang", "drip", "no-range", "swap" (another version)."""
    status: int = 500
    times: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    only_from: int = 0
    """Range requests that begin before this byte are answered well."""


class FaultyServer:
    """HTTP server on loopback with files by name, an optional upstream, and faults."""

    def __init__(self, upstream: int | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, Fault] = {}
        self.asked: list[tuple[str, str]] = []
        """Path and Range header of each request."""
        self.upstream = upstream
        self.stopping = threading.Event()
        outer = self

        class Handler(_Handler):
            server_of = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def add(self, name: str, content: bytes | Path) -> str:
        """Serve a file; returns its address."""
        self.files["/" + name] = content if isinstance(content, bytes) else content.read_bytes()
        return f"{self.url}/{name}"

    def fault(self, name: str, kind: str, **more: Any) -> None:
        """Let a path (or all that contain this text) misbehave."""
        self.faults[name] = Fault(kind, **more)

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def next_fault(self, path: str, start: int) -> Fault | None:
        for name, fault in self.faults.items():
            if name in path and start >= fault.only_from and fault.times != 0:
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    server_of: FaultyServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        outer = self.server_of
        path, wanted = self.path.partition("?")[0], self.headers.get("Range", "")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        outer.asked.append((path, wanted))
        start, stop = _range(wanted)
        fault = outer.next_fault(self.path, start)
        if fault is not None and fault.kind == "status":
            return self._send(fault.status, b"out of order", fault.headers)
        if fault is not None and fault.kind == "hang":
            outer.stopping.wait(30)
            self.close_connection = True
            return None
        content = outer.files.get(path)
        if content is None:
            if outer.upstream is None:
                return self._send(404, b"not here")
            return self._pass_on(body, fault)
        tag = '"two"' if fault is not None and fault.kind == "swap" else '"one"'
        if not wanted or (fault is not None and fault.kind == "no-range"):
            return self._send(200, content, {"ETag": tag}, fault)
        part = content[start : stop + 1]
        headers = {"ETag": tag, "Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(content)}"}
        return self._send(206, part, headers, fault)

    def _pass_on(self, body: bytes, fault: Fault | None) -> None:
        link = http.client.HTTPConnection("127.0.0.1", self.server_of.upstream, timeout=20)
        headers = {k: v for k, v in self.headers.items() if k.lower() in ("content-type", "accept")}
        link.request(self.command, self.path, body or None, headers)
        answer = link.getresponse()
        content = answer.read()
        kind = answer.getheader("Content-Type", "application/json")
        self._send(answer.status, content, {"Content-Type": kind}, fault)
        link.close()

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, fault: Fault | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/octet-stream", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault is not None and fault.kind == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if fault is not None and fault.kind == "drip":
            for i in range(len(body)):
                self.wfile.write(body[i : i + 1])
                self.wfile.flush()
                if self.server_of.stopping.wait(0.05):
                    break
            self.close_connection = True
            return
        self.wfile.write(body)


def _range(wanted: str) -> tuple[int, int]:
    low, _, high = wanted.removeprefix("bytes=").partition("-")
    return (int(low), int(high)) if low and high else (0, 0)


@contextmanager
def stac_api(items: list[dict[str, Any]], folder: Path) -> Iterator[FaultyServer]:
    """A rustac STAC API that holds these items, behind a `FaultyServer` whose address its links name."""
    program = Path(sys.executable).with_name("rustac")
    command = str(program) if program.exists() else shutil.which("rustac")
    assert command, "rustac is not installed; it is in the extra dev"
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    door = FaultyServer(upstream=port)
    log = (folder / "rustac.log").open("wb")
    server = subprocess.Popen(
        [command, "serve", str(path), "--addr", door.url, "--bind", f"127.0.0.1:{port}", "--create-collections"],
        stdout=log,
        stderr=log,
    )
    try:
        _wait_for(port, server, folder / "rustac.log")
        yield door
    finally:
        server.terminate()
        server.wait(10)
        log.close()
        door.close()


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        if server.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"rustac did not start: {log.read_text()[-2000:]}")
