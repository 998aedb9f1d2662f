"""The verbs, nothing else: each turns what users have into our types and calls one function below.

Whoever needs more control imports that function: ``load_scene`` of ``data/load.py``, ``encode``, ``similar`` and
``fit_probe`` of ``embed/encode.py``, ``search.py`` and ``probe.py``, ``explore`` of ``widgets/explore.py``, ``train`` of
``train/loop.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from distributed import Client

    from georeset_lab.data.bands import BandSpec
    from georeset_lab.data.scene import Scene
    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.embed.expert import Form
    from georeset_lab.embed.probe import Probe
    from georeset_lab.embed.search import Similar
    from georeset_lab.models.checkpoint import Model
    from georeset_lab.widgets.explore import Explorer

__all__ = ["load_scene", "encode", "similar", "probe", "explore", "train"]


def load_scene(
    source: Any,
    *,
    collection: str | Sequence[str] | Mapping[str, str] | None = None,
    sensors: str | Mapping[str, str] | None = None,
    bands: Sequence[BandSpec] | Mapping[str, Sequence[BandSpec]] | None = None,
    crs: Any = None,
    scale: Any = None,
    time: Any = None,
    bbox: tuple[float, float, float, float] | None = None,
    chunks: Any = None,
    seed: int = 0,
    size: tuple[int, int] | None = None,
) -> Scene:
    """Scene in physical units from files, arrays or the simulator.

    Parameters
    ----------
    source : str, path, xarray.DataArray, xarray.Dataset or dict
        ``"simulated"``; a GeoTIFF, NetCDF or Zarr path; a folder; an xarray object with a CRS; or a dictionary
        ``{modality: any of these}``, for example ``{"s2": "S2L2A.tif", "s1": "S1RTC.tif"}``. Or a STAC catalogue:
        ``"earth-search"``, ``"planetary-computer"``, the address of an API, a file of items (extra ``stac``).
    collection : str, list of str, or dict, optional
        Of a STAC catalogue: the collection, or several, each of which becomes a modality; a dict gives their names.
    sensors : str or dict, optional
        Sensor name, or one for each modality: ``{"s2": "sentinel-2-l2a"}``. Not needed where the product says it.
    bands : list of BandSpec, or dict of such lists, optional
        What each band measures, for a sensor that has no table here.
    crs : any, optional
        Coordinate reference system: of a source that does not state one, else the one the scene is brought to.
    scale : any, optional
        How stored numbers become physical ones where the file is silent or wrong; as in `georeset_lab.data.load`.
    time : any, optional
        Date or dates of the source, or the span to keep. Of a STAC catalogue ``"2024-06"`` takes the clearest date of
        that month, ``("2024-06-01", "2024-08-31")`` all dates of the span.
    bbox : tuple (west, south, east, north), optional
        Part to read, in degrees of longitude and latitude.
    chunks : any, optional
        dask chunks; with it the scene stays lazy.
    seed, size : int, tuple (y, x)
        Simulated scenes only: the landscape drawn and its size in 10 m pixels.

    Returns
    -------
    Scene
        Modalities on one CRS, each on its own grid, missing pixels NaN.

    Raises
    ------
    SceneReadError
        The source is missing, truncated, or of a format that is not opened.
    MissingCRS, UnknownSensor, BandMismatch, UnitError, GridMismatch
        The source lacks or contradicts what is needed; the message names the argument that fixes it.

    Warns
    -----
    GeoresetWarning
        A unit was decided from the numbers, bands were taken in the sensor's order, or pixels were resampled.

    Examples
    --------
    >>> import georeset_lab as gl
    >>> scene = gl.load_scene("simulated", size=(48, 48))
    >>> scene["s2"].data.dims
    ('time', 'band', 'y', 'x')
    """
    from georeset_lab.data.load import load_scene as load

    return load(
        source, collection=collection, sensors=sensors, bands=bands, crs=crs, scale=scale, time=time, bbox=bbox,
        chunks=chunks, seed=seed, size=size,
    )  # fmt: skip


# fmt: off
@overload
def encode(
    scene: Any, *, model: str | Path | Model = ..., modalities: Sequence[str] | None = ...,
    resolution_m: float | None = ..., out: str | Path | None = ..., dtype: Form = ..., cell_m: float | None = ...,
    per: None = ..., device: str = ..., fast: bool = ..., client: Client | None = ..., progress: bool = ...,
) -> Embeddings: ...
@overload
def encode(
    scene: Any, *, model: str | Path | Model = ..., modalities: Sequence[str] | None = ...,
    resolution_m: float | None = ..., out: str | Path | None = ..., dtype: Form = ..., cell_m: float | None = ...,
    per: Literal["date"], device: str = ..., fast: bool = ..., client: Client | None = ..., progress: bool = ...,
) -> Embeddings | dict[np.datetime64, Embeddings]: ...
# fmt: on
def encode(
    scene: Any,
    *,
    model: str | Path | Model = "default",
    modalities: Sequence[str] | None = None,
    resolution_m: float | None = None,
    out: str | Path | None = None,
    dtype: Form = "float16",
    cell_m: float | None = None,
    per: Literal["date"] | None = None,
    device: str = "auto",
    fast: bool = False,
    client: Client | None = None,
    progress: bool = True,
) -> Embeddings | dict[np.datetime64, Embeddings]:
    """Mean and variance of a 64-dimensional Gaussian for each pixel, for each modality and fused.

    Parameters
    ----------
    scene : Scene, or anything `load_scene` takes
        What to encode.
    model : str, path or Model
        ``"default"``, a name from `list_models`, a folder, or a model in memory.
    modalities : sequence of str, optional
        Encode only these; all by default.
    resolution_m : float, optional
        Pixel of the map in metres; the finest pixel of the scene by default, up to 4 million pixels.
    out : path, optional
        Zarr store to stream to, tile by tile; an interrupted run is resumed by the same call.
    dtype : {"float32", "float16", "int8"}
        How embeddings are stored.
    cell_m : float, optional
        Side of the ground square that a texture and a share of the context stand for; by default 60 m for pixels of 10
        to 60 m. 180 m is quicker: a ninth of the time.
    per : {"date"}, optional
        One map for each date, in a dictionary by date, rather than one for the span.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    fast : bool
        Give up accuracy that hardly shows for speed: products in bfloat16, half of the pixels under coarse maps.
    client : dask.distributed.Client, optional
        Spread the tiles over this cluster (extra ``cluster``); paths and windows travel, not pixels, unless the scene is
        in memory.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Embeddings
        With ``.mean``, ``.variance`` and ``.certainty`` as DataArrays ``(dim, y, x)``.

    Raises
    ------
    CheckpointError
        The model is damaged or not ours.
    StoreError
        ``out`` holds another run's embeddings, or damaged ones.
    MissingExtra, ClusterError
        ``client`` is given and dask's distributed is not installed, or the cluster is lost.
    """
    from georeset_lab.data.scene import Scene
    from georeset_lab.embed.encode import encode as run

    return run(
        scene if isinstance(scene, Scene) else load_scene(scene), model=model, modalities=modalities,
        resolution_m=resolution_m, out=out, dtype=dtype, cell_m=cell_m, per=per, device=device, fast=fast,
        client=client, progress=progress,
    )  # fmt: skip


def similar(
    emb: Embeddings,
    *,
    at: tuple[float, float] | None = None,
    like: Any = None,
    vector: Any = None,
    not_like: Any = None,
    k: int = 20,
    score: Literal["cosine", "pmi"] = "cosine",
) -> Similar:
    """Places that look like the one you point at, as a map of scores and a ranked table.

    Parameters
    ----------
    emb : Embeddings
        Where to search.
    at : tuple (lon, lat), optional
        The place to look for; one of ``at``, ``like`` and ``vector`` is needed.
    like : geometry, optional
        Area to look for: anything with ``__geo_interface__``, a GeoDataFrame or a GeoJSON dictionary, in lon/lat.
    vector : array, shape (D,), optional
        Embedding to look for.
    not_like : tuple or geometry, optional
        Place that the hits should not resemble.
    k : int
        Number of places.
    score : {"cosine", "pmi"}
        ``"cosine"`` compares means and is right when all pixels were measured equally well. ``"pmi"`` also uses the
        variances, so a pixel that is barely known cannot be a confident hit: right with cloud or with few modalities.

    Returns
    -------
    Similar
        ``.map`` (DataArray) and ``.places`` (GeoDataFrame, ranked, not overlapping).

    Raises
    ------
    OutsideScene
        The place lies outside the embeddings.
    NothingObserved
        Nothing was measured there, or anywhere.
    """
    from georeset_lab.embed.search import similar as search

    return search(emb, at=at, like=like, vector=vector, not_like=not_like, k=k, score=score)


def probe(emb: Embeddings, labels: Any, *, scene: Scene | None = None, seed: int = 0) -> Probe:
    """Classifier fitted on your labels over frozen embeddings, with a report that is honest about space.

    Parameters
    ----------
    emb : Embeddings
        What the classifier sees.
    labels : GeoDataFrame, GeoJSON dictionary, path, raster or DataArray
        Points or polygons with a column ``label`` (lon/lat or any stated CRS), or a raster of class codes.
    scene : Scene, optional
        Pixels for the raw-band baseline in the report; by default the scene the embeddings came from, if in memory.
    seed : int
        Drives the spatial folds.

    Returns
    -------
    Probe
        With ``.predict(emb)`` (label, probabilities, entropy) and ``.report`` (scores by spatial block).

    Raises
    ------
    LabelError
        Labels are empty, of one class, or outside the scene.
    NothingObserved
        No labelled pixel was measured.
    """
    from georeset_lab.embed.probe import fit_probe

    return fit_probe(emb, labels, scene=scene, seed=seed)


def explore(
    scene: Scene | None, emb: Embeddings | None = None, *, labels: Any = None, progress: bool = True
) -> Explorer:
    """Explorer of a scene in the notebook: map, latent space, labels, certainty and search around one selection.

    Parameters
    ----------
    scene : Scene, optional
        Pixels behind the map; None shows embeddings alone.
    emb : Embeddings, optional
        Encoded from the scene by default, with a progress bar.
    labels : as `probe` takes them, optional
        Added to those that were given to this map before.
    progress : bool
        Show a bar while encoding.

    Returns
    -------
    Explorer
        A widget. ``.labels`` and ``.probe`` are what was labelled and the classifier behind the map; every label is on
        the disk (folder ``.georeset_labels``) when it is on the screen.

    Raises
    ------
    InvalidOption
        Neither a scene nor embeddings were given.
    """
    from georeset_lab.widgets.explore import explore as show

    return show(scene, emb, labels=labels, progress=progress)


def train(
    scenes: Any,
    *,
    objective: str | None = None,
    recipe: Any = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    init: str | Path | Model | None = None,
    teacher: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Model:
    """Encoder of your own, trained without labels on scenes.

    Parameters
    ----------
    scenes : Scene or sequence of Scene
        Scenes with at least one modality each; several modalities or dates of one place teach the most.
    objective : {"predict", "pmi", "infonce", "elk", "csd", "prolip", "decur", "comm", "factorcl"}, optional
        What is learnt; the recipe's by default. ``"predict"`` needs Sentinel-2 in the scenes: from altered views, the
        encoder predicts colour, texture and a teacher's features of the place, with their variance. ``"pmi"`` and
        ``"infonce"`` contrast places and take any sensor.
    recipe : str, path or dict, optional
        Training recipe; by default a small one, or ``"adapt"`` if ``init`` is given. See ``georeset_lab/train/recipes``.
    steps, minutes : int, float, optional
        Stop after so many optimiser steps or so much time, whichever comes first.
    seed : int
        Drives weights, crops and order.
    out : path, optional
        Folder for checkpoints; the same call resumes what is there.
    init : str, path or Model, optional
        Weights to start from: ``train(scene, init="default", minutes=3)`` adapts the released ones to a scene.
    teacher : path, optional
        Folder of Galileo nano's weights (`georeset_lab.models.pretrained`), for ``"predict"``. Without it the teacher's
        dimensions hold on to what the weights in ``init`` say.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    progress : bool
        Show a progress bar with the loss and the collapse gauges.

    Returns
    -------
    Model
        Ready for ``encode(scene, model=...)``.

    Raises
    ------
    RecipeError
        The recipe names something that does not exist.
    """
    from georeset_lab.train.loop import train as run

    return run(
        scenes, objective=objective, recipe=recipe, steps=steps, minutes=minutes, seed=seed, out=out, init=init,
        teacher=teacher, device=device, progress=progress,
    )  # fmt: skip
