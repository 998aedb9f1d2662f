"""Tiles of one call spread over a dask cluster: descriptions of pixels and the encoder travel, lazy pixels do not.

Each worker gets once what all tiles share (a `Parcel`: encoder, grids, and where the pixels of each lazy modality are),
and for each tile its place. It reads, encodes and writes the chunks itself where it sees the folder of the store, and
answers with their seals; the caller alone keeps the journal. Where it does not, or without a store, it answers with the
tile. What one process does with a tile is in ``pipeline.py``.
"""

from __future__ import annotations

import copy
import itertools
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from georeset_lab.embed.encoding.coded import Coded
from georeset_lab.embed.encoding.device import on_device
from georeset_lab.embed.encoding.freed_memory import keep_freed_memory
from georeset_lab.embed.encoding.pipeline import Job, Progress, needed, run
from georeset_lab.embed.encoding.sinks import MemorySink, StoreSink
from georeset_lab.embed.encoding.source import Source
from georeset_lab.embed.encoding.tiles import Span, Tile
from georeset_lab.embed.expert import Expert
from georeset_lab.embed.stores.chunks import ChunkFiles, coded
from georeset_lab.embed.stores.layout import Layout
from georeset_lab.embed.stores.manifest import Seal
from georeset_lab.embed.stores.partial import disk
from georeset_lab.errors import ClusterError, GeoresetError, InvalidOption, MissingExtra
from georeset_lab.models.core import Core

if TYPE_CHECKING:
    from distributed import Client, Future

DESCRIPTION_BYTES = 64 << 20
"""A lazy modality whose description is larger (an array in memory that was cut into chunks, say) travels as pixels."""

_GRAPH_BYTES = 8 << 20  # dask warns of tasks beyond 10 MB; larger parcels are laid in the workers' memory instead
_TASKS_PER_THREAD = 2

Chunk = tuple[slice, slice]


@dataclass(frozen=True)
class Shelf:
    """Where a store is being filled, and the mark by which a worker knows that it sees the same folder."""

    root: Path
    layout: Layout
    mark: str
    """Name of an empty file in the folder."""


@dataclass(frozen=True)
class Parcel:
    """What all tiles of a call share; sent to each worker once."""

    job: Job
    device: str
    version: str
    shelf: Shelf | None


@dataclass(frozen=True)
class Answer:
    """What a worker says of one tile: one of the three."""

    experts: Mapping[str, Expert] | None = None
    """The tile, if there is no store."""
    written: tuple[Mapping[str, Seal], ...] = ()
    """Seals of the chunks asked for, which lie in the store."""
    codes: tuple[Mapping[str, Expert], ...] = ()
    """The chunks asked for, in the form of the store, from a worker that does not see its folder."""


def checked_client(client: Any) -> Client:
    """The client, if it can be used.

    Raises
    ------
    MissingExtra
        dask's distributed is not installed.
    InvalidOption
        It is no client, is closed, or is asynchronous.
    """
    try:
        from distributed import Client
    except ImportError as err:
        raise MissingExtra(
            "client= spreads tiles over a dask cluster, which needs the extra: pip install 'georeset-lab[cluster]'. "
            "Without it, leave client= out: encode(scene, out=...) streams on this machine."
        ) from err
    if not isinstance(client, Client) or client.asynchronous or client.status != "running":
        state = f" ({client.status})" if isinstance(client, Client) else ""
        raise InvalidOption(
            f"client={type(client).__name__}{state} cannot be used; give a connected, synchronous "
            "dask.distributed.Client, e.g. Client(n_workers=2, threads_per_worker=1)."
        )
    return client


