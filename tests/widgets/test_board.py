"""Boards draw parts, tell what was clicked, trust nothing that comes from the browser, and stand without a kernel."""

from __future__ import annotations

import pytest

from georeset_lab.widgets.board import Board
from tests.widgets.lab import ask, execute, wait_for


class Heard(Board):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.told = []

    def heard(self, what, value, *, checked, at):
        self.told.append((what, value, checked, at))


def test_a_click_is_told_with_its_place():
    board = Heard()
    board.said = [1.0, "go", "3", None, 0.25, 1]
    board.said = [2.0, "on", "s2", True, None, None]
    assert board.told == [("go", "3", None, (0.25, 1)), ("on", "s2", True, None)]


@pytest.mark.parametrize(
    "said",
    [
        [],
        ["go"],
        [1, 2, 3, 4, 5, 6],
        [1.0, "go", None, None, None, None],
        [1.0, "go", "3", None],
        [1.0, {"a": 1}, "", 0, 0, 0],
    ],
)
def test_what_is_not_a_click_is_ignored(said):
    board = Heard()
    board.said = said
    assert board.told == []


@pytest.mark.parametrize("at", [(-0.1, 0.5), (0.5, 1.2), ("0", 0.1), (float("nan"), 0.5), (None, 0.5)])
def test_a_place_outside_the_picture_is_none(at):
    board = Heard()
    board.said = [1.0, "go", "", None, *at]
    assert board.told == [("go", "", None, None)]


def test_parts_keep_their_order_and_stand_without_a_kernel():
    board = Board(
        parts={"one": "", "two": '<div class="gl-map"><img data-pic="a" alt=""><i class="gl-marks"></i></div>'}
    )
    board.put(one="<p>first</p>")
    board.pictures, board.marks = {"a": "data:image/png;base64,AAAA"}, [[0.5, 0.25]]
    assert list(board.parts) == ["one", "two"]
    html = board.to_html()
    assert html.index("first") < html.index('src="data:image/png;base64,AAAA"')
    assert 'style="left:50.00%;top:25.00%"' in html
    assert ".gl-board {" in html


CELL = """
import ipywidgets
from georeset_lab.widgets.board import Board

class Heard(Board):
    told = []
    def heard(self, what, value, *, checked, at):
        self.told.append([what, value, checked, at])

from georeset_lab.embed.pictures.colours import png_data_url
import numpy as np
blue = png_data_url(np.full((2, 2, 3), 200, np.uint8))
board = Heard(pictures={"a": blue}, parts={
    "map": '<div class="gl-map" data-do="point" style="width:200px"><img data-pic="a" alt=""><i class="gl-marks"></i></div>',
    "box": '<input type="checkbox" data-do="on" data-value="s2">',
    "bad": '<img src=x onerror="window.hacked=1"><script>window.hacked=1</' + 'script><p onclick="window.hacked=1" '
           'data-do="p">text</p><a href="javascript:window.hacked=1">link</a>',
})
board
"""


@pytest.mark.browser
def test_a_board_in_a_browser_tells_clicks_and_runs_nothing_it_is_given(open_notebook):
    page = open_notebook([CELL])
    box = page.locator(".gl-map").bounding_box()
    page.mouse.click(box["x"] + 50, box["y"] + box["height"] * 0.75)
    what, _, checked, (x, y) = wait_for(page, "Heard.told[:1]")[0]
    assert (what, checked) == ("point", None)
    assert (x, y) == (pytest.approx(0.25, abs=0.01), pytest.approx(0.75, abs=0.01))
    page.locator("input[data-do=on]").check()
    assert wait_for(page, "Heard.told[1:2]") == [["on", "s2", True, None]]
    page.locator("p[data-do=p]").click()
    assert wait_for(page, "Heard.told[2:3]") == [["p", "", None, None]]
    assert page.evaluate("window.hacked") is None
    assert page.locator(".gl-board script, .gl-board a").count() == 0
    # Redrawing keeps the focus, other parts stay the same nodes, marks are drawn over the picture.
    page.locator("input[data-do=on]").focus()
    page.evaluate("document.querySelector('.gl-map').dataset.same = 'yes'")
    execute(page, "board.put(box=board.parts['box'].replace('>', ' checked>')); board.marks = [[0.5, 0.5]]")
    page.locator(".gl-marks > i").wait_for()
    assert page.evaluate("document.activeElement.dataset.value") == "s2"
    assert page.locator(".gl-map").get_attribute("data-same") == "yes"
    assert ask(page, "len(Heard.told)") == 3


@pytest.mark.browser
def test_what_is_being_pressed_is_drawn_anew_when_it_is_let_go(open_notebook):
    page = open_notebook([CELL])
    execute(page, "board.parts = {'go': '<button data-do=\"go\">Stop</button>1 of 5', 'other': 'before'}")
    box = page.get_by_role("button", name="Stop").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    execute(page, "board.put(go=board.parts['go'].replace('1', '2'), other='after')")
    page.get_by_text("after").wait_for()
    page.mouse.up()
    assert wait_for(page, "Heard.told") == [["go", "", None, None]]
    page.get_by_text("2 of 5").wait_for()
