"""``georeset serve``: the arguments, and their way to `serve`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from georeset_lab.errors import InvalidOption

__all__ = ["add_serve", "run_serve"]

_OAUTH = (
    ("provider", "name of the login service, such as github, google, azure or generic"),
    ("key", "public identifier at that service"),
    ("secret", "secret of that service"),
    ("redirect-uri", "address that it sends people back to"),
    ("encryption-key", "key that encrypts what it says of them; see panel oauth-secret"),
    ("extra-params", "more, as a JSON object"),
)
"""Panel's own options, by its own names."""


def add_serve(commands: Any) -> None:
    """Add the command to the parsers of ``georeset``."""
    serve = commands.add_parser("serve", help="the explorer as a web page, for several people at once")
    serve.add_argument(
        "source", nargs="*", metavar="SCENE_OR_ZARR",
        help="scene folders, GeoTIFFs, Zarr stores of scenes or embeddings (default: the simulated scene)",
    )  # fmt: skip
    serve.add_argument("--port", type=int, default=5006, help="0 takes a free one (default: %(default)s)")
    serve.add_argument(
        "--address", default="localhost", help="beyond this machine a login is needed (default: %(default)s)"
    )
    serve.add_argument(
        "--allow-websocket-origin", action="append", metavar="HOST[:PORT]",
        help="under which name people reach it; may be repeated (default: this machine)",
    )  # fmt: skip
    serve.add_argument("--prefix", default="", help="path under which a proxy offers it")
    serve.add_argument("--show", action="store_true", help="open a browser")
    serve.add_argument("--no-uploads", action="store_true", help="take no files from the browser")
    serve.add_argument(
        "--max-upload-mb", type=float, default=200, metavar="MB", help="largest file (default: %(default)s)"
    )
    serve.add_argument("--max-pages", type=int, default=32, help="pages open at once (default: %(default)s)")
    serve.add_argument(
        "--memory",
        type=float,
        default=4096,
        metavar="MB",
        help="for scenes and embeddings, shared (default: %(default)s)",
    )
    serve.add_argument("--web-maps", action="store_true", help="let browsers load map tiles from the internet")
    serve.add_argument("--model", default="default", help="name or folder of the encoder (default: %(default)s)")
    serve.add_argument("--keep-in", metavar="DIR", help="where labels are kept (default: the user's state folder)")
    login = serve.add_argument_group("login, passed on to Panel")
    login.add_argument(
        "--basic-auth", metavar="PASSWORD_OR_FILE", help="a password, or a JSON file of names and passwords"
    )
    login.add_argument("--cookie-secret", help="signs the login cookies (default: a new one at each start)")
    for name, text in _OAUTH:
        login.add_argument(f"--oauth-{name}", help=text)
    serve.set_defaults(run=run_serve)


def run_serve(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    from georeset_lab.dashboard.server import build_server, run_server

    sys.stdout.write("Loading ...\n")
    sys.stdout.flush()
    server = build_server(
        args.source,
        port=args.port,
        address=args.address,
        allow_websocket_origin=args.allow_websocket_origin,
        basic_auth=args.basic_auth,
        cookie_secret=args.cookie_secret,
        oauth=_oauth(args),
        prefix=args.prefix,
        show=args.show,
        uploads=not args.no_uploads,
        max_upload_mb=args.max_upload_mb,
        max_pages=args.max_pages,
        memory_mb=args.memory,
        web_maps=args.web_maps,
        model=args.model,
        keep_in=args.keep_in,
    )
    path = f"/{args.prefix.strip('/')}/" if args.prefix.strip("/") else "/"
    sys.stdout.write(f"Open http://{args.address}:{server.port}{path}   (Ctrl-C stops it; labels are saved)\n")
    sys.stdout.flush()
    run_server(server)


def _oauth(args: argparse.Namespace) -> dict[str, Any]:
    """Panel's OAuth options that were given, by Panel's names."""
    given = {f"oauth_{name.replace('-', '_')}" for name, _ in _OAUTH}
    found: dict[str, Any] = {name: value for name in given if (value := getattr(args, name)) is not None}
    extra = found.get("oauth_extra_params")
    if extra is not None:
        try:
            found["oauth_extra_params"] = json.loads(extra)
        except ValueError as err:
            raise InvalidOption(
                f'--oauth-extra-params is not JSON: {err}. Give for example \'{{"tenant": "..."}}\'.'
            ) from err
    return found