def spread(
    client: Client, job: Job, device: str, tiles: Sequence[Tile], sink: MemorySink | StoreSink, progress: Progress
) -> None:
    """Encode tiles on a cluster and hand each to the sink.

    Parameters
    ----------
    client : distributed.Client
    job : Job
        With the encoder on the CPU.
    device : str
        Chosen by each worker for itself (``"auto"``).
    tiles, sink, progress
        As in `pipeline.run`.

    Raises
    ------
    ClusterError
        The cluster is lost, a tile killed several workers, or workers run another version of this package.

    Notes
    -----
    A tile of a worker that died is given to another. Any exception (Ctrl-C too) withdraws what has not begun; tiles
    that were answered are kept.
    """
    if not tiles:
        return
    from distributed import as_completed

    from georeset_lab import __version__

    travelling = {n: _described(s) for n, s in job.sources.items()}
    shipped = [n for n, s in travelling.items() if s is None]
    sources = {n: s or job.sources[n].held(Span(0, 1), Span(0, 1)) for n, s in travelling.items()}
    token = uuid.uuid4().hex[:12]
    store = sink.store
    # Hidden: such files go when the store is finished, also that of a caller who was killed.
    shelf = None if store is None else Shelf(store.root, store.layout, f".spread-{token}")
    whole = Parcel(replace(job, sources=sources), device, __version__, shelf)
    with _failures(client), _sent(client, whole, token) as parcel:
        flying: dict[Future, tuple[Tile, list[Chunk]]] = {}
        waiting = iter(tiles)

        def start(tile: Tile) -> Future:
            chunks = [] if isinstance(sink, MemorySink) else sink.lacking(tile)
            windows = {n: _window(job, n, tile) for n in shipped}
            key = f"encode-tile-{token}-{tile.index[0]}-{tile.index[1]}"
            with warnings.catch_warnings():  # pixels in memory have to travel; only a user of dask could do otherwise
                warnings.filterwarnings("ignore", "Sending large graph")
                future = client.submit(encode_tile, parcel, tile, chunks, windows, key=key, pure=False)
            flying[future] = tile, chunks
            return future

        answers = as_completed(map(start, itertools.islice(waiting, _room(client))))
        try:
            for future in answers:
                tile, chunks = flying[future]
                _keep(sink, tile, chunks, future.result())
                del flying[future]
                progress.update(tile.rows.size * tile.cols.size * len(job.sources))
                for following in itertools.islice(waiting, max(_room(client) - len(flying), 0)):
                    answers.add(start(following))
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                for future, (tile, chunks) in flying.items():
                    if future.status == "finished":
                        _keep(sink, tile, chunks, future.result())
            raise
        finally:
            client.cancel(list(flying), force=True)


def encode_tile(parcel: Parcel, tile: Tile, chunks: Sequence[Chunk], windows: Mapping[str, Source]) -> Answer:
    """On a worker: read, encode and, if the store is in sight, write one tile.

    Raises
    ------
    ClusterError
        This worker runs another version of the package than the caller.
    """
    from georeset_lab import __version__

    if parcel.version != __version__:
        raise ClusterError(
            f"A worker runs georeset-lab {__version__}, the caller {parcel.version}. Install one version on both."
        )
    encoder, device = on_device(parcel.job.encoder, parcel.device, fast=parcel.job.fast)
    sources = {n: windows.get(n, s) for n, s in parcel.job.sources.items()}
    shelf = parcel.shelf
    kept = _Kept(None if shelf is None else shelf.layout)
    try:
        with keep_freed_memory():
            run(replace(parcel.job, encoder=encoder, device=device, sources=sources), [tile], kept, kept)
    except GeoresetError as err:
        # With a cause that cannot be sent (GDAL's), the error would arrive as a plain Exception.
        err.__cause__ = err.__context__ = None
        raise
    if shelf is None:
        return Answer(experts=kept.experts)
    parts = [{n: expert.window(*_within(chunk, tile)) for n, expert in kept.experts.items()} for chunk in chunks]
    if not (shelf.root / shelf.mark).exists():
        return Answer(codes=tuple(coded(shelf.layout, c, p) for c, p in zip(chunks, parts, strict=True)))
    with disk(shelf.root, "write"):
        files = ChunkFiles(shelf.root, shelf.layout)
        return Answer(written=tuple(files.write(c, p) for c, p in zip(chunks, parts, strict=True)))


