"""Embedded servers: there when asked for, gone when nobody is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hsnn.embedded import EmbeddedRedis
from hsnn.embedded import kafka as embedded_kafka
from hsnn.embedded.process import ChildServer, EmbeddedError, accepts, free_port
from hsnn.streaming.redis.client import connect
from tests.waiting import DEADLINE


def gone(port: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while accepts(port) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not accepts(port)


def test_a_redis_answers_on_loopback_and_ends() -> None:
    with EmbeddedRedis() as server:
        port, client = server.port, connect(server.url)
        assert client.ping()
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        assert client.config_get("save") == {"save": ""}
        client.close()
    assert gone(port)
    with pytest.raises(EmbeddedError, match="not running"):
        _ = server.url
    server.stop()


def test_a_redis_with_a_folder_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with EmbeddedRedis(folder=folder) as server:
        client = connect(server.url)
        client.set("a", 1)
        port = server.port
        server.kill()
        assert gone(port)
    with EmbeddedRedis(port, folder) as server:
        assert connect(server.url).get("a") == b"1"
    assert folder.exists()


def test_two_at_once() -> None:
    with EmbeddedRedis() as one, EmbeddedRedis() as two:
        assert one.port != two.port


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_does_not_outlive_its_parent(how: signal.Signals) -> None:
    program = (
        "import time; from hsnn.embedded import EmbeddedRedis; server = EmbeddedRedis().start();"
        "print(server.port, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    port = int(parent.stdout.readline())
    assert accepts(port)
    os.kill(parent.pid, how)
    parent.wait(DEADLINE)
    parent.stdout.close()
    assert gone(port)


def test_a_taken_port_is_named(redis_server: str) -> None:
    port = int(redis_server.rpartition(":")[2].split("/")[0])
    with pytest.raises(EmbeddedError, match=f"port {port}"):
        EmbeddedRedis(port).start()


def test_a_server_that_ends_at_once_shows_its_last_words(tmp_path: Path) -> None:
    server = ChildServer(["/bin/sh", "-c", "echo no such luck; exit 3"], tmp_path / "log")
    with pytest.raises(EmbeddedError, match="no such luck"):
        server.wait_for_port(free_port(), timeout=10.0)
    server.stop()


def test_without_java_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HSNN_CACHE", str(tmp_path))
    with pytest.raises(EmbeddedError, match=r"Java 17 or newer .* and Maven .* not found"):
        embedded_kafka.EmbeddedKafka().start()
    assert embedded_kafka.main(["fetch"]) == 1


def test_stop_without_a_broker_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HSNN_CACHE", str(tmp_path))
    assert embedded_kafka.main(["stop"]) == 0
    assert "no embedded Kafka" in capsys.readouterr().out


@pytest.mark.kafka
@pytest.mark.slow
def test_kafka_starts_keeps_its_data_and_stops(kafka_tools: None, tmp_path: Path) -> None:
    """From the command line, as `make kafka` does it."""
    port = free_port()
    start = [sys.executable, "-m", "hsnn.embedded.kafka", "start", "--port", str(port), "--data", str(tmp_path)]
    start = ["/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh", *start]  # as a shell starts what runs in the background
    for run in range(2):
        with subprocess.Popen(start, stdout=subprocess.PIPE, text=True) as broker:
            assert broker.stdout is not None
            assert broker.stdout.readline().strip() == f"KAFKA_BOOTSTRAP=127.0.0.1:{port}"
            check_topic(port, run)
            assert embedded_kafka.main(["stop"]) == 0
            assert broker.wait(DEADLINE) == 0
        assert gone(port)


def check_topic(port: int, run: int) -> None:
    from hsnn.streaming.log.base import ProducerRecord
    from hsnn.streaming.log.open import open_log

    log = open_log(f"kafka://127.0.0.1:{port}")
    log.create_topic("kept", 1)
    assert log.end_positions([("kept", 0)]) == {("kept", 0): run}
    log.append("kept", [ProducerRecord(b"k", b"v")])
    log.flush()
    log.close()
    check_retention(port, "kept")


def check_retention(port: int, topic: str) -> None:
    """Replayed records are years old: the broker's next look, minutes later, would remove them."""
    from kafka import KafkaAdminClient
    from kafka.admin import ConfigResource, ConfigResourceType

    admin = KafkaAdminClient(bootstrap_servers=[f"127.0.0.1:{port}"])
    wanted = [ConfigResource(ConfigResourceType.TOPIC, topic)]
    configs = admin.describe_configs(wanted, config_filter="all")["topic"][topic]
    assert int(configs["retention.ms"]["value"]) == -1
    admin.close()
