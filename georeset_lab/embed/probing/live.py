"""`LiveProbe`: a probe that follows every click, a map in a blink and its doubts a moment later.

What takes longer than a click (penalty, temperature, prediction sets) is chosen by `LiveProbe.refit`, between clicks. The
arithmetic is that of `Probe`; the loop over pixels is in ``kernels.py``, the solver in ``solver.py``.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.labels import LabelSet, read_labels
from georeset_lab.embed.probing.blocks import make_folds
from georeset_lab.embed.probing.conformal import ALPHA, SetRule, check_alpha, set_note
from georeset_lab.embed.probing.cv import UNTESTED_PENALTY, Features, cross_fit, usual_temperature
from georeset_lab.embed.probing.data import MAX_PER_CLASS, LabelledVectors, usable_labels
from georeset_lab.embed.probing.fit import LinearFit
from georeset_lab.embed.probing.map import as_dataset, predict_map
from georeset_lab.embed.probing.model import Probe, check_classes
from georeset_lab.embed.probing.solver import solve
from georeset_lab.embed.probing.unlike import fit_unlike
from georeset_lab.errors import InvalidOption, LabelError, NothingObserved

if TYPE_CHECKING:
    import xarray as xr

    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["LiveProbe", "Settings"]


@dataclass(frozen=True, eq=False)
class Settings:
    """What held-out places chose, and stays until the next `LiveProbe.refit`."""

    penalty: float = UNTESTED_PENALTY
    """C."""
    plain_temperature: float = 1.0
    """Of the first map."""
    temperature: float | None = None
    """Of the map with doubts; None: what the usual variance of the embedding suggests."""
    sets: SetRule | None = None
    """Limits of the prediction sets, in the order of ``classes``."""
    set_note: str = "no prediction sets yet: they follow when penalty and temperature have been chosen"
    classes: tuple[str, ...] = ()
    """The classes there were."""


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Labels of one moment and the weights that follow from them."""

    emb: Embeddings
    labels: LabelSet
    pixels: np.ndarray
    codes: np.ndarray
    features: Features
    weights: np.ndarray
    settings: Settings


