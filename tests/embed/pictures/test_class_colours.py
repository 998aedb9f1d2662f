"""Class names suggest colours; nobody else's colour is taken and readers who see fewer colours can tell them apart."""

from __future__ import annotations

import pytest

from georeset_lab.embed.pictures.class_colours import _WORDS, natural_colour
from georeset_lab.embed.pictures.colours import class_palette
from georeset_lab.widgets.page_images import hexes


def test_every_colour_is_of_the_palette_that_can_be_told_apart():
    assert set(_WORDS) <= {h.casefold() for h in hexes(class_palette(8))}


def test_a_word_belongs_to_one_colour():
    words = [word for text in _WORDS.values() for word in text.split()]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("name", "taken", "colour"),
    [
        ("Water", (), "#0072b2"),
        ("trees by the river", (), "#009e73"),
        ("trees by the river", ("#009E73",), "#0072b2"),
        ("forêt", (), "#009e73"),
        ("waterfall", (), None),
        ("class 1", (), None),
        ("water", ("#0072b2",), None),
    ],
)
def test_a_name_suggests_a_colour_unless_it_is_taken(name, taken, colour):
    assert natural_colour(name, taken) == colour
