"""`fast_form`: an encoder whose matrix products are computed in bfloat16, on processors that have units for them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from georeset_lab.models.encoder import Encoder


class InBfloat16(nn.Module):
    """A part whose weights, inputs and results are bfloat16; what calls it sees float32.

    Parameters
    ----------
    part : nn.Module
        Changed in place.
    """

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        """What the part says of ``x``, rounded to bfloat16."""
        out: Tensor = self.part(x.to(torch.bfloat16))
        return out.to(x.dtype)


def has_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 are quicker than in float32 there, rather than imitated."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpu = torch.cpu
    return device.type == "cpu" and (cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())


def fast_form(encoder: Encoder) -> Encoder:
    """A copy for inference: large products in bfloat16, sums, norms, softmax and everything else as before.

    Of the embedding's 64 dimensions the third digit may change; the cosine to what the encoder itself says is above
    0.9999 (``python -m tests.benchmarks.bench_fast``).
    """
    encoder = copy.deepcopy(encoder)
    around = encoder.head.around
    for owner, names in (
        *((block, ("qkv", "project", "mlp")) for block in encoder.blocks),
        (encoder, ("tokens",)),
        (encoder.head, ("mix", "beside")),
        (around, ("to_hidden", "to_latent")),
    ):
        for name in names:
            setattr(owner, name, InBfloat16(getattr(owner, name)))
    encoder.products = torch.bfloat16
    return encoder
