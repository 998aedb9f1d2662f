"""Pictures on a leafmap: PNG data URLs, warped to the map's projection. No tile server, nothing from the network.

A grid of up to about 1024 x 1024 pixels is sent whole, so that panning needs no Python; of a larger one only what is in
view, one picture pixel for each screen pixel, over a coarse copy of the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.data.points import is_points
from georeset_lab.embed.pictures.colours import PaletteImage, png_data_url
from georeset_lab.embed.pictures.warp import MercatorView, grid_view, view_of_pixels, warp_index, warped

if TYPE_CHECKING:
    from ipyleaflet import ImageOverlay
    from odc.geo.geobox import GeoBox

WHOLE_PIXELS = 1_100_000
"""Grids up to this size are sent whole."""
SENT_PIXELS = 1_400_000
"""A whole picture has up to so many pixels: more than the grid, so that turning it loses none."""
COARSE_PIXELS = 200_000
"""Pixels of the copy that shows beyond the view of a large grid while the view is drawn again."""
EMPTY_URL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
"""A transparent picture of one pixel."""


class Overlay:
    """One picture on a map, always where it belongs.

    Parameters
    ----------
    pane : str
        Pane of the map that it lies in, which says what it covers.
    """

    def __init__(self, *, pane: str) -> None:
        self.layers = tuple(_image_overlay(pane) for _ in range(2))
        """For the map: the coarse copy of a large picture, and the picture."""
        self._picture: PaletteImage | np.ndarray | None = None
        self._grid: GeoBox | None = None
        self._seen: MercatorView | None = None
        self._painted: MercatorView | None = None
        self._index: dict[str, tuple[GeoBox, MercatorView, np.ndarray]] = {}
        self.opacity = 1.0

    def show(self, picture: PaletteImage | np.ndarray, grid: GeoBox) -> None:
        """Show a picture that lies on a grid."""
        self._picture, self._grid = picture, grid
        self._painted = None
        coarse, fine = self.layers
        if self.is_whole:
            self._paint(fine, "fine", grid_view(grid, max_pixels=SENT_PIXELS))
            _clear(coarse)
        else:
            if is_points(grid):
                _clear(coarse)
            else:
                self._paint(coarse, "coarse", grid_view(grid, max_pixels=COARSE_PIXELS))
            self._paint_seen()
        self._fade()

    def hide(self) -> None:
        """Show nothing."""
        self._picture = self._grid = self._painted = None
        for layer in self.layers:
            _clear(layer)

    def look(self, view: MercatorView) -> None:
        """The map shows another part of the world now."""
        self._seen = view
        if self._grid is not None and not self.is_whole:
            self._paint_seen()

    def fade(self, opacity: float) -> None:
        """Opacity in 0..1."""
        self.opacity = opacity
        self._fade()

    @property
    def is_whole(self) -> bool:
        """Whether the picture is sent at once, whatever is in view."""
        if self._grid is None:
            return True
        # Discs of points have one size on the screen, whatever the zoom: they are drawn anew for every view.
        return not is_points(self._grid) and self._grid.shape[0] * self._grid.shape[1] <= WHOLE_PIXELS

    def _fade(self) -> None:
        for layer in self.layers:
            layer.opacity = self.opacity

    def _paint_seen(self) -> None:
        _, fine = self.layers
        if self._grid is None or self._seen is None or self._painted == self._seen:
            return
        if not self._seen.touches(grid_view(self._grid, max_pixels=1)):
            _clear(fine)
            return
        self._paint(fine, "fine", self._seen)
        self._painted = self._seen

    def _paint(self, layer: ImageOverlay, slot: str, view: MercatorView) -> None:
        assert self._picture is not None
        assert self._grid is not None
        kept = self._index.get(slot)
        if kept is None or kept[0] != self._grid or kept[1] != view:
            kept = self._index[slot] = (self._grid, view, warp_index(self._grid, view))
        place(layer, png_data_url(warped(self._picture, kept[2])), view)


def place(layer: ImageOverlay, url: str, view: MercatorView) -> None:
    """Put a picture where a view is, in one message."""
    with layer.hold_sync():
        layer.url = url
        layer.bounds = [list(corner) for corner in view.corners]


def seen_on(leaflet: Any) -> MercatorView | None:
    """What a map shows, pixel for pixel; None until a browser has told."""
    (left, top), (right, bottom) = leaflet.pixel_bounds or ((0, 0), (0, 0))
    width = leaflet.east - leaflet.west
    if not (right - left >= 1 and bottom - top >= 1 and width > 0):
        return None
    # The zoom of these bounds, which may arrive in another message than the trait of that name.
    zoom = float(np.log2((right - left) * 360 / width / 256))
    return view_of_pixels(left, top, right, bottom, round(zoom * 256) / 256)


def _image_overlay(pane: str) -> ImageOverlay:
    from ipyleaflet import ImageOverlay

    return ImageOverlay(url=EMPTY_URL, bounds=[[0, 0], [1e-6, 1e-6]], pane=pane, pm_ignore=True, snap_ignore=True)


def _clear(layer: ImageOverlay) -> None:
    layer.url = EMPTY_URL
