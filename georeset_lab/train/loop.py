"""`train`: the loop. It knows batches, an objective, an optimiser and checkpoints, and nothing of sensors or losses."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from georeset_lab.data.scene import Scene
from georeset_lab.errors import RecipeError
from georeset_lab.models.checkpoint import Model, load_model, make_model, save_model
from georeset_lab.models.encoder import Encoder, EncoderConfig
from georeset_lab.models.rivals.build import build_encoder, encoder_config
from georeset_lab.models.rivals.plain import PlainConfig
from georeset_lab.models.rivals.translation import Translated
from georeset_lab.train.crops import Batch, CropSampler, reference_modalities
from georeset_lab.train.fitting import fit_signature
from georeset_lab.train.gauges import gauges
from georeset_lab.train.objectives import OBJECTIVES, Contrast, Prediction
from georeset_lab.train.pairwise import PAIRWISE, Pairwise
from georeset_lab.train.progress import explained, table
from georeset_lab.train.recipe import Recipe, load_recipe
from georeset_lab.train.state import load_state, save_state
from georeset_lab.train.targets import Targets
from georeset_lab.train.views import Augmentation, augment

if TYPE_CHECKING:
    from tqdm import tqdm as Bar

_LOG = "log.jsonl"
_STATE = "state"
_GAUGE_EVERY = 25
_FIT_BATCHES = 48


def train(
    scenes: Scene | Sequence[Scene],
    *,
    objective: str | None = None,
    recipe: str | Path | Mapping[str, Any] | Recipe | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    init: str | Path | Model | None = None,
    teacher: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Model:
    """Train an encoder without labels; see `georeset_lab.train` for the arguments.

    Notes
    -----
    Every batch depends on (seed, step) alone, so a run that is killed and started again with the same ``out`` continues
    from its last checkpoint and ends at the same weights (bitwise on one CPU thread).
    """
    recipe = load_recipe("adapt" if recipe is None and init is not None else recipe)
    recipe = replace(recipe, objective=objective or recipe.objective, steps=recipe.steps if steps is None else steps)
    scenes = [scenes] if isinstance(scenes, Scene) else list(scenes)
    start = None if init is None else init if isinstance(init, Model) else load_model(init)
    encoder = _fresh_encoder(recipe, start, seed)
    module = _objective(encoder, recipe, start, teacher)
    if recipe.objective == "predict" and not recipe.pmi:
        scenes = _with_reference(scenes)
    if recipe.objective in PAIRWISE:
        scenes = _with_two(scenes, recipe.objective)
    sampler = CropSampler(
        scenes,
        size=encoder.config.window * encoder.config.patch,
        batch=recipe.batch,
        points=recipe.points,
        max_dates=recipe.max_dates,
        seed=seed,
    )
    folder = None if out is None else Path(out)
    fit(module, sampler, seed, start)
    run = _Run(recipe, module, sampler, seed, folder, _identity(recipe, scenes, seed, start))
    from tqdm.auto import tqdm

    adapting = module if isinstance(module, Prediction) and start is not None else None
    before = explained(adapting, sampler) if adapting else {}
    done = run.loop(_accelerator(device), minutes, progress)
    after = explained(adapting.cpu(), sampler) if adapting else {}
    if before and progress:
        tqdm.write(table(before, after))
    constants = dict(module.targets.cpu().state_dict()) if isinstance(module, Prediction) else {}
    card = _card(recipe, scenes, seed, done, taught=teacher is not None)
    if start is not None:
        taught = card["teacher"] or start.card.get("teacher")  # what it taught the weights we went on from, stays
        card |= {"teacher": taught, "init": start.hash, "explained_before": before, "explained_after": after}
    model = make_model(encoder.cpu(), name=recipe.name, card=card, targets=constants)
    if folder is not None:
        save_model(model, folder / "model")
    return model


class _Run:
    """One training run: where it stands and where it writes."""

    def __init__(
        self,
        recipe: Recipe,
        module: Contrast | Pairwise | Prediction,
        sampler: CropSampler,
        seed: int,
        folder: Path | None,
        identity: dict[str, Any],
    ) -> None:
        self.recipe, self.module, self.sampler, self.seed = recipe, module, sampler, seed
        self.folder, self.identity = folder, identity
        self.settings = Augmentation(**recipe.augmentation)

    def loop(self, accelerator: str, minutes: float | None, progress: bool) -> int:
        """Run to the end or to the time limit, whichever comes first; return the steps done."""
        from lightning.fabric import Fabric
        from tqdm.auto import tqdm

        fabric = Fabric(accelerator=accelerator, devices=1)
        optimizer = _optimizer(self.module, self.recipe)
        start = self._resume(optimizer)
        module, optimizer = fabric.setup(self.module, optimizer)
        module.train()
        begun, limit_s = time.monotonic(), math.inf if minutes is None else 60 * minutes
        step = start
        with tqdm(
            total=self.recipe.steps, initial=start, desc=f"train {self.recipe.objective}", disable=not progress
        ) as bar:
            while step < self.recipe.steps and (spent := time.monotonic() - begun) < limit_s:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, self.recipe, spent / limit_s)
                numbers = self._step(fabric, module, optimizer, step)
                step += 1
                self._report(bar, step, numbers)
                if self.folder is not None and (step % self.recipe.checkpoint_every == 0 or step == self.recipe.steps):
                    save_state(self.folder / _STATE, self.module, optimizer, step=step, identity=self.identity)
        return step

    def _resume(self, optimizer: torch.optim.Optimizer) -> int:
        if self.folder is None or not (self.folder / _STATE).is_dir():
            return 0
        return load_state(self.folder / _STATE, self.module, optimizer, identity=self.identity)

    def _step(self, fabric: Any, module: Any, optimizer: Any, step: int) -> dict[str, float]:
        batch, rng = self.sampler.draw(step)
        batch = Batch(
            tuple(augment(v, self.settings, rng) for v in batch.first),
            tuple(augment(v, self.settings, rng) for v in batch.second),
            batch.ground_m,
            batch.place,
            batch.reference,
        )
        losses, experts = module(batch, seed=int(rng.integers(2**31)))
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        fabric.backward(total)
        fabric.clip_gradients(module, optimizer, max_norm=self.recipe.clip, error_if_nonfinite=False)
        optimizer.step()
        numbers = {"loss": float(total.detach()), **{name: float(loss.detach()) for name, loss in losses.items()}}
        if not math.isfinite(numbers["loss"]):
            raise RecipeError(
                f"The loss of step {step} is {numbers['loss']}: training diverged. Lower lr in the recipe "
                f"(now {self.recipe.lr:g}), or look for broken values in the scenes."
            )
        if (step + 1) % _GAUGE_EVERY == 0:
            numbers |= {
                f"{view.modality}/{name}": value
                for view, expert in zip(batch.first, experts, strict=True)
                for name, value in gauges(expert).items()
            }
        return numbers

    def _report(self, bar: Bar[Any], step: int, numbers: dict[str, float]) -> None:
        bar.update()
        bar.set_postfix({"loss": f"{numbers['loss']:.3f}"}, refresh=False)
        if self.folder is not None and step % _GAUGE_EVERY == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / _LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": step, **{k: round(v, 5) for k, v in numbers.items()}}) + "\n")


def learning_rate(step: int, recipe: Recipe, time_share: float = 0.0) -> float:
    """Linear warm-up, then half a cosine to zero, at the last step or at the time limit, whichever is nearer."""
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    share = max((step - recipe.warmup) / max(1, recipe.steps - recipe.warmup), min(time_share, 1.0))
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * share))


def _optimizer(module: torch.nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; biases, norms and other one-dimensional parameters do not decay."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.95))


def _objective(
    encoder: Encoder, recipe: Recipe, start: Model | None, teacher: str | Path | None
) -> Contrast | Pairwise | Prediction:
    if recipe.objective not in OBJECTIVES:
        raise RecipeError(f"Unknown objective {recipe.objective!r}; use one of {', '.join(map(repr, OBJECTIVES))}.")
    if recipe.objective in PAIRWISE:
        return Pairwise(encoder, recipe.objective)
    if recipe.objective != "predict":
        return Contrast(encoder, recipe.objective)
    from georeset_lab.models.pretrained import load_galileo

    targets = Targets(encoder, teacher=None if teacher is None else load_galileo(teacher))
    if start is not None and start.targets:
        targets.load_state_dict(start.targets)
    anchor = start.encoder if start is not None and teacher is None else None
    return Prediction(encoder, targets, blocks=recipe.targets, pmi=recipe.pmi, anchor=anchor)


def fit(module: Contrast | Pairwise | Prediction, sampler: CropSampler, seed: int, start: Model | None) -> None:
    """Set the constants that training rests on, where ``start`` has none, from crops that no training step sees."""
    if start is not None and (start.targets or not isinstance(module, Prediction)):
        return
    batches = [sampler.draw(-1 - k)[0] for k in range(_FIT_BATCHES)]
    clean = [b.reference for b in batches if b.reference]
    encoder: torch.nn.Module = module.encoder
    tokenizer = getattr(encoder, "tokenizer", None)
    if start is None and isinstance(encoder, Encoder):
        fit_signature(encoder, clean or [b.first for b in batches], seed)
    elif start is None and isinstance(tokenizer, Translated):
        tokenizer.fit([b.first for b in batches], seed)
    if isinstance(module, Prediction):
        module.targets.fit(clean, seed)


def _with_reference(scenes: list[Scene]) -> list[Scene]:
    kept = [s for s in scenes if reference_modalities(s)]
    if not kept:
        have = "; ".join(f"{s.name}: {', '.join(s.modalities)}" for s in scenes) or "none"
        raise RecipeError(
            f"Objective 'predict' needs a scene with Sentinel-2 at 10 m (ten bands); given were {have}. "
            "Pass objective='pmi', which learns from any sensor."
        )
    return kept


def _with_two(scenes: list[Scene], objective: str) -> list[Scene]:
    kept = [s for s in scenes if len(s.modalities) > 1]
    if not kept:
        have = "; ".join(f"{s.name}: {', '.join(s.modalities)}" for s in scenes) or "none"
        raise RecipeError(f"Objective {objective!r} needs scenes with two modalities; given were {have}.")
    return kept


def _fresh_encoder(recipe: Recipe, start: Model | None, seed: int) -> Encoder:
    if start is not None:
        encoder = build_encoder(start.encoder.config)
        encoder.load_state_dict(start.encoder.state_dict())
        return encoder
    try:
        config = encoder_config({"deterministic": recipe.objective == "infonce", **recipe.encoder})
    except TypeError as err:
        raise RecipeError(f"Recipe {recipe.name!r} has an unknown encoder setting: {err}.") from err
    if isinstance(config, PlainConfig) and recipe.objective == "predict":
        raise RecipeError(
            f"Recipe {recipe.name!r} trains the rival {config.rival!r} by 'predict', whose targets are our encoder's own "
            "signature. Pass objective='pmi' or 'infonce'."
        )
    return untrained(config, seed)


def untrained(config: EncoderConfig | PlainConfig | None = None, seed: int = 0) -> Encoder:
    """Encoder with fresh weights that depend on the seed alone; leaves torch's own generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_encoder(config)


def _accelerator(device: str) -> str:
    return device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def _identity(recipe: Recipe, scenes: list[Scene], seed: int, start: Model | None) -> dict[str, Any]:
    sizes = [[s.name, [[n, len(m.bands), list(m.grid.shape)] for n, m in s.modalities.items()]] for s in scenes]
    return {
        "recipe": recipe.hash,
        "scenes": json.loads(json.dumps(sizes)),
        "seed": seed,
        "init": start.hash if start else "",
    }


def _card(recipe: Recipe, scenes: list[Scene], seed: int, steps: int, *, taught: bool) -> dict[str, Any]:
    from georeset_lab import __version__

    return {
        "objective": recipe.objective,
        "recipe": asdict(recipe),
        "recipe_hash": recipe.hash,
        "seed": seed,
        "steps": steps,
        "teacher": "Galileo nano (MIT), github.com/nasaharvest/galileo, arXiv 2502.09356" if taught else None,
        "scenes": sorted({s.name for s in scenes}),
        "bands": sorted({b.name for s in scenes for m in s.modalities.values() for b in m.bands}, key=str)[:64],
        "torch": torch.__version__,
        "numpy": np.__version__,
        "version": __version__,
    }
