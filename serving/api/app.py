"""HTTP API: FastAPI routes the calls, msgspec decodes and encodes their bodies."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI, Request, Response
from prometheus_client.exposition import choose_encoder
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hsnn.monitoring.health import Health
from hsnn.monitoring.http import LIVE, METRICS, READY
from hsnn.monitoring.process.log_format import bound_ids, current_ids
from hsnn.serving import schema
from hsnn.serving.api.access import Access
from hsnn.serving.api.body import SMALL_BODY, BodyReader
from hsnn.serving.api.hot_routes import HotRoutes, Respond
from hsnn.serving.api.ingest import IngestApi, ItemBody, UserBody
from hsnn.serving.api.lanes import Lane
from hsnn.serving.api.openapi import RouteDescription, openapi_document
from hsnn.serving.api.problems import STATUS, problem, problem_of, shortened
from hsnn.serving.api.request_log import RequestLog, mode_of
from hsnn.serving.api.shadows import Shadows
from hsnn.serving.config import Scope, ServingConfig
from hsnn.serving.errors import ConsoleError, NotReadyError, RequestError
from hsnn.serving.experiment import Arm, Experiment
from hsnn.serving.limits import Deadline
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import (
    AcceptedBody,
    Answer,
    AnswersBody,
    ListRequest,
    Query,
    RetrievalMode,
    SimilarRequest,
)
from hsnn.serving.search.inspection import (
    ItemDescription,
    UserDescription,
    VersionSummary,
    describe,
    describe_user,
    summary,
)
from hsnn.serving.search.queries import as_request
from hsnn.serving.search.retrieval import retrieve, retrieve_plain
from hsnn.serving.search.similar import similar
from hsnn.serving.sync.indexes import AnsweringIndex, Indexes
from hsnn.streaming.schema.events import Event

_log = logging.getLogger(__name__)

# Status by which a call is counted whose client closed the connection before the answer, as web servers log it.
_CLIENT_GONE = 499

# Ids of calls that are taken over into the log; others could forge lines of it.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}")

Asked = TypeVar("Asked", bound=Query)

_Handler = Callable[[Request], Awaitable[bytes | Response]]

# Modes whose time grows with the number of items.
_SLOW_MODES = (RetrievalMode.EXACT, RetrievalMode.EXHAUSTIVE)

# Calls that wait for their turn: more than this would be answered after the default deadline in any case.
_MOST_WAITING = 1024


class Api:
    """Handlers of the routes.

    Parameters
    ----------
    mirror
        Requests are answered from it.
    config
        Limits, and the file of the request log.
    access
        Checks the tokens of callers of ``/v1``; None: no token is needed.
    freshness
        Seconds from sending to retrievable by item, as the follower records them.
    indexes
        What answers for the arms of the experiment; None: the mirror.
    """

    def __init__(
        self,
        mirror: Mirror,
        config: ServingConfig,
        metrics: ServingMetrics,
        access: Access | None = None,
        freshness: Mapping[str, float] | None = None,
        indexes: Indexes | None = None,
    ) -> None:
        self._mirror, self._config, self._metrics = mirror, config, metrics
        self.access = access or Access({})
        self._freshness = {} if freshness is None else freshness  # not `or`: the follower's mapping is empty at first
        self._bodies = BodyReader(config.max_body)
        # Small requests must not wait behind large ones, so each kind has a thread.
        self._quick, self._slow = Lane("quick calls", _MOST_WAITING), Lane("slow calls", _MOST_WAITING)
        self.request_log = RequestLog(config.answer_log, metrics.unlogged.inc) if config.answer_log else None
        self._experiment, self._indexes = Experiment(config.experiment, config.limits), indexes or Indexes(mirror)
        self._shadows = Shadows(self._experiment, self._retrieve_one, self._record_shadow, metrics)

    async def retrieve(self, request: Request) -> bytes:
        """``POST /v1/retrieve``: one request, one answer."""
        return await self._ask(request, schema.Request, self._one)

    async def similar(self, request: Request) -> bytes:
        """``POST /v1/similar``: items like given ones."""
        return await self._ask(request, SimilarRequest, self._similar)

    async def popular(self, request: Request) -> bytes:
        """``POST /v1/popular``: the items with the most traffic now."""
        return await self._list(request, RetrievalMode.POPULARITY)

    async def latest(self, request: Request) -> bytes:
        """``POST /v1/latest``: the items that were seen first most recently."""
        return await self._list(request, RetrievalMode.LATEST)

    async def retrieve_many(self, request: Request) -> bytes:
        """``POST /v1/retrieve_many``: answers in the order of the queries; other calls are served in between."""
        token = self._admit(request)
        with await self._bodies.read(request) as body:
            deadline = Deadline(self._config.deadline)
            answers, queries = await self._slow.run(partial(self._many, body.content, deadline), deadline.seconds)
        self.access.charge(token, queries - 1)
        return answers

    async def version(self, request: Request) -> bytes:
        """``GET /v1/version``: the version in use, its position in the stream, and sizes."""
        self._admit(request)
        return await self._quick.run(lambda: msgspec.json.encode(summary(self._mirror)), self._config.deadline)

    async def item(self, request: Request) -> bytes:
        """``GET /v1/items/{id}``: one item."""
        self._admit(request)
        name = request.path_params["item"]
        item = await self._quick.run(lambda: describe(self._mirror, name), self._config.deadline)
        return msgspec.json.encode(msgspec.structs.replace(item, fresh_seconds=self._freshness.get(name)))

    async def user(self, request: Request) -> bytes:
        """``GET /v1/users/{id}``: history and past items of one user."""
        self._admit(request)
        name = request.path_params["user"]
        mirror = self._indexes.of(self._experiment.arm_of_user(name)).mirror
        user = await self._quick.run(lambda: describe_user(mirror, name), self._config.deadline)
        return msgspec.json.encode(user)

    async def openapi(self, request: Request) -> bytes:
        """``GET /openapi.json``: description of this interface."""
        self.access.authorize(request.headers.get("authorization", ""), Scope.READ)
        return msgspec.json.encode(request.app.openapi())

    def close(self) -> None:
        """Drop calls that wait, and close the request log."""
        self._quick.close()
        self._slow.close()
        self._shadows.close()
        if self.request_log is not None:
            self.request_log.close()

    def _admit(self, request: Request) -> str | None:
        """Check token and rate of a call; return the token's name."""
        return self.access.admit(request.headers.get("authorization", ""), Scope.READ)

    async def _ask(self, request: Request, kind: type[Asked], answer: Callable[[Asked, Deadline], bytes]) -> bytes:
        """Parse a query of a kind and answer it in the lane that it belongs to."""
        self._admit(request)
        with await self._bodies.read(request) as body:
            deadline = Deadline(self._config.deadline)
            content = body.content
            if len(content) > SMALL_BODY:
                return await self._slow.run(lambda: answer(schema.parse(kind, content), deadline), deadline.seconds)
            parsed = schema.parse(kind, content)
        carried_out: Query = parsed
        if isinstance(parsed, schema.Request):
            arm = self._experiment.arm_of(parsed)
            carried_out = arm.request(parsed)
            index = self._indexes.of(arm)
            # The engine takes a fraction of the time that handing a call to another thread and back does.
            if index.mirror.never_waits and index.mirror.warm:
                plain = retrieve_plain(index.mirror, carried_out, arm.limits)
                if plain is not None:
                    return msgspec.json.encode(self._of_arm(arm, index, [parsed], [plain])[0])
        is_slow = getattr(carried_out, "mode", None) in _SLOW_MODES or parsed.explain or parsed.why_not
        lane = self._slow if is_slow else self._quick
        return await lane.run(lambda: answer(parsed, deadline), deadline.seconds)

    async def _list(self, request: Request, mode: RetrievalMode) -> bytes:
        return await self._ask(
            request, ListRequest, lambda parsed, deadline: self._one(as_request(parsed, mode), deadline)
        )

    def _one(self, request: schema.Request, deadline: Deadline) -> bytes:
        return msgspec.json.encode(self._answer([request], deadline)[0])

    def _similar(self, request: SimilarRequest, deadline: Deadline) -> bytes:  # noqa: ARG002 - one search, no chunks
        arm = self._experiment.arm_of_user(request.user, request.index)
        index = self._indexes.of(arm)
        answer = similar(index.mirror, request, self._config.limits, seed=_seed())
        return msgspec.json.encode(self._recorded(arm, index, [request], [answer])[0])

    def _many(self, body: bytearray, deadline: Deadline) -> tuple[bytes, int]:
        """Answer the queries of a body; return the encoded answers and their number."""
        requests = schema.parse_requests(body)
        if len(requests) > self._config.max_queries:
            raise RequestError(f"{len(requests)} queries in one call; the most is {self._config.max_queries}")
        return msgspec.json.encode(AnswersBody(self._answer(requests, deadline))), len(requests)

    def _answer(self, requests: Sequence[schema.Request], deadline: Deadline) -> list[Answer]:
        """Answer requests, each as its arm does; count and log them."""
        answers: dict[int, Answer] = {}
        for arm, places in self._experiment.groups(requests).items():
            own, index = [requests[place] for place in places], self._indexes.of(arm)
            asked = [arm.request(request) for request in own]
            found = retrieve(index.mirror, asked, arm.limits, deadline, seed=_seed())
            answers.update(zip(places, self._of_arm(arm, index, own, found), strict=True))
        return [answers[place] for place in range(len(requests))]

    def _of_arm(
        self, arm: Arm, index: AnsweringIndex, requests: Sequence[schema.Request], answers: Sequence[Answer]
    ) -> list[Answer]:
        """Name the arm in its answers; count and log them, and let shadows follow."""
        if not arm.name:
            return self._recorded(arm, index, requests, answers)
        asked = [arm.request(request) for request in requests]
        named = [msgspec.structs.replace(answer, arm=arm.name) for answer in answers]
        given = self._recorded(arm, index, asked, named)
        for answer in given:
            self._metrics.arm_seconds.labels(arm.name, "served").observe(answer.stats.took_ms / 1000)
        self._shadows.follow(requests, given)
        return given

    def _retrieve_one(self, arm: Arm, request: schema.Request) -> Answer:
        """Answer one request as an arm does.

        Raises
        ------
        NotReadyError
            The arm's index cannot answer.
        """
        index = self._indexes.of(arm)
        if index.fallback:
            raise NotReadyError(f"the index {arm.prefix!r} is {index.fallback}")
        answer = retrieve(index.mirror, [arm.request(request)], arm.limits, seed=_seed())[0]
        return msgspec.structs.replace(answer, index=index.prefix)

    def _record_shadow(self, arm: Arm, request: schema.Request, answer: Answer) -> None:
        """Log an answer that nobody saw."""
        if self.request_log is not None:
            unseen = msgspec.structs.replace(answer, arm=arm.name)
            self.request_log.append([(arm.request(request), unseen)], shadow=True)

    def _recorded(
        self, arm: Arm, index: AnsweringIndex, requests: Sequence[Query], answers: Sequence[Answer]
    ) -> list[Answer]:
        """Give ids to answers and name their index, count and log them."""
        metrics = self._metrics
        if index.fallback:
            metrics.arm_fallbacks.labels(arm.name, index.fallback).inc(len(answers))
        named = [
            msgspec.structs.replace(answer, recommendation_id=uuid.uuid4().hex, index=index.prefix)
            for answer in answers
        ]
        for request, answer in zip(requests, named, strict=True):
            mode = mode_of(request)
            metrics.request_scored_of(mode).observe(answer.stats.scored)
            metrics.request_dots_of(mode).observe(answer.stats.dots)
            underfilled = metrics.underfilled_of(mode)
            if answer.stats.missing > 0:
                underfilled.inc()
            for source, count in answer.stats.sources.items():
                metrics.candidates_of(source).inc(count)
        if self.request_log is not None:
            self.request_log.append(zip(requests, named, strict=True))
        return named


