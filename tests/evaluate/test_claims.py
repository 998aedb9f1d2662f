"""What a sensor claims to know, against what clean views show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from georeset_lab.evaluate import claims as module
from georeset_lab.evaluate.claims import TAUGHT, claims
from georeset_lab.models.fusion import Gaussian
from georeset_lab.models.signature import BLOCKS


@pytest.fixture
def predicting(model):
    return replace(model, card={"objective": "predict"})


def test_other_objectives_claim_nothing_that_could_be_checked(model, windows):
    assert claims(replace(model, card={"objective": "pmi"}), windows) == {}


def test_every_sensor_has_every_block_at_every_place(predicting, windows):
    found = claims(predicting, windows)
    assert list(found) == ["s2", "s1", "fused"]
    for blocks in found.values():
        assert list(blocks) == [b for b in BLOCKS if b != TAUGHT]
        assert all(len(values) == len(windows.names) for block in blocks.values() for values in block.values())


def test_who_says_the_truth_has_no_error_and_who_says_nothing_has_that_of_the_prior(predicting, windows, monkeypatch):
    truth = module._truth(predicting.encoder, windows)
    right = Gaussian(4.0 * truth, torch.full_like(truth, 3.0))  # posterior mean 4 / (1 + 3) of the truth, variance 1/4
    mute = Gaussian(torch.zeros_like(truth), torch.zeros_like(truth))
    said = {id(windows.views["s2"]): right, id(windows.views["s1"]): mute}
    monkeypatch.setattr(module, "experts", lambda encoder, view: said[id(view)])
    found = claims(predicting, windows)
    for block in found["s2"].values():
        np.testing.assert_allclose(block["realised"], 0, atol=1e-10)
        np.testing.assert_allclose(block["predicted"], 0.25, rtol=1e-6)
    for block in found["s1"].values():
        np.testing.assert_allclose(block["realised"], block["prior"], rtol=1e-6)
        np.testing.assert_allclose(block["predicted"], 1.0, rtol=1e-6)
    assert found["fused"] == found["s2"], "a sensor that says nothing changes nothing"


def test_dates_of_one_ground_share_one_truth(predicting, windows):
    same = replace(windows, ground=np.zeros_like(windows.ground))
    truth = module._truth(predicting.encoder, same)
    torch.testing.assert_close(truth[0], truth[-1])
    apart = module._truth(predicting.encoder, windows)
    torch.testing.assert_close(truth[0], apart.mean(0))
