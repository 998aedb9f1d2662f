"""The rows of a table: named recipes for a feature map of a task. Cheap rows first, then encoders from a folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.errors import GridMismatch
from georeset_lab.evaluate import baselines
from georeset_lab.evaluate.galileo import galileo_features
from georeset_lab.evaluate.splits import TRAIN
from georeset_lab.evaluate.task import Task, TaskSpec

if TYPE_CHECKING:
    from georeset_lab.models.checkpoint import Model

ALL = "all"
"""View of a row that uses every modality of the task."""

CHEAP = {
    "raw": "raw bands",
    "raw5": "raw bands + 5x5 mean and std",
    "indices": "spectral indices",
    "rcf": "random convolutional features (256)",
    "galileo": "Galileo nano, patch 4",
}
UNTRAINED, FITTED, DEFAULT, ADAPTED = "untrained", "fitted", "default", "adapted"
TRAINED = (FITTED, "infonce", "pmi", "predict")
_COMMANDS = {
    "infonce": "contrast --data DATA --objective infonce",
    "pmi": "contrast --data DATA --objective pmi",
    "predict": "default --data DATA --steps 900",
    FITTED: "default --data DATA --steps 0",
}
SEEDS = (0, 1, 2)
_TITLES = {
    UNTRAINED: "our encoder, untrained",
    FITTED: "our encoder, signature fitted, no training",
    "infonce": "our encoder, InfoNCE",
    "pmi": "our encoder, PMI",
    "predict": "our encoder, prediction without a teacher",
    DEFAULT: "default weights",
    ADAPTED: "default weights, adapted to the scene (no labels)",
}
_CARD = "card.json"


@dataclass(frozen=True)
class Row:
    """One feature map of a task."""

    name: str
    """Key of `CHEAP`, or an encoder's family: ``untrained``, ``infonce``, ``pmi``, ``default``, a folder's name."""
    view: str = ALL
    """`ALL`, or the one modality it sees."""
    seed: int | None = None
    """Training seed of an encoder."""
    source: str | None = None
    """Encoder: folder or released name. None for cheap rows and for an untrained encoder with default sizes."""
    local: bool = False
    """Raw bands with 5x5 mean and std are appended."""
    identity: str = "1"
    """Hash of the weights, or version of a cheap row."""

    @property
    def is_model(self) -> bool:
        """Whether it needs an encoder."""
        return self.name not in CHEAP

    @property
    def family(self) -> tuple[str, str, bool]:
        """What its seeds are averaged under."""
        return self.name, self.view, self.local


def title(family: tuple[str, str, bool], modalities: Sequence[str]) -> str:
    """Words for a row in a table of a task with these modalities."""
    name, view, local = family
    words = CHEAP.get(name) or _TITLES.get(name, name)
    if len(modalities) > 1:
        words += f", {'fused' if name not in CHEAP else ' + '.join(modalities)}" if view == ALL else f", {view} only"
    return words + (" + raw 5x5" if local else "")


def cheap_rows(modalities: Sequence[str], galileo: Row | None = None) -> list[Row]:
    """Rows of a task that train nothing here, with and without raw 5x5 appended.

    Raw ones also for each modality alone, the rivals of one-sensor embeddings; Galileo where there is Sentinel-2.
    """
    rows = [Row(name) for name in CHEAP if name != "galileo"]
    rows += [replace(row, local=True) for row in rows if row.name in ("indices", "rcf")]
    if len(modalities) > 1:
        rows += [Row(name, view) for name in ("raw", "raw5") for view in modalities]
    if galileo is not None and "s2" in modalities:
        rows += [galileo, replace(galileo, local=True)]
    return rows


def adapted_rows(
    data: Path, spec: TaskSpec, folder: Path, *, minutes: float, teacher: str | Path | None, progress: bool
) -> list[Row]:
    """The default weights adapted to the unlabelled scene of a task; what is there is not made again."""
    from georeset_lab.models.checkpoint import load_model
    from georeset_lab.train.loop import train

    start = load_model(DEFAULT)
    home = folder / f"{spec.name}-{start.hash}-{minutes:g}min"
    if not (home / "model" / _CARD).is_file():
        scene = spec.read(data).scene
        train(scene, init=start, recipe="adapt", minutes=minutes, teacher=teacher, out=home, progress=progress)
    return [_row(ADAPTED, None, str(home / "model"))]


def galileo_row(folder: Path | None) -> Row | None:
    """Row of the published encoder, or None without its weights."""
    from georeset_lab.models.pretrained import galileo_hash, load_galileo

    if folder is None:
        return None
    return Row("galileo", source=str(folder), identity=galileo_hash(load_galileo(folder)))


def model_rows(base: Row, modalities: Sequence[str]) -> list[Row]:
    """Rows of one encoder: fused, each modality alone, and fused with raw 5x5 appended."""
    views = [ALL, *(modalities if len(modalities) > 1 else ())]
    rows = [Row(base.name, view, base.seed, base.source, False, base.identity) for view in views]
    return [*rows, Row(base.name, ALL, base.seed, base.source, True, base.identity)]


def find_models(folder: Path | None, seeds: Iterable[int] = SEEDS) -> tuple[list[Row], list[str]]:
    """Encoders to evaluate, and what is missing with the command that makes it.

    Parameters
    ----------
    folder : path or None
        Holds one folder per encoder, named ``<objective>-seed<N>`` (other names make a row of their own), each with
        ``card.json`` in it or in its ``model`` folder, as `georeset_lab.train` writes it.
    seeds : training seeds of the standard rows.

    Returns
    -------
    rows : list of Row, one per encoder, to be widened by `model_rows`
    missing : list of str, one sentence each
    """
    from georeset_lab.models.checkpoint import list_models

    found: dict[tuple[str, int | None], Path] = {}
    for card in sorted([*folder.glob(f"*/{_CARD}"), *folder.glob(f"*/model/{_CARD}")]) if folder else []:
        home = card.parent.parent if card.parent.name == "model" else card.parent
        match = re.fullmatch(r"(.+)-seed(\d+)", home.name)
        found[(match[1], int(match[2])) if match else (home.name, None)] = card.parent
    rows, missing = [], []
    for seed in seeds:
        twins = (found.get((name, seed)) for name in ("predict", "pmi", "fitted"))
        source = found.pop((UNTRAINED, seed), None) or next((t for t in twins if t), None)
        rows.append(_row(UNTRAINED, seed, None if source is None else str(source)))
    where = folder or Path("models")
    for name in TRAINED:
        for seed in seeds:
            if (name, seed) in found:
                rows.append(_row(name, seed, str(found.pop((name, seed)))))
            else:
                missing.append(
                    f"No {name}-seed{seed}: make it with "
                    f"`georeset train {_COMMANDS[name]} --seed {seed} "
                    f"--out {where / f'{name}-seed{seed}'}`."
                )
    rows += [_row(name, seed, str(path)) for (name, seed), path in found.items()]
    if DEFAULT in list_models():
        rows.append(_row(DEFAULT, None, DEFAULT))
    else:
        missing.append("This copy of the package has no default weights.")
    return rows, missing


def features_of(rows: Sequence[Row], task: Task) -> list[np.ndarray]:
    """Feature maps (Y, X, F) float32 of several rows of one encoder, or of one cheap row each.

    Raises
    ------
    GridMismatch
        The embeddings do not lie on the task's grid.
    """
    return _model_features(rows, task) if rows[0].is_model else [_cheap_features(row, task) for row in rows]


def trained_here(row: Row, task: Task) -> bool:
    """Whether the card of the row's weights names this place among its training scenes."""
    if row.name == UNTRAINED or not row.is_model or row.source is None:
        return False
    card = load(row).card
    said = repr((card.get("scenes"), card.get("recipe", {}).get("real"), card.get("data")))
    return any(word in said for word in task.folders)


