"""Queries with parts replaced by odd values: each is answered or refused, and none fails inside of the server."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from fastapi.testclient import TestClient

from hsnn.monitoring.health import Health
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.config import ServingConfig
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.sync.follower import VERSION, WARM

# Calls per route: a second or so for each route.
_CALLS = 120

WHERE = {
    "any": [
        {"field": "topic", "in": ["c1", "c2"]},
        {"field": "parity", "range": {"gte": 0, "lt": 1}},
        {"none": [{"field": "tags", "equal": "t1"}, {"field": "topic", "prefix": "c"}]},
        {"field": "$first_seen", "has": True},
    ]
}
COMMON: dict[str, Any] = {
    "k": 5,
    "filters": {"items": ["c0-1", 7], "exclude": ["c1-1"], "features": {"topic": ["c0"]}, "where": WHERE},
    "boosts": [{"add": 1.5, "where": WHERE}, {"add": 1, "recency": {"half_life_hours": 2}}],
    "caps": [{"field": "topic", "most": 2}, {"field": "$node", "most": 3}],
    "new_items": {"share": 0.5, "max_age_hours": 3},
    "sampling": {"temperature": 1.5, "pool": 9},
    "seen": {"rule": "recent", "items": 3, "minutes": 5},
    "as_of": 1_700_000_000_000,
    "fields": ["topic", "*"],
    "echo": True,
    "explain": True,
    "why_not": ["c0-1", "x"],
}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/retrieve": COMMON | {"user": "u0", "history": ["c0-1", ["c1-1", 5]], "context": {"hour": 3}, "mode": "beam"},
    "/v1/similar": COMMON | {"items": ["c0-1", "c1-2"], "by": "both", "user": "u1"},
    "/v1/popular": COMMON | {"user": "u1"},
    "/v1/latest": COMMON,
}
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    3,
    2**53 + 1,
    2**63,
    1e308,
    -1e-308,
    "",
    "x",
    "2026-02-30",
    "9999-12-31T23:59:59",
    "\x00",
    "\ud83d",
    "c0",
    "beam",
    "exhaustive",
    "exact",
    "popularity_filter",
    "nothing",
    "now",
    [],
    {},
    [[]],
    [None],
    {"": {}},
    "é" * 300,
]


def changed(body: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Leave out some fields, and put odd values in places of others."""
    mutant = copy.deepcopy({name: value for name, value in body.items() if chance.random() < 0.6})
    for _ in range(chance.randint(0, 3)):
        part: Any = mutant
        while part:
            places = list(part) if isinstance(part, dict) else list(range(len(part)))
            place = chance.choice(places)
            if isinstance(part[place], dict | list) and part[place] and chance.random() < 0.75:
                part = part[place]
                continue
            if chance.random() < 0.2:
                del part[place]
            else:
                part[place] = copy.deepcopy(chance.choice(ODD))
            break
    return mutant


@pytest.mark.slow
@pytest.mark.parametrize("path", BODIES)
def test_odd_queries_are_answered_or_refused(mirror, path):
    metrics, chance = ServingMetrics(), random.Random(path)  # a text seeds it the same in every run
    app = create_app(Api(mirror, ServingConfig(deadline="60s"), metrics), metrics, Health(VERSION, WARM))
    client, statuses = TestClient(app, raise_server_exceptions=False), []
    for _ in range(_CALLS):
        body = changed(BODIES[path], chance)
        answer = client.post(path, content=json.dumps(body))  # escaped, half characters included
        statuses.append(answer.status_code)
        assert answer.status_code in (200, 422), (body, answer.text)
        if answer.status_code == 422:
            assert answer.json()["detail"]
        else:
            found = answer.json()
            assert len(found["items"]) == len(found["scores"]) == len(set(found["items"]))
    assert statuses.count(200) >= 10
    assert statuses.count(422) >= 10
