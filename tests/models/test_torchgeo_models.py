"""torchgeo's encoders behind our interface, with random weights: nothing is downloaded here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from georeset_lab.data.bands import BandSpec, band_table
from georeset_lab.data.sensors import sensor
from georeset_lab.data.simulate import simulate_scene
from georeset_lab.embed.encode import encode
from georeset_lab.errors import BandMismatch, CheckpointError
from georeset_lab.models import torchgeo_models
from georeset_lab.models.checkpoint import load_model
from georeset_lab.models.core import WHOLE
from georeset_lab.models.torchgeo_inputs import croma_inputs, rgb_inputs, spectral_inputs
from georeset_lab.models.torchgeo_models import TorchgeoEncoder, load_torchgeo

FAMILIES = (
    "copernicusfm_base", "croma_base", "dofa_base_patch16_224", "panopticon_vitb14", "scalemae_large_patch16",
)  # fmt: skip
S2, L8 = (torch.from_numpy(band_table(sensor(n).bands)) for n in ("sentinel-2-l2a", "landsat-8-l2"))
S1 = torch.from_numpy(band_table(sensor("sentinel-1-rtc").bands))


def test_reflectance_is_standardised_by_the_table_of_ssl4eo_and_missing_pixels_are_the_mean() -> None:
    x = torch.full((1, len(S2), 2, 2), 0.15)
    x[0, :, 0, 0] = torch.nan
    images = spectral_inputs(x, S2)
    red = min(range(len(S2)), key=lambda i: abs(images.nm[i] - 664.6))
    assert images.pixels[0, red, 1, 1] == pytest.approx((1500 - 1373.1) / 1144.9, abs=1e-3)
    assert not images.pixels[..., 0, 0].any()
    assert images.nm[red] == pytest.approx(664.6, abs=1)
    # A band between red and the red edge gets what lies between their statistics.
    between = torch.tensor([[0.6843, 0.02, 10.0, 0.0]])
    assert spectral_inputs(x[:, :1], between).pixels[0, 0, 1, 1] == pytest.approx(
        (1500 - (1373.1 + 1561.0) / 2) / ((1144.9 + 1127.5) / 2), abs=2e-3
    )


def test_radar_is_standardised_by_polarisation() -> None:
    x = torch.tensor([-12.59, -20.26])[None, :, None, None].expand(1, 2, 3, 3)
    images = spectral_inputs(x, S1)
    assert images.pixels.abs().max() < 1e-6
    assert (images.nm, images.kinds) == ((0.0, 0.0), (3, 4))


def test_croma_gets_twelve_bands_in_order_and_takes_the_nearest_for_one_that_is_missing() -> None:
    x = torch.rand(1, len(L8), 4, 4, generator=torch.manual_seed(0)) * 0.4
    images = croma_inputs(x, L8)
    assert images.pixels.shape == (1, 12, 4, 4)
    assert images.pixels.min() >= 0
    assert images.pixels.max() <= 1
    light = [i for i, kind in enumerate(L8[:, 3].tolist()) if kind == 0]
    red = min(light, key=lambda i: abs(L8[i, 0].item() - 0.7041))  # Landsat has no red edge
    expected = ((x[0, red] - spectral_mean(L8[red, 0])) / spectral_std(L8[red, 0]) / 4 + 0.5).clamp(0, 1)
    torch.testing.assert_close(images.pixels[0, 4], expected, atol=1e-3, rtol=0)
    radar = croma_inputs(torch.full((1, 2, 4, 4), -12.59), S1)
    assert radar.pixels[0, 0].mean() == pytest.approx(0.5)
    with pytest.raises(BandMismatch, match="VV with VH"):
        croma_inputs(torch.zeros(1, 1, 4, 4), S1[:1])


def spectral_mean(um: torch.Tensor) -> float:
    ones = spectral_inputs(torch.zeros(1, 1, 1, 1), torch.tensor([[um, 0.03, 30.0, 0.0]])).pixels.item()
    step = spectral_inputs(torch.ones(1, 1, 1, 1), torch.tensor([[um, 0.03, 30.0, 0.0]])).pixels.item() - ones
    return -ones / step


def spectral_std(um: torch.Tensor) -> float:
    low, high = (
        spectral_inputs(torch.full((1, 1, 1, 1), v), torch.tensor([[um, 0.03, 30.0, 0.0]])).pixels.item()
        for v in (0.0, 1.0)
    )
    return 1 / (high - low)


def test_a_picture_needs_its_three_colours() -> None:
    x = torch.full((1, len(S2), 2, 2), 0.3)
    images = rgb_inputs(x, S2)
    np.testing.assert_allclose(images.nm, (664.6, 559.8, 492.4), atol=1)
    np.testing.assert_allclose(
        images.pixels[0, :, 0, 0], [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    )
    no_red = torch.from_numpy(band_table([BandSpec("b", 0.49, 0.06, 10), BandSpec("nir", 0.84, 0.1, 10)]))
    with pytest.raises(BandMismatch, match="red, green and blue"):
        rgb_inputs(x[:, :2], no_red)


def test_elevation_is_refused_with_what_to_do() -> None:
    elevation = torch.tensor([[0.0, 0.0, 30.0, 2.0]])
    with pytest.raises(BandMismatch, match="model='default'"):
        spectral_inputs(torch.zeros(1, 1, 2, 2), elevation)


def test_unknown_names_and_models_without_weights_are_refused() -> None:
    with pytest.raises(CheckpointError, match="choose one of 'torchgeo:copernicusfm_base'"):
        load_model("torchgeo:resnet18")
    with pytest.raises(CheckpointError, match="torchgeo:dofa_small_patch16_224:random"):
        load_model("torchgeo:dofa_small_patch16_224")


def test_without_a_network_it_says_where_the_weights_would_be_kept(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"cannot be fetched .*checkpoints"):
        load_model("torchgeo:dofa_base_patch16_224")


@pytest.mark.parametrize("name", ["dofa_small_patch16_224"])
def test_a_scene_is_encoded_by_name(name: str) -> None:
    scene = simulate_scene(seed=0, size=(64, 64), modalities=("s2", "s1"), dates=1)
    emb = encode(scene, model=f"torchgeo:{name}:random", dtype="float32", progress=False)
    assert emb.shape == (64, 64)
    mean = np.asarray(emb.only("s2").mean.values)
    assert np.isfinite(mean).all()
    assert mean.std((1, 2)).max() > 0, "it looks at the pixels"
    assert not np.allclose(mean, np.asarray(emb.only("s1").mean.values))


def small(name: str) -> TorchgeoEncoder:
    """A network of the family's own class with one thin layer: the real ones take half a minute to make."""
    import torchgeo.models

    family = next(f for f in torchgeo_models._FAMILIES if name in f.factories)
    thin = {"embed_dim": 48, "depth": 1, "num_heads": 4}
    make = {
        "croma_base": lambda: torchgeo.models.CROMA(encoder_dim=48, encoder_depth=2, num_heads=16, patch_size=8),
        "scalemae_large_patch16": lambda: torchgeo.models.ScaleMAE(img_size=224, patch_size=16, **thin),
        "copernicusfm_base": lambda: torchgeo.models.CopernicusFM(**thin),
        "dofa_base_patch16_224": lambda: torchgeo.models.DOFA(patch_size=16, **thin),
    }
    torch.manual_seed(0)
    net = make[name]() if name in make else getattr(torchgeo.models, name)()
    return TorchgeoEncoder(net.eval(), family)


