"""Radar finds its optical twin: recalls at both levels, what counts as a rival, and the scores of the variance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from georeset_lab.evaluate import retrieval, robust
from georeset_lab.evaluate.windows import Windows
from georeset_lab.losses.pmi import pmi_scores
from georeset_lab.models.fusion import Gaussian
from georeset_lab.train.looks import encode_view


def crowd(n, ground=None):
    return Windows({}, np.zeros(n, np.int64), ("nowhere",), np.arange(n) if ground is None else ground)


def plant(monkeypatch, radar, light):
    """At all levels the same is said."""
    sides = {"s1": radar, "s2": light}
    monkeypatch.setattr(retrieval, "_said", lambda model, windows, name, level: sides[name])
    monkeypatch.setattr(retrieval, "_spoilt", lambda model, windows, seed: [(radar, light)])


def said(mean, tau):
    return Gaussian(mean * (1 + tau), tau)


def draw(n, d=16, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_retrieval_of_a_model_has_its_numbers_in_range(measured):
    found = measured["retrieval"]
    assert list(found) == ["chance", "windows", "scene", "aligned", "spoilt"]
    assert found["windows"] == 8
    assert found["chance"] == 1 / 8
    for level in retrieval.LEVELS:
        mine = found[level]
        for score in ("pmi", "cosine"):
            assert list(mine[score]) == ["R@1", "R@5", "R@10"]
            assert 0 <= mine[score]["R@1"] <= mine[score]["R@5"] <= mine[score]["R@10"] == 1
        assert mine[mine["better"]]["R@1"] == max(mine[score]["R@1"] for score in ("pmi", "cosine"))
        if "r_auroc" in mine:
            low, high = mine["r_auroc_interval"]
            assert 0 <= low <= mine["r_auroc"] <= high <= 1
            assert 0 <= mine["r_auroc_norm"] <= 1
            assert 0 <= mine["aurc"] <= 1
            assert mine["curve"]["coverage"] == pytest.approx(np.arange(1, 11) / 10)
            found_at = mine[mine["better"]][f"R@{retrieval.MISS_RANK[level]}"]
            assert mine["curve"]["risk"][-1] == pytest.approx(1 - found_at, abs=1e-4)
            n = {"spoilt": 4 * 5 * 8}.get(level, 2 * 8)
            assert mine["hits"] == round(n * found_at)


def test_aligned_scores_are_sums_over_the_points(model, windows, monkeypatch):
    """Against a slow version: point by point, by pmi; by cosine, of all means in one vector."""
    clean = {name: robust.experts(model.encoder, view) for name, view in windows.views.items()}
    pmi, cosine = torch.zeros(8, 8), torch.zeros(8, 8)
    for i in range(8):
        for j in range(8):
            for p in range(64):
                points = [z[k, p][None] for z, k in ((clean["s1"].eta, i), (clean["s1"].tau, i))]
                points += [z[k, p][None] for z, k in ((clean["s2"].eta, j), (clean["s2"].tau, j))]
                pmi[i, j] += pmi_scores(*points)[0, 0]
            one, other = clean["s1"].mean[i].flatten(), clean["s2"].mean[j].flatten()
            cosine[i, j] = one @ other / one.norm() / other.norm()
    seen = []
    real = retrieval._rank
    monkeypatch.setattr(retrieval, "_rank", lambda score, rival: seen.append(score) or real(score, rival))
    retrieval.retrieval(model, windows)
    for found, expected in zip(seen[4:8], (pmi, pmi.T, cosine, cosine.T), strict=True):
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-3)
    with torch.inference_mode():
        scenes = [encode_view(model.encoder, windows.views[name])[1] for name in ("s1", "s2")]
    torch.testing.assert_close(seen[0], pmi_scores(*scenes[0], *scenes[1]), atol=1e-4, rtol=1e-4)


def test_identical_experts_find_each_other(monkeypatch):
    same = said(draw(50), torch.full((50, 16), 20.0))
    plant(monkeypatch, same, same)
    found = retrieval.retrieval(None, crowd(50))
    for level in retrieval.LEVELS:
        assert found[level]["pmi"]["R@1"] == found[level]["cosine"]["R@1"] == 1
        assert not {"r_auroc", "curve"} & set(found[level]), "without a miss there is nothing to tell apart"


def test_unrelated_experts_find_each_other_by_chance(monkeypatch):
    n, tau = 400, torch.full((400, 16), 20.0)
    plant(monkeypatch, said(draw(n), tau), said(draw(n, seed=1), tau))
    found = retrieval.retrieval(None, crowd(n))["scene"]
    for score in ("pmi", "cosine"):
        for k in (1, 5, 10):
            assert found[score][f"R@{k}"] == pytest.approx(k / n, abs=4 * (k / n / (2 * n)) ** 0.5)
    low, high = found["r_auroc_interval"]
    assert low <= found["r_auroc"] <= high


def test_experts_that_all_say_the_same_find_nobody(monkeypatch):
    flat = said(torch.ones(20, 16), torch.full((20, 16), 3.0))
    plant(monkeypatch, flat, flat)
    found = retrieval.retrieval(None, crowd(20))["scene"]
    assert found["pmi"]["R@10"] == found["cosine"]["R@10"] == 0


def test_the_same_ground_on_another_date_is_neither_hit_nor_miss(monkeypatch):
    """Planted: twelve grounds on five dates each; the dates of a ground say the same, so each ties with four others."""
    ground = np.tile(np.arange(12), 5)
    same = said(draw(12)[ground], torch.full((60, 16), 20.0))
    plant(monkeypatch, same, same)
    found = retrieval.retrieval(None, crowd(60, ground))
    assert found["windows"] == 60
    assert found["chance"] == pytest.approx(1 / (60 - 4))
    assert found["scene"]["pmi"]["R@1"] == found["scene"]["cosine"]["R@1"] == 1
    blind = retrieval.retrieval(None, crowd(60))["scene"]
    assert blind["pmi"]["R@1"] == blind["cosine"]["R@1"] == 0
    assert blind["pmi"]["R@5"] == 1
    # A query's other dates are no hits either: here only they are like it, not its own twin.
    moved = torch.arange(60).roll(12)
    lost = said(torch.where((torch.arange(60) < 12)[:, None], draw(60, seed=5), same.mean), same.tau)
    plant(monkeypatch, Gaussian(*(z[moved] for z in lost)), same)
    assert retrieval.retrieval(None, crowd(60, ground))["scene"]["pmi"]["R@1"] == pytest.approx(0.8, abs=0.03)


def test_intervals_draw_whole_grounds(monkeypatch):
    """Five dates of a ground that err together tell no more than one: the interval is wider than of single windows."""
    ground = np.arange(200) // 5
    lost = torch.from_numpy(ground % 3 == 0)[:, None]
    mean = draw(200)
    tau = 5 + 15 * torch.rand(40, 1, generator=torch.Generator().manual_seed(3))[ground].expand(-1, 16)
    plant(monkeypatch, said(torch.where(lost, draw(200, seed=2), mean), tau), said(mean, tau))
    width = []
    for given in (ground, None):
        low, high = retrieval.retrieval(None, crowd(200, given))["scene"]["r_auroc_interval"]
        width.append(high - low)
    assert width[0] > 1.5 * width[1]


def test_a_variance_that_knows_the_misses_is_rewarded(monkeypatch):
    monkeypatch.setitem(retrieval.MISS_RANK, "scene", 1)
    n, mean = 100, draw(100)
    lost = torch.arange(n) % 3 == 0
    tau = torch.where(lost[:, None], 0.2, 20.0).expand(n, 16)
    noisy = torch.where(lost[:, None], draw(n, seed=2), mean)
    plant(monkeypatch, said(noisy, tau), said(mean, tau))
    found = retrieval.retrieval(None, crowd(n))["scene"]
    assert found["r_auroc"] > 0.95
    assert found["r_auroc_interval"][0] > 0.9
    assert found["aurc"] < 0.1
    assert found["curve"]["coverage"] == pytest.approx(np.arange(1, 11) / 10)
    assert found["curve"]["risk"][:6] == pytest.approx([0] * 6, abs=0.02), "two thirds are sure, and right"
    assert found["curve"]["risk"][-1] == pytest.approx(0.34, abs=0.02)
    plant(monkeypatch, said(noisy, 20.2 - tau), said(mean, 20.2 - tau))
    assert retrieval.retrieval(None, crowd(n))["scene"]["r_auroc"] < 0.2


def test_spoilt_windows_ask_for_themselves_as_they_were(model, windows):
    pairs = retrieval._spoilt(model, windows, 0)
    assert len(pairs) == len(retrieval._SPOILT) * 5
    with torch.inference_mode():
        clean = encode_view(model.encoder, windows.views["s2"])[1]
    for _, gallery in pairs:
        torch.testing.assert_close(gallery.eta, clean.eta)
    cloud = [query.mean for query, _ in pairs[:5]]
    moved = [float((mean - clean.mean).norm()) for mean in cloud]
    assert 0 < moved[0] < moved[-1], "a thicker cloud changes more"


@pytest.mark.parametrize("n", [7, 10, 104])
def test_the_curve_has_the_risk_of_each_tenth(n):
    wrong = np.random.default_rng(n).random(n) < 0.4
    variance = np.random.default_rng(n + 1).permutation(n).astype(float)
    found = retrieval._curve(wrong, variance)
    order = variance.argsort()
    expected = [wrong[order][: int(np.ceil(n * k / 10))].mean() for k in range(1, 11)]
    assert found["risk"] == pytest.approx(expected, abs=1e-4)


def test_ties_and_unknown_scores_count_against_the_twin():
    nan = float("nan")

    def rank(score, rival=None):
        rival = ~torch.eye(len(score), dtype=torch.bool) if rival is None else torch.tensor(rival)
        return retrieval._rank(score, rival).tolist()

    assert rank(torch.tensor([[5.0, 1.0, 2.0], [3.0, 3.0, 0.0], [9.0, 8.0, 7.0]])) == [0, 1, 2]
    assert rank(torch.zeros(4, 4)) == [3, 3, 3, 3]
    assert rank(torch.tensor([[nan, 1.0], [nan, 2.0]])) == [1, 1]
    assert rank(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), [[False, False], [False, False]]) == [0, 0]
