"""The journal under any order of changes, kills, torn ends, flipped bits, full disks and second kernels."""

from __future__ import annotations

import copy
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from georeset_lab.embed.labels import journal as label_journal
from georeset_lab.embed.labels.journal import Journal, Record
from georeset_lab.errors import StoreError
from tests.benchmarks import kill_labels


def record(value: object) -> Record:
    return {"value": value, "where": [0.1, -38.123456789012345]}


def filled(folder: Path, n: int = 5) -> Journal:
    journal = Journal(folder, "a")
    for i in range(n):
        journal.edit(f"step {i}", {f"k{i}": record(i)})
    return journal


def again(folder: Path, stem: str = "a") -> Journal:
    """The journal as a new kernel finds it; the notes are left on it."""
    return Journal(folder, stem)


class JournalMachine(RuleBasedStateMachine):
    """One journal with a model of every state it was in."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.journal = Journal(self.folder, "a")
        self.states: list[dict[str, Record]] = [{}]
        self.taken_back: list[dict[str, Record]] = []
        self.version = 0
        self.told = 0

    @rule(keys=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3), value=st.integers(0, 3))
    def edit(self, keys: list[str], value: int) -> None:
        after = {k: record(value) if value else None for k in keys}
        state = {k: r for k, r in (self.states[-1] | after).items() if r is not None}
        step = self.journal.edit(f"set {value}", after)
        assert (step is None) == (state == self.states[-1])
        if step is not None:
            self.states.append(state)
            self.taken_back.clear()
            self.version += 1

    @rule()
    def undo(self) -> None:
        step = self.journal.undo()
        assert (step is None) == (len(self.states) == 1)
        if step is not None:
            self.taken_back.append(self.states.pop())
            self.version += 1

    @rule()
    def redo(self) -> None:
        step = self.journal.redo()
        assert (step is None) == (not self.taken_back)
        if step is not None:
            self.states.append(self.taken_back.pop())
            self.version += 1

    @rule()
    def kill(self) -> None:
        self.journal.close()
        self.journal = again(self.folder)
        assert self.journal.notes == []

    @precondition(lambda self: self.journal.path.exists())
    @rule(cut=st.integers(1, 200))
    def kill_while_writing(self, cut: int) -> None:
        line = label_journal._encode(
            {"n": self.version + 1, "do": "edit", "title": "x", "set": {"z": record("é" * 30)}}
        )
        self.journal.close()
        with self.journal.path.open("ab") as file:
            file.write(line[: min(cut, len(line) - 2)])
        self.journal = again(self.folder)
        assert len(self.journal.notes) == 1
        assert "cut off" in self.journal.notes[0]

    @rule()
    def rewrite(self) -> None:
        self.journal._limit = 0

    @precondition(lambda self: self.journal.path.exists())
    @rule()
    def delete_the_file(self) -> None:
        self.journal.path.unlink()
        self.edit(["y"], 1000 + self.version)
        assert self.journal.path.exists()

    @invariant()
    def it_holds_the_last_state(self) -> None:
        if hasattr(self, "journal"):
            assert self.journal.records == self.states[-1]
            assert self.journal.version == self.version
            assert len(self.journal.done) == len(self.states) - 1
            assert len(self.journal.undone) == len(self.taken_back)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.journal.close()
            shutil.rmtree(self.folder)


TestJournalStates = pytest.mark.slow(JournalMachine.TestCase)
TestJournalStates.settings = settings(
    max_examples=int(os.environ.get("GEORESET_STATES", "20")),  # 500 for the figure in the note
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
def test_ten_killed_kernels_lose_no_acknowledged_label(tmp_path):
    tally = kill_labels.run(10, tmp_path, seed=1, live_s=0.5)
    assert tally.acknowledged > 20
    assert (tally.lost, tally.wrong) == (0, 0)


def test_a_change_is_on_the_disk_before_the_call_returns(tmp_path, monkeypatch):
    journal = filled(tmp_path)
    synced: list[int] = []
    sync = os.fsync

    def watched(handle: int) -> None:
        sync(handle)
        synced.append(os.fstat(handle).st_size)

    monkeypatch.setattr(os, "fsync", watched)
    for do in (lambda: journal.edit("x", {"x": record(1)}), journal.undo, journal.redo):
        synced.clear()
        do()
        assert synced == [journal.path.stat().st_size]


def test_a_torn_last_line_is_dropped_and_told_wherever_it_was_cut(tmp_path):
    journal = filled(tmp_path, 4)
    before, whole = copy.deepcopy(journal.records), journal.path.read_bytes()
    journal.edit("the last", {"last": record(9)})
    journal.close()
    line = journal.path.read_bytes()[len(whole) :]
    for cut in range(1, len(line) - 1, 7):
        journal.path.write_bytes(whole + line[:cut])
        found = again(tmp_path)
        assert found.records == before
        assert found.version == 4
        assert "cut off" in found.notes[0]
        assert [s.title for s in found.done] == [f"step {i}" for i in range(4)]
        found.close()
        clean = again(tmp_path)
        assert clean.notes == []
        clean.close()


def test_a_line_that_only_lacks_its_end_is_kept(tmp_path):
    journal = filled(tmp_path, 3)
    journal.close()
    journal.path.write_bytes(journal.path.read_bytes()[:-1])
    found = again(tmp_path)
    assert (found.version, found.notes) == (3, [])
    found.edit("more", {"k9": record(9)})
    found.close()
    assert again(tmp_path).version == 4


def test_every_flipped_bit_is_told_and_costs_one_line_at_most(tmp_path):
    journal = filled(tmp_path / "a", 12)
    journal.undo()
    journal.close()
    good, expected = journal.path.read_bytes(), journal.records
    rng = random.Random(0)
    for i in range(60):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / "a.jsonl").write_bytes(bad)
        found = again(folder)
        if "damaged" in " ".join(found.notes):
            kept = list(folder.glob("a.damaged-*"))
            assert [k.read_bytes() for k in kept] == [bytes(bad)]
            assert len(set(expected) - set(found.records)) <= 2  # a flipped line end spoils two lines
        else:  # the last line only: its end was flipped, so that it looks torn
            assert "cut off" in " ".join(found.notes)
        found.close()


def test_a_lost_line_is_told(tmp_path):
    journal = filled(tmp_path, 5)
    journal.close()
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join(lines[:3] + lines[4:]))
    found = again(tmp_path)
    assert "1 changes and 0 records are missing" in found.notes[0]
    assert set(found.records) == {"k0", "k1", "k3", "k4"}


def test_a_rewritten_journal_is_shorter_and_can_still_be_undone(tmp_path, monkeypatch):
    monkeypatch.setattr(label_journal, "KEPT_STEPS", 20)
    journal = filled(tmp_path, 3)
    for i in range(1, 61):
        journal.edit("move", {"k0": record(i)})
    journal.undo()
    journal.undo()
    size, version, records = journal.path.stat().st_size, journal.version, dict(journal.records)
    journal._rewrite()
    assert journal.path.stat().st_size < size
    journal.close()
    found = again(tmp_path)
    assert (found.version, found.records, len(found.undone)) == (version, records, 2)
    assert len(found.done) == label_journal.KEPT_STEPS
    found.redo()
    found.redo()
    assert found.records["k0"] == record(60)
    while found.undo() is not None:
        pass
    assert found.records["k0"] == record(58 - label_journal.KEPT_STEPS)


def test_a_journal_rewrites_itself_when_it_has_grown(tmp_path, monkeypatch):
    monkeypatch.setattr(label_journal, "COMPACT_BYTES", 2_000)
    monkeypatch.setattr(label_journal, "KEPT_STEPS", 3)
    journal = filled(tmp_path, 1)
    sizes = []
    for i in range(1, 101):
        journal.edit("move", {"k0": record(i)})
        sizes.append(journal.path.stat().st_size)
    assert max(sizes) < 4_000
    assert len(journal.done) == 101  # the running kernel forgets nothing


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits")
def test_a_full_disk_refuses_the_change_and_spoils_nothing(tmp_path):
    import resource

    journal = filled(tmp_path, 3)
    good, records = journal.path.read_bytes(), dict(journal.records)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) + 20, hard))
    try:
        with pytest.raises(StoreError, match=r"'too much' could not be saved to .*a\.jsonl and was not made"):
            journal.edit("too much", {"big": record(1)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert journal.path.read_bytes() == good
    assert (journal.records, journal.version) == (records, 3)
    journal.edit("now it fits", {"big": record(1)})
    journal.close()
    found = again(tmp_path)
    assert (found.notes, found.records["big"]) == ([], record(1))


def test_a_second_kernel_works_on_a_copy_and_says_so(tmp_path):
    first = filled(tmp_path, 2)
    second = again(tmp_path)
    assert second.records == first.records
    assert f"open in another kernel (process {os.getpid()}). This is a copy" in second.notes[0]
    assert not second.path.exists()  # nothing to keep yet
    second.edit("mine", {"mine": record(1)})
    first.edit("theirs", {"theirs": record(2)})
    third = again(tmp_path)
    assert len({first.path, second.path, third.path}) == 3
    assert "mine" not in third.records
    third.close()
    second.close()
    restarted = again(tmp_path)  # while the first lives, the second finds its own changes again
    assert restarted.path == second.path
    assert set(restarted.records) == {"k0", "k1", "mine"}
    restarted.close()
    first.close()
    alone = again(tmp_path)
    assert alone.path == first.path
    assert set(alone.records) == {"k0", "k1", "theirs"}
    assert second.path.name in alone.notes[0]
    alone.close()
    assert set(again(tmp_path, second.path.stem).records) == {"k0", "k1", "mine"}


def test_nothing_is_written_before_the_first_change(tmp_path):
    Journal(tmp_path, "a").close()
    assert not list(tmp_path.glob("*.jsonl"))


def test_a_closed_journal_takes_no_change(tmp_path):
    journal = filled(tmp_path)
    journal.close()
    with pytest.raises(StoreError, match=r"was closed\. Open it again"):
        journal.edit("x", {"x": record(1)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"label;x;y\nwater;1;2\n", "is not a journal of labels"),
        (b"\x00" * 500, "is not a journal of labels"),
        (label_journal._encode({"n": 0, "do": "start", "format": "georeset-labels", "version": 9}), "version 9; this"),
        (label_journal._encode({"n": 0, "do": "start", "format": "other", "version": 1}), "is of format 'other'"),
    ],
)
def test_what_is_no_journal_of_ours_is_refused_and_left_alone(tmp_path, content, message):
    (tmp_path / "a.jsonl").write_bytes(content)
    for _ in range(2):  # the lock is given back
        with pytest.raises(StoreError, match=message):
            Journal(tmp_path, "a")
    assert (tmp_path / "a.jsonl").read_bytes() == content


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Choose another folder with folder="):
        Journal(tmp_path / "file" / "labels", "a")
