"""Trained encoders on disk: a folder with ``weights.safetensors`` and ``card.json``. Nothing here can run code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from georeset_lab.errors import CheckpointError, RecipeError
from georeset_lab.files import new_folder, seal, sha256, unseal, write_atomic
from georeset_lab.models.encoder import Encoder
from georeset_lab.models.pretrained import GALILEO, galileo_hash, load_galileo
from georeset_lab.models.rivals.build import build_encoder, encoder_config
from georeset_lab.models.upgrade import widened

FORMAT = "georeset-model/1"
_RELEASED = Path(__file__).parent / "weights"
_WEIGHTS, _CARD = "weights.safetensors", "card.json"
_TARGETS = "targets."


@dataclass(frozen=True)
class Model:
    """A frozen encoder and the card that says where it comes from."""

    encoder: Encoder
    card: dict[str, Any]
    """Recipe, objective, data and licences, seed, steps, package version, figures."""
    hash: str
    """First 16 hexadecimal digits of the SHA-256 of weights and sizes: the identity that embeddings and probes carry."""
    name: str
    targets: dict[str, torch.Tensor] = field(default_factory=dict)
    """Constants of the training targets (`georeset_lab.train.targets`); training from these weights starts with them."""

    def save(self, folder: str | Path) -> Path:
        """Write the model to a folder; see `save_model`."""
        return save_model(self, folder)

    def _repr_html_(self) -> str:
        n = sum(p.numel() for p in self.encoder.parameters())
        return f"<b>Model {self.name}</b> · {n / 1e6:.2f} M parameters · objective {self.card.get('objective', '?')} · {self.hash}"


def make_model(
    encoder: Encoder,
    *,
    name: str,
    card: Mapping[str, Any] | None = None,
    targets: Mapping[str, torch.Tensor] | None = None,
) -> Model:
    """Freeze an encoder into a `Model`; an untrained one is ``make_model(Encoder(), name="untrained")``."""
    weights = save_tensors(_state(encoder))
    identity = sha256(weights + repr(asdict(encoder.config)).encode())[:16]
    return Model(encoder.eval().requires_grad_(False), dict(card or {}), identity, name, dict(targets or {}))


def save_model(model: Model, folder: str | Path) -> Path:
    """Write weights and card so that the folder is whole or absent.

    Returns
    -------
    pathlib.Path
        The folder, which `load_model` takes.
    """
    folder = Path(folder)
    constants = {_TARGETS + k: v.detach().cpu().contiguous() for k, v in model.targets.items()}
    weights = save_tensors(_state(model.encoder) | constants)
    card = {
        **model.card,
        "format": FORMAT,
        "name": model.name,
        "hash": model.hash,
        "config": asdict(model.encoder.config),
        "weights_sha256": sha256(weights),
    }
    with new_folder(folder) as work:
        write_atomic(work / _WEIGHTS, weights)
        write_atomic(work / _CARD, seal(card))
    return folder


def kept_model(source: str) -> Model:
    """What `load_model` gives, kept in memory until its files change. For callers that do not hand it on to be changed."""
    folder = _folder(source).resolve()
    files = [folder / name for name in (_CARD, _WEIGHTS)]
    if not all(f.is_file() for f in files):
        return load_model(source)
    return _loaded(str(folder), tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in (f.stat() for f in files)))


@lru_cache(maxsize=2)
def _loaded(folder: str, _files: tuple[tuple[int, int, int], ...]) -> Model:
    return load_model(folder)


def _folder(source: str | Path) -> Path:
    released = isinstance(source, str) and (_RELEASED / source / _CARD).is_file()
    return _RELEASED / source if released else Path(source)


def load_model(source: str | Path) -> Model:
    """Load an encoder by name or from a folder.

    Parameters
    ----------
    source : str or path
        A name from `list_models` (``"default"``), ``"galileo-nano"`` (`georeset_lab.models.pretrained`; its weights
        are found through the environment variable ``GEORESET_GALILEO``), ``"torchgeo:..."``
        (`georeset_lab.models.torchgeo_models`), or a folder written by `save_model` or `georeset_lab.train`.

    Raises
    ------
    CheckpointError
        No such model; a file missing, damaged, of another format, or not belonging to its card.
    """
    if source == GALILEO:
        published = load_galileo()
        about = {"objective": "Galileo", "data": "127,155 places", "source": "github.com/nasaharvest/galileo (MIT)"}
        return Model(cast(Encoder, published), about, galileo_hash(published), GALILEO)
    if isinstance(source, str) and source.startswith("torchgeo:"):
        return _published(source)
    folder = _folder(source)
    if not folder.is_dir():
        names = ", ".join(repr(n) for n in list_models()) or "none"
        raise CheckpointError(
            f"No model {str(source)!r}. Released models: {names}. Pass one of these names, or a folder made by "
            "georeset_lab.train(..., out=folder)."
        )
    card, weights = _read_card(folder), _read_weights(folder)
    if sha256(weights) != card["weights_sha256"]:
        raise CheckpointError(
            f"{folder / _WEIGHTS} does not match its card (SHA-256 differs): it is damaged or belongs to another model. "
            "Copy the folder again or retrain."
        )
    try:
        encoder = build_encoder(encoder_config(card["config"]))
        tensors = load_tensors(weights)
        stored = {k: v for k, v in tensors.items() if not k.startswith(_TARGETS)}
        if "rival" not in card["config"]:
            stored = widened(stored, encoder.state_dict(), cells_per_token=encoder.config.token**2)
        encoder.load_state_dict(stored)
    except (SafetensorError, RuntimeError, TypeError, KeyError, RecipeError) as err:
        raise CheckpointError(f"{folder} holds weights that do not fit this version's encoder: {err}") from err
    targets = {k.removeprefix(_TARGETS): v for k, v in tensors.items() if k.startswith(_TARGETS)}
    return Model(encoder.eval().requires_grad_(False), card, card["hash"], card["name"], targets)


def _published(name: str) -> Model:
    from georeset_lab.models.torchgeo_models import load_torchgeo, torchgeo_hash  # 5 s, and only for these

    net = load_torchgeo(name)
    about = {"objective": "published", "source": f"torchgeo ({name}); see its documentation for data and licence"}
    return Model(cast(Encoder, net), about, torchgeo_hash(net), name)


def list_models() -> list[str]:
    """Names of the weights shipped with the package."""
    return sorted(p.parent.name for p in _RELEASED.glob(f"*/{_CARD}"))


def _state(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {k: v.detach().cpu().contiguous() for k, v in encoder.state_dict().items()}


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        card = unseal((folder / _CARD).read_bytes())
    except (OSError, ValueError) as err:
        raise CheckpointError(f"{folder / _CARD} cannot be used: {err}. Copy the folder again or retrain.") from err
    if card.get("format") != FORMAT or not {"config", "weights_sha256", "hash", "name"} <= card.keys():
        raise CheckpointError(
            f"{folder / _CARD} says format {card.get('format')!r}; this version reads {FORMAT!r}. It is not an encoder of ours."
        )
    return card


def _read_weights(folder: Path) -> bytes:
    try:
        return (folder / _WEIGHTS).read_bytes()
    except OSError as err:
        raise CheckpointError(f"{folder} has no readable {_WEIGHTS}: {err}. Copy the folder again or retrain.") from err
