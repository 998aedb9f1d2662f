"""Labels that outlive the kernel: changes of a small table, each on the disk before the call that made it returns.

A `History` is a dictionary of JSON records whose changes can be undone; a `Journal` is one that is also a file. What the
records mean (classes and labels) is in ``book.py``.

The file is text, one change a line: the first 16 digits of the SHA-256 of the rest, a space, JSON. Every line carries
the new records themselves, so that what follows a damaged line can still be read.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from georeset_lab.embed.stores.manifest import fsync_path
from georeset_lab.errors import StoreError
from georeset_lab.files import sha256, write_atomic

__all__ = ["History", "Journal", "Record", "Step"]

FORMAT, VERSION = "georeset-labels", 1
COMPACT_BYTES = 1 << 20
"""A journal is rewritten, shorter, when it is larger than this and four times what it was after the last time."""
KEPT_STEPS = 200
KEPT_BYTES = 1 << 20
"""Of the changes that can be undone, so many are kept when a journal is rewritten. A running kernel keeps all of them."""
_RECORDS_PER_LINE = 20

Record = dict[str, Any]
"""What JSON can hold; never changed in place."""
Do = Literal["edit", "undo", "redo"]


@dataclass(frozen=True)
class Step:
    """One change: what users call it, and the records it touched before and after; None is no record."""

    title: str
    before: Mapping[str, Record | None]
    after: Mapping[str, Record | None]

    def inverse(self) -> Step:
        """The change that takes this one back."""
        return Step(self.title, self.after, self.before)


class History:
    """Records by key, with undo and redo without end. In memory only; see `Journal`."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.version = 0
        """Changes ever made, those taken back and the taking back included."""
        self.done: list[Step] = []
        self.undone: list[Step] = []

    def edit(self, title: str, after: Mapping[str, Record | None]) -> Step | None:
        """Set records (None removes one) as one step; None if that changes nothing."""
        changed = {key: record for key, record in after.items() if self.records.get(key) != record}
        return self._commit("edit", title, changed) if changed else None

    def undo(self) -> Step | None:
        """Take the last step back; None if there is none."""
        return self._commit("undo", self.done[-1].title, self.done[-1].before) if self.done else None

    def redo(self) -> Step | None:
        """Make the step again that was taken back last; None if there is none."""
        return self._commit("redo", self.undone[-1].title, self.undone[-1].after) if self.undone else None

    def close(self) -> None:
        """Let go of files."""

    def _commit(self, do: Do, title: str, after: Mapping[str, Record | None]) -> Step:
        return self._apply(do, self.version + 1, title, after)

    def _apply(self, do: str, n: int, title: str, after: Mapping[str, Record | None]) -> Step:
        step = Step(title, {key: self.records.get(key) for key in after}, after)
        _set(self.records, after)
        self.version = n
        # The lists can be shorter than what was undone: a rewritten journal forgets old steps.
        if do == "edit":
            self.done.append(step)
            self.undone.clear()
        elif do == "undo":
            self.undone.append(step.inverse())
            del self.done[-1:]
        elif do == "redo":
            self.done.append(step)
            del self.undone[-1:]
        return step


