import pytest
import torch

from georeset_lab.errors import CheckpointError
from georeset_lab.models.checkpoint import load_model, make_model, save_model
from georeset_lab.models.encoder import Encoder, EncoderConfig
from georeset_lab.models.sharpness import N_SHARPNESS
from georeset_lab.models.upgrade import widened

TINY = EncoderConfig(latent_dim=8, n_local=6, width=16, depth=1, heads=2, n_learned=2, head_width=16)
GREW = {"tokens.weight": 4, "head.mix.weight": 1, "head.beside.weight": 1}


def older(encoder: Encoder) -> dict[str, torch.Tensor]:
    """Its weights as they were before sharpness was read."""
    out = {k: v.clone() for k, v in encoder.state_dict().items()}
    for name, shares in GREW.items():
        parts = out[name].reshape(len(out[name]), shares, -1)[..., :-N_SHARPNESS]
        out[name] = parts.reshape(len(parts), -1).contiguous()
    return out


def test_inputs_that_were_not_there_get_no_weight_and_the_others_keep_theirs():
    encoder = Encoder(TINY)
    found = widened(older(encoder), encoder.state_dict(), cells_per_token=4)
    for name, shares in GREW.items():
        now, before = (z[name].reshape(len(z[name]), shares, -1) for z in (found, encoder.state_dict()))
        assert torch.equal(now[..., :-N_SHARPNESS], before[..., :-N_SHARPNESS])
        assert not now[..., -N_SHARPNESS:].any()
    same = widened(encoder.state_dict(), encoder.state_dict(), cells_per_token=4)
    assert all(torch.equal(same[k], v) for k, v in encoder.state_dict().items())


def test_a_folder_of_older_weights_loads(tmp_path, monkeypatch):
    from georeset_lab.models import checkpoint

    encoder = Encoder(TINY)
    model = make_model(encoder, name="older", card={})
    monkeypatch.setattr(checkpoint, "_state", older)
    loaded = load_model(save_model(model, tmp_path / "older")).encoder
    assert not loaded.head.beside.weight[:, -N_SHARPNESS:].any()
    assert torch.equal(loaded.head.beside.weight[:, :-N_SHARPNESS], encoder.head.beside.weight[:, :-N_SHARPNESS])


def test_weights_that_read_more_than_this_version_are_refused(tmp_path, monkeypatch):
    from georeset_lab.models import checkpoint

    def newer(encoder):
        state = dict(encoder.state_dict())
        state["head.beside.weight"] = torch.nn.functional.pad(state["head.beside.weight"], (0, 5))
        return state

    monkeypatch.setattr(checkpoint, "_state", newer)
    folder = save_model(make_model(Encoder(TINY), name="newer", card={}), tmp_path / "newer")
    with pytest.raises(CheckpointError, match="do not fit this version"):
        load_model(folder)
