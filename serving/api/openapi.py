"""The OpenAPI 3.1 document: every route, with what is sent and what comes back, from the types that are decoded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import msgspec

from hsnn.monitoring.http import LIVE, METRICS, READY
from hsnn.serving.api.problems import PROBLEM_TYPE, Problem
from hsnn.serving.schema import AcceptedBody

# Statuses that any call of the API may end with.
_EVERYWHERE = (401, 403, 429, 500, 503, 504)

# Statuses of calls with a body, beside those.
_WITH_BODY = (408, 413, 422)

_REFERENCE = "#/components/schemas/{name}"


class RouteDescription(NamedTuple):
    """What the document says of a route.

    Attributes
    ----------
    path
        With parameters in braces, and their converters as of Starlette.
    method
        In upper case.
    summary
        One sentence.
    body, answer
        Types of what is sent and of what comes back; None for nothing.
    """

    path: str
    method: str
    summary: str
    body: Any = None
    answer: Any = None


class HealthBody(msgspec.Struct, frozen=True):
    """What a health page says; `detail` has a state for each part."""

    ok: bool
    detail: dict[str, Any]


def openapi_document(routes: Sequence[RouteDescription]) -> dict[str, Any]:
    """Make the document of some routes, and of the pages for health and metrics."""
    pages = [
        RouteDescription(LIVE, "GET", "Whether the server makes progress.", answer=HealthBody),
        RouteDescription(READY, "GET", "Whether a version is loaded and warmed up.", answer=HealthBody),
    ]
    types = {id(kind): kind for route in [*routes, *pages] for kind in (route.body, route.answer) if kind is not None}
    schemas, components = msgspec.json.schema_components([*types.values(), Problem], ref_template=_REFERENCE)
    by_type = dict(zip(types, schemas, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = re.sub(r":\w+}", "}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path, by_type, schemas[-1])
    for page in pages:
        responses = {
            status: _response(text, by_type[id(page.answer)]) for status, text in (("200", "yes"), ("503", "no"))
        }
        paths[page.path] = {"get": {"summary": page.summary, "responses": responses, "security": []}}
    text = {"200": {"description": "metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    paths[METRICS] = {"get": {"summary": "Metrics for Prometheus.", "responses": text, "security": []}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "hsnn", "version": _release(), "summary": "Retrieval from the live index."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}, {}],  # a server without tokens needs none
    }


def _operation(route: RouteDescription, path: str, schemas: dict[int, Any], problem: Any) -> dict[str, Any]:
    parameters = re.findall(r"{(\w+)}", path)
    statuses: Iterable[int] = _EVERYWHERE
    operation: dict[str, Any] = {"summary": route.summary}
    if parameters:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in parameters
        ]
        statuses = (*statuses, 404)
    if route.body is not None:
        content = {"application/json": {"schema": schemas[id(route.body)]}}
        operation["requestBody"] = {"required": True, "content": content}
        statuses = (*statuses, *_WITH_BODY)
    done: dict[str, Any] = {"description": "done"}
    if route.answer is not None:
        done = _response("the answer", schemas[id(route.answer)])
    elif path == "/openapi.json":
        done = _response("this document", {"type": "object"})
    failed = {"description": "an error", "content": {PROBLEM_TYPE: {"schema": problem}}}
    success = "204" if route.method == "OPTIONS" else "202" if route.answer is AcceptedBody else "200"
    operation["responses"] = {success: done} | {str(status): failed for status in sorted(statuses)}
    return operation


def _response(description: str, schema: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _release() -> str:
    try:
        return version("hsnn")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
