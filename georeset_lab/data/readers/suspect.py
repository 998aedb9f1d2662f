"""Do the values of a band contradict its name? Two facts that hold for every land, water, snow and cloud pixel.

1. *The near-infrared plateau.* Between 0.77 and 0.90 um no common surface or gas has a feature: bands there read nearly
   the same. A band called B07 (0.783 um) that reads half of B8A, or a sixth, is another band.
2. *Bright red over dark near-infrared does not exist* on the ground, except in water, which is dark in both.
   A picture full of it has its red and near-infrared exchanged.

Both are told with a warning only: the picture may be one that we have never seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from georeset_lab.data.bands import BandSpec

_PLATEAU_UM = (0.77, 0.90)
_RED_UM = (0.62, 0.69)
_BRIGHT = 0.08
_RATIO = 1.6
_FEWEST = 5


def contradictions(values: np.ndarray, bands: Sequence[BandSpec]) -> list[str]:
    """What in a sample of physical values contradicts the names of the bands; empty if nothing does.

    Parameters
    ----------
    values : numpy.ndarray, shape (C, N)
        Reflectance 0..1, NaN where missing.
    bands : sequence of BandSpec
        What each row is said to be.
    """
    optical = [i for i, b in enumerate(bands) if b.kind == "reflectance"]
    plateau = [i for i in optical if _PLATEAU_UM[0] < bands[i].center_um < _PLATEAU_UM[1]]
    red = [i for i in optical if _RED_UM[0] < bands[i].center_um < _RED_UM[1]]
    return _off_plateau(values, bands, plateau) + _exchanged(values, bands, red, plateau)


def _off_plateau(values: np.ndarray, bands: Sequence[BandSpec], plateau: list[int]) -> list[str]:
    if len(plateau) < 2:
        return []
    rows = values[plateau]
    middle = np.nanmax(np.where(np.isfinite(rows), rows, -np.inf), axis=0)
    bright = np.isfinite(rows).all(axis=0) & (middle > _BRIGHT)
    if bright.sum() < _FEWEST:
        return []
    levels = np.median(rows[:, bright], axis=1)
    found = []
    for i, level in zip(plateau, levels, strict=True):
        others = np.median([v for j, v in zip(plateau, levels, strict=True) if j != i])
        ratio = others / max(level, 1e-6)
        if ratio > _RATIO and level < others and (len(plateau) > 2 or ratio > 2 * _RATIO):
            found.append(
                f"band {bands[i].name} ({bands[i].center_um:.3f} um) reads {level:.3f} where its neighbours in the "
                "near "
                f"infrared read {others:.3f}{_looks_like(values, bands, i, bright)}"
            )
    return found


def _looks_like(values: np.ndarray, bands: Sequence[BandSpec], band: int, bright: np.ndarray) -> str:
    """The visible band region that the suspect resembles, in words; empty if none is clear."""
    level = float(np.nanmedian(values[band, bright]))
    return ": it looks like a visible band, perhaps red" if level < 0.12 else ""


def _exchanged(values: np.ndarray, bands: Sequence[BandSpec], red: list[int], plateau: list[int]) -> list[str]:
    if not red or not plateau:
        return []
    r, n = values[red[0]], values[plateau[-1]]
    seen = np.isfinite(r) & np.isfinite(n)
    if seen.sum() < _FEWEST:
        return []
    share = float(((r > 0.15) & (r > 1.8 * n))[seen].mean())
    if share < 0.1:
        return []
    return [
        f"{share:.0%} of the pixels are bright in {bands[red[0]].name} (red) and dark in {bands[plateau[-1]].name} "
        "(near "
        "infrared), which no surface is: the two may be exchanged"
    ]
