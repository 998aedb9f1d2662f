"""A probe over a whole map, part by part: the bridge from `LinearFit` to an `xarray.Dataset`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.probe_fit import LinearFit, shrinkage

if TYPE_CHECKING:
    import xarray as xr

    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.embed.probe_model import Probe

__all__ = ["predict_map"]

CHUNK_PIXELS = 1 << 14
"""Pixels at once: K x D temporaries of the weight variance stay in the cache."""

_TEXT = {
    "label": ("predicted class", "1"),
    "probability": ("probability of the class", "1"),
    "entropy": ("entropy of the class probabilities", "nat"),
    "input_uncertainty": ("standard deviation of the winning logit due to the encoder", "1"),
    "weight_uncertainty": ("standard deviation of the winning logit due to few labels", "1"),
}


def predict_map(probe: Probe, emb: Embeddings, *, uncertainty: bool) -> xr.Dataset:
    """The Dataset that `Probe.predict` describes."""
    fit = probe._fitted(emb.dim).as_float32()
    height, width = emb.shape
    names = ["entropy", *(["input_uncertainty", "weight_uncertainty"] if uncertainty else [])]
    maps = {name: np.full((height, width), np.nan, np.float32) for name in names}
    label = np.full((height, width), -1, np.int16)
    proba = np.full((len(probe.classes_), height, width), np.nan, np.float32)
    for window in emb.windows():
        mean, variance, observed = emb.fused(*window)
        rows, cols = np.nonzero(observed)
        rows, cols = rows + window[0].start, cols + window[1].start
        # A full window needs no copy of its vectors.
        x = mean.reshape(-1, emb.dim) if observed.all() else mean[observed]
        v = variance.reshape(-1, emb.dim) if observed.all() else variance[observed]
        for start in range(0, rows.size, CHUNK_PIXELS):
            part = slice(start, start + CHUNK_PIXELS)
            at = rows[part], cols[part]
            temperature = probe.temperature_ if uncertainty else probe.plain_temperature_
            values = _predict(fit, x[part], v[part] if uncertainty else None, temperature)
            label[at] = values.pop("label")
            proba[:, *at] = values.pop("probability").T
            for name, value in values.items():
                maps[name][at] = value
    return _dataset(probe, emb, {"label": label, "probability": proba, **maps})


def _predict(fit: LinearFit, x: np.ndarray, v: np.ndarray | None, temperature: float) -> dict[str, np.ndarray]:
    logits = fit.logits(x)
    out: dict[str, np.ndarray] = {}
    if v is not None:
        s_in = fit.input_variance(np.nan_to_num(v, nan=0.0))  # published embeddings have no variance
        s_w = fit.weight_variance(x)
        logits = logits * shrinkage(s_in + s_w)[:, None]
        win = logits.argmax(axis=1)[:, None]
        out["input_uncertainty"] = np.sqrt(np.take_along_axis(s_in, win, axis=1)[:, 0])
        out["weight_uncertainty"] = np.sqrt(np.take_along_axis(s_w, win, axis=1)[:, 0])
    logits = logits * np.float32(1 / temperature)
    logits -= logits.max(axis=1, keepdims=True)
    weight = np.exp(logits)
    total = weight.sum(axis=1, keepdims=True)
    out["probability"] = weight / total
    out["entropy"] = np.log(total[:, 0]) - (out["probability"] * logits).sum(axis=1)
    out["label"] = logits.argmax(axis=1)
    return out


def _dataset(probe: Probe, emb: Embeddings, maps: dict[str, np.ndarray]) -> xr.Dataset:
    import xarray as xr
    from odc.geo.xr import xr_coords

    coords: dict[Any, Any] = dict(xr_coords(emb.grid, always_yx=True))
    coords["class"] = ("class", np.array(probe.classes_, dtype=str))
    variables: dict[Any, xr.DataArray] = {}
    for name, values in maps.items():
        dims = ("class", "y", "x") if name == "probability" else ("y", "x")
        long_name, units = _TEXT[name]
        variables[name] = xr.DataArray(values, dims=dims, attrs={"long_name": long_name, "units": units})
        variables[name].encoding["grid_mapping"] = "spatial_ref"
    plain = {k: v for k, v in probe.provenance_.items() if isinstance(v, str | int | float | list)}
    attrs = {**plain, "classes": list(probe.classes_), "penalty": probe.penalty_, "temperature": probe.temperature_}
    return xr.Dataset(variables, coords=coords, attrs=attrs)
