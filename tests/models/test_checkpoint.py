"""Models on disk: what is read back is what was written, or it is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from georeset_lab.errors import CheckpointError
from georeset_lab.models.checkpoint import Model, kept_model, list_models, load_model, make_model
from georeset_lab.models.encoder import Encoder, EncoderConfig

SMALL = EncoderConfig(latent_dim=8, n_local=6, width=32, depth=1, heads=2, n_learned=2, head_width=16)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return make_model(Encoder(SMALL), name="small", card={"objective": "pmi", "data": "né à Paris"})


def test_weights_card_and_identity_survive_the_disk(model: Model, tmp_path: Path) -> None:
    back = load_model(model.save(tmp_path / "m"))
    assert (back.hash, back.name, back.card["data"]) == (model.hash, "small", "né à Paris")
    assert back.encoder.config == SMALL
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, back.encoder.state_dict()[name])
    assert make_model(back.encoder, name="again").hash == model.hash


def test_a_kept_model_is_read_again_when_its_files_change(model: Model, tmp_path: Path) -> None:
    folder = str(model.save(tmp_path / "m"))
    first = kept_model(folder)
    assert kept_model(folder) is first
    torch.manual_seed(1)
    other = make_model(Encoder(SMALL), name="other")
    other.save(tmp_path / "m")
    assert kept_model(folder).hash == other.hash != first.hash
    (tmp_path / "m" / "card.json").unlink()
    with pytest.raises(CheckpointError):
        kept_model(folder)
    assert kept_model("default").hash == load_model("default").hash


def test_every_flipped_bit_is_refused(model: Model, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "m")
    rng = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for _ in range(30):
            broken = bytearray(content)
            broken[rng.integers(len(broken))] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(broken))
            with pytest.raises(CheckpointError, match=r"Copy the folder again"):
                load_model(folder)
        path.write_bytes(content)
    assert load_model(folder).hash == model.hash


@pytest.mark.parametrize("name", ["weights.safetensors", "card.json"])
def test_a_missing_or_truncated_file_is_refused(model: Model, tmp_path: Path, name: str) -> None:
    folder = model.save(tmp_path / "m")
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"Copy the folder again"):
        load_model(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"Copy the folder again"):
        load_model(folder)


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps({"model": "somebody else's"}))
    (tmp_path / "weights.safetensors").write_bytes(b"\x80\x04 pickle")
    with pytest.raises(CheckpointError, match=r"not a sealed card"):
        load_model(tmp_path)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(CheckpointError, match=r"Released models: "):
        load_model("no-such-model")


def test_saving_again_replaces_the_model_and_leaves_nothing_behind(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    model.save(tmp_path / "m")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_the_default_model_ships_and_fits_its_budget() -> None:
    assert "default" in list_models()
    shipped = load_model("default")
    size = sum(p.stat().st_size for p in (Path(__file__).parents[2] / "georeset_lab/models/weights/default").iterdir())
    assert size <= 8_000_000
    assert shipped.card["objective"] == "predict"
    assert "Galileo" in shipped.card["teacher"]
    assert shipped.targets
