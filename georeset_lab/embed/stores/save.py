"""Embeddings that are at hand go to a store in one call. Streaming tiles is in ``store.py``."""

from __future__ import annotations

import os
import shutil

from georeset_lab.embed.embeddings import Embeddings
from georeset_lab.embed.expert import Form
from georeset_lab.embed.stores.partial import disk
from georeset_lab.embed.stores.store import DEFAULT_TILE, TileStore
from georeset_lab.embed.stores.stored import local_path, open_embeddings, partial_path
from georeset_lab.errors import StoreError

__all__ = ["write_embeddings"]


def write_embeddings(
    emb: Embeddings,
    path: str | os.PathLike[str],
    *,
    fused: bool = False,
    dtype: Form | None = None,
    overwrite: bool = False,
    tile_shape: tuple[int, int] = DEFAULT_TILE,
) -> Embeddings:
    """Write embeddings to a Zarr store and open it.

    Parameters
    ----------
    emb : Embeddings
    path : path
        Name of the store; it appears only when the store is whole.
    fused : bool
        Also write the fused mean and variance as CF variables, so that ``xarray.open_zarr(path, decode_coords="all")``
        finds them and their CRS.
    dtype : "float32", "float16" or "int8", optional
        Form of the experts; by default the one they have.
    overwrite : bool
        Replace a store of that name, after the new one is whole.

    Raises
    ------
    StoreError
        The name is taken, or the disk refuses; nothing is left under the name then.
    """
    if not all(e.stated for e in emb.experts.values()):
        raise StoreError(
            "A store keeps a variance for each mean, and these embeddings state none. Write emb.to_geoparquet(path, "
            "variance=False), or emb.to_cog(path, variance=False) if they lie on a grid."
        )
    final, dtype = local_path(path), dtype or emb.dtype
    partial = partial_path(final)
    for taken in (final, partial):
        if taken.exists() and not overwrite:
            raise StoreError(f"{taken} exists already. Pass overwrite=True to replace it, or give another path.")
    if dtype == "int8" and emb.dtype != "int8" and emb.fits_memory:
        emb = emb.astype("int8")  # the data are at hand, so the finest scale that holds them can be used
    rules = {n: e.quantization for n, e in emb.experts.items() if e.quantization is not None and dtype == "int8"}
    aside = final.with_name(f"{final.name}.old")
    if partial.exists():
        shutil.rmtree(partial)
    shown = final if not final.exists() else final.with_name(f"{final.name}.new")
    try:
        store = TileStore.create_or_resume(
            shown, emb.grid, emb.modalities, emb.dim, dtype, tile_shape, emb.attrs, fused=fused, quantization=rules
        )
        for tile in store.pending():
            store.write(tile, {n: e.window(*tile) for n, e in emb.experts.items()})
        store.finish()
    except BaseException:
        shutil.rmtree(partial_path(shown), ignore_errors=True)
        raise
    if shown != final:
        with disk(final, "replace"):
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(final, aside)
            os.rename(shown, final)
            shutil.rmtree(aside)
    return open_embeddings(final)
