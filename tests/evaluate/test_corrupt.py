"""Corruptions: what they leave alone, that they grow with strength, and that unknown ones are refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from georeset_lab.data.sensors import sensor
from georeset_lab.errors import InvalidOption
from georeset_lab.evaluate.corrupt import CORRUPTIONS, STRENGTHS, corrupt, kinds_for
from georeset_lab.train.crops import View

SENSORS = {"s2": "sentinel-2-l2a", "s1": "sentinel-1-rtc"}
KINDS = {"s2": ("cloud", "haze", "noise", "blur", "bands"), "s1": ("interference", "blur")}
"""Of one date; of several, dates can be dropped too."""
PAIRS = [(name, kind) for name, kinds in KINDS.items() for kind in kinds]
ALTERING = [pair for pair in PAIRS if pair[1] != "bands"]
SEEDS = (0, 1, 7)


def textured(name: str) -> View:
    """Three windows, two dates: smooth ground with texture, in the units of the sensor."""
    bands, rng = sensor(SENSORS[name]).bands, np.random.default_rng(5)
    ground = ndimage.gaussian_filter(rng.normal(size=(3, 2, len(bands), 48, 48)), (0, 0, 0, 1.5, 1.5))
    pixels = 0.15 + 0.1 * ground if name == "s2" else -12 + 8 * ground
    return View(name, pixels.astype(np.float32), bands, 60.0, np.zeros((3, 2), np.float32), np.zeros((3, 4, 2), int))


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_strength_0_is_the_view_itself(name, kind):
    view = textured(name)
    assert corrupt(view, kind, 0, seed=0) is view


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_the_input_is_never_modified_and_all_but_the_pixels_is_kept(name, kind, strength):
    view = textured(name)
    before, bands = view.pixels.copy(), view.bands
    out = corrupt(view, kind, strength, seed=3)
    assert not np.shares_memory(out.pixels, view.pixels)
    np.testing.assert_array_equal(view.pixels, before)
    assert view.bands is bands
    assert out.pixels.dtype == np.float32
    assert np.isfinite(out.pixels).all()
    assert (out.modality, out.cell_m) == (view.modality, view.cell_m)
    assert out.points is view.points
    assert out.day_of_year is view.day_of_year


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "kind"), ALTERING)
def test_every_kind_alters_more_with_strength(name, kind, seed):
    view = textured(name)
    change = [np.abs(corrupt(view, kind, s, seed).pixels - view.pixels).mean((1, 2, 3, 4)) for s in (0, *STRENGTHS)]
    assert (np.diff(change, axis=0) > 0).all(), "every window is altered more by every step"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cloud_covers_more_with_strength_and_only_grows(seed):
    view = textured("s2")
    covered = np.stack(
        [np.abs(corrupt(view, "cloud", s, seed).pixels - view.pixels).mean(2) > 0.1 for s in (0, *STRENGTHS)]
    )
    assert (np.diff(covered.mean((2, 3, 4)), axis=0) > 0.1).all()
    assert covered[0].mean() == 0
    assert covered[-1].mean() > 0.9
    assert (covered[1:-1] <= covered[2:]).mean() > 0.995, "its edge moves outwards; noise of its top decides few pixels"


def test_haze_falls_with_wavelength():
    view = textured("s2")
    dark = replace(view, pixels=np.zeros_like(view.pixels))
    veil = corrupt(dark, "haze", 5, seed=0).pixels.mean((0, 1, 3, 4))
    order = np.argsort([b.center_um for b in view.bands])
    assert (np.diff(veil[order]) <= 1e-7).all()
    assert veil[order[0]] > 3 * veil[order[-1]]


@pytest.mark.parametrize(("name", "kind", "std"), [("s2", "noise", 0.1), ("s1", "interference", 10.0)])
def test_noise_has_the_stated_size_and_no_bias(name, kind, std):
    view = textured(name)
    for strength in STRENGTHS:
        added = corrupt(view, kind, strength, seed=2).pixels - view.pixels
        assert added.std() == pytest.approx(std * strength / 5, rel=0.05)
        assert abs(added.mean()) < 0.05 * std


def test_blur_keeps_means_and_takes_texture():
    view = textured("s2")
    out = corrupt(view, "blur", 5, seed=0).pixels
    np.testing.assert_allclose(out.mean((3, 4)), view.pixels.mean((3, 4)), atol=0.02)
    assert (out.std((3, 4)) < 0.5 * view.pixels.std((3, 4))).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_bands_are_dropped_with_their_metadata_and_one_is_always_left(seed):
    view = textured("s2")
    where = {band: k for k, band in enumerate(view.bands)}
    outs = [corrupt(view, "bands", s, seed) for s in STRENGTHS]
    counts = [len(out.bands) for out in outs]
    assert counts[-1] == 1
    assert all(more > fewer for more, fewer in pairwise((len(view.bands), *counts)))
    for out in outs:
        kept = [where[band] for band in out.bands]
        assert kept == sorted(kept), "bands keep their order"
        np.testing.assert_array_equal(out.pixels, view.pixels[:, :, kept])
    for more, fewer in pairwise(outs):
        assert set(fewer.bands) < set(more.bands)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_band_stays_that_every_window_has(seed):
    view = textured("s2")
    view.pixels[1, :, [0, 1, 2, 3, 7]] = np.nan
    seen = np.isfinite(corrupt(view, "bands", 5, seed).pixels)
    assert seen.shape[2] == 1
    assert seen.all(), "not a band that the second window lacks"
    outs = [corrupt(view, "bands", s, seed) for s in STRENGTHS]
    assert all(set(fewer.bands) < set(more.bands) for more, fewer in pairwise(outs))


def of_dates(t: int) -> View:
    """Four windows whose pixels and day tell the date they are of, and the band."""
    bands = sensor(SENSORS["s1"]).bands
    date = np.arange(t, dtype=np.float32)
    pixels = np.broadcast_to(date[:, None, None, None] + 0.1 * np.arange(2)[:, None, None], (4, t, 2, 48, 48))
    days = np.tile(10 * date, (4, 1))
    return View("s1", pixels.astype(np.float32), bands, 60.0, days, np.zeros((4, 3, 2), int))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("t", "counts"), [(6, [5, 4, 3, 2, 1]), (2, [2, 2, 1, 1, 1]), (11, [9, 7, 5, 3, 1])])
def test_dates_are_dropped_with_their_days_and_one_is_always_left(seed, t, counts):
    view = of_dates(t)
    outs = [corrupt(view, "dates", s, seed) for s in STRENGTHS]
    assert [out.pixels.shape[1] for out in outs] == counts
    for out in outs:
        kept = out.pixels[0, :, 0, 0, 0]
        assert (np.diff(kept) > 0).all(), "dates keep their order"
        np.testing.assert_array_equal(out.day_of_year, np.tile(10 * kept, (4, 1)))
        np.testing.assert_array_equal(out.pixels, view.pixels[:, kept.astype(int)])
        assert out.bands == view.bands
        assert out.points is view.points
    for more, fewer in pairwise(outs):
        assert set(fewer.day_of_year[0]) <= set(more.day_of_year[0]), "what is dropped stays dropped"
    assert view.pixels.shape[1] == t


def test_which_dates_are_dropped_depends_on_the_seed_alone():
    kept = {seed: tuple(corrupt(of_dates(6), "dates", 4, seed).day_of_year[0]) for seed in range(12)}
    assert kept == {seed: tuple(corrupt(of_dates(6), "dates", 4, seed).day_of_year[0]) for seed in range(12)}
    assert len(set(kept.values())) > 4


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_the_seed_alone_decides(name, kind):
    view = textured(name)
    one, two, other = (corrupt(view, kind, 2, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert one.bands == two.bands
    if kind not in ("haze", "blur"):  # these two draw nothing
        assert one.bands != other.bands or not np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("strength", [0, 3])
def test_an_unknown_kind_is_refused_with_the_choices(strength):
    with pytest.raises(InvalidOption, match=r"'fog'.*cloud, haze, noise, blur, bands, interference"):
        corrupt(textured("s2"), "fog", strength, seed=0)


@pytest.mark.parametrize("name", SENSORS)
def test_kinds_fit_the_sensor_and_the_number_of_dates(name):
    view = textured(name)
    one = replace(view, pixels=view.pixels[:, :1], day_of_year=view.day_of_year[:, :1])
    assert kinds_for(one) == KINDS[name]
    assert kinds_for(view) == (*KINDS[name], "dates")
    assert {kind for kinds in KINDS.values() for kind in kinds} | {"dates"} == set(CORRUPTIONS)
