"""Calls that are answered before the application looks for their route, which would take longer than their answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Respond = Callable[[Request], Awaitable[Response]]
"""Answers a call, whatever happens."""


class HotRoutes:
    """ASGI middleware that answers some calls itself and leaves the others to the application.

    Parameters
    ----------
    app
        Answers the other calls.
    routes
        What answers a method and a path without parameters.
    """

    def __init__(self, app: ASGIApp, routes: Mapping[tuple[str, str], Respond]) -> None:
        self._app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        respond = self._routes.get((scope.get("method", ""), scope.get("path", "")))
        if respond is None:
            await self._app(scope, receive, send)
            return
        response = await respond(Request(scope, receive, send))
        await response(scope, receive, send)
