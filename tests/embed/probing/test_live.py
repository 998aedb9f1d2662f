from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox

from georeset_lab.data.labels import LabelSet, read_labels
from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.embed.locate import lonlat_of
from georeset_lab.embed.probing import data as probe_data
from georeset_lab.embed.probing.data import LabelledVectors
from georeset_lab.embed.probing.fit import softmax
from georeset_lab.embed.probing.kernels import classify, warm_up
from georeset_lab.embed.probing.live import LiveProbe
from georeset_lab.embed.probing.solver import solve
from georeset_lab.errors import InvalidOption

SIDE, DIM, NAMES = 60, 6, ("lake", "town", "wood")


def grid_of(side: int = SIDE) -> GeoBox:
    box = (600_000, 5_700_000 - 10 * side, 600_000 + 10 * side, 5_700_000)
    return GeoBox.from_bbox(box, "EPSG:32719", resolution=10)


def planted(noise: float = 0.6, sensors: int = 1, seed: int = 0) -> tuple[Embeddings, np.ndarray]:
    """Blocks of 10 x 10 pixels of three classes; each sensor sees its share of the dimensions."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.permutation(np.arange(36) % 3).reshape(6, 6), np.ones((10, 10), int))
    mean = np.random.default_rng(1).normal(size=(3, DIM))[truth] + noise * rng.normal(size=(SIDE, SIDE, DIM))
    experts = {}
    for i in range(sensors):
        sees = (np.arange(DIM) * sensors) // DIM == i
        tau = np.where(sees, (9.0, 1.5)[i], 0.0) * np.ones_like(mean)
        experts[f"s{i}"] = Expert((tau * mean).astype("f4"), tau.astype("f4"))
    return Embeddings(experts, grid_of(), attrs={"model": "toy", "model_hash": "m1"}), truth


def clicks(truth: np.ndarray, n: int = 40, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    rows, cols = rng.integers(0, SIDE, (2, n))
    lon, lat = lonlat_of(grid_of(), rows, cols)
    label = np.array(NAMES)[truth[rows, cols]]
    return [{"lon": float(a), "lat": float(b), "label": str(c)} for a, b, c in zip(lon, lat, label, strict=True)]


@pytest.mark.parametrize(("n", "d", "k"), [(1, 3, 2), (511, 64, 5), (513, 7, 12), (2000, 64, 2), (700, 33, 1)])
def test_the_loop_agrees_with_softmax(n, d, k):
    rng = np.random.default_rng(n)
    x, w, b = (rng.normal(size=s).astype("f4") for s in ((n, d), (k, d), (k,)))
    observed = rng.random(n) > 0.1
    x[~observed] = np.nan
    label, confidence = np.full(n, 99, np.int16), np.zeros(n, np.float32)
    classify(x, observed, w, b, label, confidence)
    logits = x[observed].astype(float) @ w.T + b
    np.testing.assert_array_equal(label[observed], logits.argmax(axis=1))
    np.testing.assert_allclose(confidence[observed], softmax(logits).max(axis=1), rtol=2e-5)
    assert (label[~observed] == -1).all()
    assert np.isnan(confidence[~observed]).all()


def test_a_class_that_is_out_of_the_question_does_not_overflow():
    warm_up()
    one, label, confidence = np.ones((1, 1), np.float32), np.zeros(1, np.int16), np.zeros(1, np.float32)
    classify(one, np.ones(1, bool), np.array([[0], [1e30]], np.float32), np.zeros(2, np.float32), label, confidence)
    assert (label[0], confidence[0]) == (1, pytest.approx(1))


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize(("n", "d"), [(20, 64), (100, 64), (500, 64), (100, 192), (100, 768), (500, 768)])
def test_the_solver_is_as_good_as_scikit_learn(n, d, k):
    """performance.md P10: at most a point below C = 1; the loss is that of scikit-learn."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    centres = 0.25 * rng.normal(size=(k, d))

    def draw(m: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, k, m)
        y[:k] = np.arange(k)
        return centres[y] + rng.normal(size=(m, d)), y

    (x, y), (test, truth) = draw(n), draw(4000)
    theirs = LogisticRegression(C=1.0, max_iter=1000, tol=1e-6).fit(x, y)
    w = solve(x, y, n_classes=k, penalty=1.0)
    np.testing.assert_allclose(w.sum(axis=0), 0, atol=1e-9)
    guess = (test @ w[:, :-1].T + w[:, -1]).argmax(axis=1)
    assert (guess == truth).mean() >= theirs.score(test, truth) - 0.01
    ours, best = softmax(x @ w[:, :-1].T + w[:, -1]), theirs.predict_proba(x)
    assert np.abs(ours - best).mean() < 0.02


