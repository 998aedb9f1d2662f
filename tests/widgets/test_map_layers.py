"""What a layer shows at a pixel is what was computed there; its legend names it, with unit, and escapes what it is given."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
import xarray as xr

from georeset_lab.embed.pictures.colours import PaletteImage, certainty_palette, pca_rgb
from georeset_lab.embed.pictures.overview import axes_basis, certainty_map, colour_map, pca_basis, sample_map
from georeset_lab.embed.pictures.warp import view_of_pixels
from georeset_lab.embed.search import similar
from georeset_lab.errors import ShapeMismatch
from georeset_lab.widgets import map_layers as layers
from georeset_lab.widgets.graticule import degree_step, graticule, ticks
from georeset_lab.widgets.layer_source import LayerSource
from georeset_lab.widgets.state import Exploration
from tests.widgets.planted import planted_classes, planted_embeddings, utm_grid


@pytest.fixture(scope="module")
def emb():
    return planted_embeddings(40, 50)


@pytest.fixture
def prediction() -> xr.Dataset:
    """Three classes; nothing observed in the first row."""
    label = np.zeros((4, 5), np.int16)
    label[:, 2], label[:, 3:], label[0] = 1, 2, -1
    probability = np.full((3, 4, 5), 0.1, np.float32)
    np.put_along_axis(probability, np.maximum(label, 0)[None].astype(int), 0.8, axis=0)
    probability[:, label < 0] = np.nan
    doubt = np.where(label >= 0, np.float32(0.1), np.float32(np.nan))
    maps = {
        "label": label, "entropy": doubt * 5, "doubt_sensor": doubt, "doubt_labels": doubt * 3, "doubt_overlap": doubt * 0,
        "cause": np.where(label < 0, -1, 1).astype(np.int8), "set_size": np.where(label < 0, 0, label + 1),
        "unlike": label == 2,
    }  # fmt: skip
    data = {name: (("y", "x"), values) for name, values in maps.items()} | {
        "probability": (("class", "y", "x"), probability)
    }
    out = xr.Dataset(data, coords={"class": ["water", "<b>wood</b>", "town"]})
    out["cause"].attrs["classes"] = ["the sensor does not see it", "too few labels", "classes overlap"]
    out["entropy"].attrs["units"] = "nat"
    return out


def test_full_and_coarse_pictures_have_the_same_colours(emb):
    whole, coarse = sample_map(emb, 10**6), sample_map(emb, 500)
    assert (whole.step, coarse.step) == (1, 2)
    basis = pca_basis(coarse)
    full = colour_map(emb, basis)
    assert np.array_equal(full[::2, ::2], basis.rgba(coarse.mean, coarse.observed))
    mean, _, observed = emb.vectors()
    theirs = pca_rgb(mean, observed, emb.shape)  # from all pixels, not from a sample
    assert np.abs(colour_map(emb, pca_basis(whole)).astype(int) - theirs).max() <= 1


def test_axes_show_their_own_dimension(emb):
    basis = axes_basis(sample_map(emb, 10**6), (2, 0, 1))
    mean = emb.fused(slice(3, 4), slice(7, 8))[0][0, 0]
    assert basis.scores(mean) == pytest.approx(mean[[2, 0, 1]])
    with pytest.raises(ShapeMismatch, match="between 0 and 7"):
        axes_basis(sample_map(emb, 100), (0, 1, 8))


def test_certainty_is_that_of_the_embeddings_and_missing_where_nothing_was_measured(emb):
    hidden = planted_embeddings(12, 14)
    for expert in hidden.experts.values():
        expert.tau[:3], expert.eta[:3] = 0, 0
    assert np.isnan(certainty_map(hidden)[:3]).all()
    assert np.allclose(certainty_map(emb), emb.certainty.mean("dim").values, atol=1e-6)
    assert np.allclose(certainty_map(emb.only("s1")), emb.only("s1").certainty.mean("dim").values, atol=1e-6)
    layer = layers.certainty_layer("Certainty", emb, 1.0)
    assert layer.text(5, 6) == f"{certainty_map(emb)[5, 6]:.3f}"
    assert layers.certainty_layer("Certainty", hidden, 1.0).text(0, 0) == ""


def test_a_probable_class_has_its_colour_its_share_and_its_probability(prediction):
    layer = layers.prediction_layer(prediction, "label", utm_grid(4, 5), {"town": "#010203"})
    rgba = layer.picture.rgba()
    assert rgba[1, 4].tolist() == [1, 2, 3, 255]
    assert rgba[0, 0, 3] == 0
    assert layer.text(1, 2) == "<b>wood</b>, probability 0.80"
    assert layer.text(0, 2) == ""
    assert "<b>wood</b>" not in layer.legend
    assert "&lt;b&gt;wood" in layer.legend
    assert "40 %" in layer.legend  # 6 of 15 pixels are water, 6 town


def test_doubts_are_dark_share_one_scale_and_say_what_they_are(prediction):
    made = {k: layers.prediction_layer(prediction, k, utm_grid(4, 5)) for k in ("doubt_sensor", "doubt_labels")}
    dark, bright = certainty_palette()[0], certainty_palette()[-1]
    sensor, labels = (made[k].picture.rgba()[2, 2, :3].astype(int) for k in made)
    assert np.abs(labels - dark).max() < 8  # 0.3 is the largest of all parts
    assert np.abs(sensor - bright).sum() < np.abs(sensor - dark).sum()
    assert "chance of a wrong class" in made["doubt_sensor"].legend
    assert made["doubt_labels"].text(2, 2) == "0.300"
    entropy = layers.prediction_layer(prediction, "entropy", utm_grid(4, 5))
    assert entropy.text(2, 2) == "0.500 nat"
    assert "nat" in entropy.legend


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("cause", "too few labels; 20 % chance of another class"),
        ("set_size", "3 classes"),
        ("unlike", "unlike any label"),
        ("confidence", "0.800"),
    ],
)
def test_every_part_of_a_prediction_can_be_read(prediction, variable, text):
    layer = layers.prediction_layer(prediction, variable, utm_grid(4, 5))
    assert layer.text(1, 4) == text
    assert layer.text(0, 4) == ""
    assert layer.picture.rgba()[0, 4, 3] == 0
    assert set(layers.layers_of(prediction)) == set(layers.MAPS)


def test_similarity_runs_from_unlike_to_the_best(emb):
    state = Exploration(emb)
    place = state.place_of(20, 30)
    layer = layers.similarity_layer(similar(emb, at=(place.lon, place.lat), k=3), emb.grid)
    assert float(layer.text(20, 30)) == pytest.approx(1, abs=1e-3)
    same = planted_classes(40, 50) == planted_classes(40, 50)[20, 30]
    bright = layer.picture.index
    assert bright[same].mean() > bright[~same].mean() + 100
    assert "Cosine similarity" in layer.legend


def test_choices_follow_what_there_is_and_keep_a_doubt_that_is_on_its_way(emb, prediction):
    state = Exploration(emb)
    source = LayerSource(state)
    keys = [key for _, key in source.choices()]
    assert keys == ["pca", "axes", "certainty", "certainty:s2", "certainty:s1"]
    state.prediction = prediction
    assert "doubt_labels" in dict(map(reversed, source.choices()))
    state.prediction = prediction[["label", "probability"]]
    assert "doubt_labels" in dict(map(reversed, source.choices()))
    assert source.pending("doubt_labels")
    assert not source.pending("label")
    state.prediction = None
    assert [key for _, key in source.choices()] == keys


def test_a_modality_that_is_switched_off_changes_the_picture_but_not_the_meaning_of_its_colours(emb):
    state = Exploration(emb)
    source = LayerSource(state)
    both = source.job("pca", (0, 1, 2))()
    state.present = ("s1",)
    assert source.ready("pca", (0, 1, 2), {}) is None
    alone = source.job("pca", (0, 1, 2))()
    assert not np.array_equal(both.picture, alone.picture)
    assert np.array_equal(alone.picture, colour_map(emb.only("s1"), source.pca))
    state.present = ("s2", "s1")
    assert source.ready("pca", (0, 1, 2), {}) is both


def test_a_map_beyond_memory_is_shown_by_a_sample_of_its_pixels(monkeypatch):
    large = planted_embeddings(30, 34)
    monkeypatch.setattr(type(large), "fits_memory", property(lambda _: False))
    monkeypatch.setattr("georeset_lab.widgets.layer_source.LARGE_PIXELS", 300)
    source = LayerSource(Exploration(large))
    for key in ("pca", "axes", "certainty", "certainty:s1"):
        layer = source.job(key, (0, 1, 2))()
        assert tuple(layer.grid.shape) == (15, 17)
        assert layer.text(29, 33)
    alone = large.only("s1").certainty.mean("dim").values
    assert float(source.job("certainty:s1", (0, 1, 2))().text(8, 10)) == pytest.approx(alone[8, 10], abs=1e-3)


def test_a_scene_is_shown_on_its_own_grid(story):
    layer = layers.scene_layer(story.scene)
    assert layer is not None
    assert tuple(layer.grid.shape) == layer.picture.shape[:2]
    assert "Sentinel-2 in true colour" in layer.legend


def test_a_mask_leaves_the_selected_pixels_out_of_the_shade():
    mask = layers.mask_picture(np.array([3, 4]), (2, 3))
    assert isinstance(mask, PaletteImage)
    assert mask.index.tolist() == [[1, 1, 1], [2, 2, 1]]


def test_lines_of_the_graticule_are_where_leaflet_puts_their_degrees():
    view = view_of_pixels(1000, 800, 1600, 1200, 4)  # 16 world pixels to ... 4096 in all
    around, url = graticule(view)
    svg = base64.b64decode(url.split(",")[1]).decode()
    assert around.shape == (800, 1200)
    found = [float(x) for x in re.findall(r"M([\d.]+) 0V", svg.split("<path")[1])]
    (_, west), (_, east) = around.corners
    step = degree_step((east - west) * 130 / 1200)
    expected = [(lon + 180) / 360 * 4096 - 700 for lon in ticks(west, east, step)]
    assert found == pytest.approx(expected, abs=0.06)
    assert "° W</text>" in svg
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")


def test_a_cause_fades_where_the_class_is_certain_and_is_full_where_it_is_a_guess(prediction):
    prediction["probability"].values[:, 1] = [[1.0], [0.0], [0.0]]
    prediction["probability"].values[:, 2] = [[0.4], [0.3], [0.3]]
    layer = layers.prediction_layer(prediction, "cause", utm_grid(4, 5))
    certain, guessed = layer.picture.rgba()[1, 0], layer.picture.rgba()[2, 0]
    assert np.abs(certain[:3].astype(int) - layers._PALE).max() == 0
    assert np.array_equal(guessed[:3], layers._CAUSES[1])
    between = layer.picture.rgba()[3, 0, :3].astype(int)  # a chance of 20 % of another class
    assert np.abs(between - (0.6 * layers._PALE + 0.4 * layers._CAUSES[1])).max() < 5
    assert not layer.picture.rgba()[0, 0, 3], "nothing observed, nothing drawn"
    assert layer.text(2, 0) == "too few labels; 60 % chance of another class"
    assert layer.text(0, 0) == ""
    assert "too few labels <small>100 %" in layer.legend
    assert "50 % or more chance of another class" in layer.legend


def test_sizes_of_sets_begin_at_one_unless_a_set_is_empty(prediction):
    assert "none of them" not in layers.prediction_layer(prediction, "set_size", utm_grid(4, 5)).legend
    prediction["set_size"].values[2, 2] = 0
    layer = layers.prediction_layer(prediction, "set_size", utm_grid(4, 5))
    assert layer.text(2, 2) == "none of them"
    assert layer.text(3, 4) == "3 classes"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(-40.4, 39.8, ("−40", "0", "40")), (0, 0.5213, ("0", "0.26", "0.52")), (0, 1, ("0", "0.5", "1"))],
)
def test_scales_are_read_as_short_numbers(low, high, words):
    shown = re.findall(r"<span>([^<]*)</span>", layers.bar_legend("x", certainty_palette(), low, high))
    assert tuple(shown) == words
