"""Planted truth: two toy sensors that each see part of a known latent, and objectives that should find out which.

Sensor A sees factors 0..7, sensor B sees 4..11; each view has its own noise, and in 30 % of A's views a cloud hides the
ground. Small networks, one for each sensor, are trained by each objective for the same steps from the same draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.models.emission import MAX_TAU
from georeset_lab.models.fusion import Gaussian, fuse
from georeset_lab.train.critics import make_critic

SEEN = {"a": slice(0, 8), "b": slice(4, 12)}
UNIQUE = {"a": slice(0, 4), "b": slice(8, 12)}
SHARED = slice(4, 8)
N_FACTORS, N_INPUTS, LATENT = 12, 32, 16
CLOUDY = 0.3
_NOISE = 1.0
_BATCH, _WIDTH, _TEST = 256, 96, 4000
_KEEP = 0.65
_SETTLED = 0.3
"""A dimension whose factors explain less of its fused mean than this belongs to nobody."""


@dataclass(frozen=True)
class Planted:
    """What one run found; every score is higher when better."""

    ownership: float
    """AUROC: certainty of a sensor in a dimension, for whether it sees the factors that make up that dimension."""
    corruption: float
    """AUROC: variance of A's expert, for whether a cloud hid the ground."""
    unique: float
    """R2 of the factors that only one sensor sees, from its own expert on clear views, mean of both."""
    shared: float
    """R2 of the shared factors from the fused mean on clear views."""
    supervised_unique: float
    """R2 of the unique factors from the inputs by the same network trained with the truth."""
    leaked: float
    """R2 of B's unique factors from A's expert: above 0 something is wrong."""


