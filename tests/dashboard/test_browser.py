"""The served page in a real browser, without a network: whatever it wants from elsewhere, tiles too, fails the test."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.dashboard import hostile
from tests.dashboard.serving import served, until

pytestmark = pytest.mark.browser


def open_scene(page, title="First"):
    page.get_by_role("button", name=title, exact=True).click()
    page.locator(".leaflet-container").first.wait_for()
    page.locator("#labels").wait_for()
    return page


def click_pixel(running, page, row, col):
    """Click the middle of a pixel, where the map shows it."""
    visit = next(v for v in running.house.pages if v.state is not None)
    page.locator("img.leaflet-image-layer").wait_for()
    box = until(lambda: image_box(page), why="the picture lies on the map")
    rows, cols = visit.state.shape
    page.mouse.click(box["x"] + (col + 0.5) / cols * box["width"], box["y"] + (row + 0.5) / rows * box["height"])


def image_box(page):
    box = page.locator("img.leaflet-image-layer").bounding_box()
    return box if box and box["width"] > 50 else None


def picture(page):
    return page.locator("img.leaflet-image-layer").get_attribute("src")


def test_a_picture_computed_while_the_browser_loads_is_seen_and_later_ones_too(open_page):
    page = open_scene(open_page())
    until(lambda: (picture(page) or "").startswith("data:image/png"), why="the first picture")
    first = picture(page)
    click_pixel(open_page.running, page, 12, 20)
    page.wait_for_selector("#clicked:has-text(',')")
    until(lambda: picture(page) != first, why="the picture after the click")


def test_a_click_selects_the_pixel_under_it_and_answers_come_back(open_page):
    page = open_scene(open_page())
    for row, col in ((12, 20), (33, 5)):
        click_pixel(open_page.running, page, row, col)
        page.wait_for_selector("#clicked:has-text(',')")
        until(lambda row=row: page.locator("#clicked").inner_text().split(",")[0] != "" and
              abs(int(page.locator("#clicked").inner_text().split(",")[0]) - row) <= 1, why="the row")  # fmt: skip
        assert abs(int(page.locator("#clicked").inner_text().split(",")[1]) - col) <= 1
    page.locator("#heard").wait_for()


def test_two_browsers_do_not_share_labels_and_a_reload_restores_them(open_page):
    first, second = open_page(), open_page()
    for page in (open_scene(first), open_scene(second)):
        assert page.locator("#labels").inner_text() == "12"
    click_pixel_of(open_page.running, first, 12, 20)
    first.get_by_role("button", name="label it").click()
    first.wait_for_selector("#labels:has-text('13')")
    assert second.locator("#labels").inner_text() == "12"
    first.reload()
    first.locator(".leaflet-container").first.wait_for()
    first.wait_for_selector("#labels:has-text('25')")  # restored, and the twelve of the stand-in once more
    second.reload()
    second.wait_for_selector("#labels:has-text('24')")


def click_pixel_of(running, page, row, col):
    box = until(lambda: image_box(page), why="the picture lies on the map")
    page.mouse.click(box["x"] + (col + 0.5) / 48 * box["width"], box["y"] + (row + 0.5) / 40 * box["height"])
    page.wait_for_selector("#clicked:has-text(',')")


def test_a_second_tab_gets_a_workspace_of_its_own_and_the_first_keeps_its(open_page):
    context = open_page.context()
    first = open_scene(open_page(context))
    second = open_page(context)
    open_scene(second)
    keys = {v._workspace.key for v in open_page.running.house.pages if v._workspace is not None}
    assert len(keys) == 2
    stored = "() => [sessionStorage['georeset-workspace'], localStorage['georeset-workspace']]"
    assert {first.evaluate(stored)[0], second.evaluate(stored)[0]} == keys
    assert second.evaluate(stored)[1] == first.evaluate(stored)[0], "a new window finds the first one's labels"
    first.reload()
    first.wait_for_selector("#labels:has-text('24')")
    second.close()
    first.close()
    again = open_page(context)
    again.wait_for_selector("#labels:has-text('36')")


def test_a_lost_connection_is_told(open_page):
    page = open_scene(open_page())
    assert page.locator("#georeset-lost").is_hidden()
    running = open_page.running
    running.call(lambda: [client._socket.close() for client in list(running.server._tornado._clients)])
    page.locator("#georeset-lost").wait_for(state="visible")
    open_page.messages.errors.clear()  # the browser says so too


def test_uploads_by_the_button_and_their_refusals_are_told_as_text(open_page, tmp_path):
    page = open_page()
    page.get_by_role("button", name="Upload …").wait_for()
    tif = hostile.geotiff(tmp_path / f"S2L2A {re.sub('[/]', '', hostile.MARKUP)}.tif".replace('"', "'"))
    page.set_input_files("input[type=file]", tif)
    page.get_by_text("Your uploads").wait_for()
    assert page.get_by_role("combobox").input_value() == "sentinel-2-l2a", "guessed from the name"
    assert page.get_by_text("<img src=x").count() >= 1, "shown as text"
    huge = tmp_path / "huge.tif"
    with huge.open("wb") as file:
        file.truncate(1_000_000_000)
    page.set_input_files("input[type=file]", huge)
    page.get_by_text("The file has 1.00 GB; up to 200.0 MB are taken.").wait_for()
    bomb = hostile.bomb(tmp_path / "bomb.tif")
    page.set_input_files("input[type=file]", bomb)
    page.get_by_text("16.0 GB once unpacked").wait_for()
    assert page.title() == "georeset", "no markup ran"


def test_labels_go_in_and_out_by_the_browser(open_page, tmp_path):
    page = open_scene(open_page())
    visit = next(v for v in open_page.running.house.pages if v.state is not None)
    place = visit.state.place_of(5, 5)
    page.set_input_files("input[type=file]", hostile.labels(tmp_path / "l.geojson", at=(place.lon, place.lat)))
    page.wait_for_selector("#labels:has-text('14')")
    page.get_by_text("l.geojson: 2 labels added").wait_for()
    page.locator("select").last.select_option("Labels (GeoJSON)")
    with page.expect_download() as going:
        page.get_by_text("Download", exact=True).click()
    assert going.value.suggested_filename == "First-labels.geojson"
    found = json.loads(Path(going.value.path()).read_text(encoding="utf-8"))
    assert len(found["features"]) == 14
    assert page.title() == "georeset", "no markup ran"


@pytest.mark.parametrize(
    ("kind", "name"), [("Class map (COG)", "First-classes.tif"), ("Labels (GeoParquet)", "First-labels-table.parquet")]
)
def test_exports_are_downloaded_by_their_names(open_page, kind, name):
    page = open_scene(open_page())
    until(lambda: next(iter(open_page.running.house.pages)).state.prediction is not None)
    page.locator("select").last.select_option(kind)
    with page.expect_download() as going:
        page.get_by_text("Download", exact=True).click()
    assert going.value.suggested_filename == name
    assert Path(going.value.path()).read_bytes()[:4] in (b"II*\0", b"PAR1")


def test_without_labels_there_is_no_class_map_to_download(open_page, sources, tmp_path):
    with served(sources, tmp_path / "other") as running:
        page = open_page(url=running.url)
        open_scene(page)
        assert page.get_by_text("Download", exact=True).is_disabled()
        page.locator("select").last.select_option("Labels (GeoJSON)")
        until(lambda: page.get_by_text("Download", exact=True).is_enabled(), why="labels can always be saved")


def test_a_page_behind_a_prefix_loads_everything_below_it(open_page, sources, tmp_path):
    with served(sources, tmp_path / "other", prefix="/hub/x") as running:
        asked = []
        page = open_page(url=f"{running.url}/hub/x/")
        page.on("request", lambda request: asked.append(request.url))
        page.reload()
        open_scene(page)
        click_pixel_of(running, page, 12, 20)
        wrong = [u for u in asked if u.startswith("http") and not u.startswith(f"{running.url}/hub/x/")]
        assert not wrong


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_follow_the_browser(open_page, dark):
    page = open_page(open_page.context(dark=dark))
    page.get_by_text("Choose a scene").wait_for()
    red, green, blue = map(
        int, re.findall(r"\d+", page.evaluate("() => getComputedStyle(document.body).backgroundColor"))[:3]
    )
    assert (red + green + blue < 150) is dark


def test_with_a_password_the_page_opens_after_a_login_and_not_before(open_page, sources, tmp_path):
    with served(sources, tmp_path / "other", basic_auth="secret") as running:
        page = open_page(url=running.url)
        page.get_by_label("User name").fill("ann")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("Invalid username or password").wait_for()
        assert not running.house.pages
        page.get_by_label("User name").fill("ann")
        page.get_by_label("Password").fill("secret")
        page.get_by_role("button", name="Log in").click()
        open_scene(page)
        click_pixel_of(running, page, 12, 20)
        page.set_input_files("input[type=file]", hostile.geotiff(tmp_path / "a.tif"))
        page.get_by_text("a.tif has arrived").wait_for()
