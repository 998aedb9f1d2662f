"""`pixel_features`: what the sensors measured at each pixel of an embedding map, with nothing learnt: the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.errors import GridMismatch, NothingObserved

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from georeset_lab.data.modality import Modality
    from georeset_lab.data.scene import Scene

__all__ = ["feature_names", "features_at", "pixel_features"]

WINDOW = 5
"""Side in pixels of the window that statistics are taken over (methods.md section 11)."""


def pixel_features(scene: Scene, grid: GeoBox, *, statistics: bool = False, fill: bool = True) -> np.ndarray:
    """Bands of all modalities on a grid, in physical units, perhaps with their 5 x 5 mean and spread.

    Parameters
    ----------
    scene : Scene
    grid : odc.geo.geobox.GeoBox
        In the CRS of the scene. Each of its pixels takes the value of the modality's pixel that holds its centre.
    statistics : bool
        Add mean and standard deviation of the 5 x 5 pixels around, on the modality's own grid, of the valid ones.
    fill : bool
        Replace missing values by the band's median over the grid (0 for a band without any), else leave them NaN.
        The median uses no label, so nothing leaks from test to training.

    Returns
    -------
    numpy.ndarray, shape (Y, X, F), float32
        Mean over the valid dates of each band; with ``statistics``, all bands, then all means, then all spreads.
        Order and names are those of `feature_names`.

    Raises
    ------
    GridMismatch
        The grid is in another CRS, or shares no ground with a modality.
    NothingObserved
        The scene has no modality.
    """
    _check(scene, grid)
    features = _features(scene, grid, statistics)
    if fill:
        _fill(features)
    return np.ascontiguousarray(features)


def features_at(
    scene: Scene, grid: GeoBox, pixels: np.ndarray, *, statistics: bool = False, max_bytes: int = 1 << 28
) -> np.ndarray:
    """`pixel_features` of some pixels only, strip by strip, so that a large scene is never held as features.

    Parameters
    ----------
    pixels : (n,) int
        Flat row-major indices of the grid.

    Returns
    -------
    numpy.ndarray, shape (n, F), float32
        Missing values are the band's median over these pixels.
    """
    _check(scene, grid)
    names = feature_names(scene, statistics=statistics)
    height, width = grid.shape
    step = max(int(max_bytes // (4 * width * len(names))), 1)
    out = np.empty((pixels.size, len(names)), np.float32)
    rows, cols = np.divmod(pixels, width)
    for top in range(0, height, step):
        inside = np.flatnonzero((rows >= top) & (rows < top + step))
        if inside.size:
            strip = _features(scene, grid[top : min(top + step, height), :], statistics)
            out[inside] = strip[rows[inside] - top, cols[inside]]
    _fill(out)
    return out


def feature_names(scene: Scene, *, statistics: bool = False) -> list[str]:
    """Names of the features: ``"s2:B04"``, ``"s2:B04 mean"``, ``"s2:B04 std"``."""
    bands = [f"{name}:{band.name}" for name, modality in scene.modalities.items() for band in modality.bands]
    return bands + [f"{b} {kind}" for kind in ("mean", "std") for b in bands] if statistics else bands


def _check(scene: Scene, grid: GeoBox) -> None:
    if not scene.modalities:
        raise NothingObserved("This scene has no modality, so there are no pixels to take features from.")
    if grid.crs != scene.crs:
        raise GridMismatch(f"The grid is in {grid.crs}, the scene in {scene.crs}. Load the scene with crs={grid.crs}.")
    for modality in scene.modalities.values():
        rows, cols = _nearest(modality, grid)
        if (rows < 0).all() or (cols < 0).all():
            raise GridMismatch(f"Modality {modality.name!r} shares no ground with the grid.")


def _features(scene: Scene, grid: GeoBox, statistics: bool) -> np.ndarray:
    """(Y, X, F) float32, NaN where missing."""
    parts: list[list[np.ndarray]] = [[], [], []]
    margin = WINDOW // 2 if statistics else 0
    for modality in scene.modalities.values():
        rows, cols = _nearest(modality, grid)
        seen = (rows >= 0)[:, None] & (cols >= 0)[None, :]
        if not seen.any():
            for target in parts[: 3 if statistics else 1]:
                target.append(np.full((modality.raw.shape[1], *grid.shape), np.nan, np.float32))
            continue
        window = _window(rows, margin), _window(cols, margin)
        image = _time_mean(modality, *window)
        index = np.maximum(rows - window[0].start, 0)[:, None], np.maximum(cols - window[1].start, 0)[None, :]
        for target, values in zip(parts, [image, *_local(image)] if statistics else [image], strict=False):
            target.append(np.where(seen, values[:, *index], np.nan))
    return np.concatenate([p for group in parts for p in group], dtype=np.float32).transpose(1, 2, 0)


def _nearest(modality: Modality, grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the modality's pixel that holds each pixel centre of the grid; -1 outside.

    Grids of one CRS without rotation share axes, so rows and columns can be found apart.
    """
    a, b = grid.affine, modality.grid.affine
    if abs(a.b) + abs(a.d) + abs(b.b) + abs(b.d) > 1e-9 * (abs(a.a) + abs(b.a)):
        if modality.grid == grid:
            return np.arange(grid.shape[0]), np.arange(grid.shape[1])
        raise GridMismatch(
            f"Modality {modality.name!r} or the grid is rotated; reproject the scene to a north-up grid."
        )
    y = a.f + a.e * (np.arange(grid.shape[0]) + 0.5)
    x = a.c + a.a * (np.arange(grid.shape[1]) + 0.5)
    rows, cols = np.floor((y - b.f) / b.e).astype(int), np.floor((x - b.c) / b.a).astype(int)
    rows[(rows < 0) | (rows >= modality.grid.shape[0])] = -1
    cols[(cols < 0) | (cols >= modality.grid.shape[1])] = -1
    return rows, cols