def _seed() -> str:
    """Return what decides the draws of a call: its id."""
    return str(current_ids().get("request", ""))


class _ItemIdConvertor(PathConvertor):
    """Takes the rest of a path, line breaks included."""

    regex = "(?s:.*)"


register_url_convertor("item_id", _ItemIdConvertor())


def create_app(api: Api, metrics: ServingMetrics, health: Health, ingest: IngestApi | None = None) -> FastAPI:
    """Create the application with the routes of the API, health and metrics; without `ingest` none that writes."""
    app = FastAPI(
        title="hsnn", summary="Retrieval from the live index.", docs_url=None, redoc_url=None, openapi_url=None
    )
    routes: list[tuple[str, str, _Handler, Any, Any]] = [
        ("/v1/retrieve", "POST", api.retrieve, schema.Request, Answer),
        ("/v1/retrieve_many", "POST", api.retrieve_many, schema.QueriesBody, AnswersBody),
        ("/v1/similar", "POST", api.similar, SimilarRequest, Answer),
        ("/v1/popular", "POST", api.popular, ListRequest, Answer),
        ("/v1/latest", "POST", api.latest, ListRequest, Answer),
        ("/v1/version", "GET", api.version, None, VersionSummary),
        ("/v1/items/{item:item_id}", "GET", api.item, None, ItemDescription),
        ("/v1/users/{user:item_id}", "GET", api.user, None, UserDescription),
        ("/openapi.json", "GET", api.openapi, None, None),
    ]
    if ingest is not None:
        routes += [
            ("/v1/events", "POST", ingest.events, Event | list[Event], AcceptedBody),
            ("/v1/events", "OPTIONS", ingest.preflight, None, None),
            ("/v1/items/{item:item_id}", "PUT", ingest.put_item, ItemBody, AcceptedBody),
            ("/v1/items/{item:item_id}", "PATCH", ingest.patch_item, ItemBody, AcceptedBody),
            ("/v1/items/{item:item_id}", "DELETE", ingest.delete_item, None, AcceptedBody),
            ("/v1/users/{user:item_id}", "PUT", ingest.put_user, UserBody, AcceptedBody),
            ("/v1/users/{user:item_id}", "DELETE", ingest.delete_user, None, AcceptedBody),
        ]
    hot: dict[tuple[str, str], Respond] = {}
    for path, method, handler, _, _ in routes:
        respond = measured(handler, metrics)
        app.add_api_route(path, respond, methods=[method])
        if "{" not in path and method == "POST":
            hot[method, path] = respond
    app.add_middleware(HotRoutes, routes=hot)

    @functools.cache  # made when first asked for: it takes tens of milliseconds
    def document() -> dict[str, Any]:
        """Describe the routes."""
        return openapi_document(
            [
                RouteDescription(path, method, _summary(handler), body=body, answer=answer)
                for path, method, handler, body, answer in routes
            ]
        )

    app.openapi = document  # type: ignore[method-assign]
    _add_health(app, health, metrics)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        """Count and answer calls that no route takes."""
        metrics.requests.labels("none", str(error.status_code)).inc()
        text = f"{request.method} {request.url.path}: {error.detail}; /openapi.json lists what there is"
        return problem(error.status_code, text, error.headers)

    return app


