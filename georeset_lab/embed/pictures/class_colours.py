"""Colours that a reader expects of a class from its name: water blue, wood green. All are of the class palette.

Names are plain words; what is not known here gets the next colour of the palette from `LabelBook`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["natural_colour"]

_WORDS = {
    "#0072b2": "water river lake sea ocean pond canal stream wasser eau rivière lac mer agua río lago mar",
    "#009e73": "forest wood woods woodland tree trees jungle mangrove wald forêt bois arbres bosque árboles selva",
    "#f0e442": "field fields crop crops cropland grass grassland pasture meadow acker wiese champ champs prairie cultivo pradera",
    "#d55e00": "town city urban built building buildings village house houses stadt ville bâti ciudad pueblo",
    "#e69f00": "bare soil sand rock mine dune boden sol sable suelo arena roca",
    "#cc79a7": "road roads street railway airport strasse route camino carretera",
    "#56b4e9": "snow ice glacier wetland marsh swamp schnee neige glace nieve hielo humedal",
}  # fmt: skip
_COLOUR = {word: colour for colour, words in _WORDS.items() for word in words.split()}


def natural_colour(name: str, taken: Collection[str]) -> str | None:
    """Colour (#rrggbb) that goes with a name; None if no word of it is known, or another class has that colour.

    >>> natural_colour("River and lakes", taken=[])
    '#0072b2'
    """
    for word in re.findall(r"\w+", name.casefold()):
        colour = _COLOUR.get(word)
        if colour is not None and colour not in {c.casefold() for c in taken}:
            return colour
    return None
