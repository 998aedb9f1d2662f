"""Drawings say what the numbers are: bars where the bands lie, units on the axes, text as text."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

from georeset_lab.embed.pictures.colours import certainty_palette
from georeset_lab.widgets.charts import (
    Bar,
    Curve,
    certainty_bar,
    colour_bar,
    keys,
    matrix_row,
    meter,
    number,
    series,
    spectrum,
    ticks,
)
from georeset_lab.widgets.page_images import hexes
from tests.widgets.markup import Markup

HOSTILE = "<script>alert(1)</script>"
DAYS = np.array(["2020-01-01", "2020-02-01", "2020-03-01", "2020-04-01"], "datetime64[ns]")


def drawn(text: str) -> Markup:
    found = Markup(text)
    assert not found.wrong
    assert "script" not in {tag for tag, _ in found.elements}
    return found


def test_a_band_is_as_wide_as_it_is_and_as_high_as_it_reflects():
    bars = [Bar("B04", 0.65, 0.68, 0.1), Bar("B08", 0.78, 0.90, 0.4), Bar("B11", 1.57, 1.66, float("nan"))]
    rects = drawn(spectrum([Curve("Sentinel-2", "#2B8CC4", bars=bars)], title="x")).of("rect")
    assert len(rects) == 2
    (x4, w4, y4), (x8, w8, y8) = [[float(r[k]) for k in ("x", "width", "y")] for r in rects]
    per_um = w4 / 0.03
    assert w8 / 0.12 == pytest.approx(per_um, rel=0.01)
    assert (x8 - x4) / 0.13 == pytest.approx(per_um, rel=0.01)
    # Reflectance 0 is at 162 below, the bar is 4 high and centred.
    assert (162 - y8 - 2) / (162 - y4 - 2) == pytest.approx(4, rel=0.01)


def test_a_spectrum_names_both_axes_and_the_parts_of_the_spectrum():
    bars = [Bar("a", 0.44, 0.46, 0.1, (0.05, 0.2)), Bar("b", 2.1, 2.3, 0.2)]
    text = drawn(spectrum([Curve("one", "#000000", bars=bars)], title="x")).text
    for words in (
        "wavelength (µm)",
        "reflectance (0 to 1)",
        "visible",
        "near infrared",
        "short-wave infrared",
        "0.050 to 0.200",
    ):
        assert words in text


def test_nothing_measured_draws_nothing():
    assert spectrum([Curve("one", "#000000", bars=[Bar("a", 0.4, 0.5, float("nan"))])], title="x") == ""
    assert spectrum([], title="x") == ""
    nothing = Curve("one", "#000000", values=np.full(4, np.nan), times=DAYS)
    assert series([nothing], what="NDVI") == ""
    assert series([], what="NDVI") == ""


def test_a_line_is_broken_where_a_date_is_missing():
    curve = Curve("NDVI", "#009E73", values=np.array([0.1, 0.2, np.nan, 0.3]), times=DAYS)
    found = drawn(series([curve], what="NDVI (−1 to 1)", limits=(0.0, 1.0)))
    path = next(p["d"] for p in found.of("path") if p.get("stroke") == "#009E73")
    assert re.fullmatch(r"M[\d. ]+L[\d. ]+M[\d. ]+", path)
    assert len(found.of("circle")) == 3
    assert "NDVI (−1 to 1)" in found.text
    assert "2020-04-01: 0.300" in found.text
    y = [float(c["cy"]) for c in found.of("circle")]
    assert y[0] > y[1] > y[2]


def test_dates_that_are_not_known_are_numbered():
    curve = Curve("VV", "#000000", values=np.array([-10.0, -12.0, -11.0]), times=np.full(3, "NaT", "datetime64[ns]"))
    text = drawn(series([curve], what="backscatter (dB)")).text
    assert "days are not known" in text
    assert "date 2: −12.000" in text


def test_matrix_cells_have_the_colour_and_title_of_their_value():
    found = drawn(matrix_row(np.array([0.0, 1.0, np.nan]), ["a", "b", HOSTILE], [2]))
    fills = [r["fill"] for r in found.of("rect")]
    ends = hexes(certainty_palette()[[0, -1]])
    assert fills == [*ends, "#d9d9d9"]
    assert HOSTILE in found.text
    assert [p["d"] for p in found.of("path")] == ["M2 0V1"]


def test_names_from_files_stay_text_everywhere():
    curve = Curve(HOSTILE, "#000000", bars=[Bar(HOSTILE, 0.4, 0.5, 0.1)], values=np.array([1.0, 2, 3, 4]), times=DAYS)
    for text in (
        spectrum([curve], title=HOSTILE), series([curve], what=HOSTILE), keys([curve, curve]),
        colour_bar(certainty_palette(), HOSTILE, HOSTILE, HOSTILE),
    ):  # fmt: skip
        drawn(text)
        assert "&lt;script" in text


def test_the_bar_of_certainty_says_what_its_ends_mean():
    text = drawn(certainty_bar(missing=True)).text
    assert "certainty (1 - variance), 0 = knows nothing, 1 = settles it" in text
    assert "not observed" in text
    assert "not observed" not in certainty_bar()


@pytest.mark.parametrize(
    ("low", "high", "most"), [(0.38, 2.5, 8), (0, 0.1, 5), (-27.3, -4, 4), (-0.25, 1, 4), (3, 3.0001, 5)]
)
def test_ticks_are_round_inside_and_few(low, high, most):
    found = ticks(low, high, most)
    assert 1 <= len(found) <= most + 1
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in found)
    assert len({round(b - a, 12) for a, b in pairwise(found)}) <= 1


def test_numbers_read_well():
    assert (number(-3.14159), number(float("nan")), number(2, 0)) == ("−3.14", "–", "2")
    assert "width:37%" in meter(0.374)
    assert "width:100%" in meter(7)
