from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from georeset_lab.evaluate import rows
from georeset_lab.evaluate.rows import ALL, Row

SMALL = {"latent_dim": 8, "n_local": 6, "width": 16, "depth": 1, "heads": 2, "n_learned": 2, "head_width": 16}


def save(folder, name, seed, card=None):
    from georeset_lab.models.checkpoint import make_model, save_model
    from georeset_lab.models.encoder import EncoderConfig
    from georeset_lab.train.loop import untrained

    return save_model(make_model(untrained(EncoderConfig(**SMALL), seed), name=name, card=card), folder)


@pytest.fixture
def models(tmp_path):
    save(tmp_path / "pmi-seed0" / "model", "pmi", 10, {"objective": "pmi"})
    save(tmp_path / "infonce-seed2", "infonce", 11, {"objective": "infonce"})
    save(tmp_path / "mine", "mine", 12)
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_models_are_found_by_folder_name_and_missing_ones_come_with_their_command(models):
    found, missing = rows.find_models(models)
    assert [(r.name, r.seed) for r in found if r.name != "default"] == [
        ("untrained", 0),
        ("untrained", 1),
        ("untrained", 2),
        ("infonce", 2),
        ("pmi", 0),
        ("mine", None),
    ]
    commands = [m for m in missing if "georeset train" in m]
    assert len(commands) == 10
    assert "--objective pmi --seed 1" in " ".join(commands)
    assert str(models / "pmi-seed1") in " ".join(commands)


def test_the_untrained_twin_has_the_sizes_of_the_trained_and_the_weights_of_its_seed(models):
    from georeset_lab.train.loop import untrained

    twin = rows.find_models(models)[0][0]
    encoder = rows.load(replace(twin, identity="1")).encoder
    assert encoder.config.latent_dim == 8
    fresh = untrained(encoder.config, 0).state_dict()
    assert all((v == fresh[k]).all() for k, v in encoder.state_dict().items())


def test_identity_is_the_hash_of_the_weights(models):
    first = {r.name: r.identity for r in rows.find_models(models)[0]}
    save(models / "mine2", "mine2", 12)
    again = {r.name: r.identity for r in rows.find_models(models)[0]}
    assert again["mine2"] == first["mine"]
    assert len({first["mine"], first["pmi"], first["infonce"]}) == 3


def test_rows_of_a_task_depend_on_its_modalities():
    assert [r.view for r in rows.cheap_rows(("s2",))] == [ALL] * 6
    assert [r.name for r in rows.cheap_rows(("s2",), Row("galileo"))][-2:] == ["galileo", "galileo"]
    assert rows.cheap_rows(("enmap",), Row("galileo")) == rows.cheap_rows(("enmap",))
    assert {(r.name, r.view) for r in rows.cheap_rows(("s2", "s1"))} >= {("raw", "s1"), ("raw5", "s2")}
    one, two = (rows.model_rows(Row("pmi", seed=0), m) for m in (("s2",), ("s2", "s1")))
    assert [(r.view, r.local) for r in one] == [(ALL, False), (ALL, True)]
    assert [(r.view, r.local) for r in two] == [(ALL, False), ("s2", False), ("s1", False), (ALL, True)]


@pytest.mark.parametrize(
    ("family", "modalities", "words"),
    [
        (("raw5", ALL, False), ("s2",), "raw bands + 5x5 mean and std"),
        (("raw", ALL, False), ("s2", "s1"), "raw bands, s2 + s1"),
        (("pmi", "s1", False), ("s2", "s1"), "our encoder, PMI, s1 only"),
        (("pmi", ALL, True), ("s2", "s1"), "our encoder, PMI, fused + raw 5x5"),
        (("mine", ALL, False), ("s2",), "mine"),
    ],
)
def test_titles_say_what_a_row_saw(family, modalities, words):
    assert rows.title(family, modalities) == words


def test_features_of_an_encoder_lie_on_the_task_grid_and_are_missing_where_nothing_was_measured(models, planted_task):
    scene = planted_task.scene
    raw = scene["s2"].raw.copy()
    raw[:, :, :10, :10] = np.nan
    scene = replace(scene, modalities={"s2": replace(scene["s2"], raw=raw)})
    task = replace(planted_task, scene=scene)
    base = next(r for r in rows.find_models(models)[0] if r.name == "pmi")
    plain, local = rows.features_of(rows.model_rows(base, ("s2",)), task)
    assert plain.shape == (72, 72, 8)
    assert local.shape == (72, 72, 8 + 9)
    assert np.isnan(plain[:10, :10]).all()
    assert np.isfinite(plain[20:, 20:]).all()


def test_features_equal_the_posterior_mean(models, planted_task):
    from georeset_lab.embed.encode import encode

    base = next(r for r in rows.find_models(models)[0] if r.name == "pmi")
    (plain,) = rows.features_of([base], planted_task)
    emb = encode(
        planted_task.scene, model=models / "pmi-seed0" / "model", dtype="float32", device="cpu", progress=False
    )
    np.testing.assert_array_equal(plain, np.moveaxis(emb.mean.values, 0, -1))


def test_weights_trained_on_the_place_are_recognised(tmp_path, planted_task):
    save(
        tmp_path / "pmi-seed0",
        "pmi",
        0,
        {"objective": "pmi", "recipe": {"real": [{"source": {"s2": "sets/home/S2.tif"}}]}},
    )
    save(tmp_path / "pmi-seed1", "pmi", 1, {"objective": "pmi", "recipe": {"real": [{"source": "sets/elsewhere"}]}})
    found = {(r.name, r.seed): r for r in rows.find_models(tmp_path)[0]}
    assert rows.trained_here(found["pmi", 0], planted_task)
    assert not rows.trained_here(found["pmi", 1], planted_task)
    assert not rows.trained_here(found["untrained", 0], planted_task)
    assert not rows.trained_here(Row("raw"), planted_task)
