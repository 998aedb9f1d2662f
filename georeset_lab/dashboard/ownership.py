"""Which page an ipywidget belongs to, and its end.

Panel gives every widget that nobody owns to the next page that is rendered, and keeps every widget for ever: in the
registry of ipywidgets, in that of comms, and in its kernels, which hang on a weak reference to a document that they
themselves hold. So strangers are told apart before a page is rendered, and all is taken apart when it ends. Without this
a server would grow by the size of every page it served.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

__all__ = ["close_document", "close_widgets", "set_apart"]


class _Nobody:
    """Owner of widgets that no page may adopt: those a library makes when it is imported."""


_NOBODY = _Nobody()


def set_apart(shown: Any = None) -> None:
    """Let no page adopt a widget that nobody owns, but for those inside ``shown``."""
    from ipywidgets.embed import dependency_state
    from ipywidgets.widgets.widget import _instances

    free = {key: w for key, w in list(_instances.items()) if getattr(w, "_document", None) is None}
    inside = set(dependency_state([shown])) if shown is not None and free else set()
    for key, widget in free.items():
        if key not in inside:
            widget._document = _NOBODY


def close_widgets(document: Any, *, keep: Any = None) -> int:
    """Forget the ipywidgets of a document, without a word to its browser; returns how many there were.

    Parameters
    ----------
    document : bokeh.document.Document
    keep : Widget, optional
        It and what is in it stay.
    """
    import comm
    from ipywidgets.embed import dependency_state
    from ipywidgets.widgets.widget import _instances

    kept = set(dependency_state([keep])) if keep is not None else set()
    owned = {key: w for key, w in list(_instances.items()) if getattr(w, "_document", None) is document}
    theirs = [w for key, w in owned.items() if key not in kept]
    manager = comm.get_comm_manager()
    for widget in theirs:
        channel = widget.comm
        widget.unobserve_all()
        if channel is not None:
            _instances.pop(channel.comm_id, None)
            with suppress(KeyError):
                manager.unregister_comm(channel)
            channel._closed = True  # else its destructor would write to the document
            channel._msg_callback = channel._close_callback = None
            if channel.kernel is not None:
                channel.kernel.comm_manager.comms.pop(channel.comm_id, None)
                channel.kernel = None
            _release_sources(widget)
        widget.comm = None
        widget._document = _NOBODY
    return len(theirs)


def close_document(document: Any) -> None:
    """Forget all widgets of a document, and the kernel that spoke for them."""
    from ipykernel.comm.comm import BaseComm
    from panel.io.state import state

    close_widgets(document)
    kernels = [state._ipykernels.pop(document, None), BaseComm.kernel]  # Panel leaves the last one in the class
    for kernel in kernels:
        session: Any = getattr(kernel, "session", None)
        if kernel is not None and getattr(session, "_document", None) is document:
            kernel.comm_manager.comms.clear()
            kernel.shell_handlers.clear()
            session._document = None
            if BaseComm.kernel is kernel:
                BaseComm.kernel = None


def _release_sources(widget: Any) -> None:
    """Let the JavaScript and CSS files of an anywidget forget it; they would tell it of changes while one develops."""
    for kind in type(widget).__mro__:
        for key in ("_esm", "_css"):
            changed = getattr(kind.__dict__.get(key), "changed", None)
            if changed is not None:
                changed.disconnect()
