from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClosedError, websocket_connect

from georeset_lab.dashboard.headers import content_policy
from georeset_lab.dashboard.server import MAX_MESSAGE_BYTES, build_server
from georeset_lab.errors import InvalidOption, MissingExtra, SceneReadError, StoreError
from tests.dashboard.client import _TOKEN, Client
from tests.dashboard.serving import request, served
from tests.dashboard.standin import make_explorer


def connect(running, origin, token="x"):
    """Status of a websocket handshake from a page of another host."""

    async def run():
        headers = {"Origin": origin} if origin else {}
        try:
            socket = await websocket_connect(
                HTTPRequest(f"ws://{running.host}/ws", headers=headers), subprotocols=["bokeh", token]
            )
        except HTTPClientError as err:
            return err.code
        socket.close()
        return 101

    return asyncio.run(run())


def test_pages_of_this_machine_may_connect_and_no_others(dashboard):
    port = dashboard.server.port
    for host in ("localhost", "127.0.0.1"):
        assert connect(dashboard, f"http://{host}:{port}") == 101
    for origin in (
        "http://evil.example", f"http://evil.example:{port}", f"http://localhost.evil.example:{port}",
        f"http://127.0.0.1.evil.example:{port}", "http://localhost:1", "http://localhost", "null",
    ):  # fmt: skip
        assert connect(dashboard, origin) == 403


def test_a_page_that_was_never_asked_for_gets_no_session(dashboard):
    from bokeh.util.token import generate_jwt_token, generate_session_id

    async def run(token):
        request = HTTPRequest(f"ws://{dashboard.host}/ws", headers={"Origin": dashboard.url})
        socket = await websocket_connect(request, subprotocols=["bokeh", token])
        answer = await socket.read_message()
        socket.close()
        return answer

    for token in ("x", generate_jwt_token(generate_session_id()), ""):
        assert asyncio.run(run(token)) is None, "closed without a word"
    html = dashboard.get("/")[2].decode()
    assert asyncio.run(run(_TOKEN.search(html)[1])) is not None
    assert len(dashboard.house.pages) <= 1


def test_every_answer_carries_the_headers_that_keep_the_page_to_itself(dashboard):
    for path in ("/", "/nothing", "/npm/x@1/dist/y", "/static/js/bokeh.min.js", "/upload"):
        headers = dashboard.get(path)[1]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        assert "http" not in policy
        assert headers["X-Frame-Options"] == "SAMEORIGIN"
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_only_pictures_may_come_from_elsewhere_and_only_if_asked_for():
    assert "https:" not in content_policy(web_maps=False)
    rules = dict(rule.split(" ", 1) for rule in content_policy(web_maps=True).split("; "))
    assert [name for name, value in rules.items() if "https:" in value] == ["img-src"]


def test_the_page_names_no_address_outside(dashboard):
    html = dashboard.get("/")[2].decode()
    import re

    linked = re.findall(r"(?:src|href)=\"(https?://[^\"]+)\"", html)
    assert linked == []


def test_a_module_cannot_be_imported_by_its_address(dashboard):
    for path in ("/components/this/x/y/z", "/components/antigravity/a/b/c", "/components/georeset_lab.cli/a/b/c"):
        assert dashboard.get(path)[0] == 404
    import sys

    assert "antigravity" not in sys.modules


def test_a_title_with_markup_is_text(dashboard):
    async def look():
        async with Client(dashboard.host) as page:
            await page.open("Second <b>bold</b>")
            await page.see("labels", "0")
            return page.panes()

    assert "<b>bold" not in asyncio.run(look())


def test_a_message_larger_than_any_drawing_ends_that_page_and_no_other(dashboard):
    async def run():
        async with Client(dashboard.host) as other, Client(dashboard.host) as page:
            with suppress(WebSocketClosedError):
                await page.set(page.named("asked"), "value", "x" * (MAX_MESSAGE_BYTES + 1))
            await page.wait(lambda: page.errors, "the end of the page")
            await other.open("First")
            await other.see("labels", "0")
            assert other.errors == []

    asyncio.run(run())


def test_one_page_too_many_is_told_so(sources, tmp_path):
    with served(sources, tmp_path / "kept", max_pages=2, quick_end=True) as running:

        async def run():
            async with Client(running.host), Client(running.host):
                return running.get("/")[2].decode()

        asyncio.run(run())
        assert len(running.house.pages) <= 2


def test_with_a_password_nothing_is_shown_to_strangers(sources, tmp_path):
    with served(sources, tmp_path / "kept", basic_auth="secret") as running:
        status, _, body = running.get("/")
        assert status == 200
        assert b"password" in body.lower()
        assert b'"token"' not in body
        assert connect(running, running.url) == 403
        assert request("POST", f"{running.url}/upload", body=b"x", headers={"X-Ticket": "x"})[0] == 403
        assert not running.house.pages


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"address": "0.0.0.0"}, InvalidOption, "--basic-auth"),
        ({"address": "0.0.0.0", "basic_auth": "x"}, InvalidOption, "--allow-websocket-origin"),
        ({"allow_websocket_origin": "*"}, InvalidOption, "wildcard"),
        ({"max_upload_mb": 0}, InvalidOption, "max_upload_mb"),
        ({"sources": ["/nowhere"]}, SceneReadError, "/nowhere"),
    ],
)
def test_what_cannot_be_served_is_refused_before_a_socket_is_opened(options, error, says, tmp_path, monkeypatch):
    monkeypatch.setattr("panel.io.server.get_server", None)
    with pytest.raises(error, match=says):
        build_server(**{"keep_in": tmp_path, "make_explorer": make_explorer, **options})


def test_a_port_that_is_taken_is_refused_with_the_flag_that_fixes_it(dashboard, tmp_path):
    with pytest.raises(StoreError, match="--port"):
        build_server(port=dashboard.server.port, keep_in=tmp_path / "other", make_explorer=make_explorer)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("georeset_lab.dashboard.server._EXTRA", ("json", "no_such_module"))
    with pytest.raises(MissingExtra, match=r"no_such_module.*georeset-lab\[dashboard\]"):
        build_server(keep_in=tmp_path, make_explorer=make_explorer)


def test_login_options_reach_panel_unchanged(monkeypatch, tmp_path):
    seen = {}

    def fake(apps, **options):
        seen.update(options)
        raise OSError("enough")

    monkeypatch.setattr("panel.io.server.get_server", fake)
    oauth = {"oauth_provider": "github", "oauth_key": "k", "oauth_secret": "s", "oauth_extra_params": {"a": 1}}
    with pytest.raises(StoreError):
        build_server(
            address="0.0.0.0", allow_websocket_origin=["maps.example.org"], oauth=oauth, cookie_secret="c", prefix="/x",
            keep_in=tmp_path, make_explorer=make_explorer,
        )  # fmt: skip
    assert {k: seen[k] for k in oauth} == oauth
    assert (seen["cookie_secret"], seen["websocket_origin"], seen["address"]) == ("c", ["maps.example.org"], "0.0.0.0")
    assert (seen["prefix"], seen["sign_sessions"]) == ("/x", True)
    assert json.dumps(seen["oauth_extra_params"]) == '{"a": 1}'