def test_a_fit_begun_where_the_last_one_ended_stays_there():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = np.eye(3, 8)[y] + rng.normal(size=(60, 8))
    w = solve(x, y, n_classes=3, penalty=0.1)
    np.testing.assert_allclose(solve(x, y, n_classes=3, penalty=0.1, start=w), w, atol=1e-3)
    far = solve(x, y, n_classes=3, penalty=0.1, start=5 * rng.normal(size=(3, 9)))
    np.testing.assert_allclose(softmax(x @ far[:, :-1].T), softmax(x @ w[:, :-1].T), atol=0.02)


def test_the_first_map_finds_the_planted_classes_and_says_how_sure():
    emb, truth = planted(noise=0.4)
    found = LiveProbe().fit(emb, clicks(truth))
    assert (np.array(found.attrs["classes"])[found["label"].values] == np.array(NAMES)[truth]).mean() > 0.85
    assert found.odc.geobox == emb.grid
    assert found["label"].dtype == np.int16
    right = np.array(found.attrs["classes"])[found["label"].values] == np.array(NAMES)[truth]
    confidence = found["confidence"].values
    assert confidence[right].mean() > confidence[~right].mean() + 0.1
    assert confidence.min() > 1 / 3


def test_every_click_counts_and_the_map_forgets_what_is_erased():
    emb, truth = planted()
    labels = clicks(truth)
    live = LiveProbe()
    few, many = live.fit(emb, labels[:12]), live.update(labels)
    again = live.update(labels[:12])
    assert (few["label"] != many["label"]).any()
    # From another start to the same place, but for the tolerance of the solver.
    np.testing.assert_allclose(again["confidence"], few["confidence"], atol=0.02)
    assert (again["label"] == few["label"]).mean() > 0.99
    assert live.update(read_labels(labels, emb.grid)).equals(live.update(read_labels(labels, emb.grid)))


def test_a_new_class_joins_and_a_gone_one_leaves():
    emb, truth = planted()
    labels = clicks(truth)
    live = LiveProbe()
    two = [c for c in labels if c["label"] != "town"]
    assert live.fit(emb, two).attrs["classes"] == ["lake", "wood"]
    three = live.update(labels)
    assert three.attrs["classes"] == list(NAMES)
    alone = LiveProbe().fit(emb, labels)
    assert (three["label"] == alone["label"]).mean() > 0.99
    assert live.update(two).attrs["classes"] == ["lake", "wood"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda labels: [], "list is empty"),
        (lambda labels: labels[:1], "All labels are"),
        (lambda labels: {"type": "FeatureCollection", "features": []}, "label"),
        (lambda labels: [c | {"lat": c["lat"] + 3} for c in labels], "touch the scene"),
    ],
)
def test_labels_that_make_no_map_give_a_reason_and_no_exception(change, reason):
    emb, truth = planted()
    labels = clicks(truth)
    live = LiveProbe()
    live.fit(emb, labels)
    assert live.update(change(labels)) is None
    assert reason in live.reason
    assert live.uncertainty() is None
    assert live.refit() is None
    assert live.probe() is None
    assert live.update(labels) is not None
    assert live.reason == ""


def test_nothing_observed_is_a_reason_too():
    emb, truth = planted()
    none = np.zeros((SIDE, SIDE, DIM), np.float32)
    live = LiveProbe()
    assert live.fit(Embeddings({"s0": Expert(none, none)}, grid_of()), clicks(truth)) is None
    assert "was observed" in live.reason
    hidden = emb.experts["s0"].tau.copy()
    hidden[:20] = 0
    found = live.fit(Embeddings({"s0": Expert(emb.experts["s0"].eta * (hidden > 0), hidden)}, grid_of()), clicks(truth))
    assert (found["label"].values[:20] == -1).all()
    assert found["confidence"][:20].isnull().all()
    assert any("not observed and are left out" in note for note in live.notes)


