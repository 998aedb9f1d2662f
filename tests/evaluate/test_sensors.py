"""Labels across sensors: planted maps give known scores; runs resume; the report says who saw what; cost of many bands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from georeset_lab.data.scene import Scene
from georeset_lab.errors import SceneReadError
from georeset_lab.evaluate import sensors
from georeset_lab.evaluate.sensors_cost import cost, even_bands
from georeset_lab.evaluate.sensors_measure import (
    DECISION,
    FUSED,
    OWN_SCALE,
    by_bands,
    by_pixel,
    maps_of,
    matched,
    raw_maps,
    transfer,
)
from georeset_lab.evaluate.sensors_tasks import DAYS_RULE, REAL, Pair, coarser, kept_bands, pair, spectra, unseen
from georeset_lab.models.checkpoint import make_model
from georeset_lab.models.encoder import Encoder
from georeset_lab.models.rivals.build import build_encoder
from georeset_lab.models.rivals.plain import PlainConfig

PLACE = "simulated-9001"


@pytest.fixture(scope="module")
def place() -> Pair:
    return pair(Path("nowhere"), PLACE, 2)


def _planted(place: Pair, shift: float) -> Any:
    """Maps in which the class is one of the features, and Landsat's are shifted against Sentinel-2's."""
    truth = place.scene.truth
    assert truth is not None
    code = np.eye(6)[truth["land_cover"].values]
    noise = np.random.default_rng(0).normal(0, 0.2, (2, *code.shape))

    def maps(scene: Scene) -> dict[str, np.ndarray]:
        s2, l8 = code + noise[0], code + noise[1] + shift * np.arange(6)
        return {"s2": s2, "l8": l8, FUSED: (s2 + l8) / 2}

    return maps


def test_labels_cross_between_sensors_that_agree_and_need_own_scale_where_they_are_shifted(place: Pair) -> None:
    alike, shifted = transfer(_planted(place, 0.0), place), transfer(_planted(place, 3.0), place)
    assert all(len(v) == 2 for v in alike.values())
    assert min(np.mean(v) for v in alike.values()) > 0.95
    assert np.mean(shifted["s2>l8"]) < 0.5 < 0.95 < np.mean(shifted["l8>l8"])
    assert np.mean(shifted[OWN_SCALE + "s2>l8"]) > 0.95
    assert np.mean(shifted[DECISION]) > 0.95
    assert shifted["s2>s2"] == alike["s2>s2"]


def test_simulated_pairs_have_two_sensors_and_classes_on_both_sides(place: Pair) -> None:
    assert set(place.scene.modalities) == {"s2", "l8"}
    apart = np.abs(place.scene["s2"].times - place.scene["l8"].times)
    assert (apart < np.timedelta64(9, "D")).all()
    assert len(place.split.classes) >= 4
    assert min(min(c) for c in place.split.counts) >= 50
    side = place.split.side.ravel()
    assert set(side[place.split.test_pixels]) == {1}
    assert all(set(side[d.pixels]) == {0} for d in place.split.draws)


def test_bands_are_kept_in_nested_choices_and_pixels_are_averaged(place: Pair) -> None:
    s2 = place.scene["s2"]
    chosen = [set(kept_bands(s2, k).band_names) for k in (1, 3, 6)]
    assert [len(c) for c in chosen] == [1, 3, 6]
    assert chosen[0] < chosen[1] < chosen[2]
    wide = coarser(s2, 3)
    fine = s2.read(slice(0, 3), slice(3, 6))
    np.testing.assert_allclose(wide.read(slice(0, 1), slice(1, 2))[..., 0, 0], np.nanmean(fine, (2, 3)), atol=1e-6)
    assert wide.pixel_m == 30
    assert {b.gsd_m for b in wide.bands} == {30, 60}
    one = {b.name: b.gsd_m for b in wide.bands}
    assert (one["B02"], one["B01"]) == (30, 60)


def test_fewer_bands_and_coarser_pixels_of_plain_bands_cost_accuracy(place: Pair) -> None:
    bands, pixel = by_bands(raw_maps, place), by_pixel(raw_maps, place)
    assert bands["12, same"] == pytest.approx(bands["12, lost"])
    assert np.mean(bands["1, same"]) < np.mean(bands["12, same"])
    assert np.mean(bands["2, lost"]) < np.mean(bands["12, same"])
    assert np.mean(pixel["60"]) < np.mean(pixel["10"])


def test_maps_of_an_encoder_lie_on_the_finest_grid(place: Pair) -> None:
    model = make_model(build_encoder(PlainConfig("slots", width=32, heads=2, depth=1)), name="x")
    maps = maps_of(model)(place.scene)
    assert {n: m.shape for n, m in maps.items()} == dict.fromkeys(("s2", "l8", FUSED), (144, 144, 64))


def test_many_bands_cost_our_encoder_less_than_twice_as_much() -> None:
    spent = cost(make_model(Encoder(), name="x"))
    assert spent["parameters"] == sum(p.numel() for p in Encoder().parameters())
    assert spent["gflop_224"] / spent["gflop_12"] < 1.5
    assert spent["seconds_224"] / spent["seconds_12"] < 2.5  # measured 1.6; a busy machine shifts it
    assert even_bands(224).shape == (224, 4)
    assert float(even_bands(224)[:, 0].max()) < 2.45


def test_flops_are_those_of_the_products() -> None:
    small = PlainConfig("slots", width=32, heads=2, depth=1)
    once, twice = (
        cost(make_model(build_encoder(c), name="x")) for c in (small, PlainConfig("slots", width=32, heads=2))
    )
    tokens, windows = 48 * 48 / 0.082944, (11 * 11 * 64) / 0.082944  # a megapixel has this many
    block = windows * 12 * 32**2 * 2 + windows * 64 * 32 * 2 * 2
    assert twice["gflop_12"] - once["gflop_12"] == pytest.approx(block / 1e9, rel=0.01)
    assert once["gflop_12"] > block / 1e9 + tokens * 2 * 38 * 36 * 32 / 1e9


def test_a_run_resumes_and_its_report_names_its_command_and_what_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    cells = {f"{a}>{b}": [0.8, 0.9] for a in ("s2", "l8", FUSED) for b in ("s2", "l8", FUSED)}
    cells |= {DECISION: [0.7, 0.7], "s2>l8": [0.5, 0.5]}
    cells |= {OWN_SCALE + k: v for k, v in cells.items()}

    def scored(_: object, place: str) -> dict[str, list[float]]:
        asked.append(place)
        return cells

    spent = {"parameters": 600815, "gflop_12": 1.0, "gflop_224": 1.5, "seconds_12": 2.0, "seconds_224": 3.0}
    monkeypatch.setattr(sensors, "pair", lambda data, place, draws: place)
    monkeypatch.setattr(sensors, "transfer", scored)
    monkeypatch.setattr(sensors, "cost", lambda model: spent)
    found = [sensors.run(tmp_path, quick=True, out=tmp_path / "o", progress=False, command="made so") for _ in (0, 1)]
    assert asked == [REAL[0], PLACE] * 2  # once for plain bands, once for the default weights
    assert found[0].markdown == found[1].markdown
    assert json.loads((tmp_path / "o" / "sensors.json").read_text()) == found[0].numbers
    assert (tmp_path / "o" / "sensors.md").read_text() == found[0].markdown
    text = found[0].markdown
    assert "Made by `made so`." in text
    assert DAYS_RULE in text
    assert "| default weights † | .850" in text
    assert f"The default weights (†) were trained on {REAL[0]}" in text
    # (.85 - .85 + .85 - .50) / 2
    assert ".175" in text
    assert "3.00 (1.5 x)" in text


def test_missing_data_says_which_folder_to_pass(tmp_path: Path) -> None:
    with pytest.raises(SceneReadError, match=r"Pass the folder that holds the data sets"):
        pair(tmp_path, REAL[0], 2)
    with pytest.raises(SceneReadError, match=r"spechomo.*Pass the folder"):
        spectra(tmp_path)


@pytest.mark.real_data
def test_real_pairs_were_seen_within_a_day_and_half(shared_data: Path) -> None:
    for name in REAL:
        scene = pair(shared_data, name, 2).scene
        assert len(scene["s2"].times) == len(scene["l8"].times) == 4
        assert (np.abs(scene["s2"].times - scene["l8"].times) <= np.timedelta64(30, "h")).all()
        assert {b.kind for m in scene.modalities.values() for b in m.bands} == {"reflectance"}


@pytest.mark.real_data
def test_plain_bands_find_the_same_spectrum_as_the_source_says(shared_data: Path) -> None:
    found = matched(None, shared_data)
    assert found["n"] == 894  # 900 less six without data
    assert found["top1"] > 0.99  # SOURCE.md: 99.1 % of all 8,940, without adjustment
    assert np.mean(found["scene"]["oli8"]) > 0.4


@pytest.mark.real_data
def test_unseen_sensors_have_their_bands(shared_data: Path) -> None:
    bands = {n: len(next(iter(t.scene.modalities.values())).bands) for n, (t, _) in unseen(shared_data, 2).items()}
    expected = {"Landsat 5 TM, para-l5": 6, "EnMAP, potsdam": 218, "RGB only, chile": 3, "20 m only, denmark": 6}
    assert {n: bands[n] for n in expected} == expected


@pytest.mark.real_data
def test_spectra_of_an_encoder_are_those_of_even_windows(shared_data: Path) -> None:
    torch.manual_seed(0)
    found = matched(
        make_model(build_encoder(PlainConfig("virtual_bands", width=32, heads=2, depth=1)), name="x"), shared_data
    )
    assert 0 <= found["top1"] <= 1
    assert all(len(v) == 5 for v in found["scene"].values())
