"""What a browser finds again after a reload: a folder of labels, reached by a key that only that browser has.

The key is 256 random bits, kept in the browser's storage. The folder's name is a hash of it, so neither a client's
string nor a listing of the folders leads to another's labels. A folder belongs to one open page: the page that names its
key last has it, and the one before is closed. (`browser.js` sees to it that a second tab does not name the key of the
first.)
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from georeset_lab.errors import StoreError
from georeset_lab.files import write_atomic

__all__ = ["Owner", "Workspace", "Workspaces", "default_folder"]

KEPT_DAYS = 90
"""Folders that nobody opened for so long are removed when the server starts."""

_CARD = "workspace.json"


class Owner(Protocol):
    """An open page that works in a workspace."""

    def close(self) -> None:
        """Let go of everything, at once."""

    def hand_over(self) -> None:
        """The same, because another page takes the workspace."""


@dataclass(eq=False)
class Workspace:
    """Folder of one page, and what it had open."""

    key: str
    """What the browser keeps."""
    folder: Path
    """Labels and the card; stays on the disk."""
    restored: bool
    """Whether the browser came back to it, rather than being given a new one."""
    uploads: Path
    """Files that were uploaded; removed when the page is closed for good."""
    card: dict[str, Any] = field(default_factory=dict)
    """Small facts to restore, such as the scene that was open."""
    luggage: dict[str, Any] = field(default_factory=dict)
    """What one page leaves to the next while the server lives: the uploads."""

    def remember(self, **facts: Any) -> None:
        """Keep facts for the next time; None forgets one."""
        self.card = {k: v for k, v in {**self.card, **facts}.items() if v is not None}
        with suppress(OSError):  # convenience, never worth an error
            write_atomic(self.folder / _CARD, json.dumps(self.card).encode())


class Workspaces:
    """All workspaces of a server.

    Parameters
    ----------
    root : Path
        Where their folders lie; made if missing, readable by this user alone.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.RLock()
        self._open: dict[str, tuple[Owner, Workspace]] = {}
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._uploads = Path(tempfile.mkdtemp(prefix="georeset-uploads-"))
            _forget_old(root)
        except OSError as err:
            raise StoreError(
                f"Sessions cannot be kept in {root}: {err}. Choose a folder with keep_in= (--keep-in)."
            ) from err

    def claim(self, key: str, owner: Owner, *, user: str = "") -> Workspace:
        """The workspace of a key, or a new one if there is none of that key.

        Parameters
        ----------
        key : str
            What the browser sent; anything at all.
        owner : Owner
            The page that asks. The page that had the workspace until now is closed.
        user : str
            Login name; the same key under another name is another workspace.
        """
        with self._lock:
            name = _folder_name(key, user)
            folder = self.root / name
            if not key or not folder.is_dir():
                key = secrets.token_urlsafe(32)
                name = _folder_name(key, user)
                (self.root / name).mkdir(mode=0o700)
                workspace = Workspace(key, self.root / name, False, self._new_uploads())
            elif name in self._open:
                former, workspace = self._open.pop(name)
                former.hand_over()
                workspace.restored = True
            else:
                os.utime(folder)
                workspace = Workspace(key, folder, True, self._new_uploads(), _read_card(folder))
            self._open[name] = (owner, workspace)
            return workspace

    def release(self, owner: Owner) -> bool:
        """End of a page: its uploads go, its labels stay. False if another page has taken the workspace over."""
        with self._lock:
            mine = [n for n, (o, _) in self._open.items() if o is owner]
            for name in mine:
                _, workspace = self._open.pop(name)
                shutil.rmtree(workspace.uploads, ignore_errors=True)
                with suppress(OSError):
                    workspace.folder.rmdir()  # fails unless nothing was ever done there
            return bool(mine)

    def close(self) -> None:
        """End of the server: all uploads go."""
        with self._lock:
            for owner in [o for o, _ in self._open.values()]:
                owner.close()
            self._open.clear()
            shutil.rmtree(self._uploads, ignore_errors=True)

    def _new_uploads(self) -> Path:
        folder = self._uploads / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        return folder


def default_folder() -> Path:
    """Where sessions are kept unless told otherwise: the user's folder for state that programs keep."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    else:
        base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "georeset" / "sessions"


def _folder_name(key: str, user: str) -> str:
    return hashlib.sha256(f"{user}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _CARD).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _forget_old(root: Path, now: Callable[[], float] = time.time) -> None:
    limit = now() - KEPT_DAYS * 86_400
    for folder in root.iterdir():
        if folder.is_dir() and len(folder.name) == 40 and _last_used(folder) < limit:
            shutil.rmtree(folder, ignore_errors=True)


def _last_used(folder: Path) -> float:
    times = [entry.stat().st_mtime for entry in (folder, *folder.iterdir())]
    return max(times)