class Journal(History):
    """A history that lies in a file and is locked against other kernels.

    Parameters
    ----------
    folder : Path
        Made if it is missing. Nothing is written there before the first change, but a lock.
    stem : str
        Name of the file without its ending. If another kernel holds it, its labels are copied to
        ``<stem>~<that kernel>-<number>``, where this kernel's changes go; `notes` says so.

    Raises
    ------
    StoreError
        The folder cannot be written, or the file is not a journal of labels.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        super().__init__()
        self.notes: list[str] = []
        """What the user should be told: a change that was cut off, damage, a copy."""
        self._file: Any = None
        self._size = 0
        self._limit = COMPACT_BYTES
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._choose(folder, stem)
        except StoreError:
            raise
        except OSError as err:
            raise StoreError(
                f"Labels cannot be kept in {folder}: {err}. Choose another folder with folder=, or work without "
                "autosave in LabelBook() and export in time."
            ) from err

    def close(self) -> None:
        """Close the file and let other kernels have it; nothing is left to be written."""
        if self._file is not None:
            self._file.close()
        self._lock.release()
        self._file = None

    # -- writing ------------------------------------------------------------------------------------------------------

    def _commit(self, do: Do, title: str, after: Mapping[str, Record | None]) -> Step:
        if not self._lock.held:
            raise StoreError(f"{self.path} was closed. Open it again with LabelBook.open(folder, key).")
        line = _encode({"n": self.version + 1, "do": do, "title": title, "set": after})
        try:
            if self._file is None or not self._file_is_there():
                self._rewrite()
            elif self._size + len(line) > self._limit:
                self._limit *= 2
                with suppress(OSError):  # no space for a second copy; the line itself may still fit
                    self._rewrite()
            self._append(line)
        except OSError as err:
            raise StoreError(
                f"The change {title!r} could not be saved to {self.path} and was not made: {err}. Free some space, or "
                "export the labels elsewhere."
            ) from err
        self._size += len(line)
        return super()._commit(do, title, after)

    def _append(self, line: bytes) -> None:
        """Write at the end of what is known to be whole; after a failure nothing of the line is left."""
        self._file.seek(self._size)
        try:
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except BaseException:  # an interrupt from the keyboard too
            with suppress(OSError):
                self._file.truncate(self._size)
            raise

    def _rewrite(self) -> None:
        payload = b"".join(self._lines())
        write_atomic(self.path, payload)
        fsync_path(self.path.parent)  # else a power cut could bring the old file back, without the lines to come
        if self._file is not None:
            self._file.close()
        self._file, self._size = self.path.open("r+b", buffering=0), len(payload)
        self._limit = max(COMPACT_BYTES, 4 * self._size)

    def _file_is_there(self) -> bool:
        """False if somebody has deleted it: what is written to it then would vanish with the kernel."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def _lines(self) -> Iterator[bytes]:
        """The records and the latest steps as the lines of a new file."""
        done, undone = _latest(self.done), _latest(self.undone)[::-1]
        base = dict(self.records)
        for step in reversed(done):
            _set(base, step.before)
        # Steps that were taken back are written as made and taken back, so each of them counts twice.
        n = self.version - len(done) - 2 * len(undone)
        yield _encode({"n": n, "do": "start", "format": FORMAT, "version": VERSION, "records": len(base)})
        keys = list(base)
        for i in range(0, len(keys), _RECORDS_PER_LINE):
            some = {key: base[key] for key in keys[i : i + _RECORDS_PER_LINE]}
            yield _encode({"n": n, "do": "keep", "title": "", "set": some})
        moves: list[tuple[Do, str, Mapping[str, Record | None]]] = [("edit", s.title, s.after) for s in done + undone]
        moves += [("undo", s.title, s.before) for s in reversed(undone)]
        for i, (do, title, after) in enumerate(moves, n + 1):
            yield _encode({"n": i, "do": do, "title": title, "set": after})

    # -- reading ------------------------------------------------------------------------------------------------------

    def _choose(self, folder: Path, stem: str) -> None:
        """Take and read the journal that this kernel may write; a copy if another kernel has it."""
        self.path, self._lock = folder / f"{stem}.jsonl", _Lock(folder / f"{stem}.lock")
        original = self.path
        if self._lock.acquire():
            self._read(original)
            if not self._lock.supported:
                self.notes.append(f"{folder} cannot lock files: open these labels in one kernel at a time.")
            for copy in sorted(folder.glob(f"{stem}~*.jsonl")):
                self.notes.append(
                    f"Another kernel left changes of its own in {copy.name}. To add them to these labels: "
                    f"book.add_labels(LabelBook.open({str(folder)!r}, {copy.stem!r}).labels())."
                )
            return
        owner, number = self._lock.owner(), 0
        while not self._lock.held:
            number += 1
            # Named after the kernel that has the original: while that lives, a restart finds its own copy again.
            self.path = folder / f"{stem}~{owner.get('token', 'unknown')}-{number}.jsonl"
            self._lock = _Lock(self.path.with_suffix(".lock"))
            self._lock.acquire()
        if self.path.exists():
            self._read(self.path)
        else:
            self._replay(original)
        self.notes.append(
            f"The labels in {original.name} are open in another kernel (process {owner.get('pid', 'unknown')}). This is "
            f"a copy; changes go to {self.path.name}. Close the other notebook and restart this kernel to work on the original."
        )

    def _read(self, path: Path) -> None:
        """Replay a file, mend it if it needs that, and get ready to append."""
        payload, torn, damage = self._replay(path)
        if torn:
            self.notes.append("The last change was cut off when the kernel stopped, before it was acknowledged.")
        if damage:
            kept = path.with_name(f"{path.stem}.damaged-{sha256(payload)[:8]}")
            write_atomic(kept, payload)
            self.notes.append(f"{path.name} was damaged: {damage}. The rest is here; the file is kept as {kept.name}.")
        if torn or damage or not payload.endswith(b"\n"):
            if payload:
                self._rewrite()
        else:
            self._file, self._size = path.open("r+b", buffering=0), len(payload)
            self._limit = max(COMPACT_BYTES, 4 * self._size)

    def _replay(self, path: Path) -> tuple[bytes, bool, str]:
        """Do again what the file says: its content, whether its last line is torn, and what is wrong with the rest."""
        payload = path.read_bytes() if path.exists() else b""
        bad, missing, expected = [], 0, 0
        pieces = payload.split(b"\n")
        for number, piece in enumerate(pieces):
            entry = _decode(piece)
            if entry is None:
                if piece:
                    bad.append(number)
            elif entry["do"] == "start":
                _check_format(path, entry)
                self.version, expected = entry["n"], int(entry.get("records", 0))
            elif entry["do"] == "keep":
                _set(self.records, entry["set"])
                expected -= len(entry["set"])
            else:
                missing += max(entry["n"] - self.version - 1, 0)
                self._apply(entry["do"], entry["n"], entry["title"], entry["set"])
        if payload and len(bad) == sum(map(bool, pieces)):
            raise StoreError(f"{path} is not a journal of labels. Move it away, or choose another folder with folder=.")
        torn = bool(bad) and bad[-1] == len(pieces) - 1
        if len(bad) == torn and not missing and expected <= 0:
            return payload, torn, ""
        lost = f"{len(bad) - torn} lines cannot be read; {missing} changes and {max(expected, 0)} records are missing"
        return payload, torn, lost


