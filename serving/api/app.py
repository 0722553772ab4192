"""HTTP API: FastAPI routes the calls, msgspec decodes and encodes their bodies."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client.exposition import choose_encoder

from hsnn.monitoring.health import Health
from hsnn.monitoring.http import LIVE, METRICS, READY
from hsnn.serving import schema
from hsnn.serving.api.inspection import describe, summary
from hsnn.serving.api.request_log import RequestLog
from hsnn.serving.config import ServingConfig
from hsnn.serving.errors import DeadlineError, NotReadyError, RequestError, TooLargeError, UnauthorizedError
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Answer, AnswersBody, RetrievalMode
from hsnn.serving.search.retrieval import CHUNK, retrieve

# HTTP status of each error that is reported to the client.
_STATUS: dict[type[Exception], int] = {
    RequestError: 422,
    NotReadyError: 503,
    DeadlineError: 504,
    TooLargeError: 413,
    UnauthorizedError: 401,
}

# Modes whose time grows with the number of items.
_SLOW_MODES = (RetrievalMode.EXACT, RetrievalMode.EXHAUSTIVE)


class Api:
    """Handlers of the routes.

    Parameters
    ----------
    mirror
        Requests are answered from it.
    config
        Limits, and the file of the request log.
    token
        Bearer token that callers of ``/v1`` must send; None for no token.
    freshness
        Seconds from sending to retrievable by item, as the follower records them.
    """

    def __init__(
        self,
        mirror: Mirror,
        config: ServingConfig,
        metrics: ServingMetrics,
        token: str | None = None,
        freshness: Mapping[str, float] | None = None,
    ) -> None:
        self._mirror, self._config, self._metrics = mirror, config, metrics
        self._token = None if token is None else f"Bearer {token}".encode()
        self._freshness = {} if freshness is None else freshness  # not `or`: the follower's mapping is empty at first
        self.request_log = RequestLog(config.answer_log) if config.answer_log else None

    async def retrieve(self, request: Request) -> bytes:
        """``POST /v1/retrieve``: one request, one answer."""
        requests = [schema.parse_request(await self._body(request))]
        if requests[0].mode in _SLOW_MODES:  # in a thread, so that other requests are answered meanwhile
            return msgspec.json.encode((await run_in_threadpool(self._answer, requests))[0])
        return msgspec.json.encode(self._answer(requests)[0])

    async def retrieve_many(self, request: Request) -> bytes:
        """``POST /v1/retrieve_many``: answers in the order of the queries; other calls are served in between."""
        requests = schema.parse_requests(await self._body(request))
        if len(requests) > self._config.max_queries:
            raise RequestError(f"{len(requests)} queries in one call; the most is {self._config.max_queries}")
        return await run_in_threadpool(lambda: msgspec.json.encode(AnswersBody(self._answer_within_deadline(requests))))

    async def version(self, request: Request) -> bytes:
        """``GET /v1/version``: the version in use, its position in the stream, and sizes."""
        self._authorize(request)
        return msgspec.json.encode(summary(self._mirror))

    async def item(self, request: Request) -> bytes | None:
        """``GET /v1/items/{id}``: one item; None if it is unknown."""
        self._authorize(request)
        name = request.path_params["item"]
        item = describe(self._mirror, name)
        return None if item is None else msgspec.json.encode(item | {"fresh_seconds": self._freshness.get(name)})

    def _answer(self, requests: Sequence[schema.Request]) -> list[Answer]:
        """Answer requests; count and log them."""
        answers = retrieve(self._mirror, requests, self._config.limits)
        for request, answer in zip(requests, answers, strict=True):
            self._metrics.request_scored.labels(request.mode).observe(answer.stats.scored)
            self._metrics.request_dots.labels(request.mode).observe(answer.stats.dots)
            for source, count in answer.stats.sources.items():
                self._metrics.candidates.labels(source).inc(count)
        if self.request_log is not None:
            self.request_log.append(zip(requests, answers, strict=True))
        return answers

    def _answer_within_deadline(self, requests: Sequence[schema.Request]) -> list[Answer]:
        """Answer chunk by chunk, so that a call that takes too long is given up between two of them."""
        end = time.monotonic() + self._config.deadline
        answers: list[Answer] = []
        for start in range(0, len(requests), CHUNK):
            if time.monotonic() > end:
                raise DeadlineError(
                    f"{start} of {len(requests)} queries were answered in {self._config.deadline:g} s; "
                    "send fewer at once"
                )
            answers += self._answer(requests[start : start + CHUNK])
        return answers

    async def _body(self, request: Request) -> bytes:
        self._authorize(request)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._config.max_body:
                raise TooLargeError(
                    f"the body is larger than {self._config.max_body} bytes; send fewer queries at once"
                )
        return bytes(body)

    def _authorize(self, request: Request) -> None:
        sent = request.headers.get("authorization", "").encode()
        if self._token is not None and not hmac.compare_digest(sent, self._token):
            raise UnauthorizedError("send the server's token as 'Authorization: Bearer TOKEN'")


def create_app(api: Api, metrics: ServingMetrics, health: Health) -> FastAPI:
    """Create the application with the routes of the API, health and metrics."""
    app = FastAPI(title="hsnn", summary="Retrieval from the live index.", docs_url=None, redoc_url=None)
    for path, method, handler, body in (
        ("/v1/retrieve", "POST", api.retrieve, schema.Request),
        ("/v1/retrieve_many", "POST", api.retrieve_many, schema.QueriesBody),
        ("/v1/version", "GET", api.version, None),
        ("/v1/items/{item:path}", "GET", api.item, None),
    ):
        app.add_api_route(path, _measured(handler, metrics), methods=[method], openapi_extra=_body_schema(body))
    _add_health(app, health, metrics)
    return app


def _measured(
    handler: Callable[[Request], Awaitable[bytes | None]], metrics: ServingMetrics
) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a handler: its result or error becomes a response that is counted and timed."""
    name = getattr(handler, "__name__", "call")

    async def respond(request: Request) -> Response:
        began = time.perf_counter()
        response = await _response(handler, request)
        metrics.request_seconds.labels(name).observe(time.perf_counter() - began)
        metrics.requests.labels(name, str(response.status_code)).inc()
        return response

    respond.__doc__ = handler.__doc__
    respond.__name__ = name
    return respond


