"""Calls made up from the OpenAPI document: none fails inside of the server, and the answers are as it describes them.

``OPENAPI_CASES`` says how many calls are made per route and kind, at most.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hsnn.monitoring.health import Health
from hsnn.serving.api.access import Access
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.api.ingest import IngestApi
from hsnn.serving.config import Scope, ServingConfig
from hsnn.serving.ingest.appender import EventAppender
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.sync.follower import VERSION, WARM
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.memory import MemoryLog

_CASES = int(os.environ.get("OPENAPI_CASES", "4"))
_CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def shop(mirror) -> FastAPI:
    """A server that answers from planted items and takes events into a log in memory."""
    config, streaming, metrics = ServingConfig(deadline="60s"), StreamingConfig(), ServingMetrics()
    access, health, log = Access({}, open_scopes=frozenset(Scope)), Health(VERSION, WARM), MemoryLog()
    health.set_ready(VERSION)
    health.set_ready(WARM)
    ingest = IngestApi(EventAppender(lambda: log, streaming, metrics), access, config, streaming)
    return create_app(Api(mirror, config, metrics, access), metrics, health, ingest)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_calls_from_the_document_are_answered_or_refused_as_it_says(shop, mode):
    statuses: Counter[int] = Counter()
    for found in schemathesis.openapi.from_asgi("/openapi.json", shop).get_all_operations():

        @settings(
            max_examples=_CASES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(found.ok().as_strategy(generation_mode=mode))
        def call(case):
            answer = case.call()
            statuses[answer.status_code] += 1
            case.validate_response(answer, checks=_CHECKS)

        try:
            call()
        except Unsatisfiable:  # a route on which nothing can be wrong
            assert mode is GenerationMode.NEGATIVE
    print(f"{statuses.total():,} {mode.value} calls: {dict(statuses)}")
    assert set(statuses) <= {200, 202, 401, 404, 422}
    if mode is GenerationMode.POSITIVE:
        # of many calls fewer are new, and what the document allows may be refused, as an end before its start
        assert min(statuses[200], statuses[202]) >= min(_CASES, 40)
    else:
        assert statuses[422] >= 4 * _CASES
