"""`Uploader`: a button in the page that sends files to ``/upload``. What arrives is told by the `Desk`, not here."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

from georeset_lab.dashboard.uploads import Desk

__all__ = ["Uploader"]


class Uploader(anywidget.AnyWidget):
    """Lets the user choose files and sends them with the ticket of a desk.

    Parameters
    ----------
    desk : Desk
    """

    _esm = Path(__file__).parent / "uploader.js"

    _css = """
    .georeset-uploader { display: flex; align-items: center; gap: 8px; }
    .georeset-uploader button {
      font: 13px/1 system-ui, sans-serif; height: 30px; padding: 0 12px; border-radius: 6px; cursor: pointer;
      margin: 0; width: auto;
      background: var(--card, #fff); color: var(--ink, #17201c); border: 1px solid var(--line, #dde3dd);
    }
    .georeset-uploader button:hover, .georeset-uploader button:focus-visible {
      border-color: var(--accent, #0b6e5f); color: var(--accent, #0b6e5f); box-shadow: none;
    }
    .georeset-uploader-note { font: 13px/1.3 system-ui, sans-serif; color: var(--soft, #56635c); max-width: 420px; }
    """

    ticket = traitlets.Unicode().tag(sync=True)
    """Of the desk; sent with each file."""
    max_bytes = traitlets.Int().tag(sync=True)
    """Larger files are not sent; the server would refuse them anyway."""
    accept = traitlets.Unicode(".tif,.tiff,.geojson,.json").tag(sync=True)
    """What the browser's dialogue offers."""
    label = traitlets.Unicode("Upload …").tag(sync=True)
    hint = traitlets.Unicode("").tag(sync=True)
    """Shown when the mouse rests on the button."""

    def __init__(self, desk: Desk) -> None:
        hint = f"GeoTIFF scenes and GeoJSON labels, up to {desk.limits.file_bytes / 1e6:.0f} MB each"
        super().__init__(ticket=desk.ticket, max_bytes=desk.limits.file_bytes, hint=hint)