class LiveProbe:
    """Classifier that is fitted anew at every click, from where it stood, with a penalty chosen between clicks.

    Parameters
    ----------
    partial : bool
        Fit also on what each sensor alone sees, as `fit_probe` does.
    alpha : float
        Share of places whose true class may be missing from their prediction set.
    seed : int
        Drives folds, and which pixels of large polygons are used.

    Attributes
    ----------
    reason : str
        Why the last answer was None, in a sentence for the user; empty if it was none.
    notes : tuple of str
        What was left out of the labels.
    settings : Settings

    Notes
    -----
    With fewer than two classes, or nothing observed under the labels, answers are None and `reason` says why: in the
    middle of labelling that is no error. Calls may come from several threads: `update` holds a lock, and `refit` and
    `uncertainty` work on the labels as they were when they began.

    Examples
    --------
    >>> live = LiveProbe()                              # doctest: +SKIP
    >>> live.fit(emb, labels)["confidence"]             # at once: label and confidence
    >>> live.uncertainty()["cause"]                     # a second later: why, sets, unlike
    >>> live.refit(); live.update(labels)               # in the background: penalty and temperature
    """

    def __init__(self, *, partial: bool = True, alpha: float = ALPHA, seed: int = 0) -> None:
        check_alpha(alpha)
        self.partial, self.alpha, self.seed = partial, alpha, seed
        self.reason = "There are no labels yet."
        self.notes: tuple[str, ...] = ()
        self.settings = Settings()
        self._vectors: LabelledVectors | None = None
        self._now: _Fitted | None = None
        self._lock = threading.Lock()

    def fit(self, emb: Embeddings, labels: Any) -> xr.Dataset | None:
        """Class map of embeddings from labels; also after modalities were switched off, with ``emb.only(...)``.

        Parameters
        ----------
        emb : Embeddings
        labels : as `georeset_lab.data.labels.read_labels` takes them
            A `LabelSet` on the grid of the map is the fastest.

        Returns
        -------
        xarray.Dataset or None
            ``label`` int16 and ``confidence`` float32 (y, x): the predicted class and its probability by plain logistic
            regression, -1 and NaN where nothing was observed. `uncertainty` gives the same classes with all their doubts.
        """
        with self._lock:
            if self._vectors is None or self._vectors.emb is not emb:
                self._vectors = LabelledVectors(emb, partial=self.partial)
                # Limits hold for the sensors they were found with; penalty and temperature are a start.
                none = Settings()
                self.settings = replace(self.settings, sets=none.sets, set_note=none.set_note, classes=())
        return self.update(labels)

    def update(self, labels: Any) -> xr.Dataset | None:
        """The same map after a change of the labels (all of them, not only new ones)."""
        with self._lock:
            if self._vectors is None:
                raise InvalidOption("This LiveProbe has no map yet. Call live.fit(emb, labels) first.")
            try:
                self._now = self._fit(self._vectors, labels)
            except (LabelError, NothingObserved) as err:
                self._now, self.reason = None, str(err)
                return None
            self.reason = ""
            return _first_map(self._now)

    def uncertainty(self) -> xr.Dataset | None:
        """What `Probe.predict` returns, of the labels of the last `update`; without the two spreads of logits."""
        now = self._now
        if now is None:
            return None
        leave_out = ("input_uncertainty", "weight_uncertainty")
        return predict_map(self._probe(now), now.emb, uncertainty=True, leave_out=leave_out)

    def refit(self) -> Settings | None:
        """Choose penalty, temperature and prediction sets on held-out blocks; they count from the next `update`.

        Seconds of work: call it in a thread, when the user rests. None without labels of two classes. If another map was
        given meanwhile, the answer is for the one before and is not kept.
        """
        now = self._now
        if now is None:
            return None
        names = now.labels.classes
        folds = make_folds(now.labels, now.pixels, now.codes, seed=self.seed)
        cross = cross_fit(now.features, now.codes, folds.splits(), n_classes=len(names), alpha=self.alpha)
        note = set_note(cross.sets, cross.tested, names, alpha=self.alpha)
        found = Settings(cross.penalty, cross.plain_temperature, cross.temperature, cross.sets, note, tuple(names))
        with self._lock:
            if self._vectors is not None and self._vectors.emb is now.emb:
                self.settings = found
        return found

    def probe(self) -> Probe | None:
        """The probe behind the last map, to be saved or used elsewhere; without a report, which `fit_probe` makes."""
        now = self._now
        return None if now is None else self._probe(now)

    def _fit(self, vectors: LabelledVectors, labels: Any) -> _Fitted:
        emb = vectors.emb
        used, self.notes = usable_labels(
            read_labels(labels, emb.grid), emb.observed, max_per_class=MAX_PER_CLASS, seed=self.seed
        )
        check_classes(used.classes)
        pixels, codes = used.pixels
        features, settings = vectors.features(pixels), self.settings
        x, y, weight = features.fitted_on(codes)
        z = (x - features.center) / features.scale
        start = self._start(used.classes, emb.dim)
        weights = solve(z, y, weight, n_classes=len(used.classes), penalty=settings.penalty, start=start)
        return _Fitted(emb, used, pixels, codes, features, weights, settings)

    def _start(self, classes: tuple[str, ...], dim: int) -> np.ndarray | None:
        """Weights of the fit before, class by class; zero for a new one."""
        if self._now is None or self._now.emb.dim != dim:
            return None
        before = dict(zip(self._now.labels.classes, self._now.weights, strict=True))
        return np.stack([before.get(name, np.zeros(dim + 1)) for name in classes])

    def _probe(self, now: _Fitted) -> Probe:
        settings, names, features = now.settings, tuple(now.labels.classes), now.features
        weights, intercept = now.weights[:, :-1], now.weights[:, -1]
        fit = LinearFit(features.center, features.scale, weights, intercept, settings.penalty, None)
        fit = fit.with_spread(features.x)
        probe = Probe(penalty=settings.penalty, seed=self.seed, alpha=self.alpha)
        probe.fit_, probe.classes_, probe.penalty_ = fit, names, settings.penalty
        probe.plain_temperature_ = settings.plain_temperature
        usual = usual_temperature(fit, features.variance)
        probe.temperature_ = usual if settings.temperature is None else settings.temperature
        same = settings.sets is None or settings.classes == names
        rule = settings if same else Settings()
        probe.sets_, probe.set_note_ = rule.sets, rule.set_note
        units = make_folds(now.labels, now.pixels, now.codes, seed=self.seed).units
        probe.unlike_ = fit_unlike(fit.standardise(features.x), units)
        plain = {k: v for k, v in now.emb.attrs.items() if isinstance(v, str | int | float | bool | list)}
        probe.provenance_ = {**plain, "modalities": list(now.emb.modalities), "labels": now.labels.counts}
        probe.notes_ = (*self.notes, probe.set_note_)
        return probe


def _first_map(now: _Fitted) -> xr.Dataset:
    from georeset_lab.embed.probing.kernels import classify

    emb, features, temperature = now.emb, now.features, now.settings.plain_temperature
    weights = now.weights[:, :-1] / (features.scale * temperature)
    intercept = now.weights[:, -1] / temperature - weights @ features.center
    weights, intercept = np.ascontiguousarray(weights, np.float32), intercept.astype(np.float32)
    n = emb.shape[0] * emb.shape[1]
    label, confidence = np.empty(n, np.int16), np.empty(n, np.float32)
    for index, mean, _, observed in emb.blocks():
        x, seen = np.ascontiguousarray(mean, np.float32), np.ascontiguousarray(observed)
        part = np.empty(seen.size, np.int16), np.empty(seen.size, np.float32)
        classify(x, seen, weights, intercept, *part)
        label[index], confidence[index] = part
    maps: dict[str, np.ndarray] = {"label": label.reshape(emb.shape), "confidence": confidence.reshape(emb.shape)}
    classes = tuple(now.labels.classes)
    return as_dataset(emb, classes, maps, {"classes": list(classes), "penalty": now.settings.penalty})