def test_a_map_comes_before_its_labels():
    with pytest.raises(InvalidOption, match=r"Call live\.fit\(emb, labels\) first"):
        LiveProbe().update([])


def test_the_second_answer_is_that_of_the_probe_and_of_the_same_classes():
    emb, truth = planted(noise=1.0)
    live = LiveProbe()
    first = live.fit(emb, clicks(truth, 60))
    full = live.uncertainty()
    assert (full["label"] == first["label"]).mean() > 0.999
    assert "prediction_set" not in full
    assert "they follow when penalty" in full.attrs["sets"]
    whole = live.probe().predict(emb)
    assert set(whole) - set(full) == {"input_uncertainty", "weight_uncertainty"}
    xr.testing.assert_equal(full, whole[list(full)])
    parts = sum(full[f"doubt_{part}"] for part in ("sensor", "labels", "overlap"))
    np.testing.assert_allclose(parts, 1 - full["confidence"], atol=1e-5)
    assert full["unlike"].values.mean() < 0.2


def test_refitting_chooses_what_held_out_places_choose():
    from georeset_lab.embed.probe import fit_probe

    emb, truth = planted(noise=1.0)
    labels, live = clicks(truth, 90), LiveProbe()
    before = live.fit(emb, labels)
    settings = live.refit()
    slow = fit_probe(emb, labels)
    assert settings.penalty == slow.penalty_
    assert settings.temperature == pytest.approx(slow.temperature_)
    np.testing.assert_allclose(settings.sets.limits, slow.sets_.limits)
    after, full = live.update(labels), live.uncertainty()
    assert (after["confidence"] != before["confidence"]).any()
    expected = slow.predict(emb)
    assert (full["label"] == expected["label"]).mean() > 0.99
    np.testing.assert_allclose(full["probability"], expected["probability"], atol=0.05)
    assert (full["prediction_set"] == expected["prediction_set"]).mean() > 0.97
    assert (full["unlike"] == expected["unlike"]).all()


def test_sets_wait_for_the_next_refit_after_a_new_class():
    emb, truth = planted()
    labels = clicks(truth, 90)
    live = LiveProbe()
    live.fit(emb, [c for c in labels if c["label"] != "town"])
    live.refit()
    live.update(labels)
    full = live.uncertainty()
    assert "prediction_set" not in full
    assert "they follow" in full.attrs["sets"]
    live.refit()
    live.update(labels)
    assert "prediction_set" in live.uncertainty()


def test_what_was_chosen_counts_from_the_next_map_and_for_its_sensors_only():
    emb, truth = planted(noise=0.4, sensors=2)
    labels, live = clicks(truth, 90), LiveProbe()
    live.fit(emb, labels)
    before = live.uncertainty()
    live.refit()
    xr.testing.assert_identical(live.uncertainty(), before)  # old weights never meet new limits
    live.update(labels)
    assert "prediction_set" in live.uncertainty()
    chosen = live.settings.penalty
    live.fit(emb.only("s0"), labels)
    assert "prediction_set" not in live.uncertainty()
    assert live.settings.penalty == chosen


def test_a_saved_live_probe_says_the_same(tmp_path):
    from georeset_lab.embed.probe import Probe

    emb, truth = planted()
    live = LiveProbe()
    live.fit(emb, clicks(truth, 90))
    live.refit()
    live.update(clicks(truth, 90))
    loaded = Probe.load(live.probe().save(tmp_path / "probe"))
    xr.testing.assert_identical(loaded.predict(emb), live.probe().predict(emb))


def test_unknown_variances_are_no_obstacle():
    emb, truth = planted()
    mean, _, observed = emb._fused
    emb.__dict__["_fused"] = (mean, np.full_like(mean, np.nan), observed)
    live = LiveProbe()
    assert live.fit(emb, clicks(truth)) is not None
    assert live.refit().temperature > 0
    full = live.uncertainty()
    assert full["doubt_sensor"].isnull().all()
    assert full["confidence"].notnull().all()


