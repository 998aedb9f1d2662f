"""The harness itself: a map renders, a click comes back to Python, a failing cell and a console error are noticed."""

from __future__ import annotations

import pytest

from tests.widgets.lab import Messages, ask, execute, wait_for

pytestmark = pytest.mark.browser

MAP = """
import leafmap
clicks = []
m = leafmap.Map(center=(46.5, 7.5), zoom=9, draw_control=False, toolbar_control=False, height="300px")
m.on_interaction(lambda **event: clicks.append(event["coordinates"]) if event["type"] == "click" else None)
m
"""


def test_a_leafmap_renders_and_a_click_comes_back_to_python(open_notebook):
    page = open_notebook([MAP])
    box = page.locator(".leaflet-container").bounding_box()
    wait_for(page, "m.east > m.west")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wait_for(page, "len(clicks) == 1")
    lat, lon = ask(page, "clicks[0]")
    assert lat == pytest.approx(46.5, abs=0.01)
    assert lon == pytest.approx(7.5, abs=0.01)


def test_a_cell_that_fails_fails_the_test_with_its_traceback(open_notebook):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        open_notebook(["x = 1", "x / 0"])


def test_python_is_asked_and_told_between_events(open_notebook):
    page = open_notebook(["x = [1, 'two']"])
    assert ask(page, "x") == [1, "two"]
    execute(page, "x.append(3)")
    assert ask(page, "len(x)") == 3
    with pytest.raises(AssertionError, match="NameError"):
        ask(page, "nobody")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        execute(page, "1 / 0")


def test_errors_in_the_console_and_requests_elsewhere_are_wrong_but_tiles_are_not(open_notebook):
    page = open_notebook(["0"])
    messages = Messages()
    messages.watch(page)
    page.evaluate(
        """async () => {
            for (const url of ['https://tile.example/3/4/5.png', 'https://cdn.example/lib.js']) {
                await fetch(url, {mode: 'no-cors'}).catch(() => {});
            }
            console.error('planted');
        }"""
    )
    page.wait_for_timeout(200)
    found = messages.wrong()
    assert len(found) == 2
    assert "planted" in found[0]
    assert "cdn.example" in found[1]
    open_notebook.messages = Messages()  # planted above; not to be found again at the end