@lru_cache(maxsize=2)
def load(row: Row) -> Model:
    """Encoder of a row (of its seed; the view does not matter)."""
    from georeset_lab.models.checkpoint import load_model, make_model
    from georeset_lab.train.loop import untrained

    model = None if row.source is None else load_model(row.source)
    if row.name != UNTRAINED:
        assert model is not None
        return model
    if model is not None and model.card.get("objective") in (None, UNTRAINED):
        return model
    # Same sizes and same initial weights as the trained twin of this seed.
    encoder = untrained(None if model is None else model.encoder.config, row.seed or 0)
    return make_model(encoder, name=f"{UNTRAINED}-seed{row.seed}")


def _row(name: str, seed: int | None, source: str | None) -> Row:
    blank = Row(name, ALL, seed, source)
    return Row(name, ALL, seed, source, False, load(blank).hash)


def _cheap_features(row: Row, task: Task) -> np.ndarray:
    scene = task.scene if row.view == ALL else task.scene.only(row.view)
    recipes: dict[str, Any] = {
        "raw": baselines.raw,
        "raw5": baselines.raw_and_local,
        "indices": baselines.spectral_indices,
        "rcf": lambda scene: baselines.random_convolutions(scene, task.side == TRAIN),
        "galileo": lambda scene: galileo_features(scene, row.source or ""),
    }
    features = np.asarray(recipes[row.name](scene))
    return np.concatenate([features, baselines.raw_and_local(scene)], axis=2) if row.local else features


def _model_features(rows: Sequence[Row], task: Task) -> list[np.ndarray]:
    from georeset_lab.embed.encode import encode

    blank = Row(rows[0].name, ALL, rows[0].seed, rows[0].source)
    emb = encode(task.scene, model=load(blank), dtype="float32", device="cpu", progress=False)
    if tuple(emb.grid.shape) != tuple(task.grid.shape) or emb.grid.affine != task.grid.affine:
        raise GridMismatch(
            f"Embeddings of {task.name!r} lie on {emb.grid.shape} {emb.grid.affine}, the labels on {task.grid.shape} "
            f"{task.grid.affine}. Give the scene one grid, that of its first modality."
        )
    maps = []
    for row in rows:
        part = emb if row.view == ALL else emb.only(row.view)
        mean = np.moveaxis(np.asarray(part.mean.values), 0, -1)
        seen = np.asarray(part.observed)
        # A silent pixel has the prior's mean 0, which is no measurement.
        mean = np.where(seen[..., None], mean, np.nan)
        maps.append(np.concatenate([mean, baselines.raw_and_local(task.scene)], axis=2) if row.local else mean)
    return maps
