"""Graded corruptions and real clouds: what is scored, and that a variance that knows is told from one that doesn't."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.stats import spearmanr

from georeset_lab.errors import SceneReadError
from georeset_lab.evaluate import robust
from georeset_lab.evaluate.corrupt import STRENGTHS, corrupt
from georeset_lab.models.fusion import Gaussian, fuse
from georeset_lab.train.looks import encode_view

AGREEMENT = ("strength_variance", "variance_error", "strength_error", "within")
OPTICAL, RADAR = ("cloud", "haze", "noise", "blur", "bands"), ("interference", "blur")


def test_experts_do_not_depend_on_how_many_windows_go_at_once(model, windows, monkeypatch):
    view = windows.views["s2"]
    with torch.inference_mode():
        whole = encode_view(model.encoder, view)[0]
    monkeypatch.setattr(robust, "_AT_ONCE", 3)
    found = robust.experts(model.encoder, view)
    assert found.eta.shape == (8, 64, 8)
    torch.testing.assert_close(found.eta.flatten(0, 1), whole.eta, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.tau.flatten(0, 1), whole.tau, atol=1e-4, rtol=1e-4)


def test_corruption_scores_every_kind(model, windows, series, measured):
    found = measured["corruption"]
    assert list(found) == [f"s2/{k}" for k in OPTICAL] + [f"s1/{k}" for k in RADAR] + ["s2/dates", "s1/dates"]
    for key, scores in found.items():
        assert set(scores) == {*AGREEMENT, "by_strength"}
        assert all(-1 - 1e-9 <= scores[name] <= 1 + 1e-9 for name in AGREEMENT)
        assert len(scores["by_strength"]) == 1 + len(STRENGTHS)
        assert all(0 < v <= 1 for v in scores["by_strength"])
        places = series if key.endswith("dates") else windows
        clean = robust.experts(model.encoder, places.views[key.split("/")[0]]).var.mean()
        assert scores["by_strength"][0] == pytest.approx(float(clean), abs=1e-4)
    assert list(robust.corruption(model, windows)) == list(found)[:-2], "of single dates none is dropped"
    # Only what is drawn depends on the seed; haze and blur draw nothing.
    again = robust.corruption(model, windows, series, seed=1)
    assert {k for k in found if again[k] != found[k]} == {
        "s2/cloud", "s2/noise", "s2/bands", "s1/interference", "s2/dates", "s1/dates"
    }  # fmt: skip


def test_scores_of_a_kind_are_those_of_its_pairs(model, windows, measured):
    """Against a slow version from the definitions."""
    clean = [robust.experts(model.encoder, view) for view in windows.views.values()]
    truth = fuse(clean).mean.numpy()
    pairs = []
    for strength in STRENGTHS:
        expert = robust.experts(model.encoder, corrupt(windows.views["s2"], "noise", strength, 0))
        for k in range(8):
            error = ((expert.mean[k].numpy() - truth[k]) ** 2).mean()
            pairs.append((strength, float(expert.var[k].mean()), error, k))
    strength, variance, error, window = np.array(pairs).T
    expected = {
        "strength_variance": spearmanr(strength, variance).statistic,
        "variance_error": spearmanr(variance, error).statistic,
        "strength_error": spearmanr(strength, error).statistic,
        "within": np.mean([spearmanr(strength[window == k], variance[window == k]).statistic for k in range(8)]),
    }
    found = measured["corruption"]["s2/noise"]
    assert {name: found[name] for name in AGREEMENT} == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_expert_that_knows_the_damage_is_found_out_and_so_is_its_opposite(windows, monkeypatch, sign):
    """Planted: variance and error both follow how far the pixels are from the clean ones."""

    def oracle(_, view):
        clean = windows.views[view.modality]
        kept = [k for k, band in enumerate(clean.bands) if band in view.bands]
        scale = clean.pixels.std()
        damage = np.abs(view.pixels - clean.pixels[:, :, kept]).mean((1, 2, 3, 4)) / scale
        damage = torch.from_numpy(damage + (len(clean.bands) - len(kept)) / len(clean.bands))
        tau = 10.0 * torch.exp(-sign * damage)[:, None, None].expand(-1, 64, 8)
        return Gaussian(damage[:, None, None] * (1 + tau), tau)

    monkeypatch.setattr(robust, "experts", oracle)
    for key, scores in robust.corruption(SimpleNamespace(encoder=None), windows).items():
        name, kind = key.split("/")
        variance = [oracle(None, corrupt(windows.views[name], kind, k, 0)).var.mean((1, 2)) for k in STRENGTHS]
        expected = spearmanr(np.repeat(STRENGTHS, 8), np.concatenate(variance)).statistic
        assert scores["strength_variance"] == pytest.approx(expected, abs=1e-3), "all windows, strengths 1 to 5"
        assert sign * scores["strength_variance"] > 0.7
        assert sign * scores["variance_error"] > 0.99
        assert sign * scores["within"] > 0.99
        assert scores["strength_error"] == pytest.approx(sign * scores["strength_variance"], abs=1e-3), "at the ceiling"
        assert (np.diff(scores["by_strength"]) * sign > 0).all()


@pytest.mark.parametrize("sign", [1, 0, -1])
def test_what_happens_inside_a_window_is_told_from_what_differs_between_them(windows, monkeypatch, sign):
    """Planted: windows differ far more than strengths do; with sign 0 strength changes no variance."""
    monkeypatch.setattr(robust, "corrupt", lambda view, kind, strength, seed: replace(view, cell_m=60.0 + strength))

    def said(_, view):
        variance = torch.linspace(0.1, 0.8, 8) + sign * 0.001 * (view.cell_m - 60)
        tau = (1 / variance - 1)[:, None, None].expand(-1, 64, 8)
        return Gaussian(torch.full_like(tau, view.cell_m - 60) * (1 + tau), tau)

    monkeypatch.setattr(robust, "experts", said)
    found = robust.corruption(SimpleNamespace(encoder=None), windows)["s2/haze"]
    assert found["within"] == pytest.approx(sign, abs=1e-9)
    assert abs(found["strength_variance"]) < 0.2
    assert found["strength_error"] == pytest.approx(1, abs=0.01), "the mean leaves the truth with strength"


def test_dropped_dates_are_scored_on_the_series_alone(windows, series, monkeypatch):
    """Planted: an expert whose variance falls with the number of dates, and with nothing else."""
    asked = []

    def counts(_, view):
        asked.append(view.pixels.shape[:2])
        tau = torch.full((len(view.pixels), 64, 8), float(view.pixels.shape[1]))
        return Gaussian((1 + tau) / tau, tau)

    monkeypatch.setattr(robust, "experts", counts)
    found = robust.corruption(SimpleNamespace(encoder=None), windows, series)
    for key, scores in found.items():
        dropped = key.endswith("dates")
        assert scores["strength_variance"] == pytest.approx(float(dropped))
        assert scores["within"] == pytest.approx(float(dropped))
        assert scores["by_strength"] == ([round(1 / (1 + t), 4) for t in (6, 5, 4, 3, 2, 1)] if dropped else [0.5] * 6)
    assert {t for n, t in asked if n == 8} == {1}
    assert {t for n, t in asked if n == 4} == {1, 2, 3, 4, 5, 6}


@pytest.mark.real_data
@pytest.mark.parametrize("sign", [1, -1])
def test_real_clouds_are_found_by_a_variance_that_is_their_brightness(shared_data, monkeypatch, sign):
    """Masks and images of one date belong together: clouds are the bright pixels of five dates."""

    def bright(scene, **_):
        blue = scene["s2"].select_bands(["B02"]).read(slice(None), slice(None))[0]
        return SimpleNamespace(variance=xr.DataArray(sign * blue, dims=("dim", "y", "x")))

    monkeypatch.setattr("georeset_lab.embed.encode.encode", bright)
    found = robust.real_clouds(None, shared_data)
    assert sign * (found["auroc"] - 0.5) > 0.4
    assert found["cloudy"] == pytest.approx(0.4, abs=0.02), "two of five dates are overcast"
    means = {date: sign * v for date, v in found["by_date"].items()}
    assert set(sorted(means, key=means.get)[-2:]) == {"2015-07-31", "2015-08-20"}


def test_real_clouds_without_their_folder_are_refused(tmp_path, model):
    with pytest.raises(SceneReadError, match="eolearn-testeopatch is not there"):
        robust.real_clouds(model, tmp_path)