class _Lock:
    """A lock that the system takes away when its process dies, with a note of whose it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.supported = True
        self._file: Any = None

    @property
    def held(self) -> bool:
        return self._file is not None

    def acquire(self) -> bool:
        file = self.path.open("a+b", buffering=0)
        try:
            if not _try_lock(file.fileno()):
                file.close()
                return False
        except OSError:  # network file systems
            self.supported = False
        self._file = file
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "token": uuid.uuid4().hex[:8]}).encode())
        return True

    def owner(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_bytes())
            return {"pid": int(found["pid"]), "token": f"{int(found['token'], 16):08x}"}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


def _try_lock(handle: int) -> bool:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, 1 << 30, os.SEEK_SET)  # Windows forbids others to read what is locked
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _set(records: dict[str, Record], after: Mapping[str, Record | None]) -> None:
    for key, record in after.items():
        if record is None:
            records.pop(key, None)
        else:
            records[key] = record


def _latest(steps: list[Step]) -> list[Step]:
    """The last steps, in order, as many as a rewritten journal keeps."""
    size, kept = 0, 0
    for step in reversed(steps[-KEPT_STEPS:]):
        size += len(json.dumps([step.before, step.after]))
        if size > KEPT_BYTES:
            break
        kept += 1
    return steps[len(steps) - kept :]


def _encode(entry: Mapping[str, Any]) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode()
    return sha256(text)[:16].encode() + b" " + text + b"\n"


def _check_format(path: Path, entry: Mapping[str, Any]) -> None:
    if entry.get("format") != FORMAT or entry.get("version") != VERSION:
        raise StoreError(
            f"{path} is of format {entry.get('format')!r} version {entry.get('version')!r}; this package reads "
            f"{FORMAT!r} version {VERSION}. Install the version of georeset-lab that wrote it."
        )


def _decode(line: bytes) -> dict[str, Any] | None:
    """The entry of a line; None if it is torn, damaged or none of ours."""
    digest, _, text = line.partition(b" ")
    if sha256(text)[:16].encode() != digest:
        return None
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or type(entry.get("n")) is not int:
        return None
    if entry.get("do") == "start":
        return entry
    records = entry.get("set")
    known = entry.get("do") in ("keep", "edit", "undo", "redo") and isinstance(entry.get("title"), str)
    if not known or not isinstance(records, dict):
        return None
    return entry if all(record is None or isinstance(record, dict) for record in records.values()) else None
