"""The explorer in a real JupyterLab: a person labels by clicking, undoes, and loses nothing when the kernel dies."""

from __future__ import annotations

import pytest

from tests.widgets.lab import ask, execute, run_all, wait_for

pytestmark = pytest.mark.browser

CELLS = [
    """
import warnings
import georeset_lab as gl
scene = gl.load_scene("simulated", size=(96, 96))
emb = gl.encode(scene, progress=False)
explorer = gl.explore(scene, emb)
explorer
"""
]


def add_class(page, name):
    field = page.get_by_placeholder("Name of a class")
    field.fill(name)
    field.press("Enter")
    page.get_by_role("button", name="Add class").click()
    wait_for(page, f"{name!r} in explorer.labeller.book.counts")


def click_map(page, x, y):
    """Click at a share of the map's width and height."""
    box = page.locator(".leaflet-container").first.bounding_box()
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def label(page, name, places):
    before = ask(page, "sum(explorer.labeller.book.counts.values())")
    for i, (x, y) in enumerate(places, 1):
        click_map(page, x, y)
        wait_for(page, f"sum(explorer.labeller.book.counts.values()) == {before + i}")
    assert ask(page, f"explorer.labeller.book.counts[{name!r}]") >= len(places)


def test_a_person_labels_undoes_and_loses_nothing_when_the_kernel_dies(open_notebook, tmp_path):
    page = open_notebook(CELLS, size=(1280, 1000))
    page.locator(".leaflet-container").first.wait_for()
    wait_for(page, "explorer.map.map.east > explorer.map.map.west")
    page.get_by_role("tab", name="Labels").click()
    wait_for(page, "explorer.state.tool == 'label'")
    add_class(page, "water")
    label(page, "water", [(0.45, 0.4), (0.5, 0.45)])
    add_class(page, "land <b>")
    label(page, "land <b>", [(0.55, 0.6), (0.6, 0.65)])
    wait_for(page, "explorer.state.prediction is not None and 'cause' in explorer.state.prediction", timeout_s=300)
    wait_for(page, "explorer.map.layer == 'label'")
    page.get_by_role("button", name="Undo").click()
    wait_for(page, "explorer.labeller.book.counts['land <b>'] == 1")
    page.get_by_role("button", name="Redo").click()
    wait_for(page, "explorer.labeller.book.counts['land <b>'] == 2")
    assert not open_notebook.messages.wrong()
    kept = ask(page, "[str(item) for item in explorer.labeller.book.items]")
    page.evaluate(
        """async () => {
            const session = jupyterapp.shell.currentWidget.context.sessionContext;
            session.session.kernel.requestExecute({code: 'import os; os.kill(os.getpid(), 9)'});
            await new Promise(done => setTimeout(done, 3000));
            await session.restartKernel();
        }"""
    )
    run_all(page)
    open_notebook.messages.errors.clear()  # what JupyterLab says of a kernel that was killed
    assert ask(page, "[str(item) for item in explorer.labeller.book.items]") == kept
    execute(page, "explorer.close()")


def test_the_latent_view_and_the_map_share_one_place(open_notebook):
    page = open_notebook(CELLS, size=(1280, 1000))
    wait_for(page, "explorer.map.map.east > explorer.map.map.west")
    click_map(page, 0.5, 0.5)
    wait_for(page, "explorer.state.point is not None")
    row, col = ask(page, "[explorer.state.point.row, explorer.state.point.col]")
    assert abs(row - 48) < 4
    assert abs(col - 48) < 4
    page.get_by_text("row " + str(row), exact=False).first.wait_for()
    execute(page, "explorer.close()")
