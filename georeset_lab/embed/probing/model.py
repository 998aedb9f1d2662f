"""`Probe`: a classifier fitted on labels over frozen embeddings, with probabilities one can trust and why it is unsure.

``embed/probe.py`` makes one from a map and labels, ``live.py`` one that follows every click. The arithmetic is in
``fit.py``, held-out scores in ``cv.py``, maps in ``map.py``, files in ``store.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from georeset_lab.data.labels import read_labels
from georeset_lab.embed.probing.blocks import leave_blocks_out
from georeset_lab.embed.probing.conformal import ALPHA, SetRule, check_alpha, set_note
from georeset_lab.embed.probing.cv import CrossFit, Features, cross_fit, usual_temperature
from georeset_lab.embed.probing.fit import PENALTIES, LinearFit, fit_linear, softmax
from georeset_lab.embed.probing.metrics import balanced_accuracy
from georeset_lab.embed.probing.unlike import UnlikeRule, fit_unlike
from georeset_lab.errors import InvalidOption, LabelError, ModelMismatch, ShapeMismatch

if TYPE_CHECKING:
    import pandas as pd

    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["Probe", "check_classes"]


class Probe:
    """Multinomial logistic regression on standardised posterior means that carries its doubt through.

    Each logit is shrunk by its variance: what the encoder is unsure of (the variance of the embedding, through the
    weights) plus what few labels leave open (last-layer Laplace). One temperature, from held-out places, follows.

    Parameters
    ----------
    penalty : float, optional
        C of scikit-learn's ``LogisticRegression``. None: the one of least held-out log loss among 1e-3 .. 1e2.
    seed : int
        Drives the folds.
    alpha : float
        Share of places whose true class may be missing from their prediction set.

    Attributes
    ----------
    classes_ : tuple of str
    fit_ : LinearFit
        Weights and their spread.
    penalty_, temperature_, plain_temperature_ : float
    sets_ : SetRule or None.  set_note_ : str, what the prediction sets hold for, or why there are none.
    unlike_ : UnlikeRule or None
        How far from all labels is too far; None if they lie in one block.
    report_ : pandas.DataFrame or None.  notes_ : tuple of str, what the labels did not allow.
    provenance_ : dict
        Of the embeddings (model, model_hash, data, ...), the labels, the folds and the seed.

    Notes
    -----
    MacKay, "The evidence framework applied to classification networks", 1992; methods.md section 7.

    Examples
    --------
    >>> x = np.array([[0.0], [0.2], [0.9], [1.1]])
    >>> Probe(penalty=1.0).fit(x, ["water", "water", "town", "town"]).predict(np.array([[0.1], [1.0]])).tolist()
    ['water', 'town']
    """

    def __init__(self, *, penalty: float | None = None, seed: int = 0, alpha: float = ALPHA) -> None:
        check_alpha(alpha)
        if penalty is not None and not penalty > 0:
            raise InvalidOption(f"penalty={penalty!r}; C must be above zero, or None to choose it by held-out loss.")
        self.penalty = penalty
        self.seed = seed
        self.alpha = alpha
        self.classes_: tuple[str, ...] = ()
        self.fit_: LinearFit | None = None
        self.penalty_ = float("nan")
        self.temperature_ = 1.0
        self.plain_temperature_ = 1.0
        self.sets_: SetRule | None = None
        self.set_note_ = ""
        self.unlike_: UnlikeRule | None = None
        self.report_: pd.DataFrame | None = None
        self.notes_: tuple[str, ...] = ()
        self.provenance_: dict[str, Any] = {}

    def fit(
        self, x: np.ndarray, y: Any, *, variance: np.ndarray | None = None, groups: np.ndarray | None = None
    ) -> Self:
        """Fit on samples.

        Parameters
        ----------
        x : (n, D) posterior means.
        y : (n,) labels; anything with a text form.
        variance : (n, D), optional
            Of the posterior; for the temperature.
        groups : (n,) int, optional
            Place of each sample; whole groups are held out to choose penalty, temperature and prediction sets. Without
            them C is the given one, or 0.1, the temperature 1, and there are no sets.

        Raises
        ------
        LabelError
            Fewer than two classes.
        ShapeMismatch
            The arrays disagree on n.
        """
        names = np.array([str(v) for v in np.asarray(y).ravel()])
        x = np.asarray(x, np.float64)
        if x.ndim != 2 or x.shape[0] != names.size:
            raise ShapeMismatch(f"x has shape {x.shape} and y {names.shape}; they must be (n, D) and (n,).")
        classes, codes = np.unique(names, return_inverse=True)
        splits: list[tuple[np.ndarray, np.ndarray]] = []
        if groups is not None:
            n = min(5, *(np.unique(groups[codes == c]).size for c in range(classes.size)))
            if n >= 2:
                fold = leave_blocks_out(groups, codes, n, seed=self.seed)
                splits = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(n)]
        units = None if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
        self.fit_features(Features.of(x, variance), codes.ravel(), tuple(str(c) for c in classes), splits, units)
        return self

    def fit_features(
        self,
        features: Features,
        codes: np.ndarray,
        classes: tuple[str, ...],
        splits: Sequence[tuple[np.ndarray, np.ndarray]],
        units: np.ndarray | None = None,
    ) -> CrossFit:
        """Fit on samples that are standardised already, with folds and blocks; what `fit` and `fit_probe` end in."""
        check_classes(classes)
        penalties = PENALTIES if self.penalty is None else (self.penalty,)
        cross = cross_fit(features, codes, splits, n_classes=len(classes), penalties=penalties, alpha=self.alpha)
        standard = {"center": features.center, "scale": features.scale}
        fit = fit_linear(*features.fitted_on(codes), n_classes=len(classes), penalty=cross.penalty, **standard)
        self.fit_ = fit.with_spread(features.x)
        self.classes_, self.penalty_, self.plain_temperature_ = classes, cross.penalty, cross.plain_temperature
        usual = usual_temperature(self.fit_, features.variance)
        self.temperature_ = cross.temperature if cross.temperature is not None else usual
        self.sets_, self.set_note_ = cross.sets, set_note(cross.sets, cross.tested, classes, alpha=self.alpha)
        self.unlike_ = None if units is None else fit_unlike(self.fit_.standardise(features.x), units)
        return cross

    def predict_proba(self, x: np.ndarray, variance: np.ndarray | None = None) -> np.ndarray:
        """Probabilities (n, K) of posterior means (n, D); moderated if their variances (n, D) are given, else plain."""
        fit = self._fitted(np.asarray(x).shape[-1])
        if variance is None:
            return softmax(fit.logits(np.asarray(x)) / self.plain_temperature_)
        return softmax(fit.moderated(np.asarray(x), variance) / self.temperature_)

    def prediction_sets(self, x: np.ndarray, variance: np.ndarray | None = None) -> np.ndarray:
        """Classes (n, K) bool that may be the true one, of posterior means (n, D) and their variances, if known.

        Raises
        ------
        InvalidOption
            Too few labels could be held out.
        """
        fit = self._fitted(np.asarray(x).shape[-1])
        if self.sets_ is None:
            raise InvalidOption(f"This probe has {self.set_note_}. Label more places, in several blocks of ground.")
        return self.sets_.sets(softmax(fit.moderated(np.asarray(x), variance) / self.temperature_))

    def predict(self, emb: Embeddings | np.ndarray, *, uncertainty: bool = True, force: bool = False) -> Any:
        """Class map of embeddings, with probabilities and the reasons for doubt.

        Parameters
        ----------
        emb : Embeddings, or array (n, D) of posterior means
        uncertainty : bool
            Carry both variances through. False: plain logistic regression with its own temperature; several times
            faster, and the same classes.
        force : bool
            Accept embeddings of another model. Their dimensions mean something else; do it to see that it fails.

        Returns
        -------
        xarray.Dataset, dims (y, x), with CRS
            ``label`` int16 (position in ``attrs["classes"]``), ``confidence`` (its probability), ``probability``
            (class, y, x), ``entropy`` in nats (0 .. ln K), and with ``uncertainty`` also

            - ``doubt_sensor``, ``doubt_labels``, ``doubt_overlap``: 1 - confidence, the chance that the class is wrong,
              in three parts that add up: another sensor or date, more labels, or another legend would help. ``cause``
              int8: which is the largest, named in its ``attrs["classes"]``. `share_doubt` says how.
            - ``prediction_set`` (class, y, x) bool: classes that may be the true one, and ``set_size``, their number;
              ``attrs["sets"]`` says for how many places it holds. Absent with too few labels.
            - ``unlike`` bool: farther from all labels than they are from each other. Absent if they lie in one block.
            - ``input_uncertainty`` and ``weight_uncertainty``: standard deviation, in logits, of the winning class due
              to the encoder and due to few labels.

            Where nothing was observed: NaN, -1 in ``label`` and ``cause``, False, and a set size of 0. Where the variance
            of the embedding is unknown, so are ``input_uncertainty`` and ``doubt_sensor`` (NaN); where that of the weights
            was left out (`LAPLACE_LIMIT`), so are ``weight_uncertainty`` and ``doubt_labels``.
            For an array: labels (n,) as text.

        Raises
        ------
        ModelMismatch
            The embeddings come from another model than those the probe was fitted on.
        ShapeMismatch
            Another number of dimensions.
        """
        if isinstance(emb, np.ndarray):
            return np.array(self.classes_)[self.predict_proba(emb).argmax(axis=1)]
        from georeset_lab.embed.probing.map import predict_map

        self._fitted(emb.dim)
        if not force:
            _check_model(self.provenance_.get("model_hash"), emb.attrs.get("model_hash"))
        return predict_map(self, emb, uncertainty=uncertainty)

    def score(self, emb: Embeddings | np.ndarray, labels: Any) -> float:
        """Balanced accuracy: on the labels of a map (as `fit_probe` takes them), or of arrays (n, D) and (n,)."""
        if isinstance(emb, np.ndarray):
            truth = np.array([str(v) for v in np.asarray(labels).ravel()])
            return balanced_accuracy(truth, self.predict(emb))
        found = read_labels(labels, emb.grid)
        pixels, codes = found.pixels
        guess = self.predict(emb, uncertainty=False)["label"].values.ravel()[pixels]
        names = np.array([*self.classes_, "(unobserved)"])
        return balanced_accuracy(np.array(found.classes)[codes], names[guess])

    @property
    def report(self) -> pd.DataFrame:
        """Scores on held-out places, of the embedding and of the cheap baselines on the same pixels and folds.

        For each metric the mean and, as ``<metric>_sd``, the standard deviation over the folds, each scored with the
        penalty and temperature that the other folds would choose. ``coverage`` is the share of held-out places whose true
        class is in its prediction set, ``set_size`` the mean number of classes in one, from folds within folds.
        ``report.attrs["notes"]``: what the labels forbade.
        """
        if self.report_ is None:
            raise InvalidOption("This probe has no report: it was fitted on arrays. Use fit_probe(emb, labels).")
        return self.report_

    def save(self, path: str | Path) -> Path:
        """Write the probe to a folder that is whole or absent; `Probe.load` reads it."""
        from georeset_lab.embed.probing.store import save_probe

        return save_probe(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Probe:
        """Probe of a folder written by `save`; `CheckpointError` if it is damaged, incomplete or not a probe."""
        from georeset_lab.embed.probing.store import load_probe

        return load_probe(path)

    def _fitted(self, dim: int) -> LinearFit:
        if self.fit_ is None:
            raise InvalidOption("This probe is not fitted yet. Call probe.fit(x, y), or use fit_probe(emb, labels).")
        if dim != self.fit_.center.size:
            raise ShapeMismatch(
                f"The probe was fitted on {self.fit_.center.size} dimensions, these embeddings have {dim}. "
                "Encode with the model named in probe.provenance_."
            )
        return self.fit_

    def _repr_html_(self) -> str:
        if self.fit_ is None:
            return "<b>Probe</b> · not fitted"
        names = ", ".join(escape(c) for c in self.classes_)
        text = f"<b>Probe</b> · {names} · C {self.penalty_:g} · T {self.temperature_:.2f}"
        if self.report_ is not None:
            row = self.report_.iloc[0]
            text += f" · balanced accuracy elsewhere {row.balanced_accuracy:.2f} ± {row.balanced_accuracy_sd:.2f}"
        return text


def check_classes(classes: tuple[str, ...]) -> None:
    """Refuse fewer than two classes."""
    if len(classes) < 2:
        raise LabelError(
            f"All labels are {classes[0] if classes else 'missing'!r}; a probe needs two classes or more. "
            "Label some places that are something else."
        )


def _check_model(ours: str | None, theirs: str | None) -> None:
    if theirs != ours:
        raise ModelMismatch(
            f"This probe was fitted on embeddings of model {ours!r}; these come from {theirs!r}, whose dimensions mean "
            "something else. Encode the scene with the probe's model, or fit a new probe."
        )
