from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from georeset_lab.dashboard.encodings import Encodings, Stopped, needed_bytes
from georeset_lab.dashboard.sources import Source
from georeset_lab.data.simulate import simulate_scene
from georeset_lab.errors import SceneReadError
from tests.dashboard.conftest import planted

LARGE = 1 << 40


def hear(*_):
    """Listen to nothing."""


def test_two_pages_read_the_same_arrays_and_neither_can_write_them():
    encodings, source = Encodings(LARGE), Source("a", planted(1))
    one, two = encodings.lease(source, hear), encodings.lease(source, hear)
    assert one.emb is two.emb
    with pytest.raises(ValueError, match="read-only"):
        one.emb.experts["s2"].eta[0, 0, 0] = 1
    assert one.emb.only("s1") is two.emb.only("s1"), "a choice of modalities is fused once"


def test_shared_embeddings_say_the_same_as_the_plain_ones():
    plain = planted(1)
    shared = Encodings(LARGE).lease(Source("a", planted(1)), hear).emb
    np.testing.assert_array_equal(shared.mean.values, plain.mean.values)
    np.testing.assert_array_equal(shared.without("s2").variance.values, plain.without("s2").variance.values)
    assert shared.attrs == plain.attrs


def test_a_scene_is_encoded_once_for_two_who_ask_at_the_same_time(monkeypatch):
    scene = simulate_scene(seed=0, size=(24, 24), modalities=("s2",), dates=1)
    calls = []

    def slow(self, scene, tell):
        calls.append(scene)
        for i in range(5):
            tell(i / 5)
            time.sleep(0.05)
        return planted(1)

    monkeypatch.setattr(Encodings, "_encode", slow)
    encodings, source = Encodings(LARGE), Source("a", scene)
    heard: list[list] = [[], []]
    leases = []
    threads = [
        threading.Thread(target=lambda h=h: leases.append(encodings.lease(source, lambda *what: h.append(what))))
        for h in heard
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(calls) == 1
    assert leases[0].emb is leases[1].emb
    for h in heard:
        assert ("Encoding", 0.8) in h, "both hear how far it is"


def test_encoding_stops_when_nobody_waits_any_more_and_starts_anew_later(monkeypatch):
    far = []

    def slow(self, scene, tell):
        for i in range(100):
            tell(i / 100)
            far.append(i)
        return planted(1)

    monkeypatch.setattr(Encodings, "_encode", slow)
    encodings, source = (
        Encodings(LARGE),
        Source("a", simulate_scene(seed=0, size=(24, 24), modalities=("s2",), dates=1)),
    )

    def leave(_what, share):
        if share is not None and share > 0.05:
            raise Stopped

    with pytest.raises(Stopped):
        encodings.lease(source, leave)
    assert len(far) < 10
    assert encodings.used_bytes == 0
    assert encodings.lease(source, hear).emb.shape == planted(1).shape


def test_memory_never_exceeds_the_limit_and_what_nobody_reads_makes_room():
    sources = [Source(f"s{i}", planted(i), key=str(i)) for i in range(4)]
    each = needed_bytes(None, planted(0))
    encodings = Encodings(int(2.5 * each))
    first, second = (encodings.lease(s, hear) for s in sources[:2])
    with pytest.raises(SceneReadError, match=r"s2 needs about 0\.5 MB.*--memory"):
        encodings.lease(sources[2], hear)
    assert encodings.used_bytes == 2 * each
    first.release()
    first.release()
    third = encodings.lease(sources[2], hear)
    assert encodings.used_bytes == 2 * each
    assert third.emb.shape == second.emb.shape
    assert encodings.lease(sources[1], hear).emb is second.emb, "what is in use was kept"


def test_the_estimate_is_what_the_arrays_take():
    emb = planted(1, (100, 100))
    arrays = sum(e.eta.nbytes + e.tau.nbytes for e in emb.experts.values())
    fused = sum(a.nbytes for a in emb.vectors()[:2])
    assert needed_bytes(None, emb) == arrays + 2 * fused, "all modalities, and one choice of the two"


def test_what_load_scene_refuses_is_raised_and_leaves_nothing(tmp_path):
    (tmp_path / "x.tif").write_bytes(b"no tif")
    encodings = Encodings(LARGE)
    with pytest.raises(SceneReadError, match=r"x\.tif"):
        encodings.lease(Source("x", tmp_path / "x.tif"), hear)
    assert encodings.used_bytes == 0


@pytest.mark.slow
def test_a_scene_is_encoded_by_the_default_model():
    scene = simulate_scene(seed=0, size=(48, 48), modalities=("s2", "s1"), dates=1)
    lease = Encodings(LARGE).lease(Source("a", scene), hear)
    assert lease.emb.shape == (48, 48)
    assert lease.emb.modalities == ("s2", "s1")
    assert lease.scene is scene
