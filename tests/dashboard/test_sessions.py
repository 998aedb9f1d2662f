"""Pages, played by clients that speak the protocol: what one does another never sees, and nothing outlives a page."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref

import pytest

from georeset_lab.dashboard.browser_key import key_in
from georeset_lab.dashboard.ownership import set_apart
from tests.dashboard.client import Client
from tests.dashboard.serving import served, until


def visit_of(running, key):
    return next(v for v in running.house.pages if v._workspace is not None and v._workspace.key == key)


async def opened(page, title="First"):
    await page.open(title)
    await page.wait(lambda: page.text("labels"), "the explorer")
    return page


async def label(running, page, row, col):
    place = visit_of(running, page.key).state.place_of(row, col)
    before = int(page.text("labels"))
    await page.click_map(place.lon, place.lat)
    await page.see("clicked", f"{row},{col}")
    await page.press("label it")
    await page.see("labels", str(before + 1))


def test_a_click_comes_back_and_an_answer_computed_in_a_thread_too(dashboard):
    async def run():
        async with Client(dashboard.host) as page:
            await opened(page)
            await label(dashboard, page, 3, 5)
            await page.see("heard", "3005")
            assert page.errors == []

    asyncio.run(run())


def test_two_pages_never_see_each_others_labels_but_share_the_embeddings(dashboard):
    async def run():
        async with Client(dashboard.host) as one, Client(dashboard.host) as two:
            await asyncio.gather(opened(one), opened(two))
            assert one.key != two.key
            for i in range(3):
                await label(dashboard, one, 3, i)
            await label(dashboard, two, 7, 7)
            assert (one.text("labels"), two.text("labels")) == ("3", "1")
            assert (one.text("clicked"), two.text("clicked")) == ("3,2", "7,7")
            a, b = (visit_of(dashboard, p.key) for p in (one, two))
            assert a.state is not b.state
            assert a.state.emb is b.state.emb
            assert a._book.path != b._book.path

    asyncio.run(run())


def test_a_reload_restores_the_scene_and_its_labels(dashboard):
    async def run():
        async with Client(dashboard.host) as page:
            await opened(page, "Second <b>bold</b>")
            await label(dashboard, page, 3, 5)
        async with Client(dashboard.host, page.key) as again:
            assert again.key == page.key
            await again.see("labels", "1")
            assert visit_of(dashboard, again.key).state.emb.attrs["seed"] == 2
            await label(dashboard, again, 4, 4)

    asyncio.run(run())
    until(lambda: not dashboard.house.pages)


def test_labels_survive_the_server(sources, tmp_path):
    async def first(running):
        async with Client(running.host) as page:
            await opened(page)
            await label(running, page, 3, 5)
            return page.key

    async def second(running, key):
        async with Client(running.host, key) as page:
            await page.see("labels", "1")

    with served(sources, tmp_path / "kept") as running:
        key = asyncio.run(first(running))
    with served(sources, tmp_path / "kept") as running:
        asyncio.run(second(running, key))


def test_the_same_key_twice_closes_the_first_page(dashboard):
    async def run():
        async with Client(dashboard.host) as one:
            await opened(one)
            await label(dashboard, one, 3, 5)
            async with Client(dashboard.host, one.key) as two:
                await two.see("labels", "1")
                await one.wait(lambda: "opened again elsewhere" in one.panes(), "the end of the first page")
                await label(dashboard, two, 4, 4)
            assert one.text("labels") == "1"

    asyncio.run(run())


def test_a_guessed_key_leads_nowhere(dashboard):
    async def run():
        async with Client(dashboard.host) as one:
            await opened(one)
            await label(dashboard, one, 3, 5)
            folder = visit_of(dashboard, one.key)._workspace.folder
            for guess in (folder.name, str(folder), f"../{folder.name}", one.key[:-1], one.key.upper()):
                async with Client(dashboard.host, guess) as other:
                    assert other.key not in (guess, one.key)
                    await opened(other)
                    assert other.text("labels") == "0"

    asyncio.run(run())


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{}", '{"key": 3}', '{"key": null}', "[" * 100_000, json.dumps({"key": "x" * 300})]
)
def test_whatever_a_browser_sends_for_a_key_is_a_key_or_none(text):
    assert key_in(text) == ""


def test_changing_the_scene_keeps_the_labels_of_each_apart(dashboard):
    async def run():
        async with Client(dashboard.host) as page:
            await opened(page)
            await label(dashboard, page, 3, 5)
            await page.leave("First")
            await opened(page, "Second <b>bold</b>")
            assert page.text("labels") == "0"
            await page.leave("First")
            await opened(page)
            assert page.text("labels") == "1"

    asyncio.run(run())


def test_nothing_of_a_page_outlives_it(dashboard):
    from ipywidgets.widgets.widget import _instances
    from panel.io.state import state

    remains: list[weakref.ref] = []

    async def run():
        async with Client(dashboard.host) as page:
            await opened(page)
            await label(dashboard, page, 3, 5)
            visit = visit_of(dashboard, page.key)
            things = (visit, visit.state, visit._document, visit._book, visit.page.root, visit._uploader)
            remains.extend(weakref.ref(thing) for thing in things)

    asyncio.run(run())  # what a first page leaves in caches is no leak
    until(lambda: not dashboard.house.pages)
    before = len(_instances)
    remains.clear()
    asyncio.run(run())
    until(lambda: not dashboard.house.pages)

    def gone():
        dashboard.call(gc.collect)
        return all(ref() is None for ref in remains)

    until(gone, why="all of the page is gone")
    assert len(_instances) == before
    assert len(state._ipykernels) == 0
    assert dashboard.house.encodings.used_bytes > 0, "the encoding stays for the next"
    assert all(entry.users == 0 for entry in dashboard.house.encodings._entries.values())
    assert not dashboard.house.desks._desks


def test_a_page_that_never_connects_ends_too(dashboard):
    before = dashboard.house.pages.copy()
    assert dashboard.get("/")[0] == 200
    assert not before
    until(lambda: dashboard.house.pages, seconds=5)
    until(lambda: not dashboard.house.pages)


def test_a_widget_that_nobody_owns_is_adopted_by_no_page(dashboard):
    import ipywidgets

    stranger = ipywidgets.HTML("made in a thread, or when a library was imported")

    async def run():
        async with Client(dashboard.host) as page:
            await opened(page)
            return [w.get("value") for w in page.widgets.values()]

    assert stranger.value not in asyncio.run(run())
    assert not isinstance(getattr(stranger, "_document", None), type(None))


def test_widgets_inside_what_is_shown_are_not_set_apart():
    import ipywidgets

    inside, outside = ipywidgets.HTML("a"), ipywidgets.HTML("b")
    box = ipywidgets.VBox([inside])
    set_apart(box)
    assert getattr(inside, "_document", None) is None
    assert getattr(outside, "_document", None) is not None


def test_an_explorer_that_cannot_be_made_is_told_and_the_page_lives(sources, tmp_path):
    from georeset_lab.errors import NothingObserved

    def refuse(state, *, book):
        raise NothingObserved("There is <i>nothing</i> in it.")

    with served(sources, tmp_path / "kept", make_explorer=refuse) as running:

        async def run():
            async with Client(running.host) as page:
                await page.open("First")
                await page.wait(lambda: "in it." in page.panes(), "the refusal")
                assert "<i>nothing" not in page.panes()
                await page.wait(lambda: page._button("First"), "the chooser")

        asyncio.run(run())


def test_a_source_that_is_broken_is_told(tmp_path):
    (tmp_path / "x.tif").write_bytes(b"II*\0")
    with served({"broken": tmp_path / "x.tif"}, tmp_path / "kept") as running:

        async def run():
            async with Client(running.host) as page:
                await page.wait(lambda: "x.tif" in page.panes(), "the reason")

        asyncio.run(run())
