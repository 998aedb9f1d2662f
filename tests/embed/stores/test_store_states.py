"""The store under any order of writing, interruption and damage: what it holds is always what was written last."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from odc.geo.geobox import GeoBox

from georeset_lab.embed.embeddings import open_embeddings
from georeset_lab.embed.stores.store import TileStore
from georeset_lab.errors import StoreError

GRID = GeoBox((5, 7), Affine(10, 0, 500_000, 0, -10, 4_100_000), "EPSG:32618")
TILE = (2, 3)


class StoreMachine(RuleBasedStateMachine):
    """One store from its first tile to its end, with a model of which tiles it must still hold."""

    @initialize(dtype=st.sampled_from(["float32", "float16", "int8"]), fused=st.booleans())
    def begin(self, dtype: str, fused: bool) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path, self.dtype, self.with_fused = self.folder / "e.zarr", dtype, fused
        self.store = self.opened()
        self.expected = np.full((*GRID.shape, 1), np.nan, np.float32)
        self.held: set[tuple[int, int]] = set()
        self.last: tuple[int, int] | None = None
        self.finished = False

    def opened(self) -> TileStore:
        return TileStore.create_or_resume(
            self.path, GRID, ("s2",), 1, self.dtype, TILE, {"seed": 1}, fused=self.with_fused
        )

    @precondition(lambda self: not self.finished)
    @rule(pick=st.integers(0, 99), value=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    def write(self, pick: int, value: float) -> None:
        tiles = list(self.store.layout.tiles())
        tile = tiles[pick % len(tiles)]
        tau = np.full((tile[0].stop - tile[0].start, tile[1].stop - tile[1].start, 1), value, np.float32)
        self.store.write(tile, {"s2": (tau, tau)})
        self.expected[tile] = value / (1 + value)
        self.last = self.store.layout.index(tile)
        self.held.add(self.last)

    @precondition(lambda self: not self.finished)
    @rule()
    def interrupt(self) -> None:
        self.store = self.opened()

    @precondition(lambda self: not self.finished and self.last is not None)
    @rule(bytes_lost=st.integers(1, 40))
    def tear_the_last_line(self, bytes_lost: int) -> None:
        journal = self.store._journal.path
        journal.write_bytes(journal.read_bytes()[:-bytes_lost])
        self.store = self.opened()
        # An earlier line may still tell of the same tile: then its chunk must be what that line says, or be redone.
        pending = {self.store.layout.index(t) for t in self.store.pending()}
        assert pending - (self.all_tiles() - self.held) <= {self.last}
        self.held = self.all_tiles() - pending
        self.last = None

    @precondition(lambda self: not self.finished and self.held)
    @rule(pick=st.integers(0, 99))
    def lose_a_chunk(self, pick: int) -> None:
        index = sorted(self.held)[pick % len(self.held)]
        names = self.store.layout.chunk_names(index)
        (self.store._root / names[pick % len(names)]).unlink()
        self.held.discard(index)
        self.store = self.opened()

    @precondition(lambda self: not self.finished)
    @rule()
    def finish(self) -> None:
        if self.held != self.all_tiles():
            with pytest.raises(StoreError, match="still lacks"):
                self.store.finish()
            return
        found = self.store.finish()
        tolerance = 0.03 if self.dtype == "int8" else 1e-3
        np.testing.assert_allclose(found.mean.values[0], self.expected[..., 0], atol=tolerance)
        self.finished = True

    @precondition(lambda self: self.finished)
    @rule()
    def call_again(self) -> None:
        assert self.opened().pending() == []

    @invariant()
    def what_is_pending_is_what_is_not_held(self) -> None:
        if hasattr(self, "store") and not self.finished:
            assert {self.store.layout.index(t) for t in self.store.pending()} == self.all_tiles() - self.held
            with pytest.raises(StoreError, match="is not finished"):
                open_embeddings(self.path)

    def all_tiles(self) -> set[tuple[int, int]]:
        return {self.store.layout.index(t) for t in self.store.layout.tiles()}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


TestStoreStates = pytest.mark.slow(StoreMachine.TestCase)
TestStoreStates.settings = settings(
    max_examples=int(os.environ.get("GEORESET_STATES", "15")),  # 500 for the figure in the note
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
