"""`Recipe`: everything that decides a training run, as one value that is stored in the card of the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from georeset_lab.data.scene import Scene
from georeset_lab.errors import GeoresetError, RecipeError
from georeset_lab.files import sha256
from georeset_lab.train.views import Augmentation

_FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run; every default is what ``train`` uses without a recipe."""

    name: str = "custom"
    objective: str = "predict"
    steps: int = 600
    """0 only fits the signature in closed form."""
    batch: int = 12
    """Crops per step."""
    points: int = 16
    """Ground points per crop."""
    max_dates: int = 3
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 100
    clip: float = 1.0
    checkpoint_every: int = 100
    encoder: dict[str, Any] = field(default_factory=dict)
    """Fields of `georeset_lab.models.encoder.EncoderConfig` that differ from their defaults; or, with ``rival`` naming one of
    `georeset_lab.models.rivals.build.RIVALS`, of `georeset_lab.models.rivals.plain.PlainConfig`."""
    augmentation: dict[str, Any] = field(default_factory=dict)
    """Fields of `georeset_lab.train.views.Augmentation` that differ from their defaults."""
    simulated: dict[str, Any] = field(default_factory=dict)
    """``count`` of simulated landscapes, ``first_seed``, ``size`` in 10 m pixels, ``modalities``, ``dates``."""
    real: tuple[dict[str, Any], ...] = ()
    """Real scenes: ``source`` (path or dict of paths below the data folder) and further arguments of ``load_scene``."""
    targets: tuple[str, ...] | None = None
    """Objective ``"predict"``: blocks of `georeset_lab.train.targets` that are learned; None is all."""
    pmi: float = 0.0
    """Objective ``"predict"``: weight of contrast by PMI besides."""
    notes: str = ""
    """Licences and origin of the data, for the card."""

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("batch", 1), ("points", 1), ("max_dates", 1), ("checkpoint_every", 1)):
            if int(getattr(self, name)) < least:
                raise RecipeError(
                    f"Recipe {self.name!r} has {name}={getattr(self, name)}; it must be at least {least}."
                )
        try:
            Augmentation(**self.augmentation)
        except TypeError as err:
            raise RecipeError(f"Recipe {self.name!r} has an unknown augmentation: {err}.") from err

    @property
    def hash(self) -> str:
        """Identity of the settings: first 16 digits of the SHA-256 of their JSON."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode())[:16]

    def scenes(self, data: str | Path | None = None) -> list[Scene]:
        """Simulate and load the scenes the recipe names.

        Parameters
        ----------
        data : path, optional
            Folder below which the real scenes lie; may be left out if the recipe names none.

        Raises
        ------
        RecipeError
            Real scenes are named but no folder was given, or one of them cannot be loaded.
        """
        from tqdm.auto import tqdm

        from georeset_lab.data.load import load_scene
        from georeset_lab.data.simulate import simulate_scene

        settings = dict(self.simulated)
        count, first = settings.pop("count", 0), settings.pop("first_seed", 0)
        scenes = [
            simulate_scene(seed=first + i, **_tuples(settings))
            for i in tqdm(range(count), desc="simulating landscapes", delay=2, leave=False)
        ]
        if self.real and data is None:
            raise RecipeError(
                f"Recipe {self.name!r} trains on {len(self.real)} real scenes; pass data= (--data) with their folder, "
                "or use a recipe without real data."
            )
        for entry in self.real:
            source = _below(entry["source"], Path(str(data)))
            try:
                scenes.append(load_scene(source, **{k: v for k, v in entry.items() if k != "source"}))
            except GeoresetError as err:
                raise RecipeError(f"Recipe {self.name!r} cannot load {entry['source']}: {err}") from err
        return scenes


def load_recipe(source: str | Path | Mapping[str, Any] | Recipe | None) -> Recipe:
    """Return a recipe by name, from a JSON file or from a mapping; ``None`` gives the defaults.

    ``"sensors:slots"`` is the recipe ``sensors`` with the rival encoder ``slots`` (`georeset_lab.models.rivals.build.RIVALS`).

    Raises
    ------
    RecipeError
        No recipe has this name, the file is not JSON, or a field is unknown.
    """
    if source is None or isinstance(source, Recipe):
        return source or Recipe()
    if isinstance(source, str | Path):
        name, colon, rival = str(source).rpartition(":")
        if colon and (_FOLDER / f"{name}.json").is_file():
            whole = _read(name)
            source = {**whole, "name": f"{name}:{rival}", "encoder": {**whole.get("encoder", {}), "rival": rival}}
        else:
            source = _read(source)
    known = {f.name for f in fields(Recipe)}
    unknown = sorted(set(source) - known)
    if unknown:
        raise RecipeError(f"Recipe has unknown fields {', '.join(unknown)}; it may have {', '.join(sorted(known))}.")
    targets = source.get("targets")
    return Recipe(
        **{
            **source,
            "real": tuple(source.get("real", ())),
            "targets": None if targets is None else tuple(targets),
        }
    )


def list_recipes() -> list[str]:
    """Names of the recipes that stand in the package."""
    return sorted(p.stem for p in _FOLDER.glob("*.json"))


def _read(source: str | Path) -> Mapping[str, Any]:
    path = _FOLDER / f"{source}.json"
    if not path.is_file():
        path = Path(source)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        names = ", ".join(map(repr, list_recipes()))
        raise RecipeError(
            f"No recipe {str(source)!r} ({err}). Use one of {names}, or the path of a JSON file."
        ) from err
    if not isinstance(content, dict):
        raise RecipeError(f"{path} holds no JSON object; a recipe is an object of settings.")
    return content


def _below(source: Any, folder: Path) -> Any:
    if isinstance(source, Mapping):
        return {name: _below(part, folder) for name, part in source.items()}
    if isinstance(source, list):
        return [_below(part, folder) for part in source]
    return folder / source


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
