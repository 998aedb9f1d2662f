"""`serve`: the explorer as a web page for several people at once.

What a page does is in ``visit.py``, how it looks in ``page.py``, who may reach it in ``exposure.py``.
"""

from __future__ import annotations

import logging
import secrets
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from georeset_lab.dashboard.exposure import allowed_origins, bind_address, check_exposure
from georeset_lab.dashboard.house import House, MakeExplorer
from georeset_lab.dashboard.sources import make_sources
from georeset_lab.dashboard.uploads import Limits
from georeset_lab.dashboard.workspaces import Workspaces, default_folder
from georeset_lab.errors import InvalidOption, MissingExtra, StoreError

__all__ = ["build_server", "run_server", "serve"]

MAX_MESSAGE_BYTES = 4 << 20
"""Largest message of a browser: a drawn polygon has kilobytes. Files come another way (``uploads.py``)."""
MAX_BODY_BYTES = 1 << 16
"""Largest body of any request but an upload."""

UNUSED_MS = 15_000
"""How long a page is kept that has no browser: long enough for one to load and connect."""

_EXTRA = ("ipykernel", "ipywidgets_bokeh", "jupyter_core", "anywidget")


def serve(
    sources: Any = None,
    *,
    port: int = 5006,
    address: str = "localhost",
    allow_websocket_origin: str | Sequence[str] | None = None,
    basic_auth: str | None = None,
    cookie_secret: str | None = None,
    oauth: Mapping[str, Any] | None = None,
    show: bool = False,
    **options: Any,
) -> None:
    """Serve the explorer until the process is interrupted; arguments as `build_server`.

    Examples
    --------
    >>> serve({"Chile": "terramind-chips/433D_629L_3_1"}, show=True)  # doctest: +SKIP
    """
    server = build_server(
        sources, port=port, address=address, allow_websocket_origin=allow_websocket_origin, basic_auth=basic_auth,
        cookie_secret=cookie_secret, oauth=oauth, show=show, **options,
    )  # fmt: skip
    run_server(server)


def run_server(server: Any) -> None:
    """Run what `build_server` made until the process is interrupted or told to end."""
    loop = server.io_loop
    with suppress(ValueError):  # in a thread: whoever runs that ends it
        signal.signal(signal.SIGTERM, lambda *_: loop.asyncio_loop.call_soon_threadsafe(loop.stop))
    try:
        server.start()
        loop.start()
    finally:
        server.georeset_house.close()
        server.stop()