class World:
    """Fixed random sensors: factors in, inputs out."""

    def __init__(self, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.mix = {name: torch.randn(8, N_INPUTS, generator=draw) / 8**0.5 for name in SEEN}
        self.bend = {name: torch.randn(N_INPUTS, N_INPUTS, generator=draw) / N_INPUTS**0.5 for name in SEEN}

    def look(self, z: Tensor, name: str, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """One view of factors (B, 12) by a sensor: inputs (B, 32) and where a cloud hid the ground (B,)."""
        clear = z[:, SEEN[name]] @ self.mix[name]
        clear = clear + torch.tanh(clear @ self.bend[name])
        x = clear + _NOISE * torch.randn(clear.shape, generator=draw)
        hidden = torch.rand(len(z), generator=draw) < (CLOUDY if name == "a" else 0.0)
        cloud = 1.5 + 0.8 * torch.randn(clear.shape, generator=draw)
        return torch.where(hidden[:, None], cloud, x), hidden


class Toy(nn.Module):
    """Two layers from inputs to a Gaussian expert."""

    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(N_INPUTS, _WIDTH), nn.GELU(), nn.Linear(_WIDTH, _WIDTH), nn.GELU(), nn.Linear(_WIDTH, n_out)
        )

    def forward(self, x: Tensor) -> Gaussian:
        """Expert (B, 16) of inputs (B, 32)."""
        mean, certainty = self.body(x).chunk(2, -1)
        tau = F.softplus(certainty).clamp_max(MAX_TAU)
        return Gaussian(tau * mean, tau)


def run_planted(objective: str, seed: int, *, steps: int = 1500) -> Planted:
    """Train the two toy encoders by one objective and score them against the truth.

    Parameters
    ----------
    objective : str
        Name that `georeset_lab.train.critics.make_critic` knows.
    seed : int
        Sensors, weights and draws; the same for every objective.
    steps : int
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        world, nets = World(seed), nn.ModuleDict({name: Toy(2 * LATENT) for name in SEEN})
        critic = make_critic(objective)
        draw = torch.Generator().manual_seed(1000 + seed)
        parameters = [*nets.parameters(), *critic.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            z = torch.randn(_BATCH, N_FACTORS, generator=draw)
            looks = [{name: nets[name](world.look(z, name, draw)[0]) for name in SEEN} for _ in range(2)]
            loss = _loss(critic, looks, draw)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return _score(world, nets.eval(), _supervised(world, seed, steps))


def _loss(critic: nn.Module, looks: list[dict[str, Gaussian]], draw: torch.Generator) -> Tensor:
    first, second = looks
    total: Tensor = critic(first["a"], second["b"]) + sum(critic(first[n], second[n]) for n in SEEN)
    sides = []
    for side in looks:
        keep = torch.rand(_BATCH, 2, generator=draw) < _KEEP
        keep[~keep.any(1), int(torch.randint(2, (1,), generator=draw))] = True
        experts = [Gaussian(*(z * keep[:, k, None] for z in side[n])) for k, n in enumerate(SEEN)]
        sides.append(fuse(experts))
    return total + critic(*sides)


def _supervised(world: World, seed: int, steps: int) -> float:
    """R2 of the unique factors by the same networks, trained with the truth on the same clear views."""
    scores = []
    for name, part in UNIQUE.items():
        torch.manual_seed(seed)
        net, draw = Toy(4), torch.Generator().manual_seed(1000 + seed)
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            z = torch.randn(_BATCH, N_FACTORS, generator=draw)
            x, hidden = world.look(z, name, draw)
            error = (net.body(x) - z[:, part])[~hidden].square().mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            schedule.step()
        z, x, hidden = _sample(world, name)
        with torch.no_grad():
            scores.append(_r2(net.body(x)[~hidden].numpy(), z[~hidden][:, part].numpy(), fit=False))
    return float(np.mean(scores))


def _sample(world: World, name: str, seed: int = 77) -> tuple[Tensor, Tensor, Tensor]:
    z = torch.randn(_TEST, N_FACTORS, generator=torch.Generator().manual_seed(seed))
    return (z, *world.look(z, name, torch.Generator().manual_seed(seed + (name == "b") + 1)))


@torch.no_grad()
def _score(world: World, nets: nn.ModuleDict, supervised: float) -> Planted:
    from sklearn.metrics import roc_auc_score

    z, x_a, hidden = _sample(world, "a")
    _, x_b, _ = _sample(world, "b")
    experts = {"a": nets["a"](x_a), "b": nets["b"](x_b)}
    clear = ~hidden
    fused = fuse([Gaussian(*(v[clear] for v in e)) for e in experts.values()])
    truth = z[clear].numpy()
    mean = {n: e.mean[clear].numpy() for n, e in experts.items()}
    who, certain = [], []
    for d in range(LATENT):
        share = {n: _r2(truth[:, SEEN[n]], fused.mean[:, [d]].numpy()) for n in SEEN}
        both = _r2(truth, fused.mean[:, [d]].numpy())
        if both < _SETTLED:
            continue
        for n in SEEN:
            who.append(share[n] > 0.5 * both)
            certain.append(float(1 - experts[n].var[clear][:, d].mean()))
    mixed = len(set(who)) == 2
    return Planted(
        ownership=float(roc_auc_score(who, certain)) if mixed else float("nan"),
        corruption=float(roc_auc_score(hidden.numpy(), experts["a"].var.sum(1).numpy())),
        unique=float(np.mean([_r2(mean[n], truth[:, part]) for n, part in UNIQUE.items()])),
        shared=_r2(fused.mean.numpy(), truth[:, SHARED]),
        supervised_unique=supervised,
        leaked=_r2(mean["a"], truth[:, UNIQUE["b"]]),
    )


def _r2(x: np.ndarray, y: np.ndarray, *, fit: bool = True) -> float:
    """Share of the variance of y (N, K) on the second half that a ridge on x, fitted on the first half, explains.

    0 where y is constant: nothing is there to explain, and a dead dimension belongs to nobody.
    """
    half = len(x) // 2
    if fit:
        from sklearn.linear_model import Ridge

        guess = Ridge(1e-3 * half).fit(x[:half], y[:half]).predict(x[half:]).reshape(len(y) - half, -1)
    else:
        guess = x[half:]
    rest = y[half:]
    spread = ((rest - rest.mean(0)) ** 2).sum()
    return float(1 - ((rest - guess) ** 2).sum() / spread) if spread > 0 else 0.0
