from __future__ import annotations

import asyncio
import json
import socket

import pytest

from georeset_lab.dashboard.uploads import Limits, shown_name
from tests.dashboard import hostile
from tests.dashboard.client import Client
from tests.dashboard.serving import request, served, until


@pytest.fixture(scope="module")
def taking_little(sources, tmp_path_factory):
    with served(sources, tmp_path_factory.mktemp("kept"), max_upload_mb=2, quick_end=True) as running:
        yield running


@pytest.fixture
def small(taking_little):
    """A dashboard that takes files of up to 2 MB, without open pages."""
    until(lambda: not taking_little.house.pages)
    return taking_little


def post(host, ticket, body, *, name="x.tif", **headers):
    status, _, answer = request(
        "POST", f"http://{host}/upload", body=body, headers={"X-Ticket": ticket, "X-File-Name": name, **headers}
    )
    return status, json.loads(answer)


def with_page(host, work):
    """Run ``work(page, desk's ticket)`` while a page is open."""

    async def run():
        async with Client(host) as page:
            await page.wait(lambda: any("ticket" in w for w in page.widgets.values()), "the uploader")
            ticket = next(w["ticket"] for w in page.widgets.values() if "ticket" in w)
            return await work(page, ticket)

    return asyncio.run(run())


def test_an_uploaded_scene_waits_for_its_sensor_under_the_name_the_user_gave(small, tmp_path):
    body = hostile.geotiff(tmp_path / "a").read_bytes()

    async def work(page, ticket):
        status, answer = await asyncio.to_thread(post, small.host, ticket, body, name="S2L2A%20Temuco.tif")
        assert (status, answer) == (200, {"ok": True})
        await page.wait(lambda: "S2L2A Temuco.tif" in page.panes(), "the raster")
        choices = [
            m["attributes"] for m in page.models.values() if "Which sensor?" in str(m["attributes"].get("options"))
        ]
        assert choices[0]["value"] == "sentinel-2-l2a", "told from the name"

    with_page(small.host, work)


@pytest.mark.slow
def test_an_uploaded_scene_is_encoded_explored_and_gone_with_its_page(small, tmp_path):
    body = hostile.geotiff(tmp_path / "a").read_bytes()
    files = []

    async def work(page, ticket):
        await asyncio.to_thread(post, small.host, ticket, body, name="S2L2A.tif")
        await page.wait(lambda: page._button("Open as one scene"), "the raster")
        await page.open("Open as one scene")
        await page.see("labels", "0", 120)
        await page.wait(lambda: "the file states no scale" in page.panes(), "what the reader assumed")
        visit = next(v for v in small.house.pages if v.state is not None)
        assert visit.state.emb.shape == (64, 64)
        assert list(visit.state.scene) == ["sentinel_2_l2a"]
        files.extend(visit._workspace.uploads.iterdir())
        assert len(files) == 1

    with_page(small.host, work)
    until(lambda: not small.house.pages)
    until(lambda: not files[0].exists(), why="its file is deleted")
    until(lambda: "upload" not in " ".join(small.house.encodings._entries), why="its encoding is dropped")


def test_uploaded_labels_land_in_the_book_of_the_open_scene_and_markup_stays_text(small, tmp_path, sources):
    emb = sources["First"]

    async def work(page, ticket):
        await page.open("First")
        await page.see("labels", "0")
        visit = next(v for v in small.house.pages if v.state is not None)
        place = visit.state.place_of(5, 5)
        body = hostile.labels(tmp_path / "l", at=(place.lon, place.lat)).read_bytes()
        status, _ = await asyncio.to_thread(post, small.host, ticket, body, name="%3Cb%3Eset%3C%2Fb%3E.geojson")
        assert status == 200
        await page.see("labels", "2")
        await page.wait(lambda: "2 labels added" in page.panes(), "a word about it")
        # The name is what follows its last slash, and what is left of it is text.
        assert "b&gt;.geojson: 2 labels" in page.panes()
        assert {c.name for c in visit._book.classes} == {"water", hostile.MARKUP}
        assert not list(visit._workspace.uploads.iterdir()), "read labels are deleted"

    with_page(small.host, work)
    assert emb.experts["s2"].eta.flags.writeable is False


def test_labels_beside_the_scene_are_refused_with_the_reason(small, tmp_path):
    async def work(page, ticket):
        await page.open("First")
        await page.see("labels", "0")
        body = hostile.labels(tmp_path / "l", at=(10.0, 50.0)).read_bytes()
        await asyncio.to_thread(post, small.host, ticket, body, name="far.geojson")
        await page.wait(lambda: "far.geojson was not taken" in page.panes(), "the refusal")
        assert page.text("labels") == "0"

    with_page(small.host, work)