async def _response(handler: Callable[[Request], Awaitable[bytes | None]], request: Request) -> Response:
    try:
        body = await handler(request)
    except tuple(_STATUS) as error:
        return _json(_STATUS[type(error)], {"error": str(error)})
    if body is None:
        return _json(404, {"error": f"no item {request.path_params.get('item')!r} is known here"})
    return Response(body, media_type="application/json")


def _json(status: int, content: Any) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _body_schema(body: type[msgspec.Struct] | None) -> dict[str, Any] | None:
    """Make the schema of a route's body for ``/openapi.json``."""
    if body is None:
        return None
    return {"requestBody": {"content": {"application/json": {"schema": _inlined(msgspec.json.schema(body))}}}}


def _inlined(schema_: dict[str, Any]) -> dict[str, Any]:
    """Resolve the references of a schema, which would point outside of the OpenAPI document."""
    definitions = schema_.get("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return resolved(definitions[part["$ref"].rpartition("/")[2]])
            return {name: resolved(value) for name, value in part.items()}
        return [resolved(value) for value in part] if isinstance(part, list) else part

    inlined: dict[str, Any] = resolved({name: value for name, value in schema_.items() if name != "$defs"})
    return inlined


def _add_health(app: FastAPI, health: Health, metrics: ServingMetrics) -> None:
    @app.get(LIVE)
    def live() -> Response:
        """Whether the follower makes progress."""
        ok, detail = health.liveness()
        return _json(200 if ok else 503, {"ok": ok, "detail": detail})

    @app.get(READY)
    def ready() -> Response:
        """Whether a version is loaded and warmed up."""
        ok, detail = health.readiness()
        return _json(200 if ok else 503, {"ok": ok, "detail": detail})

    @app.get(METRICS)
    def show(request: Request) -> Response:
        """Metrics for Prometheus."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), media_type=content_type)
