"""Training: a killed run resumes to the same weights, bad settings are refused, and the loss really falls."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from georeset_lab.data.scene import Scene
from georeset_lab.data.simulate import simulate_scene
from georeset_lab.errors import CheckpointError, RecipeError
from georeset_lab.models.checkpoint import load_model
from georeset_lab.models.encoder import EncoderConfig
from georeset_lab.train.gauges import effective_rank, gauges
from georeset_lab.train.loop import learning_rate, train, untrained
from georeset_lab.train.recipe import Recipe, list_recipes, load_recipe

TINY = {
    "encoder": {
        "latent_dim": 8,
        "n_local": 6,
        "width": 32,
        "depth": 1,
        "heads": 2,
        "n_learned": 2,
        "n_kernels": 8,
        "head_width": 16,
    },
    "batch": 3,
    "points": 6,
    "steps": 8,
    "objective": "pmi",
    "warmup": 2,
    "checkpoint_every": 2,
}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [simulate_scene(seed=i, size=(72, 72), modalities=("s2", "s1"), dates=2) for i in range(2)]


def test_an_interrupted_run_ends_at_the_weights_of_an_unbroken_one(scenes: list[Scene], tmp_path: Path) -> None:
    whole = train(scenes, recipe=TINY, out=tmp_path / "whole", progress=False)
    train(scenes, recipe=TINY, out=tmp_path / "broken", minutes=1e-9, progress=False)
    run = _interrupt(scenes, tmp_path / "broken", after=5)
    assert run == 5
    resumed = train(scenes, recipe=TINY, out=tmp_path / "broken", progress=False)
    assert resumed.hash == whole.hash
    assert load_model(tmp_path / "broken" / "model").hash == whole.hash


def _interrupt(scenes: list[Scene], out: Path, after: int, recipe: dict[str, object] | None = None) -> int:
    """Stop a run as Ctrl-C would after some steps; return the steps it made."""
    from georeset_lab.train import loop

    made = 0
    original = loop._Run._step

    def step(self: object, *args: object) -> dict[str, float]:
        nonlocal made
        if made == after:
            raise KeyboardInterrupt
        made += 1
        return original(self, *args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Run, "_step", step)
        with pytest.raises(KeyboardInterrupt):
            train(scenes, recipe=recipe or TINY, out=out, progress=False)
    return made


@pytest.mark.slow
def test_a_run_killed_at_random_times_loses_at_most_one_interval(tmp_path: Path) -> None:
    script = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from georeset_lab.data.simulate import simulate_scene\n"
        "from georeset_lab.train.loop import train\n"
        "scenes = [simulate_scene(seed=i, size=(72, 72), modalities=('s2', 's1'), dates=2) for i in range(2)]\n"
        f"print(train(scenes, recipe={TINY | {'steps': 40}!r}, out=sys.argv[1], progress=False).hash)\n"
    )
    command = [sys.executable, "-c", script]
    whole = subprocess.run(
        [*command, str(tmp_path / "whole")], capture_output=True, text=True, check=True
    ).stdout.split()[-1]
    rng = np.random.default_rng(0)
    for _ in range(2):
        child = subprocess.Popen([*command, str(tmp_path / "killed")], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not (tmp_path / "killed" / "state").is_dir() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 0.5)))
        child.kill()
        child.wait()
    done = subprocess.run(
        [*command, str(tmp_path / "killed")], capture_output=True, text=True, check=True
    ).stdout.split()[-1]
    assert done == whole


def test_a_damaged_state_is_refused_and_another_run_is_not_overwritten(scenes: list[Scene], tmp_path: Path) -> None:
    train(scenes, recipe=TINY | {"steps": 2}, out=tmp_path, progress=False)
    with pytest.raises(CheckpointError, match=r"differs in recipe"):
        train(scenes, recipe=TINY | {"steps": 4}, out=tmp_path, progress=False)
    with pytest.raises(CheckpointError, match=r"differs in seed"):
        train(scenes, recipe=TINY | {"steps": 2}, seed=3, out=tmp_path, progress=False)
    tensors = tmp_path / "state" / "state.safetensors"
    broken = bytearray(tensors.read_bytes())
    broken[len(broken) // 2] ^= 1
    tensors.write_bytes(bytes(broken))
    with pytest.raises(CheckpointError, match=r"do not match their card"):
        train(scenes, recipe=TINY | {"steps": 2}, out=tmp_path, progress=False)


@pytest.mark.parametrize("objective", ["pmi", "infonce", "elk", "csd", "prolip"])
def test_the_loss_falls_and_nothing_collapses(scenes: list[Scene], tmp_path: Path, objective: str) -> None:
    recipe = TINY | {"steps": 150, "warmup": 10, "lr": 3e-3, "checkpoint_every": 150}
    train(scenes, objective=objective, recipe=recipe, out=tmp_path, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [25, 50, 75, 100, 125, 150]
    if objective in ("pmi", "infonce"):
        assert min(line["pixel/across"] for line in lines) < 2 * np.log(18)
    losses = [line["loss"] for line in lines]  # of single batches, which differ in modalities
    assert np.mean(losses[3:]) < np.mean(losses[:3])
    assert min(line["s2/rank"] for line in lines) > 1.2


@pytest.mark.parametrize("objective", ["decur", "comm", "factorcl"])
def test_objectives_of_two_sensors_train_and_need_two(scenes: list[Scene], tmp_path: Path, objective: str) -> None:
    recipe = TINY | {"steps": 100, "warmup": 5, "lr": 3e-3, "checkpoint_every": 100, "points": 12}
    train(scenes, objective=objective, recipe=recipe, out=tmp_path, progress=False)
    losses = [json.loads(line)[f"pixel/{objective}"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert np.isfinite(losses).all()
    assert np.mean(losses[2:]) < np.mean(losses[:2])
    with pytest.raises(RecipeError, match=r"needs scenes with two modalities; given were .*s1"):
        train(scenes[0].only("s1"), objective=objective, recipe=TINY, progress=False)


def test_no_step_at_all_fits_the_signature_alone(scenes: list[Scene]) -> None:
    config = EncoderConfig(**TINY["encoder"])  # type: ignore[arg-type]
    fresh = untrained(config, seed=0).state_dict()
    fitted = train(scenes, recipe=PREDICT, steps=0, progress=False).encoder.state_dict()
    changed = {name for name, value in fresh.items() if not torch.equal(value, fitted[name])}
    assert {"signature.optical_kernels", "signature.echo_kernels", "signature.pixel_turn"} <= changed
    assert all(name.startswith("signature.") for name in changed)
    trained = train(scenes, recipe=PREDICT, steps=2, progress=False).encoder.state_dict()
    assert all(torch.equal(v, fitted[k]) for k, v in trained.items() if k.startswith("signature."))
    assert not torch.equal(trained["head.alone.weight"], fitted["head.alone.weight"])


def test_training_starts_from_given_weights(scenes: list[Scene]) -> None:
    first = train(scenes, recipe=TINY | {"steps": 1}, progress=False)
    second = train(scenes, recipe=TINY | {"steps": 1, "lr": 1e-12}, init=first, progress=False)
    for name, value in first.encoder.state_dict().items():
        torch.testing.assert_close(value, second.encoder.state_dict()[name], atol=1e-6, rtol=0)


def test_fresh_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    a, b, c = untrained(seed=0), untrained(seed=0), untrained(seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a.tokens.weight, b.tokens.weight)
    assert torch.equal(a.signature.optical_kernels, b.signature.optical_kernels)
    assert not torch.equal(a.tokens.weight, c.tokens.weight)


def test_learning_rate_warms_up_and_ends_near_zero() -> None:
    recipe = Recipe(steps=100, warmup=10, lr=1.0)
    rates = [learning_rate(t, recipe) for t in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.001
    assert all(b <= a for a, b in pairwise(rates[10:]))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"stepz": 3}, r"unknown fields stepz"),
        ({"steps": -1}, r"steps=-1; it must be at least 0"),
        ({"augmentation": {"clouds": 1}}, r"unknown augmentation"),
        ("no-such-recipe", r"No recipe 'no-such-recipe'"),
        ({"encoder": {"widht": 1}}, r"unknown encoder setting"),
        (
            {"objective": "clip"},
            r"Unknown objective 'clip'; use one of 'predict', 'pmi', .*, 'factorcl'",
        ),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(scenes: list[Scene], recipe: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        train(scenes, recipe=recipe, progress=False)  # type: ignore[arg-type]


def test_recipes_in_the_package_load_and_need_their_data() -> None:
    assert {"default", "contrast", "simulated"} <= set(list_recipes())
    for name in list_recipes():
        assert load_recipe(name).name == name
    with pytest.raises(RecipeError, match=r"pass data="):
        load_recipe(load_recipe("default").__class__(real=({"source": "x.tif"},))).scenes()


def test_no_test_place_is_named_by_any_recipe() -> None:
    forever = ("433D_629L", "637U_59R", "eolearn", "rstoolbox", "enmap", "spechomo", "TZ-37MBS", "BE-31UES-2019a")
    for name in list_recipes():
        text = json.dumps([entry["source"] for entry in load_recipe(name).real])
        assert not [place for place in forever if place in text]
        assert not [pair for pair in ("20171221", "20170924", "20180204", "20170925") if pair in text]


def test_gauges_tell_a_spread_embedding_from_a_collapsed_one() -> None:
    from georeset_lab.models.fusion import Gaussian

    rng = torch.Generator().manual_seed(0)
    tau = torch.rand(200, 16, generator=rng) + 1
    healthy = gauges(Gaussian(tau * torch.randn(200, 16, generator=rng) * 3, tau))
    collapsed = gauges(Gaussian(torch.ones(200, 16), torch.ones(200, 16)))
    assert healthy["spread"] > 0.9 > 0.1 > collapsed["spread"]
    assert healthy["rank"] > 12
    assert collapsed["cosine"] == pytest.approx(1.0, abs=1e-4)
    assert collapsed["certainty_spread"] == pytest.approx(0.0, abs=1e-6)
    assert effective_rank(torch.eye(5)) == pytest.approx(5.0, rel=1e-4)


PREDICT = TINY | {"objective": "predict", "points": 12}


def test_prediction_resumes_to_the_same_weights_and_keeps_its_targets(scenes: list[Scene], tmp_path: Path) -> None:
    whole = train(scenes, recipe=PREDICT, progress=False)
    assert whole.targets
    assert _interrupt(scenes, tmp_path, after=5, recipe=PREDICT) == 5
    assert (tmp_path / "state").is_dir()
    resumed = train(scenes, recipe=PREDICT, out=tmp_path, progress=False)
    assert resumed.hash == whole.hash
    back = load_model(tmp_path / "model")
    assert all(torch.equal(v, whole.targets[k]) for k, v in back.targets.items())


def test_adaptation_explains_more_of_the_scene_and_says_how_much(
    scenes: list[Scene], capsys: pytest.CaptureFixture[str]
) -> None:
    start = train(scenes, recipe=PREDICT | {"steps": 20}, progress=False)
    adapted = train(scenes[0], init=start, recipe=PREDICT | {"steps": 60, "lr": 3e-3}, progress=True)
    before, after = adapted.card["explained_before"], adapted.card["explained_after"]
    assert set(before) == {"pixel", "texture", "radar", "wide", "teacher"}
    seen = (
        "pixel",
        "texture",
        "radar",
        "wide",
    )  # without a teacher its block only holds on to what 20 steps made of it
    assert sum(after[b] for b in seen) > sum(before[b] for b in seen)
    assert after["pixel"] > before["pixel"]
    printed = capsys.readouterr().out
    assert "share of the targets explained" in printed
    assert f"{after['pixel']:.2f}" in printed
    assert adapted.card["init"] == start.hash


def test_prediction_needs_sentinel_2_and_says_what_to_do(scenes: list[Scene]) -> None:
    with pytest.raises(RecipeError, match=r"needs a scene with Sentinel-2 at 10 m.*objective='pmi'"):
        train(scenes[0].only("s1"), recipe=PREDICT, progress=False)
    with pytest.raises(RecipeError, match=r"Unknown targets colour; choose some of pixel"):
        train(scenes, recipe=PREDICT | {"targets": ["colour"]}, progress=False)


def test_contrast_can_be_added_to_prediction(scenes: list[Scene], tmp_path: Path) -> None:
    train(scenes, recipe=PREDICT | {"pmi": 0.1, "steps": 25}, out=tmp_path, progress=False)
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert {"pixel/s2", "pixel/fused", "pixel/across", "scene/within"} <= set(line)


def test_the_rate_ends_at_the_time_limit_too() -> None:
    recipe = Recipe(steps=100, warmup=10, lr=1.0)
    assert learning_rate(20, recipe, 1.0) == pytest.approx(0.0)
    assert learning_rate(90, recipe, 0.1) == learning_rate(90, recipe)
