"""Where the encoder runs."""

from __future__ import annotations

import copy

import torch

from georeset_lab.errors import InvalidOption
from georeset_lab.models.encoder import Encoder
from georeset_lab.models.fast import fast_form, has_bfloat16


def on_device(encoder: Encoder, device: str, *, fast: bool = False) -> tuple[Encoder, torch.device]:
    """The encoder on a device, ready for inference; a copy if it lies elsewhere, so that the caller's stays there.

    ``"auto"`` is the GPU if torch finds one, else the CPU. With ``fast``, its `fast_form` where that is quicker; encoders
    of other kinds have none.
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
    if fast and isinstance(encoder, Encoder) and has_bfloat16(where):
        encoder = fast_form(encoder)
    return encoder.eval(), where
