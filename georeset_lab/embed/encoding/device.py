"""Where the encoder runs."""

from __future__ import annotations

import copy

import torch

from georeset_lab.errors import InvalidOption
from georeset_lab.models.encoder import Encoder


def on_device(encoder: Encoder, device: str) -> tuple[Encoder, torch.device]:
    """The encoder on a device, ready for inference; a copy if it lies elsewhere, so that the caller's stays there.

    ``"auto"`` is the GPU if torch finds one, else the CPU.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        where = torch.device(device)
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError) as err:  # torch without CUDA raises AssertionError
        raise InvalidOption(f"device={device!r} cannot be used here: {err}. Use 'auto' or 'cpu'.") from err
    here = next(iter(encoder.parameters()), torch.empty(0)).device
    if here.type != where.type or (where.index is not None and here.index != where.index):
        encoder = copy.deepcopy(encoder).to(where)
    return encoder.eval(), where
