"""A probe over a whole map, part by part: the bridge from `LinearFit` to an `xarray.Dataset`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from georeset_lab.embed.locate import grid_coords
from georeset_lab.embed.probing.conformal import SetRule
from georeset_lab.embed.probing.doubt import CAUSES, share_doubt
from georeset_lab.embed.probing.fit import LinearFit, shrinkage
from georeset_lab.embed.probing.one_thread import one_blas_thread
from georeset_lab.embed.probing.unlike import UnlikeRule

if TYPE_CHECKING:
    import xarray as xr

    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.embed.fused import Index
    from georeset_lab.embed.probing.model import Probe

__all__ = ["as_dataset", "predict_map"]

CHUNK_PIXELS = 1 << 13
"""Pixels at once: what is computed for them stays in the cache."""
THREADED_PIXELS = 200_000
"""Maps from this size on are worth several threads."""
MAX_THREADS = 4


class _Kind(NamedTuple):
    """One variable of a prediction."""

    dtype: type
    nothing: float
    """Value where nothing was observed."""
    by_class: bool
    what: str
    units: str


VARIABLES = {
    "label": _Kind(np.int16, -1, False, "predicted class", "1"),
    "confidence": _Kind(np.float32, np.nan, False, "probability of the predicted class", "1"),
    "probability": _Kind(np.float32, np.nan, True, "probability of the class", "1"),
    "entropy": _Kind(np.float32, np.nan, False, "entropy of the class probabilities", "nat"),
    "input_uncertainty": _Kind(
        np.float32, np.nan, False, "standard deviation of the winning logit due to the encoder", "1"
    ),
    "weight_uncertainty": _Kind(
        np.float32, np.nan, False, "standard deviation of the winning logit due to few labels", "1"
    ),
    "doubt_sensor": _Kind(np.float32, np.nan, False, "chance of a wrong class as the sensor does not see it", "1"),
    "doubt_labels": _Kind(np.float32, np.nan, False, "chance of a wrong class as there are too few labels", "1"),
    "doubt_overlap": _Kind(np.float32, np.nan, False, "chance of a wrong class as classes overlap", "1"),
    "cause": _Kind(np.int8, -1, False, "main cause of doubt", "1"),
    "prediction_set": _Kind(np.bool_, False, True, "whether the class may be the true one", "1"),
    "set_size": _Kind(np.int16, 0, False, "number of classes that may be the true one", "1"),
    "unlike": _Kind(np.bool_, False, False, "unlike any label", "1"),
}
"""What `Probe.predict` can return."""
_PLAIN = ("label", "confidence", "probability", "entropy")
_SETS = ("prediction_set", "set_size")


def predict_map(probe: Probe, emb: Embeddings, *, uncertainty: bool, leave_out: Collection[str] = ()) -> xr.Dataset:
    """The Dataset that `Probe.predict` describes, without some of its variables."""
    sets, unlike = (probe.sets_, probe.unlike_) if uncertainty else (None, None)
    absent = {*leave_out, *(() if sets else _SETS), *(() if unlike else ("unlike",))}
    names = [name for name in VARIABLES if (uncertainty or name in _PLAIN) and name not in absent]
    chunk = _Chunk(
        probe._fitted(emb.dim).as_float32(),
        probe.temperature_ if uncertainty else probe.plain_temperature_,
        sets,
        unlike,
    )
    n = emb.shape[0] * emb.shape[1]
    maps: dict[str, np.ndarray] = {}
    for name in names:
        kind = VARIABLES[name]
        maps[name] = np.full((len(probe.classes_), n) if kind.by_class else n, kind.nothing, kind.dtype)

    def fill(block: tuple[Index, np.ndarray, np.ndarray, np.ndarray]) -> None:
        index, mean, variance, observed = block
        where, x, v = index, mean, variance
        if not observed.all():  # else no copy is needed
            pixels = np.arange(index.start, index.stop) if isinstance(index, slice) else index
            where, x, v = pixels[observed], mean[observed], variance[observed]
        for start in range(0, x.shape[0], CHUNK_PIXELS):
            part = slice(start, min(start + CHUNK_PIXELS, x.shape[0]))
            at = slice(where.start + part.start, where.start + part.stop) if isinstance(where, slice) else where[part]
            found = chunk.predict(x[part], v[part] if uncertainty else None, spreads="weight_uncertainty" in maps)
            for name in maps:
                maps[name][..., at] = found[name].T

    with one_blas_thread():
        _each(fill, emb)
    maps = {name: values.reshape(*values.shape[:-1], *emb.shape) for name, values in maps.items()}
    plain = {k: v for k, v in probe.provenance_.items() if isinstance(v, str | int | float | list)}
    attrs = {**plain, "classes": list(probe.classes_), "penalty": probe.penalty_, "temperature": probe.temperature_}
    if uncertainty:
        attrs["sets"] = probe.set_note_
    return as_dataset(emb, probe.classes_, maps, attrs)


def _each(fill: Callable[[Any], None], emb: Embeddings) -> None:
    """Do something with every block; of a large map in memory on several cores, for what is not in memory is read first."""
    threads = min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MAX_THREADS
    )
    if threads == 1 or not emb.fits_memory or emb.shape[0] * emb.shape[1] < THREADED_PIXELS:
        for block in emb.blocks():
            fill(block)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, emb.blocks()))


def as_dataset(
    emb: Embeddings, classes: tuple[str, ...], maps: Mapping[str, np.ndarray], attrs: Mapping[str, Any]
) -> xr.Dataset:
    """Maps named as in `VARIABLES` with coordinates, CRS, units and names of codes."""
    import xarray as xr

    coords: dict[Any, Any] = grid_coords(emb.grid)
    coords["class"] = ("class", np.array(classes, dtype=str))
    variables: dict[Any, xr.DataArray] = {}
    for name, values in maps.items():
        kind = VARIABLES[name]
        dims = ("class", "y", "x") if kind.by_class else ("y", "x")
        variables[name] = xr.DataArray(values, dims=dims, attrs={"long_name": kind.what, "units": kind.units})
        variables[name].encoding["grid_mapping"] = "spatial_ref"
    if "cause" in variables:
        variables["cause"].attrs |= {
            "classes": list(CAUSES),
            "flag_values": np.arange(len(CAUSES), dtype=np.int8),
            "flag_meanings": " ".join(c.replace(" ", "_") for c in CAUSES),
        }
    return xr.Dataset(variables, coords=coords, attrs=dict(attrs))


class _Chunk:
    """What is needed to predict some pixels."""

    def __init__(self, fit: LinearFit, temperature: float, sets: SetRule | None, unlike: UnlikeRule | None) -> None:
        self.fit, self.temperature, self.sets, self.unlike = fit, temperature, sets, unlike

    def predict(self, x: np.ndarray, v: np.ndarray | None, *, spreads: bool) -> dict[str, np.ndarray]:
        """Values of means (n, D), and of their variances if these count: arrays (n,) or (n, K) by name."""
        z = self.fit.standardise(x)
        logits = z @ self.fit.weights.T + self.fit.intercept
        label = logits.argmax(axis=1)
        logits -= np.take_along_axis(logits, label[:, None], axis=1)
        if v is None:
            return {"label": label, **self._probability(logits, np.ones(1, np.float32))}
        s_in = self.fit.input_variance(v)  # NaN in published embeddings, which have no variance
        input_gap, weight_gap = s_in.sum(axis=1) * self.fit.pairs, self.fit.weight_gap(z)
        out = self._probability(logits, shrinkage(np.nan_to_num(input_gap) + np.nan_to_num(weight_gap))[:, None])
        if self.sets is not None:
            out["prediction_set"] = self.sets.sets(out["probability"])
            out["set_size"] = out["prediction_set"].sum(axis=1)
        if self.unlike is not None:
            out["unlike"] = self.unlike.unlike(z)
        if spreads:
            out["input_uncertainty"] = np.sqrt(np.take_along_axis(s_in, label[:, None], axis=1)[:, 0])
            out["weight_uncertainty"] = np.sqrt(self.fit.weight_variance_of(z, label))
        causes = share_doubt(logits, out["confidence"], input_gap, weight_gap, self.temperature)
        return {"label": label, **out, **causes}

    def _probability(self, logits: np.ndarray, shrink: np.ndarray) -> dict[str, np.ndarray]:
        """Probabilities and entropy of logits that are 0 for the winner."""
        scaled = logits * (shrink / np.float32(self.temperature))
        weight = np.exp(scaled)
        total = weight.sum(axis=1)
        probability = weight / total[:, None]
        entropy = np.log(total) - np.einsum("nk,nk->n", probability, scaled)
        return {"confidence": 1 / total, "probability": probability, "entropy": entropy}
