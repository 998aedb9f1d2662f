"""Sets, doubts and the live map on the Chile chip, from 10 clicks per class; bench_probe_sets.py prints the table."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.bench_probe_sets import Place, clicks, first_accuracy, measure, open_place

pytestmark = [pytest.mark.real_data, pytest.mark.slow, pytest.mark.timeout(1500)]  # 40 s of CPU


@pytest.fixture(scope="module")
def place(shared_data) -> Place:
    return open_place("chile", 10, 20, shared_data)


@pytest.fixture(scope="module")
def rows(place) -> dict[str, list[dict[str, float]]]:
    return measure(place, raw=("raw bands",), live=4)


def mean(rows, row: str, what: str) -> float:
    return float(np.nanmean([found[what] for found in rows[row]]))


def test_sets_cover_nine_of_ten_places_of_blocks_no_label_came_from(rows):
    assert len(rows["embedding"]) == 20
    assert mean(rows, "embedding", "coverage") == pytest.approx(0.9, abs=0.03)
    assert mean(rows, "embedding", "reported coverage") == pytest.approx(0.9, abs=0.03)


def test_sets_are_smaller_than_the_same_sets_on_raw_bands(rows):
    assert mean(rows, "raw bands", "coverage") == pytest.approx(0.9, abs=0.04)
    assert mean(rows, "embedding", "set size") < mean(rows, "raw bands", "set size") - 0.1


def test_the_live_map_is_as_good_as_the_evaluated_one(place, rows):
    # On the same clicks; evaluate first has a probe of its own, without the looks of single sensors.
    same = float(np.mean([found["accuracy"] for found in rows["embedding"][:4]]))
    assert mean(rows, "live probe", "accuracy") == pytest.approx(same, abs=0.01)
    assert mean(rows, "embedding", "accuracy") > first_accuracy(place) - 0.03


def test_doubt_is_about_the_share_of_wrong_classes(rows):
    doubt = sum(mean(rows, "live probe", part) for part in ("sensor", "labels", "overlap"))
    assert doubt == pytest.approx(mean(rows, "live probe", "error"), abs=0.1)  # four draws


def test_without_the_optical_sensor_more_of_the_doubt_is_the_sensors(place):
    from georeset_lab.embed.probe import fit_probe

    labels = clicks(place, place.splits[0].draws[0])
    probe = fit_probe(place.emb, labels)
    parts = [float(probe.predict(emb)["doubt_sensor"].mean()) for emb in (place.emb, place.emb.without("s2"))]
    assert parts[1] > 1.1 * parts[0]