def _summary(handler: _Handler) -> str:
    """Return what the first line of a handler's docstring says of its route."""
    line = (handler.__doc__ or "").partition("\n")[0]
    return line.partition(": ")[2].capitalize()


def measured(handler: _Handler, metrics: ServingMetrics) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a handler: its result or error becomes a response that is counted and timed."""
    name = getattr(handler, "__name__", "call")

    async def respond(request: Request) -> Response:
        began = time.perf_counter()
        name_of_call = _request_id(request)
        with bound_ids(request=name_of_call):
            response = await _response(handler, request)
        response.headers.update(getattr(request.state, "headers", {}))
        response.headers["X-Request-Id"] = name_of_call
        metrics.request_seconds_of(name).observe(time.perf_counter() - began)
        metrics.requests_of(name, str(response.status_code)).inc()
        return response

    respond.__doc__ = handler.__doc__
    respond.__name__ = name
    return respond


def _request_id(request: Request) -> str:
    """Return the id that a proxy or client gave to a call, or a new one."""
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


async def _response(handler: _Handler, request: Request) -> Response:
    try:
        body = await handler(request)
    except tuple(STATUS) as error:
        return problem_of(error)
    except ConsoleError as error:
        return problem(error.status, str(error))
    except ClientDisconnect:
        return Response(status_code=_CLIENT_GONE)  # nobody reads it, but it is counted
    except asyncio.CancelledError:  # uvicorn cancels what still runs when it stops, and would log a traceback
        return problem(503, "the server is stopping")
    except Exception:
        _log.exception("%s %s failed; the caller got status 500", request.method, shortened(request.url.path))
        return problem(500, "this call failed inside of the server; its log says where")
    if isinstance(body, Response):
        return body
    return Response(body, media_type="application/json")


def _json(status: int, content: Any) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _add_health(app: FastAPI, health: Health, metrics: ServingMetrics) -> None:
    # async: they must not wait for a thread, and take no time
    @app.api_route(LIVE, methods=["GET", "HEAD"], include_in_schema=False)
    async def live() -> Response:
        """Whether the follower makes progress."""
        ok, detail = health.liveness()
        return _json(200 if ok else 503, {"ok": ok, "detail": detail})

    @app.api_route(READY, methods=["GET", "HEAD"], include_in_schema=False)
    async def ready() -> Response:
        """Whether a version is loaded and warmed up, and what arms answer from."""
        ok, detail = health.readiness()
        return _json(200 if ok else 503, {"ok": ok, "detail": detail})

    @app.api_route(METRICS, methods=["GET", "HEAD"], include_in_schema=False)
    def show(request: Request) -> Response:
        """Metrics for Prometheus."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), media_type=content_type)
