"""Feature maps that need no training: the cheap rows every embedding must beat. No labels are read here.

All take a scene whose modalities lie on one grid and give ``(Y, X, F)`` float32, NaN where nothing was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.scene import Scene
from georeset_lab.errors import BandMismatch, GridMismatch

_NEAR_UM = {
    "blue": (0.49, 0.03),
    "green": (0.56, 0.03),
    "red": (0.66, 0.03),
    "edge": (0.705, 0.02),
    "nir": (0.84, 0.06),
    "swir1": (1.63, 0.10),
    "swir2": (2.20, 0.10),
}
"""Centre and tolerance in micrometres within which a reflectance band may play a part in an index."""

_Bands = dict[str, np.ndarray]


def _nd(a: str, b: str) -> tuple[tuple[str, ...], Callable[[_Bands], np.ndarray]]:
    return (a, b), lambda v: (v[a] - v[b]) / (np.abs(v[a]) + np.abs(v[b]) + 1e-6)


INDICES: dict[str, tuple[tuple[str, ...], Callable[[_Bands], np.ndarray]]] = {
    "NDVI": _nd("nir", "red"),
    "GNDVI": _nd("nir", "green"),
    "NDWI": _nd("green", "nir"),
    "MNDWI": _nd("green", "swir1"),
    "NDBI": _nd("swir1", "nir"),
    "NBR": _nd("nir", "swir2"),
    "NDTI": _nd("swir1", "swir2"),
    "NDRE": _nd("nir", "edge"),
    "NGRDI": _nd("green", "red"),
    "BI": (("red", "nir"), lambda v: np.sqrt((v["red"] ** 2 + v["nir"] ** 2) / 2)),
    "EVI2": (("nir", "red"), lambda v: 2.5 * (v["nir"] - v["red"]) / np.maximum(v["nir"] + 2.4 * v["red"] + 1, 0.1)),
    "BSI": (
        ("swir1", "red", "nir", "blue"),
        lambda v: (
            (v["swir1"] + v["red"] - v["nir"] - v["blue"])
            / (np.abs(v["swir1"]) + np.abs(v["red"]) + np.abs(v["nir"]) + np.abs(v["blue"]) + 1e-6)
        ),
    ),
}
"""Index -> the bands it needs and its formula. Denominators are of absolute values: noise may make a band negative."""


def measured(scene: Scene) -> tuple[np.ndarray, list[BandSpec], np.ndarray]:
    """Every number of a scene as one stack of layers, dates one after another.

    Returns
    -------
    values : (Y, X, F) float32;  bands : the BandSpec of each layer;  date : (F,) int, counted within the modality

    Raises
    ------
    GridMismatch
        The modalities lie on different grids.
    """
    parts, bands, dates = [], [], []
    grids = {name: m.grid for name, m in scene.modalities.items()}
    if len(set(grids.values())) != 1:
        listing = ", ".join(f"{k} {tuple(g.shape)}" for k, g in grids.items())
        raise GridMismatch(f"Baselines need one grid for all modalities; got {listing}. Use scene.only(...).")
    for m in scene.modalities.values():
        cube = m.read(slice(None), slice(None))
        parts.append(cube.reshape(-1, *cube.shape[2:]))
        bands += list(m.bands) * cube.shape[0]
        dates += [t for t in range(cube.shape[0]) for _ in m.bands]
    return np.moveaxis(np.concatenate(parts), 0, -1), bands, np.asarray(dates)


def raw(scene: Scene) -> np.ndarray:
    """Physical value of each band on each date."""
    return measured(scene)[0]


def raw_and_local(scene: Scene, *, window: int = 5) -> np.ndarray:
    """Physical values, then their mean and standard deviation in a window of `window` pixels."""
    values = measured(scene)[0]
    return np.concatenate([values, *local_statistics(values, window)], axis=2)


def local_statistics(values: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the measured pixels of a square window.

    Parameters
    ----------
    values : (Y, X, F) float, NaN missing.  window : odd number of pixels; the border is mirrored.

    Returns
    -------
    mean, std : (Y, X, F) float32, NaN where the window holds nothing
    """
    from scipy.ndimage import uniform_filter

    def smooth(a: np.ndarray) -> np.ndarray:
        return np.asarray(uniform_filter(a, size=(window, window, 1), mode="reflect"))

    seen = np.isfinite(values)
    # Centring first keeps the difference of squares exact enough in float64.
    centre = np.nanmean(np.where(seen, values, np.nan), axis=(0, 1)) if seen.any() else np.zeros(values.shape[2])
    centre = np.nan_to_num(centre)
    filled = np.where(seen, values - centre, 0.0).astype(np.float64)
    share = smooth(seen.astype(np.float64))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(share > 1e-9, smooth(filled) / share, np.nan)
        var = np.maximum(smooth(filled**2) / share - mean**2, 0.0)
    return (mean + centre).astype(np.float32), np.sqrt(var).astype(np.float32)


