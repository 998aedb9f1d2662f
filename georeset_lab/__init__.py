"""Satellite scenes of several sensors become embedding maps that know how sure they are.

Public names are resolved at first use, so that ``import georeset_lab`` costs almost nothing: torch, scikit-learn, UMAP
and the widget libraries are loaded by the call that needs them.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from georeset_lab.api import encode, explore, load_scene, probe, similar, train
    from georeset_lab.data.bands import BandSpec
    from georeset_lab.data.scene import Modality, Scene
    from georeset_lab.embed.embeddings import Embeddings, open_embeddings
    from georeset_lab.embed.foreign import import_embeddings
    from georeset_lab.embed.probe import Probe
    from georeset_lab.errors import GeoresetError, GeoresetWarning
    from georeset_lab.models.checkpoint import Model, list_models, load_model

__version__ = "0.1.0"

__all__ = [
    "load_scene",
    "encode",
    "similar",
    "probe",
    "explore",
    "train",
    "open_embeddings",
    "import_embeddings",
    "load_model",
    "list_models",
    "BandSpec",
    "Scene",
    "Modality",
    "Embeddings",
    "Probe",
    "Model",
    "GeoresetError",
    "GeoresetWarning",
    "__version__",
]

_HOME = {
    "load_scene": "api",
    "encode": "api",
    "similar": "api",
    "probe": "api",
    "explore": "api",
    "train": "api",
    "open_embeddings": "embed.embeddings",
    "import_embeddings": "embed.foreign",
    "load_model": "models.checkpoint",
    "list_models": "models.checkpoint",
    "BandSpec": "data.bands",
    "Scene": "data.scene",
    "Modality": "data.scene",
    "Embeddings": "embed.embeddings",
    "Probe": "embed.probe",
    "Model": "models.checkpoint",
    "GeoresetError": "errors",
    "GeoresetWarning": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}.")
    if name == "train":
        return importlib.import_module(f"{__name__}.train")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _TrainPackage(ModuleType):
    """The sub-package ``georeset_lab.train``, which is also the verb ``gl.train(...)``."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return importlib.import_module(f"{__name__}.api").train(*args, **kwargs)

    @property
    def __signature__(self) -> Any:
        import inspect

        return inspect.signature(importlib.import_module(f"{__name__}.api").train)


class _Package(ModuleType):
    # Importing the sub-package binds it as ``gl.train`` and would hide the verb of that name. So the sub-package
    # becomes callable when it is bound: ``gl.train(...)`` and ``import georeset_lab.train.loop`` work in any order.
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "train" and isinstance(value, ModuleType):
            value.__class__ = _TrainPackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
