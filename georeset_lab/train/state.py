"""State of an unfinished run: weights, optimiser and step, as safetensors and a sealed card. Never a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from georeset_lab.errors import CheckpointError
from georeset_lab.files import new_folder, seal, sha256, unseal, write_atomic

_TENSORS, _CARD = "state.safetensors", "state.json"


def save_state(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, *, step: int, identity: dict[str, Any]
) -> None:
    """Write a checkpoint of a run in place of the previous one, which survives a crash while writing."""
    tensors = {f"model.{k}": v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    for i, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v).detach().cpu().contiguous() for k, v in slots.items()}
    payload = save(tensors)
    with new_folder(folder) as work:
        write_atomic(work / _TENSORS, payload)
        write_atomic(work / _CARD, seal({"step": step, "identity": identity, "sha256": sha256(payload)}))


def load_state(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, *, identity: dict[str, Any]) -> int:
    """Restore a run and return the number of steps it has done.

    Raises
    ------
    CheckpointError
        The state is damaged, or belongs to a run with other settings, data or seed.
    """
    try:
        card = unseal((folder / _CARD).read_bytes())
        payload = (folder / _TENSORS).read_bytes()
        if sha256(payload) != card["sha256"]:
            raise ValueError("the tensors do not match their card")
        tensors = load(payload)
    except (OSError, ValueError, KeyError, SafetensorError) as err:
        raise CheckpointError(
            f"The training state in {folder} is unusable: {err}. Delete the folder to start anew."
        ) from err
    there = card["identity"]
    differing = [f"{k} ({there.get(k)!r} there, {identity[k]!r} now)" for k in identity if there.get(k) != identity[k]]
    if differing:
        raise CheckpointError(
            f"{folder} holds another run: it differs in {'; '.join(differing)}. Pass another out=, or delete the folder."
        )
    module.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    optimizer.load_state_dict({**optimizer.state_dict(), "state": _slots(tensors)})
    return int(card["step"])


def _slots(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    return state
