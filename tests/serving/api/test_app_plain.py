"""Plain calls are answered on the event loop, beside readers that hold the mirror."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from hsnn.monitoring.health import Health
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.config import ServingConfig
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sync.follower import VERSION, WARM
from hsnn.serving.sync.warm_up import warm_up

# In a fresh clone the kernels are compiled first.
pytestmark = [pytest.mark.slow, pytest.mark.long("compiled kernels"), pytest.mark.timeout(600)]


def test_a_plain_call_does_not_wait_for_other_readers(plant):
    mirror, metrics = Mirror(engine=True, double_buffered=True), ServingMetrics()
    plant.load(mirror)
    warm_up(mirror)
    api = Api(mirror, ServingConfig(deadline="2s"), metrics)
    client = TestClient(create_app(api, metrics, Health(VERSION, WARM)))
    asked = {"user": "u0", "k": 5}
    alone = client.post("/v1/retrieve", json=asked).json()
    with mirror.reading():  # as a search of many seconds does
        held = client.post("/v1/retrieve", json=asked)
        assert client.post("/v1/retrieve", json=asked | {"mode": "exhaustive"}).status_code == 504
    assert held.status_code == 200
    assert held.json()["items"] == alone["items"]
    assert client.post("/v1/retrieve", json=asked | {"mode": "exhaustive"}).json()["items"] == alone["items"]
    api.close()