def _window(index: np.ndarray, margin: int) -> slice:
    inside = index[index >= 0]
    return slice(max(int(inside.min()) - margin, 0), int(inside.max()) + 1 + margin)


def _time_mean(modality: Modality, rows: slice, cols: slice) -> np.ndarray:
    """Mean over valid dates (C, y, x) float32, one date in memory at a time; NaN without any."""
    total, count = np.zeros((), np.float32), np.zeros((), np.float32)
    for t in range(modality.raw.shape[0]):
        image = modality.read(rows, cols, time=slice(t, t + 1))[0]
        valid = np.isfinite(image)
        total = total + np.where(valid, image, np.float32(0))
        count = count + valid
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _local(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the valid pixels in the window around each, (C, y, x); NaN without any."""
    from scipy.ndimage import uniform_filter

    valid = np.isfinite(image)
    # Centred first: the variance of temperatures near 300 K is lost in float32 otherwise.
    count = np.maximum(valid.sum(axis=(1, 2)), 1)
    center = np.where(valid, image, 0).sum(axis=(1, 2), dtype=np.float64) / count
    value = np.where(valid, image - center[:, None, None], 0.0)

    def box(a: np.ndarray) -> np.ndarray:
        return np.asarray(uniform_filter(a, size=(0, WINDOW, WINDOW), mode="constant"))

    share = box(valid.astype(np.float64))
    some = share > 0.5 / WINDOW**2
    mean = np.where(some, box(value) / np.where(some, share, 1), np.nan)
    square = np.where(some, box(value**2) / np.where(some, share, 1), np.nan)
    return mean + center[:, None, None], np.sqrt(np.maximum(square - mean**2, 0))


def _fill(features: np.ndarray) -> None:
    """Replace what is missing in (..., F), in place."""
    for f in range(features.shape[-1]):
        band = features[..., f]
        missing = ~np.isfinite(band)
        if missing.any():
            band[missing] = 0.0 if missing.all() else np.median(band[~missing])
