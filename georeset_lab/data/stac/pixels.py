"""Stored numbers of bands on dates as a lazy array: each window is read by odc-stac when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.stac.http import plain

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

CHUNK = 1024
"""Side of a lazy chunk in pixels."""

Layers = Sequence[Sequence[Sequence[str]]]
"""Addresses by date, band and item: what lies further down the list shows only where the earlier have no pixel."""


class StacReader:
    """Array-like ``(time, band, y, x)`` over assets; indexing reads that window, laying items over each other.

    Holds addresses only, so it travels to the workers of a cluster.
    """

    ndim = 4

    def __init__(self, layers: Layers, grid: GeoBox, dtype: np.dtype, fill: float) -> None:
        self.layers = tuple(tuple(tuple(hrefs) for hrefs in bands) for bands in layers)
        self.grid, self.dtype, self.fill = grid, dtype, fill
        self.shape = (len(self.layers), len(self.layers[0]), *grid.shape)

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        picked = [np.arange(n)[k] for n, k in zip(self.shape, key, strict=True)]
        gone = tuple(i for i, p in enumerate(picked) if p.ndim == 0)  # dask may fuse an integer index into the read
        times, bands, rows, cols = (np.atleast_1d(p) for p in picked)
        out = np.full((times.size, bands.size, rows.size, cols.size), self.fill, self.dtype)
        if out.size:
            top, left = int(rows.min()), int(cols.min())
            window = self.grid[top : int(rows.max()) + 1, left : int(cols.max()) + 1]
            for i, time in enumerate(times):
                for j, band in enumerate(bands):
                    read = self._read(self.layers[time][band], window)
                    out[i, j] = read[np.ix_(rows - top, cols - left)]
        return np.squeeze(out, axis=gone)

    def _read(self, hrefs: Sequence[str], window: GeoBox) -> np.ndarray:
        if not hrefs:
            return np.full(tuple(window.shape), self.fill, self.dtype)
        import odc.stac

        from georeset_lab.data.stac.driver import AssetDriver

        items = _bare_items(hrefs, window)
        config = {"*": {"assets": {"*": {"data_type": str(self.dtype), "nodata": self.fill}}, "warnings": "ignore"}}
        loaded = odc.stac.load(
            items, bands=["band"], geobox=window, groupby=_together, resampling="nearest", dtype=str(self.dtype),
            nodata=self.fill, stac_cfg=config, driver=AssetDriver(), preserve_original_order=True,
        )  # fmt: skip
        return np.asarray(loaded["band"].values[0])

    def lazy(self, chunks: int | None = None) -> Any:
        """The whole as a dask array."""
        import dask.array as da
        from dask.base import tokenize

        side = chunks or CHUNK
        names = [[[plain(h.partition("#")[0]) + h.partition("#")[2] for h in b] for b in t] for t in self.layers]
        name = "stac-" + tokenize(names, self.grid, str(self.dtype), self.fill)
        sizes = (1, 1, min(side, self.shape[2]), min(side, self.shape[3]))
        return da.from_array(self, chunks=sizes, name=name, asarray=False, meta=np.empty((0,) * 4, self.dtype))


def _bare_items(hrefs: Sequence[str], window: GeoBox) -> list[Any]:
    """Items with nothing but one asset: catalogues differ in what else they say, and sometimes say it wrong."""
    from datetime import UTC, datetime

    import pystac

    box = window.extent.to_crs("EPSG:4326").boundingbox
    corners = [(box.left, box.bottom), (box.right, box.bottom), (box.right, box.top), (box.left, box.top)]
    outline = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
    bounds = [box.left, box.bottom, box.right, box.top]
    items = []
    for number, href in enumerate(hrefs):
        item = pystac.Item(f"{number:04d}", outline, bounds, datetime(2000, 1, 1, tzinfo=UTC), {})
        item.add_asset("band", pystac.Asset(href, media_type="image/tiff", roles=["data"]))
        items.append(item)
    return items


def _together(*_: Any) -> int:
    """All items of a day make one layer."""
    return 0
