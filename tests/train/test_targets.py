"""Signature and targets: fixed functions of clean views, of unit variance, sharp at edges, silent where nothing was seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from georeset_lab.data.bands import band_table
from georeset_lab.data.sensors import sensor
from georeset_lab.data.simulate import simulate_scene
from georeset_lab.models.encoder import Encoder, EncoderConfig
from georeset_lab.models.pretrained import Galileo
from georeset_lab.models.signature import share_out
from georeset_lab.train.crops import CropSampler, View, reference_modalities
from georeset_lab.train.fitting import fit_signature
from georeset_lab.train.loop import untrained
from georeset_lab.train.targets import Targets

CONFIG = EncoderConfig(latent_dim=32, n_local=27, width=32, depth=1, heads=2, n_kernels=16, head_width=16)


@pytest.fixture(scope="module")
def batches() -> list[tuple[View, ...]]:
    scenes = [simulate_scene(seed=i, size=(96, 96), modalities=("s2", "s1", "dem"), dates=2) for i in range(2)]
    sampler = CropSampler(scenes, size=48, batch=4, points=40, seed=0)
    return [sampler.draw(k)[0].reference for k in range(6)]


def fitted(batches: list[tuple[View, ...]], seed: int = 0) -> Encoder:
    encoder = untrained(CONFIG, seed)
    fit_signature(encoder, batches, seed)
    return encoder.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def encoder(batches: list[tuple[View, ...]]) -> Encoder:
    return fitted(batches)


@pytest.fixture(scope="module")
def targets(encoder: Encoder, batches: list[tuple[View, ...]]) -> Targets:
    torch.manual_seed(0)
    made = Targets(encoder, teacher=Galileo().eval())
    made.fit(batches, seed=0)
    return made


@pytest.mark.parametrize(("latent", "local"), [(64, 54), (32, 27), (8, 6), (128, 108)])
def test_every_dimension_belongs_to_one_block(latent: int, local: int) -> None:
    sizes = share_out(latent, local)
    assert list(sizes) == ["pixel", "texture", "radar", "wide", "teacher"]
    assert sum(sizes.values()) == latent
    assert latent - sizes["teacher"] == local
    if latent == 64:
        assert list(sizes.values()) == [8, 20, 8, 18, 10]


def test_targets_have_mean_zero_and_variance_one(targets: Targets, batches: list[tuple[View, ...]]) -> None:
    values = torch.cat([targets(views)[0].flatten(0, 1) for views in batches])
    known = torch.cat([targets(views)[1].flatten(0, 1) for views in batches])
    assert known.float().mean() > 0.8
    for d in range(values.shape[1]):
        column = values[known[:, d], d]
        assert abs(float(column.mean())) < 0.5
        assert 0.5 < float(column.std()) < 1.4  # fitted on cells, read at points along edges


def test_constants_depend_on_data_and_seed_alone(batches: list[tuple[View, ...]], encoder: Encoder) -> None:
    again, other = fitted(batches).signature.state_dict(), fitted(batches, 1).signature.state_dict()
    assert all(torch.equal(v, again[k]) for k, v in encoder.signature.state_dict().items())
    assert not torch.equal(encoder.signature.get_buffer("texture_turn"), other["texture_turn"])
    assert not torch.equal(encoder.signature.get_buffer("optical_kernels"), other["optical_kernels"])


def test_a_clean_view_is_encoded_as_its_target_before_any_training(
    encoder: Encoder, targets: Targets, batches: list[tuple[View, ...]]
) -> None:
    s2, _ = batches[0]
    table = torch.from_numpy(band_table(s2.bands))
    pixels, points = torch.from_numpy(s2.pixels), torch.from_numpy(s2.points)
    said = encoder.crops(
        pixels, table, cell_m=60.0, day_of_year=torch.full(pixels.shape[:2], 180.0), points=points
    ).pixels
    n = 32 - targets.sizes["teacher"]
    target, known = (z[..., :n] for z in targets((s2,)))
    assert known.float().mean() > 0.5
    likeliest = (said.eta / said.tau)[..., :n][known]  # fresh weights add a tenth
    assert float((likeliest - target[known]).abs().max()) < 1.0
    assert float(torch.corrcoef(torch.stack([likeliest, target[known]]))[0, 1]) > 0.97


def test_without_radar_or_teacher_their_dimensions_have_no_target(
    encoder: Encoder, targets: Targets, batches: list[tuple[View, ...]]
) -> None:
    target, known = targets(batches[0][:1])
    sizes = targets.sizes
    first = sizes["pixel"] + sizes["texture"]
    assert known[..., :first].float().mean() > 0.8
    assert not known[..., first : first + sizes["radar"]].any()
    assert float(target[..., first : first + sizes["radar"]].abs().max()) == 0.0
    assert not Targets(encoder)(batches[0])[1][..., -sizes["teacher"] :].any()


def test_a_cloudy_pixel_has_no_optical_target(targets: Targets, batches: list[tuple[View, ...]]) -> None:
    s2, s1 = batches[0]
    pixels = s2.pixels.copy()
    row, col = s2.points[0, 0]
    pixels[0, 0, :, row, col] = np.nan
    _, known = targets((replace(s2, pixels=pixels), s1))
    assert not known[0, 0, : targets.sizes["pixel"]].any()
    assert known[0, 0, targets.sizes["pixel"] + targets.sizes["texture"] :][: targets.sizes["radar"]].all()


def test_local_targets_rise_within_two_pixels_at_an_edge(targets: Targets) -> None:
    bands = sensor("sentinel-2-l2a").bands
    rng = np.random.default_rng(0)
    left, right = rng.uniform(0.05, 0.4, (2, len(bands)))
    pixels = np.where(np.arange(48) < 24, left[:, None, None], right[:, None, None]) * np.ones((48, 1))
    pixels = (pixels + 0.004 * rng.normal(size=pixels.shape))[None, None].astype(np.float32)
    points = np.stack([np.full(40, 20), np.arange(4, 44)], 1)[None]
    view = View("s2", pixels, bands, 60.0, np.array([[180.0]], np.float32), points)
    profile = targets((view,))[0][0, :, : targets.sizes["pixel"] + targets.sizes["texture"]].numpy()
    start, end = profile[2:12].mean(0), profile[-12:-2].mean(0)
    along = (profile - start) @ (end - start) / ((end - start) @ (end - start))
    # A cell beside the edge holds a few patches that straddle it: the last seventh comes a cell later.
    assert ((along > 0.15) & (along < 0.85)).sum() <= 1, along[16:26].round(3).tolist()


def test_references_are_sentinel_2_at_10_m_with_sentinel_1_on_its_grid() -> None:
    scene = simulate_scene(size=(48, 48), dates=1)
    assert reference_modalities(scene) == ["s2", "s1"]
    assert reference_modalities(scene.without("s1")) == ["s2"]
    assert reference_modalities(scene.only("l8")) == []
    assert reference_modalities(scene.only("hyper")) == []


def test_references_are_never_shifted_nor_altered() -> None:
    scene = simulate_scene(seed=1, size=(72, 72), modalities=("s2", "s1"), dates=3)
    batch, _ = CropSampler([scene], size=48, batch=2, points=8, seed=0).draw(0)
    s2, s1 = batch.reference
    assert np.array_equal(s2.points, s1.points)
    x = batch.ground_m[0, 0]
    column, row = ~scene["s2"].grid.affine @ (x[0], x[1])
    stack = scene["s2"].read(slice(None), slice(None))[:, :, int(row), int(column)]
    own = s2.pixels[0, 0, :, s2.points[0, 0, 0], s2.points[0, 0, 1]]
    assert any(np.array_equal(own, date, equal_nan=True) for date in stack)
