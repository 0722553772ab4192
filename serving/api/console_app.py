"""The console over HTTP: its page, its calls, and the stream of live figures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from hsnn.monitoring.errors import HsnnError, user_message
from hsnn.serving.api.access import Access
from hsnn.serving.api.app import measured
from hsnn.serving.api.body import BodyReader
from hsnn.serving.api.lanes import Lane
from hsnn.serving.config import Scope
from hsnn.serving.console.routes import Console, ConsoleQuery, ConsoleRoute
from hsnn.serving.console.static_files import HEADERS, StaticFile, read_static_files
from hsnn.serving.errors import BusyError, ForbiddenError, UnauthorizedError
from hsnn.serving.metrics import ServingMetrics

# Seconds between two live figures: a person sees that something moves.
_LIVE_SECONDS = 2.0

# Consoles that may be open at once; each holds a connection.
_MOST_OPEN = 64

# Calls that wait for their turn.
_MOST_WAITING = 128

# Seconds that a call may take: a large log's dead letters are read in some.
_DEADLINE = 20.0

# Bytes of the largest body that an action has.
_LARGEST_BODY = 262_144


class ConsoleApi:
    """Handlers of the console's routes, in threads of their own: requests for items never wait for them.

    Parameters
    ----------
    console
        Makes the answers.
    access
        Of this server's tokens.
    """

    def __init__(self, console: Console, access: Access) -> None:
        self._console, self._access = console, access
        self._bodies = BodyReader(_LARGEST_BODY)
        self._figures, self._others = Lane("console figures", _MOST_WAITING), Lane("console", _MOST_WAITING)
        self._open = 0
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End the live streams, so that the server can end."""
        self._stopping.set()

    def close(self) -> None:
        """Drop calls that wait."""
        self._figures.close()
        self._others.close()

    def handler(self, route: ConsoleRoute) -> Callable[[Request], Awaitable[bytes]]:
        """Make the handler of a call."""
        lane = self._figures if route.path.endswith(("/now", "/history")) else self._others

        async def console(request: Request) -> bytes:
            self._admit(request, route.scope)
            with await self._bodies.read(request) as body:
                query = ConsoleQuery(request.path_params, request.query_params, bytes(body.content))
            return await lane.run(lambda: msgspec.json.encode(route.answer(query)), _DEADLINE)

        return console

    async def session(self, request: Request) -> bytes:
        """``GET /v1/console/session``: whether the caller may act, and its token's name."""
        name = self._access.authorize(request.headers.get("authorization", ""), Scope.READ)
        try:
            self._admit(request, Scope.WRITE, change=False)
            may_act = True
        except (ForbiddenError, UnauthorizedError):
            may_act = False
        return msgspec.json.encode({"token": name, "may_act": may_act})

    async def live(self, request: Request) -> Response:
        """``GET /v1/console/live``: the document of the page *Now* every two seconds, as server-sent events."""
        self._admit(request, Scope.READ)
        if self._open >= _MOST_OPEN:
            raise BusyError(f"{self._open} consoles are open already; close one")
        return StreamingResponse(self._events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def _events(self) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            while not self._stopping.is_set():
                yield await self._event()
                try:
                    await asyncio.wait_for(self._stopping.wait(), _LIVE_SECONDS)
                except TimeoutError:
                    continue
        finally:
            self._open -= 1

    async def _event(self) -> bytes:
        try:
            content = await self._figures.run(lambda: msgspec.json.encode(self._console.now()), _DEADLINE)
        except Exception as error:  # Redis is away: the page says so, and the stream goes on
            text = str(error) if isinstance(error, HsnnError) else user_message(error)
            if text is None:
                raise
            return b"event: problem\ndata: " + msgspec.json.encode(text) + b"\n\n"
        return b"event: now\ndata: " + content + b"\n\n"

    def _admit(self, request: Request, scope: Scope, *, change: bool = True) -> None:
        """Check the token; of an action also that it was not sent by another site's page."""
        self._access.authorize(request.headers.get("authorization", ""), scope)
        if scope is not Scope.WRITE:
            return
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            raise ForbiddenError(f"a page of {origin[:100]} may not act on this server")
        if change and not request.headers.get("content-type", "").startswith("application/json"):
            raise ForbiddenError("actions have the content type application/json, which other sites' forms cannot send")


def add_console(app: FastAPI, api: ConsoleApi, console: Console, metrics: ServingMetrics) -> None:
    """Add the page, the calls and the live stream to the application."""
    for route in console.routes():
        app.add_api_route(
            route.path, measured(api.handler(route), metrics), methods=[route.method], include_in_schema=False
        )
    app.add_api_route("/v1/console/session", measured(api.session, metrics), methods=["GET"], include_in_schema=False)
    app.add_api_route("/v1/console/live", measured(api.live, metrics), methods=["GET"], include_in_schema=False)
    for name, file in read_static_files().items():
        path = f"/console/{name}" if name else "/console"
        app.add_api_route(path, _file_handler(file), methods=["GET", "HEAD"], include_in_schema=False)


def _file_handler(file: StaticFile) -> Callable[[Request], Awaitable[Response]]:
    headers = {**HEADERS, "ETag": file.tag}

    async def show(request: Request) -> Response:
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    return show
