"""What the server runs for each request: the page for a new visitor, and the routes beside it."""

from __future__ import annotations

from typing import Any

import panel as pn
from panel.io.resources import get_dist_path
from tornado.web import HTTPError, RequestHandler

from georeset_lab.dashboard.house import House
from georeset_lab.dashboard.npm import NPM_ROUTES
from georeset_lab.dashboard.page import read_template
from georeset_lab.dashboard.pane import use_local_resources
from georeset_lab.dashboard.uploads import upload_routes
from georeset_lab.dashboard.visit import Visit

__all__ = ["Front", "routes"]


def Front(house: House) -> Any:
    """The function that Panel calls for each new session."""
    template, variables = read_template()
    house.login = lambda: pn.state.user or ""

    def front() -> Any:
        document: Any = pn.state.curdoc
        use_local_resources()
        document.template = template
        document.template_variables.update(variables)
        # Panel sets this when it writes the page. A session that is made anew when a slow browser connects at last has
        # no page written, and would link its style sheets from elsewhere.
        document.template_variables["dist_url"] = get_dist_path(cdn=False)
        if house.full:
            return pn.pane.HTML("<h2>All places are taken</h2><p>Try again in a few minutes.</p>", margin=40)
        visit = Visit(document, house)
        document.on_session_destroyed(lambda _context: visit.close())
        for model in visit.roots:
            document.add_root(model)
        return visit.page.root

    return front


def routes(house: House) -> list[tuple[Any, ...]]:
    """Tornado routes besides the page itself."""
    # Panel would import any installed module that an address names.
    closed = [(r"/components/(?!panel\.).*", _NotFound)]
    uploads = upload_routes(house.desks, authenticate=_authenticate) if house.limits is not None else []
    return [*NPM_ROUTES, *closed, *uploads]


class _NotFound(RequestHandler):
    def prepare(self) -> None:
        raise HTTPError(404)


async def _authenticate(handler: RequestHandler) -> str | None:
    """Login name of a request, as Panel's own handlers find it; empty where there is no login."""
    application: Any = handler.application
    provider = application.auth_provider
    if provider.get_user_async is not None:
        user = await provider.get_user_async(handler)
    elif provider.get_user is not None:
        user = provider.get_user(handler)
    else:
        return ""
    return None if user is None else (user.decode() if isinstance(user, bytes) else str(user))
