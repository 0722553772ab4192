"""Addresses of logs: options, errors, masked passwords."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hsnn.config.schema import Config
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.errors import LogUnavailableError, LogUrlError
from hsnn.streaming.log.kafka.options import client_options
from hsnn.streaming.log.open import mask_secrets, open_log
from tests.extensions import one_file_added


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "kafka://HOST:PORT"),
        ("http://x:1", "kafka://HOST:PORT"),
        ("kafka://", "names no broker"),
        ("kafka://host", "HOST:PORT"),
        ("kafka://me:hush@host:9092", "sasl_plain_password_env"),
        ("kafka://host:9092?ack=all", "no option ack"),
        ("kafka://host:9092?linger_mss=1", "did you mean linger_ms"),
        ("kafka://host:9092?linger_ms=soon", "must be a int"),
        ("kafka://host:9092?ssl_check_hostname=perhaps", "must be a bool"),
        ("kafka://host:9092?group_id=x", "cannot be set"),
        ("kafka://host:9092?sasl_plain_password_env=NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE"),
        ("redis://host:6379/0?retention=0", "whole number"),
    ],
)
def test_invalid_address_is_an_error(url: str, word: str) -> None:
    with pytest.raises(LogUrlError) as caught:
        open_log(url)
    assert word in str(caught.value)
    assert "hush" not in str(caught.value)


def test_options_reach_the_clients_that_know_them() -> None:
    options = client_options(
        {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_password": "hush",
            "ssl_cafile": "ca",
            "linger_ms": "7",
            "fetch_min_bytes": "9",
            "ssl_check_hostname": "false",
        }
    )
    shared = {"security_protocol", "sasl_mechanism", "sasl_plain_password", "ssl_cafile", "ssl_check_hostname"}
    assert set(options["admin"]) == shared
    assert set(options["producer"]) == shared | {"linger_ms"}
    assert options["consumer"]["fetch_min_bytes"] == 9
    assert options["consumer"]["ssl_check_hostname"] is False


def test_passwords_are_masked() -> None:
    masked = mask_secrets("kafka://h:1?sasl_plain_password=hush&ssl_password=hush&sasl_plain_password_env=NAME")
    assert "hush" not in masked
    assert "NAME" in masked
    assert mask_secrets("rediss://:hush@h:1/0?password=hush") == "rediss://:***@h:1/0?password=***"
    assert mask_secrets("redis://h:1/0") == "redis://h:1/0"


def test_error_of_unreachable_server_hides_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    monkeypatch.setenv("SECRET", "hush")
    monkeypatch.setattr("redis.retry.sleep", lambda _: None)
    log = open_log("redis://127.0.0.1:1/0?password_env=SECRET&socket_connect_timeout=1")
    with pytest.raises(LogUnavailableError, match=r"127\.0\.0\.1:1") as caught:
        log.partitions("engagements")
    assert "hush" not in f"{caught.value} {log!r}"
    with pytest.raises(LogUnavailableError, match=r"127\.0\.0\.1:1") as caught:
        open_log(
            "kafka://127.0.0.1:1?security_protocol=SASL_PLAINTEXT&sasl_mechanism=PLAIN&sasl_plain_username=me"
            "&sasl_plain_password_env=SECRET&bootstrap_timeout_ms=500"
        )
    assert "hush" not in str(caught.value)
    left = [thread.name for thread in threading.enumerate() if thread not in before]
    assert not left, "a client that could not connect goes on trying"


def test_a_log_is_added_by_one_file(tmp_path: Path) -> None:
    source = """
        from hsnn.streaming.log.memory import MemoryLog

        def open_address(address, options, retry_policy):
            log = MemoryLog()
            log.create_topic(address.netloc, int(options["partitions"]))
            return log
        """
    with one_file_added("hsnn.streaming.log.schemes", tmp_path, "inside", source):
        assert open_log("inside://clicks?partitions=3").partitions("clicks") == [0, 1, 2]
        assert Config(streaming=StreamingConfig(log="inside://clicks")).streaming.log == "inside://clicks"
    with pytest.raises(LogUrlError, match="inside"):
        open_log("inside://clicks")
