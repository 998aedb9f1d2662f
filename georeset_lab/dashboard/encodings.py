"""Encodings that all pages share: made once, read by many, written by nobody, never above a stated amount of memory.

Labels are not here: they belong to one page each (``workspaces.py``).
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.dashboard.sources import Source
from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.fused import FUSE_IN_MEMORY_BYTES
from georeset_lab.errors import GeoresetWarning, SceneReadError

if TYPE_CHECKING:
    from georeset_lab.data.scene import Scene

__all__ = ["Encodings", "Lease", "SharedEmbeddings", "Stopped", "Tell"]

Tell = Callable[[str, float | None], None]
"""Hears what is being done, and the share of it that is done, 0..1; None where nobody knows. May raise `Stopped`."""

_CHOICES = 2
"""Choices of modalities whose fusion is kept, beside that of all."""


class Stopped(Exception):
    """Nobody waits for this encoding any more."""


class SharedEmbeddings(Embeddings):
    """Embeddings that several pages read at once: the same choice of modalities is fused once for all of them."""

    def __init__(self, emb: Embeddings) -> None:
        super().__init__(emb.experts, emb.grid, attrs=emb.attrs, scene=emb.scene)
        plain = super().only
        self._only = lru_cache(maxsize=_CHOICES)(lambda names: plain(*names))
        for expert in emb.experts.values():
            for array in (expert.eta, expert.tau):
                if isinstance(array, np.ndarray):
                    array.flags.writeable = False

    def only(self, *names: str) -> Embeddings:
        """As `Embeddings.only`; the latest choices are kept."""
        return self._only(names)


@dataclass(eq=False)
class _Entry:
    title: str
    nbytes: int = 0
    scene: Scene | None = None
    emb: SharedEmbeddings | None = None
    notes: tuple[str, ...] = ()
    users: int = 0
    last_used: float = 0.0
    building: threading.Lock = field(default_factory=threading.Lock)
    listeners: list[Tell] = field(default_factory=list)

    def tell(self, what: str, share: float | None) -> None:
        """Tell all who wait; `Stopped` if none does any more."""
        for listener in list(self.listeners):
            try:
                listener(what, share)
            except Stopped:
                self.listeners.remove(listener)
        if not self.listeners:
            raise Stopped


@dataclass(eq=False)
class Lease:
    """The right to read an encoding, until `release`; it is kept in memory for so long."""

    scene: Scene | None
    emb: SharedEmbeddings
    release: Callable[[], None]
    notes: tuple[str, ...] = ()
    """What its reader should know: units that were told from the numbers, say."""


class Encodings:
    """Encodings by source.

    Parameters
    ----------
    limit_bytes : int
        Scenes and embeddings together, fused maps included. What nobody reads is dropped, the longest unused first.
    model : str
        Encoder.
    """

    def __init__(self, limit_bytes: int, *, model: str = "default") -> None:
        self.limit_bytes = limit_bytes
        self._model = model
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        # One at a time: encoding takes all cores, and two at once would only both be late.
        self._encoder = threading.Lock()
        self._reader = threading.Lock()  # warnings are caught for the whole process

    @property
    def used_bytes(self) -> int:
        """Memory that is taken or promised now."""
        with self._lock:
            return sum(e.nbytes for e in self._entries.values())

    def lease(self, source: Source, tell: Tell) -> Lease:
        """The encoding of a source; made now if need be. Blocks: call it in a thread.

        Raises
        ------
        SceneReadError
            It does not fit beside those in use, or cannot be read.
        GeoresetError
            Whatever `load_scene` and `encode` refuse.
        """
        with self._lock:
            entry = self._entries.setdefault(source.key, _Entry(source.title))
            entry.users += 1
            entry.listeners.append(tell)
        try:
            if entry.building.locked():
                tell("Waiting: somebody else has just opened this scene", None)
            with entry.building:
                if entry.emb is None:
                    self._build(source, entry)
        except BaseException:
            self._release(source.key, entry)
            raise
        finally:
            with suppress(ValueError):
                entry.listeners.remove(tell)
        assert entry.emb is not None
        released = threading.Event()

        def release() -> None:
            if not released.is_set():
                released.set()
                self._release(source.key, entry)

        return Lease(entry.scene, entry.emb, release, entry.notes)

    def forget(self, key: str) -> None:
        """Drop the encoding of a source that will not be asked for again, once nobody reads it."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.users == 0:
                del self._entries[key]

    def _build(self, source: Source, entry: _Entry) -> None:
        entry.tell("Reading", None)
        scene, emb, entry.notes = self._read(source)
        scene = scene if scene is not None else getattr(emb, "scene", None)
        self._reserve(entry, needed_bytes(scene, emb))
        if emb is None:
            if self._encoder.locked():
                entry.tell("Waiting: another scene is being encoded", None)
            with self._encoder:
                entry.tell("Encoding", None)
                emb = self._encode(scene, lambda share: entry.tell("Encoding", share))
        entry.tell("Preparing the map", None)
        entry.scene, shared = scene, SharedEmbeddings(_in_memory(emb))
        if shared.fits_memory:
            shared.vectors()  # else the first click of every page would fuse the map, each for itself
        entry.emb = shared

    def _read(self, source: Source) -> tuple[Any, Any, tuple[str, ...]]:
        """Scene, embeddings, and what the readers warned of, which is for the page and not for the server's log."""
        with self._reader, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", GeoresetWarning)
            scene, emb = source.open()
        notes = [str(w.message) for w in caught if issubclass(w.category, GeoresetWarning)]
        return scene, emb, tuple(dict.fromkeys(notes))

    def _encode(self, scene: Any, tell: Callable[[float], None]) -> Embeddings:
        from georeset_lab.embed.encode import encode

        listener: Any = tell
        return encode(scene, model=self._model, progress=listener)

    def _reserve(self, entry: _Entry, nbytes: int) -> None:
        """Promise memory to an entry, dropping others that nobody reads."""
        with self._lock:
            taken = sum(e.nbytes for e in self._entries.values())
            idle = sorted((e.last_used, k) for k, e in self._entries.items() if e.users == 0)
            while taken + nbytes > self.limit_bytes and idle:
                taken -= self._entries.pop(idle.pop(0)[1]).nbytes
            if taken + nbytes > self.limit_bytes:
                raise SceneReadError(
                    f"{entry.title} needs about {nbytes / 1e6:,.1f} MB. The server may use {self.limit_bytes / 1e6:,.1f} MB "
                    f"for scenes, of which {taken / 1e6:,.1f} MB are in use. Try again when others have finished, or start "
                    "it with a larger memory_mb= (--memory)."
                )
            entry.nbytes = nbytes

    def _release(self, key: str, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            entry.last_used = time.monotonic()
            if entry.users == 0 and entry.emb is None and self._entries.get(key) is entry:
                del self._entries[key]


def needed_bytes(scene: Scene | None, emb: Embeddings | None) -> int:
    """Largest memory that a source takes: its pixels, its experts, and the fused maps that are kept."""
    pixels_of_scene = 0
    if scene is not None:
        pixels_of_scene = sum(
            int(m.raw.size) * m.raw.dtype.itemsize for m in scene.modalities.values() if not m.is_lazy
        )
    if emb is not None:
        (height, width), n, dim = emb.shape, len(emb.modalities), emb.dim
        experts = sum(e.nbytes for e in emb.experts.values()) if emb.in_memory else height * width * dim * n * 4
    elif scene is not None:
        from georeset_lab.embed.encoding.tiles import output_grid

        grid, _ = output_grid([m.grid for m in scene.modalities.values()])
        (height, width), n, dim = tuple(grid.shape), len(scene), _LATENT_DIM
        experts = height * width * dim * n * 4  # eta and tau as float16
    fused = height * width * dim * 8
    kept = fused * (1 + min(_CHOICES, n - 1)) if fused <= FUSE_IN_MEMORY_BYTES else 0
    return pixels_of_scene + experts + kept


def _in_memory(emb: Embeddings) -> Embeddings:
    """Embeddings of a store, read whole if their fused map would be held anyway."""
    return emb.astype("float16") if emb.fits_memory and not emb.in_memory else emb


_LATENT_DIM = 64
"""Of all models so far (design.md section 2); only for the estimate."""
