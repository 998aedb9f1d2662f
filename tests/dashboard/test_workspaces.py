from __future__ import annotations

import os
import stat

import pytest

from georeset_lab.dashboard.workspaces import KEPT_DAYS, Workspaces
from georeset_lab.errors import StoreError


class Page:
    """An open page that only remembers what happened to it."""

    def __init__(self, workspaces: Workspaces) -> None:
        self.workspaces, self.ended = workspaces, []

    def close(self) -> None:
        self.ended.append("closed")
        self.workspaces.release(self)

    def hand_over(self) -> None:
        self.ended.append("handed over")
        self.close()


@pytest.fixture
def workspaces(tmp_path):
    made = Workspaces(tmp_path / "kept")
    yield made
    made.close()


def test_a_key_leads_back_to_its_folder_after_the_page_has_ended(workspaces):
    page = Page(workspaces)
    first = workspaces.claim("", page)
    (first.folder / "labels.jsonl").write_text("x")
    first.remember(source="abc")
    page.close()
    again = workspaces.claim(first.key, Page(workspaces))
    assert (again.key, again.folder, again.restored, again.card) == (first.key, first.folder, True, {"source": "abc"})
    assert not first.restored


def test_another_key_never_leads_there(workspaces):
    one = workspaces.claim("", Page(workspaces))
    for key in (
        "",
        "x",
        one.key[:-1],
        one.key + "x",
        one.folder.name,
        "../" + one.folder.name,
        "\0",
        "\ud800",
        "a" * 10_000,
    ):
        other = workspaces.claim(key, Page(workspaces))
        assert other.folder != one.folder
        assert not other.restored
        assert other.folder.parent == workspaces.root


def test_the_same_key_under_another_login_is_another_workspace(workspaces):
    one = workspaces.claim("", Page(workspaces), user="ann")
    (one.folder / "labels.jsonl").write_text("x")
    other = workspaces.claim(one.key, Page(workspaces), user="bob")
    assert other.folder != one.folder
    assert other.key != one.key


def test_a_page_that_names_the_key_of_an_open_one_takes_its_place_and_its_uploads(workspaces):
    former, later = Page(workspaces), Page(workspaces)
    first = workspaces.claim("", former)
    (first.uploads / "a").write_text("x")
    first.luggage["rasters"] = ["a"]
    second = workspaces.claim(first.key, later)
    assert former.ended == ["handed over", "closed"]
    assert (second.folder, second.restored, second.luggage) == (first.folder, True, {"rasters": ["a"]})
    assert (second.uploads / "a").exists()
    assert not workspaces.release(former)
    assert workspaces.release(later)
    assert not second.uploads.exists()


def test_uploads_go_with_the_page_and_labels_stay(workspaces):
    page = Page(workspaces)
    workspace = workspaces.claim("", page)
    (workspace.folder / "labels.jsonl").write_text("x")
    (workspace.uploads / "a").write_text("x")
    page.close()
    assert not workspace.uploads.exists()
    assert (workspace.folder / "labels.jsonl").exists()


def test_a_folder_in_which_nothing_was_done_leaves_no_trace(workspaces):
    page = Page(workspaces)
    workspace = workspaces.claim("", page)
    page.close()
    assert not workspace.folder.exists()


def test_the_folder_names_tell_nobody_the_key_and_others_may_not_look_in(workspaces):
    workspace = workspaces.claim("", Page(workspaces))
    assert workspace.key not in str(workspace.folder)
    assert len(workspace.key) >= 40
    if os.name == "posix":
        assert stat.S_IMODE(workspaces.root.stat().st_mode) == 0o700
        assert stat.S_IMODE(workspace.folder.stat().st_mode) == 0o700


def test_a_damaged_card_is_no_reason_to_lose_the_labels(workspaces):
    page = Page(workspaces)
    workspace = workspaces.claim("", page)
    workspace.remember(source="abc")
    for text in (b"{", b"[1]", b"\xff"):
        (workspace.folder / "workspace.json").write_bytes(text)
        page.close()
        page = Page(workspaces)
        assert workspaces.claim(workspace.key, page).card == {}


def test_folders_that_nobody_opened_for_long_are_removed_at_the_start_and_others_not(tmp_path):
    root = tmp_path / "kept"
    first = Workspaces(root)
    page, other = Page(first), Page(first)
    old, new = first.claim("", page), first.claim("", other)
    for workspace, days in ((old, KEPT_DAYS + 1), (new, KEPT_DAYS - 1)):
        file = workspace.folder / "labels.jsonl"
        file.write_text("x")
        stamp = file.stat().st_mtime - days * 86_400
        os.utime(file, (stamp, stamp))
        os.utime(workspace.folder, (stamp, stamp))
    stranger = root / "somebody-elses"
    stranger.mkdir()
    os.utime(stranger, (0, 0))
    first.close()
    Workspaces(root).close()
    assert not old.folder.exists()
    assert new.folder.exists()
    assert stranger.exists()


def test_a_folder_that_cannot_be_made_is_refused_with_the_flag_that_fixes_it(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="--keep-in"):
        Workspaces(tmp_path / "file" / "kept")
