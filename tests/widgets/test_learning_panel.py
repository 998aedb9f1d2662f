"""The learning panel: an estimate on demand, growing, told in words and drawn with units; stopped, stale and refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from georeset_lab.embed.labels.book import LabelBook
from georeset_lab.embed.probing import learning_curve
from georeset_lab.embed.probing.learning_curve import LearningCurve
from georeset_lab.widgets.learning_chart import STYLES, learning_chart, learning_keys
from georeset_lab.widgets.learning_panel import DRAWS, STALE, LearningPanel
from georeset_lab.widgets.state import Exploration
from tests.widgets.markup import Markup
from tests.widgets.planted import planted_classes, planted_embeddings

SIZE = 120


@pytest.fixture(scope="module")
def emb():
    return planted_embeddings(SIZE, SIZE)


@pytest.fixture
def panel(emb, tmp_path):
    state, book = Exploration(emb), LabelBook.open(tmp_path, "test")
    made = LearningPanel(state, book)
    yield made
    made.close()
    book.close()


def label(panel, per_class=6):
    """Points of two planted classes, over the whole map."""
    codes = planted_classes(SIZE, SIZE)
    for code in (0, 1):
        name = f"class <{code}>"
        panel.book.add_class(name)
        rows, cols = np.nonzero(codes == code)
        for i in np.linspace(0, len(rows) - 1, per_class).astype(int):
            place = panel.state.place_of(int(rows[i]), int(cols[i]))
            panel.book.add_point(place.lon, place.lat, name)


def curve(**changes):
    given = {
        "per_class": (1, 2, 4, 9), "even": 3, "labels": np.array([2.0, 4, 8, 13]), "chance": 0.5, "scarce": (), "notes": (),
        "scores": {
            "embedding": np.array([[0.6, 0.7, 0.9, 0.8], [0.7, 0.8, 0.9, 0.8], [np.nan] * 4]),
            "raw bands": np.array([[0.5, 0.55, 0.6, 0.6], [0.5, 0.55, 0.6, 0.6], [np.nan] * 4]),
        },
    }  # fmt: skip
    return LearningCurve(**{**given, **changes})


def test_an_estimate_is_told_in_words_with_advice_and_a_curve(panel):
    assert "Estimate" in panel.parts["head"]
    assert not panel.parts["chart"]
    label(panel)
    panel.heard("estimate", "", checked=None, at=None)
    assert panel.curve is not None
    assert np.isfinite(panel.curve.scores["embedding"]).all()
    said = Markup(panel.parts["said"]).text
    many = panel.curve.per_class[panel.curve.even - 1]
    mean = 100 * panel.curve.scores["embedding"][:, panel.curve.even - 1].mean()
    assert f"{mean:.0f} % right on held-out places" in said
    assert f"{many} labels of each" in said
    assert panel.curve.advice in said
    assert "balanced accuracy (%)" in panel.parts["chart"]
    assert "labels per class" in panel.parts["chart"]
    assert "Estimate again" in panel.parts["head"]


def test_labels_of_one_place_are_refused_with_what_to_do(panel):
    label(panel, per_class=1)
    panel.estimate()
    assert "Label a second place" in panel.parts["said"]
    assert "class &lt;0&gt;" in panel.parts["said"]
    assert "<0>" not in panel.parts["said"]


def test_an_estimate_is_stale_once_labels_or_modalities_change(panel):
    label(panel)
    panel.estimate()
    assert STALE not in panel.parts["said"]
    panel.book.undo()
    assert STALE in panel.parts["said"]
    panel.estimate()
    assert STALE not in panel.parts["said"]
    panel.state.present = ("s2",)
    assert STALE in panel.parts["said"]


def test_a_stopped_estimate_keeps_what_it_has_and_shows_how_far_it_came(panel, monkeypatch):
    heads = []

    def grow(*_, draws, **__):
        for i in range(draws):
            if i == 2:
                panel.heard("stop", "", checked=None, at=None)
            yield curve()
            heads.append(panel.parts["head"])

    monkeypatch.setattr(learning_curve, "grow_curve", grow)
    label(panel)
    panel.estimate()
    assert len(heads) == 2, "no draw after the stop is waited for"
    assert f"draw 2 of {DRAWS}" in heads[0]
    assert "Stop" in heads[0]
    assert panel.curve is not None
    assert "Estimate again" in panel.parts["head"]
    assert "90 %</b> right" in panel.parts["said"]
    assert "raw bands alone 60 %" in panel.parts["said"]


def test_whatever_goes_wrong_ends_the_estimate_and_is_told(panel, monkeypatch):
    def grow(*_, **__):
        raise OSError("the store <x> is gone")

    monkeypatch.setattr(learning_curve, "grow_curve", grow)
    panel.estimate()
    assert "the store &lt;x&gt; is gone" in panel.parts["said"]
    assert "Stop" not in panel.parts["head"]


def test_the_curve_lies_where_its_axes_say(panel):
    drawn = learning_chart(curve())
    points = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    raw, own = points[:4], points[4:]
    assert [x for x, _ in raw] == [x for x, _ in own]
    steps = np.diff([x for x, _ in own])
    assert steps[0] == pytest.approx(steps[1], abs=0.2), "each doubling is as wide"
    ys = np.array([y for _, y in own])
    assert np.all(np.diff(ys[:3]) < 0), "better is higher"
    scale = (ys[0] - ys[1]) / 10  # from 65 to 75 %
    assert ys[1] - ys[2] == pytest.approx(15 * scale, abs=0.3)
    assert "all labels (13 labels): 80 ± 0 %" in drawn
    assert "guessing" in drawn
    assert "NaN" not in drawn
    assert "nan" not in drawn


def test_lines_differ_in_more_than_colour():
    keys = learning_keys(curve())
    assert len({dashes for _, dashes in STYLES.values()}) == len(STYLES)
    assert "raw bands" in keys
    assert "standard deviation" in keys


def test_before_the_first_draw_there_is_nothing_to_draw():
    none = {"embedding": np.full((2, 4), np.nan)}
    assert learning_chart(curve(scores=none)) == ""
    one = {"embedding": np.array([[0.6], [0.7]])}
    assert "<circle" in learning_chart(curve(per_class=(1,), even=1, labels=np.array([2.0]), scores=one))
