"""Rival tokenizers behind the interface of our encoder: invariants of each, training by name, checkpoints."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from georeset_lab.data.bands import BandSpec, band_table
from georeset_lab.data.sensors import sensor
from georeset_lab.data.simulate import simulate_scene
from georeset_lab.embed.encode import encode
from georeset_lab.errors import CheckpointError, RecipeError, ShapeMismatch
from georeset_lab.models.checkpoint import load_model, make_model, save_model
from georeset_lab.models.core import WHOLE
from georeset_lab.models.encoder import Encoder
from georeset_lab.models.normalise import normalise
from georeset_lab.models.rivals.band_attention import BandAttention
from georeset_lab.models.rivals.build import RIVALS, build_encoder, encoder_config
from georeset_lab.models.rivals.dynamic_patch import DynamicPatch
from georeset_lab.models.rivals.hls import SLOPE_OFFSET, to_hls
from georeset_lab.models.rivals.late import LateFusion
from georeset_lab.models.rivals.plain import PlainConfig, patches
from georeset_lab.models.rivals.slots import fill, home, slot_table
from georeset_lab.models.rivals.translation import Translated
from georeset_lab.train.crops import View
from georeset_lab.train.loop import train, untrained
from georeset_lab.train.recipe import list_recipes, load_recipe

S2, L8 = (slot_table(name) for name in ("sentinel-2-l2a", "landsat-8-l2"))
SMALL = {"width": 32, "heads": 2, "depth": 1}


def _network(rival: str, **sizes: int) -> Encoder:
    return untrained(encoder_config({"rival": rival, **SMALL, **sizes}), 3).eval()


def _hyper(n: int = 224) -> torch.Tensor:
    bands = [BandSpec(f"H{i}", 0.42 + 2.0 * i / n, 0.01, 30.0) for i in range(n)]
    return torch.from_numpy(band_table(bands))


def _pixels(bands: torch.Tensor, side: int = 72, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 0.05 + 0.3 * torch.rand(1, len(bands), side, side, generator=draw)


def _mean(network: Encoder, x: torch.Tensor, bands: torch.Tensor, cell_m: float = 60.0) -> torch.Tensor:
    return network.dense(x, bands, cell_m=cell_m, day_of_year=torch.full((len(x),), 180.0), core=WHOLE).mean


@pytest.mark.parametrize("rival", RIVALS)
def test_order_of_bands_is_nothing_and_a_masked_band_is_an_absent_one(rival: str) -> None:
    network, x = _network(rival), _pixels(S2)
    kept = x.clone()
    order = torch.randperm(len(S2), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(_mean(network, x[:, order], S2[order]), _mean(network, x, S2), atol=1e-5, rtol=0)
    masked = x.clone()
    masked[:, 4] = torch.nan
    few = [i for i in range(len(S2)) if i != 4]
    torch.testing.assert_close(_mean(network, masked, S2), _mean(network, x[:, few], S2[few]), atol=1e-5, rtol=0)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("rival", RIVALS)
def test_any_number_of_bands_runs_and_other_bands_say_something_else(rival: str) -> None:
    network = _network(rival)
    for bands in (S2[3:4], L8, _hyper()):
        said = network.dense(_pixels(bands), bands, cell_m=180.0, day_of_year=torch.full((1,), torch.nan), core=WHOLE)
        assert said.mean.shape == (72, 72, 64)
        assert bool(torch.isfinite(said.mean).all())
        assert bool((said.tau > 0).all())
    x = _pixels(S2)
    assert float((_mean(network, x, S2) - _mean(network, 0.5 * x, S2)).abs().mean()) > 0.01


@pytest.mark.parametrize("rival", RIVALS)
def test_what_was_not_measured_is_the_prior(rival: str) -> None:
    network, x = _network(rival), _pixels(S2)
    x[:, :, :30, :10] = torch.nan
    said = network.dense(x, S2, cell_m=60.0, day_of_year=torch.ones(1), core=WHOLE)
    assert not bool(said.tau[:30, :10].any())
    assert not bool(said.eta[:30, :10].any())
    assert bool((said.tau[30:, 10:] > 0).all())


@pytest.mark.parametrize("rival", RIVALS)
def test_crops_say_what_the_map_says_and_pass_gradients(rival: str) -> None:
    network, x, points = _network(rival), _pixels(S2, 48), torch.tensor([[[20, 30], [7, 41]]])
    day = torch.full((1,), 100.0)
    out = network.crops(x[None], S2, cell_m=60.0, day_of_year=day[None], points=points)
    full = network.dense(x, S2, cell_m=60.0, day_of_year=day, core=WHOLE)
    there = full.mean[points[0, :, 0], points[0, :, 1]]
    torch.testing.assert_close(out.pixels.mean[0], there, atol=1e-5, rtol=0)
    (out.pixels.mean.square().sum() + out.scene.mean.square().sum()).backward()
    mine = network.of(S2) if isinstance(network, LateFusion) else network
    silent = [n for n, p in mine.named_parameters() if p.grad is None or not bool(torch.isfinite(p.grad).all())]
    assert silent == []


@pytest.mark.parametrize("rival", ["band_attention", "virtual_bands", "dynamic_patch"])
def test_the_whole_set_of_bands_twice_says_the_same(rival: str) -> None:
    network, x = _network(rival), _pixels(S2)
    twice = _mean(network, x.repeat(1, 2, 1, 1), S2.repeat(2, 1))
    once = _mean(network, x, S2)
    # Band attention and virtual bands are means over bands. Of dynamic patches the kernels attend to each other too.
    assert float((twice - once).abs().max()) < (0.2 if rival == "dynamic_patch" else 1e-4)


def test_band_attention_is_the_plain_cross_attention() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = BandAttention(32, 4, 6)
    x = _pixels(S2, 12)
    x[:, 2, :6, :6] = torch.nan
    said, _ = tokenizer(x, S2, 10.0)
    values = normalise(x, S2)
    cut = patches(torch.nan_to_num(values), 6)
    embedded = tokenizer.kernel(cut) + tokenizer.codes(S2) - tokenizer.kernel.bias
    keys, vals = (lin(embedded).unflatten(-1, (4, 8)).transpose(-3, -2) for lin in (tokenizer.key, tokenizer.value))
    mask = patches(torch.isfinite(values), 6).any(-1)[..., None, None, :].expand(*keys.shape[:-2], 1, -1)
    query = tokenizer.query[:, None].expand(*keys.shape[:-2], 1, 8)
    mixed = torch.nn.functional.scaled_dot_product_attention(query, keys, vals, attn_mask=mask)
    torch.testing.assert_close(said, tokenizer.project(mixed.flatten(-3)), atol=1e-5, rtol=1e-5)


def test_dynamic_patches_do_not_grow_with_the_number_of_bands() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = DynamicPatch(32, 6)
    sizes = []
    for bands in (_hyper(12), _hyper(216)):
        said, _ = tokenizer(torch.full((1, len(bands), 12, 12), 0.4), bands, 10.0)
        sizes.append(float(said.detach().norm()))
    assert 0.5 < sizes[1] / sizes[0] < 2.0  # the published sum would grow eighteenfold


def test_slots_know_whose_bands_these_are() -> None:
    tables = [S2, L8]
    s2b = torch.from_numpy(band_table(sensor("sentinel-2-l1c").bands))
    tm = torch.from_numpy(band_table([b for b in sensor("landsat-5-l1").bands if b.kind == "reflectance"]))
    assert [home(t, tables) for t in (S2, L8, S2[[4, 5, 6, 8, 10, 11]], L8[[3, 4]], s2b)] == [0, 1, 0, 1, 0]
    x = torch.arange(12.0)[None, :, None, None].expand(1, 12, 6, 6)
    assert torch.equal(fill(x, S2, S2), x)
    thematic = fill(torch.arange(6.0)[None, :, None, None].expand(1, 6, 6, 6), tm, L8)[0, :, 0, 0]
    assert thematic.tolist() == [0, 0, 1, 2, 3, 4, 5]  # TM has no coastal band; its blue overlaps it
    assert bool(fill(x[:, :1], S2[2:3], L8)[:, 3].isnan().all())  # green says nothing of red
    spectrum = _hyper(200)
    seen = fill(spectrum[:, 0][None, :, None, None].expand(1, 200, 6, 6), spectrum, S2)[0, :, 0, 0]
    assert float((seen - S2[:, 0]).abs().max()) < 0.012  # the mean of the bands inside a slot lies at its centre


def test_hls_has_the_official_numbers_and_thirty_metres() -> None:
    x = torch.rand(1, 12, 24, 24, generator=torch.Generator().manual_seed(0))
    out = to_hls(x, S2, 10.0)
    red = x[0, 3, :3, :3].mean() * 0.9765 + 0.0009
    torch.testing.assert_close(out[0, 3, :3, :3], red.expand(3, 3))
    assert torch.equal(to_hls(x[:, :7], L8, 30.0), x[:, :7])
    b = S2.clone()
    b[:, 0] = torch.tensor([b_.center_um for b_ in sensor("sentinel-2-l2a").bands]) - 0.0006
    b[9:, 0] -= torch.tensor([0.002, 0.003, 0.016])
    slope, offset = SLOPE_OFFSET["s2b"][6]
    torch.testing.assert_close(to_hls(x, b, 30.0)[0, 6], x[0, 11] * slope + offset)


def test_translation_recovers_a_planted_law() -> None:
    rng = np.random.default_rng(0)
    law = rng.random((12, 7)) / 7
    low = rng.random((8, 1, 7, 48, 48)).astype(np.float32)
    high = np.einsum("kc,btcyx->btkyx", law, low).astype(np.float32)
    points = rng.integers(0, 48, (8, 60, 2))
    day = np.full((8, 1), 90.0, np.float32)
    of = {"s2": ("sentinel-2-l2a", high), "l8": ("landsat-8-l2", low)}
    views = tuple(
        View(n, px, tuple(b for b in sensor(s).bands if b.kind == "reflectance"), 60.0, day, points)
        for n, (s, px) in of.items()
    )
    tokenizer = Translated(32, 6)
    tokenizer.fit([views], 0)
    assert int(tokenizer.n_pairs) == 480
    told = tokenizer.translated(torch.from_numpy(low[:, 0]), L8)
    torch.testing.assert_close(told, torch.from_numpy(high[:, 0]), atol=5e-3, rtol=0)
    apart = (replace(views[0], day_of_year=day + 60), views[1])
    other = Translated(32, 6)
    other.fit([apart], 0)
    assert int(other.n_pairs) == 0


@pytest.mark.parametrize("rival", ["band_attention", "late", "translation"])
def test_training_by_name_and_loading_again(rival: str, tmp_path: object) -> None:
    scenes = [simulate_scene(seed=s, size=(72, 72), modalities=("s2", "l8"), dates=1) for s in (1, 2)]
    small = {"rival": rival, **SMALL}
    recipe = {"name": f"sensors:{rival}", "objective": "pmi", "encoder": small, "batch": 2, "points": 4, "max_dates": 1}
    model = train(scenes, recipe=recipe, steps=2, progress=False)
    again = load_model(save_model(model, f"{tmp_path}/m"))
    assert asdict(again.encoder.config) == asdict(model.encoder.config)
    assert again.hash == model.hash
    if rival == "translation":
        assert int(again.encoder.tokenizer.n_pairs) > 0
    said = [encode(scenes[0], model=m, dtype="float32", progress=False).mean.values for m in (model, again)]
    np.testing.assert_array_equal(said[0], said[1])
    assert said[0].shape == (64, 72, 72)
    fresh = untrained(model.encoder.config, 0)
    moved = [float((a - b).abs().max()) for a, b in zip(fresh.parameters(), model.encoder.parameters(), strict=True)]
    assert max(moved) > 0


def test_a_recipe_names_its_rival() -> None:
    assert "sensors" in list_recipes()
    ours, theirs = load_recipe("sensors"), load_recipe("sensors:slots")
    assert theirs.encoder == {"rival": "slots"}
    assert replace(theirs, name=ours.name, encoder=ours.encoder).hash == ours.hash
    assert not any("worldcereal" in str(entry).lower() for entry in ours.real)
    with pytest.raises(RecipeError, match=r"Unknown rival 'sloth'; use one of 'band_attention'"):
        train(simulate_scene(size=(48, 48), modalities=("s2",)), recipe="sensors:sloth", steps=1)
    with pytest.raises(RecipeError, match=r"Pass objective='pmi'"):
        train(simulate_scene(size=(48, 48), modalities=("s2",)), recipe="sensors:slots", objective="predict", steps=1)


def test_rivals_are_of_like_size() -> None:
    sizes = {name: sum(p.numel() for p in build_encoder(PlainConfig(name)).parameters()) for name in RIVALS}
    ours = sum(p.numel() for p in Encoder().parameters())
    late = sizes.pop("late")  # two networks, each of the size of the others
    assert all(0.8 < size / ours < 1.25 for size in (*sizes.values(), late / 2)), sizes


def test_errors_say_what_to_do(tmp_path: object) -> None:
    with pytest.raises(ShapeMismatch, match=r"stride \* patch must be a multiple"):
        PlainConfig("slots", token_px=7)
    with pytest.raises(ShapeMismatch, match="multiples of 24"):
        _network("slots").dense(torch.zeros(1, 12, 50, 48), S2, cell_m=60.0, day_of_year=torch.ones(1))
    folder = save_model(make_model(_network("slots"), name="x"), f"{tmp_path}/m")
    from georeset_lab.files import seal, unseal

    card = unseal((folder / "card.json").read_bytes())
    card["config"]["rival"] = "gone"
    (folder / "card.json").write_bytes(seal(card))
    with pytest.raises(CheckpointError, match="Unknown rival 'gone'"):
        load_model(folder)