class _Kept:
    """Sink and progress of a single tile."""

    experts: Mapping[str, Expert]

    def __init__(self, layout: Layout | None) -> None:
        self._layout = layout

    def canvas(self, tile: Tile, name: str, core: Core) -> Coded | None:
        """One that codes, if the tile is for a store that holds codes."""
        return None if self._layout is None else Coded.of_store(self._layout, name, core)

    def write(self, tile: Tile, experts: Mapping[str, Expert]) -> None:
        """Keep the tile."""
        self.experts = experts

    def update(self, n: float, /) -> None:
        """Show nothing."""


def _within(chunk: Chunk, tile: Tile) -> tuple[slice, slice]:
    rows, cols = (Span(c.start, c.stop) for c in chunk)
    return rows.within(tile.rows), cols.within(tile.cols)


def _keep(sink: MemorySink | StoreSink, tile: Tile, chunks: Sequence[Chunk], answer: Answer) -> None:
    if answer.experts is not None:
        sink.write(tile, answer.experts)
    if sink.store is not None:
        for chunk, seals in zip(chunks, answer.written, strict=False):
            sink.store.record(chunk, seals)
        for chunk, codes in zip(chunks, answer.codes, strict=False):
            sink.store.write(chunk, codes)


def _room(client: Client) -> int:
    """Tiles that may be under way: enough that no thread waits, few enough that answers do not pile up."""
    return max(_TASKS_PER_THREAD * sum(client.nthreads().values()), _TASKS_PER_THREAD)


def _described(source: Source) -> Source | None:
    """The source of a lazy modality as it travels, without what a worker does not need; None if it cannot."""
    m = source.modality
    if not m.is_lazy or (m.mask is not None and m.mask.chunks is None):
        return None
    coords = {"time": m.raw.coords["time"].variable} if "time" in m.raw.coords else {}
    mask = None if m.mask is None else xr.DataArray(m.mask.data, dims=m.mask.dims)
    lean = copy.copy(source)
    lean.modality = replace(m, raw=xr.DataArray(m.raw.data, dims=m.raw.dims, coords=coords), mask=mask)
    lean.scheduler = "synchronous"  # the default would hand the reading to the cluster again
    size = wire_bytes(lean)
    return lean if size is not None and size <= DESCRIPTION_BYTES else None


def wire_bytes(value: object) -> int | None:
    """Bytes of a value on its way to a worker; None if it cannot be sent."""
    from distributed.protocol.serialize import serialize

    try:
        _, frames = serialize(value, on_error="raise")
    except TypeError:
        return None
    return sum(memoryview(frame).nbytes for frame in frames)


def _window(job: Job, name: str, tile: Tile) -> Source:
    """The source of a tile with its pixels in memory."""
    rows, cols = needed(job, name, [tile])
    if not (rows.size and cols.size):
        rows = cols = Span(0, 1)
    return job.sources[name].held(rows, cols)


@contextmanager
def _sent(client: Client, parcel: Parcel, token: str) -> Iterator[Future]:
    """The parcel on its way to the workers; a small one can be made again when all that hold it die."""
    with _marked(parcel.shelf):
        size = wire_bytes(parcel)
        if size is not None and size > _GRAPH_BYTES:
            yield client.scatter(parcel, broadcast=True, hash=False)
        else:
            yield client.submit(_same, parcel, key=f"encode-parcel-{token}", pure=False)


@contextmanager
def _marked(shelf: Shelf | None) -> Iterator[None]:
    """Lay the mark into the store while the work goes on."""
    if shelf is None:
        yield
        return
    mark = shelf.root / shelf.mark
    with disk(mark, "create"):
        mark.touch()
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def _same(parcel: Parcel) -> Parcel:
    return parcel


@contextmanager
def _failures(client: Client) -> Iterator[None]:
    """Say in our words what became of the cluster."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        yield
    except KilledWorker as err:
        raise ClusterError(
            f"One tile killed several workers, the last {err.last_worker.address}; most likely they ran out of memory. Give "
            "workers more of it (memory_limit=), or fewer threads (threads_per_worker=1), and call again."
        ) from err
    except (CancelledError, CommClosedError, TimeoutError) as err:
        raise ClusterError(
            f"The cluster at {client.scheduler.address if client.scheduler else '?'} was lost or gave up the work "
            f"({err or type(err).__name__}). Connect again and repeat the call; with out= it goes on where it stopped."
        ) from err
