"""`encode`: a scene becomes `Embeddings`. Here it is decided onto which grid, and what is recorded of how.

How it is done is in ``encoding/``: what to encode in ``select.py``, the geometry in ``tiles.py``, reading in ``source.py``,
resampling in ``regrid.py``, the loop that reads, encodes and writes at the same time in ``pipeline.py``, the same on a
cluster in ``spread.py``.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from georeset_lab.data.scene import Scene
from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.encoding.provenance import provenance
from georeset_lab.embed.encoding.select import by_date, chosen
from georeset_lab.embed.encoding.sinks import MemorySink, StoreSink
from georeset_lab.embed.encoding.source import Source
from georeset_lab.embed.encoding.tiles import PIXELS_PER_CELL, Needs, Tile, output_grid, pixel_size, tile_plan
from georeset_lab.embed.expert import FORMS, Form
from georeset_lab.errors import CoarsenedOutput, InvalidOption

if TYPE_CHECKING:
    from distributed import Client
    from odc.geo.geobox import GeoBox

    from georeset_lab.embed.encoding.pipeline import Job, Progress
    from georeset_lab.models.checkpoint import Model

__all__ = ["encode"]

TILE_CELLS = 112
"""Side of a tile in cells of the finest modality: 6.7 km of Sentinel-2, 672 x 672 pixels."""

CHUNK_PX = 256
"""Largest side of a chunk of a store; a tile is a whole number of chunks, so that reading one pixel costs little."""

_SLACK = 1 / 3
"""How much larger than asked a tile may be, if that saves a narrow one with its margin."""

_BAR_DELAY_S = 2.0


@overload
def encode(
    scene: Scene,
    *,
    model: str | os.PathLike[str] | Model = ...,
    modalities: Sequence[str] | None = ...,
    resolution_m: float | None = ...,
    out: str | os.PathLike[str] | None = ...,
    dtype: Form = ...,
    cell_m: float | None = ...,
    per: None = ...,
    device: str = ...,
    fast: bool = ...,
    client: Client | None = ...,
    progress: bool = ...,
    tile_cells: int = ...,
) -> Embeddings: ...
@overload
def encode(
    scene: Scene,
    *,
    model: str | os.PathLike[str] | Model = ...,
    modalities: Sequence[str] | None = ...,
    resolution_m: float | None = ...,
    out: str | os.PathLike[str] | None = ...,
    dtype: Form = ...,
    cell_m: float | None = ...,
    per: Literal["date"] | None,
    device: str = ...,
    fast: bool = ...,
    client: Client | None = ...,
    progress: bool = ...,
    tile_cells: int = ...,
) -> Embeddings | dict[np.datetime64, Embeddings]: ...
def encode(
    scene: Scene,
    *,
    model: str | os.PathLike[str] | Model = "default",
    modalities: Sequence[str] | None = None,
    resolution_m: float | None = None,
    out: str | os.PathLike[str] | None = None,
    dtype: Form = "float16",
    cell_m: float | None = None,
    per: Literal["date"] | None = None,
    device: str = "auto",
    fast: bool = False,
    client: Client | None = None,
    progress: bool = True,
    tile_cells: int = TILE_CELLS,
) -> Embeddings | dict[np.datetime64, Embeddings]:
    """Mean and variance of an embedding for every pixel of a scene, from each modality alone and from all together.

    Parameters
    ----------
    scene : Scene
    model : str, path or Model
        ``"default"``, a name from `list_models`, a folder that `train` wrote, or a loaded model.
    modalities : sequence of str, optional
        What to encode. By default all, except that of two products of the same acquisitions (Sentinel-2 L1C and L2A)
        the lower level is left out, because they are one measurement; name both to have both.
    resolution_m : float, optional
        Pixel of the map in metres. The pixel of a modality gives exactly its grid. A coarser map holds the mean of eta
        and tau over the pixels whose centres fall in; a finer one repeats the nearest. By default the finest pixel of
        the scene, coarsened to a whole multiple beyond 4 million pixels (with a warning).
    out : path, optional
        Zarr store to stream to. Memory then does not depend on the size of the scene. If the call is interrupted or
        killed, the same call goes on where it stopped.
    dtype : {"float16", "float32", "int8"}
        How the result is held.
    cell_m : float, optional
        Side of the ground square that a texture and a share of the context stand for. By default 60 m for pixels of 10 to
        60 m, the same for all sensors; six pixels for finer ones, one for coarser. Pixels are repeated or averaged, so
        that a cell is 6 x 6 samples of ``cell_m / 6``. A larger cell is quicker: 180 m takes a ninth of the time of 60 m
        and is what six pixels of Landsat are.
    per : {"date"}, optional
        Encode each day by itself instead of all dates of a modality together. What has no date (a DEM) joins each.
    device : str
        ``"auto"`` is the GPU if there is one; or any torch device. With ``client``, each worker's.
    fast : bool
        Give up accuracy that hardly shows for speed: on processors with units for it, products are computed in bfloat16;
        in a map whose pixels are at least as large as cells, one of two neighbours stands for both. Encoders that are not
        ours do as they always do. How near it stays: ``python -m tests.benchmarks.bench_fast``.
    client : dask.distributed.Client, optional
        Spread the tiles over a dask cluster (extra ``cluster``). Of a lazy scene only paths and windows travel, so the
        workers must see its files; of one in memory, the pixels of each tile do. With ``out``, workers that see its
        folder write there, and others send what they encoded; without it, all is sent back. What a worker that dies
        was at, another does.
    progress : bool
        Show a bar if it takes more than two seconds.
    tile_cells : int
        Side of a tile in cells of the finest modality. Changes memory and speed, never the result (with ``fast``, its rounding).

    Returns
    -------
    Embeddings
        On one grid over the ground that all modalities share; ``.scene`` is the scene. A pixel that nothing measured
        has the prior: mean 0, variance 1. With ``per="date"``, a dict from day (datetime64[D]) to Embeddings, in order;
        if ``out`` is given, it is a folder with one store for each day.

    Raises
    ------
    UnknownModality
        ``modalities`` names something the scene does not have.
    CheckpointError
        There is no such model, or it is damaged.
    StoreError
        ``out`` holds something else, or the disk refuses.
    GridMismatch
        The modalities share no ground.
    MissingExtra, ClusterError
        ``client`` is given, and dask's distributed is not installed; or the cluster is lost or fails at a tile.

    Warns
    -----
    CoarsenedOutput
        The default resolution was lowered to stay within 4 million pixels.

    Notes
    -----
    Attention windows are anchored to multiples of the cell in the CRS: neither tiles nor crops change a value (a crop,
    none farther than one window, 8 cells, from its edge). A rotated grid is anchored at its own first pixel instead.
    All dates of a block are in memory at once; blocks shrink so that the encoder stays within 1000 MiB
    (`pipeline.block_cells`).

    Examples
    --------
    >>> import georeset_lab as gl
    >>> emb = encode(gl.load_scene("simulated", size=(48, 48)), progress=False)
    >>> emb.shape, emb.dim
    ((48, 48), 64)
    """
    if dtype not in FORMS:
        raise InvalidOption(f"Embeddings cannot be held as {dtype!r}; choose one of {', '.join(FORMS)}.")
    if tile_cells < 1:
        raise InvalidOption(
            f"tile_cells={tile_cells}; give the side of a tile in cells, at least 1 (default {TILE_CELLS})."
        )
    if client is not None:
        from georeset_lab.embed.encoding.spread import checked_client

        checked_client(client)
    part, notes = chosen(scene, modalities)
    whole = _Call(scene, _model(model), resolution_m, dtype, cell_m, device, fast, client, progress, tile_cells, notes)
    if per is None:
        return whole.encode(part, dict.fromkeys(part.modalities), out)
    if per != "date":
        raise InvalidOption(f"per={per!r}; use per='date' for one result for each day, or leave it out for one in all.")
    days = by_date(part)
    return {
        day: whole.encode(part.only(*dates), dates, None if out is None else Path(out) / f"{day}.zarr")
        for day, dates in days.items()
    }


class _Call:
    """The arguments of one call, and the steps that follow from them."""

    def __init__(
        self,
        scene: Scene,
        model: Model,
        resolution_m: float | None,
        dtype: Form,
        cell_m: float | None,
        device: str,
        fast: bool,
        client: Client | None,
        progress: bool,
        tile_cells: int,
        notes: list[str],
    ) -> None:
        from georeset_lab.embed.encoding.device import on_device

        self.scene, self.model, self.dtype, self.cell_m = scene, model, dtype, cell_m
        self.progress, self.tile_cells, self.notes = progress, tile_cells, notes
        self.client, self.worker_device, self.fast = client, device, fast
        self.encoder, self.device = (
            on_device(model.encoder, device, fast=fast) if client is None else on_device(model.encoder, "cpu")
        )
        # The grid is that of the whole scene, so that maps of any choice of modalities and dates lie on each other.
        self.grid, factor = output_grid([m.grid for m in scene.modalities.values()], resolution_m)
        if factor > 1:
            height, width = pixel_size(self.grid)
            warnings.warn(
                f"At its finest pixel this scene has more than 4 million pixels, so the map was made {factor} times "
                f"coarser: {height:g} x {width:g} m, {self.grid.shape.y} x {self.grid.shape.x} pixels. "
                "Pass resolution_m= for another pixel, and out= to stream a large map to disk.",
                CoarsenedOutput,
                stacklevel=3,
            )

    def encode(
        self, scene: Scene, dates: Mapping[str, list[int] | None], out: str | os.PathLike[str] | None
    ) -> Embeddings:
        """Encode these dates (None: all) of the scene's modalities."""
        import dask

        from georeset_lab.embed.encoding.pipeline import Job

        config = self.encoder.config
        needs = Needs(config.stride, self.encoder.margin_cells, self.encoder.rim_cells)
        sources = {
            name: Source(
                scene[name],
                needs,
                dates=dates[name],
                cell_m=self.cell_m,
            )
            for name in scene
        }
        chunk, tile_px = _tile_px(self.grid, min(s.cell_m for s in sources.values()), self.tile_cells)
        with dask.config.set(scheduler="threads"):  # the default one would ask a cluster, if there is one
            attrs = provenance(self.model, self.scene.name, sources, self.grid, self.notes, fast=self.fast)
        half = self.dtype == "float16"
        # A tile may begin inside a stride and be a little larger; it should still be a single block.
        cells = int(self.tile_cells * (1 + _SLACK)) + config.stride + 1
        job = Job(self.encoder, sources, self.grid, np.float16 if half else np.float32, self.device, cells, self.fast)
        sink: StoreSink | MemorySink
        if out is None:
            sink = MemorySink(self.grid, tuple(sources), config.latent_dim, job.dtype)
        else:
            sink = StoreSink.open(out, self.grid, tuple(sources), config.latent_dim, self.dtype, chunk, attrs)
        tiles = tile_plan((self.grid.shape.y, self.grid.shape.x), tile_px)
        todo = [t for t in tiles if sink.wants(t)]
        try:
            with _bar(self.progress, tiles, todo, len(sources)) as bar:
                self._run(job, todo, sink, bar)
        except KeyboardInterrupt as err:
            if out is None:
                raise
            left = sum(map(sink.wants, tiles))
            raise KeyboardInterrupt(
                f"Stopped; {len(tiles) - left} of {len(tiles)} tiles are in {os.fspath(out)}.partial. "
                "The same call resumes there."
            ) from err
        result = sink.finish(attrs)
        result.scene = self.scene
        return result.astype("int8") if self.dtype == "int8" and out is None else result

    def _run(self, job: Job, tiles: Sequence[Tile], sink: StoreSink | MemorySink, bar: Progress) -> None:
        if self.client is None:
            from georeset_lab.embed.encoding import pipeline

            pipeline.run(job, tiles, sink, bar)
        else:
            from georeset_lab.embed.encoding.spread import spread

            spread(self.client, job, self.worker_device, tiles, sink, bar)


