"""The pages of a process without HTTP of its own, over a real socket."""

import json
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from hsnn.monitoring.health import Health
from hsnn.monitoring.http import PortTakenError, start_http
from tests.waiting import DEADLINE


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_and_health_pages() -> None:
    registry = CollectorRegistry()
    Counter("hsnn_test_events_total", "events", registry=registry).inc(3)
    health = Health("model")
    port = start_http("127.0.0.1", 0, health, registry)

    status, text = get(port, "/metrics")
    assert status == 200
    assert "hsnn_test_events_total 3.0" in text
    assert get(port, "/healthz/live")[0] == 200
    status, text = get(port, "/healthz/ready")
    assert (status, json.loads(text)) == (503, {"ok": False, "detail": {"model": False}})
    health.set_ready("model")
    assert get(port, "/healthz/ready")[0] == 200
    health.expect("poll", within=-1.0)
    assert get(port, "/healthz/live?verbose")[0] == 503
    assert get(port, "/nowhere")[0] == 404


def test_a_taken_port_is_said_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"127.0.0.1:{port}.*another port"):
            start_http("127.0.0.1", port, Health())