def test_looks_of_single_sensors_hold_the_map_when_one_is_switched_off():
    emb, truth = planted(noise=0.3, sensors=2)
    right = {}
    for partial in (True, False):
        live = LiveProbe(partial=partial)
        live.fit(emb, clicks(truth, 60))
        gone = live.probe().predict(emb.without("s1"))["label"].values
        right[partial] = (np.array(live.probe().classes_)[gone] == np.array(NAMES)[truth]).mean()
        one = live.fit(emb.only("s1"), clicks(truth, 60))  # and a fit of its own for what is left
        assert (np.array(one.attrs["classes"])[one["label"].values] == np.array(NAMES)[truth]).mean() > 0.6
    assert right[True] > right[False] + 0.1


def test_a_map_in_a_store_gives_the_same(tmp_path):
    emb, truth = planted(sensors=2)
    stored = emb.to_zarr(tmp_path / "emb.zarr")
    a, b = (LiveProbe().fit(e, clicks(truth)) for e in (emb, stored))
    np.testing.assert_allclose(a["confidence"], b["confidence"], atol=1e-3)


def test_vectors_are_read_once_and_stay_in_order(monkeypatch):
    emb, _ = planted(sensors=2)
    read = []
    real = probe_data.gather

    def counted(source, pixels):
        read.append(pixels.tolist())
        return real(source, pixels)

    vectors = LabelledVectors(emb, partial=True)
    monkeypatch.setattr(probe_data, "gather", counted)
    vectors.features(np.array([7, 2000]))
    later = vectors.features(np.array([3, 7, 900, 2000]))
    assert read == [[7, 2000], [3, 900]]
    np.testing.assert_allclose(later.x, emb.vectors()[0][[3, 7, 900, 2000]], atol=1e-6)
    np.testing.assert_allclose(later.partial[1], emb.only("s1").vectors()[0][[3, 7, 900, 2000]], atol=1e-6)


def test_refit_beside_clicks_disturbs_neither():
    emb, truth = planted()
    labels, live, failed = clicks(truth, 60), LiveProbe(), []
    live.fit(emb, labels)

    def work() -> None:
        try:
            for _ in range(2):
                live.refit()
                live.uncertainty()
        except Exception as err:
            failed.append(err)

    thread = threading.Thread(target=work)
    thread.start()
    for n in (20, 30, 1, 60, 40):
        live.update(labels[:n])
    thread.join()
    assert not failed
    assert live.update(labels)["label"].shape == (SIDE, SIDE)


def test_a_click_on_a_quarter_million_pixels_takes_a_moment():
    """A quarter of the map of the promise (0.8 s for 1 million pixels), in half of its share of time."""
    rng = np.random.default_rng(0)
    mean = rng.standard_normal((500, 500, 64), dtype=np.float32)
    emb = Embeddings({"s2": Expert(mean, np.ones_like(mean))}, grid_of(500))
    codes = np.full((500, 500), -1, np.int16)
    codes.ravel()[rng.choice(250_000, 200, replace=False)] = np.arange(200) % 4
    labels = LabelSet(codes, ("a", "b", "c", "d"), np.where(codes >= 0, 1, -1).astype(np.int32), emb.grid)
    live = LiveProbe()
    live.fit(emb, labels)
    start = time.process_time()
    assert live.update(labels) is not None
    assert time.process_time() - start < 0.1


def test_a_large_map_is_the_same_by_several_threads(monkeypatch):
    import threading

    from georeset_lab.embed import fused
    from georeset_lab.embed.probing import map as probe_map

    emb, truth = planted()
    live = LiveProbe()
    live.fit(emb, clicks(truth))
    before, names = live.uncertainty(), set()
    predict = probe_map._Chunk.predict

    def seen(self, *args, **options):
        names.add(threading.current_thread().name)
        time.sleep(0.01)
        return predict(self, *args, **options)

    monkeypatch.setattr(probe_map._Chunk, "predict", seen)
    monkeypatch.setattr(probe_map, "THREADED_PIXELS", 1)
    monkeypatch.setattr(probe_map.os, "sched_getaffinity", lambda _: range(3), raising=False)
    monkeypatch.setattr(fused, "BLOCK_PIXELS", 5 * SIDE)
    assert live.uncertainty().identical(before)
    assert len(names) == 3