def spectral_indices(scene: Scene) -> np.ndarray:
    """The indices of `INDICES` that the reflectance bands allow, for each date; VV - VH in dB where there is radar.

    Raises
    ------
    BandMismatch
        No band pair of any index is there.
    """
    layers = []
    for m in scene.modalities.values():
        cube = m.read(slice(None), slice(None)).astype(np.float32)
        roles = _roles(m.bands)
        for date in cube:
            named = {role: date[i] for role, i in roles.items()}
            layers += [f(named) for needs, f in INDICES.values() if all(n in named for n in needs)]
        polar = {b.polarization: i for i, b in enumerate(m.bands) if b.polarization}
        if {"VV", "VH"} <= set(polar):
            layers += [date[polar["VV"]] - date[polar["VH"]] for date in cube]
    if not layers:
        have = ", ".join(f"{b.name} ({b.center_um:g} um)" for m in scene.modalities.values() for b in m.bands)
        raise BandMismatch(f"No spectral index can be computed from {have}; give red and near infrared bands or more.")
    return np.stack(layers, axis=-1).astype(np.float32)


def random_convolutions(
    scene: Scene, train: np.ndarray, *, n_features: int = 256, patch: int = 3, pool: int = 5, seed: int = 0
) -> np.ndarray:
    """Random convolutional features: responses to patches of the training side, both signs rectified, averaged nearby.

    Parameters
    ----------
    scene : Scene
    train : (Y, X) bool, where kernels may be cut.
    n_features : even; half as many kernels.
    patch, pool : kernel and averaging window in pixels.

    Returns
    -------
    numpy.ndarray, shape (Y, X, n_features), float32

    Notes
    -----
    As in Rolf et al. (2021, MOSAIKS), per pixel instead of per image: bands are standardised on the training side,
    kernels are its patches, ZCA-whitened; a response is shifted by its 50 % quantile there so that half of it is
    rectified either way, and averaged over ``pool`` pixels.
    """
    from scipy.ndimage import uniform_filter

    values = measured(scene)[0].astype(np.float64)
    inside = values[train]
    values = (values - np.nanmean(inside, axis=0)) / np.maximum(np.nanstd(inside, axis=0), 1e-9)
    half = patch // 2
    padded = np.pad(np.nan_to_num(values), ((half, half), (half, half), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (patch, patch), axis=(0, 1))
    flat = windows.reshape(-1, windows.shape[2] * patch * patch).astype(np.float32)
    where = np.flatnonzero(train.ravel() & np.isfinite(values).any(axis=2).ravel())
    rng = np.random.default_rng([seed, 3])
    sample = flat[rng.choice(where, min(5000, where.size), replace=False)].astype(np.float64)
    whiten = _zca(sample)
    kernels = (sample[: n_features // 2] - sample.mean(axis=0)) @ whiten
    kernels /= np.linalg.norm(kernels, axis=1, keepdims=True) + 1e-9
    weights = (whiten @ kernels.T).astype(np.float32)
    response = flat @ weights
    response -= np.median(sample.astype(np.float32) @ weights, axis=0)
    maps = response.reshape(*train.shape, -1)
    both = np.concatenate([np.maximum(maps, 0), np.maximum(-maps, 0)], axis=2)
    return np.asarray(uniform_filter(both, size=(pool, pool, 1), mode="reflect"), dtype=np.float32)


def _zca(sample: np.ndarray, *, floor: float = 1e-1) -> np.ndarray:
    """Whitening matrix (F, F); directions with little variance are damped by `floor`."""
    values, vectors = np.linalg.eigh(np.cov(sample, rowvar=False))
    return np.asarray((vectors / np.sqrt(np.maximum(values, 0) + floor)) @ vectors.T)


def _roles(bands: Sequence[BandSpec]) -> dict[str, int]:
    """Position of the reflectance band nearest to each named wavelength, where one is near enough."""
    roles = {}
    for role, (centre, tolerance) in _NEAR_UM.items():
        gaps = [(abs(b.center_um - centre), i) for i, b in enumerate(bands) if b.kind == "reflectance"]
        if gaps and min(gaps)[0] <= tolerance:
            roles[role] = min(gaps)[1]
    return roles