def test_every_family_is_tried() -> None:
    assert len(torchgeo_models._FAMILIES) == len(FAMILIES)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_reads_light_and_radar_where_it_says_so(name: str) -> None:
    encoder = small(name)
    day, noise = torch.full((1,), 180.0), torch.Generator().manual_seed(0)
    said = {}
    for bands, x in (
        (S2, torch.rand(1, len(S2), 192, 192, generator=noise) * 0.3),
        (S1, -15 * torch.ones(1, 2, 192, 192)),
    ):
        try:
            said[len(bands)] = encoder.dense(x, bands, cell_m=60.0, day_of_year=day, core=WHOLE)
        except BandMismatch:
            assert name.startswith("scalemae"), "the only one that reads pictures alone"
    light = said[len(S2)]
    assert light.eta.shape == (192, 192, encoder.config.latent_dim)
    assert torch.isfinite(light.eta).all()
    assert light.eta.std((0, 1)).max() > 0, "it looks at the pixels"
    if name.startswith("scalemae"):
        coarse = encoder.dense(x.new_full((1, len(S2), 192, 192), 0.2), S2, cell_m=600.0, day_of_year=day, core=WHOLE)
        fine = encoder.dense(x.new_full((1, len(S2), 192, 192), 0.2), S2, cell_m=60.0, day_of_year=day, core=WHOLE)
        assert not torch.allclose(fine.eta, coarse.eta), "it knows the size of a pixel"
    else:
        assert not torch.allclose(light.eta, said[2].eta)


def test_a_map_does_not_depend_on_its_tiles_and_missing_pixels_say_nothing() -> None:
    encoder = load_torchgeo("torchgeo:dofa_small_patch16_224:random")
    x = torch.rand(1, len(S2), 384, 288, generator=torch.manual_seed(1)) * 0.3
    x[:, :, 150, 120] = torch.nan
    day = torch.full((1,), 180.0)
    whole = encoder.dense(x, S2, cell_m=60.0, day_of_year=day)
    first = encoder.dense(x[:, :, :288], S2, cell_m=60.0, day_of_year=day)
    torch.testing.assert_close(whole.eta[:90], first.eta[:90], atol=1e-4, rtol=0)
    assert whole.tau[150 - 96, 120 - 96].max() == 0
    assert (whole.tau > 0).float().mean() > 0.999
    empty = encoder.dense(torch.full_like(x, torch.nan), S2, cell_m=60.0, day_of_year=day)
    assert empty.tau.max() == 0
