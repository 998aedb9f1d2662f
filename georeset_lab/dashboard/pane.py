"""`LocalIPyWidget`: an ipywidget inside the served page, with everything it needs served by this server."""

from __future__ import annotations

from typing import Any

import panel as pn

from georeset_lab.dashboard.ownership import set_apart

__all__ = ["LocalIPyWidget", "use_local_resources", "with_beacon"]


class LocalIPyWidget(pn.pane.IPyWidget):
    """Shows an ipywidget; its libraries come from ``/npm/`` of this server instead of unpkg.com.

    For the served app only: a notebook has its own way of loading them.
    """

    def _get_ipywidget(self, obj: Any, doc: Any, root: Any, comm: Any, **params: Any) -> Any:
        # A private hook of Panel, and the only place where the address can be set and the state is known to be taken;
        # the browser tests fail if a new Panel no longer calls it.
        set_apart(obj)
        model = super()._get_ipywidget(obj, doc, root, comm, **params)
        model.cdn = "npm"  # relative, so that a prefix works
        from georeset_lab.dashboard.beacon import drop_messages, hold_messages

        drop_messages(doc, obj)
        beacon = getattr(obj, "georeset_beacon", None)
        if beacon is not None:
            hold_messages(doc, beacon)
        return model


def with_beacon(widget: Any) -> Any:
    """The widget in a box, with a beacon: what it says before the browser has made it is not lost."""
    import ipywidgets

    from georeset_lab.dashboard.beacon import Beacon

    beacon = Beacon()
    box = ipywidgets.VBox([widget, beacon], layout=ipywidgets.Layout(width="100%", margin="0"))
    box.georeset_beacon = beacon
    return box


def use_local_resources() -> None:
    """Load Panel's bridge to ipywidgets for this session, without the two style sheets it links from CDNs."""
    pn.extension("ipywidgets", notifications=False)
    from ipywidgets_bokeh.widget import IPyWidget

    IPyWidget.__css__ = []
    pn.config.css_files[:] = [link for link in pn.config.css_files if "://" not in str(link)]
