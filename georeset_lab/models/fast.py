"""`fast_form`: an encoder whose matrix products are computed in bfloat16, on processors that have units for them."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from georeset_lab.models.encoder import Encoder

M = TypeVar("M", bound=nn.Module)


class InBfloat16(nn.Module):
    """A part whose weights, inputs and results are bfloat16; what calls it sees float32.

    Parameters
    ----------
    part : nn.Module
        Stays as it is.
    """

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = _cast(part)

    def forward(self, x: Tensor) -> Tensor:
        """What the part says of ``x``, rounded to bfloat16."""
        out: Tensor = self.part(x.to(torch.bfloat16))
        return out.to(x.dtype)


def has_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 are quicker than in float32 there, rather than imitated."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    asked = (getattr(torch.cpu, f"_is_{unit}_supported", None) for unit in ("avx512_bf16", "amx_tile"))
    return device.type == "cpu" and any(is_there is not None and is_there() for is_there in asked)


def fast_form(encoder: Encoder) -> Encoder:
    """An encoder for inference with large products and what lies between two of them in bfloat16.

    Attention, norms and residual sums stay float32; all that is not narrowed is shared with the encoder. How near
    it stays: ``python -m tests.benchmarks.bench_fast``.
    """
    head = encoder.head
    around = _narrowed(head.around, "to_hidden", "to_latent")
    blocks = nn.ModuleList(_narrowed(block, "qkv", "project", "mlp") for block in encoder.blocks)
    signature = copy.copy(encoder.signature)
    kernels = {
        name: z.to(torch.bfloat16) for name, z in signature._buffers.items() if z is not None and "kernels" in name
    }
    signature.__dict__["_buffers"] = {**signature._buffers, **kernels}
    fast = _replaced(_narrowed(encoder, "tokens"), blocks=blocks, signature=signature)
    fast = _replaced(fast, head=_replaced(_narrowed(head, "mix", "beside"), around=around))
    fast.products = torch.bfloat16
    return fast


def _cast(part: nn.Module) -> nn.Module:
    """A module and all that is in it with parameters in bfloat16, for inference; quicker than a deep copy."""
    other = copy.copy(part)
    other.__dict__["_parameters"] = {n: None if p is None else _constant(p) for n, p in part._parameters.items()}
    other.__dict__["_modules"] = {n: None if m is None else _cast(m) for n, m in part._modules.items()}
    return other


def _constant(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(parameter.detach().to(torch.bfloat16), requires_grad=False)


def _narrowed(owner: M, *names: str) -> M:
    """The same module with some of its parts in bfloat16."""
    return _replaced(owner, **{name: InBfloat16(owner.get_submodule(name)) for name in names})


def _replaced(owner: M, **parts: nn.Module) -> M:
    """The same module with other parts under these names; what is not named is shared."""
    other = copy.copy(owner)
    other.__dict__["_modules"] = {**owner._modules, **parts}
    return other
