"""Does a Sentinel-2 array carry the +1000 of processing baseline 04.00? Decided from its dark pixels.

The question must be asked of the numbers: products from before 2022 were reprocessed with the offset, later ones are
handed on without it by several archives, and files of one family differ (see the TerraMind example chips).

Write p for the first percentile of a band, in counts (10000 x reflectance, plus 1000 or not). The rules, in this order:

1. Two bands with p < 850, or one with p < 600: **no offset**. With it, one pixel in a hundred would reflect less than
   -0.015 in two bands. Level 1C is never negative; Level 2A overcorrects haze in one or two of the blue bands at most.
2. The cirrus band B10 with p >= 950: **offset**. Water vapour lets almost none of its light reach the ground and back,
   so without offset its clearest pixels hold 5 to 300 counts; 950 would be high cirrus over every pixel (rule 1 has
   excluded dry polar plateaus, whose snow is dark in B11 and B12).
3. No band below 930, two visible bands with p <= 1500, and either B12 at least as bright as red, or three bands beyond
   red with p <= 1250: **offset**. That is vegetation, soil or water with its usual darkest pixels. Without offset no
   pixel in a hundred would be darker than 0.085 in any band, so neither shade nor water nor leaves would be in the
   picture; thin cloud over fields comes nearest, and is brighter in red than in B12. Without visible bands: B11 and B12
   <= 1150 and near infrared <= 1300.
4. The darkest band has p < 1100 and all bands from red on have p >= 1800: **no offset** (sand: only blue is low; with
   offset blue would reflect less than 0.01 where red reflects more than 0.08).
5. Anything else (nothing but cloud, snow or bright bare ground in the picture, or too few bands): **undecided**; the
   caller must ask.

Measured on every real Sentinel-2 set at hand with and without 1000 added (``tests/data/test_units_real.py``): rules 1
and 4 were never wrong; rule 3 is wrong for some hazy pictures of 640 m a side, which is why a verdict of "no offset" on
one date of a cube outweighs "offset" on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Verdict = Literal["offset", "no offset", "undecided"]

CHANGE = np.datetime64("2022-01-25", "ns")
"""First day of processing baseline 04.00."""

_BLUE_UM, _RED_UM, _RED_EDGE_UM, _NIR_UM, _SWIR_UM = 0.45, 0.62, 0.69, (0.74, 0.90), (1.5, 2.0)
_CIRRUS_UM = (1.36, 1.39)


def baseline_offset(low: np.ndarray, centre_um: np.ndarray) -> Verdict:
    """Whether counts of these bands carry +1000.

    Parameters
    ----------
    low : numpy.ndarray, shape (C,)
        First percentile of each band over its valid pixels, in counts; NaN for a band without any.
    centre_um : numpy.ndarray, shape (C,)
        Centre wavelength of each band in micrometres.

    Examples
    --------
    >>> baseline_offset(np.array([1141.0, 1166, 1126, 1275, 1423, 1200]), np.array([0.49, 0.56, 0.66, 0.83, 1.61, 2.2]))
    'offset'
    >>> baseline_offset(np.array([258.0, 315, 196, 197, 112, 80]), np.array([0.49, 0.56, 0.66, 0.83, 1.61, 2.2]))
    'no offset'
    """
    seen = np.isfinite(low)
    low, um = low[seen], centre_um[seen]
    if low.size == 0:
        return "undecided"
    ordered = np.sort(low)
    if ordered[0] < 600 or (ordered.size > 1 and ordered[1] < 850):
        return "no offset"
    cirrus = low[(um > _CIRRUS_UM[0]) & (um < _CIRRUS_UM[1])]
    if cirrus.size and cirrus[0] >= 950:
        return "offset"
    if ordered[0] >= 930 and _has_usual_dark_pixels(low, um):
        return "offset"
    beyond_blue = low[um > _RED_UM]
    if ordered[0] < 1100 and beyond_blue.size and beyond_blue.min() >= 1800:
        return "no offset"
    return "undecided"


def settle(verdicts: Sequence[Verdict], times: np.ndarray) -> Verdict | Literal["by date"]:
    """One verdict on a cube from those on some of its dates, or "by date": offset since 25 January 2022, none before.

    A cube that has both kinds was put together from two baselines only if the offset begins on that day; otherwise "no
    offset" stands for all, since no picture with offset looks as if it had none, while a hazy one may look as if it had
    it.
    """
    said = set(verdicts) - {"undecided"}
    if len(said) < 2:
        return next(iter(said), "undecided")
    late = times >= CHANGE
    mixed = all(v == "undecided" or (v == "offset") == bool(after) for v, after in zip(verdicts, late, strict=True))
    return "by date" if mixed else "no offset"


def _has_usual_dark_pixels(low: np.ndarray, um: np.ndarray) -> bool:
    visible = np.sort(low[(um > _BLUE_UM) & (um < _RED_EDGE_UM)])
    red, beyond = low[(um > _RED_UM) & (um < _RED_EDGE_UM)], np.sort(low[um > _RED_EDGE_UM])
    short, far = low[(um > _SWIR_UM[0]) & (um < _SWIR_UM[1])], low[um > _SWIR_UM[1]]
    near = low[(um > _NIR_UM[0]) & (um < _NIR_UM[1])]
    if visible.size >= 2:
        ground = bool(far.size and red.size and far[0] >= red[0])
        water = bool(beyond.size >= 3 and beyond[2] <= 1250)
        return bool(visible[1] <= 1500) and (ground or water)
    if visible.size:
        return False
    return bool(short.size and far.size and near.size and max(short[0], far[0]) <= 1150 and near.min() <= 1300)
