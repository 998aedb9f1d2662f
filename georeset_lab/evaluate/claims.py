"""Does a sensor know what it claims to know? Its variance, block by block, against what clean views of all sensors show.

The truth is no opinion of the trained network: it is the closed-form signature of Sentinel-2 and Sentinel-1, the mean over
the dates of a ground. Here it can be seen whether radar knows of colours what it says it knows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from georeset_lab.data.bands import band_table
from georeset_lab.evaluate.robust import experts
from georeset_lab.evaluate.windows import Windows
from georeset_lab.models.checkpoint import Model
from georeset_lab.models.encoder import Encoder
from georeset_lab.models.fusion import Gaussian, fuse
from georeset_lab.train.crops import View

TAUGHT = "teacher"
"""Block whose truth is another network's features; it is left out."""


def claims(model: Model, windows: Windows) -> dict[str, Any]:
    """Predicted and realised squared error of each sensor, and of both, in each block of dimensions.

    Parameters
    ----------
    model : Model
        Trained by prediction; other objectives give their dimensions no such meaning.
    windows : Windows
        Places that the model has not seen.

    Returns
    -------
    dict
        sensor, or ``fused`` -> block -> ``predicted`` (mean variance), ``realised`` (mean squared error) and ``prior``
        (mean square of the truth: the error of saying nothing), each a list over places. Empty for other objectives.
    """
    if model.card.get("objective") != "predict" or not isinstance(model.encoder, Encoder):
        return {}
    truth = _truth(model.encoder, windows)
    said = {name: experts(model.encoder, view) for name, view in windows.views.items()}
    said["fused"] = fuse(list(said.values()))
    return {name: _by_block(model.encoder, expert, truth, windows.place) for name, expert in said.items()}


def _truth(encoder: Encoder, windows: Windows) -> torch.Tensor:
    """Signature of all sensors (N, P, D), the mean over windows of the same ground."""
    whole = torch.stack([_signature(encoder, view) for view in windows.views.values()]).sum(0)
    ground = torch.from_numpy(windows.ground)
    return torch.stack([whole[ground == g].mean(0) for g in ground])


def _signature(encoder: Encoder, view: View) -> torch.Tensor:
    pixels, points = torch.from_numpy(view.pixels), torch.from_numpy(view.points)
    return encoder.signatures(pixels, torch.from_numpy(band_table(view.bands)), points)[0]


def _by_block(encoder: Encoder, expert: Gaussian, truth: torch.Tensor, place: np.ndarray) -> dict[str, Any]:
    found, first = {}, 0
    each = [torch.from_numpy(place == p) for p in np.unique(place)]
    for block, n in encoder.signature.sizes.items():
        part = slice(first, first + n)
        first += n
        if block == TAUGHT:
            continue
        error, prior = (expert.mean - truth)[..., part].square(), truth[..., part].square()
        values = {"predicted": expert.var[..., part], "realised": error, "prior": prior}
        found[block] = {k: [float(v[here].mean()) for here in each] for k, v in values.items()}
    return found
