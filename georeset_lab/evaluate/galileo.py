"""Features of Galileo nano for a task: all its modalities and dates in one attention, as published. A yardstick."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from georeset_lab.data.bands import band_table
from georeset_lab.data.scene import Scene
from georeset_lab.data.times import day_of_year
from georeset_lab.models.pretrained import Galileo, inputs, load_galileo, month_of

_MARGIN_PX = 32


def galileo_features(scene: Scene, folder: str) -> np.ndarray:
    """Feature map of a scene whose modalities lie on one grid of 10 m.

    Parameters
    ----------
    scene : Scene
        Sentinel-2, and Sentinel-1 if there is any (its one date then joins each date of Sentinel-2).
    folder : str
        Folder of the published weights.

    Returns
    -------
    numpy.ndarray, shape (Y, X, 128), float32
        Tiles of 32 pixels that overlap by half, patches of 4 pixels, repeated to pixels by nearest neighbour.
    """
    model = _model(folder)
    cubes = []
    for m in scene.modalities.values():
        pixels = torch.from_numpy(m.read(slice(None), slice(None)).astype(np.float32))
        cubes.append(inputs(pixels, torch.from_numpy(band_table(m.bands))))
    first = next(iter(scene.modalities.values()))
    cube = cubes[0]
    for other in cubes[1:]:
        cube = cube.where(torch.isfinite(cube), other[:1] if len(other) != len(cube) else other)
    height, width = cube.shape[2:]
    step = model.config.window_tokens * model.config.token_px
    low, frame = _MARGIN_PX, [-(-(n + 2 * _MARGIN_PX) // step) * step for n in (height, width)]
    edges = ((0, 0), (0, 0), (low, frame[0] - height - low), (low, frame[1] - width - low))
    padded = torch.from_numpy(np.pad(cube.numpy(), edges, mode="reflect"))
    month = month_of(torch.from_numpy(day_of_year(first.times)))
    tokens = model.features(padded, month, pixel_m=abs(first.grid.affine.a)).numpy()
    full = tokens.repeat(model.config.token_px, 0).repeat(model.config.token_px, 1)
    return np.asarray(full[low : low + height, low : low + width])


@lru_cache(maxsize=1)
def _model(folder: str) -> Galileo:
    return load_galileo(folder)
