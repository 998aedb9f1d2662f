"""`similar`: which places look like this one, best first.

The pass over the pixels is in ``finding/scan.py``, ranking in ``finding/places.py``, and how several examples, for and
against, become one score in ``finding/examples.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.finding.examples import Passes
from georeset_lab.embed.finding.places import cell_phase, rank_places
from georeset_lab.embed.finding.query import Form, Query, examples_in, form_of_query, make_query
from georeset_lab.embed.finding.scan import Score
from georeset_lab.embed.locate import grid_coords
from georeset_lab.errors import InvalidOption, NothingObserved

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["Similar", "similar"]


@dataclass(frozen=True, eq=False)
class Similar:
    """Where it looks like the query."""

    map: xr.DataArray
    """(y, x) float32 with CRS: the score of each pixel, NaN where nothing was observed."""
    places: gpd.GeoDataFrame
    """Ranked squares in the CRS of the map: rank (1 = best), score (mean of the square's observed pixels), uncertainty
    (mean fused variance there, 0..1), observed (share of its pixels), lon, lat of the centre, geometry."""

    def _repr_html_(self) -> str:
        best = self.places["score"].max() if len(self.places) else float("nan")
        kind = escape(str(self.map.attrs.get("score", "")))
        return f"<b>Similar</b> · {len(self.places)} places · {kind} · best {best:.3f} · map {self.map.shape}"


def similar(
    emb: Embeddings,
    *,
    at: Any = None,
    like: Any = None,
    vector: Any = None,
    not_like: Any = None,
    k: int = 20,
    score: Score = "cosine",
    place_cells: int = 3,
    passes: Passes | None = None,
) -> Similar:
    """Score of every pixel against a query, and the k best places that do not overlap.

    Parameters
    ----------
    emb : Embeddings
    at : (lon, lat) or list of such pairs
        The pixels that hold these points, in degrees.
    like : shapely geometry, GeoJSON dict, GeoSeries or GeoDataFrame
        All pixels inside; lon/lat unless it carries a CRS. Or a list of examples, each a (lon, lat) pair, a geometry or a
        vector, that need not show the same thing.
    vector : array, shape (D,)
        A posterior mean from elsewhere, for example another scene encoded by the same model.
        Give exactly one of ``at``, ``like``, ``vector``.
    not_like : any of these forms, or a list of examples
        What the places should not resemble; see the notes.
    k : int
        Number of places; fewer are returned if the map holds no more.
    score : {"cosine", "pmi"}
        ``"cosine"``: of the posterior means, -1..1 (-2..2 with ``not_like``). Right when the pixels are about equally
        well observed, or when only the direction of the embedding is trusted (published embeddings without variance).
        The prior pulls an unsure mean towards zero but not round, so cosine rates a pixel seen through haze as highly
        as a clear one. ``"pmi"``: log-ratio, in nats, of "the two pixels show the same thing" to "two unrelated
        things", in closed form from both Gaussians. Right when certainty varies: cloud, missing modalities, several
        sensors. A dimension that either side knows nothing about adds exactly 0; two pixels that are surely alike score
        higher than two that are only not known to differ. Scores of different queries compare only with ``"pmi"``.
    place_cells : int
        Side of a place, in cells of 6 pixels anchored in the CRS: 3 is 180 m on a 10 m map.
    passes : Passes, optional
        Score maps of earlier calls with the same embeddings and score: an example that is in there is not scored again.

    Returns
    -------
    Similar
        ``.map`` and ``.places``. A place is a square of ``place_cells`` x ``place_cells`` cells, at least half of it
        observed. Squares that share a cell with the query (or ``not_like``) are left out of the ranking, not the map.

    Raises
    ------
    OutsideScene
        A point or geometry does not touch the map.
    NothingObserved
        Nothing was observed at the query, or anywhere.
    ShapeMismatch
        ``vector`` has not one number for each dimension.
    InvalidOption
        Not exactly one query, an unknown score, ``k`` or ``place_cells`` below 1, or "pmi" without variances.

    Notes
    -----
    Several query pixels become one Gaussian with their mean and, as variance, their mean variance plus their spread
    (moment matching, at most the prior's 1): dimensions in which the examples disagree count less under "pmi". PMI is
    s = 1/2 sum_d [log L1 + log L2 - log L + eta^2/L - eta1^2/L1 - eta2^2/L2] with posterior precisions L1, L2,
    L = L1 + L2 - 1, eta = eta1 + eta2: the log of the integral of q1(z) q2(z) / p(z) for the prior p = N(0, I); ours.

    Each example of a list has a Gaussian and a pass of its own, and `georeset_lab.embed.finding.examples.combine` makes one score
    of theirs: with "pmi" the log of the mean evidence of the examples for, times the probability that it is one of them
    rather than one of those against; with "cosine" the difference of the two means.

    A pass reads each pixel once. Extra memory is 4 bytes per pixel and example, beside the fused map that ``emb`` keeps.
    """
    form, value = _one_query(at, like, vector)
    _check_options(emb, k, score, place_cells)
    likes = _examples(emb, value, "like") if form == "like" else [make_query(emb, form, value)]
    unlikes = [] if not_like is None else _examples(emb, not_like, "not_like")
    phase = cell_phase(emb.grid)
    if passes is None or passes.emb is not emb or passes.score != score:
        passes = Passes(emb, score, keep=0)
    result = passes.scan(likes, unlikes, phase=phase)
    used = [*likes, *unlikes]
    exclude = np.concatenate([q.rows for q in used]), np.concatenate([q.cols for q in used])
    places = rank_places(emb, result, k=k, side=place_cells, phase=phase, exclude=exclude)
    return Similar(map=_as_map(emb, result.scores, score), places=places)


def _one_query(at: Any, like: Any, vector: Any) -> tuple[Form, Any]:
    forms: dict[Form, Any] = {"at": at, "like": like, "vector": vector}
    given = [(name, value) for name, value in forms.items() if value is not None]
    if len(given) != 1:
        named = " and ".join(name for name, _ in given) or "none"
        raise InvalidOption(f"similar() needs exactly one of at=, like=, vector=; it got {named}.")
    return given[0]


def _examples(emb: Embeddings, value: Any, name: str) -> list[Query]:
    found = [make_query(emb, *form_of_query(one)) for one in examples_in(value)]
    if not found:
        raise InvalidOption(
            f"{name}= is an empty list. Give at least one (lon, lat) pair, geometry or vector, or None."
        )
    return found


def _check_options(emb: Embeddings, k: int, score: str, place_cells: int) -> None:
    if score not in ("cosine", "pmi"):
        raise InvalidOption(f"score={score!r}; choose 'cosine' (means only) or 'pmi' (uses the variances).")
    if k < 1 or place_cells < 1:
        raise InvalidOption(f"k={k} and place_cells={place_cells} must both be at least 1.")
    observed = emb.observed
    if not observed.any():
        raise NothingObserved(
            "No pixel of these embeddings was observed, so every vector is the prior and nothing is like anything. "
            "Check scene.modalities for masks that cover everything."
        )
    if score == "pmi":
        row, col = divmod(int(observed.argmax()), emb.shape[1])  # the first that was
        if not np.isfinite(emb.fused(slice(row, row + 1), slice(col, col + 1))[1]).all():
            raise InvalidOption("score='pmi' needs variances and these embeddings have none (NaN). Use score='cosine'.")


def _as_map(emb: Embeddings, scores: np.ndarray, score: Score) -> xr.DataArray:
    import xarray as xr

    attrs = {
        "long_name": "cosine similarity" if score == "cosine" else "pointwise mutual information",
        "units": "1" if score == "cosine" else "nat",
        "score": score,
        **{key: value for key, value in emb.attrs.items() if isinstance(value, str | int | float)},
    }
    array = xr.DataArray(scores, dims=("y", "x"), coords=grid_coords(emb.grid), attrs=attrs, name="similarity")
    array.encoding["grid_mapping"] = "spatial_ref"
    return array
