from __future__ import annotations

import json
from contextlib import contextmanager

import numpy as np
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from georeset_lab.dashboard.exports import class_map_cog, confidence_cog
from georeset_lab.errors import NothingObserved, ShapeMismatch

NAMES = ["crops", "<b>water</b>", "Wälder"]


@pytest.fixture
def prediction():
    grid = GeoBox.from_bbox((700_000, 5_700_000, 706_000, 5_704_000), "EPSG:32718", resolution=10)
    noise = np.random.default_rng(0)
    proba = noise.dirichlet(np.ones(3), (400, 600)).transpose(2, 0, 1).astype(np.float32)
    label = proba.argmax(axis=0).astype(np.int16)
    label[:5], proba[:, :5] = -1, np.nan
    entropy = np.where(label < 0, np.nan, 0.5).astype(np.float32)
    coords = {**xr_coords(grid, always_yx=True), "class": ("class", NAMES)}
    maps = {
        "label": (("y", "x"), label),
        "probability": (("class", "y", "x"), proba, {"units": "1"}),
        "entropy": (("y", "x"), entropy, {"units": "nat"}),
    }
    return xr.Dataset(maps, coords=coords, attrs={"model_hash": "abc", "classes": NAMES})


@contextmanager
def read(payload):
    with rasterio.MemoryFile(payload) as file, file.open() as out:
        yield out


def test_the_class_map_is_a_cog_with_codes_colours_and_names(prediction):
    with read(class_map_cog(prediction)) as out:
        assert out.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (out.dtypes, out.nodata, out.crs.to_epsg()) == (("uint8",), 0, 32718)
        np.testing.assert_array_equal(out.read(1), prediction["label"].values + 1)
        assert json.loads(out.tags()["classes"]) == {"1": NAMES[0], "2": NAMES[1], "3": NAMES[2]}
        assert out.tags()["model_hash"] == "abc"
        assert out.colormap(1)[1] == (230, 159, 0, 255)
        assert out.overviews(1), "more than one block, so there are overviews"
        assert out.transform == prediction["label"].odc.geobox.affine


def test_the_class_map_takes_the_colours_of_the_book(prediction):
    with read(class_map_cog(prediction, palette=np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.uint8))) as out:
        assert [out.colormap(1)[i] for i in (1, 2, 3)] == [(1, 2, 3, 255), (4, 5, 6, 255), (7, 8, 9, 255)]


def test_the_confidence_has_a_band_for_each_map_with_its_unit(prediction):
    with read(confidence_cog(prediction)) as out:
        assert out.descriptions == ("probability", "entropy")
        assert out.units == ("1", "nat")
        np.testing.assert_array_equal(out.read(1), prediction["probability"].max("class").values)
        assert np.isnan(out.read(2)[:5]).all()
        assert out.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_without_a_prediction_it_says_what_to_do(prediction):
    for make in (class_map_cog, confidence_cog):
        with pytest.raises(NothingObserved, match="two classes"):
            make(None)


def test_more_classes_than_a_byte_holds_are_refused(prediction):
    many = prediction.isel({"class": [0] * 256}).assign_coords({"class": [str(i) for i in range(256)]})
    with pytest.raises(ShapeMismatch, match="256 classes"):
        class_map_cog(many)


def test_the_page_holds_the_map_the_labels_and_no_markup_of_them():
    from georeset_lab.dashboard.exports import EXPORTS, export
    from georeset_lab.embed.labels.book import LabelBook
    from georeset_lab.widgets.state import Exploration
    from tests.widgets.planted import planted_embeddings

    state, book = Exploration(planted_embeddings(20, 24)), LabelBook()
    place = state.place_of(3, 4)
    book.add_class("<b>water</b>")
    book.add_point(place.lon, place.lat, "<b>water</b>")
    html = export("page", state, book).decode()
    assert EXPORTS["page"][1] == "html"
    assert html.startswith("<!doctype html>")
    assert '"label":"\\u003cb>water\\u003c/b>"' in html
    assert "<b>water" not in html


def test_a_map_that_is_not_there_cannot_be_exported_but_labels_can():
    from georeset_lab.dashboard.exports import export
    from georeset_lab.embed.labels.book import LabelBook
    from georeset_lab.widgets.state import Exploration
    from tests.widgets.planted import planted_embeddings

    state, book = Exploration(planted_embeddings(8, 8)), LabelBook()
    with pytest.raises(NothingObserved, match="no class map yet"):
        export("classes", state, book)
    assert json.loads(export("labels", state, book))["features"] == []
