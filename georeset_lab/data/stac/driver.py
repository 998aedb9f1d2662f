"""How odc-stac reads a window of an asset here: over our own HTTP, only known formats, never a pixel made up.

odc-stac decides which assets of which items lie in a window and lays them over each other; this is its reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.stac.remote_file import open_asset
from georeset_lab.errors import SceneReadError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

BAND_MARK = "#band="
"""Between the address of an asset and the number of a band in it, counted from 1."""

_SHIFT_PX = 0.05  # grids that differ by less are one grid; coordinates in files are rounded


class AssetDriver:
    """Reader driver of odc-loader (its ``ReaderDriver`` protocol) without state, so that it travels to workers."""

    md_parser = None
    dask_reader = None
    aux_reader = None

    def new_load(self, geobox: GeoBox, *, chunks: dict[str, int] | None = None) -> None:
        """Nothing is shared between the windows of a load."""

    def finalise_load(self, load_state: Any) -> Any:
        """Nothing has to be closed."""
        return load_state

    def capture_env(self) -> dict[str, Any]:
        """No setting of the calling process matters."""
        return {}

    @contextmanager
    def restore_env(self, env: dict[str, Any], load_state: Any) -> Iterator[None]:
        """See `capture_env`."""
        yield None

    def open(self, src: Any, ctx: Any) -> AssetReader:
        """Reader of one band of one asset."""
        href, _, band = src.uri.partition(BAND_MARK)
        return AssetReader(href, int(band or 1))


class AssetReader:
    """Reads windows of one band of one asset onto any grid (``RasterReader`` of odc-loader)."""

    def __init__(self, href: str, band: int) -> None:
        self.href, self.band = href, band

    def read(
        self, cfg: Any, dst_geobox: GeoBox, *, dst: np.ndarray | None = None, selection: Any = None
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """Part of a window that the asset covers, and the stored numbers there.

        Pixels are copied where the asset lies on the window's grid, else the nearest one is taken; the asset's own
        "not measured" becomes that of the window.

        Raises
        ------
        SceneReadError
            The asset is damaged, lacks the band, or holds numbers that do not fit the type its metadata promised.
        RemoteError
            The server did not bring it.
        """
        from odc.geo.converters import rio_geobox
        from odc.geo.overlap import compute_reproject_roi

        wanted = np.dtype(cfg.dtype)
        with open_asset(self.href) as dataset:
            self._check(dataset, wanted)
            source: Any = rio_geobox(dataset)
            overlap = compute_reproject_roi(source, dst_geobox, ttol=_SHIFT_PX)
            rows, cols = (slice(int(s.start), int(s.stop)) for s in overlap.roi_dst)
            shape = (rows.stop - rows.start, cols.stop - cols.start)
            if not all(shape) or any(s.stop <= s.start for s in overlap.roi_src):
                return (slice(0, 0), slice(0, 0)), np.empty((0, 0), wanted)
            if overlap.paste_ok and overlap.read_shrink == 1:
                values = self._copied(dataset, overlap.roi_src, wanted, cfg.fill_value)
            else:
                values = self._nearest(dataset, source, dst_geobox[rows, cols], wanted, cfg.fill_value)
        if dst is not None:
            dst[rows, cols] = values
            values = dst[rows, cols]
        return (rows, cols), values

    def _check(self, dataset: Any, wanted: np.dtype) -> None:
        if self.band > dataset.count:
            raise SceneReadError(f"{self.href} has {dataset.count} bands; its metadata promise at least {self.band}.")
        if dataset.crs is None:
            raise SceneReadError(
                f"{self.href} has no coordinate reference system (ungeoreferenced radar in slant range?). Choose a "
                "terrain-corrected collection, such as sentinel-1-rtc."
            )
        stored = np.dtype(dataset.dtypes[self.band - 1])
        if not np.can_cast(stored, wanted, "safe"):
            raise SceneReadError(
                f"{self.href} holds {stored} numbers; the first file or the metadata promised {wanted}."
            )

    def _copied(self, dataset: Any, window: Any, wanted: np.dtype, fill: float | None) -> np.ndarray:
        from rasterio.windows import Window

        values = dataset.read(self.band, window=Window.from_slices(*window)).astype(wanted, copy=False)
        return _refill(values, dataset.nodatavals[self.band - 1], fill)

    def _nearest(self, dataset: Any, source: GeoBox, onto: GeoBox, wanted: np.dtype, fill: float | None) -> np.ndarray:
        """Nearest pixels on another grid; those whose centres lie outside the asset are not measured."""
        from georeset_lab.data.stac.nearest import nearest_pixels

        rows, cols, inside = nearest_pixels(source, onto)
        values = np.full(tuple(onto.shape), 0 if fill is None else fill, wanted)
        if not inside.any():
            return values
        top, left = int(rows[inside].min()), int(cols[inside].min())
        window = (slice(top, int(rows[inside].max()) + 1), slice(left, int(cols[inside].max()) + 1))
        read = self._copied(dataset, window, wanted, fill)
        values[inside] = read[rows[inside] - top, cols[inside] - left]
        return values


def _refill(values: np.ndarray, own: float | None, fill: float | None) -> np.ndarray:
    """Numbers in which the asset's own "not measured" is the wanted one."""
    if own is None or fill is None or own == fill or (np.isnan(own) and np.isnan(fill)):
        return values
    if np.isnan(own):
        return np.where(np.isnan(values), values.dtype.type(fill), values) if values.dtype.kind == "f" else values
    return np.where(values == own, values.dtype.type(fill), values)