def build_server(
    sources: Any = None,
    *,
    port: int = 5006,
    address: str = "localhost",
    allow_websocket_origin: str | Sequence[str] | None = None,
    basic_auth: str | None = None,
    cookie_secret: str | None = None,
    oauth: Mapping[str, Any] | None = None,
    prefix: str = "",
    show: bool = False,
    uploads: bool = True,
    max_upload_mb: float = 200,
    max_pages: int = 32,
    memory_mb: float = 4096,
    web_maps: bool = False,
    model: str = "default",
    keep_in: str | Path | None = None,
    make_explorer: MakeExplorer | None = None,
) -> Any:
    """Server of the explorer, bound to its port but not started.

    Parameters
    ----------
    sources : path, Scene, Embeddings, a sequence of these, or a mapping of title to one of these
        What people can open: scene folders, GeoTIFFs, Zarr stores of scenes or embeddings. The simulated scene by
        default.
    port : int
        0 takes a free one.
    address : str
        Where to listen. Beyond this machine a login and ``allow_websocket_origin`` are needed.
    allow_websocket_origin : str or sequence of str, optional
        Hosts whose pages may connect, as they stand in the browser's address bar; this machine by default.
    basic_auth, cookie_secret : str, optional
        Passed to Panel: a password, or a JSON file of user names and passwords; and what signs the login cookies (random
        by default, so that a restart ends all logins).
    oauth : mapping, optional
        Passed to Panel unchanged: ``oauth_provider``, ``oauth_key``, ``oauth_secret``, ``oauth_redirect_uri``,
        ``oauth_encryption_key``, ``oauth_extra_params`` ...
    prefix : str
        Path under which a proxy offers the page.
    show : bool
        Open a browser.
    uploads : bool
        Take GeoTIFF scenes and labels from the browser.
    max_upload_mb : float
        Largest file; all of one page may have five times as much.
    max_pages : int
        Pages open at once.
    memory_mb : float
        For scenes and embeddings, which all pages share.
    web_maps : bool
        Let the browser load map tiles from elsewhere. By default nothing is loaded from outside.
    model : str
        Encoder.
    keep_in : path, optional
        Folder of the pages' labels; by default in the user's state folder.
    make_explorer : callable, optional
        Builds the explorer; see `georeset_lab.dashboard.house.MakeExplorer`.

    Returns
    -------
    panel.io.server.Server
        ``.port`` is what it listens on; ``.start()`` and ``.io_loop.start()`` run it. ``.georeset_house`` is the `House`.

    Raises
    ------
    InvalidOption
        The address can be reached by others without a login or without an origin.
    SceneReadError
        A source does not exist.
    MissingExtra
        The dashboard's extra is not installed.
    StoreError
        The port or the folder cannot be used.
    """
    origins = (
        [allow_websocket_origin] if isinstance(allow_websocket_origin, str) else list(allow_websocket_origin or ())
    )
    oauth = dict(oauth or {})
    login = bool(basic_auth or oauth.get("oauth_provider"))
    check_exposure(address, login=login, origins=origins)
    if not 0 < max_upload_mb <= 10_000:
        raise InvalidOption(f"max_upload_mb={max_upload_mb}; give a number of megabytes up to 10000.")
    found = make_sources(sources)
    _need_extra()
    _warm()

    from georeset_lab.dashboard.app import Front, routes
    from georeset_lab.dashboard.encodings import Encodings

    size = int(max_upload_mb * 1_000_000)
    house = House(
        found,
        Encodings(int(memory_mb * 1_000_000), model=model),
        Workspaces(Path(keep_in).expanduser() if keep_in is not None else default_folder()),
        make_explorer or _default_explorer(),
        Limits(size, 5 * size) if uploads else None,
        max_pages,
    )
    panel_options: dict[str, Any] = {"basic_auth": basic_auth, "prefix": prefix, "show": show, **oauth}
    panel_options["cookie_secret"] = cookie_secret or (secrets.token_hex(32) if login else None)
    if basic_auth:
        panel_options["login_template"] = str(Path(__file__).parent / "login.html")  # Panel's own loads from a CDN
    try:
        return _bind(house, Front, routes, port, address, origins, panel_options, web_maps=web_maps)
    except BaseException:
        house.close()
        raise


def _bind(
    house: House, front: Any, routes: Any, port: int, address: str, origins: list[str], panel: dict[str, Any], *,
    web_maps: bool,
) -> Any:  # fmt: skip
    from panel.io.server import get_server

    from georeset_lab.dashboard.headers import SafeHeaders, content_policy

    policy = content_policy(web_maps=web_maps)
    # A page that is closed while something is computed for it is no event worth a line for each message.
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)
    server: Any
    try:
        server = get_server(
            {"/": front(house)},
            port=port,
            address=bind_address(address),
            websocket_origin=origins or [f"localhost:{port}"],
            title="georeset",
            location=False,
            extra_patterns=routes(house),
            transforms=[partial(SafeHeaders, policy=policy)],
            # The token in the page is signed, so that nobody opens sessions without having asked for the page.
            sign_sessions=True,
            secret_key=secrets.token_bytes(32),
            websocket_max_message_size=MAX_MESSAGE_BYTES,
            unused_session_lifetime_milliseconds=UNUSED_MS,
            check_unused_sessions_milliseconds=UNUSED_MS,
            http_server_kwargs={"max_body_size": MAX_BODY_BYTES},
            **panel,
        )
    except OSError as err:
        raise StoreError(
            f"Cannot listen on {address}:{port}: {err.strerror or err}. Choose another port= (--port)."
        ) from err
    if not origins:  # only now is it known which port was taken
        server._tornado._websocket_origins.update(allowed_origins(int(server.port or 0), None))
    server.georeset_house = house
    return server


def _default_explorer() -> MakeExplorer:
    from georeset_lab.widgets.explore import make_explorer

    return make_explorer


def _warm() -> None:
    """Load the slow libraries before anybody waits for them, and set right what they do to a served page."""
    import anywidget  # noqa: F401
    import panel.io.ipywidget  # noqa: F401

    import georeset_lab.embed.encode  # noqa: F401
    from georeset_lab.dashboard.ownership import set_apart
    from georeset_lab.dashboard.unsent import send_forgotten
    from georeset_lab.widgets.leafmap_import import import_leafmap

    import_leafmap()
    set_apart()
    send_forgotten()


def _need_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"The dashboard needs {', '.join(missing)}. Install the extra: pip install 'georeset-lab[dashboard]'."
        )
