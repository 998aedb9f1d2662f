"""`learning_curve`: how well a probe does on other places, against the number of labels it was given.

Held-out places are those of ``blocks.py``, fits those of ``fit.py``. No map is predicted and nothing is drawn here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.labels import LabelSet, read_labels
from georeset_lab.embed.probing.blocks import Folds, make_folds
from georeset_lab.embed.probing.cv import Features
from georeset_lab.embed.probing.data import gather, spread_pixels, usable_labels
from georeset_lab.embed.probing.fit import softmax
from georeset_lab.embed.probing.metrics import balanced_accuracy
from georeset_lab.embed.probing.model import check_classes
from georeset_lab.embed.probing.report import baselines
from georeset_lab.embed.probing.solver import solve
from georeset_lab.errors import InvalidOption, LabelError

if TYPE_CHECKING:
    import pandas as pd

    from georeset_lab.data.scene import Scene
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["LearningCurve", "grow_curve", "learning_curve"]

SIZES = (1, 2, 3, 5, 8, 13, 20, 32, 50, 80, 130, 200)
"""Labels per class that are tried, as far as the scarcest class goes; the last point has all labels there are."""
PENALTIES = (1e-2, 1e-1, 1e0)
"""Values of C tried: a probe tries more, but these are what few labels choose."""
MAX_PER_CLASS = 200
"""Labelled pixels of a class that are used, so that large polygons do not slow it down."""
BACKGROUND_PIXELS = 5_000
FEW = 5
"""Labels of a class below which its share of the score is mostly luck."""
RAW = "raw bands"
_WORTHWHILE = 3.0  # points of balanced accuracy


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Balanced accuracy on held-out places by number of labels, as far as it is known."""

    per_class: tuple[int, ...]
    """Labels per class of each point of the curve; a point or a polygon is one label."""
    even: int
    """So many of them, from the first, have that many labels of every tested class. If one more follows, it has all
    labels there are, and its number is that of the commonest class."""
    labels: np.ndarray
    """(sizes,) float64: mean number of labels a probe was fitted on."""
    scores: Mapping[str, np.ndarray]
    """(draws, sizes) float64 for "embedding" and, if the scene is at hand, "raw bands"; NaN for draws to come."""
    chance: float
    """What guessing scores: one over the number of tested classes."""
    scarce: tuple[str, ...]
    """Tested classes with fewer than `FEW` labels: what the curve says of them is mostly luck."""
    notes: tuple[str, ...]
    """What the labels did not allow."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per kind of features and number of labels: features, per_class, labels, mean, sd, draws."""
        import pandas as pd

        rows = []
        for name, scores in self.scores.items():
            known = scores[~np.isnan(scores).any(axis=1)]
            for i, m in enumerate(self.per_class):
                some = known[:, i]
                sd = float(some.std(ddof=1)) if some.size > 1 else float("nan")
                mean = float(some.mean()) if some.size else float("nan")
                rows.append((name, m, float(self.labels[i]), mean, sd, some.size))
        return pd.DataFrame(rows, columns=["features", "per_class", "labels", "mean", "sd", "draws"])

    @property
    def advice(self) -> str:
        """Whether more labels of the same kind would help, in a sentence; empty before there is anything to compare."""
        scores = self.scores["embedding"]
        scores = scores[~np.isnan(scores).any(axis=1)]
        if self.scarce:
            names = ", ".join(map(repr, self.scarce))
            return f"Too few labels to tell: label {FEW} places or more of {names}."
        if self.even < 2 or len(scores) < 2:
            return ""
        last = self.even - 1
        half = int(np.abs(self.labels[:last] - self.labels[last] / 2).argmin())
        gain, error = _difference(scores[:, last], scores[:, half])
        text = f"From {self.per_class[half]} to {self.per_class[last]} labels per class: {gain:+.0f} ± {error:.0f} points. "
        if gain > max(2 * error, 1):
            text += "More labels would help."
        elif gain + 2 * error > _WORTHWHILE:
            text += "That is too unsure to tell: label more places and look again."
        else:
            text += "More of the same would help little: label other kinds of places, or add a sensor."
        if len(self.per_class) > self.even:
            loss, error = _difference(scores[:, last], scores[:, -1])
            if loss > max(2 * error, 1):
                text += f" The further labels of common classes cost {loss:.0f} points: label more of the scarce ones."
        return text


