from __future__ import annotations

import pytest
from starlette.responses import Response
from starlette.testclient import TestClient

from hsnn.serving.api.hot_routes import HotRoutes


async def slow(scope, receive, send):
    await Response("by its route")(scope, receive, send)


async def hot(request):
    return Response(b"hot: " + await request.body())


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("POST", "/v1/retrieve", "hot: {}"),
        ("POST", "/v1/retrieve?k=1", "hot: {}"),
        ("GET", "/v1/retrieve", "by its route"),
        ("POST", "/v1/retrieve/", "by its route"),
        ("POST", "/v1/similar", "by its route"),
    ],
)
def test_calls_of_its_routes_are_answered_at_once_and_others_by_the_application(method, path, answer):
    client = TestClient(HotRoutes(slow, {("POST", "/v1/retrieve"): hot}))
    assert client.request(method, path, content=b"{}").text == answer
