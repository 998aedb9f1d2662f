"""Does a Sentinel-2 array carry the +1000 of processing baseline 04.00? Decided from its dark pixels.

The question must be asked of the numbers: products from before 2022 were reprocessed with the offset, later ones are
handed on without it by several archives, and files of one family differ (see the TerraMind example chips).

Write p for the first percentile of a band, in counts (10000 x reflectance, plus 1000 or not). The rule, and why it is safe:

1. Two bands with p < 850 (or one with p < 600): **no offset**. With it, one pixel in a hundred would reflect less than
   -0.015 in two bands. Level-1C is never negative; Level-2A overcorrects haze in one or two of the blue bands at most.
2. The cirrus band B10 with p >= 950: **offset**. Water vapour lets almost none of its light reach the ground and back, so
   without offset its clearest pixels hold 5-300 counts; 950 would be high cirrus over every pixel (and rule 1 has
   excluded the dry polar plateaus, whose snow is dark in B11 and B12).
3. The darkest band from red on has p <= 1450 and another band has p <= 1500: **offset**. Water, shade and vegetation put
   several bands there. Without offset the darkest one per cent of *all* bands would lie above 0.085 while two of them,
   one from red on, lie below 0.15: not vegetation, not water, not snow (dark in B11 and B12), not sand (bright from red on), not
   cloud (dark in B12 alone).
4. The darkest band has p < 1100 and all bands from red on have p >= 1800: **no offset** (sand: only blue is low; with offset blue
   would reflect less than 0.01 where red reflects more than 0.08).
5. Anything else (nothing but cloud, snow or bare bright ground in the picture): **undecided**, and the caller must ask.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Verdict = Literal["offset", "no offset", "undecided"]

_RED_UM = 0.62
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
    low, centre_um = low[seen], centre_um[seen]
    if low.size == 0:
        return "undecided"
    ordered = np.sort(low)
    if ordered[0] < 600 or (ordered.size > 1 and ordered[1] < 850):
        return "no offset"
    cirrus = low[(centre_um > _CIRRUS_UM[0]) & (centre_um < _CIRRUS_UM[1])]
    if cirrus.size and cirrus[0] >= 950:
        return "offset"
    beyond_blue = low[centre_um > _RED_UM]
    if beyond_blue.size == 0:
        return "undecided"
    dark = float(beyond_blue.min())
    if dark <= 1450 and int((low <= 1500).sum()) >= 2:
        return "offset"
    if ordered[0] < 1100 and dark >= 1800:
        return "no offset"
    return "undecided"