def _difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Mean difference of two rows of scores over the draws, in points, and its standard error."""
    steps = 100 * (a - b)
    return float(steps.mean()), float(steps.std(ddof=1) / np.sqrt(steps.size))


def learning_curve(emb: Embeddings, labels: Any, **options: Any) -> LearningCurve:
    """The whole curve; arguments and errors as `grow_curve`.

    Examples
    --------
    >>> learning_curve(emb, book.labels()).table                                 # doctest: +SKIP
        features  per_class  labels   mean     sd  draws
    0  embedding          1     3.0  0.612  0.064      5
    """
    *_, last = grow_curve(emb, labels, **options)
    return last


def grow_curve(
    emb: Embeddings,
    labels: Any,
    *,
    scene: Scene | None = None,
    draws: int = 5,
    folds: int = 5,
    block_m: float | None = None,
    seed: int = 0,
) -> Iterator[LearningCurve]:
    """A learning curve that becomes surer with every draw; stop whenever it is sure enough.

    Parameters
    ----------
    emb : Embeddings
    labels : as `georeset_lab.data.labels.read_labels` takes them
    scene : Scene, optional
        For the curve of raw bands; ``emb.scene`` by default.
    draws : int
        Each draws the labels in another order, and deals the blocks into other folds.
    folds, block_m : as `georeset_lab.embed.probing.blocks.make_folds`
    seed : int

    Yields
    ------
    LearningCurve
        After each draw, with all draws so far.

    Raises
    ------
    LabelError
        One class, or fewer than two classes that lie in two ground blocks: nothing could be held out.
    NothingObserved
        No labelled pixel was observed.

    Notes
    -----
    In each draw the labels of a class are put into a random order; a probe of m labels per class gets the first m of
    those that are not in the held-out fold, so that the sets are nested. Beyond what the scarcest class has, more labels
    change the balance of the classes too, and balanced accuracy can fall: that is one last point, of all labels.

    C is chosen by the log loss on the other folds. The score is over all held-out pixels together, as few lie in one
    fold. Probes here see fused embeddings only: also showing them what each sensor alone sees, as `fit_probe` does,
    takes three times as long.
    """
    if draws < 1:
        raise InvalidOption(f"draws={draws}; a learning curve needs at least one draw.")
    used, notes = usable_labels(read_labels(labels, emb.grid), emb.observed, max_per_class=MAX_PER_CLASS, seed=seed)
    check_classes(used.classes)
    pixels, codes = used.pixels
    features, more = _features(emb, scene, pixels)
    label = _label_numbers(used, pixels)
    first = _folds(used, pixels, codes, folds, block_m, seed)
    sizes, even = _sizes(label, codes, first)
    scores = {name: np.full((draws, len(sizes)), np.nan) for name in features}
    counts = np.full((draws, len(sizes)), np.nan)
    tested = {c: np.unique(label[codes == c]).size for c in np.unique(codes[first.fold >= 0])}
    scarce = tuple(used.classes[c] for c, n in tested.items() if n < FEW)
    for draw in range(draws):
        parts = first if draw == 0 else _folds(used, pixels, codes, folds, block_m, seed + draw)
        rank = np.random.default_rng([seed, draw]).random(int(label.max()) + 1)
        for i, m in enumerate(sizes):
            splits = [_first_labels(train, test, label, codes, rank, m) for train, test in parts.splits()]
            counts[draw, i] = np.mean([np.unique(label[train]).size for train, _ in splits])
            for name, x in features.items():
                scores[name][draw, i] = _score(x, codes, splits)
        copies = {name: values.copy() for name, values in scores.items()}
        so_far, said = counts[: draw + 1].mean(axis=0), (*notes, *first.notes, *more)
        yield LearningCurve(sizes, even, so_far, copies, 1 / len(tested), scarce, said)


def _features(emb: Embeddings, scene: Scene | None, pixels: np.ndarray) -> tuple[dict[str, Features], tuple[str, ...]]:
    background = spread_pixels(emb.observed, BACKGROUND_PIXELS)
    mean = gather(emb, np.concatenate([pixels, background]))[0]
    out = {"embedding": Features.of(mean[: pixels.size], background=mean[pixels.size :])}
    scene = scene if scene is not None else getattr(emb, "scene", None)
    if scene is None:
        return out, ("no curve of raw bands: the embeddings hold no scene; pass scene=",)
    others, notes = baselines(scene, emb.modalities, emb.grid, pixels, background)
    return out | {name: x for name, x in others.items() if name == RAW}, notes


def _folds(
    used: LabelSet, pixels: np.ndarray, codes: np.ndarray, folds: int, block_m: float | None, seed: int
) -> Folds:
    made = make_folds(used, pixels, codes, n_folds=folds, block_m=block_m, seed=seed)
    if not made.n:
        many = ", ".join(f"{n} of {name!r}" for name, n in used.counts.items())
        raise LabelError(
            f"Too few labels for a learning curve ({many} pixels): {made.notes[-1]}. Label a second place, farther away, "
            "of at least two classes."
        )
    return made


def _label_numbers(used: LabelSet, pixels: np.ndarray) -> np.ndarray:
    """Number of the point or polygon of each pixel; pixels of a raster are labels of their own."""
    if not used.has_groups:
        return np.arange(pixels.size)
    return np.unique(used.groups.ravel()[pixels], return_inverse=True)[1].ravel()


def _sizes(label: np.ndarray, codes: np.ndarray, made: Folds) -> tuple[tuple[int, ...], int]:
    """Labels per class to try, and how many of these sizes every tested class can fill in every fold."""
    tested = np.unique(codes[made.fold >= 0])
    many = [[np.unique(label[train][codes[train] == c]).size for c in tested] for train, _ in made.splits()]
    scarcest, most = int(np.min(many)), int(np.max(many))
    even = (*(m for m in SIZES if m <= 0.7 * scarcest), scarcest)
    return (*even, most) if most > scarcest else even, len(even)


def _first_labels(
    train: np.ndarray, test: np.ndarray, label: np.ndarray, codes: np.ndarray, rank: np.ndarray, m: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of the first m labels of each class among the training pixels, and the test pixels."""
    chosen = []
    for c in np.unique(codes[train]):
        mine = train[codes[train] == c]
        known = np.unique(label[mine])
        first = known[np.argsort(rank[known])[:m]]
        chosen.append(mine[np.isin(label[mine], first)])
    return np.concatenate(chosen), test


def _score(x: Features, codes: np.ndarray, splits: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Balanced accuracy over all held-out pixels, each with the C that the other folds would choose."""
    z = (x.x - x.center) / x.scale
    loss, guess = np.zeros((len(splits), len(PENALTIES))), []
    for f, (train, test) in enumerate(splits):
        present, y = np.unique(codes[train], return_inverse=True)
        weights, guesses = None, []
        for i, penalty in enumerate(PENALTIES):
            weights = solve(z[train], y.ravel(), n_classes=present.size, penalty=penalty, start=weights)
            proba = softmax(z[test] @ weights[:, :-1].T + weights[:, -1])
            guesses.append(present[proba.argmax(axis=1)])
            # A class that no label of the set has gets nothing from any C, so it does not choose among them.
            right = np.where(present == codes[test][:, None], proba, 0).sum(axis=1)
            loss[f, i] = -np.log(np.maximum(right, 1e-12)).sum()
        guess.append(guesses)
    others = np.round(loss.sum(axis=0) - loss, 9)
    picked = [guess[f][int(others[f].argmin())] for f in range(len(splits))]
    return balanced_accuracy(np.concatenate([codes[test] for _, test in splits]), np.concatenate(picked))
