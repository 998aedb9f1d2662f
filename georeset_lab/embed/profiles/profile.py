"""Which dimensions, and which places, each modality settles: its certainty alone, read part by part. No pictures here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from georeset_lab.embed.stores.arrays import plain_attrs
from georeset_lab.errors import UnknownModality

if TYPE_CHECKING:
    from georeset_lab.embed.fused import FusedMap

__all__ = ["FUSED", "certainty_profile", "certainty_windows"]

FUSED = "fused"
"""Name of the row of all modalities together."""


def certainty_profile(emb: FusedMap, modality: str | None = None) -> xr.DataArray:
    """Mean certainty of each dimension over the pixels that a modality observed, from its expert alone.

    Parameters
    ----------
    emb : Embeddings
    modality : str, optional
        One of its modalities, or "fused" for all of them together.

    Returns
    -------
    xarray.DataArray, float32, in 0..1
        (dim,); without ``modality`` (modality, dim), one row for each and "fused" as the last. 0 = left at the prior,
        1 = settled; NaN for a modality that observed no pixel. Each row is over its own pixels, and "fused" over those
        that any modality observed: it can lie below that of a modality that saw only a part.

    Raises
    ------
    UnknownModality
        No such modality.

    Notes
    -----
    Certainty is 1 - variance = tau / (1 + tau) under the N(0, 1) prior. A rotation of the embedding is free in training,
    so a profile compares modalities under one model and never single dimensions of two models (methods.md, section 2).
    Memory holds one part of the map at a time.
    """
    known = (*emb.modalities, FUSED)
    if modality is not None and modality not in known:
        raise UnknownModality(
            f"There is no expert {modality!r}; these embeddings have {', '.join(map(repr, emb.modalities))}, "
            f"and {FUSED!r} for all together."
        )
    names = known if modality is None else (modality,)
    total, count = np.zeros((len(names), emb.dim)), np.zeros(len(names), np.int64)
    for _, row, certainty, observed in certainty_windows(emb, names):
        # What was not observed has a certainty of exactly 0 and adds nothing.
        total[row] += certainty.sum(axis=(0, 1), dtype=np.float64)
        count[row] += int(observed.sum())
    mean = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], np.nan).astype(np.float32)
    attrs = {"long_name": "mean certainty over observed pixels", "units": "1", **plain_attrs(emb.attrs)}
    dims = {"dim": np.arange(emb.dim)}
    if modality is not None:
        return xr.DataArray(
            mean[0], dims=("dim",), coords={**dims, "modality": modality}, attrs=attrs, name="certainty"
        )
    return xr.DataArray(
        mean, dims=("modality", "dim"), coords={"modality": list(names), **dims}, attrs=attrs, name="certainty"
    )


def certainty_windows(
    emb: FusedMap, names: Sequence[str]
) -> Iterator[tuple[tuple[slice, slice], int, np.ndarray, np.ndarray]]:
    """Certainty of modalities alone, and of all together under the name "fused", window by window.

    Yields
    ------
    window : (rows, columns)
    row : int
        Which of ``names``.
    certainty : numpy.ndarray (y, x, D), float32, 0 where not observed
    observed : numpy.ndarray (y, x), bool
    """
    rows_of = {name: i for i, name in enumerate(names)}
    for window in emb.tiles():
        together: np.ndarray | None = None
        for name, expert in emb.experts.items():
            if name not in rows_of and FUSED not in rows_of:
                continue
            tau = expert.read(*window)[1].astype(np.float32, copy=False)
            if name in rows_of:
                yield window, rows_of[name], *_certainty(tau)
            if FUSED in rows_of:
                together = tau.copy() if together is None else np.add(together, tau, out=together)
        if together is not None:
            yield window, rows_of[FUSED], *_certainty(together)


def _certainty(tau: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return tau / (1 + tau), np.asarray((tau > 0).any(axis=-1))
