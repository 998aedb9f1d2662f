"""Planted truth: the world hides what it says it hides, the scores are right, and PMI finds out who sees what."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from georeset_lab.errors import RecipeError
from georeset_lab.evaluate import planted
from georeset_lab.evaluate.planted import SEEN, SHARED, UNIQUE, World, run_planted

N = 4000


def factors(seed=0):
    return torch.randn(N, 12, generator=torch.Generator().manual_seed(seed))


def look(z, name, world=None, seed=1):
    return (world or World(0)).look(z, name, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "unseen"), [("a", slice(8, 12)), ("b", slice(0, 4))])
def test_what_a_sensor_does_not_see_leaves_its_inputs_alone(name, unseen):
    z = factors()
    changed = z.clone()
    changed[:, unseen] = factors(9)[:, unseen]
    assert torch.equal(look(z, name)[0], look(changed, name)[0])


@pytest.mark.parametrize("name", SEEN)
def test_every_seen_factor_moves_clear_inputs_and_no_clouded_one(name):
    z = factors()
    x, hidden = look(z, name)
    for k in range(12)[SEEN[name]]:
        changed = z.clone()
        changed[:, k] += 1
        moved = (look(changed, name)[0] - x).abs().mean(1)
        assert (moved[~hidden] > 0.01).all()
        assert (moved[hidden] == 0).all()


def test_sensors_share_four_factors_and_own_four_each():
    everything = {n: set(range(12)[s]) for n, s in SEEN.items()}
    assert everything["a"] & everything["b"] == set(range(12)[SHARED])
    assert everything["a"] - everything["b"] == set(range(12)[UNIQUE["a"]])
    assert everything["b"] - everything["a"] == set(range(12)[UNIQUE["b"]])


def test_a_third_of_the_views_of_a_is_cloudy_and_none_of_b():
    assert float(look(factors(), "a")[1].float().mean()) == pytest.approx(0.3, abs=0.03)
    assert not look(factors(), "b")[1].any()


def test_two_looks_differ_by_noise_and_the_world_by_its_seed():
    z = factors()
    assert torch.equal(look(z, "b")[0], look(z, "b")[0])
    noise = look(z, "b", seed=1)[0] - look(z, "b", seed=2)[0]
    assert float(noise.std()) == pytest.approx(2**0.5, abs=0.03)
    assert not torch.allclose(look(z, "b")[0], look(z, "b", World(1))[0])


@pytest.mark.parametrize("k", [1, 3])
def test_r2_is_that_of_sklearn_on_the_half_that_was_not_fitted(k):
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 5))
    y = x @ rng.normal(size=(5, k)) * np.arange(1, k + 1) + rng.normal(size=(600, k))
    fitted = Ridge(0.3).fit(x[:300], y[:300]).predict(x[300:]).reshape(300, k)
    expected = r2_score(y[300:], fitted, multioutput="variance_weighted")
    assert planted._r2(x, y) == pytest.approx(expected, abs=1e-9)
    assert 0.3 < expected < 0.99
    guess = y + rng.normal(size=y.shape)
    plain = r2_score(y[300:], guess[300:], multioutput="variance_weighted")
    assert planted._r2(guess, y, fit=False) == pytest.approx(plain, abs=1e-9)


def test_r2_of_what_says_nothing_is_about_0():
    rng = np.random.default_rng(1)
    assert abs(planted._r2(rng.normal(size=(4000, 16)), rng.normal(size=(4000, 4)))) < 0.02


class Oracle(torch.nn.Module):
    """Expert that knows its factors where it is clear, one dimension for each; the last four are dead, yet certain."""

    def __init__(self, name, seed=0, confused=False):
        super().__init__()
        z, self.x, self.hidden = planted._sample(World(seed), name)
        self.eta, self.tau = torch.zeros(N, 16), torch.zeros(N, 16)
        self.eta[:, SEEN[name]], self.tau[:, SEEN[name]] = 50 * z[:, SEEN[name]], 50.0
        self.eta[self.hidden], self.tau[self.hidden] = 0.0, 60.0 if confused else 0.0
        self.tau[:, 12:] = 50.0

    def forward(self, x):
        assert torch.equal(x, self.x), "scored on the same views"
        return planted.Gaussian(self.eta, self.tau)


def test_an_oracle_gets_full_marks_and_an_overconfident_one_does_not_notice_clouds():
    nets = torch.nn.ModuleDict({n: Oracle(n) for n in SEEN})
    found = planted._score(World(0), nets, 0.5)
    assert found.ownership == 1
    assert found.corruption == 1
    assert found.unique > 0.99
    assert found.shared > 0.99
    assert abs(found.leaked) < 0.02
    assert found.supervised_unique == 0.5
    nets["a"] = Oracle("a", confused=True)
    assert planted._score(World(0), nets, 0.5).corruption < 0.05


def test_an_unknown_objective_is_refused_before_any_step():
    with pytest.raises(RecipeError, match="'clip'"):
        run_planted("clip", 0, steps=10**9)


def test_the_same_seed_is_the_same_run_and_leaves_torch_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one = run_planted("pmi", 0, steps=20)
    assert torch.equal(torch.rand(1), expected)
    torch.manual_seed(99)
    np.testing.assert_equal(asdict(run_planted("pmi", 0, steps=20)), asdict(one))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_pmi_finds_out_who_sees_what_and_notices_clouds(seed):
    found = run_planted("pmi", seed, steps=200)
    assert found.ownership > 0.8
    assert found.corruption > 0.8
    assert abs(found.leaked) < 0.05
    assert found.unique > 0.5
    assert found.shared > 0.5
    assert found.supervised_unique > found.unique