@pytest.mark.parametrize(
    "name", ["../../etc/cron.d/x", "/etc/passwd", "..%2F..%2Fetc%2Fx", "C:\\x\\..\\y.tif", "%00", "%FF%FE", ""]
)
def test_the_name_of_a_file_is_never_a_path(small, tmp_path, name):
    body = hostile.geotiff(tmp_path / "a").read_bytes()

    async def work(page, ticket):
        assert (await asyncio.to_thread(post, small.host, ticket, body, name=name))[0] == 200
        visit = next(iter(small.house.pages))
        await page.wait(lambda: "Your uploads" in page.panes(), "the raster")
        (file,) = visit._workspace.uploads.iterdir()
        assert len(file.name) == 32
        assert set(file.name) <= set("0123456789abcdef")
        assert file.stat().st_mode & 0o077 == 0

    with_page(small.host, work)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a/b\\c.tif", "c.tif"),
        ("../..", ".."),
        ("", "file without a name"),
        ("\n\t\x07", "file without a name"),
        ("x" * 300 + ".tif", "x" * 60 + "…" + "x" * 15 + ".tif"),
        ("<b>.tif", "<b>.tif"),
        ("a\u202etif.exe", "atif.exe"),
    ],
)
def test_what_people_read_of_a_name(raw, shown):
    assert shown_name(raw) == shown


def test_a_file_that_announces_a_gigabyte_is_refused_before_it_is_sent(small, tmp_path):
    """The header alone is sent: the answer comes at once, and nothing lands on the disk."""

    async def work(page, ticket):
        answer = await asyncio.to_thread(announce, small.server.port, ticket, 10**9)
        assert b" 413 " in answer
        assert b"The file has 1.00 GB; up to 2.0 MB are taken." in answer
        assert not list(next(iter(small.house.pages))._workspace.uploads.iterdir())

    with_page(small.host, work)
    assert small.get("/")[0] == 200, "the server lives"


def test_a_gigabyte_that_is_really_sent_is_refused_and_the_server_lives(small, tmp_path):
    """1 GB sparse file, pushed with all might: the server closes the connection, without having stored a byte."""
    sparse = tmp_path / "sparse.tif"
    with sparse.open("wb") as file:
        file.truncate(10**9)

    async def work(page, ticket):
        sent = await asyncio.to_thread(push, small.server.port, ticket, sparse)
        assert sent < 2e8, "cut off long before the end"
        assert not list(next(iter(small.house.pages))._workspace.uploads.iterdir())

    with_page(small.host, work)
    assert small.get("/")[0] == 200


def test_a_body_that_is_longer_than_announced_or_cut_off_leaves_nothing(small, tmp_path):
    body = hostile.geotiff(tmp_path / "a").read_bytes()

    async def work(page, ticket):
        uploads = next(iter(small.house.pages))._workspace.uploads
        await asyncio.to_thread(cut_off, small.server.port, ticket, body)
        await asyncio.to_thread(until, lambda: not list(uploads.iterdir()), why="the part is deleted")

    with_page(small.host, work)


@pytest.mark.parametrize("ticket", ["", "x", "x" * 43])
def test_without_the_ticket_of_an_open_page_nothing_is_taken(small, ticket):
    status, answer = post(small.host, ticket, b"II*\0" + bytes(100))
    assert status == 403
    assert "no longer open" in answer["message"]


def test_the_ticket_ends_with_the_page(small):
    async def work(page, ticket):
        return ticket

    ticket = with_page(small.host, work)
    until(lambda: not small.house.pages)
    assert post(small.host, ticket, b"II*\0" + bytes(100))[0] == 403


def test_other_methods_and_bodies_without_a_length_are_refused(small):
    assert small.get("/upload")[0] == 405
    with socket.create_connection(("127.0.0.1", small.server.port), 10) as line:
        line.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        assert b" 403 " in line.recv(4096)


def test_a_page_may_not_send_more_than_its_share(small, tmp_path):
    body = hostile.geotiff(tmp_path / "a").read_bytes()

    async def work(page, ticket):
        small.house.desks.find(ticket).taken_bytes = 9_990_000
        status, answer = await asyncio.to_thread(post, small.host, ticket, body)
        assert status == 413
        assert "Open the page anew" in answer["message"]

    with_page(small.host, work)


def test_the_limits_of_content_follow_from_that_of_the_file():
    of = Limits(200_000_000, 10**9).of_content
    assert of["scene_bytes"] == 200_000_000
    assert of["labels_bytes"] == 32_000_000
    assert of["decoded_bytes"] == 1_600_000_000


def test_without_uploads_there_is_no_such_address(sources, tmp_path):
    with served(sources, tmp_path / "kept", uploads=False) as running:
        assert request("POST", f"{running.url}/upload", body=b"x")[0] in (404, 405)


def head(ticket, nbytes):
    return f"POST /upload HTTP/1.1\r\nHost: x\r\nX-Ticket: {ticket}\r\nContent-Length: {nbytes}\r\n\r\n".encode()


def announce(port, ticket, nbytes):
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(head(ticket, nbytes))
        return line.recv(65536)


def push(port, ticket, path):
    """Bytes that went out before the server hung up."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), 10) as line, path.open("rb") as file:
        line.sendall(head(ticket, path.stat().st_size))
        try:
            while chunk := file.read(1 << 20):
                line.sendall(chunk)
                sent += len(chunk)
        except OSError:
            return sent
    return sent


def cut_off(port, ticket, body):
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(head(ticket, len(body)) + body[: len(body) // 2])
