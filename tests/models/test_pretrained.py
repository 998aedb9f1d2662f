"""Galileo nano: our implementation against the published code's outputs, and its place in the encode pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from georeset_lab.data.bands import band_table
from georeset_lab.data.sensors import sensor
from georeset_lab.data.simulate import simulate_scene
from georeset_lab.embed.encode import encode
from georeset_lab.errors import BandMismatch, CheckpointError
from georeset_lab.models.checkpoint import load_model
from georeset_lab.models.pretrained import WEIGHTS_FOLDER, Galileo, inputs, load_galileo, month_of

CASES = {
    "all_ps2": {"patch": 2},
    "all_ps4": {"patch": 4},
    "all_ps8": {"patch": 8},
    "all_ps4_20m": {"patch": 4, "pixel_m": 20.0},
    "all_ps4_month7": {"patch": 4, "month": 7},
    "s2_only_ps4": {"patch": 4, "groups": range(1, 7)},
    "s1_only_ps4": {"patch": 4, "groups": [0]},
}


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data.parent / "weights" / "galileo-nano"


@pytest.mark.real_data
@pytest.mark.parametrize("case", CASES)
def test_outputs_are_those_of_the_published_code(folder: Path, case: str) -> None:
    galileo, stored = load_galileo(folder), np.load(folder / "reference.npz")
    options = {"pixel_m": 10.0, "month": 3, "groups": range(7), **CASES[case]}
    present = torch.zeros(7, dtype=torch.bool)
    present[list(options["groups"])] = True
    x = galileo.normalise(torch.from_numpy(stored["input_physical"])[None, None])
    np.testing.assert_allclose(x[0, 0].permute(1, 2, 0), stored["input_normalised"], atol=1e-6)
    with torch.inference_mode():
        out = galileo(
            x, torch.tensor([[options["month"]]]), patch=options["patch"], pixel_m=options["pixel_m"], present=present
        )[0, 0]
    np.testing.assert_allclose(out, stored[case], atol=1e-5, rtol=0)


@pytest.mark.real_data
def test_it_encodes_a_scene_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEIGHTS_FOLDER, str(folder))
    scene = simulate_scene(size=(48, 48), modalities=("s2", "s1"), dates=1)
    emb = encode(scene, model="galileo-nano", dtype="float32", progress=False)
    assert (emb.shape, emb.dim, list(emb.modalities)) == ((48, 48), 128, ["s2", "s1"])
    change = np.abs(np.diff(np.asarray(emb.only("s2").mean.values), axis=2)).max((0, 1)) > 1e-6
    assert change.sum() in (11, 12)  # one output for each patch of 4 pixels
    assert len(set(np.flatnonzero(change) % 4)) == 1
    assert load_model("galileo-nano").hash == load_model("galileo-nano").hash


def test_missing_weights_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(WEIGHTS_FOLDER, raising=False)
    with pytest.raises(CheckpointError, match=r"Set GEORESET_GALILEO, or pass the path"):
        load_galileo()
    with pytest.raises(CheckpointError, match=r"no usable Galileo nano weights"):
        load_galileo(tmp_path)


def test_bands_find_their_places_whatever_their_order() -> None:
    bands = sensor("sentinel-2-l2a").bands
    x = torch.rand(1, len(bands), 4, 4)
    there = inputs(x, torch.from_numpy(band_table(bands)))
    turned = inputs(x.flip(1), torch.from_numpy(band_table(bands[::-1])))
    torch.testing.assert_close(there, turned, equal_nan=True)
    names = [b.name for b in bands]
    torch.testing.assert_close(there[:, 4], 1e4 * x[:, names.index("B04")])
    assert torch.isnan(there[:, :2]).all()
    nir, red = x[:, names.index("B08")], x[:, names.index("B04")]
    torch.testing.assert_close(there[:, 12], (nir - red) / (nir + red))


def test_a_sensor_it_cannot_read_is_refused() -> None:
    bands = torch.from_numpy(band_table(sensor("copernicus-dem").bands))
    with pytest.raises(BandMismatch, match=r"Use model='default'"):
        inputs(torch.rand(1, 1, 4, 4), bands)


def test_months_of_days() -> None:
    assert month_of(torch.tensor([1.0, 31.0, 100.0, 366.0, float("nan")])).tolist() == [0, 0, 3, 11, 5]


def test_windows_leave_no_trace_in_a_constant_image() -> None:
    torch.manual_seed(0)
    galileo = Galileo().eval()
    flat = torch.full((1, 13, 96, 96), 0.3)
    out = galileo.features(flat, torch.tensor([3]), pixel_m=10.0)
    assert out.shape == (24, 24, 128)
    inner = out[4:-4, 4:-4]
    # Only the sine code of the place inside a window varies, with the windows' step of 4 tokens.
    torch.testing.assert_close(inner[:4], inner[4:8], atol=1e-5, rtol=0)