def _model(model: str | os.PathLike[str] | Model) -> Model:
    from georeset_lab.models.checkpoint import Model, kept_model

    return model if isinstance(model, Model) else kept_model(os.fspath(model))


def _tile_px(grid: GeoBox, cell_m: float, tile_cells: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Output pixels of a chunk and of a tile of about ``tile_cells`` cells, with at most six output pixels per cell."""
    chunk, tile = [], []
    for size, n in zip(pixel_size(grid), grid.shape, strict=True):
        wanted = min(max(int(tile_cells * cell_m / size + 1e-6), 1), tile_cells * PIXELS_PER_CELL)
        # Equal tiles: 800 pixels are two of 400 rather than 672 and 128, and 700 pixels are one.
        wanted = -(-n // max(math.ceil(n / wanted - _SLACK), 1))
        parts = -(-wanted // CHUNK_PX)
        chunk.append(-(-wanted // parts))
        tile.append(chunk[-1] * parts)
    return (chunk[0], chunk[1]), (tile[0], tile[1])


def _bar(show: bool, tiles: Sequence[Tile], todo: Sequence[Tile], n: int) -> AbstractContextManager[Progress]:
    from tqdm.auto import tqdm

    def pixels(some: Sequence[Tile]) -> int:
        return n * sum(t.rows.size * t.cols.size for t in some)

    if not show:
        return nullcontext(_Silent())
    return tqdm(
        total=pixels(tiles), initial=pixels(tiles) - pixels(todo), desc="encode", unit="px", unit_scale=True,
        delay=_BAR_DELAY_S,
    )  # fmt: skip


class _Silent:
    def update(self, n: float, /) -> None:
        """Show nothing."""
